//! The fake without a socket: a request in, a [`Reply`] out.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use crate::anthropic;
use crate::bedrock;
use crate::fault::Fault;
use crate::gemini;
use crate::json::{flag, hash, text};
use crate::openai::{self, Head};
use crate::reply::{Reply, Said, deliver};
use crate::route::{Endpoint, Speaks};
use crate::script::{Refuse, Script, unknown_model};

/// The models that the model lists name. Every other name is answered too.
pub(crate) const MODELS: [&str; 3] = ["fake-ok", "fake-reasoning", "fake-parallel-tools"];

/// A request, as far as an answer depends on it.
#[derive(Debug, Clone, Default)]
pub struct Call<'a> {
    /// The path without query.
    pub path: &'a str,
    /// The query without `?`.
    pub query: &'a str,
    /// The body; empty for a GET.
    pub body: &'a [u8],
    /// The request carries `anthropic-version`, which tells the two `/v1/models` apart.
    pub anthropic: bool,
    /// Accepts conversations whose turns do not alternate, as Anthropic does by merging them.
    pub lenient: bool,
    /// Unix seconds that the answer reports as its creation.
    pub created: u64,
    /// Makes ids differ between calls with equal bodies.
    pub nonce: u64,
    /// Behaviour; `None` reads it from the model's name.
    pub script: Option<&'a Script>,
}

/// Answers a POST to `path` as a friendly model: lenient, with ids that follow from the body alone.
///
/// `path` may carry a query (`…:streamGenerateContent?alt=sse`).
///
/// ```
/// let body = br#"{"model":"fake-interval-5","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
/// let reply = tollway_testkit::demo::respond("/v1/chat/completions", body);
/// assert_eq!(reply.status, 200);
/// assert!(reply.chunks.len() > 3);
/// ```
pub fn respond(path: &str, body: &[u8]) -> Reply {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    answer(&Call { path, query, body, lenient: true, ..Call::default() })
}

/// Answers `call`. Pure: equal calls get equal replies.
pub fn answer(call: &Call) -> Reply {
    let Some(endpoint) = Endpoint::find(call.path, call.anthropic) else {
        return Reply::fault(
            &Fault::new(404, format!("Invalid URL ({})", call.path)),
            Speaks::OpenAi,
            "req_none",
        );
    };
    let speaks = endpoint.speaks();
    let id = hash(call.body).rotate_left(17) ^ hash(&call.nonce.to_le_bytes());
    let request_id = format!("req_{id:016x}");
    let mut reply = match parse(&endpoint, call.body) {
        Ok(body) => reply(call, &endpoint, &body, id, &request_id),
        Err(fault) => Reply::fault(&fault, speaks, &request_id),
    };
    let header = match speaks {
        Speaks::OpenAi => "x-request-id",
        Speaks::Anthropic => "request-id",
        Speaks::Gemini => return reply,
        Speaks::Bedrock => "x-amzn-requestid",
    };
    reply.headers.push((header.to_owned(), request_id));
    reply
}

fn parse(endpoint: &Endpoint, body: &[u8]) -> Result<Value, Fault> {
    if !endpoint.takes_body() {
        return Ok(Value::Null);
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        Fault::invalid(format!("We could not parse the JSON body of your request: {error}"))
    })?;
    if value.is_object() { Ok(value) } else { Err(Fault::invalid("The body must be a JSON object.")) }
}

/// The model a call names, in the path or in the body.
pub(crate) fn model<'a>(endpoint: &'a Endpoint, body: &'a Value) -> &'a str {
    match endpoint {
        Endpoint::Gemini { model, .. } | Endpoint::Converse { model, .. } => model,
        Endpoint::Models(_, model) => model.as_deref().unwrap_or_default(),
        _ => text(body, "model").unwrap_or_default(),
    }
}

fn reply(call: &Call, endpoint: &Endpoint, body: &Value, id: u64, request_id: &str) -> Reply {
    let speaks = endpoint.speaks();
    let model = model(endpoint, body);
    let script = match call.script {
        Some(script) => Cow::Borrowed(script),
        None => match Script::from_model(model) {
            Ok(script) => Cow::Owned(script),
            Err(_) => return Reply::fault(&unknown_model(speaks, model), speaks, request_id),
        },
    };
    let streams = flag(body, "stream")
        || matches!(endpoint, Endpoint::Gemini { method, .. } if method.starts_with("stream"))
        || matches!(endpoint, Endpoint::Converse { stream: true, .. });
    if let Some(refuse) = &script.refuse {
        if speaks == Speaks::Gemini && *refuse == Refuse::ContentPolicy {
            return deliver(gemini::blocked(model, request_id, streams), bytes::Bytes::new(), &script);
        }
        let mut reply = refused(refuse, speaks, model, request_id);
        reply.wait = script.slow;
        return reply;
    }
    match said(call, endpoint, body, id, &script) {
        Ok(Said::Stream(frames)) if speaks == Speaks::Gemini && !call.query.contains("alt=sse") => {
            deliver(Said::Json(array(&frames)), bytes::Bytes::new(), &script)
        }
        Ok(said) => deliver(said, failure(endpoint, request_id), &script),
        Err(fault) => Reply { wait: script.slow, ..Reply::fault(&fault, speaks, request_id) },
    }
}

fn refused(refuse: &Refuse, speaks: Speaks, model: &str, request_id: &str) -> Reply {
    match refuse {
        Refuse::Html(status) => {
            let page =
                format!("<html><head><title>{status}</title></head><body><h1>Bad gateway</h1></body></html>");
            Reply::bytes(*status, "text/html", page)
        }
        _ => Reply::fault(&refuse.fault(speaks, model), speaks, request_id),
    }
}

fn said(call: &Call, endpoint: &Endpoint, body: &Value, id: u64, script: &Script) -> Result<Said, Fault> {
    let model = model(endpoint, body);
    match endpoint {
        Endpoint::Chat => {
            let id = format!("chatcmpl-{id:016x}");
            openai::chat(body, &Head { id: &id, model, created: call.created }, script)
        }
        Endpoint::Responses => {
            let id = format!("resp_{id:016x}");
            openai::responses::respond(body, &Head { id: &id, model, created: call.created }, script)
        }
        Endpoint::Completions => {
            let id = format!("cmpl-{id:016x}");
            openai::completion(body, &Head { id: &id, model, created: call.created }, script)
        }
        Endpoint::Embeddings => {
            openai::embeddings(body, &Head { id: "", model, created: call.created }).map(Said::Json)
        }
        Endpoint::Messages => {
            anthropic::messages(body, model, &format!("msg_{id:016x}"), call.lenient, script)
        }
        Endpoint::CountTokens => anthropic::count_tokens(body, call.lenient).map(Said::Json),
        Endpoint::Models(speaks, one) => Ok(Said::Json(match speaks {
            Speaks::OpenAi => openai::models(one.as_deref()),
            Speaks::Anthropic => anthropic::models(one.as_deref()),
            Speaks::Gemini => gemini::models(one.as_deref()),
            // Nobody asks it for models: they are listed by another service.
            Speaks::Bedrock => Value::Null,
        })),
        Endpoint::Converse { stream, .. } => bedrock::converse(body, &format!("{id:016x}"), *stream, script),
        Endpoint::Gemini { method, .. } => match method.as_str() {
            "countTokens" => gemini::count_tokens(body).map(Said::Json),
            "embedContent" => gemini::embed(body).map(Said::Json),
            "batchEmbedContents" => gemini::embed_batch(body).map(Said::Json),
            _ => {
                let id = format!("resp_{id:016x}");
                gemini::generate(body, model, &id, method.starts_with("stream"), script)
            }
        },
    }
}

/// The frame in which an endpoint reports a failure after its stream began.
fn failure(endpoint: &Endpoint, request_id: &str) -> bytes::Bytes {
    let speaks = endpoint.speaks();
    let (status, message) = match speaks {
        Speaks::OpenAi => (500, "The server had an error while processing your request."),
        Speaks::Anthropic => (529, "Overloaded"),
        Speaks::Gemini => (503, "The model is overloaded. Please try again later."),
        Speaks::Bedrock => return bedrock::exception("modelStreamErrorException", "The model failed."),
    };
    let body = Fault::new(status, message).code("server_error").body(speaks, request_id);
    let text = match endpoint {
        Endpoint::Responses => {
            let body = json!({
                "type": "error", "code": "server_error", "message": message, "param": null, "sequence_number": 0,
            });
            format!("event: error\ndata: {body}\n\n")
        }
        _ if speaks == Speaks::Anthropic => format!("event: error\ndata: {body}\n\n"),
        _ => format!("data: {body}\n\n"),
    };
    text.into()
}

/// What Gemini streams when the caller did not ask for SSE: one JSON array.
fn array(frames: &[String]) -> Value {
    let bodies = frames.iter().filter_map(|frame| frame.strip_prefix("data: "));
    bodies.filter_map(|body| serde_json::from_str::<Value>(body.trim_end()).ok()).collect()
}

/// How long the whole reply takes to send, without network.
pub fn duration(reply: &Reply) -> Duration {
    reply.chunks.iter().fold(reply.wait, |total, chunk| total + chunk.after)
}

#[cfg(test)]
mod tests;
