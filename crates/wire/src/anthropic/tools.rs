//! Tools and the choice among them.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::Value;
use tollway_model::{Capabilities, Dialect, Notices, RawJson, Request, Tool, ToolChoice, WebSearch};

use super::blocks_out::{Choice, FunctionTool, SearchTool, ToolBlock};
use super::names::Rewriter;
use super::schema;
use crate::free_text;
use crate::server_tools;
use crate::web_search::{self, is_search};

/// What the tools of a request become.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<ToolBlock<'a>>,
    pub(super) choice: Option<Choice>,
    /// Hosted MCP servers another dialect lists among its tools.
    pub(super) mcp_servers: Vec<Value>,
}

/// What writing tools needs to know.
pub(super) struct Writer<'a, 'w> {
    pub(super) request: &'a Request,
    pub(super) capabilities: &'w Capabilities,
    pub(super) names: &'w Rewriter<'a>,
    pub(super) is_ours: bool,
    pub(super) notices: &'w mut Notices,
}

impl<'a> Writer<'a, '_> {
    /// `has_history` says that earlier turns hold tool calls or results, `thinks` that the model will think.
    pub(super) fn tools(mut self, has_history: bool, thinks: bool) -> Tools<'a> {
        let mut tools = Tools::default();
        for (index, tool) in self.request.tools.iter().enumerate() {
            if self.is_allowed(tool) {
                self.tool(tool, index, &mut tools);
            }
        }
        if let Some(search) = &self.request.web_search {
            self.search(search, &mut tools);
        }
        if tools.list.is_empty() && has_history {
            tools.list.push(ToolBlock::Function(uncallable()));
            tools.choice = Some(Choice::None);
            self.notices.changed(
                "tools",
                "earlier turns use tools and none are given: one that is never called was added",
            );
            return tools;
        }
        let searches = tools.list.iter().any(|tool| !matches!(tool, ToolBlock::Function(_)));
        if searches || !web_search::is_demanded(self.request) {
            tools.choice = self.choice(!tools.list.is_empty(), thinks);
        }
        tools
    }

    fn is_allowed(&self, tool: &Tool) -> bool {
        match &self.request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|name| name == tool.name()),
            _ => true,
        }
    }

    fn tool(&mut self, tool: &'a Tool, index: usize, tools: &mut Tools<'a>) {
        match tool {
            Tool::Function { name, description, parameters, strict, cache } => {
                let (input_schema, strict) = self.schema(parameters.as_ref(), *strict, index);
                tools.list.push(ToolBlock::Function(FunctionTool {
                    name: Cow::Owned(self.names.get(name).to_owned()),
                    description: description.as_deref().map(Cow::Borrowed),
                    input_schema,
                    strict,
                    cache_control: cache.map(Into::into),
                    rest: self.rest(index),
                }));
            }
            Tool::Custom { name, description, format } => {
                self.notices.changed(
                    format!("tools[{index}]"),
                    "tools take JSON here: sent as a function with one argument `input`",
                );
                tools.list.push(ToolBlock::Function(custom(
                    self.names.get(name),
                    description,
                    format.as_ref(),
                )));
            }
            Tool::Server { dialect: Dialect::Anthropic, kind, json } => {
                if kind.starts_with("web_search_") && self.capabilities.web_search.no() {
                    self.notices.dropped(format!("tools[{index}]"), "the model cannot search the web");
                } else {
                    tools.list.push(ToolBlock::Native(json));
                }
            }
            Tool::Server { kind, json, .. } => self.foreign(kind, json, index, tools),
        }
    }

    /// A tool that another dialect's provider runs.
    fn foreign(&mut self, kind: &str, json: &RawJson, index: usize, tools: &mut Tools<'a>) {
        if self.request.web_search.is_some() && is_search(kind) {
            return;
        }
        if kind == "mcp"
            && let Some(server) = mcp_server(&json.to_value())
        {
            tools.mcp_servers.push(server);
            return;
        }
        let why = format!("this provider does not run `{kind}`");
        server_tools::lost(self.request, index, kind, why, self.notices);
    }

    /// Members of the tool that only this dialect knows.
    fn rest(&self, index: usize) -> IndexMap<&'a str, &'a RawJson> {
        let Some(fields) = self.request.extras.for_dialect(Dialect::Anthropic) else {
            return IndexMap::new();
        };
        let prefix = format!("tools[{index}].");
        fields.iter().filter_map(|(path, value)| Some((path.strip_prefix(&prefix)?, value))).collect()
    }

    /// The arguments' schema, and whether the provider is to enforce it.
    fn schema(
        &mut self,
        parameters: Option<&'a RawJson>,
        strict: Option<bool>,
        index: usize,
    ) -> (Cow<'a, RawJson>, Option<bool>) {
        if self.is_ours {
            return (object_schema(parameters), strict);
        }
        let field = || format!("tools[{index}].function.strict");
        if strict != Some(true) {
            return (object_schema(parameters), None);
        }
        let schema = object_schema(parameters);
        if self.capabilities.native_structured_output.no() {
            self.notices.changed(field(), "the model does not enforce schemas: left out");
            return (schema, None);
        }
        let Some(enforceable) = schema::enforceable(&schema.to_value()) else {
            self.notices.changed(field(), "a schema that refers to itself cannot be enforced: left out");
            return (schema, None);
        };
        if !enforceable.changed.is_empty() {
            let message = format!("not enforced: {}", enforceable.changed.join(", "));
            self.notices.changed(format!("tools[{index}].function.parameters"), message);
        }
        (Cow::Owned(RawJson::from(enforceable.schema)), Some(true))
    }

    fn search(&mut self, search: &'a WebSearch, tools: &mut Tools<'a>) {
        let has_native = self.request.tools.iter().any(|tool| {
            matches!(tool, Tool::Server { dialect: Dialect::Anthropic, kind, .. } if kind.starts_with("web_search_"))
        });
        if has_native {
            return;
        }
        if self.capabilities.web_search.no() {
            return web_search::lost(self.request, "the model cannot search the web", self.notices);
        }
        let callable = |tool: &&Tool| !matches!(tool, Tool::Server { .. });
        if self.request.tools.iter().filter(callable).any(|tool| tool.name() == "web_search") {
            let why = "a tool of the caller is called `web_search` too";
            return web_search::lost(self.request, why, self.notices);
        }
        let by_size = match search.context_size.as_deref() {
            Some("low") => Some(1),
            Some("medium") => Some(5),
            Some("high") => Some(10),
            _ => None,
        };
        tools.list.push(ToolBlock::Search(SearchTool {
            kind: "web_search_20250305",
            name: "web_search",
            max_uses: search.max_uses.or(by_size),
            allowed_domains: &search.allowed_domains,
            blocked_domains: &search.blocked_domains,
            user_location: search.location.as_ref().and_then(approximate),
        }));
    }

    fn choice(&mut self, has_tools: bool, thinks: bool) -> Option<Choice> {
        if !has_tools {
            if self.request.tool_choice.as_ref().is_some_and(|choice| *choice != ToolChoice::None) {
                self.notices.changed("tool_choice", "there are no tools to choose from: left out");
            }
            return None;
        }
        let disable_parallel_tool_use = self.request.parallel_tool_calls.map(|parallel| !parallel);
        let choice = match &self.request.tool_choice {
            None => disable_parallel_tool_use.map(|_| Choice::Auto { disable_parallel_tool_use }),
            Some(ToolChoice::Auto) => Some(Choice::Auto { disable_parallel_tool_use }),
            Some(ToolChoice::None) => Some(Choice::None),
            Some(ToolChoice::Required) => Some(Choice::Any { disable_parallel_tool_use }),
            Some(ToolChoice::Named(name)) => {
                let name = self.names.get(name).to_owned();
                Some(Choice::Tool { name, disable_parallel_tool_use })
            }
            Some(ToolChoice::Allowed { required, .. }) => {
                self.notices.changed("tool_choice", "only the allowed tools are sent");
                Some(if *required {
                    Choice::Any { disable_parallel_tool_use }
                } else {
                    Choice::Auto { disable_parallel_tool_use }
                })
            }
        };
        let is_forced = matches!(choice, Some(Choice::Any { .. } | Choice::Tool { .. }));
        if is_forced && (thinks || self.capabilities.forced_tool_use.no()) {
            let why = if thinks { "a thinking model" } else { "this model" };
            self.notices
                .changed("tool_choice", format!("{why} cannot be forced to use a tool: sent as `auto`"));
            return Some(Choice::Auto { disable_parallel_tool_use });
        }
        choice
    }
}

/// A schema whose type is `object`, which the API insists on.
pub(crate) fn object_schema(parameters: Option<&RawJson>) -> Cow<'_, RawJson> {
    let empty = || Cow::Owned(RawJson::from(serde_json::json!({ "type": "object", "properties": {} })));
    let Some(parameters) = parameters else { return empty() };
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        kind: Option<&'a serde_json::value::RawValue>,
    }
    match serde_json::from_str::<Kind<'_>>(parameters.get()) {
        Ok(Kind { kind: Some(kind) }) if kind.get() == "\"object\"" => Cow::Borrowed(parameters),
        Ok(_) => match parameters.to_value() {
            Value::Object(mut members) => {
                members.insert("type".to_owned(), Value::String("object".to_owned()));
                Cow::Owned(RawJson::from(Value::Object(members)))
            }
            _ => empty(),
        },
        Err(_) => empty(),
    }
}

fn custom<'a>(name: &str, description: &'a Option<String>, format: Option<&RawJson>) -> FunctionTool<'a> {
    let description = free_text::description(description.as_deref(), format);
    let schema = RawJson::parse(free_text::PARAMETERS).unwrap_or_else(|| serde_json::json!({}).into());
    function(name.to_owned(), description, schema)
}

/// A function tool with nothing special about it.
pub(super) fn function<'a>(
    name: String,
    description: Option<Cow<'a, str>>,
    schema: RawJson,
) -> FunctionTool<'a> {
    FunctionTool {
        name: Cow::Owned(name),
        description,
        input_schema: Cow::Owned(schema),
        strict: None,
        cache_control: None,
        rest: IndexMap::new(),
    }
}

fn uncallable<'a>() -> FunctionTool<'a> {
    let schema = RawJson::from(serde_json::json!({ "type": "object", "properties": {} }));
    function("no_tool".to_owned(), Some(Cow::Borrowed("Placeholder. Never call it.")), schema)
}

fn approximate(location: &RawJson) -> Option<RawJson> {
    let Value::Object(mut fields) = location.to_value() else { return None };
    fields.retain(|name, value| {
        !value.is_null() && matches!(name.as_str(), "city" | "region" | "country" | "timezone")
    });
    let mut out = serde_json::Map::new();
    out.insert("type".to_owned(), Value::String("approximate".to_owned()));
    out.extend(fields);
    Some(RawJson::from(Value::Object(out)))
}

/// OpenAI's description of an MCP server → this API's; `None` when it names no URL.
fn mcp_server(tool: &Value) -> Option<Value> {
    let url = tool.get("server_url")?.as_str()?;
    let name = tool.get("server_label").and_then(Value::as_str).unwrap_or("mcp");
    let header = tool.pointer("/headers/Authorization").and_then(Value::as_str);
    let token = header.map(|header| header.strip_prefix("Bearer ").unwrap_or(header));
    let token = token.or_else(|| tool.get("authorization").and_then(Value::as_str));
    let mut server = serde_json::Map::new();
    server.insert("type".to_owned(), "url".into());
    server.insert("url".to_owned(), url.into());
    server.insert("name".to_owned(), name.into());
    if let Some(token) = token {
        server.insert("authorization_token".to_owned(), token.into());
    }
    if let Some(allowed) = tool.get("allowed_tools").filter(|allowed| allowed.is_array()) {
        server.insert("tool_configuration".to_owned(), serde_json::json!({ "allowed_tools": allowed }));
    }
    Some(Value::Object(server))
}
