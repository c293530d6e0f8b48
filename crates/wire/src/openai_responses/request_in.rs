//! Reading a client's request.
//!
//! Fields the model does not know stay in `extras`, those of inner objects under their path (`reasoning.summary`).

use tollway_model::{Dialect, Effort, Extras, Message, OutputFormat, RawJson, Reasoning, Request, Result};

use super::{items_in, tools_in};
use crate::openai_chat::read::{self, Object, Path};
use crate::openai_chat::request;

/// What `include` says to ask for log-probabilities.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

pub(super) fn decode(body: &[u8]) -> Result<Request> {
    let root = Path::Root;
    let mut top = Object::body(body)?;
    for key in ["previous_response_id", "conversation", "prompt"] {
        if top.take(key).is_some() {
            return Err(items_in::unresolved(key));
        }
    }
    let mut messages = Vec::new();
    if let Some(text) = top.string("instructions", &root)?.filter(|text| !text.is_empty()) {
        messages.push(Message::system(text));
    }
    items_in::conversation(&mut top, &mut messages)?;
    messages.retain(|message| !message.parts.is_empty());
    let mut request = Request {
        model: top.string("model", &root)?.unwrap_or_default(),
        messages,
        max_output_tokens: top.u64("max_output_tokens", &root)?,
        temperature: top.f64("temperature", &root)?,
        top_p: top.f64("top_p", &root)?,
        top_logprobs: top.u32("top_logprobs", &root)?,
        user: top.string("user", &root)?,
        metadata: top.raw("metadata"),
        service_tier: top.string("service_tier", &root)?,
        prompt_cache_key: top.string("prompt_cache_key", &root)?,
        stream: top.bool("stream", &root)?.unwrap_or_default(),
        ..Request::default()
    };
    let mut extras = Extras::of(Dialect::OpenaiResponses);
    tools_in::tools(&mut top, &mut request, &mut extras)?;
    text(&mut top, &mut request, &mut extras)?;
    request.reasoning = reasoning(&mut top, &mut extras)?;
    if let Some(raw) = top.get("include") {
        let wanted = read::list(raw).ok_or_else(|| root.key("include").must_be("a list"))?;
        let asked = wanted.into_iter().filter_map(read::text).any(|what| what == LOGPROBS);
        request.logprobs = asked.then_some(true);
    }
    if request.top_logprobs.is_some_and(|count| count > 0) {
        request.logprobs = Some(true);
    }
    // The default, which SDKs write out.
    if top.get("background").is_some_and(|raw| raw.get() == "false") {
        top.take("background");
    }
    extras.fields.extend(request::extras(&top, Dialect::OpenaiResponses).fields);
    request.extras = extras;
    Ok(request)
}

fn text(top: &mut Object<'_>, request: &mut Request, extras: &mut Extras) -> Result<()> {
    let Some(raw) = top.take("text") else { return Ok(()) };
    let root = Path::Root;
    let path = root.key("text");
    let mut fields = Object::expect(raw, &path)?;
    request.verbosity = fields.string("verbosity", &path)?;
    if let Some(raw) = fields.take("format") {
        let path = path.key("format");
        let mut format = Object::expect(raw, &path)?;
        let kind = format.string("type", &path)?.ok_or_else(|| path.key("type").missing())?;
        request.output = Some(match kind.as_str() {
            "text" => OutputFormat::Text,
            "json_object" => OutputFormat::JsonObject,
            "json_schema" => OutputFormat::JsonSchema {
                name: format.string("name", &path)?,
                description: format.string("description", &path)?,
                schema: format.raw("schema").ok_or_else(|| path.key("schema").missing())?,
                strict: format.bool("strict", &path)?,
            },
            _ => return Err(path.key("type").must_be("`text`, `json_object` or `json_schema`")),
        });
    }
    keep_rest("text", &fields, extras);
    Ok(())
}

fn reasoning(top: &mut Object<'_>, extras: &mut Extras) -> Result<Option<Reasoning>> {
    let Some(raw) = top.take("reasoning") else { return Ok(None) };
    let root = Path::Root;
    let path = root.key("reasoning");
    let mut fields = Object::expect(raw, &path)?;
    let mut reasoning = Reasoning::default();
    if let Some(raw) = fields.take("effort") {
        let word = read::text(raw).ok_or_else(|| path.key("effort").must_be("a string"))?;
        reasoning.effort = Effort::from_name(&word);
        if reasoning.effort.is_none() {
            fields.put_back("effort", raw);
        }
    }
    let summary = fields.get("summary").or_else(|| fields.get("generate_summary"));
    reasoning.show = summary.map(|raw| raw.get() != "\"none\"");
    keep_rest("reasoning", &fields, extras);
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}

/// Members of an inner object that the model does not know, under their path.
fn keep_rest(name: &str, fields: &Object<'_>, extras: &mut Extras) {
    for (key, raw) in fields.rest().filter(|(_, raw)| raw.get() != "null") {
        extras.fields.insert(format!("{name}.{key}"), RawJson::from(raw));
    }
}
