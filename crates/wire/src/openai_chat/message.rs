//! Reading the messages of a client's request.
//!
//! A tool message is one `Role::Tool` message. Fields of assistant messages that only this dialect knows
//! (`reasoning_details`, `prefix`) become [`Content::Native`] parts: an object with that one field. Content parts of
//! unknown type become native parts that have a `type`. Other unknown message fields are bookkeeping of client
//! libraries and go no further.

use tollway_model::{
    CacheHint, CacheTtl, Citation, Content, Dialect, Media, MediaSource, Message, Part, RawJson, Result,
    Role, ToolCall, ToolKind, ToolResult,
};

use super::media;
use super::read::{self, Object, Path, Raw};
use crate::carry;

/// Message fields that hosts want back as they sent them.
pub(super) const NATIVE_FIELDS: [&str; 4] = ["reasoning_details", "prefix", "partial", "functions_state_id"];

/// Takes and reads `messages`.
pub(super) fn conversation(top: &mut Object<'_>) -> Result<Vec<Message>> {
    let root = Path::Root;
    let path = root.key("messages");
    let raw = top.take("messages").ok_or_else(|| path.missing())?;
    let items = read::list(raw).ok_or_else(|| path.must_be("a list"))?;
    if items.is_empty() {
        return Err(path.must_be("a list of at least one message"));
    }
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let message = message(item, &path.at(index), &messages)?;
        messages.push(message);
    }
    Ok(messages)
}

fn message(raw: Raw<'_>, path: &Path<'_>, earlier: &[Message]) -> Result<Message> {
    let mut fields = Object::expect(raw, path)?;
    let role = fields.string("role", path)?.ok_or_else(|| path.key("role").missing())?;
    let cache = cache_hint(&mut fields, path)?;
    let (role, mut parts) = match role.as_str() {
        "system" => (Role::System, content(&mut fields, path)?),
        "developer" => (Role::Developer, content(&mut fields, path)?),
        "user" => (Role::User, content(&mut fields, path)?),
        "assistant" => (Role::Assistant, assistant(&mut fields, path, earlier.len())?),
        "tool" | "function" => (Role::Tool, vec![tool_result(&mut fields, path, earlier)?]),
        _ => {
            let what = "one of `system`, `developer`, `user`, `assistant`, `tool`, `function`";
            return Err(path.key("role").must_be(what));
        }
    };
    if let (Some(hint), Some(last)) = (cache, parts.last_mut()) {
        last.cache.get_or_insert(hint);
    }
    let name = if role == Role::Tool { None } else { fields.string("name", path)? };
    Ok(Message { role, parts, name })
}

fn tool_result(fields: &mut Object<'_>, path: &Path<'_>, earlier: &[Message]) -> Result<Part> {
    let name = fields.string("name", path)?;
    let call_id = match fields.string("tool_call_id", path)? {
        Some(id) => carry::unpack_id(&id).0.to_owned(),
        // A legacy function message answers the latest call of that name.
        None => latest_call(earlier, name.as_deref()).ok_or_else(|| path.key("tool_call_id").missing())?,
    };
    let parts = content(fields, path)?;
    Ok(Part::new(Content::ToolResult(ToolResult { call_id, name, parts, is_error: None })))
}

fn latest_call(earlier: &[Message], name: Option<&str>) -> Option<String> {
    let calls = earlier.iter().rev().flat_map(|message| message.parts.iter().rev());
    let mut ids = calls.filter_map(|part| match &part.content {
        Content::ToolCall(call) if name.is_none_or(|name| name == call.name) => Some(call.id.clone()),
        _ => None,
    });
    ids.next()
}

fn assistant(fields: &mut Object<'_>, path: &Path<'_>, index: usize) -> Result<Vec<Part>> {
    let mut parts = thinking(fields, path)?;
    let said = content(fields, path)?;
    let start = parts.len();
    parts.extend(said);
    let mut signatures = fields
        .object("provider_specific_fields")
        .map_or(Vec::new(), |mut extra| thought_signatures(&mut extra));
    signatures.extend(google_signature(fields));
    attach_citations(fields, parts.get_mut(start..).unwrap_or_default());
    if let Some(refusal) = fields.string("refusal", path)? {
        parts.push(Part::new(Content::Refusal(refusal)));
    }
    let calls_from = parts.len();
    tool_calls(fields, path, index, &mut parts)?;
    // Signatures on the message belong to its calls where these carry none, otherwise to its text.
    for value in signatures {
        attach_signature(&mut parts, calls_from, &value);
    }
    for raw in fields.list("images") {
        let image = Object::parse(raw.get()).and_then(|mut image| image.take("image_url"));
        if let Some(image) = image {
            parts.push(Part::new(Content::Image(media::read_image(image, &path.key("images"))?)));
        }
    }
    if let Some(mut audio) = fields.object("audio")
        && let Some(id) = audio.text("id")
    {
        let source = MediaSource::FileId(id.into_owned());
        parts.push(Part::new(Content::Audio(Media { source, media_type: None, name: None, detail: None })));
    }
    for key in NATIVE_FIELDS {
        if let Some(raw) = fields.take(key) {
            parts.extend(native_field(key, raw.get()));
        }
    }
    Ok(parts)
}

/// A message field as a native part.
pub(super) fn native_field(key: &str, json: &str) -> Option<Part> {
    let json = RawJson::parse(format!("{{\"{key}\":{json}}}"))?;
    Some(Part::new(Content::Native { dialect: Dialect::OpenaiChat, json }))
}

fn thought_signatures(fields: &mut Object<'_>) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for raw in fields.list("thought_signatures") {
        values.extend(read::text(raw).map(|text| text.into_owned()));
    }
    if values.is_empty() {
        values.extend(fields.text("thought_signature").map(|text| text.into_owned()));
    }
    values
}

/// Takes the thought signature where Google's own OpenAI-compatible endpoint puts it, on calls and on messages:
/// `extra_content: {google: {thought_signature}}`.
pub(super) fn google_signature(fields: &mut Object<'_>) -> Option<String> {
    let value = fields.object("extra_content")?.object("google")?.text("thought_signature")?.into_owned();
    (!value.is_empty()).then_some(value)
}

fn attach_signature(parts: &mut [Part], calls_from: usize, value: &str) {
    let signature = carry::untag(value, Dialect::Gemini);
    let (said, calls) = parts.split_at_mut(calls_from.min(parts.len()));
    for part in calls {
        if let Content::ToolCall(call) = &mut part.content {
            if call.signature.as_ref() == Some(&signature) {
                return;
            }
            if call.signature.is_none() {
                call.signature = Some(signature);
                return;
            }
        }
    }
    for part in said {
        if let Content::Text { signature: own @ None, .. } = &mut part.content {
            *own = Some(signature);
            return;
        }
    }
}

/// `thinking_blocks` say all that `reasoning_content` says, and hold the signatures.
fn thinking(fields: &mut Object<'_>, path: &Path<'_>) -> Result<Vec<Part>> {
    let plain = fields.string("reasoning_content", path)?;
    let older = fields.text("reasoning").map(|text| text.into_owned());
    let mut parts = Vec::new();
    for raw in fields.list("thinking_blocks") {
        parts
            .extend(Object::parse(raw.get()).and_then(|mut block| thinking_block(&mut block)).map(Part::new));
    }
    if parts.is_empty()
        && let Some(text) = plain.or(older).filter(|text| !text.is_empty())
    {
        parts.push(Part::new(Content::Reasoning { text, signature: None, redacted: false }));
    }
    Ok(parts)
}

/// Reads `{type:"thinking",thinking,signature}` and `{type:"redacted_thinking",data}`.
pub(super) fn thinking_block(block: &mut Object<'_>) -> Option<Content> {
    let kind = block.text("type")?;
    let data = block.text(if kind == "redacted_thinking" { "data" } else { "signature" });
    let signature = data.filter(|data| !data.is_empty()).map(|data| carry::untag(&data, Dialect::Anthropic));
    if kind == "redacted_thinking" {
        return Some(Content::Reasoning { text: String::new(), signature, redacted: true });
    }
    let text = block.text("thinking").unwrap_or_default().into_owned();
    (!text.is_empty() || signature.is_some()).then_some(Content::Reasoning {
        text,
        signature,
        redacted: false,
    })
}

fn tool_calls(fields: &mut Object<'_>, path: &Path<'_>, index: usize, parts: &mut Vec<Part>) -> Result<()> {
    let list_path = path.key("tool_calls");
    if let Some(raw) = fields.take("tool_calls") {
        let items = read::list(raw).ok_or_else(|| list_path.must_be("a list"))?;
        for (number, item) in items.into_iter().enumerate() {
            let call = tool_call(item, &list_path.at(number), index, number)?;
            parts.push(call);
        }
    }
    if let Some(raw) = fields.take("function_call") {
        let path = path.key("function_call");
        let mut inner = Object::expect(raw, &path)?;
        let name = inner.string("name", &path)?.ok_or_else(|| path.key("name").missing())?;
        let arguments = arguments(&mut inner, "arguments", &path)?;
        let id = format!("call_{index}_0");
        let call = ToolCall { id, name, arguments, kind: ToolKind::Function, signature: None };
        parts.push(Part::new(Content::ToolCall(call)));
    }
    Ok(())
}

fn tool_call(raw: Raw<'_>, path: &Path<'_>, message: usize, number: usize) -> Result<Part> {
    let mut fields = Object::expect(raw, path)?;
    let cache = cache_hint(&mut fields, path)?;
    let id = fields.string("id", path)?.unwrap_or_else(|| format!("call_{message}_{number}"));
    let (plain, packed) = carry::unpack_id(&id);
    let listed = fields.object("provider_specific_fields");
    let listed = listed.and_then(|mut extra| thought_signatures(&mut extra).into_iter().next());
    let listed = listed.or_else(|| google_signature(&mut fields));
    let signature = packed.or_else(|| Some(carry::untag(&listed?, Dialect::Gemini)));
    let custom = fields.get("custom").is_some();
    let (key, text, kind) = if custom {
        ("custom", "input", ToolKind::Custom)
    } else {
        ("function", "arguments", ToolKind::Function)
    };
    let inner_path = path.key(key);
    let inner = fields.take(key).ok_or_else(|| inner_path.missing())?;
    let mut inner = Object::expect(inner, &inner_path)?;
    let name = inner.string("name", &inner_path)?.ok_or_else(|| inner_path.key("name").missing())?;
    let arguments = arguments(&mut inner, text, &inner_path)?;
    let call = ToolCall { id: plain.to_owned(), name, arguments, kind, signature };
    Ok(Part { content: Content::ToolCall(call), cache })
}

/// Arguments are text; some clients send the object itself.
fn arguments(fields: &mut Object<'_>, key: &str, path: &Path<'_>) -> Result<String> {
    match fields.take(key) {
        Some(raw) if read::is_object(raw) => Ok(raw.get().to_owned()),
        Some(raw) => {
            let text = read::text(raw).ok_or_else(|| path.key(key).must_be("a string of JSON"))?;
            Ok(text.into_owned())
        }
        None => Ok(String::new()),
    }
}

fn content(fields: &mut Object<'_>, path: &Path<'_>) -> Result<Vec<Part>> {
    let Some(raw) = fields.take("content") else { return Ok(Vec::new()) };
    let path = path.key("content");
    if let Some(text) = read::text(raw) {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let items = if read::is_object(raw) { Some(vec![raw]) } else { read::list(raw) };
    let items = items.ok_or_else(|| path.must_be("a string or a list of parts"))?;
    let mut parts = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        parts.extend(part(item, &path.at(index))?);
    }
    Ok(parts)
}

/// One content part; empty text is no part.
fn part(raw: Raw<'_>, path: &Path<'_>) -> Result<Option<Part>> {
    if let Some(text) = read::text(raw) {
        return Ok((!text.is_empty()).then(|| Part::text(text)));
    }
    let mut fields = Object::expect(raw, path)?;
    let cache = cache_hint(&mut fields, path)?;
    let kind = fields.string("type", path)?.ok_or_else(|| path.key("type").missing())?;
    let needed = |fields: &mut Object<'_>, key: &str| {
        let text = fields.string(key, path)?;
        text.ok_or_else(|| path.key(key).missing())
    };
    let content = match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            let text = needed(&mut fields, "text")?;
            if text.is_empty() {
                return Ok(None);
            }
            Content::Text { text, citations: Vec::new(), signature: None }
        }
        "refusal" => Content::Refusal(needed(&mut fields, "refusal")?),
        "image_url" => {
            let url_path = path.key("image_url");
            let inner = fields.take("image_url").ok_or_else(|| url_path.missing())?;
            Content::Image(media::read_image(inner, &url_path)?)
        }
        "video_url" => {
            let url_path = path.key("video_url");
            let inner = fields.take("video_url").ok_or_else(|| url_path.missing())?;
            Content::Video(media::read_image(inner, &url_path)?)
        }
        "input_audio" => {
            let inner_path = path.key("input_audio");
            let inner = fields.take("input_audio").ok_or_else(|| inner_path.missing())?;
            Content::Audio(media::read_audio(inner, &inner_path)?)
        }
        "file" => {
            let inner_path = path.key("file");
            let inner = fields.take("file").ok_or_else(|| inner_path.missing())?;
            Content::File(media::read_file(inner, &inner_path)?)
        }
        "thinking" | "redacted_thinking" if fields.get("thinking").is_none_or(|raw| !read::is_list(raw)) => {
            let mut block = Object::expect(raw, path)?;
            match thinking_block(&mut block) {
                Some(content) => content,
                None => return Ok(None),
            }
        }
        _ => Content::Native { dialect: Dialect::OpenaiChat, json: raw.into() },
    };
    Ok(Some(Part { content, cache }))
}

/// Anthropic's `cache_control`, or OpenAI's `prompt_cache_breakpoint`.
pub(super) fn cache_hint(fields: &mut Object<'_>, path: &Path<'_>) -> Result<Option<CacheHint>> {
    let breakpoint = fields.take("prompt_cache_breakpoint").map(|_| CacheHint::default());
    let Some(raw) = fields.take("cache_control") else { return Ok(breakpoint) };
    let path = path.key("cache_control");
    let mut control = Object::expect(raw, &path)?;
    let ttl = match control.string("ttl", &path)?.as_deref() {
        Some("1h") => Some(CacheTtl::Hour1),
        Some("5m") => Some(CacheTtl::Minutes5),
        _ => None,
    };
    Ok(Some(CacheHint { ttl }))
}

fn attach_citations(fields: &mut Object<'_>, parts: &mut [Part]) {
    let citations: Vec<_> = fields.list("annotations").into_iter().filter_map(citation).collect();
    let text = parts.iter_mut().rev().find_map(|part| match &mut part.content {
        Content::Text { citations, .. } => Some(citations),
        _ => None,
    });
    if let Some(own) = text {
        own.extend(citations);
    }
}

/// An annotation as a citation; `None` when it is not an object.
pub(super) fn citation(raw: Raw<'_>) -> Option<Citation> {
    let mut fields = Object::parse(raw.get())?;
    let native = match fields.take("index") {
        Some(_) => placeless(raw),
        None => raw.into(),
    };
    let mut source = fields.object("url_citation").unwrap_or(fields);
    let text = |source: &mut Object<'_>, key| source.text(key).map(|text| text.into_owned());
    Some(Citation {
        url: text(&mut source, "url"),
        title: text(&mut source, "title"),
        cited_text: text(&mut source, "content"),
        start: source.take("start_index").and_then(read::whole),
        end: source.take("end_index").and_then(read::whole),
        native: Some((Dialect::OpenaiChat, native)),
    })
}

/// An entry of a streamed list without its place there, which says nothing about the source.
fn placeless(raw: Raw<'_>) -> RawJson {
    let mut entry: serde_json::Value = serde_json::from_str(raw.get()).unwrap_or_default();
    if let Some(fields) = entry.as_object_mut() {
        fields.shift_remove("index");
    }
    entry.into()
}
