//! Tests of the dialect as a whole; those of single modules are in the modules.

mod answers;
mod requests_in;
mod requests_out;
mod streams;

use serde_json::Value;
use tollway_model::{Capabilities, Notices, Request};

use super::Anthropic;
use crate::openai_chat::Quirks;
use crate::{Codec, Encoded, Framing, Target, View};

fn decode(body: &Value) -> Request {
    Anthropic.decode_request(body.to_string().as_bytes()).unwrap()
}

fn encode(request: &Request, capabilities: &Capabilities) -> (Value, Notices, Encoded) {
    let mut notices = Notices::new();
    let target = Target { model: "claude-x", capabilities, quirks: &Quirks::default() };
    let encoded = Anthropic.encode_request(request, &target, &mut notices).unwrap();
    (serde_json::from_slice(&encoded.body).unwrap(), notices, encoded)
}

/// `severity field` of every notice.
fn fields(notices: &Notices) -> Vec<String> {
    notices.iter().map(|notice| format!("{:?} {}", notice.severity, notice.field).to_lowercase()).collect()
}

fn view() -> View<'static> {
    View {
        model: "asked",
        id: "call_fixture",
        created: 1_700_000_000,
        include_usage: true,
        legacy_functions: false,
        framing: Framing::Sse,
    }
}
