//! What the gateway says when it starts.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tollway_pipeline::{Snapshot, VERSION};
use tollway_route::Availability;

use crate::admin_key::AdminKey;

/// Names listed before "and N more".
const SHOWN: usize = 12;

/// Prints what is served, how to call it, and a fresh admin key: the one time it is shown.
pub(crate) fn print(
    snapshot: &Snapshot,
    address: SocketAddr,
    directory: &Path,
    admin_key: Option<&AdminKey>,
) {
    let mut text = format!("Tollway {VERSION} listens on http://{address}\n");
    let (names, unavailable) = names(snapshot);
    text.push_str(&format!("  serves    {}\n", listed(&names)));
    match unavailable.as_slice() {
        [] => {}
        [(name, why)] => text.push_str(&format!("  cannot    {name}: {why}\n")),
        more => text.push_str(&format!(
            "  cannot    {} deployments cannot be called; GET /health says why\n",
            more.len()
        )),
    }
    text.push_str(&format!("  data in   {}\n", directory.display()));
    let key = match admin_key {
        Some(AdminKey { fresh: Some(key), .. }) => {
            text.push_str(&format!("  admin key {} (shown once; only its hash is kept)\n", key.expose()));
            key.expose().to_owned()
        }
        Some(_) => {
            text.push_str("  admin key shown at the first start; to get a new one, delete admin-key.sha256 and start again\n");
            "$TOLLWAY_KEY".to_owned()
        }
        None => {
            text.push_str("  admin key the configured master key\n");
            "$LITELLM_MASTER_KEY".to_owned()
        }
    };
    if let Some(model) = example(snapshot, &names) {
        let here = reachable(address);
        text.push_str(&format!(
            "\nTry it:\n  curl http://{here}/v1/chat/completions -H \"Authorization: Bearer {key}\" \
             -H 'Content-Type: application/json' \
             -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n"
        ));
    }
    crate::output::offer(&text);
}

/// What is served, and what cannot be called and why.
fn names(snapshot: &Snapshot) -> (Vec<String>, Vec<(String, String)>) {
    let mut names: Vec<String> = snapshot.listed.clone();
    let mut unavailable = Vec::new();
    for name in snapshot.routes.names() {
        let group = snapshot.routes.group(name).map(AsRef::as_ref).unwrap_or_default();
        let mut ready = false;
        for one in group {
            match &one.availability {
                Availability::Ready(_) => ready = true,
                Availability::Unavailable(why) => unavailable.push((name.to_string(), why.clone())),
            }
        }
        if ready {
            names.push(name.to_string());
        }
    }
    for template in snapshot.routes.templates() {
        let name = template.name.to_string();
        // Without a configuration the catch-all is for names that say their provider themselves.
        let implied = !snapshot.listed.is_empty() && name == "*";
        if !names.contains(&name) && !name.starts_with("demo/") && !implied {
            names.push(name);
        }
    }
    (names, unavailable)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing yet: set a provider's key in the environment, or name models in the configuration"
            .to_owned();
    }
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A model that answers when the printed line is pasted.
fn example(snapshot: &Snapshot, names: &[String]) -> Option<String> {
    if snapshot.listed.iter().any(|name| name == "demo/chat") {
        return Some("demo/chat".to_owned());
    }
    names.iter().find(|name| !name.contains('*')).cloned()
}

/// An address that a client on this machine can call.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
        _ => address,
    }
}
