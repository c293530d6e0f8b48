//! An answer in Bedrock's words, whole or streamed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{frame, signature};
use crate::json::hash;
use crate::mind::{self, Answer, Finish};
use crate::script::Script;

/// What an answer is written from.
pub(super) struct Writer<'a> {
    pub(super) answer: &'a Answer,
    pub(super) id: &'a str,
    pub(super) script: &'a Script,
}

impl Writer<'_> {
    /// The complete answer.
    pub(super) fn whole(&self) -> Value {
        json!({
            "output": {"message": {"role": "assistant", "content": self.blocks()}},
            "stopReason": self.stop_reason(),
            "usage": self.usage(),
            "metrics": {"latencyMs": 7},
        })
    }

    /// The answer as messages of an event stream. Each has padding of some length, as the service sends it.
    pub(super) fn stream(&self) -> Vec<Bytes> {
        let mut frames = vec![event("messageStart", json!({"role": "assistant"}), 0)];
        for (index, block) in self.blocks().into_iter().enumerate() {
            let (start, deltas) = unfold(block);
            if let Some(start) = start {
                frames.push(event(
                    "contentBlockStart",
                    json!({"contentBlockIndex": index, "start": start}),
                    1,
                ));
            }
            for (at, delta) in deltas.into_iter().enumerate() {
                let data = json!({"contentBlockIndex": index, "delta": delta});
                frames.push(event("contentBlockDelta", data, at));
            }
            frames.push(event("contentBlockStop", json!({"contentBlockIndex": index}), 2));
        }
        frames.push(event("messageStop", json!({"stopReason": self.stop_reason()}), 3));
        frames.push(event("metadata", json!({"usage": self.usage(), "metrics": {"latencyMs": 7}}), 4));
        frames
    }

    fn blocks(&self) -> Vec<Value> {
        let mut blocks = Vec::new();
        if let Some(thinking) = &self.answer.reasoning {
            let text = json!({"text": thinking, "signature": signature(thinking)});
            blocks.push(json!({"reasoningContent": {"reasoningText": text}}));
        }
        if !self.answer.text.is_empty() {
            blocks.push(json!({"text": self.answer.text}));
        }
        for (at, call) in self.answer.calls.iter().enumerate() {
            let id = format!("tooluse_{:016x}", hash(format!("{}/{at}", self.id).as_bytes()));
            blocks.push(json!({"toolUse": {"toolUseId": id, "name": call.name, "input": call.arguments}}));
        }
        blocks
    }

    fn usage(&self) -> Value {
        if self.script.no_usage {
            return json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0});
        }
        let usage = &self.answer.usage;
        json!({
            "inputTokens": usage.input - usage.cached, "outputTokens": usage.output,
            "totalTokens": usage.input + usage.output,
            "cacheReadInputTokens": usage.cached, "cacheWriteInputTokens": 0,
        })
    }

    fn stop_reason(&self) -> &'static str {
        match self.answer.finish {
            Finish::Stop => "end_turn",
            Finish::Sequence(_) => "stop_sequence",
            Finish::Length => "max_tokens",
            Finish::Tools => "tool_use",
            Finish::Refusal => "content_filtered",
        }
    }
}

/// How a block is announced, and the deltas that fill it.
fn unfold(mut block: Value) -> (Option<Value>, Vec<Value>) {
    if let Some(text) = block.get("text").and_then(Value::as_str) {
        return (None, mind::pieces(text).map(|text| json!({"text": text})).collect());
    }
    if let Some(thought) = block.pointer("/reasoningContent/reasoningText") {
        let text = thought.get("text").and_then(Value::as_str).unwrap_or_default();
        let deltas = mind::pieces(text).map(|text| json!({"reasoningContent": {"text": text}}));
        let last = json!({"reasoningContent": {"signature": thought.get("signature")}});
        return (None, deltas.chain([last]).collect());
    }
    let mut call = block.get_mut("toolUse").map(Value::take).unwrap_or_default();
    let input = call.as_object_mut().and_then(|call| call.remove("input")).unwrap_or_default().to_string();
    let deltas = mind::argument_pieces(&input).into_iter().map(|piece| json!({"toolUse": {"input": piece}}));
    (Some(json!({ "toolUse": call })), deltas.collect())
}

fn event(kind: &str, mut data: Value, padding: usize) -> Bytes {
    const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if let Some(data) = data.as_object_mut() {
        let length = padding % PADDING.len();
        data.insert("p".to_owned(), PADDING.get(..length).unwrap_or_default().into());
    }
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    frame::write(&headers, data.to_string().as_bytes())
}
