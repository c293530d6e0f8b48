//! A provider's stream: its framing, and the pieces handed to the [`Assembler`].

use tollway_model::{Error, Event, Kind};

use super::assembler::Assembler;
use crate::sse::{Framer, MAX_EVENT_BYTES, TooLong};
use crate::{Restore, StreamDecoder};

/// Reads a stream, framed as server-sent events or as one JSON array.
pub(super) struct Decoder {
    framing: Framing,
    assembler: Assembler,
}

enum Framing {
    /// Nothing but white space so far.
    Unknown,
    Sse(Framer),
    Array(Splitter),
}

impl Decoder {
    pub(super) fn new(restore: Restore) -> Decoder {
        Decoder { framing: Framing::Unknown, assembler: Assembler::new(restore) }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) {
        if self.assembler.over {
            return;
        }
        if matches!(self.framing, Framing::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.framing = match bytes.first() {
                None => return,
                Some(b'[' | b'{') => Framing::Array(Splitter::default()),
                Some(_) => Framing::Sse(Framer::default()),
            };
        }
        let assembler = &mut self.assembler;
        let pushed = match &mut self.framing {
            Framing::Unknown => Ok(()),
            Framing::Sse(framer) => framer.push(bytes, |frame| frame_data(assembler, frame.data, events)),
            Framing::Array(splitter) => splitter.push(bytes, |object| assembler.read(object, events)),
        };
        if let Err(too_long) = pushed
            && !self.assembler.over
        {
            self.assembler.fail(Error::new(Kind::Upstream, too_long.to_string()), events);
        }
    }

    fn finish(&mut self, events: &mut Vec<Event>) {
        let assembler = &mut self.assembler;
        if let Framing::Sse(framer) = &mut self.framing {
            // The same limit as above: nothing new can be too long now.
            let _ = framer.finish(|frame| frame_data(assembler, frame.data, events));
        }
        self.assembler.end(events);
    }
}

fn frame_data(assembler: &mut Assembler, data: &[u8], events: &mut Vec<Event>) {
    if !data.trim_ascii().is_empty() && data != b"[DONE]" {
        assembler.read(data, events);
    }
}

/// Cuts `[{…},{…}]` into its objects, or takes a lone object for one.
#[derive(Default)]
struct Splitter {
    object: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) -> std::result::Result<(), TooLong> {
        for &byte in bytes {
            if self.depth == 0 && byte != b'{' {
                // Brackets, commas and white space between objects; anything else is noise that no object needs.
                continue;
            }
            self.object.push(byte);
            self.step(byte);
            if self.depth == 0 {
                emit(&self.object);
                self.object.clear();
            } else if self.object.len() > MAX_EVENT_BYTES {
                return Err(TooLong { limit: MAX_EVENT_BYTES });
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
    }
}
