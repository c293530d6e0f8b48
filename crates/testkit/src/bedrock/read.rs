//! A request, as the fake understands it.

use serde_json::Value;

use crate::json::{count, flag, list, text};
use crate::mind::{Choice, Format, Prompt, Tool, ToolResult};

/// Reads a request that has passed the checks.
pub(super) fn prompt(body: &Value) -> Prompt {
    let messages = list(body, "messages");
    let users = messages.iter().filter(|message| text(message, "role") == Some("user"));
    let user = users.map(texts).rfind(|said| !said.is_empty()).unwrap_or_default();
    let system = joined(list(body, "system"));
    let everything: String = messages.iter().map(|message| joined(list(message, "content"))).collect();
    let config = body.get("toolConfig").unwrap_or(&Value::Null);
    let inference = body.get("inferenceConfig").unwrap_or(&Value::Null);
    let more = body.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema").and_then(Value::as_str);
    let schema = schema.and_then(|schema| serde_json::from_str(schema).ok());
    let thinks = more.pointer("/thinking/type").and_then(Value::as_str);
    Prompt {
        input: format!("{system}{everything}{config}"),
        system,
        user,
        media: messages.iter().flat_map(|message| list(message, "content")).filter_map(media).collect(),
        tools: list(config, "tools").iter().filter_map(tool).collect(),
        choice: choice(config),
        one_call: more.get("tool_choice").is_some_and(|choice| flag(choice, "disable_parallel_tool_use")),
        results: results(messages),
        format: schema.map_or(Format::Text, Format::Schema),
        reasoning: matches!(thinks, Some("enabled" | "adaptive")),
        max_tokens: count(inference, "maxTokens"),
        choices: 1,
        stops: list(inference, "stopSequences").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// The text blocks of a message, without its tool results.
fn texts(message: &Value) -> String {
    let blocks = list(message, "content").iter().filter_map(said);
    blocks.collect::<Vec<_>>().join("\n")
}

fn said(block: &Value) -> Option<&str> {
    text(block, "text").or_else(|| block.pointer("/guardContent/text/text")?.as_str())
}

/// All text of a content, tool results included.
fn joined(blocks: &[Value]) -> String {
    let texts = blocks.iter().map(|block| match (block.get("toolResult"), block.get("toolUse")) {
        (Some(result), _) => joined(list(result, "content")),
        (_, Some(call)) => call.get("input").map(Value::to_string).unwrap_or_default(),
        _ => said(block)
            .map(str::to_owned)
            .or_else(|| block.get("json").map(Value::to_string))
            .unwrap_or_default(),
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn media(block: &Value) -> Option<String> {
    ["image", "document", "video", "audio"]
        .into_iter()
        .find_map(|kind| text(block.get(kind)?, "format").map(|format| format!("{kind}/{format}")))
}

fn tool(tool: &Value) -> Option<Tool> {
    let spec = tool.get("toolSpec")?;
    let schema = spec.pointer("/inputSchema/json")?.clone();
    Some(Tool { name: text(spec, "name")?.to_owned(), schema })
}

fn choice(config: &Value) -> Choice {
    let Some(choice) = config.get("toolChoice") else { return Choice::Auto };
    if choice.get("any").is_some() {
        return Choice::Any;
    }
    let named = choice.pointer("/tool/name").and_then(Value::as_str);
    named.map_or(Choice::Auto, |name| Choice::Named(name.to_owned()))
}

/// The tool results of the last message, when no text of the user follows them.
fn results(messages: &[Value]) -> Vec<ToolResult> {
    let Some(last) = messages.last().filter(|last| texts(last).is_empty()) else { return Vec::new() };
    let before = messages.len().checked_sub(2).and_then(|at| messages.get(at));
    let calls = before.map_or(&[][..], |asked| list(asked, "content"));
    let told = list(last, "content").iter().filter_map(|block| block.get("toolResult"));
    told.map(|result| {
        let mut calls = calls.iter().filter_map(|block| block.get("toolUse"));
        let call = calls.find(|call| text(call, "toolUseId") == text(result, "toolUseId"));
        let name = call.and_then(|call| text(call, "name")).unwrap_or_default().to_owned();
        ToolResult { name, text: joined(list(result, "content")) }
    })
    .collect()
}
