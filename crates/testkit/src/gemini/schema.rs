//! The rules of Gemini's schema dialect, an OpenAPI subset.

use serde_json::Value;

use super::check::{Checked, known};
use crate::fault::Fault;
use crate::json::{list, text};

/// Keywords of the vendor's schema dialect (an OpenAPI subset).
const SCHEMA: [&str; 21] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
];

/// The type in upper case.
pub(super) fn kind(schema: &Value) -> Option<String> {
    text(schema, "type").map(str::to_ascii_uppercase)
}

/// The vendor's schema dialect; plain JSON Schema goes into the `…JsonSchema` fields.
pub(super) fn check(schema: &Value, path: &str) -> Checked {
    let schema = &super::read::camel(schema);
    let mut fields = SCHEMA.to_vec();
    fields.push("maximum");
    known(schema, &fields, path)?;
    let types = ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", "TYPE_UNSPECIFIED"];
    match schema.get("type") {
        Some(Value::String(_)) if kind(schema).is_some_and(|kind| types.contains(&kind.as_str())) => {}
        Some(other) => {
            let what = format!(
                "Invalid value at '{path}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {other}"
            );
            return Err(Fault::invalid(what));
        }
        None if schema.get("anyOf").is_some() => {}
        None => {
            return Err(Fault::invalid(format!("* GenerateContentRequest.{path}.type: must be specified")));
        }
    }
    if list(schema, "enum").iter().any(|option| !option.is_string()) {
        return Err(Fault::invalid(format!("Invalid value at '{path}.enum[0]' (TYPE_STRING)")));
    }
    if kind(schema).as_deref() == Some("ARRAY") && schema.get("items").is_none() {
        return Err(Fault::invalid(format!("* GenerateContentRequest.{path}.items: missing field.")));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for required in list(schema, "required").iter().filter_map(Value::as_str) {
        if !properties.is_some_and(|properties| properties.contains_key(required)) {
            return Err(Fault::invalid(format!(
                "* GenerateContentRequest.{path}.required[0]: property is not defined"
            )));
        }
    }
    for (name, inner) in properties.into_iter().flatten() {
        check(inner, &format!("{path}.properties[{name}]"))?;
    }
    let mut inner = schema.get("items").into_iter().chain(list(schema, "anyOf"));
    inner.try_for_each(|inner| check(inner, path))
}
