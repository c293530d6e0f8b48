//! Anthropic: messages, token counts and models.
//! Source: the official Python SDK's types, `anthropic-version: 2023-06-01`.

mod blocks;
mod check;
mod read;
mod write;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::json::flag;
use crate::mind;
use crate::reply::Said;
use crate::script::Script;

/// Answers a messages call.
pub(crate) fn messages(
    body: &Value,
    model: &str,
    id: &str,
    lenient: bool,
    script: &Script,
) -> Result<Said, Fault> {
    check::message(body, lenient)?;
    let answer = mind::answer(&read::prompt(body), script);
    Ok(if flag(body, "stream") {
        Said::Stream(write::stream(&answer, model, id, script))
    } else {
        Said::Json(write::whole(&answer, model, id, script))
    })
}

/// Counts the tokens of a messages call.
pub(crate) fn count_tokens(body: &Value, lenient: bool) -> Result<Value, Fault> {
    check::count(body, lenient)?;
    Ok(json!({"input_tokens": mind::input_tokens(&read::prompt(body))}))
}

/// The models the fake claims to have.
pub(crate) fn models(one: Option<&str>) -> Value {
    let entry = |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-09-29T00:00:00Z"});
    let all = crate::demo::MODELS;
    match one {
        Some(id) => entry(id),
        None => json!({
            "data": all.map(entry), "has_more": false, "first_id": all.first(), "last_id": all.last(),
        }),
    }
}

/// The signature of a thinking block: whoever changes the text invalidates it.
fn signature(thinking: &str) -> String {
    crate::json::sign(&format!("anthropic:{thinking}"))
}

#[cfg(test)]
mod tests;
