//! Writing a stream for a client.
//!
//! The role comes with a choice's first chunk. Finish chunks wait for the end, so that late facts (service tier,
//! fingerprint) can stand on them; the usage chunk with empty `choices` comes only when asked for. A tool call waits
//! for its second event, because its id may have to carry a signature.

use std::collections::BTreeMap;

use tollway_model::{
    Delta, Dialect, Event, FinishReason, Media, PartKind, RawJson, Signature, ToolKind, Usage,
};

use super::error;
use super::response;
use super::usage;
use super::write::{self, Map};
use crate::{StreamEncoder, View, sse};

pub(super) struct Encoder {
    id: String,
    model: String,
    created: i64,
    /// How every frame begins, from `data: ` to the model.
    head: Vec<u8>,
    include_usage: bool,
    legacy_functions: bool,
    choices: BTreeMap<u32, Choice>,
    finished: Vec<(u32, FinishReason, Option<String>, Option<String>)>,
    usage: Option<Usage>,
    service_tier: Option<String>,
    extras: Vec<(String, RawJson)>,
    over: bool,
}

#[derive(Default)]
struct Choice {
    /// The role has been said.
    begun: bool,
    next_tool: u32,
    next_image: u32,
    next_source: u32,
    next_thought: u32,
    /// Log-probabilities that wait for the text they belong to.
    logprobs: Option<RawJson>,
    parts: BTreeMap<u32, Part>,
}

/// An open part.
enum Part {
    /// Text or refusal: nothing to remember.
    Plain(&'static str),
    Thought {
        text: String,
        signature: Option<Signature>,
        redacted: bool,
    },
    Tool(Tool),
    Audio,
    Image,
}

struct Tool {
    index: u32,
    id: String,
    name: String,
    kind: ToolKind,
    signature: Option<Signature>,
    /// Arguments not yet sent, while the first chunk waits.
    waiting: Option<String>,
    /// Some arguments were sent.
    said: bool,
}

impl Encoder {
    pub(super) fn new(view: &View<'_>) -> Encoder {
        let mut encoder = Encoder {
            id: view.id.to_owned(),
            model: view.model.to_owned(),
            created: view.created,
            head: Vec::new(),
            include_usage: view.include_usage,
            legacy_functions: view.legacy_functions,
            choices: BTreeMap::new(),
            finished: Vec::new(),
            usage: None,
            service_tier: None,
            extras: Vec::new(),
            over: false,
        };
        encoder.make_head();
        encoder
    }

    fn make_head(&mut self) {
        let mut head = b"data: ".to_vec();
        write::object(&mut head, |map| {
            map.str("id", &self.id);
            map.str("object", "chat.completion.chunk");
            map.int("created", self.created);
            map.str("model", &self.model);
        });
        // The frame goes on.
        head.pop();
        self.head = head;
    }

    fn frame(&self, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>)) {
        bytes.extend_from_slice(&self.head);
        write::resume(bytes, |map| {
            fill(map);
            if let Some(tier) = &self.service_tier {
                map.str("service_tier", tier);
            }
            self.extras.iter().for_each(|(key, value)| map.raw(key, value));
        });
        bytes.extend_from_slice(b"\n\n");
    }

    /// One chunk of one choice.
    fn chunk(&mut self, index: u32, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>)) {
        self.chunk_with(index, bytes, fill, |map| map.null("finish_reason"));
    }

    fn chunk_with(
        &mut self,
        index: u32,
        bytes: &mut Vec<u8>,
        fill: impl FnOnce(&mut Map<'_>),
        after: impl FnOnce(&mut Map<'_>),
    ) {
        let choice = self.choices.entry(index).or_default();
        let first = !std::mem::replace(&mut choice.begun, true);
        let logprobs = choice.logprobs.take();
        self.frame(bytes, |map| {
            map.list("choices", |list| {
                list.map(|map| {
                    map.int("index", index);
                    map.map("delta", |map| {
                        if first {
                            map.str("role", "assistant");
                        }
                        fill(map);
                    });
                    if let Some(logprobs) = &logprobs {
                        map.raw("logprobs", logprobs);
                    }
                    after(map);
                });
            });
        });
    }

    fn begin(&mut self, index: u32, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
        if matches!(kind, PartKind::ToolCall { .. }) {
            self.announce_waiting(index, bytes);
        }
        let choice = self.choices.entry(index).or_default();
        let open = match kind {
            PartKind::Text => Part::Plain("content"),
            PartKind::Refusal => Part::Plain("refusal"),
            PartKind::Reasoning | PartKind::Redacted => {
                let redacted = *kind == PartKind::Redacted;
                Part::Thought { text: String::new(), signature: None, redacted }
            }
            PartKind::ToolCall { id, name, kind } => {
                let number = choice.next_tool;
                choice.next_tool += 1;
                Part::Tool(Tool {
                    index: number,
                    id: id.clone(),
                    name: name.clone(),
                    kind: *kind,
                    signature: None,
                    waiting: Some(String::new()),
                    said: false,
                })
            }
            PartKind::Audio => Part::Audio,
            PartKind::Image => Part::Image,
            PartKind::Native { dialect: Dialect::OpenaiChat, json } if is_field(json) => {
                self.chunk(index, bytes, |map| response::native_fields(json, map));
                return;
            }
            // Blocks of other dialects have no place in this one.
            PartKind::Native { .. } => return,
        };
        choice.parts.insert(part, open);
    }

    fn delta(&mut self, index: u32, number: u32, delta: &Delta, bytes: &mut Vec<u8>) {
        let Some(choice) = self.choices.get_mut(&index) else { return };
        let Some(part) = choice.parts.get_mut(&number) else { return };
        match (part, delta) {
            (Part::Plain(field), Delta::Text(text)) => {
                let field = *field;
                self.chunk(index, bytes, |map| map.str(field, text));
            }
            (Part::Plain(_), Delta::Citation(citation)) => {
                let mut list = Vec::new();
                let place = choice.next_source;
                if write::list(&mut list, |list| response::annotation(citation, Some(place), list)) {
                    choice.next_source += 1;
                    self.chunk(index, bytes, |map| map.key("annotations").extend_from_slice(&list));
                } else if let Some(json) = response::foreign_source(citation) {
                    self.chunk(index, bytes, |map| {
                        map.map("provider_specific_fields", |map| map.raw("citation", json));
                    });
                }
            }
            (Part::Plain(_), Delta::Signature(signature)) => {
                self.chunk(index, bytes, |map| message_signature(signature, map));
            }
            (Part::Thought { text, .. }, Delta::Text(more)) => {
                text.push_str(more);
                self.chunk(index, bytes, |map| map.str("reasoning_content", more));
            }
            (Part::Thought { signature, .. }, Delta::Signature(new)) => *signature = Some(new.clone()),
            (Part::Tool(tool), Delta::Signature(new)) => {
                let late = tool.waiting.is_none();
                tool.signature = Some(new.clone());
                let number = tool.index;
                if late && self.legacy_functions {
                    self.chunk(index, bytes, |map| message_signature(new, map));
                } else if late {
                    self.chunk(index, bytes, |map| late_signature(number, new, map));
                }
            }
            (Part::Tool(tool), Delta::Arguments(text)) => {
                if let Some(waiting) = &mut tool.waiting
                    && waiting.is_empty()
                {
                    waiting.push_str(text);
                    return;
                }
                self.arguments(index, number, text, bytes);
            }
            (Part::Audio, Delta::Media(media)) => {
                let id = self.id.clone();
                self.chunk(index, bytes, |map| map.map("audio", |map| response::audio(media, "", &id, map)));
            }
            (Part::Image, Delta::Media(media)) => {
                let number = choice.next_image;
                choice.next_image += 1;
                self.image(index, number, media, bytes);
            }
            _ => {}
        }
    }

    fn image(&mut self, index: u32, number: u32, media: &Media, bytes: &mut Vec<u8>) {
        self.chunk(index, bytes, |map| {
            map.list("images", |list| response::image(media, number, list));
        });
    }

    /// Sends the heads of calls that wait: clients put calls where they first appear, so these appear in order.
    fn announce_waiting(&mut self, index: u32, bytes: &mut Vec<u8>) {
        let parts = self.choices.get(&index).into_iter().flat_map(|choice| &choice.parts);
        let waiting = parts.filter(|(_, part)| matches!(part, Part::Tool(Tool { waiting: Some(_), .. })));
        for number in waiting.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.arguments(index, number, "", bytes);
        }
    }

    /// Sends more of a call's arguments, after its head if that has waited until now.
    fn arguments(&mut self, index: u32, number: u32, more: &str, bytes: &mut Vec<u8>) {
        let choice = self.choices.entry(index).or_default();
        let (begun, Some(Part::Tool(tool))) = (choice.begun, choice.parts.get_mut(&number)) else { return };
        let head = tool.waiting.take().map(|mut text| {
            text.push_str(more);
            (response::packed_id(&tool.id, tool.signature.as_ref()), tool.name.clone(), text)
        });
        tool.said |= !head.as_ref().map_or(more, |(_, _, text)| text).is_empty();
        let (number, (kind, input)) = (tool.index, response::tool_words(tool.kind));
        let signature = tool.signature.clone().filter(|_| head.is_some());
        if self.legacy_functions {
            // There is room for one call.
            if number == 0 {
                self.legacy_call(index, begun, head, more, signature.as_ref(), bytes);
            }
            return;
        }
        self.chunk(index, bytes, |map| {
            if !begun {
                map.null("content");
            }
            map.list("tool_calls", |list| {
                list.map(|map| {
                    map.int("index", number);
                    if let Some((id, _, _)) = &head {
                        map.str("id", id);
                        map.str("type", kind);
                    }
                    map.map(kind, |map| match &head {
                        Some((_, name, text)) => {
                            map.str("name", name);
                            map.str(input, text);
                        }
                        None => map.str(input, more),
                    });
                    if let Some(signature) = &signature {
                        map.map("provider_specific_fields", |map| {
                            response::thought_signatures(&[signature], map);
                        });
                    }
                });
            });
        });
    }

    /// The same for a client that asked with `functions`.
    fn legacy_call(
        &mut self,
        index: u32,
        begun: bool,
        head: Option<(String, String, String)>,
        more: &str,
        signature: Option<&Signature>,
        bytes: &mut Vec<u8>,
    ) {
        self.chunk(index, bytes, |map| {
            if !begun {
                map.null("content");
            }
            map.map("function_call", |map| match &head {
                Some((_, name, text)) => response::function_call(name, text, map),
                None => map.str("arguments", more),
            });
            if let Some(signature) = signature {
                message_signature(signature, map);
            }
        });
    }

    fn end_part(&mut self, index: u32, number: u32, bytes: &mut Vec<u8>) {
        let choice = self.choices.entry(index).or_default();
        match choice.parts.get(&number) {
            Some(Part::Tool(Tool { waiting, kind, said, .. })) => {
                // No arguments at all means an empty object, which clients parse.
                let none = !said && waiting.as_deref().unwrap_or_default().is_empty();
                let none = none && *kind == ToolKind::Function;
                if none || waiting.is_some() {
                    self.arguments(index, number, if none { "{}" } else { "" }, bytes);
                }
            }
            Some(Part::Thought { text, signature: Some(signature), redacted }) => {
                let (text, signature, redacted) = (text.clone(), signature.clone(), *redacted);
                let place = choice.next_thought;
                choice.next_thought += 1;
                self.chunk(index, bytes, |map| {
                    map.list("thinking_blocks", |list| {
                        response::thinking_block(&text, Some(&signature), redacted, Some(place), list);
                    });
                });
            }
            _ => {}
        }
        if let Some(choice) = self.choices.get_mut(&index) {
            choice.parts.remove(&number);
        }
    }

    fn flush_finished(&mut self, bytes: &mut Vec<u8>) {
        for (index, reason, native, stop) in std::mem::take(&mut self.finished) {
            let word = response::finish_shown(reason, self.legacy_functions);
            self.chunk_with(
                index,
                bytes,
                |_| {},
                |map| response::finish(word, native.as_deref(), stop.as_deref(), map),
            );
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        self.flush_finished(bytes);
        if let Some(used) = self.usage.filter(|_| self.include_usage) {
            self.frame(bytes, |map| {
                map.list("choices", |_| {});
                map.map("usage", |map| usage::encode(&used, map));
            });
        }
        bytes.extend_from_slice(DONE);
        self.over = true;
    }
}

const DONE: &[u8] = b"data: [DONE]\n\n";

/// Is the native part a message field rather than a content block?
fn is_field(json: &RawJson) -> bool {
    json.to_value().as_object().is_some_and(|fields| !fields.contains_key("type"))
}

fn message_signature(signature: &Signature, map: &mut Map<'_>) {
    map.map("provider_specific_fields", |map| response::thought_signatures(&[signature], map));
}

fn late_signature(number: u32, signature: &Signature, map: &mut Map<'_>) {
    map.list("tool_calls", |list| {
        list.map(|map| {
            map.int("index", number);
            map.map("provider_specific_fields", |map| response::thought_signatures(&[signature], map));
        });
    });
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
                self.make_head();
            }
            Event::PartStart { choice, part, kind } => self.begin(*choice, *part, kind, bytes),
            Event::Delta { choice, part, delta } => self.delta(*choice, *part, delta, bytes),
            Event::PartEnd { choice, part } => self.end_part(*choice, *part, bytes),
            Event::Logprobs { choice, logprobs } => {
                let waiting = self.choices.entry(*choice).or_default().logprobs.is_some();
                if waiting {
                    self.chunk(*choice, bytes, |_| {});
                }
                self.choices.entry(*choice).or_default().logprobs = Some(logprobs.clone());
            }
            Event::Finish { choice, reason, native, stop_sequence } => {
                self.finished.push((*choice, *reason, native.clone(), stop_sequence.clone()));
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Meta { service_tier, extras } => {
                self.service_tier.clone_from(service_tier);
                let own = extras.for_dialect(Dialect::OpenaiChat).into_iter().flatten();
                self.extras = own.map(|(key, value)| (key.clone(), value.clone())).collect();
            }
            Event::Error(error) => {
                self.flush_finished(bytes);
                sse::write(None, &error::encode(error), bytes);
                bytes.extend_from_slice(DONE);
                self.over = true;
            }
            Event::End => self.end(bytes),
        }
    }
}
