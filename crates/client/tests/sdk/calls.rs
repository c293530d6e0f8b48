//! Whole answers, embeddings, keys and options.

use serde::Deserialize;
use serde_json::json;
use tollway::{Client, Cost, EmbeddingRequest, FinishReason, Kind, Request};

use crate::support::{PROVIDERS, builder, hasty, start};

#[tokio::test]
async fn every_provider_answers_the_same_request() {
    let (fake, client) = start().await;
    for provider in PROVIDERS {
        let request = Request::chat(format!("{provider}/fake-ok"), "say: hello there")
            .system("Be brief.")
            .temperature(0.5)
            .max_output_tokens(50);
        let answer = client.completion(&request).await.expect(provider);
        assert_eq!(answer.text(), "hello there", "{provider}");
        assert_eq!(answer.finish(), Some(FinishReason::Stop), "{provider}");
        assert!(
            answer.usage().is_some_and(|usage| usage.total_input() > 3 && usage.output > 0),
            "{provider}"
        );
        assert_eq!((answer.refusal(), answer.tool_calls().count()), (None, 0), "{provider}");
        assert_eq!(answer.reasoning(), "", "{provider}");
    }
    assert_eq!(fake.received().len(), 3);
    assert_eq!(fake.received()[0].json()["temperature"], 0.5);
}

#[tokio::test]
async fn what_is_known_of_a_model_prices_its_answer() {
    let (_fake, client) = start().await;
    let cost = |model: &'static str| {
        let client = client.clone();
        async move { client.completion(&Request::chat(model, "hi")).await.expect(model).cost }
    };
    assert!(cost("openai/gpt-4o-mini").await.known().is_some());
    assert_eq!(cost("openai/fake-ok").await, Cost::Unknown);
}

#[tokio::test]
async fn keys_come_from_the_builder_else_from_the_environment() {
    let (fake, _) = start().await;
    let url = fake.url();
    let environment = move |name: &str| match name {
        "OPENAI_API_KEY" => Some("sk-of-the-environment".to_owned()),
        "OPENAI_BASE_URL" => Some(format!("{url}/v1")),
        _ => None,
    };
    let request = Request::chat("openai/fake-ok", "hi");
    let from_environment = Client::builder().environment(environment.clone());
    from_environment.build().completion(&request).await.expect("the environment's key");
    let given = Client::builder().environment(environment).api_key("openai", "sk-given");
    given.build().completion(&request).await.expect("the given key");
    let sent: Vec<_> =
        fake.received().iter().filter_map(|call| call.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, ["Bearer sk-of-the-environment", "Bearer sk-given"]);
}

#[tokio::test]
async fn what_is_missing_is_named_before_anything_is_sent() {
    let client = Client::builder().environment(|_| None).build();
    let missing = client.check("anthropic/claude-sonnet-4-5").expect_err("no key");
    assert!(missing.message().contains("ANTHROPIC_API_KEY"), "{missing}");
    let unknown = client.check("opnai/gpt-4o").expect_err("a typo");
    assert_eq!((unknown.kind(), unknown.param()), (Kind::InvalidRequest, Some("model")));
    assert!(unknown.message().contains("openai"), "{unknown}");
    let (fake, client) = start().await;
    client.check("openai/fake-ok").expect("a key is there");
    // A model name may name its provider by itself.
    client.check("gpt-4o").expect("inferred");
    assert!(fake.received().is_empty());
}

#[tokio::test]
async fn options_of_a_call_count_more_than_those_of_the_client() {
    let (fake, client) = start().await;
    let request = Request { seed: Some(7), ..Request::chat("anthropic/fake-ok", "hi") };
    let refused = client.completion(&request).await.expect_err("Anthropic has no seed");
    assert_eq!((refused.kind(), refused.param()), (Kind::Unsupported, Some("seed")));
    assert!(fake.received().is_empty());
    let options = hasty().drop_params(true);
    let answer = client.completion_with(&request, &options).await.expect("left out");
    assert_eq!(answer.notices.first_dropped().map(|notice| notice.field.as_ref()), Some("seed"));
    let stream = client.stream_with(&request, &options).await.expect("left out");
    assert!(stream.notices().first_dropped().is_some());
}

#[derive(Debug, Deserialize)]
struct City {
    name: String,
    population: u64,
}

#[tokio::test]
async fn structured_output_becomes_a_type() {
    let (_fake, client) = start().await;
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "population"],
        "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    });
    for provider in PROVIDERS {
        let request =
            Request::chat(format!("{provider}/fake-ok"), "Oslo").json_schema("city", schema.clone());
        let answer = client.completion(&request).await.expect(provider);
        let city: City = answer.json().unwrap_or_else(|error| panic!("{provider}: {error}"));
        assert!(!city.name.is_empty() && city.population < u64::MAX, "{provider}: {city:?}");
        let wrong = answer.json::<Vec<u8>>().expect_err("no list");
        assert_eq!(wrong.kind(), Kind::Upstream, "{provider}");
    }
}

#[tokio::test]
async fn a_refusal_is_not_an_answer() {
    let (_fake, client) = start().await;
    for provider in ["openai", "anthropic"] {
        let request = Request::chat(format!("{provider}/fake-refusal"), "something bad");
        let answer = client.completion(&request).await.expect(provider);
        assert_eq!(answer.refusal().as_deref(), Some("I can't help with that."), "{provider}");
        let error = answer.json::<serde_json::Value>().expect_err("declined");
        assert_eq!(error.kind(), Kind::ContentPolicy, "{provider}");
        let streamed = client.stream(&request).await.expect(provider).collect().await.expect(provider);
        assert_eq!(streamed.refusal(), answer.refusal(), "{provider}");
    }
    let request = Request::chat("gemini/fake-refusal", "something bad");
    let answer = client.completion(&request).await.expect("gemini");
    assert_eq!(answer.finish(), Some(FinishReason::ContentFilter));
}

#[tokio::test]
async fn texts_become_vectors() {
    let (fake, client) = start().await;
    for provider in ["openai", "gemini"] {
        let request = EmbeddingRequest {
            dimensions: Some(64),
            ..EmbeddingRequest::texts(format!("{provider}/fake-ok"), ["one", "two"])
        };
        let answer = client.embedding(&request).await.expect(provider);
        let [one, two] = answer.vectors() else { panic!("{provider}: {} vectors", answer.vectors().len()) };
        assert_eq!((one.len(), two.len()), (64, 64), "{provider}");
        assert!((one.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-3, "{provider}");
        assert_ne!(one, two, "{provider}");
        let again = EmbeddingRequest { input: request.input[1..].to_vec(), ..request };
        let again = client.embedding(&again).await.expect(provider);
        assert_eq!(again.vectors(), std::slice::from_ref(two), "{provider}");
    }
    let calls = fake.received().len();
    let none = EmbeddingRequest::texts("anthropic/fake-ok", ["one"]);
    let error = client.embedding(&none).await.expect_err("Anthropic has no embeddings");
    assert_eq!(error.kind(), Kind::Unsupported);
    assert_eq!(fake.received().len(), calls);
}

#[tokio::test]
async fn embeddings_are_priced_and_tried_again() {
    let (fake, client) = start().await;
    let request = EmbeddingRequest::texts("openai/text-embedding-3-small", ["one"]);
    assert!(client.embedding(&request).await.expect("answered").cost.known().is_some());
    let request = EmbeddingRequest::texts("openai/fake-flaky-1", ["one"]);
    client.embedding(&request).await.expect("the second try");
    let error = client
        .embedding_with(&EmbeddingRequest::texts("openai/fake-flaky-9", ["one"]), &hasty().retries(0))
        .await
        .expect_err("fails");
    assert_eq!(error.status(), 503);
    assert_eq!(fake.received().len(), 4);
}

#[tokio::test]
async fn tokens_are_counted_where_the_provider_can() {
    let (fake, client) = start().await;
    let count = async |model: &str, text: &str| client.count_tokens(&Request::chat(model, text)).await;
    for model in ["anthropic/fake-ok", "gemini/fake-ok"] {
        let (short, long) =
            (count(model, "one").await.expect(model), count(model, "one two three four").await.expect(model));
        assert!(0 < short && short < long, "{model}: {short} {long}");
    }
    let calls = fake.received().len();
    assert_eq!(count("openai/fake-ok", "one").await.expect_err("OpenAI cannot").kind(), Kind::Unsupported);
    assert_eq!(fake.received().len(), calls);
}

#[tokio::test]
async fn a_provider_takes_settings_under_any_of_its_names() {
    let (fake, _) = start().await;
    let client = Client::builder()
        .environment(|_| None)
        .api_key("openai", "sk-test")
        .api_base("openai", format!("{}/v1", fake.url()))
        .organization("openai", "org-7")
        .header("openai", "x-team", "search")
        .api_key("gemini", "sk-test")
        .api_base("gemini", fake.url())
        .api_version("gemini", "v1")
        // Another name of `ai21_chat`.
        .api_key("ai21", "sk-of-ai21")
        .api_base("ai21", format!("{}/v1", fake.url()))
        .build();
    client.completion(&Request::chat("openai/fake-ok", "hi")).await.expect("answered");
    client.completion(&Request::chat("gemini/fake-ok", "hi")).await.expect("answered");
    client.completion(&Request::chat("ai21_chat/fake-ok", "hi")).await.expect("answered");
    let calls = fake.received();
    assert_eq!(
        (calls[0].header("openai-organization"), calls[0].header("x-team")),
        (Some("org-7"), Some("search"))
    );
    assert_eq!(calls[1].path, "/v1/models/fake-ok:generateContent");
    assert_eq!(calls[2].header("authorization"), Some("Bearer sk-of-ai21"));
}

#[tokio::test]
async fn a_key_is_in_no_debug_text() {
    let builder = builder("http://127.0.0.1:1").api_key("groq", "sk-canary");
    let shown = format!("{builder:?}");
    assert!(!format!("{shown} {:?}", builder.build()).contains("canary"));
}
