//! Errors, both ways: `{"type":"error","error":{"type","message"},"request_id"}`.

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tollway_model::{Error, Kind, Origin, Retry};

use super::read::{Object, Path, is_text, text};
use crate::pause;

/// Longest piece of an unreadable body that is shown.
const LONGEST_EXCERPT: usize = 300;

/// What providers write when the prompt does not fit; lower case.
const CONTEXT_WINDOW: [&str; 8] = [
    "prompt is too long",
    "input is too long",
    "maximum context length",
    "exceed context limit",
    "maximum context limit",
    "exceeds the context window",
    "longer than the model's context length",
    "context_length_exceeded",
];

/// What providers write when a policy refuses the prompt; lower case.
const CONTENT_POLICY: [&str; 5] = [
    "content filtering policy",
    "content_policy_violation",
    "content management policy",
    "safety system",
    "usage policy",
];

/// Reads any answer that is not 2xx.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut request_id = header("request-id").or_else(|| header("x-request-id")).map(str::to_owned);
    let object = Object::parse_bytes(body).ok();
    let mut error = None;
    if let Some(mut object) = object {
        let own = object.text("request_id", &Path::Root).ok().flatten();
        request_id = request_id.or_else(|| own.map(|id| id.into_owned()));
        let raw = object.take("error");
        let message = object.text("message", &Path::Root).ok().flatten();
        error = match (raw, message) {
            (Some(raw), _) => Some(from_object(raw, Some(status))),
            (None, Some(message)) => Some(build(None, &message, Some(status))),
            (None, None) => None,
        };
    }
    let mut error = error.unwrap_or_else(|| build(None, &excerpt(status, body), Some(status)));
    if let Retry::Later(_) = error.retry() {
        error = error.with_retry(Retry::Later(pause::asked(headers)));
    }
    match request_id {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

/// Reads the inner error object, of a body or of a stream (which has no status).
pub(super) fn from_object(raw: &RawValue, status: Option<u16>) -> Error {
    if is_text(raw) {
        return build(None, &text(raw, &Path::Root).unwrap_or_default(), status);
    }
    let Ok(mut object) = Object::parse(raw, &Path::Root) else { return build(None, raw.get(), status) };
    let kind = object.text("type", &Path::Root).ok().flatten();
    let message = object.text("message", &Path::Root).ok().flatten();
    let message =
        message.as_deref().filter(|message| !message.is_empty()).unwrap_or("the provider gave no reason");
    build(kind.as_deref(), message, status)
}

fn build(kind: Option<&str>, message: &str, status: Option<u16>) -> Error {
    let ours = of_type(kind.unwrap_or_default(), status).or_else(|| status.map(of_status));
    let ours = refine(ours.unwrap_or(Kind::Upstream), message);
    let mut error = Error::new(ours, message).with_origin(Origin::Upstream).with_retry(retry(ours));
    error = error.with_provider(None, kind.map(str::to_owned));
    match status {
        Some(status) if (400..600).contains(&status) => error.with_status(status),
        _ if ours == Kind::Overloaded => error.with_status(529),
        _ => error,
    }
}

fn of_type(kind: &str, status: Option<u16>) -> Option<Kind> {
    Some(match kind {
        // The type of many refusals; the status may say more.
        "invalid_request_error" => status.map_or(Kind::InvalidRequest, of_status),
        "authentication_error" => Kind::Authentication,
        "billing_error" => Kind::Payment,
        "permission_error" => Kind::Permission,
        "not_found_error" => Kind::NotFound,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" => Kind::RateLimit,
        "timeout_error" => Kind::Timeout,
        "overloaded_error" => Kind::Overloaded,
        "api_error" => Kind::Upstream,
        _ => return None,
    })
}

fn of_status(status: u16) -> Kind {
    match status {
        401 => Kind::Authentication,
        402 => Kind::Payment,
        403 => Kind::Permission,
        404 => Kind::NotFound,
        405 => Kind::MethodNotAllowed,
        408 | 504 => Kind::Timeout,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        429 => Kind::RateLimit,
        503 | 529 => Kind::Overloaded,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::Upstream,
    }
}

fn refine(kind: Kind, message: &str) -> Kind {
    if !matches!(kind, Kind::InvalidRequest | Kind::TooLarge | Kind::Upstream) {
        return kind;
    }
    let lower = message.to_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    if says(&CONTEXT_WINDOW) {
        Kind::ContextWindow
    } else if says(&CONTENT_POLICY) {
        Kind::ContentPolicy
    } else if kind == Kind::InvalidRequest && lower.contains("credit balance is too low") {
        Kind::Payment
    } else {
        kind
    }
}

/// A provider's refusal of the gateway's key or model says nothing about other deployments.
fn retry(kind: Kind) -> Retry {
    match kind {
        Kind::Authentication
        | Kind::Permission
        | Kind::NotFound
        | Kind::Payment
        | Kind::ContextWindow
        | Kind::ContentPolicy => Retry::Elsewhere,
        Kind::RateLimit | Kind::Timeout | Kind::Overloaded | Kind::Upstream | Kind::Conflict => {
            Retry::Later(None)
        }
        _ => Retry::Never,
    }
}

fn excerpt(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    // A page is a load balancer's, and says nothing to a caller.
    if text.is_empty() || text.starts_with('<') {
        return format!("the provider answered {status} without a reason");
    }
    let short: String = text.chars().take(LONGEST_EXCERPT).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("the provider answered {status}: {short}{more}")
}

/// Writes an error for a client.
pub(super) fn encode(error: &Error) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        error: Inner<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        message: &'a str,
    }
    let message = message(error);
    let inner = Inner { kind: type_of(error.kind()), message: &message };
    let body = Body { kind: "error", error: inner, request_id: error.request_id() };
    // Strings only: writing cannot fail.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// This dialect has no field for the parameter at fault, and its agents compact a conversation when they read that
/// the prompt is too long, in these words.
fn message(error: &Error) -> String {
    let text = error.message();
    if error.kind() == Kind::ContextWindow && !text.to_lowercase().contains("prompt is too long") {
        return format!("prompt is too long: {text}");
    }
    match error.param().filter(|_| error.kind() != Kind::Authentication) {
        Some(param) if !text.contains(param) => format!("{param}: {text}"),
        _ => text.to_owned(),
    }
}

fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Authentication => "authentication_error",
        Kind::Permission => "permission_error",
        Kind::Payment | Kind::Budget => "billing_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::RateLimit => "rate_limit_error",
        Kind::Timeout => "timeout_error",
        Kind::Overloaded | Kind::Unavailable => "overloaded_error",
        Kind::Connection | Kind::Upstream | Kind::ClientClosed | Kind::Internal => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(status: u16, body: &str, kind: Kind, retry: Retry) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        headers.insert("request-id", "req_h".parse().unwrap());
        let error = decode(status, &headers, body.as_bytes());
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{status} {body}");
        assert_eq!(error.origin(), Origin::Upstream);
        assert_eq!(error.request_id(), Some("req_h"));
        assert_eq!(error.status(), status);
        assert!(!error.message().is_empty());
    }

    fn body(kind: &str, message: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_b"}}"#
        )
    }

    #[test]
    fn types_and_statuses_become_kinds() {
        let later = Retry::Later(Some(Duration::from_secs(7)));
        check(400, &body("invalid_request_error", "bad"), Kind::InvalidRequest, Retry::Never);
        check(
            400,
            &body("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            Kind::ContextWindow,
            Retry::Elsewhere,
        );
        check(
            400,
            &body("invalid_request_error", "Output blocked by content filtering policy"),
            Kind::ContentPolicy,
            Retry::Elsewhere,
        );
        check(
            400,
            &body("invalid_request_error", "Your credit balance is too low"),
            Kind::Payment,
            Retry::Elsewhere,
        );
        check(
            401,
            &body("authentication_error", "invalid x-api-key"),
            Kind::Authentication,
            Retry::Elsewhere,
        );
        check(402, &body("billing_error", "pay"), Kind::Payment, Retry::Elsewhere);
        check(403, &body("permission_error", "no"), Kind::Permission, Retry::Elsewhere);
        check(404, &body("not_found_error", "model: x"), Kind::NotFound, Retry::Elsewhere);
        check(413, &body("request_too_large", "big"), Kind::TooLarge, Retry::Never);
        check(429, &body("rate_limit_error", "slow"), Kind::RateLimit, later);
        check(500, &body("api_error", "oops"), Kind::Upstream, later);
        check(504, &body("timeout_error", "slow"), Kind::Timeout, later);
        check(529, &body("overloaded_error", "Overloaded"), Kind::Overloaded, later);
        check(503, "<html>busy</html>", Kind::Overloaded, later);
        check(502, "", Kind::Upstream, later);
        check(422, r#"{"message":"no"}"#, Kind::InvalidRequest, Retry::Never);
        check(400, r#"{"error":"plain"}"#, Kind::InvalidRequest, Retry::Never);
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        headers.insert("retry-after-ms", "1500".parse().unwrap());
        let error = decode(429, &headers, b"");
        assert_eq!(error.retry(), Retry::Later(Some(Duration::from_millis(1500))));
        headers.insert("retry-after-ms", "-1".parse().unwrap());
        headers.insert("retry-after", "1e300".parse().unwrap());
        assert_eq!(decode(429, &headers, b"").retry(), Retry::Later(None));
    }

    #[test]
    fn every_kind_is_written_with_a_type_that_reads_back_as_a_failure() {
        for kind in Kind::ALL {
            let bytes = encode(&Error::new(kind, "why").with_param("top_k").with_request_id("req_1"));
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value["type"], "error");
            assert_eq!(value["request_id"], "req_1");
            assert!(value["error"]["message"].as_str().unwrap().contains("why"), "{value}");
            assert!(of_type(value["error"]["type"].as_str().unwrap(), None).is_some(), "{value}");
        }
    }

    #[test]
    fn agents_read_that_the_prompt_is_too_long() {
        let bytes = encode(&Error::new(Kind::ContextWindow, "maximum context length is 8"));
        assert!(
            String::from_utf8(bytes).unwrap().contains("prompt is too long: maximum context length is 8")
        );
    }
}
