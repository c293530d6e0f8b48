//! Reading JSON objects member by member, with the path of whatever is wrong.
//!
//! Values stay borrowed slices of the body until someone wants them, so a block can be kept verbatim and a
//! member nobody asked for is seen instead of lost. Null counts as absent: the API treats both alike.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tollway_model::{Error, RawJson, Result};

/// Where a value is in the body; written out only when something is wrong.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The body itself.
    Root,
    /// A member of an object.
    Key(&'p Path<'p>, &'p str),
    /// An element of an array.
    Index(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(crate) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }

    pub(crate) fn index(&'p self, index: usize) -> Path<'p> {
        Path::Index(self, index)
    }

    /// The value here is wrong: `message` says how.
    pub(crate) fn wrong(&self, message: impl fmt::Display) -> Error {
        let path = self.to_string();
        let text = if path.is_empty() { message.to_string() } else { format!("{path}: {message}") };
        Error::invalid_at(if path.is_empty() { "request_body".to_owned() } else { path }, text)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The members of an object that nobody has taken yet.
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads the whole body of a request or an answer.
    pub(crate) fn parse_bytes(body: &'a [u8]) -> Result<Object<'a>> {
        serde_json::from_slice(body)
            .map_err(|error| Path::Root.wrong(format!("the body is not a JSON object: {error}")))
    }

    pub(crate) fn parse(raw: &'a RawValue, path: &Path<'_>) -> Result<Object<'a>> {
        serde_json::from_str(raw.get()).map_err(|_| path.wrong("must be an object"))
    }

    /// Takes the member `key`; null counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.members.remove(at);
        (value.get() != "null").then_some(value)
    }

    pub(crate) fn required(&mut self, key: &str, path: &Path<'_>) -> Result<&'a RawValue> {
        self.take(key).ok_or_else(|| path.key(key).wrong("field required"))
    }

    pub(crate) fn text(&mut self, key: &str, path: &Path<'_>) -> Result<Option<Cow<'a, str>>> {
        self.take(key).map(|raw| text(raw, &path.key(key))).transpose()
    }

    pub(crate) fn required_text(&mut self, key: &str, path: &Path<'_>) -> Result<Cow<'a, str>> {
        text(self.required(key, path)?, &path.key(key))
    }

    pub(crate) fn bool(&mut self, key: &str, path: &Path<'_>) -> Result<Option<bool>> {
        self.typed(key, path, "must be true or false")
    }

    pub(crate) fn whole(&mut self, key: &str, path: &Path<'_>) -> Result<Option<u64>> {
        self.typed(key, path, "must be a whole number")
    }

    pub(crate) fn number(&mut self, key: &str, path: &Path<'_>) -> Result<Option<f64>> {
        self.typed(key, path, "must be a number")
    }

    pub(crate) fn texts(&mut self, key: &str, path: &Path<'_>) -> Result<Option<Vec<String>>> {
        self.typed(key, path, "must be a list of strings")
    }

    fn typed<T: Deserialize<'a>>(&mut self, key: &str, path: &Path<'_>, wanted: &str) -> Result<Option<T>> {
        let Some(raw) = self.take(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| path.key(key).wrong(wanted))
    }

    /// Is every member taken, or null?
    pub(crate) fn is_empty(&self) -> bool {
        self.members.iter().all(|(_, value)| value.get() == "null")
    }

    /// What nobody took, verbatim.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, RawJson)> {
        self.members
            .into_iter()
            .filter(|(_, value)| value.get() != "null")
            .map(|(name, value)| (name.into_owned(), RawJson::from(value)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    let value = map.next_value()?;
                    // The last of equal names counts, as at the gateway's door.
                    members.retain(|(earlier, _)| *earlier != name);
                    members.push((name, value));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string that borrows from the body when it has no escapes. (`Cow` by itself never borrows inside a map.)
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> std::result::Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> std::result::Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A JSON string.
pub(crate) fn text<'a>(raw: &'a RawValue, path: &Path<'_>) -> Result<Cow<'a, str>> {
    serde_json::from_str::<Name<'a>>(raw.get()).map(|name| name.0).map_err(|_| path.wrong("must be a string"))
}

/// The elements of a JSON array.
pub(crate) fn list<'a>(raw: &'a RawValue, path: &Path<'_>) -> Result<Vec<&'a RawValue>> {
    serde_json::from_str(raw.get()).map_err(|_| path.wrong("must be a list"))
}

/// Does the value start like a string?
pub(crate) fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_once_and_the_rest_stays() {
        let body = br#"{"a":"x\n","b":null,"c":[1,2],"a":"y"}"#;
        let mut object = Object::parse_bytes(body).unwrap();
        assert_eq!(object.text("a", &Path::Root).unwrap().as_deref(), Some("y"));
        assert_eq!(object.take("b").map(RawValue::get), None);
        assert_eq!(object.rest().map(|(name, raw)| name + raw.get()).collect::<Vec<_>>(), ["c[1,2]"]);
    }

    #[test]
    fn errors_name_the_path() {
        let (messages, body) = (Path::Root.key("messages"), br#"{"role":7}"#);
        let second = messages.index(2);
        let error = Object::parse_bytes(body).unwrap().text("role", &second).unwrap_err();
        assert_eq!(error.param(), Some("messages[2].role"));
        assert_eq!(error.message(), "messages[2].role: must be a string");
        let error = Object::parse_bytes(body).unwrap().required("content", &second).map(|_| ()).unwrap_err();
        assert_eq!(error.message(), "messages[2].content: field required");
    }
}
