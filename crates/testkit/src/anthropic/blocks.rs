//! The rules Anthropic enforces on one message and its blocks.

use serde_json::Value;

use super::check::{Checked, fields, missing, non_empty};
use super::signature;
use crate::fault::Fault;
use crate::json::{is_base64, text};

/// Checks the message at `at`, of `of`.
pub(super) fn turn(at: usize, message: &Value, of: usize) -> Checked {
    let path = format!("messages.{at}");
    fields(message, &["role", "content"], &path)?;
    let role = text(message, "role").unwrap_or_default();
    if !["user", "assistant", "system"].contains(&role) {
        return Err(Fault::invalid(format!("{path}.role: Input should be 'user' or 'assistant'")));
    }
    let last = at + 1 == of;
    let blocks = match message.get("content") {
        Some(Value::String(said)) if said.is_empty() && !(last && role == "assistant") => {
            return Err(Fault::invalid(format!("{path}: all messages must have non-empty content")));
        }
        Some(Value::String(said)) => return prefill(role, said, last),
        Some(Value::Array(blocks)) if !blocks.is_empty() => blocks,
        Some(Value::Array(_)) => {
            return Err(Fault::invalid(format!("{path}: all messages must have non-empty content")));
        }
        _ => return Err(missing(&format!("{path}.content"))),
    };
    for (index, part) in blocks.iter().enumerate() {
        block(role, part, &format!("{path}.content.{index}"))?;
    }
    prefill(role, blocks.last().and_then(|block| text(block, "text")).unwrap_or_default(), last)
}

/// An answer begun by the caller must not end in white space.
fn prefill(role: &str, said: &str, last: bool) -> Checked {
    if last && role == "assistant" && said.ends_with(char::is_whitespace) {
        let what = "messages: final assistant content cannot end with trailing whitespace";
        return Err(Fault::invalid(what));
    }
    Ok(())
}

fn block(role: &str, block: &Value, path: &str) -> Checked {
    let kind = text(block, "type").ok_or_else(|| missing(&format!("{path}.type")))?;
    let misplaced =
        || Err(Fault::invalid(format!("{path}: `{kind}` blocks are not allowed in `{role}` messages")));
    match kind {
        "text" => {
            fields(block, &["type", "text", "cache_control", "citations"], path)?;
            non_empty(block, path)
        }
        "image" | "document" if role == "user" => source(block, path),
        "tool_use" if role == "assistant" => {
            fields(block, &["type", "id", "name", "input", "cache_control", "caller"], path)?;
            if !block.get("input").is_some_and(Value::is_object) {
                return Err(Fault::invalid(format!(
                    "{path}.tool_use.input: Input should be a valid dictionary"
                )));
            }
            tool_id(block, "id", path)
        }
        "tool_result" if role == "user" => {
            fields(block, &["type", "tool_use_id", "content", "is_error", "cache_control"], path)?;
            tool_id(block, "tool_use_id", path)
        }
        "thinking" if role == "assistant" => {
            fields(block, &["type", "thinking", "signature"], path)?;
            let thought =
                text(block, "thinking").ok_or_else(|| missing(&format!("{path}.thinking.thinking")))?;
            if text(block, "signature") == Some(&signature(thought)) {
                return Ok(());
            }
            Err(Fault::invalid(format!("{path}: Invalid `signature` in `thinking` block")))
        }
        "redacted_thinking" if role == "assistant" => match text(block, "data") {
            Some(data) if is_base64(data) => Ok(()),
            _ => Err(Fault::invalid(format!("{path}: Invalid `data` in `redacted_thinking` block"))),
        },
        "image" | "document" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking" => misplaced(),
        "server_tool_use"
        | "web_search_tool_result"
        | "web_fetch_tool_result"
        | "code_execution_tool_result"
        | "bash_code_execution_tool_result"
        | "text_editor_code_execution_tool_result"
        | "tool_search_tool_result"
        | "container_upload"
        | "search_result"
        | "mcp_tool_use"
        | "mcp_tool_result"
        | "compaction" => Ok(()),
        _ => Err(Fault::invalid(format!(
            "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        ))),
    }
}

fn tool_id(block: &Value, key: &str, path: &str) -> Checked {
    let id = text(block, key).ok_or_else(|| missing(&format!("{path}.{key}")))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() || !id.chars().all(plain) {
        return Err(Fault::invalid(format!("{path}.{key}: String should match pattern '^[a-zA-Z0-9_-]+$'")));
    }
    Ok(())
}

fn source(block: &Value, path: &str) -> Checked {
    let source = block.get("source").unwrap_or(&Value::Null);
    let media = text(source, "media_type").unwrap_or_default();
    let image = text(block, "type") == Some("image");
    let known = ["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&media) == image
        && (image || media == "application/pdf");
    let fine = match text(source, "type") {
        Some("base64") => known && text(source, "data").is_some_and(is_base64),
        Some("url") => text(source, "url").is_some_and(|url| url.starts_with("https://")),
        Some("file") => text(source, "file_id").is_some(),
        Some("text") => !image && media == "text/plain" && text(source, "data").is_some(),
        Some("content") => !image,
        _ => false,
    };
    if fine { Ok(()) } else { Err(Fault::invalid(format!("{path}.source: Input is not a valid source"))) }
}
