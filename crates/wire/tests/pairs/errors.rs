//! Failures: as providers word them, to every client, whole and in the middle of a stream.

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tollway_model::{Dialect, Error, Event, Kind, Retry};
use tollway_wire::codec;

use crate::support::{CHATS, frames, shown};

/// Status, body, and what they mean.
type Case = (u16, Value, Kind, fn(Retry) -> bool);

fn check(dialect: Dialect, status: u16, body: &Value, kind: Kind, retry: fn(Retry) -> bool) {
    let error = codec(dialect).decode_error(status, &HeaderMap::new(), body.to_string().as_bytes());
    assert_eq!(error.kind(), kind, "{dialect} {status}: {body}");
    assert!(retry(error.retry()), "{dialect} {status}: {:?}: {body}", error.retry());
}

fn never(retry: Retry) -> bool {
    retry == Retry::Never
}
fn elsewhere(retry: Retry) -> bool {
    retry == Retry::Elsewhere
}
fn later(retry: Retry) -> bool {
    matches!(retry, Retry::Later(_))
}

#[test]
fn openais_failures_are_understood() {
    let error = |message: &str, kind: &str, code: Value| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    let cases: [Case; 15] = [
        (
            401,
            error("Incorrect API key provided: sk-x.", "invalid_request_error", json!("invalid_api_key")),
            Kind::Authentication,
            elsewhere,
        ),
        (
            403,
            error("Your account may not.", "insufficient_permissions", Value::Null),
            Kind::Permission,
            elsewhere,
        ),
        (
            404,
            error(
                "The model `x` does not exist or you do not have access to it.",
                "invalid_request_error",
                json!("model_not_found"),
            ),
            Kind::NotFound,
            elsewhere,
        ),
        (
            400,
            error(
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
                "invalid_request_error",
                json!("context_length_exceeded"),
            ),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error(
                "Your input exceeds the context window of this model. Please adjust your input and try again.",
                "invalid_request_error",
                json!("context_length_exceeded"),
            ),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error(
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
                "invalid_request_error",
                json!("context_length_exceeded"),
            ),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            json!({"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", "type": "BadRequestError", "param": null, "code": 400}),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error(
                "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                "",
                json!("content_filter"),
            ),
            Kind::ContentPolicy,
            elsewhere,
        ),
        (
            400,
            error(
                "Your request was rejected as a result of our safety system.",
                "invalid_request_error",
                json!("content_policy_violation"),
            ),
            Kind::ContentPolicy,
            elsewhere,
        ),
        (
            400,
            error(
                "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
                "invalid_request_error",
                json!("invalid_prompt"),
            ),
            Kind::ContentPolicy,
            elsewhere,
        ),
        (
            400,
            error(
                "Unsupported value: 'temperature' does not support 0.2 with this model.",
                "invalid_request_error",
                json!("unsupported_value"),
            ),
            Kind::InvalidRequest,
            never,
        ),
        (
            429,
            error(
                "Rate limit reached for gpt-5 on tokens per min (TPM)",
                "tokens",
                json!("rate_limit_exceeded"),
            ),
            Kind::RateLimit,
            later,
        ),
        (
            429,
            error(
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                json!("insufficient_quota"),
            ),
            Kind::RateLimit,
            elsewhere,
        ),
        (
            500,
            error("The server had an error while processing your request.", "server_error", Value::Null),
            Kind::Upstream,
            later,
        ),
        (
            503,
            error("The engine is currently overloaded, please try again later", "server_error", Value::Null),
            Kind::Overloaded,
            later,
        ),
    ];
    for (status, body, kind, retry) in cases {
        check(Dialect::OpenaiChat, status, &body, kind, retry);
    }
}

#[test]
fn anthropics_failures_are_understood() {
    let error = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    let cases: [Case; 13] = [
        (401, error("authentication_error", "invalid x-api-key"), Kind::Authentication, elsewhere),
        (403, error("permission_error", "no"), Kind::Permission, elsewhere),
        (404, error("not_found_error", "model: claude-x"), Kind::NotFound, elsewhere),
        (413, error("request_too_large", "Request exceeds the maximum size"), Kind::TooLarge, never),
        (
            400,
            error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error(
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens` and try again",
            ),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error("invalid_request_error", "Output blocked by content filtering policy"),
            Kind::ContentPolicy,
            elsewhere,
        ),
        (
            400,
            error(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
            ),
            Kind::Payment,
            elsewhere,
        ),
        (400, error("invalid_request_error", "messages: roles must alternate"), Kind::InvalidRequest, never),
        (402, error("billing_error", "pay"), Kind::Payment, elsewhere),
        (429, error("rate_limit_error", "slow down"), Kind::RateLimit, later),
        (500, error("api_error", "Internal server error"), Kind::Upstream, later),
        (529, error("overloaded_error", "Overloaded"), Kind::Overloaded, later),
    ];
    for (status, body, kind, retry) in cases {
        check(Dialect::Anthropic, status, &body, kind, retry);
    }
}

#[test]
fn geminis_failures_are_understood() {
    let error = |code: u16, status: &str, message: &str| json!({"error": {"code": code, "message": message, "status": status}});
    let cases: [Case; 10] = [
        (
            400,
            error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            Kind::Authentication,
            elsewhere,
        ),
        (403, error(403, "PERMISSION_DENIED", "no"), Kind::Permission, elsewhere),
        (
            404,
            error(404, "NOT_FOUND", "models/x is not found for API version v1beta"),
            Kind::NotFound,
            elsewhere,
        ),
        (
            400,
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            Kind::ContextWindow,
            elsewhere,
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified"),
            Kind::InvalidRequest,
            never,
        ),
        (
            400,
            error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
            Kind::InvalidRequest,
            elsewhere,
        ),
        (
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            Kind::RateLimit,
            later,
        ),
        (500, error(500, "INTERNAL", "An internal error has occurred."), Kind::Upstream, later),
        (
            503,
            error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            Kind::Overloaded,
            later,
        ),
        (
            504,
            error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
            Kind::Timeout,
            later,
        ),
    ];
    for (status, body, kind, retry) in cases {
        check(Dialect::Gemini, status, &body, kind, retry);
    }
}

#[test]
fn pauses_and_request_ids_are_kept() {
    for dialect in CHATS {
        for (name, value, seconds) in [("retry-after", "7", 7.0), ("retry-after-ms", "1500", 1.5)] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            headers.insert("x-request-id", HeaderValue::from_static("req_7"));
            let error = codec(dialect).decode_error(429, &headers, b"{}");
            let Retry::Later(Some(pause)) = error.retry() else { panic!("{dialect}: {:?}", error.retry()) };
            assert_eq!(pause.as_secs_f64(), seconds, "{dialect}");
            assert_eq!(error.request_id(), Some("req_7"), "{dialect}");
        }
        for body in ["", "<html>502</html>", "null", "[]", "{\"error\":null}", "\"x\"", "{\"detail\":\"x\"}"]
        {
            let error = codec(dialect).decode_error(502, &HeaderMap::new(), body.as_bytes());
            assert!(later(error.retry()) && !error.message().is_empty(), "{dialect}: {body}: {error:?}");
            assert!(!error.message().contains('<'), "{dialect}: {error}");
        }
    }
}

/// Status, and the words by which the official clients choose their exception.
fn shown_as(surface: Dialect, error: &Error) -> (u16, String) {
    let body: Value = serde_json::from_slice(&codec(surface).encode_error(error)).unwrap();
    let inner = &body["error"];
    assert!(!inner["message"].as_str().unwrap().is_empty(), "{body}");
    let word = match surface {
        Dialect::Gemini => {
            assert_eq!(inner["code"], json!(error.status()), "{body}");
            inner["status"].as_str().unwrap()
        }
        Dialect::Anthropic => {
            assert_eq!(body["type"], "error");
            inner["type"].as_str().unwrap()
        }
        _ => {
            assert!(
                inner["type"].is_string() && inner.get("param").is_some() && inner.get("code").is_some(),
                "{body}"
            );
            inner["code"].as_str().unwrap()
        }
    };
    (error.status(), word.to_owned())
}

#[test]
fn every_kind_is_shown_in_every_clients_words() {
    let anthropic = [
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "overloaded_error",
        "timeout_error",
        "billing_error",
    ];
    for kind in Kind::ALL {
        let error = Error::new(kind, "what was wrong");
        for surface in CHATS {
            let (status, word) = shown_as(surface, &error);
            assert_eq!(status, kind.status(), "{kind:?}");
            match surface {
                Dialect::Anthropic => assert!(anthropic.contains(&word.as_str()), "{kind:?}: {word}"),
                Dialect::Gemini => {
                    assert!(word.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{word}")
                }
                // LiteLLM's clients read the status there; two kinds have words that OpenAI's clients look for.
                _ if matches!(kind, Kind::ContextWindow | Kind::ContentPolicy) => {
                    assert_eq!(word, kind.code())
                }
                _ => assert_eq!(word, kind.status().to_string()),
            }
            // What one gateway says, another behind it understands.
            let body = codec(surface).encode_error(&error);
            let read = codec(surface).decode_error(status, &HeaderMap::new(), &body);
            // Claude Code knows a full context window by the words that precede it.
            assert!(read.message().ends_with("what was wrong"), "{surface}: {read}");
            assert_eq!(read.status(), status, "{surface} {kind:?} became {:?}", read.kind());
        }
    }
}

#[test]
fn a_context_window_is_recognised_by_every_clients_agent() {
    let error = codec(Dialect::Gemini).decode_error(
        400,
        &HeaderMap::new(),
        br#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}"#,
    );
    assert_eq!(shown_as(Dialect::OpenaiChat, &error), (400, "context_length_exceeded".to_owned()));
    assert_eq!(shown_as(Dialect::Anthropic, &error), (400, "invalid_request_error".to_owned()));
    assert_eq!(shown_as(Dialect::Gemini, &error), (400, "INVALID_ARGUMENT".to_owned()));
}

#[test]
fn a_stream_that_breaks_says_so_in_the_clients_dialect() {
    for surface in CHATS {
        for error in [Error::new(Kind::Overloaded, "busy"), Error::new(Kind::RateLimit, "slow")] {
            let start = Event::Start { id: "r".to_owned(), model: "m".to_owned(), created: None };
            let bytes = shown(surface, &[start, Event::Error(error.clone())]);
            let all = frames(&bytes);
            let last = all.last().unwrap();
            if surface == Dialect::OpenaiResponses {
                crate::responses::grammar(&bytes);
            }
            let told = if surface == Dialect::OpenaiResponses { &last["response"] } else { last };
            assert_eq!(told["error"]["message"], error.message(), "{surface}: {last}");
            if surface == Dialect::Anthropic {
                assert_eq!(last["type"], "error");
                assert!(String::from_utf8_lossy(&bytes).contains("event: error\n"));
            }
        }
    }
}
