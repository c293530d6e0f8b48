//! JSON kept as the bytes it arrived in.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value kept verbatim.
///
/// Numbers keep all their digits and objects keep key order and spacing, which
/// `serde_json::Value` does not promise (`1.10` would become `1.1`).
#[derive(Clone)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Wraps text that is one valid JSON value; `None` when it is not.
    pub fn parse(text: impl Into<String>) -> Option<RawJson> {
        RawValue::from_string(text.into()).ok().map(RawJson)
    }

    /// Serialises `value`. Fails only for maps whose keys are not strings.
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Option<RawJson> {
        serde_json::value::to_raw_value(value).ok().map(RawJson)
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// Parses into a dynamic value; `Null` cannot stand for a failure here
    /// because the text is valid JSON by construction.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_str(self.get()).unwrap_or(serde_json::Value::Null)
    }

    /// Is this the literal `null`?
    pub fn is_null(&self) -> bool {
        self.get() == "null"
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(value: Box<RawValue>) -> Self {
        RawJson(value)
    }
}

impl From<&RawValue> for RawJson {
    fn from(value: &RawValue) -> Self {
        RawJson(value.to_owned())
    }
}

impl From<serde_json::Value> for RawJson {
    fn from(value: serde_json::Value) -> Self {
        #[expect(clippy::expect_used, reason = "a Value has string keys, so it always serialises")]
        let raw = serde_json::value::to_raw_value(&value).expect("a Value always serialises");
        RawJson(raw)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// Equal when the values are equal, whatever the spacing and key order.
impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.to_value() == other.to_value()
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(RawJson)
    }
}
