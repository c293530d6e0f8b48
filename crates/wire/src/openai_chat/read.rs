//! Reading JSON objects field by field, without a tree.
//!
//! An [`Object`] borrows its members' text, so values nobody looks into (schemas, metadata) keep their spelling and
//! are never parsed. Reads of requests are strict and name the field at fault; reads of answers are lenient, because
//! providers depart from their own documentation.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tollway_model::{Error, RawJson, Result};

use super::usage::Counts;

/// One JSON value, not yet parsed.
pub(crate) type Raw<'a> = &'a RawValue;

/// Where a value is, built on the stack and rendered only for an error.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    At(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(crate) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }

    pub(crate) fn at(&'p self, index: usize) -> Path<'p> {
        Path::At(self, index)
    }

    /// The error "`path` must be …".
    pub(crate) fn must_be(&self, what: &str) -> Error {
        let path = self.to_string();
        let message = format!("`{path}` must be {what}");
        Error::invalid_at(path, message)
    }

    /// The error "`path` is required".
    pub(crate) fn missing(&self) -> Error {
        let path = self.to_string();
        let message = format!("`{path}` is required");
        Error::invalid_at(path, message)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::At(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A JSON object whose members are taken one by one.
pub(crate) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, Option<Raw<'a>>)>,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(Key(key)) = map.next_key()? {
                    fields.push((key, Some(map.next_value::<&'de RawValue>()?)));
                }
                Ok(Object { fields })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> std::result::Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl<'a> Object<'a> {
    /// Reads text that is one JSON object; `None` when it is not.
    pub(crate) fn parse(text: &'a str) -> Option<Object<'a>> {
        serde_json::from_str(text).ok()
    }

    /// Reads a request's body.
    pub(crate) fn body(body: &'a [u8]) -> Result<Object<'a>> {
        serde_json::from_slice(body).map_err(|error| {
            Error::invalid_at("request_body", format!("the body is not a JSON object: {error}"))
        })
    }

    /// Reads a value of a request that must be an object.
    pub(crate) fn expect(raw: Raw<'a>, path: &Path<'_>) -> Result<Object<'a>> {
        Object::parse(raw.get()).ok_or_else(|| path.must_be("an object"))
    }

    /// The member `key`, which stays; null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Raw<'a>> {
        let (_, value) = self.fields.iter().rev().find(|(name, value)| name == key && value.is_some())?;
        value.filter(|raw| raw.get() != "null")
    }

    /// Is there a member `key`, null included?
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(name, value)| name == key && value.is_some())
    }

    /// Takes the member `key` out; null counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Raw<'a>> {
        let mut found = None;
        for (name, value) in &mut self.fields {
            if name == key {
                // The last of duplicate keys counts, as at the door.
                found = value.take().or(found);
            }
        }
        found.filter(|raw| raw.get() != "null")
    }

    /// Undoes a take: the member counts as not understood.
    pub(crate) fn put_back(&mut self, key: &str, raw: Raw<'a>) {
        if let Some((_, value)) = self.fields.iter_mut().rev().find(|(name, _)| name == key) {
            *value = Some(raw);
        }
    }

    /// What has not been taken, in order.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.fields.iter().filter_map(|(name, value)| Some((name.as_ref(), (*value)?)))
    }

    /// Takes a string.
    pub(crate) fn string(&mut self, key: &str, path: &Path<'_>) -> Result<Option<String>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        text(raw).map(|text| Some(text.into_owned())).ok_or_else(|| path.key(key).must_be("a string"))
    }

    /// Takes a boolean.
    pub(crate) fn bool(&mut self, key: &str, path: &Path<'_>) -> Result<Option<bool>> {
        match self.take(key).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(path.key(key).must_be("true or false")),
        }
    }

    /// Takes a number.
    pub(crate) fn f64(&mut self, key: &str, path: &Path<'_>) -> Result<Option<f64>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let number = raw.get().parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| path.key(key).must_be("a number"))
    }

    /// Takes a whole number that is not negative; `3.0` counts as one.
    pub(crate) fn u64(&mut self, key: &str, path: &Path<'_>) -> Result<Option<u64>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        whole(raw).map(Some).ok_or_else(|| path.key(key).must_be("a whole number, 0 or more"))
    }

    /// Takes a small whole number that is not negative.
    pub(crate) fn u32(&mut self, key: &str, path: &Path<'_>) -> Result<Option<u32>> {
        let Some(number) = self.u64(key, path)? else { return Ok(None) };
        u32::try_from(number).map(Some).map_err(|_| path.key(key).must_be("at most 4294967295"))
    }

    /// Takes a whole number.
    pub(crate) fn i64(&mut self, key: &str, path: &Path<'_>) -> Result<Option<i64>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        let number = raw.get().parse::<i64>().ok();
        let number = number.or_else(|| whole(raw).and_then(|number| i64::try_from(number).ok()));
        number.map(Some).ok_or_else(|| path.key(key).must_be("a whole number"))
    }

    /// Takes a value verbatim.
    pub(crate) fn raw(&mut self, key: &str) -> Option<RawJson> {
        self.take(key).map(RawJson::from)
    }

    /// Takes a string, or nothing when it is something else.
    pub(crate) fn text(&mut self, key: &str) -> Option<Cow<'a, str>> {
        self.take(key).and_then(text)
    }

    /// Takes an object, or nothing when it is something else.
    pub(crate) fn object(&mut self, key: &str) -> Option<Object<'a>> {
        self.take(key).and_then(|raw| Object::parse(raw.get()))
    }

    /// Takes a usage object, or nothing when it is something else.
    pub(crate) fn counts(&mut self, key: &str) -> Option<Counts<'a>> {
        self.take(key).and_then(|raw| Counts::parse(raw.get()))
    }

    /// Takes a list, empty when it is absent or something else.
    pub(crate) fn list(&mut self, key: &str) -> Vec<Raw<'a>> {
        self.take(key).and_then(list).unwrap_or_default()
    }

    /// Takes a count, 0 when it is absent or something else.
    pub(crate) fn count(&mut self, key: &str) -> u64 {
        self.take(key).and_then(whole).unwrap_or_default()
    }
}

/// The elements of a list; `None` when it is none.
pub(crate) fn list(raw: Raw<'_>) -> Option<Vec<Raw<'_>>> {
    serde_json::from_str(raw.get()).ok()
}

/// The text of a string; `None` when it is none.
///
/// Half of a surrogate pair, which some providers cut between two deltas, becomes U+FFFD.
pub(crate) fn text(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let parsed = serde_json::from_str::<String>(quoted).ok();
    Some(Cow::Owned(parsed.unwrap_or_else(|| repair(inner))))
}

fn repair(inner: &str) -> String {
    let mut units = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        let (head, tail) = rest.split_at(at);
        units.extend(head.encode_utf16());
        let length = if tail.starts_with("\\u") { 6 } else { 2 };
        let (escape, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        let unit = escape.get(2..).and_then(|hex| u16::from_str_radix(hex, 16).ok());
        match unit {
            Some(unit) if length == 6 => units.push(unit),
            _ => units.extend(
                serde_json::from_str::<String>(&format!("\"{escape}\"")).unwrap_or_default().encode_utf16(),
            ),
        }
        rest = after;
    }
    units.extend(rest.encode_utf16());
    String::from_utf16_lossy(&units)
}

/// A whole number that is not negative, also when written `3.0`.
pub(crate) fn whole(raw: Raw<'_>) -> Option<u64> {
    whole_number(raw.get())
}

/// The same of the number's text.
pub(crate) fn whole_number(digits: &str) -> Option<u64> {
    if let Ok(number) = digits.parse() {
        return Some(number);
    }
    let number = digits.parse::<f64>().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in the range that a double holds exactly"
    )]
    let whole = (number.fract() == 0.0 && (0.0..9.0e15).contains(&number)).then_some(number as u64);
    whole
}

/// Is the value an object?
pub(crate) fn is_object(raw: Raw<'_>) -> bool {
    raw.get().starts_with('{')
}

/// Is the value a list?
pub(crate) fn is_list(raw: Raw<'_>) -> bool {
    raw.get().starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let raw: Raw<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(text(raw).unwrap(), expected, "{json}");
    }

    #[test]
    fn strings_are_read_even_when_a_surrogate_is_cut_off() {
        check(r#""plain""#, "plain");
        check(r#""a\n\u00e4""#, "a\nä");
        check(r#""x\ud83d""#, "x\u{FFFD}");
        check(r#""\"\ude00y\ud83d\ude00""#, "\"\u{FFFD}y😀");
    }

    #[test]
    fn paths_read_as_callers_write_them() {
        let (root, messages) = (Path::Root, Path::Key(&Path::Root, "messages"));
        let (second, content) = (messages.at(2), "content");
        assert_eq!(second.key(content).at(0).key("type").to_string(), "messages[2].content[0].type");
        assert_eq!(root.key("model").to_string(), "model");
    }
}
