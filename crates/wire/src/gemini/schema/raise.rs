//! Gemini's own schema, as clients send it, to plain JSON Schema.

use serde_json::{Map, Value, json};

/// Gemini's schema to plain JSON Schema.
pub(in crate::gemini) fn raise(schema: &Value) -> Value {
    let Some(object) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in object {
        raise_keyword(crate::gemini::shape::camel(key.clone()).as_str(), value, &mut out);
    }
    if let Some(Value::Array(order)) =
        object.get("propertyOrdering").or_else(|| object.get("property_ordering"))
        && let Some(Value::Object(properties)) = out.get_mut("properties")
    {
        let mut ordered = Map::new();
        for name in order.iter().filter_map(Value::as_str) {
            ordered.extend(properties.remove_entry(name));
        }
        ordered.append(properties);
        *properties = ordered;
    }
    if object.get("nullable") == Some(&json!(true)) {
        allow_null(&mut out);
    }
    Value::Object(out)
}

fn raise_keyword(key: &str, value: &Value, out: &mut Map<String, Value>) {
    let raised = match key {
        "type" => match value.as_str() {
            Some("TYPE_UNSPECIFIED") => return,
            Some(name) => json!(name.to_ascii_lowercase()),
            None => value.clone(),
        },
        "nullable" | "propertyOrdering" => return,
        "format" if value == "enum" => return,
        "example" => {
            out.insert("examples".into(), json!([value]));
            return;
        }
        "ref" => {
            out.insert("$ref".into(), value.clone());
            return;
        }
        "items" | "additionalProperties" => raise(value),
        "anyOf" | "oneOf" | "allOf" | "prefixItems" => match value {
            Value::Array(members) => Value::Array(members.iter().map(raise).collect()),
            other => other.clone(),
        },
        "properties" | "$defs" | "defs" => match value {
            Value::Object(all) => {
                Value::Object(all.iter().map(|(name, schema)| (name.clone(), raise(schema))).collect())
            }
            other => other.clone(),
        },
        // Google's JSON writes 64-bit integers as strings.
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => value
            .as_str()
            .and_then(|text| text.parse::<u64>().ok())
            .map_or_else(|| value.clone(), Value::from),
        _ => value.clone(),
    };
    out.insert(if key == "defs" { "$defs".to_owned() } else { key.to_owned() }, raised);
}

fn allow_null(out: &mut Map<String, Value>) {
    match out.get_mut("type") {
        Some(name @ Value::String(_)) => *name = json!([name.clone(), "null"]),
        _ => {
            if let Some(Value::Array(members)) = out.get_mut("anyOf") {
                members.push(json!({"type": "null"}));
            }
        }
    }
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}
