//! The models a caller may use.

use std::collections::HashSet;

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tollway_accounts::manage::Params;
use tollway_ledger::books::DAY;
use tollway_ledger::litellm::{date, day_of};
use tollway_model::{Error, Kind, Result};
use tollway_pipeline::{Caller, Reply, Snapshot, json_reply};
use tollway_route::{Availability, Deployment};

/// When a model was created is not known; a fixed time keeps lists stable.
const CREATED: i64 = 1_677_610_602;

/// The parameters of `/model/info`.
pub(crate) const INFO: &[&str] = &["litellm_model_id"];
/// The parameters of `/v2/model/info`.
pub(crate) const PAGES: &[&str] =
    &["page", "size", "model", "modelId", "search", "debug", "include_team_models"];
/// The parameters of `/model_group/info`.
pub(crate) const GROUPS: &[&str] = &["model_group"];

/// The parameters of `/model/deprecations`.
pub(crate) const DEPRECATIONS: &[&str] = &["warn_within_days"];

/// Whose clients look at a list: three vendors have three shapes, two of them at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Openai,
    Anthropic,
    Gemini,
}

impl Shape {
    /// The shape that the client of a request with these headers reads, told by headers that its SDK always sends.
    pub(crate) fn of(headers: &HeaderMap) -> Shape {
        if headers.contains_key("anthropic-version") {
            Shape::Anthropic
        } else if headers.contains_key("x-goog-api-client") {
            Shape::Gemini
        } else {
            Shape::Openai
        }
    }
}

/// The list. Wildcards are in it as the models of the table that they serve; `return_wildcard_routes` shows them, too.
pub(crate) fn list(snapshot: &Snapshot, caller: &Caller, shape: Shape, query: Option<&str>) -> Reply {
    let wildcards = query.is_some_and(|query| {
        query.split('&').any(|pair| pair.eq_ignore_ascii_case("return_wildcard_routes=true"))
    });
    let mut names = names(snapshot, caller);
    if wildcards {
        let templates = snapshot.routes.templates().map(|template| template.name.to_string());
        names.extend(templates.filter(|name| may_use(snapshot, caller, name)));
    }
    let body = match shape {
        Shape::Openai => {
            let data: Vec<Value> = names.iter().map(|name| entry(snapshot, name)).collect();
            json!({ "object": "list", "data": data })
        }
        Shape::Anthropic => {
            let data: Vec<Value> = names.iter().map(|name| anthropic_entry(name)).collect();
            json!({ "data": data, "has_more": false, "first_id": names.first(), "last_id": names.last() })
        }
        Shape::Gemini => {
            let models: Vec<Value> = names.iter().map(|name| gemini_entry(snapshot, name)).collect();
            json!({ "models": models })
        }
    };
    json_reply(StatusCode::OK, &body)
}

/// One model.
pub(crate) fn one(snapshot: &Snapshot, caller: &Caller, id: &str, shape: Shape) -> Result<Reply> {
    if snapshot.resolve(target(caller, id)).is_none() || !may_use(snapshot, caller, id) {
        let error =
            Error::new(Kind::NotFound, format!("the model `{id}` does not exist")).with_param("model");
        return Err(error.with_provider(Some("model_not_found".into()), None));
    }
    let value = match shape {
        Shape::Openai => entry(snapshot, id),
        Shape::Anthropic => anthropic_entry(id),
        Shape::Gemini => gemini_entry(snapshot, id),
    };
    Ok(json_reply(StatusCode::OK, &value))
}

fn gemini_entry(snapshot: &Snapshot, name: &str) -> Value {
    let first = snapshot.routes.group(name).and_then(|group| group.first());
    let mode = first.and_then(|one| one.info.get("mode")).and_then(Value::as_str);
    let methods = match mode {
        Some("embedding") => json!(["embedContent", "batchEmbedContents"]),
        _ => json!(["generateContent", "streamGenerateContent", "countTokens"]),
    };
    json!({ "name": format!("models/{name}"), "displayName": name, "version": "1", "supportedGenerationMethods": methods })
}

/// Deployments with limits, prices and capabilities. Where they are is for the operator only.
pub(crate) fn info(snapshot: &Snapshot, caller: &Caller, query: Option<&str>) -> Reply {
    let wanted =
        query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("litellm_model_id=")));
    let deployments =
        snapshot.routes.deployments().filter(|one| wanted.is_none_or(|id| one.id.as_ref() == id));
    let deployments = deployments.filter(|one| may_use(snapshot, caller, &one.group));
    let mut data: Vec<Value> = deployments.map(|one| deployment(one, caller)).collect();
    if wanted.is_none() {
        let templates = snapshot.routes.templates().filter(|one| may_use(snapshot, caller, &one.name));
        data.extend(templates.map(|template| {
            json!({ "model_name": template.name.as_ref(), "litellm_params": { "model": template.name.as_ref() }, "model_info": {} })
        }));
    }
    json_reply(StatusCode::OK, &json!({ "data": data }))
}

/// The same in pages: `page`, `size`, `model`, `modelId`, `search`.
pub(crate) fn pages(snapshot: &Snapshot, caller: &Caller, params: &Params) -> Result<Reply> {
    params.allow(PAGES)?;
    let paging = params.paging("size", 50, 500)?;
    let (model, id) = (params.text("model")?, params.text("modelId")?);
    let search = params.text("search")?.map(str::to_ascii_lowercase);
    let found: Vec<&std::sync::Arc<Deployment>> = snapshot
        .routes
        .deployments()
        .filter(|one| may_use(snapshot, caller, &one.group))
        .filter(|one| model.is_none_or(|model| one.group.as_ref() == model))
        .filter(|one| id.is_none_or(|id| one.id.as_ref() == id))
        .filter(|one| search.as_ref().is_none_or(|text| one.group.to_ascii_lowercase().contains(text)))
        .collect();
    let skip = usize::try_from((paging.page - 1).saturating_mul(paging.size)).unwrap_or(usize::MAX);
    let size = usize::try_from(paging.size).unwrap_or(usize::MAX);
    let data: Vec<Value> = found.iter().skip(skip).take(size).map(|one| deployment(one, caller)).collect();
    let total = found.len() as u64;
    Ok(json_reply(
        StatusCode::OK,
        &json!({
            "data": data, "total_count": total, "current_page": paging.page, "total_pages": paging.pages(total),
            "size": paging.size,
        }),
    ))
}

/// Model groups: what their deployments have in common. Of numbers the smallest limit and the dearest price count, so
/// that nobody is promised more than every deployment keeps.
pub(crate) fn groups(snapshot: &Snapshot, caller: &Caller, params: &Params) -> Result<Reply> {
    params.allow(GROUPS)?;
    let wanted = params.text("model_group")?;
    let names = snapshot.routes.names().filter(|name| may_use(snapshot, caller, name));
    let names = names.filter(|name| wanted.is_none_or(|wanted| wanted == name.as_ref()));
    let data: Vec<Value> =
        names.filter_map(|name| snapshot.routes.group(name).map(|group| show_group(name, group))).collect();
    Ok(json_reply(StatusCode::OK, &json!({ "data": data })))
}

/// Deployments whose models end on a known day: those that have ended, those that end soon, and the others.
pub(crate) fn deprecations(snapshot: &Snapshot, caller: &Caller, params: &Params, now: i64) -> Result<Reply> {
    params.allow(DEPRECATIONS)?;
    let soon = match params.text("warn_within_days")? {
        None => 30,
        Some(text) => {
            text.parse::<i64>().ok().filter(|days| (0..=36_500).contains(days)).ok_or_else(|| {
                Error::invalid_at("warn_within_days", "`warn_within_days` is a whole number of days")
            })?
        }
    };
    let today = now.div_euclid(DAY);
    let mut found = Vec::new();
    for one in snapshot.routes.deployments().filter(|one| may_use(snapshot, caller, &one.group)) {
        let ends = one.info.get("deprecation_date").and_then(Value::as_str);
        let Some(left) = ends.and_then(day_of).map(|day| day - today) else { continue };
        let status = match left {
            ..0 => "deprecated",
            left if left <= soon => "imminent",
            _ => "upcoming",
        };
        let entry = json!({
            "model_name": one.group.as_ref(), "litellm_model": format!("{}/{}", one.provider, one.model),
            "litellm_provider": one.provider.as_ref(), "deprecation_date": ends, "days_until_deprecation": left,
            "status": status,
        });
        found.push((left, status, entry));
    }
    found.sort_by_key(|(left, ..)| *left);
    let of = |wanted: &str| -> Vec<&Value> {
        found.iter().filter(|(_, status, _)| *status == wanted).map(|(.., entry)| entry).collect()
    };
    let answer = json!({
        "deprecated": of("deprecated"), "imminent": of("imminent"), "upcoming": of("upcoming"),
        "warn_within_days": soon, "checked_at": date(today),
    });
    Ok(json_reply(StatusCode::OK, &answer))
}

fn show_group(name: &str, group: &[std::sync::Arc<Deployment>]) -> Value {
    let mut out = Map::new();
    let mut providers: Vec<&str> = group.iter().map(|one| one.provider.as_ref()).collect();
    providers.sort_unstable();
    providers.dedup();
    out.insert("model_group".into(), json!(name));
    out.insert("providers".into(), json!(providers));
    let values = |key: &str| group.iter().filter_map(|one| one.info.get(key)).collect::<Vec<_>>();
    for key in ["max_input_tokens", "max_output_tokens"] {
        let least = values(key).into_iter().filter_map(Value::as_u64).min();
        out.insert(key.into(), json!(least));
    }
    for key in ["input_cost_per_token", "output_cost_per_token"] {
        let dearest = values(key).into_iter().filter(|value| value.is_number()).max_by(|one, other| {
            one.as_f64().unwrap_or_default().total_cmp(&other.as_f64().unwrap_or_default())
        });
        out.insert(key.into(), json!(dearest));
    }
    out.insert("mode".into(), values("mode").first().map_or(json!("chat"), |mode| (*mode).clone()));
    let sum = |limit: fn(&Deployment) -> Option<u64>| {
        let known: Vec<u64> = group.iter().filter_map(|one| limit(one)).collect();
        (!known.is_empty()).then(|| known.iter().fold(0_u64, |sum, one| sum.saturating_add(*one)))
    };
    out.insert("tpm".into(), json!(sum(|one| one.limits.tpm)));
    out.insert("rpm".into(), json!(sum(|one| one.limits.rpm)));
    for key in [
        "supports_parallel_function_calling",
        "supports_vision",
        "supports_web_search",
        "supports_url_context",
        "supports_reasoning",
        "supports_function_calling",
    ] {
        let every = group.iter().all(|one| one.info.get(key).and_then(Value::as_bool) == Some(true));
        out.insert(key.into(), json!(every));
    }
    Value::Object(out)
}

/// What the caller may use: of the groups, aliases and wildcards, and what it is allowed by name.
fn names(snapshot: &Snapshot, caller: &Caller) -> Vec<String> {
    let mut names: Vec<String> = snapshot.routes.names().map(ToString::to_string).collect();
    names.extend(snapshot.routes.aliases().map(|(alias, _)| alias.to_owned()));
    names.extend(snapshot.listed.iter().filter(|name| !name.contains('*')).cloned());
    let plain: HashSet<String> = names.iter().cloned().collect();
    names.extend(snapshot.known().iter().filter(|name| !plain.contains(*name)).cloned());
    names.retain(|name| may_use(snapshot, caller, name));
    let mut named: Vec<&str> = caller.identity.named_models().collect();
    named.sort_unstable();
    for name in named {
        let callable = snapshot.resolve(target(caller, name)).is_some() && may_use(snapshot, caller, name);
        if callable && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn target<'a>(caller: &'a Caller, name: &'a str) -> &'a str {
    caller.identity.alias(name).unwrap_or(name)
}

fn may_use(snapshot: &Snapshot, caller: &Caller, name: &str) -> bool {
    let model = target(caller, name);
    caller.identity.may_use(model, snapshot.access_groups(model)).is_ok()
}

fn entry(snapshot: &Snapshot, name: &str) -> Value {
    let mut entry = Map::new();
    entry.insert("id".into(), json!(name));
    entry.insert("object".into(), json!("model"));
    entry.insert("created".into(), json!(CREATED));
    entry.insert("owned_by".into(), json!("openai"));
    if let Some(first) = snapshot.routes.group(name).and_then(|group| group.first()) {
        for key in ["mode", "max_input_tokens", "max_output_tokens"] {
            if let Some(value) = first.info.get(key) {
                entry.insert(key.into(), value.clone());
            }
        }
    }
    Value::Object(entry)
}

fn anthropic_entry(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": "2023-02-28T18:56:42Z" })
}

fn deployment(deployment: &Deployment, caller: &Caller) -> Value {
    let mut params = Map::new();
    params.insert("model".into(), json!(format!("{}/{}", deployment.provider, deployment.model)));
    params.insert("custom_llm_provider".into(), json!(deployment.provider.as_ref()));
    if let (true, Some(endpoint)) = (caller.is_admin(), deployment.endpoint()) {
        params.insert("api_base".into(), json!(endpoint.base()));
    }
    for (key, value) in [("rpm", deployment.limits.rpm), ("tpm", deployment.limits.tpm)] {
        if let Some(value) = value {
            params.insert(key.into(), json!(value));
        }
    }
    let mut info = deployment.info.as_ref().clone();
    info.insert("id".into(), json!(deployment.id.as_ref()));
    info.entry("db_model").or_insert(json!(false));
    if let Availability::Unavailable(reason) = &deployment.availability {
        info.insert("unavailable".into(), json!(reason));
    }
    json!({ "model_name": deployment.group.as_ref(), "litellm_params": params, "model_info": info })
}
