use super::*;
use crate::Table;

fn spec(model: &str) -> EndpointSpec {
    let (provider, model) = Table::builtin().split_model(model).unwrap();
    EndpointSpec::new(provider, model)
}

fn with_key(model: &str) -> EndpointSpec {
    EndpointSpec { api_key: Some("sk-canary".into()), ..spec(model) }
}

fn with_base(model: &str, base: &str) -> EndpointSpec {
    EndpointSpec { api_base: Some(base.to_owned()), ..with_key(model) }
}

fn build(spec: EndpointSpec) -> Endpoint {
    Endpoint::build(spec, &|_| None).unwrap()
}

fn in_env(spec: EndpointSpec, variables: &[(&str, &str)]) -> Endpoint {
    let env =
        |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
    Endpoint::build(spec, &env).unwrap()
}

fn send(endpoint: &Endpoint, operation: Operation, dialect: Dialect) -> Request<Bytes> {
    endpoint.request(operation, dialect, false, Bytes::new(), &[]).unwrap()
}

fn chat(endpoint: &Endpoint) -> Request<Bytes> {
    send(endpoint, Operation::Chat, endpoint.dialect())
}

fn refused(spec: EndpointSpec) -> String {
    Endpoint::build(spec, &|_| None).unwrap_err().to_string()
}

#[test]
fn a_server_elsewhere_is_the_operators_own() {
    fn check(spec: EndpointSpec, expected: bool) {
        let endpoint = build(spec);
        assert_eq!(endpoint.is_own_server(), expected, "{}", endpoint.base());
    }
    check(with_key("openai/gpt-4o"), false);
    check(with_base("openai/gpt-4o", "https://API.openai.com/v1"), false);
    check(with_base("openai/gpt-4o", "https://api.openai.com.example.com/v1"), true);
    check(with_base("openai/mine", "http://10.0.0.7:8000/v1"), true);
    check(with_base("hosted_vllm/mine", "http://10.0.0.7:8000/v1"), true);
    // A host of another provider's sends bills all the same.
    check(with_base("openai/mine", "https://mine.openai.azure.com/openai/v1"), false);
    check(with_base("anthropic/claude", "https://mine.services.ai.azure.com/anthropic"), false);
    check(with_base("openai/llama", "https://api.groq.com:443/openai/v1"), false);
    check(with_base("openai_like/m", "https://router.huggingface.co/v1"), false);
    check(with_base("openai/m", "http://localhost:11434/v1"), true);
}

#[test]
fn what_is_missing_is_named() {
    let groq = "no key for `groq`: set `api_key`, or GROQ_API_KEY";
    assert_eq!(refused(spec("groq/m")), groq);
    assert_eq!(Endpoint::build(spec("groq/m"), &|_| Some(" ".into())).unwrap_err().to_string(), groq);
    assert_eq!(refused(with_key("heroku/m")), "no address for `heroku`: set `api_base`, or HEROKU_API_BASE");
    let cloudflare = "the address of `cloudflare` needs `account_id`: set it, or CLOUDFLARE_ACCOUNT_ID";
    assert_eq!(refused(with_key("cloudflare/m")), cloudflare);
    assert!(refused(spec("github_copilot/m")).ends_with("set `api_key`"));
    let azure = refused(with_key("azure/m"));
    assert!(azure.starts_with("`azure` (Azure) is known and not carried yet: its v1 API"), "{azure}");
}

#[test]
fn what_cannot_be_used_is_refused_without_being_printed() {
    let bad_key = EndpointSpec { api_key: Some("sk-\r\ncanary".into()), ..spec("groq/m") };
    let bad_header =
        EndpointSpec { extra_headers: vec![("x-a".into(), "canary\nx: y".into())], ..with_key("groq/m") };
    for spec in
        [bad_key, bad_header, with_base("groq/m", "https://canary:canary@x.test"), with_base("groq/m", "x")]
    {
        let error = refused(spec);
        assert!(error.contains("cannot be used") && !error.contains("canary"), "{error}");
    }
    let mut stream = with_key("groq/m");
    stream.extra_body.insert("stream".into(), RawJson::parse("true").unwrap());
    assert!(refused(stream).contains("caller's choice"));
    let mut region = with_key("bedrock_mantle/m");
    region.variables.insert("region".into(), "evil.test/".into());
    assert!(refused(region).contains("part of an address"));
}

#[test]
fn the_base_is_the_deployments_then_the_environments_then_the_rows() {
    let variables = [("GROQ_API_BASE", "https://env.test/v1"), ("GROQ_API_KEY", "k")];
    assert_eq!(in_env(with_base("groq/m", "https://spec.test"), &variables).base(), "https://spec.test");
    assert_eq!(in_env(spec("groq/m"), &variables).base(), "https://env.test/v1");
    assert_eq!(build(with_key("groq/m")).base(), "https://api.groq.com/openai/v1");
}

#[test]
fn a_variable_of_the_environment_may_stand_for_a_shorter_base() {
    let chat_at = |model, name, value| chat(&in_env(with_key(model), &[(name, value)])).uri().to_string();
    assert_eq!(
        chat_at("gradient_ai/m", "GRADIENT_AI_AGENT_ENDPOINT", "https://a.agents.test/"),
        "https://a.agents.test/api/v1/chat/completions"
    );
    for value in ["https://d.test", "https://d.test/api/v2", "https://d.test/api/v2/genai/llmgw/"] {
        assert_eq!(
            chat_at("datarobot/m", "DATAROBOT_ENDPOINT", value),
            "https://d.test/api/v2/genai/llmgw/chat/completions/"
        );
    }
    assert_eq!(
        chat_at("bedrock_mantle/m", "AWS_REGION", "eu-west-1"),
        "https://bedrock-mantle.eu-west-1.api.aws/v1/chat/completions"
    );
}

#[test]
fn a_dedicated_model_has_its_own_host() {
    let url = chat(&build(with_key("baseten/abcd1234"))).uri().to_string();
    assert_eq!(url, "https://model-abcd1234.api.baseten.co/environments/production/sync/v1/chat/completions");
    let shared = chat(&build(with_key("baseten/deepseek-ai/DeepSeek-V3"))).uri().to_string();
    assert_eq!(shared, "https://inference.baseten.co/v1/chat/completions");
}

#[test]
fn anthropic_keys_travel_by_their_kind() {
    let header = |endpoint: &Endpoint, name: &str| {
        chat(endpoint).headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let plain = build(with_key("anthropic/m"));
    assert_eq!(header(&plain, "x-api-key").as_deref(), Some("sk-canary"));
    assert_eq!(header(&plain, "authorization"), None);
    assert_eq!(header(&plain, "anthropic-version").as_deref(), Some("2023-06-01"));
    let oauth = build(EndpointSpec { api_key: Some("sk-ant-oat01-x".into()), ..spec("anthropic/m") });
    assert_eq!(header(&oauth, "authorization").as_deref(), Some("Bearer sk-ant-oat01-x"));
    assert_eq!(header(&oauth, "x-api-key"), None);
    assert_eq!(header(&oauth, "anthropic-beta").as_deref(), Some("oauth-2025-04-20"));
    let token = in_env(spec("anthropic/m"), &[("ANTHROPIC_AUTH_TOKEN", "t")]);
    assert_eq!(header(&token, "authorization").as_deref(), Some("Bearer t"));
    let request = oauth
        .request(
            Operation::Chat,
            Dialect::Anthropic,
            true,
            Bytes::new(),
            &[("anthropic-beta", "x, oauth-2025-04-20".into())],
        )
        .unwrap();
    assert_eq!(request.headers()["anthropic-beta"], "oauth-2025-04-20,x");
}

#[test]
fn a_host_that_speaks_anthropic_too_takes_such_calls_verbatim() {
    let deepseek = build(with_key("deepseek/m"));
    assert_eq!(
        deepseek.lane(Operation::Chat, Dialect::Anthropic),
        Some((Operation::Chat, Dialect::Anthropic))
    );
    let request = send(&deepseek, Operation::Chat, Dialect::Anthropic);
    assert_eq!(request.uri(), "https://api.deepseek.com/anthropic/v1/messages");
    assert_eq!(request.headers()["x-api-key"], "sk-canary");
    assert!(!request.headers().contains_key("authorization"));
    assert_eq!(request.headers()["anthropic-version"], "2023-06-01");
    assert!(!chat(&deepseek).headers().contains_key("x-api-key"));
    let prism = build(with_base("prism/m", "https://own.test/v1"));
    assert_eq!(send(&prism, Operation::Chat, Dialect::Anthropic).uri(), "https://own.test/v1/messages");
    assert_eq!(
        send(&build(with_key("edenai/m")), Operation::Chat, Dialect::Anthropic).uri(),
        "https://api.edenai.run/v3/v1/messages"
    );
}

#[test]
fn the_anthropic_base_is_left_aside_where_it_may_be_wrong_or_lose_a_setting() {
    let own = build(with_base("deepseek/m", "https://proxy.test/v1"));
    assert_eq!(own.lane(Operation::Chat, Dialect::Anthropic), Some((Operation::Chat, Dialect::OpenaiChat)));
    let mut extra = with_key("deepseek/m");
    extra.extra_body.insert("top_k".into(), RawJson::parse("1").unwrap());
    assert!(!build(extra).speaks(Operation::Chat, Dialect::Anthropic));
    let given = EndpointSpec {
        anthropic_base: Some("https://vllm.test/v1".into()),
        ..with_base("hosted_vllm/m", "https://vllm.test/v1")
    };
    assert_eq!(
        send(&build(given), Operation::Chat, Dialect::Anthropic).uri(),
        "https://vllm.test/v1/messages"
    );
}

#[test]
fn a_lane_is_the_surface_or_the_providers_dialect() {
    let lane = |model, operation, surface| build(with_key(model)).lane(operation, surface);
    let text = (Operation::Completion, Dialect::OpenaiText);
    assert_eq!(lane("openai/m", text.0, text.1), Some(text));
    assert_eq!(lane("groq/m", text.0, text.1), Some((Operation::Chat, Dialect::OpenaiChat)));
    assert_eq!(lane("anthropic/m", text.0, text.1), Some((Operation::Chat, Dialect::Anthropic)));
    assert_eq!(
        lane("openai/m", Operation::Chat, Dialect::Gemini),
        Some((Operation::Chat, Dialect::OpenaiChat))
    );
    let count = (Operation::CountTokens, Dialect::Anthropic);
    assert_eq!(lane("anthropic/m", count.0, count.1), Some(count));
    assert_eq!(lane("gemini/m", count.0, count.1), Some((Operation::CountTokens, Dialect::Gemini)));
    assert_eq!(lane("openai/m", count.0, count.1), None);
    let embedding = (Operation::Embedding, Dialect::OpenaiChat);
    assert_eq!(lane("gemini/m", embedding.0, embedding.1), Some((Operation::Embedding, Dialect::Gemini)));
    assert_eq!(lane("anthropic/m", embedding.0, embedding.1), None);
    let error = build(with_key("anthropic/m")).request(embedding.0, embedding.1, false, Bytes::new(), &[]);
    assert_eq!(error.unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn gemini_streams_from_another_url() {
    let gemini = build(with_key("gemini/gemini-3-pro"));
    let url = |operation, stream| {
        gemini.request(operation, Dialect::Gemini, stream, Bytes::new(), &[]).unwrap().uri().to_string()
    };
    let base = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro";
    assert_eq!(url(Operation::Chat, false), format!("{base}:generateContent"));
    assert_eq!(url(Operation::Chat, true), format!("{base}:streamGenerateContent?alt=sse"));
    assert_eq!(url(Operation::CountTokens, false), format!("{base}:countTokens"));
    assert_eq!(url(Operation::Embedding, false), format!("{base}:batchEmbedContents"));
    let alpha = build(EndpointSpec { api_version: Some("v1alpha".into()), ..with_key("gemini/m") });
    assert!(chat(&alpha).uri().path().starts_with("/v1alpha/models/"));
}

#[test]
fn settings_of_a_deployment_become_headers_and_queries() {
    let own = EndpointSpec {
        organization: Some("org-1".into()),
        api_version: Some("2025-01-01".into()),
        extra_headers: vec![("X-Team".into(), "blue".into()), ("User-Agent".into(), "mine".into())],
        ..with_key("openai/m")
    };
    let request = chat(&in_env(own, &[("OPENAI_ORG_ID", "org-env"), ("OPENAI_PROJECT_ID", "p")]));
    assert_eq!(request.uri(), "https://api.openai.com/v1/chat/completions?api-version=2025-01-01");
    for (name, value) in [
        ("openai-organization", "org-1"),
        ("openai-project", "p"),
        ("x-team", "blue"),
        ("user-agent", "mine"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-canary"),
    ] {
        assert_eq!(request.headers()[name], value);
    }
    let plain = build(with_key("openrouter/m"));
    assert!(!chat(&plain).headers().contains_key("x-title"));
    let titled = in_env(with_key("openrouter/m"), &[("OR_APP_NAME", "App")]);
    assert_eq!(chat(&titled).headers()["x-title"], "App");
    assert_eq!(chat(&build(with_key("sarvam/m"))).headers()["api-subscription-key"], "sk-canary");
}

#[test]
fn a_key_may_come_in_a_header_or_not_be_needed() {
    let own =
        EndpointSpec { extra_headers: vec![("Authorization".into(), "Basic x".into())], ..spec("groq/m") };
    assert_eq!(chat(&build(own)).headers()["authorization"], "Basic x");
    let local = EndpointSpec { api_base: Some("http://localhost:1234/v1".into()), ..spec("lm_studio/m") };
    assert!(!chat(&build(local)).headers().contains_key("authorization"));
    let demo = EndpointSpec { api_base: Some("http://127.0.0.1:9".into()), ..with_key("demo/m") };
    assert!(!chat(&build(demo)).headers().contains_key("authorization"));
}

#[test]
fn a_key_of_the_environment_stays_with_its_host_where_the_row_says_so() {
    let away = EndpointSpec { api_base: Some("https://other.test".into()), ..spec("nadir/m") };
    let error = Endpoint::build(away, &|name| (name == "NADIR_API_KEY").then(|| "k".into())).unwrap_err();
    assert!(matches!(error, EndpointError::MissingKey { .. }));
    assert_eq!(
        chat(&in_env(spec("nadir/m"), &[("NADIR_API_KEY", "k")])).headers()["authorization"],
        "Bearer k"
    );
}

#[test]
fn a_key_in_the_url_is_never_shown_by_the_endpoint() {
    let row = "[q]\ntitle='Q'\ndialect='openai-chat'\nbase_url='https://q.test?a=b'\nauth='query:key'\nsource='x'\nchecked='y'";
    let table = Table::parse(&[row]).unwrap();
    let mut own = EndpointSpec::new(table.get("q").unwrap(), "m");
    own.api_key = Some("can/ary".into());
    assert!(!format!("{own:?}").contains("ary"));
    let endpoint = build(own);
    assert_eq!(chat(&endpoint).uri(), "https://q.test/chat/completions?a=b&key=can%2Fary");
    assert!(!format!("{endpoint:?} {}", endpoint.base()).contains("ary"));
}

#[test]
fn a_header_of_a_call_is_checked_too() {
    let groq = build(with_key("groq/m"));
    for (name, value) in [("x-a", "b\nc"), ("host", "evil.test")] {
        let result =
            groq.request(Operation::Chat, Dialect::OpenaiChat, false, Bytes::new(), &[(name, value.into())]);
        assert_eq!(result.unwrap_err().kind(), Kind::InvalidRequest);
    }
}

/// The URL of a chat, and how it is signed.
fn bedrock(
    model: &str,
    variables: &[(&str, &str)],
    change: fn(&mut EndpointSpec),
) -> (String, Option<String>) {
    let mut spec = spec(model);
    change(&mut spec);
    let endpoint = in_env(spec, variables);
    let request = chat(&endpoint);
    let signed = endpoint.signing().map(|signing| signing.scope.region.clone());
    assert_ne!(signed.is_some(), request.headers().contains_key("authorization"), "{model}");
    (request.uri().to_string(), signed)
}

#[test]
fn a_signed_request_goes_to_the_region_that_was_named() {
    let region = [("AWS_DEFAULT_REGION", "us-east-1"), ("HOME", "/h")];
    let check = |model: &str, change: fn(&mut EndpointSpec), url: &str, region_signed: &str| {
        let expected = (url.to_owned(), Some(region_signed.to_owned()));
        assert_eq!(bedrock(model, &region, change), expected, "{model}");
    };
    let claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let path = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
    let host = |region: &str| format!("https://bedrock-runtime.{region}.amazonaws.com{path}");
    for name in ["bedrock/", "bedrock/converse/", "bedrock_converse/", "bedrock/invoke/"] {
        check(&format!("{name}{claude}"), |_| (), &host("us-east-1"), "us-east-1");
    }
    check(&format!("bedrock/eu-west-1/{claude}"), |_| (), &host("eu-west-1"), "eu-west-1");
    let profile = |spec: &mut EndpointSpec| {
        spec.aws.model_id = Some("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x".into());
    };
    let of_profile = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1\
                      %3Aapplication-inference-profile%2Fx/converse";
    check(&format!("bedrock/{claude}"), profile, of_profile, "eu-west-1");
    let named = |spec: &mut EndpointSpec| spec.aws.region = Some("ap-south-1".into());
    check(&format!("bedrock/eu-west-1/{claude}"), named, &host("ap-south-1"), "ap-south-1");
    let china = |spec: &mut EndpointSpec| spec.aws.region = Some("cn-north-1".into());
    check(
        &format!("bedrock/{claude}"),
        china,
        &host("cn-north-1").replace(".com/", ".com.cn/"),
        "cn-north-1",
    );
    check(
        "bedrock/arn:aws:bedrock:eu-west-3:1:application-inference-profile/ab",
        |_| (),
        "https://bedrock-runtime.eu-west-3.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aeu-west-3%3A1%3Aapplication-inference-profile%2Fab/converse",
        "eu-west-3",
    );
    let own = |spec: &mut EndpointSpec| spec.api_base = Some("https://vpce.test/x/".into());
    check(&format!("bedrock/{claude}"), own, &format!("https://vpce.test/x{path}"), "us-east-1");
    let stream = in_env(spec("bedrock/m"), &region);
    let request = stream.request(Operation::Chat, Dialect::BedrockConverse, true, Bytes::new(), &[]).unwrap();
    assert!(request.uri().path().ends_with("/model/m/converse-stream"));
    let fips = [region[0], ("AWS_USE_FIPS_ENDPOINT", "true")];
    assert!(bedrock("bedrock/m", &fips, |_| ()).0.starts_with("https://bedrock-runtime-fips.us-east-1."));
}

#[test]
fn a_key_is_sent_instead_of_a_signature_unless_credentials_are_named() {
    let env = [("AWS_REGION", "us-east-1"), ("AWS_BEARER_TOKEN_BEDROCK", "bearer")];
    let signed = |variables: &[(&str, &str)], change| bedrock("bedrock/m", variables, change).1;
    assert_eq!(signed(&env, |_| ()), None);
    assert_eq!(signed(&env[..1], |spec| spec.api_key = Some("sk".into())), None);
    let header = ("authorization".to_owned(), "Bearer mine".to_owned());
    let mut own = spec("bedrock/m");
    own.extra_headers.push(header);
    assert!(in_env(own, &env[..1]).signing().is_none());
    let home = [env[0], env[1], ("HOME", "/h")];
    assert_eq!(signed(&home, |spec| spec.aws.profile = Some("p".into())).as_deref(), Some("us-east-1"));
}

#[test]
fn what_a_signature_lacks_is_named() {
    assert!(refused(spec("bedrock/m")).contains("`region`"));
    let mut half = spec("bedrock/m");
    half.aws.region = Some("us-east-1".into());
    half.aws.access_key_id = Some("canary".into());
    let error = refused(half);
    assert!(error.contains("aws_secret_access_key") && !error.contains("canary"), "{error}");
}

#[test]
fn a_host_that_serves_responses_takes_such_calls_verbatim() {
    let own = (Operation::Chat, Dialect::OpenaiResponses);
    let urls = [
        ("openai/gpt-5", "https://api.openai.com/v1/responses"),
        ("xai/grok-4", "https://api.x.ai/v1/responses"),
        ("groq/m", "https://api.groq.com/openai/v1/responses"),
        ("openrouter/m", "https://openrouter.ai/api/v1/responses"),
        ("perplexity/m", "https://api.perplexity.ai/v1/responses"),
        ("fireworks_ai/m", "https://api.fireworks.ai/inference/v1/responses"),
    ];
    for (model, url) in urls {
        let endpoint = build(with_key(model));
        assert_eq!(endpoint.lane(own.0, own.1), Some(own), "{model}");
        assert_eq!(endpoint.dialect(), Dialect::OpenaiChat, "{model}");
        let request = send(&endpoint, own.0, own.1);
        assert_eq!(request.uri(), url);
        assert_eq!(request.headers()["authorization"], "Bearer sk-canary");
    }
    let version = EndpointSpec {
        api_version: Some("preview".into()),
        ..with_base("openai/m", "https://a.test/openai/v1")
    };
    assert_eq!(
        send(&build(version), own.0, own.1).uri(),
        "https://a.test/openai/v1/responses?api-version=preview"
    );
    // Everyone else gets them in the dialect of the row.
    for (model, dialect) in [
        ("deepseek/m", Dialect::OpenaiChat),
        ("mistral/m", Dialect::OpenaiChat),
        ("anthropic/m", Dialect::Anthropic),
        ("gemini/m", Dialect::Gemini),
    ] {
        assert_eq!(build(with_key(model)).lane(own.0, own.1), Some((Operation::Chat, dialect)), "{model}");
    }
}

#[test]
fn a_deployments_mode_chooses_between_openais_dialects() {
    let built = |model: &str, mode| build(EndpointSpec { mode, ..with_key(model) });
    let (chat, responses) = (Dialect::OpenaiChat, Dialect::OpenaiResponses);
    let lane = |endpoint: &Endpoint, surface| endpoint.lane(Operation::Chat, surface).unwrap().1;

    let bridged = built("openai/m", Mode::Chat);
    assert_eq!((lane(&bridged, responses), lane(&bridged, chat)), (chat, chat));

    let only = built("openai/m", Mode::Responses);
    for surface in [chat, responses, Dialect::Anthropic, Dialect::Gemini] {
        assert_eq!(lane(&only, surface), responses, "{surface}");
    }
    assert_eq!(only.dialect(), responses);
    let embedding = (Operation::Embedding, chat);
    assert_eq!(only.lane(embedding.0, embedding.1), Some(embedding));
    assert_eq!(only.lane(embedding.0, responses), Some(embedding));
    // A host whose row does not say so is believed when the operator does.
    assert_eq!(lane(&built("deepseek/m", Mode::Responses), chat), responses);
    // Other dialects have no such choice.
    assert_eq!(lane(&built("anthropic/m", Mode::Responses), responses), Dialect::Anthropic);
}
