//! A provider's complete answer → neutral.

use serde_json::value::RawValue;
use tollway_model::{
    Choice, Content, Dialect, Error, Extras, FinishReason, Kind, Origin, Part, Response, Result, Retry,
    ToolKind,
};

use super::blocks_in::{Asides, block};
use super::error;
use super::read::{Object, Path, list};
use super::usage;
use crate::{Restore, free_text};

/// Reads an answer.
pub(super) fn decode(body: &[u8], restore: &Restore) -> Result<Response> {
    read(body, restore).map_err(|error| match error.origin() {
        Origin::Upstream => error,
        _ => corrupt(error.message()),
    })
}

/// The provider sent something that cannot be read.
pub(crate) fn corrupt(message: &str) -> Error {
    let message = format!("the provider's answer cannot be read: {message}");
    Error::new(Kind::Upstream, message).with_retry(Retry::Later(None))
}

fn read(body: &[u8], restore: &Restore) -> Result<Response> {
    let root = Path::Root;
    let mut object = Object::parse_bytes(body)?;
    if let Some(raw) = object.take("error") {
        return Err(error::from_object(raw, None));
    }
    object.take("type");
    object.take("role");
    let mut response = Response {
        id: object.text("id", &root)?.unwrap_or_default().into_owned(),
        model: object.text("model", &root)?.unwrap_or_default().into_owned(),
        ..Response::default()
    };
    let native_finish = object.text("stop_reason", &root)?.map(|reason| reason.into_owned());
    let mut choice = Choice {
        parts: parts(object.required("content", &root)?, restore)?,
        stop_sequence: object.text("stop_sequence", &root)?.map(Into::into),
        ..Choice::default()
    };
    let answers_by_tool = unwrap(&mut choice.parts, restore);
    choice.finish = native_finish.as_deref().map(|native| {
        let has_calls = choice.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
        finish(native, answers_by_tool && !has_calls)
    });
    choice.native_finish = native_finish;
    response.choices.push(choice);
    let mut usage = usage::Reader::default();
    if let Some(raw) = object.take("usage") {
        usage.read(raw)?;
    }
    response.usage = usage.usage();
    response.service_tier = usage.service_tier;
    let mut extras = Extras::of(Dialect::Anthropic);
    extras.fields.extend(object.rest().chain(usage.rest));
    if !extras.fields.is_empty() {
        response.extras = extras;
    }
    Ok(response)
}

fn parts(raw: &RawValue, restore: &Restore) -> Result<Vec<Part>> {
    let path = Path::Root.key("content");
    let mut parts = Vec::new();
    for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
        let mut part = block(raw, &path.index(index), &mut Asides::default())?;
        if let Content::ToolCall(call) = &mut part.content {
            if restore.custom_tools.contains(&call.name) {
                call.kind = ToolKind::Custom;
                call.arguments = free_text::unwrap(&call.arguments);
            }
            if restore.json_tool.as_deref() != Some(call.name.as_str()) {
                call.name = restore.tool_name(&call.name).to_owned();
            }
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Makes the answer's tool the answer's text, and drops the chatter before it: a caller who asked for JSON parses
/// all of the text. `true` when the tool was called.
///
/// The stream decoder does the same: text goes when the next tool call after it is the answer's.
fn unwrap(parts: &mut Vec<Part>, restore: &Restore) -> bool {
    let Some(tool) = &restore.json_tool else { return false };
    let is_answer = |part: &Part| match &part.content {
        Content::ToolCall(call) => Some(call.name == *tool),
        _ => None,
    };
    let mut next_is_answer = false;
    let mut called = false;
    let mut kept = Vec::with_capacity(parts.len());
    for mut part in parts.drain(..).rev() {
        if let Some(answers) = is_answer(&part) {
            next_is_answer = answers;
        } else if next_is_answer && part.as_text().is_some() {
            continue;
        }
        if next_is_answer && let Content::ToolCall(call) = &mut part.content {
            called = true;
            part = Part::text(std::mem::take(&mut call.arguments));
        }
        kept.push(part);
    }
    kept.reverse();
    *parts = kept;
    called
}

/// The neutral word for a stop reason. `answers_by_tool`: the only tool called is the answer's.
pub(super) fn finish(native: &str, answers_by_tool: bool) -> FinishReason {
    match native {
        "tool_use" if answers_by_tool => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "stop_sequence" => FinishReason::StopSequence,
        "max_tokens" | "compaction" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "pause_turn" => FinishReason::Pause,
        "refusal" => FinishReason::Refusal,
        // `end_turn`, and words still to come: the answer is there.
        _ => FinishReason::Stop,
    }
}

/// Reads a token count.
pub(super) fn decode_count(body: &[u8]) -> Result<u64> {
    let count = Object::parse_bytes(body).and_then(|mut object| object.whole("input_tokens", &Path::Root));
    match count {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(corrupt("`input_tokens` is missing")),
        Err(error) => Err(corrupt(error.message())),
    }
}
