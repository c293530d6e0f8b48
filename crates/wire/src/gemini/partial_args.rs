//! Arguments of a function call that arrive in pieces, each with the path of the value it belongs to.

use serde_json::{Map, Value};
use tollway_model::Signature;

use super::shape::{FunctionCallIn, PartialArg};

/// Longest list a path may ask for: a piece must not make us allocate at will.
const LONGEST_LIST: usize = 4096;

/// A call whose arguments are still arriving.
#[derive(Debug, Default)]
pub(super) struct PartialCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) signature: Option<Signature>,
}

impl PartialCall {
    /// Adds the next piece.
    pub(super) fn add(&mut self, call: FunctionCallIn<'_>, signature: Option<Signature>) {
        if let Some(name) = call.name {
            self.name = name;
        }
        self.id = self.id.take().or(call.id);
        self.signature = self.signature.take().or(signature);
        let whole = call.args.and_then(|args| serde_json::from_str::<Map<String, Value>>(args.get()).ok());
        self.arguments.extend(whole.unwrap_or_default());
        for piece in call.partial_args.unwrap_or_default() {
            self.set(piece);
        }
    }

    fn set(&mut self, piece: PartialArg) {
        let mut steps = steps(&piece.json_path).into_iter();
        let Some(Step::Key(first)) = steps.next() else { return };
        let mut place = self.arguments.entry(first).or_insert(Value::Null);
        for step in steps {
            let Some(inner) = descend(place, step) else { return };
            place = inner;
        }
        let value = match (piece.string_value, piece.number_value, piece.bool_value) {
            (Some(more), ..) => {
                if let Value::String(text) = place {
                    text.push_str(&more);
                    return;
                }
                Value::String(more)
            }
            (_, Some(number), _) => Value::Number(number),
            (.., Some(flag)) => Value::Bool(flag),
            _ => Value::Null,
        };
        *place = value;
    }
}

enum Step {
    Key(String),
    Index(usize),
}

/// `$.list[0].name` as its steps. A path in another notation ends where it stops being understood.
fn steps(path: &str) -> Vec<Step> {
    let mut out = Vec::new();
    for piece in path.strip_prefix('$').unwrap_or(path).split('.') {
        let (key, indexes) = piece.split_once('[').unwrap_or((piece, ""));
        if !key.is_empty() {
            out.push(Step::Key(key.to_owned()));
        }
        for index in indexes.split('[').map(|index| index.trim_end_matches(']')).filter(|one| !one.is_empty())
        {
            let quoted = index.trim_matches(['\'', '"']);
            match index.parse() {
                Ok(number) => out.push(Step::Index(number)),
                Err(_) => out.push(Step::Key(quoted.to_owned())),
            }
        }
    }
    out
}

fn descend(place: &mut Value, step: Step) -> Option<&mut Value> {
    match step {
        Step::Key(key) => {
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            Some(place.as_object_mut()?.entry(key).or_insert(Value::Null))
        }
        Step::Index(index) => {
            if place.is_null() {
                *place = Value::Array(Vec::new());
            }
            let list = place.as_array_mut()?;
            if index >= LONGEST_LIST {
                return None;
            }
            if list.len() <= index {
                list.resize(index + 1, Value::Null);
            }
            list.get_mut(index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pieces_find_their_place() {
        let mut call = PartialCall::default();
        for piece in [
            json!({"name": "book", "partialArgs": [{"jsonPath": "$.city", "stringValue": "Os"}], "willContinue": true}),
            json!({"partialArgs": [{"jsonPath": "$.city", "stringValue": "lo"}, {"jsonPath": "$.days", "numberValue": 3}]}),
            json!({"partialArgs": [{"jsonPath": "$.guests[1].name", "stringValue": "Kim"}, {"jsonPath": "$['ok']", "boolValue": true}]}),
            json!({"partialArgs": [{"jsonPath": "$.guests[99999999999]", "stringValue": "x"}]}),
        ] {
            let text = piece.to_string();
            call.add(serde_json::from_str(&text).unwrap(), None);
        }
        assert_eq!(call.name, "book");
        assert_eq!(
            Value::Object(call.arguments),
            json!({"city": "Oslo", "days": 3, "guests": [null, {"name": "Kim"}], "ok": true})
        );
    }
}
