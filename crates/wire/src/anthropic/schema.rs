//! JSON Schemas as structured output takes them.
//!
//! The API enforces a subset: closed objects, no ranges or lengths, no `oneOf`, no conditions. Constraints it cannot
//! enforce move into the description, where the model reads them; references are written out.

use serde_json::{Map, Value, json};

/// Deepest nesting followed through references. Deeper means recursion.
const DEEPEST: usize = 48;
/// Most schema nodes written out: references may multiply.
const MOST_NODES: usize = 20_000;

/// Keywords the API refuses.
const REFUSED: [&str; 23] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "if",
    "then",
    "else",
    "not",
];

/// A schema the API can enforce.
#[derive(Debug, PartialEq)]
pub(crate) struct Enforceable {
    pub(crate) schema: Value,
    /// Keywords that were taken out or rewritten, sorted.
    pub(crate) changed: Vec<String>,
}

/// Rewrites `schema`; `None` when it refers to itself, which cannot be written out.
pub(crate) fn enforceable(schema: &Value) -> Option<Enforceable> {
    let mut filter = Filter { root: schema, changed: Vec::new(), nodes: 0 };
    let schema = filter.node(schema, 0)?;
    filter.changed.sort();
    filter.changed.dedup();
    Some(Enforceable { schema, changed: filter.changed })
}

struct Filter<'a> {
    root: &'a Value,
    changed: Vec<String>,
    nodes: usize,
}

impl Filter<'_> {
    fn note(&mut self, keyword: &str) {
        self.changed.push(keyword.to_owned());
    }

    fn node(&mut self, schema: &Value, depth: usize) -> Option<Value> {
        self.nodes += 1;
        if depth > DEEPEST || self.nodes > MOST_NODES {
            return None;
        }
        let Value::Object(members) = schema else { return Some(schema.clone()) };
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            return self.reference(target, members, depth);
        }
        let mut out = Map::new();
        let mut constraints = Vec::new();
        for (keyword, value) in members {
            match keyword.as_str() {
                "$defs" | "definitions" | "$schema" | "$id" => {}
                "properties" => {
                    out.insert(keyword.clone(), self.properties(value, depth)?);
                }
                "items" | "anyOf" | "allOf" | "prefixItems" => {
                    out.insert(keyword.clone(), self.nested(value, depth)?);
                }
                "oneOf" => {
                    self.note("oneOf");
                    out.insert("anyOf".to_owned(), self.nested(value, depth)?);
                }
                "additionalProperties" => {
                    if *value != Value::Bool(false) {
                        self.note(keyword);
                    }
                }
                "minItems" if value.as_u64().is_some_and(|least| least <= 1) => {
                    out.insert(keyword.clone(), value.clone());
                }
                "minItems" => self.constraint(keyword, value, &mut constraints),
                refused if REFUSED.contains(&refused) => self.constraint(keyword, value, &mut constraints),
                _ => {
                    out.insert(keyword.clone(), value.clone());
                }
            }
        }
        if is_object(&out) {
            out.entry("properties").or_insert_with(|| json!({}));
            out.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        describe(&mut out, &constraints);
        Some(Value::Object(out))
    }

    fn constraint(&mut self, keyword: &str, value: &Value, constraints: &mut Vec<String>) {
        self.note(keyword);
        constraints.push(format!("{keyword}: {value}"));
    }

    fn properties(&mut self, value: &Value, depth: usize) -> Option<Value> {
        let Value::Object(properties) = value else { return Some(value.clone()) };
        let mut out = Map::with_capacity(properties.len());
        for (name, schema) in properties {
            out.insert(name.clone(), self.node(schema, depth + 1)?);
        }
        Some(Value::Object(out))
    }

    /// A schema or a list of them.
    fn nested(&mut self, value: &Value, depth: usize) -> Option<Value> {
        match value {
            Value::Array(list) => {
                let list = list.iter().map(|schema| self.node(schema, depth + 1));
                list.collect::<Option<Vec<_>>>().map(Value::Array)
            }
            one => self.node(one, depth + 1),
        }
    }

    /// The schema referred to, with the members beside `$ref` on top.
    fn reference(&mut self, target: &str, members: &Map<String, Value>, depth: usize) -> Option<Value> {
        let pointer = target.strip_prefix('#')?;
        let mut found = self.root.pointer(pointer)?.clone();
        if let Value::Object(found) = &mut found {
            let beside = members.iter().filter(|(keyword, _)| *keyword != "$ref");
            found.extend(beside.map(|(keyword, value)| (keyword.clone(), value.clone())));
        }
        self.node(&found, depth + 1)
    }
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    }
}

fn describe(schema: &mut Map<String, Value>, constraints: &[String]) {
    if constraints.is_empty() {
        return;
    }
    let constraints = format!("({})", constraints.join(", "));
    let text = match schema.get("description").and_then(Value::as_str) {
        Some(text) => format!("{text} {constraints}"),
        None => constraints,
    };
    schema.insert("description".to_owned(), Value::String(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: Value, expected: Value, changed: &[&str]) {
        let found = enforceable(&input).unwrap();
        assert_eq!(found.schema, expected, "{input}");
        assert_eq!(found.changed, changed, "{input}");
    }

    #[test]
    fn objects_are_closed_and_constraints_move_into_the_description() {
        check(
            json!({"type":"object","properties":{"age":{"type":"integer","minimum":0,"description":"In years."}}}),
            json!({"type":"object","properties":{"age":{"type":"integer","description":"In years. (minimum: 0)"}},"additionalProperties":false}),
            &["minimum"],
        );
        check(
            json!({"type":"array","minItems":1,"maxItems":3,"items":{"oneOf":[{"type":"string"},{"type":"object"}]}}),
            json!({"type":"array","minItems":1,"items":{"anyOf":[{"type":"string"},{"type":"object","properties":{},"additionalProperties":false}]},"description":"(maxItems: 3)"}),
            &["maxItems", "oneOf"],
        );
        check(
            json!({"type":"object","properties":{},"additionalProperties":{"type":"string"}}),
            json!({"type":"object","properties":{},"additionalProperties":false}),
            &["additionalProperties"],
        );
    }

    #[test]
    fn a_property_named_like_a_keyword_stays() {
        check(
            json!({"type":"object","properties":{"minimum":{"type":"number"}},"required":["minimum"],"additionalProperties":false}),
            json!({"type":"object","properties":{"minimum":{"type":"number"}},"required":["minimum"],"additionalProperties":false}),
            &[],
        );
    }

    #[test]
    fn references_are_written_out_and_recursion_is_refused() {
        check(
            json!({"$defs":{"p":{"type":"string"}},"type":"object","properties":{"a":{"$ref":"#/$defs/p","description":"A."}},"additionalProperties":false}),
            json!({"type":"object","properties":{"a":{"type":"string","description":"A."}},"additionalProperties":false}),
            &[],
        );
        let tree = json!({"$defs":{"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"});
        assert_eq!(enforceable(&tree), None);
        let wide = json!({"$defs":{
            "a":{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},
            "b":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"});
        assert_eq!(enforceable(&wide), None);
    }
}
