//! A client's request → neutral.
//!
//! Members the model has no place for go into the request's extras. Members of inner objects do so under their
//! path (`tools[2].defer_loading`, `messages[].content[].citations`), so that a notice can name them; the encoder
//! of this dialect puts them back where they were.

use serde_json::value::RawValue;
use tollway_model::{
    Content, Dialect, Effort, Extras, Message, OutputFormat, Part, RawJson, Reasoning, Request, Result, Role,
    Tool, ToolChoice, WebSearch,
};

use super::blocks_in::{Asides, cache_hint, content};
use super::read::{Object, Path, list};

/// Extras key of the `citations` setting shared by all documents.
pub(crate) const DOCUMENT_CITATIONS: &str = "messages[].content[].citations";

/// Reads a request. Counting tokens (`counting`) needs no `max_tokens`.
pub(super) fn decode(body: &[u8], counting: bool) -> Result<Request> {
    let root = Path::Root;
    let mut object = Object::parse_bytes(body)?;
    let mut extras = Extras::of(Dialect::Anthropic);
    let mut asides = Asides::default();
    let mut request =
        Request { model: object.required_text("model", &root)?.into_owned(), ..Request::default() };
    request.max_output_tokens = object.whole("max_tokens", &root)?;
    if request.max_output_tokens.is_none() && !counting {
        return Err(root.key("max_tokens").wrong("field required"));
    }
    if let Some(raw) = object.take("system") {
        let parts = content(raw, &root.key("system"), &mut asides)?;
        if !parts.is_empty() {
            request.messages.push(Message::new(Role::System, parts));
        }
    }
    messages(object.required("messages", &root)?, &mut request.messages, &mut asides)?;
    tools(&mut object, &mut request, &mut extras, &mut asides)?;
    tool_choice(&mut object, &mut request)?;
    thinking(&mut object, &mut request, &mut extras)?;
    output_config(&mut object, &mut request, &mut extras)?;
    request.cache = cache_hint(&mut object, &root, &mut asides)?;
    request.temperature = object.number("temperature", &root)?;
    request.top_p = object.number("top_p", &root)?;
    request.top_k = object.whole("top_k", &root)?;
    request.stop = object.texts("stop_sequences", &root)?.unwrap_or_default();
    request.stream = object.bool("stream", &root)?.unwrap_or(false);
    request.service_tier = object.text("service_tier", &root)?.map(Into::into);
    metadata(&mut object, &mut request, &mut extras)?;
    extras.fields.extend(object.rest());
    if let Some(citations) = asides.citations {
        extras.fields.insert(DOCUMENT_CITATIONS.to_owned(), citations);
    }
    if let Some((name, value)) = asides.cache {
        extras.fields.insert(format!("cache_control.{name}"), value);
    }
    request.extras = extras;
    Ok(request)
}

fn messages(raw: &RawValue, messages: &mut Vec<Message>, asides: &mut Asides) -> Result<()> {
    let path = Path::Root.key("messages");
    for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
        let path = path.index(index);
        let mut object = Object::parse(raw, &path)?;
        let role = object.required_text("role", &path)?;
        let parts = content(object.required("content", &path)?, &path.key("content"), asides)?;
        match &*role {
            "assistant" => messages.push(Message::new(Role::Assistant, parts)),
            "system" => messages.push(Message::new(Role::System, parts)),
            "user" => user_turn(parts, messages),
            other => {
                let message = format!("`{other}` is none of `user`, `assistant`, `system`");
                return Err(path.key("role").wrong(message));
            }
        }
    }
    Ok(())
}

/// Tool results become a message of their own, before the rest of the turn.
fn user_turn(parts: Vec<Part>, messages: &mut Vec<Message>) {
    let (results, rest): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| matches!(part.content, Content::ToolResult(_)));
    let has_results = !results.is_empty();
    if has_results {
        messages.push(Message::new(Role::Tool, results));
    }
    if !rest.is_empty() || !has_results {
        messages.push(Message::new(Role::User, rest));
    }
}

fn tools(
    object: &mut Object<'_>,
    request: &mut Request,
    extras: &mut Extras,
    asides: &mut Asides,
) -> Result<()> {
    let Some(raw) = object.take("tools") else { return Ok(()) };
    let path = Path::Root.key("tools");
    for (index, raw) in list(raw, &path)?.into_iter().enumerate() {
        let path = path.index(index);
        let mut tool = Object::parse(raw, &path)?;
        let kind = tool.text("type", &path)?.filter(|kind| kind != "custom");
        if let Some(kind) = kind {
            if kind.starts_with("web_search_") {
                request.web_search = Some(web_search(tool, &path)?);
            }
            let (kind, json) = (kind.into_owned(), RawJson::from(raw));
            request.tools.push(Tool::Server { dialect: Dialect::Anthropic, kind, json });
            continue;
        }
        request.tools.push(Tool::Function {
            name: tool.required_text("name", &path)?.into_owned(),
            description: tool.text("description", &path)?.map(Into::into),
            parameters: Some(RawJson::from(tool.required("input_schema", &path)?)),
            strict: tool.bool("strict", &path)?,
            cache: cache_hint(&mut tool, &path, asides)?,
        });
        extras.fields.extend(tool.rest().map(|(name, value)| (format!("{path}.{name}"), value)));
    }
    Ok(())
}

/// What other dialects can do with the hosted search tool. This dialect keeps the tool itself.
fn web_search(mut tool: Object<'_>, path: &Path<'_>) -> Result<WebSearch> {
    let location = match tool.take("user_location") {
        None => None,
        Some(raw) => {
            let fields: serde_json::Map<_, _> = Object::parse(raw, &path.key("user_location"))?
                .rest()
                .filter(|(name, _)| name != "type")
                .map(|(name, value)| (name, value.to_value()))
                .collect();
            Some(RawJson::from(serde_json::Value::Object(fields)))
        }
    };
    Ok(WebSearch {
        context_size: None,
        location,
        max_uses: tool.whole("max_uses", path)?.and_then(|uses| u32::try_from(uses).ok()),
        allowed_domains: tool.texts("allowed_domains", path)?.unwrap_or_default(),
        blocked_domains: tool.texts("blocked_domains", path)?.unwrap_or_default(),
    })
}

fn tool_choice(object: &mut Object<'_>, request: &mut Request) -> Result<()> {
    let Some(raw) = object.take("tool_choice") else { return Ok(()) };
    let path = Path::Root.key("tool_choice");
    let mut choice = Object::parse(raw, &path)?;
    request.tool_choice = Some(match &*choice.required_text("type", &path)? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name", &path)?.into_owned()),
        other => {
            let message = format!("`{other}` is none of `auto`, `any`, `tool`, `none`");
            return Err(path.key("type").wrong(message));
        }
    });
    request.parallel_tool_calls = choice.bool("disable_parallel_tool_use", &path)?.map(|disabled| !disabled);
    Ok(())
}

fn thinking(object: &mut Object<'_>, request: &mut Request, extras: &mut Extras) -> Result<()> {
    let Some(raw) = object.take("thinking") else { return Ok(()) };
    let path = Path::Root.key("thinking");
    let mut thinking = Object::parse(raw, &path)?;
    let mut reasoning = Reasoning::default();
    match &*thinking.required_text("type", &path)? {
        "enabled" => {
            let budget = thinking.whole("budget_tokens", &path)?;
            reasoning.budget_tokens =
                Some(budget.ok_or_else(|| path.key("budget_tokens").wrong("field required"))?);
        }
        "disabled" => reasoning.disabled = true,
        "adaptive" => reasoning.adaptive = true,
        // `between_tools`, and forms still to come: kept verbatim for this dialect, the model decides elsewhere.
        _ => {
            reasoning.adaptive = true;
            extras.fields.insert("thinking".to_owned(), RawJson::from(raw));
        }
    }
    reasoning.show = match thinking.text("display", &path)?.as_deref() {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    request.reasoning = Some(reasoning);
    Ok(())
}

fn output_config(object: &mut Object<'_>, request: &mut Request, extras: &mut Extras) -> Result<()> {
    // The beta's name for what `output_config.format` became.
    if let Some(raw) = object.take("output_format") {
        request.output = Some(output_format(raw, &Path::Root.key("output_format"))?);
    }
    let Some(raw) = object.take("output_config") else { return Ok(()) };
    let path = Path::Root.key("output_config");
    let mut config = Object::parse(raw, &path)?;
    if let Some(name) = config.text("effort", &path)? {
        let effort = Effort::from_name(&name)
            .ok_or_else(|| path.key("effort").wrong(format!("`{name}` is no effort")))?;
        request.reasoning.get_or_insert_default().effort = Some(effort);
    }
    if let Some(raw) = config.take("format") {
        request.output = Some(output_format(raw, &path.key("format"))?);
    }
    extras.fields.extend(config.rest().map(|(name, value)| (format!("output_config.{name}"), value)));
    Ok(())
}

fn output_format(raw: &RawValue, path: &Path<'_>) -> Result<OutputFormat> {
    let mut format = Object::parse(raw, path)?;
    match &*format.required_text("type", path)? {
        "json_schema" => Ok(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema: RawJson::from(format.required("schema", path)?),
            strict: None,
        }),
        other => Err(path.key("type").wrong(format!("`{other}` is not `json_schema`"))),
    }
}

fn metadata(object: &mut Object<'_>, request: &mut Request, extras: &mut Extras) -> Result<()> {
    let Some(raw) = object.take("metadata") else { return Ok(()) };
    let path = Path::Root.key("metadata");
    let mut metadata = Object::parse(raw, &path)?;
    request.user = metadata.text("user_id", &path)?.map(Into::into);
    extras.fields.extend(metadata.rest().map(|(name, value)| (format!("metadata.{name}"), value)));
    Ok(())
}
