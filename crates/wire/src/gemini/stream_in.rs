//! A provider's answer, whole or in pieces, as events.
//!
//! Every piece is a `GenerateContentResponse` of its own, and a complete answer is a stream of one piece, so both are
//! read by one [`Assembler`]. The finish is told at the end of the body: Gemini may say why it stopped before it says
//! everything, and never that it is done.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tollway_model::{
    Content, Delta, Dialect, Error, Event, Extras, FinishReason, Fold, Kind, Media, PartKind, RawJson,
    Response, Result, Signature, ToolKind, Usage,
};

use super::partial_args::PartialCall;
use super::shape::{ContentIn, FunctionCallIn, PartIn, camel};
use super::usage::UsageIn;
use super::{error, finish, grounding, logprobs, media, names, signature, time};
use crate::sse::{Framer, MAX_EVENT_BYTES, TooLong};
use crate::{Restore, StreamDecoder};

/// Reads a complete answer.
pub(super) fn decode_response(body: &[u8], restore: &Restore) -> Result<Response> {
    let mut assembler = Assembler::new(restore.clone());
    let mut events = Vec::new();
    assembler.read(body, &mut events);
    if !assembler.over {
        assembler.close(&mut events);
    }
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}

/// What was used, read from a complete answer without its parts.
pub(super) fn read_usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Candidate {
        #[serde(default)]
        grounding_metadata: Option<Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        usage_metadata: Option<UsageIn>,
        #[serde(default)]
        candidates: Option<Vec<Candidate>>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let grounded = answer.candidates.iter().flatten().filter_map(|one| one.grounding_metadata.as_ref());
    let searched = grounded.map(grounding::searches).fold(0, u64::saturating_add);
    Some(answer.usage_metadata?.read(searched))
}

type Members<'a> = IndexMap<String, &'a RawValue>;

/// Turns pieces of an answer into events.
struct Assembler {
    restore: Restore,
    started: bool,
    over: bool,
    id: String,
    answers: BTreeMap<u32, Answer>,
    usage: Option<Usage>,
    tier: Option<String>,
    extras: IndexMap<String, RawJson>,
    /// Why the prompt was refused.
    blocked: Option<String>,
}

/// One candidate so far.
#[derive(Default)]
struct Answer {
    /// Number of the next part.
    next: u32,
    open: Option<(u32, Open)>,
    calls: u32,
    partial: Option<PartialCall>,
    /// Visible text, for counting the characters that citations refer to.
    text: String,
    grounding: Option<Value>,
    finish: Option<String>,
    extras: serde_json::Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
    /// Sound whose pieces can be joined.
    Audio,
}

impl Assembler {
    fn new(restore: Restore) -> Assembler {
        Assembler {
            restore,
            started: false,
            over: false,
            id: String::new(),
            answers: BTreeMap::new(),
            usage: None,
            tier: None,
            extras: IndexMap::new(),
            blocked: None,
        }
    }

    /// Reads one piece; what is wrong with it becomes an event.
    fn read(&mut self, json: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Err(error) = self.piece(json, events) {
            self.fail(error, events);
        }
    }

    fn fail(&mut self, error: Error, events: &mut Vec<Event>) {
        self.over = true;
        events.push(Event::Error(error));
    }

    fn piece(&mut self, json: &[u8], events: &mut Vec<Event>) -> Result<()> {
        if json.trim_ascii_start().first() == Some(&b'[') {
            let pieces: Vec<&RawValue> = serde_json::from_slice(json).map_err(corrupt)?;
            return pieces.into_iter().try_for_each(|piece| self.members(piece.get().as_bytes(), events));
        }
        self.members(json, events)
    }

    fn members(&mut self, json: &[u8], events: &mut Vec<Event>) -> Result<()> {
        let mut members: Members<'_> = serde_json::from_slice(json).map_err(corrupt)?;
        members.retain(|_, value| value.get() != "null");
        if let Some(failure) = members.get("error") {
            return Err(error::embedded(&RawJson::from(*failure).to_value()));
        }
        if !self.started {
            self.started = true;
            self.id = text(&members, "responseId").unwrap_or_default();
            let model = text(&members, "modelVersion").unwrap_or_default();
            let created = text(&members, "createTime").and_then(|moment| time::read(&moment));
            events.push(Event::Start { id: self.id.clone(), model, created });
        }
        if let Some(candidates) = members.get("candidates") {
            let candidates: Vec<Members<'_>> = serde_json::from_str(candidates.get()).map_err(corrupt)?;
            for (position, candidate) in (0..).zip(candidates) {
                self.candidate(position, candidate, events)?;
            }
        }
        self.facts(members, events)
    }

    /// What a piece says about the answer as a whole.
    fn facts(&mut self, members: Members<'_>, events: &mut Vec<Event>) -> Result<()> {
        for (key, raw) in members {
            match camel(key).as_str() {
                "candidates" | "responseId" | "modelVersion" | "createTime" | "sdkHttpResponse" => {}
                "usageMetadata" => {
                    let usage: UsageIn = serde_json::from_str(raw.get()).map_err(corrupt)?;
                    let searched = self.answers.values().filter_map(|answer| answer.grounding.as_ref());
                    let read = usage.read(searched.map(grounding::searches).fold(0, u64::saturating_add));
                    self.tier = usage.service_tier.or(usage.traffic_type).or_else(|| self.tier.take());
                    if self.usage != Some(read) {
                        self.usage = Some(read);
                        events.push(Event::Usage(read));
                    }
                }
                key => {
                    let value = RawJson::from(raw);
                    if key == "promptFeedback" {
                        let reason =
                            value.to_value().get("blockReason").and_then(Value::as_str).map(str::to_owned);
                        self.blocked = reason.or_else(|| self.blocked.take());
                    }
                    self.extras.insert(key.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn candidate(&mut self, position: u32, members: Members<'_>, events: &mut Vec<Event>) -> Result<()> {
        let index = match members.get("index") {
            Some(index) => serde_json::from_str(index.get()).map_err(corrupt)?,
            None => position,
        };
        let mut scene = Scene {
            choice: index,
            restore: &self.restore,
            id: &self.id,
            answer: self.answers.entry(index).or_default(),
            events,
        };
        if let Some(content) = members.get("content") {
            let content: ContentIn<'_> = serde_json::from_str(content.get()).map_err(corrupt)?;
            for part in content.parts.unwrap_or_default() {
                scene.part(part)?;
            }
        }
        for (key, raw) in members {
            let key = camel(key);
            match key.as_str() {
                "index" | "content" | "avgLogprobs" | "tokenCount" => {}
                "finishReason" => {
                    scene.answer.finish = Some(serde_json::from_str(raw.get()).map_err(corrupt)?)
                }
                "logprobsResult" => {
                    if let Some(logprobs) = logprobs::read(&RawJson::from(raw).to_value()) {
                        scene.events.push(Event::Logprobs { choice: index, logprobs });
                    }
                }
                _ => {
                    let value = RawJson::from(raw).to_value();
                    if key == "groundingMetadata" {
                        scene.answer.grounding = Some(value.clone());
                    }
                    scene.answer.extras.insert(key, value);
                }
            }
        }
        Ok(())
    }

    /// The body ended where it may: a stream must have said why every answer stopped.
    fn end(&mut self, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        let whole = self.answers.values().all(|answer| answer.finish.is_some());
        if !whole || (self.answers.is_empty() && self.blocked.is_none()) {
            let error = Error::new(Kind::Connection, "the stream broke off before the answer was complete");
            return self.fail(error, events);
        }
        self.close(events);
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if self.answers.is_empty() && self.blocked.is_none() {
            let error = Error::new(Kind::Upstream, "the provider's answer holds no candidates");
            return self.fail(error, events);
        }
        self.over = true;
        for (index, answer) in &mut self.answers {
            Scene { choice: *index, restore: &self.restore, id: &self.id, answer, events }.finish();
        }
        if self.answers.is_empty() {
            let native = self.blocked.take();
            events.push(Event::Finish {
                choice: 0,
                reason: FinishReason::ContentFilter,
                native,
                stop_sequence: None,
            });
        }
        self.meta(events);
        events.extend(self.usage.map(Event::Usage));
        events.push(Event::End);
    }

    fn meta(&mut self, events: &mut Vec<Event>) {
        let mut candidates = Vec::new();
        for (index, answer) in &mut self.answers {
            if !answer.extras.is_empty() {
                answer.extras.insert("index".into(), Value::from(*index));
                candidates.push(Value::Object(std::mem::take(&mut answer.extras)));
            }
        }
        if !candidates.is_empty() {
            self.extras.insert("candidates".into(), RawJson::from(Value::Array(candidates)));
        }
        if self.extras.is_empty() && self.tier.is_none() {
            return;
        }
        let fields = std::mem::take(&mut self.extras);
        let extras = if fields.is_empty() {
            Extras::default()
        } else {
            Extras { dialect: Some(Dialect::Gemini), fields }
        };
        events.push(Event::Meta { service_tier: self.tier.take(), extras });
    }
}

fn text(members: &Members<'_>, key: &str) -> Option<String> {
    serde_json::from_str(members.get(key)?.get()).ok()
}

fn corrupt(error: serde_json::Error) -> Error {
    Error::new(Kind::Upstream, format!("the provider's answer cannot be read: {error}"))
}

/// One candidate while a piece of it is read.
struct Scene<'s> {
    choice: u32,
    restore: &'s Restore,
    id: &'s str,
    answer: &'s mut Answer,
    events: &'s mut Vec<Event>,
}

impl Scene<'_> {
    fn part(&mut self, raw: &RawValue) -> Result<()> {
        let part: PartIn<'_> = serde_json::from_str(raw.get()).map_err(corrupt)?;
        let signature = part.thought_signature.as_deref().map(signature::read);
        if let Some(text) = part.text {
            let redacted = signature.as_ref().is_some_and(|(_, redacted)| *redacted);
            let signature = signature.map(|(signature, _)| signature);
            if redacted && part.thought == Some(true) {
                self.whole(PartKind::Redacted, signature.map(Delta::Signature));
            } else {
                let open = if part.thought == Some(true) { Open::Reasoning } else { Open::Text };
                self.say(open, text, signature);
            }
            return Ok(());
        }
        let signature = signature.map(|(signature, _)| signature);
        if let Some(call) = part.function_call {
            self.call(call, signature);
            return Ok(());
        }
        let content = match (part.inline_data, part.file_data) {
            (Some(blob), _) => media::from_blob(blob),
            (None, Some(file)) => media::from_file(file),
            (None, None) => return Ok(self.native(raw)),
        };
        match content {
            Content::Image(media) => self.whole(PartKind::Image, Some(Delta::Media(media))),
            Content::Audio(media) => self.sound(media),
            _ => return Ok(self.native(raw)),
        }
        if signature.is_some() {
            // A picture has no place for its signature; an empty text right after it has.
            self.say(Open::Text, String::new(), signature);
        }
        Ok(())
    }

    fn say(&mut self, open: Open, text: String, signature: Option<Signature>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let part = self.open(open);
        if open == Open::Text {
            self.answer.text.push_str(&text);
        }
        if !text.is_empty() {
            self.delta(part, Delta::Text(text));
        }
        if let Some(signature) = signature {
            self.delta(part, Delta::Signature(signature));
            self.close();
        }
    }

    /// The open part of this kind, begun now if need be.
    fn open(&mut self, open: Open) -> u32 {
        if let Some((part, kind)) = self.answer.open
            && kind == open
        {
            return part;
        }
        let kind = match open {
            Open::Text => PartKind::Text,
            Open::Reasoning => PartKind::Reasoning,
            Open::Audio => PartKind::Audio,
        };
        let part = self.start(kind);
        self.answer.open = Some((part, open));
        part
    }

    fn start(&mut self, kind: PartKind) -> u32 {
        self.close();
        let part = self.answer.next;
        self.answer.next += 1;
        self.events.push(Event::PartStart { choice: self.choice, part, kind });
        part
    }

    fn close(&mut self) {
        if let Some((part, _)) = self.answer.open.take() {
            self.events.push(Event::PartEnd { choice: self.choice, part });
        }
    }

    fn delta(&mut self, part: u32, delta: Delta) {
        self.events.push(Event::Delta { choice: self.choice, part, delta });
    }

    fn whole(&mut self, kind: PartKind, deltas: impl IntoIterator<Item = Delta>) {
        let part = self.start(kind);
        for delta in deltas {
            self.delta(part, delta);
        }
        self.events.push(Event::PartEnd { choice: self.choice, part });
    }

    fn native(&mut self, raw: &RawValue) {
        if matches!(raw.get().trim(), "{}" | r#"{"thought":true}"#) {
            return;
        }
        self.whole(PartKind::Native { dialect: Dialect::Gemini, json: RawJson::from(raw) }, None);
    }

    /// Pieces of sound are joined while their base64 allows it: padding may only stand at the end.
    fn sound(&mut self, media: Media) {
        let padded = matches!(&media.source, tollway_model::MediaSource::Base64(data) if data.ends_with('='));
        let part = self.open(Open::Audio);
        self.delta(part, Delta::Media(media));
        if padded {
            self.close();
        }
    }

    fn call(&mut self, call: FunctionCallIn<'_>, signature: Option<Signature>) {
        let in_pieces = call.partial_args.is_some() || call.will_continue == Some(true);
        if self.answer.partial.is_some() || in_pieces {
            let partial = self.answer.partial.get_or_insert_default();
            let goes_on = call.will_continue == Some(true);
            partial.add(call, signature);
            if !goes_on {
                self.end_partial();
            }
            return;
        }
        let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| args.get().to_owned());
        self.whole_call(call.id, call.name.unwrap_or_default(), arguments, signature);
    }

    fn end_partial(&mut self) {
        if let Some(partial) = self.answer.partial.take() {
            let arguments = Value::Object(partial.arguments).to_string();
            self.whole_call(partial.id, partial.name, arguments, partial.signature);
        }
    }

    fn whole_call(
        &mut self,
        id: Option<String>,
        name: String,
        arguments: String,
        signature: Option<Signature>,
    ) {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.call_id(&name, &arguments));
        self.answer.calls += 1;
        let name = self.restore.tool_name(&name).to_owned();
        let deltas = std::iter::once(Delta::Arguments(arguments)).chain(signature.map(Delta::Signature));
        self.whole(PartKind::ToolCall { id, name, kind: ToolKind::Function }, deltas);
    }

    /// An id for a call without one, from the answer's id, or from the call itself where that is missing too.
    fn call_id(&self, name: &str, arguments: &str) -> String {
        let number = self.answer.calls;
        let choice = if self.choice == 0 { String::new() } else { format!("_{}", self.choice) };
        if self.id.is_empty() {
            let hash = names::hash(format!("{name}\n{arguments}").as_bytes());
            return format!("call_{hash:016x}{choice}_{number}");
        }
        format!("call_{}{choice}_{number}", self.id)
    }

    fn finish(&mut self) {
        self.end_partial();
        let citations = self.answer.grounding.take();
        let citations =
            citations.map(|metadata| grounding::read(&metadata, &self.answer.text)).unwrap_or_default();
        if !citations.is_empty() {
            let part = self.open(Open::Text);
            for citation in citations {
                self.delta(part, Delta::Citation(citation));
            }
        }
        self.close();
        if let Some(native) = self.answer.finish.take() {
            let reason = finish::read(&native, self.answer.calls > 0);
            let choice = self.choice;
            self.events.push(Event::Finish { choice, reason, native: Some(native), stop_sequence: None });
        }
    }
}

/// Reads a stream, framed as server-sent events or as one JSON array.
pub(super) struct Decoder {
    framing: Framing,
    assembler: Assembler,
}

enum Framing {
    /// Nothing but white space so far.
    Unknown,
    Sse(Framer),
    Array(Splitter),
}

impl Decoder {
    pub(super) fn new(restore: Restore) -> Decoder {
        Decoder { framing: Framing::Unknown, assembler: Assembler::new(restore) }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) {
        if self.assembler.over {
            return;
        }
        if matches!(self.framing, Framing::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.framing = match bytes.first() {
                None => return,
                Some(b'[' | b'{') => Framing::Array(Splitter::default()),
                Some(_) => Framing::Sse(Framer::default()),
            };
        }
        let assembler = &mut self.assembler;
        let pushed = match &mut self.framing {
            Framing::Unknown => Ok(()),
            Framing::Sse(framer) => framer.push(bytes, |frame| frame_data(assembler, frame.data, events)),
            Framing::Array(splitter) => splitter.push(bytes, |object| assembler.read(object, events)),
        };
        if let Err(too_long) = pushed
            && !self.assembler.over
        {
            self.assembler.fail(Error::new(Kind::Upstream, too_long.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let assembler = &mut self.assembler;
        if let Framing::Sse(framer) = &mut self.framing {
            // The same limit as above: nothing new can be too long now.
            let _ = framer.finish(|frame| frame_data(assembler, frame.data, events));
        }
        self.assembler.end(events);
    }
}

fn frame_data(assembler: &mut Assembler, data: &[u8], events: &mut Vec<Event>) {
    if !data.trim_ascii().is_empty() && data != b"[DONE]" {
        assembler.read(data, events);
    }
}

/// Cuts `[{…},{…}]` into its objects, or takes a lone object for one.
#[derive(Default)]
struct Splitter {
    object: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) -> std::result::Result<(), TooLong> {
        for &byte in bytes {
            if self.depth == 0 && byte != b'{' {
                // Brackets, commas and white space between objects; anything else is noise that no object needs.
                continue;
            }
            self.object.push(byte);
            self.step(byte);
            if self.depth == 0 {
                emit(&self.object);
                self.object.clear();
            } else if self.object.len() > MAX_EVENT_BYTES {
                return Err(TooLong { limit: MAX_EVENT_BYTES });
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
    }
}
