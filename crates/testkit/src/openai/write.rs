//! An answer in OpenAI's words, whole or streamed.

use serde_json::{Map, Value, json};

use super::{Head, read};
use crate::json::{count, flag, hash};
use crate::mind::{self, Answer, Finish, PIXEL, ToolCall, Usage};
use crate::script::Script;

/// The complete answer.
pub(super) fn whole(body: &Value, answer: &Answer, head: &Head, script: &Script) -> Value {
    let choices: Vec<_> = (0..choices(body)).map(|index| choice(body, answer, head, index)).collect();
    let mut whole = json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": choices, "service_tier": "default", "system_fingerprint": "fp_fake",
    });
    if let (Some(whole), false) = (whole.as_object_mut(), script.no_usage) {
        whole.insert("usage".to_owned(), usage(&total(body, answer)));
    }
    whole
}

/// The answer as SSE frames.
pub(super) fn stream(body: &Value, answer: &Answer, head: &Head, script: &Script) -> Vec<String> {
    let with_usage = read::wants_usage(body) && !script.no_usage;
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": head.id, "object": "chat.completion.chunk", "created": head.created, "model": head.model,
            "service_tier": "default", "system_fingerprint": "fp_fake", "choices": choices,
        });
        if let (Some(chunk), true) = (chunk.as_object_mut(), with_usage) {
            chunk.insert("usage".to_owned(), usage.unwrap_or_default());
        }
        format!("data: {chunk}\n\n")
    };
    let mut frames = Vec::new();
    for index in 0..choices(body) {
        for (delta, logprobs, finish) in deltas(body, answer, head, index) {
            let choice =
                json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish});
            frames.push(chunk(json!([choice]), None));
        }
    }
    if with_usage {
        frames.push(chunk(json!([]), Some(usage(&total(body, answer)))));
    }
    frames.push("data: [DONE]\n\n".to_owned());
    frames
}

/// Token usage in OpenAI's words.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

/// OpenAI's `finish_reason`.
pub(super) fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
        Finish::Stop | Finish::Sequence(_) | Finish::Refusal => "stop",
    }
}

fn choices(body: &Value) -> usize {
    count(body, "n").unwrap_or(1)
}

/// Usage over all choices.
fn total(body: &Value, answer: &Answer) -> Usage {
    let n = choices(body);
    Usage { output: answer.usage.output * n, reasoning: answer.usage.reasoning * n, ..answer.usage }
}

fn choice(body: &Value, answer: &Answer, head: &Head, index: usize) -> Value {
    let refused = answer.finish == Finish::Refusal;
    let content = if refused || !answer.calls.is_empty() { Value::Null } else { answer.text.as_str().into() };
    let refusal = if refused { answer.text.as_str().into() } else { Value::Null };
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    message.insert("content".to_owned(), content);
    message.insert("refusal".to_owned(), refusal);
    message.insert("annotations".to_owned(), json!([]));
    if let Some(reasoning) = &answer.reasoning {
        message.insert("reasoning_content".to_owned(), reasoning.as_str().into());
    }
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().enumerate().map(|(at, call)| tool_call(head, index, at, call));
        message.insert("tool_calls".to_owned(), calls.collect());
    }
    if answer.image {
        message.insert("images".to_owned(), json!([picture()]));
    }
    let logprobs =
        if flag(body, "logprobs") { logprobs(body, mind::pieces(&answer.text)) } else { Value::Null };
    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish(answer)})
}

fn tool_call(head: &Head, choice: usize, at: usize, call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments.to_string()});
    json!({"id": call_id(head, choice, at), "type": "function", "function": function})
}

fn call_id(head: &Head, choice: usize, at: usize) -> String {
    format!("call_{:016x}", hash(format!("{}/{choice}/{at}", head.id).as_bytes()))
}

fn picture() -> Value {
    json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PIXEL}")}})
}

/// The deltas of one choice, each with its logprobs and finish reason.
fn deltas(body: &Value, answer: &Answer, head: &Head, index: usize) -> Vec<(Value, Value, Value)> {
    let plain = |delta: Value| (delta, Value::Null, Value::Null);
    let opening = if answer.calls.is_empty() { json!("") } else { Value::Null };
    let mut deltas = vec![plain(json!({"role": "assistant", "content": opening, "refusal": null}))];
    for piece in answer.reasoning.iter().flat_map(|reasoning| mind::pieces(reasoning)) {
        deltas.push(plain(json!({"reasoning_content": piece})));
    }
    for (at, call) in answer.calls.iter().enumerate() {
        let function = json!({"name": call.name, "arguments": ""});
        let open =
            json!({"index": at, "id": call_id(head, index, at), "type": "function", "function": function});
        deltas.push(plain(json!({"tool_calls": [open]})));
        for piece in mind::argument_pieces(&call.arguments.to_string()) {
            deltas.push(plain(json!({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})));
        }
    }
    let field = if answer.finish == Finish::Refusal { "refusal" } else { "content" };
    for piece in mind::pieces(&answer.text) {
        let logprobs =
            if flag(body, "logprobs") { logprobs(body, std::iter::once(piece)) } else { Value::Null };
        deltas.push((json!({field: piece}), logprobs, Value::Null));
    }
    if answer.image {
        deltas.push(plain(json!({"images": [picture()]})));
    }
    deltas.push((json!({}), Value::Null, finish(answer).into()));
    deltas
}

fn logprobs<'a>(body: &Value, pieces: impl Iterator<Item = &'a str>) -> Value {
    let top = count(body, "top_logprobs").unwrap_or(0);
    let one =
        |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let content: Vec<_> = pieces
        .map(|piece| {
            let mut entry = one(piece, -0.125);
            let rivals = [piece, "maybe", "perhaps", "or", "not"];
            let ranked = rivals.iter().take(top).zip([-0.125, -2.5, -3.5, -4.5, -5.5]);
            if let Some(entry) = entry.as_object_mut() {
                entry.insert(
                    "top_logprobs".to_owned(),
                    ranked.map(|(token, logprob)| one(token, logprob)).collect(),
                );
            }
            entry
        })
        .collect();
    json!({"content": content, "refusal": null})
}
