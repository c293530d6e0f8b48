//! Amazon's event stream: bytes in, messages out, and the reverse.
//!
//! A message is a prelude (its length and that of its headers, with a checksum), typed headers, a payload and a
//! checksum over all of it. Accepts any chunking and keeps at most one unfinished message, whose length is known and
//! bounded before its bytes arrive. Knows nothing of JSON or of any dialect.
//! Spec: <https://smithy.io/2.0/aws/amazon-eventstream.html>

use std::fmt;

/// Longest message a provider may send: its payload limit is 24 MB.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// Longest headers of a message, by the specification.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// Two lengths and the checksum over them.
const PRELUDE: usize = 12;
/// The prelude and the checksum at the end.
const OVERHEAD: usize = PRELUDE + 4;

/// One message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    headers: &'a [u8],
    /// What it carries, mostly JSON.
    pub payload: &'a [u8],
}

/// The value of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Types 0 and 1.
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Short(i16),
    /// Type 4.
    Int(i32),
    /// Type 5.
    Long(i64),
    /// Type 6.
    Bytes(&'a [u8]),
    /// Type 7.
    Text(&'a str),
    /// Type 8: milliseconds since 1970.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// Why bytes are no event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A message is longer than the limit, or shorter than its own parts.
    Length(usize),
    /// A checksum does not fit its bytes.
    Checksum,
    /// The headers cannot be read.
    Headers,
    /// The stream ended inside a message.
    Truncated,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Length(length) => write!(f, "an event-stream message cannot be {length} bytes long"),
            Fault::Checksum => f.write_str("the checksum of an event-stream message is wrong"),
            Fault::Headers => f.write_str("the headers of an event-stream message cannot be read"),
            Fault::Truncated => f.write_str("the event stream ended inside a message"),
        }
    }
}

impl<'a> Message<'a> {
    /// Name and value of every header, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        // Checked when the message was cut: reading stops at the end only.
        let mut rest = self.headers;
        std::iter::from_fn(move || header(&mut rest).ok().flatten())
    }

    /// The header `name`, when it is text.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.headers().find_map(|(found, value)| match value {
            Value::Text(text) if found == name => Some(text),
            _ => None,
        })
    }
}

/// Cuts a stream into messages.
#[derive(Debug)]
pub struct Framer {
    pending: Vec<u8>,
    limit: usize,
    fault: Option<Fault>,
}

impl Default for Framer {
    fn default() -> Self {
        Framer::new(MAX_MESSAGE_BYTES)
    }
}

impl Framer {
    /// A framer that refuses messages longer than `limit`.
    pub fn new(limit: usize) -> Framer {
        Framer { pending: Vec::new(), limit, fault: None }
    }

    /// Reads the next bytes and hands out the messages they complete.
    ///
    /// After a fault nothing more is read: where the next message begins is no longer known.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Message<'_>)) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut held = std::mem::take(&mut self.pending);
        let mut input = bytes;
        let result = loop {
            if held.is_empty() {
                // The usual case: whole messages, read where they are.
                match whole(input, self.limit) {
                    Ok(Some((message, rest))) => {
                        emit(message);
                        input = rest;
                    }
                    Ok(None) => {
                        held.extend_from_slice(input);
                        break Ok(());
                    }
                    Err(fault) => break Err(fault),
                }
                continue;
            }
            // Only what completes the message is copied.
            let missing = match needed(&held, self.limit) {
                Ok(missing) => missing,
                Err(fault) => break Err(fault),
            };
            let (head, rest) = input.split_at(missing.min(input.len()));
            held.extend_from_slice(head);
            input = rest;
            match whole(&held, self.limit) {
                Ok(Some((message, _))) => {
                    emit(message);
                    held.clear();
                }
                Ok(None) if input.is_empty() => break Ok(()),
                Ok(None) => {}
                Err(fault) => break Err(fault),
            }
        };
        self.pending = held;
        self.fault = result.err();
        result
    }

    /// The stream ended.
    pub fn finish(&mut self) -> Result<(), Fault> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.pending.is_empty() => Ok(()),
            None => Err(Fault::Truncated),
        }
    }
}

/// How many bytes `held`, the beginning of a message, lacks to its end, or to the end of its prelude.
fn needed(held: &[u8], limit: usize) -> Result<usize, Fault> {
    match prelude(held, limit)? {
        None => Ok(PRELUDE.saturating_sub(held.len())),
        Some((total, _)) => Ok(total.saturating_sub(held.len())),
    }
}

/// The lengths of a message and of its headers; `None` while they are not complete.
fn prelude(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, Fault> {
    let Some((lengths, rest)) = bytes.split_at_checked(8) else { return Ok(None) };
    let Some(checksum) = rest.first_chunk::<4>() else { return Ok(None) };
    if crc32(lengths) != u32::from_be_bytes(*checksum) {
        return Err(Fault::Checksum);
    }
    let mut rest = lengths;
    let (Some(total), Some(headers)) = (take::<4>(&mut rest), take::<4>(&mut rest)) else { return Ok(None) };
    let length = |bytes| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    let (total, headers) = (length(total), length(headers));
    if total > limit || headers > MAX_HEADER_BYTES || headers.saturating_add(OVERHEAD) > total {
        return Err(Fault::Length(total));
    }
    Ok(Some((total, headers)))
}

/// The message `bytes` begin with and what follows it; `None` when it is not complete.
fn whole(bytes: &[u8], limit: usize) -> Result<Option<(Message<'_>, &[u8])>, Fault> {
    let Some((total, headers)) = prelude(bytes, limit)? else { return Ok(None) };
    let Some((message, rest)) = bytes.split_at_checked(total) else { return Ok(None) };
    let Some((covered, checksum)) = message.split_last_chunk::<4>() else { return Ok(None) };
    if crc32(covered) != u32::from_be_bytes(*checksum) {
        return Err(Fault::Checksum);
    }
    let content = covered.get(PRELUDE..).unwrap_or_default();
    let Some((headers, payload)) = content.split_at_checked(headers) else {
        return Err(Fault::Length(total));
    };
    let mut unread = headers;
    while header(&mut unread)?.is_some() {}
    Ok(Some((Message { headers, payload }, rest)))
}

/// Takes the next header; `None` at the end.
fn header<'a>(rest: &mut &'a [u8]) -> Result<Option<(&'a str, Value<'a>)>, Fault> {
    if rest.is_empty() {
        return Ok(None);
    }
    let read = |rest: &mut &'a [u8]| {
        let [length] = take(rest)?;
        let name = std::str::from_utf8(take_slice(rest, usize::from(length))?).ok()?;
        let [kind] = take(rest)?;
        let value = match kind {
            0 => Value::Bool(true),
            1 => Value::Bool(false),
            2 => Value::Byte(i8::from_be_bytes(take(rest)?)),
            3 => Value::Short(i16::from_be_bytes(take(rest)?)),
            4 => Value::Int(i32::from_be_bytes(take(rest)?)),
            5 => Value::Long(i64::from_be_bytes(take(rest)?)),
            6 | 7 => {
                let length = usize::from(u16::from_be_bytes(take(rest)?));
                let bytes = take_slice(rest, length)?;
                if kind == 6 { Value::Bytes(bytes) } else { Value::Text(std::str::from_utf8(bytes).ok()?) }
            }
            8 => Value::Timestamp(i64::from_be_bytes(take(rest)?)),
            9 => Value::Uuid(take(rest)?),
            _ => return None,
        };
        Some((name, value))
    };
    read(rest).map(Some).ok_or(Fault::Headers)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

/// Writes one message. Names, texts and byte values beyond the lengths the format can say are cut off.
pub fn write(headers: &[(&str, Value<'_>)], payload: &[u8], out: &mut Vec<u8>) {
    let mut head = Vec::new();
    for (name, value) in headers {
        write_header(name, *value, &mut head);
    }
    let start = out.len();
    out.extend_from_slice(&length(OVERHEAD + head.len() + payload.len()));
    out.extend_from_slice(&length(head.len()));
    let checksum = crc32(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    let checksum = crc32(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

fn write_header(name: &str, value: Value<'_>, out: &mut Vec<u8>) {
    let cut = |bytes: &[u8], most: usize| bytes.len().min(most);
    let name = name.as_bytes();
    let name = name.get(..cut(name, 255)).unwrap_or_default();
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
    let sized = |kind: u8, bytes: &[u8], out: &mut Vec<u8>| {
        let bytes = bytes.get(..cut(bytes, usize::from(u16::MAX))).unwrap_or_default();
        out.push(kind);
        out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let fixed = |kind: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Bool(yes) => out.push(u8::from(!yes)),
        Value::Byte(number) => fixed(2, &number.to_be_bytes(), out),
        Value::Short(number) => fixed(3, &number.to_be_bytes(), out),
        Value::Int(number) => fixed(4, &number.to_be_bytes(), out),
        Value::Long(number) => fixed(5, &number.to_be_bytes(), out),
        Value::Bytes(bytes) => sized(6, bytes, out),
        Value::Text(text) => sized(7, text.as_bytes(), out),
        Value::Timestamp(number) => fixed(8, &number.to_be_bytes(), out),
        Value::Uuid(bytes) => fixed(9, &bytes, out),
    }
}

/// The CRC-32 of IEEE 802.3, as zlib computes it.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "computed when the program is built, where an index out of bounds is a compile error"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut value, mut bit) = (index as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests;
