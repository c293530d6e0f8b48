//! The neutral model of AI calls.
//!
//! Every dialect (OpenAI Chat Completions, Anthropic Messages, Gemini
//! generateContent, …) decodes into these types and encodes from them, so M
//! client formats and N provider formats need M + N codecs. The types are
//! plain data: no I/O, no async, no HTTP client, and no vendor's name outside
//! [`Dialect`].
//!
//! Start with [`Request`], then [`Response`] and its streamed form [`Event`].

mod capability;
mod dialect;
mod error;
mod event;
mod message;
mod money;
pub mod nearest;
mod notice;
mod raw;
mod request;
mod response;
mod secret;
mod tool;
mod usage;

pub use capability::{Capabilities, Support};
pub use dialect::{Dialect, Operation};
pub use error::{Error, Kind, Origin, Result, Retry};
pub use event::{Delta, Event, Fold, Laws, PartKind};
pub use message::{
    AudioFormat, CacheHint, CacheTtl, Citation, Content, Detail, Media, MediaSource, Message, Part, Role,
    Signature,
};
pub use money::{Cost, Money, Price};
pub use notice::{MOST_NOTICES, Notice, Notices, Severity};
pub use raw::RawJson;
pub use request::{Effort, Extras, OutputFormat, Reasoning, Request, WebSearch};
pub use response::{Choice, FinishReason, Response};
pub use secret::Secret;
pub use tool::{Tool, ToolCall, ToolChoice, ToolKind, ToolResult};
pub use usage::Usage;
