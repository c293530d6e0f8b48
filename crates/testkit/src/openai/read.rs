//! A chat completion request, as the fake understands it.

use serde_json::Value;

use super::content_text;
use crate::json::{count, flag, list, text};
use crate::mind::{Choice, Format, Prompt, Tool, ToolResult};

/// Reads a request that has passed the checks.
pub(super) fn prompt(body: &Value) -> Prompt {
    let messages = list(body, "messages");
    let said_by = |roles: &'static [&str]| {
        messages.iter().filter(move |message| text(message, "role").is_some_and(|role| roles.contains(&role)))
    };
    let format = match body.pointer("/response_format/type").and_then(Value::as_str) {
        Some("json_object") => Format::Json,
        Some("json_schema") => {
            Format::Schema(body.pointer("/response_format/json_schema/schema").cloned().unwrap_or_default())
        }
        _ => Format::Text,
    };
    let systems: Vec<_> = said_by(&["system", "developer"]).map(content_text).collect();
    let everything: Vec<_> = messages.iter().map(content_text).collect();
    let tools_text = body.get("tools").map(Value::to_string).unwrap_or_default();
    Prompt {
        system: systems.join("\n"),
        user: said_by(&["user"]).next_back().map(content_text).unwrap_or_default(),
        media: messages.iter().flat_map(|message| list(message, "content")).filter_map(media).collect(),
        tools: list(body, "tools").iter().filter_map(tool).collect(),
        choice: choice(body),
        one_call: body.get("parallel_tool_calls") == Some(&Value::Bool(false)),
        results: results(messages),
        format,
        reasoning: false,
        max_tokens: count(body, "max_completion_tokens").or_else(|| count(body, "max_tokens")),
        choices: count(body, "n").unwrap_or(1),
        stops: stops(body),
        input: everything.concat() + &tools_text,
    }
}

/// The stop sequences: none, one or several.
pub(super) fn stops(body: &Value) -> Vec<String> {
    match body.get("stop") {
        Some(Value::String(one)) => vec![one.clone()],
        _ => list(body, "stop").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn media(part: &Value) -> Option<String> {
    match text(part, "type")? {
        "image_url" => {
            let url = part.pointer("/image_url/url")?.as_str()?;
            let kind = url.strip_prefix("data:").and_then(|rest| rest.split(';').next());
            Some(kind.unwrap_or("image").to_owned())
        }
        "input_audio" => Some(format!("audio/{}", part.pointer("/input_audio/format")?.as_str()?)),
        "file" => Some("file".to_owned()),
        _ => None,
    }
}

fn tool(tool: &Value) -> Option<Tool> {
    let function = tool.get("function")?;
    let schema = function.get("parameters").cloned().unwrap_or_default();
    Some(Tool { name: text(function, "name")?.to_owned(), schema })
}

fn choice(body: &Value) -> Choice {
    match body.get("tool_choice") {
        Some(Value::String(word)) if word == "none" => Choice::None,
        Some(Value::String(word)) if word == "required" => Choice::Any,
        Some(Value::Object(_)) => match body.pointer("/tool_choice/function/name").and_then(Value::as_str) {
            Some(name) => Choice::Named(name.to_owned()),
            None if body.pointer("/tool_choice/allowed_tools/mode") == Some(&Value::from("required")) => {
                Choice::Any
            }
            None => Choice::Auto,
        },
        _ => Choice::Auto,
    }
}

/// The tool messages at the end, in order, with the names of the tools they answer for.
fn results(messages: &[Value]) -> Vec<ToolResult> {
    let tail = messages.iter().rev().take_while(|message| text(message, "role") == Some("tool")).count();
    let (before, told) = messages.split_at(messages.len() - tail);
    let calls = before.last().map_or(&[][..], |asked| list(asked, "tool_calls"));
    let named = |message: &Value| {
        let call = calls.iter().find(|call| text(call, "id") == text(message, "tool_call_id"));
        call.and_then(|call| call.pointer("/function/name")?.as_str()).unwrap_or_default().to_owned()
    };
    told.iter().map(|message| ToolResult { name: named(message), text: content_text(message) }).collect()
}

/// Whether a stream must end with a usage chunk.
pub(super) fn wants_usage(body: &Value) -> bool {
    body.get("stream_options").is_some_and(|options| flag(options, "include_usage"))
}
