//! What the upstream says: a chat answer of about 600 bytes, or a stream of chunks of about 200 bytes each.

use std::time::Duration;

use memchr::memmem;

/// How to answer one request, read from its model name: words joined by `-`.
///
/// - `stream<N>`: N text chunks, each its own write. Without it: one JSON answer.
/// - `pause<MS>`: milliseconds between two chunks.
/// - `hold<MS>`: milliseconds before the answer.
/// - `flaky`: every tenth answer is a 500.
///
/// Other words mean nothing: `chat`, `bench-stream200-hold5`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) chunks: Option<u32>,
    pub(crate) pause: Duration,
    pub(crate) hold: Duration,
    pub(crate) flaky: bool,
}

impl Plan {
    /// The plan for a request body.
    pub(crate) fn of(body: &[u8]) -> Plan {
        let mut plan = Plan::default();
        for word in model(body).split('-') {
            if let Some(count) = number(word, "stream") {
                plan.chunks = Some(count);
            } else if let Some(pause) = number(word, "pause") {
                plan.pause = Duration::from_millis(pause.into());
            } else if let Some(hold) = number(word, "hold") {
                plan.hold = Duration::from_millis(hold.into());
            }
            plan.flaky |= word == "flaky";
        }
        plan
    }
}

fn number(word: &str, name: &str) -> Option<u32> {
    word.strip_prefix(name)?.parse().ok()
}

/// The value of the first `"model"` member. The benchmark's prompts do not contain that text.
fn model(body: &[u8]) -> &str {
    let value = || {
        let after = body.get(memmem::find(body, b"\"model\"")? + 7..)?;
        let open = memchr::memchr(b'"', after)? + 1;
        let text = after.get(open..)?;
        std::str::from_utf8(text.get(..memchr::memchr(b'"', text)?)?).ok()
    };
    value().unwrap_or_default()
}

/// Whose answers to imitate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Openai,
    Anthropic,
}

impl Shape {
    /// The shape for a request head, by its path.
    pub(crate) fn of(head: &[u8]) -> Shape {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if memmem::find(line, b"/messages").is_some() { Shape::Anthropic } else { Shape::Openai }
    }
}

/// A stream in HTTP's chunked coding, ready to write.
pub(crate) struct Stream<'a> {
    /// Response head and the events before the first text.
    pub(crate) head: &'a [u8],
    /// One text event; Anthropic's and OpenAI's repeat unchanged.
    pub(crate) chunk: &'a [u8],
    /// The events after the last text and the end of the body.
    pub(crate) tail: &'a [u8],
}

/// Every answer, as bytes on the wire.
pub(crate) struct Answers {
    failure: Vec<u8>,
    openai: Dressed,
    anthropic: Dressed,
}

struct Dressed {
    whole: Vec<u8>,
    head: Vec<u8>,
    chunk: Vec<u8>,
    tail: Vec<u8>,
}

impl Answers {
    pub(crate) fn new() -> Answers {
        Answers {
            failure: http(
                "500 Internal Server Error",
                r#"{"error":{"message":"the server had an error while processing your request","type":"server_error","param":null,"code":null}}"#,
            ),
            openai: Dressed {
                whole: http("200 OK", OPENAI_ANSWER),
                head: stream_head(OPENAI_FIRST),
                chunk: chunk(OPENAI_CHUNK),
                tail: last(OPENAI_LAST),
            },
            anthropic: Dressed {
                whole: http("200 OK", ANTHROPIC_ANSWER),
                head: stream_head(ANTHROPIC_FIRST),
                chunk: chunk(ANTHROPIC_CHUNK),
                tail: last(ANTHROPIC_LAST),
            },
        }
    }

    /// A 500 as OpenAI writes it.
    pub(crate) fn failure(&self) -> &[u8] {
        &self.failure
    }

    /// The JSON answer.
    pub(crate) fn whole(&self, shape: Shape) -> &[u8] {
        &self.dressed(shape).whole
    }

    /// The streamed answer.
    pub(crate) fn stream(&self, shape: Shape) -> Stream<'_> {
        let Dressed { head, chunk, tail, .. } = self.dressed(shape);
        Stream { head, chunk, tail }
    }

    fn dressed(&self, shape: Shape) -> &Dressed {
        match shape {
            Shape::Openai => &self.openai,
            Shape::Anthropic => &self.anthropic,
        }
    }
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn stream_head(first: &str) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    head.extend(chunk(first));
    head
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn last(text: &str) -> Vec<u8> {
    let mut tail = chunk(text);
    tail.extend_from_slice(b"0\r\n\r\n");
    tail
}

const OPENAI_ANSWER: &str = r#"{"id":"chatcmpl-bench0000000000000000","object":"chat.completion","created":1700000000,"model":"gpt-bench-2026-01-01","choices":[{"index":0,"message":{"role":"assistant","content":"This is the bench answer: a few plain sentences, as long as a short reply of a chat model usually is, so that the bytes on the wire look like real ones.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":33,"total_tokens":57,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default","system_fingerprint":"fp_bench"}"#;

const OPENAI_FIRST: &str = "data: {\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench-2026-01-01\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";

const OPENAI_CHUNK: &str = "data: {\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench-2026-01-01\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" bench answer\"},\"finish_reason\":null}]}\n\n";

const OPENAI_LAST: &str = "data: {\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench-2026-01-01\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-bench0000000000000000\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench-2026-01-01\",\"choices\":[],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":33,\"total_tokens\":57}}\n\ndata: [DONE]\n\n";

const ANTHROPIC_ANSWER: &str = r#"{"id":"msg_bench00000000000000000","type":"message","role":"assistant","model":"claude-bench-20260101","content":[{"type":"text","text":"This is the bench answer: a few plain sentences, as long as a short reply of a chat model usually is, so that the bytes on the wire look like real ones. It says nothing more, only a little more of it."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":24,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":33,"service_tier":"standard"}}"#;

const ANTHROPIC_FIRST: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench00000000000000000\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-bench-20260101\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":24,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";

const ANTHROPIC_CHUNK: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" bench answer, with as many words in each piece as make it about two hundred bytes\"}}\n\n";

const ANTHROPIC_LAST: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":33}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Plan) {
        assert_eq!(Plan::of(body.as_bytes()), expected, "{body}");
    }

    #[test]
    fn the_models_name_says_how_to_answer() {
        let ms = Duration::from_millis;
        check(r#"{"model":"chat"}"#, Plan::default());
        check(r#"{"messages":[], "model" : "flaky"}"#, Plan { flaky: true, ..Plan::default() });
        check(r#"{"model":"stream20-pause5"}"#, Plan { chunks: Some(20), pause: ms(5), ..Plan::default() });
        check(
            r#"{"model":"bench-flaky-stream3-hold300"}"#,
            Plan { chunks: Some(3), hold: ms(300), flaky: true, ..Plan::default() },
        );
        check("not json", Plan::default());
    }

    #[test]
    fn answers_are_json_of_a_chat_answers_size() {
        for body in [OPENAI_ANSWER, ANTHROPIC_ANSWER] {
            serde_json::from_str::<serde_json::Value>(body).unwrap();
            assert!((500..700).contains(&body.len()), "{}", body.len());
        }
        for event in [OPENAI_CHUNK, ANTHROPIC_CHUNK] {
            assert!((150..250).contains(&event.len()), "{}", event.len());
        }
    }

    #[test]
    fn streamed_events_are_json() {
        let all = [OPENAI_FIRST, OPENAI_CHUNK, OPENAI_LAST, ANTHROPIC_FIRST, ANTHROPIC_CHUNK, ANTHROPIC_LAST];
        for data in all.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("data: ")) {
            assert!(data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}");
        }
    }
}
