//! Writing the parts of an answer: how each kind begins, grows and ends.

use tollway_model::{Delta, Dialect, FinishReason, Media, MediaSource, PartKind, Signature, ToolKind};

use super::{Encoder, Open, OpenMessage, Text, Thought};
use crate::openai_chat::write::Map;
use crate::openai_responses::item_out::{
    Call, add, annotation, message, output_text, paragraph, raw_list, reasoning, refusal, written,
};
use crate::openai_responses::shell::reason;
use crate::openai_responses::state;

impl Encoder {
    /// Begins a part.
    pub(super) fn open(&mut self, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
        if !matches!(kind, PartKind::Text | PartKind::Refusal) {
            self.end_message(None, bytes);
        }
        let open = match kind {
            PartKind::Text => {
                self.begin_content(&written(|map| output_text("", b"", b"", map)), bytes);
                Open::Text(Text::default())
            }
            PartKind::Refusal => {
                self.begin_content(&written(|map| refusal("", map)), bytes);
                Open::Refusal(String::new())
            }
            PartKind::Reasoning => Open::Thought(Thought::default()),
            PartKind::Redacted => Open::Thought(Thought { redacted: true, ..Thought::default() }),
            PartKind::ToolCall { id, name, kind } => {
                let (item, place) = self.place(match state::client_tool(name) {
                    Some("local_shell") => "lsh",
                    Some("shell") => "sh",
                    Some("apply_patch") => "apc",
                    Some(_) => "tsc",
                    None if *kind == ToolKind::Custom => "ctc",
                    None => "fc",
                });
                Open::Call(Call {
                    item,
                    place,
                    id: id.clone(),
                    name: name.clone(),
                    kind: *kind,
                    signature: None,
                    added: false,
                    arguments: String::new(),
                    sent: 0,
                })
            }
            PartKind::Image => Open::Image(None),
            PartKind::Native { dialect: Dialect::OpenaiResponses, json } => {
                let place = self.next;
                self.next += 1;
                self.add_item(place, json.get().as_bytes(), bytes);
                self.end_item(place, json.get().as_bytes(), bytes);
                Open::Lost
            }
            PartKind::Audio => {
                self.lose("sound has no place in the output: left out");
                Open::Lost
            }
            PartKind::Native { .. } => {
                self.lose("a block of another dialect is left out");
                Open::Lost
            }
        };
        self.current = Some((part, open));
    }

    /// Begins a part of a message, and the message where none is open.
    fn begin_content(&mut self, part: &[u8], bytes: &mut Vec<u8>) {
        if self.message.is_none() {
            let (id, place) = self.place("msg");
            let item = message(&id, "in_progress", b"");
            self.add_item(place, &item, bytes);
            self.message = Some(OpenMessage { id, place, parts: Vec::new(), count: 0 });
        }
        self.content_frame("response.content_part.added", bytes, |map| {
            map.key("part").extend_from_slice(part);
        });
    }

    /// An event about the message's part that is being written.
    fn content_frame(&mut self, kind: &str, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>)) {
        let Some(message) = self.message.take() else { return };
        self.frame(kind, bytes, |map| {
            map.str("item_id", &message.id);
            map.int("output_index", message.place);
            map.int("content_index", message.count);
            fill(map);
        });
        self.message = Some(message);
    }

    /// Ends the open message, if there is one; a message in which the answer was cut off is incomplete.
    pub(super) fn end_message(&mut self, finish: Option<FinishReason>, bytes: &mut Vec<u8>) {
        let Some(open) = self.message.take() else { return };
        let status = if reason(finish).is_some() { "incomplete" } else { "completed" };
        let item = message(&open.id, status, &open.parts);
        self.end_item(open.place, &item, bytes);
    }

    pub(super) fn delta(&mut self, delta: &Delta, bytes: &mut Vec<u8>) {
        let Some((part, mut open)) = self.current.take() else { return };
        match (&mut open, delta) {
            (Open::Text(said), Delta::Text(more)) => {
                said.text.push_str(more);
                said.length += more.chars().count() as u64;
                let spoken = std::mem::take(&mut self.logprobs);
                self.content_frame("response.output_text.delta", bytes, |map| {
                    map.str("delta", more);
                    raw_list("logprobs", &spoken, map);
                });
                if !spoken.is_empty() {
                    add(&mut said.logprobs, &spoken);
                }
            }
            (Open::Text(said), Delta::Citation(citation)) => match annotation(citation, said.length) {
                Some(json) => {
                    let number = said.count;
                    said.count += 1;
                    self.content_frame("response.output_text.annotation.added", bytes, |map| {
                        map.int("annotation_index", number);
                        map.key("annotation").extend_from_slice(&json);
                    });
                    add(&mut said.annotations, &json);
                }
                None => self.lose("a source without a URL has no place in the Responses API"),
            },
            (Open::Text(said), Delta::Signature(new)) => said.signature = Some(new.clone()),
            (Open::Refusal(text), Delta::Text(more)) => {
                text.push_str(more);
                self.content_frame("response.refusal.delta", bytes, |map| map.str("delta", more));
            }
            (Open::Thought(thought), Delta::Text(more)) => self.think(thought, more, bytes),
            (Open::Thought(thought), Delta::Signature(new)) => thought.signature = Some(new.clone()),
            (Open::Call(call), Delta::Signature(new)) => {
                call.signature = Some(new.clone());
                if !call.arguments.is_empty() {
                    self.input(call, bytes);
                }
            }
            (Open::Call(call), Delta::Arguments(more)) => {
                let waits = call.arguments.is_empty() && call.signature.is_none();
                call.arguments.push_str(more);
                if !waits {
                    self.input(call, bytes);
                }
            }
            (Open::Image(media), Delta::Media(new)) => *media = Some(new.clone()),
            _ => {}
        }
        self.current = Some((part, open));
    }

    /// More of a thought, which becomes an item with its first word.
    fn think(&mut self, thought: &mut Thought, more: &str, bytes: &mut Vec<u8>) {
        if more.is_empty() {
            return;
        }
        let (id, place) = self.thought_place(thought, bytes);
        if thought.text.is_empty() {
            self.frame("response.reasoning_summary_part.added", bytes, |map| {
                paragraph(&id, place, map);
                map.key("part").extend_from_slice(br#"{"type":"summary_text","text":""}"#);
            });
        }
        thought.text.push_str(more);
        self.frame("response.reasoning_summary_text.delta", bytes, |map| {
            paragraph(&id, place, map);
            map.str("delta", more);
        });
    }

    fn thought_place(&mut self, thought: &mut Thought, bytes: &mut Vec<u8>) -> (String, u32) {
        if let Some(known) = &thought.place {
            return known.clone();
        }
        let (id, place) = self.place("rs");
        thought.place = Some((id.clone(), place));
        let item = reasoning(&id, "", None);
        self.add_item(place, &item, bytes);
        (id, place)
    }

    /// Sends what has come of a call's arguments, after its item has been added.
    fn input(&mut self, call: &mut Call, bytes: &mut Vec<u8>) {
        if call.is_whole() {
            return;
        }
        if !call.added {
            call.added = true;
            let item = call.item("in_progress", "");
            self.add_item(call.place, &item, bytes);
        }
        let more = call.arguments.get(call.sent..).unwrap_or_default();
        if more.is_empty() {
            return;
        }
        let kind = match call.kind {
            ToolKind::Function => "response.function_call_arguments.delta",
            ToolKind::Custom => "response.custom_tool_call_input.delta",
        };
        self.frame(kind, bytes, |map| {
            map.str("item_id", &call.item);
            map.int("output_index", call.place);
            map.str("delta", more);
        });
        call.sent = call.arguments.len();
    }

    /// Ends the part being written.
    pub(super) fn close(&mut self, bytes: &mut Vec<u8>) {
        let Some((_, open)) = self.current.take() else { return };
        match open {
            Open::Text(Text { text, annotations, logprobs, signature, .. }) => {
                self.content_frame("response.output_text.done", bytes, |map| {
                    map.str("text", &text);
                    raw_list("logprobs", &logprobs, map);
                });
                self.end_content(&written(|map| output_text(&text, &annotations, &logprobs, map)), bytes);
                if let Some(signature) = signature {
                    self.sign_text(&signature, bytes);
                }
            }
            Open::Refusal(text) => {
                self.content_frame("response.refusal.done", bytes, |map| map.str("refusal", &text));
                self.end_content(&written(|map| refusal(&text, map)), bytes);
            }
            Open::Thought(thought) => self.end_thought(thought, bytes),
            Open::Call(call) => self.end_call(call, bytes),
            Open::Image(media) => self.image(media, bytes),
            Open::Lost => {}
        }
    }

    fn end_content(&mut self, part: &[u8], bytes: &mut Vec<u8>) {
        self.content_frame("response.content_part.done", bytes, |map| {
            map.key("part").extend_from_slice(part);
        });
        if let Some(message) = &mut self.message {
            add(&mut message.parts, part);
            message.count += 1;
        }
    }

    /// Messages have no place for state: an item of nothing else follows the text, and comes back with it.
    fn sign_text(&mut self, signature: &Signature, bytes: &mut Vec<u8>) {
        self.end_message(None, bytes);
        let (id, place) = self.place("rs");
        self.add_item(place, &reasoning(&id, "", None), bytes);
        let item = reasoning(&id, "", Some(&state::write_text(signature)));
        self.end_item(place, &item, bytes);
    }

    fn end_thought(&mut self, mut thought: Thought, bytes: &mut Vec<u8>) {
        if thought.place.is_none() && thought.signature.is_none() {
            return;
        }
        let (id, place) = self.thought_place(&mut thought, bytes);
        if !thought.text.is_empty() {
            self.frame("response.reasoning_summary_text.done", bytes, |map| {
                paragraph(&id, place, map);
                map.str("text", &thought.text);
            });
            self.frame("response.reasoning_summary_part.done", bytes, |map| {
                paragraph(&id, place, map);
                map.map("part", |map| {
                    map.str("type", "summary_text");
                    map.str("text", &thought.text);
                });
            });
        }
        let encrypted = thought.signature.as_ref().map(|signature| state::write(signature, thought.redacted));
        let item = reasoning(&id, &thought.text, encrypted.as_deref());
        self.end_item(place, &item, bytes);
    }

    fn end_call(&mut self, mut call: Call, bytes: &mut Vec<u8>) {
        if call.arguments.is_empty() && call.kind == ToolKind::Function {
            call.arguments.push_str("{}");
        }
        if call.is_whole() {
            let item = call.item("in_progress", &call.arguments);
            self.add_item(call.place, &item, bytes);
            return self.end_item(call.place, &call.item("completed", &call.arguments), bytes);
        }
        self.input(&mut call, bytes);
        let (kind, key) = match call.kind {
            ToolKind::Function => ("response.function_call_arguments.done", "arguments"),
            ToolKind::Custom => ("response.custom_tool_call_input.done", "input"),
        };
        self.frame(kind, bytes, |map| {
            map.str("item_id", &call.item);
            map.int("output_index", call.place);
            map.str(key, &call.arguments);
            if call.kind == ToolKind::Function {
                map.str("name", state::split_name(&call.name).1);
            }
        });
        let item = call.item("completed", &call.arguments);
        self.end_item(call.place, &item, bytes);
    }

    fn image(&mut self, media: Option<Media>, bytes: &mut Vec<u8>) {
        let Some(Media { source: MediaSource::Base64(data), .. }) = media else {
            self.lose("a picture without its bytes is left out");
            return;
        };
        let (id, place) = self.place("ig");
        let item = |status: &str, data: Option<&str>| {
            written(|map| {
                map.str("id", &id);
                map.str("type", "image_generation_call");
                map.str("status", status);
                match data {
                    Some(data) => map.str("result", data),
                    None => map.null("result"),
                }
            })
        };
        self.add_item(place, &item("in_progress", None), bytes);
        for kind in ["in_progress", "generating", "completed"] {
            self.frame(&format!("response.image_generation_call.{kind}"), bytes, |map| {
                map.str("item_id", &id);
                map.int("output_index", place);
            });
        }
        self.end_item(place, &item("completed", Some(&data)), bytes);
    }
}
