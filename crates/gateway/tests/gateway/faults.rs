//! Whatever happens to a call, it is settled exactly once, and what it leaves behind is bounded.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tollway_testkit::{Reply, Script};

use crate::support::{
    Gateway, KEY, SOON, at, chat, config, fake, read_to_end, streamed_chat, surfaces, three,
};

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// How a provider behaves, and the outcomes that a client which waits for the end may see.
const FAULTS: [(&str, &[&str]); 14] = [
    ("fake-ok", &["answered"]),
    ("fake-chunk-7", &["answered"]),
    ("fake-comments", &["answered"]),
    ("fake-slow-150", &["answered", "failed"]),
    ("fake-interval-20", &["answered"]),
    ("fake-error-500", &["failed"]),
    ("fake-error-400", &["failed"]),
    ("fake-html-502", &["failed"]),
    ("fake-ratelimit", &["failed"]),
    ("fake-reset", &["failed"]),
    ("fake-empty", &["failed", "answered"]),
    ("fake-cut-after-2-chunks", &["failed"]),
    ("fake-reset-after-2-chunks", &["failed"]),
    ("fake-stall-after-2-chunks", &["failed"]),
];

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Client {
    Waits,
    /// Closes its half after the request and waits.
    HalfCloses,
    /// Reads slowly, a few bytes at a time.
    Dawdles,
    /// Goes away after so many milliseconds.
    Leaves(u64),
}

/// Makes a call over a connection of its own.
async fn call(gateway: &Gateway, id: &str, path: &str, body: &Value, client: Client) {
    let body = body.to_string();
    let mut connection = gateway.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nx-litellm-call-id: {id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    match client {
        Client::Waits => drop(read_to_end(&mut connection).await),
        Client::HalfCloses => {
            connection.shutdown().await.unwrap();
            drop(read_to_end(&mut connection).await);
        }
        Client::Dawdles => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(read_to_end(&mut connection).await);
        }
        Client::Leaves(after) => tokio::time::sleep(Duration::from_millis(after)).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_calls_with_random_faults_have_one_sensible_receipt_each() {
    let fake = fake().await;
    let mut models = Vec::new();
    for (provider, version) in [("openai", "/v1"), ("anthropic", ""), ("gemini", "")] {
        for (script, _) in FAULTS {
            models.push(format!(
                "{{model_name: {provider}-{script}, litellm_params: {{model: {provider}/{script}, api_base: \"{}{version}\", api_key: pk}}}}",
                fake.url()
            ));
        }
    }
    let rest = "router_settings: {num_retries: 0}\ntollway: {timeouts: {idle: 1s, first_byte: 2s, keep_alive: 100ms}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let mut random = Random(20_261_120);
    let mut expected: HashMap<String, (&str, Client, &[&str])> = HashMap::new();
    for round in 0..15 {
        let mut calls = Vec::new();
        for number in 0..20 {
            let id = format!("call-{round}-{number}");
            let (script, outcomes) = FAULTS[random.below(FAULTS.len())];
            let provider = ["openai", "anthropic", "gemini"][random.below(3)];
            let model = format!("{provider}-{script}");
            let [one, two, three] = surfaces(&model, "say: alpha beta gamma delta", random.below(3) > 0);
            let (_, surface) = [one, two, three].into_iter().nth(random.below(3)).unwrap();
            let client = match random.below(6) {
                0 | 1 => Client::Waits,
                2 => Client::HalfCloses,
                3 => Client::Dawdles,
                _ => Client::Leaves(random.below(200) as u64),
            };
            expected.insert(id.clone(), (script, client, outcomes));
            let gateway = &gateway;
            calls.push(async move { call(gateway, &id, &surface.path, &surface.body, client).await });
        }
        futures_join(calls).await;
    }
    let receipts = settled(&gateway, expected.len()).await;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for receipt in &receipts {
        *seen.entry(receipt["call_id"].as_str().unwrap()).or_default() += 1;
    }
    for (id, (script, client, outcomes)) in &expected {
        // A half-closed connection counts as closed. Who leaves before the request was read leaves nothing behind.
        let left = matches!(client, Client::Leaves(_) | Client::HalfCloses);
        let count = seen.get(id.as_str()).copied().unwrap_or_default();
        assert!(count == 1 || (left && count == 0), "{count} receipts of {id}: {script} {client:?}");
        let Some(receipt) = receipts.iter().find(|receipt| receipt["call_id"] == *id) else { continue };
        let outcome = receipt["outcome"].as_str().unwrap();
        let gone = left && outcome == "client_closed";
        assert!(gone || outcomes.contains(&outcome), "{script} {client:?}: {receipt}");
        assert_eq!(receipt["error"].is_null(), outcome != "failed", "{receipt}");
        assert!(receipt["attempts"].as_array().unwrap().len() <= 1, "{receipt}");
    }
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// Runs all of them at once.
async fn futures_join(calls: Vec<impl Future<Output = ()>>) {
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        calls.retain_mut(|call| call.as_mut().poll(context).is_pending());
        if calls.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The receipts, when no more come: at most `most` of them.
async fn settled(gateway: &Gateway, most: usize) -> Vec<Value> {
    let begun = Instant::now();
    let mut before = usize::MAX;
    loop {
        let all = gateway.get("/receipts?limit=1000").await.json()["data"].as_array().unwrap().clone();
        if all.len() >= most
            || (all.len() == before && begun.elapsed() > Duration::from_secs(3))
            || begun.elapsed() > SOON
        {
            return all;
        }
        before = all.len();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Resident memory of the gateway, in MiB.
#[cfg(target_os = "linux")]
fn memory(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn random_names_and_huge_refusals_leave_no_memory_behind() {
    let fake = fake().await;
    let models = [at(&fake, "gpt", "openai/fake-ok", ""), at(&fake, "any/*", "openai/*", "")];
    let rest = "router_settings: {num_retries: 0}\ntollway: {log: {level: \"off\"}}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let one = async |number: usize| {
        let junk = "x".repeat(900);
        let mut body = chat(&format!("any/{junk}{number}"), "hi");
        body[format!("{junk}{junk}{number}")] = json!(1);
        gateway.chat(&body).await;
        gateway.chat(&chat(&format!("nothing-{junk}-{number}"), "hi")).await.expect(400);
    };
    let refusal = |number: usize| {
        let message = format!("{number} {}", "e".repeat(900_000));
        let mut reply =
            Reply::json(400, &json!({ "error": { "message": message, "type": message, "code": message } }));
        reply.headers.push((format!("x-odd-{number}"), "y".repeat(1000)));
        reply
    };
    for number in 0..1100 {
        one(number).await;
    }
    let before = memory(&gateway);
    for number in 0..120 {
        fake.reply_next(refusal(number));
        gateway.chat(&chat("gpt", "hi")).await.expect(400);
    }
    for number in 1100..2200 {
        one(number).await;
    }
    let grown = memory(&gateway).saturating_sub(before);
    assert!(grown < 60, "{grown} MiB more than {before} MiB");
    let listed = gateway.get("/receipts?limit=1000").await;
    assert!(listed.body.len() < 8 << 20, "{} bytes of receipts", listed.body.len());
}

#[tokio::test]
async fn a_body_of_very_many_members_is_served_in_time() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "litellm_settings: {drop_params: true}")).await;
    for model in ["gpt", "claude", "gem"] {
        let mut body = chat(model, "hi");
        for number in 0..50_000 {
            body[format!("field_{number}")] = json!(number);
        }
        let begun = Instant::now();
        let answer = gateway.chat(&body).await;
        assert!(matches!(answer.status, 200 | 400), "{}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(5), "{model}: {:?}", begun.elapsed());
        assert!(answer.header("x-tollway-notices").len() < 4096);
    }
    let begun = Instant::now();
    let answer = gateway.chat(&chat(&"m".repeat(8 << 20), "hi")).await;
    assert!(
        answer.expect(400).body.len() < 1000 && begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_hundred_reloads_right_and_wrong_lose_no_call() {
    let fake = fake().await;
    let text = config(&three(&fake), "");
    let gateway = Gateway::start(&text).await;
    fake.script(Script::from_model("fake-interval-5").unwrap());
    let write = |text: &str| {
        std::fs::write(gateway.file("new.yaml"), text).unwrap();
        std::fs::rename(gateway.file("new.yaml"), gateway.file("config.yaml")).unwrap();
    };
    let done = std::cell::Cell::new(false);
    let calls = async {
        let mut count = 0;
        while !done.get() {
            for body in [chat("gpt", "hi"), streamed_chat("claude", "hi"), streamed_chat("gem", "hi")] {
                let answer = gateway.chat(&body).await;
                answer.expect(200);
                assert!(!answer.text().contains("\"error\""), "{}", answer.text());
                count += 1;
            }
        }
        count
    };
    let reloads = async {
        for number in 0..100 {
            let wrong = number % 3 == 0;
            write(&if wrong {
                text.replace("model_list", "model_lost: [}")
            } else {
                format!("{text}# {number}\n")
            });
            if number % 2 == 0 {
                gateway.post("/config/reload", &json!({})).await.expect(if wrong { 400 } else { 200 });
            } else {
                gateway.signal("HUP");
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        done.set(true);
    };
    let (count, ()) = tokio::join!(calls, reloads);
    assert!(count >= 9, "{count}");
    write(&text);
    gateway.post("/config/reload", &json!({})).await.expect(200);
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
}
