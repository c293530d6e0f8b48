//! What a client asks, read from its request without parsing more than the top level.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tollway::exchange::Ask;
use tollway_model::{Dialect, Error, Kind, Notices, Operation, Result};
use tollway_wire::Framing;
use tollway_wire::json::{Edits, Envelope};

use crate::attribution::Attribution;
use crate::clock::unix_millis;
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
    /// What reading the request already changed.
    pub notices: Notices,
}

/// What a client asks of the gateway itself, in the body or in headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Control {
    /// Leave out what the provider cannot do.
    pub drop_params: Option<bool>,
    /// Retries beside the first attempt.
    pub retries: Option<u32>,
    /// Longest wait for the whole answer of one attempt.
    pub timeout: Option<Duration>,
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

/// Most retries a caller may ask for.
const MAX_RETRIES: u32 = 20;

/// Fields a client may not send: they would choose where the gateway connects, or with whose key.
const FORBIDDEN: [&str; 13] = [
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "aws_bedrock_runtime_endpoint",
    "azure_endpoint",
    "custom_llm_provider",
    "extra_headers",
    "litellm_credential_name",
    "litellm_params",
    "model_list",
    "user_config",
    "vertex_credentials",
];

/// Fields meant for the gateway and honoured by it.
const HONOURED: [&str; 3] = ["drop_params", "num_retries", "timeout"];

/// LiteLLM's control fields that this gateway does not act on; a provider would refuse them.
const IGNORED: [&str; 24] = [
    "allowed_openai_params",
    "additional_drop_params",
    "cache",
    "caching",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "disable_fallbacks",
    "fallbacks",
    "force_timeout",
    "guardrails",
    "include_fallback_errors",
    "input_cost_per_token",
    "litellm_call_id",
    "litellm_metadata",
    "litellm_session_id",
    "litellm_trace_id",
    "max_retries",
    "mock_response",
    "no-log",
    "output_cost_per_token",
    "proxy_server_request",
    "spend_logs_metadata",
    "stream_timeout",
    "tags",
];

impl Call {
    /// Reads a request. The whole body is checked here; deeper parsing happens where a step needs it.
    pub fn accept(
        surface: Surface,
        headers: &HeaderMap,
        body: Bytes,
        started: Instant,
        rules: AcceptRules,
    ) -> Result<Call> {
        let envelope = Envelope::parse(body, rules.max_depth)?;
        let mut notices = Notices::new();
        let mut edits = Edits::new();
        let control = read_control(&envelope, headers, &mut edits, &mut notices)?;
        check_size(&envelope, &rules.limits)?;
        strip_gateway_metadata(&envelope, &mut edits, &mut notices);
        let attribution = Attribution::read(surface.dialect, headers, &envelope);
        let model = match surface.model {
            Some(model) => model,
            None => read_model(&envelope)?,
        };
        check_name(&model)?;
        let stream = surface.stream.unwrap_or_else(|| envelope.bool("stream").unwrap_or(false));
        let mut ask = Ask::new(surface.operation, surface.dialect, model, envelope);
        ask.stream = stream && matches!(surface.operation, Operation::Chat | Operation::Completion);
        ask.framing = surface.framing;
        ask.edits = edits;
        ask.headers = dialect_headers(surface.dialect, headers);
        let include_usage = ask.envelope.get("stream_options").is_some_and(asks_for_usage);
        Ok(Call {
            id: uuid::Uuid::now_v7().to_string(),
            client_id: client_id(headers),
            started,
            at: unix_millis(),
            ask,
            control,
            attribution,
            include_usage,
            notices,
        })
    }

    /// The id shown to the client: its own, or ours.
    pub fn shown_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.id)
    }
}

fn read_model(envelope: &Envelope) -> Result<String> {
    match envelope.str("model").map(Cow::into_owned) {
        Some(model) if !model.is_empty() => Ok(model),
        _ => Err(Error::invalid_at("model", "`model` is missing: name the model to call, as a string")),
    }
}

/// Names are kept in receipts and repeated in logs and headers, so they are short and have no control characters.
fn check_name(model: &str) -> Result<()> {
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

/// One look at every top-level member: what is forbidden refuses the call, what is the gateway's is taken out.
fn read_control(
    envelope: &Envelope,
    headers: &HeaderMap,
    edits: &mut Edits,
    notices: &mut Notices,
) -> Result<Control> {
    let mut control = Control {
        drop_params: None,
        retries: headers.get("x-litellm-num-retries").and_then(|text| retries(text.to_str().ok()?)),
        timeout: header_number(headers, "x-litellm-timeout").and_then(seconds),
    };
    for name in envelope.keys() {
        let name = name.as_ref();
        let known = |list: &[&str]| list.contains(&name);
        if !known(&FORBIDDEN) && !known(&IGNORED) && !known(&HONOURED) {
            continue;
        }
        let raw = envelope.get(name).unwrap_or("null");
        if FORBIDDEN.contains(&name) && raw != "null" {
            let message = format!(
                "`{name}` may not be sent by a client: where calls go is the operator's to configure"
            );
            return Err(Error::invalid_at(name, message));
        }
        if let Some(name) = IGNORED.iter().find(|known| **known == name) {
            edits.remove(*name);
            notices
                .changed(*name, "a control field of LiteLLM that is not acted on here yet; it was left out");
        }
        let Some(name) = HONOURED.iter().find(|known| **known == name) else { continue };
        edits.remove(*name);
        match *name {
            "drop_params" => control.drop_params = envelope.bool(name),
            "num_retries" => control.retries = retries(raw).or(control.retries),
            _ => {
                let value = raw.parse().ok().and_then(seconds);
                if value.is_none() && raw != "null" {
                    return Err(Error::invalid_at(
                        *name,
                        format!("`timeout` is a number of seconds, not {raw}"),
                    ));
                }
                control.timeout = value.or(control.timeout);
            }
        }
    }
    Ok(control)
}

/// Refuses what would cost far more than anyone means: a slip of the caller, or worse.
fn check_size(envelope: &Envelope, limits: &CallLimits) -> Result<()> {
    let too_much = |field: &str, limit: u64| {
        let message = format!("`{field}` asks for more than {limit}, the most this gateway allows");
        Err(Error::invalid_at(field.to_owned(), message))
    };
    if envelope.u64("n").is_some_and(|n| n > limits.n) {
        return too_much("n", limits.n);
    }
    for field in ["max_tokens", "max_completion_tokens"] {
        if envelope.u64(field).is_some_and(|tokens| tokens > limits.output_tokens) {
            return too_much(field, limits.output_tokens);
        }
    }
    for (field, limit) in
        [("messages", limits.messages), ("contents", limits.messages), ("tools", limits.tools)]
    {
        if envelope.elements(field).is_some_and(|count| count > limit) {
            let message = format!("`{field}` has more than {limit} elements, the most this gateway allows");
            return Err(Error::invalid_at(field, message));
        }
    }
    Ok(())
}

/// A caller's number of retries. As in the configuration there are never more than [`MAX_RETRIES`].
fn retries(text: &str) -> Option<u32> {
    text.trim().parse().ok().map(|retries: u32| retries.min(MAX_RETRIES))
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero())
}

fn header_number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
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

/// Headers that belong to the dialect and not to the connection.
fn dialect_headers(dialect: Dialect, headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let names: &[&'static str] = match dialect {
        Dialect::Anthropic => &["anthropic-beta", "anthropic-version"],
        Dialect::OpenaiChat => &["openai-beta"],
        _ => &[],
    };
    let mut found = Vec::new();
    for name in names {
        let values: Vec<&str> = headers
            .get_all(HeaderName::from_static(name))
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        if !values.is_empty() {
            found.push((*name, values.join(",")));
        }
    }
    found
}

/// A client's own id of the call, when it is harmless to repeat.
fn client_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-litellm-call-id")?.to_str().ok()?;
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
        let surface = Surface {
            dialect: Dialect::OpenaiChat,
            operation: Operation::Chat,
            model: None,
            stream: None,
            framing: Framing::Sse,
        };
        let limits = CallLimits { n: 16, output_tokens: 1000, tools: 8, messages: 8, in_flight: 8 };
        let rules = AcceptRules { max_depth: 64, limits };
        Call::accept(surface, &HeaderMap::new(), Bytes::from_static(body.as_bytes()), Instant::now(), rules)
    }

    fn sent(call: &Call) -> String {
        String::from_utf8(call.ask.envelope.rewrite(&call.ask.edits).to_vec()).unwrap()
    }

    #[test]
    fn control_fields_are_the_gateways_and_do_not_reach_the_provider() {
        let call = accept(
            r#"{"model":"m","drop_params":true,"num_retries":1,"timeout":2.5,"cache":{"no-cache":true},"x":1}"#,
        );
        let call = call.unwrap();
        assert_eq!(sent(&call), r#"{"model":"m","x":1}"#);
        assert_eq!(call.control.retries, Some(1));
        assert_eq!(call.control.drop_params, Some(true));
        assert_eq!(call.control.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(call.notices.iter().next().unwrap().field, "cache");
    }

    #[test]
    fn a_client_cannot_choose_where_the_gateway_connects() {
        for body in [r#"{"model":"m","api_base":"http://x"}"#, r#"{"model":"m","api_\u006bey":"k"}"#] {
            assert_eq!(accept(body).unwrap_err().kind(), Kind::InvalidRequest, "{body}");
        }
    }

    #[test]
    fn metadata_of_texts_goes_on_and_other_metadata_stays() {
        let kept = accept(r#"{"model":"m","metadata":{"a":"b"}}"#).unwrap();
        assert_eq!(sent(&kept), r#"{"model":"m","metadata":{"a":"b"}}"#);
        let stripped = accept(r#"{"model":"m","metadata":{"tags":["b"]}}"#).unwrap();
        assert_eq!(sent(&stripped), r#"{"model":"m"}"#);
    }

    #[test]
    fn a_call_cannot_ask_for_more_than_the_limits() {
        for (body, field) in [
            (r#"{"model":"m","n":17}"#, "n"),
            (r#"{"model":"m","max_tokens":1001}"#, "max_tokens"),
            (r#"{"model":"m","messages":[1,2,3,4,5,6,7,8,9]}"#, "messages"),
            (r#"{"model":"m","tools":[1,2,3,4,5,6,7,8,9]}"#, "tools"),
        ] {
            assert_eq!(accept(body).unwrap_err().param(), Some(field), "{body}");
        }
        assert!(accept(r#"{"model":"m","n":16,"messages":[1,2,3,4,5,6,7,8]}"#).is_ok());
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
        assert_eq!(retries(r#"{"model":"m","num_retries":4000000000}"#), Some(MAX_RETRIES));
        assert_eq!(retries(r#"{"model":"m","num_retries":3}"#), Some(3));
        assert_eq!(retries(r#"{"model":"m","num_retries":-1}"#), None);
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
