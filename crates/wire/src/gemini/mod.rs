//! Gemini generateContent, both ways.
//!
//! Clients are the google-genai SDKs and Gemini CLI; providers are Google's two hosts of the format. The model, the
//! operation and whether to stream are in the URL, so they are not this codec's business. What a model understands
//! depends on its generation, which `family.rs` reads from its name.
//! Reference: <https://ai.google.dev/api/generate-content>.

mod answer_out;
mod assembler;
mod candidate;
mod contents_in;
mod contents_out;
mod count;
pub mod embedding;
mod error;
mod family;
mod finish;
mod grounding;
mod logprobs;
mod media;
mod names;
mod partial_args;
mod request_in;
mod request_out;
mod schema;
mod shape;
mod signature;
mod stream_in;
mod stream_out;
mod thinking;
mod time;
mod tools_in;
mod tools_out;
mod usage;

use http::HeaderMap;
use tollway_model::{Dialect, Error, FinishReason, Notices, Request, Response, Result, Usage};

use crate::openai_responses::client_tools;
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// What `finishReason` means in an answer with or without tool calls.
pub(crate) fn finish_reason(word: &str, calls: bool) -> FinishReason {
    finish::read(word, calls)
}

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct Gemini;

impl Codec for Gemini {
    fn dialect(&self) -> Dialect {
        Dialect::Gemini
    }

    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        request_in::decode(body)
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
        assembler::decode_response(body, restore)
    }

    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        assembler::read_usage(body)
    }

    fn encode_response(&self, response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        answer_out::encode(response, view, notices)
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
        // Strings and numbers only: this cannot fail.
        serde_json::to_vec(&error::body(error)).unwrap_or_default()
    }

    fn decode_count_request(&self, body: &[u8]) -> Result<Request> {
        count::decode_request(body)
    }

    fn encode_count_request(&self, request: &Request, target: &Target<'_>) -> Option<Result<Vec<u8>>> {
        Some(count::encode_request(&client_tools::counted(request), target))
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64> {
        count::decode(body)
    }

    fn encode_count(&self, tokens: u64) -> Vec<u8> {
        count::encode(tokens)
    }
}

#[cfg(test)]
mod tests;
