//! Anthropic Messages, both ways: `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! The dialect of Claude Code and the Anthropic SDKs on one side, of Claude's hosts on the other. Its peculiarities,
//! each in its module: turns that alternate (`conversation`), three classes of thinking models (`thinking`), JSON
//! answers by schema or by tool (`structured`), one open block at a time in streams (`stream_out`).
//! Spec: <https://docs.anthropic.com/en/api/messages>

mod blocks_in;
mod blocks_out;
mod conversation;
mod error;
pub(crate) mod names;
pub(crate) mod read;
pub(crate) mod request_in;
mod request_out;
pub(crate) mod response_in;
mod response_out;
pub(crate) mod schema;
mod stream_in;
mod stream_out;
mod structured;
#[cfg(test)]
mod tests;
pub(crate) mod thinking;
pub(crate) mod tools;
mod usage;

use http::HeaderMap;
use tollway_model::{Dialect, Error, FinishReason, Notices, Request, Response, Result};

use crate::openai_responses::client_tools;
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// What `stop_reason` means.
pub(crate) fn finish_reason(word: &str) -> FinishReason {
    response_in::finish(word, false)
}

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Anthropic;

impl Codec for Anthropic {
    fn dialect(&self) -> Dialect {
        Dialect::Anthropic
    }

    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        request_in::decode(body, false)
    }

    fn encode_request(
        &self,
        request: &Request,
        target: &Target<'_>,
        notices: &mut Notices,
    ) -> Result<Encoded> {
        client_tools::bridged(request, notices, |request, notices| {
            request_out::encode(request, target, notices)
        })
    }

    fn decode_response(&self, body: &[u8], restore: &Restore) -> Result<Response> {
        response_in::decode(body, restore)
    }

    fn read_counts(&self, usage: &str) -> Option<tollway_model::Usage> {
        usage::counted(usage)
    }

    fn encode_response(&self, response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        response_out::encode(response, view, notices)
    }

    fn decoder(&self, restore: Restore) -> Box<dyn StreamDecoder> {
        Box::new(stream_in::Decoder::new(restore))
    }

    fn encoder(&self, view: &View<'_>) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(view))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> Vec<u8> {
        error::encode(error)
    }

    fn decode_count_request(&self, body: &[u8]) -> Result<Request> {
        request_in::decode(body, true)
    }

    fn encode_count_request(&self, request: &Request, target: &Target<'_>) -> Option<Result<Vec<u8>>> {
        Some(request_out::encode_count(&client_tools::counted(request), target))
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64> {
        response_in::decode_count(body)
    }
}

/// May a member of a request's extras be left out without changing what the caller gets?
///
/// True for bookkeeping and for hints that clients of this dialect and of OpenAI's send to every model. Encoders
/// report these as changed and all other foreign extras as dropped, so that coding agents work on any provider.
pub fn is_harmless(field: &str) -> bool {
    const WHOLE: [&str; 20] = [
        // this dialect's
        "betas",
        "context_management",
        "diagnostics",
        "speed",
        "thinking",
        "user_profile_id",
        "workspace_id",
        // OpenAI's
        "include",
        "max_tool_calls",
        "moderation",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_summary",
        "safety_identifier",
        "store",
        "stream_options",
        "truncation",
        // Gemini's
        "labels",
        // hosts'
        "cache_control",
        "client_metadata",
    ];
    // Members of inner objects: settings of cache marks and of single tools. Not those of documents: a caller who
    // switches citations on gets none.
    const INNER: [&str; 5] = ["cache_control.", "metadata.", "output_config.", "reasoning.", "tools["];
    WHOLE.contains(&field) || INNER.iter().any(|prefix| field.starts_with(prefix))
}
