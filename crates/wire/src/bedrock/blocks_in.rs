//! Content blocks of an answer → neutral parts.

use serde_json::value::RawValue;
use tollway_model::{
    Citation, Content, Dialect, Media, Part, RawJson, Result, Signature, ToolCall, ToolKind,
};

use crate::Restore;
use crate::anthropic::read::{Object, Path, list};
use crate::free_text;

/// Who minted a signature. Claude's are the same at all of its hosts, and its own dialect is where they are looked
/// for; what is encrypted whole goes back to this API only.
pub(super) fn signature(value: String, redacted: bool) -> Signature {
    let origin = if redacted { Dialect::BedrockConverse } else { Dialect::Anthropic };
    Signature { origin, value }
}

/// Reads one block. What is not understood stays as it came.
pub(super) fn block(raw: &RawValue, path: &Path<'_>, restore: &Restore) -> Result<Vec<Part>> {
    let native =
        || vec![Part::new(Content::Native { dialect: Dialect::BedrockConverse, json: RawJson::from(raw) })];
    let mut object = Object::parse(raw, path)?;
    if let Some(text) = object.text("text", path)? {
        return Ok(vec![Part::text(text)]);
    }
    if let Some(raw) = object.take("toolUse") {
        let call = tool_use(raw, &path.key("toolUse"), restore)?;
        return Ok(call.map_or_else(native, |call| vec![Part::new(Content::ToolCall(call))]));
    }
    if let Some(raw) = object.take("reasoningContent") {
        return Ok(reasoning(raw, &path.key("reasoningContent"))?.map_or_else(native, |part| vec![part]));
    }
    if let Some(raw) = object.take("citationsContent") {
        return cited(raw, &path.key("citationsContent"));
    }
    if let Some(raw) = object.take("image")
        && let Some(media) = image(raw, &path.key("image"))?
    {
        return Ok(vec![Part::new(Content::Image(media))]);
    }
    Ok(native())
}

/// `None` for a tool that the provider has run itself.
fn tool_use(raw: &RawValue, path: &Path<'_>, restore: &Restore) -> Result<Option<ToolCall>> {
    let mut object = Object::parse(raw, path)?;
    if object.text("type", path)?.is_some() {
        return Ok(None);
    }
    let id = object.required_text("toolUseId", path)?.into_owned();
    let name = object.required_text("name", path)?.into_owned();
    let arguments = object.take("input").map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned());
    let is_custom = restore.custom_tools.contains(&name);
    let (kind, arguments) = if is_custom {
        (ToolKind::Custom, free_text::unwrap(&arguments))
    } else {
        (ToolKind::Function, arguments)
    };
    Ok(Some(ToolCall { id, name, arguments, kind, signature: None }))
}

fn reasoning(raw: &RawValue, path: &Path<'_>) -> Result<Option<Part>> {
    let mut object = Object::parse(raw, path)?;
    if let Some(data) = object.text("redactedContent", path)? {
        let signature = Some(signature(data.into_owned(), true));
        return Ok(Some(Part::new(Content::Reasoning { text: String::new(), signature, redacted: true })));
    }
    let Some(raw) = object.take("reasoningText") else { return Ok(None) };
    let path = path.key("reasoningText");
    let mut object = Object::parse(raw, &path)?;
    let text = object.text("text", &path)?.unwrap_or_default().into_owned();
    let value = object.text("signature", &path)?.filter(|value| !value.is_empty());
    let signature = value.map(|value| signature(value.into_owned(), false));
    Ok(Some(Part::new(Content::Reasoning { text, signature, redacted: false })))
}

/// Text with its sources. The API cites spans of several texts; they are one text here.
fn cited(raw: &RawValue, path: &Path<'_>) -> Result<Vec<Part>> {
    let mut object = Object::parse(raw, path)?;
    let (mut text, mut citations) = (String::new(), Vec::new());
    if let Some(raw) = object.take("content") {
        let path = path.key("content");
        for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
            let path = path.index(index);
            text.push_str(&Object::parse(raw, &path)?.text("text", &path)?.unwrap_or_default());
        }
    }
    if let Some(raw) = object.take("citations") {
        let path = path.key("citations");
        for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
            citations.push(citation(raw, &path.index(index))?);
        }
    }
    Ok(vec![Part::new(Content::Text { text, citations, signature: None })])
}

/// Reads one citation; it keeps its own form for the way back.
pub(super) fn citation(raw: &RawValue, path: &Path<'_>) -> Result<Citation> {
    let mut object = Object::parse(raw, path)?;
    let title = object.text("title", path)?.map(Into::into);
    let source = object.text("source", path)?;
    let mut url = source.filter(|source| source.contains("://")).map(|source| source.into_owned());
    let mut cited = String::new();
    if let Some(raw) = object.take("sourceContent") {
        let path = path.key("sourceContent");
        // A list in whole answers, a list of pieces in streams.
        for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
            let path = path.index(index);
            cited.push_str(&Object::parse(raw, &path)?.text("text", &path)?.unwrap_or_default());
        }
    }
    if let Some(raw) = object.take("location") {
        let path = path.key("location");
        if let Some(raw) = Object::parse(raw, &path)?.take("web") {
            url = Object::parse(raw, &path)?.text("url", &path)?.map(Into::into).or(url);
        }
    }
    Ok(Citation {
        url,
        title,
        cited_text: (!cited.is_empty()).then_some(cited),
        start: None,
        end: None,
        native: Some((Dialect::BedrockConverse, RawJson::from(raw))),
    })
}

/// `None` for a picture that is kept elsewhere.
fn image(raw: &RawValue, path: &Path<'_>) -> Result<Option<Media>> {
    let mut object = Object::parse(raw, path)?;
    let format = object.text("format", path)?.unwrap_or_default().into_owned();
    let Some(raw) = object.take("source") else { return Ok(None) };
    let path = path.key("source");
    let bytes = Object::parse(raw, &path)?.text("bytes", &path)?.map(|bytes| bytes.into_owned());
    Ok(bytes.map(|bytes| Media::base64(format!("image/{format}"), bytes)))
}
