//! Does a stream say anything yet?
//!
//! Until its first content a stream has only been announced (`message_start`, a chunk with nothing but a role, a ping),
//! and a failure can still be answered by another attempt that the caller does not notice.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use tollway_model::{Delta, Dialect, Event, FinishReason, PartKind};
use tollway_wire::{Restore, codec};

/// Is this event content, or the end?
pub(crate) fn is(event: &Event) -> bool {
    match event {
        Event::Delta { delta: Delta::Text(text) | Delta::Arguments(text), .. } => !text.is_empty(),
        Event::Delta { .. } | Event::Finish { .. } | Event::End => true,
        Event::PartStart { kind, .. } => {
            !matches!(kind, PartKind::Text | PartKind::Reasoning | PartKind::Redacted | PartKind::Refusal)
        }
        _ => false,
    }
}

/// How a stream begins, up to its first content.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// Content has come.
    pub(crate) content: bool,
    /// The first content is that the model, or its provider's filter, declines to answer.
    pub(crate) declines: bool,
    /// The part that says no.
    refusal: Option<(u32, u32)>,
}

impl Opening {
    /// How a stream in this dialect begins with `bytes`.
    pub(crate) fn of(dialect: Dialect, bytes: &[u8]) -> Opening {
        let (mut events, mut opening) = (Vec::new(), Opening::default());
        let mut decoder = codec(dialect).decoder(Restore::default());
        decoder.push(bytes, &mut events);
        // Some wait for what may follow an end before they tell of it.
        decoder.finish(&mut events);
        events.iter().for_each(|event| opening.note(event));
        opening
    }

    pub(crate) fn note(&mut self, event: &Event) {
        if self.content {
            return;
        }
        if let Event::PartStart { choice, part, kind: PartKind::Refusal } = event {
            self.refusal = Some((*choice, *part));
        }
        self.content = is(event);
        self.declines = self.content
            && match event {
                Event::Finish { reason, .. } => declines(*reason),
                Event::Delta { choice, part, .. } => self.refusal == Some((*choice, *part)),
                _ => false,
            };
    }
}

/// Does an answer that ended so say no?
pub(crate) fn declines(reason: FinishReason) -> bool {
    matches!(reason, FinishReason::ContentFilter | FinishReason::Refusal)
}

/// Is there content, or the end, in events of `dialect`? Looks for members with a value that is not empty; in doubt
/// for a dialect it does not know, there is.
pub(crate) fn in_bytes(dialect: Dialect, events: &[u8]) -> bool {
    let any = |keys: &[Finder<'static>]| keys.iter().any(|key| has_value(events, key));
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText => any(&KEYS.openai),
        Dialect::Anthropic => KEYS.anthropic.iter().any(|word| word.find(events).is_some()),
        Dialect::Gemini => any(&KEYS.gemini),
        Dialect::OpenaiResponses => in_responses(events),
        _ => true,
    }
}

/// Announcements repeat the request, whose tools may be called anything.
fn in_responses(events: &[u8]) -> bool {
    let mut rest = events;
    while !rest.is_empty() {
        let end = KEYS.end.find(rest).map_or(rest.len(), |at| at + KEYS.end.needle().len());
        let (event, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let has = |words: &[Finder<'static>]| words.iter().any(|word| word.find(event).is_some());
        if has(&KEYS.responses) && !has(&KEYS.announcements) {
            return true;
        }
        rest = after;
    }
    false
}

struct Keys {
    openai: [Finder<'static>; 11],
    anthropic: [Finder<'static>; 6],
    gemini: [Finder<'static>; 6],
    responses: [Finder<'static>; 5],
    announcements: [Finder<'static>; 3],
    end: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    openai: [
        "\"content\"",
        "\"tool_calls\"",
        "\"finish_reason\"",
        "\"reasoning_content\"",
        "\"reasoning\"",
        "\"reasoning_details\"",
        "\"text\"",
        "\"refusal\"",
        "\"audio\"",
        "\"function_call\"",
        "\"images\"",
    ]
    .map(Finder::new),
    // The start of a block of text or thinking says nothing; that of any other names what it is.
    anthropic: [
        "content_block_delta",
        "message_delta",
        "message_stop",
        "tool_use\"",
        "tool_result\"",
        "redacted_thinking\"",
    ]
    .map(Finder::new),
    gemini: [
        "\"text\"",
        "\"functionCall\"",
        "\"inlineData\"",
        "\"finishReason\"",
        "\"executableCode\"",
        "\"blockReason\"",
    ]
    .map(Finder::new),
    // The types of events; created, queued, in progress and the beginnings of items and parts are announcements.
    responses: [".delta\"", ".done\"", "response.completed", "response.incomplete", "_call\""]
        .map(Finder::new),
    announcements: ["\"response.created\"", "\"response.in_progress\"", "\"response.queued\""]
        .map(Finder::new),
    end: Finder::new("\n\n"),
});

/// Is there a member with this name whose value is a text, list or object with something in it?
fn has_value(events: &[u8], key: &Finder<'_>) -> bool {
    key.find_iter(events).any(|at| {
        let after = events.get(at + key.needle().len()..).unwrap_or_default().trim_ascii_start();
        let Some(value) = after.strip_prefix(b":") else { return false };
        let value = value.trim_ascii_start();
        let (empty, full): (&[u8], bool) = match value.first() {
            Some(b'"') => (b"\"", true),
            Some(b'[') => (b"]", true),
            Some(b'{') => (b"}", true),
            _ => (b"", false),
        };
        full && !value.get(1..).unwrap_or_default().trim_ascii_start().starts_with(empty)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dialect: Dialect, events: &str, expected: bool) {
        assert_eq!(in_bytes(dialect, events.as_bytes()), expected, "{events}");
    }

    #[test]
    fn an_announcement_is_no_content() {
        let openai = |delta: &str, finish: &str| {
            format!(r#"data: {{"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#)
        };
        let chat = |delta: &str, expected| check(Dialect::OpenaiChat, &openai(delta, "null"), expected);
        chat(r#"{"role":"assistant","content":""}"#, false);
        chat(r#"{"role":"assistant","content":null,"refusal":null,"reasoning_content": ""}"#, false);
        chat(r#"{"role":"assistant","content": "","tool_calls":[]}"#, false);
        chat(r#"{"content":"a"}"#, true);
        chat(r#"{"content" : "\""}"#, true);
        chat(r#"{"reasoning_content":"hm"}"#, true);
        chat(r#"{"tool_calls":[{"index":0}]}"#, true);
        check(Dialect::OpenaiChat, &openai("{}", r#""stop""#), true);
        check(Dialect::OpenaiChat, r#"data: {"choices":[],"prompt_filter_results":[{"index":0}]}"#, false);
        check(Dialect::OpenaiChat, ": OPENROUTER PROCESSING\n\n", false);
        check(Dialect::OpenaiText, r#"data: {"choices":[{"text":"a"}]}"#, true);
    }

    #[test]
    fn a_stream_declines_when_that_is_the_first_it_says() {
        let said = |events: &[Event]| {
            let mut opening = Opening::default();
            events.iter().for_each(|event| opening.note(event));
            opening.declines
        };
        let start = |part, kind| Event::PartStart { choice: 0, part, kind };
        let delta = |part, text: &str| Event::Delta { choice: 0, part, delta: Delta::Text(text.into()) };
        let finish = |reason| Event::Finish { choice: 0, reason, native: None, stop_sequence: None };
        assert!(said(&[start(0, PartKind::Refusal), delta(0, "No")]));
        assert!(said(&[start(0, PartKind::Text), start(1, PartKind::Refusal), delta(0, ""), delta(1, "No")]));
        assert!(said(&[finish(FinishReason::ContentFilter)]));
        assert!(said(&[start(0, PartKind::Text), finish(FinishReason::Refusal)]));
        assert!(!said(&[start(0, PartKind::Refusal)]), "nothing yet");
        assert!(!said(&[start(0, PartKind::Text), delta(0, "Well"), finish(FinishReason::ContentFilter)]));
        assert!(!said(&[finish(FinishReason::Stop), finish(FinishReason::ContentFilter)]));
    }

    #[test]
    fn bytes_decline_when_that_is_the_first_they_say() {
        let said = |dialect, events: &[&str]| {
            let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            Opening::of(dialect, text.as_bytes()).declines
        };
        let chat = |delta: &str, finish: &str| {
            format!(
                r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
            )
        };
        let announced = chat(r#"{"role":"assistant","content":""}"#, "null");
        let filtered = chat("{}", r#""content_filter""#);
        assert!(said(Dialect::OpenaiChat, &[&announced, &filtered]));
        assert!(said(Dialect::OpenaiChat, &[&announced, &chat(r#"{"refusal":"No"}"#, "null")]));
        assert!(!said(Dialect::OpenaiChat, &[&announced, &chat("{}", r#""stop""#)]));
        assert!(!said(Dialect::OpenaiChat, &[&chat(r#"{"content":"Yes"}"#, "null"), &filtered]));
        let safety = r#"{"candidates":[{"index":0,"finishReason":"SAFETY"}],"modelVersion":"g"}"#;
        assert!(said(Dialect::Gemini, &[safety]));
        assert!(said(
            Dialect::Gemini,
            &[r#"{"promptFeedback":{"blockReason":"SAFETY"},"modelVersion":"g"}"#]
        ));
        let refused = [
            r#"{"type":"message_start","message":{"id":"m","model":"m","content":[],"usage":{"input_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal"},"usage":{"output_tokens":1}}"#,
        ];
        assert!(said(Dialect::Anthropic, &refused));
    }

    #[test]
    fn messages_begin_with_what_is_no_content() {
        let start = r#"event: message_start
data: {"type":"message_start","message":{"id":"m","content":[],"stop_reason":null}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

"#;
        check(Dialect::Anthropic, start, false);
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0}\n\n";
        check(Dialect::Anthropic, delta, true);
        let tool =
            r#"data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t"}}"#;
        check(Dialect::Anthropic, tool, true);
        check(Dialect::Anthropic, "event: message_stop\n", true);
    }

    #[test]
    fn a_response_begins_with_what_is_no_content() {
        let event =
            |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
        let responses = |kind: &str, rest: &str, expected| {
            check(Dialect::OpenaiResponses, &event(kind, rest), expected);
        };
        responses("response.created", r#","response":{"output":[]}"#, false);
        responses("response.in_progress", "", false);
        responses("response.output_item.added", r#","item":{"type":"message","content":[]}"#, false);
        responses("response.content_part.added", r#","part":{"type":"output_text","text":""}"#, false);
        responses("response.output_text.delta", r#","delta":"a""#, true);
        responses("response.output_item.added", r#","item":{"type":"function_call","name":"f"}"#, true);
        responses("response.completed", "", true);
        let echo = r#","response":{"tools":[{"type":"function","name":"make_call"}]}"#;
        responses("response.created", echo, false);
        let both = event("response.created", echo) + &event("response.output_text.delta", "");
        check(Dialect::OpenaiResponses, &both, true);
    }

    #[test]
    fn gemini_says_something_in_parts_or_at_the_end() {
        let candidate = |inner: &str| format!(r#"data: {{"candidates":[{{{inner}}}],"modelVersion":"g"}}"#);
        check(Dialect::Gemini, &candidate(r#""content":{"role":"model","parts":[{"text":""}]}"#), false);
        check(Dialect::Gemini, &candidate(r#""content":{"parts":[{"text": "a"}]}"#), true);
        check(Dialect::Gemini, &candidate(r#""content":{"parts":[{"functionCall":{"name":"f"}}]}"#), true);
        check(Dialect::Gemini, &candidate(r#""finishReason":"STOP""#), true);
        check(Dialect::Gemini, r#"data: {"promptFeedback":{"blockReason":"SAFETY"}}"#, true);
    }
}
