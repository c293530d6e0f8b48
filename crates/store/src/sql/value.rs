//! What goes into a statement and comes out of it.

use crate::{StoreError, StoreResult};

/// A parameter or a column's value. `None` is SQL's null, which needs a type on PostgreSQL.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `BIGINT`.
    Int(Option<i64>),
    /// `DOUBLE PRECISION`.
    Real(Option<f64>),
    /// `TEXT`.
    Text(Option<String>),
    /// `BYTEA` or `BLOB`.
    Bytes(Option<Vec<u8>>),
}

/// Shows the type only: values may be secrets.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Value::Int(_) => "Int",
            Value::Real(_) => "Real",
            Value::Text(_) => "Text",
            Value::Bytes(_) => "Bytes",
        })
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident($value:ident $to:expr);)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Value { Value::$variant(Some($to)) }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Value { Value::$variant(value.map(|$value| $to)) }
        }
    )*};
}

from! {
    i64 => Int(value value);
    i32 => Int(value i64::from(value));
    u32 => Int(value i64::from(value));
    // SQL has no unsigned integers; nothing counted here comes near the difference.
    u64 => Int(value i64::try_from(value).unwrap_or(i64::MAX));
    bool => Int(value i64::from(value));
    f64 => Real(value value);
    &str => Text(value value.to_owned());
    &String => Text(value value.clone());
    String => Text(value value);
    &[u8] => Bytes(value value.to_vec());
    Vec<u8> => Bytes(value value);
}

/// A list of parameters: `values![id, 5, Some("x")]`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Value::from($value)),*] };
}

/// One row of an answer. Columns count from 0.
#[derive(Debug, Clone)]
pub struct Row {
    values: Vec<Value>,
}

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Row {
        Row { values }
    }

    /// An integer that cannot be null.
    pub fn int(&self, column: usize) -> StoreResult<i64> {
        self.maybe_int(column)?.ok_or_else(|| unexpected(column, "an integer"))
    }

    /// An integer or null.
    pub fn maybe_int(&self, column: usize) -> StoreResult<Option<i64>> {
        match self.values.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            Some(value) if value.is_null() => Ok(None),
            _ => Err(unexpected(column, "an integer")),
        }
    }

    /// A number that cannot be null.
    pub fn real(&self, column: usize) -> StoreResult<f64> {
        match self.values.get(column) {
            Some(Value::Real(Some(value))) => Ok(*value),
            #[expect(clippy::cast_precision_loss, reason = "the caller asked for a float")]
            Some(Value::Int(Some(value))) => Ok(*value as f64),
            _ => Err(unexpected(column, "a number")),
        }
    }

    /// Text that cannot be null.
    pub fn text(&self, column: usize) -> StoreResult<&str> {
        self.maybe_text(column)?.ok_or_else(|| unexpected(column, "text"))
    }

    /// Text or null.
    pub fn maybe_text(&self, column: usize) -> StoreResult<Option<&str>> {
        match self.values.get(column) {
            Some(Value::Text(value)) => Ok(value.as_deref()),
            Some(value) if value.is_null() => Ok(None),
            _ => Err(unexpected(column, "text")),
        }
    }

    /// Bytes that cannot be null.
    pub fn bytes(&self, column: usize) -> StoreResult<&[u8]> {
        match self.values.get(column) {
            Some(Value::Bytes(Some(value))) => Ok(value),
            _ => Err(unexpected(column, "bytes")),
        }
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

impl Value {
    /// Is it null?
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Int(None) | Value::Real(None) | Value::Text(None) | Value::Bytes(None))
    }
}

fn unexpected(column: usize, wanted: &str) -> StoreError {
    StoreError::Broken(format!("column {column} of the database's answer is not {wanted}"))
}
