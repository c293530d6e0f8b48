//! Planted secrets stay where they are, whatever happens and whoever asks.

use serde_json::json;
use tollway_testkit::Reply;

use crate::support::{Gateway, KEY, PROVIDER_KEY, Start, at, chat, config, fake, surfaces, three};

const HEADER: &str = "header-canary-77aa12";
const VARIABLE: &str = "variable-canary-90bb34";
const WRONG: &str = "sk-wrong-canary-31cc56";

#[tokio::test]
async fn no_key_appears_in_logs_answers_receipts_or_lists() {
    let fake = fake().await;
    let header = format!(", extra_headers: {{X-Secret: {HEADER}}}");
    let mut models = Vec::new();
    for provider in ["openai", "anthropic", "gemini"] {
        for script in ["ok", "error-401", "error-500", "cut-after-3-chunks", "reset"] {
            models.push(at(
                &fake,
                &format!("{provider}-{script}"),
                &format!("{provider}/fake-{script}"),
                &header,
            ));
        }
    }
    models
        .push(format!("{{model_name: odd, litellm_params: {{model: nothing/x, api_key: {PROVIDER_KEY}}}}}"));
    models.push(format!("{{model_name: nowhere, litellm_params: {{model: openai/x, api_base: \"http://127.0.0.1:9/v1?key={HEADER}\", api_key: {PROVIDER_KEY}}}}}"));
    models.push(format!("{{model_name: user, litellm_params: {{model: openai/x, api_base: \"http://me:{HEADER}@127.0.0.1:9/v1\", api_key: {PROVIDER_KEY}}}}}"));
    let rest = format!(
        "environment_variables: {{SECRET_VARIABLE: {VARIABLE}}}\nrouter_settings: {{num_retries: 0}}"
    );
    let config = config(&models, &rest);
    let start = Start { config: Some(&config), arguments: &["--log", "trace"], ..Start::default() };
    let gateway = Gateway::with(start).await;
    let mut told = String::new();
    let mut calls = 0;
    for model in models
        .iter()
        .filter_map(|model| model.split('"').nth(1))
        .filter(|name| !name.contains("://"))
        .chain(["odd", "nowhere", "user"])
    {
        for stream in [false, true] {
            for (_, surface) in surfaces(model, "hi", stream) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                told.push_str(&format!("{:?} {}\n", answer.headers, answer.text()));
                calls += 1;
            }
        }
    }
    // A provider that repeats the key in its refusal.
    for status in [400, 401, 500] {
        let message = format!("Incorrect API key provided: {PROVIDER_KEY}. Find yours at http://example.com");
        fake.reply_next(Reply::json(
            status,
            &json!({ "error": { "message": message, "type": "x", "code": "y" } }),
        ));
        let answer = gateway.chat(&chat("openai-ok", "hi")).await;
        assert_eq!(answer.status, status);
        told.push_str(&format!("{:?} {}\n", answer.headers, answer.text()));
    }
    let bearer = format!("Bearer {WRONG}");
    let headers = [("authorization", bearer.as_str())];
    for (method, path, headers) in
        [("POST", "/v1/messages".to_owned(), &headers[..]), ("GET", format!("/v1/models?key={WRONG}"), &[])]
    {
        told.push_str(&gateway.send(method, &path, headers, "{}").await.read().await.text());
    }
    std::fs::write(gateway.file("config.yaml"), config.replace("router_settings", "ruter_settings")).unwrap();
    told.push_str(&gateway.post("/config/reload", &json!({})).await.text());
    for path in ["/receipts?limit=1000", "/model/info", "/health", "/v1/models", "/routes", "/openapi.json"] {
        let answer = gateway.get(path).await;
        answer.expect(200);
        told.push_str(&answer.text());
    }
    let log = gateway.log();
    assert!(calls > 100 && log.contains("\"level\":\"TRACE\""), "{calls}: {log}");
    for (place, text) in [("answers", &told), ("log", &log), ("banner", &gateway.stdout())] {
        for canary in [KEY, PROVIDER_KEY, HEADER, VARIABLE, WRONG] {
            let near = text.find(canary).map(|at| &text[at.saturating_sub(300)..at + canary.len()]);
            assert_eq!(near, None, "{canary} is in the {place}");
        }
    }
}

#[tokio::test]
async fn no_prompt_and_no_answer_appears_in_the_log_or_in_receipts_of_answers() {
    const PROMPT: &str = "prompt-canary-18cd77";
    let fake = fake().await;
    let config = config(&three(&fake), "router_settings: {num_retries: 1}");
    let start = Start { config: Some(&config), arguments: &["--log", "trace"], ..Start::default() };
    let gateway = Gateway::with(start).await;
    for model in ["gpt", "claude", "gem"] {
        for stream in [false, true] {
            for (dialect, surface) in surfaces(model, PROMPT, stream) {
                let answer = gateway.post(&surface.path, &surface.body).await;
                assert!(answer.expect(200).text().contains(PROMPT), "{dialect}: the fake repeats the prompt");
                let quoting = json!({ "error": { "message": format!("cannot read {PROMPT}"), "type": "x" } });
                fake.reply_next(Reply::json(400, &quoting));
                let refused = gateway.post(&surface.path, &surface.body).await;
                assert!(refused.expect(400).text().contains(PROMPT), "{dialect}: {}", refused.text());
            }
        }
    }
    let receipts = gateway.get("/receipts?limit=1000").await.json();
    for receipt in receipts["data"].as_array().unwrap().iter().filter(|one| one["outcome"] == "answered") {
        assert!(!receipt.to_string().contains(PROMPT), "{receipt}");
    }
    let log = gateway.log();
    assert!(log.contains("call failed"), "{log}");
    let near = log.find(PROMPT).map(|at| &log[at.saturating_sub(300)..at + PROMPT.len()]);
    assert_eq!(near, None, "the log holds a prompt");
}
