//! The table of faults: four faults × off, retry, fallback × four surfaces × every provider's dialect. Each cell has an
//! outcome of a known type, one receipt, and exactly the money that its rule says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, PROVIDER_KEY, SOON, all_surfaces, config, fake};

const PRICES: &str = "input_cost_per_token: 0.000001, output_cost_per_token: 0.000002";

/// Fault, what it costs when nothing comes after it, and whether the client has heard something by then.
const FAULTS: [(&str, Cost, bool); 4] = [
    ("refused", Cost::Nothing, false),
    ("headers-then-silence", Cost::Prompt, false),
    ("cut-after-0-chunks", Cost::Prompt, false),
    ("cut-after-6-chunks", Cost::Answer, true),
];

/// What a call costs by the rules of docs/ledger.md.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cost {
    /// It reached nobody.
    Nothing,
    /// The request had left.
    Prompt,
    /// Some of the answer was passed on.
    Answer,
}

/// A provider's name, the rest of its parameters, and how its models are called.
const PROVIDERS: [(&str, &str, &str); 4] =
    [("openai", "/v1", ""), ("anthropic", "", ""), ("gemini", "", ""), ("bedrock", "", "anthropic.claude-")];

#[tokio::test]
async fn every_fault_on_every_way_has_one_typed_outcome_one_receipt_and_exact_money() {
    let fake = fake().await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let mut models = vec![model("well", "openai/fake-ok", &format!("{}/v1", fake.url()), "")];
    let mut rules = Vec::new();
    for (provider, version, family) in PROVIDERS {
        for (fault, ..) in FAULTS {
            for way in ["off", "retry", "fallback"] {
                let name = format!("{provider}-{fault}-{way}");
                let (base, script) = match fault {
                    "refused" => (format!("{closed}{version}"), "ok"),
                    fault => (format!("{}{version}", fake.url()), fault),
                };
                let retries = u8::from(way == "retry");
                let more = format!(", num_retries: {retries}, aws_region_name: us-east-1");
                let script = format!("{provider}/{family}fake-{script}+id-{name}");
                models.push(model(
                    &name,
                    &script,
                    &base,
                    if provider == "bedrock" { &more } else { &more[..16] },
                ));
                if way == "fallback" {
                    rules.push(format!("{{{name}: [well]}}"));
                }
            }
        }
    }
    let rest = format!(
        "router_settings: {{disable_cooldowns: true, fallbacks: [{}]}}\n\
         tollway: {{retry_budget: {{floor: 1000}}, timeouts: {{idle: 1s, first_byte: 1s}}}}",
        rules.join(", ")
    );
    let gateway = &Gateway::start(&config(&models, &rest)).await;
    let made = gateway.post("/key/generate", &json!({})).await.expect(200).json();
    let (key, token) = (made["key"].as_str().unwrap(), made["token"].as_str().unwrap());
    let mut cells = Vec::new();
    for (provider, ..) in PROVIDERS {
        for (fault, cost, late) in FAULTS {
            for way in ["off", "retry", "fallback"] {
                let prompt = "say: a b c d e f g h i j k l";
                for (surface, ask) in all_surfaces(&format!("{provider}-{fault}-{way}"), prompt, true) {
                    cells.push(async move {
                        let cell = format!("{provider} {fault} {way} {surface}");
                        let bearer = format!("Bearer {key}");
                        let headers =
                            [("authorization", bearer.as_str()), ("content-type", "application/json")];
                        let begun = Instant::now();
                        let answer = gateway.send("POST", &ask.path, &headers, ask.body.to_string()).await;
                        let answer = answer.read().await;
                        assert!(begun.elapsed() < SOON, "{cell}: {:?}", begun.elapsed());
                        let receipt = gateway.receipt(&answer.headers).await;
                        let hidden = way == "fallback" && !late;
                        outcome(&cell, surface, &answer, hidden, late);
                        let attempts = receipt["attempts"].as_array().unwrap().len();
                        assert_eq!(attempts, if way == "off" || late { 1 } else { 2 }, "{cell}: {receipt}");
                        paid(&cell, &receipt, cost, way, hidden);
                    });
                }
            }
        }
    }
    let count = cells.len();
    // A few at a time: the machine that runs this is small.
    let mut cells = cells.into_iter().map(Box::pin).peekable();
    while cells.peek().is_some() {
        let mut batch: Vec<_> = cells.by_ref().take(24).collect();
        std::future::poll_fn(|context| {
            batch.retain_mut(|cell| cell.as_mut().poll(context).is_pending());
            if batch.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
    sums(gateway, token, count).await;
}

fn model(name: &str, model: &str, base: &str, more: &str) -> String {
    format!(
        "{{model_name: {name}, litellm_params: {{model: \"{model}\", api_base: \"{base}\", api_key: {PROVIDER_KEY}, {PRICES}{more}}}}}"
    )
}

/// The client gets an answer, an error with a status, or an error event, each in its own dialect.
fn outcome(cell: &str, surface: &str, answer: &Answer, hidden: bool, late: bool) {
    let text = answer.text();
    if hidden {
        assert_eq!(answer.status, 200, "{cell}: {text}");
        assert!(!text.replace("\"error\":null", "").contains("\"error\""), "{cell}: {text}");
        return;
    }
    let error = if late {
        assert_eq!(answer.status, 200, "{cell}: {text}");
        let events: Vec<Value> =
            text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let failed = |event: &&Value| match surface {
            "responses" => event["type"] == "response.failed",
            _ => event["error"].is_object(),
        };
        let found = events.iter().find(failed).unwrap_or_else(|| panic!("{cell}: no error event: {text}"));
        let found = if surface == "responses" { &found["response"] } else { found };
        found["error"].clone()
    } else {
        assert!(answer.status >= 400, "{cell}: {} {text}", answer.status);
        answer.json()["error"].clone()
    };
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{cell}: {error}");
    let typed = match surface {
        "gemini" => error["status"].is_string() && error["code"].is_number(),
        "responses" if late => error["code"].is_string(),
        _ => error["type"].is_string(),
    };
    assert!(typed, "{cell}: {error}");
}

/// The receipt's cost is what the rules say of its attempts, to the nano-dollar.
fn paid(cell: &str, receipt: &Value, cost: Cost, way: &str, hidden: bool) {
    let nanos =
        receipt["cost"]["nanos"].as_i64().unwrap_or_else(|| panic!("{cell}: unknown cost: {receipt}"));
    let count = |key: &str| receipt["usage"][key].as_i64().unwrap_or_default();
    let used = 1000 * count("input") + 2000 * count("output");
    assert_eq!(nanos, used, "{cell}: {receipt}");
    let attempts = receipt["attempts"].as_array().unwrap();
    let lost: Vec<i64> = attempts.iter().filter_map(|attempt| attempt["cost"].as_i64()).collect();
    match cost {
        // The winner's answer, and nothing for those whom nobody reached.
        Cost::Nothing => assert!(lost.is_empty() && (nanos > 0) == hidden, "{cell}: {receipt}"),
        Cost::Prompt => {
            let prompt = lost.first().copied().unwrap_or_default();
            assert_eq!(lost, vec![prompt; if way == "retry" { 2 } else { 1 }], "{cell}: {receipt}");
            assert!(prompt > 0 && prompt % 1000 == 0, "{cell}: {receipt}");
            let all: i64 = lost.iter().sum();
            assert!(if hidden { nanos > all } else { nanos == all }, "{cell}: {receipt}");
            assert_eq!(receipt["cost"]["estimated"], true, "{cell}: {receipt}");
        }
        Cost::Answer => assert!(count("input") > 0 && count("output") > 0, "{cell}: {receipt}"),
    }
}

/// One receipt a cell, and the key has spent what they say.
async fn sums(gateway: &Gateway, token: &str, cells: usize) {
    let receipts = gateway.get("/receipts?limit=1000").await.json()["data"].as_array().unwrap().clone();
    let mut calls: HashMap<&str, usize> = HashMap::new();
    let mut total = 0;
    for receipt in &receipts {
        *calls.entry(receipt["call_id"].as_str().unwrap()).or_default() += 1;
        total += receipt["cost"]["nanos"].as_i64().unwrap();
    }
    assert_eq!((receipts.len(), calls.len()), (cells, cells));
    let begun = Instant::now();
    loop {
        let spent =
            gateway.get(&format!("/key/info?key={token}")).await.json()["info"]["spend"].as_f64().unwrap();
        if (spent * 1e9 - total as f64).abs() < 0.5 {
            break;
        }
        assert!(begun.elapsed() < SOON, "the key spent {spent}, its receipts say {total} nano-dollars");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
