//! OpenAI Chat Completions, the dialect most clients and most providers speak.
//!
//! Requests are read strictly and name the field at fault; answers are read leniently, because hosts depart from
//! OpenAI in many small ways ([`Quirks`] names those that matter when we write). Shapes: the `openai` SDK 2.54.
//! `POST /v1/chat/completions`: <https://platform.openai.com/docs/api-reference/chat>

pub(crate) mod encode;
mod encode_message;
mod encode_tools;
pub(crate) mod error;
pub(crate) mod media;
mod message;
pub(crate) mod names;
mod patch;
mod quirks;
pub(crate) mod read;
mod reader;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stream_in;
mod stream_out;
pub(crate) mod usage;
pub(crate) mod write;

#[cfg(test)]
mod tests;

pub use patch::{may_concern, patch};
pub use quirks::Quirks;

pub(crate) use encode::common_sampling;
pub(crate) use reader::finish_reason;

use http::HeaderMap;
use tollway_model::{Dialect, Error, Notices, Request, Response, Result, Usage};

use crate::openai_responses::client_tools;
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct OpenaiChat;

impl Codec for OpenaiChat {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiChat
    }

    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        request::decode(body)
    }

    fn encode_request(
        &self,
        request: &Request,
        target: &Target<'_>,
        notices: &mut Notices,
    ) -> Result<Encoded> {
        client_tools::bridged(request, notices, |request, notices| encode::encode(request, target, notices))
    }

    fn decode_response(&self, body: &[u8], restore: &Restore) -> Result<Response> {
        response::decode(body, restore)
    }

    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        response::read_usage(body)
    }

    fn read_counts(&self, usage: &str) -> Option<Usage> {
        response::counted(usage)
    }

    fn encode_response(&self, response: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        response::encode(response, view, notices)
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
}
