//! The web search that a provider runs, and what becomes of it where the target has none.

use std::borrow::Cow;

use serde_json::Value;
use tollway_model::{Notices, RawJson, Request, Tool, ToolChoice};

/// Is a server tool of this type a web search, in any dialect?
pub(crate) fn is_search(kind: &str) -> bool {
    kind.starts_with("web_search") || kind.starts_with("googleSearch") || kind.starts_with("google_search")
}

/// Does the caller forbid this search to look at the web itself? It means an index that only its own provider has.
pub(crate) fn stays_inside(tool: &RawJson) -> bool {
    tool.to_value().get("external_web_access") == Some(&Value::Bool(false))
}

/// Says that the search that was asked for is left out.
///
/// Agents offer a search beside the tools they run themselves, whether or not they will need it, and must work where
/// there is none: that is no reason to refuse their calls. A search is one where the caller offers nothing else, or
/// demands it.
pub(crate) fn lost(request: &Request, why: impl Into<Cow<'static, str>>, notices: &mut Notices) {
    let searches = |tool: &Tool| matches!(tool, Tool::Server { kind, .. } if is_search(kind));
    let Some(index) = request.tools.iter().position(searches) else {
        return notices.dropped("web_search_options", why);
    };
    let field = format!("tools[{index}]");
    let why = match request.tools.get(index) {
        Some(Tool::Server { kind, json, .. }) if stays_inside(json) => {
            format!("`{kind}` may only look into an index of its own provider, which the target has not")
                .into()
        }
        _ => why.into(),
    };
    match is_one_of_many(request) {
        true => notices.changed(field, why),
        false => notices.dropped(field, why),
    }
}

/// Must the model search, and nothing else?
pub(crate) fn is_demanded(request: &Request) -> bool {
    matches!(&request.tool_choice, Some(ToolChoice::Named(name)) if is_search(name) && !is_own(request, name))
}

fn is_own(request: &Request, name: &str) -> bool {
    request.tools.iter().any(|tool| !matches!(tool, Tool::Server { .. }) && tool.name() == name)
}

/// Is there a tool that the caller runs, and may the model answer without searching?
pub(crate) fn is_one_of_many(request: &Request) -> bool {
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => is_own(request, name),
        Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|name| is_own(request, name)),
        None | Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) => {
            request.tools.iter().any(|tool| !matches!(tool, Tool::Server { .. }))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollway_model::{Capabilities, Dialect, Severity, Support};

    use super::*;
    use crate::openai_chat::Quirks;
    use crate::{Target, codec};

    /// The last of them searches by itself, but not beside functions.
    const TARGETS: [(Dialect, &str); 4] = [
        (Dialect::OpenaiChat, "deepseek-chat"),
        (Dialect::Anthropic, "claude-sonnet-4-5"),
        (Dialect::BedrockConverse, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (Dialect::Gemini, "gemini-2.5-pro"),
    ];

    /// What happens to the last tool of a request for responses, where the target is known to search or not to.
    fn check(tools: &Value, choice: &Value, searches: bool, expected: Severity) {
        let body = json!({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice});
        let request = codec(Dialect::OpenaiResponses).decode_request(body.to_string().as_bytes()).unwrap();
        let web_search = if searches { Support::Yes } else { Support::No };
        let capabilities = Capabilities { web_search, ..Capabilities::default() };
        let alone = tools.as_array().unwrap().len() == 1;
        for (dialect, model) in TARGETS.into_iter().take(if alone { 3 } else { 4 }) {
            let target = Target { model, capabilities: &capabilities, quirks: &Quirks::default() };
            let mut notices = Notices::new();
            let sent = codec(dialect).encode_request(&request, &target, &mut notices).unwrap();
            let sent = String::from_utf8(sent.body).unwrap();
            let field = format!("tools[{}]", request.tools.len() - 1);
            let lost = notices.iter().find(|notice| notice.field == field);
            let lost = lost.unwrap_or_else(|| panic!("{dialect:?} {body}: {notices:?} {sent}"));
            assert_eq!(lost.severity, expected, "{dialect:?} {body}: {notices:?}");
            assert!(!sent.contains("search"), "{dialect:?} {body}: {sent}");
        }
    }

    #[test]
    fn a_search_beside_other_tools_is_left_out_where_there_is_none() {
        let shell = json!({"type": "function", "name": "shell", "parameters": {"type": "object"}});
        let patch = json!({"type": "custom", "name": "apply_patch"});
        let cached = json!({"type": "web_search", "external_web_access": false});
        let both = json!([shell, patch, cached]);
        check(&both, &json!("auto"), false, Severity::Changed);
        check(&both, &json!("required"), false, Severity::Changed);
        check(&both, &json!({"type": "function", "name": "shell"}), false, Severity::Changed);
        check(&both, &json!("auto"), true, Severity::Changed);
        check(&json!([shell, {"type": "web_search"}]), &json!("auto"), false, Severity::Changed);
    }

    #[test]
    fn a_search_that_is_demanded_or_all_there_is_refuses_the_call() {
        let shell = json!({"type": "function", "name": "shell", "parameters": {"type": "object"}});
        check(&json!([{"type": "web_search"}]), &json!("auto"), false, Severity::Dropped);
        check(&json!([{"type": "web_search_preview"}]), &json!("required"), false, Severity::Dropped);
        let both = json!([shell, {"type": "web_search"}]);
        check(&both, &json!({"type": "web_search"}), false, Severity::Dropped);
    }
}
