//! Why a call went the way it went: over HTTP and with `tollway why`.

use std::process::Output;

use serde_json::json;
use tollway_testkit::Script;

use crate::support::{
    Gateway, KEY, SOON, Start, at, chat, config, fake, streamed_chat, text, three, tollway,
};

fn why(gateway: &Gateway, id: &str, more: &[&str]) -> Output {
    let mut command = tollway(gateway.directory.path());
    command.args(["why", id, "--url", &gateway.url()]).args(more);
    command.env("TOLLWAY_KEY", KEY).env("NO_PROXY", "*").output().unwrap()
}

#[tokio::test]
async fn a_success_after_a_failure_is_explained_step_by_step() {
    let fake = fake().await;
    let prices = ", input_cost_per_token: 0.000001, output_cost_per_token: 0.000002";
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", prices)], "")).await;
    fake.script_next(Script::from_model("fake-error-503").unwrap());
    let answer = gateway.chat(&streamed_chat("gpt", "hi")).await;
    let id = answer.header("x-tollway-receipt");
    gateway.receipt_by_id(id).await;
    let told = why(&gateway, id, &[]);
    let told_text = text(&told.stdout);
    assert!(told.status.success(), "{told:?}");
    let parts = [
        format!("call {id}\n"),
        "  asked     chat of gpt in the openai-chat dialect, streamed, with key ".to_owned(),
        "  attempt 1 openai/fake-ok (".to_owned(),
        "verbatim, ".to_owned(),
        "failed with overloaded 503: ".to_owned(),
        "; tried again after ".to_owned(),
        "  attempt 2 openai/fake-ok (".to_owned(),
        ": answered\n".to_owned(),
        "  used      ".to_owned(),
        "  cost      0.0000".to_owned(),
        "  outcome   answered with status 200\n".to_owned(),
        "; first byte after ".to_owned(),
    ];
    let mut from = 0;
    for part in parts {
        let found = told_text[from..].find(&part);
        from += found.unwrap_or_else(|| panic!("no {part:?} in {told_text}"));
    }
    let told = why(&gateway, id, &["--json"]);
    let receipt: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(receipt["attempts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_receipt_of_an_earlier_process_is_explained() {
    let fake = fake().await;
    let config = config(&three(&fake), "");
    let gateway = Gateway::start(&config).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    let id = answer.header("x-tollway-receipt").to_owned();
    gateway.receipt_by_id(&id).await;
    // Killed: what was not shipped yet is shipped from the journal by the next one.
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&config), directory, ..Start::default() }).await;
    let begin = std::time::Instant::now();
    let told = loop {
        let told = why(&gateway, &id, &[]);
        if told.status.success() || begin.elapsed() > SOON {
            break told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let told_text = text(&told.stdout);
    assert!(
        told_text.contains(&format!("call {id}\n")) && told_text.contains("outcome   answered"),
        "{told:?}"
    );
    assert!(!told_text.contains("with key unknown"), "{told_text}");
}

#[tokio::test]
async fn an_unknown_receipt_or_a_wrong_key_is_a_clear_error() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let unknown = why(&gateway, "nothing", &[]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no receipt `nothing`"), "{unknown:?}");
    let wrong = why(&gateway, "nothing", &["--key", "sk-wrong"]);
    assert!(text(&wrong.stderr).contains("401"), "{wrong:?}");
    let nobody = why(&gateway, "nothing", &["--url", "http://127.0.0.1:9"]);
    assert!(nobody.status.code() != Some(0));
    gateway.get("/receipts/nothing").await.expect(404);
}

#[tokio::test]
async fn a_broken_stream_and_a_refusal_are_explained() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt", "openai/fake-cut-after-3-chunks", ""),
        at(&fake, "claude", "anthropic/fake-ok", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let broken = gateway.chat(&streamed_chat("gpt", "hi")).await;
    gateway.receipt(&broken.headers).await;
    let told = text(&why(&gateway, broken.header("x-tollway-receipt"), &[]).stdout);
    assert!(told.contains("outcome   failed with status 200: "), "{told}");
    let mut body = chat("claude", "hi");
    body["logit_bias"] = json!({ "1": 1 });
    let refused = gateway.chat(&body).await;
    let told = text(&why(&gateway, refused.header("x-tollway-receipt"), &[]).stdout);
    assert!(told.contains("with status 400: `logit_bias` is not supported"), "{told}");
}

#[tokio::test]
async fn the_latest_receipts_are_kept_and_listed_newest_first() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "tollway: {receipts: {keep: 3}}")).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let answer = gateway.chat(&chat("gpt", "hi")).await;
        ids.push(answer.header("x-tollway-receipt").to_owned());
    }
    let listed = gateway.get("/receipts").await.json();
    let listed: Vec<_> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.reverse();
    assert_eq!(listed, ids[..3]);
    let two = gateway.get("/receipts?limit=2").await.json();
    assert_eq!(two["data"].as_array().unwrap().len(), 2);
    gateway.get(&format!("/receipts/{}", ids[4])).await.expect(404);
}

#[tokio::test]
async fn every_call_has_exactly_one_receipt() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let one = async |n: usize| {
        let model = ["gpt", "claude", "gem", "nothing"][n % 4];
        let body = if n.is_multiple_of(2) { chat(model, "hi") } else { streamed_chat(model, "hi") };
        gateway.chat(&body).await.header("x-tollway-receipt").to_owned()
    };
    let mut ids = Vec::new();
    for n in 0..10 {
        let (a, b, c, d) = tokio::join!(one(4 * n), one(4 * n + 1), one(4 * n + 2), one(4 * n + 3));
        ids.extend([a, b, c, d]);
    }
    let begun = std::time::Instant::now();
    let mut listed: Vec<String> = Vec::new();
    while listed.len() < ids.len() && begun.elapsed() < SOON {
        let all = gateway.get("/receipts?limit=1000").await.json();
        listed = all["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect();
    }
    ids.sort();
    listed.sort();
    assert_eq!(listed, ids);
}
