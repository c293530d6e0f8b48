//! `tollway keys`: the virtual keys of a running gateway.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use tollway::{Timeouts, Transport};
use tollway_config::process_env;

use crate::output::{line, shown_url};

/// Which gateway, and what to do.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// The running gateway
    #[arg(long, env = "TOLLWAY_URL", default_value = "http://127.0.0.1:4000", global = true)]
    url: String,
    /// The admin key; without it TOLLWAY_KEY, else LITELLM_MASTER_KEY
    #[arg(long, env = "TOLLWAY_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// The gateway's whole answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: KeysCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Makes a key and prints it; it is shown this once
    Create(CreateArgs),
    /// Lists keys
    List {
        /// Those of a user
        #[arg(long)]
        user: Option<String>,
        /// Those of a team
        #[arg(long)]
        team: Option<String>,
        /// Which page of a hundred
        #[arg(long, default_value_t = 1)]
        page: u64,
    },
    /// Shows a key's settings and spend
    Info {
        /// The key or its hash
        named: String,
    },
    /// Refuses a key from now on
    Block {
        /// The key or its hash
        named: String,
    },
    /// Accepts a blocked key again
    Unblock {
        /// The key or its hash
        named: String,
    },
    /// Gives a key a new secret and prints it
    Regenerate {
        /// The key or its hash
        named: String,
        /// How long the old one stays valid, such as 24h
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
    },
    /// Deletes keys
    Delete {
        /// Keys or their hashes
        #[arg(required_unless_present = "alias")]
        named: Vec<String>,
        /// A key's name
        #[arg(long)]
        alias: Vec<String>,
    },
}

/// What a new key may.
#[derive(Debug, Args)]
struct CreateArgs {
    /// Its name
    #[arg(long)]
    alias: Option<String>,
    /// A model it may use; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// The user it belongs to
    #[arg(long)]
    user: Option<String>,
    /// The team it belongs to
    #[arg(long)]
    team: Option<String>,
    /// Most US dollars
    #[arg(long, value_name = "DOLLARS")]
    budget: Option<serde_json::Number>,
    /// The budget's window, such as 1mo
    #[arg(long, requires = "budget", value_name = "DURATION")]
    every: Option<String>,
    /// Requests a minute
    #[arg(long)]
    rpm: Option<u64>,
    /// Tokens a minute
    #[arg(long)]
    tpm: Option<u64>,
    /// When it ends, such as 30d
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,
}

/// Asks the gateway and prints what it answers.
pub(crate) fn run(arguments: &KeysArgs) -> Result<ExitCode, String> {
    let key = arguments.key.clone().or_else(|| process_env("LITELLM_MASTER_KEY"));
    let key = key.ok_or("no key: pass --key, or set TOLLWAY_KEY to the gateway's admin key")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let (method, path, body) = request(&arguments.command);
    let answer = runtime.block_on(ask(&arguments.url, &key, method, &path, body.as_ref()))?;
    if arguments.json {
        line(&serde_json::to_string_pretty(&answer).unwrap_or_default());
    } else {
        line(told(&arguments.command, &answer).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// The request that a command stands for.
fn request(command: &KeysCommand) -> (Method, String, Option<Value>) {
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), Some(body));
    match command {
        KeysCommand::Create(create) => post("/key/generate", Value::Object(wanted(create))),
        KeysCommand::List { user, team, page } => {
            let mut path = format!("/key/list?return_full_object=true&size=100&page={page}");
            for (name, value) in [("user_id", user), ("team_id", team)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", escaped(value)));
                }
            }
            (Method::GET, path, None)
        }
        KeysCommand::Info { named } => post("/v2/key/info", json!({ "keys": [named] })),
        KeysCommand::Block { named } => post("/key/block", json!({ "key": named })),
        KeysCommand::Unblock { named } => post("/key/unblock", json!({ "key": named })),
        KeysCommand::Regenerate { named, grace } => {
            post("/key/regenerate", json!({ "key": named, "grace_period": grace }))
        }
        KeysCommand::Delete { named, alias } => {
            post("/key/delete", json!({ "keys": named, "key_aliases": alias }))
        }
    }
}

fn wanted(create: &CreateArgs) -> Map<String, Value> {
    let fields = [
        ("key_alias", json!(create.alias)),
        ("models", json!(create.models)),
        ("user_id", json!(create.user)),
        ("team_id", json!(create.team)),
        ("max_budget", json!(create.budget)),
        ("budget_duration", json!(create.every)),
        ("rpm_limit", json!(create.rpm)),
        ("tpm_limit", json!(create.tpm)),
        ("duration", json!(create.duration)),
    ];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Everything but letters and digits, escaped for a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

async fn ask(
    url: &str,
    key: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let base = url.trim_end_matches('/');
    let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{base}{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(bytes);
    let request = request.map_err(|error| format!("{} cannot be asked: {error}", shown_url(base)))?;
    let timeouts = Timeouts { first_byte: Duration::from_secs(10), ..Timeouts::default() };
    let unreachable =
        |error| format!("no gateway at {}: {error}; is it running? --url names another", shown_url(base));
    let answer = Transport::default().send(request, &timeouts).await.map_err(unreachable)?;
    let status = answer.status;
    let body = answer.body.collect(16 << 20).await.map_err(|error| error.to_string())?;
    let value: Value =
        serde_json::from_slice(&body).map_err(|_| format!("{} is not a Tollway gateway", shown_url(base)))?;
    if !status.is_success() {
        let message = value.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(format!("{status}: {message}"));
    }
    Ok(value)
}

/// An answer for people. A new key stands alone, so that scripts can take it.
fn told(command: &KeysCommand, answer: &Value) -> String {
    match command {
        KeysCommand::Create(_) | KeysCommand::Regenerate { .. } => text(answer, "key"),
        KeysCommand::List { .. } => table(answer),
        KeysCommand::Info { .. } => match answer.pointer("/info/0") {
            Some(info) => details(info),
            None => "there is no such key".to_owned(),
        },
        KeysCommand::Block { .. } | KeysCommand::Unblock { .. } => {
            format!("{} is {}", text(answer, "key_name"), text(answer, "status"))
        }
        KeysCommand::Delete { named, alias } => format!("{} keys were deleted", named.len() + alias.len()),
    }
}

const COLUMNS: [(&str, &str, usize); 7] = [
    ("KEY", "key_name", 12),
    ("ALIAS", "key_alias", 24),
    ("STATUS", "status", 8),
    ("SPEND", "spend", 12),
    ("BUDGET", "max_budget", 10),
    ("TEAM", "team_id", 20),
    ("HASH", "token", 64),
];

fn table(answer: &Value) -> String {
    let keys = answer.get("keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut out: String = COLUMNS.iter().map(|(title, _, width)| format!("{title:width$}  ")).collect();
    for key in keys {
        out.push('\n');
        out.extend(COLUMNS.iter().map(|(_, field, width)| format!("{:width$}  ", text(key, field))));
    }
    let (page, pages) = (text(answer, "current_page"), text(answer, "total_pages"));
    out.push_str(&format!("\n{} keys, page {page} of {pages}\n", text(answer, "total_count")));
    out
}

fn details(info: &Value) -> String {
    let fields = info.as_object().into_iter().flatten();
    let said = fields.filter(|(_, value)| {
        let is_empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        !value.is_null() && !is_empty
    });
    said.map(|(name, _)| format!("{name:24}{}\n", text(info, name))).collect()
}

fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => "-".to_owned(),
        // What others typed must not steer the terminal.
        Some(Value::String(text)) => text.chars().filter(|letter| !letter.is_control()).collect(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_asked_for() {
        let create = CreateArgs {
            alias: Some("ci".into()),
            models: vec!["gpt".into()],
            user: None,
            team: None,
            budget: "0.10".parse().ok(),
            every: None,
            rpm: Some(3),
            tpm: None,
            duration: None,
        };
        let (method, path, body) = request(&KeysCommand::Create(create));
        assert_eq!((method, path.as_str()), (Method::POST, "/key/generate"));
        assert_eq!(
            body,
            Some(json!({ "key_alias": "ci", "models": ["gpt"], "max_budget": 0.1, "rpm_limit": 3 }))
        );
        let list = KeysCommand::List { user: Some("a&b=c".into()), team: None, page: 2 };
        assert!(request(&list).1.ends_with("&page=2&user_id=a%26b%3Dc"));
    }

    #[test]
    fn lists_are_tables_and_nothing_steers_the_terminal() {
        let keys = json!({
            "keys": [{ "key_name": "sk-...abcd", "key_alias": "evil\u{1b}[2J", "spend": 0.5, "token": "ff" }],
            "total_count": 1, "current_page": 1, "total_pages": 1,
        });
        let shown = table(&keys);
        assert!(shown.contains("sk-...abcd") && shown.contains("evil[2J") && !shown.contains('\u{1b}'));
        assert!(shown.ends_with("1 keys, page 1 of 1\n"));
    }
}
