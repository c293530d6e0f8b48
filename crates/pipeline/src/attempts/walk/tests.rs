use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use tollway::Transport;
use tollway_wire::Framing;

use super::*;
use crate::call::{AcceptRules, Surface};
use crate::settings::CallLimits;
use crate::snapshot::tests::snapshot_of;

const MODELS: &str = "model_list:
  - {model_name: a, litellm_params: {model: openai/a, api_key: k}}
  - {model_name: b, litellm_params: {model: openai/b, api_key: k}}
  - {model_name: c, litellm_params: {model: openai/c, api_key: k}}
  - {model_name: secret, litellm_params: {model: openai/s, api_key: k}}
";

fn call(more: &str) -> Call {
    let body = format!(r#"{{"model":"a","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    let surface = Surface {
        dialect: tollway_model::Dialect::OpenaiChat,
        operation: Operation::Chat,
        model: None,
        stream: None,
        framing: Framing::Sse,
    };
    let limits = CallLimits { n: 16, output_tokens: 1000, tools: 8, messages: 8, in_flight: 8 };
    let rules = AcceptRules { max_depth: 64, limits };
    Call::accept(surface, &HeaderMap::new(), Bytes::from(body), Instant::now(), rules).unwrap()
}

/// The groups that a call of `a` goes through when every one of them fails with `kind`, and those passed over.
fn walk(router: &str, more: &str, kind: Kind, access: Option<&Access>) -> (String, String) {
    let text = format!("{MODELS}router_settings: {router}\n");
    let gateway = Gateway::new(snapshot_of(&text), Transport::default(), 1, crate::Services::default());
    let (snapshot, call) = (gateway.snapshot(), call(more));
    let shown = showing(&call, 0);
    let group = snapshot.resolve("a").unwrap();
    let asked = Asked { name: "a", ask: &call.ask, tags: &[], origin: None, region: None };
    let drawn = draw(&gateway, &snapshot, &group, &asked, &mut Dice::seeded("x"));
    let caller = crate::Caller::master(tollway_accounts::KeyHash::of("k"));
    let (services, receipts) = (Arc::default(), Arc::new(tollway_ledger::Receipts::new(1)));
    let mut ticket = Ticket::open(&call, &caller, services, receipts, None);
    let mut walk = Walk::new(&gateway, &snapshot, &call, access);
    let mut leg = Leg::first(&call, drawn, &shown);
    let mut path = vec![leg.group.to_string()];
    while let Some(next) = walk.after(&leg, Error::new(kind, "x"), false, &mut ticket) {
        assert_eq!((next.showing.model.as_str(), next.is_first), (next.group.as_ref(), false));
        path.push(next.group.to_string());
        leg = next;
    }
    let skipped: Vec<String> =
        ticket.skipped().iter().map(|one| format!("{}: {}", one.deployment, one.reason)).collect();
    (path.join(" "), skipped.join("; "))
}

fn check(router: &str, more: &str, kind: Kind, expected: &str) {
    assert_eq!(walk(router, more, kind, None).0, expected, "{router} {more} {kind:?}");
}

#[test]
fn a_call_goes_from_group_to_group() {
    check("{}", "", Kind::Upstream, "a");
    check("{default_fallbacks: [b, c]}", "", Kind::Upstream, "a b c");
    check("{fallbacks: [{a: [b]}, {b: [c, a]}]}", "", Kind::Upstream, "a b c");
    check("{fallbacks: [{a: [b, secret]}, {b: [c]}]}", "", Kind::Timeout, "a b c secret");
    check("{fallbacks: [{a: [b, secret]}, {b: [c]}], max_fallbacks: 2}", "", Kind::Timeout, "a b c");
    check("{fallbacks: [{a: [b]}], context_window_fallbacks: [{a: [c]}]}", "", Kind::ContextWindow, "a c");
    check("{fallbacks: [{a: [b]}], content_policy_fallbacks: [{a: [c]}]}", "", Kind::ContentPolicy, "a c");
    check("{fallbacks: [{a: [b]}], content_policy_fallbacks: [{b: [c]}]}", "", Kind::ContentPolicy, "a b c");
    check("{fallbacks: [{a: [b]}]}", "", Kind::Unsupported, "a b");
    let last = "{fallbacks: [{a: [b, c]}], default_fallbacks: [secret]}";
    check(last, "", Kind::Timeout, "a b c secret");
    check(last, r#","fallbacks":["c"]"#, Kind::Timeout, "a c");
    check(last, r#","fallbacks":[]"#, Kind::Timeout, "a");
    check(
        "{fallbacks: [{a: [b]}], model_group_alias: {x: b}}",
        r#","fallbacks":["x","b"]"#,
        Kind::Upstream,
        "a x",
    );
}

#[test]
fn the_callers_own_mistakes_are_not_tried_elsewhere() {
    for kind in [Kind::InvalidRequest, Kind::TooLarge, Kind::Budget, Kind::Permission] {
        check("{default_fallbacks: [b]}", "", kind, "a");
    }
}

#[test]
fn a_callers_word_counts_more() {
    check("{default_fallbacks: [b]}", r#","fallbacks":["c"]"#, Kind::Upstream, "a c");
    check("{default_fallbacks: [b]}", r#","disable_fallbacks":true"#, Kind::Upstream, "a");
    check(
        "{default_fallbacks: [b]}",
        r#","context_window_fallbacks":[{"a":["c"]}]"#,
        Kind::ContextWindow,
        "a c b",
    );
    check("{default_fallbacks: [b]}", r#","context_window_fallbacks":[{"a":["c"]}]"#, Kind::Upstream, "a b");
    let large = "{default_fallbacks: [b], context_window_fallbacks: [{a: [c]}]}";
    check(large, r#","fallbacks":["secret"]"#, Kind::ContextWindow, "a secret");
    check(large, r#","fallbacks":[]"#, Kind::ContextWindow, "a c");
}

#[test]
fn what_the_caller_may_not_use_is_passed_over_with_the_reason() {
    let access: Access = Arc::new(|group| group != "secret");
    let rules = "{default_fallbacks: [secret, nobody, c]}";
    let (path, skipped) = walk(rules, "", Kind::Upstream, Some(&access));
    assert_eq!(path, "a c");
    assert_eq!(skipped, "secret: the caller may not use this model; nobody: no deployment has this name");
    assert_eq!(walk(rules, "", Kind::Upstream, None).0, "a secret c");
}

#[test]
fn a_targets_fields_replace_the_callers() {
    let target = Target {
        group: "b".into(),
        overrides: vec![("temperature".to_owned(), tollway_model::RawJson::parse("0").unwrap())],
    };
    let call = call(r#","temperature":1,"num_retries":3"#);
    let ask = overridden(&call, &target, 64).unwrap();
    let body: serde_json::Value = serde_json::from_slice(ask.envelope.body()).unwrap();
    assert_eq!((&body["temperature"], body.get("num_retries")), (&serde_json::json!(0), None));
    assert_eq!(ask.model, "b");
}

#[test]
fn every_group_that_a_call_may_end_at_is_known_before() {
    let check = |router: &str, more: &str, expected: &str| {
        let snapshot = snapshot_of(&format!("{MODELS}router_settings: {router}\n"));
        let found = reachable(&snapshot, &call(more), "a");
        let names: Vec<&str> = found.iter().map(|group| group[0].group.as_ref()).collect();
        assert_eq!(names.join(" "), expected, "{router} {more}");
    };
    check("{}", "", "");
    check("{fallbacks: [{a: [b]}, {b: [c, a]}]}", "", "b c");
    check("{fallbacks: [{a: [b]}], context_window_fallbacks: [{a: [c]}]}", "", "b c");
    check("{content_policy_fallbacks: [{a: [c]}]}", "", "c");
    check("{default_fallbacks: [b, secret]}", "", "b secret");
    check("{fallbacks: [{a: [b]}], model_group_alias: {x: c}}", r#","fallbacks":["x"]"#, "c");
    check("{fallbacks: [{a: [b]}]}", r#","disable_fallbacks":true"#, "");
}
