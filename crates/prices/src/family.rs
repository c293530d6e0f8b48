//! What a model family's name alone says, for models newer than the table.

use serde_json::{Map, Value};

use crate::entry::{Derived, Entry, Limits};

/// What every Claude does, with what its version adds; `None` for other names.
///
/// Knows names shaped `claude-{family}-{major}[-{minor}]` anywhere in `name`. Carries no price.
pub(crate) fn claude(provider: &str, name: &str) -> Option<Entry> {
    let (family, version) = claude_version(name)?;
    let mut entry = Entry {
        id: name.to_owned(),
        label: provider.to_owned(),
        mode: Some("chat".into()),
        limits: Limits { input: Some(200_000), output: Some(64_000), ..Limits::default() },
        derived: Some(Derived::Family),
        ..Entry::default()
    };
    for capability in [
        "tools",
        "parallel_tools",
        "tool_choice",
        "vision",
        "prompt_caching",
        "json_schema",
        "reasoning",
        "pdf",
        "system",
    ] {
        entry.state(capability, true);
    }
    let since = |major, minor| version.is_some_and(|version| version >= (major, minor));
    if since(4, 5) {
        entry.state("tool_search", true);
    }
    if version.is_some() {
        entry.state("prefill", !since(4, 6));
    }
    if version.is_some() {
        entry.state("adaptive_thinking", since(4, 6));
    }
    if version.is_some() && !since(4, 1) {
        entry.state("native_structured_output", false);
    }
    if version == Some((4, 6)) {
        entry.state("legacy_thinking", true);
    }
    if since(4, 7) {
        entry.state("sampling_params", false);
    }
    if since(4, 8) {
        entry.state("mid_conversation_system", true);
    }
    if matches!(family, "fable" | "mythos") {
        entry.extra = Map::from_iter([("thinking_always_on".to_owned(), Value::Bool(true))]);
    }
    Some(entry)
}

/// The family and version in a Claude name. The version is `None` when the number is not `major[.minor]` with a
/// major of one digit: `claude-opus-41` is no version 41, and a date is no version.
fn claude_version(name: &str) -> Option<(&str, Option<(u32, u32)>)> {
    let start = name.find("claude-")? + "claude-".len();
    let rest = name.get(start..)?;
    let (family, rest) = rest.split_once('-')?;
    if family.is_empty() || !family.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let mut numbers = rest.split(['-', '.', '_', '@', ':']);
    let major = numbers.next()?;
    let number = |text: &str, longest: usize| -> Option<u32> {
        (text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    if !major.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let minor = numbers.next().and_then(|minor| number(minor, 2)).unwrap_or(0);
    Some((family, number(major, 1).map(|major| (major, minor))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<(&str, Option<(u32, u32)>)>) {
        assert_eq!(claude_version(name), expected, "{name}");
    }

    #[test]
    fn versions_are_read_from_names_of_any_host() {
        check("claude-sonnet-4-6", Some(("sonnet", Some((4, 6)))));
        check("us.anthropic.claude-newfamily-7-v1:0", Some(("newfamily", Some((7, 0)))));
        check("anthropic/claude-opus-4.8", Some(("opus", Some((4, 8)))));
        check("claude-opus-4-20250514", Some(("opus", Some((4, 0)))));
        check("claude-opus-41", Some(("opus", None)));
        check("claude-3-5-sonnet", None);
        check("claude-instant-v1", None);
        check("gpt-4o", None);
    }

    #[test]
    fn newer_versions_do_more_and_take_less() {
        let new = claude("anthropic", "claude-sonnet-6-1").unwrap().capabilities();
        assert!(new.adaptive_thinking.yes() && new.mid_conversation_system.yes());
        assert!(new.prefill.no() && new.sampling_params.no() && !new.thinking_always_on);
        let old = claude("anthropic", "claude-sonnet-4-2").unwrap().capabilities();
        assert!(old.prefill.yes() && old.adaptive_thinking.no() && !old.sampling_params.no());
        let oldest = claude("anthropic", "claude-sonnet-4-20250514").unwrap().capabilities();
        assert!(oldest.native_structured_output.no() && oldest.reasoning.yes());
        let odd = claude("anthropic", "claude-opus-41").unwrap().capabilities();
        assert_eq!(odd.adaptive_thinking, tollway_model::Support::Unknown);
        assert!(claude("x", "claude-fable-9").unwrap().capabilities().thinking_always_on);
        assert!(claude("x", "claude-fable-9").unwrap().prices.is_empty());
    }
}
