//! Neutral messages → `system` and `messages`.
//!
//! The API wants the operator's words at the top, turns that alternate and begin with the user, the results of one
//! turn's calls together and in their order, calls after text, no empty text, and words beside every document.
//! Whatever that changes is noted.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tollway_model::{
    CacheHint, Capabilities, Citation, Content, Dialect, Media, Message, Notices, Part, RawJson, Request,
    Result, Role, Signature, ToolCall, ToolResult,
};

use super::family::Family;
use super::media::{Names, audio, image, unsupported, video};
use super::shape::{Block, CachePoint, Guard, Reasoning, Speaker, ToolResult as Answer, ToolUse, Turn};
use crate::anthropic::names::Rewriter;
use crate::free_text;

/// Stands for words that must not be missing.
const PLACEHOLDER: &str = ".";
/// What a tool that said nothing is taken to have said.
const SILENCE: &str = "(no output)";
/// Tells the model that words in a user turn are the operator's.
const OPERATOR_NOTE: &str = "Note from the operator of this conversation: ";
/// Asks for more where a started answer cannot be continued directly.
const CONTINUE: &str = "Continue exactly where your last message stops.";
/// Cache points the API takes in one request.
const MOST_CACHE_POINTS: usize = 4;

/// `system` and `messages`, their cache points still apart.
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Item<'a>>,
    pub(super) turns: Vec<(Speaker, Vec<Item<'a>>)>,
}

/// A block and whether a cache point follows it.
pub(super) struct Item<'a> {
    pub(super) block: Block<'a>,
    pub(super) cache: Option<CacheHint>,
}

/// What writing a message needs to know.
pub(super) struct Writer<'a, 'w> {
    pub(super) family: Family,
    pub(super) capabilities: &'w Capabilities,
    pub(super) names: &'w Rewriter<'a>,
    pub(super) ids: &'w Rewriter<'a>,
    /// The `citations` setting of all documents.
    pub(super) citations: Option<&'a RawJson>,
    pub(super) notices: &'w mut Notices,
    pub(super) documents: Names,
    /// How often each call id has been used: the API wants them unique, and a result answers the latest.
    pub(super) used: HashMap<&'a str, u32>,
}

impl<'a> Writer<'a, '_> {
    pub(super) fn conversation(mut self, request: &'a Request) -> Result<Conversation<'a>> {
        let leading = request.messages.iter().take_while(|message| is_operator(message)).count();
        let leading = if self.capabilities.system.no() { 0 } else { leading };
        let (top, rest) = request.messages.split_at_checked(leading).unwrap_or_default();
        let mut conversation = Conversation { system: Vec::new(), turns: Vec::new() };
        for (index, message) in top.iter().enumerate() {
            self.message(message, index, &mut conversation.system)?;
        }
        for (index, message) in (leading..).zip(rest) {
            let mut content = Vec::new();
            self.message(message, index, &mut content)?;
            self.add_turn(message, index, content, &mut conversation.turns);
        }
        self.mend(&mut conversation.turns);
        if let Some(hint) = request.cache
            && let Some(last) = conversation.turns.last_mut().and_then(|(_, content)| content.last_mut())
        {
            last.cache.get_or_insert(hint);
        }
        Ok(conversation)
    }

    /// Adds a message's blocks as a turn, or to the turn before it when both have one speaker.
    fn add_turn(
        &mut self,
        message: &Message,
        index: usize,
        mut content: Vec<Item<'a>>,
        turns: &mut Vec<(Speaker, Vec<Item<'a>>)>,
    ) {
        if is_operator(message) {
            let field = format!("messages[{index}].role");
            self.notices.changed(field, "system messages go at the top only: sent as an operator's note");
            for item in &mut content {
                if let Block::Text(text) = &mut item.block {
                    *text = Cow::Owned(format!("{OPERATOR_NOTE}{text}"));
                }
            }
        }
        if message.name.is_some() {
            self.notices.changed(format!("messages[{index}].name"), "messages have no names here: left out");
        }
        if content.is_empty() && message.role == Role::User {
            self.notices
                .changed(format!("messages[{index}].content"), "empty content is refused: sent as `.`");
            content.push(words(PLACEHOLDER));
        }
        if content.is_empty() {
            return;
        }
        let role = if message.role == Role::Assistant { Speaker::Assistant } else { Speaker::User };
        match turns.last_mut() {
            Some((last, before)) if *last == role => before.append(&mut content),
            _ => turns.push((role, content)),
        }
    }

    /// Makes the turns what the API accepts.
    fn mend(&mut self, turns: &mut Vec<(Speaker, Vec<Item<'a>>)>) {
        if turns.first().is_none_or(|(role, _)| *role == Speaker::Assistant) {
            self.notices
                .changed("messages", "a conversation begins with the user: a user turn `.` was added");
            turns.insert(0, (Speaker::User, vec![words(PLACEHOLDER)]));
        }
        let mut calls: Vec<String> = Vec::new();
        for (role, content) in turns.iter_mut() {
            match role {
                Speaker::Assistant => {
                    // Stable: everything else keeps its order.
                    content.sort_by_key(|item| matches!(item.block, Block::ToolUse(_)));
                    calls =
                        content.iter().filter_map(|item| call_id(&item.block)).map(str::to_owned).collect();
                }
                Speaker::User => {
                    self.results(content, &calls);
                    calls.clear();
                    self.words_beside_documents(content);
                }
            }
        }
        self.mend_end(turns);
    }

    /// Results first, in the order of their calls, one for each.
    fn results(&mut self, content: &mut Vec<Item<'a>>, calls: &[String]) {
        let place = |block: &Block<'_>| match block {
            Block::ToolResult(result) => {
                calls.iter().position(|id| *id == result.tool_use_id).unwrap_or(calls.len())
            }
            _ => usize::MAX,
        };
        content.sort_by_key(|item| place(&item.block));
        let mut seen = HashSet::new();
        let before = content.len();
        content.retain(|item| match &item.block {
            Block::ToolResult(result) => seen.insert(result.tool_use_id.to_string()),
            _ => true,
        });
        if content.len() < before {
            self.notices.changed("messages", "a tool call with two results: the later ones are left out");
        }
    }

    fn words_beside_documents(&mut self, content: &mut Vec<Item<'a>>) {
        let has = |wanted: fn(&Block<'_>) -> bool| content.iter().any(|item| wanted(&item.block));
        if has(|block| matches!(block, Block::Document(_))) && !has(|block| matches!(block, Block::Text(_))) {
            self.notices.changed("messages", "a document needs words beside it: `.` was added");
            content.push(words(PLACEHOLDER));
        }
    }

    /// A last assistant turn is a started answer; it must not end in white space.
    fn mend_end(&mut self, turns: &mut Vec<(Speaker, Vec<Item<'a>>)>) {
        let Some((Speaker::Assistant, content)) = turns.last_mut() else { return };
        if let Some(Item { block: Block::Text(text), .. }) = content.last_mut() {
            *text = Cow::Owned(text.trim_end().to_owned());
        }
        if self.capabilities.prefill.no() || !self.family.may_be_claude() {
            self.notices
                .dropped("messages", "the model does not continue a started answer; it was asked to go on");
            turns.push((Speaker::User, vec![words(CONTINUE)]));
        }
    }

    fn message(&mut self, message: &'a Message, index: usize, items: &mut Vec<Item<'a>>) -> Result<()> {
        for (number, part) in message.parts.iter().enumerate() {
            let place = Place { message: index, part: number };
            match self.part(part, place)? {
                Some(Block::ReasoningContent(reasoning)) => {
                    if part.cache.is_some() {
                        self.notices.changed(place.field(), "thinking cannot carry a cache mark: left out");
                    }
                    items.push(Item { block: Block::ReasoningContent(reasoning), cache: None });
                }
                Some(block) => items.push(Item { block, cache: part.cache }),
                None if part.cache.is_some() => {
                    self.notices.changed(place.field(), "a cache mark on content that is not sent: left out");
                }
                None => {}
            }
        }
        Ok(())
    }

    /// One part as a block; `None` when there is nothing to send.
    fn part(&mut self, part: &'a Part, place: Place) -> Result<Option<Block<'a>>> {
        let sent = match &part.content {
            Content::Text { text, citations, .. } => return Ok(self.text(text, citations, place)),
            Content::Refusal(text) => return Ok(self.text(text, &[], place)),
            Content::ToolCall(call) => return Ok(Some(self.tool_use(call, place))),
            Content::ToolResult(result) => return self.tool_result(result, place).map(Some),
            Content::Reasoning { text, signature, redacted } => {
                return Ok(self.thinking(text, signature.as_ref(), *redacted, place));
            }
            Content::Native { dialect, json } => return Ok(self.native(*dialect, json, place)),
            Content::Image(media) => self.image(media, place),
            Content::File(media) => self.documents.document(media, self.citations),
            Content::Video(media) => video(media),
            Content::Audio(_) if self.capabilities.audio_input.no() => {
                Err("the model takes no sound".to_owned())
            }
            Content::Audio(media) => audio(media),
        };
        sent.map(Some).map_err(|why| unsupported(place.field(), why))
    }

    fn image(&mut self, media: &'a Media, place: Place) -> std::result::Result<Block<'a>, String> {
        if media.detail.is_some_and(|detail| detail != tollway_model::Detail::Auto) {
            self.notices.changed(place.field(), "image detail cannot be chosen: left out");
        }
        image(media)
    }

    fn text(&mut self, text: &'a str, citations: &[Citation], place: Place) -> Option<Block<'a>> {
        if !citations.is_empty() {
            self.notices.changed(place.field(), "citations are not sent back: left out");
        }
        if text.trim().is_empty() {
            if !text.is_empty() {
                self.notices.changed(place.field(), "text of white space only is refused: left out");
            }
            return None;
        }
        Some(Block::Text(Cow::Borrowed(text)))
    }

    /// Blocks of this dialect return; `guarded_text` is how LiteLLM's callers mark what a guardrail is to look at.
    fn native(&mut self, dialect: Dialect, json: &'a RawJson, place: Place) -> Option<Block<'a>> {
        if dialect == Dialect::BedrockConverse {
            return Some(Block::Native(json));
        }
        let value = json.to_value();
        if value.get("type").is_some_and(|kind| kind == "guarded_text")
            && let Some(text) = value.get("text").and_then(serde_json::Value::as_str)
        {
            return Some(Block::GuardContent(Guard::Text { text: Cow::Owned(text.to_owned()) }));
        }
        self.notices.changed(place.field(), format!("only {dialect} knows this block: left out"));
        None
    }

    /// The id to send for the latest call of this id.
    fn call_id(&self, id: &str) -> String {
        let sent = self.ids.get(id);
        match self.used.get(id) {
            None | Some(1) => sent.to_owned(),
            Some(times) => {
                let suffix = format!("_{times}");
                let room = super::LONGEST_NAME.saturating_sub(suffix.len()).min(sent.len());
                format!("{}{suffix}", sent.get(..room).unwrap_or_default())
            }
        }
    }

    fn tool_use(&mut self, call: &'a ToolCall, place: Place) -> Block<'a> {
        if call.signature.is_some() {
            self.notices.changed(place.field(), "another provider's signature of a tool call: left out");
        }
        let input = free_text::tool_input(call, || place.field(), self.notices);
        *self.used.entry(&call.id).or_default() += 1;
        Block::ToolUse(ToolUse {
            tool_use_id: Cow::Owned(self.call_id(&call.id)),
            name: Cow::Owned(self.names.get(&call.name).to_owned()),
            input,
        })
    }

    fn tool_result(&mut self, result: &'a ToolResult, place: Place) -> Result<Block<'a>> {
        let mut content = Vec::with_capacity(result.parts.len());
        for part in &result.parts {
            if part.cache.is_some() {
                self.notices.changed(place.field(), "a cache mark inside a tool's result: left out");
            }
            content.extend(self.part(part, place)?);
        }
        if content.is_empty() {
            self.notices.changed(place.field(), "a tool's empty result is refused: sent as `(no output)`");
            content.push(Block::Text(Cow::Borrowed(SILENCE)));
        }
        let mut status = result.is_error.map(|failed| if failed { "error" } else { "success" });
        let knows_status = matches!(self.family, Family::Claude(_) | Family::Nova { .. } | Family::Hidden);
        if status.is_some() && !knows_status {
            status = None;
            self.notices.changed(place.field(), "the model is not told whether a tool failed: left out");
        }
        Ok(Block::ToolResult(Answer {
            tool_use_id: Cow::Owned(self.call_id(&result.call_id)),
            content,
            status,
        }))
    }

    /// Only thinking that was signed may return. The signatures of Claude are the same at all of its hosts.
    fn thinking(
        &mut self,
        text: &'a str,
        signature: Option<&'a Signature>,
        redacted: bool,
        place: Place,
    ) -> Option<Block<'a>> {
        if self.capabilities.reasoning.no() || !self.family.may_be_claude() {
            self.notices.changed(place.field(), "the model takes no earlier thinking: left out");
            return None;
        }
        let signed = signature
            .filter(|signature| matches!(signature.origin, Dialect::BedrockConverse | Dialect::Anthropic));
        let Some(signature) = signed else {
            self.notices.changed(place.field(), "thinking that this provider did not sign: left out");
            return None;
        };
        let value = signature.value.as_str();
        Some(Block::ReasoningContent(if redacted {
            Reasoning::RedactedContent(value)
        } else {
            Reasoning::ReasoningText { text, signature: Some(value) }
        }))
    }
}

impl<'a> Conversation<'a> {
    /// Do earlier turns hold tool calls or results? The API then wants tools to be there.
    pub(super) fn uses_tools(&self) -> bool {
        let is_use = |item: &Item<'_>| matches!(item.block, Block::ToolUse(_) | Block::ToolResult(_));
        self.turns.iter().any(|(_, content)| content.iter().any(is_use))
    }

    /// Ends the conversation with the start of an answer?
    pub(super) fn is_prefilled(&self) -> bool {
        matches!(self.turns.last(), Some((Speaker::Assistant, _)))
    }

    /// In the tool loop that the conversation ends in, did the model's thinking get lost?
    ///
    /// With a thinking budget the API refuses a loop whose assistant turns show none.
    pub(super) fn lost_its_thinking(&self) -> bool {
        let mut in_loop = false;
        for (role, content) in self.turns.iter().rev() {
            let has = |wanted: fn(&Block<'_>) -> bool| content.iter().any(|item| wanted(&item.block));
            match role {
                Speaker::User if has(|block| matches!(block, Block::ToolResult(_))) => {}
                Speaker::Assistant if has(|block| matches!(block, Block::ToolUse(_))) => {
                    in_loop = true;
                    if content.first().is_some_and(|item| matches!(item.block, Block::ReasoningContent(_))) {
                        return false;
                    }
                }
                _ => break,
            }
        }
        in_loop
    }

    /// Writes the cache points behind their blocks. `fixed` are those of the tools.
    ///
    /// Keeps the last ones: they cover the longest prefixes.
    pub(super) fn finish(
        mut self,
        family: Family,
        capabilities: &Capabilities,
        fixed: usize,
        notices: &mut Notices,
    ) -> (Vec<Block<'a>>, Vec<Turn<'a>>) {
        let most = if caches(family, capabilities) { MOST_CACHE_POINTS.saturating_sub(fixed) } else { 0 };
        let all = || "cache_control";
        let items = self.system.iter_mut().chain(self.turns.iter_mut().flat_map(|(_, content)| content));
        let mut marked: Vec<&mut Item<'_>> = items.filter(|item| item.cache.is_some()).collect();
        let over = marked.len().saturating_sub(most);
        for item in marked.iter_mut().take(over) {
            item.cache = None;
        }
        if over > 0 && most == 0 && fixed == 0 {
            notices.changed(all(), "the model has no prompt cache with marks: left out");
        } else if over > 0 {
            notices.changed(
                all(),
                format!("at most {MOST_CACHE_POINTS} cache marks are taken: the first {over} were left out"),
            );
        }
        let mut blocks = |items: Vec<Item<'a>>| {
            let mut blocks = Vec::with_capacity(items.len());
            for item in items {
                blocks.push(item.block);
                blocks.extend(item.cache.map(|hint| Block::CachePoint(cache_point(hint, family, notices))));
            }
            blocks
        };
        let system = blocks(self.system);
        let turns =
            self.turns.into_iter().map(|(role, items)| Turn { role, content: blocks(items) }).collect();
        (system, turns)
    }
}

/// Does the model take cache points?
pub(super) fn caches(family: Family, capabilities: &Capabilities) -> bool {
    let known = matches!(family, Family::Claude(_) | Family::Nova { .. } | Family::Hidden);
    !capabilities.prompt_caching.no() && (known || capabilities.prompt_caching.yes())
}

/// A cache point with a time to live where the model takes one.
pub(super) fn cache_point(hint: CacheHint, family: Family, notices: &mut Notices) -> CachePoint {
    let mut point = CachePoint::from(hint);
    if !family.may_be_claude_since((4, 5)) && point.ttl.take().is_some_and(|ttl| ttl != "5m") {
        notices.changed("cache_control.ttl", "the model's cache lives for five minutes: left out");
    }
    point
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

fn words(text: &str) -> Item<'_> {
    Item { block: Block::Text(Cow::Borrowed(text)), cache: None }
}

fn call_id<'b>(block: &'b Block<'_>) -> Option<&'b str> {
    match block {
        Block::ToolUse(call) => Some(&call.tool_use_id),
        _ => None,
    }
}

fn is_operator(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}
