//! Reading the input of a client's request: a string, or a list of items.
//!
//! Neighbouring items of the model (reasoning, message, calls) become one assistant message and neighbouring outputs
//! one tool message, so that dialects with turns get turns. Items that only this dialect knows (a provider's own
//! tools and their results) become [`Content::Native`] parts.

use tollway_model::{
    Citation, Content, Dialect, Error, Kind, Message, Part, RawJson, Result, Role, Signature, ToolCall,
    ToolKind, ToolResult,
};

use super::{media, state};
use crate::carry;
use crate::openai_chat::media::read_audio;
use crate::openai_chat::read::{self, Object, Path, Raw};

/// Takes and reads `input`.
pub(super) fn conversation(top: &mut Object<'_>, messages: &mut Vec<Message>) -> Result<()> {
    let root = Path::Root;
    let path = root.key("input");
    let raw = top.take("input").ok_or_else(|| path.missing())?;
    if let Some(text) = read::text(raw) {
        messages.push(Message::user(text));
        return Ok(());
    }
    let items = read::list(raw).ok_or_else(|| path.must_be("a string or a list of items"))?;
    if items.is_empty() {
        return Err(path.must_be("a string or a list of at least one item"));
    }
    let mut open = None;
    for (index, raw) in items.into_iter().enumerate() {
        let (role, parts, alone) = item(raw, &path.at(index))?;
        if let Some(signature) = text_signature(&parts) {
            sign_text(messages, signature);
            continue;
        }
        match messages.last_mut() {
            Some(last) if open == Some(role) && !alone && last.role == role => last.parts.extend(parts),
            _ => messages.push(Message::new(role, parts)),
        }
        open = (!alone).then_some(role);
    }
    Ok(())
}

/// The signature of the text before, when that is all an item holds.
fn text_signature(parts: &[Part]) -> Option<Signature> {
    match parts {
        [Part { content: Content::Reasoning { text, signature: Some(state), .. }, .. }]
            if text.is_empty() =>
        {
            state::of_text(state)
        }
        _ => None,
    }
}

/// A text that the client has lost has no use for its signature.
fn sign_text(messages: &mut [Message], signature: Signature) {
    let said = messages.last_mut().filter(|message| message.role == Role::Assistant);
    let texts = said.into_iter().flat_map(|message| message.parts.iter_mut().rev());
    let mut own = texts.filter_map(|part| match &mut part.content {
        Content::Text { signature, .. } => Some(signature),
        _ => None,
    });
    if let Some(own) = own.next() {
        *own = Some(signature);
    }
}

/// One item: who speaks, what is said, and whether it is a message of its own.
fn item(raw: Raw<'_>, path: &Path<'_>) -> Result<(Role, Vec<Part>, bool)> {
    let mut fields = Object::expect(raw, path)?;
    let kind = fields.string("type", path)?;
    let (role, part) = match kind.as_deref() {
        Some("message") | None if fields.has("role") => return message(&mut fields, path),
        Some("function_call") => (Role::Assistant, call(&mut fields, ToolKind::Function, path)?),
        Some("custom_tool_call") => (Role::Assistant, call(&mut fields, ToolKind::Custom, path)?),
        Some("function_call_output" | "custom_tool_call_output") => {
            (Role::Tool, Content::ToolResult(output(&mut fields, path)?))
        }
        Some("reasoning") => match reasoning(&mut fields, true) {
            Some(content) => (Role::Assistant, content),
            None => return Ok((Role::Assistant, Vec::new(), false)),
        },
        Some("item_reference") => return Err(unresolved(&path.key("id").to_string())),
        None if fields.has("id") => return Err(unresolved(&path.key("id").to_string())),
        // What the client did for a tool of the provider.
        Some(kind) if kind.ends_with("_output") || kind == "mcp_approval_response" => {
            (Role::User, native(raw))
        }
        Some("message") => return Err(path.key("role").missing()),
        Some(_) => (Role::Assistant, native(raw)),
        None => return Err(path.key("type").missing()),
    };
    Ok((role, vec![Part::new(part)], role == Role::User))
}

/// The error for state that only its owner could look up.
pub(super) fn unresolved(param: &str) -> Error {
    let message =
        format!("`{param}` refers to what only the provider that stored it knows: send the items themselves");
    Error::new(Kind::Unsupported, message).with_param(param)
}

fn native(raw: Raw<'_>) -> Content {
    Content::Native { dialect: Dialect::OpenaiResponses, json: raw.into() }
}

fn message(fields: &mut Object<'_>, path: &Path<'_>) -> Result<(Role, Vec<Part>, bool)> {
    let word = fields.string("role", path)?.ok_or_else(|| path.key("role").missing())?;
    let role = match word.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => {
            return Err(path.key("role").must_be("one of `user`, `assistant`, `system`, `developer`"));
        }
    };
    let parts = content(fields, "content", path)?;
    Ok((role, parts, role != Role::Assistant))
}

/// A string or a list of content parts; empty text is no part.
fn content(fields: &mut Object<'_>, key: &str, path: &Path<'_>) -> Result<Vec<Part>> {
    let path = path.key(key);
    let Some(raw) = fields.take(key) else { return Ok(Vec::new()) };
    if let Some(text) = read::text(raw) {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let items = read::list(raw).ok_or_else(|| path.must_be("a string or a list of parts"))?;
    let mut parts = Vec::with_capacity(items.len());
    for (index, raw) in items.into_iter().enumerate() {
        parts.extend(part(raw, &path.at(index))?);
    }
    Ok(parts)
}

fn part(raw: Raw<'_>, path: &Path<'_>) -> Result<Option<Part>> {
    let mut fields = Object::expect(raw, path)?;
    let kind = fields.string("type", path)?.ok_or_else(|| path.key("type").missing())?;
    let cache = fields.take("prompt_cache_breakpoint").map(|_| tollway_model::CacheHint::default());
    let content = match kind.as_str() {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            let text = fields.string("text", path)?.ok_or_else(|| path.key("text").missing())?;
            if text.is_empty() {
                return Ok(None);
            }
            let citations = fields.list("annotations").into_iter().filter_map(citation).collect();
            Content::Text { text, citations, signature: None }
        }
        "refusal" => {
            Content::Refusal(fields.string("refusal", path)?.ok_or_else(|| path.key("refusal").missing())?)
        }
        "input_image" => Content::Image(media::read_image(&mut fields, path)?),
        "input_file" => Content::File(media::read_file(&mut fields, path)?),
        "input_audio" => {
            let path = path.key("input_audio");
            let inner = fields.take("input_audio").ok_or_else(|| path.missing())?;
            Content::Audio(read_audio(inner, &path)?)
        }
        _ => native(raw),
    };
    Ok(Some(Part { content, cache }))
}

/// An annotation as a citation; `None` when it is not an object.
pub(super) fn citation(raw: Raw<'_>) -> Option<Citation> {
    let mut fields = Object::parse(raw.get())?;
    let name = fields.text("filename").map(|name| name.into_owned());
    Some(Citation {
        url: fields.text("url").map(|url| url.into_owned()),
        title: fields.text("title").map(|title| title.into_owned()).or(name),
        cited_text: None,
        start: fields.take("start_index").and_then(read::whole),
        end: fields.take("end_index").and_then(read::whole),
        native: Some((Dialect::OpenaiResponses, RawJson::from(raw))),
    })
}

fn call(fields: &mut Object<'_>, kind: ToolKind, path: &Path<'_>) -> Result<Content> {
    let needed = |fields: &mut Object<'_>, key: &str| {
        let text = fields.string(key, path)?;
        text.ok_or_else(|| path.key(key).missing())
    };
    let id = needed(fields, "call_id")?;
    let (id, signature) = carry::unpack_id(&id);
    let name = needed(fields, "name")?;
    let arguments = match kind {
        ToolKind::Function => fields.string("arguments", path)?.unwrap_or_default(),
        ToolKind::Custom => needed(fields, "input")?,
    };
    let name = match fields.string("namespace", path)?.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => state::in_namespace(&namespace, &name),
        None => name,
    };
    Ok(Content::ToolCall(ToolCall { id: id.to_owned(), name, arguments, kind, signature }))
}

fn output(fields: &mut Object<'_>, path: &Path<'_>) -> Result<ToolResult> {
    let id = fields.string("call_id", path)?.ok_or_else(|| path.key("call_id").missing())?;
    let parts = content(fields, "output", path)?;
    let name = fields.string("name", path)?;
    Ok(ToolResult { call_id: carry::unpack_id(&id).0.to_owned(), name, parts, is_error: None })
}

/// A reasoning item; `None` when it holds nothing. `keep_ids`: an item without encrypted content keeps its id as
/// state, which the provider that stored it understands.
pub(super) fn reasoning(fields: &mut Object<'_>, keep_ids: bool) -> Option<Content> {
    let id = fields.text("id");
    let mut text = String::new();
    for raw in fields.list("summary").into_iter().chain(fields.list("content")) {
        let more = Object::parse(raw.get()).and_then(|mut part| part.text("text"));
        add_paragraph(&mut text, &more.unwrap_or_default());
    }
    let encrypted = fields.text("encrypted_content").filter(|encrypted| !encrypted.is_empty());
    let (signature, redacted) = match (&encrypted, &id) {
        (Some(encrypted), _) => {
            let (signature, redacted) = state::read(id.as_deref(), encrypted);
            (Some(signature), redacted || text.is_empty())
        }
        (None, Some(id)) if keep_ids => (Some(state::read(Some(id), "").0), false),
        (None, _) => (None, false),
    };
    if text.is_empty() && signature.is_none() {
        return None;
    }
    Some(Content::Reasoning { text, signature, redacted })
}

/// Parts of a summary are paragraphs.
pub(super) fn add_paragraph(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push_str("\n\n");
    }
    text.push_str(more);
}
