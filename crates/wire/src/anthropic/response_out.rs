//! Neutral answer → what clients of this dialect read.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Value, json};
use tollway_model::{
    Choice, Citation, Content, Dialect, FinishReason, Media, MediaSource, Notices, Part, RawJson, Response,
    Signature, ToolCall, ToolKind,
};

use super::usage::{self, WireUsage};
use crate::{View, carry};

/// The whole answer. The SDKs want every member, null where there is nothing to say.
#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    usage: WireUsage<'a>,
    #[serde(flatten)]
    rest: IndexMap<&'a str, &'a RawJson>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<RawJson>,
    },
    Thinking {
        thinking: &'a str,
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: RawJson,
    },
    #[serde(untagged)]
    Native(&'a RawJson),
}

/// Writes an answer. Of several choices only the first can be shown.
pub(super) fn encode(response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
    let id = message_id(&response.id, view.id);
    let empty = Choice::default();
    let first = response.choices.iter().min_by_key(|choice| choice.index).unwrap_or(&empty);
    if response.choices.len() > 1 {
        notices.changed("choices", "only the first answer can be shown");
    }
    if first.logprobs.is_some() {
        notices.changed("logprobs", "log-probabilities cannot be shown");
    }
    let mut content = Vec::with_capacity(first.parts.len());
    for (index, part) in first.parts.iter().enumerate() {
        content.extend(block(part, index, &id, notices));
    }
    let extras = response.extras.for_dialect(Dialect::Anthropic);
    if extras.is_none() && !response.extras.fields.is_empty() {
        notices.changed("extras", "members only another dialect knows: left out");
    }
    let facts = Facts::of(&first.parts);
    let message = Message {
        kind: "message",
        role: "assistant",
        model: view.model,
        content,
        stop_reason: first.finish.map(|finish| stop_reason(finish, first.native_finish.as_deref(), facts)),
        stop_sequence: first.stop_sequence.as_deref(),
        usage: usage::wire(response.usage.unwrap_or_default(), response.service_tier.as_deref(), extras),
        rest: top_level(extras),
        id,
    };
    // Strings and numbers with string keys: writing cannot fail.
    serde_json::to_vec(&message).unwrap_or_default()
}

/// Extras that are members of the answer itself.
pub(super) fn top_level(extras: Option<&IndexMap<String, RawJson>>) -> IndexMap<&str, &RawJson> {
    let fields = extras.into_iter().flatten();
    fields.filter(|(name, _)| !name.contains('.')).map(|(name, value)| (name.as_str(), value)).collect()
}

fn block<'a>(part: &'a Part, index: usize, message_id: &str, notices: &mut Notices) -> Option<Block<'a>> {
    let field = || format!("content[{index}]");
    Some(match &part.content {
        Content::Text { text, citations, signature } => {
            if signature.is_some() {
                notices.changed(field(), "a signature of text cannot be carried: left out");
            }
            // An empty block would be refused when the client sends the conversation back.
            if text.is_empty() && citations.is_empty() {
                return None;
            }
            let citations = citations.iter().map(citation).collect();
            Block::Text { text: Cow::Borrowed(text), citations }
        }
        Content::Refusal(text) if text.is_empty() => return None,
        Content::Refusal(text) => Block::Text { text: Cow::Borrowed(text), citations: Vec::new() },
        Content::Reasoning { signature, redacted: true, .. } => {
            Block::RedactedThinking { data: tag(signature.as_ref()?) }
        }
        Content::Reasoning { text, signature: None, .. } if text.is_empty() => return None,
        Content::Reasoning { text, signature, .. } => {
            Block::Thinking { thinking: text, signature: signature.as_ref().map(tag).unwrap_or_default() }
        }
        Content::ToolCall(call) => {
            let input = input(call).unwrap_or_else(|| {
                notices.changed(field(), "arguments that are no JSON object: wrapped in one");
                RawJson::from(json!({ "arguments": call.arguments }))
            });
            Block::ToolUse { id: tool_id(call, message_id, index), name: &call.name, input }
        }
        Content::Image(media) | Content::Audio(media) | Content::Video(media) | Content::File(media) => {
            notices.changed(field(), "answers hold text only: named in words");
            Block::Text { text: Cow::Owned(describe(media)), citations: Vec::new() }
        }
        Content::Native { dialect: Dialect::Anthropic, json } => Block::Native(json),
        Content::Native { dialect, .. } => {
            notices.changed(field(), format!("only {dialect} knows this block: left out"));
            return None;
        }
        // Answers hold no results of the caller's tools.
        Content::ToolResult(_) => return None,
    })
}

/// The answer's id, of the form the SDKs know.
pub(super) fn message_id(id: &str, fallback: &str) -> String {
    let id = if id.is_empty() { fallback } else { id };
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

/// A call's id, with another provider's state inside.
pub(super) fn tool_id(call: &ToolCall, message_id: &str, index: usize) -> String {
    let id = if call.id.is_empty() {
        Cow::Owned(format!("call_{message_id}_{index}"))
    } else {
        Cow::Borrowed(&*call.id)
    };
    match &call.signature {
        Some(signature) => carry::pack_id(&id, signature),
        None => id.into_owned(),
    }
}

/// What stands for a signature in this dialect's signature fields.
pub(super) fn tag(signature: &Signature) -> String {
    carry::tag(signature, Dialect::Anthropic)
}

/// The call's arguments as the object this dialect wants; `None` when they are none.
fn input(call: &ToolCall) -> Option<RawJson> {
    if call.kind == ToolKind::Custom {
        return Some(RawJson::from(json!({ "input": call.arguments })));
    }
    let text = call.arguments.trim();
    if text.is_empty() {
        return RawJson::parse("{}");
    }
    text.starts_with('{').then(|| RawJson::parse(text)).flatten()
}

/// A citation in this dialect; a foreign one becomes a search result without an index.
pub(super) fn citation(citation: &Citation) -> RawJson {
    if let Some((Dialect::Anthropic, json)) = &citation.native {
        return json.clone();
    }
    RawJson::from(json!({
        "type": "web_search_result_location",
        "url": citation.url.as_deref().unwrap_or_default(),
        "title": citation.title,
        "cited_text": citation.cited_text.as_deref().unwrap_or_default(),
        "encrypted_index": "",
    }))
}

/// Words for something answers of this dialect cannot hold.
pub(super) fn describe(media: &Media) -> String {
    let kind = media.media_type.as_deref().unwrap_or("media");
    match &media.source {
        MediaSource::Url(url) => format!("[{kind}: {url}]"),
        _ => format!("[{kind}]"),
    }
}

/// What an answer holds, as far as the stop reason depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) has_calls: bool,
    pub(super) has_refusal: bool,
}

impl Facts {
    fn of(parts: &[Part]) -> Facts {
        Facts {
            has_calls: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
            has_refusal: parts.iter().any(|part| matches!(part.content, Content::Refusal(_))),
        }
    }
}

/// The stop reason clients act upon: agents run tools only when it says so.
pub(super) fn stop_reason(finish: FinishReason, native: Option<&str>, facts: Facts) -> &'static str {
    match finish {
        FinishReason::Stop | FinishReason::Error if facts.has_refusal => "refusal",
        FinishReason::Stop if facts.has_calls => "tool_use",
        FinishReason::Stop | FinishReason::Error => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length if native == Some("compaction") => "compaction",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::ContextWindow => "model_context_window_exceeded",
    }
}

/// A native block with its input taken out, for streams, where the input follows as a delta.
pub(super) fn split_input(json: &RawJson) -> Option<(RawJson, String)> {
    let Value::Object(mut block) = json.to_value() else { return None };
    let is_call = block.get("type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("tool_use"));
    let input = block.get_mut("input").filter(|input| is_call && input.is_object())?;
    let text = std::mem::replace(input, json!({})).to_string();
    Some((RawJson::from(Value::Object(block)), text))
}
