//! What the operator asks of the running gateway.

use http::StatusCode;
use serde_json::{Value, json};
use tollway_model::{Error, Kind, Result};
use tollway_pipeline::{Gateway, Reply, json_reply};

use crate::service::Hooks;

/// Why a call went the way it went.
pub(crate) fn receipt(gateway: &Gateway, id: &str) -> Result<Reply> {
    let receipt = gateway.receipts().get(id).ok_or_else(|| {
        let message =
            format!("no receipt `{id}`; the latest ones are kept in memory, GET /receipts lists them");
        Error::new(Kind::NotFound, message)
    })?;
    Ok(json_reply(StatusCode::OK, &serde_json::to_value(&*receipt).unwrap_or(Value::Null)))
}

/// The latest receipts, newest first; `?limit=` up to 1000, 50 without.
pub(crate) fn receipts(gateway: &Gateway, query: Option<&str>) -> Reply {
    let limit = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("limit=")));
    let limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(50).clamp(1, 1000);
    let data: Vec<Value> = gateway
        .receipts()
        .latest(limit)
        .iter()
        .filter_map(|receipt| serde_json::to_value(&**receipt).ok())
        .collect();
    json_reply(StatusCode::OK, &json!({ "data": data }))
}

/// Reads the configuration again.
pub(crate) fn reload(hooks: &dyn Hooks) -> Result<Reply> {
    match hooks.reload() {
        Ok(message) => Ok(json_reply(StatusCode::OK, &json!({ "status": "reloaded", "message": message }))),
        Err(message) => Err(Error::invalid(format!("the configuration was not changed: {message}"))),
    }
}
