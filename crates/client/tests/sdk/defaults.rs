//! What a deployment sets where the caller does not, in both lanes.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway::exchange::{Ask, Lane, Prepared, prepare};
use tollway::model::{Dialect, Kind, Operation, RawJson, Result, Retry};
use tollway_providers::{Endpoint, EndpointSpec, Table};
use tollway_wire::json::{Envelope, MAX_DEPTH};

/// What is prepared of a call of `surface` to `provider`.
fn attempt(
    provider: &str,
    operation: Operation,
    surface: Dialect,
    body: Value,
    defaults: &Value,
) -> Result<Prepared> {
    let provider = Table::builtin().get(provider).expect("known");
    let mut spec = EndpointSpec::new(provider, "a-model");
    spec.api_key = Some("sk-test".into());
    let endpoint = Endpoint::build(spec, &|_| None).expect("complete");
    let envelope = Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).expect("an object");
    let ask = Ask::new(operation, surface, "a-model", envelope);
    let defaults: Vec<(String, RawJson)> = defaults
        .as_object()
        .expect("an object")
        .iter()
        .map(|(field, value)| (field.clone(), RawJson::from(value.clone())))
        .collect();
    prepare(&endpoint, &ask, &defaults, false)
}

/// What goes to `provider`, and the fields that notices name.
fn sent(
    provider: &str,
    operation: Operation,
    surface: Dialect,
    body: Value,
    defaults: Value,
) -> (Value, Vec<String>) {
    let prepared = attempt(provider, operation, surface, body, &defaults).expect("possible");
    assert_eq!(prepared.lane == Lane::Verbatim, provider == "openai");
    let sent = serde_json::from_slice(&prepared.request.body().clone().joined()).expect("JSON");
    (sent, prepared.notices.iter().map(|notice| notice.field.to_string()).collect())
}

fn chat() -> Value {
    json!({"model": "a-model", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.25})
}

#[test]
fn what_the_caller_says_counts_more() {
    let defaults = json!({"temperature": 0.75, "top_p": 0.5});
    for provider in ["openai", "gemini"] {
        let (sent, _) = sent(provider, Operation::Chat, Dialect::OpenaiChat, chat(), defaults.clone());
        let config = if provider == "openai" { &sent } else { &sent["generationConfig"] };
        assert_eq!(config["temperature"], 0.25, "{sent}");
        assert_eq!(config.get("top_p").or_else(|| config.get("topP")), Some(&json!(0.5)), "{sent}");
    }
}

#[test]
fn fields_that_only_the_provider_knows_arrive() {
    let settings = json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]);
    let defaults = json!({"safety_settings": settings, "modalities": ["text", "image"]});
    let (sent, notices) = sent("gemini", Operation::Chat, Dialect::OpenaiChat, chat(), defaults);
    assert_eq!(sent["safetySettings"], settings, "{sent}");
    assert_eq!(sent["generationConfig"]["responseModalities"], json!(["TEXT", "IMAGE"]), "{sent}");
    assert_eq!(notices, Vec::<String>::new());
}

#[test]
fn defaults_that_do_not_fit_the_callers_dialect_are_noticed() {
    let body = json!({
        "model": "a-model", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "context_management": {},
    });
    let defaults = json!({"safety_settings": []});
    let (_, notices) = sent("gemini", Operation::Chat, Dialect::Anthropic, body, defaults);
    assert!(notices.contains(&"safety_settings".to_owned()), "{notices:?}");
}

#[test]
fn a_wrong_default_is_not_the_callers_fault() {
    let defaults = json!({"max_tokens": "many"});
    let error =
        attempt("gemini", Operation::Chat, Dialect::OpenaiChat, chat(), &defaults).expect_err("no number");
    assert_eq!((error.kind(), error.retry()), (Kind::Internal, Retry::Elsewhere));
    assert!(error.message().contains("max_tokens"), "{error}");
}

#[test]
fn embeddings_have_defaults_too() {
    let body = json!({"model": "a-model", "input": "hi"});
    for (provider, field) in [("openai", "/dimensions"), ("gemini", "/outputDimensionality")] {
        let (sent, _) = sent(
            provider,
            Operation::Embedding,
            Dialect::OpenaiChat,
            body.clone(),
            json!({"dimensions": 256}),
        );
        let single = sent.pointer("/requests/0").unwrap_or(&sent);
        let found = single.pointer(field).or_else(|| sent.pointer(field));
        assert_eq!(found, Some(&json!(256)), "{provider}: {sent}");
    }
}
