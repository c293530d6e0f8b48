//! Output items of an answer as parts.

use tollway_model::{Citation, Delta, Dialect, Event, PartKind, ToolKind};

use super::{items_in, state};
use crate::openai_chat::read::{Object, Raw, text};
use crate::{Restore, carry};

/// A part and what is said in it.
pub(super) type Whole = (PartKind, Vec<Delta>);

/// All parts of a complete item.
pub(super) fn parts(raw: Raw<'_>, restore: &Restore) -> Vec<Whole> {
    let Some(mut fields) = Object::parse(raw.get()) else { return Vec::new() };
    match fields.text("type").as_deref() {
        Some("message") => {
            let parts = fields.list("content").into_iter();
            parts.filter_map(|raw| content(&mut Object::parse(raw.get())?)).collect()
        }
        Some("function_call") => call(&mut fields, ToolKind::Function, restore).into_iter().collect(),
        Some("custom_tool_call") => call(&mut fields, ToolKind::Custom, restore).into_iter().collect(),
        Some("reasoning") => reasoning(&mut fields).into_iter().collect(),
        _ => vec![(PartKind::Native { dialect: Dialect::OpenaiResponses, json: raw.into() }, Vec::new())],
    }
}

/// A part of a message.
pub(super) fn content(fields: &mut Object<'_>) -> Option<Whole> {
    let mut deltas = Vec::new();
    let kind = match fields.text("type").as_deref() {
        Some("refusal") => {
            deltas.extend(said(fields, "refusal"));
            PartKind::Refusal
        }
        Some("output_text" | "text") => {
            deltas.extend(said(fields, "text"));
            deltas.extend(citations(fields).map(Delta::Citation));
            PartKind::Text
        }
        _ => return None,
    };
    Some((kind, deltas))
}

pub(super) fn said(fields: &mut Object<'_>, key: &str) -> Option<Delta> {
    let text = fields.text(key).filter(|text| !text.is_empty())?;
    Some(Delta::Text(text.into_owned()))
}

pub(super) fn citations<'a>(fields: &mut Object<'a>) -> impl Iterator<Item = Citation> + use<'a> {
    fields.list("annotations").into_iter().filter_map(items_in::citation)
}

/// Who is called; `None` while the host has not said.
pub(super) fn called(fields: &mut Object<'_>, kind: ToolKind, restore: &Restore) -> Option<PartKind> {
    let name = fields.text("name").filter(|name| !name.is_empty())?;
    let name = restore.tool_name(&name).to_owned();
    let namespace = fields.text("namespace").filter(|namespace| !namespace.is_empty());
    let name = namespace.map_or_else(|| name.clone(), |space| state::in_namespace(&space, &name));
    let id = fields.text("call_id").filter(|id| !id.is_empty()).or_else(|| fields.text("id"))?;
    // Another gateway may have packed a signature into the id: it stays there for its client.
    Some(PartKind::ToolCall { id: carry::unpack_id(&id).0.to_owned(), name, kind })
}

/// The state inside a call's id.
pub(super) fn call_signature(id: Option<&str>) -> Option<Delta> {
    carry::unpack_id(id?).1.map(Delta::Signature)
}

pub(super) fn arguments(fields: &mut Object<'_>, kind: ToolKind) -> Option<Delta> {
    let key = if kind == ToolKind::Custom { "input" } else { "arguments" };
    let raw = fields.take(key)?;
    // Some hosts send the object itself.
    let input = text(raw).map_or_else(|| raw.get().to_owned(), |text| text.into_owned());
    (!input.is_empty()).then_some(Delta::Arguments(input))
}

fn call(fields: &mut Object<'_>, kind: ToolKind, restore: &Restore) -> Option<Whole> {
    let id = fields.get("call_id").and_then(text);
    let part = called(fields, kind, restore)?;
    let mut deltas: Vec<_> = arguments(fields, kind).into_iter().collect();
    if deltas.is_empty() && kind == ToolKind::Function {
        deltas.push(Delta::Arguments("{}".to_owned()));
    }
    deltas.extend(call_signature(id.as_deref()));
    Some((part, deltas))
}

fn reasoning(fields: &mut Object<'_>) -> Option<Whole> {
    let tollway_model::Content::Reasoning { text, signature, redacted } = items_in::reasoning(fields, false)?
    else {
        return None;
    };
    let mut deltas = Vec::new();
    deltas.extend((!text.is_empty()).then_some(Delta::Text(text)));
    deltas.extend(signature.map(Delta::Signature));
    Some((if redacted { PartKind::Redacted } else { PartKind::Reasoning }, deltas))
}

/// Writes a whole part as events.
pub(super) fn emit(part: u32, (kind, deltas): Whole, events: &mut Vec<Event>) {
    events.push(Event::PartStart { choice: 0, part, kind });
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice: 0, part, delta }));
    events.push(Event::PartEnd { choice: 0, part });
}

/// What an item adds to what must be known about the whole answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// The client must run a tool.
    pub(super) called: bool,
    /// Searches that the provider ran.
    pub(super) searches: u64,
}

impl Tally {
    /// Counts an item without reading what it says.
    pub(super) fn add(&mut self, raw: Raw<'_>) {
        // Its type stands near the beginning of a real item; nothing else is worth reading.
        let Some(mut fields) = Object::parse(raw.get()) else { return };
        match fields.text("type").as_deref() {
            Some("function_call" | "custom_tool_call") => self.called = true,
            Some("web_search_call") => {
                let action = fields.object("action").and_then(|mut action| action.text("type"));
                self.searches += u64::from(action.is_none_or(|kind| kind == "search"));
            }
            _ => {}
        }
    }
}
