//! `/utils/token_counter`.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tollway_model::{Dialect, Error, Result};
use tollway_pipeline::{Reply, Snapshot, json_reply};
use tollway_wire::codec;
use tollway_wire::json::{Edits, Envelope};

/// Counts the tokens of `prompt`, or of `messages` with `tools` (Gemini's `contents`), for `model`.
pub(crate) async fn count(snapshot: &Snapshot, body: Bytes) -> Result<Reply> {
    let envelope = Envelope::parse(body, snapshot.settings.max_depth)?;
    let model = envelope.str("model").filter(|model| !model.is_empty());
    let asked = model
        .ok_or_else(|| Error::invalid_at("model", "`model` is missing: name the model to count for"))?
        .into_owned();
    let deployment = snapshot.routes.resolve(&asked).and_then(|group| group.first().cloned());
    let used = deployment.map_or_else(|| asked.clone(), |deployment| deployment.model.to_string());
    let work = if envelope.has("messages") {
        let body = envelope.rewrite(&Edits::new());
        Work::Request(Box::new(codec(Dialect::OpenaiChat).decode_request(&body)?))
    } else if envelope.has("contents") {
        let body = envelope.rewrite(&Edits::new());
        Work::Request(Box::new(codec(Dialect::Gemini).decode_request(&body)?))
    } else if let Some(prompt) = envelope.str("prompt") {
        Work::Text(prompt.into_owned())
    } else {
        return Err(Error::invalid_at("messages", "send `messages`, `contents`, or a `prompt` as a string"));
    };
    let name = used.clone();
    let counted = tokio::task::spawn_blocking(move || work.count(&name)).await;
    let count = counted.map_err(|_| Error::internal("token counting failed"))?;
    let answer = json!({
        "total_tokens": count.tokens,
        "request_model": asked,
        "model_used": used,
        "tokenizer_type": count.tokenizer,
        "count_source": "local",
    });
    Ok(json_reply(StatusCode::OK, &answer))
}

enum Work {
    Text(String),
    Request(Box<tollway_model::Request>),
}

struct Counted {
    tokens: u64,
    tokenizer: &'static str,
}

impl Work {
    /// The first use loads the encodings, which takes half a second: not on a thread that serves calls.
    fn count(self, model: &str) -> Counted {
        let count = match self {
            Work::Text(text) => tollway_prices::tokens::count(model, &text),
            Work::Request(request) => tollway_prices::tokens::count_request(model, &request),
        };
        let exact = count.method == tollway_prices::tokens::Method::Exact;
        Counted { tokens: count.tokens, tokenizer: if exact { "openai_tokenizer" } else { "estimate" } }
    }
}
