//! Encrypted reasoning goes back to the deployment that it came from: only its account can read it.
//!
//! Where a group has several deployments, `encrypted_content` gets a mark in front, for the client to bring back with the
//! item. It is taken off before anything else looks at the request. Works on bytes: in a JSON text the quotes of a key
//! would be escaped.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use tollway_accounts::KeyHash;

/// What a mark begins with; sixteen hexadecimal digits and a full stop follow.
const MARK: &[u8] = b"origin.";

const DIGITS: usize = 16;

static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"encrypted_content\""));

/// The name of a deployment in marks.
pub(crate) fn origin(deployment: &str) -> String {
    let mut name = KeyHash::of(deployment).to_hex();
    name.truncate(DIGITS);
    name
}

/// Puts the mark of `origin` in front of encrypted content.
pub(super) fn mark(bytes: Bytes, origin: &str) -> Bytes {
    let values = values(&bytes);
    if values.is_empty() {
        return bytes;
    }
    let mut out = BytesMut::with_capacity(bytes.len() + values.len() * (MARK.len() + DIGITS + 1));
    let mut from = 0;
    for at in values {
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        out.extend_from_slice(MARK);
        out.extend_from_slice(origin.as_bytes());
        out.extend_from_slice(b".");
        from = at;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.freeze()
}

/// Takes all marks off; the latest one's origin. `None` when there are none.
pub(super) fn unmark(bytes: &Bytes) -> Option<(Bytes, String)> {
    let mut found = None;
    let mut out = BytesMut::new();
    let mut from = 0;
    for at in values(bytes) {
        let Some(origin) = bytes.get(at..).and_then(marked) else { continue };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + MARK.len() + DIGITS + 1;
        found = Some(origin);
    }
    let origin = found?;
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    Some((out.freeze(), origin))
}

fn marked(value: &[u8]) -> Option<String> {
    let (name, rest) = value.strip_prefix(MARK)?.split_at_checked(DIGITS)?;
    let fits = rest.first() == Some(&b'.') && name.iter().all(u8::is_ascii_hexdigit);
    fits.then(|| String::from_utf8_lossy(name).into_owned())
}

/// Where the texts of encrypted content begin, those that are not empty.
fn values(bytes: &[u8]) -> Vec<usize> {
    let begins = KEY.find_iter(bytes).filter_map(|at| {
        let after = at + KEY.needle().len();
        let rest = bytes.get(after..)?;
        let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
        (value.first() != Some(&b'"')).then(|| bytes.len() - value.len())
    });
    begins.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, marked: &str) {
        let name = origin("deployment");
        let expected = marked.replace('@', &format!("origin.{name}."));
        let out = mark(Bytes::from(text.to_owned()), &name);
        assert_eq!(out, expected.as_bytes(), "{text}");
        let back = unmark(&out);
        match text == expected {
            true => assert_eq!(back, None),
            false => assert_eq!(back, Some((Bytes::from(text.to_owned()), name))),
        }
    }

    #[test]
    fn a_mark_is_put_on_and_taken_off() {
        check(r#"{"encrypted_content":"gAAA="}"#, r#"{"encrypted_content":"@gAAA="}"#);
        check(
            r#"{"encrypted_content" : "a", "x": {"encrypted_content":"b"}}"#,
            r#"{"encrypted_content" : "@a", "x": {"encrypted_content":"@b"}}"#,
        );
        for plain in [
            r#"{"encrypted_content":null}"#,
            r#"{"encrypted_content":""}"#,
            r#"{"text":"\"encrypted_content\":\"a\""}"#,
            r#"{"encrypted_content":{"a":"b"}}"#,
            r#"["encrypted_content"]"#,
            "\"encrypted_content\"",
            "",
        ] {
            check(plain, plain);
        }
    }

    #[test]
    fn the_latest_mark_counts_and_what_only_looks_like_one_stays() {
        let (one, two) = (origin("one"), origin("two"));
        let text =
            format!(r#"[{{"encrypted_content":"origin.{one}.a"}},{{"encrypted_content":"origin.{two}.b"}}]"#);
        let (plain, found) = unmark(&Bytes::from(text)).unwrap();
        assert_eq!(plain, r#"[{"encrypted_content":"a"},{"encrypted_content":"b"}]"#);
        assert_eq!(found, two);
        for text in ["origin.", "origin.abc.x", "origin.zzzzzzzzzzzzzzzz.x", "origin.0123456789abcdefx"] {
            assert_eq!(unmark(&Bytes::from(format!(r#"{{"encrypted_content":"{text}"}}"#))), None, "{text}");
        }
    }
}
