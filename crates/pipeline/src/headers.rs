//! Headers of answers, as LiteLLM's users read them.

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The version shown in `x-litellm-version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: HeaderName = HeaderName::from_static($text);)*
    };
}

names! {
    CALL_ID = "x-litellm-call-id";
    MODEL_ID = "x-litellm-model-id";
    MODEL_GROUP = "x-litellm-model-group";
    MODEL_API_BASE = "x-litellm-model-api-base";
    COST = "x-litellm-response-cost";
    DURATION = "x-litellm-response-duration-ms";
    OVERHEAD = "x-litellm-overhead-duration-ms";
    KEY_SPEND = "x-litellm-key-spend";
    KEY_MAX_BUDGET = "x-litellm-key-max-budget";
    KEY_TPM = "x-litellm-key-tpm-limit";
    KEY_RPM = "x-litellm-key-rpm-limit";
    RETRIES = "x-litellm-attempted-retries";
    MAX_RETRIES = "x-litellm-max-retries";
    FALLBACKS = "x-litellm-attempted-fallbacks";
    FALLBACK_ERRORS = "x-litellm-fallback-errors";
    LITELLM_VERSION = "x-litellm-version";
    RECEIPT = "x-tollway-receipt";
    NOTICES = "x-tollway-notices";
    ACCEL_BUFFERING = "x-accel-buffering";
    REQUEST_ID = "x-request-id";
    ANTHROPIC_REQUEST_ID = "request-id";
    SHOULD_RETRY = "x-should-retry";
}

/// Provider headers known under both names, so that the usual ones cost no allocation.
static PREFIXED: LazyLock<RwLock<HashMap<HeaderName, HeaderName>>> = LazyLock::new(RwLock::default);

/// Bounds the memory that providers with ever-new header names could take.
const MAX_PREFIXED: usize = 512;

/// Longer names are not remembered.
const MAX_REMEMBERED_NAME: usize = 64;

/// Headers about the connection between the gateway and the provider; they say nothing to a client.
fn is_transport(name: &HeaderName) -> bool {
    use http::header as h;
    [
        h::CONNECTION,
        h::CONTENT_LENGTH,
        h::CONTENT_ENCODING,
        h::TRANSFER_ENCODING,
        h::TRAILER,
        h::UPGRADE,
        h::DATE,
        h::SET_COOKIE,
        h::ALT_SVC,
        h::STRICT_TRANSPORT_SECURITY,
        h::PROXY_AUTHENTICATE,
    ]
    .contains(name)
        || name == "keep-alive"
}

/// Copies a provider's headers as `llm_provider-<name>`, and the rate limits under their own names, too.
pub(crate) fn copy_provider_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if is_transport(name) {
            continue;
        }
        if let Some(prefixed) = prefixed(name) {
            to.append(prefixed, value.clone());
        }
        if name.as_str().starts_with("x-ratelimit-") {
            to.append(name.clone(), value.clone());
        }
    }
}

fn prefixed(name: &HeaderName) -> Option<HeaderName> {
    if let Some(known) = PREFIXED.read().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Some(known.clone());
    }
    let made = HeaderName::try_from(format!("llm_provider-{name}")).ok()?;
    if name.as_str().len() > MAX_REMEMBERED_NAME {
        return Some(made);
    }
    let mut known = PREFIXED.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MAX_PREFIXED {
        known.insert(name.clone(), made.clone());
    }
    Some(made)
}

/// Sets a header unless its text cannot stand in one.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}

/// The text of `x-tollway-notices`: `field: message; field: message`, in ASCII and bounded.
pub(crate) fn notices_text<'a>(notices: impl Iterator<Item = &'a tollway_model::Notice>) -> String {
    const LIMIT: usize = 2000;
    let mut text = String::new();
    for notice in notices {
        if text.len() > LIMIT {
            text.push_str("; …");
            break;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&notice.field);
        text.push_str(": ");
        text.push_str(&notice.message);
    }
    ascii(&text)
}

/// The text of `x-litellm-fallback-errors`: a JSON list of the groups that failed, in ASCII and bounded.
pub(crate) fn failures_text<'a>(
    failures: impl Iterator<Item = (&'a str, &'a tollway_model::Error)>,
) -> String {
    let list: Vec<serde_json::Value> = failures
        .map(|(group, error)| {
            let message: String = error.message().chars().take(200).collect();
            let kind = error.kind().code();
            serde_json::json!({ "model_group": group, "status": error.status(), "kind": kind, "message": message })
        })
        .collect();
    ascii(&serde_json::Value::from(list).to_string())
}

fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_headers_get_a_prefix_and_transport_headers_stay_behind() {
        let mut from = HeaderMap::new();
        from.insert("x-ratelimit-remaining-requests", HeaderValue::from_static("9"));
        from.insert("request-id", HeaderValue::from_static("req_1"));
        from.insert("connection", HeaderValue::from_static("close"));
        from.insert("set-cookie", HeaderValue::from_static("a=b"));
        let mut to = HeaderMap::new();
        copy_provider_headers(&from, &mut to);
        copy_provider_headers(&HeaderMap::new(), &mut to);
        let mut names: Vec<_> = to.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "llm_provider-request-id",
                "llm_provider-x-ratelimit-remaining-requests",
                "x-ratelimit-remaining-requests"
            ]
        );
    }
}
