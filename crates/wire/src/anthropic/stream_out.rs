//! Events → the stream clients of this dialect read.
//!
//! One block is open at a time, in the order the parts began: what arrives for another part waits. A block opens only
//! when what its first frame must hold is known (a tool call's id may carry a signature, encrypted thinking is its
//! signature), and a text block only when there is text. `message_start` waits for the event after [`Event::Start`],
//! because usage reported at once belongs into it.

use std::collections::{BTreeMap, VecDeque};

use indexmap::IndexMap;
use serde::Serialize;
use tollway_model::{
    Delta, Dialect, Event, Extras, FinishReason, PartKind, RawJson, ToolCall, ToolKind, Usage,
};

use super::response_out::{
    Facts, citation, describe, message_id, split_input, stop_reason, tag, tool_id, top_level,
};
use super::{error, usage};
use crate::json::write_str;
use crate::{StreamEncoder, View, sse};

/// Writes a stream.
pub(super) struct Encoder {
    model: String,
    fallback_id: String,
    id: String,
    phase: Phase,
    /// Parts that began and are not written out, oldest first. Only the first may have an open block.
    waiting: VecDeque<u32>,
    parts: BTreeMap<u32, Pending>,
    next_index: u32,
    facts: Facts,
    stop: Option<(FinishReason, Option<String>, Option<String>)>,
    usage: Usage,
    service_tier: Option<String>,
    extras: Extras,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    Idle,
    /// The answer began; `message_start` is not written.
    Begun,
    /// `message_start` is written.
    Open,
    /// The last frame is written.
    Over,
}

/// A part that is not written out.
struct Pending {
    /// Its number within the answer, for ids.
    number: usize,
    kind: PartKind,
    deltas: Vec<Delta>,
    ended: bool,
    /// The index of its open block.
    block: Option<u32>,
}

impl Encoder {
    pub(super) fn new(view: &View<'_>) -> Encoder {
        Encoder {
            model: view.model.to_owned(),
            fallback_id: view.id.to_owned(),
            id: String::new(),
            phase: Phase::Idle,
            waiting: VecDeque::new(),
            parts: BTreeMap::new(),
            next_index: 0,
            facts: Facts::default(),
            stop: None,
            usage: Usage::default(),
            service_tier: None,
            extras: Extras::default(),
        }
    }
}

impl StreamEncoder for Encoder {
    fn push(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.phase == Phase::Over {
            return;
        }
        if self.phase == Phase::Begun && !matches!(event, Event::Usage(_) | Event::Error(_)) {
            self.message_start(bytes);
        }
        match event {
            Event::Start { id, .. } => {
                if self.phase == Phase::Idle {
                    self.id = message_id(id, &self.fallback_id);
                    self.phase = Phase::Begun;
                }
            }
            Event::PartStart { choice: 0, part, kind } => self.part_start(*part, kind, bytes),
            Event::Delta { choice: 0, part, delta } => self.delta(*part, delta, bytes),
            Event::PartEnd { choice: 0, part } => {
                if let Some(pending) = self.parts.get_mut(part) {
                    pending.ended = true;
                    self.advance(bytes);
                }
            }
            Event::Finish { choice: 0, reason, native, stop_sequence } => {
                self.stop = Some((*reason, native.clone(), stop_sequence.clone()));
            }
            // This dialect shows one answer and no log-probabilities.
            Event::PartStart { .. }
            | Event::Delta { .. }
            | Event::PartEnd { .. }
            | Event::Finish { .. }
            | Event::Logprobs { .. } => {}
            Event::Usage(usage) => self.usage = *usage,
            Event::Meta { service_tier, extras } => {
                self.service_tier = service_tier.clone().or(self.service_tier.take());
                if extras.dialect == Some(Dialect::Anthropic) {
                    self.extras.dialect = extras.dialect;
                    self.extras.fields.extend(extras.fields.clone());
                }
            }
            Event::Error(failure) => {
                self.phase = Phase::Over;
                sse::write(Some("error"), &error::encode(failure), bytes);
            }
            Event::End => self.end(bytes),
        }
    }
}

impl Encoder {
    fn message_start(&mut self, bytes: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Message<'a> {
            id: &'a str,
            #[serde(rename = "type")]
            kind: &'static str,
            role: &'static str,
            model: &'a str,
            content: [(); 0],
            stop_reason: Option<&'static str>,
            stop_sequence: Option<&'static str>,
            usage: usage::WireUsage<'a>,
        }
        let message = Message {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: &self.model,
            content: [],
            stop_reason: None,
            stop_sequence: None,
            usage: usage::wire(self.usage, None, None),
        };
        frame("message_start", "\"message\":", &message, bytes);
        self.phase = Phase::Open;
    }

    fn part_start(&mut self, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
        match kind {
            PartKind::ToolCall { .. } => self.facts.has_calls = true,
            PartKind::Refusal => self.facts.has_refusal = true,
            _ => {}
        }
        let number = self.parts.len();
        let pending = Pending { number, kind: kind.clone(), deltas: Vec::new(), ended: false, block: None };
        self.parts.insert(part, pending);
        self.waiting.push_back(part);
        self.advance(bytes);
    }

    fn delta(&mut self, part: u32, delta: &Delta, bytes: &mut Vec<u8>) {
        let is_first = self.waiting.front() == Some(&part);
        let Some(pending) = self.parts.get_mut(&part) else { return };
        if let (true, Some(index)) = (is_first, pending.block) {
            // The usual case: straight through, nothing is copied.
            return write_delta(index, &pending.kind, delta, bytes);
        }
        pending.deltas.push(delta.clone());
        if is_first {
            self.advance(bytes);
        }
    }

    /// Writes whatever can be written: opens the first part's block, closes it when it has ended, goes on.
    fn advance(&mut self, bytes: &mut Vec<u8>) {
        while let Some(&part) = self.waiting.front() {
            let Some(pending) = self.parts.get_mut(&part) else { return };
            if pending.block.is_none() && pending.can_open() {
                let index = self.next_index;
                if pending.open(index, &self.id, bytes) {
                    pending.block = Some(index);
                    self.next_index += 1;
                }
            }
            if let Some(index) = pending.block {
                for delta in std::mem::take(&mut pending.deltas) {
                    write_delta(index, &pending.kind, &delta, bytes);
                }
            }
            if !pending.ended {
                return;
            }
            if let Some(index) = pending.block {
                if matches!(pending.kind, PartKind::ToolCall { kind: ToolKind::Custom, .. }) {
                    text_delta(index, "input_json_delta", "partial_json", "\"}", bytes);
                }
                let data = format!("{{\"type\":\"content_block_stop\",\"index\":{index}}}");
                sse::write(Some("content_block_stop"), data.as_bytes(), bytes);
            }
            self.waiting.pop_front();
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        // A stream that obeys the laws has ended its parts; one that does not still gets its blocks closed.
        for pending in self.parts.values_mut() {
            pending.ended = true;
        }
        self.advance(bytes);
        let extras = self.extras.for_dialect(Dialect::Anthropic);
        let mut rest = top_level(extras);
        #[derive(Serialize)]
        struct Delta<'a> {
            stop_reason: Option<&'static str>,
            stop_sequence: Option<&'a str>,
            #[serde(flatten)]
            rest: IndexMap<&'a str, &'a RawJson>,
        }
        #[derive(Serialize)]
        struct Fields<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            delta: Delta<'a>,
            usage: usage::WireUsage<'a>,
            #[serde(flatten)]
            rest: IndexMap<&'a str, &'a RawJson>,
        }
        let mut inner = IndexMap::new();
        for name in ["container", "stop_details"] {
            if let Some((name, value)) = rest.shift_remove_entry(name) {
                inner.insert(name, value);
            }
        }
        let (reason, sequence) = match &self.stop {
            Some((reason, native, sequence)) => {
                (Some(stop_reason(*reason, native.as_deref(), self.facts)), sequence.as_deref())
            }
            None => (None, None),
        };
        let fields = Fields {
            kind: "message_delta",
            delta: Delta { stop_reason: reason, stop_sequence: sequence, rest: inner },
            usage: usage::wire(self.usage, self.service_tier.as_deref(), extras),
            rest,
        };
        // Strings and numbers with string keys: writing cannot fail.
        let data = serde_json::to_vec(&fields).unwrap_or_default();
        sse::write(Some("message_delta"), &flat(data), bytes);
        sse::write(Some("message_stop"), b"{\"type\":\"message_stop\"}", bytes);
        self.phase = Phase::Over;
    }
}

impl Pending {
    /// Is everything known that the block's first frame must hold?
    fn can_open(&self) -> bool {
        match &self.kind {
            PartKind::Text | PartKind::Refusal => self.deltas.iter().any(|delta| match delta {
                Delta::Text(text) => !text.is_empty(),
                Delta::Citation(_) => true,
                _ => false,
            }),
            PartKind::Reasoning => self.deltas.iter().any(|delta| match delta {
                Delta::Text(text) => !text.is_empty(),
                Delta::Signature(_) => true,
                _ => false,
            }),
            // A signature comes with the first piece of the arguments or never.
            PartKind::ToolCall { .. } => self.ended || self.deltas.len() > 1 || self.signature().is_some(),
            PartKind::Redacted => self.ended && self.signature().is_some(),
            PartKind::Image | PartKind::Audio => self.ended,
            PartKind::Native { dialect, .. } => *dialect == Dialect::Anthropic,
        }
    }

    fn signature(&self) -> Option<&tollway_model::Signature> {
        self.deltas.iter().rev().find_map(|delta| match delta {
            Delta::Signature(signature) => Some(signature),
            _ => None,
        })
    }

    /// Writes the block's first frame. `false` when there is nothing to show.
    fn open(&mut self, index: u32, message_id: &str, bytes: &mut Vec<u8>) -> bool {
        let start = |block: &[u8], bytes: &mut Vec<u8>| {
            let mut data = format!("{{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":")
                .into_bytes();
            data.extend_from_slice(block);
            data.push(b'}');
            sse::write(Some("content_block_start"), &data, bytes);
        };
        match &self.kind {
            PartKind::Text | PartKind::Refusal => start(b"{\"type\":\"text\",\"text\":\"\"}", bytes),
            PartKind::Reasoning => {
                start(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", bytes)
            }
            PartKind::Redacted => {
                let mut block = b"{\"type\":\"redacted_thinking\",\"data\":".to_vec();
                write_str(&self.signature().map(tag).unwrap_or_default(), &mut block);
                block.push(b'}');
                start(&block, bytes);
            }
            PartKind::ToolCall { id, name, kind } => {
                let signature = self.signature().cloned();
                let call = ToolCall {
                    id: id.clone(),
                    name: String::new(),
                    arguments: String::new(),
                    kind: *kind,
                    signature,
                };
                let mut block = b"{\"type\":\"tool_use\",\"id\":".to_vec();
                write_str(&tool_id(&call, message_id, self.number), &mut block);
                block.extend_from_slice(b",\"name\":");
                write_str(name, &mut block);
                block.extend_from_slice(b",\"input\":{}}");
                start(&block, bytes);
                if *kind == ToolKind::Custom {
                    text_delta(index, "input_json_delta", "partial_json", "{\"input\":\"", bytes);
                }
            }
            PartKind::Image | PartKind::Audio => {
                let media = self.deltas.iter().find_map(|delta| match delta {
                    Delta::Media(media) => Some(media),
                    _ => None,
                });
                let Some(words) = media.map(describe) else { return false };
                start(b"{\"type\":\"text\",\"text\":\"\"}", bytes);
                text_delta(index, "text_delta", "text", &words, bytes);
            }
            PartKind::Native { json, .. } => match split_input(json) {
                Some((block, input)) => {
                    start(&one_line(&block), bytes);
                    text_delta(index, "input_json_delta", "partial_json", &input, bytes);
                }
                None => start(&one_line(json), bytes),
            },
        }
        true
    }
}

/// Writes one delta of an open block.
fn write_delta(index: u32, kind: &PartKind, delta: &Delta, bytes: &mut Vec<u8>) {
    match (kind, delta) {
        (_, Delta::Text(text) | Delta::Arguments(text)) if text.is_empty() => {}
        (PartKind::Text | PartKind::Refusal, Delta::Text(text)) => {
            text_delta(index, "text_delta", "text", text, bytes);
        }
        (PartKind::Text, Delta::Citation(source)) => {
            let json = citation(source);
            raw_delta(index, "citations_delta", "citation", &one_line(&json), bytes);
        }
        (PartKind::Reasoning, Delta::Text(text)) => {
            text_delta(index, "thinking_delta", "thinking", text, bytes)
        }
        (PartKind::Reasoning, Delta::Signature(signature)) => {
            text_delta(index, "signature_delta", "signature", &tag(signature), bytes);
        }
        (PartKind::ToolCall { kind: ToolKind::Custom, .. }, Delta::Arguments(text)) => {
            // The text is the middle of a JSON string: escaped once more, without its quotes.
            let mut escaped = Vec::with_capacity(text.len() + 2);
            write_str(text, &mut escaped);
            let inner = escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or_default();
            text_delta(index, "input_json_delta", "partial_json", &String::from_utf8_lossy(inner), bytes);
        }
        (PartKind::ToolCall { .. }, Delta::Arguments(text)) => {
            text_delta(index, "input_json_delta", "partial_json", text, bytes);
        }
        // Signatures of text and late ones of calls have no place; pictures were written when the block opened.
        _ => {}
    }
}

/// Verbatim JSON on one line: a line break would end the frame's data.
fn one_line(json: &RawJson) -> Vec<u8> {
    flat(json.get().as_bytes().to_vec())
}

fn flat(mut json: Vec<u8>) -> Vec<u8> {
    // Inside JSON strings line breaks are escaped, so these stand between members only.
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json
}

fn text_delta(index: u32, kind: &str, member: &str, text: &str, bytes: &mut Vec<u8>) {
    let mut json = Vec::with_capacity(text.len() + 2);
    write_str(text, &mut json);
    raw_delta(index, kind, member, &json, bytes);
}

fn raw_delta(index: u32, kind: &str, member: &str, json: &[u8], bytes: &mut Vec<u8>) {
    let head = format!(
        "{{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":"
    );
    let mut data = head.into_bytes();
    data.reserve(json.len() + 2);
    data.extend_from_slice(json);
    data.extend_from_slice(b"}}");
    sse::write(Some("content_block_delta"), &data, bytes);
}

/// Writes a frame of one member beside its type.
fn frame<T: Serialize>(kind: &str, member: &str, value: &T, bytes: &mut Vec<u8>) {
    let mut data = format!("{{\"type\":\"{kind}\",{member}").into_bytes();
    // Writing into memory cannot fail.
    let _ = serde_json::to_writer(&mut data, value);
    data.push(b'}');
    sse::write(Some(kind), &data, bytes);
}
