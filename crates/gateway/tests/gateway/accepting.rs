//! Who may call, and how much a request may be.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Answer, Gateway, KEY, Start, chat, config, fake, read_to_end, surfaces, three};

async fn gateway(rest: &str) -> (tollway_testkit::FakeProvider, Gateway) {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), rest)).await;
    (fake, gateway)
}

#[tokio::test]
async fn every_way_to_present_a_key_opens_and_a_wrong_key_does_not() {
    let rest = format!("general_settings: {{master_key: {KEY}, litellm_key_header_name: X-My-Key}}");
    let (_fake, gateway) = gateway(&rest).await;
    let bearer = format!("Bearer {KEY}");
    let ways = [
        ("authorization", bearer.as_str()),
        ("x-my-key", KEY),
        ("x-my-key", &bearer),
        ("x-litellm-api-key", &bearer),
        ("api-key", KEY),
        ("x-api-key", KEY),
        ("x-goog-api-key", KEY),
        ("ocp-apim-subscription-key", KEY),
    ];
    let body = chat("gpt", "hi").to_string();
    for (name, value) in ways {
        let right = gateway.send("POST", "/v1/chat/completions", &[(name, value)], body.clone()).await;
        assert_eq!(right.status, 200, "{name}");
        let wrong = value.replace("tests", "toast");
        let wrong = gateway.send("POST", "/v1/chat/completions", &[(name, &wrong)], body.clone()).await;
        assert_eq!(wrong.status, 401, "{name}");
    }
    let path = format!("/v1beta/models/gem:generateContent?key={KEY}");
    let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }).to_string();
    assert_eq!(gateway.send("POST", &path, &[], body).await.status, 200);
}

#[tokio::test]
async fn a_refused_caller_reads_it_in_its_own_dialect() {
    let (fake, gateway) = gateway("").await;
    for key in [None, Some("Bearer sk-wrong"), Some("Basic abc")] {
        for (dialect, surface) in surfaces("gpt", "hi", false) {
            let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
            let answer = gateway.send("POST", &surface.path, &headers, surface.body.to_string()).await;
            let answer = answer.read().await;
            answer.expect(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            let body = answer.json();
            match dialect {
                "anthropic" => {
                    assert_eq!(
                        (&body["type"], &body["error"]["type"]),
                        (&json!("error"), &json!("authentication_error"))
                    );
                }
                "gemini" => {
                    assert_eq!(
                        (&body["error"]["code"], &body["error"]["status"]),
                        (&json!(401), &json!("UNAUTHENTICATED"))
                    );
                }
                _ => {
                    let wrong = key.is_some_and(|key| key.starts_with("Bearer"));
                    let kind = if wrong { "token_not_found_in_db" } else { "auth_error" };
                    assert_eq!(body["error"]["type"], kind, "{body}");
                }
            }
            assert!(body["error"]["message"].as_str().unwrap().contains("Authentication Error"), "{body}");
        }
    }
    assert!(fake.received().is_empty());
}

#[tokio::test]
async fn an_unknown_caller_is_refused_before_its_body_is_read() {
    let (_fake, gateway) = gateway("").await;
    let begun = Instant::now();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-wrong\r\n";
    for body in ["content-length: 1000000000\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n5\r\n{\"mod\r\n"] {
        let answer = gateway.raw(format!("{head}{body}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

const HEAD: &str =
    "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-tests-8f2c4e6a9b1d\r\n";

#[tokio::test]
async fn a_body_larger_than_the_limit_is_refused_announced_or_not() {
    let (fake, gateway) = gateway("tollway: {limits: {max_body: 64KiB}}").await;
    let announced = gateway.raw(format!("{HEAD}content-length: 70000\r\n\r\n").as_bytes()).await;
    assert!(announced.starts_with("HTTP/1.1 413 ") && announced.contains("max_body"), "{announced}");
    let mut chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
    for _ in 0..80 {
        chunked.push_str(&format!("400\r\n{}\r\n", " ".repeat(0x400)));
    }
    let chunked = gateway.raw(chunked.as_bytes()).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let (_, surface) = surfaces("gpt", &"x".repeat(70_000), false).into_iter().nth(1).unwrap();
    let answer = gateway.post(&surface.path, &surface.body).await;
    assert_eq!(answer.expect(413).json()["error"]["type"], "request_too_large");
    assert!(fake.received().is_empty());
    gateway.chat(&chat("gpt", &"x".repeat(60_000))).await.expect(200);
}

#[tokio::test]
async fn a_url_or_headers_beyond_the_limits_are_refused() {
    let (_fake, gateway) = gateway("tollway: {limits: {max_headers: 40, max_headers_size: 16KiB}}").await;
    let long = gateway.get(&format!("/v1/models?x={}", "y".repeat(9000))).await;
    long.expect(414);
    let many: String = (0..50).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer =
        gateway.raw(format!("GET /health/liveliness HTTP/1.1\r\nhost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let large =
        format!("GET /health/liveliness HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "y".repeat(20_000));
    let answer = gateway.raw(large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn headers_that_come_too_slowly_close_the_connection() {
    let (_fake, gateway) = gateway("tollway: {timeouts: {read_headers: 1s}}").await;
    for start in ["", "GET /health/liveliness HTTP/1.1\r\nhost: x\r\nx-slow:"] {
        let begun = Instant::now();
        let mut connection = gateway.connect().await;
        connection.write_all(start.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut connection).await;
        let took = begun.elapsed();
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(took > Duration::from_millis(700) && took < Duration::from_secs(6), "{start:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let (_fake, gateway) = gateway("tollway: {timeouts: {read_body: 1s}}").await;
    let begun = Instant::now();
    let answer = gateway.raw(format!("{HEAD}content-length: 500\r\n\r\n{{\"model\":").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("1 s"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

async fn body(gateway: &Gateway, body: &str) -> Answer {
    let bearer = format!("Bearer {KEY}");
    gateway
        .send("POST", "/v1/chat/completions", &[("authorization", &bearer)], body.to_owned())
        .await
        .read()
        .await
}

#[tokio::test]
async fn a_body_that_is_not_json_is_a_400_that_says_so() {
    let (fake, gateway) = gateway("").await;
    for wrong in
        ["", "{", "hello", "[]", "\"x\"", r#"{"model":"gpt",}"#, "{\"model\":\"gpt\"} x", "{\"a\":\u{1}\"}"]
    {
        let answer = body(&gateway, wrong).await;
        let error = answer.expect(400).json()["error"].clone();
        assert_eq!(
            (&error["type"], &error["param"]),
            (&json!("invalid_request_error"), &json!("request_body")),
            "{wrong}"
        );
    }
    assert!(fake.received().is_empty());
}

#[tokio::test]
async fn a_body_nested_too_deeply_is_refused() {
    let (_fake, gateway) = gateway("tollway: {limits: {max_json_depth: 16}}").await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(
            r#"{{"model":"gpt","messages":[{{"role":"user","content":"hi"}}],"metadata":{{"x":{open}{close}}}}}"#
        )
    };
    body(&gateway, &nested(5)).await.expect(200);
    let refused = body(&gateway, &nested(20)).await;
    assert!(refused.expect(400).text().contains("too deeply nested"), "{}", refused.text());
    body(&gateway, &nested(100_000)).await.expect(400);
}

#[tokio::test]
async fn of_duplicate_keys_the_provider_gets_the_last() {
    let (fake, gateway) = gateway("").await;
    let twice = r#"{"model":"nothing","model":"gpt","temperature":0,"messages":[{"role":"user","content":"first","content":"last"}],"temperature":1}"#;
    body(&gateway, twice).await.expect(200);
    let sent = String::from_utf8(fake.received()[0].body.to_vec()).unwrap();
    assert!(sent.contains("last") && !sent.contains("first") && !sent.contains("nothing"), "{sent}");
    assert_eq!(sent.matches("temperature").count(), 1, "{sent}");
    let value: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(value["temperature"], 1);
    let forbidden =
        r#"{"model":"gpt","api_base":"http://a","api_base":"http://169.254.169.254","messages":[]}"#;
    body(&gateway, forbidden).await.expect(400);
}

#[tokio::test]
async fn several_requests_share_a_connection_also_after_a_refusal() {
    let (_fake, gateway) = gateway("").await;
    let body = chat("gpt", "hi").to_string();
    let one = |key: &str, close: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{close}authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let missing = "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n";
    let all = format!("{}{missing}{}", one(KEY, ""), one(KEY, "connection: close\r\n"));
    let answers = gateway.raw(all.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 404 ").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_connection_whose_request_was_not_read_to_its_end_says_that_it_closes() {
    let (_fake, gateway) = gateway("").await;
    for (request, closes) in [
        ("POST /v1/chat HTTP/1.1\r\n", true),
        ("POST /health/readiness HTTP/1.1\r\n", true),
        ("GET /v1/models HTTP/1.1\r\n", true),
        ("POST /key/generate HTTP/1.1\r\n", false),
    ] {
        let body = "{\"key_alias\": \"a\"}";
        let head =
            format!("{request}host: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}", body.len());
        let next = "GET /health/liveliness HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answers = gateway.raw(format!("{head}\r\n\r\n{body}{next}").as_bytes()).await;
        let first = answers.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert_eq!(first.contains("connection: close"), closes, "{request}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), if closes { 1 } else { 2 }, "{request}: {answers}");
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_place() {
    let arguments = ["--limit_concurrency", "2"];
    let gateway = Gateway::with(Start { arguments: &arguments, ..Start::default() }).await;
    let held = [gateway.connect().await, gateway.connect().await];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = gateway.raw(b"GET /health/liveliness HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    drop(held);
    assert!(waiting.await.contains("200 OK"));
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let (_fake, gateway) = gateway("tollway: {limits: {max_connections_per_address: 2}}").await;
    let ask = b"GET /health/liveliness HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let held = [gateway.connect().await, gateway.connect().await];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut third = gateway.connect().await;
    let _ = third.write_all(ask).await;
    assert_eq!(read_to_end(&mut third).await, "");
    drop(held);
    let begun = Instant::now();
    while !gateway.raw(ask).await.contains("200 OK") {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_connection_stays_open_between_calls_longer_than_headers_may_take() {
    let (_fake, gateway) = gateway("tollway: {timeouts: {read_headers: 1s, idle_connection: 4s}}").await;
    let ask = b"GET /health/liveliness HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut connection = gateway.connect().await;
    let mut bytes = vec![0; 4096];
    for _ in 0..2 {
        connection.write_all(ask).await.unwrap();
        let count = connection.read(&mut bytes).await.unwrap();
        assert!(bytes[..count].starts_with(b"HTTP/1.1 200 OK"));
        tokio::time::sleep(Duration::from_millis(1700)).await;
    }
    // Headers that begin must also end in time.
    connection.write_all(b"GET /health").await.unwrap();
    let begun = Instant::now();
    assert_eq!(read_to_end(&mut connection).await, "");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let mut idle = gateway.connect().await;
    idle.write_all(ask).await.unwrap();
    let begun = Instant::now();
    assert!(read_to_end(&mut idle).await.contains("200 OK"));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(3500) && took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn odd_requests_are_refused_and_never_get_around_the_key() {
    let (fake, gateway) = gateway("").await;
    let targets = [
        "GET /receipts",
        "GET //receipts",
        "GET /receipts/",
        "GET /./receipts",
        "GET /health/liveliness/../../receipts",
        "GET /%72eceipts",
        "GET /receipts%2f",
        "GET /RECEIPTS",
        "GET /v1/models/%00",
        "GET /v1/models/%ff%fe",
        "GET /v1/models;x",
        "GET http://elsewhere/receipts",
        "HEAD /receipts",
        "TRACE /",
        "OPTIONS *",
        "CONNECT elsewhere:443",
        "POST /config/reload?key=",
        "POST /v1/chat/completions",
        "BREW /v1/models",
    ];
    for target in targets {
        for version in ["1.1", "1.0"] {
            let request = format!(
                "{target} HTTP/{version}\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let answer = gateway.raw(request.as_bytes()).await;
            let status = answer.split(' ').nth(1).unwrap_or("none");
            assert!(["400", "401", "404", "405"].contains(&status), "{target} {version}: {answer}");
        }
    }
    let smuggled = format!(
        "{HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /receipts HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    let answer = gateway.raw(smuggled.as_bytes()).await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    for junk in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "GET / HTTP/9.9\r\n\r\n",
    ] {
        let answer = gateway.raw(junk.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{junk:?}: {answer}");
    }
    let absolute =
        gateway.raw(b"GET http://x/health/liveliness HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(absolute.contains("200 OK"), "{absolute}");
    assert!(fake.received().is_empty());
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_whole_answers_and_streams() {
    let (_fake, gateway) = gateway("").await;
    for stream in [false, true] {
        let mut body = chat("gpt", "hi");
        body["stream"] = json!(stream);
        let body = body.to_string();
        let head = HEAD.replace("HTTP/1.1", "HTTP/1.0");
        let answer =
            gateway.raw(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        assert!(answer.contains(" 200 OK") && !answer.contains("chunked"), "{answer}");
        assert_eq!(answer.contains("data: [DONE]"), stream, "{answer}");
    }
}
