//! Errors, in and out: `{"error":{"code","message","status","details"}}`.

use std::time::Duration;

use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};
use tollway_model::{Error, Kind, Origin, Retry};

use crate::pause;

/// Reads a provider's error answer.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    // Streams of errors come inside an array.
    let whole = match &parsed {
        Some(Value::Array(list)) => list.first(),
        other => other.as_ref(),
    };
    let error = match whole.and_then(|whole| whole.get("error")) {
        Some(Value::String(message)) => classify(status, message, &Value::Null),
        Some(error) => {
            let fallback = || format!("the provider answered {status}");
            let message = error.get("message").and_then(Value::as_str).map_or_else(fallback, str::to_owned);
            classify(status, &message, error)
        }
        None => classify(status, &plain(status, body), &Value::Null),
    };
    let error = match (error.retry(), pause::asked(headers)) {
        (Retry::Later(None), Some(pause)) => error.with_retry(Retry::Later(Some(pause))),
        _ => error,
    };
    let id = ["x-request-id", "request-id", "x-goog-request-id"].iter().find_map(|name| headers.get(*name));
    match id.and_then(|id| id.to_str().ok()) {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

/// Reads the error object inside an answer of status 200.
pub(super) fn embedded(error: &Value) -> Error {
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = status.filter(|status| (400..600).contains(status)).unwrap_or(500);
    let message =
        error.get("message").and_then(Value::as_str).unwrap_or("the provider broke off with an error");
    classify(status, message, error)
}

/// A body that is no JSON, such as a load balancer's page: its beginning, if it can be read as text.
fn plain(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..200).unwrap_or(body));
    let text = text.trim();
    if text.is_empty() || text.starts_with('<') {
        return format!("the provider answered {status}");
    }
    format!("the provider answered {status}: {text}")
}

fn classify(status: u16, message: &str, error: &Value) -> Error {
    let word = error.get("status").and_then(Value::as_str).unwrap_or_default();
    let reason = detail(error, "reason").and_then(Value::as_str);
    let kind = kind(status, word, reason, message);
    let retry = match kind {
        Kind::Authentication | Kind::Permission | Kind::NotFound | Kind::Payment => Retry::Elsewhere,
        Kind::ContextWindow | Kind::ContentPolicy => Retry::Elsewhere,
        // "User location is not supported", "billing is not enabled": true of this deployment only.
        Kind::InvalidRequest if word == "FAILED_PRECONDITION" => Retry::Elsewhere,
        Kind::InvalidRequest | Kind::TooLarge => Retry::Never,
        _ => Retry::Later(retry_delay(error)),
    };
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let built = Error::new(kind, message)
        .with_origin(Origin::Upstream)
        .with_retry(retry)
        .with_provider(reason.map(str::to_owned), text(word));
    let keeps = matches!(
        kind,
        Kind::Upstream | Kind::Unavailable | Kind::Overloaded | Kind::Timeout | Kind::InvalidRequest
    );
    if keeps && status >= 400 { built.with_status(status) } else { built }
}

fn kind(status: u16, word: &str, reason: Option<&str>, message: &str) -> Kind {
    let lower = message.to_ascii_lowercase();
    if reason == Some("API_KEY_INVALID")
        || lower.contains("api key not valid")
        || lower.contains("api key expired")
    {
        return Kind::Authentication;
    }
    if is_context_window(&lower) {
        return Kind::ContextWindow;
    }
    if is_content_policy(&lower) {
        return Kind::ContentPolicy;
    }
    match (word, status) {
        ("RESOURCE_EXHAUSTED", _) | (_, 429) => Kind::RateLimit,
        ("UNAUTHENTICATED", _) | (_, 401) => Kind::Authentication,
        ("PERMISSION_DENIED", _) | (_, 403) => Kind::Permission,
        ("NOT_FOUND", _) | (_, 404) => Kind::NotFound,
        ("DEADLINE_EXCEEDED", _) | (_, 408 | 504) => Kind::Timeout,
        ("UNAVAILABLE", _) | (_, 503) if lower.contains("overload") => Kind::Overloaded,
        ("UNAVAILABLE", _) | (_, 503) => Kind::Unavailable,
        (_, 402) => Kind::Payment,
        ("ABORTED" | "ALREADY_EXISTS", _) | (_, 409) => Kind::Conflict,
        (_, 413) => Kind::TooLarge,
        ("CANCELLED", _) | (_, 499) => Kind::Upstream,
        (_, 400..=498) => Kind::InvalidRequest,
        _ => Kind::Upstream,
    }
}

fn is_context_window(lower: &str) -> bool {
    const PHRASES: [&str; 5] = [
        "exceeds the maximum number of tokens",
        "maximum context length",
        "input tokens exceed",
        "prompt is too long",
        "input is too long",
    ];
    PHRASES.iter().any(|phrase| lower.contains(phrase))
        || (lower.contains("input token count") && lower.contains("exceed"))
}

fn is_content_policy(lower: &str) -> bool {
    const PHRASES: [&str; 4] =
        ["safety system", "content management policy", "content policy", "violates our usage guidelines"];
    PHRASES.iter().any(|phrase| lower.contains(phrase))
}

/// The first `details` entry that has `key`.
fn detail<'v>(error: &'v Value, key: &str) -> Option<&'v Value> {
    error.get("details")?.as_array()?.iter().find_map(|detail| detail.get(key))
}

/// `RetryInfo`'s `"retryDelay": "34.5s"`.
fn retry_delay(error: &Value) -> Option<Duration> {
    let text = detail(error, "retryDelay")?.as_str()?;
    pause::seconds(text.strip_suffix('s')?.trim().parse().ok()?)
}

#[derive(Serialize)]
pub(super) struct Body {
    error: Value,
}

/// An error in Google's form.
///
/// The status is Google's word for the HTTP status; our own stable code is the reason of an `ErrorInfo`.
pub(super) fn body(error: &Error) -> Body {
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.kind().code().to_ascii_uppercase(),
        "domain": "tollway",
    })];
    // What is wrong with a key is no field of the request.
    if let Some(param) = error.param().filter(|_| error.kind() != Kind::Authentication) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": param, "description": error.message()}],
        }));
    }
    if let Retry::Later(Some(pause)) = error.retry() {
        let delay = format!("{}s", pause.as_millis().div_ceil(1000));
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    Body {
        error: json!({
            "code": error.status(),
            "message": error.message(),
            "status": word(error.status()),
            "details": details,
        }),
    }
}

fn word(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 | 501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=498 => "INVALID_ARGUMENT",
        502 | 503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: Value, kind: Kind, retry: Retry, answered: u16) {
        let error = decode(status, &HeaderMap::new(), body.to_string().as_bytes());
        assert_eq!((error.kind(), error.retry(), error.status()), (kind, retry, answered), "{body}");
        assert_eq!(error.origin(), Origin::Upstream);
    }

    fn google(code: u16, status: &str, message: &str) -> Value {
        json!({"error": {"code": code, "status": status, "message": message}})
    }

    #[test]
    fn errors_are_told_apart_and_say_whether_to_retry() {
        let later = Retry::Later(None);
        check(400, google(400, "INVALID_ARGUMENT", "bad schema"), Kind::InvalidRequest, Retry::Never, 400);
        check(
            400,
            json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid.",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}}),
            Kind::Authentication,
            Retry::Elsewhere,
            401,
        );
        check(
            400,
            google(
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            Kind::ContextWindow,
            Retry::Elsewhere,
            400,
        );
        check(
            400,
            google(400, "FAILED_PRECONDITION", "User location is not supported"),
            Kind::InvalidRequest,
            Retry::Elsewhere,
            400,
        );
        check(403, google(403, "PERMISSION_DENIED", "no"), Kind::Permission, Retry::Elsewhere, 403);
        check(404, google(404, "NOT_FOUND", "no model"), Kind::NotFound, Retry::Elsewhere, 404);
        check(503, google(503, "UNAVAILABLE", "The model is overloaded."), Kind::Overloaded, later, 503);
        check(500, google(500, "INTERNAL", "oops"), Kind::Upstream, later, 500);
        check(504, google(504, "DEADLINE_EXCEEDED", "slow"), Kind::Timeout, later, 504);
        check(
            429,
            json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
                "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}]),
            Kind::RateLimit,
            Retry::Later(Some(Duration::from_millis(34_500))),
            429,
        );
        let page = decode(502, &HeaderMap::new(), b"<html>Bad gateway</html>");
        assert_eq!((page.kind(), page.message()), (Kind::Upstream, "the provider answered 502"));
    }

    #[test]
    fn headers_bring_the_pause_and_the_request_id() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        headers.insert("x-request-id", "r1".parse().unwrap());
        let error = decode(503, &headers, b"{}");
        assert_eq!(error.retry(), Retry::Later(Some(Duration::from_secs(7))));
        assert_eq!(error.request_id(), Some("r1"));
    }

    #[test]
    fn every_kind_is_written_so_that_its_status_reads_back() {
        for kind in Kind::ALL {
            let error = Error::new(kind, "what happened").with_param("x");
            let body = serde_json::to_vec(&body(&error)).unwrap();
            let back = decode(error.status(), &HeaderMap::new(), &body);
            assert_eq!(back.message(), "what happened");
            assert_eq!(back.provider_code(), Some(kind.code().to_ascii_uppercase().as_str()));
        }
    }
}
