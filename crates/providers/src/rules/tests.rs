use bytes::Bytes;
use tollway_model::Severity;
use tollway_wire::json::MAX_DEPTH;

use super::*;

/// Applies rules written in TOML to `body`; notices are shown as `-field` (dropped) and `~field` (changed).
fn check(rules: &str, body: &str, expected: &str, expected_notices: &[&str]) {
    let rules: Rules = toml::from_str(rules).unwrap();
    let envelope = Envelope::parse(Bytes::from(body.to_owned()), MAX_DEPTH).unwrap();
    let (mut edits, mut notices) = (Edits::new(), Notices::new());
    rules.apply(&envelope, true, &mut edits, &mut notices);
    assert_eq!(String::from_utf8_lossy(&envelope.rewrite(&edits)), expected, "{body}");
    let show = |notice: &tollway_model::Notice| {
        let mark = if notice.severity == Severity::Dropped { '-' } else { '~' };
        format!("{mark}{}", notice.field)
    };
    assert_eq!(notices.iter().map(show).collect::<Vec<_>>(), expected_notices, "{body}");
}

#[test]
fn a_renamed_field_keeps_its_place_and_its_bytes() {
    let rules = r#"rename = { max_completion_tokens = "max_tokens" }"#;
    check(
        rules,
        r#"{"a":1, "max_completion_tokens" : 7 ,"b":2}"#,
        r#"{"a":1, "max_tokens" : 7 ,"b":2}"#,
        &[],
    );
    check(rules, r#"{"max_tokens":5}"#, r#"{"max_tokens":5}"#, &[]);
}

#[test]
fn the_newer_limit_wins_over_the_older_whichever_way_it_is_renamed() {
    let both = r#"{"max_tokens":5,"max_completion_tokens":7}"#;
    check(
        r#"rename = { max_completion_tokens = "max_tokens" }"#,
        both,
        r#"{"max_tokens":7}"#,
        &["~max_tokens"],
    );
    let newer = r#"{"max_completion_tokens":7}"#;
    check(r#"rename = { max_tokens = "max_completion_tokens" }"#, both, newer, &["~max_tokens"]);
    let unset = r#"{"max_tokens":5,"max_completion_tokens":null}"#;
    let rule = r#"rename = { max_tokens = "max_completion_tokens" }"#;
    check(rule, unset, r#"{"max_completion_tokens":5}"#, &["~max_completion_tokens"]);
}

#[test]
fn a_field_given_under_the_providers_own_name_wins() {
    let rules = r#"rename = { seed = "random_seed" }"#;
    check(rules, r#"{"seed":1,"random_seed":2}"#, r#"{"random_seed":2}"#, &["~seed"]);
}

#[test]
fn a_refused_field_is_dropped_with_notice_unless_it_asks_for_nothing() {
    let rules = r#"unsupported = ["logprobs", "tool_choice=required"]"#;
    check(rules, r#"{"logprobs":true,"n":1}"#, r#"{"n":1}"#, &["-logprobs"]);
    check(rules, r#"{"logprobs":false}"#, "{}", &["~logprobs"]);
    check(rules, r#"{"tool_choice":"required"}"#, "{}", &["-tool_choice"]);
    check(rules, r#"{"tool_choice":"auto"}"#, r#"{"tool_choice":"auto"}"#, &[]);
    check(rules, r#"{"tool_choice":{"type":"required"}}"#, r#"{"tool_choice":{"type":"required"}}"#, &[]);
}

#[test]
fn a_field_with_one_value_takes_that_value_however_it_is_spelled() {
    let rules = "only = { temperature = 1 }";
    check(rules, r#"{"temperature":1.0}"#, r#"{"temperature":1.0}"#, &[]);
    check(rules, r#"{"temperature":0.2}"#, "{}", &["-temperature"]);
    check(rules, r#"{"temperature":null}"#, "{}", &[]);
    check(
        r#"only = { modalities = ["text"] }"#,
        r#"{"modalities":["text"]}"#,
        r#"{"modalities":["text"]}"#,
        &[],
    );
}

#[test]
fn numbers_out_of_range_move_to_the_edge() {
    let rules = "clamp = { temperature = { max = 1.99 }, top_p = { min = 0.01, max = 1 } }";
    check(rules, r#"{"temperature":2}"#, r#"{"temperature":1.99}"#, &["~temperature"]);
    check(rules, r#"{"temperature":1.5,"top_p":0}"#, r#"{"temperature":1.5,"top_p":0.01}"#, &["~top_p"]);
    check(rules, r#"{"top_p":1.5}"#, r#"{"top_p":1}"#, &["~top_p"]);
    check(rules, r#"{"temperature":null}"#, r#"{"temperature":null}"#, &[]);
}

#[test]
fn values_are_mapped_to_values_or_to_other_fields() {
    check(
        r#"map.tool_choice = { required = "any" }"#,
        r#"{"tool_choice":"required"}"#,
        r#"{"tool_choice":"any"}"#,
        &["~tool_choice"],
    );
    let thinking = r#"map.reasoning_effort = { none = { thinking = { type = "disabled" } }, "*" = { thinking = { type = "enabled" } } }"#;
    let effort = &["~reasoning_effort"];
    check(thinking, r#"{"reasoning_effort":"none"}"#, r#"{"thinking":{"type":"disabled"}}"#, effort);
    check(
        thinking,
        r#"{"reasoning_effort":{"effort":"high"}}"#,
        r#"{"thinking":{"type":"enabled"}}"#,
        effort,
    );
    check(thinking, r#"{"reasoning_effort":"low","thinking":{"a":1}}"#, r#"{"thinking":{"a":1}}"#, effort);
    check(thinking, r#"{"reasoning_effort":null}"#, r#"{"reasoning_effort":null}"#, &[]);
}

#[test]
fn forced_and_ignored_fields() {
    check("force = { usage = { include = true } }", r#"{"a":1}"#, r#"{"a":1,"usage":{"include":true}}"#, &[]);
    check("force = { usage = { include = true } }", r#"{"usage":{}}"#, r#"{"usage":{}}"#, &[]);
    check(r#"ignored = ["store"]"#, r#"{"store":true,"a":1}"#, r#"{"a":1}"#, &["~store"]);
}
