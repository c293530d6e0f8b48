//! Answers that no provider gives: a text that the operator or the caller chose, in every dialect.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tollway::exchange::Ask;
use tollway_model::{
    Choice, Delta, Error, Event, FinishReason, Kind, Notices, Operation, Origin, Part, PartKind, RawJson,
    Response, Result, Retry, Usage,
};
use tollway_wire::{Restore, codec};

use crate::answer::{Opened, Showing, Source};
use crate::ticket::{BYTES_PER_TOKEN, Settlement};

/// Texts that make a call fail, as clients of LiteLLM know them.
const FAILURES: [(&str, Kind); 3] = [
    ("litellm.RateLimitError", Kind::RateLimit),
    ("litellm.InternalServerError", Kind::Upstream),
    ("litellm.ContextWindowExceededError", Kind::ContextWindow),
];

/// The answer that `mock` stands for. `input`: tokens of the prompt, where the mock does not say.
pub(super) fn answer(mock: &RawJson, ask: &Ask, showing: &Showing, input: u64) -> Result<Opened> {
    if !matches!(ask.operation, Operation::Chat | Operation::Completion) {
        let message = "a mocked answer is text, so it cannot be given to this kind of call";
        return Err(Error::new(Kind::Unsupported, message).with_param("mock_response"));
    }
    let response = response(mock, showing, input)?;
    let finish = response.choices.first().and_then(|choice| choice.finish);
    let settlement = Settlement { usage: response.usage, finish, ..Settlement::default() };
    let headers = HeaderMap::new();
    let mut notices = Notices::new();
    if !ask.stream {
        let body = codec(showing.surface).encode_response(&response, &showing.view(), &mut notices);
        return Ok(Opened::Complete { body: Bytes::from(body), settlement, headers, notices });
    }
    let mut encoder = codec(showing.surface).encoder(&showing.view());
    let mut first = Vec::new();
    for event in events(mock, response)? {
        encoder.push(&event, &mut first);
    }
    Ok(Opened::Stream { first: Bytes::from(first), source: Box::new(Source::told(settlement)), headers })
}

/// A text becomes an answer; an object is one, in OpenAI's shape.
fn response(mock: &RawJson, showing: &Showing, input: u64) -> Result<Response> {
    let wrong = |why: &str| Error::invalid_at("mock_response", format!("`mock_response` {why}"));
    let text = match mock.to_value() {
        Value::String(text) => text,
        Value::Object(_) => {
            let shape = codec(tollway_model::Dialect::OpenaiChat);
            return shape
                .decode_response(mock.get().as_bytes(), &Restore::default())
                .map_err(|error| wrong(&format!("is no answer in OpenAI's shape: {}", error.message())));
        }
        _ => return Err(wrong("is a text, or an answer in OpenAI's shape")),
    };
    if let Some((name, kind)) = FAILURES.into_iter().find(|(name, _)| *name == text) {
        let error = Error::new(kind, format!("the call failed because the mocked answer is {name}"));
        let retry = if kind == Kind::ContextWindow { Retry::Never } else { Retry::Later(None) };
        return Err(error.with_origin(Origin::Upstream).with_retry(retry));
    }
    let output = (text.len() as u64).div_ceil(BYTES_PER_TOKEN);
    let usage = Usage { input, output, estimated: true, ..Usage::default() };
    let parts = vec![Part::text(text)];
    let choice = Choice { parts, finish: Some(FinishReason::Stop), ..Choice::default() };
    Ok(Response {
        id: showing.id.clone(),
        model: showing.model.clone(),
        created: Some(showing.created),
        choices: vec![choice],
        usage: Some(usage),
        ..Response::default()
    })
}

/// The answer as a stream.
fn events(mock: &RawJson, response: Response) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    if mock.get().starts_with('{') {
        // Its reader makes events of a whole answer, too.
        let mut decoder = codec(tollway_model::Dialect::OpenaiChat).decoder(Restore::default());
        decoder.push(mock.get().as_bytes(), &mut events);
        decoder.finish(&mut events);
        let failed = events.iter().find_map(|event| match event {
            Event::Error(error) => Some(error.clone()),
            _ => None,
        });
        return failed.map_or(Ok(events), Err);
    }
    let Response { id, model, created, choices, usage, .. } = response;
    events.push(Event::Start { id, model, created });
    for choice in choices {
        let (index, text) = (choice.index, choice.text());
        events.push(Event::PartStart { choice: index, part: 0, kind: PartKind::Text });
        events.push(Event::Delta { choice: index, part: 0, delta: Delta::Text(text) });
        events.push(Event::PartEnd { choice: index, part: 0 });
        let reason = choice.finish.unwrap_or(FinishReason::Stop);
        events.push(Event::Finish { choice: index, reason, native: None, stop_sequence: None });
    }
    events.extend(usage.map(Event::Usage));
    events.push(Event::End);
    Ok(events)
}
