//! Bodies of the Responses API that clients send to the address of Chat Completions, whose answers they expect.

use bytes::Bytes;
use serde_json::Value;
use tollway_model::{Capabilities, Dialect, Error, Kind, Notices, Result};

use crate::json::{Edits, Envelope, MAX_DEPTH};
use crate::openai_chat::Quirks;
use crate::{Target, codec};

/// Members with another name or form in Chat Completions.
const FOREIGN: [&str; 7] =
    ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens"];

/// Members that mean nothing there: an answer of Chat Completions holds all of it, and is kept by nobody.
const POINTLESS: [&str; 3] = ["include", "truncation", "background"];

/// Is this a body of the Responses API, and none of Chat Completions?
pub fn is_response_request(body: &Envelope) -> bool {
    let given = |key: &str| body.get(key).is_some_and(|value| value != "null");
    given("input") && !given("messages")
}

/// Says the same as a body of Chat Completions; all other members stay as they are.
///
/// Fails on what only the Responses API can do.
pub fn as_chat(body: &Envelope) -> Result<Bytes> {
    if body.get("previous_response_id").is_some_and(|id| id != "null") {
        let message = "`previous_response_id` goes on from a response: send it to /v1/responses";
        return Err(Error::invalid_at("previous_response_id", message));
    }
    let members = FOREIGN.iter().filter_map(|key| Some(format!("\"{key}\":{}", body.get(key)?)));
    let asked = format!("{{\"model\":\"\",{}}}", members.collect::<Vec<_>>().join(","));
    let request = codec(Dialect::OpenaiResponses).decode_request(asked.as_bytes())?;
    let target = Target { model: "", capabilities: &Capabilities::default(), quirks: &Quirks::default() };
    let mut notices = Notices::new();
    let encoded = codec(Dialect::OpenaiChat).encode_request(&request, &target, &mut notices)?;
    if let Some(lost) = notices.first_dropped() {
        let message = format!("`{}` has no form in Chat Completions: send it to /v1/responses", lost.field);
        return Err(Error::new(Kind::Unsupported, message).with_param(lost.field.to_string()));
    }
    let chat = Envelope::parse(Bytes::from(encoded.body), MAX_DEPTH * 2)?;
    let mut edits = Edits::new();
    for key in FOREIGN.into_iter().chain(POINTLESS) {
        edits.remove(key);
    }
    let Value::Object(written) = serde_json::from_slice(chat.body()).unwrap_or_default() else {
        return Err(Error::internal("the translated request is no object"));
    };
    for key in written.keys().filter(|key| *key != "model") {
        if let Some(value) = chat.get(key) {
            edits.set_raw(key.clone(), value);
        }
    }
    Ok(body.rewrite(&edits))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: Value, expected: Value) {
        let envelope = Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).unwrap();
        assert!(is_response_request(&envelope), "{body}");
        let written: Value = serde_json::from_slice(&as_chat(&envelope).unwrap()).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn the_same_is_asked_in_the_other_words() {
        check(
            json!({"model": "m", "input": "hi", "stream": true, "stream_options": {"include_usage": true}}),
            json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
                "messages": [{"role": "user", "content": "hi"}]}),
        );
        check(
            json!({"model": "m", "instructions": "short", "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "x"}],
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
                "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 9, "user": "u",
                "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"], "metadata": {"a": "b"}}),
            json!({"model": "m", "user": "u", "metadata": {"a": "b"},
                "messages": [{"role": "system", "content": "short"}, {"role": "user", "content": "look"},
                    {"role": "assistant", "content": null, "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "c", "content": "x"}],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "max_completion_tokens": 9, "reasoning_effort": "low"}),
        );
    }

    #[test]
    fn what_only_the_responses_api_can_do_is_refused_by_name() {
        for (body, param) in [
            (
                json!({"input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}),
                "tools[0]",
            ),
            (json!({"input": "x", "previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"input": []}), "input"),
        ] {
            let envelope = Envelope::parse(Bytes::from(body.to_string()), MAX_DEPTH).unwrap();
            assert_eq!(as_chat(&envelope).unwrap_err().param(), Some(param), "{body}");
        }
        let chat = json!({"messages": [], "input": "x"});
        assert!(!is_response_request(&Envelope::parse(Bytes::from(chat.to_string()), MAX_DEPTH).unwrap()));
    }
}
