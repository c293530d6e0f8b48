//! Budgets, prices and receipts at their edges, from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_testkit::FakeProvider;

use crate::support::{Answer, Gateway, KEY, SOON, Start, at, chat, config, fake};

/// A dollar for a thousand tokens.
const PRICE: &str = ", input_cost_per_token: 0.001, output_cost_per_token: 0.001";

async fn key(gateway: &Gateway, wanted: Value) -> String {
    let made = gateway.post("/key/generate", &wanted).await;
    made.expect(200).json()["key"].as_str().unwrap().to_owned()
}

async fn post_as(gateway: &Gateway, key: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    gateway.send("POST", path, &headers, body.to_owned()).await.read().await
}

async fn ask_as(gateway: &Gateway, key: &str, model: &str) -> Answer {
    let mut body = chat(model, "hi");
    body["max_tokens"] = json!(16);
    post_as(gateway, key, "/v1/chat/completions", &body.to_string()).await
}

fn reasons(receipt: &Value) -> String {
    let skipped = receipt["skipped"].as_array().cloned().unwrap_or_default();
    skipped.iter().map(|one| format!("{}: {}; ", one["deployment"], one["reason"])).collect()
}

/// A deployment with an id of its own.
fn with_id(fake: &FakeProvider, name: &str, id: &str, more: &str) -> String {
    let whole = at(fake, name, &format!("openai/fake-ok+id-{id}"), &format!("{PRICE}{more}"));
    format!("{}, model_info: {{id: {id}}}}}", whole.strip_suffix('}').unwrap())
}

#[tokio::test]
async fn a_deployment_over_its_budget_is_passed_over_until_none_is_left() {
    let fake = fake().await;
    let models = [
        with_id(&fake, "g", "small", ", order: 1, max_budget: 0.05, budget_duration: 1d"),
        with_id(&fake, "g", "large", ", order: 2, max_budget: 0.1, budget_duration: 1d"),
    ];
    let configuration =
        config(&models, "router_settings: {optional_pre_call_checks: [router_budget_limiting]}");
    let gateway = Gateway::start(&configuration).await;
    let (mut small, mut large) = (0, 0);
    let refused = loop {
        let answer = ask_as(&gateway, KEY, "g").await;
        if answer.status != 200 {
            break answer;
        }
        let receipt = gateway.receipt(&answer.headers).await;
        let nanos = receipt["cost"]["nanos"].as_i64().unwrap();
        match answer.header("x-litellm-model-id") {
            "small" => small += nanos,
            _ => {
                assert!(reasons(&receipt).contains("\"small\": \"its budget is used up until "), "{receipt}");
                large += nanos;
            }
        }
        assert!(small <= 50_000_000 && large <= 100_000_000, "{small} {large}");
    };
    assert!(small > 0 && large > 0, "{small} {large}");
    let error = &refused.expect(429).json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("Budget has been exceeded for every deployment of g") && message.contains("large")
    );
    assert!(refused.headers.contains_key("retry-after"));
    let receipt = gateway.receipt(&refused.headers).await;
    assert_eq!((&receipt["outcome"], &receipt["attempts"]), (&json!("refused"), &json!([])), "{receipt}");
    assert!(gateway.log().find("not built").is_none(), "{}", gateway.log());

    // The books say the same: after a new start the budgets are still used up.
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    ask_as(&gateway, KEY, "g").await.expect(429);
}

#[tokio::test]
async fn providers_and_tags_have_budgets() {
    let fake = fake().await;
    let models = [
        with_id(&fake, "one", "one", ""),
        with_id(&fake, "two", "two", ""),
        at(&fake, "other", "anthropic/fake-ok", PRICE),
    ];
    let rest = "router_settings: {fallbacks: [{two: [other]}], provider_budget_config: {openai: {budget_limit: 0.05, \
                time_period: 1d}}}\nlitellm_settings: {tag_budget_config: {web: {max_budget: 0.05, budget_duration: 1d}}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    while ask_as(&gateway, KEY, "one").await.status == 200 {}
    let error = ask_as(&gateway, KEY, "one").await.expect(429).json();
    assert!(
        error["error"]["message"].as_str().unwrap().contains("its provider openai is used up"),
        "{error}"
    );
    // What is called instead does not belong to that provider.
    let answer = ask_as(&gateway, KEY, "two").await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "other");

    let mut tagged = chat("other", "hi");
    (tagged["max_tokens"], tagged["metadata"]) = (json!(16), json!({ "tags": ["web"] }));
    let refused = loop {
        let answer = gateway.chat(&tagged).await;
        if answer.status != 200 {
            break answer;
        }
    };
    let error = refused.expect(422).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("Tag=web"), "{error}");
    ask_as(&gateway, KEY, "other").await.expect(200);
}

#[tokio::test]
async fn a_limit_of_a_model_holds_under_every_name_of_it() {
    let fake = fake().await;
    let models = [with_id(&fake, "g", "d1", "")];
    let gateway = Gateway::start(&config(&models, "router_settings: {model_group_alias: {smart: g}}")).await;
    for limited in ["g", "smart"] {
        let key = key(&gateway, json!({ "model_rpm_limit": { limited: 3 } })).await;
        for name in ["g", "smart", "d1"] {
            let answer = ask_as(&gateway, &key, name).await;
            let receipt = gateway.receipt(&answer.expect(200).headers).await;
            assert_eq!(receipt["attempts"][0]["group"], Value::Null, "{receipt}");
        }
        for name in ["g", "smart", "d1"] {
            ask_as(&gateway, &key, name).await.expect(429);
        }
    }
    // The money of all of them is in one sum, so that it is the same after a new start.
    let key = key(&gateway, json!({ "model_max_budget": { "smart": { "budget_limit": 0.05 } } })).await;
    while ask_as(&gateway, &key, "d1").await.status == 200 {}
    ask_as(&gateway, &key, "g").await.expect(422);
}

#[tokio::test]
async fn a_call_on_a_budget_does_not_go_where_nobody_knows_the_price() {
    let fake = fake().await;
    // At the provider's own address; nothing is ever sent there.
    let unpriced = "{model_name: unpriced, litellm_params: {model: openai/fake-ok, api_key: k}}".to_owned();
    let models = [
        unpriced,
        at(&fake, "priced", "openai/fake-error-500", PRICE),
        at(&fake, "own", "hosted_vllm/fake-ok", ""),
        at(&fake, "elsewhere", "openai/fake-ok", ""),
        at(&fake, "spare", "openai/fake-ok", PRICE),
    ];
    let rest = "router_settings: {num_retries: 0, disable_cooldowns: true, fallbacks: [{priced: [unpriced, spare]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let budgeted = key(&gateway, json!({ "max_budget": 100 })).await;
    let refused = ask_as(&gateway, &budgeted, "unpriced").await;
    let error = refused.expect(403).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("input_cost_per_token"), "{error}");
    assert!(fake.received().is_empty());
    // A fallback without a price is passed over, too.
    let answer = ask_as(&gateway, &budgeted, "priced").await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "spare");
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(
        reasons(&receipt).contains("its price is not known, and the call counts against a budget"),
        "{receipt}"
    );
    // Nobody sends bills for a server of one's own; and who has no budget may call anything.
    for own in ["own", "elsewhere"] {
        ask_as(&gateway, &budgeted, own).await.expect(200);
    }
    assert!(gateway.log().contains("unpriced"), "{}", gateway.log());

    for (policy, status) in [("allow", 200), ("refuse", 403)] {
        let rest = format!("{rest}\ntollway: {{budgets: {{unknown_price: {policy}}}}}");
        let gateway = Gateway::start(&config(&models, &rest)).await;
        let budgeted = key(&gateway, json!({ "max_budget": 100 })).await;
        ask_as(&gateway, &budgeted, "elsewhere").await.expect(status);
        ask_as(&gateway, KEY, "elsewhere").await.expect(200);
    }
}

#[tokio::test]
async fn an_attempt_that_was_lost_after_it_was_sent_costs_its_prompt() {
    let fake = fake().await;
    let models = [
        at(&fake, "silent", "openai/fake-slow-5000", &format!("{PRICE}, timeout: 0.3")),
        at(&fake, "cut", "openai/fake-cut-after-0", PRICE),
        at(&fake, "failing", "openai/fake-error-500", PRICE),
        format!(
            "{{model_name: gone, litellm_params: {{model: openai/gone, api_base: \"http://127.0.0.1:1/v1\", api_key: k{PRICE}}}}}"
        ),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {num_retries: 0}")).await;
    for (model, costs) in [("silent", true), ("cut", true), ("failing", false), ("gone", false)] {
        let answer = ask_as(&gateway, KEY, model).await;
        assert!(answer.status >= 400, "{model} {answer:?}");
        let receipt = gateway.receipt(&answer.headers).await;
        let cost = &receipt["cost"];
        assert_eq!(cost["nanos"].as_i64().unwrap() > 0, costs, "{model} {receipt}");
        assert_eq!(cost["estimated"].as_bool().unwrap_or_default(), costs, "{model} {receipt}");
    }
}

#[tokio::test]
async fn what_never_left_the_gateway_consumes_no_request() {
    let fake = fake().await;
    let gone = "{model_name: gone, litellm_params: {model: openai/gone, api_base: \"http://127.0.0.1:1/v1\", api_key: k}}";
    let models = [at(&fake, "claude", "anthropic/fake-ok", ""), gone.to_owned()];
    let gateway =
        Gateway::start(&config(&models, "router_settings: {num_retries: 0, disable_cooldowns: true}")).await;
    let limited = key(&gateway, json!({ "rpm_limit": 1 })).await;
    let mut cannot = chat("claude", "hi");
    cannot["logit_bias"] = json!({ "1": 1 });
    for _ in 0..2 {
        post_as(&gateway, &limited, "/v1/chat/completions", &cannot.to_string()).await.expect(400);
        ask_as(&gateway, &limited, "gone").await.expect(502);
    }
    ask_as(&gateway, &limited, "claude").await.expect(200);
    ask_as(&gateway, &limited, "claude").await.expect(429);
}

#[tokio::test]
async fn requests_that_cannot_be_read_have_receipts_too() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-ok", "")];
    let gateway = Gateway::start(&config(&models, "tollway: {limits: {max_body: 4KiB}}")).await;
    let own = key(&gateway, json!({ "key_alias": "reader" })).await;
    let long = chat("gpt", &"x".repeat(5000)).to_string();
    for (path, body, status) in [
        ("/v1/chat/completions", "{", 400),
        ("/v1/chat/completions", "{}", 400),
        ("/v1/messages", "[]", 400),
        ("/v1/responses", long.as_str(), 413),
    ] {
        let answer = post_as(&gateway, &own, path, body).await;
        let receipt = gateway.receipt(&answer.expect(status).headers).await;
        assert_eq!(
            (&receipt["outcome"], &receipt["status"]),
            (&json!("refused"), &json!(status)),
            "{receipt}"
        );
        assert_eq!(receipt["who"]["key_alias"], "reader", "{receipt}");
        assert_eq!(receipt["cost"]["nanos"], Value::Null, "{receipt}");
    }
    // Who is not known leaves none.
    let stranger = post_as(&gateway, "sk-nobody-knows-this-key", "/v1/chat/completions", "{").await;
    assert!(!stranger.expect(401).headers.contains_key("x-tollway-receipt"));
}

/// What an answer cost, in nano-dollars.
async fn cost(gateway: &Gateway, answer: &Answer) -> i64 {
    gateway.receipt(&answer.expect(200).headers).await["cost"]["nanos"].as_i64().unwrap()
}

#[tokio::test]
async fn a_budget_set_while_a_call_is_in_flight_learns_what_it_costs() {
    let fake = fake().await;
    let models =
        [at(&fake, "slow", "openai/fake-slow-2500", PRICE), at(&fake, "quick", "openai/fake-ok", PRICE)];
    let gateway = Gateway::start(&config(&models, "")).await;
    let own = key(&gateway, json!({})).await;
    let (slow, mut sum) = tokio::join!(ask_as(&gateway, &own, "slow"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.post("/key/update", &json!({ "key": own, "max_budget": 100 })).await.expect(200);
        let mut sum = 0;
        loop {
            let answer = ask_as(&gateway, &own, "quick").await;
            sum += cost(&gateway, &answer).await;
            // From this call on the budget is counted: what was spent before was read from the ledger.
            if answer.headers.contains_key("x-litellm-key-max-budget") {
                return sum;
            }
        }
    });
    sum += cost(&gateway, &slow).await;
    let last = ask_as(&gateway, &own, "quick").await;
    sum += cost(&gateway, &last).await;
    let spend: f64 = last.header("x-litellm-key-spend").parse().unwrap();
    assert!((spend - f64::from(i32::try_from(sum / 1_000).unwrap()) / 1e6).abs() < 1e-6, "{spend} {sum}");
}

#[tokio::test]
async fn calls_that_are_cut_off_at_the_end_are_in_the_books() {
    let fake = fake().await;
    let models = [at(&fake, "slow", "openai/fake-slow-60000", PRICE)];
    let configuration = config(&models, "tollway: {timeouts: {shutdown: 300ms}}");
    let mut gateway = Gateway::start(&configuration).await;
    let bearer = format!("Bearer {KEY}");
    let body = chat("slow", "hi").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = gateway.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut connection, request.as_bytes()).await.unwrap();
    let begun = std::time::Instant::now();
    while fake.received().is_empty() {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway.signal("TERM");
    gateway.ended(2 * SOON).await;
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    assert!(!gateway.log().contains("interrupted=1"), "{}", gateway.log());
    let begun = std::time::Instant::now();
    let text = loop {
        let text = gateway.get("/spend/logs").await.expect(200).text();
        if text != "[]" || begun.elapsed() > SOON {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(text.contains("slow") && !text.contains("interrupted"), "{text}");
}

#[tokio::test]
async fn a_model_that_cannot_be_served_and_a_deleted_key_are_refused() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", "")], "")).await;
    for (params, says) in [
        (json!({ "model": "nobody-knows/x", "api_key": "k" }), "nobody-knows"),
        (json!({ "model": "openai/x", "api_key": "k", "rpm": "many" }), "rpm"),
        (json!({ "model": "openai/x", "api_key": "k", "api_base": "nowhere" }), "api_base"),
        (json!({ "model": "groq/x" }), "GROQ_API_KEY"),
    ] {
        let body = json!({ "model_name": "new", "litellm_params": params });
        let error = gateway.post("/model/new", &body).await.expect(400).json();
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("could not be served") && message.contains(says), "{message}");
    }
    let body = json!({ "model_name": "new/*", "litellm_params": { "model": "groq/*", "api_key": "k" } });
    gateway.post("/model/new", &body).await.expect(200);

    let own = key(&gateway, json!({ "key": "sk-chosen-by-somebody-1" })).await;
    gateway.post("/key/delete", &json!({ "keys": [own] })).await.expect(200);
    let error = gateway.post("/key/generate", &json!({ "key": own })).await.expect(400).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("was deleted"), "{error}");
}

#[tokio::test]
async fn a_stream_that_waits_for_its_provider_tells_the_limits_all_the_same() {
    let fake = fake().await;
    let models = [at(&fake, "slow", "openai/fake-slow-2000", PRICE)];
    let gateway = Gateway::start(&config(&models, "tollway: {timeouts: {keep_alive: 200ms}}")).await;
    let own = key(&gateway, json!({ "rpm_limit": 7, "max_budget": 100 })).await;
    let mut body = chat("slow", "hi");
    body["stream"] = json!(true);
    let answer = post_as(&gateway, &own, "/v1/chat/completions", &body.to_string()).await;
    assert!(answer.expect(200).text().contains("keep-alive"), "{answer:?}");
    for (name, value) in [
        ("x-litellm-model-group", "slow"),
        ("x-litellm-key-rpm-limit", "7"),
        ("x-ratelimit-limit-requests", "7"),
        ("x-litellm-key-max-budget", "100.00"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}
