//! Thought signatures, in and out.
//!
//! `thoughtSignature` is base64, and the Python client checks that it is. Signatures of other dialects therefore
//! travel to Gemini clients as base64 of the tagged text of [`crate::carry`]. That client also sends base64 in its
//! URL-safe spelling; it is brought back to the standard one, so that a signature has one spelling.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tollway_model::{Dialect, Signature};

use crate::carry;

/// Base64 of `skip_thought_signature_validator`: what a call may carry whose signature is lost.
/// Source: Google's thought signature guide.
pub(super) const SKIP_VALIDATION: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// Marks thinking that its provider encrypted, inside the base64.
const REDACTED: &str = "redacted:";

/// Reads a signature field; `true` when it stands for encrypted thinking of another provider.
pub(super) fn read(value: &str) -> (Signature, bool) {
    let value = standard(value);
    if let Some((text, redacted)) = foreign(&value) {
        return (carry::untag(&text, Dialect::Gemini), redacted);
    }
    (Signature { origin: Dialect::Gemini, value: value.into_owned() }, false)
}

fn foreign(value: &str) -> Option<(String, bool)> {
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (tagged, redacted) = match text.strip_prefix(REDACTED) {
        Some(rest) => (rest, true),
        None => (text.as_str(), false),
    };
    let origin = carry::untag(tagged, Dialect::Gemini).origin;
    (redacted || origin != Dialect::Gemini).then(|| (tagged.to_owned(), redacted))
}

/// Writes a signature for a client.
pub(super) fn write(signature: &Signature, redacted: bool) -> Cow<'_, str> {
    if signature.origin == Dialect::Gemini && !redacted {
        return Cow::Borrowed(&signature.value);
    }
    let tagged = carry::tag(signature, Dialect::Gemini);
    Cow::Owned(STANDARD.encode(if redacted { format!("{REDACTED}{tagged}") } else { tagged }))
}

/// Base64 in the standard alphabet, padded.
pub(super) fn standard(data: &str) -> Cow<'_, str> {
    let missing = match data.len() % 4 {
        2 => "==",
        3 => "=",
        _ => "",
    };
    if missing.is_empty() && !data.bytes().any(|byte| byte == b'-' || byte == b'_') {
        return Cow::Borrowed(data);
    }
    Cow::Owned(data.replace('-', "+").replace('_', "/") + missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validation_mark_is_the_base64_of_its_words() {
        assert_eq!(STANDARD.decode(SKIP_VALIDATION).unwrap(), b"skip_thought_signature_validator");
    }

    #[test]
    fn foreign_signatures_travel_as_base64_and_come_back() {
        for origin in [Dialect::Anthropic, Dialect::OpenaiChat, Dialect::Gemini] {
            for redacted in [false, true] {
                let signature = Signature { origin, value: "Er+/UB==".into() };
                let written = write(&signature, redacted).into_owned();
                assert!(origin == Dialect::Gemini || STANDARD.decode(&written).is_ok());
                assert_eq!(read(&written), (signature, redacted));
            }
        }
    }

    #[test]
    fn url_safe_base64_is_brought_to_the_standard_spelling() {
        assert_eq!(standard("-_-_"), "+/+/");
        assert_eq!(standard("YQ"), "YQ==");
        assert_eq!(standard("YWI"), "YWI=");
        assert_eq!(standard("YWJj"), "YWJj");
    }
}
