//! What files mean once they are read.

#![expect(clippy::panic, reason = "a file that should load and does not has failed the test")]

use std::time::Duration;

use serde_json::json;
use tollway_config::{
    Config, Diagnostic, FailureClass, Fingerprint, Loaded, Mode, Options, Severity, Source, Strategy,
    from_str, load,
};

fn environment(name: &str) -> Option<String> {
    match name {
        "KEY" => Some("sk-from-the-environment".to_owned()),
        "SECONDS" => Some("45".to_owned()),
        "YES" => Some("True".to_owned()),
        _ => None,
    }
}

/// The configuration of a text that has no errors.
fn read(text: &str) -> Config {
    let loaded = from_str(text, &environment);
    loaded.config.clone().unwrap_or_else(|| panic!("{text}\n{}", loaded.report()))
}

/// Codes and severities found, without what is said of the master key.
fn found(loaded: &Loaded) -> Vec<(&'static str, Severity)> {
    let others = |found: &&Diagnostic| found.code != "weak-master-key";
    loaded.diagnostics.iter().filter(others).map(|found| (found.code, found.severity)).collect()
}

/// Reads `parameters` as the `litellm_params` of one deployment.
fn parameters(parameters: &str) -> tollway_config::LitellmParams {
    let text = format!("model_list: [{{model_name: a, litellm_params: {{model: openai/a, {parameters}}}}}]");
    read(&text).model_list.remove(0).litellm_params
}

#[test]
fn nothing_is_every_default() {
    let loaded = load(Source::Nothing, &environment, Options::default());
    assert_eq!(loaded.config, Some(Config::default()));
    assert_eq!(from_str("", &environment).config, Some(Config::default()));
    let config = Config::default();
    assert_eq!(config.num_retries(), 2);
    assert_eq!(config.max_body().bytes(), 32 << 20);
    assert_eq!(config.router_settings.routing_strategy, Strategy::SimpleShuffle);
    assert_eq!(config.tollway.timeouts.first_byte, Duration::from_secs(600));
    assert_eq!(config.tollway.limits.max_json_depth, 64);
}

#[test]
fn prices_keep_every_digit_they_were_written_with() {
    let text = std::fs::read_to_string("tests/corpus/good/prices.yaml").expect("readable");
    let deployment = read(&text).model_list.remove(0);
    let prices = &deployment.litellm_params.prices;
    for (name, expected) in [
        ("input_cost_per_token", "0.00000015000000000001"),
        ("output_cost_per_token", "6E-7"),
        ("cache_read_input_token_cost", "7.5e-08"),
        ("search_context_cost_per_query.search_context_size_low", "0.03"),
    ] {
        assert_eq!(prices[name].as_str(), expected, "{name}");
    }
    assert!(!prices.contains_key("output_cost_per_image"));
    assert_eq!(prices["output_cost_per_token"].price().picos(), 600_000);
    assert_eq!(deployment.model_info.prices["input_cost_per_audio_token"].as_str(), "1.0e-5");
}

#[test]
fn yaml_1_1_is_read_where_it_is_meant_and_text_stays_text() {
    let text = std::fs::read_to_string("tests/corpus/good/yaml-1.1.yaml").expect("readable");
    let config = read(&text);
    let deployment = &config.model_list[0];
    assert_eq!(deployment.model_name, "no");
    let params = &deployment.litellm_params;
    assert_eq!(params.api_version.as_deref(), Some("2024-10-21"));
    assert_eq!(params.api_key.as_ref().expect("set").expose(), "0123456789");
    assert_eq!(params.drop_params, Some(true));
    assert_eq!((params.tpm, params.rpm), (Some(1_000_000), Some(100)));
    assert_eq!(params.defaults["stop"], json!(["\n", false]));
    let body = json!({
        "flag": true, "ratio": 1e-6, "clock": "12:30", "day": "2024-10-21", "text": "two\nlines\n", "nothing": null
    });
    assert_eq!(json!(params.extra_body), body);
    assert!(deployment.model_info.supports["supports_function_calling"]);
    assert_eq!(deployment.model_info.other["owner"], "platform");
    assert!(config.litellm_settings.drop_params);
    assert_eq!(
        config.general_settings.master_key.as_ref().expect("set").expose(),
        "sk-4f9a1c07e2b85d3366f0a9c1"
    );
}

#[test]
fn anchors_and_merge_keys_give_what_they_stand_for() {
    let text = std::fs::read_to_string("tests/corpus/good/anchors.yaml").expect("readable");
    let deployments = read(&text).model_list;
    let second = &deployments[1].litellm_params;
    assert_eq!((second.model.as_str(), second.timeout), ("openai/b", Some(Duration::from_secs(300))));
    assert_eq!(second.extra_headers["x-team"].expose(), "search");
    let third = &deployments[2].litellm_params;
    // The own key first, then the earlier of two sources.
    assert_eq!(
        (third.model.as_str(), third.timeout, third.rpm),
        ("openai/c", Some(Duration::from_secs(300)), Some(7))
    );
    assert_eq!(deployments[3].litellm_params.rpm, Some(9));
}

#[test]
fn references_to_the_environment_fit_every_type() {
    let params = parameters(
        "api_key: os.environ/KEY, timeout: os.environ/SECONDS, drop_params: os.environ/YES, \
        extra_body: {a: [os.environ/KEY, os.environ/YES, os.environ/MISSING]}",
    );
    assert_eq!(params.api_key.expect("set").expose(), "sk-from-the-environment");
    assert_eq!(params.timeout, Some(Duration::from_secs(45)));
    assert_eq!(params.drop_params, Some(true));
    assert_eq!(params.extra_body["a"], json!(["sk-from-the-environment", true, null]));
}

#[test]
fn an_unset_variable_counts_as_not_given_and_is_named_once() {
    let text = "model_list:\n- model_name: a\n  litellm_params: {model: openai/a, api_key: os.environ/NO, api_base: os.environ/NO}\n";
    let loaded = from_str(text, &environment);
    assert_eq!(found(&loaded), [("unset-variable", Severity::Warning)]);
    assert_eq!(loaded.config.expect("loads").model_list[0].litellm_params.api_key, None);
}

#[test]
fn the_files_variables_lie_over_those_of_the_process() {
    let config = read(
        "environment_variables: {KEY: from-the-file, OTHER: os.environ/KEY}\nmodel_list:\n- model_name: a\n  litellm_params: {model: openai/a, api_key: os.environ/KEY, organization: os.environ/OTHER}\n",
    );
    let params = &config.model_list[0].litellm_params;
    assert_eq!(params.api_key.as_ref().expect("set").expose(), "from-the-file");
    assert_eq!(params.organization.as_deref(), Some("sk-from-the-environment"));
}

#[test]
fn the_master_key_falls_back_to_the_environment_and_is_essential_when_written() {
    let environment =
        |name: &str| (name == "LITELLM_MASTER_KEY").then(|| "sk-4f9a1c07e2b85d3366f0a9c1".to_owned());
    let loaded = load(Source::Nothing, &environment, Options { public: true, lenient: false });
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.report());
    assert!(loaded.config.expect("loads").general_settings.master_key.is_some());
    let loaded = from_str("general_settings: {master_key: os.environ/MISSING}", &environment);
    assert!(found(&loaded).contains(&("essential-unset", Severity::Error)));
    assert_eq!(loaded.config, None);
}

#[test]
fn a_weak_key_is_an_error_only_where_others_can_reach_the_gateway() {
    for (text, public, expected) in [
        ("general_settings: {master_key: sk-1234}", true, Some(Severity::Error)),
        ("general_settings: {master_key: sk-1234}", false, Some(Severity::Danger)),
        // Without one, the gateway makes a strong one of its own.
        ("{}", true, None),
        ("{}", false, None),
        ("general_settings: {master_key: ''}", false, Some(Severity::Error)),
        (
            "general_settings: {master_key: sk-1234, dangerously_permit_weak_or_unset_master_key: yes}",
            true,
            Some(Severity::Danger),
        ),
        ("general_settings: {master_key: sk-4f9a1c07e2b85d3366f0a9c1}", true, None),
    ] {
        let source = Source::Text { name: "config.yaml".to_owned(), text: text.to_owned() };
        let loaded = load(source, &|_| None, Options { public, lenient: false });
        assert_eq!(loaded.diagnostics.first().map(|found| found.severity), expected, "{text}");
    }
}

#[test]
fn a_credential_fills_in_what_a_deployment_leaves_out() {
    let config = read(
        "model_list:\n- model_name: a\n  litellm_params: {model: azure/a, litellm_credential_name: shared, api_version: mine}\n\
         litellm_settings:\n  credential_list:\n  - credential_name: shared\n    credential_values: {api_key: k, api_version: theirs, api_base: 'https://x.example'}\n",
    );
    let params = &config.model_list[0].litellm_params;
    assert_eq!(params.api_key.as_ref().expect("from the credential").expose(), "k");
    assert_eq!(params.api_version.as_deref(), Some("mine"));
    assert_eq!(params.api_base.as_deref(), Some("https://x.example"));
    assert_eq!(config.credential_list.len(), 1);
}

#[test]
fn request_parameters_of_a_deployment_are_its_defaults() {
    let params = parameters("temperature: 0.2, max_tokens: 100, thinking: {type: enabled}, stop: null");
    assert_eq!(
        json!(params.defaults),
        json!({"temperature": 0.2, "max_tokens": 100, "thinking": {"type": "enabled"}})
    );
}

#[test]
fn router_settings_are_read_in_all_their_forms() {
    let config = read(
        "litellm_settings: {num_retries: 7, fallbacks: [{x: [y]}], default_fallbacks: [z]}\n\
         router_settings:\n  routing_strategy: usage-based-routing\n  \
         fallbacks: [{a: [b, {model: c, temperature: 0}], d: [e]}]\n  \
         model_group_alias: {old: new, secret: {model: new, hidden: true}}\n  \
         retry_policy: {RateLimitErrorRetries: 3, DefaultRetries: 1}\n  \
         allowed_fails_policy: {TimeoutErrorAllowedFails: 9}\n  \
         optional_pre_call_checks: [enforce_model_rate_limits]\n",
    );
    let router = &config.router_settings;
    assert_eq!(router.routing_strategy, Strategy::Usage);
    let (group, targets) = &config.fallbacks().0[0];
    assert_eq!((group.as_str(), targets[0].model.as_str(), targets[1].model.as_str()), ("a", "b", "c"));
    assert_eq!(targets[1].overrides["temperature"], 0);
    assert_eq!(config.fallbacks().0[1].0, "d");
    assert!(router.model_group_alias["secret"].hidden && !router.model_group_alias["old"].hidden);
    assert_eq!(router.retry_policy.0[&FailureClass::RateLimit], 3);
    assert_eq!(router.retry_policy.0[&FailureClass::Default], 1);
    assert_eq!(router.allowed_fails_policy.0[&FailureClass::Timeout], 9);
    assert!(router.enforces_limits());
    assert_eq!(config.num_retries(), 7);
    assert_eq!(config.default_fallbacks(), ["z"]);
    assert_eq!((config.max_fallbacks(), config.allowed_fails()), (5, None));
}

#[test]
fn what_is_known_and_has_no_effect_says_what_that_means() {
    let deployment = |params: &str| {
        format!("model_list: [{{model_name: a, litellm_params: {{model: openai/a, {params}}}}}]")
    };
    for (text, severity, expected) in [
        (deployment("fallbacks: [{a: [b]}]"), Severity::Warning, "under `router_settings`"),
        (
            "router_settings: {routing_strategy_args: {ttft_percentile: 0.9}}".to_owned(),
            Severity::Warning,
            "calls go by `routing_strategy`",
        ),
        (deployment("tag_regex: [eu]"), Severity::Danger, "calls by its `tags`"),
        (
            "router_settings: {optional_pre_call_checks: [enforce_model_rate_limits, prompt_caching]}"
                .to_owned(),
            Severity::Warning,
            "no effect",
        ),
        (deployment("use_in_pass_through: true"), Severity::Warning, "answer 404"),
        ("tollway: {cors: {allowed_origins: ['*']}}".to_owned(), Severity::Warning, "no CORS headers"),
        ("tollway: {limits: {max_event: 1MiB}}".to_owned(), Severity::Warning, "32 MiB for an event"),
        ("tollway: {log: {redact: false}}".to_owned(), Severity::Warning, "never holds prompts"),
    ] {
        let loaded = from_str(&text, &environment);
        assert_eq!(found(&loaded), [("not-built", severity)], "{text}");
        assert!(loaded.config.is_some() && loaded.report().contains(expected), "{text}\n{}", loaded.report());
    }
    for silent in [
        "router_settings: {routing_strategy: least-busy, optional_pre_call_checks: [enforce_model_rate_limits]}",
        "tollway: {log: {redact: true}, cors: {}}",
    ] {
        assert_eq!(found(&from_str(silent, &environment)), [], "{silent}");
    }
}

#[test]
fn our_own_limit_counts_more_than_litellms() {
    assert_eq!(read("general_settings: {max_request_size_mb: 3}").max_body().bytes(), 3 << 20);
    let both = "general_settings: {max_request_size_mb: 3}\ntollway: {limits: {max_body: 5MiB}}";
    assert_eq!(read(both).max_body().bytes(), 5 << 20);
}

#[test]
fn a_key_that_is_off_is_no_loss() {
    for (text, expected) in [
        ("litellm_settings: {cache: false, callbacks: [], max_budget: null}", None),
        ("litellm_settings: {cache: true}", Some(Severity::Warning)),
        ("general_settings: {enable_jwt_auth: no}", None),
        ("general_settings: {enable_jwt_auth: yes}", Some(Severity::Danger)),
        // These are on unless switched off.
        ("litellm_settings: {require_auth_for_metrics_endpoint: true}", None),
        ("litellm_settings: {require_auth_for_metrics_endpoint: false}", Some(Severity::Danger)),
        ("router_settings: {optional_pre_call_checks: [prompt_caching]}", Some(Severity::Warning)),
        ("router_settings: {optional_pre_call_checks: [router_budget_limiting]}", None),
        ("router_settings: {optional_pre_call_checks: [enforce_model_rate_limits]}", None),
    ] {
        let loaded = from_str(text, &environment);
        assert_eq!(found(&loaded).first().map(|(_, severity)| *severity), expected, "{text}");
    }
}

#[test]
fn budgets_are_read_by_both_of_their_names() {
    let config = read(
        "model_list: [{model_name: a, litellm_params: {model: openai/a, max_budget: 1.5, budget_duration: 1mo}}]
router_settings: {provider_budget_config: {openai: {budget_limit: 100, time_period: 1d}}}
litellm_settings: {tag_budget_config: {web: {max_budget: 2e-3, budget_duration: 1w}}}",
    );
    let params = &config.model_list[0].litellm_params;
    let own = (params.max_budget.as_ref(), params.budget_duration.as_deref());
    assert_eq!((own.0.map(tollway_config::Decimal::as_str), own.1), (Some("1.5"), Some("1mo")));
    for (limits, name, most, window) in [
        (&config.router_settings.provider_budget_config, "openai", "100", "1d"),
        (&config.litellm_settings.tag_budget_config, "web", "2e-3", "1w"),
    ] {
        let limit = &limits[name];
        let found =
            (limit.budget_limit.as_ref().map(tollway_config::Decimal::as_str), limit.time_period.as_deref());
        assert_eq!(found, (Some(most), Some(window)), "{name}");
    }
    let without =
        from_str("router_settings: {provider_budget_config: {openai: {time_period: 1d}}}", &environment);
    assert_eq!(found(&without), [("missing-key", Severity::Error)]);
}

#[test]
fn json_is_yaml() {
    let config = read(
        r#"{"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/a", "rpm": 3}, "model_info": {"mode": "embedding"}}]}"#,
    );
    assert_eq!(config.model_list[0].litellm_params.rpm, Some(3));
    assert_eq!(config.model_list[0].model_info.mode, Some(Mode::Embedding));
}

#[test]
fn included_lists_are_added_and_the_rest_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let deployment = |name: &str| {
        format!("model_list: [{{model_name: {name}, litellm_params: {{model: openai/{name}}}}}]\n")
    };
    write(
        "main.yaml",
        &format!(
            "include: [sub/one.yaml, two.yaml, main.yaml]\n{}router_settings: {{num_retries: 1}}\n",
            deployment("a")
        ),
    );
    std::fs::create_dir(folder.path().join("sub")).expect("made");
    write("sub/one.yaml", &format!("{}include: ../two.yaml\n", deployment("b")));
    write("two.yaml", &format!("{}router_settings: {{timeout: 9}}\n", deployment("c")));
    let loaded = load(Source::File(folder.path().join("main.yaml")), &environment, Options::default());
    assert_eq!(found(&loaded), [("include-replaces", Severity::Warning)]);
    let config = loaded.config.clone().expect("loads");
    let names: Vec<&str> = config.model_list.iter().map(|one| one.model_name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(config.router_settings.num_retries, None);
    assert_eq!(config.router_settings.timeout, Some(Duration::from_secs(9)));
    assert_eq!(config.include, ["sub/one.yaml", "two.yaml", "main.yaml"]);
    assert_eq!(loaded.files.len(), 3);

    assert_eq!(Fingerprint::of_files(&loaded.files), loaded.fingerprint);
    write("two.yaml", "model_list: []\n");
    assert_ne!(Fingerprint::of_files(&loaded.files), loaded.fingerprint);
}

#[test]
fn a_file_that_cannot_be_read_is_still_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let missing = load(Source::File(path.clone()), &environment, Options::default());
    assert_eq!((missing.config, missing.files.as_slice()), (None, std::slice::from_ref(&path)));
    assert_eq!(Fingerprint::of_files(&missing.files), missing.fingerprint);
    std::fs::write(&path, b"\xff").expect("written");
    let broken = load(Source::File(path), &environment, Options::default());
    assert_eq!(Fingerprint::of_files(&broken.files), broken.fingerprint);
    assert_ne!(broken.fingerprint, missing.fingerprint);
}

#[test]
fn a_thousand_mistakes_on_one_long_line_are_bounded_and_still_an_error() {
    let keys: String = (0..20_000).map(|number| format!("wrong{number}: {{a: b}}, ")).collect();
    let loaded = from_str(&format!("{{{keys}}}"), &environment);
    assert!(loaded.config.is_none());
    assert!(loaded.diagnostics.len() < 600, "{}", loaded.diagnostics.len());
    assert!(loaded.report().contains("19500 more findings"), "{}", loaded.diagnostics.last().expect("some"));
    assert!(loaded.report().len() < 1_000_000);
}

#[test]
fn a_place_points_at_the_key_it_names() {
    let text = "router_settings:\n  # ünïcödé\n  \"ääh\": 1\n  timeout: soon\n";
    let loaded = from_str(text, &environment);
    let places: Vec<(usize, usize, usize)> = loaded
        .diagnostics
        .iter()
        .filter_map(|found| found.place.as_ref())
        .map(|place| (place.line, place.column, place.length))
        .collect();
    assert_eq!(places, [(3, 3, 5), (4, 12, 4)]);
    assert_eq!(loaded.diagnostics[1].path, "router_settings.timeout");
}
