//! Errors, both ways: `{"message"}`, with the type in the header `x-amzn-errortype`.

use http::HeaderMap;
use serde::Serialize;
use tollway_model::{Error, Kind, Origin, Retry};

use crate::anthropic::read::{Object, Path};
use crate::pause;

/// Longest piece of an unreadable body that is shown.
const LONGEST_EXCERPT: usize = 300;

/// What the models behind the API write when the prompt does not fit; lower case.
const CONTEXT_WINDOW: [&str; 9] = [
    "input is too long",
    "prompt is too long",
    "too many input tokens",
    "maximum context length",
    "exceed context limit",
    "maximum context limit",
    "exceeds the context window",
    "exceeds the maximum number of tokens",
    "longer than the model's context length",
];

/// What they write when a policy refuses the prompt; lower case.
const CONTENT_POLICY: [&str; 3] = ["content filtering policy", "content filters", "content policy"];

/// What the API writes when this deployment names a model that it cannot serve; lower case.
const NO_SUCH_MODEL: [&str; 4] = [
    "model identifier is invalid",
    "on-demand throughput isn",
    "end of its life",
    "is not supported in this region",
];

/// Reads any answer that is not 2xx.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (in_body, message) = read(body);
    let kind = header("x-amzn-errortype").map(str::to_owned).or(in_body);
    let message = message.unwrap_or_else(|| excerpt(status, body));
    let mut error = build(kind.as_deref(), &message, Some(status));
    if let Retry::Later(_) = error.retry() {
        error = error.with_retry(Retry::Later(pause::asked(headers)));
    }
    match header("x-amzn-requestid").or_else(|| header("x-amz-request-id")) {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

/// Reads an exception of a stream, where there is no status.
pub(super) fn of_stream(kind: Option<&str>, payload: &[u8]) -> Error {
    let (_, message) = read(payload);
    build(kind, message.as_deref().unwrap_or("the provider gave no reason"), None)
}

/// Type and message of an error's body, as far as they are there.
fn read(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(mut object) = Object::parse_bytes(body) else { return (None, None) };
    let mut text = |name: &str| object.text(name, &Path::Root).ok().flatten().map(|text| text.into_owned());
    let kind = text("__type").or_else(|| text("code"));
    let message = text("message").or_else(|| text("Message")).or_else(|| text("originalMessage"));
    (kind, message.filter(|message| !message.is_empty()))
}

/// Makes an error of the API's type, in whichever form it is written, and message.
pub(super) fn build(kind: Option<&str>, message: &str, status: Option<u16>) -> Error {
    let kind = kind.map(plain_type);
    let (ours, usual) = kind.as_deref().and_then(of_type).unwrap_or_else(|| of_status(status.unwrap_or(500)));
    let ours = refine(ours, message);
    let message = if message.is_empty() { "the provider gave no reason" } else { message };
    let error = Error::new(ours, message).with_origin(Origin::Upstream).with_retry(retry(ours));
    let error = error.with_provider(None, kind);
    match status {
        Some(status) if (400..600).contains(&status) => error.with_status(status),
        _ => error.with_status(usual),
    }
}

/// `ThrottlingException` of `com.amazon.x#ThrottlingException:http://…` and of `throttlingException`.
fn plain_type(kind: &str) -> String {
    let kind = kind.split(':').next().unwrap_or(kind);
    let kind = kind.rsplit('#').next().unwrap_or(kind).trim();
    let mut letters = kind.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// The kind of a type, and the status it has where none is given.
fn of_type(kind: &str) -> Option<(Kind, u16)> {
    Some(match kind {
        "ValidationException" => (Kind::InvalidRequest, 400),
        "AccessDeniedException" => (Kind::Permission, 403),
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "SignatureDoesNotMatch"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken" => (Kind::Authentication, 403),
        "ResourceNotFoundException" => (Kind::NotFound, 404),
        "ModelTimeoutException" => (Kind::Timeout, 408),
        "ModelErrorException" | "ModelStreamErrorException" => (Kind::Upstream, 424),
        "ThrottlingException" | "TooManyRequestsException" => (Kind::RateLimit, 429),
        "ServiceQuotaExceededException" => (Kind::RateLimit, 400),
        "ModelNotReadyException" => (Kind::Overloaded, 429),
        "InternalServerException" | "InternalFailure" => (Kind::Upstream, 500),
        "ServiceUnavailableException" => (Kind::Overloaded, 503),
        _ => return None,
    })
}

fn of_status(status: u16) -> (Kind, u16) {
    let kind = match status {
        401 => Kind::Authentication,
        402 => Kind::Payment,
        403 => Kind::Permission,
        404 => Kind::NotFound,
        408 | 504 => Kind::Timeout,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        424 => Kind::Upstream,
        429 => Kind::RateLimit,
        503 => Kind::Overloaded,
        400..=499 => Kind::InvalidRequest,
        _ => Kind::Upstream,
    };
    (kind, status)
}

fn refine(kind: Kind, message: &str) -> Kind {
    let lower = message.to_lowercase();
    let says = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    match kind {
        Kind::InvalidRequest | Kind::TooLarge | Kind::Upstream if says(&CONTEXT_WINDOW) => {
            Kind::ContextWindow
        }
        Kind::InvalidRequest | Kind::Upstream if says(&CONTENT_POLICY) => Kind::ContentPolicy,
        Kind::InvalidRequest if says(&NO_SUCH_MODEL) => Kind::NotFound,
        // The account's own failure: its key, not its rights.
        Kind::Permission if lower.contains("security token") || lower.contains("api key") => {
            Kind::Authentication
        }
        _ => kind,
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
    if text.is_empty() || text.starts_with(['<', '{']) {
        return format!("the provider answered {status} without a reason");
    }
    let short: String = text.chars().take(LONGEST_EXCERPT).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("the provider answered {status}: {short}{more}")
}

/// Writes an error for a client. The type goes into a header, which is not this codec's business, so it is repeated.
pub(super) fn encode(error: &Error) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "__type")]
        kind: &'static str,
        message: &'a str,
    }
    // Strings only: writing cannot fail.
    serde_json::to_vec(&Body { kind: type_of(error.kind()), message: error.message() }).unwrap_or_default()
}

/// The API's type for a kind.
pub(super) fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Authentication => "UnrecognizedClientException",
        Kind::Permission | Kind::Payment | Kind::Budget => "AccessDeniedException",
        Kind::NotFound => "ResourceNotFoundException",
        Kind::Timeout => "ModelTimeoutException",
        Kind::RateLimit => "ThrottlingException",
        Kind::Overloaded | Kind::Unavailable => "ServiceUnavailableException",
        Kind::Connection | Kind::Upstream => "ModelErrorException",
        Kind::Internal | Kind::ClientClosed => "InternalServerException",
        _ => "ValidationException",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(status: u16, kind: &str, message: &str, expected: Kind, retry: Retry) {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-requestid", "req-1".parse().unwrap());
        headers.insert("retry-after", "7".parse().unwrap());
        let body = serde_json::json!({ "message": message }).to_string();
        if !kind.is_empty() {
            headers.insert("x-amzn-errortype", kind.parse().unwrap());
        }
        let error = decode(status, &headers, body.as_bytes());
        assert_eq!((error.kind(), error.retry()), (expected, retry), "{status} {kind} {message}");
        assert_eq!((error.origin(), error.status()), (Origin::Upstream, status));
        assert_eq!((error.request_id(), error.message()), (Some("req-1"), message));
    }

    #[test]
    fn types_statuses_and_words_become_kinds() {
        let later = Retry::Later(Some(Duration::from_secs(7)));
        check(
            400,
            "ValidationException:http://internal.amazon.com/coral/",
            "bad",
            Kind::InvalidRequest,
            Retry::Never,
        );
        check(
            400,
            "ValidationException",
            "Input is too long for requested model.",
            Kind::ContextWindow,
            Retry::Elsewhere,
        );
        check(
            400,
            "ValidationException",
            "The model returned: prompt is too long: 9 > 8",
            Kind::ContextWindow,
            Retry::Elsewhere,
        );
        check(
            400,
            "ValidationException",
            "The provided model identifier is invalid.",
            Kind::NotFound,
            Retry::Elsewhere,
        );
        check(
            400,
            "ValidationException",
            "Invocation of model ID x with on-demand throughput isn’t supported.",
            Kind::NotFound,
            Retry::Elsewhere,
        );
        check(400, "ServiceQuotaExceededException", "quota", Kind::RateLimit, later);
        check(403, "AccessDeniedException", "no access to the model", Kind::Permission, Retry::Elsewhere);
        check(
            403,
            "UnrecognizedClientException",
            "The security token is invalid.",
            Kind::Authentication,
            Retry::Elsewhere,
        );
        check(
            403,
            "",
            "The security token included in the request is expired",
            Kind::Authentication,
            Retry::Elsewhere,
        );
        check(404, "ResourceNotFoundException", "no model", Kind::NotFound, Retry::Elsewhere);
        check(408, "ModelTimeoutException", "slow", Kind::Timeout, later);
        check(424, "ModelErrorException", "oops", Kind::Upstream, later);
        check(429, "ThrottlingException", "Too many tokens, please wait.", Kind::RateLimit, later);
        check(429, "com.amazonaws.bedrock#ModelNotReadyException", "loading", Kind::Overloaded, later);
        check(500, "InternalServerException", "oops", Kind::Upstream, later);
        check(503, "ServiceUnavailableException", "busy", Kind::Overloaded, later);
        check(502, "", "gate", Kind::Upstream, later);
    }

    #[test]
    fn exceptions_of_streams_have_the_status_of_their_type() {
        let check = |kind: &str, expected: Kind, status: u16| {
            let error = of_stream(Some(kind), br#"{"message":"why"}"#);
            assert_eq!((error.kind(), error.status(), error.message()), (expected, status, "why"), "{kind}");
        };
        check("throttlingException", Kind::RateLimit, 429);
        check("modelStreamErrorException", Kind::Upstream, 424);
        check("internalServerException", Kind::Upstream, 500);
        check("validationException", Kind::InvalidRequest, 400);
        check("serviceUnavailableException", Kind::Overloaded, 503);
        check("somethingNew", Kind::Upstream, 500);
        assert_eq!(of_stream(None, b"<").message(), "the provider gave no reason");
    }

    #[test]
    fn unreadable_bodies_are_quoted_or_described() {
        let message = |body: &[u8]| decode(502, &HeaderMap::new(), body).message().to_owned();
        assert_eq!(message(b"<html>"), "the provider answered 502 without a reason");
        assert_eq!(message(b"{}"), "the provider answered 502 without a reason");
        assert_eq!(message(b"upstream gone"), "the provider answered 502: upstream gone");
        assert_eq!(message(br#"{"Message":"big M"}"#), "big M");
        let error = decode(400, &HeaderMap::new(), br#"{"__type":"x#ThrottlingException","message":"m"}"#);
        assert_eq!((error.kind(), error.provider_type()), (Kind::RateLimit, Some("ThrottlingException")));
    }

    #[test]
    fn every_kind_is_written_with_a_type_that_reads_back_as_a_failure() {
        for kind in Kind::ALL {
            let bytes = encode(&Error::new(kind, "why"));
            let back = decode(400, &HeaderMap::new(), &bytes);
            assert_eq!(back.message(), "why");
            assert!(of_type(type_of(kind)).is_some());
        }
    }
}
