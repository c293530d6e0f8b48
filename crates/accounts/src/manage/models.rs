//! Models added over the API. Their secrets are sealed, and can be written and never read.

use serde_json::{Map, Value, json};
use tollway_model::{Error, Result, Secret};
use tollway_store::records::Model;
use tollway_store::{Query, SealError, Sealer};

use super::desk::{is_secret_name, patiently};
use super::errors::{bad, not_found};
use super::fields::{Field, NOT_BUILT, Request as _, check_free, check_name, request};
use super::periods::iso;
use super::{Management, secret};
use crate::rights::{Grant, Right};

/// What stands in answers for a secret; sent back, it leaves the secret as it is.
const STARS: &str = "***";
/// Purposes of seals: texts, and other JSON.
const TEXT: &str = "model";
const JSON: &str = "model-json";

request! {
    /// `POST /model/new`
    NewModel {
        /// The name clients ask for.
        model_name: String,
        /// How it is reached: `model`, `api_base`, `api_key`, … as in `model_list`.
        litellm_params: Map<String, Value>,
        /// What is known of it; `id` names it.
        model_info: Map<String, Value>,
        /// Not called while true.
        blocked: bool,
        ; required ["model_name", "litellm_params"]
        ; refused &[("team_id", NOT_BUILT)]
    }
}

request! {
    /// `POST /model/update`, `PATCH /model/{id}/update`
    ModelRequest {
        /// The name clients ask for.
        model_name: String,
        /// What changes; null takes a parameter away.
        litellm_params: Map<String, Value>,
        /// What changes; `id` says which model, where the path does not.
        model_info: Map<String, Value>,
        /// Not called while true.
        blocked: bool,
        /// Which model, where neither the path nor `model_info` says.
        id: String,
        ; refused &[("team_id", NOT_BUILT)]
    }
}

request! {
    /// `POST /model/delete`, `/model/block`, `/model/unblock`
    ModelId {
        /// Which.
        id: String,
        /// Which; another spelling.
        model_id: String,
    }
}

/// A stored model with its secrets in the clear, for building deployments. Prints no parameter.
pub struct OpenModel(pub Model);

impl std::fmt::Debug for OpenModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenModel({})", self.0.model_id)
    }
}

impl Management {
    /// Every stored model, opened. A model that cannot be opened is there with the reason, and keeps no other away.
    pub async fn open_models(&self) -> Result<Vec<(String, Result<OpenModel>)>> {
        let models = self.models.all(Query::default()).await?;
        Ok(models.into_iter().map(|model| (model.model_id.clone(), open(&self.sealer, model))).collect())
    }

    /// `POST /model/new`
    pub async fn model_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::ModelWrite])?;
        let request = NewModel::parse(body)?;
        let mut info = request.model_info.get().cloned().unwrap_or_default();
        let model_id = match info.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            Some(id) => id.to_owned(),
            None => secret::id()?,
        };
        check_name("model_info.id", &model_id)?;
        if self.models.get(&model_id).await?.is_some() {
            return Err(bad("model_info.id", format!("there is a model `{model_id}` already")));
        }
        info.insert("id".into(), json!(model_id));
        let mut model = Model {
            model_id,
            model_name: request.model_name.get().cloned().unwrap_or_default(),
            blocked: request.blocked.get().copied().unwrap_or_default(),
            ..Model::default()
        };
        self.put_params(&mut model, request.litellm_params.get())?;
        put_info(&mut model, Some(&info))?;
        check_model(&model)?;
        self.check_served(&model)?;
        let model = self.models.create(grant.actor(), model).await?;
        Ok(show(&model))
    }

    /// `POST /model/update` and `PATCH /model/{model_id}/update`: parameters are merged, null takes one away.
    pub async fn model_update(&self, grant: &Grant, named: Option<&str>, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::ModelWrite])?;
        let request = ModelRequest::parse(body)?;
        let in_body = request.model_info.get().and_then(|info| info.get("id")).and_then(Value::as_str);
        let id = named
            .or(in_body)
            .or(request.id.get().map(String::as_str))
            .ok_or_else(|| bad("model_info", "`model_info.id` is missing: which model?"))?;
        let model = patiently(|| async {
            let before = self.model(id).await?;
            let mut after = before.clone();
            if let Field::Set(name) = &request.model_name {
                after.model_name.clone_from(name);
            }
            request.blocked.fill(&mut after.blocked);
            self.put_params(&mut after, request.litellm_params.get())?;
            put_info(&mut after, request.model_info.get())?;
            check_model(&after)?;
            check_place(&before, &after)?;
            // One that cannot be served any more can still get another name, or be blocked.
            if (&after.litellm_params, &after.model_info) != (&before.litellm_params, &before.model_info) {
                self.check_served(&after)?;
            }
            self.models.change(grant.actor(), "updated", &before, after).await
        });
        Ok(show(&model.await?))
    }

    /// `POST /model/delete`
    pub async fn model_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::ModelWrite])?;
        let model = self.model(&model_id(body)?).await?;
        self.models.remove(grant.actor(), &model).await?;
        Ok(
            json!({ "message": format!("the model {} was deleted", model.model_id), "model_id": model.model_id }),
        )
    }

    /// `POST /model/block` and `/model/unblock`
    pub async fn model_block(&self, grant: &Grant, body: &[u8], blocked: bool) -> Result<Value> {
        grant.demand(&[Right::ModelWrite])?;
        let id = model_id(body)?;
        let action = if blocked { "blocked" } else { "unblocked" };
        let model = patiently(|| async {
            let before = self.model(&id).await?;
            self.models.change(grant.actor(), action, &before, Model { blocked, ..before.clone() }).await
        });
        Ok(show(&model.await?))
    }

    /// Refuses what nobody could call: better now than when it is called.
    fn check_served(&self, model: &Model) -> Result<()> {
        let Some(check) = &self.model_check else { return Ok(()) };
        let opened = open(&self.sealer, Model { blocked: false, ..model.clone() })?;
        check(&opened).map_err(|why| bad("litellm_params", format!("this model could not be served: {why}")))
    }

    async fn model(&self, id: &str) -> Result<Model> {
        let shown: String = id.chars().take(80).collect();
        let message = format!(
            "there is no model `{shown}` that was added over the API; others are in the configuration"
        );
        self.models.get(id).await?.ok_or_else(|| not_found("id", message))
    }

    /// Merges parameters; secrets are sealed before anything else sees them.
    fn put_params(&self, model: &mut Model, given: Option<&Map<String, Value>>) -> Result<()> {
        let Some(given) = given else { return Ok(()) };
        check_free("litellm_params", given)?;
        for (name, value) in given {
            check_name("litellm_params", name)?;
            if is_reference(value) {
                let message =
                    "name the secret itself: references to the environment are for the configuration file";
                return Err(bad(format!("litellm_params.{name}"), message));
            }
            if value.is_null() {
                model.litellm_params.shift_remove(name);
            } else if value != STARS {
                let value = self.sealed(&model.model_id, name, value)?;
                model.litellm_params.insert(name.clone(), value);
            } else if !model.litellm_params.contains_key(name) {
                return Err(bad(
                    format!("litellm_params.{name}"),
                    format!("there is no `{name}` behind the stars"),
                ));
            }
        }
        Ok(())
    }

    fn sealed(&self, model_id: &str, name: &str, value: &Value) -> Result<Value> {
        if looks_sealed(value) {
            return Err(bad(format!("litellm_params.{name}"), "a sealed text is no value here"));
        }
        if !is_secret(name) && !tells_secret(value) {
            return Ok(value.clone());
        }
        let (purpose, plain) = match value {
            Value::String(text) => (TEXT, Secret::new(text.clone())),
            other => (JSON, Secret::new(other.to_string())),
        };
        self.sealer.seal(purpose, model_id, &plain).map(Value::String).map_err(|error| broken(&error))
    }
}

/// Parameters that are secrets. Headers may carry some; a secret's name tells in the rest.
fn is_secret(name: &str) -> bool {
    is_secret_name(name) || matches!(name, "extra_headers" | "headers" | "vertex_credentials")
}

/// An address with a password or with parameters, which are keys often enough.
fn tells_secret(value: &Value) -> bool {
    let Some((_, rest)) = value.as_str().and_then(|text| text.split_once("://")) else { return false };
    rest.contains(['?', '@'])
}

fn is_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("os.environ/"),
        Value::Array(items) => items.iter().any(is_reference),
        Value::Object(map) => map.values().any(is_reference),
        _ => false,
    }
}

fn looks_sealed(value: &Value) -> bool {
    match value {
        Value::String(text) => Sealer::is_sealed(text),
        Value::Array(items) => items.iter().any(looks_sealed),
        Value::Object(map) => map.values().any(looks_sealed),
        _ => false,
    }
}

fn put_info(model: &mut Model, given: Option<&Map<String, Value>>) -> Result<()> {
    let Some(given) = given else { return Ok(()) };
    check_free("model_info", given)?;
    if let Some(name) = ["team_id", "team_public_model_name", "access_windows"]
        .into_iter()
        .find(|name| given.get(*name).is_some_and(|value| !value.is_null()))
    {
        return Err(bad(format!("model_info.{name}"), format!("`model_info.{name}` {NOT_BUILT}")));
    }
    for (name, value) in given {
        if name == "id" {
            continue;
        }
        if value.is_null() {
            model.model_info.shift_remove(name);
        } else {
            model.model_info.insert(name.clone(), value.clone());
        }
    }
    Ok(())
}

fn check_model(model: &Model) -> Result<()> {
    if model.model_name.contains("os.environ/") || model.model_info.values().any(is_reference) {
        let message = "references to the environment are for the configuration file";
        return Err(bad("model_info", message));
    }
    check_name("model_name", &model.model_name)?;
    match model.litellm_params.get("model") {
        Some(Value::String(name)) => check_name("litellm_params.model", name),
        _ => Err(bad("litellm_params.model", "`litellm_params.model` is missing: `provider/model`")),
    }
}

/// Whoever moves a model to another address does not take its secrets along: they are given anew with it. Otherwise a
/// secret that cannot be read could be sent somewhere to be read there.
fn check_place(before: &Model, after: &Model) -> Result<()> {
    let keeps =
        |(name, value): (&String, &Value)| is_secret(name) && before.litellm_params.get(name) == Some(value);
    if !after.litellm_params.iter().any(keeps) || place(before) == place(after) {
        return Ok(());
    }
    Err(bad(
        "litellm_params",
        "where the model is reached changes: give its secrets anew with it, or null them",
    ))
}

/// What decides where its secrets go: the provider, and every parameter that speaks of a place.
fn place(model: &Model) -> Vec<(&str, String)> {
    let words = ["base", "url", "endpoint", "host", "proxy", "region", "provider"];
    let mut place: Vec<(&str, String)> = model
        .litellm_params
        .iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) if name == "model" => {
                Some((name.as_str(), text.split('/').next().unwrap_or_default().to_owned()))
            }
            value if words.iter().any(|word| name.contains(word)) => Some((name.as_str(), value.to_string())),
            _ => None,
        })
        .collect();
    place.sort();
    place
}

fn model_id(body: &[u8]) -> Result<String> {
    let request = ModelId::parse(body)?;
    let id = request.id.get().or(request.model_id.get()).cloned();
    id.ok_or_else(|| bad("id", "`id` is missing: which model?"))
}

fn open(sealer: &Sealer, mut model: Model) -> Result<OpenModel> {
    for value in model.litellm_params.values_mut() {
        let Value::String(text) = &*value else { continue };
        if !Sealer::is_sealed(text) {
            continue;
        }
        let opened = match sealer.open(TEXT, &model.model_id, text) {
            Ok(secret) => Value::String(secret.expose().to_owned()),
            Err(SealError::OtherPurpose(..)) => {
                let secret = sealer.open(JSON, &model.model_id, text).map_err(|error| broken(&error))?;
                serde_json::from_str(secret.expose())
                    .map_err(|_| Error::internal("a sealed value is not JSON"))?
            }
            Err(error) => return Err(broken(&error)),
        };
        *value = opened;
    }
    Ok(OpenModel(model))
}

fn broken(error: &SealError) -> Error {
    Error::internal(format!("a secret of a stored model cannot be used: {error}"))
}

/// A model without its secrets.
fn show(model: &Model) -> Value {
    let mut params = model.litellm_params.clone();
    for (name, value) in &mut params {
        if is_secret(name) || looks_sealed(value) {
            *value = json!(STARS);
        }
    }
    let mut info = model.model_info.clone();
    info.insert("id".into(), json!(model.model_id));
    info.insert("db_model".into(), json!(true));
    json!({
        "model_id": model.model_id,
        "model_name": model.model_name,
        "litellm_params": params,
        "model_info": info,
        "blocked": model.blocked,
        "created_at": iso(Some(model.stamp.created_at)),
        "created_by": model.stamp.created_by,
        "updated_at": iso(Some(model.stamp.updated_at)),
        "updated_by": model.stamp.updated_by,
    })
}
