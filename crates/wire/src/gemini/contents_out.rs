//! The conversation for a provider: `systemInstruction` and `contents`.
//!
//! Gemini wants user and model turns to alternate, and the results of one model turn together in one user turn, in
//! the order of the calls. The third generation also refuses a call of the current turn that comes back without its
//! thought signature.
//!
//! How a message is written never depends on what follows it: each request begins with the bytes of the one before,
//! which is what Gemini's prompt cache goes by.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tollway_model::{
    Content, Dialect, Error, Media, MediaSource, Message, Notices, Part, RawJson, Request, Result, Role,
    Signature, ToolCall, ToolKind, ToolResult,
};

use super::family::Family;
use super::media::{self, Sort};
use super::names::Names;
use super::shape::{AnyPart, ContentOut, FunctionCallOut, FunctionResponseOut, PartOut, raw_object};
use super::signature::SKIP_VALIDATION;

/// Tells the model that words in a user turn are the operator's.
const OPERATOR_NOTE: &str = "Note from the operator of this conversation: ";

/// A conversation in Gemini's form.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<AnyPart<'a>>,
    pub(super) contents: Vec<ContentOut<'a>>,
}

/// What writing a conversation needs to know.
pub(super) struct Setting<'n> {
    pub(super) family: Family,
    /// The caller speaks Gemini too: what it sent is repeated, not improved.
    pub(super) native: bool,
    /// The model takes system instructions.
    pub(super) system: bool,
    pub(super) names: &'n mut Names,
    pub(super) notices: &'n mut Notices,
}

/// Writes the messages of `request`.
pub(super) fn write<'a>(request: &'a Request, setting: Setting<'_>) -> Result<Conversation<'a>> {
    let messages = &request.messages;
    let mut writer = Writer {
        setting,
        calls: HashMap::new(),
        calls_written: 0,
        signatures: HashSet::new(),
        group_open: false,
        out: Conversation::default(),
    };
    let mut index = 0;
    while let Some(message) = messages.get(index) {
        if message.role == Role::Tool {
            let run = messages.iter().skip(index).take_while(|message| message.role == Role::Tool).count();
            writer.results(index, messages.get(index..index + run).unwrap_or_default())?;
            index += run;
            continue;
        }
        writer.message(index, message)?;
        index += 1;
    }
    Ok(writer.finish())
}

struct Writer<'a, 'n> {
    setting: Setting<'n>,
    /// Calls written so far, by id: the function's name and which call it was. Hosts that number their calls anew
    /// in every answer repeat ids; a result answers the latest.
    calls: HashMap<&'a str, (&'a str, usize)>,
    calls_written: usize,
    /// Signatures written so far: each is sent once, because each is billed.
    signatures: HashSet<&'a str>,
    /// The model turn being written has a call already; only the first carries a signature.
    group_open: bool,
    out: Conversation<'a>,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, index: usize, message: &'a Message) -> Result<()> {
        if message.name.is_some() {
            let field = format!("messages[{index}].name");
            self.setting.notices.changed(field, "Gemini has no names of participants");
        }
        match message.role {
            Role::System | Role::Developer if self.setting.system && !self.has_answered() => {
                self.system(index, message)
            }
            Role::System | Role::Developer => self.operator_note(index, message),
            Role::Assistant => {
                for (number, part) in message.parts.iter().enumerate() {
                    let field = format!("messages[{index}].content[{number}]");
                    self.model_part(part, field)?;
                }
                Ok(())
            }
            _ => {
                for (number, part) in message.parts.iter().enumerate() {
                    let field = format!("messages[{index}].content[{number}]");
                    self.user_part(part, field)?;
                }
                Ok(())
            }
        }
    }

    fn system(&mut self, index: usize, message: &'a Message) -> Result<()> {
        if !self.out.contents.is_empty() {
            let field = format!("messages[{index}]");
            self.setting
                .notices
                .changed(field, "moved to the system instruction, which stands before all turns");
        }
        for (number, part) in message.parts.iter().enumerate() {
            let field = format!("messages[{index}].content[{number}]");
            if let Some(part) = self.part(part, &field)? {
                self.out.system.push(part);
            }
        }
        Ok(())
    }

    /// The model has said something.
    fn has_answered(&self) -> bool {
        self.out.contents.iter().any(|content| content.role == Some("model"))
    }

    /// The operator's words in a user turn: the model has no system instruction, or the conversation is under way
    /// and a changed instruction at its very beginning would cost the whole prompt cache.
    fn operator_note(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let field = format!("messages[{index}].role");
        self.setting.notices.changed(field, "sent as an operator's note in the user turn");
        for (number, part) in message.parts.iter().enumerate() {
            let field = format!("messages[{index}].content[{number}]");
            match part.as_text().filter(|text| !text.is_empty()) {
                Some(text) if self.setting.system => {
                    self.push("user", PartOut::text(format!("{OPERATOR_NOTE}{text}")).into());
                }
                _ => self.user_part(part, field)?,
            }
        }
        Ok(())
    }

    fn user_part(&mut self, part: &'a Part, field: String) -> Result<()> {
        if let Content::ToolResult(result) = &part.content {
            return self.result(result, &field);
        }
        if let Some(part) = self.part(part, &field)? {
            self.push("user", part);
        }
        Ok(())
    }

    fn model_part(&mut self, part: &'a Part, field: String) -> Result<()> {
        match &part.content {
            Content::ToolCall(call) => {
                let part = self.call(call, &field);
                self.push("model", part.into());
                self.group_open = true;
            }
            Content::ToolResult(result) => self.result(result, &field)?,
            Content::Reasoning { text, signature, redacted } => {
                if let Some(part) = self.thought(text, signature.as_ref(), *redacted, &field) {
                    self.push("model", part.into());
                }
            }
            _ => {
                if let Some(part) = self.part(part, &field)? {
                    self.push("model", part);
                }
            }
        }
        Ok(())
    }

    /// A part that stands in any turn.
    fn part(&mut self, part: &'a Part, field: &str) -> Result<Option<AnyPart<'a>>> {
        let (sort, media) = match &part.content {
            Content::Text { text, citations, signature } => {
                if !citations.is_empty() {
                    let field = format!("{field}.citations");
                    self.setting.notices.changed(field, "Gemini takes no citations back");
                }
                let thought_signature = self.signature(signature.as_ref(), field);
                if text.is_empty() && thought_signature.is_none() {
                    return Ok(None);
                }
                let part = PartOut { thought_signature, ..PartOut::text(text.as_str()) };
                return Ok(Some(part.into()));
            }
            Content::Refusal(text) => {
                return Ok((!text.is_empty()).then(|| PartOut::text(text.as_str()).into()));
            }
            Content::Native { dialect: Dialect::Gemini, json } => return Ok(Some(AnyPart::Native(json))),
            Content::Native { dialect, .. } => {
                let message = format!("a block only the {dialect} dialect knows was left out");
                self.setting.notices.changed(field.to_owned(), message);
                return Ok(None);
            }
            Content::Image(media) => (Sort::Image, media),
            Content::Audio(media) => (Sort::Audio, media),
            Content::Video(media) => (Sort::Video, media),
            Content::File(media) => (Sort::File, media),
            // Calls, results and thinking have their own places; elsewhere they mean nothing.
            Content::ToolCall(_) | Content::ToolResult(_) | Content::Reasoning { .. } => {
                return Err(Error::invalid_at(field.to_owned(), "this part does not belong in this message"));
            }
        };
        media::part(sort, media, self.setting.family, field, self.setting.notices)
            .map(|part| Some(part.into()))
    }

    fn thought(
        &mut self,
        text: &'a str,
        signature: Option<&'a Signature>,
        redacted: bool,
        field: &str,
    ) -> Option<PartOut<'a>> {
        let own = signature.is_some_and(|signature| signature.origin == Dialect::Gemini) && !redacted;
        let repeated = self.setting.native && signature.is_none() && !text.is_empty();
        if !own && !repeated {
            self.setting.notices.changed(field.to_owned(), "thinking of another provider was left out");
            return None;
        }
        let thought_signature = self.signature(signature, field);
        if text.is_empty() && thought_signature.is_none() {
            return None;
        }
        Some(PartOut { thought: Some(true), thought_signature, ..PartOut::text(text) })
    }

    fn call(&mut self, call: &'a ToolCall, field: &str) -> PartOut<'a> {
        self.calls.insert(&call.id, (&call.name, self.calls_written));
        self.calls_written += 1;
        let first = !self.group_open;
        let mut thought_signature = self.signature(call.signature.as_ref(), field);
        if first && thought_signature.is_none() && self.setting.family.since((3, 0)) {
            thought_signature = Some(Cow::Borrowed(SKIP_VALIDATION));
        }
        let args = arguments(call).unwrap_or_else(|text| {
            self.setting.notices.changed(format!("{field}.arguments"), "not a JSON object; sent inside one");
            RawJson::from(serde_json::json!({ "arguments": text }))
        });
        let name = self.setting.names.sent(&call.name);
        PartOut {
            function_call: Some(FunctionCallOut { id: self.id(&call.id), name, args }),
            thought_signature,
            ..PartOut::default()
        }
    }

    /// Calls have ids since 3.5. Older models get those a Gemini client sent, and none that was made here.
    fn id(&self, id: &'a str) -> Option<&'a str> {
        let known = self.setting.family.since((3, 5)) || (self.setting.native && !id.starts_with("call_"));
        known.then_some(id)
    }

    /// The results of one model turn, in the order of its calls.
    fn results(&mut self, index: usize, messages: &'a [Message]) -> Result<()> {
        let mut results: Vec<(usize, &'a ToolResult, String)> = Vec::new();
        let mut rest: Vec<(&'a Part, String)> = Vec::new();
        for (offset, message) in messages.iter().enumerate() {
            for (number, part) in message.parts.iter().enumerate() {
                let field = format!("messages[{}].content[{number}]", index + offset);
                match &part.content {
                    Content::ToolResult(result) => {
                        let order = self.calls.get(result.call_id.as_str()).map_or(usize::MAX, |call| call.1);
                        results.push((order, result, field));
                    }
                    _ => rest.push((part, field)),
                }
            }
        }
        results.sort_by_key(|(order, ..)| *order);
        for (_, result, field) in results {
            self.result(result, &field)?;
        }
        for (part, field) in rest {
            self.user_part(part, field)?;
        }
        Ok(())
    }

    fn result(&mut self, result: &'a ToolResult, field: &str) -> Result<()> {
        let called = self.calls.get(result.call_id.as_str()).map(|call| call.0);
        let Some(name) = called.or(result.name.as_deref()) else {
            let message = format!("no tool call has the id {:?} that this result answers", result.call_id);
            return Err(Error::invalid_at(field.to_owned(), message));
        };
        let mut text: Option<Cow<'a, str>> = None;
        let mut pictures = Vec::new();
        for part in &result.parts {
            let (sort, media) = match &part.content {
                Content::Text { text: more, .. } | Content::Refusal(more) => {
                    join(&mut text, more);
                    continue;
                }
                Content::File(Media { source: MediaSource::Text(more), .. }) => {
                    join(&mut text, more);
                    continue;
                }
                Content::Image(media) => (Sort::Image, media),
                Content::Audio(media) => (Sort::Audio, media),
                Content::Video(media) => (Sort::Video, media),
                Content::File(media) => (Sort::File, media),
                _ => {
                    self.setting
                        .notices
                        .changed(field.to_owned(), "a part that only another dialect knows was left out");
                    continue;
                }
            };
            let part = media::part(sort, media, self.setting.family, field, self.setting.notices)?;
            pictures.push(AnyPart::from(part));
        }
        let (parts, beside) = if self.setting.family.before((3, 0)) && !self.setting.native {
            (Vec::new(), pictures)
        } else {
            (pictures, Vec::new())
        };
        let name = self.setting.names.sent(name);
        let response = response(text.as_deref().unwrap_or_default(), result.is_error == Some(true));
        let function_response = FunctionResponseOut { id: self.id(&result.call_id), name, response, parts };
        let part = PartOut { function_response: Some(function_response), ..PartOut::default() };
        self.push("user", part.into());
        if !beside.is_empty() {
            self.setting
                .notices
                .changed(field.to_owned(), "sent beside the result; this model takes only JSON inside it");
        }
        for part in beside {
            self.push("user", part);
        }
        Ok(())
    }

    /// A signature of Gemini's own that was not sent yet.
    fn signature(&mut self, signature: Option<&'a Signature>, field: &str) -> Option<Cow<'a, str>> {
        let signature = signature?;
        if signature.origin != Dialect::Gemini {
            let message = format!("a signature of the {} dialect was left out", signature.origin);
            self.setting.notices.changed(field.to_owned(), message);
            return None;
        }
        let fresh = signature.value == SKIP_VALIDATION || self.signatures.insert(&signature.value);
        fresh.then_some(Cow::Borrowed(signature.value.as_str()))
    }

    fn push(&mut self, role: &'static str, part: AnyPart<'a>) {
        match self.out.contents.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.push(part),
            _ => {
                self.group_open = false;
                self.out.contents.push(ContentOut { parts: vec![part], role: Some(role) });
            }
        }
    }

    /// A conversation begins with the user, and is not empty.
    fn finish(mut self) -> Conversation<'a> {
        let starts_well = self.out.contents.first().is_some_and(|first| first.role == Some("user"));
        if !starts_well && !self.setting.native {
            self.setting
                .notices
                .changed("messages", "Gemini wants a user turn first; an empty one was added");
            let blank = ContentOut { parts: vec![PartOut::text(" ").into()], role: Some("user") };
            self.out.contents.insert(0, blank);
        }
        self.out
    }
}

/// The arguments as an object, or the text that is none.
pub(super) fn arguments(call: &ToolCall) -> std::result::Result<RawJson, &str> {
    let text = call.arguments.trim();
    if call.kind == ToolKind::Custom {
        return Ok(RawJson::from(serde_json::json!({ "input": call.arguments })));
    }
    if text.is_empty() {
        return Ok(RawJson::from(serde_json::json!({})));
    }
    raw_object(text).ok_or(call.arguments.as_str())
}

fn response(text: &str, is_error: bool) -> RawJson {
    if is_error {
        return RawJson::from(serde_json::json!({ "error": text }));
    }
    raw_object(text).unwrap_or_else(|| RawJson::from(serde_json::json!({ "content": text })))
}

fn join<'a>(text: &mut Option<Cow<'a, str>>, more: &'a str) {
    match text {
        Some(text) => {
            let text = text.to_mut();
            text.push('\n');
            text.push_str(more);
        }
        None => *text = Some(Cow::Borrowed(more)),
    }
}
