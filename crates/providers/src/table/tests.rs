use super::*;

fn split(model: &str) -> String {
    match Table::builtin().split_model(model) {
        Ok((provider, rest)) => format!("{} + {rest}", provider.id),
        Err(unknown) => unknown.to_string(),
    }
}

fn in_environment(variables: &[&str]) -> Vec<String> {
    let env = |name: &str| variables.contains(&name).then(|| "value".to_owned());
    Table::builtin().environment(&env).into_iter().map(|provider| provider.id.clone()).collect()
}

#[test]
fn the_built_in_table_has_every_row() {
    let table = Table::parse(&[CARRIED, KNOWN]).unwrap();
    assert!(table.carried().count() >= 104);
    assert!(table.iter().count() > 155);
    assert!(table.get("azure").is_some_and(|azure| !azure.carried()));
    assert_eq!(table.get("ai21").map(|provider| provider.id.as_str()), Some("ai21_chat"));
}

#[test]
fn a_model_name_splits_at_the_longest_id() {
    assert_eq!(split("groq/llama-3.3-70b"), "groq + llama-3.3-70b");
    assert_eq!(split("openrouter/openai/gpt-5"), "openrouter + openai/gpt-5");
    assert_eq!(split("text-completion-openai/davinci-002"), "openai + davinci-002");
    assert_eq!(split("bedrock/converse/x"), "bedrock + converse/x");
    let table = Table::parse(&["[a]\ntitle='A'\nprotocol='x'\n['a/b']\ntitle='B'\nprotocol='x'"]).unwrap();
    assert_eq!(table.split_model("a/b/c").unwrap().0.id, "a/b");
    assert_eq!(table.split_model("a/b").unwrap().0.id, "a");
}

#[test]
fn an_unknown_provider_is_answered_with_the_nearest_id() {
    assert_eq!(split("grok/x"), "`grok` of model `grok/x` is not a provider; did you mean `groq`?");
    assert_eq!(
        split("Together-AI/x"),
        "`Together-AI` of model `Together-AI/x` is not a provider; did you mean `together_ai`?"
    );
    assert_eq!(split("qqqqqqqq/x"), "`qqqqqqqq` of model `qqqqqqqq/x` is not a provider");
    assert_eq!(split("gpt-5"), "model `gpt-5` names no provider; write `provider/gpt-5`");
    assert_eq!(split(""), "no model is named; write `provider/model`");
    assert_eq!(split("groq/"), "`groq/` names no model; write `groq/MODEL`");
}

#[test]
fn well_known_names_tell_their_provider() {
    let infer = |model| Table::builtin().infer(model).map(|provider| provider.id.as_str());
    assert_eq!(infer("gpt-5.2"), Some("openai"));
    assert_eq!(infer("claude-opus-5"), Some("anthropic"));
    assert_eq!(infer("gemini-3-pro"), Some("gemini"));
    assert_eq!(infer("llama-3"), None);
}

#[test]
fn the_environment_names_the_providers_that_can_be_used() {
    assert_eq!(in_environment(&["GROQ_API_KEY", "ANTHROPIC_API_KEY"]), ["anthropic", "groq"]);
    assert_eq!(in_environment(&["DASHSCOPE_API_KEY"]), ["dashscope"]);
    assert_eq!(in_environment(&["GOOGLE_API_KEY"]), ["gemini"]);
    assert_eq!(in_environment(&["CLOUDFLARE_API_KEY"]), [""; 0]);
    assert_eq!(in_environment(&["CLOUDFLARE_API_KEY", "CLOUDFLARE_ACCOUNT_ID"]), ["cloudflare"]);
    assert_eq!(in_environment(&["HEROKU_API_KEY"]), [""; 0]);
    assert_eq!(in_environment(&["HEROKU_API_KEY", "HEROKU_API_BASE"]), ["heroku"]);
    assert_eq!(in_environment(&["AWS_ACCESS_KEY_ID", "COHERE_API_KEY"]), [""; 0]);
}

#[test]
fn mistakes_in_a_table_are_named() {
    let error = |text: &str| Table::parse(&[text]).unwrap_err().to_string();
    assert!(error("[a]\ntitle='A'\ndialect='openai-chat'").contains("source"));
    assert!(error("[a]\ntitle='A'").contains("dialect"));
    assert!(error("[a]\nalias_of='b'").contains("unknown `b`"));
    assert!(error("[a]\ntitel='A'").contains("titel"));
    assert!(error("[a]\ntitle='A'\nauth='basic'").contains("basic"));
    let row = "[a]\ntitle='A'\ndialect='openai-chat'\nsource='x'\nchecked='y'\n";
    assert!(error(&format!("{row}quirks=['flat']")).contains("flat"));
    assert!(error(&format!("{row}[[a.models]]\nquirks=['flatten_text']")).contains("match"));
    assert!(Table::parse(&[row, row]).unwrap_err().to_string().contains("twice"));
}

#[test]
fn a_row_ends_where_the_next_one_begins() {
    let check =
        |text: &str, expected: &[&str]| assert_eq!(rows(text).collect::<Vec<_>>(), expected, "{text}");
    check("", &[]);
    check("# nothing\n", &["# nothing\n"]);
    check("[a]\nx=1\n[b]\ny=[2]\n", &["[a]\nx=1\n", "[b]\ny=[2]\n"]);
    check("[a]\n[a.rules]\n[[a.models]]\n['b.c/d']\n", &["[a]\n[a.rules]\n[[a.models]]\n", "['b.c/d']\n"]);
    check("[a]\nx=[\n  [1],\n]\n", &["[a]\nx=[\n  [1],\n]\n"]);
}

#[test]
fn servers_of_ones_own_send_no_bills() {
    let own = |id: &str| Table::builtin().get(id).unwrap().is_own_server();
    for id in ["openai_like", "hosted_vllm", "lm_studio", "demo"] {
        assert!(own(id), "{id}");
    }
    for id in ["openai", "azure", "anthropic", "gemini", "bedrock", "groq"] {
        assert!(!own(id), "{id}");
    }
}
