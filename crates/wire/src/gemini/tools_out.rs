//! Tools for a provider: function declarations, hosted tools, and which of them to use.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Value, json};
use tollway_model::{Dialect, Notices, RawJson, Request, Tool, ToolChoice, WebSearch};

use super::family::Family;
use super::names::Names;
use super::schema;
use crate::server_tools;
use crate::web_search::{self, is_search};

/// `tools` and `toolConfig`.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) tools: Vec<ToolOut<'a>>,
    pub(super) config: IndexMap<String, Value>,
    /// Functions are among them.
    pub(super) functions: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ToolOut<'a> {
    Functions {
        #[serde(rename = "functionDeclarations")]
        declarations: Vec<Declaration<'a>>,
    },
    Native(&'a RawJson),
    Search(Value),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Declaration<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Cow<'a, RawJson>>,
}

/// Writes the tools of `request`.
pub(super) fn write<'a>(
    request: &'a Request,
    family: Family,
    names: &mut Names,
    notices: &mut Notices,
) -> Tools<'a> {
    let native = request.extras.dialect == Some(Dialect::Gemini);
    let mut declarations = Vec::new();
    let mut hosted = Vec::new();
    for (index, tool) in request.tools.iter().enumerate() {
        match tool {
            Tool::Function { name, description, parameters, strict, .. } => {
                if *strict == Some(true) {
                    notices
                        .changed(format!("tools[{index}].function.strict"), "Gemini has no strict functions");
                }
                let mut declaration = Declaration {
                    name: names.sent(name),
                    description: description.as_deref(),
                    parameters: None,
                    parameters_json_schema: None,
                };
                set_parameters(
                    &mut declaration,
                    parameters.as_ref().map(Cow::Borrowed),
                    family,
                    index,
                    notices,
                );
                declarations.push(declaration);
            }
            Tool::Server { dialect: Dialect::Gemini, json, .. } => hosted.push(ToolOut::Native(json)),
            // Asked for below, in Gemini's own way.
            Tool::Server { kind, .. } if request.web_search.is_some() && is_search(kind) => {}
            Tool::Server { kind, .. } => {
                server_tools::lost(request, index, kind, format!("Gemini has no tool {kind:?}"), notices);
            }
            Tool::Custom { name, description, format } => {
                let field = format!("tools[{index}]");
                if format
                    .as_ref()
                    .is_some_and(|format| format.to_value().get("type") == Some(&json!("grammar")))
                {
                    notices.changed(field, "sent as a function of one text argument, without its grammar");
                } else {
                    notices.changed(field, "sent as a function of one text argument");
                }
                let mut declaration = Declaration {
                    name: names.sent(name),
                    description: description.as_deref(),
                    parameters: None,
                    parameters_json_schema: None,
                };
                set_parameters(&mut declaration, Some(Cow::Owned(text_input())), family, index, notices);
                declarations.push(declaration);
            }
        }
    }
    if let Some(search) = &request.web_search {
        hosted.push(ToolOut::Search(web_search(search, family, notices)));
    }
    let mut out = Tools { functions: !declarations.is_empty(), ..Tools::default() };
    if out.functions && !hosted.is_empty() && !native {
        mix(request, &mut out, &mut hosted, family, notices);
    }
    if out.functions {
        out.tools.push(ToolOut::Functions { declarations });
    }
    out.tools.extend(hosted);
    choose(request, &mut out, names, notices);
    out
}

/// The third generation runs its own tools beside the caller's functions when told so; older ones refuse.
fn mix(
    request: &Request,
    out: &mut Tools<'_>,
    hosted: &mut Vec<ToolOut<'_>>,
    family: Family,
    notices: &mut Notices,
) {
    if family.before((3, 0)) {
        hosted.clear();
        let why = "this model cannot search the web beside functions; left out";
        match request.tools.iter().any(|tool| matches!(tool, Tool::Server { .. })) {
            true => web_search::lost(request, why, notices),
            false => notices.changed("web_search_options", why),
        }
    } else {
        out.config.insert("includeServerSideToolInvocations".into(), json!(true));
    }
}

fn set_parameters<'a>(
    declaration: &mut Declaration<'a>,
    parameters: Option<Cow<'a, RawJson>>,
    family: Family,
    index: usize,
    notices: &mut Notices,
) {
    let Some(parameters) = parameters else { return };
    let schema = parameters.to_value();
    if takes_nothing(&schema) {
        return;
    }
    if family.json_schema() {
        declaration.parameters_json_schema = Some(parameters);
        return;
    }
    let lowered = schema::lower(&schema);
    if !lowered.lost.is_empty() {
        let message = format!("this model's schemas have no {}", lowered.lost.join(", "));
        notices.changed(format!("tools[{index}].function.parameters"), message);
    }
    declaration.parameters = Some(lowered.schema);
}

/// What a free-text tool takes: Gemini's functions take objects only.
fn text_input() -> RawJson {
    RawJson::from(
        json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}),
    )
}

/// An object without properties: Gemini refuses it, and means the same when there are no parameters.
fn takes_nothing(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let empty =
        |key: &str| object.get(key).is_none_or(|value| value.as_object().is_some_and(|all| all.is_empty()));
    let open = object.get("additionalProperties").is_some_and(|more| more.is_object() && *more != json!({}));
    let plain = |key: &String| {
        matches!(
            key.as_str(),
            "type" | "properties" | "required" | "additionalProperties" | "$schema" | "title" | "description"
        )
    };
    object.get("type").is_none_or(|kind| kind == "object")
        && empty("properties")
        && !open
        && object.keys().all(plain)
}

fn web_search(search: &WebSearch, family: Family, notices: &mut Notices) -> Value {
    if search.context_size.is_some() {
        notices.changed("web_search_options.search_context_size", "Gemini chooses how much to read");
    }
    if search.location.is_some() {
        notices.changed("web_search_options.user_location", "Gemini's search takes no location");
    }
    if search.max_uses.is_some() {
        notices.changed("web_search_options.max_uses", "Gemini chooses how often to search");
    }
    if !search.allowed_domains.is_empty() {
        notices.dropped("web_search_options.allowed_domains", "Gemini's search cannot be limited to domains");
    }
    if !search.blocked_domains.is_empty() {
        notices.dropped("web_search_options.blocked_domains", "Gemini's search cannot exclude domains");
    }
    if family.before((2, 0)) { json!({"googleSearchRetrieval": {}}) } else { json!({"googleSearch": {}}) }
}

fn choose(request: &Request, out: &mut Tools<'_>, names: &mut Names, notices: &mut Notices) {
    let Some(choice) = &request.tool_choice else { return };
    if web_search::is_demanded(request) {
        notices.changed("tool_choice", "Gemini decides itself whether it searches");
        return;
    }
    if !out.functions {
        if !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
            notices.changed("tool_choice", "there are no functions to choose from");
        }
        return;
    }
    let mut sent = |names_given: &[String]| -> Vec<String> {
        names_given.iter().map(|name| names.sent(name).into_owned()).collect()
    };
    let calling = match choice {
        ToolChoice::Auto => json!({"mode": "AUTO"}),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => {
            json!({"mode": "ANY", "allowedFunctionNames": sent(std::slice::from_ref(name))})
        }
        ToolChoice::Allowed { names, required: true } => {
            json!({"mode": "ANY", "allowedFunctionNames": sent(names)})
        }
        ToolChoice::Allowed { names, required: false } => {
            json!({"mode": "VALIDATED", "allowedFunctionNames": sent(names)})
        }
    };
    out.config.insert("functionCallingConfig".into(), calling);
}
