//! An answer in Gemini's words, whole or streamed.

use serde_json::{Map, Value, json};

use super::signature;
use crate::json::{count, flag, hash};
use crate::mind::{self, Answer, Finish, PIXEL};
use crate::script::Script;

/// Everything an answer is written from.
pub(super) struct Writer<'a> {
    pub body: &'a Value,
    pub answer: &'a Answer,
    pub model: &'a str,
    pub id: &'a str,
    pub script: &'a Script,
}

impl Writer<'_> {
    /// The complete answer.
    pub(super) fn whole(&self) -> Value {
        let mut parts = Vec::new();
        if let Some(thought) = &self.answer.reasoning {
            parts.push(json!({"text": thought, "thought": true}));
        }
        if !self.spoken().is_empty() {
            parts.push(json!({"text": self.spoken()}));
        }
        parts.extend(self.calls());
        parts.extend(self.picture());
        let candidates: Vec<_> =
            (0..self.candidates()).map(|index| self.candidate(index, &parts, true)).collect();
        self.chunk(candidates, self.answer.usage.output)
    }

    /// The answer as SSE frames; every frame is a response of its own.
    pub(super) fn stream(&self) -> Vec<String> {
        let mut pieces: Vec<Value> = Vec::new();
        let thought = self.answer.reasoning.iter().flat_map(|thought| mind::pieces(thought));
        pieces.extend(thought.map(|text| json!({"text": text, "thought": true})));
        pieces.extend(mind::pieces(self.spoken()).map(|text| json!({"text": text})));
        pieces.extend(self.calls());
        pieces.extend(self.picture());
        if pieces.is_empty() && self.answer.finish != Finish::Refusal {
            pieces.push(json!({"text": ""}));
        }
        let mut frames = Vec::new();
        for index in 0..self.candidates() {
            for part in &pieces {
                frames.push(self.chunk(vec![self.candidate(index, std::slice::from_ref(part), false)], 1));
            }
            let end = vec![self.candidate(index, &[], true)];
            frames.push(self.chunk(end, self.answer.usage.output));
        }
        frames.iter().map(|frame| format!("data: {frame}\n\n")).collect()
    }

    /// The text the caller sees: a model that declines for safety says nothing.
    fn spoken(&self) -> &str {
        if self.answer.finish == Finish::Refusal { "" } else { &self.answer.text }
    }

    fn candidates(&self) -> usize {
        self.body.get("generationConfig").and_then(|config| count(config, "candidateCount")).unwrap_or(1)
    }

    fn candidate(&self, index: usize, parts: &[Value], last: bool) -> Value {
        let mut candidate = Map::new();
        if !parts.is_empty() {
            candidate.insert("content".to_owned(), json!({"parts": parts, "role": "model"}));
        }
        if last {
            candidate.insert("finishReason".to_owned(), self.finish().into());
        }
        candidate.insert("index".to_owned(), index.into());
        let wants_logprobs =
            self.body.get("generationConfig").is_some_and(|config| flag(config, "responseLogprobs"));
        if wants_logprobs && !self.spoken().is_empty() && !parts.is_empty() {
            let texts =
                parts.iter().filter_map(|part| crate::json::text(part, "text")).flat_map(mind::pieces);
            let chosen: Vec<_> =
                texts.map(|token| json!({"token": token, "logProbability": -0.125})).collect();
            let top: Vec<_> = chosen.iter().map(|token| json!({"candidates": [token]})).collect();
            let logprobs = json!({"chosenCandidates": chosen, "topCandidates": top});
            candidate.insert("logprobsResult".to_owned(), logprobs);
        }
        Value::Object(candidate)
    }

    fn calls(&self) -> Vec<Value> {
        let signed = self.script.thought_signatures || self.answer.reasoning.is_some();
        let part = |(at, call): (usize, &mind::ToolCall)| {
            let mut inner = json!({"name": call.name, "args": call.arguments});
            if let (Some(inner), true) = (inner.as_object_mut(), self.script.thought_signatures) {
                let id = format!("fc_{:016x}", hash(format!("{}/{at}", self.id).as_bytes()));
                inner.insert("id".to_owned(), id.into());
            }
            let mut part = json!({"functionCall": inner});
            if let (Some(part), true) = (part.as_object_mut(), signed && at == 0) {
                part.insert("thoughtSignature".to_owned(), signature(&call.name, &call.arguments).into());
            }
            part
        };
        self.answer.calls.iter().enumerate().map(part).collect()
    }

    fn picture(&self) -> Option<Value> {
        self.answer.image.then(|| json!({"inlineData": {"mimeType": "image/png", "data": PIXEL}}))
    }

    fn chunk(&self, candidates: Vec<Value>, output: usize) -> Value {
        let mut chunk = json!({"candidates": candidates, "modelVersion": self.model, "responseId": self.id});
        if let (Some(chunk), false) = (chunk.as_object_mut(), self.script.no_usage) {
            chunk.insert("usageMetadata".to_owned(), self.usage(output));
        }
        chunk
    }

    fn usage(&self, output: usize) -> Value {
        let usage = &self.answer.usage;
        let spoken = output.saturating_sub(usage.reasoning) * self.candidates();
        let mut all = json!({
            "promptTokenCount": usage.input,
            "candidatesTokenCount": spoken,
            "totalTokenCount": usage.input + spoken + usage.reasoning,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
        });
        if let Some(all) = all.as_object_mut() {
            if usage.reasoning > 0 {
                all.insert("thoughtsTokenCount".to_owned(), usage.reasoning.into());
            }
            if usage.cached > 0 {
                all.insert("cachedContentTokenCount".to_owned(), usage.cached.into());
            }
        }
        all
    }

    fn finish(&self) -> &'static str {
        match self.answer.finish {
            Finish::Stop | Finish::Sequence(_) | Finish::Tools => "STOP",
            Finish::Length => "MAX_TOKENS",
            Finish::Refusal => "SAFETY",
        }
    }
}
