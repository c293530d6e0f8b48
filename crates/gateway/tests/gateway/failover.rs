//! Failing over: what happens to a call when its provider fails, at every point and in every way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_testkit::{FakeProvider, Script};

use crate::support::{
    Answer, Gateway, KEY, PROVIDER_KEY, SOON, Start, Surface, all_surfaces, at, chat, config, fake,
    streamed_chat, surfaces,
};

fn script(name: &str) -> Script {
    Script::from_model(name).unwrap()
}

/// `deployment: then` of every attempt, by the models' names.
fn path(receipt: &Value) -> Vec<String> {
    let attempts = receipt["attempts"].as_array().unwrap();
    let group = |attempt: &Value| attempt["group"].as_str().or(receipt["model"].as_str()).unwrap().to_owned();
    attempts
        .iter()
        .map(|attempt| {
            let model = attempt["model"].as_str().unwrap().trim_start_matches("fake-");
            match attempt["then"].as_str() {
                Some(then) => format!("{}/{model}: {then}", group(attempt)),
                None => format!("{}/{model}", group(attempt)),
            }
        })
        .collect()
}

fn reasons(receipt: &Value) -> String {
    let skipped = receipt["skipped"].as_array().cloned().unwrap_or_default();
    let reasons: Vec<&str> = skipped.iter().map(|skipped| skipped["reason"].as_str().unwrap()).collect();
    reasons.join("; ")
}

fn asked(fake: &FakeProvider) -> Vec<String> {
    let name = |model: &Value| model.as_str().unwrap_or_default().trim_start_matches("fake-").to_owned();
    fake.received().iter().map(|call| name(&call.json()["model"])).collect()
}

/// Does a stream tell of an error? In OpenAI's newer dialect every response says whether there was one.
fn fails(stream: &str) -> bool {
    stream.replace("\"error\":null", "").contains("error")
}

/// Clients of Gemini's dialect take a comment for JSON.
fn not_gemini(surface: &(&'static str, Surface)) -> bool {
    surface.0 != "gemini"
}

/// A port where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Faults before the first content.
const EARLY: [&str; 8] = [
    "refused",
    "reset",
    "headers-then-silence",
    "cut-after-0-chunks",
    "cut-after-1-chunks",
    "malformed-after-1",
    "error-mid-stream-1",
    "error-500",
];

/// Faults after the first content: nothing hides them.
const LATE: [&str; 4] =
    ["cut-after-6-chunks", "stall-after-6-chunks", "malformed-after-6", "error-mid-stream-6"];

#[tokio::test]
async fn a_fault_before_the_first_content_is_never_seen_where_something_can_help() {
    early_faults(true).await;
}

#[tokio::test]
async fn a_fault_of_a_whole_answer_is_never_seen_where_something_can_help() {
    early_faults(false).await;
}

/// Every early fault × off, retry, fallback × surfaces × dialects of the provider: the number of attempts is exact, the
/// time is bounded, and what can be hidden is. A whole answer breaks in its body, is cut there, or is no JSON.
async fn early_faults(stream: bool) {
    let fake = fake().await;
    let closed = nobody().await;
    let mut models = vec![at(&fake, "well", "openai/fake-ok", "")];
    let mut rules = Vec::new();
    for (provider, version) in [("openai", "/v1"), ("anthropic", "")] {
        for fault in EARLY {
            let base = if fault == "refused" { closed.clone() } else { fake.url() };
            let model = if fault == "refused" { "ok".to_owned() } else { fault.to_owned() };
            for way in ["off", "retry", "fallback"] {
                let name = format!("{provider}-{fault}-{way}");
                let retries = if way == "retry" { 1 } else { 0 };
                models.push(format!(
                    "{{model_name: {name}, litellm_params: {{model: {provider}/fake-{model}+id-{name}, api_base: \
                     \"{base}{version}\", api_key: {PROVIDER_KEY}, num_retries: {retries}}}}}"
                ));
                if way == "fallback" {
                    rules.push(format!("{{{name}: [well]}}"));
                }
            }
        }
    }
    let rest = format!(
        "router_settings: {{fallbacks: [{}]}}\ntollway: {{timeouts: {{idle: 1s, first_byte: 1s}}}}",
        rules.join(", ")
    );
    let gateway = &Gateway::start(&config(&models, &rest)).await;
    let mut checks = Vec::new();
    for provider in ["openai", "anthropic"] {
        for fault in EARLY {
            for way in ["off", "retry", "fallback"] {
                for (dialect, surface) in all_surfaces(&format!("{provider}-{fault}-{way}"), "hi", stream) {
                    checks.push(async move {
                        let what = format!("{provider} {fault} {way} {dialect}");
                        let begun = Instant::now();
                        let answer = gateway.post(&surface.path, &surface.body).await;
                        let took = begun.elapsed();
                        assert!(took < SOON, "{what}: {took:?}");
                        let receipt = gateway.receipt(&answer.headers).await;
                        let expected = if way == "off" { 1 } else { 2 };
                        assert_eq!(path(&receipt).len(), expected, "{what}: {receipt}");
                        if way == "fallback" {
                            answer.expect(200);
                            assert_eq!(answer.header("x-litellm-attempted-fallbacks"), "1", "{what}");
                            assert!(!fails(&answer.text()), "{what}: {}", answer.text());
                        } else {
                            assert!(answer.status >= 400, "{what}: {} {}", answer.status, answer.text());
                        }
                    });
                }
            }
        }
    }
    // A few at a time: the machine that runs this is small.
    let mut checks = checks.into_iter().map(Box::pin).peekable();
    while checks.peek().is_some() {
        let mut batch: Vec<_> = checks.by_ref().take(24).collect();
        std::future::poll_fn(|context| {
            batch.retain_mut(|check| check.as_mut().poll(context).is_pending());
            if batch.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

#[tokio::test]
async fn a_fault_that_passes_is_hidden_by_a_retry() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-ok", ""), at(&fake, "claude", "anthropic/fake-ok", "")];
    let rest = "router_settings: {num_retries: 1, disable_cooldowns: true}\n\
                tollway: {retry_budget: {floor: 1000}, timeouts: {idle: 300ms, first_byte: 300ms}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for model in ["gpt", "claude"] {
        for (fault, stream) in EARLY.into_iter().skip(1).flat_map(|fault| [(fault, true), (fault, false)]) {
            for (dialect, surface) in
                all_surfaces(model, "say: all is well", stream).into_iter().filter(not_gemini)
            {
                fake.reset();
                fake.script_next(script(&format!("fake-{fault}")));
                let answer = gateway.post(&surface.path, &surface.body).await;
                let text = answer.expect(200).text();
                assert!(text.contains("well") && !fails(&text), "{model} {fault} {dialect}: {text}");
                assert_eq!(fake.received().len(), 2, "{model} {fault} {dialect} {stream}");
                assert_eq!(answer.header("x-litellm-attempted-retries"), "1");
                assert_eq!(answer.header("x-litellm-max-retries"), "1");
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_already_hears_keep_alives_gets_the_fallbacks_answer() {
    let fake = fake().await;
    let models = [
        at(&fake, "silent", "openai/fake-headers-then-silence", ", stream_timeout: 1"),
        at(&fake, "well", "anthropic/fake-ok", ""),
    ];
    let rest = "router_settings: {num_retries: 0, disable_cooldowns: true, fallbacks: [{silent: [well]}]}\ntollway: {timeouts: {keep_alive: 200ms}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for (dialect, surface) in all_surfaces("silent", "say: all is well", true).into_iter().filter(not_gemini)
    {
        let begun = Instant::now();
        let mut answer = gateway.open(&surface.path, &surface.body).await;
        assert_eq!(answer.status, 200);
        answer.until(": keep-alive").await;
        assert!(begun.elapsed() < Duration::from_millis(900), "{dialect}: {:?}", begun.elapsed());
        let rest = answer.read().await.text();
        assert!(rest.contains("well") && !fails(&rest), "{dialect}: {rest}");
    }
}

#[tokio::test]
async fn a_fault_after_the_first_content_is_an_error_event_and_costs_no_second_attempt() {
    let fake = fake().await;
    let mut models = vec![at(&fake, "well", "openai/fake-ok", "")];
    for (provider, name) in [("openai", "gpt"), ("anthropic", "claude")] {
        for fault in LATE {
            models.push(at(&fake, &format!("{name}-{fault}"), &format!("{provider}/fake-{fault}"), ""));
        }
    }
    let rest = "router_settings: {num_retries: 2, disable_cooldowns: true, default_fallbacks: [well]}\ntollway: {timeouts: {idle: 500ms}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for name in ["gpt", "claude"] {
        for fault in LATE {
            for (dialect, surface) in all_surfaces(&format!("{name}-{fault}"), "say: a b c d e f g h", true) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                let text = answer.expect(200).text();
                assert!(fails(&text), "{name} {fault} {dialect}: {text}");
                let receipt = gateway.receipt(&answer.headers).await;
                assert_eq!((path(&receipt).len(), &receipt["outcome"]), (1, &json!("failed")), "{receipt}");
            }
        }
    }
}

#[tokio::test]
async fn a_fallback_answers_under_its_own_name_and_says_so() {
    let fake = fake().await;
    let models = [
        at(&fake, "broken", "openai/fake-error-500", ", num_retries: 1"),
        at(&fake, "claude", "anthropic/fake-ok", ""),
    ];
    let rest = "router_settings: {fallbacks: [{broken: [claude]}], retry_after: 0.06, model_group_alias: {old: broken}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for (stream, model) in [(false, "broken"), (true, "broken"), (false, "old")] {
        for (dialect, surface) in all_surfaces(model, "say: from the other one", stream) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            let text = answer.expect(200).text();
            assert!(text.contains("other"), "{text}");
            if dialect != "gemini" {
                assert!(text.contains(r#""model":"claude""#), "{dialect} {stream}: {text}");
            }
            assert_eq!(answer.header("x-litellm-model-group"), "claude");
            assert_eq!(answer.header("x-litellm-attempted-fallbacks"), "1");
            assert_eq!(answer.header("x-litellm-attempted-retries"), "1");
            assert_eq!(answer.header("x-litellm-fallback-errors"), "");
            let receipt = gateway.receipt(&answer.headers).await;
            let path = path(&receipt);
            assert!(path[0].starts_with(&format!("{model}/error-500: tried again after ")), "{path:?}");
            assert_eq!(
                path[1..],
                [
                    format!("{model}/error-500: gave up: no retry left; fell back to claude"),
                    "claude/ok".into()
                ]
            );
        }
    }
    let mut body = chat("broken", "hi");
    body["include_fallback_errors"] = json!(true);
    let told = gateway.chat(&body).await;
    let errors: Value = serde_json::from_str(told.expect(200).header("x-litellm-fallback-errors")).unwrap();
    assert_eq!((&errors[0]["model_group"], &errors[0]["status"]), (&json!("broken"), &json!(500)));
}

#[tokio::test]
async fn fallbacks_have_fallbacks_and_none_is_tried_twice() {
    let fake = fake().await;
    let models: Vec<String> = ["a", "b", "c", "d"]
        .map(|name| at(&fake, name, &format!("openai/fake-error-500+id-{name}"), ""))
        .into();
    let rest = "router_settings: {num_retries: 0, fallbacks: [{a: [b, d]}, {b: [c, a]}, {c: [b]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let answer = gateway.chat(&chat("a", "hi")).await;
    answer.expect(500);
    let order = ["a", "b", "c", "d"].map(|name| format!("error-500+id-{name}"));
    assert_eq!(asked(&fake), order, "depth first");
    let receipt = gateway.receipt(&answer.headers).await;
    assert_eq!(receipt["attempts"][3]["then"], "gave up: retries are off");
    fake.reset();
    let few = rest.replace("fallbacks:", "max_fallbacks: 2, fallbacks:");
    let gateway = Gateway::start(&config(&models, &few)).await;
    let answer = gateway.chat(&chat("a", "hi")).await;
    assert_eq!(asked(&fake).len(), 3);
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(reasons(&receipt).contains("2 fallbacks have been tried"), "{receipt}");
}

#[tokio::test]
async fn a_kind_of_failure_has_fallbacks_of_its_own_and_the_group_is_not_tried_again() {
    let fake = fake().await;
    let mut models = Vec::new();
    for failure in ["context-window", "content-policy", "error-400", "error-429"] {
        // Two deployments: without fallbacks of its own a long prompt would be tried at both.
        models.push(at(&fake, failure, &format!("openai/fake-{failure}+id-1"), ""));
        models.push(at(&fake, failure, &format!("openai/fake-{failure}+id-2"), ""));
    }
    for name in ["large", "lenient", "any"] {
        models.push(at(&fake, name, &format!("openai/fake-ok+id-{name}"), ""));
    }
    let rest = "router_settings:\n  context_window_fallbacks: [{context-window: [large]}]\n  \
                content_policy_fallbacks: [{content-policy: [lenient]}]\n  default_fallbacks: [any]\n  num_retries: 1";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for (model, attempts, winner) in [
        ("context-window", 2, "large"),
        ("content-policy", 2, "lenient"),
        ("error-400", 2, "any"),
        ("error-429", 3, "any"),
    ] {
        for (dialect, surface) in all_surfaces(model, "hi", false) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            assert_eq!(answer.expect(200).header("x-litellm-model-group"), winner, "{model} {dialect}");
            // Both deployments rest after the first call met their rate limits: the next goes to the fallback at once.
            let tried = path(&gateway.receipt(&answer.headers).await).len();
            assert!(tried == attempts || (model == "error-429" && tried == 1), "{model} {dialect}: {tried}");
        }
    }
}

#[tokio::test]
async fn a_caller_chooses_fallbacks_and_can_do_without() {
    let fake = fake().await;
    let models = [
        at(&fake, "broken", "openai/fake-error-500", ""),
        at(&fake, "operators", "openai/fake-ok+id-operators", ""),
        at(&fake, "callers", "openai/fake-ok+id-callers", ""),
    ];
    let rest = "router_settings: {num_retries: 0, default_fallbacks: [operators]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let ask = async |more: Value| {
        let mut body = chat("broken", "hi");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.chat(&body).await
    };
    let group = |answer: &Answer| answer.expect(200).header("x-litellm-model-group").to_owned();
    assert_eq!(group(&ask(json!({})).await), "operators");
    assert_eq!(group(&ask(json!({ "fallbacks": ["nothing-like-it", "callers"] })).await), "callers");
    fake.reset();
    let replaced = ask(
        json!({ "temperature": 1, "fallbacks": [{ "model": "callers", "temperature": 0.25, "seed": 7 }] }),
    )
    .await;
    assert_eq!(group(&replaced), "callers");
    let sent = fake.received()[1].json();
    assert_eq!((&sent["temperature"], &sent["seed"]), (&json!(0.25), &json!(7)), "{sent}");
    assert_eq!(sent["model"], "fake-ok+id-callers");
    ask(json!({ "disable_fallbacks": true })).await.expect(500);
    assert_eq!(
        ask(json!({ "fallbacks": "callers" })).await.expect(400).json()["error"]["param"],
        "fallbacks"
    );
    let elsewhere = json!({ "fallbacks": [{ "model": "callers", "api_base": "http://127.0.0.1:9" }] });
    assert_eq!(ask(elsewhere).await.expect(400).json()["error"]["param"], "api_base");
}

#[tokio::test]
async fn lower_orders_are_tried_before_higher_ones_and_those_before_other_groups() {
    let fake = fake().await;
    let models = [
        at(&fake, "g", "openai/fake-error-500+id-third", ", order: 3"),
        at(&fake, "g", "openai/fake-error-500+id-first", ", order: 1"),
        at(&fake, "g", "openai/fake-error-500+id-second", ", order: 2"),
        at(&fake, "other", "openai/fake-ok", ""),
    ];
    let rest = "router_settings: {num_retries: 0, default_fallbacks: [other]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let answer = gateway.chat(&chat("g", "hi")).await;
    assert_eq!(answer.expect(200).header("x-litellm-attempted-fallbacks"), "1");
    let order = ["error-500+id-first", "error-500+id-second", "error-500+id-third", "ok"];
    assert_eq!(asked(&fake), order);
}

#[tokio::test]
async fn a_failing_sibling_leaves_the_pool_and_comes_back() {
    let fake = fake().await;
    let models = [
        at(&fake, "g", "openai/fake-ok+id-a", ", weight: 1000000"),
        at(&fake, "g", "openai/fake-ok+id-b", ", weight: 0.000001"),
    ];
    let rest = "router_settings: {cooldown_time: 2}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    fake.script_next(script("fake-error-429"));
    let answer = gateway.chat(&chat("g", "hi")).await;
    let receipt = gateway.receipt(&answer.expect(200).headers).await;
    assert_eq!(receipt["attempts"][0]["rests_ms"], 2000, "{receipt}");
    let answer = gateway.chat(&chat("g", "hi")).await;
    let receipt = gateway.receipt(&answer.expect(200).headers).await;
    assert!(reasons(&receipt).contains("it failed lately and rests for another "), "{receipt}");
    assert_eq!(asked(&fake), ["ok+id-a", "ok+id-b", "ok+id-b"]);
    // A reload does not wake it up.
    gateway.post("/config/reload", &json!({})).await;
    gateway.chat(&chat("g", "hi")).await.expect(200);
    assert_eq!(asked(&fake).last().unwrap(), "ok+id-b");
    tokio::time::sleep(Duration::from_secs(2)).await;
    gateway.chat(&chat("g", "hi")).await.expect(200);
    assert_eq!(asked(&fake).last().unwrap(), "ok+id-a");
}

#[tokio::test]
async fn the_last_target_is_tried_although_it_rests() {
    let fake = fake().await;
    let models = [
        at(&fake, "one", "openai/fake-error-401+id-one", ""),
        at(&fake, "two", "openai/fake-error-401+id-a", ""),
        at(&fake, "two", "openai/fake-error-401+id-b", ""),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {cooldown_time: 60}")).await;
    for model in ["one", "two"] {
        for _ in 0..5 {
            fake.reset();
            gateway.chat(&chat(model, "hi")).await.expect(401);
            assert!(!fake.received().is_empty(), "{model}");
        }
    }
}

#[tokio::test]
async fn a_resting_group_is_passed_by_and_tried_when_nothing_else_answers() {
    let fake = fake().await;
    let models = [
        at(&fake, "dead", "openai/fake-error-401+id-dead", ""),
        at(&fake, "well", "openai/fake-ok+id-well", ""),
    ];
    let rest = "router_settings: {num_retries: 0, cooldown_time: 60, fallbacks: [{dead: [well]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for _ in 0..3 {
        let answer = gateway.chat(&chat("dead", "hi")).await;
        assert_eq!(answer.expect(200).header("x-litellm-attempted-fallbacks"), "1");
    }
    assert_eq!(asked(&fake), ["error-401+id-dead", "ok+id-well", "ok+id-well", "ok+id-well"]);
    fake.reset();
    fake.script_next(script("fake-error-500"));
    let answer = gateway.chat(&chat("dead", "hi")).await;
    // The fallback failed first, so its error is the call's.
    answer.expect(500);
    assert_eq!(asked(&fake), ["ok+id-well", "error-401+id-dead"]);
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(reasons(&receipt).contains("rests, so well is asked first"), "{receipt}");
}

#[tokio::test]
async fn a_policy_says_how_often_each_kind_of_failure_is_tried_again() {
    let fake = fake().await;
    let models = [
        at(&fake, "bad", "openai/fake-error-400", ""),
        at(&fake, "down", "openai/fake-error-500", ""),
        at(&fake, "own", "openai/fake-error-500+id-own", ""),
    ];
    let rest = "router_settings:\n  num_retries: 2\n  retry_policy: {BadRequestErrorRetries: 1, InternalServerErrorRetries: 0}\n  \
                model_group_retry_policy: {own: {InternalServerErrorRetries: 1}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for (model, status, attempts) in [("bad", 400, 2), ("down", 500, 1), ("own", 500, 2)] {
        fake.reset();
        gateway.chat(&chat(model, "hi")).await.expect(status);
        assert_eq!(fake.received().len(), attempts, "{model}");
    }
}

#[tokio::test]
async fn a_dying_provider_is_not_hammered() {
    let fake = fake().await;
    let models = [at(&fake, "down", "openai/fake-error-500", "")];
    let rest = "router_settings: {num_retries: 2}\ntollway: {retry_budget: {share: 0.1, floor: 3}}";
    let gateway = &Gateway::start(&config(&models, rest)).await;
    let mut calls: Vec<_> = (0..20)
        .map(|_| Box::pin(async move { gateway.chat(&chat("down", "hi")).await.expect(500).status }))
        .collect();
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| call.as_mut().poll(context).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    let attempts = fake.received().len();
    assert!((23..=24).contains(&attempts), "{attempts} attempts of 20 calls, 60 without a budget");
    let latest = gateway.get("/receipts?limit=20").await.text();
    assert!(latest.contains("too many calls were tried again there"), "{latest}");
}

#[tokio::test]
async fn one_deadline_holds_over_all_attempts_and_fallbacks() {
    let fake = fake().await;
    let models: Vec<String> = ["a", "b", "c"]
        .map(|name| at(&fake, name, &format!("openai/fake-slow-20000+id-{name}"), ", timeout: 0.6"))
        .into();
    let rest = "router_settings: {num_retries: 1, default_fallbacks: [b, c]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for stream in [false, true] {
        for (dialect, surface) in all_surfaces("a", "hi", stream).into_iter().filter(not_gemini) {
            let begun = Instant::now();
            let limit = [("x-tollway-deadline", "1.5"), ("content-type", "application/json")];
            let answer = gateway.post_with(&surface.path, &limit, &surface.body).await;
            let took = begun.elapsed();
            answer.expect(408);
            assert!(
                took >= Duration::from_millis(900) && took < Duration::from_secs(4),
                "{dialect} {stream}: {took:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_timeout_moves_on_to_the_fallback() {
    let fake = fake().await;
    let models =
        [at(&fake, "slow", "openai/fake-slow-20000", ""), at(&fake, "fast", "anthropic/fake-ok", "")];
    let gateway =
        Gateway::start(&config(&models, "router_settings: {num_retries: 0, fallbacks: [{slow: [fast]}]}"))
            .await;
    for (headers, stream) in
        [("x-litellm-timeout", false), ("x-litellm-timeout", true), ("x-litellm-stream-timeout", true)]
    {
        let begun = Instant::now();
        let body = if stream { streamed_chat("slow", "hi") } else { chat("slow", "hi") };
        let answer = gateway.post_with("/v1/chat/completions", &[(headers, "0.3")], &body).await;
        answer.expect(200);
        assert!(begun.elapsed() < SOON, "{headers} {stream}");
        let receipt = gateway.receipt(&answer.headers).await;
        assert!(receipt["attempts"][0]["rests_ms"].is_null(), "the caller's own impatience: {receipt}");
    }
}

#[tokio::test]
async fn a_full_deployment_lets_calls_wait_or_go_elsewhere() {
    let fake = fake().await;
    let models = [
        at(&fake, "one", "openai/fake-slow-300+id-one", ", max_parallel_requests: 1"),
        at(&fake, "two", "openai/fake-slow-600+id-a", ", max_parallel_requests: 1, weight: 1000000"),
        at(&fake, "two", "openai/fake-ok+id-b", ", weight: 0.000001"),
    ];
    let gateway = &Gateway::start(&config(&models, "")).await;
    let begun = Instant::now();
    let ask = async |model: &str| gateway.chat(&chat(model, "hi")).await.expect(200).status;
    tokio::join!(ask("one"), ask("one"), ask("one"));
    assert!(begun.elapsed() >= Duration::from_millis(900), "one after the other: {:?}", begun.elapsed());
    fake.reset();
    tokio::join!(ask("two"), ask("two"), ask("two"));
    let slow = asked(&fake).iter().filter(|model| model.ends_with("id-a")).count();
    assert_eq!(slow, 1);
}

#[tokio::test]
async fn limits_that_are_enforced_refuse_with_the_time_until_there_is_room() {
    let fake = fake().await;
    let models = [
        at(&fake, "g", "openai/fake-ok+id-a", ", rpm: 2"),
        at(&fake, "g", "openai/fake-ok+id-b", ", rpm: 1"),
        at(&fake, "tokens", "openai/fake-ok+id-t", ", tpm: 1"),
        at(&fake, "weighs", "openai/fake-ok+id-w", ", rpm: 1"),
    ];
    let rest = "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    for _ in 0..3 {
        gateway.chat(&chat("g", "hi")).await.expect(200);
    }
    let refused = gateway.chat(&chat("g", "hi")).await;
    let wait: u64 = refused.expect(429).header("retry-after").parse().unwrap();
    assert!((50..=65).contains(&wait), "{wait}");
    assert_eq!(fake.received().len(), 3);
    let receipt = gateway.receipt(&refused.headers).await;
    assert!(reasons(&receipt).contains("requests a minute are used up"), "{receipt}");
    gateway.chat(&chat("tokens", "far more than one token")).await.expect(429);
    let loose = Gateway::start(&config(&models, "")).await;
    for _ in 0..3 {
        loose.chat(&chat("weighs", "hi")).await.expect(200);
    }
}

#[tokio::test]
async fn tags_choose_deployments() {
    let fake = fake().await;
    let models = [
        at(&fake, "g", "openai/fake-ok+id-free", ", tags: [free]"),
        at(&fake, "g", "openai/fake-ok+id-paid", ", tags: [paid, eu]"),
        at(&fake, "g", "openai/fake-ok+id-default", ", tags: [default]"),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {enable_tag_filtering: true}")).await;
    let chosen = async |headers: &[(&str, &str)], more: Value| {
        fake.reset();
        let mut body = chat("g", "hi");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.post_with("/v1/chat/completions", headers, &body).await.expect(200);
        asked(&fake).remove(0)
    };
    assert_eq!(chosen(&[], json!({ "metadata": { "tags": ["free"] } })).await, "ok+id-free");
    assert_eq!(chosen(&[], json!({ "tags": ["eu"] })).await, "ok+id-paid");
    assert_eq!(chosen(&[("x-litellm-tags", "unheard, paid")], json!({})).await, "ok+id-paid");
    assert_eq!(chosen(&[], json!({})).await, "ok+id-default");
    let none = json!({ "tags": ["unheard", "!default"] });
    let mut body = chat("g", "hi");
    body.as_object_mut().unwrap().extend(none.as_object().unwrap().clone());
    let refused = gateway.chat(&body).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "tags");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_not_sent() {
    let fake = fake().await;
    let small = at(&fake, "small", "openai/fake-ok+id-small", "").replacen(
        "}}",
        "}, model_info: {max_input_tokens: 50}}",
        1,
    );
    let models = [small, at(&fake, "large", "openai/fake-ok+id-large", "")];
    let long = "word ".repeat(400);
    let gateway = Gateway::start(&config(&models, "router_settings: {enable_pre_call_checks: true}")).await;
    gateway.chat(&chat("small", "short")).await.expect(200);
    let refused = gateway.chat(&chat("small", &long)).await;
    assert_eq!(refused.expect(400).json()["error"]["code"], "context_length_exceeded");
    assert_eq!(fake.received().len(), 1);
    let rest =
        "router_settings: {enable_pre_call_checks: true, context_window_fallbacks: [{small: [large]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let answer = gateway.chat(&chat("small", &long)).await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "large");
}

#[tokio::test]
async fn strategies_choose_and_the_receipt_says_why_not_the_others() {
    let fake = fake().await;
    for (strategy, reason) in [
        ("simple-shuffle", "drawn with a share of 50.0 %"),
        ("least-busy", "0 calls in flight"),
        ("latency-based-routing", "latency"),
        ("usage-based-routing-v2", "tokens in the last minute"),
        ("cost-based-routing", "price"),
    ] {
        let models = [at(&fake, "g", "openai/fake-ok+id-a", ""), at(&fake, "g", "openai/fake-ok+id-b", "")];
        let rest = format!("router_settings: {{routing_strategy: {strategy}}}");
        let gateway = Gateway::start(&config(&models, &rest)).await;
        for _ in 0..3 {
            let answer = gateway.chat(&chat("g", "hi")).await;
            let receipt = gateway.receipt(&answer.expect(200).headers).await;
            assert_eq!(receipt["skipped"][0]["rank"], 2, "{receipt}");
            assert!(reasons(&receipt).contains(reason), "{strategy}: {receipt}");
        }
        // Used tokens and unmeasured latencies spread calls over both.
        if strategy.starts_with("usage") {
            let models = asked(&fake);
            let last = &models[models.len() - 3..];
            assert!(last.contains(&"ok+id-a".to_owned()) && last.contains(&"ok+id-b".to_owned()), "{last:?}");
        }
    }
}

#[tokio::test]
async fn a_caller_makes_its_call_fail_only_where_the_operator_allows_it() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-ok", ""), at(&fake, "other", "openai/fake-ok+id-other", "")];
    let routing = "router_settings: {default_fallbacks: [other]}";
    let mut body = chat("gpt", "hi");
    body["mock_testing_fallbacks"] = json!(true);
    let gateway = Gateway::start(&config(&models, routing)).await;
    let refused = gateway.chat(&body).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "mock_testing_fallbacks");
    let rest = format!(
        "{routing}\ngeneral_settings: {{master_key: {KEY}, dangerously_allow_mock_testing_request_params: true}}"
    );
    let gateway = Gateway::start(&config(&models, &rest)).await;
    let answer = gateway.chat(&body).await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "other");
    assert_eq!(asked(&fake), ["ok+id-other"]);
}

#[tokio::test]
async fn a_caller_makes_its_call_slow_only_where_the_operator_allows_it() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-ok", ", num_retries: 1"),
        at(&fake, "other", "openai/fake-ok+id-other", ""),
    ];
    let rest = format!(
        "router_settings: {{default_fallbacks: [other]}}\n\
         general_settings: {{master_key: {KEY}, dangerously_allow_mock_testing_request_params: true}}"
    );
    let refusing = Gateway::start(&config(&models, "")).await;
    let gateway = Gateway::start(&config(&models, &rest)).await;
    for (field, value) in [("mock_timeout", json!(true)), ("mock_delay", json!(0.3))] {
        let mut body = chat("gpt", "hi");
        body[field] = value;
        assert_eq!(refusing.chat(&body).await.expect(400).json()["error"]["param"], field);
        body["mock_response"] = json!("as I want it");
        body["timeout"] = json!(0.4);
        let begun = Instant::now();
        let answer = gateway.chat(&body).await;
        let took = begun.elapsed();
        let receipt = gateway.receipt(&answer.expect(200).headers).await;
        match field {
            "mock_timeout" => {
                assert!(took > Duration::from_millis(1100), "two waits and a pause: {took:?}");
                assert_eq!(answer.header("x-litellm-model-group"), "other");
                assert_eq!(receipt["attempts"][0]["error"]["kind"], "timeout", "{receipt}");
                assert_eq!(path(&receipt).len(), 3, "{receipt}");
                body["disable_fallbacks"] = json!(true);
                body["num_retries"] = json!(0);
                gateway.chat(&body).await.expect(408);
            }
            _ => {
                assert!(took > Duration::from_millis(300), "{took:?}");
                assert!(answer.text().contains("as I want it"), "{}", answer.text());
                body["timeout"] = json!(0.1);
                body["num_retries"] = json!(0);
                body["disable_fallbacks"] = json!(true);
                gateway.chat(&body).await.expect(408);
            }
        }
    }
    assert!(fake.received().is_empty());
}

/// Calls `broken`, whose fallbacks are `paid` and `spare`, with a key of its own.
async fn ask_broken(gateway: &Gateway, key: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut body = chat("broken", "hi");
    body["max_tokens"] = json!(16);
    let body = body.to_string();
    gateway.send("POST", "/v1/chat/completions", &headers, body).await.read().await
}

#[tokio::test]
async fn an_error_tells_what_was_tried_where_the_operator_wants_that() {
    let fake = fake().await;
    let models = [
        at(&fake, "broken", "openai/fake-error-500", ""),
        at(&fake, "other", "openai/fake-error-503", ""),
        at(&fake, "alone", "openai/fake-error-400", ""),
    ];
    let quiet = "router_settings: {num_retries: 1, retry_after: 0, fallbacks: [{broken: [other]}]}";
    let loud = format!("{quiet}\nlitellm_settings: {{expose_router_debug_in_errors: true}}");
    let gateway = Gateway::start(&config(&models, quiet)).await;
    let plain = gateway.chat(&chat("broken", "hi")).await;
    assert!(!plain.expect(500).text().contains("other"), "{}", plain.text());
    let gateway = Gateway::start(&config(&models, &loud)).await;
    for (model, status, story) in [
        (
            "broken",
            500,
            "model groups that failed: broken (upstream_error), other (overloaded); attempts: 4]",
        ),
        ("alone", 400, "alone (invalid_request); attempts: 1; it has no fallback that could be tried]"),
    ] {
        let told = gateway.chat(&chat(model, "hi")).await;
        assert!(told.expect(status).text().contains(story), "{}", told.text());
    }
}

#[tokio::test]
async fn what_one_deployment_cannot_do_another_of_its_group_does() {
    let fake = fake().await;
    let models = [
        at(&fake, "mixed", "anthropic/fake-ok", ", order: 1"),
        at(&fake, "mixed", "gemini/fake-ok", ", order: 1"),
        at(&fake, "mixed", "openai/fake-ok", ", order: 2"),
        at(&fake, "unable", "anthropic/fake-ok", ""),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {num_retries: 0}")).await;
    let mut body = chat("mixed", "hi");
    body["logit_bias"] = json!({ "5": 1 });
    for _ in 0..4 {
        gateway.chat(&body).await.expect(200);
    }
    assert_eq!(asked(&fake), ["ok", "ok", "ok", "ok"], "the others were not asked");
    body["model"] = json!("unable");
    let refused = gateway.chat(&body).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "logit_bias");
    assert_eq!(refused.header("x-should-retry"), "false");
}

#[tokio::test]
async fn fallbacks_are_the_operators_to_pass_by_and_the_callers_to_be_refused() {
    let fake = fake().await;
    let models = [
        at(&fake, "broken", "openai/fake-error-500", ", tags: [eu]"),
        at(&fake, "secret", "openai/fake-ok+id-secret", ", tags: [eu]"),
        at(&fake, "spare", "openai/fake-ok+id-spare", ", tags: [eu]"),
        at(&fake, "spare", "openai/fake-ok+id-elsewhere", ""),
    ];
    let rest = "router_settings: {num_retries: 1, enable_tag_filtering: true, fallbacks: [{broken: [secret, spare]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let wanted = json!({ "models": ["broken", "spare"], "metadata": { "tags": ["eu"] } });
    let made = gateway.post("/key/generate", &wanted).await;
    let key = made.expect(200).json()["key"].as_str().unwrap().to_owned();
    let answer = ask_broken(&gateway, &key).await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "spare");
    assert_eq!(asked(&fake), ["error-500", "error-500", "ok+id-spare"], "the key's own tag chooses");
    fake.reset();
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let ask = async |fallbacks: Value| {
        let mut body = chat("broken", "hi");
        body["fallbacks"] = fallbacks;
        gateway.send("POST", "/v1/chat/completions", &headers, body.to_string()).await.read().await
    };
    for named in
        [json!(["secret"]), json!([{ "model": "secret" }]), json!([{ "broken": ["spare", "secret"] }])]
    {
        let refused = ask(named).await;
        assert!(refused.expect(403).text().contains("secret"), "{}", refused.text());
    }
    assert!(fake.received().is_empty());
    // None at all: the failure says how often it was tried.
    let failed = ask(json!([])).await;
    assert_eq!(failed.expect(500).header("x-litellm-attempted-retries"), "1");
    assert_eq!(asked(&fake), ["error-500", "error-500"]);
}

#[tokio::test]
async fn limits_for_a_fallbacks_model_hold_and_are_spent_there() {
    let fake = fake().await;
    let price = ", input_cost_per_token: 0.001, output_cost_per_token: 0.001";
    let models = [
        at(&fake, "broken", "openai/fake-error-500", price),
        at(&fake, "paid", "openai/fake-ok+id-paid", price),
        at(&fake, "spare", "openai/fake-ok+id-spare", price),
    ];
    let rest =
        "router_settings: {num_retries: 0, disable_cooldowns: true, fallbacks: [{broken: [paid, spare]}]}";
    let configuration = config(&models, rest);
    let gateway = Gateway::start(&configuration).await;
    let limit = json!({ "budget_limit": 0.1, "time_period": "30d" });
    let wanted = json!({
        "model_max_budget": { "broken": limit, "paid": limit },
        "model_rpm_limit": { "spare": 2 },
    });
    let made = gateway.post("/key/generate", &wanted).await;
    let key = made.expect(200).json()["key"].as_str().unwrap().to_owned();
    let mut nanos = 0;
    for number in 0.. {
        let answer = ask_broken(&gateway, &key).await;
        let receipt = gateway.receipt(&answer.expect(200).headers).await;
        if answer.header("x-litellm-model-group") == "spare" {
            assert!(
                number > 0 && reasons(&receipt).contains("the key has used up its budget for this model")
            );
            break;
        }
        assert_eq!(answer.header("x-litellm-model-group"), "paid");
        nanos += receipt["cost"]["nanos"].as_i64().unwrap();
        assert!(nanos <= 100_000_000, "{receipt}");
    }
    // More than what `broken` has was spent by calls that asked for it, but not there.
    let last = ask_broken(&gateway, &key).await;
    assert_eq!(last.expect(200).header("x-litellm-model-group"), "spare");
    let refused = ask_broken(&gateway, &key).await;
    let receipt = gateway.receipt(&refused.expect(500).headers).await;
    assert!(reasons(&receipt).contains("used up its requests a minute for this model"), "{receipt}");
    assert_eq!(receipt["attempts"].as_array().unwrap().len(), 1, "{receipt}");
    // The books say the same: after a new start the budget is still used up.
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    let answer = ask_broken(&gateway, &key).await;
    assert_eq!(answer.expect(200).header("x-litellm-model-group"), "spare");
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(reasons(&receipt).contains("the key has used up its budget for this model"), "{receipt}");
}

#[tokio::test]
async fn an_answer_that_declines_is_thrown_away_where_another_model_is_named_and_paid_for() {
    let fake = fake().await;
    let price = ", input_cost_per_token: 0.001, output_cost_per_token: 0.002";
    let models = [
        at(&fake, "gpt", "openai/fake-refusal", price),
        at(&fake, "claude", "anthropic/fake-refusal", price),
        at(&fake, "alone", "openai/fake-refusal+id-alone", price),
        at(&fake, "lenient", "openai/fake-ok", price),
        at(&fake, "hopeless", "openai/fake-refusal+id-hopeless", price),
        at(&fake, "down", "openai/fake-error-500", price),
    ];
    let rest = "router_settings:\n  num_retries: 1\n  default_fallbacks: [lenient]\n  content_policy_fallbacks:\n    \
                - {gpt: [lenient]}\n    - {claude: [lenient]}\n    - {hopeless: [down]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let nanos = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{value}"));
    for model in ["gpt", "claude"] {
        for (dialect, surface) in surfaces(model, "say: of course", false) {
            let answer = gateway.post(&surface.path, &surface.body).await;
            assert_eq!(answer.expect(200).header("x-litellm-model-group"), "lenient", "{model} {dialect}");
            assert!(answer.text().contains("of course"), "{}", answer.text());
            let receipt = gateway.receipt(&answer.headers).await;
            let attempts = receipt["attempts"].as_array().unwrap();
            assert_eq!(attempts.len(), 2, "{receipt}");
            let thrown_away = &attempts[0];
            assert_eq!(thrown_away["error"]["kind"], "content_policy", "{receipt}");
            let paid = nanos(&thrown_away["cost"]);
            assert!(paid > 0 && attempts[1]["cost"].is_null(), "{receipt}");
            let lines = receipt["cost"]["lines"].as_array().unwrap();
            let line = |line: &Value| nanos(&line["count"]) * nanos(&line["unit_picos"]) / 1000;
            let whole: i64 = lines.iter().map(line).sum();
            assert_eq!(nanos(&receipt["cost"]["nanos"]), whole, "{receipt}");
            let last: i64 = lines[..lines.len() / 2].iter().map(line).sum();
            assert_eq!(whole - last, paid, "{receipt}");
            assert_eq!(answer.header("x-litellm-response-cost"), receipt["cost"]["usd"].as_str().unwrap());
        }
    }
    // A stream that has said nothing else yet, too.
    for (dialect, surface) in surfaces("gpt", "say: of course", true) {
        let answer = gateway.post(&surface.path, &surface.body).await;
        assert_eq!(answer.expect(200).header("x-litellm-model-group"), "lenient", "{dialect}");
        assert!(!answer.text().contains("help with that"), "{dialect}: {}", answer.text());
        let receipt = gateway.receipt(&answer.headers).await;
        let thrown_away = &receipt["attempts"][0];
        assert_eq!(thrown_away["error"]["kind"], "content_policy", "{receipt}");
        assert_eq!(thrown_away["usage"]["estimated"], false, "read to its end: {receipt}");
        assert!(nanos(&thrown_away["cost"]) > 0 && receipt["attempts"].as_array().unwrap().len() == 2);
    }
    // One that has is passed on as it is.
    let late = gateway.post("/v1/messages", &surfaces("claude", "hi", true)[1].1.body).await;
    assert_eq!(late.expect(200).header("x-litellm-model-group"), "claude");
    // Where no group is named for it, what the model says is the answer.
    let alone = gateway.chat(&chat("alone", "hi")).await;
    assert_eq!(alone.expect(200).header("x-litellm-model-group"), "alone");
    let mut body = chat("gpt", "hi");
    body["disable_fallbacks"] = json!(true);
    assert_eq!(gateway.chat(&body).await.expect(200).header("x-litellm-model-group"), "gpt");
    let mut body = chat("hopeless", "hi");
    body["fallbacks"] = json!(["down"]);
    let hopeless = gateway.chat(&body).await;
    assert!(hopeless.expect(400).text().contains("declined"), "{}", hopeless.text());
    let receipt = gateway.receipt(&hopeless.headers).await;
    assert_eq!(receipt["cost"]["nanos"], receipt["attempts"][0]["cost"], "{receipt}");
}

#[tokio::test]
async fn the_health_page_shows_how_deployments_are_doing() {
    let fake = fake().await;
    let models = [
        at(&fake, "g", "openai/fake-error-401+id-a", ", order: 1"),
        at(&fake, "g", "openai/fake-ok+id-b", ", order: 2"),
    ];
    let gateway = Gateway::start(&config(&models, "router_settings: {cooldown_time: 60}")).await;
    gateway.chat(&chat("g", "hi")).await.expect(200);
    let health = gateway.get("/health").await.expect(200).json();
    let [failed, well] = [0, 1].map(|index| &health["healthy_endpoints"][index]);
    assert!(failed["rests_for_ms"].as_u64().unwrap() > 50_000, "{health}");
    assert_eq!((&failed["last_minute"]["failed"], &failed["in_flight"]), (&json!(1), &json!(0)), "{health}");
    assert_eq!(well["rests_for_ms"], 0, "{health}");
}

#[tokio::test]
async fn a_mocked_answer_asks_no_provider_in_every_dialect() {
    let fake = fake().await;
    let tools = r#"{"id":"x","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look_up","arguments":"{}"}}]}}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    let models = [
        at(&fake, "mock", "openai/fake-ok+id-mock", ", mock_response: all is mocked"),
        "{model_name: keyless, litellm_params: {model: anthropic/claude-sonnet-4-5, mock_response: all is mocked}}".into(),
        at(&fake, "priced", "openai/fake-ok", ", mock_response: all is mocked, output_cost_per_token: 0.5, input_cost_per_token: 0"),
        at(&fake, "tools", "openai/fake-ok", &format!(", mock_response: {tools}")),
        at(&fake, "limited", "openai/fake-ok", ", mock_response: litellm.RateLimitError, num_retries: 0"),
        at(&fake, "real", "openai/gpt-4o", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    for model in ["mock", "keyless", "priced", "tools"] {
        for stream in [false, true] {
            for (dialect, surface) in surfaces(model, "hi", stream) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                let text = answer.expect(200).text();
                let expected = if model == "tools" { "look_up" } else { "all is mocked" };
                assert!(text.contains(expected), "{model} {dialect} {stream}: {text}");
                let receipt = gateway.receipt(&answer.headers).await;
                assert_eq!(receipt["attempts"][0]["lane"], "mocked", "{receipt}");
                let cost = receipt["cost"]["nanos"].as_i64().unwrap();
                assert_eq!(cost > 0, model == "priced", "{receipt}");
                assert!(receipt["usage"]["output"].as_u64().unwrap() > 0, "{receipt}");
            }
        }
    }
    gateway.chat(&chat("limited", "hi")).await.expect(429);
    let mut body = chat("real", "hi");
    body["mock_response"] = json!("as I want it");
    let refused = gateway.chat(&body).await;
    assert_eq!(refused.expect(400).json()["error"]["param"], "mock_response");
    let allowed = format!(
        "general_settings: {{master_key: {KEY}, dangerously_allow_mock_testing_request_params: true}}"
    );
    let gateway = Gateway::start(&config(&models, &allowed)).await;
    let answer = gateway.chat(&body).await;
    assert!(answer.expect(200).text().contains("as I want it"), "{}", answer.text());
    assert_eq!(answer.header("x-litellm-response-cost"), "0.00");
    assert!(fake.received().is_empty());
}
