//! What a client asks, read from its request without parsing more than the top level.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tollway::exchange::Ask;
use tollway_model::{Dialect, Error, Kind, Notices, Operation, RawJson, Result};
use tollway_route::Fallbacks;
use tollway_wire::Framing;
use tollway_wire::json::{Edits, Envelope};
use tollway_wire::openai_responses;

use crate::attribution::Attribution;
use crate::clock::unix_millis;
use crate::control::read_control;
use crate::headers::CALL_ID;
use crate::responses::Turn;
use crate::settings::CallLimits;

/// One client request on its way through the gateway.
#[derive(Debug)]
pub struct Call {
    /// The gateway's id of the call, and of its receipt.
    pub id: String,
    /// The client's own id of the call, when it sent one.
    pub client_id: Option<String>,
    /// When it arrived.
    pub started: Instant,
    /// When it arrived, milliseconds since 1970.
    pub at: i64,
    /// What is asked.
    pub ask: Ask,
    /// What the client asks of the gateway itself.
    pub control: Control,
    /// For whom it is made.
    pub attribution: Attribution,
    /// Show usage in the stream.
    pub include_usage: bool,
    /// Asked with OpenAI's legacy `functions`.
    pub legacy_functions: bool,
    /// What reading the request already changed.
    pub notices: Notices,
    /// Its place in a conversation that the gateway keeps.
    pub(crate) turn: Option<Arc<Turn>>,
    /// The deployment that its encrypted reasoning came from, as marks name it.
    pub(crate) origin: Option<String>,
}

/// What a client asks of the gateway itself, in the body or in headers; the body counts more.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Control {
    /// Leave out what the provider cannot do.
    pub drop_params: Option<bool>,
    /// Retries beside the first attempt.
    pub retries: Option<u32>,
    /// Longest wait for the whole answer of one attempt.
    pub timeout: Option<Duration>,
    /// For streams: longest wait for the first content of one attempt, and between two pieces.
    pub stream_timeout: Option<Duration>,
    /// Longest wait for the first byte of the call's answer, every attempt included.
    pub deadline: Option<Duration>,
    /// Groups to try in place of the one asked for, instead of the operator's.
    pub fallbacks: Option<Box<Fallbacks>>,
    /// No other group is to be tried.
    pub disable_fallbacks: bool,
    /// Tell which groups failed.
    pub include_fallback_errors: bool,
    /// The call is to fail, to see what happens.
    pub mock: Option<Mock>,
    /// The answer, instead of a provider's: as a deployment's `mock_response`.
    pub mock_response: Option<RawJson>,
    /// How long a mocked answer takes.
    pub mock_delay: Option<Duration>,
    /// The attempts at the first group are to run out of time.
    pub mock_timeout: bool,
    /// Fields to leave out of the request.
    pub dropped: Option<Box<[String]>>,
    /// Fields to send although the provider is not known to take them.
    pub allowed: Option<Box<[String]>>,
}

/// A failure that a caller asks for, to see what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mock {
    /// The field that asked.
    pub field: &'static str,
    /// How the first group is to fail.
    pub kind: Kind,
}

/// What the URL says of a call.
#[derive(Debug, Clone)]
pub struct Surface {
    /// The client's dialect.
    pub dialect: Dialect,
    /// What is asked for.
    pub operation: Operation,
    /// The model, where the URL carries it.
    pub model: Option<String>,
    /// Streaming, where the URL decides it.
    pub stream: Option<bool>,
    /// How streamed events are delimited.
    pub framing: Framing,
}

/// The rules a call is read by.
#[derive(Debug, Clone, Copy)]
pub struct AcceptRules {
    /// Deepest nesting of the body.
    pub max_depth: usize,
    /// How much a call may ask for.
    pub limits: CallLimits,
}

impl Call {
    /// Reads a request. The whole body is checked here; deeper parsing happens where a step needs it.
    pub fn accept(
        surface: Surface,
        headers: &HeaderMap,
        body: Bytes,
        started: Instant,
        rules: AcceptRules,
    ) -> Result<Call> {
        let call = Call::read(surface, headers, body, started, rules)?;
        check_present(&call.ask)?;
        Ok(call)
    }

    fn read(
        surface: Surface,
        headers: &HeaderMap,
        body: Bytes,
        started: Instant,
        rules: AcceptRules,
    ) -> Result<Call> {
        let mut envelope = Envelope::parse(body, rules.max_depth)?;
        let asks_chat = surface.dialect == Dialect::OpenaiChat && surface.operation == Operation::Chat;
        if asks_chat && openai_responses::is_response_request(&envelope) {
            // Some agents do that, and expect the answer of a chat.
            check_size(Dialect::OpenaiResponses, &envelope, &rules.limits)?;
            let chat = openai_responses::as_chat(&envelope)?;
            envelope = Envelope::parse(chat, rules.max_depth.saturating_add(8))?;
        }
        let mut notices = Notices::new();
        let mut edits = Edits::new();
        // Most calls have none of the headers that are for the gateway: one look in place of a dozen, each of which
        // would read the name anew.
        let none = HeaderMap::new();
        let ours = if headers.keys().any(is_ours) { headers } else { &none };
        let mut control = read_control(&envelope, ours, &mut edits, &mut notices)?;
        if let Some(fields) = control.dropped.take() {
            envelope = without(&envelope, &fields, rules.max_depth)?;
            if fields.iter().any(|field| field.contains(['.', '['])) {
                notices.changed("additional_drop_params", "only fields of the top level are left out");
            }
        }
        check_size(surface.dialect, &envelope, &rules.limits)?;
        strip_gateway_metadata(&envelope, &mut edits, &mut notices);
        let attribution = Attribution::read(surface.dialect, ours, &envelope);
        let model = match surface.model {
            Some(model) => model,
            None => read_model(&envelope, attribution.customer.is_some())?,
        };
        check_name(&model)?;
        let stream = match (surface.stream, envelope.get("stream")) {
            (Some(stream), _) => stream,
            (None, None | Some("null" | "false")) => false,
            (None, Some("true")) => true,
            (None, Some(_)) => return Err(Error::invalid_at("stream", "`stream` must be true or false")),
        };
        let mut ask = Ask::new(surface.operation, surface.dialect, model, envelope);
        ask.stream = stream && matches!(surface.operation, Operation::Chat | Operation::Completion);
        ask.framing = surface.framing;
        ask.edits = edits;
        ask.allowed = control.allowed.take();
        ask.headers = dialect_headers(surface.dialect, headers);
        let include_usage = ask.envelope.get("stream_options").is_some_and(asks_for_usage);
        let envelope = &ask.envelope;
        let legacy_functions = envelope.get("functions").is_some() && envelope.get("tools").is_none();
        Ok(Call {
            id: uuid::Uuid::now_v7().to_string(),
            client_id: client_id(ours),
            started,
            at: unix_millis(),
            ask,
            control,
            attribution,
            include_usage,
            legacy_functions,
            notices,
            turn: None,
            origin: None,
        })
    }

    /// The id shown to the client: its own, or ours.
    pub fn shown_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.id)
    }
}

/// The body as if these fields had not been sent.
fn without(envelope: &Envelope, fields: &[String], max_depth: usize) -> Result<Envelope> {
    let mut edits = Edits::new();
    for field in fields.iter().filter(|field| envelope.get(field).is_some()) {
        edits.remove(field.clone());
    }
    Envelope::parse(envelope.rewrite(&edits), max_depth)
}

/// The model that the body names. With `may_lack`, none is an empty name: the customer may have one.
fn read_model(envelope: &Envelope, may_lack: bool) -> Result<String> {
    match envelope.str("model").map(Cow::into_owned) {
        Some(model) if !model.is_empty() => Ok(model),
        None if may_lack && envelope.get("model").is_none_or(|raw| raw == "null") => Ok(String::new()),
        _ => Err(no_model()),
    }
}

/// The refusal of a call that names no model.
pub(crate) fn no_model() -> Error {
    Error::invalid_at("model", "`model` is missing: name the model to call, as a string")
}

/// Names are kept in receipts and repeated in logs and headers, so they are short and have no control characters.
pub(crate) fn check_name(model: &str) -> Result<()> {
    if model.len() > tollway_route::MAX_NAME {
        let message =
            format!("`model` is longer than {} bytes; no model has such a name", tollway_route::MAX_NAME);
        return Err(Error::invalid_at("model", message));
    }
    if model.chars().any(char::is_control) {
        return Err(Error::invalid_at(
            "model",
            "`model` contains a control character; no model has such a name",
        ));
    }
    Ok(())
}

/// Refuses a request that asks nothing: not every provider does.
fn check_present(ask: &Ask) -> Result<()> {
    let field = match (ask.surface, ask.operation) {
        (Dialect::OpenaiChat | Dialect::Anthropic, Operation::Chat) => "messages",
        (Dialect::Gemini, Operation::Chat) => "contents",
        (Dialect::OpenaiChat, Operation::Embedding) => "input",
        _ => return Ok(()),
    };
    if ask.envelope.has(field) {
        return Ok(());
    }
    Err(Error::invalid_at(field, format!("`{field}` is required")))
}

/// Refuses what would cost far more than anyone means: a slip of the caller, or worse.
fn check_size(dialect: Dialect, envelope: &Envelope, limits: &CallLimits) -> Result<()> {
    let too_much = |field: &str, limit: u64| {
        let message = format!("`{field}` asks for more than {limit}, the most this gateway allows");
        Err(Error::invalid_at(field.to_owned(), message))
    };
    if envelope.u64("n").is_some_and(|n| n > limits.n) {
        return too_much("n", limits.n);
    }
    for field in ["max_tokens", "max_completion_tokens", "max_output_tokens"] {
        if envelope.u64(field).is_some_and(|tokens| tokens > limits.output_tokens) {
            return too_much(field, limits.output_tokens);
        }
    }
    for (field, limit) in [
        ("messages", limits.messages),
        ("contents", limits.messages),
        ("input", limits.messages),
        ("tools", limits.tools),
    ] {
        // Elsewhere these are texts, or the tokens of one.
        if field == "input" && dialect != Dialect::OpenaiResponses {
            continue;
        }
        if envelope.elements(field).is_some_and(|count| count > limit) {
            let message = format!("`{field}` has more than {limit} elements, the most this gateway allows");
            return Err(Error::invalid_at(field, message));
        }
    }
    Ok(())
}

/// LiteLLM's clients put tags and trace ids of any type into `metadata`; OpenAI accepts texts only. Metadata that a
/// provider would refuse is the gateway's.
fn strip_gateway_metadata(envelope: &Envelope, edits: &mut Edits, notices: &mut Notices) {
    let Some(raw) = envelope.get("metadata") else { return };
    // `{"key":"text"}` has no other value than texts: nothing to parse in the usual case of none at all.
    let texts_only =
        serde_json::from_str::<std::collections::HashMap<Cow<'_, str>, Cow<'_, str>>>(raw).is_ok();
    if !texts_only && raw != "null" {
        edits.remove("metadata");
        notices.changed(
            "metadata",
            "values that are not texts are for the gateway; the provider did not get them",
        );
    }
}

fn asks_for_usage(raw: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Options {
        include_usage: Option<bool>,
    }
    serde_json::from_str::<Options>(raw).ok().and_then(|options| options.include_usage).unwrap_or(false)
}

/// Is the header one by which a client asks something of the gateway itself?
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-litellm-") || name.starts_with("x-tollway-")
}

const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");

/// Headers that belong to the dialect and not to the connection.
fn dialect_headers(dialect: Dialect, headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let names: &[(&'static str, HeaderName)] = match dialect {
        Dialect::Anthropic => &[("anthropic-beta", ANTHROPIC_BETA), ("anthropic-version", ANTHROPIC_VERSION)],
        Dialect::OpenaiChat | Dialect::OpenaiResponses => &[("openai-beta", OPENAI_BETA)],
        _ => &[],
    };
    let mut found = Vec::new();
    for (text, name) in names {
        let values: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if !values.is_empty() {
            found.push((*text, values.join(",")));
        }
    }
    found
}

/// A client's own id of the call, when it is harmless to repeat.
pub(crate) fn client_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(CALL_ID)?.to_str().ok()?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    (!id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)).then(|| id.to_owned())
}

/// A refusal before the call could be read still has a kind and a place.
pub fn not_found(path: &str) -> Error {
    Error::new(Kind::NotFound, format!("no route {path}; GET /docs lists what there is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(body: &'static str) -> Result<Call> {
        accept_on(Dialect::OpenaiChat, body)
    }

    fn accept_on(dialect: Dialect, body: &'static str) -> Result<Call> {
        accept_for(Operation::Chat, dialect, body)
    }

    fn accept_for(operation: Operation, dialect: Dialect, body: &'static str) -> Result<Call> {
        let surface = Surface { dialect, operation, model: None, stream: None, framing: Framing::Sse };
        let limits = CallLimits { n: 16, output_tokens: 1000, tools: 8, messages: 8, in_flight: 8 };
        let rules = AcceptRules { max_depth: 64, limits };
        Call::read(surface, &HeaderMap::new(), Bytes::from_static(body.as_bytes()), Instant::now(), rules)
    }

    #[test]
    fn a_call_must_ask_something() {
        for (dialect, field) in [
            (Dialect::OpenaiChat, "messages"),
            (Dialect::Anthropic, "messages"),
            (Dialect::Gemini, "contents"),
        ] {
            for body in [r#"{"model":"m"}"#, r#"{"model":"m","messages":null,"contents":null}"#] {
                let call = accept_on(dialect, body).unwrap();
                assert_eq!(check_present(&call.ask).unwrap_err().param(), Some(field), "{dialect} {body}");
            }
            let call = accept_on(dialect, r#"{"model":"m","messages":[],"contents":[]}"#).unwrap();
            assert!(check_present(&call.ask).is_ok());
        }
    }

    fn sent(call: &Call) -> String {
        String::from_utf8(call.ask.envelope.rewrite(&call.ask.edits).to_vec()).unwrap()
    }

    #[test]
    fn metadata_of_texts_goes_on_and_other_metadata_stays() {
        let kept = accept(r#"{"model":"m","metadata":{"a":"b"}}"#).unwrap();
        assert_eq!(sent(&kept), r#"{"model":"m","metadata":{"a":"b"}}"#);
        let stripped = accept(r#"{"model":"m","metadata":{"tags":["b"]}}"#).unwrap();
        assert_eq!(sent(&stripped), r#"{"model":"m"}"#);
    }

    #[test]
    fn fields_that_are_to_be_left_out_were_never_sent() {
        let call = accept(
            r#"{"model":"m","temperature":1,"n":99,"seed":7,"additional_drop_params":["temperature","n","gone"],
                "allowed_openai_params":["seed"]}"#,
        );
        let call = call.unwrap();
        assert_eq!(sent(&call), r#"{"model":"m","seed":7}"#);
        assert_eq!(call.ask.allowed.as_deref(), Some(&["seed".to_owned()][..]));
        assert!(call.ask.envelope.get("temperature").is_none() && call.notices.is_empty());
        let nested = accept(r#"{"model":"m","additional_drop_params":["tools[*].strict"]}"#).unwrap();
        assert_eq!(nested.notices.iter().count(), 1);
    }

    #[test]
    fn a_call_cannot_ask_for_more_than_the_limits() {
        for (body, field) in [
            (r#"{"model":"m","n":17}"#, "n"),
            (r#"{"model":"m","max_tokens":1001}"#, "max_tokens"),
            (r#"{"model":"m","max_output_tokens":1001}"#, "max_output_tokens"),
            (r#"{"model":"m","messages":[1,2,3,4,5,6,7,8,9]}"#, "messages"),
            (r#"{"model":"m","tools":[1,2,3,4,5,6,7,8,9]}"#, "tools"),
        ] {
            assert_eq!(accept(body).unwrap_err().param(), Some(field), "{body}");
        }
        assert!(accept(r#"{"model":"m","n":16,"messages":[1,2,3,4,5,6,7,8]}"#).is_ok());
        let nine = r#"{"model":"m","input":[1,2,3,4,5,6,7,8,9]}"#;
        let tokens = accept_for(Operation::Embedding, Dialect::OpenaiChat, nine);
        assert!(tokens.is_ok(), "tokens to embed");
        assert_eq!(accept_on(Dialect::OpenaiResponses, nine).unwrap_err().param(), Some("input"));
    }

    #[test]
    fn a_model_has_a_short_name_without_control_characters() {
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(tollway_route::MAX_NAME + 1));
        let bodies = [
            long.as_str(),
            r#"{"model":"a\r\nx-injected: 1"}"#,
            r#"{"model":"a\u0000"}"#,
            r#"{"model":"\u0085"}"#,
        ];
        for body in bodies {
            let error = accept(Box::leak(body.to_owned().into_boxed_str())).unwrap_err();
            assert_eq!(error.param(), Some("model"), "{body}");
            assert!(error.message().len() < 200, "{body}");
        }
    }

    #[test]
    fn a_caller_cannot_ask_for_retries_without_end() {
        let retries = |body| accept(body).unwrap().control.retries;
        assert_eq!(retries(r#"{"model":"m","num_retries":4000000000}"#), Some(crate::control::MAX_RETRIES));
        assert_eq!(retries(r#"{"model":"m","num_retries":3}"#), Some(3));
        assert_eq!(retries(r#"{"model":"m","num_retries":-1}"#), None);
    }

    #[test]
    fn a_stream_is_asked_for_by_a_boolean() {
        let streams = |body| accept(body).map(|call| call.ask.stream);
        assert!(streams(r#"{"model":"m","stream":true}"#).unwrap());
        assert!(!streams(r#"{"model":"m","stream":null}"#).unwrap());
        for body in [r#"{"model":"m","stream":"true"}"#, r#"{"model":"m","stream":1}"#] {
            assert_eq!(streams(body).unwrap_err().param(), Some("stream"), "{body}");
        }
    }

    #[test]
    fn a_model_must_be_named() {
        for body in ["{}", r#"{"model":null}"#, r#"{"model":1}"#, r#"{"model":""}"#] {
            assert_eq!(accept(body).unwrap_err().param(), Some("model"), "{body}");
        }
    }

    #[test]
    fn usage_is_shown_only_when_asked_for() {
        assert!(accept(r#"{"model":"m","stream_options":{"include_usage":true}}"#).unwrap().include_usage);
        assert!(!accept(r#"{"model":"m","stream_options":null}"#).unwrap().include_usage);
    }
}
