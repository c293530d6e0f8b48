//! OpenAI Responses, the dialect of OpenAI's newer models and of coding agents such as Codex.
//!
//! A conversation is a flat list of items (messages, calls, outputs of calls, reasoning); the model has messages with
//! parts, so neighbouring items of one speaker become one message and are taken apart again. Server-side state
//! (`previous_response_id`) is resolved before the codec sees a request: [`conversation`] has what that takes.
//! Shapes: the `openai` SDK 2.54. `POST /v1/responses`:
//! <https://platform.openai.com/docs/api-reference/responses>

mod as_chat;
pub(crate) mod client_tools;
pub mod conversation;
mod item_in;
mod item_out;
mod items_in;
mod items_out;
mod media;
mod request_in;
mod request_out;
mod response_in;
mod shell;
mod state;
mod stream_in;
mod stream_out;
mod tools_in;
mod tools_out;
mod usage;

#[cfg(test)]
mod tests;

use http::HeaderMap;
use tollway_model::{Dialect, Error, Notices, Request, Response, Result, Usage};

use crate::openai_chat::error;
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

pub use as_chat::{as_chat, is_response_request};
pub(crate) use stream_in::skim;

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct OpenaiResponses;

impl Codec for OpenaiResponses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiResponses
    }

    /// Fails on what only the provider that holds the conversation could resolve: `previous_response_id`,
    /// `conversation`, `prompt` and item references.
    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        request_in::decode(body)
    }

    fn encode_request(
        &self,
        request: &Request,
        target: &Target<'_>,
        notices: &mut Notices,
    ) -> Result<Encoded> {
        request_out::encode(request, target, notices)
    }

    fn decode_response(&self, body: &[u8], restore: &Restore) -> Result<Response> {
        response_in::decode(body, restore)
    }

    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        response_in::read_usage(body)
    }

    fn encode_response(&self, response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        stream_out::whole(response, view, notices)
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
        request_in::decode(body)
    }

    fn encode_count(&self, tokens: u64) -> Vec<u8> {
        format!(r#"{{"object":"response.input_tokens","input_tokens":{tokens}}}"#).into_bytes()
    }
}
