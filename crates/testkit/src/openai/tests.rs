use serde_json::{Value, json};

use crate::demo::{Call, answer};
use crate::reply::Reply;

fn post(path: &str, body: &Value) -> Reply {
    answer(&Call { path, body: body.to_string().as_bytes(), ..Call::default() })
}

fn with(extra: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "say: one two"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// Checks the value at `path` of the answer to the default request with `extra` members.
#[track_caller]
fn check(extra: Value, path: &str, expected: Value) {
    let reply = post("/v1/chat/completions", &with(&extra));
    let body: Value = serde_json::from_slice(&reply.body()).unwrap();
    assert_eq!(body.pointer(path), Some(&expected), "{} {body}", reply.status);
}

#[track_caller]
fn refused(extra: Value, part: &str) {
    let reply = post("/v1/chat/completions", &with(&extra));
    let body: Value = serde_json::from_slice(&reply.body()).unwrap();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    assert!(reply.status == 400 && message.contains(part), "{} {body}", reply.status);
}

fn weather() -> Value {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}])
}

#[test]
fn a_chat_is_answered() {
    check(json!({}), "/choices/0/message/content", json!("one two"));
    check(json!({}), "/usage/prompt_tokens", json!(6));
    check(json!({"stop": "two"}), "/choices/0/message/content", json!("one "));
    check(json!({"max_tokens": 1}), "/choices/0/finish_reason", json!("length"));
    check(json!({"n": 2}), "/choices/1/message/content", json!("one two"));
    check(json!({"logprobs": true, "top_logprobs": 2}), "/choices/0/logprobs/content/1/token", json!("two"));
    check(json!({"model": "fake-refusal"}), "/choices/0/message/content", json!(null));
    check(json!({"model": "fake-cached-10"}), "/usage/prompt_tokens_details/cached_tokens", json!(10));
    check(json!({"model": "fake-image"}), "/choices/0/message/images/0/type", json!("image_url"));
}

#[test]
fn tools_are_called_and_their_results_used() {
    let tools =
        json!({"tools": weather(), "messages": [{"role": "user", "content": "weather in city=Oslo"}]});
    check(tools.clone(), "/choices/0/message/tool_calls/0/function/arguments", json!(r#"{"city":"Oslo"}"#));
    check(tools.clone(), "/choices/0/finish_reason", json!("tool_calls"));
    let call = json!({"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}});
    let told = json!({"tools": weather(), "messages": [
        {"role": "user", "content": "weather"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3C"}]});
    check(told, "/choices/0/message/content", json!("The tool weather says: 3C"));
}

#[test]
fn schemas_are_filled() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    check(json!({"response_format": format}), "/choices/0/message/content", json!(r#"{"n":1}"#));
}

#[test]
fn wrong_requests_are_refused() {
    refused(json!({"messages": []}), "empty array");
    refused(
        json!({"messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]}),
        "must be a response",
    );
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    refused(
        json!({"messages": [{"role": "assistant", "tool_calls": [call]}]}),
        "must be followed by tool messages",
    );
    refused(json!({"tool_choice": "auto"}), "only allowed when 'tools'");
    refused(json!({"stream_options": {"include_usage": true}}), "only allowed when 'stream'");
    refused(json!({"temperature": 3}), "temperature");
    refused(json!({"model": "gpt-5-mini", "max_tokens": 5}), "max_completion_tokens");
    refused(
        json!({"model": "fake-strict", "invented": 1}),
        "Unrecognized request argument supplied: invented",
    );
    let schema = json!({"type": "object", "properties": {}});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    refused(json!({"response_format": format}), "additionalProperties");
    refused(
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}]}]}),
        "image_url",
    );
    check(json!({"invented": 1}), "/choices/0/finish_reason", json!("stop"));
}

/// The stream of a request, folded the way clients do.
fn folded(extra: Value) -> (String, String, Value, Value) {
    let mut body = with(&extra);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let reply = post("/v1/chat/completions", &body);
    let text = String::from_utf8(reply.body().to_vec()).unwrap();
    let (mut content, mut arguments, mut finish, mut usage) =
        (String::new(), String::new(), Value::Null, Value::Null);
    for frame in
        text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: ")).filter(|data| *data != "[DONE]")
    {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let delta = &frame["choices"][0]["delta"];
        content += delta["content"].as_str().unwrap_or_default();
        arguments += delta["tool_calls"][0]["function"]["arguments"].as_str().unwrap_or_default();
        if frame["choices"][0]["finish_reason"].is_string() {
            finish = frame["choices"][0]["finish_reason"].clone();
        }
        usage = frame["usage"].clone();
    }
    assert!(text.ends_with("data: [DONE]\n\n"));
    (content, arguments, finish, usage)
}

#[test]
fn a_stream_says_what_the_whole_says() {
    for extra in [json!({}), json!({"tools": weather(), "tool_choice": "required"}), json!({"max_tokens": 1})]
    {
        let whole: Value =
            serde_json::from_slice(&post("/v1/chat/completions", &with(&extra)).body()).unwrap();
        let choice = &whole["choices"][0];
        let (content, arguments, finish, usage) = folded(extra);
        assert_eq!(content, choice["message"]["content"].as_str().unwrap_or_default());
        let called = &choice["message"]["tool_calls"][0]["function"]["arguments"];
        assert_eq!(arguments, called.as_str().unwrap_or_default());
        assert_eq!((&finish, &usage), (&choice["finish_reason"], &whole["usage"]));
    }
}

#[test]
fn embeddings_agree_in_both_encodings() {
    use base64::Engine as _;
    let ask = |format: &str| {
        let body = json!({"model": "e", "input": ["a", "b"], "dimensions": 4, "encoding_format": format});
        serde_json::from_slice::<Value>(&post("/v1/embeddings", &body).body()).unwrap()
    };
    let floats = ask("float");
    let packed = base64::engine::general_purpose::STANDARD
        .decode(ask("base64")["data"][1]["embedding"].as_str().unwrap());
    let unpacked: Vec<f32> =
        packed.unwrap().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let direct: Vec<f32> = serde_json::from_value(floats["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(unpacked, direct);
    assert_eq!(post("/v1/embeddings", &json!({"model": "e", "input": []})).status, 400);
}

#[test]
fn legacy_completions_are_answered() {
    let reply = post("/v1/completions", &json!({"model": "m", "prompt": "say: hello"}));
    let body: Value = serde_json::from_slice(&reply.body()).unwrap();
    assert_eq!(body["choices"][0]["text"], "hello");
}
