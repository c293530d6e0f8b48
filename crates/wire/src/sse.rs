//! Server-sent events: bytes in, frames out.
//!
//! Accepts any chunking, LF, CR or CRLF, a byte order mark, comments, and data over several lines. Keeps at most one
//! event in memory, bounded by [`Framer::new`]'s limit. Knows nothing of JSON or of any dialect.
//! Spec: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::fmt;

/// Largest event a provider may send: images arrive inside one event, in base64.
pub const MAX_EVENT_BYTES: usize = 32 << 20;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The `event:` field, empty when absent.
    pub event: &'a [u8],
    /// The `data:` lines, joined by `\n`.
    pub data: &'a [u8],
}

/// An event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The limit in bytes.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a server-sent event is longer than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// Cuts a byte stream into events.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    line: Vec<u8>,
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    at_start: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Framer::new(MAX_EVENT_BYTES)
    }
}

impl Framer {
    /// A framer that fails on events longer than `limit` bytes.
    pub fn new(limit: usize) -> Framer {
        Framer {
            limit,
            line: Vec::new(),
            event: Vec::new(),
            data: Vec::new(),
            has_data: false,
            after_cr: false,
            at_start: true,
        }
    }

    /// Reads the next bytes and hands every completed event to `emit`.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if let Some(rest) = bytes.strip_prefix(b"\n") {
                    bytes = rest;
                    continue;
                }
            }
            let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.check(self.line.len() + bytes.len())?;
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (head, rest) = bytes.split_at(at);
            self.after_cr = rest.first() == Some(&b'\r');
            bytes = rest.get(1..).unwrap_or_default();
            self.check(self.line.len() + head.len())?;
            if self.line.is_empty() {
                self.take_line(head, &mut emit)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.take_line(&line, &mut emit)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// The stream ended: a last event without its blank line still counts, because providers cut it off.
    pub fn finish(&mut self, mut emit: impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.take_line(&line, &mut emit)?;
        }
        self.take_line(b"", &mut emit)
    }

    fn take_line(&mut self, line: &[u8], emit: &mut impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        let line = if self.at_start { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        self.at_start = false;
        if line.is_empty() {
            if self.has_data {
                emit(Frame { event: &self.event, data: &self.data });
            }
            self.data.clear();
            self.event.clear();
            self.has_data = false;
            return Ok(());
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => {
                let (name, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                (name, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match name {
            b"data" => {
                self.check(self.data.len() + usize::from(self.has_data) + value.len())?;
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.clear();
                self.event.extend_from_slice(value);
            }
            // Comments have an empty name; `id` and `retry` mean nothing here.
            _ => {}
        }
        Ok(())
    }

    fn check(&self, length: usize) -> Result<(), TooLong> {
        if length > self.limit { Err(TooLong { limit: self.limit }) } else { Ok(()) }
    }
}

/// Writes one event. `data` must not contain line breaks, which serialised JSON never does.
pub fn write(event: Option<&str>, data: &[u8], bytes: &mut Vec<u8>) {
    if let Some(event) = event {
        bytes.extend_from_slice(b"event: ");
        bytes.extend_from_slice(event.as_bytes());
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut framer = Framer::default();
        let mut out = Vec::new();
        let mut emit = |frame: Frame<'_>| {
            out.push((
                String::from_utf8_lossy(frame.event).into_owned(),
                String::from_utf8_lossy(frame.data).into_owned(),
            ));
        };
        for chunk in chunks {
            framer.push(chunk, &mut emit).unwrap();
        }
        framer.finish(&mut emit).unwrap();
        out
    }

    fn check(input: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(e, d)| ((*e).to_owned(), (*d).to_owned())).collect();
        assert_eq!(frames(&[input.as_bytes()]), expected, "{input:?}");
    }

    #[test]
    fn reads_what_the_standard_allows() {
        check("data: a\n\ndata:b\n\n", &[("", "a"), ("", "b")]);
        check("event: x\ndata: a\r\n\r\n", &[("x", "a")]);
        check("data: a\rdata: b\r\r", &[("", "a\nb")]);
        check(": keep-alive\n\ndata\n\n", &[("", "")]);
        check("\u{FEFF}data: a\n\n", &[("", "a")]);
        check("id: 7\nretry: 10\nevent: lonely\n\ndata: a\n\n", &[("", "a")]);
        check("data: unfinished", &[("", "unfinished")]);
        check("", &[]);
    }

    #[test]
    fn refuses_an_event_beyond_the_limit() {
        let mut framer = Framer::new(10);
        assert_eq!(framer.push(b"data: 0123456789", |_| {}), Err(TooLong { limit: 10 }));
        let mut framer = Framer::new(16);
        assert!(framer.push(b"data: 01234567\ndata: 0123456789\n", |_| {}).is_err());
        // The line break that joins two lines counts too.
        let mut framer = Framer::new(16);
        assert!(framer.push(b"data: 01234567\ndata: 01234567\n", |_| {}).is_err());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            lines in proptest::collection::vec("(data: ?|event: ?|:|id: )[a-zäß{}\" ]{0,6}", 0..12),
            ends in proptest::collection::vec(0..4_usize, 12),
            cuts in proptest::collection::vec(0..200_usize, 0..8),
        ) {
            let mut input = String::new();
            for (line, end) in lines.iter().zip(&ends) {
                input.push_str(line);
                input.push_str(["\n", "\r\n", "\r", "\n\n"][*end]);
            }
            let bytes = input.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frames(&chunks), frames(&[bytes]));
        }
    }
}
