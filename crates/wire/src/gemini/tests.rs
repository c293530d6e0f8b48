//! The codec as a whole: requests out, answers in and out, streams, and the properties that tie them together.

mod answers;
mod properties;
mod requests;

use serde_json::Value;
use tollway_model::{Capabilities, Event, Fold, Laws, Notices, Request, Response, Severity};

use super::Gemini;
use crate::openai_chat::Quirks;
use crate::{Codec, Encoded, Framing, Restore, Target, View};

fn encode(request: &Request, model: &str) -> (Encoded, Notices) {
    encode_with(request, model, &Capabilities::default())
}

fn encode_with(request: &Request, model: &str, capabilities: &Capabilities) -> (Encoded, Notices) {
    let quirks = Quirks::default();
    let mut notices = Notices::new();
    let target = Target { model, capabilities, quirks: &quirks };
    let encoded = Gemini.encode_request(request, &target, &mut notices).unwrap();
    (encoded, notices)
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

fn listed(notices: &Notices) -> Vec<(Severity, String)> {
    notices.iter().map(|notice| (notice.severity, notice.field.to_string())).collect()
}

fn view(framing: Framing) -> View<'static> {
    View {
        model: "shown",
        id: "made",
        created: 1_700_000_000,
        include_usage: true,
        legacy_functions: false,
        framing,
    }
}

/// All events of a stream cut at `cuts`, checked against the laws.
fn decode_stream(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut decoder = Gemini.decoder(Restore::default());
    let mut events = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        decoder.push(&bytes[pair[0]..pair[1]], &mut events);
    }
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    for event in &events {
        laws.check(event).unwrap();
    }
    events
}

fn fold(events: Vec<Event>) -> Result<Response, tollway_model::Error> {
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}

fn encode_stream(response: Response, framing: Framing) -> Vec<u8> {
    let mut encoder = Gemini.encoder(&view(framing));
    let mut bytes = Vec::new();
    for event in response.into_events() {
        encoder.push(&event, &mut bytes);
    }
    bytes
}
