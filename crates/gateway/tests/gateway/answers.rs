//! What is in answers beside the answer: headers, costs, notices.

use serde_json::json;
use tollway_testkit::Reply;

use crate::support::{Answer, Gateway, at, chat, config, fake, streamed_chat, surfaces, three};

/// Prices with more digits than a float holds exactly in a sum.
const PRICES: &str = ", input_cost_per_token: 0.0000011, output_cost_per_token: 0.0000073";

#[tokio::test]
async fn headers_tell_the_path_of_a_call() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", PRICES)], "")).await;
    let id = [("x-litellm-call-id", "my-call.1:2_3")];
    let answer = gateway.post_with("/v1/chat/completions", &id, &chat("gpt", "hi")).await;
    answer.expect(200);
    assert_eq!(answer.header("x-litellm-call-id"), "my-call.1:2_3");
    assert_eq!(answer.header("x-litellm-model-group"), "gpt");
    assert_eq!(answer.header("x-litellm-model-id").len(), 64);
    assert_eq!(answer.header("x-litellm-model-api-base"), format!("{}/v1", fake.url()));
    assert_eq!(answer.header("x-litellm-version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(answer.header("x-tollway-notices"), "");
    assert_eq!(answer.header("x-request-id"), answer.header("x-tollway-receipt"));
    assert_eq!(answer.header("x-tollway-receipt").len(), 36);
    assert!(answer.header("llm_provider-x-request-id").starts_with("req_"));
    for name in ["x-litellm-response-duration-ms", "x-litellm-overhead-duration-ms"] {
        let millis: f64 = answer.header(name).parse().unwrap();
        assert!((0.0..5000.0).contains(&millis), "{name}: {millis}");
    }
    let receipt = gateway.receipt_by_id("my-call.1:2_3").await;
    assert_eq!(receipt["id"], answer.header("x-tollway-receipt"));
}

#[tokio::test]
async fn an_id_that_could_do_harm_is_replaced() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let long = "x".repeat(200);
    for id in ["a b", "<script>", "", &long] {
        let id = [("x-litellm-call-id", id)];
        let answer = gateway.post_with("/v1/chat/completions", &id, &chat("gpt", "hi")).await;
        assert_eq!(answer.header("x-litellm-call-id"), answer.header("x-tollway-receipt"), "{id:?}");
    }
}

/// Dollars of so many tokens at [`PRICES`], from whole numbers.
fn dollars(input: u64, output: u64) -> String {
    let nanos = input * 1100 + output * 7300;
    format!("0.{nanos:09}").trim_end_matches('0').to_owned()
}

fn usage(answer: &Answer) -> (u64, u64) {
    let usage = &answer.json()["usage"];
    (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap())
}

#[tokio::test]
async fn the_cost_of_a_priced_model_is_exact_and_the_same_streamed() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-ok", PRICES),
        at(&fake, "claude", "anthropic/fake-ok", PRICES),
        at(&fake, "gem", "gemini/fake-ok", PRICES),
        at(&fake, "free", "openai/fake-ok", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    for model in ["gpt", "claude", "gem"] {
        let answer = gateway.chat(&chat(model, "tell me a story")).await;
        let (input, output) = usage(&answer);
        let expected = dollars(input, output);
        assert_eq!(answer.header("x-litellm-response-cost"), expected, "{model}");
        let whole = gateway.receipt(&answer.headers).await;
        assert_eq!(whole["cost"]["usd"], expected.as_str());
        for (dialect, surface) in surfaces(model, "tell me a story", true) {
            let streamed = gateway.post(&surface.path, &surface.body).await;
            let streamed = gateway.receipt(&streamed.headers).await;
            assert_eq!(streamed["usage"], whole["usage"], "{dialect} {model}");
            assert_eq!(streamed["cost"], whole["cost"], "{dialect} {model}");
            assert_eq!(streamed["finish"], "stop");
        }
        for (dialect, surface) in surfaces(model, "tell me a story", false) {
            let other = gateway.post(&surface.path, &surface.body).await;
            let other = gateway.receipt(&other.headers).await;
            assert_eq!(
                (&other["usage"], &other["cost"]),
                (&whole["usage"], &whole["cost"]),
                "{dialect} {model}"
            );
        }
    }
    let unknown = gateway.chat(&chat("free", "hi")).await;
    assert_eq!(unknown.expect(200).header("x-litellm-response-cost"), "", "unknown is not free");
    assert_eq!(gateway.receipt(&unknown.headers).await["cost"]["usd"], json!(null));
}

#[tokio::test]
async fn the_time_a_stream_takes_is_not_the_gateways_own() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-interval-200", "")], "")).await;
    let answer = gateway.chat(&streamed_chat("gpt", "say: a b c d e f g h i j")).await;
    let timing = gateway.receipt(&answer.expect(200).headers).await["timing"].clone();
    let micros = |name: &str| timing[name].as_u64().unwrap();
    assert!(micros("total_us") > 600_000, "{timing}");
    assert!(micros("overhead_us") <= micros("first_byte_us") && micros("overhead_us") < 300_000, "{timing}");
}

#[tokio::test]
async fn the_providers_headers_are_passed_on_with_a_prefix() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let mut reply = Reply::json(
        200,
        &json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x" }, "finish_reason": "stop" }] }),
    );
    for (name, value) in [
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-limit-tokens", "90000"),
        ("openai-processing-ms", "12"),
        ("set-cookie", "session=secret"),
        ("x-litellm-model-id", "spoofed"),
    ] {
        reply.headers.push((name.to_owned(), value.to_owned()));
    }
    fake.reply_next(reply);
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    answer.expect(200);
    assert_eq!(answer.header("llm_provider-x-ratelimit-remaining-requests"), "59");
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "59");
    assert_eq!(answer.header("x-ratelimit-limit-tokens"), "90000");
    assert_eq!(answer.header("llm_provider-openai-processing-ms"), "12");
    assert_eq!((answer.header("set-cookie"), answer.header("llm_provider-set-cookie")), ("", ""));
    assert_eq!(answer.header("x-litellm-model-id").len(), 64);
    assert_eq!(answer.headers.get_all("content-type").iter().count(), 1);
}

#[tokio::test]
async fn the_model_is_shown_as_the_caller_named_it() {
    let fake = fake().await;
    let gateway =
        Gateway::start(&config(&three(&fake), "router_settings: {model_group_alias: {smart: claude}}")).await;
    for model in ["gpt", "claude", "gem", "smart"] {
        assert_eq!(gateway.chat(&chat(model, "hi")).await.expect(200).json()["model"], model);
        let [_, (_, messages), _] = surfaces(model, "hi", false);
        assert_eq!(gateway.post(&messages.path, &messages.body).await.expect(200).json()["model"], model);
        let streamed = gateway.chat(&streamed_chat(model, "hi")).await;
        assert!(streamed.events().iter().all(|event| event["model"] == model), "{}", streamed.text());
    }
}

#[tokio::test]
async fn what_a_provider_cannot_do_is_refused_or_left_out_with_a_notice() {
    let fake = fake().await;
    let models = [
        at(&fake, "claude", "anthropic/fake-ok", ""),
        at(&fake, "lenient", "anthropic/fake-ok+id-lenient", ", drop_params: true"),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let biased = |model: &str| {
        let mut body = chat(model, "hi");
        body["logit_bias"] = json!({ "50256": -100 });
        body
    };
    let refused = gateway.chat(&biased("claude")).await;
    let error = refused.expect(400).json()["error"].clone();
    assert_eq!(error["param"], "logit_bias");
    assert!(error["message"].as_str().unwrap().contains("drop_params"), "{error}");
    assert_eq!(gateway.receipt(&refused.headers).await["status"], 400);
    assert!(fake.received().is_empty());
    let mut asked = biased("claude");
    asked["drop_params"] = json!(true);
    for body in [asked, biased("lenient")] {
        let answer = gateway.chat(&body).await;
        assert!(
            answer.expect(200).header("x-tollway-notices").starts_with("logit_bias: "),
            "{:?}",
            answer.headers
        );
        let receipt = gateway.receipt(&answer.headers).await;
        assert_eq!(receipt["notices"][0]["field"], "logit_bias", "{receipt}");
    }
    let mut strict = biased("lenient");
    strict["drop_params"] = json!(false);
    gateway.chat(&strict).await.expect(400);
}

#[tokio::test]
async fn the_file_can_leave_out_what_providers_cannot_do() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "litellm_settings: {drop_params: true}")).await;
    let mut body = streamed_chat("gem", "hi");
    body["logit_bias"] = json!({ "50256": -100 });
    let answer = gateway.chat(&body).await;
    assert!(answer.expect(200).header("x-tollway-notices").contains("logit_bias: "), "{:?}", answer.headers);
}

#[tokio::test]
async fn fields_for_the_gateway_do_not_reach_the_provider_and_are_noticed() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let mut body = chat("gpt", "hi");
    body["cache"] = json!({ "no-cache": true });
    body["metadata"] = json!({ "tags": ["a"], "nested": {} });
    body["num_retries"] = json!(1);
    body["unknown_to_us"] = json!([1, 2]);
    let answer = gateway.chat(&body).await;
    let notices = answer.expect(200).header("x-tollway-notices");
    assert!(notices.contains("cache: ") && notices.contains("metadata: "), "{notices}");
    let receipt = gateway.receipt(&answer.headers).await;
    let fields: Vec<_> =
        receipt["notices"].as_array().unwrap().iter().map(|notice| notice["field"].clone()).collect();
    assert_eq!(fields, ["cache", "metadata"], "{receipt}");
    let sent = fake.received()[0].json();
    let keys: Vec<_> = sent.as_object().unwrap().keys().cloned().collect();
    assert!(keys.contains(&"unknown_to_us".to_owned()), "{sent}");
    for gone in ["cache", "metadata", "num_retries"] {
        assert!(!keys.contains(&gone.to_owned()), "{sent}");
    }
}

#[tokio::test]
async fn a_refusal_has_its_headers_too() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let id = [("x-litellm-call-id", "mine")];
    let answer = gateway.post_with("/v1/chat/completions", &id, &chat("gptx", "hi")).await;
    let error = answer.expect(400).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("did you mean gpt?"), "{error}");
    assert_eq!(error["param"], "model");
    assert_eq!(answer.header("x-litellm-call-id"), "mine");
    let receipt = gateway.receipt(&answer.headers).await;
    assert_eq!((&receipt["outcome"], &receipt["status"]), (&json!("refused"), &json!(400)));
}

#[tokio::test]
async fn a_caller_may_name_fields_to_leave_out_and_fields_to_send_all_the_same() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "groq/fake-ok", ""), at(&fake, "claude", "anthropic/fake-ok", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let mut body = chat("gpt", "hi");
    body["logprobs"] = json!(true);
    let refused = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "logprobs");
    body["allowed_openai_params"] = json!(["logprobs"]);
    gateway.post("/v1/chat/completions", &body).await.expect(200);
    let sent = fake.received().last().unwrap().json();
    assert_eq!((&sent["logprobs"], sent.get("allowed_openai_params")), (&json!(true), None));

    let mut body = chat("claude", "hi");
    body["seed"] = json!(7);
    gateway.post("/v1/chat/completions", &body).await.expect(400);
    body["additional_drop_params"] = json!(["seed", "nothing"]);
    let answer = gateway.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.expect(200).header("x-tollway-notices"), "");
    assert_eq!(fake.received().last().unwrap().json().get("additional_drop_params"), None);
}

#[tokio::test]
async fn clients_whose_dialect_tells_usage_get_an_estimate_where_the_provider_tells_none() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-no-usage", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    for stream in [false, true] {
        for (dialect, surface) in surfaces("gpt", "say: one two three four five six seven", stream) {
            if dialect == "openai" {
                continue;
            }
            let answer = gateway.post(&surface.path, &surface.body).await;
            answer.expect(200);
            let told = match (dialect, stream) {
                (_, false) => answer.json(),
                ("anthropic", true) => {
                    let events = answer.events();
                    events.into_iter().find(|event| event["type"] == "message_delta").unwrap()
                }
                (_, true) => answer.events().pop().unwrap(),
            };
            let counts = match dialect {
                "anthropic" => [&told["usage"]["input_tokens"], &told["usage"]["output_tokens"]],
                _ => {
                    let usage = &told["usageMetadata"];
                    [&usage["promptTokenCount"], &usage["candidatesTokenCount"]]
                }
            };
            for count in counts {
                assert!((5..100).contains(&count.as_u64().unwrap()), "{dialect} {stream}: {told}");
            }
            assert_eq!(gateway.receipt(&answer.headers).await["usage"]["estimated"], true);
        }
    }
}
