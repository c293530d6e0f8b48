//! Messages and the typed parts they are made of.

use serde::{Deserialize, Serialize};

use crate::{Dialect, RawJson, ToolCall, ToolResult};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator's instructions. May stand anywhere in a conversation;
    /// dialects that allow it only at the top hoist or re-label it.
    System,
    /// OpenAI's newer name for [`Role::System`]; kept apart so that it returns unchanged.
    Developer,
    /// The end user.
    User,
    /// The model.
    Assistant,
    /// Results of tool calls: only [`Content::ToolResult`] parts.
    Tool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The participant's name, where the dialect has one.
    pub name: Option<String>,
}

impl Message {
    /// A message of one text part.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, parts: vec![Part::text(text)], name: None }
    }

    /// What the end user says.
    pub fn user(text: impl Into<String>) -> Message {
        Message::text(Role::User, text)
    }

    /// What the model said.
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::text(Role::Assistant, text)
    }

    /// The operator's instructions.
    pub fn system(text: impl Into<String>) -> Message {
        Message::text(Role::System, text)
    }

    /// What a tool answered.
    pub fn tool_result(result: ToolResult) -> Message {
        Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))])
    }

    /// A message of the given parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Message {
        Message { role, parts, name: None }
    }

    /// All text parts, joined without a separator.
    pub fn joined_text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it holds.
    pub content: Content,
    /// The caller marked the prompt prefix ending here as worth caching.
    pub cache: Option<CacheHint>,
}

impl Part {
    /// A text part without citations.
    pub fn text(text: impl Into<String>) -> Part {
        Part::new(Content::Text { text: text.into(), citations: Vec::new(), signature: None })
    }

    /// A picture.
    pub fn image(media: Media) -> Part {
        Part::new(Content::Image(media))
    }

    /// A document.
    pub fn file(media: Media) -> Part {
        Part::new(Content::File(media))
    }

    /// The same part, with the prompt up to here worth caching.
    #[must_use]
    pub fn cached(mut self) -> Part {
        self.cache = Some(CacheHint::default());
        self
    }

    /// A part without a cache hint.
    pub fn new(content: Content) -> Part {
        Part { content, cache: None }
    }

    /// The text, when this is a text part.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Plain text.
    Text {
        /// The text. May be empty only in answers.
        text: String,
        /// Sources the text was drawn from.
        citations: Vec<Citation>,
        /// Opaque provider state bound to this text (Gemini attaches thought signatures to text too).
        signature: Option<Signature>,
    },
    /// A picture.
    Image(Media),
    /// Sound: `media_type` is `audio/wav`, `audio/mpeg` …
    Audio(Media),
    /// A moving picture.
    Video(Media),
    /// A document, mostly PDF or plain text.
    File(Media),
    /// The model asks for a tool to be run.
    ToolCall(ToolCall),
    /// What the tool answered.
    ToolResult(ToolResult),
    /// The model's thinking.
    Reasoning {
        /// Readable thinking; empty when the provider shows none.
        text: String,
        /// Opaque provider state that must return unmodified in the next turn of a tool loop.
        signature: Option<Signature>,
        /// The provider encrypted the thinking: `signature` is all there is (Anthropic's `redacted_thinking`).
        redacted: bool,
    },
    /// The model declined to answer, in its own words.
    Refusal(String),
    /// A block only one dialect knows (a server tool's use and result, a container upload …).
    ///
    /// Re-emitted to the same dialect; to another it is a notice.
    Native {
        /// Where it came from.
        dialect: Dialect,
        /// The whole block.
        json: RawJson,
    },
}

/// Opaque state a provider wants back, with the dialect that minted it.
///
/// A signature is re-emitted only towards the dialect of its `origin`; any other
/// provider would answer 400. Surfaces without a field for it carry it inside ids
/// and signatures (see `tollway-wire`'s `carry` module).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The dialect whose provider minted it.
    pub origin: Dialect,
    /// The provider's bytes, as the text it sent.
    pub value: String,
}

/// Where bytes of a picture, sound or document come from, and what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// The bytes, or where they are.
    pub source: MediaSource,
    /// The MIME type, when known: always set for [`MediaSource::Base64`].
    pub media_type: Option<String>,
    /// File name or title.
    pub name: Option<String>,
    /// How closely an image should be looked at.
    pub detail: Option<Detail>,
}

impl Media {
    /// Bytes in base64.
    pub fn base64(media_type: impl Into<String>, data: impl Into<String>) -> Media {
        Media {
            source: MediaSource::Base64(data.into()),
            media_type: Some(media_type.into()),
            name: None,
            detail: None,
        }
    }

    /// A location the provider fetches itself.
    pub fn url(url: impl Into<String>) -> Media {
        Media { source: MediaSource::Url(url.into()), media_type: None, name: None, detail: None }
    }
}

/// The bytes, or where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSource {
    /// Standard base64 without a `data:` prefix.
    Base64(String),
    /// An `https:`, `http:` or `gs:` location. The gateway never fetches it.
    Url(String),
    /// The id of a file uploaded to the provider.
    FileId(String),
    /// Text given in place of bytes (Anthropic's text documents).
    Text(String),
}

/// How closely an image should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// The provider chooses.
    Auto,
    /// Coarse and cheap.
    Low,
    /// Between.
    Medium,
    /// Fine.
    High,
}

/// Formats of generated sound, as OpenAI names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioFormat {
    /// The voice's name.
    pub voice: String,
    /// `wav`, `mp3`, `flac`, `opus` or `pcm16`.
    pub format: String,
}

/// "The prompt up to here is worth caching."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheHint {
    /// How long; `None` leaves it to the provider.
    pub ttl: Option<CacheTtl>,
}

/// How long a cached prompt prefix lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTtl {
    /// Five minutes.
    Minutes5,
    /// One hour.
    Hour1,
}

/// A source for a span of text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Citation {
    /// Where the source is.
    pub url: Option<String>,
    /// The source's title.
    pub title: Option<String>,
    /// The passage of the source.
    pub cited_text: Option<String>,
    /// First character of the answer the citation supports (Unicode scalar values, from 0).
    pub start: Option<u64>,
    /// One past the last character.
    pub end: Option<u64>,
    /// The citation as the dialect gave it, re-emitted to the same dialect.
    pub native: Option<(Dialect, RawJson)>,
}
