//! From what a deployment says to an endpoint: address, key, headers, routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use tollway_model::{Dialect, Operation, Secret};
use tollway_wire::json::write_str;

use super::{Endpoint, EndpointSpec, Mode, Route};
use crate::address::{Base, is_plain, segment};
use crate::aws::{Access, ModelName, Scope, Signing, runtime_base};
use crate::error::{EndpointError, alternatives};
use crate::headers;
use crate::hosts;
use crate::provider::{Auth, KeyNeed, ModelRules, Native, Provider};
use crate::secrets::Secrets;

type Result<T> = std::result::Result<T, EndpointError>;
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const GEMINI_VERSION: &str = "v1beta";
const ANTHROPIC_VERSION: &str = "2023-06-01";
const USER_AGENT: &str = concat!("tollway/", env!("CARGO_PKG_VERSION"));

/// A key and the environment variable it came from.
struct Key {
    secret: Secret,
    variable: Option<String>,
}

pub(super) fn build(mut spec: EndpointSpec, env: Env<'_>) -> Result<Endpoint> {
    let env: Env<'_> =
        &|name| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let Some(dialect) = spec.provider.dialect else { return Err(not_carried(&spec.provider)) };
    if dialect == Dialect::BedrockConverse {
        name_region(&mut spec);
    }
    let provider = &spec.provider;
    if spec.model.is_empty() {
        return Err(invalid(provider, "model", "it is empty"));
    }
    let own: Vec<&ModelRules> = provider.models.iter().filter(|rules| rules.concerns(&spec.model)).collect();
    let (base, own_host) = base(&spec, &own, env)?;
    let key = key(&spec, own_host, env)?;
    let signing = signing(&spec, dialect, key.as_ref(), env)?;
    let anthropic = anthropic(&spec, dialect, &base, own_host, env)?;
    let mut routes = Vec::new();
    native_routes(&spec, dialect, &base, key.as_ref(), &mut routes)?;
    let mut anthropic_headers = HeaderMap::new();
    if let Some((native, base)) = &anthropic {
        anthropic_routes(&spec, base, native.count_tokens, &native.auth, key.as_ref(), &mut routes)?;
        let fixed = BTreeMap::from([("anthropic-version".to_owned(), ANTHROPIC_VERSION.to_owned())]);
        anthropic_headers = request_headers(&spec, &native.auth, &fixed, key.as_ref(), env)?;
    }
    let headers = native_headers(&spec, dialect, key.as_ref(), env)?;
    let model =
        provider.model_name.as_ref().map_or_else(|| spec.model.clone(), |name| name.apply(&spec.model));
    let quirk_names = provider
        .all_quirk_names()
        .chain(own.iter().flat_map(|rules| rules.quirk_names.iter().map(String::as_str)));
    let quirks = crate::provider::quirks(quirk_names)
        .map_err(|error| invalid(provider, "provider", &format!("its quirks cannot be read: {error}")))?;
    let secrets = secrets(&spec, [&headers, &anthropic_headers], &routes);
    let is_own_server = is_own_server(provider, &base.shown());
    Ok(Endpoint {
        dialect: if answers_only(&spec, dialect) { Dialect::OpenaiResponses } else { dialect },
        model_json: json(&model),
        model,
        rules: rules(&spec, &own),
        extra_body: extra_body(&spec)?,
        base: base.shown(),
        routes,
        headers,
        anthropic_headers,
        signing,
        secrets,
        quirks,
        provider: spec.provider,
        dropped_fields: spec.dropped_fields,
        capabilities: spec.capabilities,
        is_own_server,
    })
}

/// Does what answers at `base` belong to the operator, and send no bills?
fn is_own_server(provider: &Provider, base: &str) -> bool {
    let host = hosts::host(base);
    if hosts::is_public(&host) {
        return false;
    }
    // Hosts that are put together from an account's name are the provider's, too.
    let row = provider.base_url.as_deref().filter(|row| !row.contains('{')).map(hosts::host);
    row.is_some_and(|row| row != host) || provider.is_own_server()
}

/// What goes to the provider as a secret. Keys that sign do not go there; their names do.
fn secrets(spec: &EndpointSpec, headers: [&HeaderMap; 2], routes: &[Route]) -> Secrets {
    let aws = &spec.aws;
    let held = [
        &aws.access_key_id,
        &aws.secret_access_key,
        &aws.session_token,
        &aws.web_identity_token,
        &spec.api_key,
    ];
    let held = held.into_iter().flatten().map(Secret::expose);
    Secrets::of(headers.into_iter(), routes.iter().map(|route| &route.uri), held)
}

/// The base in use, and whether it is the provider's own.
fn base(spec: &EndpointSpec, own: &[&ModelRules], env: Env<'_>) -> Result<(Base, bool)> {
    let provider = &spec.provider;
    let read = |text: &str, setting: &str| Base::parse(text).map_err(|why| invalid(provider, setting, &why));
    if let Some(text) = spec.api_base.as_deref().filter(|text| !text.trim().is_empty()) {
        return Ok((read(&fill(text, spec, env)?, "api_base")?, false));
    }
    if let Some((name, text, path)) = first_base(&provider.base_url_env, env) {
        return Ok((read(&fill(&text, spec, env)?, &name)?.join(&path), false));
    }
    let special = own.iter().rev().find_map(|rules| rules.base_url.as_deref());
    if let Some(text) = special {
        return Ok((read(&text.replace("{model}", &segment(&spec.model)), "model")?, true));
    }
    let Some(text) = &provider.base_url else {
        let names = provider.base_url_env.iter().map(|name| variable(name).0);
        let variables = alternatives(names);
        return Err(EndpointError::MissingBase { provider: provider.id.clone(), variables });
    };
    let mut text = fill(text, spec, env)?;
    if provider.dialect == Some(Dialect::BedrockConverse) {
        let fips = env("AWS_USE_FIPS_ENDPOINT").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        text = runtime_base(&text, &region(spec, env).unwrap_or_default(), fips);
    }
    Ok((read(&text, "base_url")?, true))
}

/// Takes the region out of the model's name, and leaves the name that goes into the path.
fn name_region(spec: &mut EndpointSpec) {
    let name = ModelName::parse(&spec.model);
    let in_place = spec.aws.model_id.take().filter(|id| !id.is_empty()).map(|id| ModelName::parse(&id));
    let in_place_region = in_place.as_ref().and_then(|name| name.region.clone());
    spec.aws.model_id = in_place.map(|name| name.id);
    if let Some(region) =
        spec.aws.region.clone().or(in_place_region).or(name.region).filter(|region| !region.is_empty())
    {
        spec.variables.insert("region".to_owned(), region);
    }
    spec.model = name.id;
}

/// The region that was named, or that of the environment.
fn region(spec: &EndpointSpec, env: Env<'_>) -> Option<String> {
    let names = spec.provider.variables.get("region").map(Vec::as_slice).unwrap_or_default();
    spec.variables.get("region").cloned().or_else(|| names.iter().find_map(|name| env(name)))
}

/// How requests are signed, where no key goes along with them.
fn signing(
    spec: &EndpointSpec,
    dialect: Dialect,
    key: Option<&Key>,
    env: Env<'_>,
) -> Result<Option<Arc<Signing>>> {
    if dialect != Dialect::BedrockConverse || key.is_some() || brings_its_own_key(spec) {
        return Ok(None);
    }
    // Signed for a region even where the address does not name one.
    let region = fill("{region}", spec, env)?;
    let access = Access::plan(&spec.aws, &region, env)
        .map_err(|(setting, why)| invalid(&spec.provider, setting, &why))?;
    Ok(Some(Arc::new(Signing { scope: Scope { region, service: "bedrock" }, access })))
}

/// The first variable that is set, its value, and the path to append.
fn first_base(names: &[String], env: Env<'_>) -> Option<(String, String, String)> {
    names.iter().find_map(|entry| {
        let (name, path) = variable(entry);
        Some((name.to_owned(), env(name)?, path.to_owned()))
    })
}

/// Splits `NAME/path`.
fn variable(entry: &str) -> (&str, &str) {
    entry.split_at(entry.find('/').unwrap_or(entry.len()))
}

/// Fills the `{name}`s of a base.
fn fill(text: &str, spec: &EndpointSpec, env: Env<'_>) -> Result<String> {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        let names = spec.provider.variables.get(name).map(Vec::as_slice).unwrap_or_default();
        let given = spec.variables.get(name).cloned().filter(|value| !value.is_empty());
        let Some(value) = given.or_else(|| names.iter().find_map(|name| env(name))) else {
            return Err(EndpointError::MissingVariable {
                provider: spec.provider.id.clone(),
                name: name.to_owned(),
                variables: alternatives(names.iter().map(String::as_str)),
            });
        };
        if !is_plain(&value) {
            let why = "only letters, digits, `-`, `_` and `.` can be part of an address";
            return Err(invalid(&spec.provider, name, why));
        }
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn key(spec: &EndpointSpec, own_host: bool, env: Env<'_>) -> Result<Option<Key>> {
    let provider = &spec.provider;
    if provider.key == KeyNeed::None {
        return Ok(None);
    }
    if let Some(given) = spec.api_key.as_ref().filter(|given| !given.expose().trim().is_empty()) {
        return Ok(Some(Key { secret: Secret::new(given.expose().trim()), variable: None }));
    }
    // Whoever says whose credentials to use does not mean the environment's key.
    if spec.aws.name_credentials() {
        return Ok(None);
    }
    let names: &[String] = if own_host || !provider.own_host_only { &provider.key_env } else { &[] };
    let found = names.iter().find_map(|name| {
        env(name).map(|value| Key { secret: Secret::from(value), variable: Some(name.clone()) })
    });
    if found.is_none() && provider.requires_key() && !brings_its_own_key(spec) {
        let variables = alternatives(names.iter().map(String::as_str));
        return Err(EndpointError::MissingKey { provider: provider.id.clone(), variables });
    }
    Ok(found)
}

/// Do the extra headers hold the credential already?
fn brings_its_own_key(spec: &EndpointSpec) -> bool {
    let name = match &spec.provider.auth {
        Auth::Header(name) => name.as_str(),
        _ => "authorization",
    };
    spec.extra_headers
        .iter()
        .any(|(header, _)| header.eq_ignore_ascii_case(name) || header.eq_ignore_ascii_case("authorization"))
}

/// The second base of a provider that speaks Anthropic too.
///
/// Offered only where the verbatim lane loses no setting: `extra_body` and the fields to drop are named in the
/// provider's main dialect.
fn anthropic(
    spec: &EndpointSpec,
    dialect: Dialect,
    base: &Base,
    own_host: bool,
    env: Env<'_>,
) -> Result<Option<(Native, Base)>> {
    if dialect == Dialect::Anthropic || !spec.extra_body.is_empty() || !spec.dropped_fields.is_empty() {
        return Ok(None);
    }
    let read =
        |text: &str, setting: &str| Base::parse(text).map_err(|why| invalid(&spec.provider, setting, &why));
    let row = spec.provider.anthropic.clone();
    if let Some(text) = &spec.anthropic_base {
        let unknown = Native {
            base_url: String::new(),
            base_url_env: Vec::new(),
            auth: Auth::Bearer,
            count_tokens: false,
        };
        return Ok(Some((row.unwrap_or(unknown), read(text, "anthropic_base")?)));
    }
    let Some(row) = row else { return Ok(None) };
    if spec.api_base.is_none()
        && let Some((name, text, _)) = first_base(&row.base_url_env, env)
    {
        let base = read(&text, &name)?;
        return Ok(Some((row, base)));
    }
    if row.base_url == "{base_url}" {
        return Ok(Some((row, base.clone())));
    }
    if !own_host {
        return Ok(None);
    }
    let base = read(&fill(&row.base_url, spec, env)?, "anthropic.base_url")?;
    Ok(Some((row, base)))
}

fn native_routes(
    spec: &EndpointSpec,
    dialect: Dialect,
    base: &Base,
    key: Option<&Key>,
    routes: &mut Vec<Route>,
) -> Result<()> {
    let provider = &spec.provider;
    let auth = &auth(provider, key).0;
    match dialect {
        Dialect::Anthropic => {
            let counts = provider.serves(Operation::CountTokens);
            anthropic_routes(spec, base, counts, auth, key, routes)
        }
        Dialect::Gemini => {
            let version = spec.api_version.as_deref().unwrap_or(GEMINI_VERSION);
            let methods = [
                (Operation::Chat, Some(false), "generateContent"),
                (Operation::Chat, Some(true), "streamGenerateContent"),
                (Operation::CountTokens, None, "countTokens"),
                (Operation::Embedding, None, "batchEmbedContents"),
            ];
            for (operation, stream, method) in methods {
                let mut url = base.gemini(version, &spec.model, method);
                if stream == Some(true) {
                    url = url.with_query("alt", "sse");
                }
                routes.push(route(provider, operation, dialect, stream, &with_key(url, auth, key))?);
            }
            Ok(())
        }
        Dialect::BedrockConverse => {
            for (stream, method) in [(false, "converse"), (true, "converse-stream")] {
                let url = base.bedrock(spec.aws.model_id.as_deref().unwrap_or(&spec.model), method);
                routes.push(route(provider, Operation::Chat, dialect, Some(stream), &url)?);
            }
            Ok(())
        }
        _ => {
            let mut operations =
                vec![(Operation::Embedding, Dialect::OpenaiChat, "embeddings", "/embeddings")];
            let only = answers_only(spec, dialect);
            if !only {
                operations.push((Operation::Chat, Dialect::OpenaiChat, "chat", "/chat/completions"));
            }
            if only || (spec.mode == Mode::Native && provider.serves_responses()) {
                operations.push((Operation::Chat, Dialect::OpenaiResponses, "responses", "/responses"));
            }
            // Where completions are not known to exist they go out as chats, so a guess would lose calls.
            if provider.serves(Operation::Completion) {
                operations.push((Operation::Completion, Dialect::OpenaiText, "completions", "/completions"));
            }
            for (operation, dialect, name, path) in operations {
                let mut url = base.join(provider.paths.get(name).map_or(path, String::as_str));
                if let Some(version) = &spec.api_version {
                    url = url.with_query("api-version", version);
                }
                routes.push(route(provider, operation, dialect, None, &with_key(url, auth, key))?);
            }
            Ok(())
        }
    }
}

/// Does every chat of this deployment go out in the Responses dialect?
fn answers_only(spec: &EndpointSpec, dialect: Dialect) -> bool {
    spec.mode == Mode::Responses && dialect == Dialect::OpenaiChat
}

fn anthropic_routes(
    spec: &EndpointSpec,
    base: &Base,
    counts: bool,
    auth: &Auth,
    key: Option<&Key>,
    routes: &mut Vec<Route>,
) -> Result<()> {
    let mut paths = vec![(Operation::Chat, "/v1/messages")];
    if counts {
        paths.push((Operation::CountTokens, "/v1/messages/count_tokens"));
    }
    for (operation, path) in paths {
        let url = with_key(base.join(path), auth, key);
        routes.push(route(&spec.provider, operation, Dialect::Anthropic, None, &url)?);
    }
    Ok(())
}

fn with_key(url: Base, auth: &Auth, key: Option<&Key>) -> Base {
    match (auth, key) {
        (Auth::Query(name), Some(key)) => url.with_query(name, key.secret.expose()),
        _ => url,
    }
}

fn route(
    provider: &Provider,
    operation: Operation,
    dialect: Dialect,
    stream: Option<bool>,
    url: &Base,
) -> Result<Route> {
    let uri = url.uri().map_err(|why| invalid(provider, "api_base", &why))?;
    Ok(Route { operation, dialect, stream, uri })
}

/// How the key travels, and the headers it needs.
fn auth(provider: &Provider, key: Option<&Key>) -> (Auth, BTreeMap<String, String>) {
    let applies = |when: &&crate::AuthWhen| {
        let Some(key) = key else { return false };
        let prefix = when.key_prefix.as_deref().is_none_or(|prefix| key.secret.expose().starts_with(prefix));
        prefix && (when.key_env.is_none() || when.key_env == key.variable)
    };
    match provider.auth_when.iter().find(applies) {
        Some(when) => (when.auth.clone(), when.headers.clone()),
        None => (provider.auth.clone(), BTreeMap::new()),
    }
}

fn native_headers(
    spec: &EndpointSpec,
    dialect: Dialect,
    key: Option<&Key>,
    env: Env<'_>,
) -> Result<HeaderMap> {
    let (auth, more) = auth(&spec.provider, key);
    let mut fixed = spec.provider.headers.clone();
    fixed.extend(more);
    if dialect == Dialect::Anthropic
        && let Some(version) = &spec.api_version
    {
        fixed.insert("anthropic-version".to_owned(), version.clone());
    }
    if matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiText)
        && let Some(organization) = &spec.organization
    {
        fixed.retain(|name, _| !name.eq_ignore_ascii_case("openai-organization"));
        fixed.insert("openai-organization".to_owned(), organization.clone());
    }
    request_headers(spec, &auth, &fixed, key, env)
}

fn request_headers(
    spec: &EndpointSpec,
    auth: &Auth,
    fixed: &BTreeMap<String, String>,
    key: Option<&Key>,
    env: Env<'_>,
) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    let secret = key.map(|key| key.secret.expose());
    let mut set = |name: &str, value: &str, sensitive, setting: &str| {
        headers::set(&mut map, name, value, sensitive).map_err(|why| invalid(&spec.provider, setting, &why))
    };
    set("content-type", "application/json", false, "headers")?;
    set("user-agent", USER_AGENT, false, "headers")?;
    for (name, template) in fixed {
        let Some(value) = header_value(template, secret, env) else { continue };
        set(name, &value, template.contains('{'), "headers")?;
    }
    match (auth, secret) {
        (Auth::Bearer, Some(secret)) => set("authorization", &format!("Bearer {secret}"), true, "api_key")?,
        (Auth::Scheme(name), Some(secret)) => {
            set("authorization", &format!("{name} {secret}"), true, "api_key")?
        }
        (Auth::Header(name), Some(secret)) => set(name.as_str(), secret, true, "api_key")?,
        (Auth::Query(_) | Auth::None, _) | (_, None) => {}
    }
    for (name, value) in &spec.extra_headers {
        set(name, value, true, "extra_headers")?;
    }
    Ok(map)
}

/// The value of a constant header: itself, the key, or the first of some environment variables.
fn header_value(template: &str, key: Option<&str>, env: Env<'_>) -> Option<String> {
    let Some(names) = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Some(template.to_owned());
    };
    if names == "api_key" {
        return key.map(str::to_owned);
    }
    names.split('|').find_map(env)
}

fn rules(spec: &EndpointSpec, own: &[&ModelRules]) -> Vec<ModelRules> {
    let row = ModelRules { rules: spec.provider.rules.clone(), ..ModelRules::default() };
    let mut all: Vec<_> = std::iter::once(row).chain(own.iter().map(|rules| (*rules).clone())).collect();
    for one in &mut all {
        one.rules.allow(&spec.allowed_fields);
    }
    all.retain(|one| !one.rules.is_empty());
    all
}

fn extra_body(spec: &EndpointSpec) -> Result<Vec<(String, String)>> {
    // A stream flag beside the caller's would make the answer come in a form nobody reads.
    if spec.extra_body.contains_key("stream") {
        return Err(invalid(&spec.provider, "extra_body", "`stream` is the caller's choice"));
    }
    Ok(spec.extra_body.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect())
}

fn json(text: &str) -> String {
    let mut raw = Vec::with_capacity(text.len() + 2);
    write_str(text, &mut raw);
    String::from_utf8(raw).unwrap_or_default()
}

fn not_carried(provider: &Provider) -> EndpointError {
    EndpointError::NotCarried {
        provider: provider.id.clone(),
        title: provider.title.clone(),
        hint: provider.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default(),
    }
}

fn invalid(provider: &Provider, setting: &str, why: &str) -> EndpointError {
    EndpointError::Invalid { provider: provider.id.clone(), setting: setting.to_owned(), why: why.to_owned() }
}
