//! Values that satisfy a JSON schema, taken from the user's words where they name a property.

use std::cell::Cell;

use serde_json::{Map, Value, json};

/// Values made for one schema at most: nested arrays multiply.
const MOST: usize = 10_000;

/// Below this depth only required members are made, so that recursive schemas end.
const DEEP: usize = 5;

/// A value for `schema`.
///
/// Knows JSON Schema and Gemini's dialect of it (upper-case types, `nullable`). `hints` is a text in which
/// `name=value` sets the member `name`. Patterns are not honoured.
pub(crate) fn sample(schema: &Value, hints: &str) -> Value {
    Sampler { root: schema, hints, left: Cell::new(MOST) }.value(schema, "", 0)
}

struct Sampler<'a> {
    root: &'a Value,
    hints: &'a str,
    /// Values that may still be made.
    left: Cell<usize>,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, name: &str, depth: usize) -> Value {
        let Some(left) = self.left.get().checked_sub(1).filter(|_| depth <= 4 * DEEP) else {
            return Value::Null;
        };
        self.left.set(left);
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.value(found, name, depth + 1));
        }
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(options) = schema.get("enum").and_then(Value::as_array) {
            let hinted = self.hint(name).map(Value::from).filter(|value| options.contains(value));
            return hinted.or_else(|| options.first().cloned()).unwrap_or_default();
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
                return self.value(first, name, depth + 1);
            }
        }
        match kind(schema).as_str() {
            "object" => self.object(schema, depth),
            "array" => {
                let item = schema.get("items").unwrap_or(&Value::Null);
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8);
                (0..least).map(|_| self.value(item, name, depth + 1)).collect()
            }
            "integer" => self.number(schema, name).map_or(json!(0), whole),
            "number" => self.number(schema, name).map_or(json!(0), |number| json!(number)),
            "boolean" => json!(self.hint(name) != Some("false")),
            "null" => Value::Null,
            _ => self.string(schema, name),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required = crate::json::list(schema, "required");
        let wanted = |key: &str| depth < DEEP || required.iter().any(|name| name.as_str() == Some(key));
        let properties = schema.get("properties").and_then(Value::as_object);
        let members = properties.into_iter().flatten().filter(|(key, _)| wanted(key));
        let made: Map<_, _> =
            members.map(|(key, schema)| (key.clone(), self.value(schema, key, depth + 1))).collect();
        Value::Object(made)
    }

    fn string(&self, schema: &Value, name: &str) -> Value {
        let sample = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2026-11-20".to_owned(),
            Some("date-time") => "2026-11-20T12:00:00Z".to_owned(),
            Some("time") => "12:00:00Z".to_owned(),
            Some("email") => "someone@example.com".to_owned(),
            Some("uri") => "https://example.com/".to_owned(),
            Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
            _ if name.is_empty() => "sample".to_owned(),
            _ => format!("sample {name}"),
        };
        let mut text = self.hint(name).map_or(sample, str::to_owned);
        let bound = |key| crate::json::count(schema, key);
        while text.chars().count() < bound("minLength").unwrap_or(0).min(1000) {
            text.push('x');
        }
        text.chars().take(bound("maxLength").unwrap_or(usize::MAX)).collect::<String>().into()
    }

    fn number(&self, schema: &Value, name: &str) -> Option<f64> {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low + 1.0));
        let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high - 1.0));
        let wish = self.hint(name).and_then(|hint| hint.parse().ok()).unwrap_or(1.0_f64);
        Some(wish.max(low.unwrap_or(f64::MIN)).min(high.unwrap_or(f64::MAX)))
    }

    /// What the text says after `name=`, up to white space or punctuation.
    fn hint(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.hints.split_once(&format!("{name}=")).filter(|_| !name.is_empty())?;
        let end = rest.find(|c: char| c.is_whitespace() || ",;!?\"".contains(c)).unwrap_or(rest.len());
        rest.get(..end).filter(|hint| !hint.is_empty()).map(|hint| hint.trim_end_matches('.'))
    }
}

/// The nearest whole number.
fn whole(number: f64) -> Value {
    format!("{number:.0}").parse::<i64>().map_or(json!(0), Value::from)
}

/// The schema's type in lower case; the first that is not null when there are several.
fn kind(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::String(one)) => Some(one.as_str()),
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).find(|one| !one.eq_ignore_ascii_case("null"))
        }
        _ => None,
    };
    let implied = if schema.get("properties").is_some() { "object" } else { "string" };
    named.unwrap_or(implied).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: Value, hints: &str, expected: Value) {
        assert_eq!(sample(&schema, hints), expected);
    }

    #[test]
    fn every_type_has_a_sample() {
        check(json!({"type":"string"}), "", json!("sample"));
        check(json!({"type":"INTEGER","minimum":5}), "", json!(5));
        check(json!({"type":"number","maximum":0.5}), "", json!(0.5));
        check(json!({"type":["null","boolean"]}), "", json!(true));
        check(json!({"type":"array","items":{"type":"integer"},"minItems":2}), "", json!([1, 1]));
        check(json!({"enum":["a","b"]}), "", json!("a"));
        check(json!({"const":3}), "", json!(3));
        check(json!({"anyOf":[{"type":"null"},{"type":"string"}]}), "", json!(null));
        check(json!({"type":"string","minLength":8,"maxLength":9}), "", json!("samplexx"));
    }

    #[test]
    fn the_text_may_name_values() {
        let schema = json!({"type":"object","properties":{
            "city":{"type":"string"},"days":{"type":"integer"},"unit":{"enum":["c","f"]}}});
        check(schema, "weather for city=Oslo, days=3 unit=f.", json!({"city":"Oslo","days":3,"unit":"f"}));
    }

    #[test]
    fn recursive_schemas_end() {
        let node = json!({"$ref":"#/$defs/node","$defs":{"node":{"type":"object",
            "properties":{"name":{"type":"string"},"next":{"$ref":"#/$defs/node"}},"required":["name"]}}});
        let made = sample(&node, "").to_string();
        assert!(made.len() < 1000 && made.contains("sample name"), "{made}");
        let bomb = (0..18)
            .fold(json!({"type":"string"}), |items, _| json!({"type":"array","minItems":8,"items":items}));
        assert!(sample(&bomb, "").to_string().len() < 500_000);
    }
}
