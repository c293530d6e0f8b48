//! A YAML document as a tree in which every key and value knows where it stands.

use crate::source::Mark;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub mark: Mark,
    pub value: Value,
    /// It has a name (`&name`) under which it can be repeated elsewhere.
    pub anchored: bool,
}

/// What a value is. Scalars keep their text: what it means depends on the setting it is for.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// Text, and whether it was written without quotes.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub text: String,
    /// Only unquoted text can be null, a boolean or a number.
    pub plain: bool,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub key_mark: Mark,
    pub value: Node,
}

impl Node {
    /// How many nodes there are, this one included, and how deep they nest. Stops counting at `limit` nodes.
    pub(crate) fn weight(&self, limit: usize) -> (usize, usize) {
        let children: &mut dyn Iterator<Item = &Node> = match &self.value {
            Value::Scalar(_) => return (1, 1),
            Value::List(items) => &mut items.iter(),
            Value::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
        };
        let (mut nodes, mut depth) = (1_usize, 0);
        for child in children {
            if nodes > limit {
                break;
            }
            let (more, deep) = child.weight(limit - nodes.min(limit));
            nodes = nodes.saturating_add(more);
            depth = depth.max(deep);
        }
        (nodes, depth + 1)
    }

    /// Is this `null`, `~` or nothing at all?
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// The entries of a map; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// What this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl Scalar {
    pub(crate) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}
