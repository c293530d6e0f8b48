//! A neutral answer → what a client of this dialect gets.

use serde_json::{Map, Value, json};
use tollway_model::{Content, Dialect, Notices, Part, Response, ToolCall, ToolKind};

use super::stop_reason;
use super::usage::TokenUsage;

/// Writes an answer.
pub(super) fn encode(response: &Response, notices: &mut Notices) -> Vec<u8> {
    if response.choices.len() > 1 {
        notices.dropped("n", "this dialect has one answer: the others are left out");
    }
    let choice = response.first();
    let content: Vec<Value> =
        choice.into_iter().flat_map(|choice| &choice.parts).filter_map(|part| block(part, notices)).collect();
    let mut body = Map::new();
    body.insert("output".to_owned(), json!({ "message": { "role": "assistant", "content": content } }));
    let reason = choice.and_then(|choice| choice.finish).map_or("end_turn", stop_reason);
    body.insert("stopReason".to_owned(), reason.into());
    body.insert("usage".to_owned(), json!(TokenUsage::from(response.usage.unwrap_or_default())));
    body.insert("metrics".to_owned(), json!({ "latencyMs": 0 }));
    if let Some(tier) = &response.service_tier {
        body.insert("serviceTier".to_owned(), json!({ "type": tier }));
    }
    for (name, value) in response.extras.for_dialect(Dialect::BedrockConverse).into_iter().flatten() {
        body.insert(name.clone(), value.to_value());
    }
    // String keys only: writing cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn block(part: &Part, notices: &mut Notices) -> Option<Value> {
    Some(match &part.content {
        Content::Text { text, citations, .. } => {
            let natives: Vec<Value> = citations
                .iter()
                .filter_map(|citation| match &citation.native {
                    Some((Dialect::BedrockConverse, json)) => Some(json.to_value()),
                    _ => None,
                })
                .collect();
            if natives.is_empty() {
                json!({ "text": text })
            } else {
                json!({ "citationsContent": { "content": [{ "text": text }], "citations": natives } })
            }
        }
        Content::Refusal(text) => json!({ "text": text }),
        Content::Reasoning { signature: Some(signature), redacted: true, .. } => {
            json!({ "reasoningContent": { "redactedContent": signature.value } })
        }
        Content::Reasoning { text, signature, .. } => {
            let mut inner = json!({ "text": text });
            if let (Some(signature), Some(members)) = (signature, inner.as_object_mut()) {
                members.insert("signature".to_owned(), signature.value.clone().into());
            }
            json!({ "reasoningContent": { "reasoningText": inner } })
        }
        Content::ToolCall(call) => {
            json!({ "toolUse": { "toolUseId": call.id, "name": call.name, "input": input(call) } })
        }
        Content::Native { dialect: Dialect::BedrockConverse, json } => json.to_value(),
        _ => {
            notices.dropped("content", "this dialect has no such part of an answer: left out");
            return None;
        }
    })
}

/// A call's arguments as an object.
pub(super) fn input(call: &ToolCall) -> Value {
    match call.kind {
        ToolKind::Custom => json!({ "input": call.arguments }),
        ToolKind::Function => match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(members)) => Value::Object(members),
            _ => json!({ "arguments": call.arguments }),
        },
    }
}
