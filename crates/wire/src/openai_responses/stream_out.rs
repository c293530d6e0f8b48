//! Writing a stream for a client, and, by the same steps without the events, a whole answer.
//!
//! Items come one after the other, each ended before the next begins: parts that arrive side by side wait. A message
//! stays open while texts and refusals follow each other. A call waits for its second event, because its id may have
//! to carry a signature.

mod parts;

use std::collections::BTreeMap;

use tollway_model::{
    Delta, Dialect, Error, Event, FinishReason, Media, Notices, PartKind, RawJson, Response, Signature,
};

use super::item_out::{Call, add};
use super::shell::{Shell, Status};
use crate::openai_chat::names;
use crate::openai_chat::write::{self, Map};
use crate::{StreamEncoder, View};

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
    /// By their numbers, which grow.
    waiting: BTreeMap<u32, Waiting>,
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
            waiting: BTreeMap::new(),
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

    /// Writes the parts that had to wait, up to one that is still arriving.
    fn catch_up(&mut self, bytes: &mut Vec<u8>) {
        while self.current.is_none() {
            let Some((part, next)) = self.waiting.pop_first() else { return };
            self.open(part, &next.kind, bytes);
            next.deltas.iter().for_each(|delta| self.delta(delta, bytes));
            if next.ended {
                self.close(bytes);
            }
        }
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
                self.lose("further answers are left out: a response is one");
            }
            Event::PartStart { part, kind, .. } => {
                if self.current.is_none() {
                    self.open(*part, kind, bytes);
                } else {
                    let waiting = Waiting { kind: kind.clone(), deltas: Vec::new(), ended: false };
                    self.waiting.insert(*part, waiting);
                }
            }
            Event::Delta { part, delta, .. } => {
                if self.is_current(*part) {
                    self.delta(delta, bytes);
                } else if let Some(waiting) = self.waiting.get_mut(part) {
                    waiting.deltas.push(delta.clone());
                }
            }
            Event::PartEnd { part, .. } => {
                if self.is_current(*part) {
                    self.close(bytes);
                    self.catch_up(bytes);
                } else if let Some(waiting) = self.waiting.get_mut(part) {
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

impl Encoder {
    /// This dialect has no place for something.
    fn lose(&mut self, what: &'static str) {
        if !self.lost.contains(&what) {
            self.lost.push(what);
        }
    }

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

/// Response ids begin so; clients look at it.
fn response_id(id: &str) -> String {
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}
