use serde_json::{Value, json};

use crate::demo::{Call, answer};
use crate::reply::Reply;

fn post(body: &Value) -> Reply {
    answer(&Call { path: "/v1/messages", body: body.to_string().as_bytes(), ..Call::default() })
}

fn with(extra: &Value) -> Value {
    let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 4096,
        "messages": [{"role": "user", "content": "say: one two"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn ask(extra: &Value) -> (u16, Value) {
    let reply = post(&with(extra));
    (reply.status, serde_json::from_slice(&reply.body()).unwrap())
}

#[track_caller]
fn check(extra: Value, path: &str, expected: Value) {
    let (status, body) = ask(&extra);
    assert_eq!(body.pointer(path), Some(&expected), "{status} {body}");
}

#[track_caller]
fn refused(extra: Value, part: &str) {
    let (status, body) = ask(&extra);
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    assert!(status == 400 && message.contains(part), "{status} {body}");
}

fn tools() -> Value {
    json!([{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}])
}

const THINKING: &str = r#"{"type":"enabled","budget_tokens":1024}"#;

fn thinking() -> Value {
    serde_json::from_str(THINKING).unwrap()
}

#[test]
fn a_message_is_answered() {
    check(json!({}), "/content/0/text", json!("one two"));
    check(json!({"stop_sequences": ["two"]}), "/stop_sequence", json!("two"));
    check(json!({"max_tokens": 1}), "/stop_reason", json!("max_tokens"));
    check(json!({"model": "fake-refusal"}), "/stop_reason", json!("refusal"));
    check(json!({"model": "fake-cached-9"}), "/usage/cache_read_input_tokens", json!(9));
    check(json!({"tools": tools(), "tool_choice": {"type": "any"}}), "/content/0/name", json!("weather"));
    check(json!({"thinking": thinking()}), "/content/0/type", json!("thinking"));
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false});
    let format = json!({"format": {"type": "json_schema", "schema": schema}});
    check(json!({"output_config": format}), "/content/0/text", json!(r#"{"n":1}"#));
}

#[test]
fn thinking_must_come_back_unchanged() {
    let ask_tools = json!({"thinking": thinking(), "tools": tools(), "messages": [{"role": "user", "content": "weather"}]});
    let (_, first) = ask(&ask_tools);
    let mut said = first["content"].clone();
    let id = said[1]["id"].clone();
    let next = |said: &Value| {
        json!({"thinking": thinking(), "tools": tools(), "messages": [
            {"role": "user", "content": "weather"}, {"role": "assistant", "content": said},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "3C"}]}]})
    };
    check(next(&said), "/content/1/text", json!("The tool weather says: 3C"));
    refused(next(&json!([said[1]])), "Expected `thinking`");
    said[0]["thinking"] = json!("something else");
    refused(next(&said), "Invalid `signature` in `thinking` block");
}

#[test]
fn wrong_requests_are_refused() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let assistant = |content: Value| json!({"role": "assistant", "content": content});
    refused(json!({"max_tokens": 0}), "max_tokens");
    refused(json!({"seed": 1}), "seed: Extra inputs are not permitted");
    refused(json!({"temperature": 1.5}), "temperature");
    refused(json!({"messages": [user(json!("a")), user(json!("b"))]}), "roles must alternate");
    refused(json!({"messages": [assistant(json!("a"))]}), "first message must use");
    refused(json!({"messages": [user(json!([{"type": "text", "text": ""}]))]}), "non-empty");
    refused(json!({"messages": [user(json!("a")), assistant(json!("b "))]}), "trailing whitespace");
    refused(json!({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}), "should match pattern");
    refused(json!({"tools": [{"name": "a", "input_schema": {}}]}), "Input should be 'object'");
    refused(json!({"tool_choice": {"type": "auto"}}), "while providing tools");
    refused(json!({"thinking": thinking(), "max_tokens": 1000}), "must be greater");
    refused(json!({"thinking": thinking(), "temperature": 0}), "may only be set to 1");
    refused(
        json!({"thinking": thinking(), "tools": tools(), "tool_choice": {"type": "any"}}),
        "forces tool use",
    );
    refused(
        json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        "additionalProperties",
    );
    let used = assistant(json!([{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]));
    refused(
        json!({"tools": tools(), "messages": [user(json!("a")), used, user(json!("b"))]}),
        "without `tool_result`",
    );
    let result = json!({"type": "tool_result", "tool_use_id": "t1", "content": "3C"});
    refused(json!({"tools": tools(), "messages": [user(json!([result]))]}), "unexpected `tool_use_id`");
    let late = user(json!([{"type": "text", "text": "x"}, result]));
    refused(json!({"tools": tools(), "messages": [user(json!("a")), used, late]}), "must come first");
    refused(json!({"messages": [user(json!("a")), used, user(json!([result]))]}), "must define tools");
}

#[test]
fn a_lenient_fake_takes_turns_that_do_not_alternate() {
    let turns = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "say: b"}]);
    let body = with(&json!({"messages": turns})).to_string();
    assert_eq!(crate::demo::respond("/v1/messages", body.as_bytes()).status, 200);
}

#[test]
fn a_stream_says_what_the_whole_says() {
    for extra in [
        json!({}),
        json!({"tools": tools(), "tool_choice": {"type": "any"}}),
        json!({"thinking": thinking()}),
    ] {
        let (_, whole) = ask(&extra);
        let mut body = with(&extra);
        body["stream"] = json!(true);
        let text = String::from_utf8(post(&body).body().to_vec()).unwrap();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let mut blocks: Vec<Value> = Vec::new();
        let mut arguments = String::new();
        for event in &events {
            let delta = &event["delta"];
            match event["type"].as_str().unwrap() {
                "content_block_start" => blocks.push(event["content_block"].clone()),
                "content_block_delta" => {
                    let block = blocks.last_mut().unwrap();
                    for key in ["text", "thinking", "signature"] {
                        if let Some(more) = delta[key].as_str() {
                            block[key] = format!("{}{more}", block[key].as_str().unwrap()).into();
                        }
                    }
                    arguments += delta["partial_json"].as_str().unwrap_or_default();
                }
                "content_block_stop" if !arguments.is_empty() => {
                    blocks.last_mut().unwrap()["input"] =
                        serde_json::from_str(&std::mem::take(&mut arguments)).unwrap();
                }
                _ => {}
            }
        }
        // Ids follow from the body, and `stream` is part of it.
        let without_ids = |mut blocks: Vec<Value>| {
            blocks.iter_mut().for_each(|block| drop(block.as_object_mut().unwrap().remove("id")));
            blocks
        };
        assert_eq!(without_ids(blocks), without_ids(whole["content"].as_array().unwrap().clone()));
        let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
        assert_eq!(end["delta"]["stop_reason"], whole["stop_reason"]);
        assert_eq!(end["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    }
}

#[test]
fn tokens_are_counted_as_a_message_counts_them() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "say: one two"}]});
    let count = answer(&Call {
        path: "/v1/messages/count_tokens",
        body: body.to_string().as_bytes(),
        ..Call::default()
    });
    let counted: Value = serde_json::from_slice(&count.body()).unwrap();
    assert_eq!(counted["input_tokens"], ask(&json!({})).1["usage"]["input_tokens"]);
}
