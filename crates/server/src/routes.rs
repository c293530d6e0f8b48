//! The one table of routes: what exists, who may use it, what it is for.

use http::Method;
use tollway_model::{Dialect, Operation};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone. Says nothing that is not public.
    Public,
    /// Anyone with a valid key.
    Caller,
    /// The operator.
    Admin,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A model call.
    Call(Dialect, Operation),
    /// A model call in Gemini's URL form, `{model}:{method}`.
    Gemini,
    /// The models a caller may use, in OpenAI's or Anthropic's shape.
    Models,
    /// One of them.
    Model,
    /// The models in Gemini's shape.
    GeminiModels,
    /// Deployments with prices and capabilities.
    ModelInfo,
    /// How many tokens a prompt has.
    TokenCounter,
    /// Is the process alive?
    Liveness,
    /// Can it serve calls?
    Readiness,
    /// What is configured and what is not available.
    Health,
    /// The OpenAPI document.
    OpenApi,
    /// A page for people.
    Docs,
    /// The route list.
    Routes,
    /// The latest receipts.
    Receipts,
    /// One receipt.
    Receipt,
    /// Reads the configuration again.
    Reload,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path; `{name}` stands for one segment, a last `{name...}` for all the rest.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// What it does.
    pub action: Action,
    /// What it is for, in one line.
    pub summary: &'static str,
}

macro_rules! route {
    ($method:ident $path:literal $access:ident $action:expr, $summary:literal) => {
        Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            action: $action,
            summary: $summary,
        }
    };
}

const CHAT: Action = Action::Call(Dialect::OpenaiChat, Operation::Chat);
const COMPLETION: Action = Action::Call(Dialect::OpenaiText, Operation::Completion);
const EMBEDDING: Action = Action::Call(Dialect::OpenaiChat, Operation::Embedding);
const MESSAGES: Action = Action::Call(Dialect::Anthropic, Operation::Chat);
const COUNT: Action = Action::Call(Dialect::Anthropic, Operation::CountTokens);

/// Every route. The first that matches counts.
pub const ROUTES: &[Route] = &[
    route!(POST "/v1/chat/completions" Caller CHAT, "Chat with a model (OpenAI Chat Completions)"),
    route!(POST "/chat/completions" Caller CHAT, "Chat with a model (OpenAI Chat Completions)"),
    route!(POST "/v1/messages" Caller MESSAGES, "Chat with a model (Anthropic Messages)"),
    route!(POST "/v1/messages/count_tokens" Caller COUNT, "Count the input tokens of a message (Anthropic)"),
    route!(POST "/v1/embeddings" Caller EMBEDDING, "Turn texts into vectors (OpenAI Embeddings)"),
    route!(POST "/embeddings" Caller EMBEDDING, "Turn texts into vectors (OpenAI Embeddings)"),
    route!(POST "/v1/completions" Caller COMPLETION, "Complete a text (OpenAI, legacy)"),
    route!(POST "/completions" Caller COMPLETION, "Complete a text (OpenAI, legacy)"),
    route!(POST "/engines/{model}/chat/completions" Caller CHAT, "Chat; the model is in the path"),
    route!(POST "/engines/{model}/completions" Caller COMPLETION, "Complete a text; the model is in the path"),
    route!(POST "/engines/{model}/embeddings" Caller EMBEDDING, "Vectors; the model is in the path"),
    route!(POST "/openai/deployments/{model}/chat/completions" Caller CHAT, "Chat, Azure's form of the path"),
    route!(POST "/openai/deployments/{model}/completions" Caller COMPLETION, "Complete a text, Azure's form of the path"),
    route!(POST "/openai/deployments/{model}/embeddings" Caller EMBEDDING, "Vectors, Azure's form of the path"),
    route!(GET "/v1beta/models" Caller Action::GeminiModels, "The models a caller may use (Gemini's shape)"),
    route!(POST "/v1beta/models/{call...}" Caller Action::Gemini, "generateContent, streamGenerateContent, countTokens (Gemini)"),
    route!(POST "/v1/models/{call...}" Caller Action::Gemini, "generateContent, streamGenerateContent, countTokens (Gemini)"),
    route!(POST "/models/{call...}" Caller Action::Gemini, "generateContent, streamGenerateContent, countTokens (Gemini)"),
    route!(GET "/v1/models" Caller Action::Models, "The models a caller may use"),
    route!(GET "/models" Caller Action::Models, "The models a caller may use"),
    route!(GET "/v1/models/{id...}" Caller Action::Model, "One model"),
    route!(GET "/models/{id...}" Caller Action::Model, "One model"),
    route!(GET "/v1/model/info" Caller Action::ModelInfo, "Deployments with limits, prices and capabilities"),
    route!(GET "/model/info" Caller Action::ModelInfo, "Deployments with limits, prices and capabilities"),
    route!(POST "/utils/token_counter" Caller Action::TokenCounter, "Count the tokens of a prompt or of messages"),
    route!(GET "/health" Caller Action::Health, "What is configured, and which deployments cannot be called"),
    route!(GET "/health/liveliness" Public Action::Liveness, "Is the process alive?"),
    route!(GET "/health/liveness" Public Action::Liveness, "Is the process alive?"),
    route!(GET "/health/readiness" Public Action::Readiness, "Can it serve calls?"),
    route!(GET "/receipts" Admin Action::Receipts, "The latest receipts, newest first"),
    route!(GET "/receipts/{id}" Admin Action::Receipt, "Why a call went the way it went"),
    route!(POST "/config/reload" Admin Action::Reload, "Read the configuration again; the old one stays when the new one is wrong"),
    route!(GET "/openapi.json" Public Action::OpenApi, "This API as an OpenAPI document"),
    route!(GET "/docs" Public Action::Docs, "The routes, for people"),
    route!(GET "/" Public Action::Docs, "The routes, for people"),
    route!(GET "/routes" Public Action::Routes, "The routes, for programs"),
];

/// What a request's path and method lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched<'a> {
    /// A route, with what its `{name}` stands for.
    Route(usize, Option<&'a str>),
    /// The path exists with other methods.
    OtherMethod,
    /// No such path.
    None,
}

/// Finds the route of a request. A single trailing slash is ignored.
pub fn find<'a>(method: &Method, path: &'a str) -> Matched<'a> {
    let path = match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter,
        _ => path,
    };
    let mut other_method = false;
    for (index, route) in ROUTES.iter().enumerate() {
        let Some(captured) = capture(route.path, path) else { continue };
        if route.method == *method || (*method == Method::HEAD && route.method == Method::GET) {
            return Matched::Route(index, captured);
        }
        other_method = true;
    }
    if other_method { Matched::OtherMethod } else { Matched::None }
}

/// The methods that `path` takes, for `Allow`.
pub fn allowed(path: &str) -> String {
    let taken = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE]
        .into_iter()
        .filter(|method| matches!(find(method, path), Matched::Route(..)));
    taken.map(|method| method.to_string()).collect::<Vec<_>>().join(", ")
}

/// `Some(None)`: a plain match; `Some(Some(text))`: a match with a captured part.
fn capture<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((before, rest)) = pattern.split_once('{') else { return (pattern == path).then_some(None) };
    let (name, after) = rest.split_once('}')?;
    let found = path.strip_prefix(before)?.strip_suffix(after)?;
    let whole = name.ends_with("...");
    (!found.is_empty() && (whole || after.len() > 1 || !found.contains('/'))).then_some(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, action: Option<(Action, Option<&str>)>) {
        let found = match find(&method, path) {
            Matched::Route(index, captured) => Some((ROUTES[index].action, captured)),
            _ => None,
        };
        assert_eq!(found, action, "{method} {path}");
    }

    #[test]
    fn every_form_of_a_path_leads_to_its_action() {
        check(Method::POST, "/v1/chat/completions", Some((CHAT, None)));
        check(Method::POST, "/chat/completions/", Some((CHAT, None)));
        check(Method::POST, "/engines/gpt-4o/chat/completions", Some((CHAT, Some("gpt-4o"))));
        check(Method::POST, "/openai/deployments/a/b/embeddings", Some((EMBEDDING, Some("a/b"))));
        check(
            Method::POST,
            "/v1beta/models/gemini/x:generateContent",
            Some((Action::Gemini, Some("gemini/x:generateContent"))),
        );
        check(
            Method::POST,
            "/v1/models/gemini/x:countTokens",
            Some((Action::Gemini, Some("gemini/x:countTokens"))),
        );
        check(Method::GET, "/v1/models/groq/llama", Some((Action::Model, Some("groq/llama"))));
        check(Method::GET, "/v1/models", Some((Action::Models, None)));
        check(Method::GET, "/receipts/1", Some((Action::Receipt, Some("1"))));
        check(Method::GET, "/receipts/1/2", None);
        check(Method::GET, "/nothing", None);
        assert_eq!(find(&Method::GET, "/v1/chat/completions"), Matched::OtherMethod);
        assert_eq!(find(&Method::GET, "/v1/chat"), Matched::None);
        assert_eq!(allowed("/v1/chat/completions"), "POST");
        assert_eq!(allowed("/models/x"), "GET, HEAD, POST");
    }

    #[test]
    fn only_routes_that_say_nothing_are_public() {
        let public: Vec<_> =
            ROUTES.iter().filter(|route| route.access == Access::Public).map(|route| route.path).collect();
        assert_eq!(
            public,
            [
                "/health/liveliness",
                "/health/liveness",
                "/health/readiness",
                "/openapi.json",
                "/docs",
                "/",
                "/routes"
            ]
        );
    }
}
