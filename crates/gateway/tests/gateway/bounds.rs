//! Bounds on calls and on HTTP/2.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tollway_testkit::Script;

use crate::support::{Gateway, KEY, SOON, chat, config, fake, streamed_chat, text, three};

#[tokio::test]
async fn a_call_cannot_ask_for_more_than_the_limits() {
    let fake = fake().await;
    let rest = "tollway: {calls: {max_n: 2, max_output_tokens: 100, max_tools: 1, max_messages: 2}}";
    let gateway = Gateway::start(&config(&three(&fake), rest)).await;
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let message = json!({ "role": "user", "content": "hi" });
    for (field, value) in [
        ("n", json!(3)),
        ("max_tokens", json!(101)),
        ("max_completion_tokens", json!(101)),
        ("tools", json!([tool, tool])),
        ("messages", json!([message, message, message])),
    ] {
        let mut body = chat("gpt", "hi");
        body[field] = value;
        let error = gateway.chat(&body).await.expect(400).json()["error"].clone();
        assert_eq!(error["param"], field, "{error}");
    }
    let mut body = chat("gpt", "hi");
    body["max_tokens"] = json!(100);
    gateway.chat(&body).await.expect(200);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_and_places_come_back() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "tollway: {limits: {max_calls: 2}}")).await;
    fake.script_next(Script::from_model("fake-stall-after-3-chunks").unwrap());
    fake.script_next(Script::from_model("fake-stall-after-3-chunks").unwrap());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = gateway.open("/v1/chat/completions", &streamed_chat("gpt", "hi")).await;
        stream.until("\"content\"").await;
        held.push(stream);
    }
    let refused = gateway.chat(&chat("gpt", "hi")).await;
    assert_eq!(refused.expect(503).header("retry-after"), "1");
    gateway.get("/health/readiness").await.expect(200);
    drop(held);
    let begun = Instant::now();
    while gateway.chat(&chat("gpt", "hi")).await.status != 200 {
        assert!(begun.elapsed() < SOON);
    }
}

#[tokio::test]
async fn a_call_as_a_whole_has_its_time() {
    let fake = fake().await;
    let rest = "tollway: {timeouts: {call: 1s}}\nrouter_settings: {num_retries: 10}";
    let gateway = Gateway::start(&config(&three(&fake), rest)).await;
    fake.script(Script::from_model("fake-error-500").unwrap());
    let begun = Instant::now();
    gateway.chat(&chat("gpt", "hi")).await.expect(500);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    fake.script(Script::from_model("fake-slow-20000").unwrap());
    gateway.chat(&chat("gpt", "hi")).await.expect(408);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_name() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let headers = [("content-encoding", "gzip")];
    let answer = gateway.post_with("/v1/chat/completions", &headers, &chat("gpt", "hi")).await;
    assert!(answer.expect(415).text().contains("gzip"), "{}", answer.text());
    let headers = [("content-encoding", "identity")];
    gateway.post_with("/v1/chat/completions", &headers, &chat("gpt", "hi")).await.expect(200);
}

#[tokio::test]
async fn a_client_that_asks_first_is_answered_before_it_sends() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let ask = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nexpect: 100-continue\r\ncontent-length: 900000\r\n\r\n"
        )
    };
    let refused = gateway.raw(ask("sk-wrong").as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let body = chat("gpt", "hi").to_string();
    let request =
        ask(KEY).replace("900000", &body.len().to_string()).replace("expect", "connection: close\r\nexpect");
    let served = gateway.raw(format!("{request}{body}").as_bytes()).await;
    assert!(served.contains("HTTP/1.1 200 OK"), "{served}");
}

type Http2 = SendRequest<Full<Bytes>>;

async fn http2(gateway: &Gateway) -> Http2 {
    let io = TokioIo::new(gateway.connect().await);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str, body: &Value) -> http::Request<Full<Bytes>> {
    http::Request::post(format!("http://gateway{path}"))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

#[tokio::test]
async fn http2_clients_share_one_connection() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let sender = http2(&gateway).await;
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let (mut sender, stream) = (sender.clone(), n % 2 == 0);
            let body = if stream { streamed_chat("claude", "hi") } else { chat("gpt", "hi") };
            tokio::spawn(async move {
                let answer = sender.send_request(request("/v1/chat/completions", &body)).await.unwrap();
                let status = answer.status();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(status, 200, "{}", text(&body));
                assert_eq!(text(&body).contains("[DONE]"), stream);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn an_http2_client_that_gives_up_a_call_takes_its_provider_call_along() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let mut sender = http2(&gateway).await;
    for script in ["fake-slow-60000", "fake-headers-then-silence", "fake-stall-after-3-chunks"] {
        fake.reset();
        fake.script(Script::from_model(script).unwrap());
        let call = sender.send_request(request("/v1/chat/completions", &streamed_chat("gpt", "hi")));
        let answer = tokio::time::timeout(Duration::from_millis(400), call).await;
        assert!(fake.wait_until(SOON, |calls| !calls.is_empty()).await, "{script}");
        drop(answer);
        let closed = fake.wait_until(SOON, |calls| calls[0].closed_early.is_some()).await;
        assert!(closed, "{script}: the provider's connection stays open");
    }
    fake.reset();
    let answer = sender.send_request(request("/v1/chat/completions", &chat("gpt", "hi"))).await.unwrap();
    assert_eq!(answer.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn an_http2_connection_that_never_opens_properly_is_closed() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "tollway: {timeouts: {read_headers: 1s}}")).await;
    for start in ["P", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let begun = Instant::now();
        gateway.raw(start.as_bytes()).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{start:?}: {:?}", begun.elapsed());
    }
}
