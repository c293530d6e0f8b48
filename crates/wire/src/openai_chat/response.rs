//! Whole answers: reading a provider's, writing a client's.

use tollway_model::{
    Choice, Citation, Content, Dialect, Error, FinishReason, Fold, Kind, Media, MediaSource, Notices,
    RawJson, Response, Result, Signature, ToolCall, ToolKind, Usage,
};

use super::media::location;
use super::read::Object;
use super::reader::Reader;
use super::usage::{self, Counts};
use super::write::{self, List, Map};
use crate::{Restore, View, carry};

pub(crate) fn decode(body: &[u8], restore: &Restore) -> Result<Response> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(Kind::Upstream, "the provider's answer is not UTF-8"))?;
    let mut reader = Reader::new(restore.clone(), true);
    let mut events = Vec::new();
    reader.read(text, &mut events)?;
    reader.end(&mut events);
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// The usage of a whole answer, without reading the rest of it.
pub(crate) fn read_usage(body: &[u8]) -> Option<Usage> {
    let top = Object::parse(std::str::from_utf8(body).ok()?)?;
    match top.get("usage").and_then(|raw| counted(raw.get())) {
        Some(usage) => Some(usage),
        // Some hosts count beside, or inside a choice.
        None => decode(body, &Restore::default()).ok()?.usage,
    }
}

/// What a usage object says.
pub(crate) fn counted(usage: &str) -> Option<Usage> {
    Counts::parse(usage).as_ref().map(usage::decode)
}

pub(super) fn encode(response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
    let mut body = Vec::with_capacity(1024);
    let id = if response.id.is_empty() { view.id } else { &response.id };
    write::object(&mut body, |map| {
        map.str("id", id);
        map.str("object", "chat.completion");
        map.int("created", response.created.unwrap_or(view.created));
        map.str("model", view.model);
        map.list("choices", |list| {
            for choice in &response.choices {
                list.map(|map| write_choice(choice, id, view.legacy_functions, notices, map));
            }
        });
        if let Some(used) = &response.usage {
            map.map("usage", |map| usage::encode(used, map));
        }
        if let Some(tier) = &response.service_tier {
            map.str("service_tier", tier);
        }
        for (key, value) in response.extras.for_dialect(Dialect::OpenaiChat).into_iter().flatten() {
            map.raw(key, value);
        }
    });
    body
}

fn write_choice(choice: &Choice, id: &str, legacy: bool, notices: &mut Notices, map: &mut Map<'_>) {
    map.int("index", choice.index);
    map.map("message", |map| write_message(choice, id, legacy, notices, map));
    match &choice.logprobs {
        Some(logprobs) => map.raw("logprobs", logprobs),
        None => map.null("logprobs"),
    }
    let reason = choice.finish.unwrap_or(FinishReason::Stop);
    let word = finish_shown(reason, legacy);
    finish(word, choice.native_finish.as_deref(), choice.stop_sequence.as_deref(), map);
}

fn write_message(choice: &Choice, id: &str, legacy: bool, notices: &mut Notices, map: &mut Map<'_>) {
    let mut gathered = Gathered::default();
    for part in &choice.parts {
        gathered.add(&part.content, notices);
    }
    map.str("role", "assistant");
    let silent = gathered.text.is_empty()
        && !(gathered.calls.is_empty() && gathered.refusal.is_none() && gathered.audio.is_none());
    if silent || gathered.audio.is_some() {
        map.null("content")
    } else {
        map.str("content", &gathered.text)
    }
    match &gathered.refusal {
        Some(refusal) => map.str("refusal", refusal),
        None => map.null("refusal"),
    }
    if !gathered.reasoning.is_empty() {
        map.str("reasoning_content", &gathered.reasoning);
    }
    if gathered.signed {
        map.list("thinking_blocks", |list| {
            for (text, signature, redacted) in &gathered.thoughts {
                thinking_block(text, *signature, *redacted, None, list);
            }
        });
    }
    let mut foreign: Vec<Vec<&RawJson>> = Vec::new();
    if gathered.citations.iter().any(|sources| !sources.is_empty()) {
        map.list("annotations", |list| {
            for sources in &gathered.citations {
                let without_place: Vec<_> =
                    sources.iter().filter(|source| !annotation(source, None, list)).collect();
                let beside: Vec<_> =
                    without_place.iter().filter_map(|source| foreign_source(source)).collect();
                if beside.len() < without_place.len() {
                    notices.changed("annotations", "a source without a URL has no place in Chat Completions");
                }
                foreign.extend((!beside.is_empty()).then_some(beside));
            }
        });
    }
    if let (true, [call, more @ ..]) = (legacy, &gathered.calls[..]) {
        map.map("function_call", |map| function_call(&call.name, &call.arguments, map));
        gathered.signatures.extend(&call.signature);
        if !more.is_empty() {
            notices.changed("functions", "the model called several: `function_call` has room for the first");
        }
    } else if !gathered.calls.is_empty() {
        map.list("tool_calls", |list| {
            gathered.calls.iter().for_each(|call| list.map(|map| tool_call(call, map)));
        });
    }
    if let Some(media) = gathered.audio {
        map.map("audio", |map| audio(media, &gathered.text, id, map));
    }
    if !gathered.images.is_empty() {
        map.list("images", |list| {
            gathered.images.iter().zip(0_u32..).for_each(|(media, index)| image(media, index, list));
        });
    }
    for json in gathered.natives {
        native_fields(json, map);
    }
    if !gathered.signatures.is_empty() || !foreign.is_empty() {
        map.map("provider_specific_fields", |map| {
            if !gathered.signatures.is_empty() {
                thought_signatures(&gathered.signatures, map);
            }
            if !foreign.is_empty() {
                map.list("citations", |list| foreign.iter().for_each(|block| source_list(block, list)));
            }
        });
    }
}

/// The parts of a message by the field they go to.
#[derive(Default)]
struct Gathered<'a> {
    text: String,
    refusal: Option<String>,
    reasoning: String,
    thoughts: Vec<(&'a str, Option<&'a Signature>, bool)>,
    /// Some thought has a signature.
    signed: bool,
    /// By text part.
    citations: Vec<&'a [Citation]>,
    calls: Vec<&'a ToolCall>,
    audio: Option<&'a Media>,
    images: Vec<&'a Media>,
    natives: Vec<&'a RawJson>,
    /// Of text parts.
    signatures: Vec<&'a Signature>,
}

impl<'a> Gathered<'a> {
    fn add(&mut self, content: &'a Content, notices: &mut Notices) {
        match content {
            Content::Text { text, citations, signature } => {
                self.text.push_str(text);
                self.citations.push(citations);
                self.signatures.extend(signature);
            }
            Content::Refusal(text) => self.refusal.get_or_insert_default().push_str(text),
            Content::Reasoning { text, signature, redacted } => {
                self.reasoning.push_str(text);
                self.signed |= signature.is_some();
                self.thoughts.push((text, signature.as_ref(), *redacted));
            }
            Content::ToolCall(call) => self.calls.push(call),
            Content::Audio(media) => self.audio = Some(media),
            Content::Image(media) => self.images.push(media),
            Content::Native { dialect: Dialect::OpenaiChat, json } => self.natives.push(json),
            Content::Native { dialect, .. } => {
                notices.changed("content", format!("a block of the {dialect} dialect is left out"));
            }
            Content::Video(_) | Content::File(_) | Content::ToolResult(_) => {
                notices.changed("content", "a part that answers cannot hold is left out");
            }
        }
    }
}

/// OpenAI's word for why an answer ended.
pub(crate) fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::Pause | FinishReason::Error => "stop",
        FinishReason::Length | FinishReason::ContextWindow => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter | FinishReason::Refusal => "content_filter",
    }
}

/// The same, for a client that may know the legacy `functions` only.
pub(super) fn finish_shown(reason: FinishReason, legacy: bool) -> &'static str {
    if legacy && reason == FinishReason::ToolCalls { "function_call" } else { finish_word(reason) }
}

/// Writes `finish_reason`, and beside it what OpenAI's word does not say.
pub(super) fn finish(word: &str, native: Option<&str>, stop: Option<&str>, map: &mut Map<'_>) {
    map.str("finish_reason", word);
    let native = native.filter(|native| *native != word);
    if native.is_some() || stop.is_some() {
        map.map("provider_specific_fields", |map| {
            if let Some(native) = native {
                map.str("native_finish_reason", native);
            }
            if let Some(stop) = stop {
                map.str("stop_sequence", stop);
            }
        });
    }
}

/// Untagged signatures are Anthropic's, as LiteLLM's users have them in their histories.
pub(super) fn thinking_block(
    text: &str,
    signature: Option<&Signature>,
    redacted: bool,
    index: Option<u32>,
    list: &mut List<'_>,
) {
    let tagged = signature.map(|signature| carry::tag(signature, Dialect::Anthropic));
    list.map(|map| {
        if let Some(index) = index {
            map.int("index", index);
        }
        if redacted {
            map.str("type", "redacted_thinking");
            map.str("data", tagged.as_deref().unwrap_or_default());
            return;
        }
        map.str("type", "thinking");
        map.str("thinking", text);
        if let Some(tagged) = &tagged {
            map.str("signature", tagged);
        }
    });
}

/// Writes a source; `false` when it has no form here. Entries of a streamed list say where they stand, because OpenAI's
/// SDK puts the list together by that.
pub(super) fn annotation(citation: &Citation, index: Option<u32>, list: &mut List<'_>) -> bool {
    match (&citation.native, &citation.url) {
        (Some((Dialect::OpenaiChat, json)), _) => match index {
            Some(index) => numbered(json, index, list.item()),
            None => list.literal(json.get()),
        },
        (_, Some(url)) => list.map(|map| {
            if let Some(index) = index {
                map.int("index", index);
            }
            map.str("type", "url_citation");
            map.map("url_citation", |map| {
                map.str("url", url);
                map.str("title", citation.title.as_deref().unwrap_or_default());
                map.int("start_index", citation.start.unwrap_or_default());
                map.int("end_index", citation.end.unwrap_or_default());
                if let Some(text) = &citation.cited_text {
                    map.str("content", text);
                }
            });
        }),
        _ => return false,
    }
    true
}

/// Writes an object as it is, with its place in a streamed list.
fn numbered(json: &RawJson, index: u32, out: &mut Vec<u8>) {
    let text = json.get().trim_end();
    match text.strip_suffix('}') {
        Some(open) if !open.trim_end().ends_with('{') => {
            out.extend_from_slice(open.trim_end().as_bytes());
            write::resume(out, |map| map.int("index", index));
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// A source that only its own dialect can say, such as a place in a document; LiteLLM's users find it in
/// `provider_specific_fields`.
pub(super) fn foreign_source(citation: &Citation) -> Option<&RawJson> {
    citation.native.as_ref().map(|(_, json)| json)
}

fn source_list(sources: &[&RawJson], list: &mut List<'_>) {
    write::list(list.item(), |list| sources.iter().for_each(|json| list.literal(json.get())));
}

/// The id of a call with its signature inside, for clients that keep only ids.
pub(super) fn packed_id(id: &str, signature: Option<&Signature>) -> String {
    match signature {
        Some(signature) if signature.origin != Dialect::OpenaiChat => carry::pack_id(id, signature),
        _ => id.to_owned(),
    }
}

fn tool_call(call: &ToolCall, map: &mut Map<'_>) {
    map.str("id", &packed_id(&call.id, call.signature.as_ref()));
    let (kind, input) = tool_words(call.kind);
    map.str("type", kind);
    map.map(kind, |map| {
        map.str("name", &call.name);
        map.str(input, &call.arguments);
    });
    if let Some(signature) = &call.signature {
        map.map("provider_specific_fields", |map| thought_signatures(&[signature], map));
    }
}

/// What a legacy `function_call` holds.
pub(super) fn function_call(name: &str, arguments: &str, map: &mut Map<'_>) {
    map.str("name", name);
    map.str("arguments", arguments);
}

/// The type of a call, and the name of its input.
pub(super) fn tool_words(kind: ToolKind) -> (&'static str, &'static str) {
    match kind {
        ToolKind::Function => ("function", "arguments"),
        ToolKind::Custom => ("custom", "input"),
    }
}

pub(super) fn thought_signatures(signatures: &[&Signature], map: &mut Map<'_>) {
    map.list("thought_signatures", |list| {
        signatures.iter().for_each(|signature| list.str(&carry::tag(signature, Dialect::Gemini)));
    });
}

/// `transcript` is the answer's text. When the sound expires is not known: it may already have.
pub(super) fn audio(media: &Media, transcript: &str, id: &str, map: &mut Map<'_>) {
    match &media.name {
        Some(name) => map.str("id", name),
        None => map.str("id", &format!("audio_{id}")),
    }
    map.int("expires_at", 0);
    if let MediaSource::Base64(data) = &media.source {
        map.str("data", data);
    }
    map.str("transcript", transcript);
}

pub(super) fn image(media: &Media, index: u32, list: &mut List<'_>) {
    let Some(url) = location(media) else { return };
    list.map(|map| {
        map.str("type", "image_url");
        map.int("index", index);
        map.map("image_url", |map| map.str("url", &url));
    });
}

/// The fields of a native part that is not a content block.
pub(super) fn native_fields(json: &RawJson, map: &mut Map<'_>) {
    if let serde_json::Value::Object(fields) = json.to_value()
        && !fields.contains_key("type")
    {
        for (key, value) in fields {
            map.literal(&key, &value.to_string());
        }
    }
}
