//! Writing the messages of a request for a provider.
//!
//! What Chat Completions cannot say in place is said nearby: pictures in tool results follow in a user message,
//! several results become several messages. Thinking of other dialects is left out with a notice.

use tollway_model::{
    CacheHint, CacheTtl, Content, Dialect, Media, MediaSource, Message, Notices, Part, RawJson, Request,
    Result, Role, Signature, ToolCall, ToolKind, ToolResult,
};

use super::encode::{AUTOMATIC_CACHE, is_native, role_name};
use super::media::{self, unsupported};
use super::names;
use super::quirks::Quirks;
use super::write::{List, Map};
use crate::{Restore, Target, free_text};

const FOREIGN_BLOCK: &str = "a block of another dialect is left out";

pub(super) struct Messages<'a, 'n> {
    request: &'a Request,
    target: &'a Target<'a>,
    notices: &'n mut Notices,
    restore: &'n mut Restore,
    native: bool,
    /// Pictures and files of tool results, waiting for a user message.
    pending: Vec<(&'a Part, String)>,
}

impl<'a, 'n> Messages<'a, 'n> {
    pub(super) fn new(
        request: &'a Request,
        target: &'a Target<'a>,
        notices: &'n mut Notices,
        restore: &'n mut Restore,
    ) -> Self {
        Messages { request, target, notices, restore, native: is_native(request), pending: Vec::new() }
    }

    pub(super) fn write(&mut self, list: &mut List<'_>) -> Result<()> {
        for (index, message) in self.request.messages.iter().enumerate() {
            if message.role == Role::Tool {
                for part in &message.parts {
                    if let Content::ToolResult(result) = &part.content {
                        self.tool_result(index, part, result, list)?;
                    }
                }
                continue;
            }
            self.flush_pending(list)?;
            if message.role == Role::Assistant {
                self.assistant(index, message, list)?;
            } else {
                self.plain(index, message, list)?;
            }
        }
        self.flush_pending(list)
    }

    /// Does each text of an assistant message stand for itself?
    fn whole_texts(&self) -> bool {
        self.request.extras.dialect == Some(Dialect::OpenaiResponses)
    }

    fn quirks(&self) -> &'a Quirks {
        self.target.quirks
    }

    /// A system, developer or user message.
    fn plain(&mut self, index: usize, message: &'a Message, list: &mut List<'_>) -> Result<()> {
        list.map(|map| {
            map.str("role", role_name(message.role, self.target));
            let parts: Vec<_> = message.parts.iter().enumerate().collect();
            self.content(index, &parts, "\n", map)?;
            self.name(index, message, map);
            Ok(())
        })
    }

    fn name(&mut self, index: usize, message: &Message, map: &mut Map<'_>) {
        match &message.name {
            Some(_) if self.quirks().no_message_names => {
                self.notices.changed(format!("messages[{index}].name"), "the target takes no names");
            }
            Some(name) => map.str("name", name),
            None => {}
        }
    }

    /// The `content` field: one string where that says it all, a list otherwise.
    fn content(
        &mut self,
        index: usize,
        parts: &[(usize, &'a Part)],
        separator: &str,
        map: &mut Map<'_>,
    ) -> Result<()> {
        let texts: Option<Vec<&str>> = parts.iter().map(|(_, part)| part.as_text()).collect();
        let hinted = self.quirks().cache_control && parts.iter().any(|(_, part)| part.cache.is_some());
        let as_string =
            |texts: &Vec<&str>| texts.len() <= 1 || self.quirks().flatten_text || separator.is_empty();
        match texts.filter(|texts| as_string(texts) && !hinted) {
            Some(texts) => {
                map.str("content", &texts.join(separator));
                if parts.iter().any(|(_, part)| part.cache.is_some()) {
                    self.notices.changed(format!("messages[{index}].cache_control"), AUTOMATIC_CACHE);
                }
                Ok(())
            }
            None => map.list("content", |list| {
                for (number, part) in parts {
                    self.part(&format!("messages[{index}].content[{number}]"), part, list)?;
                }
                Ok(())
            }),
        }
    }

    fn part(&mut self, path: &str, part: &Part, list: &mut List<'_>) -> Result<()> {
        if let Content::Native { dialect, json } = &part.content {
            if *dialect == Dialect::OpenaiChat {
                list.literal(json.get());
            } else {
                self.notices.dropped(path.to_owned(), "the target has no such block");
            }
            return Ok(());
        }
        let hint = part.cache.filter(|_| self.quirks().cache_control);
        if part.cache.is_some() && hint.is_none() {
            self.notices.changed(format!("{path}.cache_control"), AUTOMATIC_CACHE);
        }
        list.map(|map| {
            match &part.content {
                Content::Text { text, .. } => {
                    map.str("type", "text");
                    map.str("text", text);
                }
                Content::Image(image) => media::write_image(path, image, map)?,
                Content::Audio(sound) => media::write_audio(path, sound, map)?,
                Content::Video(video) => {
                    map.str("type", "video_url");
                    let url = media::location(video)
                        .ok_or_else(|| unsupported(path, "a video needs bytes or a URL"))?;
                    map.map("video_url", |map| map.str("url", &url));
                }
                Content::File(file) => media::write_file(path, file, self.native, map)?,
                Content::Refusal(text) => {
                    map.str("type", "refusal");
                    map.str("refusal", text);
                }
                Content::ToolCall(_)
                | Content::ToolResult(_)
                | Content::Reasoning { .. }
                | Content::Native { .. } => {
                    return Err(unsupported(path, "such a part cannot stand here"));
                }
            }
            if let Some(hint) = hint {
                cache_control(hint, map);
            }
            Ok(())
        })
    }

    fn tool_result(
        &mut self,
        index: usize,
        part: &'a Part,
        result: &'a ToolResult,
        list: &mut List<'_>,
    ) -> Result<()> {
        let fits = |part: &Part| self.native || part.as_text().is_some();
        let (said, moved): (Vec<_>, Vec<_>) =
            result.parts.iter().enumerate().partition(|(_, part)| fits(part));
        if result.is_error == Some(true) {
            self.notices
                .changed(format!("messages[{index}].is_error"), "the text alone tells of the failure");
        }
        if part.cache.is_some() {
            self.notices.changed(format!("messages[{index}].cache_control"), AUTOMATIC_CACHE);
        }
        list.map(|map| {
            map.str("role", "tool");
            map.str("tool_call_id", &self.call_id(&result.call_id));
            if let Some(name) = &result.name {
                map.str("name", &names::tool_name(name, &mut self.restore.tool_names));
            }
            if said.is_empty() && !moved.is_empty() {
                map.str("content", "The result follows in the next user message.");
                return Ok(());
            }
            self.content(index, &said, "\n", map)
        })?;
        for (number, part) in moved {
            let path = format!("messages[{index}].content[{number}]");
            self.notices.changed(path.clone(), "moved to a user message: tool results hold only text");
            self.pending.push((part, path));
        }
        Ok(())
    }

    fn flush_pending(&mut self, list: &mut List<'_>) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        list.map(|map| {
            map.str("role", "user");
            map.list("content", |list| {
                list.map(|map| {
                    map.str("type", "text");
                    map.str("text", "Attached to the tool results above:");
                });
                for (part, path) in &pending {
                    self.part(path, part, list)?;
                }
                Ok(())
            })
        })
    }

    fn call_id<'i>(&self, id: &'i str) -> std::borrow::Cow<'i, str> {
        if self.quirks().nine_char_tool_ids {
            names::nine_chars(id)
        } else if self.quirks().short_tool_ids || !self.native {
            names::forty_chars(id)
        } else {
            id.into()
        }
    }

    fn assistant(&mut self, index: usize, message: &'a Message, list: &mut List<'_>) -> Result<()> {
        let refused = self.quirks().no_output_fields;
        let foreign = |part: &Part| matches!(&part.content, Content::Native { dialect, .. } if *dialect != Dialect::OpenaiChat);
        if !message.parts.is_empty() && message.parts.iter().all(foreign) {
            for number in 0..message.parts.len() {
                self.notices.changed(format!("messages[{index}].content[{number}]"), FOREIGN_BLOCK);
            }
            return Ok(());
        }
        let (mut said, mut calls, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
        for (number, part) in message.parts.iter().enumerate() {
            match &part.content {
                Content::Text { .. } | Content::File(_) | Content::Video(_) => said.push((number, part)),
                Content::Native { dialect: Dialect::OpenaiChat, json }
                    if json.to_value().get("type").is_some() =>
                {
                    said.push((number, part));
                }
                Content::ToolCall(call) => calls.push((number, call)),
                Content::Refusal(text) => refusals.push(text.as_str()),
                _ => {}
            }
        }
        list.map(|map| {
            map.str("role", "assistant");
            let refusal = refusals.concat();
            if said.is_empty() && refused && !refusal.is_empty() {
                map.str("content", &refusal);
            } else if !said.is_empty() {
                // Other dialects cut one answer into blocks wherever a citation begins.
                self.content(index, &said, if self.native || self.whole_texts() { "\n" } else { "" }, map)?;
            } else if calls.is_empty() {
                map.str("content", "");
            } else if !self.quirks().no_nulls {
                map.null("content");
            }
            if !refusal.is_empty() && !refused {
                map.str("refusal", &refusal);
            }
            self.name(index, message, map);
            self.reasoning(index, message, !calls.is_empty(), map);
            if !calls.is_empty() {
                map.list("tool_calls", |list| {
                    for (number, call) in &calls {
                        self.tool_call(index, *number, call, list);
                    }
                });
            }
            self.other_fields(index, message, map);
            Ok(())
        })
    }

    fn reasoning(&mut self, index: usize, message: &Message, has_calls: bool, map: &mut Map<'_>) {
        let (wanted, refused) = (self.quirks().wants_reasoning_content, self.quirks().no_output_fields);
        let mut text = String::new();
        for (number, part) in message.parts.iter().enumerate() {
            let Content::Reasoning { text: thought, signature, .. } = &part.content else { continue };
            let own = signature.as_ref().is_none_or(|signature| signature.origin == Dialect::OpenaiChat);
            if wanted || (own && !refused) {
                text.push_str(thought);
            } else {
                let path = format!("messages[{index}].content[{number}]");
                self.notices.changed(path, "earlier thinking is left out: the target does not take it back");
            }
        }
        if !text.is_empty() {
            map.str("reasoning_content", &text);
        } else if wanted && has_calls {
            // Such hosts refuse a tool call without its thinking, also when the client lost it.
            map.str("reasoning_content", " ");
        }
    }

    fn tool_call(&mut self, index: usize, number: usize, call: &ToolCall, list: &mut List<'_>) {
        let wanted = self.quirks().google_extra_content;
        let own = call.signature.as_ref().filter(|own| wanted && own.origin == Dialect::Gemini);
        if call.signature.is_some() && own.is_none() {
            let path = format!("messages[{index}].content[{number}]");
            self.notices.changed(path, "the signature of another provider is left out");
        }
        let name = names::tool_name(&call.name, &mut self.restore.tool_names);
        list.map(|map| {
            map.str("id", &self.call_id(&call.id));
            let (kind, input) = match call.kind {
                ToolKind::Custom if self.native => ("custom", "input"),
                ToolKind::Function | ToolKind::Custom => ("function", "arguments"),
            };
            map.str("type", kind);
            map.map(kind, |map| {
                map.str("name", &name);
                if call.kind == ToolKind::Custom && !self.native {
                    map.str(input, &free_text::wrap(&call.arguments));
                } else {
                    map.str(input, &call.arguments);
                }
            });
            if let Some(Signature { value, .. }) = own {
                map.map("extra_content", |map| {
                    map.map("google", |map| map.str("thought_signature", value));
                });
            }
        });
    }

    /// Fields of an assistant message that only answers have: annotations, sound, native fields.
    fn other_fields(&mut self, index: usize, message: &Message, map: &mut Map<'_>) {
        let refused = self.quirks().no_output_fields;
        let mut annotations: Vec<&RawJson> = Vec::new();
        for (number, part) in message.parts.iter().enumerate() {
            let path = || format!("messages[{index}].content[{number}]");
            match &part.content {
                Content::Text { citations, .. } => {
                    let natives = citations.iter().filter_map(|citation| citation.native.as_ref());
                    annotations.extend(
                        natives.filter(|(dialect, _)| *dialect == Dialect::OpenaiChat).map(|(_, json)| json),
                    );
                }
                Content::Audio(Media { source: MediaSource::FileId(id), .. }) if !refused => {
                    map.map("audio", |map| map.str("id", id));
                }
                Content::Audio(_) | Content::Image(_) => {
                    self.notices.changed(path(), "generated media is not sent back");
                }
                Content::Native { dialect: Dialect::OpenaiChat, json } if !refused => {
                    if let Some(fields) =
                        json.to_value().as_object().filter(|fields| !fields.contains_key("type"))
                    {
                        for (key, value) in fields {
                            map.literal(key, &value.to_string());
                        }
                    }
                }
                Content::Native { dialect, .. } if *dialect != Dialect::OpenaiChat => {
                    self.notices.changed(path(), FOREIGN_BLOCK);
                }
                _ => {}
            }
        }
        if !annotations.is_empty() && !refused {
            map.list("annotations", |list| annotations.iter().for_each(|json| list.literal(json.get())));
        }
    }
}

/// Anthropic's marker, which OpenRouter and the like take.
pub(super) fn cache_control(hint: CacheHint, map: &mut Map<'_>) {
    map.map("cache_control", |map| {
        map.str("type", "ephemeral");
        match hint.ttl {
            Some(CacheTtl::Hour1) => map.str("ttl", "1h"),
            Some(CacheTtl::Minutes5) => map.str("ttl", "5m"),
            None => {}
        }
    });
}
