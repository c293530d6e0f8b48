//! OpenAI's legacy text completions, `POST /v1/completions`.
//!
//! Mostly a surface for clients: a prompt becomes one user message and any chat provider can answer. Hosts that
//! complete text themselves are spoken to in the same words when the request came in them. Answers and errors share
//! the readers of Chat Completions. Shape: `CompletionCreateParams` and `Completion` of the `openai` SDK 2.54.

mod stream_out;

#[cfg(test)]
mod tests;

use http::HeaderMap;
use tollway_model::{
    Choice, Content, Dialect, Error, FinishReason, Kind, Message, Notices, RawJson, Request, Response,
    Result, Role, Usage,
};

use crate::openai_chat::read::{self, Object, Path, Raw};
use crate::openai_chat::write::{self, Map};
use crate::openai_chat::{common_sampling, error, request, response, stream_in, usage};
use crate::{Codec, Encoded, Restore, StreamDecoder, StreamEncoder, Target, View};

/// The codec.
#[derive(Debug, Clone, Copy)]
pub struct OpenaiText;

impl Codec for OpenaiText {
    fn dialect(&self) -> Dialect {
        Dialect::OpenaiText
    }

    /// Fails on token arrays and on several prompts: both work only where nothing needs translation.
    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        let root = Path::Root;
        let mut top = Object::body(body)?;
        let prompt = prompt(top.take("prompt"))?;
        let mut decoded = Request {
            model: top.string("model", &root)?.unwrap_or_default(),
            messages: vec![Message::text(Role::User, prompt)],
            max_output_tokens: top.u64("max_tokens", &root)?,
            n: top.u32("n", &root)?,
            logit_bias: top.raw("logit_bias"),
            ..request::common(&mut top)?
        };
        // A number here, unlike in chat: how many alternatives; 0 still asks for the chosen token's own.
        if let Some(top_logprobs) = top.u32("logprobs", &root)? {
            decoded.logprobs = Some(true);
            decoded.top_logprobs = Some(top_logprobs);
        }
        decoded.extras = request::extras(&top, Dialect::OpenaiText);
        Ok(decoded)
    }

    /// Fails unless the request came in this dialect: a conversation is not a prompt.
    fn encode_request(
        &self,
        request: &Request,
        target: &Target<'_>,
        notices: &mut Notices,
    ) -> Result<Encoded> {
        let fields = request.extras.for_dialect(Dialect::OpenaiText);
        let (Some(fields), [message]) = (fields, request.messages.as_slice()) else {
            let why = "the target only completes text: it cannot hold a conversation";
            return Err(Error::new(Kind::Unsupported, why).with_param("messages"));
        };
        let mut body = Vec::with_capacity(256 + message.joined_text().len());
        write::object(&mut body, |map| {
            map.str("model", target.model);
            map.str("prompt", &message.joined_text());
            limits(request, map);
            if request.stream {
                map.bool("stream", true);
                if !target.quirks.no_stream_options {
                    map.map("stream_options", |map| map.bool("include_usage", true));
                }
            }
            fields.iter().for_each(|(key, value)| map.raw(key, value));
        });
        if !request.tools.is_empty() {
            notices.dropped("tools", "the target only completes text");
        }
        Ok(Encoded { body, ..Encoded::default() })
    }

    fn decode_response(&self, body: &[u8], restore: &Restore) -> Result<Response> {
        response::decode(body, restore)
    }

    fn read_usage(&self, body: &[u8]) -> Option<Usage> {
        response::read_usage(body)
    }

    fn read_counts(&self, usage: &str) -> Option<Usage> {
        response::counted(usage)
    }

    fn encode_response(&self, answer: &Response, view: &View<'_>, notices: &mut Notices) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        write::object(&mut body, |map| {
            map.str("id", if answer.id.is_empty() { view.id } else { &answer.id });
            map.str("object", "text_completion");
            map.int("created", answer.created.unwrap_or(view.created));
            map.str("model", view.model);
            map.list("choices", |list| {
                for choice in &answer.choices {
                    list.map(|map| write_choice(choice, notices, map));
                }
            });
            if let Some(used) = &answer.usage {
                map.map("usage", |map| usage::encode(used, map));
            }
            let own = [Dialect::OpenaiChat, Dialect::OpenaiText];
            let fields = own.iter().find_map(|dialect| answer.extras.for_dialect(*dialect));
            fields.into_iter().flatten().for_each(|(key, value)| map.raw(key, value));
        });
        body
    }

    fn decoder(&self, restore: Restore) -> Box<dyn StreamDecoder> {
        Box::new(stream_in::Decoder::new(restore))
    }

    fn encoder(&self, view: &View<'_>) -> Box<dyn StreamEncoder> {
        Box::new(stream_out::Encoder::new(view))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        error::decode(status, headers, body)
    }

    fn encode_error(&self, error: &Error) -> Vec<u8> {
        error::encode(error)
    }
}

/// The one prompt.
fn prompt(raw: Option<Raw<'_>>) -> Result<String> {
    let path = Path::Key(&Path::Root, "prompt");
    let raw = raw.ok_or_else(|| path.missing())?;
    if let Some(text) = read::text(raw) {
        return Ok(text.into_owned());
    }
    let items = read::list(raw).ok_or_else(|| path.must_be("a string or a list"))?;
    let tokens = || {
        let message = "`prompt` is made of tokens, which only the model they belong to can read: send text";
        Error::new(Kind::Unsupported, message).with_param("prompt")
    };
    match items.as_slice() {
        [] => Err(path.must_be("a string or a list with one string")),
        [one] => match read::text(one) {
            Some(text) => Ok(text.into_owned()),
            None => Err(tokens()),
        },
        many if many.iter().all(|item| read::text(item).is_some()) => {
            let message = format!("`prompt` holds {} prompts: send one per call", many.len());
            Err(Error::new(Kind::Unsupported, message).with_param("prompt"))
        }
        _ => Err(tokens()),
    }
}

fn limits(request: &Request, map: &mut Map<'_>) {
    if let Some(limit) = request.max_output_tokens {
        map.int("max_tokens", limit);
    }
    if let Some(value) = request.temperature {
        map.f64("temperature", value);
    }
    if let Some(value) = request.top_p {
        map.f64("top_p", value);
    }
    if let Some(k) = request.top_k {
        map.int("top_k", k);
    }
    match request.stop.as_slice() {
        [] => {}
        [one] => map.str("stop", one),
        many => map.list("stop", |list| many.iter().for_each(|stop| list.str(stop))),
    }
    common_sampling(request, map);
    if let Some(bias) = &request.logit_bias {
        map.raw("logit_bias", bias);
    }
    if request.logprobs == Some(true) {
        map.int("logprobs", request.top_logprobs.unwrap_or_default());
    }
    if let Some(user) = &request.user {
        map.str("user", user);
    }
}

fn write_choice(choice: &Choice, notices: &mut Notices, map: &mut Map<'_>) {
    let mut text = String::new();
    for part in &choice.parts {
        match &part.content {
            Content::Text { text: more, .. } | Content::Refusal(more) => text.push_str(more),
            _ => notices.changed("choices", "a text completion holds text only: the rest is left out"),
        }
    }
    map.str("text", &text);
    map.int("index", choice.index);
    match choice.logprobs.as_ref().and_then(|logprobs| legacy_logprobs(logprobs, &mut 0)) {
        Some(logprobs) => map.raw("logprobs", &logprobs),
        None => map.null("logprobs"),
    }
    map.str("finish_reason", finish_word(choice.finish.unwrap_or(FinishReason::Stop)));
}

/// Text completions know three reasons.
fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::ToolCalls => "stop",
        other => response::finish_word(other),
    }
}

/// Log-probabilities as parallel lists. `offset` is where in the text, in characters, the first token begins.
fn legacy_logprobs(logprobs: &RawJson, offset: &mut usize) -> Option<RawJson> {
    let value = logprobs.to_value();
    let content = value.get("content")?.as_array()?;
    let (mut tokens, mut own, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in content {
        let token = entry.get("token").and_then(|token| token.as_str()).unwrap_or_default();
        let alternatives = entry.get("top_logprobs").and_then(|list| list.as_array());
        let top = alternatives.into_iter().flatten().filter_map(|entry| {
            Some((entry.get("token")?.as_str()?.to_owned(), entry.get("logprob")?.clone()))
        });
        tops.push(top.collect::<serde_json::Map<_, _>>());
        own.push(entry.get("logprob").cloned().unwrap_or_default());
        offsets.push(*offset);
        *offset += token.chars().count();
        tokens.push(token);
    }
    let lists = serde_json::json!({
        "tokens": tokens, "token_logprobs": own, "top_logprobs": tops, "text_offset": offsets,
    });
    Some(RawJson::from(lists))
}
