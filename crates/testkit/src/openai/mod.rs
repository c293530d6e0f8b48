//! OpenAI: chat completions, responses, legacy completions, embeddings and models.
//! Source: the official Python SDK's types and the vendor's error texts.

mod check;
mod read;
pub(crate) mod responses;
mod write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::json::{count, flag, list, text};
use crate::mind::{self, Prompt};
use crate::reply::Said;
use crate::script::Script;
use crate::tokens;

/// What an answer carries beside its content.
pub(crate) struct Head<'a> {
    pub id: &'a str,
    pub model: &'a str,
    pub created: u64,
}

/// Answers a chat completion.
pub(crate) fn chat(body: &Value, head: &Head, script: &Script) -> Result<Said, Fault> {
    check::chat(body, script.strict)?;
    let answer = mind::answer(&read::prompt(body), script);
    Ok(if flag(body, "stream") {
        Said::Stream(write::stream(body, &answer, head, script))
    } else {
        Said::Json(write::whole(body, &answer, head, script))
    })
}

/// Answers a legacy text completion.
pub(crate) fn completion(body: &Value, head: &Head, script: &Script) -> Result<Said, Fault> {
    let user = match body.get("prompt") {
        Some(Value::String(prompt)) => prompt.clone(),
        Some(Value::Array(prompts)) => prompts.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => return Err(Fault::invalid("you must provide a prompt").at("prompt")),
    };
    let stops = read::stops(body);
    let input = user.clone();
    let prompt = Prompt { user, stops, input, max_tokens: count(body, "max_tokens"), ..Prompt::default() };
    let answer = mind::answer(&prompt, script);
    let finish = write::finish(&answer);
    let piece = |text: &str, finish: Value| {
        json!({
            "id": head.id, "object": "text_completion", "created": head.created, "model": head.model,
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}],
        })
    };
    let usage = write::usage(&answer.usage);
    if !flag(body, "stream") {
        let mut whole = piece(&answer.text, finish.into());
        if let (Some(whole), false) = (whole.as_object_mut(), script.no_usage) {
            whole.insert("usage".to_owned(), usage);
        }
        return Ok(Said::Json(whole));
    }
    let mut frames: Vec<_> = mind::pieces(&answer.text).map(|text| piece(text, Value::Null)).collect();
    frames.push(piece("", finish.into()));
    if body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)) && !script.no_usage {
        let mut last = piece("", Value::Null);
        if let Some(last) = last.as_object_mut() {
            last.insert("choices".to_owned(), json!([]));
            last.insert("usage".to_owned(), usage);
        }
        frames.push(last);
    }
    let done = std::iter::once("data: [DONE]\n\n".to_owned());
    Ok(Said::Stream(frames.iter().map(|frame| format!("data: {frame}\n\n")).chain(done).collect()))
}

/// Answers an embeddings call: vectors that depend on the text only.
pub(crate) fn embeddings(body: &Value, head: &Head) -> Result<Value, Fault> {
    let inputs: Vec<String> = match body.get("input") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) if many.iter().all(Value::is_u64) && !many.is_empty() => {
            vec![json!(many).to_string()]
        }
        Some(Value::Array(many)) => {
            many.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    if inputs.is_empty() || inputs.iter().any(String::is_empty) {
        return Err(Fault::invalid("'$.input' is invalid. Please check the API reference.").at("input"));
    }
    if inputs.len() > 2048 {
        return Err(Fault::invalid("'$.input' is invalid: at most 2048 inputs are allowed.").at("input"));
    }
    let dimensions = count(body, "dimensions").unwrap_or(64);
    if dimensions == 0 || dimensions > 4096 {
        return Err(
            Fault::invalid(format!("Invalid value for 'dimensions' = {dimensions}.")).at("dimensions")
        );
    }
    let base64 = match text(body, "encoding_format") {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(
                Fault::invalid(format!("'{other}' is not one of ['float', 'base64']")).at("encoding_format")
            );
        }
    };
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = mind::embed(input, dimensions);
        let embedding = if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            Value::from(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<_> = data.collect();
    let used: usize = inputs.iter().map(|input| tokens::count(input)).sum();
    Ok(json!({
        "object": "list", "data": data, "model": head.model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }))
}

/// The models the fake claims to have.
pub(crate) fn models(one: Option<&str>) -> Value {
    let entry = |id: &str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "fake"});
    match one {
        Some(id) => entry(id),
        None => json!({"object": "list", "data": crate::demo::MODELS.map(entry)}),
    }
}

/// The text of a content: a string, or the text parts of a list.
fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(all)) => all.clone(),
        _ => list(message, "content")
            .iter()
            .filter_map(|part| text(part, "text"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[cfg(test)]
mod tests;
