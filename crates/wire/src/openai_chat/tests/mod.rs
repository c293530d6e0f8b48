//! Tests of the dialect as a whole; small things are tested beside their code.

mod answers;
mod properties;
mod requests;

use serde_json::Value;
use tollway_model::{Capabilities, Event, Fold, Laws, Notices, Request, Response, Result};

use super::*;
use crate::{Framing, codec};

const VIEW: View<'_> = View {
    model: "group",
    id: "call_view",
    created: 1_700_000_000,
    include_usage: true,
    legacy_functions: false,
    framing: Framing::Sse,
};

/// The body sent to a provider, as JSON, and the notices as `severity field`.
fn sent(request: &Request, quirks: &Quirks, capabilities: &Capabilities) -> Result<(Value, Vec<String>)> {
    let target = Target { model: "up", capabilities, quirks };
    let mut notices = Notices::new();
    let encoded = OpenaiChat.encode_request(request, &target, &mut notices)?;
    let fields = notices.iter().map(|notice| format!("{:?} {}", notice.severity, notice.field)).collect();
    Ok((serde_json::from_slice(&encoded.body).unwrap(), fields))
}

/// The events of a stream cut into `size` bytes, checked against the laws.
fn events(stream: &[u8], size: usize) -> Vec<Event> {
    let mut decoder = codec(Dialect::OpenaiChat).decoder(Restore::default());
    let mut events = Vec::new();
    stream.chunks(size.max(1)).for_each(|chunk| decoder.push(chunk, &mut events));
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    for event in &events {
        laws.check(event).unwrap_or_else(|law| panic!("{law}: {events:#?}"));
    }
    assert!(matches!(events.last(), Some(Event::End | Event::Error(_))), "{events:#?}");
    events
}

fn fold(events: Vec<Event>) -> Result<Response> {
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// The answer as a client sees it.
fn shown(response: &Response) -> Value {
    let mut notices = Notices::new();
    serde_json::from_slice(&OpenaiChat.encode_response(response, &VIEW, &mut notices)).unwrap()
}

/// The stream a client gets for `events`.
fn streamed(events: &[Event]) -> Vec<u8> {
    let mut encoder = OpenaiChat.encoder(&VIEW);
    let mut bytes = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut bytes));
    bytes
}
