use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::reply::Ending;

fn stream(model: &str) -> Reply {
    let body =
        json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "say: a b c d"}]});
    respond("/v1/chat/completions", body.to_string().as_bytes())
}

#[test]
fn equal_calls_get_equal_replies_and_other_nonces_other_ids() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let ask = |nonce| answer(&Call { path: "/v1/chat/completions", body, nonce, ..Call::default() });
    assert_eq!(ask(1), ask(1));
    assert_ne!(ask(1).body(), ask(2).body());
}

#[test]
fn chunk_boundaries_fall_anywhere_and_change_nothing() {
    let whole = stream("fake-ok").body();
    for size in [1, 2, 3, 7, 64] {
        let script = Script { chunk_bytes: Some(size), ..Script::default() };
        let body = json!({"model": "fake-ok", "stream": true, "messages": [{"role": "user", "content": "say: a b c d"}]});
        let body = body.to_string();
        let call = Call {
            path: "/v1/chat/completions",
            body: body.as_bytes(),
            script: Some(&script),
            ..Call::default()
        };
        let reply = answer(&call);
        assert!(reply.chunks.iter().all(|chunk| chunk.bytes.len() <= size));
        assert_eq!(reply.body(), whole, "{size}");
    }
}

#[track_caller]
fn check(model: &str, chunks: usize, ending: Ending) {
    let reply = stream(model);
    assert_eq!((reply.chunks.len(), reply.ending), (chunks, ending), "{model}");
}

#[test]
fn scripts_break_streams_where_they_say() {
    check("fake-ok", 7, Ending::Complete);
    check("fake-cut-after-2-chunks", 2, Ending::Cut);
    check("fake-stall-after-3-chunks", 3, Ending::Stall);
    check("fake-reset-after-1-chunks", 1, Ending::Reset);
    check("fake-reset", 0, Ending::Reset);
    check("fake-headers-then-silence", 0, Ending::Stall);
    check("fake-empty", 0, Ending::Complete);
    check("fake-malformed-after-2", 3, Ending::Complete);
    check("fake-error-mid-stream-2", 3, Ending::Complete);
    check("fake-comments", 14, Ending::Complete);
    check("fake-tokens-20", 23, Ending::Complete);
}

#[test]
fn scripts_set_the_pace() {
    let reply = stream("fake-slow-30+first-byte-20+interval-10");
    let times: Vec<_> = reply.chunks.iter().map(|chunk| chunk.after.as_millis()).collect();
    assert_eq!((reply.wait, times), (Duration::from_millis(30), vec![20, 10, 10, 10, 10, 10, 10]));
    assert_eq!(duration(&reply), Duration::from_millis(110));
}

#[test]
fn errors_in_a_stream_are_worded_by_the_dialect() {
    let last = |path: &str, body: Value| {
        let reply = respond(path, body.to_string().as_bytes());
        String::from_utf8(reply.chunks.last().unwrap().bytes.to_vec()).unwrap()
    };
    let model = "fake-error-mid-stream-2";
    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat = last("/v1/chat/completions", json!({"model": model, "stream": true, "messages": messages}));
    assert!(chat.starts_with("data: {\"error\":{\"message\":"), "{chat}");
    let message =
        last("/v1/messages", json!({"model": model, "stream": true, "max_tokens": 9, "messages": messages}));
    assert!(message.starts_with("event: error\ndata: {\"type\":\"error\""), "{message}");
    let path = format!("/v1beta/models/{model}:streamGenerateContent?alt=sse");
    let response = last("/v1/responses", json!({"model": model, "stream": true, "input": "hi"}));
    assert!(response.starts_with("event: error\ndata: {\"type\":\"error\""), "{response}");
    let gemini = last(&path, json!({"contents": [{"parts": [{"text": "hi"}]}]}));
    assert!(gemini.starts_with("data: {\"error\":{\"code\":503"), "{gemini}");
}

#[test]
fn refusals_carry_status_and_headers() {
    for (model, status) in [
        ("fake-error-429", 429),
        ("fake-error-500", 500),
        ("fake-ratelimit", 429),
        ("fake-context-window", 400),
        ("fake-content-policy", 400),
        ("fake-model-not-found", 404),
        ("fake-typo", 404),
        ("fake-html-502", 502),
    ] {
        assert_eq!(stream(model).status, status, "{model}");
    }
    assert_eq!(stream("fake-ratelimit-3").header("retry-after"), Some("3"));
    assert_eq!(stream("fake-ratelimit").header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(stream("fake-html-502").header("content-type"), Some("text/html"));
    assert!(stream("fake-ok").header("x-request-id").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_is_too_odd(
        model in "(fake-)?[a-z0-9+-]{0,12}",
        field in proptest::sample::select(&FIELDS[..]),
        value in proptest::sample::select(&VALUES[..]),
        text in "\\PC{0,20}",
    ) {
        let value: Value = serde_json::from_str(value).unwrap();
        let parts = json!([{"text": text}]);
        let bodies = [
            ("/v1/chat/completions".to_owned(), json!({"messages": [{"role": "user", "content": text}]})),
            ("/v1/messages".to_owned(), json!({"max_tokens": 9, "messages": [{"role": "user", "content": text}]})),
            ("/v1/embeddings".to_owned(), json!({"input": text})),
            (format!("/v1beta/models/{model}:generateContent"), json!({"contents": [{"role": "user", "parts": parts}]})),
        ];
        for (path, mut body) in bodies {
            if !path.contains("v1beta") {
                body["model"] = json!(model);
            }
            body[field] = value.clone();
            let reply = respond(&path, body.to_string().as_bytes());
            prop_assert!(reply.status >= 200 && reply.status < 600);
        }
    }
}

const FIELDS: [&str; 14] = [
    "messages",
    "contents",
    "tools",
    "tool_choice",
    "n",
    "max_tokens",
    "stream",
    "stop",
    "generationConfig",
    "input",
    "response_format",
    "system",
    "thinking",
    "dimensions",
];

const VALUES: [&str; 14] = [
    "null",
    "[]",
    "{}",
    "-1",
    "18446744073709551615",
    "1e308",
    "true",
    r#""text""#,
    r#"[{"role":"user"}]"#,
    r#"[{"role":"user","content":[{"type":"text"}]}]"#,
    r#"{"type":"enabled","budget_tokens":-5}"#,
    r##"[{"type":"function","function":{"name":"f","parameters":{"type":"object","$ref":"#"}}}]"##,
    r#"{"candidateCount":9999999,"stopSequences":[""]}"#,
    r#"["",""]"#,
];

#[test]
fn answers_have_an_end() {
    let body = json!({"model": "fake-tokens-99999999999+chunk-1", "n": 128, "stream": true,
        "messages": [{"role": "user", "content": "hi"}]});
    let reply = respond("/v1/chat/completions", body.to_string().as_bytes());
    assert!(reply.body().len() < 60_000_000 && reply.chunks.len() < 300_000, "{}", reply.chunks.len());
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(respond("/v1/chat/completions", b"{").status, 400);
    assert_eq!(respond("/v1/chat/completions", b"[]").status, 400);
    assert_eq!(respond("/v1/unknown", b"{}").status, 404);
}

#[test]
fn every_dialect_lists_its_models() {
    for (path, list) in [("/v1/models", "/data/0/id"), ("/v1beta/models", "/models/0/name")] {
        let body: Value = serde_json::from_slice(&respond(path, b"").body()).unwrap();
        assert!(body.pointer(list).is_some(), "{body}");
    }
}
