//! Budgets, prices and receipts at their edges, from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_testkit::FakeProvider;

use crate::support::{Answer, Gateway, KEY, SOON, Start, at, chat, config, fake, run, text};

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

/// An entry of the list of models with an id.
fn named(entry: &str, id: &str) -> String {
    format!("{}, model_info: {{id: {id}}}}}", entry.strip_suffix('}').unwrap())
}

/// Waits until everything is in the books, proves them, and returns what these scopes have spent in nano-dollars.
async fn booked(gateway: &Gateway, by: &str) -> Vec<(String, i64)> {
    let begun = std::time::Instant::now();
    while gateway.get("/health/readiness").await.json()["ledger"]["waiting"] != 0 {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let directory = gateway.directory.path();
    let verified = run(directory, &["ledger", "verify"]);
    assert!(verified.status.success(), "{}{}", text(&verified.stdout), text(&verified.stderr));
    let shown = run(directory, &["spend", "--by", by, "--json"]);
    let lines = text(&shown.stdout);
    let mut found: Vec<(String, i64)> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let money = tollway_model::Money::parse_dollars(line["usd"].as_str().unwrap()).unwrap();
            (line["name"].as_str().unwrap().to_owned(), money.nanos())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn deployments_and_providers_have_spent_in_the_books_what_their_budgets_say() {
    let fake = fake().await;
    let lost = format!("{PRICE}, order: 1, timeout: 0.3, max_budget: 0.04");
    let models = [
        named(&at(&fake, "g", "openai/fake-slow-5000", &lost), "first"),
        named(&at(&fake, "g", "anthropic/fake-ok", &format!("{PRICE}, order: 2")), "second"),
    ];
    let configuration = config(&models, "router_settings: {num_retries: 0, disable_cooldowns: true}");
    let gateway = Gateway::start(&configuration).await;
    let answer = ask_as(&gateway, KEY, "g").await;
    let receipt = gateway.receipt(&answer.expect(200).headers).await;
    let total = receipt["cost"]["nanos"].as_i64().unwrap();
    let lost = receipt["attempts"][0]["cost"].as_i64().unwrap();
    assert!(0 < lost && lost < total, "{receipt}");
    let parts = |one: &str, other: &str| vec![(one.to_owned(), lost), (other.to_owned(), total - lost)];
    assert_eq!(booked(&gateway, "deployment").await, parts("first", "second"));
    let providers = booked(&gateway, "provider").await;
    assert_eq!(providers, [("anthropic".to_owned(), total - lost), ("openai".to_owned(), lost)]);
    // The budget knows of it, and after a new start it reads the same from the books.
    let skips = async |gateway: &Gateway| {
        let answer = ask_as(gateway, KEY, "g").await;
        let receipt = gateway.receipt(&answer.expect(200).headers).await;
        assert!(reasons(&receipt).contains("\"first\": \"its budget is used up"), "{receipt}");
    };
    skips(&gateway).await;
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    skips(&gateway).await;
}

#[tokio::test]
async fn a_small_budget_of_a_deployment_lets_a_first_call_through() {
    let fake = fake().await;
    let models = [named(&at(&fake, "g", "openai/fake-ok", &format!("{PRICE}, max_budget: 0.2")), "small")];
    let gateway = Gateway::start(&config(&models, "")).await;
    // It does not say how long its answer may be, so a thousand tokens are guessed: five times the budget.
    gateway.chat(&chat("g", "hi")).await.expect(200);
    while gateway.chat(&chat("g", "hi")).await.status == 200 {}
    let spent: i64 = booked(&gateway, "deployment").await.iter().map(|(_, spent)| spent).sum();
    assert!((50_000_000..=200_000_000).contains(&spent), "{spent}");
}

#[tokio::test]
async fn strict_budgets_hold_what_attempts_cost_that_were_lost() {
    let fake = fake().await;
    // Twelve attempts are lost before one answers: together they cost more than the most that one can.
    let mut models: Vec<String> = (1..=12)
        .map(|order| {
            let more = format!("{PRICE}, order: {order}, timeout: 0.2");
            named(&at(&fake, "g", "openai/fake-slow-5000", &more), &format!("lost-{order}"))
        })
        .collect();
    let more = format!("{PRICE}, order: 13");
    models.push(named(&at(&fake, "g", "openai/fake-tokens-10", &more), "answers"));
    let rest =
        "router_settings: {num_retries: 0, disable_cooldowns: true}\ntollway: {budgets: {strict: true}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    const CAP: i64 = 600_000_000;
    let key = key(&gateway, json!({ "max_budget": 0.6 })).await;
    let calls = (0..4).map(|_| ask_as(&gateway, &key, "g"));
    let answers = futures_of(calls).await;
    let mut gave_up = 0;
    for answer in &answers {
        let receipt = gateway.receipt(&answer.headers).await;
        let last = receipt["attempts"].as_array().unwrap().last().cloned().unwrap_or_default();
        let why = last["then"].as_str().unwrap_or_default();
        gave_up += usize::from(why.contains("a strict budget has no room"));
        // A call that ends there fails as its attempts did; one that never began is refused for its budget.
        assert!(matches!(answer.status, 200 | 408 | 422), "{} {}", answer.status, answer.text());
    }
    let spent: i64 = booked(&gateway, "key").await.iter().map(|(_, spent)| spent).sum();
    assert!(spent <= CAP, "{spent} of {CAP} were spent");
    assert!(gave_up > 0, "{spent} of {CAP}: no call had to stop; then this test shows nothing");
    assert!(spent > CAP / 3, "{spent} of {CAP}");
    // Nothing stays held: what is left lets a call through that costs little.
    let left = gateway.get(&format!("/key/info?key={key}")).await.json()["info"]["spend"].as_f64().unwrap();
    assert!(left * 1e9 <= 600_000_000.5, "{left}");
}

/// All at once.
async fn futures_of<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in work.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = one.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn strict_budgets_refuse_tools_that_nothing_bounds() {
    let fake = fake().await;
    let search = ", search_queries_cost_per_query: 0.01";
    let priced = format!("{PRICE}{search}");
    let known = at(&fake, "known", "anthropic/fake-ok", &priced);
    let models = [
        format!("{}, model_info: {{max_input_tokens: 1000}}}}", known.strip_suffix('}').unwrap()),
        at(&fake, "unknown", "anthropic/fake-ok", &priced),
    ];
    let gateway = Gateway::start(&config(&models, "tollway: {budgets: {strict: true}}")).await;
    let ask = async |budget: f64, model: &str, tool: Value| {
        let key = key(&gateway, json!({ "max_budget": budget })).await;
        let mut body = chat(model, "hi");
        (body["max_tokens"], body["tools"]) = (json!(16), json!([tool]));
        post_as(&gateway, &key, "/v1/messages", &body.to_string()).await
    };
    let tool = |uses: Option<u64>| match uses {
        Some(uses) => json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": uses }),
        None => json!({ "type": "web_search_20250305", "name": "web_search" }),
    };
    let error = ask(100.0, "known", tool(None)).await;
    assert!(error.expect(400).text().contains("max_uses"), "{}", error.text());
    let error = ask(100.0, "unknown", tool(Some(2))).await;
    assert!(error.expect(400).text().contains("max_input_tokens"), "{}", error.text());
    // Three thousand tokens, two searches and the answer: 3.036.
    ask(3.0, "known", tool(Some(2))).await.expect(422);
    ask(3.1, "known", tool(Some(2))).await.expect(200);
    // What the client runs itself costs nothing more.
    ask(1.0, "known", json!({ "type": "bash_20250124", "name": "bash" })).await.expect(200);
}

#[tokio::test]
async fn all_models_of_a_wildcard_share_its_limits() {
    let fake = fake().await;
    let wildcard =
        |name: &str, more: &str, id: &str| named(&at(&fake, &format!("{name}/*"), "openai/*", more), id);
    let models = [
        wildcard("fast", ", rpm: 2", "limited"),
        wildcard("paid", &format!("{PRICE}, max_budget: 0.1"), "budgeted"),
    ];
    let rest = "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}";
    let configuration = config(&models, rest);
    let gateway = Gateway::start(&configuration).await;
    for name in ["fast/fake-ok+id-1", "fast/fake-ok+id-2"] {
        assert_eq!(ask_as(&gateway, KEY, name).await.expect(200).header("x-litellm-model-id"), "limited");
    }
    ask_as(&gateway, KEY, "fast/fake-ok+id-3").await.expect(429);
    let mut number = 0;
    let next = |number: &mut u32| {
        *number += 1;
        format!("paid/fake-ok+id-{number}")
    };
    while ask_as(&gateway, KEY, &next(&mut number)).await.status == 200 {}
    assert!(number > 1, "{number}");
    let spent = booked(&gateway, "deployment").await;
    let (_, of_it) = spent.iter().find(|(name, _)| name == "budgeted").unwrap();
    assert!((1..=100_000_000).contains(of_it), "{spent:?}");
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    ask_as(&gateway, KEY, &next(&mut number)).await.expect(429);
}

#[tokio::test]
async fn what_a_key_has_spent_is_told_with_every_answer() {
    let fake = fake().await;
    let models =
        [at(&fake, "gpt", "openai/fake-ok", PRICE), at(&fake, "bad", "openai/fake-error-400", PRICE)];
    let configuration = config(&models, "");
    let gateway = Gateway::start(&configuration).await;
    let own = key(&gateway, json!({})).await;
    let nanos = |answer: &Answer| {
        tollway_model::Money::parse_dollars(answer.header("x-litellm-key-spend")).unwrap().nanos()
    };
    let mut sum = 0;
    for _ in 0..3 {
        let answer = ask_as(&gateway, &own, "gpt").await;
        sum += cost(&gateway, &answer).await;
        assert_eq!(nanos(&answer), sum);
    }
    assert_eq!(nanos(ask_as(&gateway, &own, "bad").await.expect(400)), sum);
    let mut streamed = chat("gpt", "hi");
    streamed["stream"] = json!(true);
    let answer = post_as(&gateway, &own, "/v1/chat/completions", &streamed.to_string()).await;
    assert_eq!(nanos(answer.expect(200)), sum, "what a stream costs is not known when it begins");
    booked(&gateway, "key").await;
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    let first = ask_as(&gateway, &own, "bad").await;
    assert!(nanos(first.expect(400)) > sum);
    // The master key has spent nothing yet.
    assert_eq!(nanos(ask_as(&gateway, KEY, "bad").await.expect(400)), 0);
}

#[tokio::test]
async fn what_is_known_of_a_cost_counts_though_something_beside_it_has_no_price() {
    let fake = fake().await;
    // A server of one's own without a price is lost, and then a model answers that sends a bill.
    let models = [
        at(&fake, "g", "hosted_vllm/fake-slow-5000", ", order: 1, timeout: 0.3"),
        at(&fake, "g", "openai/fake-ok", &format!("{PRICE}, order: 2")),
    ];
    let rest = "router_settings: {num_retries: 0, disable_cooldowns: true}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let own = key(&gateway, json!({ "max_budget": 0.1 })).await;
    let answer = ask_as(&gateway, &own, "g").await;
    let receipt = gateway.receipt(&answer.expect(200).headers).await;
    assert!(receipt["cost"]["nanos"].as_i64().unwrap() > 0, "{receipt}");
    assert_eq!(receipt["cost"]["partial"], true, "{receipt}");
    let mut calls = 1;
    while ask_as(&gateway, &own, "g").await.status == 200 {
        calls += 1;
        assert!(calls < 20, "the budget never ends");
    }
}
