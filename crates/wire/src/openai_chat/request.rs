//! Reading a client's Chat Completions request.
//!
//! Fields the model does not know stay in `extras`. Legacy `functions` and `function_call` become tools. Clients may
//! write tools, tool choices and thinking the way other dialects do (LiteLLM's users do): those are understood too.

use tollway_model::{
    AudioFormat, Dialect, Effort, Error, Extras, OutputFormat, RawJson, Reasoning, Request, Result, Tool,
    ToolChoice, WebSearch,
};

use super::message;
use super::read::{self, Object, Path, Raw};

pub(super) fn decode(body: &[u8]) -> Result<Request> {
    let root = Path::Root;
    let mut top = Object::body(body)?;
    let mut request = Request {
        model: top.string("model", &root)?.unwrap_or_default(),
        messages: message::conversation(&mut top)?,
        max_output_tokens: max_tokens(&mut top)?,
        n: top.u32("n", &root)?,
        logit_bias: top.raw("logit_bias"),
        logprobs: top.bool("logprobs", &root)?,
        top_logprobs: top.u32("top_logprobs", &root)?,
        verbosity: top.string("verbosity", &root)?,
        prediction: top.raw("prediction"),
        prompt_cache_key: top.string("prompt_cache_key", &root)?,
        metadata: top.raw("metadata"),
        service_tier: top.string("service_tier", &root)?,
        ..common(&mut top)?
    };
    tools(&mut top, &mut request)?;
    request.output = output_format(&mut top)?;
    request.reasoning = reasoning(&mut top)?;
    request.web_search = web_search(&mut top)?;
    if let Some(raw) = top.take("modalities") {
        request.modalities = strings(raw, &root.key("modalities"))?;
        request.modalities.iter_mut().for_each(|modality| modality.make_ascii_lowercase());
    }
    audio(&mut top, &mut request)?;
    request.extras = extras(&top, Dialect::OpenaiChat);
    Ok(request)
}

/// The fields that text completions and chat completions share.
pub(crate) fn common(top: &mut Object<'_>) -> Result<Request> {
    let root = Path::Root;
    let mut request = Request {
        temperature: top.f64("temperature", &root)?,
        top_p: top.f64("top_p", &root)?,
        top_k: top.u64("top_k", &root)?,
        seed: top.i64("seed", &root)?,
        presence_penalty: top.f64("presence_penalty", &root)?,
        frequency_penalty: top.f64("frequency_penalty", &root)?,
        user: top.string("user", &root)?,
        stream: top.bool("stream", &root)?.unwrap_or_default(),
        ..Request::default()
    };
    if let Some(raw) = top.take("stop") {
        request.stop = match read::text(raw) {
            Some(stop) => vec![stop.into_owned()],
            None => strings(raw, &root.key("stop"))?,
        };
    }
    if let Some(raw) = top.take("stream_options") {
        let path = root.key("stream_options");
        request.include_usage = Object::expect(raw, &path)?.bool("include_usage", &path)?;
    }
    Ok(request)
}

/// Everything not taken, from `dialect`. Null is what a client library writes for "not given".
pub(crate) fn extras(top: &Object<'_>, dialect: Dialect) -> Extras {
    let mut extras = Extras::of(dialect);
    for (key, raw) in top.rest() {
        if raw.get() != "null" {
            extras.fields.insert(key.to_owned(), RawJson::from(raw));
        }
    }
    extras
}

fn max_tokens(top: &mut Object<'_>) -> Result<Option<u64>> {
    let older = top.u64("max_tokens", &Path::Root)?;
    Ok(top.u64("max_completion_tokens", &Path::Root)?.or(older))
}

fn strings(raw: Raw<'_>, path: &Path<'_>) -> Result<Vec<String>> {
    let items = read::list(raw).ok_or_else(|| path.must_be("a list of strings"))?;
    let texts = items.into_iter().enumerate().map(|(index, item)| {
        let text = read::text(item).ok_or_else(|| path.at(index).must_be("a string"))?;
        Ok(text.into_owned())
    });
    texts.collect()
}

fn tools(top: &mut Object<'_>, request: &mut Request) -> Result<()> {
    let root = Path::Root;
    let only_legacy = !top.has("tools") && top.has("functions");
    for (key, legacy) in [("tools", false), ("functions", true)] {
        let Some(raw) = top.take(key) else { continue };
        let path = root.key(key);
        let items = read::list(raw).ok_or_else(|| path.must_be("a list"))?;
        for (index, item) in items.into_iter().enumerate() {
            let path = path.at(index);
            let tool = if legacy { function(item, &path, None)? } else { tool(item, &path)? };
            request.tools.push(tool);
        }
    }
    request.tool_choice = match (top.take("tool_choice"), top.take("function_call")) {
        (Some(raw), _) => Some(tool_choice(raw, &root.key("tool_choice"))?),
        (None, Some(raw)) => Some(legacy_choice(raw, &root.key("function_call"))?),
        (None, None) => None,
    };
    // A `function_call` has room for one.
    let one_call = (only_legacy && !request.tools.is_empty()).then_some(false);
    request.parallel_tool_calls = top.bool("parallel_tool_calls", &root)?.or(one_call);
    Ok(())
}

fn tool(raw: Raw<'_>, path: &Path<'_>) -> Result<Tool> {
    let mut fields = Object::expect(raw, path)?;
    let kind = fields.string("type", path)?;
    match kind.as_deref() {
        Some("function") | None if fields.get("function").is_some() => {
            let cache = message::cache_hint(&mut fields, path)?;
            let inner = fields.take("function").unwrap_or(raw);
            let mut tool = function(inner, &path.key("function"), fields.take("strict"))?;
            if let Tool::Function { cache: own, .. } = &mut tool {
                *own = own.or(cache);
            }
            Ok(tool)
        }
        // Some clients leave the inner object out, as the Responses API does.
        Some("function") | None if fields.get("name").is_some() => function(raw, path, None),
        Some("function") => Err(path.key("function").missing()),
        Some("custom") if fields.get("custom").is_some() => {
            let inner_path = path.key("custom");
            let mut inner = Object::expect(fields.take("custom").unwrap_or(raw), &inner_path)?;
            Ok(Tool::Custom {
                name: inner.string("name", &inner_path)?.ok_or_else(|| inner_path.key("name").missing())?,
                description: inner.string("description", &inner_path)?,
                format: inner.raw("format"),
            })
        }
        Some(kind) => Ok(Tool::Server { dialect: owner(kind), kind: kind.to_owned(), json: raw.into() }),
        // Gemini's server tools have no type: the only key is the tool.
        None => {
            let first = fields.rest().next().map(|(key, _)| key.to_owned());
            let kind = first.ok_or_else(|| path.key("type").missing())?;
            Ok(Tool::Server { dialect: Dialect::Gemini, kind, json: raw.into() })
        }
    }
}

/// Whose server tool `kind` is. Anthropic's end in a date: `web_search_20250305`.
fn owner(kind: &str) -> Dialect {
    let date = kind.rsplit_once('_').map(|(_, date)| date);
    let dated = date.is_some_and(|date| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()));
    if dated { Dialect::Anthropic } else { Dialect::OpenaiChat }
}

fn function(raw: Raw<'_>, path: &Path<'_>, outer_strict: Option<Raw<'_>>) -> Result<Tool> {
    let mut fields = Object::expect(raw, path)?;
    let strict = fields.bool("strict", path)?;
    Ok(Tool::Function {
        name: fields.string("name", path)?.ok_or_else(|| path.key("name").missing())?,
        description: fields.string("description", path)?,
        parameters: fields.raw("parameters"),
        strict: strict.or_else(|| Some(outer_strict?.get() == "true")),
        cache: message::cache_hint(&mut fields, path)?,
    })
}

fn tool_choice(raw: Raw<'_>, path: &Path<'_>) -> Result<ToolChoice> {
    const WHAT: &str = "`auto`, `none`, `required` or an object naming a tool";
    if let Some(word) = read::text(raw) {
        return choice_word(&word).ok_or_else(|| path.must_be(WHAT));
    }
    let mut fields = Object::parse(raw.get()).ok_or_else(|| path.must_be(WHAT))?;
    let kind = fields.string("type", path)?.unwrap_or_else(|| "function".to_owned());
    match kind.as_str() {
        "function" | "custom" => {
            let inner_path = path.key(&kind);
            let mut inner = match fields.take(&kind) {
                Some(raw) => Object::expect(raw, &inner_path)?,
                None => fields,
            };
            let name = inner.string("name", &inner_path)?.ok_or_else(|| inner_path.key("name").missing())?;
            Ok(ToolChoice::Named(name))
        }
        "allowed_tools" => {
            let inner_path = path.key("allowed_tools");
            let mut inner = match fields.take("allowed_tools") {
                Some(raw) => Object::expect(raw, &inner_path)?,
                None => fields,
            };
            allowed(&mut inner, &inner_path)
        }
        // Anthropic's spelling.
        "tool" => {
            fields.string("name", path)?.map(ToolChoice::Named).ok_or_else(|| path.key("name").missing())
        }
        word => choice_word(word)
            .ok_or_else(|| path.key("type").must_be("`function`, `custom` or `allowed_tools`")),
    }
}

fn choice_word(word: &str) -> Option<ToolChoice> {
    match word {
        "auto" => Some(ToolChoice::Auto),
        "none" => Some(ToolChoice::None),
        "required" | "any" => Some(ToolChoice::Required),
        _ => None,
    }
}

fn allowed(fields: &mut Object<'_>, path: &Path<'_>) -> Result<ToolChoice> {
    let required = fields.string("mode", path)?.as_deref() == Some("required");
    let list_path = path.key("tools");
    let items = fields.take("tools").and_then(read::list).ok_or_else(|| list_path.must_be("a list"))?;
    let names = items.into_iter().enumerate().map(|(index, item)| {
        let path = list_path.at(index);
        let mut tool = Object::expect(item, &path)?;
        let inner = tool.object("function").or_else(|| tool.object("custom"));
        let name = inner.and_then(|mut inner| inner.text("name")).or_else(|| tool.text("name"));
        name.map(|name| name.into_owned()).ok_or_else(|| path.key("name").missing())
    });
    Ok(ToolChoice::Allowed { names: names.collect::<Result<_>>()?, required })
}

fn legacy_choice(raw: Raw<'_>, path: &Path<'_>) -> Result<ToolChoice> {
    if let Some(word) = read::text(raw) {
        return choice_word(&word).ok_or_else(|| path.must_be("`auto`, `none` or an object with a name"));
    }
    let name = Object::expect(raw, path)?.string("name", path)?;
    name.map(ToolChoice::Named).ok_or_else(|| path.key("name").missing())
}

fn output_format(top: &mut Object<'_>) -> Result<Option<OutputFormat>> {
    let Some(raw) = top.take("response_format") else { return Ok(None) };
    let root = Path::Root;
    let path = root.key("response_format");
    let mut fields = Object::expect(raw, &path)?;
    let kind = fields.string("type", &path)?.ok_or_else(|| path.key("type").missing())?;
    match kind.as_str() {
        "text" => Ok(Some(OutputFormat::Text)),
        // A schema beside `json_object` is an older spelling (`response_schema` is LiteLLM's).
        "json_object" => Ok(Some(match fields.raw("response_schema").or_else(|| fields.raw("schema")) {
            Some(schema) => OutputFormat::JsonSchema { name: None, description: None, schema, strict: None },
            None => OutputFormat::JsonObject,
        })),
        "json_schema" => {
            let inner_path = path.key("json_schema");
            let raw = fields.take("json_schema").ok_or_else(|| inner_path.missing())?;
            let mut inner = Object::expect(raw, &inner_path)?;
            let schema = inner.raw("schema");
            Ok(Some(OutputFormat::JsonSchema {
                name: inner.string("name", &inner_path)?,
                description: inner.string("description", &inner_path)?,
                schema: schema.or_else(|| RawJson::parse("{}")).ok_or_else(|| inner_path.missing())?,
                strict: inner.bool("strict", &inner_path)?,
            }))
        }
        // Grammars and regular expressions of some hosts: theirs to understand.
        _ => {
            top.put_back("response_format", raw);
            Ok(None)
        }
    }
}

fn reasoning(top: &mut Object<'_>) -> Result<Option<Reasoning>> {
    let root = Path::Root;
    let mut found: Option<Reasoning> = None;
    if let Some(raw) = top.take("reasoning_effort") {
        let path = root.key("reasoning_effort");
        let (word, summary) = match read::text(raw) {
            Some(word) => (Some(word.into_owned()), None),
            None => {
                let mut fields = Object::parse(raw.get()).ok_or_else(|| path.must_be("a string"))?;
                (fields.string("effort", &path)?, fields.string("summary", &path)?)
            }
        };
        let show = summary.map(|summary| summary != "none");
        match word.as_deref() {
            Some("disable") => found = Some(Reasoning { disabled: true, show, ..Reasoning::default() }),
            Some(word) => match Effort::from_name(word) {
                Some(effort) => {
                    found = Some(Reasoning { effort: Some(effort), show, ..Reasoning::default() });
                }
                // Words of single hosts, such as `default`.
                None => top.put_back("reasoning_effort", raw),
            },
            None => found = Some(Reasoning { show, ..Reasoning::default() }),
        }
    }
    if let Some(raw) = top.take("thinking") {
        let path = root.key("thinking");
        let mut fields = Object::expect(raw, &path)?;
        let thinking = found.get_or_insert_default();
        thinking.budget_tokens = fields.u64("budget_tokens", &path)?;
        match fields.string("type", &path)?.as_deref() {
            Some("disabled") => thinking.disabled = true,
            Some("adaptive" | "auto") => thinking.adaptive = true,
            _ => {}
        }
    }
    Ok(found)
}

fn web_search(top: &mut Object<'_>) -> Result<Option<WebSearch>> {
    let Some(raw) = top.take("web_search_options") else { return Ok(None) };
    let root = Path::Root;
    let path = root.key("web_search_options");
    let mut fields = Object::expect(raw, &path)?;
    let mut search = WebSearch {
        context_size: fields.string("search_context_size", &path)?,
        max_uses: fields.u32("max_uses", &path)?,
        ..WebSearch::default()
    };
    if let Some(raw) = fields.take("user_location") {
        let mut location = Object::expect(raw, &path.key("user_location"))?;
        search.location = Some(location.raw("approximate").unwrap_or_else(|| raw.into()));
    }
    if let Some(mut filters) = fields.object("filters") {
        let path = path.key("filters");
        for (key, domains) in [
            ("allowed_domains", &mut search.allowed_domains),
            ("blocked_domains", &mut search.blocked_domains),
        ] {
            if let Some(raw) = filters.take(key) {
                *domains = strings(raw, &path.key(key))?;
            }
        }
    }
    Ok(Some(search))
}

/// A custom voice is an object the model has no place for: the field then stays an extra.
fn audio(top: &mut Object<'_>, request: &mut Request) -> Result<()> {
    let Some(raw) = top.take("audio") else { return Ok(()) };
    let root = Path::Root;
    let path = root.key("audio");
    let mut fields = Object::expect(raw, &path)?;
    if fields.get("voice").is_some_and(read::is_object) {
        top.put_back("audio", raw);
        return Ok(());
    }
    let voice = fields.string("voice", &path)?.ok_or_else(|| path.key("voice").missing())?;
    let format = fields
        .string("format", &path)?
        .ok_or_else(|| Error::invalid_at("audio.format", "`audio.format` is required"))?;
    request.audio = Some(AudioFormat { voice, format });
    Ok(())
}
