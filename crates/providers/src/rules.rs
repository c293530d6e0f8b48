//! Changes to the top-level fields of a request, as data.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tollway_model::Notices;
use tollway_wire::json::{Edits, Envelope};

/// How a provider or a model departs from its dialect in the top-level fields of requests.
///
/// One field has one kind of change, except that `rename` may meet itself from another side (see [`Rules::rename`]).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Field → the provider's name for it. When a request has both, `max_completion_tokens` wins over `max_tokens`
    /// as OpenAI documents it, and otherwise the provider's own name does.
    pub rename: BTreeMap<String, String>,
    /// Field → value → what is sent instead; `*` is any other value.
    pub map: BTreeMap<String, BTreeMap<String, Replacement>>,
    /// Field → the range of numbers taken; others are moved to its edge.
    pub clamp: BTreeMap<String, Clamp>,
    /// Field → the one value taken.
    pub only: BTreeMap<String, Value>,
    /// Fields, or `field=value`, that are refused there.
    pub unsupported: Vec<Refused>,
    /// Fields that are refused there and whose loss changes nothing for the caller.
    pub ignored: Vec<String>,
    /// Fields always sent with chats and completions, unless the caller set them.
    pub force: BTreeMap<String, Value>,
}

/// What is sent instead of a value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Replacement {
    /// Another value of the same field.
    Value(String),
    /// Other fields; those the caller set stay.
    Fields(Map<String, Value>),
}

/// The range of numbers a field takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clamp {
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// A field, or one value of it, that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Refused {
    /// The field.
    pub field: String,
    /// The value; `None`: all values.
    pub value: Option<String>,
}

impl From<String> for Refused {
    fn from(text: String) -> Refused {
        match text.split_once('=') {
            Some((field, value)) => Refused { field: field.to_owned(), value: Some(value.to_owned()) },
            None => Refused { field: text, value: None },
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.field)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

impl Rules {
    /// No changes at all.
    pub fn is_empty(&self) -> bool {
        *self == Rules::default()
    }

    /// Sends `fields` on instead of refusing or leaving them out.
    pub(crate) fn allow(&mut self, fields: &[String]) {
        self.unsupported.retain(|refused| !fields.contains(&refused.field));
        self.ignored.retain(|field| !fields.contains(field));
        self.only.retain(|field, _| !fields.contains(field));
    }

    /// Writes the changes that `envelope` needs. `generates`: a chat or a completion.
    pub(crate) fn apply(
        &self,
        envelope: &Envelope,
        generates: bool,
        edits: &mut Edits,
        notices: &mut Notices,
    ) {
        self.refuse(envelope, edits, notices);
        for (field, values) in &self.map {
            replace(envelope, field, values, edits, notices);
        }
        for (field, range) in &self.clamp {
            let Some(number) = envelope.get(field).and_then(|raw| raw.parse::<f64>().ok()) else { continue };
            if let Some(edge) = range.edge(number) {
                edits.set_raw(field.clone(), edge.to_string());
                notices.changed(field.clone(), format!("{number} is out of range there: {edge} was sent"));
            }
        }
        for (from, to) in &self.rename {
            rename(envelope, from, to, edits, notices);
        }
        if generates {
            for (field, value) in &self.force {
                if !envelope.has(field) {
                    edits.set_raw(field.clone(), value.to_string());
                }
            }
        }
    }

    fn refuse(&self, envelope: &Envelope, edits: &mut Edits, notices: &mut Notices) {
        for refused in &self.unsupported {
            let Some(raw) = envelope.get(&refused.field) else { continue };
            let named = refused.value.as_deref();
            if named.is_some() && envelope.str(&refused.field).as_deref() != named {
                continue;
            }
            edits.remove(refused.field.clone());
            if asks_nothing(&refused.field, raw) {
                notices.changed(
                    refused.field.clone(),
                    "left out: the provider refuses it, and it asks for nothing",
                );
            } else {
                notices.dropped(refused.field.clone(), format!("the provider refuses `{refused}`"));
            }
        }
        for (field, value) in &self.only {
            let Some(raw) = envelope.get(field).filter(|raw| !same(raw, value)) else { continue };
            edits.remove(field.clone());
            if raw != "null" {
                notices.dropped(field.clone(), format!("the provider takes only {value}"));
            }
        }
        for field in &self.ignored {
            if envelope.get(field).is_some() {
                edits.remove(field.clone());
                notices.changed(field.clone(), "left out: it means nothing there");
            }
        }
    }
}

impl Clamp {
    /// The edge of the range that `number` is beyond.
    fn edge(&self, number: f64) -> Option<f64> {
        let below = self.min.filter(|min| number < *min);
        below.or_else(|| self.max.filter(|max| number > *max))
    }
}

fn rename(envelope: &Envelope, from: &str, to: &str, edits: &mut Edits, notices: &mut Notices) {
    if envelope.get(from).is_none() {
        return;
    }
    if envelope.get(to).is_none() {
        edits.rename(from.to_owned(), to.to_owned());
        return;
    }
    let source_wins = (from == "max_completion_tokens" && envelope.has(from)) || !envelope.has(to);
    let (winner, loser) = if source_wins { (from, to) } else { (to, from) };
    edits.remove(loser.to_owned());
    if source_wins {
        edits.rename(from.to_owned(), to.to_owned());
    }
    notices.changed(loser.to_owned(), format!("`{winner}` was given too and wins"));
}

fn replace(
    envelope: &Envelope,
    field: &str,
    values: &BTreeMap<String, Replacement>,
    edits: &mut Edits,
    notices: &mut Notices,
) {
    let Some(value) = word(envelope, field) else { return };
    match values.get(value.as_str()).or_else(|| values.get("*")) {
        None => {}
        Some(Replacement::Value(other)) if *other == value => {}
        Some(Replacement::Value(other)) => {
            edits.set_str(field.to_owned(), other);
            notices.changed(field.to_owned(), format!("`{value}` was sent as `{other}`"));
        }
        Some(Replacement::Fields(others)) => {
            edits.remove(field.to_owned());
            for (name, other) in others {
                if !envelope.has(name) {
                    edits.set_raw(name.clone(), other.to_string());
                }
                notices.changed(field.to_owned(), format!("sent as `{name}`"));
            }
        }
    }
}

/// The value of a field that holds a word: a string, or `{"effort": string}` as the Responses API writes it.
fn word(envelope: &Envelope, field: &str) -> Option<String> {
    if let Some(word) = envelope.str(field) {
        return Some(word.into_owned());
    }
    let object: Value = serde_json::from_str(envelope.get(field)?).ok()?;
    object.get("effort")?.as_str().map(str::to_owned)
}

/// Is the value what a request without the field means anyway?
fn asks_nothing(field: &str, raw: &str) -> bool {
    match raw {
        // It asks for a search by being there.
        "{}" => field != "web_search_options",
        _ => matches!(raw, "null" | "false" | "0" | "0.0" | "[]"),
    }
}

/// Equal as JSON values, `1` and `1.0` included.
fn same(raw: &str, value: &Value) -> bool {
    let Ok(given) = serde_json::from_str::<Value>(raw) else { return false };
    match (given.as_f64(), value.as_f64()) {
        (Some(one), Some(two)) => one == two,
        _ => given == *value,
    }
}

#[cfg(test)]
mod tests;
