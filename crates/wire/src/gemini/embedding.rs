//! `:embedContent` and `:batchEmbedContents`, both ways, to the neutral shape of [`crate::embedding`].
//!
//! Towards providers the batch form is used always: it takes one text as well as many.
//! Source: <https://ai.google.dev/api/embeddings>.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollway_model::{Dialect, Error, Extras, Kind, Notices, RawJson, Result, Usage};

use super::shape::{ContentIn, Fields, PartIn, Whole};
use crate::embedding::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse};

/// Fields beside the text that shape a vector; they go from and into every request of a batch.
const SHARED: [&str; 2] = ["taskType", "title"];

/// Reads a client's request, either form. The model is in the URL, and in each request of a batch.
///
/// The requests of a batch must agree on everything but their text.
pub fn decode_request(body: &[u8]) -> Result<EmbeddingRequest> {
    let mut fields = Fields::parse(body, "")?;
    let mut request = EmbeddingRequest { extras: Extras::of(Dialect::Gemini), ..EmbeddingRequest::default() };
    let Some(batch) = fields.raw("requests") else {
        one(fields, &mut request)?;
        return Ok(request);
    };
    let batch: Vec<&RawValue> = serde_json::from_str(batch.get())
        .map_err(|error| Error::invalid_at("requests", format!("`requests` is not a list: {error}")))?;
    for (index, raw) in batch.into_iter().enumerate() {
        let mut next =
            EmbeddingRequest { extras: Extras::of(Dialect::Gemini), ..EmbeddingRequest::default() };
        one(Fields::parse(raw.get().as_bytes(), "requests")?, &mut next)?;
        if index == 0 {
            request = next;
            continue;
        }
        if (&next.model, next.dimensions, &next.extras)
            != (&request.model, request.dimensions, &request.extras)
        {
            let message = "the requests of a batch must have the same model, dimensions, task type and title";
            return Err(Error::invalid_at(format!("requests[{index}]"), message));
        }
        request.input.append(&mut next.input);
    }
    Ok(request)
}

fn one(mut fields: Fields<'_>, request: &mut EmbeddingRequest) -> Result<()> {
    let model: Option<String> = fields.take("model")?;
    let model = model.unwrap_or_default();
    request.model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    request.dimensions = fields.whole("outputDimensionality")?;
    let Some(content) = fields.raw("content") else {
        return Err(Error::invalid_at("content", "there is nothing to embed: `content` is missing"));
    };
    request.input.push(EmbeddingInput::Text(text(content)?));
    // The clients of Vertex put the same fields into an object.
    if let Some(mut config) = fields.object("embedContentConfig", "embedContentConfig")? {
        request.dimensions = request.dimensions.or(config.whole("outputDimensionality")?);
        request.extras.fields.extend(config.rest());
    }
    request.extras.fields.extend(fields.rest().into_iter().filter(|(_, value)| !value.is_null()));
    Ok(())
}

fn text(raw: &RawValue) -> Result<String> {
    let unreadable =
        |error: serde_json::Error| Error::invalid_at("content", format!("`content` cannot be read: {error}"));
    let content: ContentIn<'_> = serde_json::from_str(raw.get()).map_err(unreadable)?;
    let mut out = String::new();
    for part in content.parts.unwrap_or_default() {
        let part: PartIn<'_> = serde_json::from_str(part.get()).map_err(unreadable)?;
        let Some(text) = part.text else {
            return Err(Error::invalid_at("content.parts", "only text can be embedded"));
        };
        out.push_str(&text);
    }
    Ok(out)
}

#[derive(Serialize)]
struct Batch<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
    #[serde(flatten)]
    shared: indexmap::IndexMap<&'a str, Cow<'a, RawJson>>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Text<'a>; 1],
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

/// Writes `:batchEmbedContents` for a provider that calls the model `model`.
///
/// Fails for token ids, which Gemini does not read.
pub fn encode_request(request: &EmbeddingRequest, model: &str, notices: &mut Notices) -> Result<Vec<u8>> {
    let model = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
    let shared = shared(request, notices);
    if request.user.is_some() {
        notices.changed("user", "Gemini has no counterpart");
    }
    let mut requests = Vec::with_capacity(request.input.len());
    for (index, input) in request.input.iter().enumerate() {
        let EmbeddingInput::Text(text) = input else {
            let message = "Gemini embeds text, not token ids; send the text itself";
            return Err(Error::new(Kind::Unsupported, message).with_param(format!("input[{index}]")));
        };
        requests.push(One {
            model: &model,
            content: Content { parts: [Text { text }] },
            output_dimensionality: request.dimensions,
            shared: shared.clone(),
        });
    }
    serde_json::to_vec(&Batch { requests })
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))
}

fn shared<'a>(
    request: &'a EmbeddingRequest,
    notices: &mut Notices,
) -> indexmap::IndexMap<&'a str, Cow<'a, RawJson>> {
    let native = request.extras.dialect == Some(Dialect::Gemini);
    let mut shared = indexmap::IndexMap::new();
    for (key, value) in &request.extras.fields {
        let name = super::shape::camel(key.clone());
        if let Some(known) = SHARED.iter().find(|known| **known == name) {
            shared.insert(*known, Cow::Borrowed(value));
        } else if native {
            shared.insert(key.as_str(), Cow::Borrowed(value));
        } else if let Some(task) = (key == "input_type").then(|| task(value)).flatten() {
            shared.insert("taskType", Cow::Owned(super::shape::raw_text(task)));
        } else {
            notices.dropped(key.clone(), "Gemini has no counterpart");
        }
    }
    shared
}

/// Cohere's word for what the vectors are for.
fn task(value: &RawJson) -> Option<&'static str> {
    Some(match value.to_value().as_str()? {
        "search_document" => "RETRIEVAL_DOCUMENT",
        "search_query" => "RETRIEVAL_QUERY",
        "classification" => "CLASSIFICATION",
        "clustering" => "CLUSTERING",
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    embeddings: Option<Vec<Vector>>,
    #[serde(default)]
    embedding: Option<Vector>,
    #[serde(default)]
    usage_metadata: Option<Count>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Count {
    prompt_token_count: Option<Whole>,
    total_token_count: Option<Whole>,
}

/// Reads a provider's answer, either form. Usage is there only with newer models.
pub fn decode_response(body: &[u8]) -> Result<EmbeddingResponse> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        Error::new(Kind::Upstream, format!("the provider's answer cannot be read: {error}"))
    })?;
    let vectors = answer.embeddings.or_else(|| answer.embedding.map(|one| vec![one]));
    let Some(vectors) = vectors else {
        return Err(Error::new(Kind::Upstream, "the provider's answer holds no embeddings"));
    };
    let tokens = answer.usage_metadata.and_then(|usage| usage.prompt_token_count.or(usage.total_token_count));
    let tokens = tokens.and_then(|Whole(tokens)| u64::try_from(tokens).ok());
    Ok(EmbeddingResponse {
        model: String::new(),
        vectors: vectors.into_iter().map(|one| one.values).collect(),
        usage: tokens.map(|input| Usage { input, ..Usage::default() }),
    })
}

#[derive(Serialize)]
struct VectorOut<'a> {
    values: &'a [f32],
}

/// Writes an answer for a client; `batch` for `:batchEmbedContents`, else for `:embedContent`.
pub fn encode_response(response: &EmbeddingResponse, batch: bool) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Out<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        embeddings: Option<Vec<VectorOut<'a>>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        embedding: Option<VectorOut<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        usage_metadata: Option<serde_json::Value>,
    }
    let vectors = response.vectors.iter().map(|values| VectorOut { values });
    let count = |usage: &Usage| serde_json::json!({"promptTokenCount": usage.total_input(), "totalTokenCount": usage.total_input()});
    let out = Out {
        embeddings: batch.then(|| vectors.clone().collect()),
        embedding: if batch { None } else { vectors.clone().next() },
        usage_metadata: response.usage.as_ref().map(count),
    };
    // Strings and numbers only: this cannot fail.
    serde_json::to_vec(&out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(request: Value, expected: Value) {
        let read = decode_request(request.to_string().as_bytes()).unwrap();
        let mut notices = Notices::new();
        let written = encode_request(&read, "gemini-embedding-001", &mut notices).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), expected);
        assert!(notices.is_empty(), "{notices:?}");
    }

    #[test]
    fn both_forms_become_a_batch() {
        check(
            json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "task_type": "RETRIEVAL_QUERY", "outputDimensionality": 256}),
            json!({"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "ab"}]},
                "outputDimensionality": 256, "taskType": "RETRIEVAL_QUERY"}]}),
        );
        let one = |text: &str| json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}});
        check(json!({"requests": [one("a"), one("b")]}), json!({"requests": [one("a"), one("b")]}));
    }

    #[test]
    fn a_mixed_batch_and_token_ids_are_refused() {
        let mixed = json!({"requests": [
            {"content": {"parts": [{"text": "a"}]}},
            {"content": {"parts": [{"text": "b"}]}, "taskType": "CLUSTERING"}
        ]});
        assert_eq!(decode_request(mixed.to_string().as_bytes()).unwrap_err().param(), Some("requests[1]"));
        let tokens =
            EmbeddingRequest { input: vec![EmbeddingInput::Tokens(vec![1])], ..EmbeddingRequest::default() };
        let error = encode_request(&tokens, "m", &mut Notices::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
    }

    #[test]
    fn openai_clients_name_the_task_and_lose_what_gemini_lacks() {
        let mut extras = Extras::of(Dialect::OpenaiChat);
        extras.fields.insert("input_type".into(), RawJson::from(json!("search_query")));
        extras.fields.insert("normalize".into(), RawJson::from(json!(true)));
        let request = EmbeddingRequest {
            input: vec![EmbeddingInput::Text("a".into())],
            user: Some("u".into()),
            extras,
            ..EmbeddingRequest::default()
        };
        let mut notices = Notices::new();
        let written: Value =
            serde_json::from_slice(&encode_request(&request, "m", &mut notices).unwrap()).unwrap();
        assert_eq!(written["requests"][0]["taskType"], "RETRIEVAL_QUERY");
        assert_eq!(notices.first_dropped().unwrap().field, "normalize");
        assert_eq!(notices.iter().count(), 2);
    }

    #[test]
    fn answers_go_both_ways() {
        let batch = br#"{"embeddings":[{"values":[0.5,-1.0]},{"values":[2.0]}],"usageMetadata":{"promptTokenCount":7}}"#;
        let read = decode_response(batch).unwrap();
        assert_eq!(read.vectors, [vec![0.5, -1.0], vec![2.0]]);
        assert_eq!(read.usage.unwrap().input, 7);
        assert_eq!(decode_response(&encode_response(&read, true)).unwrap(), read);
        let single = decode_response(&encode_response(&read, false)).unwrap();
        assert_eq!(single.vectors, [vec![0.5, -1.0]]);
        assert!(decode_response(b"{}").is_err());
    }
}
