//! What is looked for in the events of a stream, by searching bytes before anything is parsed.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;
use tollway_model::Dialect;

use crate::openai_responses::conversation::may_hold_response;

/// Does an event tell how the call ends?
pub(super) enum Interest {
    None,
    /// It repeats usage so far; worth keeping in case the stream is cut.
    Usage,
    Decode,
}

pub(super) fn interest(dialect: Dialect, event: &[u8]) -> Interest {
    match dialect {
        Dialect::Anthropic => {
            // `event: content_block_delta` is nearly all of a stream.
            if event.starts_with(b"event: content_block") || event.starts_with(b"event: ping") {
                Interest::None
            } else {
                Interest::Decode
            }
        }
        Dialect::Gemini => {
            if contains(event, &FINDERS.gemini_finish)
                || contains(event, &FINDERS.error)
                || contains(event, &FINDERS.gemini_block)
            {
                Interest::Decode
            } else if contains(event, &FINDERS.gemini_usage) {
                Interest::Usage
            } else {
                Interest::None
            }
        }
        Dialect::OpenaiResponses => {
            if may_hold_response(event) || contains(event, &FINDERS.error) {
                Interest::Decode
            } else {
                Interest::None
            }
        }
        _ => {
            let decode = has_object(event, &FINDERS.usage)
                || has_text(event, &FINDERS.finish_reason)
                || contains(event, &FINDERS.error)
                || (event.len() < 64 && contains(event, &FINDERS.done));
            if decode { Interest::Decode } else { Interest::None }
        }
    }
}

/// Can this be a whole event? One that its provider cut off in the middle would only break the client's reader.
pub(super) fn ends_like_json(event: &[u8]) -> bool {
    matches!(event.trim_ascii_end().last(), Some(b'}' | b']')) || event.starts_with(b":")
}

/// Searchers for the few keys that every event and answer is searched for; making one costs as much as a search.
pub(super) struct Finders {
    usage: Finder,
    pub(super) finish_reason: Finder,
    pub(super) stop_reason: Finder,
    pub(super) refusal: Finder,
    error: Finder,
    done: Finder,
    choices: Finder,
    model: Finder,
    pub(super) message_start: Finder,
    pub(super) gemini_finish: Finder,
    pub(super) gemini_call: Finder,
    pub(super) gemini_usage: Finder,
    gemini_block: Finder,
}

pub(super) type Finder = memmem::Finder<'static>;

pub(super) static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    usage: Finder::new("\"usage\""),
    finish_reason: Finder::new("\"finish_reason\""),
    stop_reason: Finder::new("\"stop_reason\""),
    refusal: Finder::new("\"refusal\""),
    error: Finder::new("\"error\""),
    done: Finder::new("[DONE]"),
    choices: Finder::new("\"choices\""),
    model: Finder::new("\"model\""),
    message_start: Finder::new("message_start"),
    gemini_finish: Finder::new("\"finishReason\""),
    gemini_call: Finder::new("\"functionCall\""),
    gemini_usage: Finder::new("\"usageMetadata\""),
    gemini_block: Finder::new("blockReason"),
});

pub(super) fn contains(haystack: &[u8], needle: &Finder) -> bool {
    needle.find(haystack).is_some()
}

/// Is the key's value an object (`"usage":null` stands in every chunk of some providers)?
fn has_object(event: &[u8], key: &Finder) -> bool {
    has_value(event, key, b'{')
}

fn has_text(event: &[u8], key: &Finder) -> bool {
    has_value(event, key, b'"')
}

/// Does a value of any of the keys (one for each choice) begin so?
fn has_value(event: &[u8], key: &Finder, first: u8) -> bool {
    key.find_iter(event).any(|at| {
        let rest = event.get(at + key.needle().len()..).unwrap_or_default();
        rest.iter().find(|byte| !matches!(byte, b' ' | b':')) == Some(&first)
    })
}

/// OpenAI's last chunk: usage and no choices.
pub(super) fn is_usage_only(event: &[u8]) -> bool {
    has_object(event, &FINDERS.usage) && {
        FINDERS.choices.find(event).is_some_and(|at| {
            let mut rest =
                event.get(at + 9..).unwrap_or_default().iter().filter(|byte| !byte.is_ascii_whitespace());
            rest.next() == Some(&b':') && rest.next() == Some(&b'[') && rest.next() == Some(&b']')
        })
    }
}

/// Where the value of the first `"model"` key is, quotes included. Inside strings quotes are escaped, so the
/// pattern can only match a real key, and providers put the model before anything a caller controls.
pub(super) fn model_value(event: &[u8]) -> Option<Range<usize>> {
    let key = FINDERS.model.find(event)? + 7;
    let rest = event.get(key..)?;
    let start = rest.iter().position(|byte| !matches!(byte, b' ' | b':'))?;
    let value = rest.get(start..)?;
    if value.first() != Some(&b'"') {
        return None;
    }
    let end = memchr::memchr(b'"', value.get(1..)?)?;
    Some(key + start..key + start + end + 2)
}

/// Is a last event complete but for its blank line?
pub(super) fn is_whole(event: &[u8]) -> bool {
    if event.trim_ascii().is_empty() {
        return !event.is_empty();
    }
    let data: Vec<&[u8]> =
        event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:")).collect();
    let data = data.join(&b'\n');
    let data = data.trim_ascii();
    data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

/// Length of the first whole event, its blank line included; nothing before `from` is its end.
pub(crate) fn event_length(bytes: &[u8], mut from: usize) -> Option<usize> {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(from..)?) {
        let next = from + at + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}
