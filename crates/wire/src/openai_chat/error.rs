//! Errors: what OpenAI-speaking hosts answer, and what clients get.
//!
//! Hosts agree on `{"error":{…}}` only roughly: lists of validation details, bare strings, Azure's `innererror` and
//! pages of HTML all become one readable message. Towards clients `code` is the status as text, which LiteLLM's users
//! test, except where the provider or the kind has a telling code of its own; `kind` always names our kind.

#[cfg(test)]
mod tests;

use std::time::Duration;

use http::HeaderMap;
use tollway_model::{Error, Kind, Origin, Retry};

use super::read::{self, Object, Raw};
use super::write;
use crate::pause;

/// Longest message taken over from a provider.
const MAX_MESSAGE: usize = 4000;

/// How far down a message is looked for: a provider's answer must not exhaust the stack.
const MAX_NESTING: u8 = 6;

/// Reads a failed answer.
pub(crate) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let mut fault = match serde_json::from_str::<Raw<'_>>(&text) {
        Ok(raw) => Fault::of(raw, MAX_NESTING),
        Err(_) => Fault { message: plain_text(&text), ..Fault::default() },
    };
    if fault.message.is_empty() {
        fault.message = format!("the provider answered with status {status} and no message");
    }
    let mut error = fault.into_error(status, pause::asked(headers)).with_status(status);
    let id = ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"]
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok());
    if let Some(id) = id {
        error = error.with_request_id(id);
    }
    error
}

/// Reads an error that arrived inside a 200: a frame of a stream, or a whole body.
pub(crate) fn embedded(raw: Raw<'_>) -> Error {
    let fault = Fault::of(raw, MAX_NESTING);
    let status = fault.status().unwrap_or(502);
    let error = fault.into_error(status, None);
    // A client has the status 200 already, or gets this one for a whole answer.
    if (400..600).contains(&status) { error.with_status(status) } else { error }
}

/// MiniMax answers failures with HTTP 200 and a status of its own.
pub(super) fn base_resp(fields: &mut Object<'_>) -> Option<Error> {
    let mut inner = fields.object("base_resp")?;
    let code = inner.count("status_code");
    if code == 0 {
        return None;
    }
    let status = match code {
        1002 | 1039 | 1041 | 2045 => 429,
        1004 | 2049 => 401,
        1008 => 402,
        1026 | 1027 | 1042 | 2013 => 400,
        1001 => 504,
        _ => 502,
    };
    let message = inner.text("status_msg").unwrap_or_default().into_owned();
    let code_text = matches!(code, 1026 | 1027).then(|| "content_filter".to_owned());
    let fault = Fault { message, code: code_text.or(Some(code.to_string())), ..Fault::default() };
    Some(fault.into_error(status, None).with_status(status))
}

#[derive(Debug, Default)]
struct Fault {
    message: String,
    code: Option<String>,
    kind: Option<String>,
    param: Option<String>,
    /// Azure's inner error says that a content filter refused.
    filtered: bool,
}

impl Fault {
    /// `raw` is the body, or the value of its `error`.
    fn of(raw: Raw<'_>, levels: u8) -> Fault {
        let Some(deeper) = levels.checked_sub(1) else { return Fault::default() };
        if let Some(items) = read::list(raw) {
            // Gemini's compatible endpoint wraps the error in a list.
            let first = items.first().filter(|item| read::is_object(item));
            return first
                .map(|item| Fault::of(item, deeper))
                .unwrap_or(Fault { message: readable(raw, deeper), ..Fault::default() });
        }
        let Some(mut fields) = Object::parse(raw.get()) else {
            return Fault { message: readable(raw, deeper), ..Fault::default() };
        };
        let inner = fields.get("error").filter(|inner| read::is_object(inner));
        let mut fault = inner.map(|inner| Fault::of(inner, deeper)).unwrap_or_default();
        if fault.message.is_empty() {
            let named =
                ["message", "error", "detail", "error_message", "errors", "msg", "title", "error_msg"];
            fault.message = named
                .iter()
                .filter_map(|key| fields.take(key))
                .map(|raw| readable(raw, deeper))
                .find(|message| !message.is_empty())
                .unwrap_or_default();
        }
        let inner_code = fields.object("innererror").and_then(|mut inner| word(&mut inner, "code"));
        fault.filtered |= inner_code.is_some_and(|code| code.contains("PolicyViolation"));
        let own = word(&mut fields, "code").or_else(|| word(&mut fields, "status_code"));
        fault.code = fault.code.or(own);
        let kind = word(&mut fields, "type").or_else(|| word(&mut fields, "error_type"));
        // Google's `status` is a word; Azure's is the HTTP status once more.
        let status = word(&mut fields, "status").filter(|word| word.parse::<i64>().is_err());
        fault.kind = fault.kind.or(kind).or(status);
        fault.param = fault.param.or_else(|| word(&mut fields, "param"));
        // OpenRouter and others keep the upstream's words in metadata.
        if let Some(mut metadata) = fields.object("metadata")
            && let Some(raw) = metadata.text("raw").filter(|raw| !raw.is_empty())
        {
            fault.message = format!("{}: {}", fault.message, clip(&raw));
        }
        if let Some(failed) = fields.text("failed_generation").filter(|text| !text.is_empty()) {
            fault.message = format!("{} (the model wrote: {})", fault.message, clip(&failed));
        }
        fault.message = clip(&fault.message).to_owned();
        fault
    }

    /// The status an error inside a 200 stands for.
    fn status(&self) -> Option<u16> {
        let number = self.code.as_deref().and_then(|code| code.parse::<u16>().ok());
        if let Some(status) = number.filter(|status| (400..600).contains(status)) {
            return Some(status);
        }
        let words = format!("{} {}", self.code.as_deref().unwrap_or(""), self.kind.as_deref().unwrap_or(""));
        let words = words.to_ascii_lowercase();
        let table = [
            ("rate_limit", 429),
            ("resource_exhausted", 429),
            ("insufficient_quota", 429),
            ("invalid_api_key", 401),
            ("authentication", 401),
            ("permission", 403),
            ("not_found", 404),
            ("overloaded", 503),
            ("unavailable", 503),
            ("timeout", 504),
            ("deadline", 504),
            ("invalid_request", 400),
            ("context_length", 400),
            ("content_filter", 400),
            ("tool_use_failed", 400),
        ];
        table.iter().find(|(word, _)| words.contains(word)).map(|(_, status)| *status)
    }

    fn into_error(self, status: u16, retry_after: Option<Duration>) -> Error {
        let kind = self.kind_for(status);
        let retry = match (kind, status) {
            (Kind::ContextWindow | Kind::ContentPolicy | Kind::Payment, _) | (_, 401..=404) => {
                Retry::Elsewhere
            }
            _ if self.code.as_deref() == Some("insufficient_quota") => Retry::Elsewhere,
            (_, 408 | 409 | 424 | 425 | 429 | 500..) => Retry::Later(retry_after),
            (Kind::Authentication, _) => Retry::Elsewhere,
            _ => Retry::Never,
        };
        let mut error = Error::new(kind, self.message)
            .with_origin(Origin::Upstream)
            .with_retry(retry)
            .with_provider(self.code, self.kind);
        if let Some(param) = self.param {
            error = error.with_param(param);
        }
        error
    }

    fn kind_for(&self, status: u16) -> Kind {
        let text = self.message.to_ascii_lowercase();
        let code = self.code.as_deref().unwrap_or_default().to_ascii_lowercase();
        if is_context_window(&text, &code) {
            return Kind::ContextWindow;
        }
        if self.filtered || is_content_policy(&text, &code) {
            return Kind::ContentPolicy;
        }
        match status {
            400 if text.contains("api key not valid") || code == "invalid_api_key" => Kind::Authentication,
            401 => Kind::Authentication,
            402 => Kind::Payment,
            403 => Kind::Permission,
            404 => Kind::NotFound,
            405 => Kind::MethodNotAllowed,
            408 | 504 => Kind::Timeout,
            409 => Kind::Conflict,
            413 => Kind::TooLarge,
            424 => Kind::Upstream,
            429 => Kind::RateLimit,
            503 | 529 => Kind::Overloaded,
            400..=499 => Kind::InvalidRequest,
            _ => Kind::Upstream,
        }
    }
}

/// Does the provider say that the prompt does not fit? `text` and `code` in lower case.
fn is_context_window(text: &str, code: &str) -> bool {
    const SIGNS: [&str; 11] = [
        "maximum context length",
        "model's maximum context limit",
        "exceed context limit",
        "is longer than the model's context length",
        "input tokens exceed the configured limit",
        "`inputs` tokens + `max_new_tokens` must be",
        "exceeds the available context size",
        "exceeds the maximum number of tokens allowed",
        "prompt is too long",
        "input is too long",
        "context window",
    ];
    if text.contains("string_above_max_length")
        || (text.contains("invalid 'user") && text.contains("too long"))
    {
        return false;
    }
    matches!(code, "context_length_exceeded" | "context_window_exceeded" | "model_max_prompt_tokens_exceeded")
        || SIGNS.iter().any(|sign| text.contains(sign))
        || (text.contains("current length is") && text.contains("while limit is"))
        || (text.contains("maximum input length is") && text.contains("tokens"))
}

/// Does the provider refuse on grounds of policy? `text` and `code` in lower case.
fn is_content_policy(text: &str, code: &str) -> bool {
    matches!(code, "content_policy_violation" | "content_filter" | "responsibleaipolicyviolation")
        || [
            "content management policy",
            "safety system",
            "the model produced invalid content",
            "violating our usage policy",
            "limited access to this content for safety reasons",
        ]
        .iter()
        .any(|sign| text.contains(sign))
}

/// A string or number as text.
fn word(fields: &mut Object<'_>, key: &str) -> Option<String> {
    let raw = fields.take(key)?;
    match read::text(raw) {
        Some(text) => Some(text.into_owned()).filter(|text| !text.is_empty()),
        None => raw.get().parse::<i64>().ok().map(|number| number.to_string()),
    }
}

/// Any value as something a person can read.
fn readable(raw: Raw<'_>, levels: u8) -> String {
    let Some(deeper) = levels.checked_sub(1) else { return String::new() };
    if let Some(text) = read::text(raw) {
        return text.into_owned();
    }
    if let Some(items) = read::list(raw) {
        let lines: Vec<_> =
            items.into_iter().map(|raw| readable(raw, deeper)).filter(|line| !line.is_empty()).collect();
        return lines.join("; ");
    }
    let Some(mut fields) = Object::parse(raw.get()) else { return raw.get().to_owned() };
    let said = ["msg", "message", "detail", "error"]
        .iter()
        .find_map(|key| fields.take(key))
        .map(|raw| readable(raw, deeper));
    let place: Vec<_> = fields
        .list("loc")
        .into_iter()
        .map(|step| read::text(step).map_or_else(|| step.get().to_owned(), |text| text.into_owned()))
        .collect();
    match said {
        Some(said) if place.is_empty() => said,
        Some(said) => format!("{}: {said}", place.join(".")),
        None => raw.get().to_owned(),
    }
}

fn plain_text(text: &str) -> String {
    let text = text.trim();
    if text.starts_with('<') {
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        return title.map_or_else(String::new, |(title, _)| clip(title.trim()).to_owned());
    }
    clip(text).to_owned()
}

fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_MESSAGE)).unwrap_or(text)
}

/// Writes an error for a client.
pub(crate) fn encode(error: &Error) -> Vec<u8> {
    let mut body = Vec::with_capacity(160 + error.message().len());
    let kind = error.kind();
    // Gemini's words are in capitals; clients of this dialect compare with words in small letters.
    let ours = |word: &&str| !word.bytes().any(|byte| byte.is_ascii_uppercase());
    let own_code = error.provider_code().filter(|code| code.parse::<i64>().is_err()).filter(ours);
    let status = error.status().to_string();
    let code = match (own_code, kind) {
        (Some(code), _) => code,
        (None, Kind::ContextWindow | Kind::ContentPolicy) => kind.code(),
        _ => &status,
    };
    write::object(&mut body, |map| {
        map.map("error", |map| {
            map.str("message", error.message());
            map.str("type", error.provider_type().filter(ours).unwrap_or(kind.wire().1));
            match error.param() {
                Some(param) => map.str("param", param),
                None => map.null("param"),
            }
            map.str("code", code);
            map.str("kind", kind.code());
            // Clients of LiteLLM find the refusal of a model there, too.
            if code == UNKNOWN_MODEL && error.origin() != Origin::Upstream {
                map.map("provider_specific_fields", |map| map.str("error", error.message()));
            }
        });
    });
    body
}

/// The code of a model that nobody serves.
const UNKNOWN_MODEL: &str = "model_not_found";
