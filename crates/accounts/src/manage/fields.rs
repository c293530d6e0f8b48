//! Reading request bodies field by field: nothing unknown, nothing pretended, amounts exact.
//!
//! A field is absent, null or set ([`Field`]): an update changes what is set, clears what is null, and leaves the rest.
//! A name that no field has is refused with the nearest one that has it. Names that LiteLLM has and this gateway does
//! not act on are refused too, unless their value asks for nothing.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tollway_model::nearest::nearest;
use tollway_model::{Error, Money, Result};

use super::errors::bad;

/// A field of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Field<T> {
    /// Not in the body: unchanged.
    #[default]
    Absent,
    /// `null`: cleared.
    Null,
    /// A value.
    Set(T),
}

impl<T: Clone> Field<T> {
    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        match self {
            Field::Set(value) => Some(value),
            _ => None,
        }
    }

    /// Is it in the body?
    pub fn is_present(&self) -> bool {
        !matches!(self, Field::Absent)
    }

    /// Changes `target` as the field says.
    pub fn put<U: From<T>>(&self, target: &mut Option<U>) {
        match self {
            Field::Absent => {}
            Field::Null => *target = None,
            Field::Set(value) => *target = Some(value.clone().into()),
        }
    }

    /// Changes `target` as the field says; null makes it what it is by default.
    pub fn fill<U: From<T> + Default>(&self, target: &mut U) {
        match self {
            Field::Absent => {}
            Field::Null => *target = U::default(),
            Field::Set(value) => *target = value.clone().into(),
        }
    }
}

/// What a request's struct knows of itself; the `request!` macro implements it.
pub trait Request: Default {
    /// Names of fields that it cannot act on, with the reason. They are accepted when they ask for nothing.
    const REFUSED: &'static [(&'static str, &'static str)] = &[];
    /// Fields without which it makes no sense.
    const REQUIRED: &'static [&'static str] = &[];

    /// The names of its fields.
    fn names() -> Vec<&'static str>;
    /// Reads one field; false when it has none of this name.
    fn read(&mut self, name: &str, raw: &RawValue) -> Result<bool>;
    /// Is the field in the body?
    fn has(&self, name: &str) -> bool;
    /// Adds its properties to a JSON schema.
    fn properties(generator: &mut SchemaGenerator, properties: &mut Map<String, Value>);

    /// Reads a JSON object.
    fn parse(body: &[u8]) -> Result<Self> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(bad("request_body", "the body is empty; send a JSON object, `{}` at least"));
        }
        if body.len() > MAX_BODY {
            return Err(bad("request_body", format!("the body is larger than {MAX_BODY} bytes")));
        }
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).map_err(|error| {
            bad("request_body", format!("the body is not a JSON object: {}", without_place(&error)))
        })?;
        let mut request = Self::default();
        for (name, raw) in &fields {
            if request.read(name, raw)? {
                continue;
            }
            match Self::REFUSED.iter().find(|(refused, _)| refused == name) {
                Some(_) if asks_for_nothing(raw.get()) => {}
                Some((_, reason)) => return Err(bad(name, format!("`{name}` {reason}"))),
                None => return Err(unknown(name, &Self::names())),
            }
        }
        for name in Self::REQUIRED {
            if !request.has(name) {
                return Err(bad(*name, format!("`{name}` is missing")));
            }
        }
        Ok(request)
    }

    /// Its JSON schema.
    fn schema(generator: &mut SchemaGenerator) -> Value {
        let mut properties = Map::new();
        Self::properties(generator, &mut properties);
        json!({
            "type": "object", "properties": properties, "required": Self::REQUIRED, "additionalProperties": false,
        })
    }
}

/// Largest body of a management request, bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// LiteLLM's field, and what it asks for is not there yet.
pub(crate) const NOT_BUILT: &str = "is not built yet: it would have no effect";

/// The same, with the part that is missing.
pub(crate) const NO_GUARDS: &str =
    "is not built yet: there are no guards of prompts and answers, so nothing would be checked";
/// As [`NO_GUARDS`].
pub(crate) const NO_GRANTS: &str =
    "is not built yet: there are no MCP servers, vector stores and agents that could be granted";
/// As [`NO_GUARDS`].
pub(crate) const NO_ORGANIZATIONS: &str =
    "is not built yet: there are no organizations, projects and agents that it could belong to; use a team";
/// As [`NO_GUARDS`].
pub(crate) const NO_GROUPS: &str =
    "is not built yet: models are in access groups by `model_info.access_groups`; name these in `models`";
/// As [`NO_GUARDS`].
pub(crate) const NO_CACHE: &str = "is not built yet: there is no cache of answers that it could steer";
/// As [`NO_GUARDS`].
pub(crate) const NO_MAIL: &str = "is not built yet: no e-mail is sent";
/// As [`NO_GUARDS`].
pub(crate) const NO_LOGIN: &str = "is not built yet: nobody logs in with a password, only with keys";
/// As [`NO_GUARDS`].
pub(crate) const NO_HANDOVER: &str = "is not built yet: nobody would be told the new key; give it one with `/key/regenerate` and a `grace_period`";
/// As [`NO_GUARDS`].
pub(crate) const NO_PASSTHROUGH: &str = "is not built yet: there are no pass-through routes";
/// As [`NO_GUARDS`].
pub(crate) const NO_ESTIMATE: &str =
    "is not built yet: how much a call is likely to use is learned from the calls before it";

fn unknown(name: &str, names: &[&'static str]) -> Error {
    let shown: String = name.chars().take(80).collect();
    let hint = match nearest(&shown, names.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => "; nothing was changed".to_owned(),
    };
    bad(&shown, format!("no field is called `{shown}`{hint}"))
}

/// Clients fill in what they do not mean: null, false, zero, nothing, or lists and objects of these.
fn asks_for_nothing(raw: &str) -> bool {
    fn is_nothing(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) => true,
            Value::Bool(true) => false,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => matches!(text.as_str(), "" | "best_effort_throughput" | "default"),
            Value::Array(items) => items.iter().all(is_nothing),
            Value::Object(map) => map.values().all(is_nothing),
        }
    }
    serde_json::from_str(raw).is_ok_and(|value| is_nothing(&value))
}

/// Reads one value; the error names the field.
pub(crate) fn value<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<Field<T>> {
    if raw.get() == "null" {
        return Ok(Field::Null);
    }
    serde_json::from_str(raw.get())
        .map(Field::Set)
        .map_err(|error| bad(name, format!("`{name}`: {}", without_place(&error))))
}

/// Line and column within one value say nothing to the caller, and a text in a wrong place may be a key.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let text = text.get(..end).unwrap_or(&text);
    match (text.split_once("string \""), text.rsplit_once("\", expected ")) {
        (Some((before, _)), Some((_, expected))) => format!("{before}a string, expected {expected}"),
        _ => text.to_owned(),
    }
}

/// An amount of dollars, exact; not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dollars(pub Money);

impl From<Dollars> for Money {
    fn from(dollars: Dollars) -> Money {
        dollars.0
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Dollars, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        let shown: String = text.chars().take(40).collect();
        let money = Money::parse_dollars(text)
            .ok_or_else(|| D::Error::custom(format!("`{shown}` is not an amount of dollars")))?;
        if money < Money::ZERO {
            return Err(D::Error::custom(format!("{shown} is negative")));
        }
        Ok(Dollars(money))
    }
}

impl JsonSchema for Dollars {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Dollars".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0 })
    }
}

/// A whole number, not negative; `10.0` is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl From<Count> for u64 {
    fn from(count: Count) -> u64 {
        count.0
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Count, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let whole = match text.split_once('.') {
            Some((whole, fraction))
                if !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0') =>
            {
                whole
            }
            _ => text,
        };
        // Numbers beyond 2^63 do not survive every database.
        match whole.parse::<u64>() {
            Ok(count) if i64::try_from(count).is_ok() => Ok(Count(count)),
            _ => {
                let shown: String = text.chars().take(40).collect();
                Err(D::Error::custom(format!("{shown} is not a whole number of at least 0")))
            }
        }
    }
}

impl JsonSchema for Count {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 0 })
    }
}

/// A JSON object that is read later, as a request of its own.
#[derive(Debug, Clone)]
pub struct Item(pub Box<RawValue>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Item, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Item)
    }
}

impl JsonSchema for Item {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Item".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// One text, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// Defines a request: a struct of [`Field`]s that reads itself and describes itself.
///
/// `with` takes in the fields of another request; `refused` lists names that are known and not acted on; `required`
/// those that must be there.
macro_rules! request {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $field_doc:literal])* $field:ident: $type:ty,)*
        $(; with $inner:ident: $inner_type:ty)?
        $(; required [$($required:literal),*])?
        $(; refused $refused:expr)?
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $crate::manage::fields::Field<$type>,)*
            $(/// Fields shared with other requests.
            pub $inner: $inner_type,)?
        }

        impl $crate::manage::fields::Request for $name {
            $(const REFUSED: &'static [(&'static str, &'static str)] = $refused;)?
            $(const REQUIRED: &'static [&'static str] = &[$($required),*];)?

            fn names() -> Vec<&'static str> {
                let own: &[&'static str] = &[$(stringify!($field)),*];
                let names = own.iter().copied();
                $(let names = names.chain(<$inner_type as $crate::manage::fields::Request>::names());)?
                names.collect()
            }

            fn read(&mut self, name: &str, raw: &serde_json::value::RawValue) -> tollway_model::Result<bool> {
                $(if name == stringify!($field) {
                    self.$field = $crate::manage::fields::value(name, raw)?;
                    return Ok(true);
                })*
                $(if self.$inner.read(name, raw)? {
                    return Ok(true);
                })?
                Ok(false)
            }

            fn has(&self, name: &str) -> bool {
                $(if name == stringify!($field) {
                    return self.$field.is_present();
                })*
                $(if self.$inner.has(name) {
                    return true;
                })?
                false
            }

            fn properties(
                generator: &mut schemars::SchemaGenerator,
                properties: &mut serde_json::Map<String, serde_json::Value>,
            ) {
                $($crate::manage::fields::property::<$type>(
                    generator, properties, stringify!($field), concat!($($field_doc),*),
                );)*
                $(<$inner_type as $crate::manage::fields::Request>::properties(generator, properties);)?
            }
        }
    };
}
pub(crate) use request;

/// Adds one property to a schema.
pub(crate) fn property<T: JsonSchema>(
    generator: &mut SchemaGenerator,
    properties: &mut Map<String, Value>,
    name: &str,
    doc: &str,
) {
    let mut schema = generator.subschema_for::<Option<T>>().to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".into(), json!(doc.trim()));
    }
    properties.insert(name.to_owned(), schema);
}

/// Refuses a text that no name or id should be: empty, too long, or with control characters.
pub(crate) fn check_name(field: &str, text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(bad(field, format!("`{field}` is empty")));
    }
    if text.len() > MAX_NAME {
        return Err(bad(field, format!("`{field}` is longer than {MAX_NAME} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(bad(field, format!("`{field}` has control characters")));
    }
    Ok(())
}

/// Refuses lists of names that are too long, or hold what no name should be.
pub(crate) fn check_names(field: &str, names: &[String]) -> Result<()> {
    if names.len() > MAX_ITEMS {
        return Err(bad(field, format!("`{field}` has more than {MAX_ITEMS} entries")));
    }
    names.iter().try_for_each(|name| check_name(field, name))
}

/// Refuses free JSON that is too large to be kept with every key.
pub(crate) fn check_free(field: &str, map: &Map<String, Value>) -> Result<()> {
    let size = serde_json::to_string(map).map_or(0, |text| text.len());
    if size > MAX_FREE {
        return Err(bad(field, format!("`{field}` is larger than {MAX_FREE} bytes")));
    }
    Ok(())
}

/// Longest name or id, bytes.
pub(crate) const MAX_NAME: usize = 512;
/// Most entries of a list.
pub(crate) const MAX_ITEMS: usize = 2_000;
/// Largest free JSON, bytes.
pub(crate) const MAX_FREE: usize = 64 * 1024;
