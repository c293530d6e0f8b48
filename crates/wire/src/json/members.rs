//! The members of an object that somebody else has written, found without checking them.
//!
//! [`Envelope`](super::Envelope) checks what clients send. A provider's answer is only looked into: strings and
//! containers are skipped, and nothing is checked that the search for the next member does not need.

use std::ops::Range;

/// The members of one JSON object, in order: keys without quotes, escapes not resolved, and where the values are.
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The object's closing brace is behind the cursor.
    closed: bool,
}

impl<'a> Members<'a> {
    /// Starts at the object that `bytes` begin with; without one there are no members.
    pub(crate) fn of(bytes: &'a [u8]) -> Members<'a> {
        let at = space(bytes, 0);
        let begins = bytes.get(at) == Some(&b'{');
        Members { bytes, at: if begins { at + 1 } else { bytes.len() }, closed: false }
    }

    /// Did the object end, and the text with it? Only known when all members have been seen.
    pub(crate) fn is_whole(&self) -> bool {
        self.closed && space(self.bytes, self.at) == self.bytes.len()
    }

    fn member(&mut self) -> Option<(&'a [u8], Range<usize>)> {
        let bytes = self.bytes;
        let mut at = space(bytes, self.at);
        if bytes.get(at) == Some(&b',') {
            at = space(bytes, at + 1);
        }
        if bytes.get(at) == Some(&b'}') {
            (self.at, self.closed) = (at + 1, true);
            return None;
        }
        let key = at;
        at = string_end(bytes, key)?;
        let name = bytes.get(key + 1..at - 1)?;
        at = space(bytes, at);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let start = space(bytes, at + 1);
        self.at = value_end(bytes, start)?;
        Some((name, start..self.at))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.closed {
            return None;
        }
        let member = self.member();
        if member.is_none() && !self.closed {
            // What cannot be read ends it.
            self.at = self.bytes.len();
        }
        member
    }
}

fn space(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count()
}

/// Where the value that begins at `start` ends; `None` when it does not, or is empty.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => container_end(bytes, start),
        _ => {
            let rest = bytes.get(start..)?;
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            let length = rest.iter().position(ends)?;
            (length > 0).then_some(start + length)
        }
    }
}

fn container_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, start);
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'))?;
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Where the string whose opening quote is at `start` ends, its closing quote included.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, expected: &[(&str, &str)], whole: bool) {
        let mut members = Members::of(json.as_bytes());
        let found: Vec<(&str, &str)> = members
            .by_ref()
            .map(|(key, value)| (std::str::from_utf8(key).unwrap(), json.get(value).unwrap()))
            .collect();
        assert_eq!((found.as_slice(), members.is_whole()), (expected, whole), "{json}");
    }

    #[test]
    fn members_are_found_without_looking_into_them() {
        check("{}", &[], true);
        check(r#" { "a" : 1 , "b":[{"a":2},"]"] }"#, &[("a", "1"), ("b", r#"[{"a":2},"]"]"#)], true);
        check(r#"{"a\"":"}\\","b":{"c":{}}}"#, &[(r#"a\""#, r#""}\\""#), ("b", r#"{"c":{}}"#)], true);
        check(r#"{"a":null,"a":true}"#, &[("a", "null"), ("a", "true")], true);
    }

    #[test]
    fn what_breaks_off_is_not_whole() {
        for broken in
            ["", "[]", "7", "{", r#"{"a"#, r#"{"a""#, r#"{"a":"#, r#"{"a":}"#, r#"{"a":1"#, r#"{"a" 1}"#]
        {
            check(broken, &[], false);
        }
        check(r#"{"a":1} x"#, &[("a", "1")], false);
        check(r#"{"a":1,"b":[1,{}"#, &[("a", "1")], false);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_run_for_ever(text: String) {
            prop_assert!(Members::of(text.as_bytes()).count() <= text.len());
        }

        #[test]
        fn it_finds_what_a_parser_finds(
            keys in proptest::collection::btree_map("[a-z\"\\\\ ]{0,4}", any::<String>(), 0..6)
        ) {
            let text = serde_json::to_string(&keys).unwrap();
            let mut members = Members::of(text.as_bytes());
            let found: Vec<String> =
                members.by_ref().map(|(_, value)| serde_json::from_str(&text[value]).unwrap()).collect();
            prop_assert_eq!(found, keys.into_values().collect::<Vec<_>>());
            prop_assert!(members.is_whole());
        }
    }
}
