//! An answer in Anthropic's words, whole or streamed.

use serde_json::{Value, json};

use super::signature;
use crate::json::hash;
use crate::mind::{self, Answer, Finish};
use crate::script::Script;

/// The complete answer.
pub(super) fn whole(answer: &Answer, model: &str, id: &str, script: &Script) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model,
        "content": blocks(answer, id),
        "stop_reason": stop_reason(answer), "stop_sequence": stop_sequence(answer),
        "stop_details": stop_details(answer),
        "usage": usage(answer, answer.usage.output, script),
    })
}

/// The answer as SSE frames.
pub(super) fn stream(answer: &Answer, model: &str, id: &str, script: &Script) -> Vec<String> {
    let start = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(answer, 1, script),
    });
    let mut frames = vec![frame("message_start", json!({"message": start}))];
    for (index, block) in blocks(answer, id).into_iter().enumerate() {
        let (opened, deltas) = unfold(block);
        frames.push(frame("content_block_start", json!({"index": index, "content_block": opened})));
        if index == 0 {
            frames.push(frame("ping", json!({})));
        }
        frames.extend(
            deltas
                .into_iter()
                .map(|delta| frame("content_block_delta", json!({"index": index, "delta": delta}))),
        );
        frames.push(frame("content_block_stop", json!({"index": index})));
    }
    let delta = json!({
        "stop_reason": stop_reason(answer), "stop_sequence": stop_sequence(answer),
        "stop_details": stop_details(answer),
    });
    let used = if script.no_usage {
        json!({"output_tokens": 0})
    } else {
        json!({"output_tokens": answer.usage.output})
    };
    frames.push(frame("message_delta", json!({"delta": delta, "usage": used})));
    frames.push(frame("message_stop", json!({})));
    frames
}

fn frame(kind: &str, mut data: Value) -> String {
    if let Some(data) = data.as_object_mut() {
        data.insert("type".to_owned(), kind.into());
    }
    format!("event: {kind}\ndata: {data}\n\n")
}

fn blocks(answer: &Answer, id: &str) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thinking) = &answer.reasoning {
        blocks.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(thinking)}));
    }
    if !answer.text.is_empty() {
        blocks.push(json!({"type": "text", "text": answer.text, "citations": null}));
    }
    for (at, call) in answer.calls.iter().enumerate() {
        let id = format!("toolu_{:016x}", hash(format!("{id}/{at}").as_bytes()));
        blocks.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments}));
    }
    blocks
}

/// A block as it opens, and the deltas that fill it.
fn unfold(mut block: Value) -> (Value, Vec<Value>) {
    let mut take = |key: &str, empty: Value| block.get_mut(key).map(|value| std::mem::replace(value, empty));
    let deltas = if let Some(Value::String(text)) = take("text", json!("")) {
        mind::pieces(&text).map(|text| json!({"type": "text_delta", "text": text})).collect()
    } else if let Some(Value::String(thinking)) = take("thinking", json!("")) {
        let signature = take("signature", json!("")).unwrap_or_default();
        let mut deltas: Vec<_> =
            mind::pieces(&thinking).map(|text| json!({"type": "thinking_delta", "thinking": text})).collect();
        deltas.push(json!({"type": "signature_delta", "signature": signature}));
        deltas
    } else {
        let input = take("input", json!({})).unwrap_or_default().to_string();
        let pieces = std::iter::once(String::new()).chain(mind::argument_pieces(&input));
        pieces.map(|piece| json!({"type": "input_json_delta", "partial_json": piece})).collect()
    };
    (block, deltas)
}

fn usage(answer: &Answer, output: usize, script: &Script) -> Value {
    if script.no_usage {
        return json!({"input_tokens": 0, "output_tokens": 0});
    }
    let usage = &answer.usage;
    json!({
        "input_tokens": usage.input - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "end_turn",
        Finish::Sequence(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
        Finish::Refusal => "refusal",
    }
}

fn stop_sequence(answer: &Answer) -> Value {
    match &answer.finish {
        Finish::Sequence(sequence) => sequence.as_str().into(),
        _ => Value::Null,
    }
}

fn stop_details(answer: &Answer) -> Value {
    match answer.finish {
        Finish::Refusal => json!({"type": "refusal", "category": "general_harms", "explanation": null}),
        _ => Value::Null,
    }
}
