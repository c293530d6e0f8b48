//! Neutral messages → `system` and `messages`.
//!
//! The API wants the operator's words at the top, turns that alternate and begin with the user, tool results first
//! in their turn, and no empty text. Whatever that changes is noted.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tollway_model::{
    Capabilities, Content, Dialect, Error, Kind, Media, MediaSource, Message, Notices, Part, RawJson,
    Request, Result, Role, Signature, ToolCall, ToolResult,
};

use super::blocks_out::{Block, ResultContent, Source, Speaker, Turn};
use super::names::Rewriter;
use crate::free_text;

/// Stands for a turn that must not be missing and must not be empty.
const PLACEHOLDER: &str = ".";
/// Tells the model that words in a user turn are the operator's.
const OPERATOR_NOTE: &str = "Note from the operator of this conversation: ";
/// Asks for more where a started answer cannot be continued directly.
const CONTINUE: &str = "Continue exactly where your last message stops.";

/// `system` and `messages`.
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
    /// Some block names a file uploaded to the provider.
    pub(super) uses_files: bool,
}

/// What writing a message needs to know.
pub(super) struct Writer<'a, 'w> {
    pub(super) capabilities: &'w Capabilities,
    pub(super) names: &'w Rewriter<'a>,
    pub(super) ids: &'w Rewriter<'a>,
    /// The caller speaks this dialect.
    pub(super) is_ours: bool,
    /// The `citations` setting of all documents.
    pub(super) citations: Option<&'a RawJson>,
    pub(super) notices: &'w mut Notices,
    pub(super) uses_files: bool,
    /// How often each call id has been used. Hosts that number their calls anew in every answer repeat ids, and the
    /// API wants them unique; a result answers the latest.
    pub(super) used: HashMap<&'a str, u32>,
}

impl<'a> Writer<'a, '_> {
    pub(super) fn conversation(mut self, request: &'a Request) -> Result<Conversation<'a>> {
        let leading = request.messages.iter().take_while(|message| is_operator(message)).count();
        let (top, rest) = request.messages.split_at_checked(leading).unwrap_or_default();
        let mut system = Vec::new();
        for (index, message) in top.iter().enumerate() {
            self.message(message, index, &mut system)?;
        }
        let mut turns: Vec<Turn<'a>> = Vec::new();
        for (index, message) in (leading..).zip(rest) {
            let mut content = Vec::new();
            self.message(message, index, &mut content)?;
            self.add_turn(message, index, content, &mut turns);
        }
        self.mend(&mut turns);
        Ok(Conversation { system, turns, uses_files: self.uses_files })
    }

    /// Adds a message's blocks as a turn, or to the turn before it when both have one speaker.
    fn add_turn(
        &mut self,
        message: &Message,
        index: usize,
        mut content: Vec<Block<'a>>,
        turns: &mut Vec<Turn<'a>>,
    ) {
        let mut role = match message.role {
            Role::Assistant => Speaker::Assistant,
            Role::User | Role::Tool => Speaker::User,
            Role::System | Role::Developer => Speaker::System,
        };
        let support = self.capabilities.mid_conversation_system;
        if role == Speaker::System && !(support.yes() || self.is_ours && !support.no()) {
            role = Speaker::User;
            let field = format!("messages[{index}].role");
            self.notices.changed(
                field,
                "the model takes system messages at the top only: sent as an operator's note",
            );
            for block in &mut content {
                if let Block::Text { text, .. } = block {
                    *text = Cow::Owned(format!("{OPERATOR_NOTE}{text}"));
                }
            }
        }
        if message.name.is_some() {
            self.notices.changed(format!("messages[{index}].name"), "messages have no names here: left out");
        }
        if content.is_empty() && role == Speaker::User && message.role == Role::User {
            self.notices
                .changed(format!("messages[{index}].content"), "empty content is refused: sent as `.`");
            content.push(Block::text(PLACEHOLDER));
        }
        if content.is_empty() {
            return;
        }
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.append(&mut content),
            _ => turns.push(Turn { role, content }),
        }
    }

    /// Makes the turns what the API accepts: the user first, results first, no loose end.
    fn mend(&mut self, turns: &mut Vec<Turn<'a>>) {
        let first = turns.iter().find(|turn| turn.role != Speaker::System);
        if first.is_none_or(|turn| turn.role == Speaker::Assistant) {
            self.notices
                .changed("messages", "a conversation begins with the user: a user turn `.` was added");
            turns.insert(0, Turn { role: Speaker::User, content: vec![Block::text(PLACEHOLDER)] });
        }
        for turn in turns.iter_mut().filter(|turn| turn.role == Speaker::User) {
            // Stable: results keep their order, and so does the rest.
            turn.content.sort_by_key(|block| !block.is_tool_result());
        }
        self.mend_end(turns);
    }

    /// A last assistant turn is a started answer; it must not end in white space.
    fn mend_end(&mut self, turns: &mut Vec<Turn<'a>>) {
        let Some(last) = turns.last_mut().filter(|turn| turn.role == Speaker::Assistant) else { return };
        if let Some(Block::Text { text, .. }) = last.content.last_mut() {
            let length = text.trim_end().len();
            if length < text.len() {
                match text {
                    Cow::Borrowed(whole) => *text = Cow::Borrowed(whole.trim_end()),
                    Cow::Owned(whole) => whole.truncate(length),
                }
            }
        }
        if self.capabilities.prefill.no() {
            self.notices
                .dropped("messages", "the model does not continue a started answer; it was asked to go on");
            turns.push(Turn { role: Speaker::User, content: vec![Block::text(CONTINUE)] });
        }
    }

    fn message(&mut self, message: &'a Message, index: usize, blocks: &mut Vec<Block<'a>>) -> Result<()> {
        for (number, part) in message.parts.iter().enumerate() {
            let place = Place { message: index, part: number };
            if let Some(block) = self.part(part, place)? {
                blocks.push(block);
            }
        }
        Ok(())
    }

    /// One part as a block; `None` when there is nothing to send.
    fn part(&mut self, part: &'a Part, place: Place) -> Result<Option<Block<'a>>> {
        let block = match &part.content {
            Content::Text { text, citations, .. } => self.text(text, citations, place),
            Content::Refusal(text) => self.text(text, &[], place),
            Content::Image(media) => {
                Some(Block::Image { source: self.image(media, place)?, cache_control: None })
            }
            Content::File(media) => Some(self.file(media, place)?),
            Content::Audio(_) => return Err(unsupported(place, "the model takes no sound")),
            Content::Video(_) => return Err(unsupported(place, "the model takes no moving pictures")),
            Content::ToolCall(call) => Some(self.tool_use(call, place)),
            Content::ToolResult(result) => Some(self.tool_result(result, place)?),
            Content::Reasoning { text, signature, redacted } => {
                self.thinking(text, signature.as_ref(), *redacted, place)
            }
            Content::Native { dialect: Dialect::Anthropic, json } => Some(Block::Native(json)),
            Content::Native { dialect, .. } => {
                self.notices.changed(place.field(), format!("only {dialect} knows this block: left out"));
                None
            }
        };
        let Some(mut block) = block else {
            if part.cache.is_some() {
                self.notices.changed(place.field(), "a cache mark on content that is not sent: left out");
            }
            return Ok(None);
        };
        if let Some(hint) = part.cache {
            match block.cache_mut() {
                Some(cache) => *cache = Some(hint.into()),
                None => self.notices.changed(place.field(), "this block cannot carry a cache mark: left out"),
            }
        }
        Ok(Some(block))
    }

    fn text(
        &mut self,
        text: &'a str,
        citations: &'a [tollway_model::Citation],
        place: Place,
    ) -> Option<Block<'a>> {
        if text.trim().is_empty() {
            if !text.is_empty() {
                self.notices.changed(place.field(), "text of white space only is refused: left out");
            }
            return None;
        }
        let natives: Vec<_> = citations
            .iter()
            .filter_map(|citation| match &citation.native {
                Some((Dialect::Anthropic, json)) => Some(json),
                _ => None,
            })
            .collect();
        if natives.len() < citations.len() {
            self.notices
                .changed(place.field(), "citations of another provider cannot be sent back: left out");
        }
        Some(Block::Text { text: Cow::Borrowed(text), citations: natives, cache_control: None })
    }

    fn image(&mut self, media: &'a Media, place: Place) -> Result<Source<'a>> {
        if media.detail.is_some_and(|detail| detail != tollway_model::Detail::Auto) {
            self.notices.changed(place.field(), "image detail cannot be chosen: left out");
        }
        match &media.source {
            MediaSource::Base64(data) => {
                let media_type = match media.media_type.as_deref().unwrap_or_default() {
                    "image/jpg" => "image/jpeg",
                    known @ ("image/jpeg" | "image/png" | "image/gif" | "image/webp") => known,
                    other => {
                        let message =
                            format!("images of type `{other}` are not taken: send JPEG, PNG, GIF or WebP");
                        return Err(unsupported(place, message));
                    }
                };
                Ok(Source::Base64 { media_type: Cow::Borrowed(media_type), data })
            }
            MediaSource::Url(url) => Ok(Source::Url { url }),
            MediaSource::FileId(file_id) => Ok(self.file_id(file_id)),
            MediaSource::Text(_) => Err(unsupported(place, "an image cannot be given as text")),
        }
    }

    fn file_id(&mut self, file_id: &'a str) -> Source<'a> {
        self.uses_files = true;
        Source::File { file_id }
    }

    fn file(&mut self, media: &'a Media, place: Place) -> Result<Block<'a>> {
        let kind = media.media_type.as_deref().unwrap_or_default();
        if kind.starts_with("image/") {
            return Ok(Block::Image { source: self.image(media, place)?, cache_control: None });
        }
        let source = match &media.source {
            MediaSource::Base64(data) if kind == "application/pdf" || kind.is_empty() => {
                Source::Base64 { media_type: Cow::Borrowed("application/pdf"), data }
            }
            MediaSource::Base64(data) => {
                let text = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let Some(text) = text.filter(|_| is_textual(kind)) else {
                    let message = format!("documents of type `{kind}` are not taken: send PDF or text");
                    return Err(unsupported(place, message));
                };
                Source::Text { media_type: "text/plain", data: Cow::Owned(text) }
            }
            MediaSource::Text(text) => Source::Text { media_type: "text/plain", data: Cow::Borrowed(text) },
            MediaSource::Url(url) => Source::Url { url },
            MediaSource::FileId(file_id) => self.file_id(file_id),
        };
        let title = media.name.as_deref();
        Ok(Block::Document { source, title, citations: self.citations, cache_control: None })
    }

    /// The id to send for the latest call of this id.
    fn call_id(&self, id: &str) -> String {
        let sent = self.ids.get(id);
        match self.used.get(id) {
            None | Some(1) => sent.to_owned(),
            Some(times) => format!("{sent}_{times}"),
        }
    }

    fn tool_use(&mut self, call: &'a ToolCall, place: Place) -> Block<'a> {
        if call.signature.is_some() {
            self.notices.changed(place.field(), "another provider's signature of a tool call: left out");
        }
        let input = free_text::tool_input(call, || place.field(), self.notices);
        let used = self.used.entry(&call.id).or_default();
        *used += 1;
        Block::ToolUse {
            id: Cow::Owned(self.call_id(&call.id)),
            name: Cow::Owned(self.names.get(&call.name).to_owned()),
            input,
            cache_control: None,
        }
    }

    fn tool_result(&mut self, result: &'a ToolResult, place: Place) -> Result<Block<'a>> {
        let content = match result.parts.as_slice() {
            [Part { content: Content::Text { text, .. }, cache: None }] => ResultContent::Text(text),
            parts => {
                let mut blocks = Vec::with_capacity(parts.len());
                for part in parts {
                    blocks.extend(self.part(part, place)?);
                }
                ResultContent::Blocks(blocks)
            }
        };
        Ok(Block::ToolResult {
            tool_use_id: Cow::Owned(self.call_id(&result.call_id)),
            content,
            is_error: result.is_error,
            cache_control: None,
        })
    }

    /// Only thinking this dialect signed may return; the provider refuses any other.
    fn thinking(
        &mut self,
        text: &'a str,
        signature: Option<&'a Signature>,
        redacted: bool,
        place: Place,
    ) -> Option<Block<'a>> {
        if self.capabilities.reasoning.no() {
            self.notices.changed(place.field(), "the model does not think: earlier thinking is left out");
            return None;
        }
        match signature {
            Some(Signature { origin: Dialect::Anthropic, value }) if redacted => {
                Some(Block::RedactedThinking { data: value })
            }
            Some(Signature { origin: Dialect::Anthropic, value }) => {
                Some(Block::Thinking { thinking: text, signature: value })
            }
            _ => {
                self.notices.changed(place.field(), "thinking that this provider did not sign: left out");
                None
            }
        }
    }
}

/// Where a part is, for notices.
#[derive(Clone, Copy)]
struct Place {
    message: usize,
    part: usize,
}

impl Place {
    fn field(self) -> String {
        format!("messages[{}].content[{}]", self.message, self.part)
    }
}

fn unsupported(place: Place, message: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, message).with_param(place.field())
}

fn is_operator(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}

fn is_textual(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || matches!(
            media_type,
            "application/json"
                | "application/xml"
                | "application/yaml"
                | "application/x-yaml"
                | "application/javascript"
        )
}

/// In the tool loop that the conversation ends in, did the model's thinking get lost?
///
/// With a thinking budget the API refuses a loop whose assistant turns show none.
pub(super) fn loop_lost_its_thinking(turns: &[Turn<'_>]) -> bool {
    let mut in_loop = false;
    for turn in turns.iter().rev() {
        match turn.role {
            Speaker::User if turn.content.iter().any(Block::is_tool_result) => {}
            Speaker::Assistant if turn.content.iter().any(Block::is_tool_use) => {
                in_loop = true;
                if turn.content.first().is_some_and(Block::is_thinking) {
                    return false;
                }
            }
            _ => break,
        }
    }
    in_loop
}
