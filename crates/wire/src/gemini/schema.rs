//! JSON Schema and Gemini's own schema, both ways.
//!
//! Older models take only a subset of OpenAPI's schema object: no references, no unions of types, upper-case type
//! names, string enums. [`lower`] turns JSON Schema into it, keeping what constrains the answer as far as the subset
//! can say it. [`raise`] turns what clients send in that form into plain JSON Schema.
//! The subset: <https://ai.google.dev/api/caching#Schema>.

mod raise;

use serde_json::{Map, Value, json};

pub(super) use raise::raise;

/// Deeper schemas are cut: every level costs the model, and Gemini refuses long before this.
const MAX_DEPTH: usize = 32;

/// A lowered schema, and the keywords that found no place in it.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    pub(super) schema: Value,
    pub(super) lost: Vec<String>,
}

/// JSON Schema to Gemini's subset.
pub(super) fn lower(root: &Value) -> Lowered {
    let mut work = Lowering { root, open: Vec::new(), lost: Vec::new() };
    let schema = work.schema(root, 0);
    Lowered { schema, lost: work.lost }
}

struct Lowering<'a> {
    root: &'a Value,
    /// References being followed: meeting one again is a recursion.
    open: Vec<&'a str>,
    lost: Vec<String>,
}

/// Keywords that need no counterpart: annotations, and those handled by name in [`Lowering::schema`].
const SILENT: [&str; 15] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "$anchor",
    "strict",
    "examples",
    "deprecated",
    "type",
    "const",
    "enum",
    "nullable",
    "required",
    "allOf",
];

impl<'a> Lowering<'a> {
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Value {
        let Some(object) = schema.as_object() else {
            // `true` allows anything; text says anything.
            return json!({"type": "STRING"});
        };
        if depth > MAX_DEPTH {
            self.lose("nesting");
            return json!({"type": "OBJECT"});
        }
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            return self.reference(reference, object, depth);
        }
        if let Some(Value::Array(members)) = object.get("allOf") {
            return self.all_of(object, members, depth);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(members)) = object.get(key) {
                return self.any_of(object, members, depth);
            }
        }
        if let Some(Value::Array(types)) = object.get("type") {
            return self.types(object, types, depth);
        }
        self.plain(object, depth)
    }

    fn reference(&mut self, reference: &'a str, object: &'a Map<String, Value>, depth: usize) -> Value {
        let target = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let mut out = match target {
            Some(target) if !self.open.contains(&reference) => {
                self.open.push(reference);
                let out = self.schema(target, depth + 1);
                self.open.pop();
                out
            }
            Some(_) => {
                self.lose("recursive $ref");
                json!({"type": "OBJECT"})
            }
            None => {
                self.lose("$ref");
                json!({"type": "STRING"})
            }
        };
        describe(&mut out, object, true);
        out
    }

    /// One schema that says what all members say; the first to say something wins.
    fn all_of(&mut self, object: &'a Map<String, Value>, members: &'a [Value], depth: usize) -> Value {
        let own = self.plain(object, depth);
        let says_little = |key: &str| matches!(key, "type" | "description" | "title" | "nullable");
        let own_speaks = own.as_object().is_some_and(|own| own.keys().any(|key| !says_little(key)));
        let lowered: Vec<Value> = members.iter().map(|member| self.schema(member, depth + 1)).collect();
        let mut out = Map::new();
        for source in own_speaks.then(|| own.clone()).into_iter().chain(lowered) {
            let Value::Object(source) = source else { continue };
            let clashes = !out.is_empty() && out.get("type") != source.get("type");
            if clashes {
                self.lose("allOf");
                continue;
            }
            for (key, value) in source {
                merge(&mut out, key, value);
            }
        }
        let mut out = if out.is_empty() { own } else { Value::Object(out) };
        describe(&mut out, object, true);
        out
    }

    /// Gemini wants `anyOf` alone in its schema, and has no type null.
    fn any_of(&mut self, object: &'a Map<String, Value>, members: &'a [Value], depth: usize) -> Value {
        let nullable = members.iter().any(is_null) || object.get("nullable") == Some(&json!(true));
        let said = members.iter().filter(|member| !is_null(member));
        let mut branches: Vec<Value> = Vec::new();
        for branch in said.flat_map(|member| alternatives(self.schema(member, depth + 1))) {
            if !branches.contains(&branch) {
                branches.push(branch);
            }
        }
        if branches.len() > 1
            && let Some(joined) = join_enums(&branches)
        {
            branches = vec![joined];
        }
        for branch in &mut branches {
            describe(branch, object, false);
            if nullable {
                set(branch, "nullable", json!(true));
            }
        }
        let properties = object.contains_key("properties");
        if properties {
            // An object that also says "one of these": the properties matter more to the model.
            self.lose("anyOf");
            return self.plain(object, depth);
        }
        match branches.len() {
            0 => json!({"type": "STRING", "nullable": true}),
            1 => branches.swap_remove(0),
            _ => json!({"anyOf": branches}),
        }
    }

    fn types(&mut self, object: &'a Map<String, Value>, types: &'a [Value], depth: usize) -> Value {
        let nullable = types.iter().any(|name| name == "null");
        let names: Vec<&str> =
            types.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
        let mut branches: Vec<Value> =
            names.iter().map(|name| self.typed(object, Some(name), depth)).collect();
        if nullable {
            for branch in &mut branches {
                set(branch, "nullable", json!(true));
            }
        }
        match branches.len() {
            0 => json!({"type": "STRING", "nullable": true}),
            1 => branches.swap_remove(0),
            _ => json!({"anyOf": branches}),
        }
    }

    fn plain(&mut self, object: &'a Map<String, Value>, depth: usize) -> Value {
        self.typed(object, object.get("type").and_then(Value::as_str), depth)
    }

    fn typed(&mut self, object: &'a Map<String, Value>, name: Option<&str>, depth: usize) -> Value {
        let mut out = Map::new();
        let kind = kind_of(object, name);
        out.insert("type".into(), json!(kind));
        for (key, value) in object {
            self.keyword(kind, key, value, depth, &mut out);
        }
        if object.get("nullable") == Some(&json!(true)) {
            out.insert("nullable".into(), json!(true));
        }
        self.enumeration(object, kind, &mut out);
        if kind == "ARRAY" && !out.contains_key("items") {
            out.insert("items".into(), json!({"type": "STRING"}));
        }
        if let Some(Value::Array(required)) = object.get("required") {
            let known = |name: &&Value| {
                let properties = out.get("properties").and_then(Value::as_object);
                name.as_str().is_some_and(|name| properties.is_some_and(|all| all.contains_key(name)))
            };
            let required: Vec<Value> = required.iter().filter(known).cloned().collect();
            if !required.is_empty() {
                out.insert("required".into(), Value::Array(required));
            }
        }
        Value::Object(out)
    }

    fn keyword(
        &mut self,
        kind: &str,
        key: &'a str,
        value: &'a Value,
        depth: usize,
        out: &mut Map<String, Value>,
    ) {
        let fits = match key {
            "description" | "title" => value.is_string(),
            "minimum" | "maximum" => value.is_number() && matches!(kind, "NUMBER" | "INTEGER"),
            "minLength" | "maxLength" => value.is_u64() && kind == "STRING",
            "pattern" => value.is_string() && kind == "STRING",
            "minItems" | "maxItems" => value.is_u64() && kind == "ARRAY",
            "minProperties" | "maxProperties" => value.is_u64() && kind == "OBJECT",
            "format" => format_fits(kind, value),
            "properties" => return self.properties(value, depth, out),
            "items" if kind == "ARRAY" && value.is_object() => {
                out.insert("items".into(), self.schema(value, depth + 1));
                return;
            }
            "prefixItems" | "items" if kind == "ARRAY" => return self.tuple(value, depth, out),
            "exclusiveMinimum" | "exclusiveMaximum" if kind == "INTEGER" && value.is_i64() => {
                return exclusive(key, value, out);
            }
            // Nothing is lost: objects are closed by what is said about them.
            "additionalProperties" if !value.is_object() => return,
            "default" => return,
            _ if SILENT.contains(&key) => return,
            _ => false,
        };
        if fits {
            out.insert(key.to_owned(), value.clone());
        } else {
            self.lose(key);
        }
    }

    fn properties(&mut self, value: &'a Value, depth: usize, out: &mut Map<String, Value>) {
        let Some(properties) = value.as_object().filter(|properties| !properties.is_empty()) else { return };
        let order: Vec<&String> = properties.keys().collect();
        // Without it the model answers in alphabetical order, which breaks chains of thought in the answer.
        out.insert("propertyOrdering".into(), json!(order));
        let lowered: Map<String, Value> =
            properties.iter().map(|(name, schema)| (name.clone(), self.schema(schema, depth + 1))).collect();
        out.insert("properties".into(), Value::Object(lowered));
    }

    /// A tuple becomes a list of any of its members.
    fn tuple(&mut self, value: &'a Value, depth: usize, out: &mut Map<String, Value>) {
        let Some(members) = value.as_array() else { return };
        let mut lowered: Vec<Value> = Vec::new();
        for member in members {
            let member = self.schema(member, depth + 1);
            if !lowered.contains(&member) {
                lowered.push(member);
            }
        }
        let items = match lowered.len() {
            0 => return,
            1 => lowered.swap_remove(0),
            _ => json!({"anyOf": lowered}),
        };
        out.insert("items".into(), items);
    }

    /// `enum` and `const`: Gemini lists strings only. Other values go into the description.
    fn enumeration(&mut self, object: &Map<String, Value>, kind: &str, out: &mut Map<String, Value>) {
        let values: Vec<&Value> = match (object.get("enum"), object.get("const")) {
            (Some(Value::Array(values)), _) => values.iter().collect(),
            (_, Some(value)) => vec![value],
            _ => return,
        };
        if values.iter().any(|value| value.is_null()) {
            out.insert("nullable".into(), json!(true));
        }
        if kind == "STRING" {
            let texts: Vec<&str> =
                values.iter().filter_map(|value| value.as_str()).filter(|text| !text.is_empty()).collect();
            if !texts.is_empty() {
                out.insert("enum".into(), json!(texts));
            }
            return;
        }
        let words: Vec<String> =
            values.iter().filter(|value| !value.is_null()).map(|value| value.to_string()).collect();
        if words.is_empty() {
            return;
        }
        let note = format!("One of: {}.", words.join(", "));
        let text = match out.get("description").and_then(Value::as_str) {
            Some(text) => format!("{text} {note}"),
            None => note,
        };
        out.insert("description".into(), json!(text));
    }

    fn lose(&mut self, keyword: &str) {
        if !self.lost.iter().any(|lost| lost == keyword) {
            self.lost.push(keyword.to_owned());
        }
    }
}

fn kind_of(object: &Map<String, Value>, name: Option<&str>) -> &'static str {
    let listed = || match object.get("enum") {
        Some(Value::Array(values)) => values.iter().find(|value| !value.is_null()),
        _ => object.get("const"),
    };
    match name.map(str::to_ascii_lowercase).as_deref() {
        Some("object") => "OBJECT",
        Some("array") => "ARRAY",
        Some("string") => "STRING",
        Some("integer") => "INTEGER",
        Some("number") => "NUMBER",
        Some("boolean") => "BOOLEAN",
        _ if object.contains_key("properties") || object.contains_key("additionalProperties") => "OBJECT",
        _ if object.contains_key("items") || object.contains_key("prefixItems") => "ARRAY",
        _ => match listed() {
            Some(Value::Bool(_)) => "BOOLEAN",
            Some(Value::Number(number)) if number.is_f64() => "NUMBER",
            Some(Value::Number(_)) => "INTEGER",
            Some(Value::Object(_)) => "OBJECT",
            _ => "STRING",
        },
    }
}

fn format_fits(kind: &str, value: &Value) -> bool {
    match kind {
        "STRING" => value == "date-time" || value == "enum",
        "NUMBER" => value == "float" || value == "double",
        "INTEGER" => value == "int32" || value == "int64",
        _ => false,
    }
}

fn exclusive(key: &str, value: &Value, out: &mut Map<String, Value>) {
    let Some(bound) = value.as_i64() else { return };
    if key == "exclusiveMinimum" {
        out.insert("minimum".into(), json!(bound.saturating_add(1)));
    } else {
        out.insert("maximum".into(), json!(bound.saturating_sub(1)));
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type") == Some(&json!("null"))
        || schema.get("const") == Some(&Value::Null)
        || schema.get("enum") == Some(&json!([null]))
}

/// What a lowered schema allows, one by one: unions never stand inside unions.
fn alternatives(mut schema: Value) -> Vec<Value> {
    match schema.get_mut("anyOf").map(Value::take) {
        Some(Value::Array(branches)) => branches,
        _ => vec![schema],
    }
}

/// Several string enums are one.
fn join_enums(branches: &[Value]) -> Option<Value> {
    let mut all: Vec<Value> = Vec::new();
    for branch in branches {
        let plain = branch.as_object()?.keys().all(|key| key == "type" || key == "enum");
        let values = branch.get("enum")?.as_array()?;
        if !plain {
            return None;
        }
        all.extend(values.iter().filter(|value| !all.contains(value)).cloned().collect::<Vec<_>>());
    }
    Some(json!({"type": "STRING", "enum": all}))
}

/// Gives `out` the description that stands beside a reference or union.
fn describe(out: &mut Value, object: &Map<String, Value>, replace: bool) {
    let Some(text) = object.get("description").filter(|text| text.is_string()) else { return };
    let targets: Vec<&mut Value> = match out.get_mut("anyOf") {
        Some(Value::Array(branches)) => branches.iter_mut().collect(),
        _ => vec![out],
    };
    for target in targets {
        if replace || target.get("description").is_none() {
            set(target, "description", text.clone());
        }
    }
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn merge(out: &mut Map<String, Value>, key: String, value: Value) {
    match (out.get_mut(&key), value) {
        (Some(Value::Object(all)), Value::Object(more)) if key == "properties" => {
            for (name, schema) in more {
                all.entry(name).or_insert(schema);
            }
        }
        (Some(Value::Array(all)), Value::Array(more)) if key == "required" || key == "propertyOrdering" => {
            for name in more {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        (Some(_), _) => {}
        (None, value) => {
            out.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests;
