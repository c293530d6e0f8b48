//! Amazon Bedrock's Converse and ConverseStream: one API for the models of many makers.
//!
//! Spoken by providers; clients do not speak it yet, so requests are not read. The model is in the URL, streams are
//! binary ([`crate::eventstream`]), and what a model takes beside the common fields depends on its maker, which
//! `family.rs` reads from its name. Claude is told to think, to cache and to answer in JSON as in its own dialect.
//! Reference: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

mod answer_out;
mod blocks_in;
mod conversation;
mod error;
mod family;
mod fields;
mod media;
mod request_out;
mod response_in;
mod shape;
mod stream_in;
mod stream_out;
#[cfg(test)]
mod tests;
mod tools;
mod usage;

use http::HeaderMap;
use tollway_model::{Dialect, Error, FinishReason, Kind, Notices, Request, Response, Result, Usage};

use crate::openai_responses::client_tools;
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// Longest name of a tool and longest id of a call that the API takes.
const LONGEST_NAME: usize = 64;

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct BedrockConverse;

impl Codec for BedrockConverse {
    fn dialect(&self) -> Dialect {
        Dialect::BedrockConverse
    }

    fn decode_request(&self, _: &[u8]) -> Result<Request> {
        Err(Error::new(Kind::NotFound, "clients cannot speak the bedrock-converse dialect"))
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

    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        response_in::read_usage(body)
    }

    fn encode_response(&self, response: &Response, _: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        answer_out::encode(response, notices)
    }

    fn decoder(&self, restore: Restore) -> Box<dyn StreamDecoder> {
        Box::new(stream_in::Decoder::new(restore))
    }

    fn encoder(&self, _: &View<'_>) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::default())
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> Vec<u8> {
        error::encode(error)
    }

    fn encode_count_request(&self, request: &Request, target: &Target<'_>) -> Option<Result<Vec<u8>>> {
        Some(request_out::encode_count(&client_tools::counted(request), target))
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64> {
        response_in::decode_count(body)
    }

    fn encode_count(&self, tokens: u64) -> Vec<u8> {
        format!("{{\"inputTokens\":{tokens}}}").into_bytes()
    }
}

/// The neutral word for a stop reason. `answers_by_tool`: the only tool called is the answer's.
fn finish(native: &str, answers_by_tool: bool) -> FinishReason {
    match native {
        "tool_use" if answers_by_tool => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "stop_sequence" => FinishReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "malformed_model_output" | "malformed_tool_use" => FinishReason::Error,
        // Claude's own words, which hosts may pass on.
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        // `end_turn`, and words still to come: the answer is there.
        _ => FinishReason::Stop,
    }
}

/// The word for a finish reason.
fn stop_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Refusal | FinishReason::Pause => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter => "content_filtered",
        FinishReason::ContextWindow => "model_context_window_exceeded",
        FinishReason::Error => "malformed_model_output",
    }
}
