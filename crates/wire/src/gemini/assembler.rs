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
    Dialect, Error, Event, Extras, FinishReason, Fold, Kind, RawJson, Response, Result, Usage,
};

use super::candidate::{Answer, Scene};
use super::shape::{ContentIn, camel};
use super::usage::UsageIn;
use super::{error, grounding, logprobs, time};
use crate::Restore;

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
    if body.trim_ascii_start().first() == Some(&b'[') {
        // A stream that came as one array: its last piece counts.
        return decode_response(body, &Restore::default()).ok()?.usage;
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let grounded = answer.candidates.iter().flatten().filter_map(|one| one.grounding_metadata.as_ref());
    let searched = grounded.map(grounding::searches).fold(0, u64::saturating_add);
    Some(answer.usage_metadata?.read(searched))
}

type Members<'a> = IndexMap<String, &'a RawValue>;

/// Turns pieces of an answer into events.
pub(super) struct Assembler {
    restore: Restore,
    started: bool,
    pub(super) over: bool,
    id: String,
    answers: BTreeMap<u32, Answer>,
    usage: Option<Usage>,
    tier: Option<String>,
    extras: IndexMap<String, RawJson>,
    /// Why the prompt was refused.
    blocked: Option<String>,
}

impl Assembler {
    pub(super) fn new(restore: Restore) -> Assembler {
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
    pub(super) fn read(&mut self, json: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Err(error) = self.piece(json, events) {
            self.fail(error, events);
        }
    }

    pub(super) fn fail(&mut self, error: Error, events: &mut Vec<Event>) {
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
    pub(super) fn end(&mut self, events: &mut Vec<Event>) {
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

pub(super) fn corrupt(error: serde_json::Error) -> Error {
    Error::new(Kind::Upstream, format!("the provider's answer cannot be read: {error}"))
}
