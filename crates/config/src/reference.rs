//! The JSON schema, and the reference page made from it.
//!
//! Both come from the doc comments of the settings. The schema also names LiteLLM's other keys, so that an editor marks
//! exactly what [`crate::load`] calls an error.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::{known, scalar};

/// A section: its type in the schema, where it stands in the file, and its list of LiteLLM's keys.
struct Part {
    definition: &'static str,
    path: &'static str,
    known: &'static str,
    /// Fields of the struct that are no keys of their own.
    gathered: &'static [&'static str],
}

const fn part(
    definition: &'static str,
    path: &'static str,
    known: &'static str,
    gathered: &'static [&'static str],
) -> Part {
    Part { definition, path, known, gathered }
}

/// In the order of the page.
static PARTS: &[Part] = &[
    part("", "", "top", &[]),
    part("Deployment", "model_list[]", "model_list", &[]),
    part("LitellmParams", "model_list[].litellm_params", "litellm_params", &["prices", "defaults"]),
    part("ModelInfo", "model_list[].model_info", "model_info", &["prices", "supports", "other"]),
    part("Credential", "credential_list[]", "credential_list", &[]),
    part("LitellmSettings", "litellm_settings", "litellm_settings", &[]),
    part("RouterSettings", "router_settings", "router_settings", &[]),
    part("StrategyArguments", "router_settings.routing_strategy_args", "routing_strategy_args", &[]),
    part("GeneralSettings", "general_settings", "general_settings", &[]),
    part("Tollway", "tollway", "tollway", &[]),
    part("Limits", "tollway.limits", "tollway.limits", &[]),
    part("Timeouts", "tollway.timeouts", "", &[]),
    part("CallLimits", "tollway.calls", "", &[]),
    part("RetryBudget", "tollway.retry_budget", "", &[]),
    part("Receipts", "tollway.receipts", "", &[]),
    part("Log", "tollway.log", "tollway.log", &[]),
];

/// The JSON schema (draft 2020-12) of the file, for editors.
///
/// Takes what [`crate::load`] takes, environment references included. Keys of LiteLLM that are not built are allowed
/// and say so; unknown keys are not allowed, except in `model_info`, which is free-form.
pub fn json_schema() -> Value {
    let mut schema = raw_schema();
    for part in PARTS {
        if let Some(section) = section_mut(&mut schema, part) {
            complete(section, part);
        }
    }
    accept_references(&mut schema);
    schema
}

fn raw_schema() -> Value {
    Value::from(schemars::schema_for!(Config))
}

fn section_mut<'s>(schema: &'s mut Value, part: &Part) -> Option<&'s mut Map<String, Value>> {
    let section = if part.definition.is_empty() {
        Some(schema)
    } else {
        schema.get_mut("$defs").and_then(|definitions| definitions.get_mut(part.definition))
    };
    section.and_then(Value::as_object_mut)
}

/// Names LiteLLM's other keys in a section, and the defaults its doc comments give.
fn complete(section: &mut Map<String, Value>, part: &Part) {
    let free_form = part.definition == "ModelInfo";
    section.insert("additionalProperties".to_owned(), Value::Bool(free_form));
    let Some(properties) = section.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for name in part.gathered {
        properties.shift_remove(*name);
    }
    for (name, property) in properties.iter_mut() {
        let default =
            property.get("description").and_then(Value::as_str).and_then(default_of).map(scalar::json);
        if let (Some(default), Some(property)) =
            (default.filter(|_| name != "level"), property.as_object_mut())
        {
            property.insert("default".to_owned(), default);
        }
    }
    for key in known::keys(part.known).filter(|key| !key.is_empty()) {
        if properties.contains_key(key) {
            continue;
        }
        let value = if is_price(key) {
            json!({ "description": "Price in US dollars a unit.", "type": ["number", "string", "object", "null"] })
        } else if known::is_request_parameter(key) && part.known == "litellm_params" {
            continue;
        } else {
            let group = known::GROUPS.get(known::group_of_key(part.known, key));
            let meaning = group.map_or("", |group| group.meaning);
            json!({ "description": format!("Known, not built yet: {meaning}."), "deprecated": true })
        };
        properties.insert(key.to_owned(), value);
    }
    if part.known == "litellm_params" {
        for key in known::keys("request") {
            properties
                .insert(key.to_owned(), json!({ "description": "Used where the caller does not set it." }));
        }
        properties
            .insert("base_url".to_owned(), json!({ "description": "Same as `api_base`.", "type": "string" }));
    }
}

fn is_price(key: &str) -> bool {
    key.contains("cost") || key.contains("uplift_multiplier")
}

/// Lets numbers, booleans and choices be references to the environment, and booleans be what YAML 1.1 calls so.
fn accept_references(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(accept_references),
        Value::Object(object) => {
            let aliases = object.shift_remove("aliases");
            if let Some(Value::Array(choices)) = object.get_mut("oneOf") {
                let more = aliases.as_ref().and_then(Value::as_array).into_iter().flatten();
                choices.extend(more.map(|alias| json!({ "const": alias, "description": "Older name." })));
                choices.push(json!({ "type": "string", "pattern": "^os\\.environ/." }));
            }
            accept_scalar(object);
            object.values_mut().for_each(accept_references);
        }
        _ => {}
    }
}

fn accept_scalar(object: &mut Map<String, Value>) {
    let types: Vec<String> = match object.get("type") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return,
    };
    let has = |name: &str| types.iter().any(|kind| kind == name);
    if has("string") || has("object") || has("array") {
        return;
    }
    let pattern = if has("boolean") {
        "^(os\\.environ/.+|[Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF)$"
    } else if has("integer") || has("number") {
        "^(os\\.environ/.+|[0-9][0-9_.eE+-]*)$"
    } else {
        return;
    };
    let mut types: Vec<Value> = types.into_iter().map(Value::String).collect();
    types.extend(
        ["string", "null"]
            .into_iter()
            .map(Value::from)
            .filter(|kind| !types.contains(kind))
            .collect::<Vec<_>>(),
    );
    object.insert("type".to_owned(), Value::Array(types));
    object.insert("pattern".to_owned(), Value::from(pattern));
}

/// The default that a description gives as a value: ``Default: `x`.``
fn default_of(description: &str) -> Option<&str> {
    let (_, rest) = description.split_once("Default: `")?;
    let (value, rest) = rest.split_once('`')?;
    // A default in words, such as "`timeout`", names another setting.
    let is_setting = value.contains('.') && value.contains('_') || value == "timeout";
    (rest.starts_with('.') && !is_setting && !value.starts_with("OPENAI")).then_some(value)
}

/// The reference page, in Markdown: every setting with its type, meaning, default and example, and which known settings
/// have no effect yet.
pub fn reference_markdown() -> String {
    let mut schema = raw_schema();
    let mut page = String::from(
        "# Configuration\n\nThe file is YAML. Any value may be `os.environ/NAME`: the environment variable of that name. \
         Times are numbers of seconds, or text such as `30s`, `5m`, `1h30m`; sizes are numbers of bytes, or text such as \
         `16KiB`, `32MiB`; prices are US dollars, kept exactly as written.\n",
    );
    let definitions = schema.get("$defs").cloned().unwrap_or_default();
    for part in PARTS {
        let Some(section) = section_mut(&mut schema, part) else { continue };
        let description = section.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        let title = if part.path.is_empty() { "The file".to_owned() } else { format!("`{}`", part.path) };
        let _ = write!(page, "\n## {title}\n\n{}\n\n", paragraph(&description));
        let properties = section.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, property) in &properties {
            let description =
                paragraph(property.get("description").and_then(Value::as_str).unwrap_or_default());
            if part.gathered.contains(&name.as_str()) {
                let _ = writeln!(page, "- *{name}*: {description}");
            } else {
                let _ = writeln!(page, "- **`{name}`** ({}): {description}", kind(property));
                page.push_str(&choices(property, &definitions));
            }
        }
    }
    page.push_str(&not_built(&mut schema));
    page
}

/// The words that a setting takes, each with its meaning, where only some are taken.
fn choices(property: &Value, definitions: &Value) -> String {
    let optional = property.get("anyOf").and_then(Value::as_array).and_then(|options| options.first());
    let target = optional.unwrap_or(property).get("$ref").and_then(Value::as_str).unwrap_or_default();
    let name = target.rsplit('/').next().unwrap_or_default();
    let words =
        definitions.get(name).and_then(|definition| definition.get("oneOf")).and_then(Value::as_array);
    let mut text = String::new();
    for word in words.into_iter().flatten() {
        let part = |key: &str| word.get(key).and_then(Value::as_str).unwrap_or_default();
        let _ = writeln!(text, "  - `{}`: {}", part("const"), paragraph(part("description")));
    }
    text
}

/// A doc comment as one line.
fn paragraph(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type of a setting in a few words.
fn kind(property: &Value) -> String {
    let reference = |value: &Value| {
        let target = value.get("$ref").and_then(Value::as_str)?;
        let name = target.rsplit('/').next()?;
        Some(
            PARTS
                .iter()
                .find(|part| part.definition == name)
                .map_or_else(|| words(name), |_| "section".to_owned()),
        )
    };
    if let Some(named) = reference(property) {
        return named;
    }
    if let Some(Value::Array(options)) = property.get("anyOf") {
        return options
            .iter()
            .filter(|option| option.get("type") != Some(&json!("null")))
            .map(kind)
            .collect();
    }
    match property.get("format").and_then(Value::as_str) {
        Some("duration") => return "time".to_owned(),
        Some("size") => return "size".to_owned(),
        Some("decimal") => return "price".to_owned(),
        _ => {}
    }
    let types = property.get("type");
    let first = match types {
        Some(Value::Array(types)) => types.first().and_then(Value::as_str),
        Some(Value::String(one)) => Some(one.as_str()),
        _ => None,
    };
    match first {
        Some("array") => format!("list of {}", property.get("items").map_or("values".to_owned(), kind)),
        _ if property.get("oneOf").is_some() => "one of".to_owned(),
        Some("object") => match property.get("additionalProperties") {
            Some(values @ Value::Object(_)) => format!("map of {}", kind(values)),
            _ => "map".to_owned(),
        },
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("boolean") => "yes or no".to_owned(),
        Some(other) => other.to_owned(),
        None => "any value".to_owned(),
    }
}

/// `FailureCounts` as `failure counts`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The known keys that load with a warning, by what is lost.
fn not_built(schema: &mut Value) -> String {
    let mut groups: Vec<Vec<String>> = vec![Vec::new(); known::GROUPS.len()];
    for name in known::sections().filter(|name| *name != "request") {
        let part = PARTS.iter().find(|part| part.known == name);
        let built = part
            .and_then(|part| section_mut(schema, part))
            .and_then(|section| section.get("properties").cloned());
        let is_built = |key: &str| built.as_ref().is_some_and(|built| built.get(key).is_some());
        let request =
            |key: &str| name == "litellm_params" && (known::is_request_parameter(key) || key == "base_url");
        for key in known::keys(name).filter(|key| !is_built(key) && !is_price(key) && !request(key)) {
            let shown = if name == known::TOP { key.to_owned() } else { format!("{name}.{key}") };
            if let Some(group) = groups.get_mut(known::group_of_key(name, key)) {
                group.push(format!("`{shown}`"));
            }
        }
    }
    let mut text = String::from(
        "\n## Settings that are not built yet\n\nA file with these loads, and each load says which of them it has. \
         Those marked **danger** are protection that is not in force.\n",
    );
    for (group, keys) in known::GROUPS.iter().zip(groups).filter(|(_, keys)| !keys.is_empty()) {
        let mut what = group.what.trim_end_matches(" is").trim_end_matches(" are").to_owned();
        if what == "these settings" {
            "others".clone_into(&mut what);
        }
        let danger = if group.severity == crate::Severity::Danger { " (**danger**)" } else { "" };
        let _ = write!(text, "\n### {what}{danger}\n\nThat is: {}.\n\n{}\n", group.meaning, keys.join(", "));
    }
    text
}

#[cfg(test)]
mod tests;
