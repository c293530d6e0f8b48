//! Reading the tools of a client's request, and which of them may be used.

use tollway_model::{Dialect, Extras, RawJson, Request, Result, Tool, ToolChoice, WebSearch};

use super::state;
use crate::openai_chat::read::{self, Object, Path, Raw};
use crate::web_search::{is_search, stays_inside};

/// Descriptions of namespaces, by name: an object among the extras.
pub(super) const NAMESPACES: &str = "tools[].namespaces";

pub(super) fn tools(top: &mut Object<'_>, request: &mut Request, extras: &mut Extras) -> Result<()> {
    let root = Path::Root;
    if let Some(raw) = top.take("tools") {
        let path = root.key("tools");
        let items = read::list(raw).ok_or_else(|| path.must_be("a list"))?;
        let mut namespaces = serde_json::Map::new();
        for (index, raw) in items.into_iter().enumerate() {
            tool(raw, &path.at(index), request, extras, &mut namespaces)?;
        }
        if !namespaces.is_empty() {
            extras.fields.insert(NAMESPACES.to_owned(), RawJson::from(serde_json::Value::from(namespaces)));
        }
    }
    if let Some(raw) = top.take("tool_choice") {
        request.tool_choice = choice(raw, &root.key("tool_choice"))?;
        if request.tool_choice.is_none() {
            top.put_back("tool_choice", raw);
        }
    }
    request.parallel_tool_calls = top.bool("parallel_tool_calls", &root)?;
    Ok(())
}

pub(super) fn tool(
    raw: Raw<'_>,
    path: &Path<'_>,
    request: &mut Request,
    extras: &mut Extras,
    namespaces: &mut serde_json::Map<String, serde_json::Value>,
) -> Result<()> {
    let mut fields = Object::expect(raw, path)?;
    let kind = fields.string("type", path)?.ok_or_else(|| path.key("type").missing())?;
    match kind.as_str() {
        "function" | "custom" => callable(&kind, &mut fields, None, path, request, extras),
        "namespace" => {
            let name = fields.string("name", path)?.ok_or_else(|| path.key("name").missing())?;
            let description = fields.string("description", path)?.unwrap_or_default();
            namespaces.insert(name.clone(), description.into());
            let list_path = path.key("tools");
            let raw = fields.take("tools").ok_or_else(|| list_path.missing())?;
            let items = read::list(raw).ok_or_else(|| list_path.must_be("a list"))?;
            for (index, raw) in items.into_iter().enumerate() {
                let path = list_path.at(index);
                let mut inner = Object::expect(raw, &path)?;
                let kind = inner.string("type", &path)?.unwrap_or_else(|| "function".to_owned());
                if !matches!(kind.as_str(), "function" | "custom") {
                    return Err(path.key("type").must_be("`function` or `custom`"));
                }
                callable(&kind, &mut inner, Some(&name), &path, request, extras)?;
            }
            Ok(())
        }
        _ => {
            let json = RawJson::from(raw);
            if is_search(&kind) && !stays_inside(&json) {
                request.web_search = Some(web_search(&mut fields, path)?);
            }
            request.tools.push(Tool::Server { dialect: Dialect::OpenaiResponses, kind, json });
            Ok(())
        }
    }
}

/// A tool that the client runs. What the model has no place for goes to the extras, by the tool's number.
fn callable(
    kind: &str,
    fields: &mut Object<'_>,
    namespace: Option<&str>,
    path: &Path<'_>,
    request: &mut Request,
    extras: &mut Extras,
) -> Result<()> {
    // Some clients nest the function as Chat Completions does.
    if let Some(inner) = fields.take(kind) {
        let path = path.key(kind);
        return callable(kind, &mut Object::expect(inner, &path)?, namespace, &path, request, extras);
    }
    let name = fields.string("name", path)?.ok_or_else(|| path.key("name").missing())?;
    let name = namespace.map(|namespace| state::in_namespace(namespace, &name)).unwrap_or(name);
    let description = fields.string("description", path)?;
    let tool = if kind == "custom" {
        Tool::Custom { name, description, format: fields.raw("format") }
    } else {
        let (parameters, strict) = (fields.raw("parameters"), fields.bool("strict", path)?);
        Tool::Function { name, description, parameters, strict, cache: None }
    };
    let number = request.tools.len();
    for (key, raw) in fields.rest().filter(|(key, raw)| *key != "type" && raw.get() != "null") {
        extras.fields.insert(format!("tools[{number}].{key}"), raw.into());
    }
    request.tools.push(tool);
    Ok(())
}

fn web_search(fields: &mut Object<'_>, path: &Path<'_>) -> Result<WebSearch> {
    let mut search =
        WebSearch { context_size: fields.string("search_context_size", path)?, ..WebSearch::default() };
    if let Some(raw) = fields.take("user_location") {
        let mut location: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(raw.get()).map_err(|_| path.key("user_location").must_be("an object"))?;
        location.remove("type");
        search.location = Some(RawJson::from(serde_json::Value::from(location)));
    }
    if let Some(mut filters) = fields.object("filters") {
        for (key, domains) in [
            ("allowed_domains", &mut search.allowed_domains),
            ("blocked_domains", &mut search.blocked_domains),
        ] {
            domains
                .extend(filters.list(key).into_iter().filter_map(read::text).map(|text| text.into_owned()));
        }
    }
    Ok(search)
}

/// `None`: a form that only this dialect knows.
fn choice(raw: Raw<'_>, path: &Path<'_>) -> Result<Option<ToolChoice>> {
    const WHAT: &str = "`auto`, `none`, `required` or an object naming a tool";
    if let Some(word) = read::text(raw) {
        return match &*word {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => Err(path.must_be(WHAT)),
        };
    }
    let mut fields = Object::parse(raw.get()).ok_or_else(|| path.must_be(WHAT))?;
    let kind = fields.string("type", path)?.ok_or_else(|| path.key("type").missing())?;
    match kind.as_str() {
        "function" | "custom" => {
            let mut inner = fields.object(&kind).unwrap_or(fields);
            let name = inner.string("name", path)?.ok_or_else(|| path.key("name").missing())?;
            let namespace = inner.string("namespace", path)?;
            let name = namespace.map(|space| state::in_namespace(&space, &name)).unwrap_or(name);
            Ok(Some(ToolChoice::Named(name)))
        }
        "allowed_tools" => {
            let required = fields.string("mode", path)?.as_deref() == Some("required");
            let list_path = path.key("tools");
            let items =
                fields.take("tools").and_then(read::list).ok_or_else(|| list_path.must_be("a list"))?;
            let names = items.into_iter().enumerate().map(|(index, item)| {
                let path = list_path.at(index);
                let mut tool = Object::expect(item, &path)?;
                let name = tool.text("name").or_else(|| tool.text("type"));
                name.map(|name| name.into_owned()).ok_or_else(|| path.key("name").missing())
            });
            Ok(Some(ToolChoice::Allowed { names: names.collect::<Result<_>>()?, required }))
        }
        // The model calls search by the name of its type wherever it is known.
        kind if is_search(kind) => Ok(Some(ToolChoice::Named("web_search".to_owned()))),
        _ => Ok(None),
    }
}
