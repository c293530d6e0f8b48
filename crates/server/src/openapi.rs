//! The OpenAPI document, made from the route table.

use http::StatusCode;
use serde_json::{Map, Value, json};
use tollway_model::{Dialect, Operation};
use tollway_pipeline::{Reply, json_reply};

use crate::routes::{Access, Action, OfResponse, ROUTES, Route};
use crate::{manage, models, responses, spend};

pub(crate) fn reply() -> Reply {
    json_reply(StatusCode::OK, &document())
}

/// The API as an OpenAPI 3.1 document.
///
/// Bodies of model calls are described by their dialect's own documentation: they are open objects here, because
/// unknown fields travel on to providers of the same dialect.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = route.path.replace("{call...}", "{model}").replace("...}", "}");
        // One route here, a path for each to those who read the document.
        let ends: &[&str] = if route.action == Action::Gemini { &GEMINI_CALLS } else { &[""] };
        for end in ends {
            let path = format!("{path}{end}");
            let operation = operation(route, &path);
            let methods = paths.entry(path).or_insert_with(|| json!({}));
            if let Some(methods) = methods.as_object_mut() {
                methods.insert(route.method.as_str().to_lowercase(), operation);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Tollway", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "api-key": { "type": "apiKey", "in": "header", "name": "api-key" },
                "x-goog-api-key": { "type": "apiKey", "in": "header", "name": "x-goog-api-key" },
                "key": { "type": "apiKey", "in": "query", "name": "key" },
            },
            "schemas": schemas(),
        },
    })
}

/// What a path of Gemini's dialect ends in.
const GEMINI_CALLS: [&str; 5] =
    [":generateContent", ":streamGenerateContent", ":countTokens", ":embedContent", ":batchEmbedContents"];

fn operation(route: &Route, path: &str) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".into(), json!(route.summary));
    operation.insert("operationId".into(), json!(operation_id(route, path)));
    operation.insert("tags".into(), json!([tag(route.action)]));
    let security = match route.access {
        Access::Public => json!([]),
        _ => {
            json!([{ "bearer": [] }, { "x-api-key": [] }, { "api-key": [] }, { "x-goog-api-key": [] }, { "key": [] }])
        }
    };
    operation.insert("security".into(), security);
    let mut parameters = Vec::new();
    for part in path.split('{').skip(1) {
        let name = part.split_once('}').map_or(part, |(name, _)| name);
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    let names = match route.action {
        Action::Manage(what) => manage::parameters(what),
        Action::Spend(what) => spend::parameters(what),
        Action::Response(OfResponse::InputItems) => &responses::PARAMETERS,
        Action::ModelInfo => models::INFO,
        Action::ModelPages => models::PAGES,
        Action::ModelGroups => models::GROUPS,
        Action::ModelDeprecations => models::DEPRECATIONS,
        _ => &[],
    };
    parameters.extend(names.iter().map(
        |name| json!({ "name": name, "in": "query", "required": false, "schema": { "type": "string" } }),
    ));
    if !parameters.is_empty() {
        operation.insert("parameters".into(), json!(parameters));
    }
    if let Some(schema) = request_schema(route.action, path) {
        operation.insert(
            "requestBody".into(),
            json!({ "required": is_body_required(route), "content": { "application/json": { "schema": schema } } }),
        );
    }
    let answer = match route.action {
        Action::Manage(what) => json!({ "schema": manage::answer_schema(what) }),
        Action::Spend(what) => json!({ "schema": spend::answer_schema(what) }),
        _ => json!({}),
    };
    let mut responses =
        json!({ "200": { "description": "The answer", "content": { "application/json": answer } } });
    if route.access != Access::Public
        && let Some(map) = responses.as_object_mut()
    {
        let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
        for (status, description) in [
            ("400", "The request is wrong"),
            ("401", "The key is missing or wrong, or its role has not this right"),
            ("403", "This key, or its owner, may not go so far"),
            ("default", "The call failed"),
        ] {
            map.insert(status.into(), json!({ "description": description, "content": error }));
        }
    }
    if matches!(route.action, Action::NotBuilt(_))
        && let Some(map) = responses.as_object_mut()
    {
        map.remove("200");
    }
    operation.insert("responses".into(), responses);
    Value::Object(operation)
}

/// Giving a key a new secret, or setting its spend back, needs no more than the path.
fn is_body_required(route: &Route) -> bool {
    let optional = [
        Action::Manage(manage::Manage::KeyRegenerate),
        Action::Spend(spend::Spend::KeyReset),
        Action::Spend(spend::Spend::MemberReset),
    ];
    !optional.contains(&route.action)
}

fn operation_id(route: &Route, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let path = words.collect::<Vec<_>>().join("_");
    format!("{}_{}", route.method.as_str().to_lowercase(), if path.is_empty() { "root" } else { &path })
}

fn tag(action: Action) -> &'static str {
    match action {
        Action::Call(..) | Action::Gemini | Action::TokenCounter => "calls",
        Action::Models
        | Action::Model
        | Action::GeminiModels
        | Action::GeminiModel
        | Action::ModelInfo
        | Action::ModelPages
        | Action::ModelGroups
        | Action::ModelDeprecations => "models",
        Action::Liveness | Action::Readiness | Action::Health => "health",
        Action::OpenApi | Action::Docs | Action::Routes => "documentation",
        Action::Reload => "administration",
        Action::Manage(_) | Action::NotBuilt(_) => "management",
        Action::Spend(_) => "spend",
        Action::Response(_) => "responses",
    }
}

fn request_schema(action: Action, path: &str) -> Option<Value> {
    let name = match action {
        Action::Call(Dialect::Anthropic, _) => "Messages",
        Action::Call(Dialect::OpenaiResponses, _) => "Responses",
        Action::Call(_, Operation::Embedding) => "Embeddings",
        Action::Call(_, Operation::Completion) => "Completions",
        Action::Call(..) => "ChatCompletions",
        Action::Gemini if path.ends_with(":embedContent") => "EmbedContent",
        Action::Gemini if path.ends_with(":batchEmbedContents") => "BatchEmbedContents",
        Action::Gemini => "GenerateContent",
        Action::TokenCounter => "TokenCounter",
        Action::Manage(what) => manage::request_type(what)?,
        Action::Spend(what) => spend::request_type(what)?,
        _ => return None,
    };
    Some(json!({ "$ref": format!("#/components/schemas/{name}") }))
}

fn schemas() -> Value {
    let message = json!({ "type": "array", "items": { "type": "object", "required": ["role"], "properties": { "role": { "type": "string" } } } });
    let text = json!({ "type": "string" });
    let open = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true });
    let mut schemas = json!({
        "ChatCompletions": open(&["model", "messages"], json!({ "model": text, "messages": message, "stream": { "type": "boolean" } })),
        "Messages": open(&["model", "messages", "max_tokens"], json!({ "model": text, "messages": message, "max_tokens": { "type": "integer", "minimum": 1 }, "stream": { "type": "boolean" } })),
        "Responses": open(&["model"], json!({
            "model": text, "input": {}, "instructions": { "type": ["string", "null"] },
            "previous_response_id": { "type": ["string", "null"] },
            "store": { "type": ["boolean", "null"] }, "stream": { "type": ["boolean", "null"] },
        })),
        "GenerateContent": open(&["contents"], json!({ "contents": { "type": "array", "items": { "type": "object" } } })),
        "EmbedContent": open(&["content"], json!({ "content": { "type": "object" } })),
        "BatchEmbedContents": open(&["requests"], json!({ "requests": { "type": "array", "items": { "type": "object" } } })),
        "Embeddings": open(&["model", "input"], json!({ "model": text, "input": {} })),
        "Completions": open(&["model", "prompt"], json!({ "model": text, "prompt": {} })),
        "TokenCounter": open(&["model"], json!({ "model": text, "prompt": text, "messages": message })),
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "type": "object", "properties": {
                "message": text, "type": text, "param": { "type": ["string", "null"] }, "code": { "type": ["string", "null"] },
            } } },
        },
    });
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.extend(manage::schemas());
        schemas.extend(spend::schemas());
    }
    schemas
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_paths_and_no_two_operations_are_alike() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        // To a reader of the document `/models/{model}` and `/models/{id}` are the same path.
        let bare = |path: &str| {
            let parts =
                path.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest).to_owned());
            parts.collect::<Vec<_>>()
        };
        let different: HashSet<_> = paths.keys().map(|path| bare(path)).collect();
        assert_eq!(different.len(), paths.len());
        let ids: Vec<_> = paths
            .values()
            .flat_map(|methods| methods.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(paths.contains_key("/v1beta/models/{model}:streamGenerateContent"));
    }
}
