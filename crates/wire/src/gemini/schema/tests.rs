use proptest::prelude::*;

use super::*;

/// Says why `schema` is not in Gemini's subset.
fn validate(schema: &Value, at: &str) -> Result<(), String> {
    let object = schema.as_object().ok_or(format!("{at}: not an object"))?;
    if let Some(branches) = object.get("anyOf") {
        if object.len() > 1 {
            return Err(format!("{at}: anyOf is not alone"));
        }
        let branches =
            branches.as_array().filter(|all| all.len() > 1).ok_or(format!("{at}: anyOf of few"))?;
        return branches
            .iter()
            .enumerate()
            .try_for_each(|(i, one)| validate(one, &format!("{at}.anyOf[{i}]")));
    }
    let kind = object.get("type").and_then(Value::as_str).ok_or(format!("{at}: no type"))?;
    if !["OBJECT", "ARRAY", "STRING", "INTEGER", "NUMBER", "BOOLEAN"].contains(&kind) {
        return Err(format!("{at}: type {kind}"));
    }
    for (key, value) in object {
        let at = format!("{at}.{key}");
        let good = match (key.as_str(), kind) {
            ("type", _) => true,
            ("title" | "description", _) => value.is_string(),
            ("nullable", _) => value.is_boolean(),
            ("format", _) => format_fits(kind, value),
            ("enum", "STRING") => value.as_array().is_some_and(|all| {
                !all.is_empty() && all.iter().all(|one| one.as_str().is_some_and(|text| !text.is_empty()))
            }),
            ("minLength" | "maxLength", "STRING") | ("minItems" | "maxItems", "ARRAY") => value.is_u64(),
            ("minProperties" | "maxProperties", "OBJECT") => value.is_u64(),
            ("pattern", "STRING") => value.is_string(),
            ("minimum" | "maximum", "INTEGER" | "NUMBER") => value.is_number(),
            ("items", "ARRAY") => {
                validate(value, &at)?;
                true
            }
            ("properties", "OBJECT") => {
                let all = value.as_object().filter(|all| !all.is_empty()).ok_or(format!("{at}: empty"))?;
                all.iter().try_for_each(|(name, one)| validate(one, &format!("{at}.{name}")))?;
                true
            }
            ("required" | "propertyOrdering", "OBJECT") => {
                let all =
                    object.get("properties").and_then(Value::as_object).ok_or(format!("{at}: of nothing"))?;
                value.as_array().is_some_and(|names| {
                    names.iter().all(|name| name.as_str().is_some_and(|name| all.contains_key(name)))
                })
            }
            _ => false,
        };
        if !good {
            return Err(format!("{at}: {value}"));
        }
    }
    if kind == "ARRAY" && !object.contains_key("items") {
        return Err(format!("{at}: no items"));
    }
    Ok(())
}

fn check(schema: Value, expected: Value, lost: &[&str]) {
    let lowered = lower(&schema);
    assert_eq!(lowered.schema, expected, "{schema}");
    assert_eq!(lowered.lost, lost, "{schema}");
    validate(&lowered.schema, "$").unwrap();
}

#[test]
fn objects_keep_their_order_and_lose_what_gemini_does_not_know() {
    check(
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"city": {"type": "string", "default": "Oslo"}, "area": {"type": "number"}},
            "required": ["city", "ghost"],
            "additionalProperties": false
        }),
        json!({
            "type": "OBJECT",
            "propertyOrdering": ["city", "area"],
            "properties": {"city": {"type": "STRING"}, "area": {"type": "NUMBER"}},
            "required": ["city"]
        }),
        &[],
    );
    check(json!({"type": "object", "properties": {}}), json!({"type": "OBJECT"}), &[]);
    check(json!({}), json!({"type": "STRING"}), &[]);
    check(json!(true), json!({"type": "STRING"}), &[]);
    check(
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        json!({"type": "OBJECT"}),
        &["additionalProperties"],
    );
}

#[test]
fn null_becomes_nullable() {
    check(
        json!({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "a name", "default": null}),
        json!({"type": "STRING", "description": "a name", "nullable": true}),
        &[],
    );
    check(json!({"type": ["integer", "null"]}), json!({"type": "INTEGER", "nullable": true}), &[]);
    check(
        json!({"enum": ["a", "b", null, ""]}),
        json!({"type": "STRING", "nullable": true, "enum": ["a", "b"]}),
        &[],
    );
    check(json!({"type": "null"}), json!({"type": "STRING"}), &[]);
}

#[test]
fn unions_stand_alone() {
    check(
        json!({"type": ["string", "integer"], "minLength": 1, "minimum": 2}),
        json!({"anyOf": [{"type": "STRING", "minLength": 1}, {"type": "INTEGER", "minimum": 2}]}),
        &["minimum", "minLength"],
    );
    check(
        json!({"oneOf": [{"type": "string"}, {"type": "object", "properties": {"a": {"type": "string"}}}]}),
        json!({"anyOf": [
            {"type": "STRING"},
            {"type": "OBJECT", "propertyOrdering": ["a"], "properties": {"a": {"type": "STRING"}}}
        ]}),
        &[],
    );
    check(
        json!({"anyOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"type": "string"}], "description": "d"}),
        json!({"anyOf": [{"type": "STRING", "description": "d"}, {"type": "INTEGER", "description": "d"}]}),
        &[],
    );
    check(
        json!({"anyOf": [{"const": "a"}, {"const": "b"}], "description": "which"}),
        json!({"type": "STRING", "enum": ["a", "b"], "description": "which"}),
        &[],
    );
}

#[test]
fn constants_become_enums_or_words() {
    check(json!({"const": "x"}), json!({"type": "STRING", "enum": ["x"]}), &[]);
    check(json!({"const": 4}), json!({"type": "INTEGER", "description": "One of: 4."}), &[]);
    check(
        json!({"enum": [1, 2], "description": "How many."}),
        json!({"type": "INTEGER", "description": "How many. One of: 1, 2."}),
        &[],
    );
}

#[test]
fn references_are_inlined_and_recursion_is_cut() {
    check(
        json!({
            "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
            "$ref": "#/$defs/Node"
        }),
        json!({
            "type": "OBJECT", "propertyOrdering": ["next"], "properties": {"next": {"type": "OBJECT"}}
        }),
        &["recursive $ref"],
    );
    check(
        json!({
            "definitions": {"City": {"type": "string", "description": "a city"}},
            "type": "array",
            "items": {"$ref": "#/definitions/City", "description": "where"}
        }),
        json!({"type": "ARRAY", "items": {"type": "STRING", "description": "where"}}),
        &[],
    );
    check(json!({"$ref": "https://other.example/schema"}), json!({"type": "STRING"}), &["$ref"]);
}

#[test]
fn intersections_tuples_formats_and_bounds() {
    check(
        json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
        ]}),
        json!({
            "type": "OBJECT",
            "propertyOrdering": ["a", "b"],
            "properties": {"a": {"type": "STRING"}, "b": {"type": "BOOLEAN"}},
            "required": ["a", "b"]
        }),
        &[],
    );
    check(
        json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}),
        json!({"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}}),
        &[],
    );
    check(json!({"type": "array"}), json!({"type": "ARRAY", "items": {"type": "STRING"}}), &[]);
    check(json!({"type": "string", "format": "uri"}), json!({"type": "STRING"}), &["format"]);
    check(
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "STRING", "format": "date-time"}),
        &[],
    );
    check(json!({"type": "integer", "exclusiveMinimum": 0}), json!({"type": "INTEGER", "minimum": 1}), &[]);
    check(json!({"type": "number", "multipleOf": 0.5}), json!({"type": "NUMBER"}), &["multipleOf"]);
    check(json!({"not": {"type": "string"}}), json!({"type": "STRING"}), &["not"]);
}

#[test]
fn what_clients_send_in_googles_form_becomes_json_schema() {
    let google = json!({
        "type": "OBJECT",
        "properties": {
            "b": {"type": "STRING", "nullable": true, "enum": ["x"], "format": "enum"},
            "a": {"type": "ARRAY", "min_items": "1", "items": {"any_of": [{"type": "INTEGER"}, {"type": "NUMBER"}]}}
        },
        "property_ordering": ["a", "b"],
        "required": ["a"]
    });
    let expected = json!({
        "type": "object",
        "properties": {
            "a": {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "integer"}, {"type": "number"}]}},
            "b": {"type": ["string", "null"], "enum": ["x", null]}
        },
        "required": ["a"]
    });
    let raised = raise(&google);
    assert_eq!(raised, expected);
    let names: Vec<_> = raised["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["a", "b"]);
    validate(&lower(&raised).schema, "$").unwrap();
}

fn any_schema() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just(json!({"type": "string", "format": "email"})),
        Just(json!({"type": ["string", "null", "array"]})),
        Just(json!({"$ref": "#/$defs/Self"})),
        Just(json!({"const": 1.5})),
        Just(json!({"enum": [true, null]})),
        Just(json!({})),
        Just(json!(false)),
        Just(json!({"type": "object", "patternProperties": {"^x": {}}})),
    ];
    word.prop_recursive(4, 24, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (list.clone(), "anyOf|oneOf|allOf").prop_map(|(all, key)| json!({key: all, "description": "d"})),
            inner.clone().prop_map(|one| json!({"type": "array", "items": one, "minItems": 1})),
            list.prop_map(|all| json!({"type": "array", "prefixItems": all})),
            (inner.clone(), inner).prop_map(|(a, b)| {
                json!({"properties": {"a": a, "b": b}, "required": ["a", "z"], "additionalProperties": {}})
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_lowered_schema_is_in_the_subset(mut schema in any_schema()) {
        if let Some(object) = schema.as_object_mut() {
            object.insert("$defs".into(), json!({"Self": {"type": "array", "items": {"$ref": "#"}}}));
        }
        let lowered = lower(&schema).schema;
        prop_assert_eq!(validate(&lowered, "$"), Ok(()), "{} from {}", lowered, schema);
    }
}
