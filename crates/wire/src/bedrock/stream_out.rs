//! Events → a stream for a client of this dialect.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollway_model::{Delta, Dialect, Event, FinishReason, PartKind, ToolKind, Usage};

use super::usage::TokenUsage;
use super::{error, stop_reason};
use crate::StreamEncoder;
use crate::eventstream::{Value as Header, write};

/// Writes a stream. Blocks are numbered in the order they begin; the format lets several be open at once.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    next: u64,
    blocks: BTreeMap<u32, (u64, PartKind)>,
    stop: Option<FinishReason>,
    usage: Usage,
    last: Map<String, Value>,
}

impl StreamEncoder for Encoder {
    fn push(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => message("messageStart", &json!({ "role": "assistant" }), bytes),
            Event::PartStart { choice: 0, part, kind } => self.start(*part, kind, bytes),
            Event::Delta { choice: 0, part, delta } => self.delta(*part, delta, bytes),
            Event::PartEnd { choice: 0, part } => {
                if let Some((index, _)) = self.blocks.remove(part) {
                    message("contentBlockStop", &json!({ "contentBlockIndex": index }), bytes);
                }
            }
            Event::Finish { choice: 0, reason, .. } => self.stop = Some(*reason),
            Event::Usage(usage) => self.usage = *usage,
            Event::Meta { service_tier, extras } => {
                if let Some(tier) = service_tier {
                    self.last.insert("serviceTier".to_owned(), json!({ "type": tier }));
                }
                for (name, value) in extras.for_dialect(Dialect::BedrockConverse).into_iter().flatten() {
                    self.last.insert(name.clone(), value.to_value());
                }
            }
            Event::Error(error) => {
                let kind = error::type_of(error.kind());
                let mut letters = kind.chars();
                let first = letters.next().map(|first| first.to_ascii_lowercase().to_string());
                let kind = first.unwrap_or_default() + letters.as_str();
                let headers = [
                    (":exception-type", Header::Text(&kind)),
                    (":content-type", Header::Text("application/json")),
                    (":message-type", Header::Text("exception")),
                ];
                write(&headers, json!({ "message": error.message() }).to_string().as_bytes(), bytes);
            }
            Event::End => self.end(bytes),
            _ => {}
        }
    }

    fn content_type(&self) -> &'static str {
        "application/vnd.amazon.eventstream"
    }
}

impl Encoder {
    fn start(&mut self, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
        let index = self.next;
        match kind {
            PartKind::ToolCall { id, name, .. } => {
                let start = json!({ "toolUse": { "toolUseId": id, "name": name } });
                message("contentBlockStart", &json!({ "contentBlockIndex": index, "start": start }), bytes);
            }
            PartKind::Text | PartKind::Refusal | PartKind::Reasoning | PartKind::Redacted => {}
            // What streams of this dialect do not have.
            PartKind::Image | PartKind::Audio | PartKind::Native { .. } => return,
        }
        self.next += 1;
        self.blocks.insert(part, (index, kind.clone()));
    }

    fn delta(&mut self, part: u32, delta: &Delta, bytes: &mut Vec<u8>) {
        let Some((index, kind)) = self.blocks.get(&part) else { return };
        let delta = match (kind, delta) {
            (PartKind::Reasoning, Delta::Text(text)) => json!({ "reasoningContent": { "text": text } }),
            (_, Delta::Text(text)) => json!({ "text": text }),
            (PartKind::Redacted, Delta::Signature(signature)) => {
                json!({ "reasoningContent": { "redactedContent": signature.value } })
            }
            (PartKind::Reasoning, Delta::Signature(signature)) => {
                json!({ "reasoningContent": { "signature": signature.value } })
            }
            (PartKind::ToolCall { kind: ToolKind::Custom, .. }, Delta::Arguments(text)) => {
                json!({ "toolUse": { "input": json!({ "input": text }).to_string() } })
            }
            (_, Delta::Arguments(text)) => json!({ "toolUse": { "input": text } }),
            (_, Delta::Citation(citation)) => match &citation.native {
                Some((Dialect::BedrockConverse, json)) => json!({ "citation": json }),
                _ => return,
            },
            _ => return,
        };
        message("contentBlockDelta", &json!({ "contentBlockIndex": index, "delta": delta }), bytes);
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        let reason = self.stop.map_or("end_turn", stop_reason);
        let mut stop = json!({ "stopReason": reason });
        let fields = self.last.remove("additionalModelResponseFields");
        if let (Some(fields), Some(members)) = (fields, stop.as_object_mut()) {
            members.insert("additionalModelResponseFields".to_owned(), fields);
        }
        message("messageStop", &stop, bytes);
        let mut metadata = std::mem::take(&mut self.last);
        metadata.insert("usage".to_owned(), json!(TokenUsage::from(self.usage)));
        metadata.insert("metrics".to_owned(), json!({ "latencyMs": 0 }));
        message("metadata", &Value::Object(metadata), bytes);
    }
}

fn message(kind: &str, payload: &Value, bytes: &mut Vec<u8>) {
    let headers = [
        (":event-type", Header::Text(kind)),
        (":content-type", Header::Text("application/json")),
        (":message-type", Header::Text("event")),
    ];
    write(&headers, payload.to_string().as_bytes(), bytes);
}
