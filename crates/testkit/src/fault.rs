//! A refusal, and how each dialect words it.

use serde_json::{Value, json};

use crate::route::Speaks;

/// Why a request was refused, and with which status.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// HTTP status, 400 or more.
    pub status: u16,
    /// The vendor's sentence.
    pub message: String,
    /// The field at fault, in the dialect's words (OpenAI's `param`).
    pub param: Option<String>,
    /// OpenAI's `code`.
    pub code: Option<String>,
    /// Headers beside the usual ones, such as `retry-after`.
    pub headers: Vec<(String, String)>,
}

impl Fault {
    /// A refusal with `status`.
    pub fn new(status: u16, message: impl Into<String>) -> Fault {
        Fault { status, message: message.into(), param: None, code: None, headers: Vec::new() }
    }

    /// A 400: the request is at fault.
    pub fn invalid(message: impl Into<String>) -> Fault {
        Fault::new(400, message)
    }

    /// Names the field at fault.
    #[must_use]
    pub fn at(mut self, param: impl Into<String>) -> Fault {
        self.param = Some(param.into());
        self
    }

    /// Sets OpenAI's `code`.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Fault {
        self.code = Some(code.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Fault {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The error body in the words of `speaks`.
    pub fn body(&self, speaks: Speaks, request_id: &str) -> Value {
        match speaks {
            Speaks::OpenAi => json!({"error": {
                "message": self.message, "type": openai_type(self.status), "param": self.param, "code": self.code,
            }}),
            Speaks::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_type(self.status), "message": self.message},
                "request_id": request_id,
            }),
            Speaks::Bedrock => json!({"message": self.message}),
            Speaks::Gemini => {
                let mut error = json!({"code": self.status, "message": self.message, "status": gemini_status(self.status)});
                let wait = self.headers.iter().find(|(name, _)| name == "retry-after");
                if let (Some((_, seconds)), Some(error)) = (wait, error.as_object_mut()) {
                    let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")});
                    error.insert("details".to_owned(), json!([info]));
                }
                json!({"error": error})
            }
        }
    }
}

/// OpenAI's `error.type` for a status.
fn openai_type(status: u16) -> &'static str {
    match status {
        429 => "rate_limit_exceeded",
        503 => "service_unavailable_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// Anthropic's `error.type` for a status. Source: the vendor's error page and SDK types.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Google's canonical status name for an HTTP status.
fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, speaks: Speaks, path: &str, expected: &str) {
        let body = Fault::new(status, "no").body(speaks, "req_1");
        assert_eq!(body.pointer(path).and_then(Value::as_str), Some(expected), "{body}");
    }

    #[test]
    fn every_dialect_words_a_status_its_own_way() {
        check(400, Speaks::OpenAi, "/error/type", "invalid_request_error");
        check(429, Speaks::OpenAi, "/error/type", "rate_limit_exceeded");
        check(500, Speaks::OpenAi, "/error/type", "server_error");
        check(529, Speaks::Anthropic, "/error/type", "overloaded_error");
        check(500, Speaks::Anthropic, "/error/type", "api_error");
        check(500, Speaks::Anthropic, "/request_id", "req_1");
        check(429, Speaks::Gemini, "/error/status", "RESOURCE_EXHAUSTED");
        check(400, Speaks::Gemini, "/error/status", "INVALID_ARGUMENT");
    }

    #[test]
    fn gemini_says_in_the_body_how_long_to_wait() {
        let body = Fault::new(429, "slow").header("retry-after", "7").body(Speaks::Gemini, "");
        assert_eq!(body.pointer("/error/details/0/retryDelay"), Some(&json!("7s")));
    }
}
