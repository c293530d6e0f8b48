//! The verbatim lane's way back: a provider's stream passed on as it is.
//!
//! When client and provider speak one dialect, whole events travel byte for byte. Only three things are looked for,
//! by searching bytes before anything is parsed: the model's name, shown as the client asked for it; the usage-only
//! event that the client did not ask for; and the few events that say what the call used and how it ended, which go
//! through the dialect's own decoder. A piece that needs no change is passed on without a copy.

mod look;
mod whole;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use tollway_model::{Dialect, Error, Event, FinishReason, Kind, Usage};

use crate::codec::{Restore, StreamDecoder, codec};
use crate::json::write_str;
use crate::openai_responses::conversation::find;
use crate::sse::MAX_EVENT_BYTES;

use self::look::{
    FINDERS, Interest, contains, ends_like_json, interest, is_usage_only, is_whole, model_value,
};

pub(crate) use self::look::event_length;
pub use self::whole::{Whole, finish_reason};

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

#[cfg(test)]
mod tests;
