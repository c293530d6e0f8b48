//! Reads the files and asks the services.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tollway_model::Secret;
use tollway_providers::aws::profile::{self, Origin};
use tollway_providers::aws::{self, Access, Credentials, Role, Scope, Source, Text, credentials_of, sts};
use tollway_wire::json::Pieces;

use super::unix_seconds;
use crate::transport::{Timeouts, Transport, TransportOptions};

/// Longest answer of a service, and longest file, that is read.
const MOST_BYTES: usize = 1 << 20;

/// What went wrong, for the log.
type Fetched<T> = Result<T, String>;

/// The first credentials that some source has, in the access's role.
pub(super) async fn credentials(transport: &Transport, access: &Access) -> Fetched<Credentials> {
    let mut failures = Vec::new();
    for source in &access.sources {
        match from_source(transport, access, source).await {
            Ok(Some(first)) => {
                return match &access.role {
                    Some(role) => assume(transport, access, role, &first).await,
                    None => Ok(first),
                };
            }
            Ok(None) => {}
            Err(why) => failures.push(why),
        }
    }
    if failures.is_empty() {
        failures.push("no source has any".to_owned());
    }
    Err(failures.join("; "))
}

/// `None`: this source has none, and need not have any.
async fn from_source(
    transport: &Transport,
    access: &Access,
    source: &Source,
) -> Fetched<Option<Credentials>> {
    match source {
        Source::Keys(keys) => Ok(Some(keys.clone())),
        Source::Profile { name, config, credentials, named } => {
            let (config, credentials) = (file(config).await?, file(credentials).await?);
            let read = |text: &Option<Secret>| text.as_ref().map_or("", Secret::expose).to_owned();
            let (config, credentials) = (Secret::from(read(&config)), Secret::from(read(&credentials)));
            match profile::read(name, config.expose(), credentials.expose()) {
                Ok(Some(found)) => from_profile(transport, access, found).await.map(Some),
                Ok(None) if *named => Err(format!("there is no profile `{name}`")),
                Ok(None) => Ok(None),
                // A profile that nobody asked for may hold a region only.
                Err(_) if !named => Ok(None),
                Err(why) => Err(why),
            }
        }
        Source::WebIdentity { role, token } => web_identity(transport, access, role, token).await.map(Some),
        Source::Container { url, token } => container(transport, url, token.as_ref()).await.map(Some),
        Source::Instance { endpoint } => instance(endpoint).await.map(Some),
    }
}

async fn from_profile(
    transport: &Transport,
    access: &Access,
    profile: profile::Profile,
) -> Fetched<Credentials> {
    let ambient = |wanted: fn(&Source) -> bool| access.ambient.iter().find(|source| wanted(source));
    let source = match profile.origin {
        Origin::Keys(keys) => Source::Keys(keys),
        Origin::WebIdentity(role, token) => Source::WebIdentity { role, token },
        Origin::Environment => ambient(|source| matches!(source, Source::Keys(_)))
            .ok_or("the profile wants the environment's keys, and there are none")?
            .clone(),
        Origin::Container => ambient(|source| matches!(source, Source::Container { .. }))
            .ok_or("the profile wants the container's credentials, and there is no such service")?
            .clone(),
        Origin::Instance => ambient(|source| matches!(source, Source::Instance { .. }))
            .ok_or("the profile wants the machine's credentials, and its service is switched off")?
            .clone(),
    };
    // No source of these leads back to a profile.
    let first = Box::pin(from_source(transport, access, &source)).await?;
    let mut credentials = first.ok_or("the profile's source has no credentials")?;
    for role in &profile.roles {
        credentials = assume(transport, access, role, &credentials).await?;
    }
    Ok(credentials)
}

async fn web_identity(
    transport: &Transport,
    access: &Access,
    role: &Role,
    token: &Text,
) -> Fetched<Credentials> {
    let token = text(token).await?;
    let form = sts::assume_role_with_web_identity(role, token.expose().trim());
    let request = form_request(&access.sts_endpoint, form)?;
    sts_answer(transport, request).await
}

/// Takes on a role with other credentials.
async fn assume(
    transport: &Transport,
    access: &Access,
    role: &Role,
    credentials: &Credentials,
) -> Fetched<Credentials> {
    let request = form_request(&access.sts_endpoint, sts::assume_role(role))?;
    let (mut parts, body) = request.into_parts();
    let scope = Scope { region: access.sts_region.clone(), service: "sts" };
    aws::sign(&mut parts, body.iter(), credentials, &scope, unix_seconds())
        .map_err(|error| error.message().to_owned())?;
    sts_answer(transport, Request::from_parts(parts, body)).await
}

fn form_request(endpoint: &str, form: String) -> Fetched<Request<Pieces>> {
    Request::post(format!("{endpoint}/"))
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(Pieces::from(Bytes::from(form)))
        .map_err(|error| format!("`aws_sts_endpoint` is no address: {error}"))
}

async fn sts_answer(transport: &Transport, request: Request<Pieces>) -> Fetched<Credentials> {
    let (status, body) = ask(transport, request, Duration::from_secs(10)).await?;
    let body = String::from_utf8_lossy(&body);
    if status.is_success() {
        return sts::credentials(&body).map_err(|why| format!("taking on the role: {why}"));
    }
    Err(format!("taking on the role was refused with {}: {}", status.as_u16(), sts::failure(&body)))
}

async fn container(transport: &Transport, url: &str, token: Option<&Text>) -> Fetched<Credentials> {
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header("authorization", text(token).await?.expose().trim());
    }
    let request =
        request.body(Pieces::default()).map_err(|error| format!("the container's service: {error}"))?;
    // Plain services are on this machine; a proxy does not reach them.
    let transport = if request.uri().scheme_str() == Some("https") { transport } else { nearby() };
    let (status, body) = ask(transport, request, Duration::from_secs(3)).await?;
    if !status.is_success() {
        return Err(format!("the container's service answered {}", status.as_u16()));
    }
    credentials_of(&body).map_err(|why| format!("the container's service: {why}"))
}

/// The machine's service, with a session as its second version wants it.
async fn instance(endpoint: &str) -> Fetched<Credentials> {
    const LIFE: &str = "21600";
    let request =
        |method: Method, path: &str| Request::builder().method(method).uri(format!("{endpoint}{path}"));
    let send = async |request: Result<Request<Pieces>, http::Error>| {
        let request = request.map_err(|error| format!("the machine's service: {error}"))?;
        let (status, body) = ask(nearby(), request, Duration::from_secs(2)).await?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&body).into_owned()),
            false => Err(format!("the machine's service answered {}", status.as_u16())),
        }
    };
    let asked =
        request(Method::PUT, "/latest/api/token").header("x-aws-ec2-metadata-token-ttl-seconds", LIFE);
    let token = Secret::from(send(asked.body(Pieces::default())).await?);
    let get = |path: &str| {
        let asked = request(Method::GET, path).header("x-aws-ec2-metadata-token", token.expose());
        asked.body(Pieces::default())
    };
    let path = "/latest/meta-data/iam/security-credentials/";
    let names = send(get(path)).await?;
    let name = names.lines().next().unwrap_or_default().trim();
    if name.is_empty() {
        return Err("the machine has no role".to_owned());
    }
    let body = Secret::from(send(get(&format!("{path}{name}"))).await?);
    credentials_of(body.expose().as_bytes()).map_err(|why| format!("the machine's service: {why}"))
}

/// Connections to services of this machine: quick, or not there.
fn nearby() -> &'static Transport {
    static NEARBY: OnceLock<Transport> = OnceLock::new();
    NEARBY.get_or_init(|| {
        Transport::new(TransportOptions {
            connect: Duration::from_secs(1),
            // Kept connections would belong to the runtime that opened them.
            pool_idle: Duration::ZERO,
            environment_proxies: false,
            ..TransportOptions::default()
        })
    })
}

async fn ask(
    transport: &Transport,
    request: Request<Pieces>,
    wait: Duration,
) -> Fetched<(StatusCode, Bytes)> {
    let timeouts = Timeouts { connect: None, first_byte: wait, idle: wait, total: wait };
    let failed = |error: tollway_model::Error| {
        let cause: String = error.context().iter().map(|(_, value)| format!(": {value}")).collect();
        format!("{}{cause}", error.message().replace("the provider", "the service"))
    };
    let answer = transport.send(request, &timeouts).await.map_err(failed)?;
    let body = answer.body.collect(MOST_BYTES).await.map_err(failed)?;
    Ok((answer.status, body))
}

async fn text(text: &Text) -> Fetched<Secret> {
    match text {
        Text::Given(secret) => Ok(secret.clone()),
        Text::File(path) => file(path).await?.ok_or_else(|| format!("there is no file `{path}`")),
    }
}

/// The text of a small file; `None` when there is none.
async fn file(path: &str) -> Fetched<Option<Secret>> {
    let name = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut text = String::new();
        let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
        std::fs::File::open(name).and_then(|file| file.take(limit).read_to_string(&mut text)).map(|_| text)
    });
    match read.await {
        Ok(Ok(text)) => Ok(Some(Secret::from(text))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(format!("the file `{path}` cannot be read: {error}")),
        Err(_) => Err(format!("the file `{path}` could not be read")),
    }
}
