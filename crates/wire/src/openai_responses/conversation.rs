//! What a gateway needs to keep conversations for its callers: `previous_response_id`, item references, and ids of
//! its own. Pure functions over JSON; where items are kept is not their business.
//!
//! ```text
//! request  ─ previous_response_id ─▶ look up ─ with_history ─▶ a request that says it all
//! request  ─ input_items ─┐
//! response ─ output_items ┴▶ store under the gateway's id
//! answer   ─ Passage (streamed) or show (whole) ─▶ the client, under the gateway's id
//! ```
//!
//! Answers are handled as the client gets them, so both lanes are the same: a translated stream and a verbatim one
//! both end in an event that holds the whole response.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::Value;
use tollway_model::{Error, Kind, RawJson, Result};

use crate::json::{Edits, Envelope, MAX_DEPTH};
use crate::openai_chat::names;
use crate::openai_chat::read::{self, Object, Path, Raw};
use crate::relay::{apply, event_length};

/// Response objects are inside events, and repeat what requests may nest.
const DEPTH: usize = MAX_DEPTH * 2;

/// The earlier response that a request goes on from.
pub fn previous(body: &Envelope) -> Option<Cow<'_, str>> {
    body.str("previous_response_id").filter(|id| !id.is_empty())
}

/// The items of a request's own input, as they are listed and stored.
///
/// A string becomes a message, a message's string content a list, and every item has a type and an id. Ids are made
/// from `seed`, which is the response's id, and the item's number, so they are the same whenever this is called.
/// Reasoning keeps the id it has or has not: its provider refuses encrypted reasoning under another id.
pub fn input_items(body: &Envelope, seed: &str) -> Result<Vec<RawJson>> {
    let Some(raw) = raw_input(body)? else { return Ok(Vec::new()) };
    if let Some(text) = read::text(raw) {
        return Ok(vec![listed(serde_json::json!({"role": "user", "content": text}), seed, 0)]);
    }
    let path = Path::Key(&Path::Root, "input");
    let items = read::list(raw).ok_or_else(|| path.must_be("a string or a list of items"))?;
    let numbered = items.into_iter().enumerate().map(|(number, raw)| {
        let item: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if !item.is_object() {
            return Err(path.at(number).must_be("an object"));
        }
        // What is complete keeps its spelling.
        let complete = |key: &str| item.get(key).is_some_and(Value::is_string);
        if complete("type") && complete("id") && !item.get("content").is_some_and(Value::is_string) {
            return Ok(RawJson::from(raw));
        }
        Ok(listed(item, seed, number))
    });
    numbered.collect()
}

fn raw_input(body: &Envelope) -> Result<Option<Raw<'_>>> {
    let Some(text) = body.get("input").filter(|text| *text != "null") else { return Ok(None) };
    let read = serde_json::from_str(text);
    read.map(Some).map_err(|_| Error::invalid_at("input", "`input` cannot be read"))
}

/// The item with everything that a listing shows.
fn listed(item: Value, seed: &str, number: usize) -> RawJson {
    let Value::Object(mut item) = item else { return RawJson::from(item) };
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let mut out = serde_json::Map::new();
    if kind != "reasoning" && !item.get("id").is_some_and(Value::is_string) {
        let hash = names::hash(seed);
        out.insert("id".to_owned(), format!("{}_{hash:016x}{number:04x}i", prefix(&kind)).into());
    }
    out.insert("type".to_owned(), kind.into());
    if let Some(Value::String(text)) = item.get("content") {
        let said = item.get("role").is_some_and(|role| role == "assistant");
        let kind = if said { "output_text" } else { "input_text" };
        let part = serde_json::json!([{"type": kind, "text": text}]);
        item.insert("content".to_owned(), part);
    }
    for (key, value) in item {
        // Keys keep their order behind the id.
        out.insert(key, value);
    }
    RawJson::from(Value::Object(out))
}

/// How the provider's own ids of such items begin; it refuses others.
fn prefix(kind: &str) -> &'static str {
    match kind {
        "message" => "msg",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        _ => "item",
    }
}

/// Makes a request say the whole conversation: `history` is what earlier responses took and gave, in order.
///
/// The input becomes the history followed by the request's own items, all byte for byte, and
/// `previous_response_id` goes. References to items of the history are left out, as these are there already; others
/// are replaced by what `stored` knows. Fails with [`Kind::NotFound`] for a reference that nothing is known of.
pub fn with_history(
    body: &Envelope,
    history: &[RawJson],
    stored: &dyn Fn(&str) -> Option<RawJson>,
    edits: &mut Edits,
) -> Result<()> {
    let mut items: Vec<Cow<'_, str>> = history.iter().map(|item| Cow::Borrowed(item.get())).collect();
    edits.remove("previous_response_id");
    let raw = raw_input(body)?;
    if history.is_empty() && !raw.is_some_and(|raw| raw.get().contains("item_reference")) {
        return Ok(());
    }
    match raw {
        None => {}
        Some(raw) if read::text(raw).is_some() => {
            items.push(format!(r#"{{"type":"message","role":"user","content":{}}}"#, raw.get()).into());
        }
        Some(raw) => {
            let path = Path::Key(&Path::Root, "input");
            let own = read::list(raw).ok_or_else(|| path.must_be("a string or a list of items"))?;
            let known = ids(history);
            for (number, raw) in own.into_iter().enumerate() {
                let Some(id) = reference(raw) else {
                    items.push(raw.get().into());
                    continue;
                };
                if known.contains(&*id) {
                    continue;
                }
                let param = path.at(number).key("id").to_string();
                let found = stored(&id).ok_or_else(|| {
                    Error::new(Kind::NotFound, format!("there is no stored item `{id}`")).with_param(param)
                })?;
                items.push(found.get().to_owned().into());
            }
        }
    }
    edits.set_raw("input", format!("[{}]", items.join(",")));
    Ok(())
}

fn ids(items: &[RawJson]) -> std::collections::HashSet<String> {
    let id = |item: &RawJson| Object::parse(item.get())?.text("id").map(|id| id.into_owned());
    items.iter().filter_map(id).collect()
}

/// The id that an item merely refers to.
fn reference(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let mut fields = Object::parse(raw.get())?;
    let kind = fields.text("type");
    let refers = match kind.as_deref() {
        Some("item_reference") => true,
        None => !fields.has("role"),
        Some(_) => false,
    };
    fields.text("id").filter(|_| refers)
}

/// Does the input refer to stored items?
pub fn has_references(body: &Envelope) -> bool {
    let raw = raw_input(body).ok().flatten();
    let items = raw.and_then(read::list).unwrap_or_default();
    items.into_iter().any(|raw| reference(raw).is_some())
}

/// The output items of a complete response, verbatim, to be stored behind its input.
pub fn output_items(response: &[u8]) -> Result<Vec<RawJson>> {
    let text = std::str::from_utf8(response).ok();
    let list = text.and_then(Object::parse).and_then(|response| response.get("output")).and_then(read::list);
    let list = list.ok_or_else(|| Error::new(Kind::Upstream, "the response has no list of output items"))?;
    Ok(list.into_iter().map(RawJson::from).collect())
}

/// What the response object repeats of the request, for answers of providers of other dialects.
pub fn echo(body: &Envelope, edits: &mut Edits) {
    const ECHOED: [&str; 19] = [
        "background",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "store",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ];
    for key in ECHOED {
        if let Some(value) = body.get(key).filter(|value| *value != "null") {
            edits.set_raw(key, value);
        }
    }
}

/// A whole answer with `edits` made to the response object: our id, the previous one's, an [`echo`].
pub fn show(answer: Bytes, edits: &Edits) -> Result<Bytes> {
    let envelope = Envelope::parse(answer, DEPTH).map_err(|error| {
        Error::new(Kind::Upstream, "the provider's answer is not a JSON object")
            .with_context("cause", error.message())
    })?;
    Ok(envelope.rewrite(edits))
}

/// Takes a stream to the client: response objects get the gateway's edits, and the last one is kept.
///
/// Reads what clients get, from either lane. All other events pass untouched and uncopied.
#[derive(Debug, Default)]
pub struct Passage {
    edits: Edits,
    events: u64,
    response: Option<Bytes>,
}

impl Passage {
    /// Nothing has passed yet; `edits` are made to every response object, most of all its `id`.
    pub fn new(edits: Edits) -> Passage {
        Passage { edits, events: 0, response: None }
    }

    /// Passes the next piece on. Pieces hold whole events, as [`crate::relay::Relay`] and encoders give them.
    pub fn pass(&mut self, piece: Bytes) -> Bytes {
        let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        let mut at = 0;
        while let Some(length) = event_length(piece.get(at..).unwrap_or_default(), 0) {
            let event = piece.get(at..at + length).unwrap_or_default();
            if !event.starts_with(b":") {
                self.event(event, at, &mut changes);
                self.events += 1;
            }
            at += length;
        }
        if changes.is_empty() { piece } else { apply(&piece, piece.len(), changes) }
    }

    /// The last whole response, once an event of the stream has told that it is complete, incomplete or failed.
    pub fn response(&self) -> Option<&Bytes> {
        self.response.as_ref()
    }

    fn event(&mut self, event: &[u8], at: usize, changes: &mut Vec<(Range<usize>, Vec<u8>)>) {
        let Some(found) = find(event) else { return };
        let response = event.get(found.response.clone()).map(Bytes::copy_from_slice).unwrap_or_default();
        let Ok(envelope) = Envelope::parse(response, DEPTH) else { return };
        let shown = envelope.rewrite(&self.edits);
        if matches!(&*found.kind, "response.completed" | "response.incomplete" | "response.failed") {
            self.response = Some(shown.clone());
        }
        // A failure told after events of a provider was written without knowing of them.
        let number = found.sequence.filter(|(_, number)| *number == 0 && self.events > 0);
        let mut both = vec![(found.response, shown.to_vec())];
        both.extend(number.map(|(range, _)| (range, self.events.to_string().into_bytes())));
        both.sort_by_key(|(range, _)| range.start);
        changes.extend(both.into_iter().map(|(range, text)| (at + range.start..at + range.end, text)));
    }
}

/// What is in an event that holds a response object.
pub(crate) struct Found {
    kind: String,
    /// Where the object is.
    pub(crate) response: Range<usize>,
    /// Where its model is, quotes included.
    pub(crate) model: Option<Range<usize>>,
    sequence: Option<(Range<usize>, u64)>,
}

static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"response\""));

/// Could the event hold a response object? In text the quotes would be escaped.
pub(crate) fn may_hold_response(event: &[u8]) -> bool {
    RESPONSE.find(event).is_some()
}

/// Finds the response object in an event of one line of data.
pub(crate) fn find(event: &[u8]) -> Option<Found> {
    if !may_hold_response(event) {
        return None;
    }
    let line = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"))?;
    let mut fields = Object::parse(std::str::from_utf8(line).ok()?.trim())?;
    let kind = fields.text("type").unwrap_or_default().into_owned();
    let response = fields.take("response").filter(|raw| read::is_object(raw))?;
    let model = Object::parse(response.get())?.take("model").filter(|raw| read::text(raw).is_some());
    let sequence = fields.take("sequence_number");
    let place = |raw: Raw<'_>| range_in(event, raw.get());
    Some(Found {
        kind,
        response: place(response)?,
        model: model.and_then(place),
        sequence: sequence.and_then(|raw| Some((place(raw)?, read::whole(raw)?))),
    })
}

/// Where `part`, which was cut out of `whole`, is.
fn range_in(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

#[cfg(test)]
mod tests;
