//! Providers that answer strangely.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_testkit::{Chunk, Ending, Reply};

use crate::support::{Gateway, at, chat, config, fake, streamed_chat, surfaces, three};

const ONCE: &str = "router_settings: {num_retries: 0}";

fn answer(text: &str) -> Value {
    json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    })
}

#[tokio::test]
async fn what_is_not_an_answer_is_a_502_on_every_surface() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), ONCE)).await;
    let cut = Reply {
        status: 200,
        chunks: vec![Chunk { after: Duration::ZERO, bytes: Bytes::from_static(b"{\"id\":") }],
        ending: Ending::Cut,
        ..Reply::default()
    };
    let odd = [
        ("a page", Reply::bytes(200, "text/html", "<html>Welcome</html>")),
        ("nothing", Reply::bytes(200, "application/json", "")),
        ("half a document", Reply::bytes(200, "application/json", "{\"id\":\"x\",\"choi")),
        ("a cut document", cut),
        ("a list", Reply::bytes(200, "application/json", "[]")),
        ("a page of a proxy", Reply::bytes(502, "text/html", "<html>Bad Gateway</html>")),
        (
            "a redirect",
            Reply {
                headers: vec![("location".into(), "http://127.0.0.1:9/".into())],
                ..Reply::bytes(302, "text/plain", "")
            },
        ),
        ("not modified", Reply::bytes(304, "text/plain", "")),
    ];
    for (what, reply) in odd {
        for stream in [false, true] {
            for model in ["gpt", "claude", "gem"] {
                for (dialect, surface) in surfaces(model, "hi", stream) {
                    fake.reply_next(reply.clone());
                    let answer = gateway.post(&surface.path, &surface.body).await;
                    let what = format!("{what} from {model} to {dialect}, streamed: {stream}");
                    assert!(
                        matches!(answer.status, 502 | 503),
                        "{what}: {} {}",
                        answer.status,
                        answer.text()
                    );
                    assert!(answer.json()["error"]["message"].is_string(), "{what}: {}", answer.text());
                    assert!(!answer.text().contains("<html>"), "{what}: {}", answer.text());
                    assert_eq!(answer.header("location"), "", "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let (fake, other) = (fake().await, fake().await);
    let gateway = Gateway::start(&config(&three(&fake), ONCE)).await;
    for status in [301, 302, 307, 308] {
        let location = vec![("location".to_owned(), format!("{}/v1/chat/completions", other.url()))];
        fake.reply_next(Reply { headers: location, ..Reply::bytes(status, "text/plain", "") });
        gateway.chat(&chat("gpt", "hi")).await.expect(502);
    }
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn an_error_inside_a_success_is_an_error() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), ONCE)).await;
    let error = json!({ "error": { "message": "quota exceeded", "type": "insufficient_quota", "code": "insufficient_quota" } });
    for stream in [false, true] {
        for (dialect, surface) in surfaces("gpt", "hi", stream) {
            fake.reply_next(Reply::json(200, &error));
            let answer = gateway.post(&surface.path, &surface.body).await;
            assert!(answer.status >= 400, "{dialect} {stream}: {} {}", answer.status, answer.text());
            assert!(answer.text().contains("quota exceeded"), "{dialect} {stream}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn large_requests_and_answers_pass() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), ONCE)).await;
    let large = "x".repeat(12 << 20);
    for model in ["gpt", "claude"] {
        let answer = gateway.chat(&chat(model, &format!("say: {large}"))).await;
        let said = answer.expect(200).json();
        assert_eq!(
            said["choices"][0]["message"]["content"].as_str().map(str::len),
            Some(large.len()),
            "{model}"
        );
    }
    fake.reply_next(Reply::json(200, &answer(&large)));
    let streamed = gateway.chat(&streamed_chat("gpt", "hi")).await;
    assert!(streamed.expect(200).body.len() > large.len());
}

#[tokio::test]
async fn unknown_fields_of_a_provider_reach_clients_of_its_dialect() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), ONCE)).await;
    let mut reply = answer("hi");
    reply["x_future"] = json!({ "deep": [1, { "a": null }], "number": 1.0e-7 });
    let exact = reply.to_string();
    fake.reply_next(Reply::bytes(200, "application/json", exact.clone()));
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    assert_eq!(answer.expect(200).text(), exact.replace("\"model\":\"m\"", "\"model\":\"gpt\""));
}

#[tokio::test]
async fn the_request_of_a_client_of_the_providers_dialect_goes_on_byte_for_byte() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "m", "openai/fake-ok", "")], "")).await;
    let body = "{ \"messages\": [ {\"role\":\"user\", \"content\":\"\\u00e4 \u{e4}\"} ],\n \"model\":\"m\",\"temperature\" : 1.0, \"metadata\":{\"a\":\"b\"} }";
    let bearer = format!("Bearer {}", gateway.key);
    let answer = gateway.send("POST", "/v1/chat/completions", &[("authorization", &bearer)], body).await;
    assert_eq!(answer.status, 200);
    let sent = String::from_utf8(fake.received()[0].body.to_vec()).unwrap();
    let middle = "\"messages\": [ {\"role\":\"user\", \"content\":\"\\u00e4 \u{e4}\"} ]";
    assert!(sent.contains(middle) && sent.contains("\"temperature\" : 1.0"), "{sent}");
    assert_eq!(fake.received()[0].json()["model"], "fake-ok");
    let headers = &fake.received()[0].headers;
    assert!(
        headers.iter().all(|(_, value)| !value.contains(&gateway.key)),
        "the caller's key stays here: {headers:?}"
    );
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_a_502_that_names_no_address() {
    let gateway = Gateway::start(&config(
        &["{model_name: gpt, litellm_params: {model: openai/x, api_base: \"http://127.0.0.1:9/v1\", api_key: k}}".to_owned()],
        ONCE,
    ))
    .await;
    for stream in [false, true] {
        for (dialect, surface) in surfaces("gpt", "hi", stream) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            assert!(answer.expect(502).text().contains("no connection to the provider"), "{dialect}");
            assert!(!answer.text().contains("127.0.0.1"), "{dialect}: {}", answer.text());
        }
    }
}
