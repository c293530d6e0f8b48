use super::*;

/// `model` at `provider` is the entry `id`, found under its own name or as the same model.
fn check(provider: &str, model: &str, id: &str) {
    let entry = Catalog::builtin().find(provider, model).unwrap_or_else(|| panic!("{provider} {model}"));
    let from = match &entry.derived {
        None => &entry.id,
        Some(Derived::SameModel { from }) => from,
        other => panic!("{provider} {model}: {other:?}"),
    };
    assert_eq!(from, id, "{provider} {model}");
    assert_eq!(entry.provider(), provider_of(provider), "{provider} {model}");
}

/// Only capabilities of `model` are known, from `expected`.
fn check_unpriced(provider: &str, model: &str, expected: Derived) {
    let entry = Catalog::builtin().find(provider, model).unwrap_or_else(|| panic!("{provider} {model}"));
    assert_eq!(entry.derived, Some(expected), "{provider} {model}");
    assert!(entry.prices.is_empty() && entry.capabilities().tools.yes());
}

fn other(from: &str) -> Derived {
    Derived::OtherHost { from: from.into() }
}

#[test]
fn names_of_the_table_are_found_with_or_without_their_provider() {
    check("openai", "gpt-4o", "gpt-4o");
    check("openai", "openai/gpt-4o", "gpt-4o");
    check("openai", "gpt-5-2025-08-07", "gpt-5-2025-08-07");
    check("openai", "gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct");
    check("openai", "text-embedding-3-small", "text-embedding-3-small");
    check("openai", "whisper-1", "whisper-1");
    check("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5");
    check("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929");
    check("azure", "gpt-4o", "azure/gpt-4o");
    check("azure", "eu/gpt-4o-2024-11-20", "azure/eu/gpt-4o-2024-11-20");
    check("gemini", "gemini-2.5-pro", "gemini/gemini-2.5-pro");
    check("vertex_ai", "gemini-2.5-pro", "gemini-2.5-pro");
    check("vertex_ai_beta", "gemini-2.5-flash", "gemini-2.5-flash");
    check("vertex_ai", "claude-opus-4-6@default", "vertex_ai/claude-opus-4-6@default");
    check("mistral", "mistral-large-latest", "mistral/mistral-large-latest");
    check("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b");
    check("fireworks_ai", "minimax-m2p7", "fireworks_ai/accounts/fireworks/models/minimax-m2p7");
    check(
        "bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    );
    check("bedrock", "anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5");
    check("bedrock_converse", "anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5");
    check("deepseek", "deepseek-flash", "deepseek/deepseek-flash");
    check("perplexity", "sonar-deep-research", "perplexity/sonar-deep-research");
    check("xai", "grok-voice-2.0", "xai/grok-voice-2.0");
    check("dashscope", "qwen-flash", "dashscope/qwen-flash");
    check("databricks", "databricks-bge-large-en", "databricks/databricks-bge-large-en");
}

#[test]
fn decorations_of_names_are_taken_off() {
    check("openai", "gpt-4o-2027-01-31", "gpt-4o");
    check("openai", "ft:gpt-4o-2024-08-06:acme::abc123", "ft:gpt-4o-2024-08-06");
    check("openai", "ft:gpt-4o-2099-01-01:acme::abc", "ft:gpt-4o-2024-11-20");
    check("anthropic", "claude-sonnet-4-5-latest", "claude-sonnet-4-5");
    check("anthropic", "claude-opus-4-8-20270101", "claude-opus-4-8");
    check("vertex_ai", "gemini-2.5-pro-001", "gemini-2.5-pro");
    check("vertex_ai", "claude-sonnet-4-6@20270101", "vertex_ai/claude-sonnet-4-6");
    check("vertex_ai", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro");
    check("gemini", "models/gemini-2.5-flash", "gemini/gemini-2.5-flash");
    check("bedrock", "converse/us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-sonnet-4-6");
    check("bedrock", "eu-west-3/anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5");
    check("bedrock", "sa.anthropic.claude-haiku-5-5", "anthropic.claude-haiku-5-5");
    check("bedrock", "anthropic.claude-haiku-5-5-20270101-v2:0", "anthropic.claude-haiku-5-5");
    check(
        "bedrock",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6",
        "us.anthropic.claude-sonnet-4-6",
    );
}

#[test]
fn the_newest_snapshot_stands_for_a_name_without_one() {
    check("bedrock", "anthropic.claude-sonnet-4-5", "anthropic.claude-sonnet-4-5-20250929-v1:0");
    check("bedrock", "anthropic.claude-opus-4-5", "anthropic.claude-opus-4-5-20251101-v1:0");
}

#[test]
fn other_hosts_and_new_models_give_capabilities_without_prices() {
    check_unpriced("openrouter", "openai/gpt-4o", other("gpt-4o"));
    check_unpriced("openrouter", "anthropic/claude-sonnet-4.5", other("claude-sonnet-4-5"));
    check_unpriced("openrouter", "openai/gpt-4o-mini:nitro", other("gpt-4o-mini"));
    check_unpriced("openrouter", "google/gemini-2.5-flash", other("gemini/gemini-2.5-flash"));
    check_unpriced("some_proxy", "gpt-4o", other("gpt-4o"));
    check_unpriced("openrouter", "mistralai/mistral-large-latest", other("mistral/mistral-large-latest"));
    check_unpriced("anthropic", "claude-newfamily-7", Derived::Family);
    check_unpriced("bedrock", "us.anthropic.claude-newfamily-7-1-v1:0", Derived::Family);
    check_unpriced("snowflake", "claude-opus-9", Derived::Family);
    check_unpriced("openai", "ft:gpt-5-2099-01-01:acme::abc", other("gpt-5"));
    assert_eq!(Catalog::builtin().find("openai", "my-own-model"), None);
    assert_eq!(Catalog::builtin().find("groq", ""), None);
    assert_eq!(Catalog::builtin().find("", ""), None);
}

#[test]
fn a_provider_never_gets_another_providers_prices() {
    let entry = Catalog::builtin().find("azure_ai", "gpt-4o-2099-01-01");
    assert!(entry.is_none_or(|entry| entry.prices.is_empty()));
    let entry = Catalog::builtin().find("openai", "claude-sonnet-4-5").unwrap();
    assert!(entry.prices.is_empty() && entry.provider() == "openai");
}

fn check_provider(model: &str, expected: Option<&str>) {
    assert_eq!(Catalog::builtin().infer_provider(model), expected, "{model}");
}

#[test]
fn bare_names_tell_their_provider() {
    check_provider("gpt-4o", Some("openai"));
    check_provider("gpt-9-turbo", Some("openai"));
    check_provider("o3-mini", Some("openai"));
    check_provider("ft:gpt-4o-2024-08-06:acme::abc", Some("openai"));
    check_provider("text-embedding-3-large", Some("openai"));
    check_provider("claude-sonnet-4-5", Some("anthropic"));
    check_provider("claude-newfamily-7", Some("anthropic"));
    check_provider("gemini-2.5-pro", Some("vertex_ai"));
    check_provider("mistral-large-latest", Some("mistral"));
    check_provider("us.anthropic.claude-newfamily-7-v1:0", Some("bedrock"));
    check_provider("amazon.nova-pro-v1:0", Some("bedrock"));
    check_provider("azure/gpt-4o", Some("azure"));
    check_provider("grok-9", Some("xai"));
    check_provider("command-r-plus", Some("cohere"));
    check_provider("deepseek-flash", Some("deepseek"));
    check_provider("sonar-pro", Some("perplexity"));
    check_provider("my-model", None);
    check_provider("bedrockz/anthropic.claude-sonnet-4-5", None);
    check_provider("", None);
}

#[test]
fn dates_and_regions_are_told_from_names() {
    assert!(is_region("us-east-1") && is_region("europe-west4") && is_region("us-gov-west-1"));
    assert!(!is_region("gpt-4") && !is_region("us") && !is_region("meta-llama"));
    assert!(is_snapshot("-20250929-v1:0") && is_snapshot("@20250929") && is_snapshot("-2025-08-07"));
    assert!(!is_snapshot("-1") && !is_snapshot("-4-5-20250929") && !is_snapshot("-mini") && !is_snapshot(""));
}

proptest::proptest! {
    #[test]
    fn no_name_breaks_a_lookup(provider in "[a-z_]{0,10}", model in "\\PC{0,40}") {
        let catalog = Catalog::builtin();
        let _ = catalog.find(&provider, &model);
        let _ = catalog.infer_provider(&model);
    }

    #[test]
    fn decorated_names_end(parts in proptest::collection::vec("(us\\.|eu-west-1/|claude|-latest|-v1|:0|@2|-2025-01-01|ft:)", 0..12)) {
        let _ = Catalog::builtin().find("bedrock", &parts.concat());
    }
}
