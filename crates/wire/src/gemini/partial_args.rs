//! Arguments of a function call that arrive in pieces, each with the path of the value it belongs to.

use serde_json::{Map, Value};
use tollway_model::Signature;

use super::shape::{FunctionCallIn, PartialArg};

/// Most steps of a path, as deep as a request may nest. Values nested without end could not even be dropped: that is
/// recursive.
const LONGEST_PATH: usize = 64;

/// Most maps, lists and elements that the paths of a call may ask for: a few bytes must not make us allocate at will.
const MOST_PLACES: usize = 65_536;

/// A call whose arguments are still arriving.
#[derive(Debug, Default)]
pub(super) struct PartialCall {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) signature: Option<Signature>,
    /// Places made so far.
    places: usize,
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
        let steps = steps(&piece.json_path);
        if steps.len() > LONGEST_PATH {
            return;
        }
        let mut steps = steps.into_iter();
        let Some(Step::Key(first)) = steps.next() else { return };
        self.places += 1;
        if self.places > MOST_PLACES {
            return;
        }
        let mut place = self.arguments.entry(first).or_insert(Value::Null);
        for step in steps {
            let Some(inner) = descend(place, step, &mut self.places) else { return };
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

/// The value one step further in, made where it is missing; `places` counts what is made.
fn descend<'a>(place: &'a mut Value, step: Step, places: &mut usize) -> Option<&'a mut Value> {
    match step {
        Step::Key(key) => {
            if place.is_null() {
                *places += 1;
                *place = Value::Object(Map::new());
            }
            if *places > MOST_PLACES {
                return None;
            }
            Some(place.as_object_mut()?.entry(key).or_insert(Value::Null))
        }
        Step::Index(index) => {
            if place.is_null() {
                *place = Value::Array(Vec::new());
            }
            let list = place.as_array_mut()?;
            let missing = index.saturating_add(1).saturating_sub(list.len());
            if missing > MOST_PLACES.saturating_sub(*places) {
                return None;
            }
            *places += missing;
            if missing > 0 {
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

    /// Reads one piece for each path and returns how many values were made of them.
    fn made_of(paths: impl Iterator<Item = String>) -> usize {
        fn values(value: &Value) -> usize {
            1 + match value {
                Value::Array(list) => list.iter().map(values).sum(),
                Value::Object(map) => map.values().map(values).sum(),
                _ => 0,
            }
        }
        let mut call = PartialCall::default();
        for path in paths {
            let piece = json!({"partialArgs": [{"jsonPath": path, "boolValue": true}]}).to_string();
            call.add(serde_json::from_str(&piece).unwrap(), None);
        }
        values(&Value::Object(call.arguments))
    }

    #[test]
    fn paths_cannot_ask_for_depth_or_size_without_end() {
        assert_eq!(made_of(std::iter::once(format!("$.a{}", "[0]".repeat(1_000_000)))), 1);
        assert_eq!(made_of(std::iter::once(format!("$.a{}", ".a".repeat(1_000_000)))), 1);
        assert_eq!(made_of(std::iter::once(format!("$.a[{}]", usize::MAX))), 2);
        let wide = (0..1000).map(|number| format!("$.k{number}{}", "[60000]".repeat(60)));
        assert!(made_of(wide) < 2 * MOST_PLACES);
        let deep = (0..10_000).map(|number| format!("$.k{number}{}", ".a".repeat(60)));
        assert!(made_of(deep) < 3 * MOST_PLACES);
    }
}
