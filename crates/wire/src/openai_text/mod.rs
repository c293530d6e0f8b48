//! Stub.

use http::HeaderMap;
use tollway_model::{Dialect, Error, Kind, Notices, Request, Response, Result};

use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct OpenaiText;

impl Codec for OpenaiText {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiText
    }
    fn decode_request(&self, _: &[u8]) -> Result<Request> {
        Err(Error::internal("stub"))
    }
    fn encode_request(&self, _: &Request, _: &Target<'_>, _: &mut Notices) -> Result<Encoded> {
        Err(Error::internal("stub"))
    }
    fn decode_response(&self, _: &[u8], _: &Restore) -> Result<Response> {
        Err(Error::internal("stub"))
    }
    fn encode_response(&self, _: &Response, _: &View<'_>, _: &mut Notices) -> Vec<u8> {
        Vec::new()
    }
    fn decoder(&self, _: Restore) -> Box<dyn StreamDecoder> {
        Box::new(Stub)
    }
    fn encoder(&self, _: &View<'_>) -> Box<dyn StreamEncoder> {
        Box::new(Stub)
    }
    fn decode_error(&self, _: u16, _: &HeaderMap, _: &[u8]) -> Error {
        Error::new(Kind::Upstream, "stub")
    }
    fn encode_error(&self, _: &Error) -> Vec<u8> {
        Vec::new()
    }
}

struct Stub;
impl StreamDecoder for Stub {
    fn push(&mut self, _: &[u8], _: &mut Vec<tollway_model::Event>) {}
    fn finish(&mut self, _: &mut Vec<tollway_model::Event>) {}
}
impl StreamEncoder for Stub {
    fn push(&mut self, _: &tollway_model::Event, _: &mut Vec<u8>) {}
}
