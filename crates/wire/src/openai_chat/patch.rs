//! Applying [`Quirks`] to a body that travels verbatim.
//!
//! Only what a quirk names is rewritten; every other value keeps its bytes, number spelling included, so that
//! providers' prompt caches go on matching.

use std::collections::HashMap;

use bytes::Bytes;
use tollway_model::Result;

use super::names;
use super::quirks::Quirks;
use super::read::{self, Object, Raw};
use super::write;
use crate::carry;
use crate::json::{Edits, Envelope, MAX_DEPTH};

/// Fields that answers carry and requests must not.
const OUTPUT_FIELDS: [&str; 8] = [
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "annotations",
    "audio",
    "images",
    "provider_specific_fields",
];

/// Fields in which the gateway gives clients other providers' signatures. OpenAI does not know them.
const CARRIED_FIELDS: [&str; 2] = ["thinking_blocks", "provider_specific_fields"];

/// Could [`patch`] find something to change? May say yes wrongly, never no, and is much cheaper: most bodies hold
/// nothing that a quirk is about.
pub fn may_concern(envelope: &Envelope, quirks: &Quirks) -> bool {
    let key = |key: &str| envelope.may_have_key(key);
    let says = |text: &str| memchr::memmem::find(envelope.body(), text.as_bytes()).is_some();
    (!quirks.cache_control && key("cache_control"))
        || (quirks.developer_as_system && says("developer"))
        || (quirks.flatten_text && key("type"))
        || (quirks.no_nulls && says("null"))
        || (quirks.no_message_names && key("name"))
        || (quirks.no_strict && key("strict"))
        || ((quirks.no_output_fields || quirks.wants_reasoning_content) && says("assistant"))
        || (quirks.max_tokens_only && key("max_completion_tokens"))
        || (quirks.nine_char_tool_ids && key("tool_calls"))
        || (quirks.required_as_any && key("tool_choice"))
        || (quirks.no_stream_options && key("stream_options"))
        || (quirks.thinking_switch && key("reasoning_effort"))
        || (quirks.short_tool_ids
            && (CARRIED_FIELDS.into_iter().any(key) || (ID_KEYS.into_iter().any(key) && says(carry::MARK))))
}

/// Fields that hold ids of tool calls.
const ID_KEYS: [&str; 2] = ["tool_calls", "tool_call_id"];

/// Does the conversation hold what the gateway gave the client of other providers' state?
fn carries(body: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(body, text.as_bytes()).is_some();
    has(carry::MARK) || CARRIED_FIELDS.into_iter().any(has)
}

/// The body that a provider with `quirks` takes; `None` when `body` will do as it is.
///
/// Fails when `body` is not a JSON object.
pub fn patch(body: &[u8], quirks: &Quirks) -> Result<Option<Vec<u8>>> {
    // Long ids hold signatures: without the mark of one there is nothing to look for.
    let quirks = &Quirks { short_tool_ids: quirks.short_tool_ids && carries(body), ..quirks.clone() };
    let envelope = Envelope::parse(Bytes::copy_from_slice(body), MAX_DEPTH)?;
    let mut edits = Edits::new();
    top_level(&envelope, quirks, &mut edits);
    type Rewrite = fn(Raw<'_>, &Quirks) -> Option<Vec<u8>>;
    for (key, rewrite) in [("messages", message as Rewrite), ("tools", tool as Rewrite)] {
        let items = envelope.get(key).and_then(|raw| serde_json::from_str::<Vec<Raw<'_>>>(raw).ok());
        let rewritten = items.and_then(|items| elements(&items, quirks, rewrite));
        if let Some(text) = rewritten.and_then(|bytes| String::from_utf8(bytes).ok()) {
            edits.set_raw(key, text);
        }
    }
    Ok((!edits.is_empty()).then(|| envelope.rewrite(&edits).to_vec()))
}

fn top_level(envelope: &Envelope, quirks: &Quirks, edits: &mut Edits) {
    if quirks.max_tokens_only && envelope.get("max_completion_tokens").is_some() {
        // The newer field wins where both are given.
        if envelope.has("max_completion_tokens") && envelope.get("max_tokens").is_some() {
            edits.remove("max_tokens");
        }
        if envelope.has("max_completion_tokens") {
            edits.rename("max_completion_tokens", "max_tokens");
        } else {
            edits.remove("max_completion_tokens");
        }
    }
    if quirks.required_as_any && envelope.str("tool_choice").as_deref() == Some("required") {
        edits.set_str("tool_choice", "any");
    }
    if quirks.no_stream_options && envelope.get("stream_options").is_some() {
        edits.remove("stream_options");
    }
    if quirks.thinking_switch && envelope.get("reasoning_effort").is_some() {
        edits.remove("reasoning_effort");
        if envelope.has("reasoning_effort") && !envelope.has("thinking") {
            let effort = envelope.str("reasoning_effort");
            let off = matches!(effort.as_deref(), Some("none" | "disable"));
            edits.set_raw(
                "thinking",
                format!("{{\"type\":\"{}\"}}", if off { "disabled" } else { "enabled" }),
            );
        }
    }
}

/// The list with some elements rewritten; `None` when all stay.
fn elements(
    items: &[Raw<'_>],
    quirks: &Quirks,
    rewrite: impl Fn(Raw<'_>, &Quirks) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let rewritten: HashMap<usize, Vec<u8>> =
        items.iter().enumerate().filter_map(|(index, item)| Some((index, rewrite(item, quirks)?))).collect();
    if rewritten.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    write::list(&mut out, |list| {
        for (index, item) in items.iter().enumerate() {
            match rewritten.get(&index) {
                Some(bytes) => list.item().extend_from_slice(bytes),
                None => list.literal(item.get()),
            }
        }
    });
    Some(out)
}

/// Members of an object to leave out or to set.
#[derive(Default)]
struct Changes<'a> {
    removed: Vec<&'a str>,
    set: Vec<(&'static str, Vec<u8>)>,
}

impl<'a> Changes<'a> {
    fn remove(&mut self, key: &'a str) {
        self.removed.push(key);
    }

    fn set_str(&mut self, key: &'static str, value: &str) {
        let mut bytes = Vec::new();
        crate::json::write_str(value, &mut bytes);
        self.set.push((key, bytes));
    }

    /// The object with the changes; `None` when there are none.
    fn apply(self, fields: &Object<'_>) -> Option<Vec<u8>> {
        if self.removed.is_empty() && self.set.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        write::object(&mut out, |map| {
            for (key, raw) in fields.rest() {
                match self.set.iter().find(|(set, _)| *set == key) {
                    Some((_, bytes)) => map.key(key).extend_from_slice(bytes),
                    None if self.removed.contains(&key) => {}
                    None => map.literal(key, raw.get()),
                }
            }
            for (key, bytes) in &self.set {
                if !fields.has(key) {
                    map.key(key).extend_from_slice(bytes);
                }
            }
        });
        Some(out)
    }
}

fn message(raw: Raw<'_>, quirks: &Quirks) -> Option<Vec<u8>> {
    let fields = Object::parse(raw.get())?;
    let string = |key: &str| fields.get(key).and_then(read::text);
    let role = string("role").unwrap_or_default();
    let mut changes = Changes::default();
    if quirks.developer_as_system && role == "developer" {
        changes.set_str("role", "system");
    }
    if quirks.no_message_names && role != "tool" && role != "function" && fields.has("name") {
        changes.remove("name");
    }
    content(&fields, role.as_ref(), quirks, &mut changes);
    if role == "assistant" {
        assistant(&fields, quirks, &mut changes);
    }
    if let Some(id) = string("tool_call_id").and_then(|id| other_id(&id, quirks)) {
        changes.set_str("tool_call_id", &id);
    }
    if quirks.no_nulls {
        let nulls = fields.rest().filter(|(_, raw)| raw.get() == "null").map(|(key, _)| key);
        changes.removed.extend(nulls);
    }
    changes.apply(&fields)
}

fn content<'a>(fields: &'a Object<'_>, role: &str, quirks: &Quirks, changes: &mut Changes<'a>) {
    let Some(parts) = fields.get("content").filter(|raw| read::is_list(raw)).and_then(read::list) else {
        return;
    };
    if quirks.flatten_text {
        let texts: Option<Vec<_>> = parts
            .iter()
            .map(|raw| {
                let mut part = Object::parse(raw.get())?;
                (part.text("type")? == "text").then(|| part.text("text")).flatten()
            })
            .collect();
        if let Some(texts) = texts {
            changes.set_str("content", &texts.join(if role == "assistant" { "" } else { "\n" }));
            return;
        }
    }
    if !quirks.cache_control {
        // OpenAI itself refuses the marker; hosts that take it say so.
        let strip = |raw: Raw<'_>, _: &Quirks| without_cache_control(raw);
        if let Some(bytes) = elements(&parts, quirks, strip) {
            changes.set.push(("content", bytes));
        }
    }
}

fn without_cache_control(raw: Raw<'_>) -> Option<Vec<u8>> {
    let fields = Object::parse(raw.get())?;
    let mut changes = Changes::default();
    if fields.has("cache_control") {
        changes.remove("cache_control");
    }
    changes.apply(&fields)
}

fn assistant<'a>(fields: &'a Object<'_>, quirks: &Quirks, changes: &mut Changes<'a>) {
    let string = |key: &str| fields.get(key).and_then(read::text).filter(|text| !text.is_empty());
    if quirks.no_output_fields {
        let kept = |key: &str| quirks.wants_reasoning_content && key == "reasoning_content";
        let found = OUTPUT_FIELDS.into_iter().filter(|key| fields.has(key) && !kept(key));
        changes.removed.extend(found);
        if fields.has("refusal") {
            changes.remove("refusal");
            // What was refused is still part of the conversation.
            if let (None, Some(refusal)) = (string("content"), string("refusal")) {
                changes.set_str("content", &refusal);
            }
        }
    }
    if quirks.wants_reasoning_content && string("reasoning_content").is_none() {
        let lost = fields.get("tool_calls").map(|_| " ".to_owned());
        let text = string("reasoning").map(|text| text.into_owned()).or_else(|| blocks_text(fields)).or(lost);
        if let Some(text) = text {
            changes.set_str("reasoning_content", &text);
        }
    }
    if quirks.short_tool_ids {
        let found = CARRIED_FIELDS.into_iter().filter(|key| fields.has(key));
        changes.removed.extend(found);
    }
    if (quirks.nine_char_tool_ids || quirks.short_tool_ids)
        && let Some(calls) = fields.get("tool_calls").and_then(read::list)
        && let Some(bytes) = elements(&calls, quirks, call)
    {
        changes.set.push(("tool_calls", bytes));
    }
}

fn blocks_text(fields: &Object<'_>) -> Option<String> {
    let blocks = read::list(fields.get("thinking_blocks")?)?;
    let texts = blocks.into_iter().filter_map(|raw| Object::parse(raw.get())?.text("thinking"));
    Some(texts.collect::<String>()).filter(|text| !text.is_empty())
}

fn call(raw: Raw<'_>, quirks: &Quirks) -> Option<Vec<u8>> {
    let fields = Object::parse(raw.get())?;
    let mut changes = Changes::default();
    if let Some(id) = fields.get("id").and_then(read::text).and_then(|id| other_id(&id, quirks)) {
        changes.set_str("id", &id);
    }
    if quirks.short_tool_ids && fields.has("provider_specific_fields") {
        changes.remove("provider_specific_fields");
    }
    changes.apply(&fields)
}

/// The id the target takes in place of `id`; `None` when it takes `id`.
fn other_id(id: &str, quirks: &Quirks) -> Option<String> {
    let plain = if quirks.short_tool_ids || quirks.nine_char_tool_ids { carry::unpack_id(id).0 } else { id };
    let fitting = match (quirks.nine_char_tool_ids, quirks.short_tool_ids) {
        (true, _) => names::nine_chars(plain),
        (false, true) => names::forty_chars(plain),
        (false, false) => plain.into(),
    };
    (fitting != id).then(|| fitting.into_owned())
}

fn tool(raw: Raw<'_>, quirks: &Quirks) -> Option<Vec<u8>> {
    let fields = Object::parse(raw.get())?;
    let mut changes = Changes::default();
    if !quirks.cache_control && fields.has("cache_control") {
        changes.remove("cache_control");
    }
    if quirks.no_strict
        && let Some(inner) = fields.get("function").and_then(|raw| Object::parse(raw.get()))
        && inner.has("strict")
    {
        let mut inner_changes = Changes::default();
        inner_changes.remove("strict");
        changes.set.extend(inner_changes.apply(&inner).map(|bytes| ("function", bytes)));
    }
    changes.apply(&fields)
}
