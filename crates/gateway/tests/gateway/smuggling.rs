//! Requests that two parsers could understand differently, and texts that want to become headers or log lines.

use serde_json::json;
use tollway_testkit::Reply;

use crate::support::{Gateway, KEY, chat, config, fake, streamed_chat, three};

const LINE: &str = "POST /v1/chat/completions HTTP/1.1\r\n";
const KEY_LINE: &str = "authorization: Bearer sk-tests-8f2c4e6a9b1d\r\n";

async fn gateway() -> (tollway_testkit::FakeProvider, Gateway) {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "router_settings: {num_retries: 0}")).await;
    (fake, gateway)
}

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_ends_its_connection() {
    let (fake, gateway) = gateway().await;
    let body = chat("gpt", "hi").to_string();
    let length = body.len();
    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let whole = format!("content-length: {length}\r\n\r\n{body}");
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    let head = format!("{LINE}host: x\r\n{KEY_LINE}");
    let second = "GET /receipts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-tests-8f2c4e6a9b1d\r\n\r\n";
    for (what, request) in [
        ("two lengths", format!("{head}content-length: 5\r\n{whole}")),
        ("a list of lengths", format!("{head}content-length: {length}, {length}\r\n\r\n{body}")),
        ("a signed length", format!("{head}content-length: +{length}\r\n\r\n{body}")),
        (
            "a length beyond all numbers",
            format!("{head}content-length: 99999999999999999999999\r\n\r\n{body}"),
        ),
        ("an unknown encoding", format!("{head}transfer-encoding: xchunked\r\n\r\n{chunks}")),
        ("chunked, but not last", format!("{head}transfer-encoding: chunked, identity\r\n\r\n{chunks}")),
        ("chunks in HTTP/1.0", format!("{}{chunked}{chunks}", head.replace("1.1", "1.0"))),
        ("a folded header", format!("{head}x-a: b\r\n c\r\n{whole}")),
        ("a bare return", format!("{head}x-a: b\rcontent-length: 0\r\n{whole}")),
        ("a space before the colon", format!("{head}content-length : {length}\r\n\r\n{body}")),
        ("a space in a name", format!("{head}x a: b\r\n{whole}")),
        ("a NUL in a value", format!("{head}x-a: a\0b\r\n{whole}")),
        ("a signed chunk", format!("{head}{chunked}+{chunks}")),
        ("a chunk beyond all numbers", format!("{head}{chunked}fffffffffffffffff\r\n{body}\r\n0\r\n\r\n")),
        ("chunks that end in bare feeds", format!("{head}{chunked}{}", chunks.replace("\r\n", "\n"))),
        (
            "an endless chunk extension",
            format!("{head}{chunked}{length:x};{}\r\n{body}\r\n0\r\n\r\n", "a".repeat(40_000)),
        ),
        ("no host", format!("{LINE}{KEY_LINE}{whole}")),
        ("two hosts", format!("{head}host: y\r\n{whole}")),
        ("a host that is none", format!("{}{whole}", head.replace("host: x", "host: x/?a#"))),
        ("a host with a user", format!("{}{whole}", head.replace("host: x", "host: me@x"))),
    ] {
        let answers = gateway.raw(format!("{request}{second}").as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{what}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{what}: {answers}");
    }
    assert!(fake.received().is_empty());
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_count_and_ends_the_connection() {
    let (_fake, gateway) = gateway().await;
    let body = chat("gpt", "hi").to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for both in
        ["content-length: 5\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 5"]
    {
        let smuggled = "GET /health/liveness HTTP/1.1\r\nhost: x\r\n\r\n";
        let request = format!("{LINE}host: x\r\n{KEY_LINE}{both}\r\n\r\n{chunks}{smuggled}");
        let answers = gateway.raw(request.as_bytes()).await;
        assert!(answers.starts_with("HTTP/1.1 200 "), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_or_method_gets_around_the_key() {
    let (_fake, gateway) = gateway().await;
    for line in [
        "GET http://x/receipts",
        "GET http://127.0.0.1/receipts",
        "GET //receipts",
        "GET /receipts//",
        "GET /./receipts",
        "GET /docs/../receipts",
        "GET /docs/..%2freceipts",
        "GET /%72eceipts",
        "GET /RECEIPTS",
        "GET /receipts;/docs",
        "GET /receipts?/docs",
        "GET /health/liveness/../../receipts",
        "HEAD /receipts",
        "OPTIONS /receipts",
        "OPTIONS *",
        "POST /docs",
        "TRACE /receipts",
        "CONNECT x:443",
        "BREW /receipts",
    ] {
        let answer =
            gateway.raw(format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(matches!(status, 400 | 401 | 404 | 405), "{line}: {answer}");
    }
}

#[tokio::test]
async fn texts_do_not_become_headers_or_log_lines() {
    let (fake, gateway) = gateway().await;
    // A client's id with anything odd in it is replaced by ours.
    for id in ["a b", "a;b", "ä", "<x>", &"a".repeat(129)] {
        let answer =
            gateway.post_with("/v1/chat/completions", &[("x-litellm-call-id", id)], &chat("gpt", "hi")).await;
        assert_eq!(
            answer.expect(200).header("x-litellm-call-id"),
            answer.header("x-tollway-receipt"),
            "{id}"
        );
    }
    for model in ["gpt\r\nx-injected: 1", "gpt\0", "gpt\u{1b}[31m", "gpt\u{85}"] {
        let answer = gateway.chat(&chat(model, "hi")).await;
        assert!(answer.expect(400).headers.get("x-injected").is_none());
    }
    let unknown = gateway.chat(&chat("gpt ünbekannt", "hi")).await;
    unknown.expect(400);
    // A provider's words.
    let words = "no\r\nx-injected: 1\r\n\r\n{\"level\":\"FORGED\"}\n\u{1b}[2J ü \0";
    for status in [400, 429, 500] {
        let body = json!({ "error": { "message": words, "type": words, "code": words, "param": words } });
        let mut reply = Reply::json(status, &body);
        reply.headers.push(("x-request-id".to_owned(), "req-\u{fc}\"".to_owned()));
        for model in ["gpt", "claude", "gem"] {
            fake.reply_next(reply.clone());
            let answer = gateway.chat(&chat(model, "hi")).await;
            assert!(answer.status >= 400 && answer.headers.get("x-injected").is_none());
            answer.json();
            fake.reply_next(reply.clone());
            let answer = gateway.chat(&streamed_chat(model, "hi")).await;
            assert!(answer.status >= 400 && answer.headers.get("x-injected").is_none());
        }
    }
    for line in gateway.log().lines() {
        let entry: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(entry["level"], "FORGED");
        assert!(!line.contains('\u{1b}') && !line.contains('\0'), "{line}");
    }
}

#[tokio::test]
async fn a_key_in_the_url_is_never_repeated() {
    let (_fake, gateway) = gateway().await;
    let mut told = String::new();
    for path in [
        "/nothing?key=",
        "/v1/models?key=",
        "/receipts/x?key=",
        "/v1beta/models/gem:generateContent?x=1&key=",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let answer = gateway.send(method, &format!("{path}{KEY}"), &[], "{").await.read().await;
            told.push_str(&format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    assert!(!told.contains(KEY) && !gateway.log().contains(KEY), "{told}");
}
