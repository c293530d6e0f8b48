//! The conversation a client sends: `systemInstruction` and `contents`.

use serde_json::value::RawValue;
use tollway_model::{
    Content, Dialect, Error, Message, Part, RawJson, Result, Role, ToolCall, ToolKind, ToolResult,
};

use super::media;
use super::shape::{ContentIn, FunctionCallIn, FunctionResponseIn, PartIn, compact};
use super::signature;
use crate::carry;

/// Reads `systemInstruction`: a string, a part, a list of parts, or a content.
pub(super) fn system(raw: &RawValue) -> Result<Option<Message>> {
    let path = "systemInstruction";
    let text = raw.get().trim_start();
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).map_err(|error| unreadable(path, &error))?;
        return Ok(Some(Message::text(Role::System, text)));
    }
    let raws: Vec<&RawValue> = if text.starts_with('[') {
        serde_json::from_str(text).map_err(|error| unreadable(path, &error))?
    } else {
        let content = content_of(text).map_err(|error| unreadable(path, &error))?;
        content.parts.unwrap_or_else(|| vec![raw])
    };
    let mut reader = Reader::default();
    let mut parts = Vec::with_capacity(raws.len());
    for (index, raw) in raws.into_iter().enumerate() {
        parts.push(reader.part(raw, &format!("{path}.parts[{index}]"))?);
    }
    Ok((!parts.is_empty()).then(|| Message::new(Role::System, parts)))
}

/// Reads `contents` and adds the messages.
pub(super) fn read(raw: &RawValue, messages: &mut Vec<Message>) -> Result<()> {
    let text = raw.get().trim_start();
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).map_err(|error| unreadable("contents", &error))?;
        messages.push(Message::text(Role::User, text));
        return Ok(());
    }
    let contents =
        if text.starts_with('[') { contents_of(text) } else { content_of(text).map(|one| vec![one]) };
    let contents = contents.map_err(|error| unreadable("contents", &error))?;
    let mut reader = Reader::default();
    for (index, content) in contents.into_iter().enumerate() {
        reader.content(content, index, messages)?;
    }
    Ok(())
}

fn contents_of(text: &str) -> serde_json::Result<Vec<ContentIn<'_>>> {
    serde_json::from_str(text).or_else(|_| {
        let contents: Vec<&RawValue> = serde_json::from_str(text)?;
        contents.into_iter().map(|content| content_of(content.get())).collect()
    })
}

/// Google takes a single part in place of a list of parts, and some of its examples have one.
fn content_of(text: &str) -> serde_json::Result<ContentIn<'_>> {
    #[derive(serde::Deserialize)]
    struct Single<'a> {
        #[serde(borrow)]
        parts: &'a RawValue,
        role: Option<String>,
    }
    serde_json::from_str(text).or_else(|error| match serde_json::from_str::<Single<'_>>(text) {
        Ok(Single { parts, role }) if parts.get().starts_with('{') => {
            Ok(ContentIn { parts: Some(vec![parts]), role })
        }
        _ => Err(error),
    })
}

fn unreadable(path: &str, error: &serde_json::Error) -> Error {
    Error::invalid_at(path.to_owned(), format!("`{path}` cannot be read: {error}"))
}

/// Adds a part of a turn. A client that puts a streamed answer together keeps one thought part for every piece, with
/// the signature on the last: they are one thought, and its provider wants it back as one.
fn push_joined(part: Part, parts: &mut Vec<Part>) {
    if let Content::Reasoning { text: more, signature: signed, redacted: false } = &part.content
        && let Some(Part { content: Content::Reasoning { text, signature, redacted: false }, .. }) =
            parts.last_mut()
        && signature.is_none()
    {
        text.push_str(more);
        signature.clone_from(signed);
        return;
    }
    parts.push(part);
}

/// Ties results to calls, which Gemini lets clients leave to names and order.
#[derive(Default)]
struct Reader {
    /// Calls of the last model turn: id, name, answered.
    open: Vec<(String, String, bool)>,
    after_model: bool,
    calls: usize,
    strays: usize,
}

impl Reader {
    fn content(&mut self, content: ContentIn<'_>, index: usize, messages: &mut Vec<Message>) -> Result<()> {
        let path = format!("contents[{index}]");
        let role = match content.role.as_deref() {
            None | Some("" | "user" | "function" | "tool") => Role::User,
            Some("model" | "assistant") => Role::Assistant,
            Some("system") => Role::System,
            Some(other) => {
                let message = format!("role {other:?} is not known; use \"user\" or \"model\"");
                return Err(Error::invalid_at(format!("{path}.role"), message));
            }
        };
        if role == Role::Assistant && !self.after_model {
            self.open.clear();
        }
        self.after_model = role == Role::Assistant;
        let (mut results, mut rest) = (Vec::new(), Vec::new());
        for (number, raw) in content.parts.unwrap_or_default().into_iter().enumerate() {
            let part = self.part(raw, &format!("{path}.parts[{number}]"))?;
            match part.content {
                Content::ToolResult(_) => results.push(part),
                _ => push_joined(part, &mut rest),
            }
        }
        if !results.is_empty() {
            messages.push(Message::new(Role::Tool, results));
        }
        if !rest.is_empty() {
            messages.push(Message::new(role, rest));
        }
        Ok(())
    }

    fn part(&mut self, raw: &RawValue, path: &str) -> Result<Part> {
        if raw.get().trim_start().starts_with('"') {
            let text: String = serde_json::from_str(raw.get()).map_err(|error| unreadable(path, &error))?;
            return Ok(Part::text(text));
        }
        let part: PartIn<'_> = serde_json::from_str(raw.get()).map_err(|error| unreadable(path, &error))?;
        let native = || Content::Native { dialect: Dialect::Gemini, json: RawJson::from(raw) };
        let signature = part.thought_signature.as_deref().map(signature::read);
        let mut content = if part.video_metadata.is_some() {
            // Which seconds of a film to watch: only Gemini knows.
            native()
        } else if let Some(text) = part.text {
            let (signature, redacted) = match signature {
                Some((signature, redacted)) => (Some(signature), redacted),
                None => (None, false),
            };
            if part.thought == Some(true) {
                Content::Reasoning { text, signature, redacted }
            } else {
                Content::Text { text, citations: Vec::new(), signature }
            }
        } else if let Some(call) = part.function_call {
            self.call(call, signature.map(|(signature, _)| signature), path)?
        } else if let Some(result) = part.function_response {
            self.result(result)
        } else if let Some(blob) = part.inline_data {
            media::from_blob(blob)
        } else if let Some(file) = part.file_data {
            media::from_file(file)
        } else {
            native()
        };
        if let Some(resolution) = &part.media_resolution {
            media::set_detail(&mut content, resolution);
        }
        Ok(Part::new(content))
    }

    fn call(
        &mut self,
        call: FunctionCallIn<'_>,
        signature: Option<tollway_model::Signature>,
        path: &str,
    ) -> Result<Content> {
        let Some(name) = call.name else {
            let path = format!("{path}.functionCall.name");
            return Err(Error::invalid_at(path, "a function call needs a name"));
        };
        self.calls += 1;
        let (id, packed) = match call.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => {
                let (plain, packed) = carry::unpack_id(id);
                (plain.to_owned(), packed)
            }
            None => (format!("call_{}", self.calls), None),
        };
        self.open.push((id.clone(), name.clone(), false));
        Ok(Content::ToolCall(ToolCall {
            id,
            name,
            arguments: call.args.map_or_else(|| "{}".to_owned(), |args| compact(args.get())),
            kind: ToolKind::Function,
            signature: signature.or(packed),
        }))
    }

    fn result(&mut self, result: FunctionResponseIn<'_>) -> Content {
        let name = result.name.filter(|name| !name.is_empty());
        let given = result.id.as_deref().filter(|id| !id.is_empty()).map(|id| carry::unpack_id(id).0);
        let call_id = self.answered(given, name.as_deref());
        let mut parts = Vec::new();
        let is_error = result.response.and_then(|response| response_parts(response, &mut parts));
        for part in result.parts.unwrap_or_default() {
            parts.extend(part.inline_data.map(|blob| Part::new(media::from_blob(blob))));
            parts.extend(part.file_data.map(|file| Part::new(media::from_file(file))));
        }
        Content::ToolResult(ToolResult { call_id, name, parts, is_error })
    }

    /// The id of the call a result answers: the given one, else the first open call of that name, else the first.
    fn answered(&mut self, given: Option<&str>, name: Option<&str>) -> String {
        let by_id = given.and_then(|given| self.open.iter_mut().find(|(id, ..)| id == given));
        if let Some(call) = by_id {
            call.2 = true;
            return call.0.clone();
        }
        if let Some(given) = given {
            return given.to_owned();
        }
        let at = self
            .open
            .iter()
            .position(|(_, own, done)| !done && name == Some(own))
            .or_else(|| self.open.iter().position(|(.., done)| !done && name.is_none()));
        if let Some(call) = at.and_then(|at| self.open.get_mut(at)) {
            call.2 = true;
            return call.0.clone();
        }
        self.strays += 1;
        format!("call_stray_{}", self.strays)
    }
}

/// The text of a function's answer. `{"content": "…"}` is how plain text travels, `{"error": …}` how a failure does.
fn response_parts(response: &RawValue, parts: &mut Vec<Part>) -> Option<bool> {
    let value = RawJson::from(response).to_value();
    let only = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
    match only {
        Some((key, serde_json::Value::String(text))) if key == "content" && is_plain(text) => {
            parts.extend((!text.is_empty()).then(|| Part::text(text.as_str())));
            None
        }
        Some((key, error)) if key == "error" => {
            parts.push(Part::text(error.as_str().map_or_else(|| error.to_string(), str::to_owned)));
            Some(true)
        }
        _ => {
            parts.push(Part::text(compact(response.get())));
            None
        }
    }
}

/// Text that would not be taken for an object on its way back.
fn is_plain(text: &str) -> bool {
    super::shape::raw_object(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(contents: &str, expected: &[&str]) {
        let (raw, mut messages) = (RawValue::from_string(contents.to_owned()).unwrap(), Vec::new());
        read(&raw, &mut messages).unwrap();
        assert_eq!(messages.iter().map(Message::joined_text).collect::<Vec<_>>(), expected, "{contents}");
        if let [one] = expected {
            let content =
                contents.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(contents);
            let raw = RawValue::from_string(content.to_owned()).unwrap();
            assert_eq!(system(&raw).unwrap().unwrap().joined_text(), *one, "{contents}");
        }
    }

    #[test]
    fn a_single_part_may_stand_for_a_list() {
        check(r#""a""#, &["a"]);
        check(r#"{"parts":[{"text":"a"}]}"#, &["a"]);
        check(r#"{"role":"user","parts":{"text":"a"}}"#, &["a"]);
        check(r#"[{"parts":{"text":"a"}}]"#, &["a"]);
        check(
            r#"[{"role":"user","parts":{"text":"a"}},{"role":"model","parts":[{"text":"b"}]}]"#,
            &["a", "b"],
        );
        let wrong = RawValue::from_string(r#"[{"parts":"a"}]"#.to_owned()).unwrap();
        assert_eq!(read(&wrong, &mut Vec::new()).unwrap_err().param(), Some("contents"));
    }
}
