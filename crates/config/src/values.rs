//! How the types of single settings are read.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollway_model::{Price, Secret};

use crate::read::{FromNode, Reader, Resolved, list, map};
use crate::scalar;
use crate::tree::{Node, Value};

/// Reads a scalar type with one function.
macro_rules! scalar {
    ($type:ty, $expected:literal, $parse:expr) => {
        impl FromNode for $type {
            const EXPECTED: &'static str = $expected;

            fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                reader.parse(node, Self::EXPECTED, $parse)
            }
        }
    };
}

scalar!(bool, "`true` or `false`", scalar::boolean);
scalar!(u32, "a whole number, zero or more", |text| u32::try_from(scalar::integer(text)?).ok());
scalar!(u64, "a whole number, zero or more", |text| u64::try_from(scalar::integer(text)?).ok());
scalar!(usize, "a whole number, zero or more", |text| usize::try_from(scalar::integer(text)?).ok());
scalar!(f64, "a number, zero or more", |text| scalar::float(text).filter(|value| *value >= 0.0));
scalar!(Duration, "a number of seconds, or a time such as `30s`, `5m` or `1h30m`", scalar::duration);
scalar!(ByteSize, "a number of bytes, or a size such as `16KiB` or `32MiB`", |text| scalar::bytes(text)
    .map(ByteSize));
scalar!(Decimal, "a price in dollars such as `0.0000015` or `1.5e-6`, zero or more", Decimal::new);
scalar!(String, "text", |text| Some(text.to_owned()));
scalar!(Secret, "text", |text| Some(Secret::new(text)));

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// From mebibytes.
    pub const fn mebibytes(count: u64) -> ByteSize {
        ByteSize(count << 20)
    }

    /// From kibibytes.
    pub const fn kibibytes(count: u64) -> ByteSize {
        ByteSize(count << 10)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "format": "size" })
    }
}

/// A decimal number kept exactly as it was written, never turned into a float: a price in US dollars.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// Keeps `text` when it is a decimal number, zero or more, with or without an exponent.
    pub fn new(text: &str) -> Option<Decimal> {
        scalar::is_price(text).then(|| Decimal(text.to_owned()))
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The price of one unit, exact to 1e-12 dollars.
    pub fn price(&self) -> Price {
        Price::parse_dollars(&self.0).unwrap_or_default()
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "format": "decimal" })
    }
}

/// How a [`Duration`] appears in the JSON schema.
pub(crate) struct DurationSchema;

impl JsonSchema for DurationSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["number", "string"], "format": "duration" })
    }
}

impl<T: FromNode> FromNode for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::from_node(node, reader).map(Some)
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        list(node, Self::EXPECTED, reader)
    }
}

impl<T: FromNode> FromNode for IndexMap<String, T> {
    const EXPECTED: &'static str = "a map";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        map(node, Self::EXPECTED, reader)
    }
}

/// Free-form values, environment references resolved.
impl FromNode for serde_json::Value {
    const EXPECTED: &'static str = "a value";
    const TAKES_NULL: bool = true;

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let value = match &node.value {
            Value::List(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let read = reader.within(&format!("[{index}]"), |reader| Self::from_node(item, reader));
                    read.unwrap_or_default()
                });
                Self::Array(items.collect())
            }
            Value::Map(entries) => {
                let read = |entry: &crate::tree::Entry| {
                    let value = reader.within(&entry.key, |reader| Self::from_node(&entry.value, reader));
                    (entry.key.clone(), value.unwrap_or_default())
                };
                Self::Object(entries.iter().map(read).collect())
            }
            Value::Scalar(_) => match reader.scalar(node, Self::EXPECTED)? {
                Resolved::Null => Self::Null,
                Resolved::Text { text, variable: Some(_), .. } => match text.as_ref() {
                    "true" | "True" => Self::Bool(true),
                    "false" | "False" => Self::Bool(false),
                    text => Self::String(text.to_owned()),
                },
                Resolved::Text { text, plain: true, .. } => scalar::json(&text),
                Resolved::Text { text, .. } => Self::String(text.into_owned()),
            },
        };
        Some(value)
    }
}
