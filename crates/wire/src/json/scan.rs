//! One validating pass over a body. No recursion: depth is data.

use std::borrow::Cow;
use std::ops::Range;

use tollway_model::Error;

use super::{Member, not_json};

pub(super) fn without(body: &[u8], mut cuts: Vec<Range<usize>>) -> Vec<u8> {
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
pub(super) struct Fault {
    at: usize,
    what: &'static str,
}

impl Fault {
    pub(super) fn into_error(self, body: &[u8]) -> Error {
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

pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    max_depth: usize,
    stack: Vec<Open>,
    /// Keys of all open objects, innermost last.
    keys: Vec<SeenKey>,
    pub(super) members: Vec<Member>,
    pub(super) cuts: Vec<Range<usize>>,
    pub(super) all_keys: KeySet,
    /// No character beyond ASCII was seen: the body is UTF-8 for sure.
    pub(super) ascii: bool,
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
    pub(super) fn new(bytes: &'a [u8], max_depth: usize) -> Scan<'a> {
        Scan {
            bytes,
            at: 0,
            max_depth,
            stack: Vec::with_capacity(16),
            keys: Vec::with_capacity(64),
            members: Vec::with_capacity(16),
            cuts: Vec::new(),
            all_keys: KeySet::default(),
            ascii: true,
        }
    }

    pub(super) fn document(&mut self) -> std::result::Result<(), Fault> {
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
        self.all_keys.add(hash);
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
            self.at += plain_length(self.bytes.get(self.at..).unwrap_or_default(), &mut self.ascii);
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
///
/// Clears `ascii` when there may be other characters; the words that are looked at may reach beyond the run.
fn plain_length(bytes: &[u8], ascii: &mut bool) -> usize {
    let short = plain_words(bytes.get(..LONG).unwrap_or(bytes), ascii);
    if short < LONG || bytes.len() == LONG {
        return short;
    }
    let rest = bytes.get(LONG..).unwrap_or_default();
    let mut length = LONG;
    for block in rest.chunks(BLOCK) {
        let end = memchr::memchr2(b'"', b'\\', block);
        let run = end.and_then(|end| block.get(..end)).unwrap_or(block);
        if has_odd(run) {
            *ascii = false;
            if run.iter().fold(0x20, |least, byte| (*byte).min(least)) < 0x20 {
                return length + run.iter().position(|byte| *byte < 0x20).unwrap_or(run.len());
            }
        }
        length += run.len();
        if end.is_some() {
            break;
        }
    }
    length
}

/// Long strings are searched in blocks of this many bytes, which the second look finds in the processor's cache.
const BLOCK: usize = 4 << 10;

/// Is there a control character, or one beyond ASCII? Without an early exit the compiler compares many bytes at once.
fn has_odd(run: &[u8]) -> bool {
    // Both are the ones from 0x60 on when a space counts as zero.
    let from_space = |byte: &u8| byte.wrapping_sub(0x20);
    let mut most = [0; 64];
    let (blocks, tail) = run.as_chunks::<64>();
    for block in blocks {
        for (most, byte) in most.iter_mut().zip(block) {
            *most = from_space(byte).max(*most);
        }
    }
    let most = most.iter().fold(0, |most, lane| (*lane).max(most));
    tail.iter().map(from_space).fold(most, u8::max) >= 0x60
}

/// The same, eight bytes at a time.
fn plain_words(bytes: &[u8], ascii: &mut bool) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        *ascii &= word & HIGH == 0;
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
    *ascii &= tail.is_ascii();
    at + tail.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).unwrap_or(tail.len())
}

fn hash_key(bytes: &[u8], key: &Range<usize>, escaped: bool) -> u64 {
    let raw = bytes.get(key.clone()).unwrap_or_default();
    if escaped {
        return fnv(unescape(raw).as_bytes());
    }
    fnv(raw)
}

/// A set of keys that may hold more than was put in: one bit for the keys of a hash.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeySet([u64; 8]);

impl KeySet {
    fn place(hash: u64) -> (usize, u64) {
        // The highest bits of this hash are its best mixed ones. With so many no key that is asked for is taken for one
        // that every request has.
        let bit = hash >> 55;
        (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = KeySet::place(hash);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn may_have(&self, key: &str) -> bool {
        let (word, bit) = KeySet::place(fnv(key.as_bytes()));
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

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
