//! Fixed answers for benchmarks: made once per model and operation, then only copied.
//!
//! The request is not parsed. The model and whether to stream are found by searching its bytes, so that the fake
//! costs as little as a server can and the gateway's share is what a benchmark sees.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use memchr::memmem;
use serde_json::json;

use crate::demo;
use crate::reply::Reply;
use crate::route::{Endpoint, Speaks};

/// Answers kept; further models are answered without being kept.
const KEPT: usize = 256;

/// The fixed answers made so far.
#[derive(Debug, Default)]
pub struct Bench {
    replies: RwLock<HashMap<Key, Arc<Reply>>>,
}

type Key = (String, bool, String);

impl Bench {
    /// No answers yet.
    pub fn new() -> Bench {
        Bench::default()
    }

    /// The fixed reply to a request.
    ///
    /// The model's name selects the size (`fake-tokens-512`: a text of 512 tokens, 512 frames when streamed) and
    /// the pace (`fake-slow-20`, `fake-interval-5`); any other model gets a short answer.
    pub fn reply(&self, path: &str, query: &str, body: &[u8]) -> Arc<Reply> {
        let model = model(body).unwrap_or("fake-ok");
        let key = (path.to_owned(), streams(body), model.to_owned());
        let kept = self.replies.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        kept.unwrap_or_else(|| self.make(key, query))
    }

    fn make(&self, key: Key, query: &str) -> Arc<Reply> {
        let (path, stream, model) = &key;
        let Some(endpoint) = Endpoint::find(path, false) else {
            return Arc::new(demo::respond(path, b"{}"));
        };
        let body = match (&endpoint, endpoint.speaks()) {
            (Endpoint::Embeddings, _) => json!({"model": model, "input": "hi"}),
            (Endpoint::Responses, _) => json!({"model": model, "stream": stream, "input": "hi"}),
            (Endpoint::Completions, _) => json!({"model": model, "stream": stream, "prompt": "hi"}),
            (_, Speaks::Gemini) => json!({"contents": [{"parts": [{"text": "hi"}]}]}),
            (_, Speaks::Bedrock) => json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}),
            (_, Speaks::Anthropic) => {
                json!({"model": model, "stream": stream, "max_tokens": 1_000_000, "messages": [{"role": "user", "content": "hi"}]})
            }
            (_, Speaks::OpenAi) => {
                let mut body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
                if let (Some(body), true) = (body.as_object_mut(), *stream) {
                    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
                }
                body
            }
        };
        let path = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        let reply = Arc::new(demo::respond(&path, body.to_string().as_bytes()));
        let mut replies = self.replies.write().unwrap_or_else(PoisonError::into_inner);
        if replies.len() < KEPT {
            replies.insert(key, Arc::clone(&reply));
        }
        reply
    }
}

/// What follows the first `"key"` and its colon.
fn after<'a>(body: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let at = memmem::find(body, key.as_bytes())?;
    let rest = body.get(at + key.len()..)?.trim_ascii_start();
    Some(rest.strip_prefix(b":")?.trim_ascii_start())
}

fn model(body: &[u8]) -> Option<&str> {
    let rest = after(body, "\"model\"")?.strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

fn streams(body: &[u8]) -> bool {
    after(body, "\"stream\"").is_some_and(|rest| rest.starts_with(b"true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_stream_are_found_without_parsing() {
        let body = br#"{"messages":[{"role":"user","content":"the \"model\""}], "model" : "fake-tokens-8","stream": true}"#;
        assert_eq!((model(body), streams(body)), (Some("fake-tokens-8"), true));
        assert_eq!((model(b"{}"), streams(br#"{"stream_options":{},"stream":false}"#)), (None, false));
    }

    #[test]
    fn the_model_selects_the_number_of_frames() {
        let bench = Bench::new();
        let frames = |model: &str| {
            let body = format!("{{\"model\":\"{model}\",\"stream\":true}}");
            bench.reply("/v1/chat/completions", "", body.as_bytes()).chunks.len()
        };
        assert_eq!(frames("fake-tokens-100") - frames("fake-tokens-10"), 90);
        let kept = |path| bench.reply(path, "", b"{\"model\":\"m\"}");
        assert!(Arc::ptr_eq(&kept("/v1/messages"), &kept("/v1/messages")));
        assert_eq!(kept("/v1/embeddings").status, 200);
    }
}
