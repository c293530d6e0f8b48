//! Trying again, and trying elsewhere.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_testkit::Script;

use crate::support::{Gateway, at, chat, config, fake, streamed_chat, surfaces};

fn script(name: &str) -> Script {
    Script::from_model(name).unwrap()
}

fn attempts(receipt: &Value) -> &Vec<Value> {
    receipt["attempts"].as_array().unwrap()
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_as_long_as_the_provider_asks() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", "")], "")).await;
    fake.script_next(script("fake-ratelimit-1"));
    let begun = Instant::now();
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer.expect(200).header("x-litellm-attempted-retries"), "1");
    let receipt = gateway.receipt(&answer.headers).await;
    let first = &attempts(&receipt)[0];
    assert_eq!((&first["error"]["kind"], &first["error"]["status"]), (&json!("rate_limit"), &json!(429)));
    assert_eq!(first["then"], "tried again after 1000 ms");
    assert!(
        receipt["timing"]["overhead_us"].as_u64().unwrap() < 900_000,
        "the pause is not the gateway's: {receipt}"
    );
    assert_eq!(attempts(&receipt).len(), 2);
}

#[tokio::test]
async fn a_failing_provider_is_tried_again_on_every_surface_streamed_or_not() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", "")], "")).await;
    for stream in [false, true] {
        for (dialect, surface) in surfaces("gpt", "hi", stream) {
            fake.script_next(script("fake-error-500"));
            let answer = gateway.post(&surface.path, &surface.body).await;
            answer.expect(200);
            assert_eq!(attempts(&gateway.receipt(&answer.headers).await).len(), 2, "{dialect} {stream}");
        }
    }
    fake.script_next(script("fake-error-mid-stream-0"));
    let answer = gateway.chat(&streamed_chat("gpt", "hi")).await;
    assert!(!answer.expect(200).text().contains("error"), "{}", answer.text());
}

#[tokio::test]
async fn retries_end_and_the_last_failure_is_told() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-error-500", "")], "")).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    answer.expect(500);
    assert_eq!(fake.received().len(), 3);
    let receipt = gateway.receipt(&answer.headers).await;
    assert_eq!((&receipt["outcome"], &receipt["status"]), (&json!("failed"), &json!(500)));
    assert_eq!(attempts(&receipt)[2]["then"], "gave up: no retry left");
}

#[tokio::test]
async fn how_often_is_tried_is_the_callers_then_the_deployments_then_the_files_choice() {
    let fake = fake().await;
    let models = [
        at(&fake, "plain", "openai/fake-error-500+id-1", ""),
        at(&fake, "own", "openai/fake-error-500+id-2", ", num_retries: 1"),
    ];
    let gateway = Gateway::start(&config(&models, "litellm_settings: {num_retries: 0}")).await;
    let tries = async |headers: &[(&str, &str)], body: Value| {
        let before = fake.received().len();
        gateway.post_with("/v1/chat/completions", headers, &body).await.expect(500);
        fake.received().len() - before
    };
    assert_eq!(tries(&[], chat("plain", "hi")).await, 1);
    assert_eq!(tries(&[], chat("own", "hi")).await, 2);
    assert_eq!(tries(&[("x-litellm-num-retries", "1")], chat("plain", "hi")).await, 2);
    let mut body = chat("own", "hi");
    body["num_retries"] = json!(0);
    assert_eq!(tries(&[("x-litellm-num-retries", "3")], body).await, 1);
}

#[tokio::test]
async fn a_wrong_request_is_not_tried_again() {
    let fake = fake().await;
    let models =
        [at(&fake, "gpt", "openai/fake-error-400", ""), at(&fake, "gpt", "openai/fake-error-400+id-2", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    answer.expect(400);
    assert_eq!(fake.received().len(), 1);
    let receipt = gateway.receipt(&answer.headers).await;
    assert_eq!(attempts(&receipt)[0]["then"], "gave up: trying again cannot help");
}

#[tokio::test]
async fn a_pause_that_is_too_long_ends_the_call_and_is_told() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ratelimit-100", "")], "")).await;
    let begun = Instant::now();
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(answer.expect(429).header("retry-after"), "100");
    assert_eq!(answer.json()["error"]["type"], "rate_limit_exceeded");
    assert_eq!(fake.received().len(), 1);
}

#[tokio::test]
async fn a_failing_deployment_gives_way_to_the_next_of_its_group() {
    let fake = fake().await;
    let failures = [
        "error-500",
        "error-503",
        "error-401",
        "error-403",
        "error-404",
        "ratelimit-50",
        "reset",
        "model-not-found",
    ];
    let mut models = Vec::new();
    for failure in failures {
        models.push(at(&fake, failure, &format!("openai/fake-{failure}"), ", weight: 1000000"));
        models.push(at(&fake, failure, "anthropic/fake-ok", ", weight: 0.000001"));
    }
    let gateway = Gateway::start(&config(&models, "")).await;
    for failure in failures {
        let begun = Instant::now();
        let answer = gateway.chat(&chat(failure, "hi")).await;
        assert_eq!(answer.expect(200).json()["model"], failure);
        assert!(begun.elapsed() < Duration::from_secs(3), "{failure}: {:?}", begun.elapsed());
        let receipt = gateway.receipt(&answer.headers).await;
        let attempts = attempts(&receipt);
        assert_eq!(attempts.len(), 2, "{failure}");
        assert_eq!(attempts[0]["then"], "tried the next deployment", "{failure}");
        assert_eq!(
            (&attempts[1]["provider"], &attempts[1]["lane"]),
            (&json!("anthropic"), &json!("anthropic"))
        );
        assert_eq!(answer.header("x-litellm-model-id"), attempts[1]["deployment"]);
    }
}

#[tokio::test]
async fn a_refused_key_is_tried_elsewhere_only() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-error-401", "")], "")).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    answer.expect(401);
    assert_eq!(answer.header("www-authenticate"), "", "the caller's own key is fine");
    assert_eq!(fake.received().len(), 1);
    let receipt = gateway.receipt(&answer.headers).await;
    assert_eq!(attempts(&receipt)[0]["then"], "gave up: there is no other deployment");
}

#[tokio::test]
async fn traffic_follows_the_weights_and_the_order() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-ok+id-heavy", ", weight: 9"),
        at(&fake, "gpt", "openai/fake-ok+id-light", ", weight: 1"),
        at(&fake, "first", "openai/fake-ok+id-second", ", order: 2"),
        at(&fake, "first", "openai/fake-ok+id-first", ", order: 1"),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    for _ in 0..100 {
        gateway.chat(&chat("gpt", "hi")).await.expect(200);
    }
    let heavy = fake.received().iter().filter(|call| call.json()["model"] == "fake-ok+id-heavy").count();
    assert!((75..=99).contains(&heavy), "{heavy}");
    fake.reset();
    for _ in 0..20 {
        gateway.chat(&chat("first", "hi")).await.expect(200);
    }
    assert!(fake.received().iter().all(|call| call.json()["model"] == "fake-ok+id-first"));
}

#[tokio::test]
async fn a_deployment_that_cannot_be_called_is_skipped_with_its_reason() {
    let fake = fake().await;
    let broken = "{model_name: gpt, litellm_params: {model: openai/gpt-4o}}".to_owned();
    let models = [broken, at(&fake, "gpt", "openai/fake-ok", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    answer.expect(200);
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(receipt["skipped"][0]["reason"].as_str().unwrap().contains("OPENAI_API_KEY"), "{receipt}");
}
