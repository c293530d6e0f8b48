//! Answers in JSON.
//!
//! A schema goes into `output_config.format` where the model enforces schemas (or nothing is known of it).
//! Elsewhere the answer is the input of a tool the model is made to call; the decoder unwraps it. `json_object`
//! has no native form: a tool with an open schema guarantees JSON, unless the caller has tools of its own or the
//! model cannot be forced, when an instruction has to do.

use std::borrow::Cow;

use serde_json::json;
use tollway_model::{Capabilities, Notices, OutputFormat, RawJson, Request};

use super::blocks_out::{Choice, Format, ToolBlock};
use super::names::Rewriter;
use super::schema;
use super::tools::{Tools, function, object_schema};

const TOOL: &str = "json_tool_call";
const INSTRUCTION: &str =
    "Answer with one JSON object and nothing else: no code fence, no words before or after it.";

/// How the answer is made JSON.
#[derive(Debug, Default)]
pub(super) struct Structured<'a> {
    pub(super) format: Option<Format<'a>>,
    /// The tool whose input is the answer.
    pub(super) tool: Option<String>,
    /// Words to add to the system prompt.
    pub(super) instruction: Option<Cow<'static, str>>,
}

/// Plans the answer's form and adds the tool it may need.
pub(super) fn plan<'a>(
    request: &'a Request,
    capabilities: &Capabilities,
    is_ours: bool,
    thinks: bool,
    names: &mut Rewriter<'a>,
    tools: &mut Tools<'a>,
    notices: &mut Notices,
) -> Structured<'a> {
    let can_force = !thinks && !capabilities.forced_tool_use.no();
    match &request.output {
        None | Some(OutputFormat::Text) => Structured::default(),
        Some(OutputFormat::JsonObject) => {
            if can_force && tools.list.is_empty() {
                let schema = RawJson::from(
                    json!({ "type": "object", "properties": {}, "additionalProperties": true }),
                );
                let text =
                    "Gives the answer: its members are the members of the JSON object that was asked for.";
                return Structured {
                    tool: Some(add_tool(schema, text, can_force, names, tools)),
                    ..Structured::default()
                };
            }
            Structured { instruction: Some(Cow::Borrowed(INSTRUCTION)), ..Structured::default() }
        }
        Some(OutputFormat::JsonSchema { schema, description, .. }) => {
            if !capabilities.native_structured_output.no() {
                if is_ours {
                    return native(Cow::Borrowed(schema));
                }
                if let Some(enforceable) = schema::enforceable(&schema.to_value()) {
                    if !enforceable.changed.is_empty() {
                        let message = format!("not enforced: {}", enforceable.changed.join(", "));
                        notices.changed("response_format", message);
                    }
                    return native(Cow::Owned(RawJson::from(enforceable.schema)));
                }
                notices
                    .changed("response_format", "a schema that refers to itself is given to a tool instead");
            }
            by_tool(schema, description.as_deref(), can_force, names, tools, notices)
        }
    }
}

fn native(schema: Cow<'_, RawJson>) -> Structured<'_> {
    Structured { format: Some(Format { kind: "json_schema", schema }), ..Structured::default() }
}

fn by_tool<'a>(
    schema: &'a RawJson,
    description: Option<&str>,
    can_force: bool,
    names: &mut Rewriter<'a>,
    tools: &mut Tools<'a>,
    notices: &mut Notices,
) -> Structured<'a> {
    let kind = schema.to_value().get("type").cloned();
    if kind.is_some_and(|kind| kind != "object") {
        // A tool's input is always an object.
        notices.changed("response_format", "only objects can be enforced on this model: asked for in words");
        let words =
            format!("Answer with JSON of this schema and nothing else, no code fence: {}", schema.get());
        return Structured { instruction: Some(Cow::Owned(words)), ..Structured::default() };
    }
    let text = match description {
        Some(text) => format!("Gives the answer in the form that was asked for: {text}"),
        None => "Gives the answer in the form that was asked for.".to_owned(),
    };
    let schema = object_schema(Some(schema)).into_owned();
    let tool = add_tool(schema, &text, can_force, names, tools);
    let instruction = (!can_force).then(|| {
        notices.changed("response_format", "the model cannot be forced to use a tool: asked to in words");
        Cow::Owned(format!("Give the final answer by calling the tool `{tool}`, never as text."))
    });
    Structured { tool: Some(tool), instruction, ..Structured::default() }
}

/// Adds the answer's tool and makes the model call it, or one of the caller's tools.
fn add_tool<'a>(
    schema: RawJson,
    description: &str,
    can_force: bool,
    names: &mut Rewriter<'a>,
    tools: &mut Tools<'a>,
) -> String {
    let name = names.free(TOOL, TOOL);
    let has_others = !tools.list.is_empty();
    tools.list.push(ToolBlock::Function(function(
        name.clone(),
        Some(Cow::Owned(description.to_owned())),
        schema,
    )));
    let disable_parallel_tool_use = Some(true);
    tools.choice = match &tools.choice {
        _ if !can_force => Some(Choice::Auto { disable_parallel_tool_use: None }),
        Some(choice @ Choice::Tool { .. }) => Some(choice.clone()),
        Some(Choice::None) => Some(Choice::Tool { name: name.clone(), disable_parallel_tool_use }),
        _ if has_others => Some(Choice::Any { disable_parallel_tool_use: parallel(&tools.choice) }),
        _ => Some(Choice::Tool { name: name.clone(), disable_parallel_tool_use }),
    };
    name
}

/// The caller's own wish about parallel calls.
fn parallel(choice: &Option<Choice>) -> Option<bool> {
    match choice {
        Some(
            Choice::Auto { disable_parallel_tool_use }
            | Choice::Any { disable_parallel_tool_use }
            | Choice::Tool { disable_parallel_tool_use, .. },
        ) => *disable_parallel_tool_use,
        Some(Choice::None) | None => None,
    }
}
