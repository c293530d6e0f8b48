//! A provider's stream → events.
//!
//! Frames are known, unknown or corrupt: unknown ones are skipped, corrupt ones end the stream. Blocks that only this
//! dialect knows are collected and come whole, as do the inputs of free-text tools.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tollway_model::{
    Content, Delta, Dialect, Error, Event, Extras, Kind, PartKind, RawJson, Result, ToolCall, ToolKind,
};

use super::blocks_in::{Asides, block, citation, untag};
use super::read::{Object, Path};
use super::response_in::{corrupt, finish};
use super::{error, usage};
use crate::parts::Parts;
use crate::sse::Framer;
use crate::{Restore, StreamDecoder, free_text};

/// Reads a stream.
pub(super) struct Decoder {
    framer: Framer,
    state: State,
}

impl Decoder {
    pub(super) fn new(restore: Restore) -> Decoder {
        Decoder { framer: Framer::default(), state: State::new(restore) }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.state.over {
            return;
        }
        let state = &mut self.state;
        if let Err(error) = self.framer.push(bytes, |frame| state.frame(frame.data, events)) {
            state.fail(corrupt(&error.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let state = &mut self.state;
        if let Err(error) = self.framer.finish(|frame| state.frame(frame.data, events)) {
            state.fail(corrupt(&error.to_string()), events);
        }
        if state.over {
            return;
        }
        if state.stop.reason.is_some() {
            state.end(events);
        } else {
            let message = "the provider's stream broke off before the answer was complete";
            state.fail(Error::new(Kind::Connection, message), events);
        }
    }
}

/// Why the answer stopped, as far as it has been said.
#[derive(Default)]
struct Stop {
    reason: Option<String>,
    sequence: Option<String>,
}

struct State {
    restore: Restore,
    started: bool,
    over: bool,
    parts: Parts,
    blocks: BTreeMap<u64, Open>,
    stop: Stop,
    usage: usage::Reader,
    extras: IndexMap<String, RawJson>,
    called: bool,
    answered_by_tool: bool,
}

/// A block that is not complete.
struct Open {
    /// The part's number; blocks that come whole get one when they are complete.
    part: u32,
    kind: OpenKind,
}

enum OpenKind {
    Text,
    Reasoning,
    Redacted,
    /// A tool call, or the answer given by a tool. `given` is the input the block began with.
    Call {
        given: String,
        any: bool,
        answer: bool,
    },
    /// A free-text tool's call.
    Custom {
        given: String,
        json: String,
    },
    /// A block of this dialect, and the text of its input.
    Native {
        block: Map<String, Value>,
        json: String,
    },
}

impl State {
    fn new(restore: Restore) -> State {
        State {
            restore,
            started: false,
            over: false,
            parts: Parts::default(),
            blocks: BTreeMap::new(),
            stop: Stop::default(),
            usage: usage::Reader::default(),
            extras: IndexMap::new(),
            called: false,
            answered_by_tool: false,
        }
    }

    fn frame(&mut self, data: &[u8], events: &mut Vec<Event>) {
        // `[DONE]` ends streams of other dialects; some hosts send it here too.
        if self.over || data.is_empty() || data == b"[DONE]" {
            return;
        }
        if let Err(error) = self.read(data, events) {
            let error = if error.origin() == tollway_model::Origin::Upstream {
                error
            } else {
                corrupt(error.message())
            };
            self.fail(error, events);
        }
    }

    fn read(&mut self, data: &[u8], events: &mut Vec<Event>) -> Result<()> {
        let root = Path::Root;
        let mut frame = Object::parse_bytes(data)?;
        let kind = frame.text("type", &root)?.unwrap_or_default();
        match &*kind {
            "message_start" => self.message_start(frame, events),
            "content_block_start" => self.block_start(frame, events),
            "content_block_delta" => self.block_delta(frame, events),
            "content_block_stop" => {
                if let Some(open) = self.blocks.remove(&index(&mut frame)?) {
                    self.close(open, events);
                }
                Ok(())
            }
            "message_delta" => self.message_delta(frame, events),
            "message_stop" => {
                self.end(events);
                Ok(())
            }
            "error" | "" => match frame.take("error") {
                Some(raw) => Err(error::from_object(raw, None)),
                None if kind == "error" => Err(Error::new(Kind::Upstream, "the provider reported a failure")),
                None => Ok(()),
            },
            // `ping`, and frames still to come.
            _ => Ok(()),
        }
    }

    fn message_start(&mut self, mut frame: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let path = Path::Root.key("message");
        let mut message = Object::parse(frame.required("message", &Path::Root)?, &path)?;
        if self.started {
            return Ok(());
        }
        let id = message.text("id", &path)?.unwrap_or_default().into_owned();
        let model = message.text("model", &path)?.unwrap_or_default().into_owned();
        self.started = true;
        events.push(Event::Start { id, model, created: None });
        self.usage(message.take("usage"), events)?;
        for known in ["type", "role", "content", "stop_reason", "stop_sequence"] {
            message.take(known);
        }
        self.extras.extend(message.rest());
        Ok(())
    }

    /// Some hosts leave `message_start` out.
    fn ensure_started(&mut self, events: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            events.push(Event::Start { id: String::new(), model: String::new(), created: None });
        }
    }

    fn usage(&mut self, raw: Option<&RawValue>, events: &mut Vec<Event>) -> Result<()> {
        let Some(raw) = raw else { return Ok(()) };
        self.usage.read(raw)?;
        self.ensure_started(events);
        events.extend(self.usage.usage().map(Event::Usage));
        Ok(())
    }

    fn message_delta(&mut self, mut frame: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        if let Some(raw) = frame.take("delta") {
            let path = Path::Root.key("delta");
            let mut delta = Object::parse(raw, &path)?;
            if let Some(reason) = delta.text("stop_reason", &path)? {
                self.stop.reason = Some(reason.into_owned());
            }
            if let Some(sequence) = delta.text("stop_sequence", &path)? {
                self.stop.sequence = Some(sequence.into_owned());
            }
            self.extras.extend(delta.rest());
        }
        self.usage(frame.take("usage"), events)?;
        self.extras.extend(frame.rest());
        Ok(())
    }

    fn block_start(&mut self, mut frame: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = index(&mut frame)?;
        let raw = frame.required("content_block", &Path::Root)?;
        let part = block(raw, &Path::Root.key("content_block"), &mut Asides::default())?;
        self.ensure_started(events);
        if let Some(open) = self.blocks.remove(&index) {
            self.close(open, events);
        }
        let open = match part.content {
            Content::Text { text, citations, .. } => {
                let part = match self.restore.json_tool {
                    Some(_) => self.parts.open_kept_text(events),
                    None => self.parts.open(PartKind::Text, events),
                };
                self.parts.delta(part, Delta::Text(text), events);
                for citation in citations {
                    self.parts.delta(part, Delta::Citation(citation), events);
                }
                Open { part, kind: OpenKind::Text }
            }
            Content::Reasoning { text, signature, redacted } => {
                let kind = if redacted { PartKind::Redacted } else { PartKind::Reasoning };
                let part = self.parts.open(kind, events);
                self.parts.delta(part, Delta::Text(text), events);
                if let Some(signature) = signature {
                    self.parts.delta(part, Delta::Signature(signature), events);
                }
                Open { part, kind: if redacted { OpenKind::Redacted } else { OpenKind::Reasoning } }
            }
            Content::ToolCall(call) => self.call_start(call, events),
            // Pictures and documents do not come in answers; whatever else comes is kept whole.
            _ => {
                let block = serde_json::from_str(raw.get()).unwrap_or_default();
                Open { part: 0, kind: OpenKind::Native { block, json: String::new() } }
            }
        };
        self.blocks.insert(index, open);
        Ok(())
    }

    fn call_start(&mut self, call: ToolCall, events: &mut Vec<Event>) -> Open {
        let ToolCall { id, name, arguments, signature, .. } = call;
        let given = if arguments == "{}" { String::new() } else { arguments };
        let answer = self.restore.json_tool.as_deref() == Some(name.as_str());
        self.release(answer, events);
        if answer {
            self.answered_by_tool = true;
            let part = self.parts.open(PartKind::Text, events);
            return Open { part, kind: OpenKind::Call { given, any: false, answer } };
        }
        self.called = true;
        let custom = self.restore.custom_tools.contains(&name);
        let kind = if custom { ToolKind::Custom } else { ToolKind::Function };
        let name = self.restore.tool_name(&name).to_owned();
        let part = self.parts.open(PartKind::ToolCall { id, name, kind }, events);
        if let Some(signature) = signature {
            self.parts.delta(part, Delta::Signature(signature), events);
        }
        let kind = if custom {
            OpenKind::Custom { given, json: String::new() }
        } else {
            OpenKind::Call { given, any: false, answer }
        };
        Open { part, kind }
    }

    fn block_delta(&mut self, mut frame: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = index(&mut frame)?;
        let path = Path::Root.key("delta");
        let mut delta = Object::parse(frame.required("delta", &Path::Root)?, &path)?;
        let kind = delta.required_text("type", &path)?;
        let Some(open) = self.blocks.get_mut(&index) else {
            return Err(Path::Root.key("index").wrong(format!("block {index} is not open")));
        };
        let part = open.part;
        let event = match (&mut open.kind, &*kind) {
            (OpenKind::Native { block, json }, kind) => {
                grow(block, json, kind, delta)?;
                None
            }
            (OpenKind::Text, "text_delta") => {
                Some(Delta::Text(delta.required_text("text", &path)?.into_owned()))
            }
            (OpenKind::Text, "citations_delta") => {
                Some(Delta::Citation(citation(delta.required("citation", &path)?, &path.key("citation"))?))
            }
            (OpenKind::Reasoning, "thinking_delta") => {
                Some(Delta::Text(delta.required_text("thinking", &path)?.into_owned()))
            }
            (OpenKind::Reasoning, "signature_delta") => {
                untag(&delta.required_text("signature", &path)?).map(Delta::Signature)
            }
            (OpenKind::Call { any, answer, .. }, "input_json_delta") => {
                let json = delta.required_text("partial_json", &path)?.into_owned();
                *any |= !json.is_empty();
                Some(if *answer { Delta::Text(json) } else { Delta::Arguments(json) })
            }
            (OpenKind::Custom { json, .. }, "input_json_delta") => {
                json.push_str(&delta.required_text("partial_json", &path)?);
                None
            }
            // Deltas still to come.
            _ => None,
        };
        if let Some(event) = event {
            self.parts.delta(part, event, events);
        }
        Ok(())
    }

    fn close(&mut self, open: Open, events: &mut Vec<Event>) {
        let part = open.part;
        match open.kind {
            OpenKind::Text | OpenKind::Reasoning | OpenKind::Redacted => {}
            OpenKind::Call { any: true, .. } => {}
            OpenKind::Call { given, answer, .. } => {
                let given = if given.is_empty() { "{}".to_owned() } else { given };
                let delta = if answer { Delta::Text(given) } else { Delta::Arguments(given) };
                self.parts.delta(part, delta, events);
            }
            OpenKind::Custom { given, json } => {
                let json = if json.is_empty() { given } else { json };
                let json = if json.is_empty() { "{}" } else { &json };
                self.parts.delta(part, Delta::Arguments(free_text::unwrap(json)), events);
            }
            OpenKind::Native { mut block, json } => {
                if let Ok(input) = serde_json::from_str::<Value>(&json) {
                    block.insert("input".to_owned(), input);
                }
                let json = RawJson::from(Value::Object(block));
                let part = self.parts.open(PartKind::Native { dialect: Dialect::Anthropic, json }, events);
                return self.parts.close(part, events);
            }
        }
        self.parts.close(part, events);
    }

    /// Lets go of what was kept back, without its text when the answer's tool was called.
    fn release(&mut self, without_text: bool, events: &mut Vec<Event>) {
        if !without_text {
            return self.parts.release(events);
        }
        let chatter = self.parts.release_without_text(events);
        self.blocks.retain(|_, open| !matches!(open.kind, OpenKind::Text) || !chatter.contains(&open.part));
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.ensure_started(events);
        for (_, open) in std::mem::take(&mut self.blocks) {
            self.close(open, events);
        }
        self.release(false, events);
        if let Some(native) = self.stop.reason.take() {
            let reason = finish(&native, self.answered_by_tool && !self.called);
            let stop_sequence = self.stop.sequence.take();
            events.push(Event::Finish { choice: 0, reason, native: Some(native), stop_sequence });
        }
        let mut extras = Extras::default();
        let fields = std::mem::take(&mut self.extras).into_iter().chain(std::mem::take(&mut self.usage.rest));
        let fields: IndexMap<_, _> = fields.collect();
        if !fields.is_empty() {
            extras = Extras { dialect: Some(Dialect::Anthropic), fields };
        }
        let service_tier = self.usage.service_tier.take();
        if service_tier.is_some() || extras.dialect.is_some() {
            events.push(Event::Meta { service_tier, extras });
        }
        events.push(Event::End);
        self.over = true;
    }

    fn fail(&mut self, error: Error, events: &mut Vec<Event>) {
        if !self.over {
            self.over = true;
            // What was kept back is part of the answer; the error ends it.
            self.release(false, events);
            events.push(Event::Error(error));
        }
    }
}

fn index(frame: &mut Object<'_>) -> Result<u64> {
    let path = Path::Root;
    frame.whole("index", &path)?.ok_or_else(|| path.key("index").wrong("field required"))
}

/// Adds a delta to a block of this dialect: the input's text, or more of the member it is named after.
fn grow(block: &mut Map<String, Value>, json: &mut String, kind: &str, mut delta: Object<'_>) -> Result<()> {
    let path = Path::Root.key("delta");
    if kind == "input_json_delta" {
        json.push_str(&delta.required_text("partial_json", &path)?);
        return Ok(());
    }
    if kind == "citations_delta" {
        return Ok(());
    }
    for (name, value) in delta.rest() {
        match (block.get_mut(&name), value.to_value()) {
            (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
            (_, value) => {
                block.insert(name, value);
            }
        }
    }
    Ok(())
}
