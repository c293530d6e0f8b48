use serde_json::{Value, json};

use crate::demo::respond;

const PATH: &str = "/model/anthropic.claude-fake-ok/converse";

fn ask(change: impl Fn(&mut Value)) -> (u16, String) {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "say: one two"}]}]});
    change(&mut body);
    let reply = respond(PATH, body.to_string().as_bytes());
    (reply.status, String::from_utf8(reply.body().to_vec()).unwrap())
}

#[track_caller]
fn refused(part: &str, change: impl Fn(&mut Value)) {
    let (status, body) = ask(change);
    assert_eq!(status, 400, "{body}");
    assert!(body.contains(part), "{body}");
}

#[test]
fn it_answers_in_the_services_words() {
    let (status, body) = ask(|_| ());
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["output"]["message"]["content"], json!([{"text": "one two"}]));
    assert_eq!(body["stopReason"], "end_turn");
    assert!(body["usage"]["inputTokens"].as_u64().unwrap() > 0);
    let stream =
        respond("/model/m/converse-stream", br#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#);
    assert_eq!(stream.header("content-type"), Some("application/vnd.amazon.eventstream"));
    assert!(stream.chunks.len() > 5);
}

#[test]
fn it_refuses_what_the_service_refuses() {
    let turns = |turns: Value| move |body: &mut Value| body["messages"] = turns.clone();
    refused("`model` is unknown", |body| body["model"] = "m".into());
    refused("start with a user", turns(json!([{"role": "assistant", "content": [{"text": "a"}]}])));
    refused(
        "alternate",
        turns(
            json!([{"role": "user", "content": [{"text": "a"}]}, {"role": "user", "content": [{"text": "a"}]}]),
        ),
    );
    refused("is blank", turns(json!([{"role": "user", "content": [{"text": " "}]}])));
    refused("exactly one", turns(json!([{"role": "user", "content": [{}]}])));
    refused("is empty", turns(json!([{"role": "user", "content": []}])));
    let document = json!({"document": {"format": "pdf", "name": "a.pdf", "source": {"bytes": "AA=="}}});
    refused("file names", turns(json!([{"role": "user", "content": [document]}])));
    let call =
        json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]});
    let user = json!({"role": "user", "content": [{"text": "a"}]});
    refused("Expected toolResult", turns(json!([user, call, user])));
    let result =
        json!({"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "x"}]}}]});
    refused("toolConfig field must be defined", turns(json!([user, call, result])));
    let thought = json!({"reasoningContent": {"reasoningText": {"text": "x", "signature": "forged"}}});
    refused("Invalid `signature`", turns(json!([user, {"role": "assistant", "content": [thought]}])));
    let spec = |name: &str| json!({"tools": [{"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}]});
    refused("pattern", |body| body["toolConfig"] = spec("a.b"));
    refused("at least one", |body| body["toolConfig"] = json!({"tools": []}));
    refused("between 0 and 1", |body| body["inferenceConfig"] = json!({"temperature": 1.5}));
    refused("greater than", |body| {
        body["additionalModelRequestFields"] =
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    });
    refused("streamProcessingMode", |body| {
        body["guardrailConfig"] =
            json!({"guardrailIdentifier": "g", "guardrailVersion": "1", "streamProcessingMode": "sync"});
    });
}
