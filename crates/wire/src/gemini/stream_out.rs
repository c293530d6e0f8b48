//! A stream for a client: every piece a `GenerateContentResponse` of its own.
//!
//! Text goes out as it comes; tool calls go out whole, because Gemini's clients expect complete arguments. Why the
//! answer ended and what it used come in the last piece.

use std::collections::BTreeMap;

use serde::Serialize;
use tollway_model::{Delta, Event, Extras, FinishReason, PartKind, RawJson, Signature, ToolCall, Usage};

use super::answer_out::{AnswerOut, CandidateOut, call_part, is_blocked, top_extras};
use super::grounding::Sources;
use super::shape::{AnyPart, PartOut};
use super::{error, finish, logprobs, media, signature, time, usage};
use crate::{Framing, StreamEncoder, View, sse};

/// Writes the stream.
pub(super) struct Encoder {
    model: String,
    id: String,
    framing: Framing,
    created: Option<i64>,
    pieces: usize,
    over: bool,
    choices: BTreeMap<u32, Choice>,
    usage: Option<Usage>,
    tier: Option<String>,
    extras: Extras,
}

#[derive(Default)]
struct Choice {
    open: BTreeMap<u32, Open>,
    said: bool,
    sources: Sources,
    finish: Option<(FinishReason, Option<String>)>,
}

enum Open {
    /// Text or a refusal, and where it began.
    Text(usize),
    Reasoning {
        redacted: bool,
    },
    Call(ToolCall),
    Other,
}

impl Encoder {
    pub(super) fn new(view: &View<'_>) -> Encoder {
        Encoder {
            model: view.model.to_owned(),
            id: view.id.to_owned(),
            framing: view.framing,
            created: None,
            pieces: 0,
            over: false,
            choices: BTreeMap::new(),
            usage: None,
            tier: None,
            extras: Extras::default(),
        }
    }

    fn start(&mut self, choice: u32, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
        let entry = self.choices.entry(choice).or_default();
        entry.said = true;
        let open = match kind {
            PartKind::Text | PartKind::Refusal => Open::Text(entry.sources.mark()),
            PartKind::Reasoning => Open::Reasoning { redacted: false },
            PartKind::Redacted => Open::Reasoning { redacted: true },
            PartKind::ToolCall { id, name, kind } => Open::Call(ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
                kind: *kind,
                signature: None,
            }),
            PartKind::Image | PartKind::Audio | PartKind::Native { .. } => Open::Other,
        };
        entry.open.insert(part, open);
        if let PartKind::Native { dialect: tollway_model::Dialect::Gemini, json } = kind {
            self.piece(choice, AnyPart::Native(json), bytes);
        }
    }

    fn delta(&mut self, choice: u32, part: u32, delta: &Delta, bytes: &mut Vec<u8>) {
        let Some(entry) = self.choices.get_mut(&choice) else { return };
        let Some(open) = entry.open.get_mut(&part) else { return };
        let part = match (open, delta) {
            (Open::Text(_), Delta::Text(text)) => {
                entry.sources.text(text);
                PartOut::text(text.as_str())
            }
            (Open::Text(mark), Delta::Citation(citation)) => {
                let mark = *mark;
                entry.sources.cite(citation, mark);
                return;
            }
            (Open::Text(_), Delta::Signature(signature)) => signed(signature, false, None),
            (Open::Reasoning { .. }, Delta::Text(text)) => {
                PartOut { thought: Some(true), ..PartOut::text(text.as_str()) }
            }
            (Open::Reasoning { redacted }, Delta::Signature(signature)) => {
                signed(signature, *redacted, Some(true))
            }
            (Open::Call(call), Delta::Arguments(more)) => {
                call.arguments.push_str(more);
                return;
            }
            (Open::Call(call), Delta::Signature(signature)) => {
                call.signature = Some(signature.clone());
                return;
            }
            (Open::Other, Delta::Media(media)) => media::answer_part(media),
            _ => return,
        };
        self.piece(choice, part.into(), bytes);
    }

    fn end_part(&mut self, choice: u32, part: u32, bytes: &mut Vec<u8>) {
        let open = self.choices.get_mut(&choice).and_then(|entry| entry.open.remove(&part));
        if let Some(Open::Call(call)) = open {
            // There is nobody to tell here; the whole answer's encoder notes it.
            let mut wrapped = false;
            self.piece(choice, call_part(&call, &mut wrapped).into(), bytes);
        }
    }

    fn piece(&mut self, choice: u32, part: AnyPart<'_>, bytes: &mut Vec<u8>) {
        self.candidate(CandidateOut::of(choice, vec![part]), bytes);
    }

    fn candidate(&mut self, candidate: CandidateOut<'_>, bytes: &mut Vec<u8>) {
        let answer = AnswerOut {
            candidates: vec![candidate],
            model_version: &self.model,
            response_id: &self.id,
            create_time: self.created.map(time::write),
            ..AnswerOut::default()
        };
        write(self.framing, &mut self.pieces, &answer, bytes);
    }

    fn logprobs(&mut self, choice: u32, given: &RawJson, bytes: &mut Vec<u8>) {
        if let Some(logprobs) = logprobs::write(given) {
            let candidate =
                CandidateOut { index: choice, logprobs_result: Some(logprobs), ..CandidateOut::default() };
            self.candidate(candidate, bytes);
        }
    }

    fn last(&mut self, bytes: &mut Vec<u8>) {
        let mut answer = AnswerOut {
            model_version: &self.model,
            response_id: &self.id,
            create_time: self.created.map(time::write),
            usage_metadata: self.usage.as_ref().map(|used| usage::write(used, self.tier.as_deref())),
            more: top_extras(&self.extras),
            ..AnswerOut::default()
        };
        for (index, choice) in &self.choices {
            let reason = choice.finish.as_ref().map(|(reason, _)| *reason);
            if is_blocked(&self.extras, !choice.said, reason) {
                continue;
            }
            // Google's own last piece has an empty text; its clients skip pieces without content.
            let mut candidate = CandidateOut::of(*index, vec![PartOut::text("").into()]);
            candidate.finish_reason =
                choice.finish.as_ref().map(|(reason, native)| finish::write(*reason, native.as_deref()));
            candidate.complete(&self.extras, &choice.sources);
            answer.candidates.push(candidate);
        }
        write(self.framing, &mut self.pieces, &answer, bytes);
        self.over = true;
        if self.framing == Framing::JsonArray {
            bytes.extend_from_slice(b"]");
        }
    }

    fn fail(&mut self, error: &tollway_model::Error, bytes: &mut Vec<u8>) {
        write(self.framing, &mut self.pieces, &error::body(error), bytes);
        self.over = true;
        if self.framing == Framing::JsonArray {
            bytes.extend_from_slice(b"]");
        }
    }
}

/// An empty text that brings the signature of what was said before it.
fn signed(signature: &Signature, redacted: bool, thought: Option<bool>) -> PartOut<'_> {
    let thought_signature = Some(signature::write(signature, redacted));
    PartOut { thought, thought_signature, ..PartOut::text("") }
}

fn write<T: Serialize>(framing: Framing, pieces: &mut usize, piece: &T, bytes: &mut Vec<u8>) {
    // Strings and numbers only: this cannot fail.
    let mut json = serde_json::to_vec(piece).unwrap_or_default();
    // JSON kept verbatim may be indented, and a line break would end the event. Inside strings breaks are escaped.
    if memchr::memchr2(b'\n', b'\r', &json).is_some() {
        json.retain(|byte| !matches!(byte, b'\n' | b'\r'));
    }
    match framing {
        Framing::Sse => sse::write(None, &json, bytes),
        Framing::JsonArray => {
            bytes.extend_from_slice(if *pieces == 0 { b"[" } else { b",\r\n" });
            bytes.extend_from_slice(&json);
        }
    }
    *pieces += 1;
}

impl StreamEncoder for Encoder {
    fn push(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.over {
            return;
        }
        match event {
            Event::Start { id, created, .. } => {
                if !id.is_empty() {
                    self.id.clone_from(id);
                }
                self.created = *created;
            }
            Event::PartStart { choice, part, kind } => self.start(*choice, *part, kind, bytes),
            Event::Delta { choice, part, delta } => self.delta(*choice, *part, delta, bytes),
            Event::PartEnd { choice, part } => self.end_part(*choice, *part, bytes),
            Event::Logprobs { choice, logprobs } => self.logprobs(*choice, logprobs, bytes),
            Event::Finish { choice, reason, native, .. } => {
                self.choices.entry(*choice).or_default().finish = Some((*reason, native.clone()));
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Meta { service_tier, extras } => {
                if service_tier.is_some() {
                    self.tier.clone_from(service_tier);
                }
                if extras.dialect.is_some() {
                    self.extras.dialect = extras.dialect;
                    self.extras.fields.extend(extras.fields.clone());
                }
            }
            Event::Error(error) => self.fail(error, bytes),
            Event::End => self.last(bytes),
        }
    }

    fn content_type(&self) -> &'static str {
        match self.framing {
            Framing::Sse => "text/event-stream",
            Framing::JsonArray => "application/json",
        }
    }
}
