//! Every provider of the table, called for real over a socket: the fake provider stands in for each of them.
//!
//! What the URL, the key and the body of each must be is checked without a socket by the suite of `tollway-providers`;
//! here the whole way is walked, and the answer read back.

use tollway::model::{Dialect, Message, Operation, Request, Role};
use tollway::{CallOptions, Client};
use tollway_providers::{Auth, Provider, Table};
use tollway_testkit::{FakeProvider, Options};

const KEY: &str = "sk-canary-123";

fn request(provider: &Provider) -> Request {
    Request {
        model: format!("{}/model-1", provider.id),
        messages: vec![
            Message::text(Role::System, "Answer briefly."),
            Message::text(Role::User, "Say the word heron."),
        ],
        max_output_tokens: Some(50),
        temperature: Some(0.5),
        ..Request::default()
    }
}

/// The base of `provider`, moved to the fake: the path stays, so that a wrong path would be seen.
fn base(provider: &Provider, fake: &FakeProvider) -> String {
    let path = provider
        .base_url
        .as_deref()
        .and_then(|base| base.split_once("://"))
        .map_or("", |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or(""));
    let path = if path.contains('{') { "/v1" } else { path };
    let path = if path.is_empty() && provider.dialect == Some(Dialect::OpenaiChat) { "/v1" } else { path };
    format!("{}{path}", fake.url())
}

fn key_header(provider: &Provider) -> Option<(String, String)> {
    match &provider.auth {
        Auth::Bearer => Some(("authorization".into(), format!("Bearer {KEY}"))),
        Auth::Scheme(scheme) => Some(("authorization".into(), format!("{scheme} {KEY}"))),
        Auth::Header(name) => Some((name.as_str().into(), KEY.into())),
        Auth::Query(_) | Auth::None => None,
    }
}

#[tokio::test]
async fn every_provider_answers_whole_and_streamed() {
    let options = Options { require_key: false, lenient: true, ..Options::default() };
    let fake = FakeProvider::start_with(options).await.unwrap();
    let mut called = 0;
    for provider in Table::builtin().carried().filter(|provider| provider.serves(Operation::Chat)) {
        let client = Client::builder()
            .environment(|_| None)
            .api_key(&provider.id, KEY)
            .api_base(&provider.id, base(provider, &fake))
            .options(CallOptions { retries: 0, drop_params: true, ..CallOptions::default() })
            .build();
        let request = request(provider);
        fake.reset();
        let whole = match client.completion(&request).await {
            Ok(whole) => whole,
            Err(error) => panic!("{}: {error} {:?}\n{:?}", provider.id, error.context(), fake.received()),
        };
        let streamed = client.stream(&request).await.unwrap().collect().await;
        let streamed = streamed.unwrap_or_else(|error| panic!("{}: {error}", provider.id));
        assert!(whole.text().contains("heron"), "{}: {}", provider.id, whole.text());
        assert_eq!(whole.text(), streamed.text(), "{}", provider.id);
        assert!(whole.response.usage.is_some(), "{}", provider.id);
        // Some hosts refuse to be asked for usage and send it unasked, which the fake does not.
        if !provider.quirks().no_stream_options {
            assert_eq!(whole.response.usage, streamed.response.usage, "{}", provider.id);
        }
        let received = fake.received();
        assert_eq!(received.len(), 2, "{}", provider.id);
        for call in &received {
            if let Some((name, value)) = key_header(provider) {
                assert_eq!(call.header(&name), Some(value.as_str()), "{}", provider.id);
            }
            let body = call.json().to_string();
            assert!(body.contains("heron") && body.contains("briefly"), "{}: {body}", provider.id);
        }
        called += 1;
    }
    assert!(called > 95, "{called}");
}
