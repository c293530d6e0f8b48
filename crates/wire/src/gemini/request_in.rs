//! A client's request: what the google-genai clients and Gemini CLI send.
//!
//! The model and the stream flag are in the URL; both are left at their defaults.

use indexmap::IndexMap;
use serde_json::value::RawValue;
use tollway_model::{AudioFormat, Dialect, Extras, OutputFormat, RawJson, Request, Result, ToolChoice};

use super::shape::Fields;
use super::{contents_in, schema, thinking, tools_in};

/// Reads a request body.
pub(super) fn decode(body: &[u8]) -> Result<Request> {
    let mut fields = Fields::parse(body, "")?;
    let mut request = Request { extras: Extras::of(Dialect::Gemini), ..Request::default() };
    if let Some(model) = fields.take::<String>("model")? {
        request.model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    }
    if let Some(system) = fields.raw("systemInstruction") {
        request.messages.extend(contents_in::system(system)?);
    }
    if let Some(contents) = fields.raw("contents") {
        contents_in::read(contents, &mut request.messages)?;
    }
    if let Some(tools) = fields.raw("tools") {
        tools_in::read(tools, &mut request)?;
    }
    tool_config(&mut fields, &mut request)?;
    if let Some(config) = fields.object("generationConfig", "generationConfig")? {
        generation_config(config, &mut request)?;
    }
    request.service_tier = fields.take::<String>("serviceTier")?.map(|tier| tier.to_ascii_lowercase());
    request.metadata = fields.raw("labels").map(RawJson::from);
    for (key, value) in fields.rest() {
        if !value.is_null() {
            request.extras.fields.insert(key, value);
        }
    }
    Ok(request)
}

fn tool_config(fields: &mut Fields<'_>, request: &mut Request) -> Result<()> {
    let Some(mut config) = fields.object("toolConfig", "toolConfig")? else { return Ok(()) };
    if let Some(mut calling) = config.object("functionCallingConfig", "toolConfig.functionCallingConfig")? {
        let mode = calling.take::<String>("mode")?.unwrap_or_default().to_ascii_uppercase();
        let names = calling.take::<Vec<String>>("allowedFunctionNames")?.unwrap_or_default();
        request.tool_choice = choice(&mode, names, request);
        let rest = calling.rest();
        if !rest.is_empty() {
            keep(request, "toolConfig", IndexMap::from([("functionCallingConfig".into(), raw(&rest))]));
        }
    }
    let rest = config.rest();
    if !rest.is_empty() {
        keep(request, "toolConfig", rest);
    }
    Ok(())
}

fn choice(mode: &str, mut names: Vec<String>, request: &Request) -> Option<ToolChoice> {
    match mode {
        "NONE" => Some(ToolChoice::None),
        "AUTO" => Some(ToolChoice::Auto),
        "ANY" if names.len() == 1 => names.pop().map(ToolChoice::Named),
        "ANY" if names.is_empty() => Some(ToolChoice::Required),
        "ANY" => Some(ToolChoice::Allowed { names, required: true }),
        "VALIDATED" => {
            // "Text, or a call that fits its schema" is the same as being allowed all functions.
            if names.is_empty() {
                names = tools_in::function_names(&request.tools);
            }
            Some(ToolChoice::Allowed { names, required: false })
        }
        _ => None,
    }
}

fn generation_config(mut config: Fields<'_>, request: &mut Request) -> Result<()> {
    request.temperature = config.take("temperature")?;
    request.top_p = config.take("topP")?;
    request.top_k = config.whole("topK")?;
    request.n = config.whole("candidateCount")?;
    request.max_output_tokens = config.whole("maxOutputTokens")?;
    request.stop = config.take("stopSequences")?.unwrap_or_default();
    request.seed = config.whole("seed")?;
    request.presence_penalty = config.take("presencePenalty")?;
    request.frequency_penalty = config.take("frequencyPenalty")?;
    request.logprobs = config.take("responseLogprobs")?;
    request.top_logprobs = config.whole("logprobs")?;
    if let Some(thinking) = config.object("thinkingConfig", "generationConfig.thinkingConfig")? {
        request.reasoning = Some(thinking::read(thinking)?);
    }
    let modalities: Vec<String> = config.take("responseModalities")?.unwrap_or_default();
    request.modalities = modalities.into_iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut kept = IndexMap::new();
    output(&mut config, request, &mut kept)?;
    speech(&mut config, request, &mut kept)?;
    kept.extend(config.rest().into_iter().filter(|(_, value)| !value.is_null()));
    if !kept.is_empty() {
        keep(request, "generationConfig", kept);
    }
    Ok(())
}

fn output(
    config: &mut Fields<'_>,
    request: &mut Request,
    kept: &mut IndexMap<String, RawJson>,
) -> Result<()> {
    let mime: Option<String> = config.take("responseMimeType")?;
    let plain = config.raw("responseJsonSchema").map(RawJson::from);
    let google = config.raw("responseSchema").map(raised);
    let schema = plain.or(google);
    request.output = match (mime.as_deref(), schema) {
        (Some("application/json") | None, Some(schema)) => {
            Some(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
        }
        (Some("application/json"), None) => Some(OutputFormat::JsonObject),
        (Some("text/plain"), None) => Some(OutputFormat::Text),
        (None, None) => None,
        (Some(mime), schema) => {
            // `text/x.enum` has no counterpart elsewhere.
            kept.insert("responseMimeType".into(), super::shape::raw_text(mime));
            if let Some(schema) = schema {
                kept.insert("responseJsonSchema".into(), schema);
            }
            None
        }
    };
    Ok(())
}

fn raised(raw: &RawValue) -> RawJson {
    RawJson::from(schema::raise(&RawJson::from(raw).to_value()))
}

/// One prebuilt voice is OpenAI's `audio`; anything richer is kept as it is.
fn speech(
    config: &mut Fields<'_>,
    request: &mut Request,
    kept: &mut IndexMap<String, RawJson>,
) -> Result<()> {
    let Some(raw) = config.raw("speechConfig") else { return Ok(()) };
    let value = RawJson::from(raw).to_value();
    let voice = one(&value, "voiceConfig", "voice_config")
        .and_then(|voice| one(voice, "prebuiltVoiceConfig", "prebuilt_voice_config"))
        .and_then(|prebuilt| one(prebuilt, "voiceName", "voice_name"));
    match voice.and_then(|voice| voice.as_str()) {
        Some(voice) => {
            request.audio = Some(AudioFormat { voice: voice.to_owned(), format: "pcm16".to_owned() });
        }
        None => {
            kept.insert("speechConfig".into(), RawJson::from(raw));
        }
    }
    Ok(())
}

/// The only member of `value`, when it is called `camel` or `snake`.
fn one<'v>(value: &'v serde_json::Value, camel: &str, snake: &str) -> Option<&'v serde_json::Value> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get(camel).or_else(|| object.get(snake))
}

/// Keeps members of a top-level object the model has no field for.
fn keep(request: &mut Request, key: &str, members: IndexMap<String, RawJson>) {
    let mut all: IndexMap<String, RawJson> = match request.extras.fields.get(key) {
        Some(known) => serde_json::from_str(known.get()).unwrap_or_default(),
        None => IndexMap::new(),
    };
    all.extend(members);
    request.extras.fields.insert(key.to_owned(), raw(&all));
}

fn raw(members: &IndexMap<String, RawJson>) -> RawJson {
    RawJson::from_value(members).unwrap_or_else(|| RawJson::from(serde_json::json!({})))
}

#[cfg(test)]
mod tests;
