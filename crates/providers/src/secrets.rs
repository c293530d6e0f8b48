//! Takes an endpoint's own secrets out of what its provider says: some repeat a refused key, whole or in part.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;
use tollway_model::Secret;

/// Shorter values of headers and queries are words that may stand in any text.
const SHORTEST: usize = 8;

/// So many bytes in a row that are the same as in a secret are a piece of it.
const PIECE: usize = 12;

/// What stands in place of a secret.
const INSTEAD: &str = "***";

/// What a provider must not repeat to anyone.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// The values of sensitive headers and of queries, and `more`.
    pub(crate) fn of<'a>(
        headers: impl Iterator<Item = &'a HeaderMap>,
        uris: impl Iterator<Item = &'a Uri>,
        more: impl Iterator<Item = &'a str>,
    ) -> Secrets {
        let mut all: Vec<String> = more.map(str::to_owned).collect();
        let values = headers.flat_map(HeaderMap::values).filter(|value| value.is_sensitive());
        // `Bearer key`: what follows the scheme.
        let words = values.filter_map(|value| value.to_str().ok()?.rsplit(' ').next());
        all.extend(words.map(str::to_owned));
        let pairs = uris.filter_map(Uri::query).flat_map(|query| query.split('&'));
        for (_, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            all.push(percent_decode_str(value).decode_utf8_lossy().into_owned());
            all.push(value.to_owned());
        }
        all.retain(|text| text.len() >= SHORTEST);
        all.sort();
        all.dedup();
        Secrets(all.into_iter().map(Secret::from).collect())
    }

    /// `text` with `***` for each secret and each piece of one, as it is or as JSON writes it.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden: Vec<std::ops::Range<usize>> = Vec::new();
        for secret in &self.0 {
            for form in forms(secret.expose()) {
                hide(text.as_bytes(), form.as_bytes(), &mut hidden);
            }
        }
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        hidden.sort_by_key(|range| range.start);
        let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
        for range in hidden {
            if range.start >= done {
                // A piece may begin or end within a character beyond ASCII: all of that is left out, too.
                masked.push_str(text.get(done..range.start).unwrap_or_default());
                masked.push_str(INSTEAD);
            }
            done = done.max(range.end);
        }
        masked.push_str(text.get(done..).unwrap_or_default());
        Cow::Owned(masked)
    }

    /// Masks the headers of an answer. Most values are shorter than a key, and cost nothing.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        let Some(shortest) = self.0.iter().map(|secret| secret.expose().len()).min() else { return };
        for value in headers.values_mut().filter(|value| value.len() >= shortest) {
            let holds = |text: &str| self.0.iter().any(|secret| text.contains(secret.expose()));
            if value.to_str().is_ok_and(holds) {
                *value = http::HeaderValue::from_static(INSTEAD);
            }
        }
    }
}

/// A text, and how JSON writes it where that differs.
fn forms(secret: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
    let slashed = quoted.replace('/', "\\/");
    let forms = [Cow::Borrowed(secret), Cow::Owned(quoted), Cow::Owned(slashed)];
    forms.into_iter().enumerate().filter(|(at, form)| *at == 0 || **form != *secret).map(|(_, form)| form)
}

/// Adds the places in `text` that are the same as a piece of `secret`.
fn hide(text: &[u8], secret: &[u8], hidden: &mut Vec<std::ops::Range<usize>>) {
    let size = secret.len().min(PIECE);
    let pieces: HashSet<&[u8]> = secret.windows(size).collect();
    for (at, piece) in text.windows(size).enumerate() {
        if pieces.contains(piece) {
            match hidden.last_mut() {
                Some(last) if last.end >= at && last.start <= at => last.end = at + size,
                _ => hidden.push(at..at + size),
            }
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secret: &str, text: &str, expected: &str) {
        let secrets = Secrets::of(std::iter::empty(), std::iter::empty(), std::iter::once(secret));
        assert_eq!(secrets.mask(text), expected);
    }

    #[test]
    fn a_secret_and_its_pieces_are_masked_and_the_rest_stays() {
        check("sk-0123456789abcdef", "no key here", "no key here");
        check("sk-0123456789abcdef", "bad key sk-0123456789abcdef, sorry", "bad key ***, sorry");
        check("sk-0123456789abcdef", "bad key sk-0123456789…", "bad key ***…");
        check("sk-0123456789abcdef", "bad key sk-****cdef", "bad key sk-****cdef");
        check("sk-0123456789abcdef", "é56789abcdefé sk-012345678", "é56789abcdefé ***");
        check("password", "a password", "a ***");
        check("password", "a passwor", "a passwor");
        check("short", "a short text", "a short text");
        check("p/0123456789abcde\"f", r#"{"m": "p\/0123456789abcde\"f"}"#, r#"{"m": "***"}"#);
    }

    #[test]
    fn headers_are_masked() {
        let secrets = Secrets::of(std::iter::empty(), std::iter::empty(), std::iter::once("sk-0123456789"));
        let mut headers = HeaderMap::new();
        headers.insert("location", "http://x/?key=sk-0123456789".parse().unwrap());
        headers.insert("x-request-id", "req-0123456789-0123456789".parse().unwrap());
        secrets.mask_headers(&mut headers);
        assert_eq!(headers["location"], "***");
        assert_eq!(headers["x-request-id"], "req-0123456789-0123456789");
    }
}
