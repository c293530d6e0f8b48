//! Tools a client declares.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollway_model::{Dialect, Error, RawJson, Request, Result, Tool, WebSearch};

use super::schema;
use super::shape::Fields;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "parameters_json_schema")]
    parameters_json_schema: Option<&'a RawValue>,
}

/// Reads `tools` into `request`.
pub(super) fn read(tools: &RawValue, request: &mut Request) -> Result<()> {
    let tools: Vec<&RawValue> = match serde_json::from_str(tools.get()) {
        Ok(tools) => tools,
        // One tool without the list around it.
        Err(_) => vec![tools],
    };
    for (index, tool) in tools.into_iter().enumerate() {
        let mut members = Fields::parse(tool.get().as_bytes(), "tools")?;
        if let Some(functions) = members.raw("functionDeclarations") {
            declarations(functions, index, &mut request.tools)?;
        }
        for (kind, json) in members.rest() {
            if json.is_null() {
                continue;
            }
            if kind == "googleSearch" && json.to_value() == serde_json::json!({}) {
                request.web_search = Some(WebSearch::default());
                continue;
            }
            let whole = serde_json::Map::from_iter([(kind.clone(), json.to_value())]);
            let json = RawJson::from(serde_json::Value::Object(whole));
            request.tools.push(Tool::Server { dialect: Dialect::Gemini, kind, json });
        }
    }
    Ok(())
}

/// `response` and `behavior` are left out: they describe the result to the model's Live API only.
fn declarations(raw: &RawValue, index: usize, tools: &mut Vec<Tool>) -> Result<()> {
    let path = format!("tools[{index}].functionDeclarations");
    let list: Vec<Declaration<'_>> = serde_json::from_str(raw.get())
        .map_err(|error| Error::invalid_at(path.clone(), format!("`{path}` cannot be read: {error}")))?;
    for declaration in list {
        let google = |raw: &RawValue| RawJson::from(schema::raise(&RawJson::from(raw).to_value()));
        let parameters = match (declaration.parameters_json_schema, declaration.parameters) {
            (Some(plain), _) => Some(RawJson::from(plain)),
            (None, Some(raw)) => Some(google(raw)),
            (None, None) => None,
        };
        tools.push(Tool::Function {
            name: declaration.name,
            description: declaration.description,
            parameters,
            strict: None,
            cache: None,
        });
    }
    Ok(())
}

/// Names of the functions among `tools`.
pub(super) fn function_names(tools: &[Tool]) -> Vec<String> {
    let name = |tool: &Tool| match tool {
        Tool::Function { name, .. } => Some(name.clone()),
        _ => None,
    };
    tools.iter().filter_map(name).collect()
}
