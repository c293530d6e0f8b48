//! The door for JSON bodies: one validating pass, no tree.
//!
//! [`Envelope::parse`] checks a body completely (syntax, depth, UTF-8), remembers where the top-level members
//! are, and collapses duplicate keys at every depth to the last one, so that a guard and a provider can never read
//! different things. [`Envelope::rewrite`] changes top-level members and copies the rest byte for byte, key order
//! and number spelling included, which keeps providers' prompt-cache prefixes stable.

mod edits;
mod members;
mod pieces;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tollway_model::{Error, Kind, RawJson, Result};

use self::edits::Edit;
pub use self::edits::Edits;
pub(crate) use self::members::Members;
pub use self::pieces::Pieces;
use self::scan::{KeySet, Scan, without};

/// Deepest nesting accepted by default. Real requests stay below 20, tool schemas included.
pub const MAX_DEPTH: usize = 64;

/// A checked JSON object and where its top-level members are.
#[derive(Debug, Clone)]
pub struct Envelope {
    body: Bytes,
    members: Vec<Member>,
    /// The keys that stand somewhere, at any depth.
    keys: KeySet,
}

#[derive(Debug, Clone)]
struct Member {
    /// From the key's opening quote to the end of the value.
    span: Range<usize>,
    /// The key without quotes, escapes not yet resolved.
    key: Range<usize>,
    value: Range<usize>,
    /// How many elements the value has, when it is an array.
    elements: usize,
    escaped: bool,
}

impl Envelope {
    /// Checks `body` and finds its top-level members.
    ///
    /// Fails with [`Kind::InvalidRequest`] when it is not one JSON object or nests deeper than `max_depth`; the
    /// message gives the byte offset.
    pub fn parse(body: Bytes, max_depth: usize) -> Result<Envelope> {
        let mut scan = Scan::new(&body, max_depth);
        scan.document().map_err(|fault| fault.into_error(&body))?;
        let (members, cuts, keys, ascii) = (scan.members, scan.cuts, scan.all_keys, scan.ascii);
        if !ascii && std::str::from_utf8(&body).is_err() {
            return Err(not_json("the body is not UTF-8"));
        }
        if cuts.is_empty() {
            return Ok(Envelope { body, members, keys });
        }
        // Rare: drop the earlier duplicates and look again. Each pass removes at least one member.
        Envelope::parse(Bytes::from(without(&body, cuts)), max_depth)
    }

    /// `{}`.
    pub fn empty() -> Envelope {
        Envelope { body: Bytes::from_static(b"{}"), members: Vec::new(), keys: KeySet::default() }
    }

    /// The whole body, duplicates collapsed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Does this key stand somewhere, at any depth? May say yes wrongly, never no; costs nothing.
    pub fn may_have_key(&self, key: &str) -> bool {
        self.keys.may_have(key)
    }

    /// The JSON text of the member `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.text(&self.member(key)?.value)
    }

    /// Is the member there and not null?
    pub fn has(&self, key: &str) -> bool {
        // As bytes: most of a long body is one member, which would be checked for UTF-8 once more.
        self.member(key).is_some_and(|member| self.slice(&member.value) != b"null")
    }

    fn member(&self, key: &str) -> Option<&Member> {
        self.members.iter().find(|member| self.key_is(member, key))
    }

    /// The member `key` as a string; `None` when it is absent or not a string.
    pub fn str(&self, key: &str) -> Option<Cow<'_, str>> {
        let raw = self.get(key)?;
        let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    /// The member `key` as a boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The member `key` as a whole number.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// How many elements the array `key` has; `None` when it is absent or not an array.
    pub fn elements(&self, key: &str) -> Option<usize> {
        let member = self.member(key)?;
        self.slice(&member.value).starts_with(b"[").then_some(member.elements)
    }

    /// The member `key` read as `T`; an error names the key.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        serde_json::from_str(raw)
            .map(Some)
            .map_err(|error| Error::invalid_at(key.to_owned(), format!("`{key}` cannot be read: {error}")))
    }

    /// Names of the members, in order, escapes resolved.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.members.iter().filter_map(|member| self.key(member))
    }

    /// Members in order, as name and JSON text.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.members.iter().filter_map(|member| Some((self.key(member)?, self.text(&member.value)?)))
    }

    /// The body with `edits` applied and everything else byte for byte the same.
    pub fn rewrite(&self, edits: &Edits) -> Bytes {
        if edits.is_empty() {
            return self.body.clone();
        }
        let added: usize = edits.list.iter().map(|(key, edit)| key.len() + edit.len() + 8).sum();
        let mut out = Vec::with_capacity(self.body.len() + added);
        self.walk(edits, |part| match part {
            Part::Kept(range) => out.extend_from_slice(self.slice(&range)),
            Part::New(bytes) => out.extend_from_slice(bytes),
        });
        Bytes::from(out)
    }

    /// The same in pieces: long stretches that stay are not copied.
    pub fn rewrite_pieces(&self, edits: &Edits) -> Pieces {
        if edits.is_empty() || self.body.len() < WORTH_PIECES {
            return Pieces::from(self.rewrite(edits));
        }
        let (mut pieces, mut new) = (Pieces::default(), Vec::new());
        self.walk(edits, |part| match part {
            Part::Kept(range) if range.len() >= WORTH_PIECES / 2 => {
                pieces.push(Bytes::from(std::mem::take(&mut new)));
                pieces.push(self.body.slice(range));
            }
            Part::Kept(range) => new.extend_from_slice(self.slice(&range)),
            Part::New(bytes) => new.extend_from_slice(bytes),
        });
        pieces.push(Bytes::from(new));
        pieces
    }

    /// Hands out the parts of the edited body, in order.
    fn walk(&self, edits: &Edits, mut emit: impl FnMut(Part<'_>)) {
        let mut used = vec![false; edits.list.len()];
        let mut first = true;
        let mut text = Vec::new();
        // Without members everything before the closing brace, which white space may follow.
        let closing = || self.body.iter().rposition(|byte| *byte == b'}').unwrap_or_default();
        let mut copied = self.members.first().map_or_else(closing, |member| member.span.start);
        emit(Part::Kept(0..copied));
        for member in &self.members {
            let found = edits.list.iter().position(|(key, _)| self.key_is(member, key));
            if let Some(flag) = found.and_then(|at| used.get_mut(at)) {
                *flag = true;
            }
            let edit = found.and_then(|at| edits.list.get(at)).map(|(_, edit)| edit);
            // `copied..span.start` is the comma and white space between members.
            let gap = copied..member.span.start;
            copied = member.span.end;
            if matches!(edit, Some(Edit::Remove)) {
                continue;
            }
            if !first {
                emit(if gap.is_empty() { Part::New(b",") } else { Part::Kept(gap) });
            }
            first = false;
            match edit {
                Some(Edit::Set(raw)) => {
                    emit(Part::Kept(member.span.start..member.value.start));
                    emit(Part::New(raw.as_bytes()));
                }
                Some(Edit::Rename(name)) => {
                    text.clear();
                    write_str(name, &mut text);
                    emit(Part::New(&text));
                    emit(Part::Kept(member.key.end + 1..member.span.end));
                }
                _ => emit(Part::Kept(member.span.clone())),
            }
        }
        for ((key, edit), used) in edits.list.iter().zip(used) {
            if let (Edit::Set(raw), false) = (edit, used) {
                text.clear();
                text.extend_from_slice(if first { b"" } else { b"," });
                first = false;
                write_str(key, &mut text);
                text.push(b':');
                emit(Part::New(&text));
                emit(Part::New(raw.as_bytes()));
            }
        }
        emit(Part::Kept(copied..self.body.len()));
    }

    fn key<'a>(&'a self, member: &Member) -> Option<Cow<'a, str>> {
        let raw = self.text(&member.key)?;
        if member.escaped {
            return serde_json::from_str(&format!("\"{raw}\"")).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(raw))
    }

    #[inline]
    fn key_is(&self, member: &Member, key: &str) -> bool {
        // Mostly the lengths differ already.
        let is_as_long = member.key.end - member.key.start == key.len();
        (is_as_long || member.escaped) && self.spells(member, key)
    }

    fn spells(&self, member: &Member, key: &str) -> bool {
        if member.escaped {
            return self.key(member).is_some_and(|found| found == key);
        }
        self.slice(&member.key) == key.as_bytes()
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.body.get(range.clone()).unwrap_or_default()
    }

    fn text(&self, range: &Range<usize>) -> Option<&str> {
        std::str::from_utf8(self.slice(range)).ok()
    }
}

/// Bodies smaller than this are cheaper to copy than to send in pieces.
const WORTH_PIECES: usize = 16 << 10;

/// A part of an edited body.
enum Part<'a> {
    Kept(Range<usize>),
    New(&'a [u8]),
}

/// Writes `text` as a JSON string.
pub fn write_str(text: &str, out: &mut Vec<u8>) {
    // Writing a string into a Vec cannot fail: no I/O, no map keys.
    let _ = serde_json::to_writer(out, text);
}

/// Parses text that is one JSON value, keeping the bytes; `None` when it is not.
pub fn raw(text: &str) -> Option<RawJson> {
    RawJson::parse(text)
}

fn not_json(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidRequest, message).with_param("request_body")
}

#[cfg(test)]
mod tests;
