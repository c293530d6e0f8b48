//! The shapes of Gemini's JSON that requests and answers share.
//!
//! Reading accepts lowerCamelCase and snake_case, as Google's server does; writing is always lowerCamelCase.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tollway_model::{Error, RawJson, Result};

/// One turn, as it arrives. Parts stay raw because unknown ones are kept whole.
#[derive(Debug, Deserialize)]
pub(super) struct ContentIn<'a> {
    #[serde(borrow, default)]
    pub(super) parts: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub(super) role: Option<String>,
}

/// One part, as it arrives. Exactly one of the payload fields is expected.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartIn<'a> {
    pub(super) text: Option<String>,
    pub(super) thought: Option<bool>,
    #[serde(alias = "thought_signature")]
    pub(super) thought_signature: Option<String>,
    #[serde(alias = "inline_data")]
    pub(super) inline_data: Option<BlobIn>,
    #[serde(alias = "file_data")]
    pub(super) file_data: Option<FileDataIn>,
    #[serde(borrow, alias = "function_call")]
    pub(super) function_call: Option<FunctionCallIn<'a>>,
    #[serde(borrow, alias = "function_response")]
    pub(super) function_response: Option<FunctionResponseIn<'a>>,
    #[serde(borrow, alias = "video_metadata")]
    pub(super) video_metadata: Option<&'a RawValue>,
    #[serde(alias = "media_resolution")]
    pub(super) media_resolution: Option<MediaResolutionIn>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BlobIn {
    #[serde(alias = "mime_type")]
    pub(super) mime_type: Option<String>,
    pub(super) data: Option<String>,
    #[serde(alias = "display_name")]
    pub(super) display_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FileDataIn {
    #[serde(alias = "mime_type")]
    pub(super) mime_type: Option<String>,
    #[serde(alias = "file_uri")]
    pub(super) file_uri: Option<String>,
    #[serde(alias = "display_name")]
    pub(super) display_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FunctionCallIn<'a> {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(alias = "partial_args")]
    pub(super) partial_args: Option<Vec<PartialArg>>,
    #[serde(alias = "will_continue")]
    pub(super) will_continue: Option<bool>,
}

/// A piece of an argument, where the caller asked Gemini to stream them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartialArg {
    #[serde(alias = "json_path")]
    pub(super) json_path: String,
    #[serde(alias = "string_value")]
    pub(super) string_value: Option<String>,
    #[serde(alias = "number_value")]
    pub(super) number_value: Option<serde_json::Number>,
    #[serde(alias = "bool_value")]
    pub(super) bool_value: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FunctionResponseIn<'a> {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
    pub(super) parts: Option<Vec<ResponsePartIn>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ResponsePartIn {
    #[serde(alias = "inline_data")]
    pub(super) inline_data: Option<BlobIn>,
    #[serde(alias = "file_data")]
    pub(super) file_data: Option<FileDataIn>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct MediaResolutionIn {
    pub(super) level: Option<String>,
}

/// One turn, as it is written.
#[derive(Debug, Serialize)]
pub(super) struct ContentOut<'a> {
    pub(super) parts: Vec<AnyPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
}

/// A part made here, or one kept whole.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum AnyPart<'a> {
    Known(Box<PartOut<'a>>),
    Native(&'a RawJson),
}

impl<'a> From<PartOut<'a>> for AnyPart<'a> {
    fn from(part: PartOut<'a>) -> Self {
        AnyPart::Known(Box::new(part))
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<BlobOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<FileDataOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<FunctionCallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_response: Option<FunctionResponseOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_resolution: Option<MediaResolutionOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<Cow<'a, str>>,
}

impl<'a> PartOut<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> PartOut<'a> {
        PartOut { text: Some(text.into()), ..PartOut::default() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlobOut<'a> {
    pub(super) mime_type: Cow<'a, str>,
    pub(super) data: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileDataOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<Cow<'a, str>>,
    pub(super) file_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display_name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionCallOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    pub(super) name: Cow<'a, str>,
    pub(super) args: RawJson,
}

#[derive(Debug, Serialize)]
pub(super) struct FunctionResponseOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    pub(super) name: Cow<'a, str>,
    pub(super) response: RawJson,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<AnyPart<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct MediaResolutionOut {
    pub(super) level: &'static str,
}

/// Members of a JSON object, taken one by one under their lowerCamelCase names; what is left is unknown.
pub(super) struct Fields<'a> {
    path: &'static str,
    members: IndexMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Reads an object; `path` names it in errors and is empty for the body itself.
    pub(super) fn parse(text: &'a [u8], path: &'static str) -> Result<Fields<'a>> {
        let read: std::result::Result<IndexMap<String, &'a RawValue>, _> = serde_json::from_slice(text);
        match read {
            Ok(raw) => {
                let members = raw.into_iter().map(|(key, value)| (camel(key), value)).collect();
                Ok(Fields { path, members })
            }
            Err(error) if path.is_empty() => {
                Err(Error::invalid(format!("the body is not a JSON object: {error}")))
            }
            Err(error) => Err(Error::invalid_at(path, format!("`{path}` is not an object: {error}"))),
        }
    }

    /// The raw member `key`; null counts as absent.
    pub(super) fn raw(&mut self, key: &str) -> Option<&'a RawValue> {
        self.members.shift_remove(key).filter(|raw| raw.get() != "null")
    }

    /// The member `key` read as `T`; null counts as absent, an error names the member.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|error| self.unreadable(key, &error))
    }

    /// The member `key` as a whole number. Google's clients also send `40.0` and `"40"`.
    pub(super) fn whole<T: TryFrom<i64>>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(Whole(number)) = self.take(key)? else { return Ok(None) };
        T::try_from(number).map(Some).map_err(|_| {
            let path = self.name(key);
            Error::invalid_at(path.clone(), format!("`{path}` is out of range: {number}"))
        })
    }

    /// The object `key`, under its own path.
    pub(super) fn object(&mut self, key: &str, path: &'static str) -> Result<Option<Fields<'a>>> {
        self.raw(key).map(|raw| Fields::parse(raw.get().as_bytes(), path)).transpose()
    }

    /// What nobody took.
    pub(super) fn rest(self) -> IndexMap<String, RawJson> {
        self.members.into_iter().map(|(key, raw)| (key, RawJson::from(raw))).collect()
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn unreadable(&self, key: &str, error: &serde_json::Error) -> Error {
        let path = self.name(key);
        Error::invalid_at(path.clone(), format!("`{path}` cannot be read: {error}"))
    }
}

/// `snake_case` to `lowerCamelCase`; other names stay.
pub(super) fn camel(key: String) -> String {
    if !key.contains('_') {
        return key;
    }
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' => upper = true,
            _ if upper && !out.is_empty() => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            _ => {
                out.push(c);
                upper = false;
            }
        }
    }
    out
}

/// A whole number in any of the spellings Google's clients use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole(pub(super) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Whole, E> {
                Ok(Whole(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Whole, E> {
                i64::try_from(value).map(Whole).map_err(|_| E::custom("the number is too large"))
            }

            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Whole, E> {
                if value.fract() == 0.0 && value.abs() < 9e15 {
                    return Ok(Whole(value as i64));
                }
                Err(E::custom(format!("{value} is not a whole number")))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> std::result::Result<Whole, E> {
                value.parse().map(Whole).map_err(|_| E::custom(format!("{value:?} is not a whole number")))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A JSON string, as text that can go into an answer or request verbatim.
pub(super) fn raw_text(text: &str) -> RawJson {
    RawJson::from(serde_json::Value::from(text))
}

/// JSON without white space between its tokens. Google's complete answers are indented, and models indent arguments.
pub(super) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

/// `text` as a JSON object, numbers and order kept; `None` when it is anything else.
pub(super) fn raw_object(text: &str) -> Option<RawJson> {
    text.trim_start().starts_with('{').then(|| RawJson::parse(text.trim())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_camel_case_and_json_compact() {
        for (given, expected) in [
            ("top_k", "topK"),
            ("topK", "topK"),
            ("_x", "x"),
            ("a__b", "aB"),
            ("", ""),
            ("inline_data", "inlineData"),
        ] {
            assert_eq!(camel(given.to_owned()), expected);
        }
        let indented = "{\n  \"a b\" : \"c \\\\\" ,\r\n\t\"d\" : [ 1.50 , \"\\\" }\" ]\n}";
        assert_eq!(compact(indented), "{\"a b\":\"c \\\\\",\"d\":[1.50,\"\\\" }\"]}");
    }
}
