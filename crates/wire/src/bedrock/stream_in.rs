//! A provider's stream → events.
//!
//! Messages are known, unknown or corrupt: unknown ones are skipped, corrupt ones end the stream. Blocks of text and
//! of thinking begin with their first piece; only tool calls and pictures are announced.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tollway_model::{Delta, Dialect, Error, Event, Extras, Kind, Media, PartKind, Result, ToolKind};

use super::blocks_in::{citation, signature};
use super::usage::TokenUsage;
use super::{error, finish, response_in};
use crate::anthropic::read::{Object, Path};
use crate::anthropic::response_in::corrupt;
use crate::eventstream::{Framer, Message};
use crate::free_text;
use crate::parts::Parts;
use crate::{Restore, StreamDecoder};

/// Reads a stream.
pub(super) struct Decoder {
    framer: Framer,
    state: State,
}

impl Decoder {
    pub(super) fn new(restore: Restore) -> Decoder {
        Decoder { framer: Framer::default(), state: State { restore, ..State::default() } }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.state.over {
            return;
        }
        let state = &mut self.state;
        if let Err(fault) = self.framer.push(bytes, |message| state.message(&message, events)) {
            state.fail(corrupt(&fault.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let state = &mut self.state;
        if state.over {
            return;
        }
        if state.stopped && self.framer.finish().is_ok() {
            return state.end(events);
        }
        let message = "the provider's stream broke off before the answer was complete";
        state.fail(Error::new(Kind::Connection, message), events);
    }
}

#[derive(Default)]
struct State {
    restore: Restore,
    started: bool,
    stopped: bool,
    over: bool,
    parts: Parts,
    blocks: BTreeMap<u64, Open>,
    usage: Option<TokenUsage>,
    thinking: u64,
    extras: Extras,
    called: bool,
    answered_by_tool: bool,
}

/// A block that is not complete.
struct Open {
    part: u32,
    kind: OpenKind,
}

#[derive(Clone, PartialEq)]
enum OpenKind {
    Text,
    Reasoning,
    /// What is encrypted, so far.
    Redacted(String),
    /// A tool call, or the answer given by a tool.
    Call {
        any: bool,
        answer: bool,
    },
    /// A free-text tool's call: its input so far.
    Custom(String),
    /// A picture: its format, and its bytes so far.
    Image {
        format: String,
        bytes: String,
    },
    /// A result of a tool that the provider ran; nobody reads it.
    Unread,
}

impl State {
    fn message(&mut self, message: &Message<'_>, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Err(error) = self.read(message, events) {
            let is_theirs = error.origin() == tollway_model::Origin::Upstream;
            self.fail(if is_theirs { error } else { corrupt(error.message()) }, events);
        }
    }

    fn read(&mut self, message: &Message<'_>, events: &mut Vec<Event>) -> Result<()> {
        match message.text(":message-type") {
            Some("exception") => {
                return Err(error::of_stream(message.text(":exception-type"), message.payload));
            }
            Some("error") => {
                let text = message.text(":error-message").unwrap_or_default();
                return Err(error::build(message.text(":error-code"), text, None));
            }
            _ => {}
        }
        let Some(kind) = message.text(":event-type") else { return Ok(()) };
        if !matches!(
            kind,
            "messageStart"
                | "contentBlockStart"
                | "contentBlockDelta"
                | "contentBlockStop"
                | "messageStop"
                | "metadata"
        ) {
            return Ok(());
        }
        let payload = Object::parse_bytes(message.payload)?;
        self.start(events);
        match kind {
            "contentBlockStart" => self.block_start(payload, events),
            "contentBlockDelta" => self.block_delta(payload, events),
            "contentBlockStop" => self.block_stop(payload, events),
            "messageStop" => self.message_stop(payload, events),
            "metadata" => self.metadata(payload, events),
            _ => Ok(()),
        }
    }

    /// The API says neither the answer's id nor the model.
    fn start(&mut self, events: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            events.push(Event::Start { id: String::new(), model: String::new(), created: None });
        }
    }

    fn block_start(&mut self, mut payload: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = index(&mut payload)?;
        let Some(raw) = payload.take("start") else { return Ok(()) };
        let path = Path::Root.key("start");
        let mut start = Object::parse(raw, &path)?;
        let open = if let Some(raw) = start.take("toolUse") {
            self.call_start(raw, &path.key("toolUse"), events)?
        } else if let Some(raw) = start.take("image") {
            let format = Object::parse(raw, &path)?.text("format", &path)?.unwrap_or_default().into_owned();
            Some(Open {
                part: self.parts.open(PartKind::Image, events),
                kind: OpenKind::Image { format, bytes: String::new() },
            })
        } else {
            None
        };
        self.close_at(index, events);
        self.blocks.insert(index, open.unwrap_or(Open { part: 0, kind: OpenKind::Unread }));
        Ok(())
    }

    /// `None` for a tool that the provider runs itself.
    fn call_start(
        &mut self,
        raw: &RawValue,
        path: &Path<'_>,
        events: &mut Vec<Event>,
    ) -> Result<Option<Open>> {
        let mut call = Object::parse(raw, path)?;
        let id = call.required_text("toolUseId", path)?.into_owned();
        let name = call.required_text("name", path)?;
        if call.text("type", path)?.is_some() {
            return Ok(None);
        }
        let answer = self.restore.json_tool.as_deref() == Some(&*name);
        self.release(answer, events);
        if answer {
            self.answered_by_tool = true;
            let part = self.parts.open(PartKind::Text, events);
            return Ok(Some(Open { part, kind: OpenKind::Call { any: false, answer } }));
        }
        self.called = true;
        let is_custom = self.restore.custom_tools.contains(&*name);
        let name = self.restore.tool_name(&name).to_owned();
        let kind = if is_custom { ToolKind::Custom } else { ToolKind::Function };
        let part = self.parts.open(PartKind::ToolCall { id, name, kind }, events);
        let kind =
            if is_custom { OpenKind::Custom(String::new()) } else { OpenKind::Call { any: false, answer } };
        Ok(Some(Open { part, kind }))
    }

    fn block_delta(&mut self, mut payload: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = index(&mut payload)?;
        let path = Path::Root.key("delta");
        let mut delta = Object::parse(payload.required("delta", &Path::Root)?, &path)?;
        if let Some(text) = delta.text("text", &path)? {
            self.piece(index, OpenKind::Text, Delta::Text(text.into_owned()), events);
        } else if let Some(raw) = delta.take("toolUse") {
            let path = path.key("toolUse");
            let input = Object::parse(raw, &path)?.text("input", &path)?.unwrap_or_default().into_owned();
            self.input(index, input, events)?;
        } else if let Some(raw) = delta.take("reasoningContent") {
            self.reasoning(index, raw, &path.key("reasoningContent"), events)?;
        } else if let Some(raw) = delta.take("citation") {
            let citation = citation(raw, &path.key("citation"))?;
            self.piece(index, OpenKind::Text, Delta::Citation(citation), events);
        } else if let Some(raw) = delta.take("image")
            && let Some(Open { kind: OpenKind::Image { bytes, .. }, .. }) = self.blocks.get_mut(&index)
            && let Some(raw) = Object::parse(raw, &path)?.take("source")
            && let Some(more) = Object::parse(raw, &path)?.text("bytes", &path)?
        {
            bytes.push_str(&more);
        }
        Ok(())
    }

    /// A piece of text or of thinking, which its block may begin with.
    fn piece(&mut self, index: u64, kind: OpenKind, delta: Delta, events: &mut Vec<Event>) {
        let fits = self.blocks.get(&index).is_some_and(|open| open.kind == kind);
        if !fits {
            if self.blocks.get(&index).is_some_and(|open| open.kind == OpenKind::Unread) {
                return;
            }
            self.close_at(index, events);
            let part = match kind {
                OpenKind::Text if self.restore.json_tool.is_some() => self.parts.open_kept_text(events),
                OpenKind::Text => self.parts.open(PartKind::Text, events),
                _ => self.parts.open(PartKind::Reasoning, events),
            };
            self.blocks.insert(index, Open { part, kind });
        }
        if let Some(part) = self.blocks.get(&index).map(|open| open.part) {
            self.parts.delta(part, delta, events);
        }
    }

    fn reasoning(
        &mut self,
        index: u64,
        raw: &RawValue,
        path: &Path<'_>,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let mut delta = Object::parse(raw, path)?;
        if let Some(text) = delta.text("text", path)? {
            self.piece(index, OpenKind::Reasoning, Delta::Text(text.into_owned()), events);
        }
        if let Some(value) = delta.text("signature", path)?.filter(|value| !value.is_empty()) {
            let signature = signature(value.into_owned(), false);
            self.piece(index, OpenKind::Reasoning, Delta::Signature(signature), events);
        }
        let Some(data) = delta.text("redactedContent", path)? else { return Ok(()) };
        if !matches!(self.blocks.get(&index), Some(Open { kind: OpenKind::Redacted(_), .. })) {
            self.close_at(index, events);
            let part = self.parts.open(PartKind::Redacted, events);
            self.blocks.insert(index, Open { part, kind: OpenKind::Redacted(String::new()) });
        }
        if let Some(Open { kind: OpenKind::Redacted(all), .. }) = self.blocks.get_mut(&index) {
            all.push_str(&data);
        }
        Ok(())
    }

    fn input(&mut self, index: u64, input: String, events: &mut Vec<Event>) -> Result<()> {
        let Some(open) = self.blocks.get_mut(&index) else {
            return Err(Path::Root.key("contentBlockIndex").wrong(format!("block {index} is not open")));
        };
        let part = open.part;
        match &mut open.kind {
            OpenKind::Call { any, answer } => {
                *any |= !input.is_empty();
                let delta = if *answer { Delta::Text(input) } else { Delta::Arguments(input) };
                self.parts.delta(part, delta, events);
            }
            OpenKind::Custom(json) => json.push_str(&input),
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, mut payload: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = index(&mut payload)?;
        self.close_at(index, events);
        Ok(())
    }

    fn close_at(&mut self, index: u64, events: &mut Vec<Event>) {
        if let Some(open) = self.blocks.remove(&index) {
            self.close(open, events);
        }
    }

    fn close(&mut self, open: Open, events: &mut Vec<Event>) {
        let part = open.part;
        let last = match open.kind {
            OpenKind::Unread => return,
            OpenKind::Text | OpenKind::Reasoning | OpenKind::Call { any: true, .. } => None,
            OpenKind::Call { answer: true, .. } => Some(Delta::Text("{}".to_owned())),
            OpenKind::Call { .. } => Some(Delta::Arguments("{}".to_owned())),
            OpenKind::Custom(json) => {
                Some(Delta::Arguments(free_text::unwrap(if json.is_empty() { "{}" } else { &json })))
            }
            OpenKind::Redacted(data) => Some(Delta::Signature(signature(data, true))),
            OpenKind::Image { format, bytes } => {
                Some(Delta::Media(Media::base64(format!("image/{format}"), bytes)))
            }
        };
        if let Some(delta) = last {
            self.parts.delta(part, delta, events);
        }
        self.parts.close(part, events);
    }

    fn message_stop(&mut self, mut payload: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        if self.stopped {
            return Ok(());
        }
        for (_, open) in std::mem::take(&mut self.blocks) {
            self.close(open, events);
        }
        self.release(false, events);
        let native = payload.text("stopReason", &Path::Root)?.unwrap_or_default().into_owned();
        let more = payload.take("additionalModelResponseFields");
        self.thinking = more.map_or(0, response_in::thinking_tokens);
        response_in::keep_fields(more, &mut self.extras);
        self.stopped = true;
        let reason = finish(&native, self.answered_by_tool && !self.called);
        events.push(Event::Finish { choice: 0, reason, native: Some(native), stop_sequence: None });
        Ok(())
    }

    /// The last message of a stream; a second one would come after the end.
    fn metadata(&mut self, mut payload: Object<'_>, events: &mut Vec<Event>) -> Result<()> {
        if let Some(raw) = payload.take("usage") {
            let usage = response_in::token_usage(raw)?;
            events.push(Event::Usage(usage.neutral(self.thinking)));
            self.usage = Some(usage);
        }
        let service_tier = response_in::service_tier(&mut payload)?;
        // How long it took, and padding that hides the length of messages.
        for unread in ["metrics", "p"] {
            payload.take(unread);
        }
        self.extras.fields.extend(payload.rest());
        if service_tier.is_some() || !self.extras.fields.is_empty() {
            let mut extras = std::mem::take(&mut self.extras);
            extras.dialect = (!extras.fields.is_empty()).then_some(Dialect::BedrockConverse);
            events.push(Event::Meta { service_tier, extras });
        }
        if self.stopped {
            self.end(events);
        }
        Ok(())
    }

    /// Lets go of what was kept back, without its text when the answer's tool was called.
    fn release(&mut self, without_text: bool, events: &mut Vec<Event>) {
        if !without_text {
            return self.parts.release(events);
        }
        let chatter = self.parts.release_without_text(events);
        self.blocks.retain(|_, open| open.kind != OpenKind::Text || !chatter.contains(&open.part));
    }

    fn end(&mut self, events: &mut Vec<Event>) {
        self.over = true;
        events.push(Event::End);
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

fn index(payload: &mut Object<'_>) -> Result<u64> {
    let (name, path) = ("contentBlockIndex", Path::Root);
    payload.whole(name, &path)?.ok_or_else(|| path.key(name).wrong("field required"))
}
