//! A streamed answer: ordered events, the laws they obey, and the fold back into a whole answer.
//!
//! Laws, checked by [`Laws`] in debug builds and tests:
//! 1. `Start` comes first, exactly once.
//! 2. A part is started before its deltas, ended exactly once, and its number is new within its choice.
//! 3. `Finish` comes once per choice, after all of the choice's parts have ended; nothing of the choice follows.
//! 4. `Usage` may come any time after `Start`; the last one counts.
//! 5. `End` comes last, or `Error` does: nothing follows either.
//!
//! Several parts of one choice may be open at once (parallel tool calls); encoders whose wire format
//! allows one open block queue the others.

use std::collections::BTreeMap;

use crate::{
    Choice, Citation, Content, Error, Extras, FinishReason, Media, Part, RawJson, Response, Signature,
    ToolCall, ToolKind, Usage,
};

/// One step of a streamed answer.
#[derive(Debug, Clone)]
pub enum Event {
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// The model that answers, as the provider names it.
        model: String,
        /// Seconds since 1970, when the provider says.
        created: Option<i64>,
    },
    /// A part begins.
    PartStart {
        /// Which answer.
        choice: u32,
        /// The part's number within the choice; any new number, increasing.
        part: u32,
        /// What it will hold.
        kind: PartKind,
    },
    /// More of a part.
    Delta {
        /// Which answer.
        choice: u32,
        /// Which part.
        part: u32,
        /// What is added.
        delta: Delta,
    },
    /// A part is complete.
    PartEnd {
        /// Which answer.
        choice: u32,
        /// Which part.
        part: u32,
    },
    /// Log-probabilities of what was just said, in OpenAI's shape `{"content":[…]}`.
    Logprobs {
        /// Which answer.
        choice: u32,
        /// The chunk's log-probabilities.
        logprobs: RawJson,
    },
    /// An answer is complete.
    Finish {
        /// Which answer.
        choice: u32,
        /// Why.
        reason: FinishReason,
        /// The provider's own word.
        native: Option<String>,
        /// The stop text that ended it.
        stop_sequence: Option<String>,
    },
    /// What the call has used so far. Cumulative.
    Usage(Usage),
    /// Answer-level facts that arrive late.
    Meta {
        /// The tier that served the call.
        service_tier: Option<String>,
        /// Fields the model does not know.
        extras: Extras,
    },
    /// The stream broke; nothing follows.
    Error(Error),
    /// The stream is complete; nothing follows.
    End,
}

/// What a part will hold.
#[derive(Debug, Clone, PartialEq)]
pub enum PartKind {
    /// Text.
    Text,
    /// Thinking.
    Reasoning,
    /// Thinking that the provider encrypted; a [`Delta::Signature`] carries it.
    Redacted,
    /// A refusal.
    Refusal,
    /// A tool call.
    ToolCall {
        /// Its id.
        id: String,
        /// The tool's name.
        name: String,
        /// How it takes its input.
        kind: ToolKind,
    },
    /// A picture or sound that arrives whole: no deltas but [`Delta::Media`].
    Image,
    /// Sound.
    Audio,
    /// A block only one dialect knows, whole.
    Native {
        /// Where it came from.
        dialect: crate::Dialect,
        /// The block.
        json: RawJson,
    },
}

/// What is added to a part.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text of a text, reasoning or refusal part.
    Text(String),
    /// A fragment of a tool call's arguments.
    Arguments(String),
    /// Provider state for the part. The last one counts.
    Signature(Signature),
    /// A source for the part's text.
    Citation(Citation),
    /// The bytes of an image or audio part. Audio may come in several pieces of base64, each a multiple of four.
    Media(Media),
}

/// Collects events into the answer that the non-streamed call gives.
#[derive(Debug, Default)]
pub struct Fold {
    response: Response,
    choices: BTreeMap<u32, OpenChoice>,
    error: Option<Error>,
    ended: bool,
}

#[derive(Debug, Default)]
struct OpenChoice {
    parts: BTreeMap<u32, Part>,
    finish: Option<(FinishReason, Option<String>, Option<String>)>,
    logprobs: Vec<serde_json::Value>,
    refusal_logprobs: Vec<serde_json::Value>,
}

impl Fold {
    /// Nothing yet.
    pub fn new() -> Fold {
        Fold::default()
    }

    /// Adds one event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Start { id, model, created } => {
                self.response.id = id;
                self.response.model = model;
                self.response.created = created;
            }
            Event::PartStart { choice, part, kind } => {
                self.choices.entry(choice).or_default().parts.insert(part, Part::new(empty_content(kind)));
            }
            Event::Delta { choice, part, delta } => {
                if let Some(part) = self.choices.get_mut(&choice).and_then(|open| open.parts.get_mut(&part)) {
                    apply(part, delta);
                }
            }
            Event::PartEnd { choice, part } => {
                if let Some(part) = self.choices.get_mut(&choice).and_then(|open| open.parts.get_mut(&part)) {
                    close(part);
                }
            }
            Event::Logprobs { choice, logprobs } => {
                let open = self.choices.entry(choice).or_default();
                let mut value = logprobs.to_value();
                for (key, list) in [("content", &mut open.logprobs), ("refusal", &mut open.refusal_logprobs)]
                {
                    if let Some(serde_json::Value::Array(items)) =
                        value.get_mut(key).map(serde_json::Value::take)
                    {
                        list.extend(items);
                    }
                }
            }
            Event::Finish { choice, reason, native, stop_sequence } => {
                self.choices.entry(choice).or_default().finish = Some((reason, native, stop_sequence));
            }
            Event::Usage(usage) => self.response.usage = Some(usage),
            Event::Meta { service_tier, extras } => {
                if service_tier.is_some() {
                    self.response.service_tier = service_tier;
                }
                if extras.dialect.is_some() {
                    self.response.extras.dialect = extras.dialect;
                    self.response.extras.fields.extend(extras.fields);
                }
            }
            Event::Error(error) => self.error = Some(error),
            Event::End => self.ended = true,
        }
    }

    /// Usage reported so far.
    pub fn usage(&self) -> Option<Usage> {
        self.response.usage
    }

    /// The stream reached its proper end.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The whole answer, or the error that broke the stream.
    pub fn finish(self) -> Result<Response, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        Ok(self.partial())
    }

    /// What has arrived, whether or not the stream ended well.
    pub fn partial(self) -> Response {
        let mut response = self.response;
        response.choices = self
            .choices
            .into_iter()
            .map(|(index, open)| {
                let (finish, native_finish, stop_sequence) = match open.finish {
                    Some((reason, native, stop)) => (Some(reason), native, stop),
                    None => (None, None, None),
                };
                Choice {
                    index,
                    parts: open.parts.into_values().collect(),
                    finish,
                    native_finish,
                    stop_sequence,
                    logprobs: logprobs(open.logprobs, open.refusal_logprobs),
                }
            })
            .collect();
        response
    }
}

fn logprobs(content: Vec<serde_json::Value>, refusal: Vec<serde_json::Value>) -> Option<RawJson> {
    if content.is_empty() && refusal.is_empty() {
        return None;
    }
    let list = |items: Vec<serde_json::Value>| {
        if items.is_empty() { serde_json::Value::Null } else { serde_json::Value::Array(items) }
    };
    Some(RawJson::from(serde_json::json!({ "content": list(content), "refusal": list(refusal) })))
}

fn empty_content(kind: PartKind) -> Content {
    match kind {
        PartKind::Text => Content::Text { text: String::new(), citations: Vec::new(), signature: None },
        PartKind::Reasoning => Content::Reasoning { text: String::new(), signature: None, redacted: false },
        PartKind::Redacted => Content::Reasoning { text: String::new(), signature: None, redacted: true },
        PartKind::Refusal => Content::Refusal(String::new()),
        PartKind::ToolCall { id, name, kind } => {
            Content::ToolCall(ToolCall { id, name, arguments: String::new(), kind, signature: None })
        }
        PartKind::Image => Content::Image(Media::base64("", "")),
        PartKind::Audio => Content::Audio(Media::base64("", "")),
        PartKind::Native { dialect, json } => Content::Native { dialect, json },
    }
}

fn apply(part: &mut Part, delta: Delta) {
    match (&mut part.content, delta) {
        (
            Content::Text { text, .. } | Content::Reasoning { text, .. } | Content::Refusal(text),
            Delta::Text(more),
        ) => {
            text.push_str(&more);
        }
        (Content::ToolCall(call), Delta::Arguments(more)) => call.arguments.push_str(&more),
        (Content::ToolCall(call), Delta::Signature(new)) => call.signature = Some(new),
        (Content::Text { signature, .. } | Content::Reasoning { signature, .. }, Delta::Signature(new)) => {
            *signature = Some(new);
        }
        (Content::Text { citations, .. }, Delta::Citation(citation)) => citations.push(citation),
        (Content::Image(media) | Content::Audio(media), Delta::Media(new)) => join_media(media, new),
        // A decoder that breaks the laws is caught by `Laws`; folding ignores what does not fit.
        _ => {}
    }
}

fn join_media(media: &mut Media, new: Media) {
    if let (crate::MediaSource::Base64(data), crate::MediaSource::Base64(more)) =
        (&mut media.source, &new.source)
        && !data.is_empty()
    {
        data.push_str(more);
        return;
    }
    *media = new;
}

/// A tool call without any argument text means "no arguments": `{}`.
fn close(part: &mut Part) {
    if let Content::ToolCall(call) = &mut part.content
        && call.arguments.is_empty()
        && call.kind == ToolKind::Function
    {
        call.arguments.push_str("{}");
    }
}

/// Checks the order of events.
#[derive(Debug, Default)]
pub struct Laws {
    started: bool,
    over: bool,
    parts: BTreeMap<(u32, u32), bool>,
    finished: std::collections::BTreeSet<u32>,
}

impl Laws {
    /// Nothing seen yet.
    pub fn new() -> Laws {
        Laws::default()
    }

    /// Checks the next event; the error says which law it breaks.
    pub fn check(&mut self, event: &Event) -> Result<(), String> {
        if self.over {
            return Err(format!("{event:?} follows the end of the stream"));
        }
        match event {
            Event::Start { .. } if self.started => return Err("a second Start".into()),
            Event::Start { .. } => self.started = true,
            Event::Error(_) => self.over = true,
            _ if !self.started => return Err(format!("{event:?} before Start")),
            Event::PartStart { choice, part, .. } => {
                self.open_choice(*choice)?;
                let last = self.parts.range((*choice, 0)..=(*choice, u32::MAX)).next_back();
                if last.is_some_and(|((_, last), _)| last >= part) {
                    return Err(format!("part {part} of choice {choice} does not follow the one before it"));
                }
                self.parts.insert((*choice, *part), true);
            }
            Event::Delta { choice, part, .. } => {
                if self.parts.get(&(*choice, *part)) != Some(&true) {
                    return Err(format!("a delta for part {part} of choice {choice}, which is not open"));
                }
            }
            Event::PartEnd { choice, part } => {
                if self.parts.insert((*choice, *part), false) != Some(true) {
                    return Err(format!("the end of part {part} of choice {choice}, which is not open"));
                }
            }
            Event::Logprobs { choice, .. } => self.open_choice(*choice)?,
            Event::Finish { choice, .. } => {
                let open = self.parts.range((*choice, 0)..=(*choice, u32::MAX)).find(|(_, open)| **open);
                if let Some(((_, part), _)) = open {
                    return Err(format!("choice {choice} finishes while part {part} is open"));
                }
                if !self.finished.insert(*choice) {
                    return Err(format!("choice {choice} finishes twice"));
                }
            }
            Event::Usage(_) | Event::Meta { .. } => {}
            Event::End => self.over = true,
        }
        Ok(())
    }

    fn open_choice(&self, choice: u32) -> Result<(), String> {
        if self.finished.contains(&choice) {
            return Err(format!("choice {choice} goes on after it finished"));
        }
        Ok(())
    }
}
