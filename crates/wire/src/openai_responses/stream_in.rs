//! Reading a provider's stream.
//!
//! Items are told apart by their place in the output: some hosts change ids on the way. What a host leaves out (deltas,
//! part events, whole items) is taken from the event that repeats it: `…done`, and at last `response.completed`.

use std::collections::BTreeMap;

use tollway_model::{Delta, Error, Event, Kind, PartKind, ToolKind};

use super::item_in::{self, Tally};
use super::{items_in, response_in};
use crate::openai_chat::read::{self, Object, Raw};
use crate::sse::{Frame, Framer, MAX_EVENT_BYTES};
use crate::{Restore, StreamDecoder};

pub(crate) struct Decoder {
    framer: Framer,
    /// A body that is one JSON value instead of events, gathered until its end.
    json: Option<Vec<u8>>,
    begun: bool,
    state: State,
}

/// Reads only how the answer ends: the verbatim lane needs no more.
pub(crate) fn skim() -> Box<dyn StreamDecoder> {
    let mut decoder = Decoder::new(Restore::default());
    decoder.state.skim = true;
    Box::new(decoder)
}

#[derive(Default)]
struct State {
    restore: Restore,
    /// Nothing but the end is of interest.
    skim: bool,
    started: bool,
    over: bool,
    next_part: u32,
    /// By their place in the output.
    items: BTreeMap<u64, Item>,
    /// The place of the item that was added last, for hosts that do not say.
    last: u64,
    /// The ended items.
    tally: Tally,
    any: bool,
}

/// An item that has been added.
enum Item {
    Message(BTreeMap<u64, Said>),
    Call {
        part: u32,
        kind: ToolKind,
        said: bool,
    },
    Reasoning(Thought),
    /// Nothing is known before it is complete.
    Whole,
    Ended,
}

/// A part of a message.
#[derive(Clone, Copy)]
struct Said {
    part: u32,
    text: bool,
    cited: bool,
    ended: bool,
}

#[derive(Default)]
struct Thought {
    part: Option<u32>,
    /// Kind and number of the paragraph.
    paragraph: Option<(bool, u64)>,
    text: bool,
    /// The next text begins a paragraph.
    parted: bool,
}

impl Decoder {
    pub(super) fn new(restore: Restore) -> Decoder {
        let state = State { restore, ..State::default() };
        Decoder { framer: Framer::default(), json: None, begun: false, state }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.state.over {
            return;
        }
        if !self.begun
            && let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace())
        {
            self.begun = true;
            self.json = matches!(first, b'{' | b'[').then(Vec::new);
        }
        if let Some(body) = &mut self.json {
            if body.len() + bytes.len() > MAX_EVENT_BYTES {
                self.state.fail(Error::new(Kind::Upstream, "the provider's answer is too long"), events);
            } else {
                body.extend_from_slice(bytes);
            }
            return;
        }
        let state = &mut self.state;
        if let Err(too_long) = self.framer.push(bytes, |frame| state.frame(&frame, events)) {
            self.state.fail(Error::new(Kind::Upstream, too_long.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.state.over {
            return;
        }
        if let Some(body) = self.json.take() {
            self.state.over = true;
            match response_in::decode(&body, &self.state.restore) {
                Ok(response) => events.extend(response.into_events()),
                Err(error) => events.push(Event::Error(error)),
            }
            return;
        }
        let state = &mut self.state;
        // What is left is shorter than what `push` let through.
        let _ = self.framer.finish(|frame| state.frame(&frame, events));
        if !self.state.over {
            let message = "the provider's stream broke off before the answer was complete";
            self.state.fail(Error::new(Kind::Connection, message), events);
        }
    }
}

impl State {
    fn fail(&mut self, error: Error, events: &mut Vec<Event>) {
        if !self.over {
            self.over = true;
            events.push(Event::Error(error));
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, events: &mut Vec<Event>) {
        let data = frame.data.trim_ascii();
        if self.over || data.is_empty() || data == b"[DONE]" {
            return;
        }
        let Ok(text) = std::str::from_utf8(data) else {
            return self.fail(Error::new(Kind::Upstream, "the provider's stream is not UTF-8"), events);
        };
        let (Some(mut fields), Ok(raw)) = (Object::parse(text), serde_json::from_str::<Raw<'_>>(text)) else {
            return self.fail(Error::new(Kind::Upstream, "the provider's stream is not valid JSON"), events);
        };
        let kind = fields.text("type");
        let kind = kind.as_deref().unwrap_or_default();
        if kind == "error" || frame.event == b"error" || (kind.is_empty() && fields.get("error").is_some()) {
            let inner = fields.get("error").filter(|inner| read::is_object(inner));
            return self.fail(response_in::embedded(inner.unwrap_or(raw)), events);
        }
        if let Some(raw) = fields.take("response") {
            return self.lifecycle(kind, raw, events);
        }
        if !self.skim && self.started {
            self.step(kind, &mut fields, events);
        }
    }

    /// An event that holds the whole response so far.
    fn lifecycle(&mut self, kind: &str, raw: Raw<'_>, events: &mut Vec<Event>) {
        let Some(mut response) = Object::parse(raw.get()) else { return };
        let start = response_in::start(&mut response);
        if !self.started {
            self.started = true;
            events.push(start);
        }
        let Some(status) = kind.strip_prefix("response.") else { return };
        if !matches!(status, "completed" | "incomplete" | "failed" | "cancelled") {
            return;
        }
        for place in self.items.keys().copied().collect::<Vec<_>>() {
            self.end_item(place, None, events);
        }
        let output = response.list("output");
        if self.skim || !self.any {
            for raw in output {
                self.tally.add(raw);
                if !self.skim {
                    self.whole(raw, events);
                }
            }
        }
        self.over = true;
        if let Err(error) = response_in::end(&mut response, self.tally, events) {
            events.push(Event::Error(error));
        }
    }

    fn step(&mut self, kind: &str, fields: &mut Object<'_>, events: &mut Vec<Event>) {
        let place = fields.take("output_index").and_then(read::whole).unwrap_or_else(|| self.guess(kind));
        let content = fields.count("content_index");
        match kind {
            "response.output_item.added" => {
                if let Some(raw) = fields.take("item") {
                    self.add_item(place, raw, events);
                }
            }
            "response.output_item.done" => {
                if let Some(raw) = fields.take("item") {
                    self.end_item(place, Some(raw), events);
                }
            }
            "response.content_part.added" => {
                let part = fields.object("part").and_then(|mut part| item_in::content(&mut part));
                if let Some((kind, deltas)) = part {
                    let number = self.said(place, content, kind, events);
                    for delta in deltas {
                        self.say(place, content, number, delta, events);
                    }
                }
            }
            "response.content_part.done" => {
                if let Some(mut part) = fields.object("part") {
                    self.end_content(place, content, &mut part, events);
                }
            }
            "response.output_text.delta" => {
                let number = self.said(place, content, PartKind::Text, events);
                if let Some(logprobs) = fields.take("logprobs").and_then(response_in::logprobs) {
                    events.push(Event::Logprobs { choice: 0, logprobs });
                }
                if let Some(delta) = item_in::said(fields, "delta") {
                    self.say(place, content, number, delta, events);
                }
            }
            "response.refusal.delta" => {
                let number = self.said(place, content, PartKind::Refusal, events);
                if let Some(delta) = item_in::said(fields, "delta") {
                    self.say(place, content, number, delta, events);
                }
            }
            "response.output_text.annotation.added" => {
                let number = self.said(place, content, PartKind::Text, events);
                if let Some(citation) = fields.take("annotation").and_then(items_in::citation) {
                    self.say(place, content, number, Delta::Citation(citation), events);
                }
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                if let Some(text) = fields.text("delta").filter(|text| !text.is_empty()) {
                    self.input(place, Delta::Arguments(text.into_owned()), events);
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let summary = kind == "response.reasoning_summary_text.delta";
                let number = if summary { fields.count("summary_index") } else { content };
                let text = fields.text("delta").unwrap_or_default();
                self.think(place, (summary, number), &text, events);
            }
            // The rest repeats what was said, or tells how a tool of the provider gets on.
            _ => {}
        }
    }

    /// The place that an event without one is about.
    fn guess(&self, kind: &str) -> u64 {
        let open = matches!(self.items.get(&self.last), Some(item) if !matches!(item, Item::Ended));
        let begins = kind == "response.output_item.added" || (kind == "response.output_item.done" && !open);
        if begins && self.any { self.last.saturating_add(1) } else { self.last }
    }

    fn add_item(&mut self, place: u64, raw: Raw<'_>, events: &mut Vec<Event>) {
        // A host that uses a place twice has ended what was there.
        if self.items.contains_key(&place) {
            self.end_item(place, None, events);
        }
        self.any = true;
        self.last = place;
        let Some(mut fields) = Object::parse(raw.get()) else { return };
        let kind = fields.text("type");
        let item = match kind.as_deref() {
            Some("message") => Item::Message(BTreeMap::new()),
            Some("reasoning") => Item::Reasoning(Thought::default()),
            Some(kind @ ("function_call" | "custom_tool_call")) => {
                let kind = if kind == "function_call" { ToolKind::Function } else { ToolKind::Custom };
                match item_in::called(&mut fields, kind, &self.restore) {
                    Some(called) => {
                        let part = self.open(called, events);
                        let early = item_in::arguments(&mut fields, kind);
                        let said = early.is_some();
                        events.extend(early.map(|delta| Event::Delta { choice: 0, part, delta }));
                        Item::Call { part, kind, said }
                    }
                    None => Item::Whole,
                }
            }
            _ => Item::Whole,
        };
        self.items.insert(place, item);
    }

    fn open(&mut self, kind: PartKind, events: &mut Vec<Event>) -> u32 {
        let part = self.next_part;
        self.next_part += 1;
        events.push(Event::PartStart { choice: 0, part, kind });
        part
    }

    /// The number of a message's part, which begins now unless it has.
    fn said(&mut self, place: u64, content: u64, kind: PartKind, events: &mut Vec<Event>) -> u32 {
        let next = self.next_part;
        let item = self.items.entry(place).or_insert_with(|| Item::Message(BTreeMap::new()));
        self.any = true;
        self.last = place;
        let Item::Message(parts) = item else { return u32::MAX };
        if let Some(known) = parts.get(&content) {
            return known.part;
        }
        parts.insert(content, Said { part: next, text: false, cited: false, ended: false });
        self.open(kind, events)
    }

    fn say(&mut self, place: u64, content: u64, part: u32, delta: Delta, events: &mut Vec<Event>) {
        let Some(Item::Message(parts)) = self.items.get_mut(&place) else { return };
        let Some(said) = parts.get_mut(&content).filter(|said| !said.ended) else { return };
        match delta {
            Delta::Citation(_) => said.cited = true,
            _ => said.text = true,
        }
        events.push(Event::Delta { choice: 0, part, delta });
    }

    /// A part of a message is complete: what was not said before is in it.
    fn end_content(&mut self, place: u64, content: u64, part: &mut Object<'_>, events: &mut Vec<Event>) {
        let Some((kind, deltas)) = item_in::content(part) else { return };
        let number = self.said(place, content, kind, events);
        let Some(Item::Message(parts)) = self.items.get_mut(&place) else { return };
        let Some(said) = parts.get_mut(&content).filter(|said| !said.ended) else { return };
        said.ended = true;
        let (text, cited) = (said.text, said.cited);
        let missing = deltas.into_iter().filter(|delta| match delta {
            Delta::Citation(_) => !cited,
            _ => !text,
        });
        events.extend(missing.map(|delta| Event::Delta { choice: 0, part: number, delta }));
        events.push(Event::PartEnd { choice: 0, part: number });
    }

    fn input(&mut self, place: u64, delta: Delta, events: &mut Vec<Event>) {
        if let Some(Item::Call { part, said, .. }) = self.items.get_mut(&place) {
            *said = true;
            events.push(Event::Delta { choice: 0, part: *part, delta });
        }
    }

    fn think(&mut self, place: u64, paragraph: (bool, u64), text: &str, events: &mut Vec<Event>) {
        let item = self.items.entry(place).or_insert_with(|| Item::Reasoning(Thought::default()));
        self.any = true;
        self.last = place;
        let Item::Reasoning(thought) = item else { return };
        if thought.paragraph.replace(paragraph) != Some(paragraph) {
            thought.parted |= thought.text;
        }
        if text.is_empty() {
            return;
        }
        let part = match thought.part {
            Some(part) => part,
            None => {
                let part = self.next_part;
                self.next_part += 1;
                thought.part = Some(part);
                events.push(Event::PartStart { choice: 0, part, kind: PartKind::Reasoning });
                part
            }
        };
        thought.text = true;
        let start = if std::mem::take(&mut thought.parted) { "\n\n" } else { "" };
        let delta = Delta::Text(format!("{start}{text}"));
        events.push(Event::Delta { choice: 0, part, delta });
    }

    fn whole(&mut self, raw: Raw<'_>, events: &mut Vec<Event>) {
        for whole in item_in::parts(raw, &self.restore) {
            item_in::emit(self.next_part, whole, events);
            self.next_part += 1;
        }
    }

    /// An item is complete; `None`: the answer is, and the item was not repeated.
    fn end_item(&mut self, place: u64, raw: Option<Raw<'_>>, events: &mut Vec<Event>) {
        self.any = true;
        let item = self.items.insert(place, Item::Ended);
        if let Some(raw) = raw.filter(|_| !matches!(item, Some(Item::Ended))) {
            self.tally.add(raw);
        } else if matches!(item, Some(Item::Call { .. })) {
            self.tally.called = true;
        }
        let fields = raw.and_then(|raw| Object::parse(raw.get()));
        match (item, fields) {
            (Some(Item::Ended), _) | (Some(Item::Whole) | None, None) => {}
            (Some(Item::Whole) | None, Some(_)) => {
                if let Some(raw) = raw {
                    self.whole(raw, events);
                }
            }
            (Some(Item::Message(parts)), fields) => self.end_message(place, parts, fields, events),
            (Some(Item::Call { part, kind, said }), fields) => {
                let mut fields = fields;
                let given = fields.as_mut().and_then(|fields| item_in::arguments(fields, kind));
                let none = || (kind == ToolKind::Function).then(|| Delta::Arguments("{}".to_owned()));
                let missing = if said { None } else { given.or_else(none) };
                let id = fields.and_then(|mut fields| fields.text("call_id"));
                let deltas = missing.into_iter().chain(item_in::call_signature(id.as_deref()));
                events.extend(deltas.map(|delta| Event::Delta { choice: 0, part, delta }));
                events.push(Event::PartEnd { choice: 0, part });
            }
            (Some(Item::Reasoning(thought)), fields) => self.end_thought(&thought, raw, fields, events),
        }
    }

    fn end_message(
        &mut self,
        place: u64,
        parts: BTreeMap<u64, Said>,
        fields: Option<Object<'_>>,
        events: &mut Vec<Event>,
    ) {
        self.items.insert(place, Item::Message(parts));
        let contents = fields.map(|mut fields| fields.list("content")).unwrap_or_default();
        for (content, raw) in (0..).zip(contents) {
            if let Some(mut part) = Object::parse(raw.get()) {
                self.end_content(place, content, &mut part, events);
            }
        }
        if let Some(Item::Message(parts)) = self.items.insert(place, Item::Ended) {
            for said in parts.values().filter(|said| !said.ended) {
                events.push(Event::PartEnd { choice: 0, part: said.part });
            }
        }
    }

    fn end_thought(
        &mut self,
        thought: &Thought,
        raw: Option<Raw<'_>>,
        fields: Option<Object<'_>>,
        events: &mut Vec<Event>,
    ) {
        let Some(part) = thought.part else {
            if let Some(raw) = raw {
                self.whole(raw, events);
            }
            return;
        };
        if let Some(mut fields) = fields
            && let Some(tollway_model::Content::Reasoning { signature: Some(signature), .. }) =
                items_in::reasoning(&mut fields, false)
        {
            events.push(Event::Delta { choice: 0, part, delta: Delta::Signature(signature) });
        }
        events.push(Event::PartEnd { choice: 0, part });
    }
}
