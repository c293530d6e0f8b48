//! Whatever the file holds, loading ends, says where things are, and shows no secret.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tollway_config::{Loaded, Options, Severity, Source, load};

const CANARY: &str = "canary-7f3e9a";

fn check(text: &str, lenient: bool) -> Loaded {
    let started = Instant::now();
    let source = Source::Text { name: "config.yaml".to_owned(), text: text.to_owned() };
    let environment = |name: &str| name.len().is_multiple_of(2).then(|| CANARY.to_owned());
    let loaded = load(source, &environment, Options { lenient, public: false });
    assert!(started.elapsed() < Duration::from_secs(20), "too slow");
    let failed = loaded.diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(loaded.config.is_none(), failed);
    let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count() + 1;
    for place in loaded.diagnostics.iter().filter_map(|found| found.place.as_ref()) {
        assert!((1..=lines).contains(&place.line), "{place:?}");
        assert!(place.column >= place.text_column && place.text_column >= 1, "{place:?}");
    }
    let report = loaded.report();
    assert!(!report.contains(CANARY), "{report}");
    assert!(!report.chars().any(|character| character.is_control() && character != '\n'), "{report:?}");
    loaded
}

/// Lines made of what configurations are made of, put together at random.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "model_list:",
        "- model_name: a",
        "litellm_params:",
        "model: openai/a",
        "api_key: canary-7f3e9a",
        "timeout: 3s",
        "general_settings:",
        "master_key: os.environ/AB",
        "router_settings:",
        "fallbacks: [{a: [b]}]",
        "<<: *a",
        "&a",
        "*a",
        "{",
        "}",
        "[",
        "]",
        ":",
        "-",
        "? ",
        "|",
        ">-",
        "'",
        "\"",
        "#",
        "!!str",
        "%YAML 1.1",
        "---",
        "...",
        "\t",
        "~",
        "include: x",
        "tollway: {limits: {max_body: 1e999}}",
        "input_cost_per_token: 1e-7",
        "guardrails: [1]",
        "\u{feff}",
        "environment_variables: {A: canary-7f3e9a}",
        "credential_list:",
        "é",
        "\r",
        "\u{7}",
        "retry_policy: {x: y}",
    ]);
    let line = (0_usize..6, prop::collection::vec(words, 1..4));
    prop::collection::vec(line, 0..30).prop_map(|lines| {
        let text =
            lines.into_iter().map(|(indent, words)| format!("{}{}\n", " ".repeat(indent), words.join(" ")));
        text.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text: String, lenient: bool) {
        check(&text, lenient);
    }

    #[test]
    fn any_mixture_of_real_lines_is_answered(text in pieces(), lenient: bool) {
        // The canary is only secret where a secret belongs.
        let shown = text.replace("canary-7f3e9a", "another-text");
        check(&shown, lenient);
    }

    #[test]
    fn a_real_file_with_a_few_wrong_bytes_is_answered(
        edits in prop::collection::vec((0.0_f64..1.0, "[ -~\n]{0,3}", 0_usize..6), 1..6),
        lenient: bool,
    ) {
        let mut text = std::fs::read_to_string("tests/corpus/good/company.yaml").expect("readable");
        for (at, insert, remove) in edits {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in the file")]
            let start = (text.len() as f64 * at) as usize;
            let end = (start + remove).min(text.len());
            text.replace_range(start..end, &insert);
        }
        check(&text, lenient);
    }
}

#[test]
fn deep_and_wide_texts_are_answered() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "a:\n".repeat(50_000),
        "&a [*a, ".repeat(1000),
        format!("model_list: [{}]", "1, ".repeat(250_000)),
        format!("a: {}", "\"".repeat(99_999)),
        "!".repeat(100_000),
        "x".repeat(1_000_000),
    ] {
        check(&text, false);
    }
}

#[test]
fn a_secret_in_any_place_a_secret_belongs_is_never_shown() {
    for text in [
        "model_list:\n- model_name: a\n  litellm_params:\n    api_key: canary-7f3e9a\n    bogus: 1\n",
        "model_list: [{model_name: a, litellm_params: {bogus: 1, api_key: canary-7f3e9a, also: 2}}]\n",
        "model_list:\n- litellm_params:\n    api_key:\n      - canary-7f3e9a\n",
        "model_list:\n- litellm_params: {extra_headers: {authorization: {canary-7f3e9a: 1}}}\n"
            .replace("{canary-7f3e9a: 1}", "[canary-7f3e9a]")
            .as_str(),
        "general_settings: {master_key: [canary-7f3e9a]}\n",
        "general_settings: {master_key: canary-7f3e9a, bogus: 1}\n",
        "general_settings:\n  master_key: canary-7f3e9a\n bogus: [\n",
        "general_settings:\n  master_key:\n    \"canary-7f3e9a\n",
        "general_settings:\n  master_key: |\n    canary-7f3e9a\n\tx\n",
        "- api_key: >\n    x\n    canary-7f3e9a: [\n",
        "environment_variables:\n  A: canary-7f3e9a: x\n",
        "environment_variables: {A: canary-7f3e9a, LD_PRELOAD: canary-7f3e9a}\n",
        "credential_list: [{credential_values: {api_key: canary-7f3e9a, x: canary-7f3e9a}}]\n",
        "model_list:\n- litellm_params:\n    timeout: os.environ/AB\n    rpm: os.environ/AB\n    tags: os.environ/AB\n    api_base: os.environ/AB\n",
        "router_settings: {routing_strategy: os.environ/AB}\n",
    ] {
        let loaded = check(text, false);
        assert!(!loaded.diagnostics.is_empty(), "{text}");
    }
}
