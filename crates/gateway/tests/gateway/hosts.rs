//! Nothing that a caller sends chooses where the gateway connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Gateway, PROVIDER_KEY, config, fake, surfaces, three};

/// Names under which gateways and SDKs let a caller say where a model is, or with whose key.
const NAMES: [&str; 22] = [
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "api_type",
    "azure_endpoint",
    "endpoint",
    "url",
    "host",
    "proxy",
    "custom_llm_provider",
    "user_config",
    "litellm_params",
    "litellm_credential_name",
    "model_list",
    "extra_headers",
    "headers",
    "extra_body",
    "metadata",
    "litellm_metadata",
    "vertex_credentials",
    "aws_bedrock_runtime_endpoint",
];

/// A listener that counts who comes.
async fn canary() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = visits.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, visits)
}

#[tokio::test]
async fn no_field_at_any_depth_and_no_picture_makes_the_gateway_connect_elsewhere() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "litellm_settings: {drop_params: true}")).await;
    let (url, visits) = canary().await;
    let all: Value =
        NAMES.iter().map(|name| ((*name).to_owned(), json!(url))).collect::<serde_json::Map<_, _>>().into();
    let mut refused = 0;
    for model in ["gpt", "claude", "gem"] {
        for (_, surface) in surfaces(model, "hi", false) {
            for name in NAMES {
                for value in [
                    json!(url),
                    json!({ "api_base": url, "base_url": url, "litellm_params": all }),
                    json!([all]),
                ] {
                    let mut body = surface.body.clone();
                    body[name] = value;
                    let answer = gateway.post(&surface.path, &body).await;
                    assert!(matches!(answer.status, 200 | 400), "{name}: {}", answer.text());
                    assert!(!answer.text().contains(PROVIDER_KEY));
                    refused += usize::from(answer.status == 400);
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
    let picture = format!("{url}/cat.png");
    for model in ["gpt", "claude", "gem"] {
        let parts = json!([
            { "type": "image_url", "image_url": { "url": picture } },
            { "type": "text", "text": format!("look at {picture}") },
        ]);
        gateway.chat(&json!({ "model": model, "messages": [{ "role": "user", "content": parts }] })).await;
    }
    for header in
        ["x-portkey-custom-host", "x-forwarded-host", "x-litellm-api-base", "x-tollway-api-base", "host"]
    {
        let body = surfaces("gpt", "hi", false)[0].1.body.clone();
        let host = url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
        gateway.post_with("/v1/chat/completions", &[(header, host)], &body).await.expect(200);
    }
    let model = url.as_str();
    for name in [model, &format!("openai/{model}"), &format!("gpt@{model}"), "gpt/../../x", "openai_like/x"] {
        gateway
            .chat(&json!({ "model": name, "messages": [{ "role": "user", "content": "hi" }] }))
            .await
            .expect(400);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
    let seen = fake.received();
    assert!(!seen.is_empty() && seen.iter().all(|call| !call.path.contains("cat.png")));
}
