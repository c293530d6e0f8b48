//! Tools that the client runs and only this dialect has words for: its shells, its patches, its search for more tools.
//!
//! For providers of other dialects they become functions, and what was said about them calls and results. The model's
//! calls come back under a name with an empty namespace, which [`item`] writes as items of the tool's own type.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use tollway_model::{
    Content, Dialect, Extras, Message, Notices, Part, RawJson, Request, Result, Role, Tool, ToolCall,
    ToolChoice, ToolKind, ToolResult,
};

use super::{state, tools_in};
use crate::openai_chat::read::{self, Path};
use crate::{Encoded, carry};

const LOCAL_SHELL: &str = "local_shell";
const SHELL: &str = "shell";
const APPLY_PATCH: &str = "apply_patch";
const TOOL_SEARCH: &str = "tool_search";
const KINDS: [&str; 4] = [LOCAL_SHELL, SHELL, APPLY_PATCH, TOOL_SEARCH];

/// Tools that the client adds in the middle of a conversation.
const MORE_TOOLS: &str = "additional_tools";

/// Writes a request for a provider of another dialect, with these tools as functions.
pub(crate) fn bridged(
    request: &Request,
    notices: &mut Notices,
    write: impl FnOnce(&Request, &mut Notices) -> Result<Encoded>,
) -> Result<Encoded> {
    if !has_any(request) {
        return write(request, notices);
    }
    let (request, names) = Bridge::new(request).build(request, notices);
    let mut encoded = write(&request, notices)?;
    encoded.restore.tool_names.extend(names);
    Ok(encoded)
}

/// The same request for a provider that only counts its tokens.
pub(crate) fn counted(request: &Request) -> Cow<'_, Request> {
    if !has_any(request) {
        return Cow::Borrowed(request);
    }
    Cow::Owned(Bridge::new(request).build(request, &mut Notices::new()).0)
}

fn has_any(request: &Request) -> bool {
    let tool = |tool: &Tool| client_kind(tool).is_some();
    let part =
        |part: &Part| matches!(&part.content, Content::Native { dialect: Dialect::OpenaiResponses, .. });
    request.extras.dialect == Some(Dialect::OpenaiResponses)
        && (request.tools.iter().any(tool)
            || request.messages.iter().any(|message| message.parts.iter().any(part)))
}

/// Which of the tools that clients run this is.
fn client_kind(tool: &Tool) -> Option<&'static str> {
    let Tool::Server { dialect: Dialect::OpenaiResponses, kind, json } = tool else { return None };
    let kind = KINDS.into_iter().find(|known| known == kind)?;
    let tool = json.to_value();
    let runs = match kind {
        // In a container, the provider runs it.
        SHELL => match tool.get("environment") {
            None | Some(Value::Null) => true,
            Some(environment) => environment.get("type") == Some(&json!("local")),
        },
        TOOL_SEARCH => tool.get("execution") == Some(&json!("client")),
        _ => true,
    };
    runs.then_some(kind)
}

/// What such a tool says of itself as a function.
fn described(kind: &str) -> (&'static str, Value) {
    let text = |what: &str| json!({"type": "string", "description": what});
    let number = |what: &str| json!({"type": "integer", "description": what});
    let (words, properties, required) = match kind {
        LOCAL_SHELL => (
            "Runs a program on the user's computer and returns what it printed.",
            json!({
                "command": {"type": "array", "items": {"type": "string"},
                    "description": "The program and its arguments, such as [\"bash\", \"-lc\", \"ls\"]."},
                "working_directory": text("Where to run it."),
                "timeout_ms": number("Stop it after so many milliseconds."),
                "env": {"type": "object", "additionalProperties": {"type": "string"},
                    "description": "Environment variables to set."},
            }),
            json!(["command"]),
        ),
        SHELL => (
            "Runs shell commands on the user's computer and returns what they printed and how they ended.",
            json!({
                "commands": {"type": "array", "items": {"type": "string"}, "description": "The commands, in order."},
                "timeout_ms": number("Stop after so many milliseconds."),
                "max_output_length": number("Return at most so many characters."),
            }),
            json!(["commands"]),
        ),
        APPLY_PATCH => (
            "Creates, changes or deletes one file in the user's workspace.",
            json!({
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": text("The file, relative to the workspace."),
                "diff": text(
                    "Absent for delete_file. For create_file the whole file, each line begun by `+`. For update_file \
                     one or more hunks: a line `@@`, optionally with the function or class the place is in, then \
                     lines begun by a space (kept, about three around each change), `-` (removed) or `+` (added).",
                ),
            }),
            json!(["type", "path"]),
        ),
        _ => (
            "Searches for more tools, which can be called once they are found.",
            json!({"query": text("What the tool should do."), "limit": number("Find at most so many.")}),
            json!(["query"]),
        ),
    };
    (words, json!({"type": "object", "properties": properties, "required": required}))
}

/// What replaces the tools of a request.
struct Bridge {
    /// The kind → the name that the provider sees.
    names: HashMap<&'static str, String>,
    /// The kinds that the model knows: offered now, or called earlier.
    known: HashSet<&'static str>,
    /// The calls' item ids, by which some outputs refer to them.
    calls: HashMap<String, String>,
    found: Vec<Tool>,
}

impl Bridge {
    fn new(request: &Request) -> Bridge {
        let taken = |name: &str| {
            request.tools.iter().any(|tool| !matches!(tool, Tool::Server { .. }) && tool.name() == name)
        };
        let names = KINDS.into_iter().map(|kind| {
            let mut name = kind.to_owned();
            while taken(&name) {
                name.push_str("_tool");
            }
            (kind, name)
        });
        let known = request.tools.iter().filter_map(client_kind).collect();
        Bridge { names: names.collect(), known, calls: HashMap::new(), found: Vec::new() }
    }

    fn name(&self, kind: &str) -> &str {
        self.names.get(kind).map_or("", String::as_str)
    }

    /// The request, and what the names in it stand for.
    fn build(mut self, request: &Request, notices: &mut Notices) -> (Request, Vec<(String, String)>) {
        let mut request = request.clone();
        let messages = std::mem::take(&mut request.messages);
        for message in messages {
            self.message(message, &mut request.messages);
        }
        for (index, tool) in request.tools.iter_mut().enumerate() {
            let Some(kind) = client_kind(tool) else { continue };
            *tool = self.function(kind, tool);
            let why = "described to the model as a function; its calls come back as the tool's own";
            notices.changed(format!("tools[{index}]"), why);
        }
        let found: Vec<_> = self.found.iter().map(|tool| tool.name().to_owned()).collect();
        for tool in std::mem::take(&mut self.found) {
            if request.tools.iter().all(|known| known.name() != tool.name()) {
                request.tools.push(tool);
            }
        }
        let chosen = request.extras.fields.get("tool_choice").map(RawJson::to_value);
        let chosen = chosen.as_ref().and_then(|choice| choice.get("type")?.as_str());
        if let Some(name) = chosen.and_then(|kind| self.names.get(kind))
            && request.tools.iter().any(|tool| tool.name() == name)
        {
            request.tool_choice = Some(ToolChoice::Named(name.clone()));
            request.extras.fields.shift_remove("tool_choice");
        }
        // A function that was found meanwhile, by the same name, is called by its name.
        let own: HashSet<&str> = found.iter().map(String::as_str).collect();
        let known = self.known;
        let names = self
            .names
            .into_iter()
            .filter(|(kind, name)| known.contains(kind) && !own.contains(name.as_str()));
        let names = names.map(|(kind, name)| (name, state::of_the_client(kind))).collect();
        (request, names)
    }

    fn function(&self, kind: &str, tool: &Tool) -> Tool {
        let (words, parameters) = described(kind);
        let given = match tool {
            Tool::Server { json, .. } => json.to_value(),
            _ => Value::Null,
        };
        let words = given.get("description").and_then(Value::as_str).unwrap_or(words);
        let parameters = given.get("parameters").filter(|own| own.is_object()).unwrap_or(&parameters);
        Tool::function(self.name(kind), words, parameters.clone())
    }

    /// Items of these tools become calls and results; neighbouring results are one message, as elsewhere.
    fn message(&mut self, message: Message, messages: &mut Vec<Message>) {
        let Message { role, parts, name } = message;
        let mut kept = Message { role, parts: Vec::new(), name };
        for mut part in parts {
            let Content::Native { dialect: Dialect::OpenaiResponses, json } = &part.content else {
                kept.parts.push(part);
                continue;
            };
            match self.content(&json.to_value()) {
                Some(Content::ToolResult(result)) => {
                    let result = Part::new(Content::ToolResult(result));
                    match messages.last_mut() {
                        Some(last) if last.role == Role::Tool && kept.parts.is_empty() => {
                            last.parts.push(result);
                        }
                        _ => messages.push(Message::new(Role::Tool, vec![result])),
                    }
                    continue;
                }
                Some(content) => part.content = content,
                None if is_about_tools(&json.to_value()) => continue,
                None => {}
            }
            kept.parts.push(part);
        }
        match messages.last_mut() {
            _ if kept.parts.is_empty() => {}
            Some(last) if kept.role == Role::Tool && last.role == Role::Tool => last.parts.extend(kept.parts),
            _ => messages.push(kept),
        }
    }

    /// What an item says, when it is about one of these tools.
    fn content(&mut self, item: &Value) -> Option<Content> {
        let kind = item.get("type")?.as_str()?;
        if let Some(tool) = kind.strip_suffix("_call_output").and_then(known) {
            return self.result(tool, item).map(Content::ToolResult);
        }
        if let Some(tool) = kind.strip_suffix("_call").and_then(known) {
            return self.call(tool, item).map(Content::ToolCall);
        }
        match kind {
            "tool_search_output" => {
                let found = self.add_tools(item);
                is_by_client(item).then(|| self.found(item, &found)).flatten().map(Content::ToolResult)
            }
            MORE_TOOLS => {
                self.add_tools(item);
                None
            }
            _ => None,
        }
    }

    fn call(&mut self, kind: &'static str, item: &Value) -> Option<ToolCall> {
        if kind == TOOL_SEARCH && !is_by_client(item) {
            return None;
        }
        self.known.insert(kind);
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let id = text("call_id").or_else(|| text("id"))?;
        if let Some(item_id) = text("id") {
            self.calls.insert(item_id.to_owned(), id.to_owned());
        }
        let mut arguments = match kind {
            LOCAL_SHELL | SHELL => item.get("action"),
            APPLY_PATCH => item.get("operation"),
            _ => item.get("arguments"),
        }
        .cloned()
        .unwrap_or_else(|| json!({}));
        if let (LOCAL_SHELL | SHELL, Value::Object(action)) = (kind, &mut arguments) {
            action.shift_remove("type");
            // What the item says although the model did not: its call goes back as it came.
            action.retain(|_, value| !value.is_null() && value != &json!({}));
        }
        let arguments = match arguments {
            Value::String(text) => text,
            value => value.to_string(),
        };
        let (id, signature) = carry::unpack_id(id);
        let name = self.name(kind).to_owned();
        Some(ToolCall { id: id.to_owned(), name, arguments, kind: ToolKind::Function, signature })
    }

    fn result(&self, kind: &str, item: &Value) -> Option<ToolResult> {
        let output = match item.get("output") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => item.get("status").and_then(Value::as_str)?.to_owned(),
            Some(parts) => parts.to_string(),
        };
        let failed = item.get("status").is_some_and(|status| status == "failed");
        let is_error = (kind == APPLY_PATCH).then_some(failed).filter(|failed| *failed);
        Some(self.answer(item, output, is_error))
    }

    fn found(&self, item: &Value, found: &[String]) -> Option<ToolResult> {
        item.get("call_id").and_then(Value::as_str)?;
        let text = match found {
            [] => "no tools were found".to_owned(),
            found => format!("these tools can be called now: {}", found.join(", ")),
        };
        Some(self.answer(item, text, None))
    }

    fn answer(&self, item: &Value, text: String, is_error: Option<bool>) -> ToolResult {
        let id = ["call_id", "id"].into_iter().find_map(|key| item.get(key)?.as_str()).unwrap_or_default();
        let id = self.calls.get(id).map_or(id, String::as_str);
        let call_id = carry::unpack_id(id).0.to_owned();
        ToolResult { call_id, name: None, parts: vec![Part::text(text)], is_error }
    }

    /// Tools that can be called from here on; their names.
    fn add_tools(&mut self, item: &Value) -> Vec<String> {
        let mut read = Request::default();
        let mut extras = Extras::default();
        let list = RawJson::from(item.get("tools").cloned().unwrap_or_default());
        let parsed = serde_json::from_str(list.get()).ok().and_then(read::list).unwrap_or_default();
        for raw in parsed {
            // What cannot be read cannot be called; the conversation goes on without it.
            let _ = tools_in::tool(raw, &Path::Root, &mut read, &mut extras, &mut Map::new());
        }
        read.tools.retain(|tool| !matches!(tool, Tool::Server { .. }));
        let names = read.tools.iter().map(|tool| tool.name().to_owned()).collect();
        self.found.extend(read.tools);
        names
    }
}

fn known(kind: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|known| *known == kind)
}

/// Items that say nothing once the tools they bring are offered.
fn is_about_tools(item: &Value) -> bool {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or_default();
    matches!(kind, MORE_TOOLS | "tool_search_call" | "tool_search_output")
}

/// Did the client search, rather than the provider?
fn is_by_client(item: &Value) -> bool {
    match item.get("execution").and_then(Value::as_str) {
        Some(who) => who == "client",
        None => item.get("call_id").is_some_and(Value::is_string),
    }
}

/// The members of a call's item that hold what is asked.
///
/// `None` where the model's arguments are not what the tool takes.
pub(super) fn item(kind: &str, arguments: &str) -> Option<Vec<(&'static str, Value)>> {
    let Ok(Value::Object(mut asked)) = serde_json::from_str(arguments) else { return None };
    match kind {
        LOCAL_SHELL => {
            let command =
                words(asked.shift_remove("command")?, |line| vec!["bash".into(), "-lc".into(), line])?;
            let mut action = Map::new();
            action.insert("type".into(), "exec".into());
            action.insert("command".into(), command);
            let env = asked.shift_remove("env").filter(Value::is_object).unwrap_or_else(|| json!({}));
            action.insert("env".into(), env);
            keep(&mut action, &mut asked, &["timeout_ms", "user", "working_directory"]);
            Some(vec![("action", action.into())])
        }
        SHELL => {
            let commands = asked.shift_remove("commands").or_else(|| asked.shift_remove("command"))?;
            let mut action = Map::new();
            action.insert("commands".into(), words(commands, |line| vec![line])?);
            for key in ["timeout_ms", "max_output_length"] {
                action.insert(key.into(), asked.shift_remove(key).unwrap_or_default());
            }
            Some(vec![("action", action.into()), ("environment", json!({"type": "local"}))])
        }
        APPLY_PATCH => {
            let operation = match asked.shift_remove("operation") {
                Some(Value::Object(inner)) => inner,
                _ => asked,
            };
            let known = matches!(
                operation.get("type").and_then(Value::as_str),
                Some("create_file" | "update_file" | "delete_file")
            );
            (known && operation.get("path").is_some_and(Value::is_string))
                .then(|| vec![("operation", operation.into())])
        }
        TOOL_SEARCH => Some(vec![("execution", "client".into()), ("arguments", asked.into())]),
        _ => None,
    }
}

/// A list of strings; models also write one string.
fn words(value: Value, of_line: impl FnOnce(Value) -> Vec<Value>) -> Option<Value> {
    match value {
        Value::String(_) => Some(of_line(value).into()),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => Some(items.into()),
        _ => None,
    }
}

fn keep(into: &mut Map<String, Value>, from: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.shift_remove(*key).filter(|value| !value.is_null()) {
            into.insert((*key).to_owned(), value);
        }
    }
}
