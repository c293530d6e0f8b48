//! Writing tools, and which of them may be used, for a provider.

use indexmap::IndexMap;
use serde_json::Value;
use tollway_model::{Dialect, RawJson, Tool, ToolChoice, WebSearch};

use super::items_out::tool_name;
use super::request_out::Fields;
use super::state;
use super::tools_in::NAMESPACES;
use crate::openai_chat::encode::AUTOMATIC_CACHE;
use crate::openai_chat::names;
use crate::openai_chat::write::{self, List, Map};
use crate::web_search::{self, is_search};

impl Fields<'_, '_> {
    pub(super) fn tools(&mut self, map: &mut Map<'_>) {
        let mut body = Vec::new();
        write::list(&mut body, |list| self.all_tools(list));
        let any = body.len() > 2;
        if any {
            map.key("tools").extend_from_slice(&body);
        }
        if !any && !self.native {
            // Refused without tools; other dialects allow them.
            return;
        }
        if let Some(choice) = &self.request.tool_choice {
            self.choice(choice, map);
        }
        if let Some(parallel) = self.request.parallel_tool_calls {
            map.bool("parallel_tool_calls", parallel);
        }
    }

    fn all_tools(&mut self, list: &mut List<'_>) {
        let request = self.request;
        let own = request.extras.for_dialect(Dialect::OpenaiResponses).filter(|_| self.native);
        let namespaces = own.and_then(|fields| fields.get(NAMESPACES)).map(RawJson::to_value);
        let mut tools = request.tools.iter().enumerate().peekable();
        while let Some((index, tool)) = tools.next() {
            let namespace = if self.native { state::split_name(tool.name()).0 } else { None };
            let Some(namespace) = namespace else {
                self.tool(index, tool, list);
                continue;
            };
            // The tools of a namespace stand together.
            let described = namespaces.as_ref().and_then(|all| all.get(namespace)?.as_str());
            list.map(|map| {
                map.str("type", "namespace");
                map.str("name", namespace);
                map.str("description", described.unwrap_or_default());
                map.list("tools", |list| {
                    self.tool(index, tool, list);
                    let together =
                        |(_, tool): &(usize, &Tool)| state::split_name(tool.name()).0 == Some(namespace);
                    while let Some((index, tool)) = tools.next_if(together) {
                        self.tool(index, tool, list);
                    }
                });
            });
        }
        let has_search = request.tools.iter().any(
            |tool| matches!(tool, Tool::Server { dialect: Dialect::OpenaiResponses, kind, .. } if is_search(kind)),
        );
        match &request.web_search {
            Some(search) if !has_search => self.search(search, list),
            _ => {}
        }
    }

    fn tool(&mut self, index: usize, tool: &Tool, list: &mut List<'_>) {
        match tool {
            Tool::Function { name, description, parameters, strict, cache } => {
                list.map(|map| {
                    map.str("type", "function");
                    self.own_name(name, map);
                    if let Some(description) = description {
                        map.str("description", description);
                    }
                    match parameters {
                        Some(parameters) => map.raw("parameters", parameters),
                        None if self.native => {}
                        None => map.literal("parameters", r#"{"type":"object","properties":{}}"#),
                    }
                    match strict {
                        Some(strict) => map.bool("strict", *strict),
                        // Absent means yes here, and no elsewhere.
                        None if !self.native => map.bool("strict", false),
                        None => {}
                    }
                    self.rest(index, map);
                });
                if cache.is_some() {
                    self.notices.changed(format!("tools[{index}].cache_control"), AUTOMATIC_CACHE);
                }
            }
            Tool::Custom { name, description, format } => list.map(|map| {
                map.str("type", "custom");
                self.own_name(name, map);
                if let Some(description) = description {
                    map.str("description", description);
                }
                if let Some(format) = format {
                    match flat_grammar(format) {
                        Some(flat) if !self.native => map.raw("format", &flat),
                        _ => map.raw("format", format),
                    }
                }
                self.rest(index, map);
            }),
            Tool::Server { dialect: Dialect::OpenaiResponses, json, .. } => list.literal(json.get()),
            Tool::Server { dialect: Dialect::OpenaiChat, kind, json } if is_search(kind) => {
                list.literal(json.get())
            }
            Tool::Server { kind, .. } if is_search(kind) => {
                self.notices.changed(format!("tools[{index}]"), "sent as the target's own `web_search`");
                if self.request.web_search.is_none() {
                    self.search(&WebSearch::default(), list);
                }
            }
            Tool::Server { kind, .. } => {
                let why = format!("the target has no server tool `{kind}`");
                self.notices.dropped(format!("tools[{index}]"), why);
            }
        }
    }

    /// Inside a namespace tools go by their own name.
    fn own_name(&mut self, full: &str, map: &mut Map<'_>) {
        let name = if self.native { state::split_name(full).1 } else { full };
        map.str("name", &names::tool_name(name, &mut self.restore.tool_names));
    }

    /// Members of the tool that only this dialect knows.
    fn rest(&self, index: usize, map: &mut Map<'_>) {
        let empty = IndexMap::new();
        let fields = self.request.extras.for_dialect(Dialect::OpenaiResponses).unwrap_or(&empty);
        let prefix = format!("tools[{index}].");
        for (path, value) in fields {
            if let Some(key) = path.strip_prefix(&prefix) {
                map.raw(key, value);
            }
        }
    }

    fn search(&mut self, search: &WebSearch, list: &mut List<'_>) {
        if self.target.capabilities.web_search.no() {
            web_search::lost(self.request, "the model cannot search the web", self.notices);
            return;
        }
        list.map(|map| {
            map.str("type", "web_search");
            if let Some(size) = &search.context_size {
                map.str("search_context_size", size);
            }
            if !search.allowed_domains.is_empty() {
                map.map("filters", |map| {
                    map.list("allowed_domains", |list| {
                        search.allowed_domains.iter().for_each(|domain| list.str(domain));
                    });
                });
            }
            if let Some(Value::Object(location)) = search.location.as_ref().map(RawJson::to_value) {
                map.map("user_location", |map| {
                    map.str("type", "approximate");
                    for (key, value) in
                        location.iter().filter(|(key, value)| *key != "type" && !value.is_null())
                    {
                        map.literal(key, &value.to_string());
                    }
                });
            }
        });
        if search.max_uses.is_some() {
            self.notices.changed("web_search_options.max_uses", "the target chooses how often to search");
        }
        if !search.blocked_domains.is_empty() {
            self.notices.dropped("web_search_options", "the target excludes no domains");
        }
    }

    fn choice(&mut self, choice: &ToolChoice, map: &mut Map<'_>) {
        match choice {
            ToolChoice::Auto => map.str("tool_choice", "auto"),
            ToolChoice::None => map.str("tool_choice", "none"),
            ToolChoice::Required => map.str("tool_choice", "required"),
            ToolChoice::Named(name) => map.map("tool_choice", |map| self.reference(name, map)),
            ToolChoice::Allowed { names, required } => map.map("tool_choice", |map| {
                map.str("type", "allowed_tools");
                map.str("mode", if *required { "required" } else { "auto" });
                map.list("tools", |list| {
                    names.iter().for_each(|name| list.map(|map| self.reference(name, map)))
                });
            }),
        }
    }

    fn reference(&mut self, name: &str, map: &mut Map<'_>) {
        let found = self.request.tools.iter().find(|tool| tool.name() == name);
        match found {
            None if is_search(name) => {
                let kind = self.request.tools.iter().map(Tool::name).find(|kind| is_search(kind));
                map.str("type", kind.unwrap_or("web_search"));
            }
            Some(Tool::Server { kind, .. }) => map.str("type", kind),
            _ => {
                let custom = matches!(found, Some(Tool::Custom { .. }));
                map.str("type", if custom { "custom" } else { "function" });
                tool_name(name, self.native, self.restore, map);
            }
        }
    }
}

/// Chat Completions nests a grammar one level deeper.
fn flat_grammar(format: &RawJson) -> Option<RawJson> {
    let value = format.to_value();
    let grammar = value.get("grammar")?.as_object()?;
    let mut flat = serde_json::Map::new();
    flat.insert("type".to_owned(), "grammar".into());
    flat.extend(grammar.iter().map(|(key, value)| (key.clone(), value.clone())));
    Some(RawJson::from(Value::Object(flat)))
}
