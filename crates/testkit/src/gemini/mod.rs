//! Gemini: content generation, token counts, embeddings and models.
//! Source: the official Python SDK's types and the vendor's error texts.

mod check;
mod read;
mod schema;
mod write;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::json::{count, list};
use crate::mind;
use crate::reply::Said;
use crate::script::Script;

/// Answers `generateContent`, or `streamGenerateContent` when `stream`.
pub(crate) fn generate(
    body: &Value,
    model: &str,
    id: &str,
    stream: bool,
    script: &Script,
) -> Result<Said, Fault> {
    let body = &read::camel(body);
    check::request(body, script.thought_signatures)?;
    let answer = mind::answer(&read::prompt(body), script);
    let writer = write::Writer { body, answer: &answer, model, id, script };
    Ok(if stream { Said::Stream(writer.stream()) } else { Said::Json(writer.whole()) })
}

/// The answer when the policy blocks a prompt: 200, and no candidate.
pub(crate) fn blocked(model: &str, id: &str, stream: bool) -> Said {
    let body = json!({
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
        "modelVersion": model, "responseId": id,
    });
    if stream { Said::Stream(vec![format!("data: {body}\n\n")]) } else { Said::Json(body) }
}

/// Answers `countTokens`.
pub(crate) fn count_tokens(body: &Value) -> Result<Value, Fault> {
    let body = &read::camel(body);
    check::known(body, &["contents", "generateContentRequest", "systemInstruction", "tools"], "")?;
    let request = body.get("generateContentRequest").unwrap_or(body);
    if list(request, "contents").is_empty() {
        return Err(Fault::invalid("* CountTokensRequest.contents: contents is not specified"));
    }
    Ok(json!({"totalTokens": mind::input_tokens(&read::prompt(request))}))
}

/// Answers `embedContent`.
pub(crate) fn embed(body: &Value) -> Result<Value, Fault> {
    Ok(json!({"embedding": {"values": vector(&read::camel(body))?}}))
}

/// Answers `batchEmbedContents`.
pub(crate) fn embed_batch(body: &Value) -> Result<Value, Fault> {
    check::known(body, &["requests"], "")?;
    let requests = list(body, "requests");
    if requests.is_empty() {
        return Err(Fault::invalid("* BatchEmbedContentsRequest.requests: requests is not specified"));
    }
    if requests.len() > 100 {
        return Err(Fault::invalid(
            "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
        ));
    }
    let vectors: Result<Vec<_>, Fault> = requests
        .iter()
        .map(|request| {
            if crate::json::text(request, "model").is_none_or(|model| !model.starts_with("models/")) {
                return Err(Fault::invalid("* EmbedContentRequest.model: unexpected model name format"));
            }
            Ok(json!({"values": vector(&read::camel(request))?}))
        })
        .collect();
    Ok(json!({"embeddings": vectors?}))
}

fn vector(request: &Value) -> Result<Vec<f32>, Fault> {
    let fields = [
        "model",
        "content",
        "taskType",
        "title",
        "outputDimensionality",
        "embedContentConfig",
        "autoTruncate",
    ];
    check::known(request, &fields, "")?;
    let content = request.get("content").unwrap_or(&Value::Null);
    let text: String =
        list(content, "parts").iter().filter_map(|part| crate::json::text(part, "text")).collect();
    if text.is_empty() {
        return Err(Fault::invalid("* EmbedContentRequest.content: content is not specified"));
    }
    let dimensions = count(request, "outputDimensionality")
        .or_else(|| count(request.get("embedContentConfig")?, "outputDimensionality"));
    Ok(mind::embed(&text, dimensions.unwrap_or(64).clamp(1, 4096)))
}

/// The models the fake claims to have.
pub(crate) fn models(one: Option<&str>) -> Value {
    let entry = |id: &str| {
        json!({
            "name": format!("models/{id}"), "version": "001", "displayName": id,
            "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "batchEmbedContents"],
        })
    };
    match one {
        Some(id) => entry(id),
        None => json!({"models": crate::demo::MODELS.map(entry)}),
    }
}

/// The signature of a function call: it must come back on that call.
fn signature(name: &str, arguments: &Value) -> String {
    crate::json::sign(&format!("gemini:{name}:{}", crate::json::canonical(arguments)))
}

#[cfg(test)]
mod tests;
