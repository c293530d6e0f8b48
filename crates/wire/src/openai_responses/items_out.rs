//! Writing a conversation as the input items of a provider's request.

use std::collections::HashSet;

use tollway_model::{
    Content, Dialect, Message, Notices, Part, Request, Result, Role, ToolCall, ToolKind, ToolResult,
};

use super::{media, state};
use crate::Restore;
use crate::openai_chat::encode::AUTOMATIC_CACHE;
use crate::openai_chat::media::{unsupported, write_audio};
use crate::openai_chat::names;
use crate::openai_chat::write::{List, Map};

/// Longest id of a call.
const MOST_ID: usize = 64;

pub(super) struct Items<'a, 'n> {
    pub(super) request: &'a Request,
    pub(super) native: bool,
    pub(super) notices: &'n mut Notices,
    pub(super) restore: &'n mut Restore,
    /// Ids of calls of free-text tools: their outputs are items of another type.
    custom: HashSet<&'a str>,
}

impl<'a, 'n> Items<'a, 'n> {
    pub(super) fn new(
        request: &'a Request,
        native: bool,
        notices: &'n mut Notices,
        restore: &'n mut Restore,
    ) -> Self {
        Items { request, native, notices, restore, custom: HashSet::new() }
    }

    /// The instructions, when the conversation begins with some and goes on.
    pub(super) fn instructions(&self) -> Option<String> {
        let (first, rest) = self.request.messages.split_first()?;
        let plain = first.parts.iter().all(|part| part.as_text().is_some() && part.cache.is_none());
        if first.role != Role::System || rest.is_empty() || !plain || first.name.is_some() {
            return None;
        }
        let texts: Vec<_> = first.parts.iter().filter_map(Part::as_text).collect();
        Some(texts.join("\n"))
    }

    /// Writes the items of all messages but the first `skip`.
    pub(super) fn write(&mut self, skip: usize, list: &mut List<'_>) -> Result<()> {
        for (index, message) in self.request.messages.iter().enumerate().skip(skip) {
            if message.name.is_some() {
                self.notices
                    .changed(format!("messages[{index}].name"), "messages have no names here: left out");
            }
            match message.role {
                Role::Assistant => self.assistant(index, message, list)?,
                _ => self.said(index, message, list)?,
            }
        }
        Ok(())
    }

    /// A message of anyone but the model; results of tools are items of their own.
    fn said(&mut self, index: usize, message: &'a Message, list: &mut List<'_>) -> Result<()> {
        let role = match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            _ => "user",
        };
        let mut parts: Vec<(String, &'a Part)> = Vec::new();
        for (number, part) in message.parts.iter().enumerate() {
            let path = format!("messages[{index}].content[{number}]");
            match &part.content {
                Content::ToolResult(result) => self.result(&path, part, result, list)?,
                Content::Native { dialect: Dialect::OpenaiResponses, json } if is_item(json) => {
                    list.literal(json.get());
                }
                Content::Native { dialect, .. } if *dialect != Dialect::OpenaiResponses => {
                    self.notices.dropped(path, "the target has no such block");
                }
                _ => parts.push((path, part)),
            }
        }
        if parts.is_empty() && (message.role == Role::Tool || !message.parts.is_empty()) {
            return Ok(());
        }
        list.map(|map| {
            map.str("type", "message");
            map.str("role", role);
            self.content("content", &parts, map)
        })
    }

    /// One string where that says it all, a list otherwise.
    fn content(&mut self, key: &str, parts: &[(String, &Part)], map: &mut Map<'_>) -> Result<()> {
        for (path, _) in parts.iter().filter(|(_, part)| part.cache.is_some()) {
            self.notices.changed(format!("{path}.cache_control"), AUTOMATIC_CACHE);
        }
        if parts.is_empty() {
            map.str(key, "");
            return Ok(());
        }
        if let [(_, part)] = parts
            && let Some(text) = part.as_text()
        {
            map.str(key, text);
            return Ok(());
        }
        map.list(key, |list| {
            for (path, part) in parts {
                self.part(path, part, list)?;
            }
            Ok(())
        })
    }

    fn part(&mut self, path: &str, part: &Part, list: &mut List<'_>) -> Result<()> {
        match &part.content {
            Content::Native { dialect: Dialect::OpenaiResponses, json } => {
                list.literal(json.get());
                Ok(())
            }
            Content::Native { .. } => {
                self.notices.dropped(path.to_owned(), "the target has no such block");
                Ok(())
            }
            Content::Video(_) => Err(unsupported(path, "the target takes no videos")),
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning { .. } => {
                Err(unsupported(path, "such a part cannot stand here"))
            }
            _ => list.map(|map| {
                match &part.content {
                    Content::Image(image) => media::write_image(path, image, map)?,
                    Content::Audio(sound) => write_audio(path, sound, map)?,
                    Content::File(file) => media::write_file(file, map),
                    Content::Text { text, .. } | Content::Refusal(text) => {
                        map.str("type", "input_text");
                        map.str("text", text);
                    }
                    _ => {}
                }
                Ok(())
            }),
        }
    }

    fn result(&mut self, path: &str, part: &Part, result: &'a ToolResult, list: &mut List<'_>) -> Result<()> {
        if result.is_error == Some(true) {
            self.notices.changed(format!("{path}.is_error"), "the text alone tells of the failure");
        }
        if part.cache.is_some() {
            self.notices.changed(format!("{path}.cache_control"), AUTOMATIC_CACHE);
        }
        let custom = self.custom.contains(result.call_id.as_str());
        let parts: Vec<_> = (result.parts.iter().enumerate())
            .map(|(number, part)| (format!("{path}.content[{number}]"), part))
            .collect();
        let texts: Option<Vec<&str>> = result.parts.iter().map(Part::as_text).collect();
        list.map(|map| {
            map.str("type", if custom { "custom_tool_call_output" } else { "function_call_output" });
            map.str("call_id", &call_id(&result.call_id));
            match texts {
                // Several texts are one output in most dialects.
                Some(texts) if !self.native => {
                    map.str("output", &texts.join("\n"));
                    Ok(())
                }
                _ => self.content("output", &parts, map),
            }
        })
    }

    /// Everything the model said stays in its order.
    fn assistant(&mut self, index: usize, message: &'a Message, list: &mut List<'_>) -> Result<()> {
        let mut said: Vec<&Part> = Vec::new();
        for (number, part) in message.parts.iter().enumerate() {
            let path = || format!("messages[{index}].content[{number}]");
            if part.cache.is_some() {
                self.notices.changed(format!("{}.cache_control", path()), AUTOMATIC_CACHE);
            }
            if matches!(part.content, Content::Text { .. } | Content::Refusal(_)) {
                said.push(part);
                continue;
            }
            words(&mut said, list);
            match &part.content {
                Content::ToolCall(call) => self.call(&path(), call, list),
                Content::Reasoning { text, signature, .. } => {
                    let kept = match signature.as_ref().map(state::own) {
                        Some(Some((id, encrypted))) => {
                            reasoning(
                                text,
                                id,
                                Some(encrypted).filter(|encrypted| !encrypted.is_empty()),
                                list,
                            );
                            true
                        }
                        None if self.native => {
                            reasoning(text, None, None, list);
                            true
                        }
                        _ => false,
                    };
                    if !kept {
                        let why = "earlier thinking is left out: the target does not take it back";
                        self.notices.changed(path(), why);
                    }
                }
                Content::Native { dialect: Dialect::OpenaiResponses, json } => list.literal(json.get()),
                Content::Native { .. } => {
                    self.notices.changed(path(), "a block of another dialect is left out");
                }
                Content::Image(_) | Content::Audio(_) | Content::Video(_) => {
                    self.notices.changed(path(), "generated media is not sent back");
                }
                _ => self.notices.dropped(path(), "such a part cannot stand in an answer"),
            }
        }
        words(&mut said, list);
        Ok(())
    }

    fn call(&mut self, path: &str, call: &'a ToolCall, list: &mut List<'_>) {
        if call.signature.is_some() {
            self.notices.changed(path.to_owned(), "the signature of another provider is left out");
        }
        if call.kind == ToolKind::Custom {
            self.custom.insert(&call.id);
        }
        list.map(|map| {
            let (kind, input) = match call.kind {
                ToolKind::Function => ("function_call", "arguments"),
                ToolKind::Custom => ("custom_tool_call", "input"),
            };
            map.str("type", kind);
            map.str("call_id", &call_id(&call.id));
            tool_name(&call.name, self.native, self.restore, map);
            map.str(input, &call.arguments);
        });
    }
}

/// The tool's name, and its namespace where it has one.
pub(super) fn tool_name(full: &str, native: bool, restore: &mut Restore, map: &mut Map<'_>) {
    let (namespace, name) = if native { state::split_name(full) } else { (None, full) };
    map.str("name", &names::tool_name(name, &mut restore.tool_names));
    if let Some(namespace) = namespace {
        map.str("namespace", namespace);
    }
}

/// Is the native part an item, rather than a part of a message?
fn is_item(json: &tollway_model::RawJson) -> bool {
    let value = json.to_value();
    let kind = value.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
    kind.ends_with("_output") || kind.ends_with("_response")
}

fn call_id(id: &str) -> std::borrow::Cow<'_, str> {
    if id.len() <= MOST_ID { id.into() } else { names::forty_chars(id) }
}

/// What the model said in words, as one message.
fn words(said: &mut Vec<&Part>, list: &mut List<'_>) {
    if said.is_empty() {
        return;
    }
    list.map(|map| {
        map.str("type", "message");
        map.str("role", "assistant");
        map.list("content", |list| {
            for part in said.drain(..) {
                list.map(|map| match &part.content {
                    Content::Refusal(text) => {
                        map.str("type", "refusal");
                        map.str("refusal", text);
                    }
                    _ => {
                        map.str("type", "output_text");
                        map.str("text", part.as_text().unwrap_or_default());
                    }
                });
            }
        });
    });
}

fn reasoning(text: &str, id: Option<&str>, encrypted: Option<&str>, list: &mut List<'_>) {
    list.map(|map| {
        map.str("type", "reasoning");
        if let Some(id) = id {
            map.str("id", id);
        }
        map.list("summary", |list| {
            if !text.is_empty() {
                list.map(|map| {
                    map.str("type", "summary_text");
                    map.str("text", text);
                });
            }
        });
        if let Some(encrypted) = encrypted {
            map.str("encrypted_content", encrypted);
        }
    });
}
