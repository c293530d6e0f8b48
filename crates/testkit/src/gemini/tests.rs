use serde_json::{Value, json};

use crate::demo::{Call, answer};
use crate::reply::Reply;

fn post(model: &str, method: &str, body: &Value) -> Reply {
    let path = format!("/v1beta/models/{model}:{method}");
    answer(&Call { path: &path, query: "alt=sse", body: body.to_string().as_bytes(), ..Call::default() })
}

fn with(extra: &Value) -> Value {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "say: one two"}]}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn ask(model: &str, extra: &Value) -> (u16, Value) {
    let reply = post(model, "generateContent", &with(extra));
    (reply.status, serde_json::from_slice(&reply.body()).unwrap())
}

#[track_caller]
fn check(extra: Value, path: &str, expected: Value) {
    let (status, body) = ask("gemini-2.5-flash", &extra);
    assert_eq!(body.pointer(path), Some(&expected), "{status} {body}");
}

#[track_caller]
fn refused(extra: Value, part: &str) {
    let (status, body) = ask("gemini-2.5-flash", &extra);
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    assert!(status == 400 && message.contains(part), "{status} {body}");
}

fn tools() -> Value {
    let parameters = json!({"type": "OBJECT", "properties": {"city": {"type": "STRING"}}});
    json!([{"functionDeclarations": [{"name": "weather", "parameters": parameters}]}])
}

#[test]
fn a_prompt_is_answered() {
    check(json!({}), "/candidates/0/content/parts/0/text", json!("one two"));
    check(
        json!({"generationConfig": {"stopSequences": ["two"]}}),
        "/candidates/0/content/parts/0/text",
        json!("one "),
    );
    check(
        json!({"generation_config": {"max_output_tokens": 1}}),
        "/candidates/0/finishReason",
        json!("MAX_TOKENS"),
    );
    let any = json!({"functionCallingConfig": {"mode": "ANY"}});
    check(
        json!({"tools": tools(), "toolConfig": any}),
        "/candidates/0/content/parts/0/functionCall/name",
        json!("weather"),
    );
    let thinks = json!({"generationConfig": {"thinkingConfig": {"includeThoughts": true}}});
    check(thinks, "/candidates/0/content/parts/0/thought", json!(true));
    let schema = json!({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}});
    check(json!({"generationConfig": schema}), "/candidates/0/content/parts/0/text", json!(r#"{"n":1}"#));
}

#[test]
fn a_current_call_must_bring_its_signature_back() {
    let (_, first) = ask(
        "gemini-3-pro",
        &json!({"tools": tools(), "contents": [{"parts": [{"text": "weather city=Oslo"}]}]}),
    );
    let mut part = first["candidates"][0]["content"]["parts"][0].clone();
    let next = |part: &Value| {
        let response = json!({"functionResponse": {"name": "weather", "response": {"result": "3C"}}});
        json!({"tools": tools(), "contents": [{"role": "user", "parts": [{"text": "weather city=Oslo"}]},
            {"role": "model", "parts": [part]}, {"role": "user", "parts": [response]}]})
    };
    let (status, told) = ask("gemini-3-pro", &next(&part));
    assert_eq!(
        (status, &told["candidates"][0]["content"]["parts"][0]["text"]),
        (200, &json!("The tool weather says: 3C"))
    );
    part["thoughtSignature"] = json!("AAAA");
    assert_eq!(ask("gemini-3-pro", &next(&part)).0, 400);
    part["thoughtSignature"] = json!("skip_thought_signature_validator");
    assert_eq!(ask("gemini-3-pro", &next(&part)).0, 200);
    part.as_object_mut().unwrap().remove("thoughtSignature");
    let (status, error) = ask("gemini-3-pro", &next(&part));
    assert!(status == 400 && error.to_string().contains("missing a thought_signature"), "{error}");
    assert_eq!(ask("gemini-2.5-pro", &next(&part)).0, 200);
}

#[test]
fn wrong_requests_are_refused() {
    refused(json!({"seed": 1}), "Unknown name \"seed\"");
    refused(json!({"generationConfig": {"max_tokens": 1}}), "Unknown name \"maxTokens\"");
    refused(json!({"contents": []}), "contents is not specified");
    refused(json!({"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]}), "valid role");
    refused(json!({"contents": [{"role": "user", "parts": []}]}), "must not be empty");
    refused(
        json!({"contents": [{"role": "user", "parts": [{"text": "a", "kind": 1}]}]}),
        "Unknown name \"kind\"",
    );
    let declare = |parameters: Value| json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]});
    let inner = json!({"type": "STRING"});
    refused(
        declare(json!({"type": "OBJECT", "properties": {"a": inner}, "additionalProperties": false})),
        "additionalProperties",
    );
    refused(
        declare(json!({"type": "OBJECT", "properties": {"a": {"type": ["STRING", "NULL"]}}})),
        "Invalid value at",
    );
    refused(declare(json!({"type": "OBJECT", "properties": {}})), "should be non-empty");
    refused(declare(json!({"$schema": "x", "type": "OBJECT", "properties": {"a": inner}})), "$schema");
    refused(json!({"generationConfig": {"responseSchema": {"type": "STRING"}}}), "response_mime_type");
    let config = json!({"thinkingBudget": 1, "thinkingLevel": "LOW"});
    refused(json!({"generationConfig": {"thinkingConfig": config}}), "only one of thinking budget");
    let call = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
    let user = json!({"role": "user", "parts": [{"text": "a"}]});
    refused(json!({"contents": [user, call, user]}), "number of function response parts");
    refused(json!({"contents": [call]}), "function call turn comes immediately after");
}

#[test]
fn a_stream_says_what_the_whole_says() {
    for extra in
        [json!({}), json!({"tools": tools(), "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}})]
    {
        let (_, whole) = ask("gemini-2.5-flash", &extra);
        let reply = post("gemini-2.5-flash", "streamGenerateContent", &with(&extra));
        let text = String::from_utf8(reply.body().to_vec()).unwrap();
        let frames: Vec<Value> = text
            .split("\n\n")
            .filter_map(|frame| frame.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let parts: Vec<&Value> = frames
            .iter()
            .flat_map(|frame| frame["candidates"][0]["content"]["parts"].as_array())
            .flatten()
            .collect();
        let said: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        let complete = &whole["candidates"][0];
        assert_eq!(said, complete["content"]["parts"][0]["text"].as_str().unwrap_or_default());
        assert_eq!(parts[0].get("functionCall"), complete["content"]["parts"][0].get("functionCall"));
        let last = frames.last().unwrap();
        assert_eq!(last["candidates"][0]["finishReason"], complete["finishReason"]);
        assert_eq!(last["usageMetadata"], whole["usageMetadata"]);
    }
}

#[test]
fn without_sse_a_stream_is_an_array() {
    let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let reply = answer(&Call { path, body: with(&json!({})).to_string().as_bytes(), ..Call::default() });
    let body: Value = serde_json::from_slice(&reply.body()).unwrap();
    assert_eq!(body.as_array().unwrap().len(), 3);
}

#[test]
fn a_blocked_prompt_has_no_candidate() {
    let (status, body) = ask("fake-content-policy", &json!({}));
    assert_eq!((status, &body["promptFeedback"]["blockReason"]), (200, &json!("PROHIBITED_CONTENT")));
}

#[test]
fn embeddings_and_counts_are_answered() {
    let request =
        json!({"model": "models/e", "content": {"parts": [{"text": "hi"}]}, "outputDimensionality": 3});
    let reply = post("e", "batchEmbedContents", &json!({"requests": [request, request]}));
    let body: Value = serde_json::from_slice(&reply.body()).unwrap();
    assert_eq!(body["embeddings"][1]["values"].as_array().unwrap().len(), 3);
    let counted: Value = serde_json::from_slice(&post("m", "countTokens", &with(&json!({}))).body()).unwrap();
    let (_, whole) = ask("m", &json!({}));
    assert_eq!(counted["totalTokens"], whole["usageMetadata"]["promptTokenCount"]);
}
