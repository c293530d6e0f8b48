//! The rules Bedrock enforces on turns and their blocks.

use serde_json::Value;

use super::check::{Checked, cache_point, fields, name, not_blank, one, wrong};
use super::signature;
use crate::fault::Fault;
use crate::json::{is_base64, list, text};

const BLOCKS: [&str; 11] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
];

/// Checks all turns.
pub(super) fn check(messages: &[Value]) -> Checked {
    let mut previous = "assistant";
    let mut names = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages.{at}");
        fields(message, &["role", "content"], &path)?;
        let role = text(message, "role").unwrap_or_default();
        if !["user", "assistant"].contains(&role) {
            return Err(wrong(&format!("{path}.role"), "must be user or assistant"));
        }
        if role == previous {
            return Err(Fault::invalid(if at == 0 {
                "A conversation must start with a user message. Try again with a conversation that starts with a user message."
            } else {
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again."
            }));
        }
        previous = role;
        let blocks = list(message, "content");
        if blocks.is_empty() {
            return Err(Fault::invalid(format!(
                "The content field in the Message object at {path} is empty. Add a ContentBlock object to the content field and try again."
            )));
        }
        for (index, block) in blocks.iter().enumerate() {
            content(role, block, &format!("{path}.content.{index}"), &mut names)?;
        }
        let has = |kind: &str| blocks.iter().any(|block| block.get(kind).is_some());
        if has("document") && !has("text") {
            return Err(Fault::invalid(
                "A text block must be included in the message when a document is provided.",
            ));
        }
        if role == "assistant"
            && at + 1 == messages.len()
            && blocks
                .last()
                .and_then(|block| text(block, "text"))
                .is_some_and(|said| said.ends_with(char::is_whitespace))
        {
            return Err(Fault::invalid("final assistant content cannot end with trailing whitespace"));
        }
    }
    if names.iter().enumerate().any(|(at, name)| names.iter().skip(at + 1).any(|other| other == name)) {
        return Err(Fault::invalid("Duplicate document names are not allowed."));
    }
    pairs(messages)
}

fn content(role: &str, block: &Value, path: &str, names: &mut Vec<String>) -> Checked {
    let (kind, inner) = one(block, &BLOCKS, path)?;
    let place = match kind {
        "toolUse" | "reasoningContent" => Some("assistant"),
        "toolResult" | "image" | "document" | "video" | "audio" | "guardContent" => Some("user"),
        _ => None,
    };
    if place.is_some_and(|place| place != role) {
        return Err(wrong(path, &format!("`{kind}` is not allowed in the role {role}")));
    }
    match kind {
        "text" => not_blank(inner, path),
        "cachePoint" => cache_point(inner, path),
        "toolUse" => {
            fields(inner, &["toolUseId", "name", "input", "type"], path)?;
            name(text(inner, "toolUseId"), &format!("{path}.toolUse.toolUseId"))?;
            name(text(inner, "name"), &format!("{path}.toolUse.name"))?;
            match inner.get("input") {
                Some(Value::Object(_)) => Ok(()),
                _ => Err(wrong(&format!("{path}.toolUse.input"), "provide a json object")),
            }
        }
        "toolResult" => result(inner, path, names),
        "reasoningContent" => reasoning(inner, path),
        "image" => media(inner, &["png", "jpeg", "gif", "webp"], path),
        "document" => document(inner, path, names),
        _ => Ok(()),
    }
}

fn result(result: &Value, path: &str, names: &mut Vec<String>) -> Checked {
    fields(result, &["toolUseId", "content", "status", "type"], path)?;
    name(text(result, "toolUseId"), &format!("{path}.toolResult.toolUseId"))?;
    if text(result, "status").is_some_and(|status| !["success", "error"].contains(&status)) {
        return Err(wrong(path, "the status must be success or error"));
    }
    let blocks = list(result, "content");
    if blocks.is_empty() {
        return Err(wrong(path, "the content of a tool result must not be empty"));
    }
    for (index, block) in blocks.iter().enumerate() {
        let path = format!("{path}.toolResult.content.{index}");
        match one(block, &["text", "json", "image", "document", "video", "searchResult"], &path)? {
            ("text", said) => not_blank(said, &path)?,
            ("json", Value::Object(_)) => {}
            ("json", _) => return Err(wrong(&path, "provide a json object")),
            ("image", image) => media(image, &["png", "jpeg", "gif", "webp"], &path)?,
            ("document", inner) => document(inner, &path, names)?,
            _ => {}
        }
    }
    Ok(())
}

fn reasoning(reasoning: &Value, path: &str) -> Checked {
    match one(reasoning, &["reasoningText", "redactedContent"], path)? {
        ("redactedContent", data) if data.as_str().is_some_and(is_base64) => Ok(()),
        ("reasoningText", thought) => {
            fields(thought, &["text", "signature"], path)?;
            let said = text(thought, "text").unwrap_or_default();
            if text(thought, "signature") == Some(&signature(said)) {
                return Ok(());
            }
            Err(Fault::invalid(format!("{path}: Invalid `signature` in `thinking` block")))
        }
        _ => Err(wrong(path, "no such reasoning")),
    }
}

fn media(media: &Value, formats: &[&str], path: &str) -> Checked {
    fields(media, &["format", "source", "name", "citations", "context"], path)?;
    if !text(media, "format").is_some_and(|format| formats.contains(&format)) {
        return Err(wrong(&format!("{path}.format"), "no such format"));
    }
    match one(media.get("source").unwrap_or(&Value::Null), &["bytes", "s3Location"], path)? {
        ("bytes", bytes) if bytes.as_str().is_some_and(is_base64) => Ok(()),
        ("s3Location", place) if text(place, "uri").is_some_and(|uri| uri.starts_with("s3://")) => Ok(()),
        _ => Err(wrong(&format!("{path}.source"), "the bytes are not base64")),
    }
}

fn document(inner: &Value, path: &str, names: &mut Vec<String>) -> Checked {
    media(inner, &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"], path)?;
    let name = text(inner, "name").unwrap_or_default();
    let is_fine = (1..=200).contains(&name.len())
        && !name.contains("  ")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || " -()[]".contains(c));
    if !is_fine {
        let what = "file names can only contain alphanumeric characters, single white spaces, hyphens, parentheses and brackets";
        return Err(wrong(&format!("{path}.document.name"), what));
    }
    names.push(name.to_owned());
    Ok(())
}

/// Every call is answered at the start of the next turn, in any order and once; nothing else is.
fn pairs(messages: &[Value]) -> Checked {
    let ids = |message: Option<&Value>, kind: &str| -> Vec<String> {
        let blocks = message.map_or(&[][..], |message| list(message, "content"));
        blocks.iter().filter_map(|block| text(block.get(kind)?, "toolUseId")).map(str::to_owned).collect()
    };
    for (at, message) in messages.iter().enumerate() {
        let called = ids(Some(message), "toolUse");
        let answered = ids(messages.get(at + 1), "toolResult");
        if let Some(open) = called.iter().find(|id| !answered.contains(id)) {
            let next = at + 1;
            return Err(Fault::invalid(format!(
                "Expected toolResult blocks at messages.{next}.content for the following Ids: {open}"
            )));
        }
        let before = at.checked_sub(1).and_then(|before| messages.get(before));
        let (asked, given) = (ids(before, "toolUse"), ids(Some(message), "toolResult"));
        if given.len() > asked.len() || given.iter().any(|id| !asked.contains(id)) {
            return Err(Fault::invalid(format!(
                "The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of previous turn."
            )));
        }
        let blocks = list(message, "content");
        let is_result =
            |block: &&Value| block.get("toolResult").is_some() || block.get("cachePoint").is_some();
        let leading = blocks.iter().take_while(is_result).count();
        if blocks.iter().skip(leading).any(|block| block.get("toolResult").is_some()) {
            return Err(Fault::invalid(format!(
                "messages.{at}: `tool_result` blocks must come first in the content"
            )));
        }
    }
    Ok(())
}
