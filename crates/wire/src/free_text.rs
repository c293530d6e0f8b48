//! Tools that take free text, for dialects whose tools take JSON: functions with one argument.

use std::borrow::Cow;

use tollway_model::{Notices, RawJson, ToolCall, ToolKind};

/// The schema of such a function's arguments.
pub(crate) const PARAMETERS: &str = r#"{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool."}},"required":["input"]}"#;

/// What the function's description says; `format` is the grammar of the text.
pub(crate) fn description<'a>(text: Option<&'a str>, format: Option<&RawJson>) -> Option<Cow<'a, str>> {
    let Some(format) = format else { return text.map(Cow::Borrowed) };
    let text = text.unwrap_or_default();
    Some(Cow::Owned(format!("{text}\nThe input must have this format: {}", format.get()).trim().to_owned()))
}

/// The arguments that stand for `input`.
pub(crate) fn wrap(input: &str) -> String {
    serde_json::json!({ "input": input }).to_string()
}

/// The text that a function was called with; arguments of another form are the text themselves.
pub(crate) fn unwrap(arguments: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Wrapped {
        input: String,
    }
    serde_json::from_str::<Wrapped>(arguments).map_or_else(|_| arguments.to_owned(), |wrapped| wrapped.input)
}
/// A call's arguments as the object that APIs ask for which know no free text.
pub(crate) fn tool_input(call: &ToolCall, field: impl FnOnce() -> String, notices: &mut Notices) -> RawJson {
    if call.kind == ToolKind::Custom {
        return RawJson::from(serde_json::json!({ "input": call.arguments }));
    }
    let trimmed = call.arguments.trim();
    let object = if trimmed.is_empty() { "{}" } else { trimmed };
    let parsed = object.starts_with('{').then(|| RawJson::parse(object)).flatten();
    parsed.unwrap_or_else(|| {
        notices.changed(field(), "arguments that are no JSON object: wrapped in one");
        RawJson::from(serde_json::json!({ "arguments": call.arguments }))
    })
}
