//! Reading a provider's stream.
//!
//! A missing `[DONE]` is forgiven once every choice has said why it ended; anything else that stops early is an
//! error. Hosts that answer a streaming request with one JSON body (mostly errors) are understood too.

use tollway_model::{Error, Event, Kind};

use super::error;
use super::reader::Reader;
use super::response;
use crate::sse::{Frame, Framer, MAX_EVENT_BYTES};
use crate::{Restore, StreamDecoder};

pub(crate) struct Decoder {
    framer: Framer,
    reader: Reader,
    restore: Restore,
    form: Form,
    over: bool,
}

/// What the body turned out to be.
enum Form {
    /// Only white space so far.
    Unknown,
    Events,
    /// One JSON value, gathered until the end.
    Json(Vec<u8>),
}

impl Decoder {
    pub(crate) fn new(restore: Restore) -> Decoder {
        let reader = Reader::new(restore.clone(), false);
        Decoder { framer: Framer::default(), reader, restore, form: Form::Unknown, over: false }
    }

    fn fail(&mut self, error: Error, events: &mut Vec<Event>) {
        self.over = true;
        events.push(Event::Error(error));
    }

    fn whole(&mut self, body: &[u8], events: &mut Vec<Event>) {
        self.over = true;
        match response::decode(body, &self.restore) {
            Ok(response) => events.extend(response.into_events()),
            Err(error) => events.push(Event::Error(error)),
        }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Form::Unknown = self.form {
            match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
                Some(b'{' | b'[') => self.form = Form::Json(Vec::new()),
                Some(_) => self.form = Form::Events,
                None => {}
            }
        }
        if let Form::Json(body) = &mut self.form {
            if body.len() + bytes.len() > MAX_EVENT_BYTES {
                self.fail(Error::new(Kind::Upstream, "the provider's answer is too long"), events);
            } else {
                body.extend_from_slice(bytes);
            }
            return;
        }
        let Decoder { framer, reader, over, .. } = self;
        if let Err(too_long) = framer.push(bytes, |frame| take(&frame, reader, over, events))
            && !self.over
        {
            self.fail(Error::new(Kind::Upstream, too_long.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if let Form::Json(body) = &mut self.form {
            let body = std::mem::take(body);
            self.whole(&body, events);
            return;
        }
        let Decoder { framer, reader, over, .. } = self;
        // What is left is shorter than what `push` let through.
        let _ = framer.finish(|frame| take(&frame, reader, over, events));
        if self.over {
            return;
        }
        if self.reader.is_finished() {
            self.over = true;
            self.reader.end(events);
            return;
        }
        let message = "the provider's stream broke off before the answer was complete";
        self.fail(Error::new(Kind::Connection, message), events);
    }
}

fn take(frame: &Frame<'_>, reader: &mut Reader, over: &mut bool, events: &mut Vec<Event>) {
    if *over {
        return;
    }
    let data = frame.data.trim_ascii();
    if data == b"[DONE]" {
        *over = true;
        reader.end(events);
        return;
    }
    if data.is_empty() {
        return;
    }
    let text = std::str::from_utf8(data);
    let result = match text.map(|text| (text, serde_json::from_str(text))) {
        Ok((_, Ok(raw))) if frame.event == b"error" => Err(error::embedded(raw)),
        Ok((text, _)) => reader.read(text, events),
        Err(_) => Err(Error::new(Kind::Upstream, "the provider's stream is not UTF-8")),
    };
    if let Err(error) = result {
        *over = true;
        events.push(Event::Error(error));
    }
}
