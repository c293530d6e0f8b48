//! Writing a stream for a client, and, by the same steps without the events, a whole answer.
//!
//! Items come one after the other, each ended before the next begins: parts that arrive side by side wait. A message
//! stays open while texts and refusals follow each other. A call waits for its second event, because its id may have
//! to carry a signature.

use std::collections::VecDeque;

use tollway_model::{
    Citation, Delta, Dialect, Error, Event, FinishReason, Media, MediaSource, Notices, PartKind, RawJson,
    Response, Signature, ToolKind,
};

use super::shell::{Shell, Status, reason};
use super::state;
use crate::json::write_str;
use crate::openai_chat::names;
use crate::openai_chat::write::{self, Map};
use crate::{StreamEncoder, View, carry};

pub(super) struct Encoder {
    shell: Shell,
    /// Makes no events: only the response object is wanted.
    quiet: bool,
    sequence: u64,
    begun: bool,
    over: bool,
    /// Complete items, as the inside of a list.
    items: Vec<u8>,
    /// The place of the next item.
    next: u32,
    message: Option<OpenMessage>,
    current: Option<(u32, Open)>,
    waiting: VecDeque<Waiting>,
    /// Log-probabilities that wait for the text they belong to, as the inside of a list.
    logprobs: Vec<u8>,
    finish: Option<FinishReason>,
    /// What this dialect has no place for.
    lost: Vec<&'static str>,
    whole: Vec<u8>,
}

/// A message whose next part may still come.
struct OpenMessage {
    id: String,
    place: u32,
    /// Complete parts, as the inside of a list.
    parts: Vec<u8>,
    count: u32,
}

/// A part that has to wait for the one being written.
struct Waiting {
    part: u32,
    kind: PartKind,
    deltas: Vec<Delta>,
    ended: bool,
}

/// The part being written.
enum Open {
    Text(Text),
    Refusal(String),
    Thought(Thought),
    Call(Call),
    Image(Option<Media>),
    /// Nothing here has a place for it.
    Lost,
}

#[derive(Default)]
struct Text {
    text: String,
    /// In characters, as sources count.
    length: u64,
    /// The inside of a list.
    annotations: Vec<u8>,
    count: u32,
    /// The inside of a list.
    logprobs: Vec<u8>,
    signature: Option<Signature>,
}

#[derive(Default)]
struct Thought {
    /// Set once the item has been added.
    place: Option<(String, u32)>,
    text: String,
    signature: Option<Signature>,
    redacted: bool,
}

struct Call {
    item: String,
    place: u32,
    id: String,
    name: String,
    kind: ToolKind,
    signature: Option<Signature>,
    added: bool,
    arguments: String,
    /// How much of the arguments has been sent.
    sent: usize,
}

/// Writes a whole answer.
pub(super) fn whole(response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
    let mut encoder = Encoder::new(view);
    encoder.quiet = true;
    // They stand with the first words, before which a stream tells them.
    if let Some(logprobs) = response.first().and_then(|choice| choice.logprobs.as_ref()) {
        encoder.keep_logprobs(logprobs);
    }
    let mut nothing = Vec::new();
    for event in response.clone().into_events() {
        if !matches!(event, Event::Logprobs { .. }) {
            encoder.push(&event, &mut nothing);
        }
    }
    for what in encoder.lost {
        notices.changed("output", what);
    }
    encoder.whole
}

impl Encoder {
    pub(super) fn new(view: &View<'_>) -> Encoder {
        let shell = Shell {
            id: response_id(view.id),
            model: view.model.to_owned(),
            created: view.created,
            ..Shell::default()
        };
        Encoder {
            shell,
            quiet: false,
            sequence: 0,
            begun: false,
            over: false,
            items: Vec::new(),
            next: 0,
            message: None,
            current: None,
            waiting: VecDeque::new(),
            logprobs: Vec::new(),
            finish: None,
            lost: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// Writes one event.
    fn frame(&mut self, kind: &str, bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Map<'_>)) {
        if self.quiet {
            return;
        }
        bytes.extend_from_slice(b"event: ");
        bytes.extend_from_slice(kind.as_bytes());
        bytes.extend_from_slice(b"\ndata: ");
        write::object(bytes, |map| {
            map.str("type", kind);
            map.int("sequence_number", self.sequence);
            fill(map);
        });
        bytes.extend_from_slice(b"\n\n");
        self.sequence += 1;
    }

    /// An event that shows the whole response so far.
    fn show(&mut self, kind: &str, status: &Status<'_>, bytes: &mut Vec<u8>) {
        let mut response = Vec::with_capacity(self.items.len() + 1024);
        write::object(&mut response, |map| self.shell.write(status, &self.items, map));
        self.frame(kind, bytes, |map| map.key("response").extend_from_slice(&response));
        if !matches!(status, Status::InProgress) {
            self.whole = response;
        }
    }

    fn begin(&mut self, bytes: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) && !self.quiet {
            self.show("response.created", &Status::InProgress, bytes);
            self.show("response.in_progress", &Status::InProgress, bytes);
        }
    }

    /// A place and an id for the next item.
    fn place(&mut self, prefix: &str) -> (String, u32) {
        let place = self.next;
        self.next += 1;
        let hash = names::hash(&self.shell.id);
        (format!("{prefix}_{hash:016x}{place:04x}"), place)
    }

    fn add_item(&mut self, place: u32, item: &[u8], bytes: &mut Vec<u8>) {
        self.frame("response.output_item.added", bytes, |map| {
            map.int("output_index", place);
            map.key("item").extend_from_slice(item);
        });
    }

    fn end_item(&mut self, place: u32, item: &[u8], bytes: &mut Vec<u8>) {
        self.frame("response.output_item.done", bytes, |map| {
            map.int("output_index", place);
            map.key("item").extend_from_slice(item);
        });
        add(&mut self.items, item);
    }

    /// Begins a part.
    fn open(&mut self, part: u32, kind: &PartKind, bytes: &mut Vec<u8>) {
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
                let (item, place) = self.place(if *kind == ToolKind::Custom { "ctc" } else { "fc" });
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
            PartKind::Audio => self.lose("sound has no place in the output: left out"),
            PartKind::Native { .. } => self.lose("a block of another dialect is left out"),
        };
        self.current = Some((part, open));
    }

    fn lose(&mut self, what: &'static str) -> Open {
        self.lost.push(what);
        Open::Lost
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
    fn end_message(&mut self, finish: Option<FinishReason>, bytes: &mut Vec<u8>) {
        let Some(open) = self.message.take() else { return };
        let status = if reason(finish).is_some() { "incomplete" } else { "completed" };
        let item = message(&open.id, status, &open.parts);
        self.end_item(open.place, &item, bytes);
    }

    fn delta(&mut self, delta: &Delta, bytes: &mut Vec<u8>) {
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
                None => self.lost.push("a source without a URL has no place in the Responses API"),
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
    fn close(&mut self, bytes: &mut Vec<u8>) {
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
            self.lost.push("a picture without its bytes is left out");
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

    /// Writes the parts that had to wait, up to one that is still arriving.
    fn catch_up(&mut self, bytes: &mut Vec<u8>) {
        while self.current.is_none() {
            let Some(next) = self.waiting.pop_front() else { return };
            self.open(next.part, &next.kind, bytes);
            next.deltas.iter().for_each(|delta| self.delta(delta, bytes));
            if next.ended {
                self.close(bytes);
            }
        }
    }

    /// The waiting part with this number.
    fn waiting(&mut self, part: u32) -> Option<&mut Waiting> {
        self.waiting.iter_mut().rev().find(|waiting| waiting.part == part)
    }

    fn is_current(&self, part: u32) -> bool {
        self.current.as_ref().is_some_and(|(current, _)| *current == part)
    }

    fn fail(&mut self, error: &Error, bytes: &mut Vec<u8>) {
        let status = Status::Failed(error);
        self.show(status.event(), &status, bytes);
        self.over = true;
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
                    self.shell.id = response_id(id);
                }
                self.shell.created = created.unwrap_or(self.shell.created);
                self.begin(bytes);
            }
            // There is one answer here; a caller of this dialect cannot ask for more.
            Event::PartStart { choice: 1.., .. }
            | Event::Delta { choice: 1.., .. }
            | Event::PartEnd { choice: 1.., .. }
            | Event::Logprobs { choice: 1.., .. }
            | Event::Finish { choice: 1.., .. } => {
                if self.lost.last() != Some(&MORE_ANSWERS) {
                    self.lost.push(MORE_ANSWERS);
                }
            }
            Event::PartStart { part, kind, .. } => {
                if self.current.is_none() {
                    self.open(*part, kind, bytes);
                } else {
                    let (part, kind) = (*part, kind.clone());
                    self.waiting.push_back(Waiting { part, kind, deltas: Vec::new(), ended: false });
                }
            }
            Event::Delta { part, delta, .. } => {
                if self.is_current(*part) {
                    self.delta(delta, bytes);
                } else if let Some(waiting) = self.waiting(*part) {
                    waiting.deltas.push(delta.clone());
                }
            }
            Event::PartEnd { part, .. } => {
                if self.is_current(*part) {
                    self.close(bytes);
                    self.catch_up(bytes);
                } else if let Some(waiting) = self.waiting(*part) {
                    waiting.ended = true;
                }
            }
            Event::Logprobs { logprobs, .. } => self.keep_logprobs(logprobs),
            Event::Finish { reason, .. } => {
                self.end_message(Some(*reason), bytes);
                self.finish = Some(*reason);
            }
            Event::Usage(usage) => self.shell.usage = Some(*usage),
            Event::Meta { service_tier, extras } => {
                self.shell.service_tier.clone_from(service_tier);
                let own = extras.for_dialect(Dialect::OpenaiResponses).into_iter().flatten();
                self.shell.extras = own.map(|(key, value)| (key.clone(), value.clone())).collect();
            }
            Event::Error(error) => self.fail(error, bytes),
            Event::End => {
                self.end_message(None, bytes);
                let status = Status::Ended(self.finish);
                self.show(status.event(), &status, bytes);
                self.over = true;
            }
        }
    }
}

const MORE_ANSWERS: &str = "further answers are left out: a response is one";

impl Encoder {
    fn keep_logprobs(&mut self, logprobs: &RawJson) {
        let mut content = logprobs.to_value();
        let Some(serde_json::Value::Array(tokens)) = content.get_mut("content").map(serde_json::Value::take)
        else {
            return;
        };
        for token in tokens {
            add(&mut self.logprobs, token.to_string().as_bytes());
        }
    }
}

impl Call {
    fn item(&self, status: &str, input: &str) -> Vec<u8> {
        let packed = match &self.signature {
            Some(signature) => carry::pack_id(&self.id, signature),
            None => self.id.clone(),
        };
        let (kind, key) = match self.kind {
            ToolKind::Function => ("function_call", "arguments"),
            ToolKind::Custom => ("custom_tool_call", "input"),
        };
        let (namespace, name) = state::split_name(&self.name);
        written(|map| {
            map.str("id", &self.item);
            map.str("type", kind);
            map.str("status", status);
            map.str(key, input);
            map.str("call_id", &packed);
            map.str("name", name);
            if let Some(namespace) = namespace {
                map.str("namespace", namespace);
            }
        })
    }
}

/// Response ids begin so; clients look at it.
fn response_id(id: &str) -> String {
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}

fn written(fill: impl FnOnce(&mut Map<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write::object(&mut out, fill);
    out
}

/// Adds an element to the inside of a list.
fn add(list: &mut Vec<u8>, element: &[u8]) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(element);
}

fn raw_list(key: &str, inside: &[u8], map: &mut Map<'_>) {
    let out = map.key(key);
    out.push(b'[');
    out.extend_from_slice(inside);
    out.push(b']');
}

fn message(id: &str, status: &str, parts: &[u8]) -> Vec<u8> {
    written(|map| {
        map.str("id", id);
        map.str("type", "message");
        map.str("status", status);
        map.str("role", "assistant");
        raw_list("content", parts, map);
    })
}

fn output_text(text: &str, annotations: &[u8], logprobs: &[u8], map: &mut Map<'_>) {
    map.str("type", "output_text");
    map.str("text", text);
    raw_list("annotations", annotations, map);
    raw_list("logprobs", logprobs, map);
}

fn refusal(text: &str, map: &mut Map<'_>) {
    map.str("type", "refusal");
    map.str("refusal", text);
}

fn reasoning(id: &str, text: &str, encrypted: Option<&str>) -> Vec<u8> {
    written(|map| {
        map.str("id", id);
        map.str("type", "reasoning");
        map.list("summary", |list| {
            if !text.is_empty() {
                list.map(|map| {
                    map.str("type", "summary_text");
                    map.str("text", text);
                });
            }
        });
        if let Some(encrypted) = encrypted {
            write_str(encrypted, map.key("encrypted_content"));
        }
    })
}

/// Where a paragraph of a thought is: thoughts of other dialects have one.
fn paragraph(id: &str, place: u32, map: &mut Map<'_>) {
    map.str("item_id", id);
    map.int("output_index", place);
    map.int("summary_index", 0);
}

/// A source; `None` when it has no form here. One that names no place supports all that was said so far.
fn annotation(citation: &Citation, said: u64) -> Option<Vec<u8>> {
    if let Some((Dialect::OpenaiResponses, json)) = &citation.native {
        return Some(json.get().as_bytes().to_vec());
    }
    let url = citation.url.as_ref()?;
    Some(written(|map| {
        map.str("type", "url_citation");
        map.int("start_index", citation.start.unwrap_or_default());
        map.int("end_index", citation.end.unwrap_or(said));
        map.str("url", url);
        map.str("title", citation.title.as_deref().unwrap_or_default());
    }))
}
