//! The verbatim lane's way back: a provider's stream passed on as it is.
//!
//! When client and provider speak one dialect, whole events travel byte for byte. Only three things are looked for,
//! by searching bytes before anything is parsed: the model's name, shown as the client asked for it; the usage-only
//! event that the client did not ask for; and the few events that say what the call used and how it ended, which go
//! through the dialect's own decoder. A piece that needs no change is passed on without a copy.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tollway_model::{Dialect, Error, Event, FinishReason, Kind, Usage};

use crate::codec::{Restore, StreamDecoder, codec};
use crate::json::{Members, write_str};
use crate::openai_responses::conversation::{find, may_hold_response};
use crate::sse::MAX_EVENT_BYTES;

/// How the stream is shown.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions<'a> {
    /// The model name the client asked for; `None` leaves the provider's.
    pub model: Option<&'a str>,
    /// The client did not ask for usage: leave out OpenAI's usage-only event.
    pub hide_usage: bool,
}

/// Passes a stream on and learns from it what the call used.
pub struct Relay {
    dialect: Dialect,
    /// `"gpt-4o"`: the JSON text to put in place of the provider's model name.
    model: Option<Vec<u8>>,
    hide_usage: bool,
    /// The start of an event whose end has not arrived.
    pending: BytesMut,
    /// How much of `pending` cannot hold the end: a long event in small pieces is searched once.
    searched: usize,
    decoder: Box<dyn StreamDecoder>,
    events: Vec<Event>,
    /// The last event with usage that did not go through the decoder.
    last_usage: Option<Bytes>,
    failed: bool,
    seen: Seen,
}

/// What the stream has told.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the call used, so far.
    pub usage: Option<Usage>,
    /// Why it ended.
    pub finish: Option<FinishReason>,
    /// The tier that served the call, as the provider names it.
    pub service_tier: Option<String>,
    /// The stream reported a failure, or broke off.
    pub error: Option<Error>,
    /// The stream reached its proper end.
    pub ended: bool,
    /// How much content there was, for streams that end without telling their usage.
    pub content: Content,
}

/// How much content a stream carried, told from the lengths of its events.
///
/// The events of one stream differ only in the text they carry: what the shortest has is taken for their form, and the
/// rest for text. So no event needs to be parsed for a figure that is nearly never needed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Content {
    events: u64,
    bytes: u64,
    shortest: u64,
}

impl Content {
    fn add(&mut self, length: usize) {
        let length = length as u64;
        self.shortest = if self.events == 0 { length } else { self.shortest.min(length) };
        self.events += 1;
        self.bytes += length;
    }

    /// Bytes of text, about: at least one for each event.
    pub fn text(&self) -> u64 {
        self.bytes.saturating_sub(self.events * self.shortest).saturating_add(self.events)
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("dialect", &self.dialect)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts passing on a stream of `dialect`.
    pub fn new(dialect: Dialect, options: RelayOptions<'_>) -> Relay {
        Relay {
            dialect,
            model: options.model.map(|model| {
                let mut text = Vec::with_capacity(model.len() + 2);
                write_str(model, &mut text);
                text
            }),
            hide_usage: options.hide_usage,
            pending: BytesMut::new(),
            searched: 0,
            decoder: decoder(dialect),
            events: Vec::new(),
            last_usage: None,
            failed: false,
            seen: Seen::default(),
        }
    }

    /// The stream's dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the stream has told so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Takes the failure that the stream reported, if it did. The failing event itself is not passed on: how a
    /// failure is told to the client is the caller's to decide.
    pub fn take_error(&mut self) -> Option<Error> {
        self.seen.error.take()
    }

    /// Reads the next piece and returns what goes to the client now, possibly nothing.
    ///
    /// After a failure (see [`Relay::take_error`]) the rest of the stream is ignored.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        if self.failed {
            return Bytes::new();
        }
        let piece = if self.pending.is_empty() {
            piece
        } else {
            self.pending.extend_from_slice(&piece);
            if event_length(&self.pending, self.searched).is_none() {
                self.keep_waiting();
                return Bytes::new();
            }
            std::mem::take(&mut self.pending).freeze()
        };
        self.searched = 0;
        let mut changes: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
        let mut at = 0;
        while let Some(length) = event_length(piece.get(at..).unwrap_or_default(), 0) {
            self.inspect(&piece, at..at + length, &mut changes);
            if self.failed {
                return apply(&piece, at, changes);
            }
            at += length;
        }
        if at < piece.len() {
            self.pending.extend_from_slice(piece.get(at..).unwrap_or_default());
            self.keep_waiting();
        }
        if changes.is_empty() {
            return piece.slice(..at);
        }
        apply(&piece, at, changes)
    }

    /// `pending` is the start of an event; its end may begin in the last two bytes.
    fn keep_waiting(&mut self) {
        self.searched = self.pending.len().saturating_sub(2);
        if self.pending.len() > MAX_EVENT_BYTES {
            let message = format!("the provider sent an event longer than {MAX_EVENT_BYTES} bytes");
            self.fail(Error::new(Kind::Upstream, message));
        }
    }

    /// The body ended. Returns what is left for the client; [`Seen::error`] says whether the stream broke off.
    pub fn finish(&mut self) -> Bytes {
        // Some providers leave out the last blank line. What broke off inside an event is of no use to the client.
        let rest = if is_whole(&self.pending) {
            self.push(Bytes::from_static(b"\n\n"))
        } else {
            let broken = std::mem::take(&mut self.pending);
            // A host that answers a streaming request with one document mostly tells an error.
            if broken.trim_ascii_start().starts_with(b"{") {
                self.decoder.push(&broken, &mut self.events);
            }
            Bytes::new()
        };
        if !self.failed {
            self.decoder.finish(&mut self.events);
            self.absorb();
        }
        self.settle_usage();
        rest
    }

    /// The stream is given up half-way: reads what usage is known.
    pub fn abandon(&mut self) {
        self.settle_usage();
    }

    fn settle_usage(&mut self) {
        let Some(event) = self.last_usage.take() else { return };
        let mut events = Vec::new();
        let mut decoder = codec(self.dialect).decoder(Restore::default());
        decoder.push(&event, &mut events);
        decoder.finish(&mut events);
        let usage = events.iter().rev().find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        });
        // It came after all that the decoder saw.
        self.seen.usage = usage.or(self.seen.usage);
    }

    fn inspect(&mut self, piece: &Bytes, range: Range<usize>, changes: &mut Vec<(Range<usize>, Vec<u8>)>) {
        let event = piece.get(range.clone()).unwrap_or_default();
        // The decoder says what is wrong with an event that cannot be one.
        let interest = if ends_like_json(event) { interest(self.dialect, event) } else { Interest::Decode };
        let decoded = matches!(interest, Interest::Decode);
        match interest {
            Interest::None => self.seen.content.add(event.len()),
            Interest::Usage => self.last_usage = Some(piece.slice(range.clone())),
            Interest::Decode => {
                if self.dialect == Dialect::Gemini && contains(event, &FINDERS.gemini_usage) {
                    self.last_usage = None;
                }
                self.decoder.push(event, &mut self.events);
                self.absorb();
            }
        }
        if self.failed {
            return;
        }
        if decoded && self.hide_usage && is_usage_only(event) {
            changes.push((range, Vec::new()));
            return;
        }
        if self.dialect == Dialect::OpenaiResponses {
            // Tools and metadata may have models of their own: here the place is looked up exactly.
            if let (Some(model), true) = (&self.model, decoded)
                && let Some(found) = find(event).and_then(|found| found.model)
                && event.get(found.clone()) != Some(model)
            {
                changes.push((range.start + found.start..range.start + found.end, model.clone()));
            }
            return;
        }
        if let Some(model) = &self.model
            && (self.dialect != Dialect::Anthropic || contains(event, &FINDERS.message_start))
            && let Some(found) = model_value(event)
            && event.get(found.clone()) != Some(model)
        {
            changes.push((range.start + found.start..range.start + found.end, model.clone()));
        }
    }

    fn fail(&mut self, error: Error) {
        self.failed = true;
        self.seen.error = Some(error);
    }

    fn absorb(&mut self) {
        for event in self.events.drain(..) {
            match event {
                Event::Usage(usage) => self.seen.usage = Some(usage),
                Event::Finish { reason, .. } => self.seen.finish = Some(reason),
                Event::Error(error) => {
                    self.failed = true;
                    self.seen.error = Some(error);
                }
                Event::Meta { service_tier: Some(tier), .. } => self.seen.service_tier = Some(tier),
                Event::End => self.seen.ended = true,
                _ => {}
            }
        }
    }
}

/// What learns from the stream how the call ends.
fn decoder(dialect: Dialect) -> Box<dyn StreamDecoder> {
    match dialect {
        Dialect::OpenaiResponses => crate::openai_responses::skim(),
        _ => codec(dialect).decoder(Restore::default()),
    }
}

/// Does an event tell how the call ends?
enum Interest {
    None,
    /// It repeats usage so far; worth keeping in case the stream is cut.
    Usage,
    Decode,
}

fn interest(dialect: Dialect, event: &[u8]) -> Interest {
    match dialect {
        Dialect::Anthropic => {
            // `event: content_block_delta` is nearly all of a stream.
            if event.starts_with(b"event: content_block") || event.starts_with(b"event: ping") {
                Interest::None
            } else {
                Interest::Decode
            }
        }
        Dialect::Gemini => {
            if contains(event, &FINDERS.gemini_finish)
                || contains(event, &FINDERS.error)
                || contains(event, &FINDERS.gemini_block)
            {
                Interest::Decode
            } else if contains(event, &FINDERS.gemini_usage) {
                Interest::Usage
            } else {
                Interest::None
            }
        }
        Dialect::OpenaiResponses => {
            if may_hold_response(event) || contains(event, &FINDERS.error) {
                Interest::Decode
            } else {
                Interest::None
            }
        }
        _ => {
            let decode = has_object(event, &FINDERS.usage)
                || has_text(event, &FINDERS.finish_reason)
                || contains(event, &FINDERS.error)
                || (event.len() < 64 && contains(event, &FINDERS.done));
            if decode { Interest::Decode } else { Interest::None }
        }
    }
}

/// Can this be a whole event? One that its provider cut off in the middle would only break the client's reader.
fn ends_like_json(event: &[u8]) -> bool {
    matches!(event.trim_ascii_end().last(), Some(b'}' | b']')) || event.starts_with(b":")
}

/// Searchers for the few keys that every event is searched for; making one costs as much as a search.
struct Finders {
    usage: Finder,
    finish_reason: Finder,
    error: Finder,
    done: Finder,
    choices: Finder,
    model: Finder,
    message_start: Finder,
    gemini_finish: Finder,
    gemini_usage: Finder,
    gemini_block: Finder,
}

type Finder = memmem::Finder<'static>;

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    usage: Finder::new("\"usage\""),
    finish_reason: Finder::new("\"finish_reason\""),
    error: Finder::new("\"error\""),
    done: Finder::new("[DONE]"),
    choices: Finder::new("\"choices\""),
    model: Finder::new("\"model\""),
    message_start: Finder::new("message_start"),
    gemini_finish: Finder::new("\"finishReason\""),
    gemini_usage: Finder::new("\"usageMetadata\""),
    gemini_block: Finder::new("blockReason"),
});

fn contains(haystack: &[u8], needle: &Finder) -> bool {
    needle.find(haystack).is_some()
}

/// Is the key's value an object (`"usage":null` stands in every chunk of some providers)?
fn has_object(event: &[u8], key: &Finder) -> bool {
    has_value(event, key, b'{')
}

fn has_text(event: &[u8], key: &Finder) -> bool {
    has_value(event, key, b'"')
}

/// Does a value of any of the keys (one for each choice) begin so?
fn has_value(event: &[u8], key: &Finder, first: u8) -> bool {
    key.find_iter(event).any(|at| {
        let rest = event.get(at + key.needle().len()..).unwrap_or_default();
        rest.iter().find(|byte| !matches!(byte, b' ' | b':')) == Some(&first)
    })
}

/// OpenAI's last chunk: usage and no choices.
fn is_usage_only(event: &[u8]) -> bool {
    has_object(event, &FINDERS.usage) && {
        FINDERS.choices.find(event).is_some_and(|at| {
            let mut rest =
                event.get(at + 9..).unwrap_or_default().iter().filter(|byte| !byte.is_ascii_whitespace());
            rest.next() == Some(&b':') && rest.next() == Some(&b'[') && rest.next() == Some(&b']')
        })
    }
}

/// Where the value of the first `"model"` key is, quotes included. Inside strings quotes are escaped, so the
/// pattern can only match a real key, and providers put the model before anything a caller controls.
fn model_value(event: &[u8]) -> Option<Range<usize>> {
    let key = FINDERS.model.find(event)? + 7;
    let rest = event.get(key..)?;
    let start = rest.iter().position(|byte| !matches!(byte, b' ' | b':'))?;
    let value = rest.get(start..)?;
    if value.first() != Some(&b'"') {
        return None;
    }
    let end = memchr::memchr(b'"', value.get(1..)?)?;
    Some(key + start..key + start + end + 2)
}

/// Is a last event complete but for its blank line?
fn is_whole(event: &[u8]) -> bool {
    if event.trim_ascii().is_empty() {
        return !event.is_empty();
    }
    let data: Vec<&[u8]> =
        event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:")).collect();
    let data = data.join(&b'\n');
    let data = data.trim_ascii();
    data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

/// Length of the first whole event, its blank line included; nothing before `from` is its end.
pub(crate) fn event_length(bytes: &[u8], mut from: usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(from..)?) {
        let next = from + at + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

pub(crate) fn apply(piece: &[u8], end: usize, changes: Vec<(Range<usize>, Vec<u8>)>) -> Bytes {
    let added: usize = changes.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(end + added);
    let mut at = 0;
    for (range, text) in changes {
        out.extend_from_slice(piece.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(&text);
        at = range.end;
    }
    out.extend_from_slice(piece.get(at..end).unwrap_or_default());
    Bytes::from(out)
}

/// Why a complete answer ended. The last such key counts; of several choices, that of the last.
///
/// Looks for bytes only: text that the model wrote has its quotes escaped.
pub fn finish_reason(dialect: Dialect, body: &[u8]) -> Option<FinishReason> {
    let key: &[u8] = match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText => b"\"finish_reason\"",
        Dialect::Anthropic => b"\"stop_reason\"",
        Dialect::Gemini => b"\"finishReason\"",
        _ => return None,
    };
    let rest = body.get(memmem::rfind(body, key)? + key.len()..)?;
    let start = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':')?;
    let value = rest.get(start..)?.strip_prefix(b"\"")?;
    let word = std::str::from_utf8(value.get(..memchr::memchr(b'"', value)?)?).ok()?;
    match dialect {
        Dialect::Anthropic => Some(crate::anthropic::finish_reason(word)),
        Dialect::Gemini => {
            Some(crate::gemini::finish_reason(word, memmem::find(body, b"\"functionCall\"").is_some()))
        }
        _ if refuses(body) => Some(FinishReason::Refusal),
        _ => crate::openai_chat::finish_reason(word),
    }
}

/// Does an answer of OpenAI's hold a refusal? It ends with `stop` all the same.
fn refuses(body: &[u8]) -> bool {
    let key: &[u8] = b"\"refusal\"";
    memmem::find_iter(body, key).any(|at| {
        let rest = body.get(at + key.len()..).unwrap_or_default();
        let value = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':');
        let value = value.and_then(|start| rest.get(start..)).unwrap_or_default();
        value.starts_with(b"\"") && !value.starts_with(b"\"\"")
    })
}

/// What concerns the gateway in a complete answer, found in one look at its top level.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// The text of the model's name.
    model: Option<Range<usize>>,
    usage: Option<Range<usize>>,
    service_tier: Option<Range<usize>>,
}

impl Whole {
    /// Looks at `body`; finds nothing in one that is not a whole object.
    pub fn look(body: &[u8]) -> Whole {
        let mut found = Whole::default();
        let mut members = Members::of(body);
        for (key, value) in members.by_ref() {
            match key {
                b"model" => found.model = Some(value),
                b"usage" => found.usage = Some(value),
                b"service_tier" => found.service_tier = Some(value),
                _ => {}
            }
        }
        if members.is_whole() { found } else { Whole::default() }
    }

    /// What the answer's `usage` says was used, where that object tells all.
    pub fn usage(&self, dialect: Dialect, body: &[u8]) -> Option<Usage> {
        codec(dialect).read_counts(std::str::from_utf8(body.get(self.usage.clone()?)?).ok()?)
    }

    /// The tier that served the call. OpenAI names it beside the usage, Anthropic inside.
    pub fn service_tier<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let beside = self.service_tier.clone().and_then(|range| body.get(range));
        let inside = || {
            let usage = body.get(self.usage.clone()?)?;
            let (_, value) = Members::of(usage).find(|(key, _)| *key == b"service_tier")?;
            usage.get(value)
        };
        let quoted = beside.or_else(inside)?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(quoted).ok()
    }

    /// The answer with `model` as its model; `None` when it is that already, or has none.
    pub fn show_model(&self, body: &[u8], model: &str) -> Option<Vec<u8>> {
        let range = self.model.clone()?;
        let shown = body.get(range.clone())?;
        let mut text = Vec::with_capacity(model.len() + 2);
        write_str(model, &mut text);
        if shown == text || !shown.starts_with(b"\"") {
            return None;
        }
        let mut out = Vec::with_capacity(body.len() + text.len());
        out.extend_from_slice(body.get(..range.start)?);
        out.extend_from_slice(&text);
        out.extend_from_slice(body.get(range.end..)?);
        Some(out)
    }
}

#[cfg(test)]
mod tests;
