//! A `generateContent` request, as the fake understands it.

use serde_json::{Map, Value};

use crate::json::{count, flag, list, text};
use crate::mind::{Choice, Format, Prompt, Tool, ToolResult};

/// Members whose content is the caller's and keeps its names.
const OPAQUE: [&str; 9] = [
    "args",
    "response",
    "properties",
    "defs",
    "$defs",
    "parametersJsonSchema",
    "responseJsonSchema",
    "responseSchema",
    "labels",
];

/// The same request with lowerCamelCase names; the vendor takes snake_case too.
pub(super) fn camel(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.iter().map(|(key, value)| {
                let key = camel_name(key);
                let value = if OPAQUE.contains(&key.as_str()) { value.clone() } else { camel(value) };
                (key, value)
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(camel).collect(),
        other => other.clone(),
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name + letters.as_str()
    })
}

/// Reads a request that has passed the checks.
pub(super) fn prompt(body: &Value) -> Prompt {
    let contents = list(body, "contents");
    let config = body.get("generationConfig").unwrap_or(&Value::Null);
    let users = contents.iter().filter(|content| text(content, "role") != Some("model"));
    let user = users.map(said).rfind(|said| !said.is_empty()).unwrap_or_default();
    let system = body.get("systemInstruction").map(said).unwrap_or_default();
    let everything: String =
        contents.iter().flat_map(|content| list(content, "parts")).map(part_text).collect();
    let tools_text = body.get("tools").map(Value::to_string).unwrap_or_default();
    let parts = contents.iter().flat_map(|content| list(content, "parts"));
    Prompt {
        input: format!("{system}{everything}{tools_text}"),
        system,
        user,
        media: parts.filter_map(media).collect(),
        tools: declarations(body).filter_map(tool).collect(),
        choice: choice(body),
        one_call: false,
        results: results(contents),
        format: format(config),
        reasoning: config.get("thinkingConfig").is_some_and(|thinking| flag(thinking, "includeThoughts")),
        max_tokens: count(config, "maxOutputTokens"),
        choices: count(config, "candidateCount").unwrap_or(1),
        stops: list(config, "stopSequences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// Every function declaration of a request.
pub(super) fn declarations(body: &Value) -> impl Iterator<Item = &Value> {
    list(body, "tools").iter().flat_map(|tool| list(tool, "functionDeclarations"))
}

fn said(content: &Value) -> String {
    let parts = list(content, "parts").iter().filter(|part| !flag(part, "thought"));
    parts.filter_map(|part| text(part, "text")).collect::<Vec<_>>().join("\n")
}

fn part_text(part: &Value) -> String {
    let inner = part.pointer("/functionResponse/response").or_else(|| part.pointer("/functionCall/args"));
    inner.map_or_else(|| text(part, "text").unwrap_or_default().to_owned(), Value::to_string)
}

fn media(part: &Value) -> Option<String> {
    let data = part.get("inlineData").or_else(|| part.get("fileData"))?;
    Some(text(data, "mimeType").unwrap_or("file").to_owned())
}

fn tool(declaration: &Value) -> Option<Tool> {
    let schema = declaration.get("parametersJsonSchema").or_else(|| declaration.get("parameters"));
    Some(Tool { name: text(declaration, "name")?.to_owned(), schema: schema.cloned().unwrap_or_default() })
}

fn choice(body: &Value) -> Choice {
    let Some(config) = body.pointer("/toolConfig/functionCallingConfig") else { return Choice::Auto };
    match (text(config, "mode"), list(config, "allowedFunctionNames")) {
        (Some("NONE"), _) => Choice::None,
        (Some("ANY"), [only]) => only.as_str().map_or(Choice::Any, |name| Choice::Named(name.to_owned())),
        (Some("ANY"), _) => Choice::Any,
        _ => Choice::Auto,
    }
}

fn format(config: &Value) -> Format {
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    match (schema, text(config, "responseMimeType")) {
        (Some(schema), _) => Format::Schema(schema.clone()),
        (None, Some("application/json")) => Format::Json,
        _ => Format::Text,
    }
}

/// The function responses of the last content, when no text of the user follows them.
fn results(contents: &[Value]) -> Vec<ToolResult> {
    let Some(last) = contents.last().filter(|last| said(last).is_empty()) else { return Vec::new() };
    let responses = list(last, "parts").iter().filter_map(|part| part.get("functionResponse"));
    responses
        .map(|response| {
            let value = response.get("response").unwrap_or(&Value::Null);
            let inner = ["result", "content", "output"].iter().find_map(|key| text(value, key));
            ToolResult {
                name: text(response, "name").unwrap_or_default().to_owned(),
                text: inner.map_or_else(|| value.to_string(), str::to_owned),
            }
        })
        .collect()
}
