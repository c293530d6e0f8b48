//! A messages request, as the fake understands it.

use serde_json::Value;

use crate::json::{count, flag, list, text};
use crate::mind::{Choice, Format, Prompt, Tool, ToolResult};

/// Reads a request that has passed the checks.
pub(super) fn prompt(body: &Value) -> Prompt {
    let messages = list(body, "messages");
    let users = messages.iter().filter(|message| text(message, "role") == Some("user"));
    let user = users.map(texts).rfind(|said| !said.is_empty()).unwrap_or_default();
    let system = content_text(body.get("system"));
    let everything: String = messages.iter().map(|message| content_text(message.get("content"))).collect();
    let tools_text = body.get("tools").map(Value::to_string).unwrap_or_default();
    let schema =
        body.pointer("/output_config/format/schema").or_else(|| body.pointer("/output_format/schema"));
    Prompt {
        input: format!("{system}{everything}{tools_text}"),
        system,
        user,
        media: messages.iter().flat_map(|message| list(message, "content")).filter_map(media).collect(),
        tools: list(body, "tools").iter().filter_map(tool).collect(),
        choice: choice(body),
        one_call: body.get("tool_choice").is_some_and(|choice| flag(choice, "disable_parallel_tool_use")),
        results: results(messages),
        format: schema.map_or(Format::Text, |schema| Format::Schema(schema.clone())),
        reasoning: matches!(
            body.pointer("/thinking/type").and_then(Value::as_str),
            Some("enabled" | "adaptive")
        ),
        max_tokens: count(body, "max_tokens"),
        choices: 1,
        stops: list(body, "stop_sequences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// The text blocks of a message, without its tool results.
fn texts(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(all)) => all.clone(),
        _ => list(message, "content")
            .iter()
            .filter_map(|block| text(block, "text"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// All text of a content, tool results and thinking included.
fn content_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(all)) => all.clone(),
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().map(|block| match text(block, "type") {
                Some("tool_result") => content_text(block.get("content")),
                Some("tool_use") => block.get("input").map(Value::to_string).unwrap_or_default(),
                _ => text(block, "text").or_else(|| text(block, "thinking")).unwrap_or_default().to_owned(),
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

fn media(block: &Value) -> Option<String> {
    let kind = text(block, "type").filter(|kind| ["image", "document"].contains(kind))?;
    let source = block.get("source")?;
    Some(text(source, "media_type").unwrap_or(kind).to_owned())
}

fn tool(tool: &Value) -> Option<Tool> {
    let schema = tool.get("input_schema")?.clone();
    Some(Tool { name: text(tool, "name")?.to_owned(), schema })
}

fn choice(body: &Value) -> Choice {
    let Some(choice) = body.get("tool_choice") else { return Choice::Auto };
    match (text(choice, "type"), text(choice, "name")) {
        (Some("any"), _) => Choice::Any,
        (Some("tool"), Some(name)) => Choice::Named(name.to_owned()),
        (Some("none"), _) => Choice::None,
        _ => Choice::Auto,
    }
}

/// The tool results of the last message, when no text of the user follows them.
fn results(messages: &[Value]) -> Vec<ToolResult> {
    let Some(last) = messages.last().filter(|last| texts(last).is_empty()) else { return Vec::new() };
    let before = messages.len().checked_sub(2).and_then(|at| messages.get(at));
    let calls = before.map_or(&[][..], |asked| list(asked, "content"));
    let told = list(last, "content").iter().filter(|block| text(block, "type") == Some("tool_result"));
    told.map(|result| {
        let call = calls
            .iter()
            .find(|call| text(call, "id").is_some() && text(call, "id") == text(result, "tool_use_id"));
        let name = call.and_then(|call| text(call, "name")).unwrap_or_default().to_owned();
        ToolResult { name, text: content_text(result.get("content")) }
    })
    .collect()
}
