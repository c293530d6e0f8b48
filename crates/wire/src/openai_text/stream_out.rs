//! Writing a stream of text completions for a client.

use std::collections::BTreeMap;

use tollway_model::{Delta, Event, FinishReason, PartKind, RawJson, Usage};

use super::{error, finish_word, legacy_logprobs, usage};
use crate::openai_chat::write::{self, Map};
use crate::{StreamEncoder, View, sse};

pub(super) struct Encoder {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    /// Parts whose text is shown: thinking and tool calls have no place here.
    shown: Vec<(u32, u32)>,
    /// Characters that have log-probabilities, by choice.
    offsets: BTreeMap<u32, usize>,
    /// Log-probabilities that wait for the text they belong to.
    logprobs: BTreeMap<u32, RawJson>,
    finished: Vec<(u32, FinishReason)>,
    usage: Option<Usage>,
    over: bool,
}

impl Encoder {
    pub(super) fn new(view: &View<'_>) -> Encoder {
        Encoder {
            id: view.id.to_owned(),
            model: view.model.to_owned(),
            created: view.created,
            include_usage: view.include_usage,
            shown: Vec::new(),
            offsets: BTreeMap::new(),
            logprobs: BTreeMap::new(),
            finished: Vec::new(),
            usage: None,
            over: false,
        }
    }

    fn frame(&self, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>)) {
        bytes.extend_from_slice(b"data: ");
        write::object(bytes, |map| {
            map.str("id", &self.id);
            map.str("object", "text_completion");
            map.int("created", self.created);
            map.str("model", &self.model);
            fill(map);
        });
        bytes.extend_from_slice(b"\n\n");
    }

    fn chunk(&mut self, index: u32, text: &str, reason: Option<FinishReason>, bytes: &mut Vec<u8>) {
        let waiting = self.logprobs.remove(&index);
        let offset = self.offsets.entry(index).or_default();
        let logprobs = waiting.and_then(|logprobs| legacy_logprobs(&logprobs, offset));
        self.frame(bytes, |map| {
            map.list("choices", |list| {
                list.map(|map| {
                    map.str("text", text);
                    map.int("index", index);
                    match &logprobs {
                        Some(logprobs) => map.raw("logprobs", logprobs),
                        None => map.null("logprobs"),
                    }
                    match reason {
                        Some(reason) => map.str("finish_reason", finish_word(reason)),
                        None => map.null("finish_reason"),
                    }
                });
            });
        });
    }

    fn flush_finished(&mut self, bytes: &mut Vec<u8>) {
        for (index, reason) in std::mem::take(&mut self.finished) {
            self.chunk(index, "", Some(reason), bytes);
        }
    }
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
                self.created = created.unwrap_or(self.created);
            }
            Event::PartStart { choice, part, kind: PartKind::Text | PartKind::Refusal } => {
                self.shown.push((*choice, *part));
            }
            Event::Delta { choice, part, delta: Delta::Text(text) }
                if self.shown.contains(&(*choice, *part)) =>
            {
                self.chunk(*choice, text, None, bytes);
            }
            Event::PartEnd { choice, part } => self.shown.retain(|shown| *shown != (*choice, *part)),
            Event::Logprobs { choice, logprobs } => {
                if self.logprobs.contains_key(choice) {
                    self.chunk(*choice, "", None, bytes);
                }
                self.logprobs.insert(*choice, logprobs.clone());
            }
            Event::Finish { choice, reason, .. } => self.finished.push((*choice, *reason)),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Error(failure) => {
                self.flush_finished(bytes);
                sse::write(None, &error::encode(failure), bytes);
                bytes.extend_from_slice(b"data: [DONE]\n\n");
                self.over = true;
            }
            Event::End => {
                self.flush_finished(bytes);
                if let Some(used) = self.usage.filter(|_| self.include_usage) {
                    self.frame(bytes, |map| {
                        map.list("choices", |_| {});
                        map.map("usage", |map| usage::encode(&used, map));
                    });
                }
                bytes.extend_from_slice(b"data: [DONE]\n\n");
                self.over = true;
            }
            _ => {}
        }
    }
}
