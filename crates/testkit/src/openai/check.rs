//! The rules OpenAI enforces on a chat completion request.

use serde_json::Value;

use crate::fault::Fault;
use crate::json::{flag, is_base64, list, stranger, text};

/// Top-level fields of a chat completion request, from the official SDK's types.
const FIELDS: [&str; 37] = [
    "messages",
    "model",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

type Checked = Result<(), Fault>;

/// Refuses what OpenAI refuses; unknown fields only when `strict`.
pub(super) fn chat(body: &Value, strict: bool) -> Checked {
    if strict && let Some(field) = stranger(body, &FIELDS) {
        return Err(Fault::invalid(format!("Unrecognized request argument supplied: {field}")).at(field));
    }
    if text(body, "model").is_none_or(str::is_empty) {
        return Err(Fault::invalid("you must provide a model parameter"));
    }
    let messages = list(body, "messages");
    if messages.is_empty() {
        let what = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
        return Err(Fault::invalid(what).at("messages"));
    }
    for (at, message) in messages.iter().enumerate() {
        check_message(at, message)?;
    }
    check_order(messages)?;
    check_tools(body)?;
    check_numbers(body)?;
    check_limits(body)?;
    check_format(body, strict)
}

fn check_message(at: usize, message: &Value) -> Checked {
    let wrong = |path: &str, what: &str| Err(Fault::invalid(what).at(format!("messages[{at}]{path}")));
    let role = text(message, "role").unwrap_or_default();
    let content = message.get("content").filter(|content| !content.is_null());
    match (role, content) {
        ("assistant", None) => {
            let speaks = ["tool_calls", "function_call", "refusal", "audio"];
            if !speaks.iter().any(|key| message.get(key).is_some_and(|value| !value.is_null())) {
                return wrong(".content", "Invalid value for 'content': expected a string, got null.");
            }
        }
        ("system" | "developer" | "user" | "tool" | "function", None) => {
            return wrong(".content", "Invalid value for 'content': expected a string, got null.");
        }
        ("system" | "developer" | "user" | "assistant" | "tool" | "function", Some(content)) => {
            check_content(at, role, content)?;
        }
        _ => {
            return wrong(
                ".role",
                &format!(
                    "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                ),
            );
        }
    }
    for call in list(message, "tool_calls") {
        let function = call.get("function").unwrap_or(&Value::Null);
        let custom = call.get("custom").is_some();
        if text(call, "id").is_none() || (!custom && text(function, "name").is_none_or(str::is_empty)) {
            return wrong(".tool_calls", "Missing required parameter: 'id' or 'function.name'.");
        }
        let arguments = text(function, "arguments");
        if !custom && arguments.is_none_or(|json| serde_json::from_str::<Value>(json).is_err()) {
            return wrong(".tool_calls", "Invalid 'function.arguments': expected a string of JSON.");
        }
    }
    Ok(())
}

fn check_content(at: usize, role: &str, content: &Value) -> Checked {
    let Some(parts) = content.as_array() else {
        return match content {
            Value::String(_) => Ok(()),
            _ => Err(Fault::invalid("Invalid type for 'content'.").at(format!("messages[{at}].content"))),
        };
    };
    for (index, part) in parts.iter().enumerate() {
        let path = format!("messages[{at}].content[{index}]");
        let kind = text(part, "type").unwrap_or_default();
        let fine = match (role, kind) {
            (_, "text") => text(part, "text").is_some(),
            ("assistant", "refusal") => text(part, "refusal").is_some(),
            ("user", "image_url") => {
                part.pointer("/image_url/url").and_then(Value::as_str).is_some_and(is_image)
            }
            ("user", "input_audio") => {
                part.pointer("/input_audio/data").and_then(Value::as_str).is_some_and(is_base64)
            }
            ("user", "file") => part.get("file").is_some_and(Value::is_object),
            _ => false,
        };
        if !fine {
            return Err(Fault::invalid(format!("Invalid value: '{kind}' part in a {role} message.")).at(path));
        }
    }
    Ok(())
}

/// An address, or a data URL whose payload is base64.
fn is_image(url: &str) -> bool {
    match url.strip_prefix("data:image/") {
        Some(rest) => rest.split_once(";base64,").is_some_and(|(_, data)| is_base64(data)),
        None => url.starts_with("https://") || url.starts_with("http://"),
    }
}

/// Every tool call is answered right after it, and nothing else is.
fn check_order(messages: &[Value]) -> Checked {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if text(message, "role") == Some("tool") {
            let id = text(message, "tool_call_id").unwrap_or_default();
            let Some(found) = open.iter().position(|call| *call == id) else {
                let what = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return Err(Fault::invalid(what).at(format!("messages[{at}].role")));
            };
            open.swap_remove(found);
            continue;
        }
        unanswered(&open)?;
        open = list(message, "tool_calls").iter().filter_map(|call| text(call, "id")).collect();
    }
    unanswered(&open)
}

fn unanswered(open: &[&str]) -> Checked {
    if open.is_empty() {
        return Ok(());
    }
    let what = "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
                'tool_call_id'. The following tool_call_ids did not have response messages: ";
    Err(Fault::invalid(format!("{what}{}", open.join(", "))).at("messages"))
}

fn check_tools(body: &Value) -> Checked {
    let tools = list(body, "tools");
    if body.get("tools").is_some() && tools.is_empty() {
        return Err(Fault::invalid("Invalid 'tools': empty array.").at("tools"));
    }
    for (at, tool) in tools.iter().enumerate() {
        let wrong = |what: &str| Err(Fault::invalid(what).at(format!("tools[{at}]")));
        match text(tool, "type") {
            Some("custom") => continue,
            Some("function") => {}
            _ => return wrong("Invalid value for 'type'. Supported values are: 'function' and 'custom'."),
        }
        let function = tool.get("function").unwrap_or(&Value::Null);
        let name = text(function, "name").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return wrong("Invalid 'function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'.");
        }
        let parameters = function.get("parameters").filter(|schema| !schema.is_null());
        if parameters.is_some_and(|schema| text(schema, "type") != Some("object")) {
            return wrong("Invalid schema for function: schema must be a JSON Schema of 'type: \"object\"'.");
        }
        if flag(function, "strict")
            && let Some(parameters) = parameters
        {
            check_strict(parameters, &format!("tools[{at}].function.parameters"))?;
        }
    }
    if tools.is_empty() && body.get("tool_choice").is_some() {
        return Err(
            Fault::invalid("'tool_choice' is only allowed when 'tools' are specified.").at("tool_choice")
        );
    }
    if tools.is_empty() && body.get("parallel_tool_calls").is_some() {
        let what = "'parallel_tool_calls' is only allowed when 'tools' are specified.";
        return Err(Fault::invalid(what).at("parallel_tool_calls"));
    }
    Ok(())
}

fn check_numbers(body: &Value) -> Checked {
    let ranges = [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
        ("n", 1.0, 128.0),
        ("top_logprobs", 0.0, 20.0),
        ("max_tokens", 1.0, 1e9),
        ("max_completion_tokens", 1.0, 1e9),
    ];
    for (field, low, high) in ranges {
        let Some(value) = body.get(field).filter(|value| !value.is_null()) else { continue };
        if !value.as_f64().is_some_and(|number| (low..=high).contains(&number)) {
            return Err(Fault::invalid(format!(
                "Invalid '{field}': expected a number from {low} to {high}."
            ))
            .at(field));
        }
    }
    Ok(())
}

fn check_limits(body: &Value) -> Checked {
    if body.get("stream_options").is_some_and(|options| !options.is_null()) && !flag(body, "stream") {
        let what = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Fault::invalid(what).at("stream_options"));
    }
    if body.get("top_logprobs").is_some_and(Value::is_u64) && !flag(body, "logprobs") {
        return Err(Fault::invalid("'logprobs' must be true to use 'top_logprobs'.").at("top_logprobs"));
    }
    if list(body, "stop").len() > 4 {
        return Err(Fault::invalid("Invalid 'stop': array too long.").at("stop"));
    }
    let model = text(body, "model").unwrap_or_default();
    let reasons = ["o1", "o3", "o4", "gpt-5"].iter().any(|family| model.starts_with(family));
    if reasons && body.get("max_tokens").is_some() {
        let what = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(Fault::invalid(what).at("max_tokens").code("unsupported_parameter"));
    }
    Ok(())
}

fn check_format(body: &Value, strict: bool) -> Checked {
    let Some(format) = body.get("response_format").filter(|format| !format.is_null()) else { return Ok(()) };
    let wrong = |what: &str, path: &str| Err(Fault::invalid(what).at(path));
    match text(format, "type") {
        Some("text") => Ok(()),
        Some("json_object") => {
            let said = list(body, "messages")
                .iter()
                .any(|message| super::content_text(message).to_lowercase().contains("json"));
            if said || !strict {
                return Ok(());
            }
            wrong(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                "messages",
            )
        }
        Some("json_schema") => {
            let inner = format.get("json_schema").unwrap_or(&Value::Null);
            if text(inner, "name").is_none_or(str::is_empty) {
                return wrong(
                    "Missing required parameter: 'response_format.json_schema.name'.",
                    "response_format.json_schema.name",
                );
            }
            let Some(schema) = inner.get("schema") else {
                return wrong(
                    "Missing required parameter: 'response_format.json_schema.schema'.",
                    "response_format",
                );
            };
            if flag(inner, "strict") { check_strict(schema, "response_format") } else { Ok(()) }
        }
        _ => wrong("Invalid value for 'response_format.type'.", "response_format.type"),
    }
}

/// Strict schemas: every object is closed and requires all its properties.
fn check_strict(schema: &Value, path: &str) -> Checked {
    let wrong = |what: &str| {
        Err(Fault::invalid(format!("Invalid schema: {what}")).at(path).code("invalid_json_schema"))
    };
    if text(schema, "type") == Some("object") {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return wrong("'additionalProperties' is required to be supplied and to be false.");
        }
        let required = list(schema, "required");
        let properties = schema.get("properties").unwrap_or(&Value::Null);
        if crate::json::keys(properties).any(|key| !required.iter().any(|name| name.as_str() == Some(key))) {
            return wrong(
                "'required' is required to be supplied and to be an array including every key in properties.",
            );
        }
    }
    for inner in ["properties", "$defs"].iter().filter_map(|key| schema.get(key)?.as_object()).flatten() {
        check_strict(inner.1, path)?;
    }
    for inner in list(schema, "anyOf").iter().chain(schema.get("items")) {
        check_strict(inner, path)?;
    }
    Ok(())
}
