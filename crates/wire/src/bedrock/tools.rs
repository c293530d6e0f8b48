//! Tools, the choice among them, and answers in JSON.
//!
//! A schema for the answer goes into `outputConfig` where the model is known to enforce schemas. Elsewhere the answer
//! is the input of a tool the model is made to call; the decoder unwraps it.

use std::borrow::Cow;

use serde_json::{Value, json};
use tollway_model::{
    Capabilities, Dialect, Notices, OutputFormat, RawJson, Request, Tool as Wanted, ToolChoice,
};

use super::conversation::{cache_point, caches};
use super::family::Family;
use super::shape::{Choice, InputSchema, OutputConfig, Structure, TextFormat, Tool, ToolConfig, ToolSpec};
use crate::anthropic::names::Rewriter;
use crate::anthropic::schema::enforceable;
use crate::anthropic::tools::object_schema;
use crate::server_tools;
use crate::web_search::{self, is_search};

const ANSWER: &str = "json_tool_call";
const ONLY_JSON: &str =
    "Answer with one JSON object and nothing else: no code fence, no words before or after it.";

/// What the tools and the answer's form become.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) config: ToolConfig<'a>,
    /// Tools of Claude that this API has no place for; they go among the model's own fields.
    pub(super) native: Vec<Value>,
    pub(super) output: Option<OutputConfig<'a>>,
    /// The tool whose input is the answer.
    pub(super) json_tool: Option<String>,
    /// Words to add to the system prompt.
    pub(super) instruction: Option<Cow<'static, str>>,
    /// Cache points among the tools.
    pub(super) cache_points: usize,
}

/// What writing tools needs to know.
pub(super) struct Writer<'a, 'w> {
    pub(super) request: &'a Request,
    pub(super) family: Family,
    pub(super) capabilities: &'w Capabilities,
    pub(super) names: &'w mut Rewriter<'a>,
    pub(super) notices: &'w mut Notices,
    /// Earlier turns hold tool calls or results.
    pub(super) has_history: bool,
    /// The model was asked to think, whether or not it will.
    pub(super) thinks: bool,
}

impl<'a> Writer<'a, '_> {
    pub(super) fn tools(mut self) -> Tools<'a> {
        let mut tools = Tools::default();
        // The API cannot say "none of them": they are not shown to the model.
        let none = self.request.tool_choice == Some(ToolChoice::None);
        if none && !self.request.tools.is_empty() {
            self.notices.changed("tool_choice", "`none` cannot be said here: the tools are not sent");
        }
        for (index, tool) in self.request.tools.iter().enumerate().filter(|_| !none) {
            if self.is_allowed(tool) {
                self.tool(tool, index, &mut tools);
            }
        }
        self.search(&mut tools);
        tools.config.tool_choice = self.choice(&tools);
        self.answer(&mut tools);
        if tools.config.tools.is_empty() && self.has_history {
            let empty = RawJson::from(json!({ "type": "object", "properties": {} }));
            let words = "Placeholder. Never call it.";
            tools.config.tools.push(spec("no_tool".to_owned(), Some(words.into()), Cow::Owned(empty)));
            if !none {
                self.notices.changed(
                    "tools",
                    "earlier turns use tools and none are given: one that is never called was added",
                );
            }
        }
        tools
    }

    fn is_allowed(&self, tool: &Wanted) -> bool {
        match &self.request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|name| name == tool.name()),
            _ => true,
        }
    }

    fn tool(&mut self, tool: &'a Wanted, index: usize, tools: &mut Tools<'a>) {
        match tool {
            Wanted::Function { name, description, parameters, strict, cache } => {
                let (schema, strict) = self.schema(parameters.as_ref(), *strict, index);
                let description = description.as_deref().filter(|text| !text.trim().is_empty());
                let name = self.names.get(name).to_owned();
                let Tool::ToolSpec(mut spec) = spec(name, description.map(Cow::Borrowed), schema) else {
                    return;
                };
                spec.strict = strict;
                tools.config.tools.push(Tool::ToolSpec(spec));
                let Some(hint) = cache else { return };
                // Nova caches prompts and not tools.
                if caches(self.family, self.capabilities) && !matches!(self.family, Family::Nova { .. }) {
                    let point = cache_point(*hint, self.family, self.notices);
                    tools.config.tools.push(Tool::CachePoint(point));
                    tools.cache_points += 1;
                } else {
                    self.notices.changed("cache_control", "the model caches no tools: left out");
                }
            }
            Wanted::Custom { name, description, format } => {
                self.notices.changed(
                    format!("tools[{index}]"),
                    "tools take JSON here: sent as a function with one argument `input`",
                );
                let input = json!({
                    "type": "object",
                    "properties": { "input": { "type": "string", "description": "The whole input of the tool." } },
                    "required": ["input"],
                });
                let mut words = description.clone().unwrap_or_default();
                if let Some(format) = format {
                    words.push_str("\nThe input must have this format: ");
                    words.push_str(format.get());
                }
                let words = words.trim();
                let words = (!words.is_empty()).then(|| Cow::Owned(words.to_owned()));
                let name = self.names.get(name).to_owned();
                tools.config.tools.push(spec(name, words, Cow::Owned(RawJson::from(input))));
            }
            Wanted::Server { kind, .. } if self.request.web_search.is_some() && is_search(kind) => {}
            Wanted::Server { dialect: Dialect::Anthropic, kind, json } if self.is_client_tool(kind) => {
                tools.native.push(json.to_value());
            }
            Wanted::Server { kind, .. } => {
                let why = format!("this provider does not run `{kind}`");
                server_tools::lost(self.request, index, kind, why, self.notices);
            }
        }
    }

    /// Tools that Claude knows and the caller runs: the provider only needs to hear of them.
    fn is_client_tool(&self, kind: &str) -> bool {
        const KINDS: [&str; 4] = ["computer_", "bash_", "text_editor_", "memory_"];
        self.family.may_be_claude() && KINDS.iter().any(|prefix| kind.starts_with(prefix))
    }

    /// The arguments' schema, and whether the provider is to enforce it.
    fn schema(
        &mut self,
        parameters: Option<&'a RawJson>,
        strict: Option<bool>,
        index: usize,
    ) -> (Cow<'a, RawJson>, Option<bool>) {
        let schema = object_schema(parameters);
        if strict != Some(true) {
            return (schema, None);
        }
        let field = || format!("tools[{index}].function.strict");
        if !self.capabilities.native_structured_output.yes() {
            self.notices.changed(field(), "the model is not known to enforce schemas: left out");
            return (schema, None);
        }
        let Some(enforced) = enforceable(&schema.to_value()) else {
            self.notices.changed(field(), "a schema that refers to itself cannot be enforced: left out");
            return (schema, None);
        };
        if !enforced.changed.is_empty() {
            let message = format!("not enforced: {}", enforced.changed.join(", "));
            self.notices.changed(format!("tools[{index}].function.parameters"), message);
        }
        (Cow::Owned(RawJson::from(enforced.schema)), Some(true))
    }

    /// Nova searches by a tool of its own; no other model searches here.
    fn search(&mut self, tools: &mut Tools<'a>) {
        if self.request.web_search.is_none() {
            return;
        }
        if matches!(self.family, Family::Nova { .. }) && !self.capabilities.web_search.no() {
            tools.config.tools.push(Tool::Hosted { name: "nova_grounding" });
        } else {
            web_search::lost(self.request, "the model cannot search the web", self.notices);
        }
    }

    fn choice(&mut self, tools: &Tools<'a>) -> Option<Choice> {
        if matches!(self.request.tool_choice, Some(ToolChoice::Allowed { .. })) {
            self.notices.changed("tool_choice", "only the allowed tools are sent");
        }
        if web_search::is_demanded(self.request) {
            self.notices.changed("tool_choice", "no model can be made to search here: left out");
            return None;
        }
        let choice = match self.request.tool_choice.as_ref()? {
            ToolChoice::Auto | ToolChoice::None | ToolChoice::Allowed { required: false, .. } => return None,
            ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => Choice::Any {},
            ToolChoice::Named(name) => Choice::Tool { name: self.names.get(name).to_owned() },
        };
        if tools.config.tools.is_empty() {
            self.notices.changed("tool_choice", "there are no tools to choose from: left out");
            return None;
        }
        if let Some(why) = self.cannot_force() {
            self.notices
                .changed("tool_choice", format!("{why} cannot be forced to use a tool: sent as `auto`"));
            return None;
        }
        if self.family == Family::Mistral && matches!(choice, Choice::Tool { .. }) {
            self.notices
                .changed("tool_choice", "the model can be forced to use some tool, not which: sent as `any`");
            return Some(Choice::Any {});
        }
        Some(choice)
    }

    /// Who it is that cannot be forced to use a tool.
    fn cannot_force(&self) -> Option<&'static str> {
        let takes_choice =
            matches!(self.family, Family::Claude(_) | Family::Nova { .. } | Family::Mistral | Family::Hidden);
        if self.thinks && self.family.may_be_claude() {
            Some("a thinking model")
        } else if self.capabilities.forced_tool_use.no()
            || !(takes_choice || self.capabilities.forced_tool_use.yes())
        {
            Some("this model")
        } else {
            None
        }
    }

    /// Makes the answer JSON.
    fn answer(&mut self, tools: &mut Tools<'a>) {
        match &self.request.output {
            None | Some(OutputFormat::Text) => {}
            Some(OutputFormat::JsonObject) => {
                if self.cannot_force().is_none() && tools.config.tools.is_empty() && !self.has_history {
                    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": true });
                    let words = "Gives the answer: its members are the members of the JSON object that was asked for.";
                    self.add_answer(RawJson::from(schema), words.to_owned(), tools);
                } else {
                    tools.instruction = Some(Cow::Borrowed(ONLY_JSON));
                }
            }
            Some(OutputFormat::JsonSchema { schema, name, description, .. }) => {
                if self.capabilities.native_structured_output.yes() {
                    if let Some(enforced) = enforceable(&schema.to_value()) {
                        if !enforced.changed.is_empty() {
                            let message = format!("not enforced: {}", enforced.changed.join(", "));
                            self.notices.changed("response_format", message);
                        }
                        let structure = Structure::JsonSchema {
                            schema: enforced.schema.to_string(),
                            name: name.as_deref(),
                            description: description.as_deref(),
                        };
                        let text_format = TextFormat { kind: "json_schema", structure };
                        tools.output = Some(OutputConfig { text_format });
                        return;
                    }
                    self.notices.changed(
                        "response_format",
                        "a schema that refers to itself is given to a tool instead",
                    );
                }
                self.answer_by_tool(schema, description.as_deref(), tools);
            }
        }
    }

    fn answer_by_tool(&mut self, schema: &'a RawJson, description: Option<&str>, tools: &mut Tools<'a>) {
        let kind = schema.to_value().get("type").cloned();
        if kind.is_some_and(|kind| kind != "object") || self.capabilities.tools.no() {
            // A tool's input is always an object.
            let message = "only objects can be enforced on this model, by a tool: asked for in words";
            self.notices.changed("response_format", message);
            let words =
                format!("Answer with JSON of this schema and nothing else, no code fence: {}", schema.get());
            tools.instruction = Some(Cow::Owned(words));
            return;
        }
        let mut words = "Gives the answer in the form that was asked for".to_owned();
        words.push_str(&description.map_or(".".to_owned(), |text| format!(": {text}")));
        let forced = self.cannot_force().is_none();
        let name = self.add_answer(object_schema(Some(schema)).into_owned(), words, tools);
        if !forced {
            self.notices
                .changed("response_format", "the model cannot be forced to use a tool: asked to in words");
            let words = format!("Give the final answer by calling the tool `{name}`, never as text.");
            tools.instruction = Some(Cow::Owned(words));
        }
    }

    /// Adds the answer's tool and makes the model call it, or one of the caller's tools.
    fn add_answer(&mut self, schema: RawJson, description: String, tools: &mut Tools<'a>) -> String {
        let name = self.names.free(ANSWER, ANSWER);
        let has_others = !tools.config.tools.is_empty();
        tools.config.tools.push(spec(name.clone(), Some(Cow::Owned(description)), Cow::Owned(schema)));
        if self.cannot_force().is_none() {
            tools.config.tool_choice = match tools.config.tool_choice.take() {
                Some(choice @ Choice::Tool { .. }) => Some(choice),
                _ if has_others || self.family == Family::Mistral => Some(Choice::Any {}),
                _ => Some(Choice::Tool { name: name.clone() }),
            };
        }
        tools.json_tool = Some(name.clone());
        name
    }
}

fn spec<'a>(name: String, description: Option<Cow<'a, str>>, schema: Cow<'a, RawJson>) -> Tool<'a> {
    Tool::ToolSpec(ToolSpec { name, description, input_schema: InputSchema { json: schema }, strict: None })
}
