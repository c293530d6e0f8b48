//! What all of these tests need.

use serde_json::Value;
use tollway_model::{Capabilities, Dialect, Error, Event, Fold, Laws, Notices, Request, Response, Support};
use tollway_wire::openai_chat::Quirks;
use tollway_wire::{Encoded, Framing, Restore, Target, View, codec};

/// The dialects that clients and providers both speak.
pub(crate) const CHATS: [Dialect; 4] =
    [Dialect::OpenaiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::OpenaiResponses];

/// The dialects that providers speak.
pub(crate) const TARGETS: [Dialect; 5] = [
    Dialect::OpenaiChat,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::OpenaiResponses,
    Dialect::BedrockConverse,
];

/// Every surface with every target that clients speak too.
pub(crate) fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    CHATS.into_iter().flat_map(|surface| CHATS.into_iter().map(move |target| (surface, target)))
}

/// Every surface with every target.
pub(crate) fn pairs_with_all() -> impl Iterator<Item = (Dialect, Dialect)> {
    CHATS.into_iter().flat_map(|surface| TARGETS.into_iter().map(move |target| (surface, target)))
}

/// A model that each provider really has, by what its codec keys on: the name.
pub(crate) fn model(target: Dialect) -> &'static str {
    match target {
        Dialect::Anthropic => "claude-sonnet-4-5",
        Dialect::Gemini => "gemini-3-pro-preview",
        Dialect::BedrockConverse => "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        _ => "gpt-5",
    }
}

/// How answers are shown.
pub(crate) const VIEW: View<'static> = View {
    model: "group",
    id: "call_fixture",
    created: 1_700_000_000,
    include_usage: true,
    legacy_functions: false,
    framing: Framing::Sse,
};

/// Writes `request` for a provider of `target`, with everything known to work.
pub(crate) fn encode(request: &Request, target: Dialect, notices: &mut Notices) -> Result<Encoded, Error> {
    encode_for(model(target), &Capabilities::default(), request, target, notices)
}

/// Writes `request` for this model.
pub(crate) fn encode_for(
    model: &str,
    capabilities: &Capabilities,
    request: &Request,
    target: Dialect,
    notices: &mut Notices,
) -> Result<Encoded, Error> {
    let quirks = Quirks::default();
    codec(target).encode_request(request, &Target { model, capabilities, quirks: &quirks }, notices)
}

/// Models of each class that a provider of `target` has.
pub(crate) fn models(target: Dialect) -> Vec<(&'static str, Capabilities)> {
    let class = |reasoning, adaptive_thinking, sampling_params| Capabilities {
        reasoning,
        adaptive_thinking,
        sampling_params,
        ..Capabilities::default()
    };
    let (yes, no, unknown) = (Support::Yes, Support::No, Support::Unknown);
    match target {
        Dialect::Anthropic => vec![
            ("claude-sonnet-4-5", class(yes, no, unknown)),
            ("claude-opus-4-6", Capabilities { prefill: no, ..class(yes, yes, unknown) }),
            (
                "claude-opus-4-8",
                Capabilities { mid_conversation_system: yes, prefill: no, ..class(yes, yes, no) },
            ),
            ("claude-new", Capabilities::default()),
        ],
        Dialect::Gemini => ["gemini-2.0-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.5-flash"]
            .map(|name| (name, Capabilities::default()))
            .to_vec(),
        Dialect::BedrockConverse => vec![
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", class(yes, no, unknown)),
            ("global.anthropic.claude-opus-4-8", Capabilities { prefill: no, ..class(yes, yes, no) }),
            ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x", Capabilities::default()),
            ("amazon.nova-2-lite-v1:0", class(yes, unknown, unknown)),
            ("openai.gpt-oss-120b-1:0", class(yes, unknown, unknown)),
        ],
        _ => vec![
            ("gpt-4o", class(no, no, unknown)),
            ("o3", class(yes, no, unknown)),
            ("gpt-5", Capabilities { sampling_params: no, ..class(yes, no, unknown) }),
            ("new", Capabilities::default()),
        ],
    }
}

/// Reads a client's body as the server does: Gemini's model and stream flag are in the URL.
pub(crate) fn decode(surface: Dialect, body: &Value) -> Request {
    let mut request = codec(surface)
        .decode_request(body.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{surface}: {error}: {body:#}"));
    request.model = "group".to_owned();
    request
}

/// The body a provider of `target` gets, and the notices.
pub(crate) fn translated(surface: Dialect, target: Dialect, body: &Value) -> (Value, Encoded, Notices) {
    let request = decode(surface, body);
    let mut notices = Notices::new();
    let encoded = encode(&request, target, &mut notices)
        .unwrap_or_else(|error| panic!("{surface} to {target}: {error}: {body:#}"));
    (serde_json::from_slice(&encoded.body).unwrap(), encoded, notices)
}

/// The events of a stream cut into pieces of `size` bytes; they obey the laws and end.
pub(crate) fn events(dialect: Dialect, stream: &[u8], size: usize, restore: &Restore) -> Vec<Event> {
    let mut decoder = codec(dialect).decoder(restore.clone());
    let mut events = Vec::new();
    stream.chunks(size.max(1)).for_each(|chunk| decoder.push(chunk, &mut events));
    decoder.finish(&mut events);
    let mut laws = Laws::new();
    for event in &events {
        laws.check(event).unwrap_or_else(|law| panic!("{dialect}: {law}: {events:#?}"));
    }
    assert!(matches!(events.last(), Some(Event::End | Event::Error(_))), "{dialect}: no end: {events:#?}");
    events
}

/// The events folded into the whole answer.
pub(crate) fn fold(events: Vec<Event>) -> Result<Response, Error> {
    let mut fold = Fold::new();
    events.into_iter().for_each(|event| fold.push(event));
    fold.finish()
}

/// The stream a client of `surface` gets.
pub(crate) fn shown(surface: Dialect, events: &[Event]) -> Vec<u8> {
    let mut encoder = codec(surface).encoder(&VIEW);
    let mut bytes = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut bytes));
    bytes
}

/// The JSON frames of a stream, `[DONE]` left out.
pub(crate) fn frames(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"))).collect()
}
