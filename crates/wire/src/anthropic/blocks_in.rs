//! Content blocks → neutral parts, for requests and answers alike.
//!
//! A block that has a member the model has no place for is kept whole as [`Content::Native`], so that it returns
//! unchanged to the same dialect and is noticed towards another.

use serde_json::value::RawValue;
use tollway_model::{
    CacheHint, CacheTtl, Citation, Content, Dialect, Media, MediaSource, Part, RawJson, Result, Signature,
    ToolCall, ToolKind, ToolResult,
};

use super::read::{Object, Path, is_text, list, text};
use crate::carry;

/// Facts about blocks that the parts cannot hold; they travel in the request's extras.
#[derive(Default)]
pub(super) struct Asides {
    /// A document's `citations` setting. The API wants it alike on all documents of a request.
    pub(super) citations: Option<RawJson>,
    /// A `cache_control` setting beyond `ttl`, and its name.
    pub(super) cache: Option<(String, RawJson)>,
}

/// Reads a list of blocks. `path` is that of the list.
pub(super) fn blocks(raw: &RawValue, path: &Path<'_>, asides: &mut Asides) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (index, raw) in list(raw, path)?.into_iter().enumerate() {
        parts.push(block(raw, &path.index(index), asides)?);
    }
    Ok(parts)
}

/// Reads `content`: a string or a list of blocks. Empty text is no part: no dialect takes it.
pub(super) fn content(raw: &RawValue, path: &Path<'_>, asides: &mut Asides) -> Result<Vec<Part>> {
    if is_text(raw) {
        let text = text(raw, path)?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let mut parts = blocks(raw, path, asides)?;
    parts.retain(|part| part.as_text() != Some("") || part.cache.is_some());
    Ok(parts)
}

/// Reads one block.
pub(super) fn block(raw: &RawValue, path: &Path<'_>, asides: &mut Asides) -> Result<Part> {
    let mut object = Object::parse(raw, path)?;
    let kind = object.required_text("type", path)?;
    let cache = cache_hint(&mut object, path, asides)?;
    let content = match &*kind {
        "text" => text_block(&mut object, path)?,
        "image" => image(&mut object, path)?,
        "document" => document(&mut object, path, asides)?,
        "tool_use" => tool_use(&mut object, path)?,
        "tool_result" => tool_result(&mut object, path, asides)?,
        "thinking" => thinking(&mut object, path)?,
        "redacted_thinking" => {
            let data = object.required_text("data", path)?;
            let signature = Some(carry::untag(&data, Dialect::Anthropic));
            Some(Content::Reasoning { text: String::new(), signature, redacted: true })
        }
        _ => None,
    };
    // Anything that was not understood completely stays as it came.
    let content = content
        .filter(|_| object.is_empty())
        .unwrap_or_else(|| Content::Native { dialect: Dialect::Anthropic, json: RawJson::from(raw) });
    let cache = if matches!(content, Content::Native { .. }) { None } else { cache };
    Ok(Part { content, cache })
}

/// Takes `cache_control`.
pub(super) fn cache_hint(
    object: &mut Object<'_>,
    path: &Path<'_>,
    asides: &mut Asides,
) -> Result<Option<CacheHint>> {
    let Some(raw) = object.take("cache_control") else { return Ok(None) };
    let path = path.key("cache_control");
    let mut control = Object::parse(raw, &path)?;
    control.required_text("type", &path)?;
    let ttl = match control.text("ttl", &path)?.as_deref() {
        None => None,
        Some("5m") => Some(CacheTtl::Minutes5),
        Some("1h") => Some(CacheTtl::Hour1),
        Some(other) => return Err(path.key("ttl").wrong(format!("`{other}` is neither `5m` nor `1h`"))),
    };
    if let Some(found) = control.rest().next() {
        asides.cache.get_or_insert(found);
    }
    Ok(Some(CacheHint { ttl }))
}

fn text_block(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Content>> {
    let text = object.required_text("text", path)?.into_owned();
    let mut citations = Vec::new();
    if let Some(raw) = object.take("citations") {
        let path = path.key("citations");
        for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
            citations.push(citation(raw, &path.index(index))?);
        }
    }
    Ok(Some(Content::Text { text, citations, signature: None }))
}

/// Reads one citation; it keeps its own form for the way back.
pub(super) fn citation(raw: &RawValue, path: &Path<'_>) -> Result<Citation> {
    let mut object = Object::parse(raw, path)?;
    let is_ours = object.text("encrypted_index", path)?.is_none_or(|index| !index.is_empty());
    let url = match object.text("url", path)? {
        Some(url) => Some(url),
        None => object.text("source", path)?,
    };
    let title = match object.text("title", path)? {
        Some(title) => Some(title),
        None => object.text("document_title", path)?,
    };
    let cited_text = object.text("cited_text", path)?.filter(|text| is_ours || !text.is_empty());
    Ok(Citation {
        url: url.map(Into::into),
        title: title.map(Into::into),
        cited_text: cited_text.map(Into::into),
        start: None,
        end: None,
        // A search citation without its index is one that `response` made up for a foreign source.
        native: is_ours.then(|| (Dialect::Anthropic, RawJson::from(raw))),
    })
}

fn image(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Content>> {
    let Some(media) = source(object, path)? else { return Ok(None) };
    Ok(Some(Content::Image(media)))
}

fn document(object: &mut Object<'_>, path: &Path<'_>, asides: &mut Asides) -> Result<Option<Content>> {
    let Some(mut media) = source(object, path)? else { return Ok(None) };
    media.name = object.text("title", path)?.map(Into::into);
    if let Some(raw) = object.take("citations") {
        let path = path.key("citations");
        // Off is the default and needs no mention.
        if Object::parse(raw, &path)?.bool("enabled", &path)? == Some(true) {
            asides.citations = Some(RawJson::from(raw));
        }
    }
    Ok(Some(Content::File(media)))
}

/// Takes `source`; `None` for kinds the model has no place for (lists of blocks).
fn source(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Media>> {
    let raw = object.required("source", path)?;
    let path = path.key("source");
    let mut source = Object::parse(raw, &path)?;
    let kind = source.required_text("type", &path)?;
    let media_type = source.text("media_type", &path)?.map(|text| text.into_owned());
    let field = match &*kind {
        "base64" | "text" => "data",
        "url" => "url",
        "file" => "file_id",
        _ => return Ok(None),
    };
    let value = source.required_text(field, &path)?.into_owned();
    let media_source = match &*kind {
        "base64" if media_type.is_none() => return Err(path.key("media_type").wrong("field required")),
        "base64" => MediaSource::Base64(value),
        "text" => MediaSource::Text(value),
        "url" => MediaSource::Url(value),
        _ => MediaSource::FileId(value),
    };
    let media = Media { source: media_source, media_type, name: None, detail: None };
    Ok(source.is_empty().then_some(media))
}

fn tool_use(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Content>> {
    let packed = object.required_text("id", path)?;
    let (id, signature) = carry::unpack_id(&packed);
    let name = object.required_text("name", path)?.into_owned();
    let input = object.take("input");
    let arguments = match input {
        None => "{}".to_owned(),
        Some(raw) if raw.get().starts_with('{') => raw.get().to_owned(),
        Some(_) => return Err(path.key("input").wrong("must be an object")),
    };
    // Called by the model itself, which is what no caller means. Other callers keep the block native.
    if let Some(raw) = object.take("caller") {
        let is_direct =
            Object::parse(raw, &path.key("caller"))?.text("type", path)?.as_deref() == Some("direct");
        if !is_direct {
            return Ok(None);
        }
    }
    let id = id.to_owned();
    Ok(Some(Content::ToolCall(ToolCall { id, name, arguments, kind: ToolKind::Function, signature })))
}

fn tool_result(object: &mut Object<'_>, path: &Path<'_>, asides: &mut Asides) -> Result<Option<Content>> {
    let packed = object.required_text("tool_use_id", path)?;
    let call_id = carry::unpack_id(&packed).0.to_owned();
    let is_error = object.bool("is_error", path)?;
    let parts = match object.take("content") {
        None => Vec::new(),
        Some(raw) => content(raw, &path.key("content"), asides)?,
    };
    Ok(Some(Content::ToolResult(ToolResult { call_id, name: None, parts, is_error })))
}

fn thinking(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Content>> {
    let text = object.required_text("thinking", path)?.into_owned();
    let signature = object.text("signature", path)?;
    let signature = signature.as_deref().and_then(untag);
    Ok(Some(Content::Reasoning { text, signature, redacted: false }))
}

/// A signature field; empty stands for thinking that has none.
pub(super) fn untag(value: &str) -> Option<Signature> {
    (!value.is_empty()).then(|| carry::untag(value, Dialect::Anthropic))
}
