//! Embeddings. The OpenAI shape is the neutral one; dialects with their own shape have an `embedding` module.
//!
//! `POST /v1/embeddings`: <https://platform.openai.com/docs/api-reference/embeddings>. Errors are read and written
//! as in Chat Completions.

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tollway_model::{Dialect, Error, Extras, Kind, Notices, Result, Usage};

use crate::openai_chat::read::{self, Object, Path, Raw};
use crate::openai_chat::usage::{self, Counts};
use crate::openai_chat::write;
use crate::openai_chat::{error, request};

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingRequest {
    /// The model as the caller named it.
    pub model: String,
    /// What to embed; one vector each.
    pub input: Vec<EmbeddingInput>,
    /// Length of the vectors, where the model can choose.
    pub dimensions: Option<u32>,
    /// Vectors as base64 of little-endian 32-bit floats instead of lists.
    pub base64: bool,
    /// The end user, as the caller knows them.
    pub user: Option<String>,
    /// Other top-level fields, verbatim (`task_type`, `input_type` …).
    pub extras: Extras,
}

impl EmbeddingRequest {
    /// One vector for each of `texts`, of `model`.
    pub fn texts<T: Into<String>>(
        model: impl Into<String>,
        texts: impl IntoIterator<Item = T>,
    ) -> EmbeddingRequest {
        let input = texts.into_iter().map(|text| EmbeddingInput::Text(text.into())).collect();
        EmbeddingRequest { model: model.into(), input, ..EmbeddingRequest::default() }
    }
}

/// One thing to embed.
#[derive(Debug, Clone, PartialEq)]
pub enum EmbeddingInput {
    /// Text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// Vectors, in the order of the inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingResponse {
    /// The model that answered, as the provider names it.
    pub model: String,
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// What it used; only input counts.
    pub usage: Option<Usage>,
}

/// Reads a client's request in the OpenAI shape.
///
/// `input` is a string, a list of strings, a list of tokens, or a list of lists of tokens. Errors name the field.
pub fn decode_request(body: &[u8]) -> Result<EmbeddingRequest> {
    let root = Path::Root;
    let mut top = Object::body(body)?;
    let path = root.key("input");
    let input = top.take("input").ok_or_else(|| path.missing())?;
    let base64 = match top.string("encoding_format", &root)?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(root.key("encoding_format").must_be("`float` or `base64`")),
    };
    Ok(EmbeddingRequest {
        model: top.string("model", &root)?.unwrap_or_default(),
        input: inputs(input, &path)?,
        dimensions: top.u32("dimensions", &root)?,
        base64,
        user: top.string("user", &root)?,
        extras: request::extras(&top, Dialect::OpenaiChat),
    })
}

fn inputs(raw: Raw<'_>, path: &Path<'_>) -> Result<Vec<EmbeddingInput>> {
    if let Some(text) = read::text(raw) {
        return Ok(vec![EmbeddingInput::Text(text.into_owned())]);
    }
    let items = read::list(raw).filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| path.must_be("a string or a list that is not empty"))?;
    if items.iter().all(|item| read::whole(item).is_some()) {
        return Ok(vec![EmbeddingInput::Tokens(tokens(raw, path)?)]);
    }
    let inputs = items.into_iter().enumerate().map(|(index, item)| match read::text(item) {
        Some(text) => Ok(EmbeddingInput::Text(text.into_owned())),
        None => Ok(EmbeddingInput::Tokens(tokens(item, &path.at(index))?)),
    });
    inputs.collect()
}

fn tokens(raw: Raw<'_>, path: &Path<'_>) -> Result<Vec<u32>> {
    serde_json::from_str(raw.get()).map_err(|_| path.must_be("a string or a list of tokens"))
}

/// Writes the request for a provider that takes the OpenAI shape.
///
/// One input goes as a string or a list of tokens, several as a list. Vectors are always asked for as base64 when
/// the caller did so, and in the provider's default form otherwise.
pub fn encode_request(request: &EmbeddingRequest, model: &str, notices: &mut Notices) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    write::object(&mut body, |map| {
        map.str("model", model);
        match request.input.as_slice() {
            [one] => input(one, map.key("input")),
            many => map.list("input", |list| many.iter().for_each(|one| input(one, list.item()))),
        }
        if let Some(dimensions) = request.dimensions {
            map.int("dimensions", dimensions);
        }
        if request.base64 {
            map.str("encoding_format", "base64");
        }
        if let Some(user) = &request.user {
            map.str("user", user);
        }
        match request.extras.for_dialect(Dialect::OpenaiChat) {
            Some(fields) => fields.iter().for_each(|(key, value)| map.raw(key, value)),
            None => request
                .extras
                .fields
                .keys()
                .for_each(|key| notices.dropped(key.clone(), "the target has no such field")),
        }
    });
    body
}

fn input(input: &EmbeddingInput, out: &mut Vec<u8>) {
    match input {
        EmbeddingInput::Text(text) => crate::json::write_str(text, out),
        EmbeddingInput::Tokens(tokens) => write::list(out, |list| {
            tokens.iter().for_each(|token| list.literal(&token.to_string()));
        }),
    }
}

/// Reads a provider's answer: lists of floats, or base64 of little-endian 32-bit floats.
///
/// Vectors are put in the order of their `index`.
pub fn decode_response(body: &[u8]) -> Result<EmbeddingResponse> {
    let fault = |what: &str| Error::new(Kind::Upstream, format!("the provider's embeddings {what}"));
    let text = std::str::from_utf8(body).map_err(|_| fault("are not UTF-8"))?;
    let mut top = Object::parse(text).ok_or_else(|| fault("are not valid JSON"))?;
    if let Some(raw) = top.get("error") {
        return Err(error::embedded(raw));
    }
    let items = top.take("data").and_then(read::list).ok_or_else(|| fault("have no `data`"))?;
    let mut vectors = Vec::with_capacity(items.len());
    for (number, raw) in items.into_iter().enumerate() {
        let mut item = Object::parse(raw.get()).ok_or_else(|| fault("hold something that is no object"))?;
        let index = item.take("index").and_then(read::whole).unwrap_or(number as u64);
        let raw = item.take("embedding").ok_or_else(|| fault("lack a vector"))?;
        vectors.push((index, vector(raw).ok_or_else(|| fault("hold a vector that cannot be read"))?));
    }
    vectors.sort_by_key(|(index, _)| *index);
    Ok(EmbeddingResponse {
        model: top.text("model").unwrap_or_default().into_owned(),
        vectors: vectors.into_iter().map(|(_, vector)| vector).collect(),
        usage: top.counts("usage").as_ref().map(used),
    })
}

/// Some hosts give only the total, which is all input.
fn used(counts: &Counts<'_>) -> Usage {
    let total = counts.count("total_tokens");
    let mut usage = usage::decode(counts);
    if usage.total_input() == 0 {
        usage.input = total;
    }
    usage
}

fn vector(raw: Raw<'_>) -> Option<Vec<f32>> {
    let Some(text) = read::text(raw) else { return serde_json::from_str(raw.get()).ok() };
    let bytes = STANDARD.decode(text.as_bytes()).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// A provider's answer with `completion_tokens: 0` in its usage, which LiteLLM's users read; `None` when it is there
/// already, or there is no usage.
pub fn show_completion_tokens(body: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"usage\"";
    let after = memchr::memmem::rfind(body, KEY)? + KEY.len();
    let rest = body.get(after..)?;
    let open = after + rest.iter().position(|byte| !matches!(byte, b':' | b' ' | b'\n' | b'\r' | b'\t'))?;
    let end = open + memchr::memchr(b'}', body.get(open..)?)?;
    let inside = body.get(open + 1..end)?;
    let is_usage = body.get(open) == Some(&b'{')
        && memchr::memmem::find(inside, b"\"prompt_tokens\"").is_some()
        && memchr::memmem::find(inside, b"\"completion_tokens\"").is_none();
    is_usage.then(|| {
        let mut shown = Vec::with_capacity(body.len() + 24);
        shown.extend_from_slice(body.get(..=open).unwrap_or_default());
        shown.extend_from_slice(b"\"completion_tokens\":0,");
        shown.extend_from_slice(body.get(open + 1..).unwrap_or_default());
        shown
    })
}

/// Writes the answer for a client, as lists or as base64.
///
/// `model` is the name the client asked for. Usage is always there, as the official SDKs require.
pub fn encode_response(response: &EmbeddingResponse, model: &str, base64: bool) -> Vec<u8> {
    let size: usize = response.vectors.iter().map(|vector| vector.len() * 12 + 64).sum();
    let mut body = Vec::with_capacity(size + 128);
    write::object(&mut body, |map| {
        map.str("object", "list");
        map.list("data", |list| {
            for (index, vector) in (0_u32..).zip(&response.vectors) {
                list.map(|map| {
                    map.str("object", "embedding");
                    map.int("index", index);
                    if base64 {
                        let bytes: Vec<u8> = vector.iter().flat_map(|float| float.to_le_bytes()).collect();
                        map.str("embedding", &STANDARD.encode(bytes));
                    } else {
                        // Writing floats into a Vec cannot fail.
                        let _ = serde_json::to_writer(map.key("embedding"), vector);
                    }
                });
            }
        });
        map.str("model", model);
        let tokens = response.usage.unwrap_or_default().total_input();
        map.map("usage", |map| {
            map.int("prompt_tokens", tokens);
            map.int("completion_tokens", 0);
            map.int("total_tokens", tokens);
        });
    });
    body
}
