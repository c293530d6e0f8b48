//! Writing tools, and which of them may be used, for a provider.

use tollway_model::{Dialect, Tool, ToolChoice};

use super::encode::{AUTOMATIC_CACHE, Fields, is_native};
use super::encode_message::cache_control;
use super::names;
use super::write::{self, Map};
use crate::free_text;
use crate::server_tools;
use crate::web_search::{self, is_search, stays_inside};

const NO_STRICT: &str = "the target does not enforce schemas of tools";

impl Fields<'_, '_> {
    pub(super) fn tools(&mut self, map: &mut Map<'_>) {
        let mut body = Vec::new();
        write::list(&mut body, |list| {
            for (index, tool) in self.request.tools.iter().enumerate() {
                self.tool(index, tool, list);
            }
        });
        let any = body.len() > 2;
        if any {
            map.key("tools").extend_from_slice(&body);
        }
        if !any && !is_native(self.request) {
            // OpenAI refuses both without tools; other dialects allow them.
            return;
        }
        // There is no other way to demand a search than to offer it.
        if let Some(choice) =
            self.request.tool_choice.as_ref().filter(|_| !web_search::is_demanded(self.request))
        {
            self.tool_choice(choice, map);
        }
        if let Some(parallel) = self.request.parallel_tool_calls {
            map.bool("parallel_tool_calls", parallel);
        }
    }

    fn tool(&mut self, index: usize, tool: &Tool, list: &mut write::List<'_>) {
        match tool {
            Tool::Function { name, description, parameters, strict, cache } => list.map(|map| {
                map.str("type", "function");
                map.map("function", |map| {
                    map.str("name", &names::tool_name(name, &mut self.restore.tool_names));
                    if let Some(description) = description {
                        map.str("description", description);
                    }
                    if let Some(parameters) = parameters {
                        map.raw("parameters", parameters);
                    }
                    match strict {
                        Some(_) if self.target.quirks.no_strict => {
                            self.notices.changed(format!("tools[{index}].function.strict"), NO_STRICT);
                        }
                        Some(strict) => map.bool("strict", *strict),
                        None => {}
                    }
                });
                if let Some(hint) = cache {
                    if self.target.quirks.cache_control {
                        cache_control(*hint, map);
                    } else {
                        self.notices.changed(format!("tools[{index}].cache_control"), AUTOMATIC_CACHE);
                    }
                }
            }),
            // Hosts that only speak this dialect hardly ever take free text.
            Tool::Custom { name, description, format } if !is_native(self.request) => list.map(|map| {
                self.notices.changed(
                    format!("tools[{index}]"),
                    "tools take JSON here: sent as a function with one argument `input`",
                );
                let sent = names::tool_name(name, &mut self.restore.tool_names).into_owned();
                map.str("type", "function");
                map.map("function", |map| {
                    map.str("name", &sent);
                    if let Some(text) = free_text::description(description.as_deref(), format.as_ref()) {
                        map.str("description", &text);
                    }
                    map.literal("parameters", free_text::PARAMETERS);
                });
                self.restore.custom_tools.insert(sent);
            }),
            Tool::Custom { name, description, format } => list.map(|map| {
                map.str("type", "custom");
                map.map("custom", |map| {
                    map.str("name", &names::tool_name(name, &mut self.restore.tool_names));
                    if let Some(description) = description {
                        map.str("description", description);
                    }
                    if let Some(format) = format {
                        map.raw("format", format);
                    }
                });
            }),
            Tool::Server { dialect: Dialect::OpenaiChat, json, .. } => list.literal(json.get()),
            Tool::Server { kind, json, .. }
                if is_search(kind) && self.target.capabilities.web_search.yes() && !stays_inside(json) =>
            {
                self.notices.changed(format!("tools[{index}]"), "sent as `web_search_options`");
            }
            Tool::Server { kind, .. } => {
                let why = format!("the target has no server tool `{kind}`");
                server_tools::lost(self.request, index, kind, why, self.notices);
            }
        }
    }

    fn tool_choice(&mut self, choice: &ToolChoice, map: &mut Map<'_>) {
        let quirks = self.target.quirks;
        match choice {
            ToolChoice::Auto => map.str("tool_choice", "auto"),
            ToolChoice::None => map.str("tool_choice", "none"),
            ToolChoice::Required => {
                map.str("tool_choice", if quirks.required_as_any { "any" } else { "required" });
            }
            ToolChoice::Named(name) => map.map("tool_choice", |map| self.tool_reference(name, map)),
            ToolChoice::Allowed { names, required } => map.map("tool_choice", |map| {
                map.str("type", "allowed_tools");
                map.map("allowed_tools", |map| {
                    map.str("mode", if *required { "required" } else { "auto" });
                    map.list("tools", |list| {
                        for name in names {
                            list.map(|map| self.tool_reference(name, map));
                        }
                    });
                });
            }),
        }
    }

    fn tool_reference(&mut self, name: &str, map: &mut Map<'_>) {
        let custom = |tool: &Tool| matches!(tool, Tool::Custom { name: own, .. } if own == name);
        let free = is_native(self.request) && self.request.tools.iter().any(custom);
        let kind = if free { "custom" } else { "function" };
        map.str("type", kind);
        map.map(kind, |map| map.str("name", &names::tool_name(name, &mut self.restore.tool_names)));
    }
}
