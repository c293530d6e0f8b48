//! A provider's complete answer → neutral.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollway_model::{Choice, Content, Dialect, Extras, Origin, Part, RawJson, Response, Result, Usage};

use super::blocks_in::block;
use super::finish;
use super::usage::TokenUsage;
use crate::Restore;
use crate::anthropic::read::{Object, Path, list};
use crate::anthropic::response_in::corrupt;

/// Reads an answer. The API gives it no id and does not repeat the model.
pub(super) fn decode(body: &[u8], restore: &Restore) -> Result<Response> {
    read(body, restore).map_err(|error| match error.origin() {
        Origin::Upstream => error,
        _ => corrupt(error.message()),
    })
}

fn read(body: &[u8], restore: &Restore) -> Result<Response> {
    let root = Path::Root;
    let mut object = Object::parse_bytes(body)?;
    let path = root.key("output");
    let mut output = Object::parse(object.required("output", &root)?, &path)?;
    let message_path = path.key("message");
    let mut message = Object::parse(output.required("message", &path)?, &message_path)?;
    let content_path = message_path.key("content");
    let mut parts = Vec::new();
    if let Some(raw) = message.take("content") {
        for (index, raw) in list(raw, &content_path)?.into_iter().enumerate() {
            parts.extend(block(raw, &content_path.index(index), restore)?);
        }
    }
    let answers_by_tool = unwrap(&mut parts, restore);
    let native_finish = object.text("stopReason", &root)?.map(|reason| reason.into_owned());
    let has_calls = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let finish = native_finish.as_deref().map(|native| finish(native, answers_by_tool && !has_calls));
    let mut extras = Extras::of(Dialect::BedrockConverse);
    let more = object.take("additionalModelResponseFields");
    let thinking = more.map_or(0, thinking_tokens);
    keep_fields(more, &mut extras);
    let usage = object.take("usage").map(token_usage).transpose()?;
    let service_tier = service_tier(&mut object)?;
    // How long it took says nothing about the answer.
    object.take("metrics");
    extras.fields.extend(object.rest());
    Ok(Response {
        choices: vec![Choice { parts, finish, native_finish, ..Choice::default() }],
        usage: usage.map(|usage| usage.neutral(thinking)),
        service_tier,
        extras: if extras.fields.is_empty() { Extras::default() } else { extras },
        ..Response::default()
    })
}

/// `serviceTier.type`.
pub(super) fn service_tier(object: &mut Object<'_>) -> Result<Option<String>> {
    let Some(raw) = object.take("serviceTier") else { return Ok(None) };
    let path = Path::Root.key("serviceTier");
    Ok(Object::parse(raw, &path)?.text("type", &path)?.map(Into::into))
}

pub(super) fn token_usage(raw: &RawValue) -> Result<TokenUsage> {
    serde_json::from_str(raw.get()).map_err(|error| Path::Root.key("usage").wrong(error))
}

/// How many tokens of the output were thinking; requests for thinking ask for this field.
pub(super) fn thinking_tokens(raw: &RawValue) -> u64 {
    #[derive(Deserialize)]
    struct Fields {
        usage: Counts,
    }
    #[derive(Deserialize)]
    struct Counts {
        output_tokens_details: Details,
    }
    #[derive(Deserialize)]
    struct Details {
        thinking_tokens: u64,
    }
    let fields = serde_json::from_str::<Fields>(raw.get());
    fields.map_or(0, |fields| fields.usage.output_tokens_details.thinking_tokens)
}

/// Keeps the model's own fields, unless they are only those that the gateway itself asked for.
pub(super) fn keep_fields(raw: Option<&RawValue>, extras: &mut Extras) {
    const NAME: &str = "additionalModelResponseFields";
    let Some(raw) = raw else { return };
    let Ok(object) = Object::parse(raw, &Path::Root) else { return };
    if object.rest().any(|(name, _)| name != "usage") {
        extras.fields.insert(NAME.to_owned(), RawJson::from(raw));
    }
}

/// What a complete answer says was used.
pub(super) fn read_usage(body: &[u8]) -> Option<Usage> {
    let mut object = Object::parse_bytes(body).ok()?;
    let thinking = object.take("additionalModelResponseFields").map_or(0, thinking_tokens);
    Some(token_usage(object.take("usage")?).ok()?.neutral(thinking))
}

/// Makes the answer's tool the answer's text, drops the chatter before it, and gives tools the caller's names.
/// `true` when the answer's tool was called.
///
/// The stream decoder does the same: text goes when the next tool call after it is the answer's.
fn unwrap(parts: &mut Vec<Part>, restore: &Restore) -> bool {
    let (mut next_is_answer, mut called) = (false, false);
    let mut kept = Vec::with_capacity(parts.len());
    for mut part in parts.drain(..).rev() {
        if next_is_answer && part.as_text().is_some() {
            continue;
        }
        if let Content::ToolCall(call) = &mut part.content {
            next_is_answer = restore.json_tool.as_deref() == Some(call.name.as_str());
            if next_is_answer {
                called = true;
                part = Part::text(std::mem::take(&mut call.arguments));
            } else {
                call.name = restore.tool_name(&call.name).to_owned();
            }
        }
        kept.push(part);
    }
    kept.reverse();
    *parts = kept;
    called
}

/// Reads a token count.
pub(super) fn decode_count(body: &[u8]) -> Result<u64> {
    let count = Object::parse_bytes(body).and_then(|mut object| object.whole("inputTokens", &Path::Root));
    match count {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(corrupt("`inputTokens` is missing")),
        Err(error) => Err(corrupt(error.message())),
    }
}
