//! What the operator asks of the running gateway.

use http::StatusCode;
use serde_json::json;
use tollway_model::{Error, Result};
use tollway_pipeline::{Reply, json_reply};

use crate::service::Hooks;

/// Reads the configuration again.
pub(crate) fn reload(hooks: &dyn Hooks) -> Result<Reply> {
    match hooks.reload() {
        Ok(message) => Ok(json_reply(StatusCode::OK, &json!({ "status": "reloaded", "message": message }))),
        Err(message) => Err(Error::invalid(format!("the configuration was not changed: {message}"))),
    }
}
