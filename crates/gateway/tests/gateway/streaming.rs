//! Streams: keep-alive, failures at every point, usage, timeouts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollway_testkit::{Reply, Script};

use crate::support::{Answer, Gateway, SOON, at, chat, config, fake, streamed_chat, surfaces, three};

const KEEP_ALIVE: &str = "tollway: {timeouts: {keep_alive: 500ms}}\nrouter_settings: {num_retries: 0}";

#[tokio::test]
async fn every_surface_streams_from_every_provider() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for model in ["gpt", "claude", "gem"] {
        for (dialect, surface) in surfaces(model, "say: one two three", true) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            answer.expect(200);
            assert!(answer.header("content-type").starts_with("text/event-stream"), "{dialect} {model}");
            assert_eq!(answer.header("x-accel-buffering"), "no");
            assert_eq!(answer.header("content-length"), "");
            let said: String = answer.events().iter().map(|event| words(dialect, event)).collect();
            assert_eq!(said, "one two three", "{dialect} of {model}: {}", answer.text());
            assert_eq!(answer.text().contains("[DONE]"), dialect == "openai", "{dialect}");
            let receipt = gateway.receipt(&answer.headers).await;
            assert_eq!(
                (&receipt["outcome"], &receipt["finish"]),
                (&json!("answered"), &json!("stop")),
                "{receipt}"
            );
        }
    }
}

/// The text of one event.
fn words(dialect: &str, event: &Value) -> String {
    let text = match dialect {
        "anthropic" => &event["delta"]["text"],
        "gemini" => &event["candidates"][0]["content"]["parts"][0]["text"],
        _ => &event["choices"][0]["delta"]["content"],
    };
    text.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for_and_always_asked_of_the_provider() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for model in ["gpt", "claude", "gem"] {
        let without = gateway.chat(&streamed_chat(model, "hi")).await;
        assert!(
            without.events().iter().all(|event| event.get("usage").is_none_or(Value::is_null)),
            "{model}"
        );
        let mut body = streamed_chat(model, "hi");
        body["stream_options"] = json!({ "include_usage": true });
        let with = gateway.chat(&body).await;
        let last = with.events().pop().unwrap();
        assert_eq!(last["choices"], json!([]), "{model}: {last}");
        assert!(last["usage"]["prompt_tokens"].as_u64().unwrap() > 0, "{model}: {last}");
        assert_eq!(last["model"], model, "{last}");
    }
    let sent = fake.received()[0].json();
    assert_eq!(sent["stream_options"]["include_usage"], true);
}

#[tokio::test]
async fn geminis_array_framing_is_one_json_document() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for model in ["gpt", "claude", "gem"] {
        let path = format!("/v1beta/models/{model}:streamGenerateContent");
        let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "say: a b c" }] }] });
        let answer = gateway.post(&path, &body).await;
        assert!(answer.expect(200).header("content-type").starts_with("application/json"));
        let pieces = answer.json();
        let pieces = pieces.as_array().unwrap();
        let said: String = pieces.iter().map(|piece| words("gemini", piece)).collect();
        assert_eq!(said, "a b c", "{model}");
    }
}

#[tokio::test]
async fn a_silent_provider_gets_the_client_comments_before_and_inside_the_answer() {
    let fake = fake().await;
    let models = [
        at(&fake, "slow", "openai/fake-slow-1300", ""),
        at(&fake, "late", "anthropic/fake-first-byte-1300", ""),
        at(&fake, "halting", "gemini/fake-interval-800", ""),
    ];
    let gateway = Gateway::start(&config(&models, KEEP_ALIVE)).await;
    let run = async |model: &str| {
        for (dialect, surface) in surfaces(model, "say: a b", true) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            answer.expect(200);
            let text = answer.text();
            // Google's clients do not know comments, but skip empty lines.
            let waited = match dialect {
                "gemini" => text.starts_with('\n') || text.contains("\n\n\n"),
                _ => text.matches(": keep-alive\n\n").count() >= if model == "halting" { 1 } else { 2 },
            };
            assert!(waited, "{dialect} {model}: {text}");
            let said: String = answer.events().iter().map(|event| words(dialect, event)).collect();
            assert_eq!(said, "a b", "{dialect} {model}: {text}");
            let receipt = gateway.receipt(&answer.headers).await;
            assert_eq!(receipt["outcome"], "answered", "{receipt}");
            assert!(receipt["timing"]["first_byte_us"].is_u64(), "{receipt}");
        }
    };
    tokio::join!(run("slow"), run("late"), run("halting"));
}

#[tokio::test]
async fn an_array_stays_json_while_its_provider_is_silent() {
    let fake = fake().await;
    let models = [at(&fake, "slow", "openai/fake-slow-1300+interval-800", "")];
    let gateway = Gateway::start(&config(&models, KEEP_ALIVE)).await;
    let body = json!({ "contents": [{ "role": "user", "parts": [{ "text": "say: a b" }] }] });
    let answer = gateway.post("/v1beta/models/slow:streamGenerateContent", &body).await;
    let pieces = answer.expect(200).json();
    assert!(answer.text().starts_with('\n'));
    let said: String = pieces.as_array().unwrap().iter().map(|piece| words("gemini", piece)).collect();
    assert_eq!(said, "a b");
}

#[tokio::test]
async fn a_provider_that_keeps_its_connection_after_the_end_holds_nobody_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 16 << 10]).await;
        let chunk = |fields: Value| {
            let mut chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"});
            chunk.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            format!("data: {chunk}\n\n")
        };
        let frames =
            chunk(json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}))
                + &chunk(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
                + "data: [DONE]\n\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let said = format!("{head}{:x}\r\n{frames}\r\n", frames.len());
        connection.write_all(said.as_bytes()).await.unwrap();
        // The last chunk, which says that the body is over, never comes.
        tokio::time::sleep(Duration::from_secs(120)).await;
    });
    let model = format!(
        "{{model_name: lingering, litellm_params: {{model: openai/m, api_base: \"{base}\", api_key: pk-x}}}}"
    );
    let gateway = Gateway::start(&config(&[model], KEEP_ALIVE)).await;
    let began = Instant::now();
    let answer = gateway.chat(&streamed_chat("lingering", "hi")).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert_eq!(gateway.receipt(&answer.headers).await["outcome"], "answered");
}

#[tokio::test]
async fn a_failure_before_the_first_event_keeps_its_status() {
    let fake = fake().await;
    let models = [
        at(&fake, "busy", "openai/fake-error-503", ""),
        at(&fake, "empty", "openai/fake-empty", ""),
        at(&fake, "broken", "anthropic/fake-reset", ""),
        at(&fake, "wrong", "gemini/fake-error-400", ""),
        at(&fake, "long", "anthropic/fake-context-window", ""),
        at(&fake, "early", "openai/fake-error-mid-stream-0", ""),
        at(&fake, "junk", "gemini/fake-malformed-after-0", ""),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {num_retries: 0}")).await;
    let expected = [
        ("busy", 503..=503),
        ("empty", 502..=502),
        ("broken", 502..=502),
        ("wrong", 400..=400),
        ("long", 400..=400),
        ("early", 500..=503),
        ("junk", 500..=503),
    ];
    for (model, statuses) in expected {
        for (dialect, surface) in surfaces(model, "hi", true) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            assert!(
                statuses.contains(&answer.status),
                "{dialect} {model}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(answer.header("content-type").starts_with("application/json"), "{dialect} {model}");
            assert!(answer.json()["error"]["message"].is_string(), "{dialect} {model}");
        }
    }
}

/// Is the answer's end an error as clients of `dialect` know it?
#[track_caller]
fn expect_error_event(dialect: &str, answer: &Answer) {
    answer.expect(200);
    let text = answer.text();
    let last = answer.events().pop().unwrap_or_default();
    assert!(last["error"]["message"].is_string(), "{dialect}: {text}");
    match dialect {
        "anthropic" => {
            assert!(text.contains("event: error\ndata: "), "{text}");
            assert_eq!(last["type"], "error", "{text}");
            assert!(!text.contains("message_stop"), "{text}");
        }
        "gemini" => assert!(last["error"]["code"].is_u64() && last["error"]["status"].is_string(), "{text}"),
        _ => assert!(text.trim_end().ends_with("data: [DONE]"), "{text}"),
    }
}

#[tokio::test]
async fn a_failure_inside_a_stream_is_an_error_event_in_the_callers_dialect() {
    let fake = fake().await;
    let mut models = Vec::new();
    for provider in ["openai", "anthropic", "gemini"] {
        for fault in ["error-mid-stream-5", "cut-after-5-chunks", "reset-after-5-chunks", "malformed-after-5"]
        {
            models.push(at(&fake, &format!("{provider}-{fault}"), &format!("{provider}/fake-{fault}"), ""));
        }
    }
    let gateway = Gateway::start(&config(&models, "")).await;
    for provider in ["openai", "anthropic", "gemini"] {
        for fault in ["error-mid-stream-5", "cut-after-5-chunks", "reset-after-5-chunks", "malformed-after-5"]
        {
            let model = format!("{provider}-{fault}");
            for (dialect, surface) in surfaces(&model, "say: a b c d e f g", true) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                expect_error_event(dialect, &answer);
                let receipt = gateway.receipt(&answer.headers).await;
                assert_eq!(
                    (&receipt["outcome"], &receipt["status"]),
                    (&json!("failed"), &json!(200)),
                    "{receipt}"
                );
                assert_eq!(
                    receipt["attempts"].as_array().unwrap().len(),
                    1,
                    "nothing is retried after the first byte"
                );
            }
            let path = format!("/v1beta/models/{model}:streamGenerateContent");
            let body =
                json!({ "contents": [{ "role": "user", "parts": [{ "text": "say: a b c d e f g" }] }] });
            let answer = gateway.post(&path, &body).await;
            let pieces = answer.expect(200).json();
            let pieces = pieces.as_array().unwrap();
            assert!(
                pieces.len() > 1 && pieces.last().unwrap()["error"]["message"].is_string(),
                "{model}: {pieces:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_failure_after_a_comment_is_an_error_event_too() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), KEEP_ALIVE)).await;
    for (dialect, surface) in surfaces("gpt", "hi", true) {
        let refusal =
            Reply::json(500, &json!({ "error": { "message": "out of order", "type": "server_error" } }));
        fake.reply_next(Reply { wait: Duration::from_millis(900), ..refusal });
        let answer = gateway.post(&surface.path, &surface.body).await;
        expect_error_event(dialect, &answer);
        let first = if dialect == "gemini" { "\n" } else { ": keep-alive\n\n" };
        assert!(answer.text().starts_with(first), "{}", answer.text());
        assert!(answer.text().contains("out of order"));
        assert_eq!(gateway.receipt(&answer.headers).await["outcome"], "failed");
    }
}

#[tokio::test]
async fn a_whole_answer_in_place_of_a_stream_is_streamed() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let whole = json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "all at once" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    });
    for (dialect, surface) in surfaces("gpt", "hi", true) {
        fake.reply_next(Reply::json(200, &whole));
        let answer = gateway.post(&surface.path, &surface.body).await;
        let said: String = answer.expect(200).events().iter().map(|event| words(dialect, event)).collect();
        assert_eq!(said, "all at once", "{dialect}: {}", answer.text());
    }
}

#[tokio::test]
async fn comments_and_any_chunking_of_a_provider_do_not_matter() {
    let fake = fake().await;
    let mut models = Vec::new();
    for provider in ["openai", "anthropic", "gemini"] {
        for size in [1, 7, 4096] {
            let model = format!("{provider}/fake-comments+chunk-{size}");
            models.push(at(&fake, &format!("{provider}-{size}"), &model, ""));
        }
    }
    let gateway = Gateway::start(&config(&models, "")).await;
    for provider in ["openai", "anthropic", "gemini"] {
        for size in [1, 7, 4096] {
            for (dialect, surface) in surfaces(&format!("{provider}-{size}"), "say: ä b \u{1f980}", true) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                let said: String =
                    answer.expect(200).events().iter().map(|event| words(dialect, event)).collect();
                assert_eq!(said, "ä b \u{1f980}", "{dialect} of {provider} in {size}");
            }
        }
    }
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-stall-after-3-chunks", ""),
        at(&fake, "claude", "anthropic/fake-stall-after-5-chunks", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    for model in ["gpt", "claude"] {
        for (dialect, surface) in surfaces(model, "say: alpha beta gamma delta", true) {
            let begun = Instant::now();
            let mut answer = gateway.open(&surface.path, &surface.body).await;
            answer.until("alpha").await;
            assert!(begun.elapsed() < SOON / 2, "{dialect} {model}");
        }
    }
}

#[tokio::test]
async fn every_wait_has_its_timeout() {
    let fake = fake().await;
    let models = [
        at(&fake, "slow", "openai/fake-slow-20000", ""),
        at(&fake, "silent", "openai/fake-headers-then-silence", ""),
        at(&fake, "stalled", "anthropic/fake-stall-after-4-chunks", ""),
        at(&fake, "endless", "openai/fake-interval-300+tokens-100", ""),
        at(&fake, "own", "openai/fake-slow-20000+id-own", ", timeout: 0.4"),
        at(&fake, "streamed", "openai/fake-slow-20000+id-streamed", ", stream_timeout: 0.4"),
    ];
    let rest =
        "tollway: {timeouts: {first_byte: 1s, idle: 1s, keep_alive: 30s}}\nrouter_settings: {num_retries: 0}";
    let gateway = &Gateway::start(&config(&models, rest)).await;
    let status = async |body: Value| {
        let begun = Instant::now();
        let answer = gateway.chat(&body).await;
        assert!(begun.elapsed() < Duration::from_secs(6), "{body}: {:?}", begun.elapsed());
        answer
    };
    let slow = async {
        let answer = status(chat("slow", "hi")).await;
        assert!(answer.expect(408).text().contains("within 1 s"), "{}", answer.text());
        status(streamed_chat("slow", "hi")).await.expect(408);
    };
    let silent = async {
        status(streamed_chat("silent", "hi")).await.expect(408);
        status(chat("silent", "hi")).await.expect(408);
    };
    let stalled = async {
        for (dialect, surface) in surfaces("stalled", "say: a b c d e f", true) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            expect_error_event(dialect, &answer);
            assert!(answer.text().contains("sent nothing more within 1 s"), "{}", answer.text());
        }
    };
    let total = async {
        let mut body = streamed_chat("endless", "hi");
        body["timeout"] = json!(1.2);
        let answer = status(body).await;
        expect_error_event("openai", &answer);
        assert!(answer.text().contains("within 1.200 s"), "{}", answer.text());
        let limit = [("x-litellm-timeout", "0.3")];
        let answer = gateway.post_with("/v1/chat/completions", &limit, &chat("slow", "hi")).await;
        assert!(answer.expect(408).text().contains("0.300 s"), "{}", answer.text());
    };
    let own = async {
        assert!(status(chat("own", "hi")).await.expect(408).text().contains("0.400 s"));
        assert!(status(streamed_chat("streamed", "hi")).await.expect(408).text().contains("0.400 s"));
    };
    tokio::join!(slow, silent, stalled, total, own);
}

#[tokio::test]
async fn a_reader_that_stops_reading_does_not_hold_the_provider_for_ever() {
    let fake = fake().await;
    fake.script(Script { tokens: Some(100_000), ..Script::default() });
    let gateway = Gateway::start(&config(&three(&fake), "tollway: {timeouts: {write: 1s}}")).await;
    // 100 000 tokens as single events are far more than the sockets' buffers hold.
    let answer = gateway.open("/v1/chat/completions", &streamed_chat("gpt", "hi")).await;
    assert_eq!(answer.status, 200);
    let closed = fake.wait_until(SOON, |calls| calls.iter().any(|call| call.closed_early.is_some())).await;
    assert!(closed, "the provider's connection stays open");
    drop(answer);
}
