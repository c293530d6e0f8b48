//! The response object that clients get: around the items, every field the official clients expect.

use tollway_model::{Error, FinishReason, Kind, RawJson, Usage};

use super::usage;
use crate::openai_chat::write::Map;

/// What a response object says beside its items.
#[derive(Default)]
pub(super) struct Shell {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: i64,
    pub(super) usage: Option<Usage>,
    pub(super) service_tier: Option<String>,
    /// Fields of a provider that speaks this dialect, in place of the defaults.
    pub(super) extras: Vec<(String, RawJson)>,
}

/// How far a response is.
pub(super) enum Status<'a> {
    InProgress,
    Ended(Option<FinishReason>),
    Failed(&'a Error),
}

impl Status<'_> {
    /// The event that ends a stream so.
    pub(super) fn event(&self) -> &'static str {
        match self {
            Status::InProgress => "response.in_progress",
            Status::Failed(_) | Status::Ended(Some(FinishReason::Error)) => "response.failed",
            Status::Ended(finish) if reason(*finish).is_some() => "response.incomplete",
            Status::Ended(_) => "response.completed",
        }
    }

    pub(super) fn word(&self) -> &'static str {
        self.event().strip_prefix("response.").unwrap_or_default()
    }
}

/// Why a response is incomplete; `None` when it is complete.
pub(super) fn reason(finish: Option<FinishReason>) -> Option<&'static str> {
    match finish {
        Some(FinishReason::Length | FinishReason::ContextWindow) => Some("max_output_tokens"),
        Some(FinishReason::ContentFilter | FinishReason::Refusal) => Some("content_filter"),
        _ => None,
    }
}

/// Fields that every response object has, with what they say when nobody says more.
const DEFAULTS: [(&str, &str); 15] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("store", "false"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
    ("metadata", "{}"),
];

impl Shell {
    /// Writes the members of the object. `items` is the inside of the list of output items.
    pub(super) fn write(&self, status: &Status<'_>, items: &[u8], map: &mut Map<'_>) {
        let given = |key: &str| self.extras.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        map.str("id", &self.id);
        map.str("object", "response");
        map.int("created_at", self.created);
        match (status, given("status")) {
            (Status::Ended(None), Some(status)) => map.raw("status", status),
            _ => map.str("status", status.word()),
        }
        match status {
            Status::Failed(error) => map.map("error", |map| {
                map.str("code", code(error));
                map.str("message", error.message());
            }),
            Status::Ended(Some(FinishReason::Error)) => map.map("error", |map| {
                map.str("code", "server_error");
                map.str("message", "the provider broke the answer off");
            }),
            _ => map.null("error"),
        }
        let reason = match status {
            Status::Ended(finish) => reason(*finish),
            _ => None,
        };
        match reason {
            Some(reason) => map.map("incomplete_details", |map| map.str("reason", reason)),
            None => map.null("incomplete_details"),
        }
        map.str("model", &self.model);
        let output = map.key("output");
        output.push(b'[');
        output.extend_from_slice(items);
        output.push(b']');
        for (key, default) in DEFAULTS {
            map.literal(key, given(key).map_or(default, RawJson::get));
        }
        if let Some(tier) = &self.service_tier {
            map.str("service_tier", tier);
        }
        let ended = matches!(status, Status::Ended(_) | Status::Failed(_));
        match self.usage.filter(|_| ended) {
            Some(used) => map.map("usage", |map| usage::encode(&used, map)),
            None => map.null("usage"),
        }
        let known = |key: &str| key == "status" || DEFAULTS.iter().any(|(name, _)| *name == key);
        for (key, value) in self.extras.iter().filter(|(key, _)| !known(key)) {
            map.raw(key, value);
        }
    }
}

/// The word by which clients tell failures apart.
fn code(error: &Error) -> &str {
    let own = error.provider_code().filter(|code| {
        !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    match (own, error.kind()) {
        (Some(code), _) => code,
        (None, Kind::RateLimit) => "rate_limit_exceeded",
        (None, Kind::InvalidRequest | Kind::Unsupported) => "invalid_prompt",
        (None, Kind::ContextWindow | Kind::ContentPolicy | Kind::Authentication | Kind::Permission) => {
            error.kind().code()
        }
        (None, _) => "server_error",
    }
}
