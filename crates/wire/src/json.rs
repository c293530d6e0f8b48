//! The door for JSON bodies: one validating pass, no tree.
//!
//! [`Envelope::parse`] checks a body completely (syntax, depth, UTF-8), remembers where the top-level members
//! are, and collapses duplicate keys at every depth to the last one, so that a guard and a provider can never read
//! different things. [`Envelope::rewrite`] changes top-level members and copies the rest byte for byte, key order
//! and number spelling included, which keeps providers' prompt-cache prefixes stable.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tollway_model::{Error, Kind, RawJson, Result};

/// Deepest nesting accepted by default. Real requests stay below 20, tool schemas included.
pub const MAX_DEPTH: usize = 64;

/// A checked JSON object and where its top-level members are.
#[derive(Debug, Clone)]
pub struct Envelope {
    body: Bytes,
    members: Vec<Member>,
    /// A key `cache_control` stands somewhere, at any depth.
    cache_control: bool,
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

/// Changes to top-level members.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    list: Vec<(Cow<'static, str>, Edit)>,
}

#[derive(Debug, Clone)]
enum Edit {
    Set(String),
    Remove,
    Rename(Cow<'static, str>),
}

impl Edits {
    /// No changes yet.
    pub fn new() -> Edits {
        Edits::default()
    }

    /// Sets `key` to the JSON text `raw`, in place when it is there, at the end when it is not.
    pub fn set_raw(&mut self, key: impl Into<Cow<'static, str>>, raw: impl Into<String>) {
        self.put(key.into(), Edit::Set(raw.into()));
    }

    /// Sets `key` to a string.
    pub fn set_str(&mut self, key: impl Into<Cow<'static, str>>, value: &str) {
        let mut raw = Vec::with_capacity(value.len() + 2);
        write_str(value, &mut raw);
        self.put(key.into(), Edit::Set(String::from_utf8(raw).unwrap_or_default()));
    }

    /// Removes `key` if it is there.
    pub fn remove(&mut self, key: impl Into<Cow<'static, str>>) {
        self.put(key.into(), Edit::Remove);
    }

    /// Gives the member `key` another name, in place.
    pub fn rename(&mut self, key: impl Into<Cow<'static, str>>, to: impl Into<Cow<'static, str>>) {
        self.put(key.into(), Edit::Rename(to.into()));
    }

    /// No changes at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds all of `other`; where both change a key, `other` counts.
    pub fn extend(&mut self, other: Edits) {
        for (key, edit) in other.list {
            self.put(key, edit);
        }
    }

    fn put(&mut self, key: Cow<'static, str>, edit: Edit) {
        self.list.retain(|(other, _)| *other != key);
        self.list.push((key, edit));
    }
}

impl Envelope {
    /// Checks `body` and finds its top-level members.
    ///
    /// Fails with [`Kind::InvalidRequest`] when it is not one JSON object or nests deeper than `max_depth`; the
    /// message gives the byte offset.
    pub fn parse(body: Bytes, max_depth: usize) -> Result<Envelope> {
        let mut scan = Scan::new(&body, max_depth);
        scan.document().map_err(|fault| fault.into_error(&body))?;
        let (members, cuts, cache_control) = (scan.members, scan.cuts, scan.cache_control);
        // Most bodies are ASCII, which is checked several times faster.
        if !body.is_ascii() && std::str::from_utf8(&body).is_err() {
            return Err(not_json("the body is not UTF-8"));
        }
        if cuts.is_empty() {
            return Ok(Envelope { body, members, cache_control });
        }
        // Rare: drop the earlier duplicates and look again. Each pass removes at least one member.
        Envelope::parse(Bytes::from(without(&body, cuts)), max_depth)
    }

    /// `{}`.
    pub fn empty() -> Envelope {
        Envelope { body: Bytes::from_static(b"{}"), members: Vec::new(), cache_control: false }
    }

    /// The whole body, duplicates collapsed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Does a key `cache_control` stand somewhere, at any depth? May say yes wrongly, never no.
    pub fn has_cache_control(&self) -> bool {
        self.cache_control
    }

    /// The JSON text of the member `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        let member = self.members.iter().find(|member| self.key_is(member, key))?;
        self.text(&member.value)
    }

    /// Is the member there and not null?
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "null")
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
        let member = self.members.iter().find(|member| self.key_is(member, key))?;
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

    fn key_is(&self, member: &Member, key: &str) -> bool {
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

/// A body in pieces, in order; none is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push_back(piece);
        }
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }

    /// Bytes of all pieces together.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it in one piece.
    pub fn joined(mut self) -> Bytes {
        if self.0.len() > 1 {
            return Bytes::from(self.0.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>());
        }
        self.pop().unwrap_or_default()
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(bytes);
        pieces
    }
}

impl Edit {
    fn len(&self) -> usize {
        match self {
            Edit::Set(raw) => raw.len(),
            Edit::Rename(name) => name.len(),
            Edit::Remove => 0,
        }
    }
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

fn without(body: &[u8], mut cuts: Vec<Range<usize>>) -> Vec<u8> {
    cuts.sort_unstable_by_key(|cut| cut.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for cut in cuts {
        if cut.start >= at {
            out.extend_from_slice(body.get(at..cut.start).unwrap_or_default());
            at = cut.end;
        }
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

/// What the scan found wrong, and where.
struct Fault {
    at: usize,
    what: &'static str,
}

impl Fault {
    fn into_error(self, body: &[u8]) -> Error {
        if body.iter().all(u8::is_ascii_whitespace) {
            return not_json("the body is empty; send a JSON object");
        }
        not_json(format!("the body is not valid JSON: {} at byte {}", self.what, self.at))
    }
}

/// One open object or array.
struct Open {
    object: bool,
    /// Keys of the object so far: hash and the member's start, for finding duplicates.
    keys_from: usize,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    max_depth: usize,
    stack: Vec<Open>,
    /// Keys of all open objects, innermost last.
    keys: Vec<SeenKey>,
    members: Vec<Member>,
    cuts: Vec<Range<usize>>,
    cache_control: bool,
}

struct SeenKey {
    hash: u64,
    key: Range<usize>,
    escaped: bool,
    member_start: usize,
    /// Start of the next member, once known: what a cut removes, comma included.
    next_start: usize,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], max_depth: usize) -> Scan<'a> {
        Scan {
            bytes,
            at: 0,
            max_depth,
            stack: Vec::with_capacity(16),
            keys: Vec::with_capacity(64),
            members: Vec::with_capacity(16),
            cuts: Vec::new(),
            cache_control: false,
        }
    }

    fn document(&mut self) -> std::result::Result<(), Fault> {
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.fault("expected an object"));
        }
        self.open(true)?;
        self.containers()?;
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.fault("unexpected text after the object"));
        }
        Ok(())
    }

    /// Reads members and elements until the outermost container closes. No recursion: depth is data.
    fn containers(&mut self) -> std::result::Result<(), Fault> {
        // True right after an opening bracket: the only place where a container may close without an element.
        let mut fresh = true;
        loop {
            self.space();
            let Some(top) = self.stack.last() else { return Ok(()) };
            let (object, keys_from) = (top.object, top.keys_from);
            let close = if object { b'}' } else { b']' };
            if self.peek() == Some(close) && fresh {
                self.at += 1;
                self.close(keys_from);
                fresh = false;
                if !self.after_value()? {
                    return Ok(());
                }
                continue;
            }
            if object {
                self.member_key(keys_from)?;
            } else if self.stack.len() == 2
                && let Some(member) = self.members.last_mut()
            {
                member.elements += 1;
            }
            fresh = self.value()?;
            if !fresh && !self.after_value()? {
                return Ok(());
            }
        }
    }

    /// After a complete value: closes what closes, eats one comma. `false` when the document is complete.
    fn after_value(&mut self) -> std::result::Result<bool, Fault> {
        loop {
            let end = self.at;
            let Some(top) = self.stack.last() else { return Ok(false) };
            let (object, keys_from) = (top.object, top.keys_from);
            if self.stack.len() == 1
                && let Some(member) = self.members.last_mut()
                && member.value.end == 0
            {
                member.value.end = end;
                member.span.end = end;
            }
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                    let next = self.at;
                    if object && let Some(key) = self.keys.last_mut() {
                        key.next_start = next;
                    }
                    return Ok(true);
                }
                Some(b'}') if object => {}
                Some(b']') if !object => {}
                _ => return Err(self.fault("expected `,` or a closing bracket")),
            }
            self.at += 1;
            self.close(keys_from);
        }
    }

    fn open(&mut self, object: bool) -> std::result::Result<(), Fault> {
        if self.stack.len() >= self.max_depth {
            return Err(self.fault("too deeply nested"));
        }
        self.at += 1;
        self.stack.push(Open { object, keys_from: self.keys.len() });
        Ok(())
    }

    fn close(&mut self, keys_from: usize) {
        self.stack.pop();
        let (keys, bytes) = (self.keys.get(keys_from..).unwrap_or_default(), self.bytes);
        // Few keys: compare hashes pairwise; the first of equal names goes.
        if keys.len() <= 32 {
            for (index, key) in keys.iter().enumerate() {
                if keys.iter().skip(index + 1).any(|later| same_key(bytes, key, later)) {
                    self.cuts.push(key.member_start..key.next_start);
                }
            }
        } else {
            let mut last = std::collections::HashMap::with_capacity(keys.len());
            for key in keys {
                if let Some(earlier) = last.insert(resolved(bytes, key), key.member_start..key.next_start) {
                    self.cuts.push(earlier);
                }
            }
        }
        self.keys.truncate(keys_from);
    }

    fn member_key(&mut self, _keys_from: usize) -> std::result::Result<(), Fault> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a key in double quotes"));
        }
        let escaped = self.string()?;
        let key = start + 1..self.at - 1;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected `:`"));
        }
        self.at += 1;
        self.space();
        if self.stack.len() == 1 {
            self.members.push(Member {
                span: start..0,
                key: key.clone(),
                value: self.at..0,
                elements: 0,
                escaped,
            });
        }
        let hash = hash_key(self.bytes, &key, escaped);
        self.cache_control |= hash == CACHE_CONTROL;
        self.keys.push(SeenKey { hash, key, escaped, member_start: start, next_start: 0 });
        Ok(())
    }

    /// Reads a scalar, or opens a container. `true` when a container was opened.
    fn value(&mut self) -> std::result::Result<bool, Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| false),
            Some(b'{') => self.open(true).map(|()| true),
            Some(b'[') => self.open(false).map(|()| true),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.fault("expected a value")),
            None => Err(self.fault("unexpected end")),
        }
    }

    fn word(&mut self, word: &[u8]) -> std::result::Result<bool, Fault> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(false);
        }
        Err(self.fault("expected a value"))
    }

    fn number(&mut self) -> std::result::Result<bool, Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault("expected a digit")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(false)
    }

    fn some_digits(&mut self) -> std::result::Result<(), Fault> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.fault("expected a digit"));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Reads a string, the cursor on its opening quote. `true` when it contains escapes.
    fn string(&mut self) -> std::result::Result<bool, Fault> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_length(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("a control character in a string")),
                None => return Err(self.fault("a string without end")),
            }
        }
    }

    fn escape(&mut self) -> std::result::Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let unit = self.hex(self.at + 1).ok_or_else(|| self.fault("a bad \\u escape"))?;
                self.at += 5;
                if (0xDC00..0xE000).contains(&unit) {
                    return Err(self.fault("a lone surrogate"));
                }
                if (0xD800..0xDC00).contains(&unit) {
                    let low = if self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
                        self.hex(self.at + 2)
                    } else {
                        None
                    };
                    if !low.is_some_and(|low| (0xDC00..0xE000).contains(&low)) {
                        return Err(self.fault("a lone surrogate"));
                    }
                    self.at += 6;
                }
            }
            _ => return Err(self.fault("a bad escape")),
        }
        Ok(())
    }

    fn hex(&self, from: usize) -> Option<u16> {
        let digits = std::str::from_utf8(self.bytes.get(from..from + 4)?).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u16::from_str_radix(digits, 16).ok()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }
}

/// Strings longer than this are searched with vector instructions; shorter ones are over before those pay.
const LONG: usize = 64;

/// Length of the run without quotes, backslashes and control characters.
fn plain_length(bytes: &[u8]) -> usize {
    let short = plain_words(bytes.get(..LONG).unwrap_or(bytes));
    if short < LONG || bytes.len() == LONG {
        return short;
    }
    let rest = bytes.get(LONG..).unwrap_or_default();
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let run = rest.get(..end).unwrap_or_default();
    // Without an early exit the compiler compares many bytes at once. Control characters are an error, and rare.
    let control = run.iter().fold(false, |found, byte| found | (*byte < 0x20));
    let plain = if control { run.iter().position(|byte| *byte < 0x20).unwrap_or(end) } else { end };
    LONG + plain
}

/// The same, eight bytes at a time.
fn plain_words(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let zero_in = |value: u64| value.wrapping_sub(ONES) & !value;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let slash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let hit = (control | quote | slash) & HIGH;
        if hit != 0 {
            // The lowest set flag is exact; borrows can only spoil higher bytes.
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).unwrap_or(tail.len())
}

fn hash_key(bytes: &[u8], key: &Range<usize>, escaped: bool) -> u64 {
    let raw = bytes.get(key.clone()).unwrap_or_default();
    if escaped {
        return fnv(unescape(raw).as_bytes());
    }
    fnv(raw)
}

const CACHE_CONTROL: u64 = fnv(b"cache_control");

const fn fnv(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let Some((byte, more)) = rest.split_first() {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = more;
    }
    hash
}

fn same_key(bytes: &[u8], one: &SeenKey, other: &SeenKey) -> bool {
    one.hash == other.hash && resolved(bytes, one) == resolved(bytes, other)
}

fn resolved<'a>(bytes: &'a [u8], key: &SeenKey) -> Cow<'a, [u8]> {
    let raw = bytes.get(key.key.clone()).unwrap_or_default();
    if key.escaped { Cow::Owned(unescape(raw).into_bytes()) } else { Cow::Borrowed(raw) }
}

fn unescape(raw: &[u8]) -> String {
    serde_json::from_str(&format!("\"{}\"", String::from_utf8_lossy(raw))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Envelope> {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes()), MAX_DEPTH)
    }

    fn check_rewrite(body: &str, edit: impl FnOnce(&mut Edits), expected: &str) {
        let mut edits = Edits::new();
        edit(&mut edits);
        let out = parse(body).unwrap().rewrite(&edits);
        // The same edits to a body that is worth pieces.
        let long = format!("{{\"long\":\"{}\",{}", "x".repeat(20_000), &body[1..]);
        if let Ok(long) = parse(&long.replace(",}", "}").replace(", }", " }")) {
            let pieces = long.rewrite_pieces(&edits);
            assert_eq!(pieces.clone().joined().len(), pieces.len());
            assert_eq!(pieces.joined(), long.rewrite(&edits));
        }
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected, "{body}");
        assert!(parse(expected).is_ok(), "{expected}");
    }

    #[test]
    fn finds_top_level_members() {
        let envelope = parse(r#" {"model" : "a\u0062c", "stream":true,"n": 3 , "x":{"model":1}} "#).unwrap();
        assert_eq!(envelope.str("model").as_deref(), Some("abc"));
        assert_eq!(envelope.bool("stream"), Some(true));
        assert_eq!(envelope.u64("n"), Some(3));
        assert_eq!(envelope.get("x"), Some(r#"{"model":1}"#));
        let lists = parse(r#"{"a":[],"b":[[1,2],{"c":[3]},4],"d":{"e":[1,2]},"f":[ 1 ]}"#).unwrap();
        let counts = ["a", "b", "d", "f", "g"].map(|key| lists.elements(key));
        assert_eq!(counts, [Some(0), Some(3), None, Some(1), None]);
        assert_eq!(envelope.get("y"), None);
    }

    #[test]
    fn edits_keep_every_other_byte() {
        let body = r#"{ "model": "a",  "t": 1.10, "big":12345678901234567890123 }"#;
        check_rewrite(
            body,
            |e| e.set_str("model", "b\""),
            r#"{ "model": "b\"",  "t": 1.10, "big":12345678901234567890123 }"#,
        );
        check_rewrite(body, |e| e.remove("model"), r#"{ "t": 1.10, "big":12345678901234567890123 }"#);
        check_rewrite(body, |e| e.remove("big"), r#"{ "model": "a",  "t": 1.10 }"#);
        check_rewrite(
            body,
            |e| e.rename("t", "temperature"),
            r#"{ "model": "a",  "temperature": 1.10, "big":12345678901234567890123 }"#,
        );
        check_rewrite("{}", |e| e.set_raw("a", "1"), r#"{"a":1}"#);
        check_rewrite("{ }", |e| e.set_raw("a", "1"), r#"{ "a":1}"#);
        check_rewrite("{} \n", |e| e.set_raw("a", "1"), "{\"a\":1} \n");
        check_rewrite(r#"{"a":1}"#, |e| e.remove("a"), "{}");
        check_rewrite(
            r#"{"a":1}"#,
            |e| {
                e.remove("a");
                e.set_raw("b", "2");
            },
            r#"{"b":2}"#,
        );
        check_rewrite(
            r#"{"a":1,"b":2}"#,
            |e| {
                e.remove("a");
                e.set_raw("c", "[3]");
            },
            r#"{"b":2,"c":[3]}"#,
        );
    }

    #[test]
    fn duplicate_keys_collapse_to_the_last_at_every_depth() {
        for (body, expected) in [
            (r#"{"model":"a","model":"b"}"#, r#"{"model":"b"}"#),
            (r#"{"mod\u0065l":"a","x":1,"model":"b"}"#, r#"{"x":1,"model":"b"}"#),
            (
                r#"{"m":[{"role":"user","content":"a","content":"b"}]}"#,
                r#"{"m":[{"role":"user","content":"b"}]}"#,
            ),
            (r#"{"a":{"b":1,"b":2},"a":{"c":3,"c":4}}"#, r#"{"a":{"c":4}}"#),
        ] {
            let envelope = parse(body).unwrap();
            assert_eq!(std::str::from_utf8(envelope.body()).unwrap(), expected);
        }
        let many: String = (0..100).map(|i| format!("\"k{}\":{i},", i % 50)).collect();
        let envelope = parse(&format!("{{{}\"z\":0}}", many)).unwrap();
        assert_eq!(envelope.keys().count(), 51);
        assert_eq!(envelope.u64("k7"), Some(57));
    }

    #[test]
    fn refuses_what_is_not_json() {
        for bad in [
            "",
            " ",
            "[]",
            "1",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1}x",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":tru}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{\"a\":[}",
            "{a:1}",
            "{\"a\":NaN}",
            "{\"a\":-}",
            "{\"a\":\"",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":[,1]}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Envelope::parse(Bytes::from_static(b"{\"a\":\"\xff\"}"), 64).is_err());
        for at in [0, 1, 63, 64, 65, 127, 128, 200] {
            let mut text = "x".repeat(220);
            text.replace_range(at..=at, "\u{1}");
            assert!(parse(&format!("{{\"a\":\"{text}\"}}")).is_err(), "{at}");
            text.replace_range(at..=at, "\\n");
            let body = format!("{{\"a\":\"{text}\",\"b\":1}}");
            assert_eq!(parse(&body).unwrap().u64("b"), Some(1), "{at}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
        assert!(parse(&deep).unwrap_err().message().contains("too deeply nested"));
        assert!(parse(&format!("{{\"a\":{}{}}}", "[".repeat(63), "]".repeat(63))).is_ok());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(|f| serde_json::json!(f)),
            "\\PC{0,20}".prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_valid_documents(value in any_json(), pretty: bool) {
            let body = serde_json::json!({ "first": value, "second": [value] });
            let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
            let envelope = parse(&text).unwrap();
            prop_assert_eq!(&envelope.read::<serde_json::Value>("first").unwrap().unwrap(), &body["first"]);
            prop_assert_eq!(&envelope.read::<serde_json::Value>("second").unwrap().unwrap(), &body["second"]);
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_documents(value in any_json(), at: prop::sample::Index, byte: u8) {
            let mut bytes = serde_json::to_vec(&serde_json::json!({ "a": value, "b": 1 })).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
            let ours = Envelope::parse(Bytes::from(bytes.clone()), MAX_DEPTH);
            // Numbers beyond a double are valid JSON that serde_json's Value refuses before it reads on.
            let out_of_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            let readable = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            let object = theirs.as_ref().is_ok_and(serde_json::Value::is_object) || (out_of_range && readable);
            prop_assert_eq!(ours.is_ok(), object, "{}", String::from_utf8_lossy(&bytes));
            if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(ours.body()).unwrap(), theirs);
            }
        }
    }
}
