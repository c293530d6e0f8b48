//! Tools that the provider runs itself while it answers: how often it may, for whoever must know beforehand what a call
//! can cost.
//!
//! What such a tool finds is read by the model as a prompt of its own, and searches are billed by the piece, so the
//! length of a request says little about its price.

use tollway_model::{Capabilities, Dialect, Request, Tool};

use crate::web_search::is_search;

/// How often a provider may run tools of its own while it answers one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Runs {
    /// It has none.
    #[default]
    Never,
    /// So often at most.
    AtMost(u64),
    /// Nothing bounds it.
    AnyNumber,
}

impl Runs {
    fn and(self, other: Runs) -> Runs {
        match (self, other) {
            (Runs::AnyNumber, _) | (_, Runs::AnyNumber) => Runs::AnyNumber,
            (Runs::Never, runs) | (runs, Runs::Never) => runs,
            (Runs::AtMost(one), Runs::AtMost(other)) => Runs::AtMost(one.saturating_add(other)),
        }
    }

    fn at_most(most: Option<u64>) -> Runs {
        most.map_or(Runs::AnyNumber, Runs::AtMost)
    }
}

/// How the call goes to the provider.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// What the provider is spoken to in.
    pub target: Dialect,
    /// The request goes there as the client wrote it.
    pub verbatim: bool,
    /// What the model can do.
    pub capabilities: &'a Capabilities,
    /// The client's own bound of all such runs together: Responses' `max_tool_calls`.
    pub most: Option<u64>,
}

/// How often the provider may run tools of its own for this request. What the target does not get is not run: encoders
/// leave out tools that it has not.
pub fn runs(request: &Request, way: &Way<'_>) -> Runs {
    let mut found = Runs::Never;
    let mut has_search = false;
    for tool in &request.tools {
        let Tool::Server { dialect, kind, json } = tool else { continue };
        let search = is_search(kind);
        has_search |= search;
        if is_run_by_client(kind) {
            continue;
        }
        found = found.and(if way.verbatim || *dialect == way.target {
            Runs::at_most(max_uses(way.target, json))
        } else if search {
            translated(request, way)
        } else {
            Runs::Never
        });
    }
    if request.web_search.is_some() && !has_search {
        found = found.and(if way.verbatim { Runs::AnyNumber } else { translated(request, way) });
    }
    match (found, way.most) {
        (Runs::Never, _) | (_, None) => found,
        (found, Some(_)) if !way.verbatim || way.target != Dialect::OpenaiResponses => found,
        (Runs::AnyNumber, Some(most)) => Runs::AtMost(most),
        (Runs::AtMost(uses), Some(most)) => Runs::AtMost(uses.min(most)),
    }
}

/// A search that is asked for in another dialect than the target's.
fn translated(request: &Request, way: &Way<'_>) -> Runs {
    let searches = way.capabilities.web_search;
    match way.target {
        _ if searches.no() => Runs::Never,
        // As options it is sent wherever it may work, as a tool only where it is known to.
        Dialect::OpenaiChat if !searches.yes() && !request.tools.is_empty() => Runs::Never,
        Dialect::Anthropic => {
            Runs::at_most(request.web_search.as_ref().and_then(|search| search.max_uses).map(u64::from))
        }
        _ => Runs::AnyNumber,
    }
}

/// Only Anthropic's tools say how often they may be used, each by itself.
fn max_uses(target: Dialect, tool: &tollway_model::RawJson) -> Option<u64> {
    if target != Dialect::Anthropic {
        return None;
    }
    tool.to_value().get("max_uses").and_then(serde_json::Value::as_u64)
}

/// Tools whose definitions are the provider's, and that the client runs: their results are in the next request.
fn is_run_by_client(kind: &str) -> bool {
    const PREFIXES: [&str; 8] =
        ["bash", "text_editor", "computer", "memory", "local_shell", "apply_patch", "custom", "function"];
    PREFIXES.iter().any(|prefix| kind.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tollway_model::{Support, WebSearch};

    use super::*;

    fn tool(dialect: Dialect, json: &Value) -> Tool {
        let kind = json["type"].as_str().unwrap().to_owned();
        Tool::Server { dialect, kind, json: json.clone().into() }
    }

    fn check(
        tools: &[Tool],
        options: Option<WebSearch>,
        way: (Dialect, bool, Support, Option<u64>),
        expected: Runs,
    ) {
        let (target, verbatim, web_search, most) = way;
        let request = Request { tools: tools.to_vec(), web_search: options, ..Request::default() };
        let capabilities = Capabilities { web_search, ..Capabilities::default() };
        let way = Way { target, verbatim, capabilities: &capabilities, most };
        assert_eq!(runs(&request, &way), expected, "{tools:?} {way:?}");
    }

    #[test]
    fn what_the_provider_runs_is_bounded_by_what_the_caller_says() {
        let (anthropic, responses, chat) =
            (Dialect::Anthropic, Dialect::OpenaiResponses, Dialect::OpenaiChat);
        let unknown = Support::Unknown;
        let three = tool(anthropic, &json!({"type": "web_search_20250305", "max_uses": 3}));
        let fetch = tool(anthropic, &json!({"type": "web_fetch_20250910", "max_uses": 2}));
        let any = tool(anthropic, &json!({"type": "web_search_20250305"}));
        let code = tool(anthropic, &json!({"type": "code_execution_20250825"}));
        let own = tool(anthropic, &json!({"type": "bash_20250124"}));
        let uses = |uses| Some(WebSearch { max_uses: uses, ..WebSearch::default() });
        check(&[], None, (anthropic, true, unknown, None), Runs::Never);
        check(
            &[own.clone(), Tool::function("f", "", json!({}))],
            None,
            (anthropic, true, unknown, None),
            Runs::Never,
        );
        check(&[three.clone(), own], uses(Some(3)), (anthropic, true, unknown, None), Runs::AtMost(3));
        check(&[three.clone(), fetch], uses(Some(3)), (anthropic, true, unknown, None), Runs::AtMost(5));
        check(std::slice::from_ref(&any), uses(None), (anthropic, true, unknown, None), Runs::AnyNumber);
        check(
            &[three.clone(), code.clone()],
            uses(Some(3)),
            (anthropic, true, unknown, None),
            Runs::AnyNumber,
        );
        // Elsewhere nobody keeps to it, or there is no search, or no such tool.
        check(
            std::slice::from_ref(&three),
            uses(Some(3)),
            (responses, false, unknown, None),
            Runs::AnyNumber,
        );
        check(
            std::slice::from_ref(&three),
            uses(Some(3)),
            (responses, false, Support::No, None),
            Runs::Never,
        );
        check(std::slice::from_ref(&three), uses(Some(3)), (chat, false, unknown, None), Runs::Never);
        check(&[three], uses(Some(3)), (chat, false, Support::Yes, None), Runs::AnyNumber);
        check(&[code], None, (chat, false, Support::Yes, None), Runs::Never);
        let native = tool(responses, &json!({"type": "web_search"}));
        check(std::slice::from_ref(&native), uses(None), (responses, true, unknown, None), Runs::AnyNumber);
        check(
            std::slice::from_ref(&native),
            uses(None),
            (responses, true, unknown, Some(4)),
            Runs::AtMost(4),
        );
        check(&[native], uses(None), (anthropic, false, unknown, Some(4)), Runs::AnyNumber);
        check(&[], uses(None), (chat, true, unknown, None), Runs::AnyNumber);
        check(&[], uses(Some(2)), (anthropic, false, unknown, None), Runs::AtMost(2));
    }
}
