//! The contract every dialect fulfils.

use std::collections::{HashMap, HashSet};

use http::HeaderMap;
use tollway_model::{Capabilities, Dialect, Error, Event, Kind, Notices, Request, Response, Result, Usage};

use crate::openai_chat::Quirks;

/// A dialect, both ways.
pub trait Codec: Send + Sync {
    /// Which one.
    fn dialect(&self) -> Dialect;

    /// Reads a client's request.
    ///
    /// Fields that travel outside the body (Gemini's model and stream flag are in the URL) are left at their
    /// defaults for the caller to set. Errors name the field at fault.
    fn decode_request(&self, body: &[u8]) -> Result<Request>;

    /// Writes the request for a provider.
    ///
    /// What the target cannot do is reported to `notices`, never dropped silently; what makes the request
    /// meaningless (audio for a provider without ears) is an error.
    fn encode_request(
        &self,
        request: &Request,
        target: &Target<'_>,
        notices: &mut Notices,
    ) -> Result<Encoded>;

    /// Reads a provider's complete 2xx answer.
    fn decode_response(&self, body: &[u8], restore: &Restore) -> Result<Response>;

    /// What a provider's complete 2xx answer says was used. Reads as little as it can: the verbatim lane asks this of
    /// every answer.
    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        self.decode_response(body, &Restore::default()).ok()?.usage
    }

    /// The same, told by the answer's top-level `usage` alone. `None` where it does not tell all, or is no such object.
    fn read_counts(&self, usage: &str) -> Option<Usage> {
        let _ = usage;
        None
    }

    /// Writes an answer for a client.
    fn encode_response(&self, response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8>;

    /// Starts reading a provider's 2xx stream.
    fn decoder(&self, restore: Restore) -> Box<dyn StreamDecoder>;

    /// Starts writing a stream for a client.
    fn encoder(&self, view: &View<'_>) -> Box<dyn StreamEncoder>;

    /// Reads any other answer of a provider: what went wrong, and may it be retried?
    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error;

    /// Writes an error for a client. The HTTP status is `error.status()`.
    fn encode_error(&self, error: &Error) -> Vec<u8>;

    /// Reads a client's request to count tokens.
    fn decode_count_request(&self, body: &[u8]) -> Result<Request> {
        let _ = body;
        Err(Error::new(Kind::NotFound, format!("the {} dialect has no token counting", self.dialect())))
    }

    /// Writes a provider's token counting request; `None` when the dialect has none.
    fn encode_count_request(&self, request: &Request, target: &Target<'_>) -> Option<Result<Vec<u8>>> {
        let _ = (request, target);
        None
    }

    /// Reads a provider's token count.
    fn decode_count(&self, body: &[u8]) -> Result<u64> {
        let _ = body;
        Err(Error::internal(format!("the {} dialect has no token counting", self.dialect())))
    }

    /// Writes a token count for a client.
    fn encode_count(&self, tokens: u64) -> Vec<u8> {
        format!("{{\"input_tokens\":{tokens}}}").into_bytes()
    }
}

/// What a codec needs to know about where a request goes. No provider's name.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The model as the provider names it.
    pub model: &'a str,
    /// What the model can do.
    pub capabilities: &'a Capabilities,
    /// How this OpenAI-speaking provider departs from OpenAI; other dialects ignore it.
    pub quirks: &'a Quirks,
}

/// A request ready for a provider.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// The JSON body.
    pub body: Vec<u8>,
    /// Headers the body needs (`anthropic-beta`), beside those of the provider.
    pub headers: Vec<(&'static str, String)>,
    /// What the answer's decoder must undo.
    pub restore: Restore,
}

/// What encoding a request changed that the answer's decoder must undo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// Name sent → name the caller gave, for tools renamed to fit the target's rules.
    pub tool_names: HashMap<String, String>,
    /// The forced tool whose input is the JSON answer, for targets without native structured output.
    /// Its arguments become the answer's text and the finish reason `Stop`.
    pub json_tool: Option<String>,
    /// Names, as sent, of free-text tools that the target takes as functions with one argument `input`.
    /// Its text becomes the call's arguments.
    pub custom_tools: HashSet<String>,
}

impl Restore {
    /// The caller's name of the tool the provider calls `name`.
    pub fn tool_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.tool_names.get(name).map_or(name, String::as_str)
    }
}

/// How an answer is shown to the client.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The model name shown: what the client asked for.
    pub model: &'a str,
    /// The answer's id where the provider gave none.
    pub id: &'a str,
    /// Seconds since 1970 where the provider gave none.
    pub created: i64,
    /// Show usage in the stream (OpenAI's contract; other dialects always show it).
    pub include_usage: bool,
    /// The client asked with OpenAI's legacy `functions`, and looks for `function_call` instead of `tool_calls`.
    pub legacy_functions: bool,
    /// How streamed events are delimited.
    pub framing: Framing,
}

/// How streamed events are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Server-sent events.
    #[default]
    Sse,
    /// One JSON array whose elements arrive one by one (Gemini without `alt=sse`).
    JsonArray,
}

/// Reads a provider's stream.
///
/// Accepts any chunking: the events depend on the bytes, not on where they were cut. Failures are events too
/// ([`Event::Error`]); after one, or after [`Event::End`], further bytes are ignored.
pub trait StreamDecoder: Send {
    /// Reads the next bytes of the body.
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>);

    /// The body ended. A stream that stops before the provider said why it finished ends in [`Event::Error`].
    fn finish(&mut self, events: &mut Vec<Event>);
}

/// Writes a stream for a client.
///
/// A state machine: whatever valid event order it is fed, the bytes obey the dialect's own order.
pub trait StreamEncoder: Send {
    /// Writes what `event` adds to the stream, possibly nothing.
    fn push(&mut self, event: &Event, bytes: &mut Vec<u8>);

    /// The value of the `content-type` header.
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }
}

/// Sampling that nobody chose: Gemini's agents send the usual values of its models with every call.
///
/// Its loss changes nothing that was asked for, so it never refuses a call.
pub(crate) fn is_usual_sampling(request: &Request) -> bool {
    request.extras.dialect == Some(Dialect::Gemini)
        && (request.temperature, request.top_p, request.top_k) == (Some(1.0), Some(0.95), Some(64))
}

/// The codec of a dialect.
pub fn codec(dialect: Dialect) -> &'static dyn Codec {
    match dialect {
        Dialect::OpenaiText => &crate::openai_text::OpenaiText,
        Dialect::Anthropic => &crate::anthropic::Anthropic,
        Dialect::Gemini => &crate::gemini::Gemini,
        Dialect::BedrockConverse => &crate::bedrock::BedrockConverse,
        Dialect::OpenaiResponses => &crate::openai_responses::OpenaiResponses,
        // `Dialect` is non-exhaustive: a dialect gets its codec in the change that adds it.
        _ => &crate::openai_chat::OpenaiChat,
    }
}
