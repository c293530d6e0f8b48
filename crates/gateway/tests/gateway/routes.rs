//! Every route answers, in the shape its clients expect.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tollway_server::routes::{Access, Action, OfResponse, ROUTES, Route, Spend};

use crate::support::{Gateway, at, chat, config, fake, three};

/// A body that the route's action accepts.
fn body(action: Action) -> Value {
    use tollway_model::{Dialect, Operation};
    let messages = json!([{ "role": "user", "content": "hi" }]);
    match action {
        Action::Call(Dialect::OpenaiResponses, _) => json!({ "model": "gpt", "input": "hi" }),
        Action::Call(_, Operation::CountTokens) => json!({ "model": "claude", "messages": messages }),
        Action::Call(Dialect::Anthropic, _) => {
            json!({ "model": "claude", "max_tokens": 50, "messages": messages })
        }
        Action::Call(_, Operation::Embedding) => json!({ "model": "gpt", "input": "hi" }),
        Action::Call(_, Operation::Completion) => json!({ "model": "gpt", "prompt": "hi" }),
        Action::Gemini => json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] }),
        Action::TokenCounter | Action::Call(..) => json!({ "model": "gpt", "messages": messages }),
        _ => Value::Null,
    }
}

fn path(route: &Route, receipt: &str) -> String {
    let call = if route.action == Action::Gemini { "gem:generateContent" } else { "gpt" };
    let (model, id) = ("gpt", if route.action == Action::Spend(Spend::Receipt) { receipt } else { "gpt" });
    route
        .path
        .replace("{model}", model)
        .replace("{call...}", call)
        .replace("{id...}", "gpt")
        .replace("{id}", id)
}

#[tokio::test]
async fn every_route_answers_and_only_those_who_may() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let receipt = gateway.chat(&chat("gpt", "hi")).await.header("x-tollway-receipt").to_owned();
    for route in ROUTES {
        let path = path(route, &receipt);
        let body = body(route.action);
        let what = format!("{} {path}", route.method);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let stranger = gateway.send(route.method.as_str(), &path, &[], body.clone()).await;
        let expected = if route.access == Access::Public { 200 } else { 401 };
        assert_eq!(stranger.status, expected, "{what}");
        let bearer = format!("Bearer {}", gateway.key);
        let headers = [("authorization", bearer.as_str())];
        let answer = gateway.send(route.method.as_str(), &path, &headers, body).await.read().await;
        // What these routes want of bodies and parameters is tested with them: here, that the master key is let in.
        let is_served = match route.action {
            Action::Spend(Spend::Receipt | Spend::Receipts) => answer.status == 200,
            Action::Manage(_) | Action::Spend(_) => !matches!(answer.status, 401 | 403 | 405 | 500..),
            Action::Response(OfResponse::Compact) | Action::NotBuilt(_) => answer.status == 400,
            Action::Response(_) => answer.status == 404,
            _ => answer.status == 200,
        };
        assert!(is_served, "{what}: {} {}", answer.status, answer.text());
        assert!(!answer.body.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_path_may_carry_the_model() {
    let fake = fake().await;
    let models = [at(&fake, "my/slashed", "openai/fake-ok", ""), at(&fake, "plain", "openai/fake-ok", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let messages = json!({ "model": "ignored", "messages": [{ "role": "user", "content": "hi" }] });
    for path in [
        "/engines/plain/chat/completions",
        "/openai/deployments/plain/chat/completions?api-version=2024-10-21",
        "/openai/deployments/my/slashed/chat/completions",
        "/openai/deployments/my%2Fslashed/chat/completions",
        "/v1/chat/completions/",
    ] {
        let body = if path.starts_with("/v1") { chat("plain", "hi") } else { messages.clone() };
        let answer = gateway.post(path, &body).await;
        let model = if path.contains("slashed") { "my/slashed" } else { "plain" };
        assert_eq!(answer.expect(200).json()["model"], model, "{path}");
    }
    let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] });
    for path in ["/v1beta/models/my/slashed:generateContent", "/models/my%2Fslashed:generateContent"] {
        let answer = gateway.post(path, &contents).await;
        assert!(answer.expect(200).json()["candidates"][0]["content"].is_object(), "{path}");
    }
    for path in ["/v1beta/models/plain:nothing", "/v1beta/models/plain"] {
        let answer = gateway.post(path, &contents).await;
        assert!(matches!(answer.status, 404 | 405), "{path}: {}", answer.status);
        assert!(answer.json()["error"]["status"].is_string(), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_callers_dialect() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let lost = gateway.get("/v1/nothing").await;
    let error = lost.expect(404).json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("/v1/nothing"), "{error}");
    let lost = gateway.get("/v1/messages/nothing").await;
    assert_eq!(lost.expect(404).json()["error"]["type"], "not_found_error");
    let lost = gateway.get("/v1beta/nothing").await;
    assert_eq!(lost.expect(404).json()["error"]["status"], "NOT_FOUND");
    let wrong = gateway.get("/v1/chat/completions").await;
    assert_eq!(wrong.expect(405).header("allow"), "POST");
    let wrong = gateway.get("/v1/responses").await;
    assert!(wrong.expect(405).json()["error"]["message"].as_str().unwrap().contains("does not take GET"));
    assert!(wrong.json()["error"]["message"].as_str().unwrap().contains("does not take GET"));
    let wrong = gateway.send("DELETE", "/v1/models/gpt", &[], "").await;
    assert_eq!((wrong.status, wrong.headers["allow"].to_str().unwrap()), (405, "GET, HEAD, POST"));
}

#[tokio::test]
async fn a_head_request_is_a_get_without_body() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let head = gateway.send("HEAD", "/health/liveliness", &[], "").await.read().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

fn ids(list: &Value, key: &str, id: &str) -> Vec<String> {
    list[key].as_array().unwrap().iter().map(|model| model[id].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_each_dialect() {
    let fake = fake().await;
    let alias = "router_settings: {model_group_alias: {smart: claude}}";
    let gateway = Gateway::start(&config(&three(&fake), alias)).await;
    let openai = gateway.get("/v1/models").await.json();
    assert_eq!(openai["object"], "list");
    assert_eq!(ids(&openai, "data", "id"), ["gpt", "claude", "gem", "smart"]);
    assert!(
        openai["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|model| model["object"] == "model" && model["created"].is_i64())
    );
    let bearer = format!("Bearer {}", gateway.key);
    let headers = [("authorization", bearer.as_str()), ("anthropic-version", "2023-06-01")];
    let anthropic = gateway.send("GET", "/v1/models", &headers, "").await.read().await.json();
    assert_eq!(anthropic["has_more"], false);
    assert_eq!((&anthropic["first_id"], &anthropic["last_id"]), (&json!("gpt"), &json!("smart")));
    assert!(anthropic["data"].as_array().unwrap().iter().all(|model| model["type"] == "model"));
    let gemini = gateway.get("/v1beta/models").await.json();
    assert_eq!(ids(&gemini, "models", "name"), ["models/gpt", "models/claude", "models/gem", "models/smart"]);
    // Google's SDK asks at OpenAI's address.
    let google = [("x-goog-api-key", gateway.key.as_str()), ("x-goog-api-client", "google-genai-sdk/3.3.0")];
    let list = gateway.send("GET", "/v1/models", &google, "").await.read().await.json();
    assert_eq!(list, gemini);
    for path in ["/v1/models/smart", "/v1beta/models/smart"] {
        let one = gateway.send("GET", path, &google, "").await.read().await.json();
        assert_eq!(one["name"], "models/smart", "{path}");
    }
    assert_eq!(gateway.get("/v1/models/smart").await.expect(200).json()["id"], "smart");
    let one = gateway.send("GET", "/v1/models/gpt", &headers, "").await.read().await.json();
    assert_eq!((&one["type"], &one["id"]), (&json!("model"), &json!("gpt")));
    assert_eq!(
        gateway.get("/v1/models/nothing").await.expect(404).json()["error"]["code"],
        "model_not_found"
    );
}

#[tokio::test]
async fn wildcards_are_listed_as_the_models_that_are_known_of_them() {
    let fake = fake().await;
    let models = [
        at(&fake, "gpt-4o", "openai/fake-ok", ""),
        at(&fake, "o/*", "openai/gpt-4o*", ""),
        at(&fake, "anthropic/*", "anthropic/*", ""),
        at(&fake, "*", "*", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let list = gateway.get("/v1/models").await.expect(200).json();
    let names = ids(&list, "data", "id");
    for name in ["gpt-4o", "o/-mini", "anthropic/claude-sonnet-4-5"] {
        assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}: {names:?}");
    }
    assert!(names.iter().all(|name| !name.contains('*') && !name.contains("dall-e")), "{names:?}");
    gateway.chat(&chat("o/-mini", "hi")).await.expect(200);
    let list = gateway.get("/v1/models?return_wildcard_routes=true").await.expect(200).json();
    assert!(ids(&list, "data", "id").contains(&"anthropic/*".to_owned()), "{list}");
}

#[tokio::test]
async fn model_info_has_prices_and_limits_and_no_secret() {
    let fake = fake().await;
    let models = [
        at(&fake, "known", "openai/gpt-4o", ""),
        at(&fake, "own", "openai/fake-ok", ", input_cost_per_token: 0.000003, rpm: 7"),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let info = gateway.get("/model/info").await.json();
    let [known, own] = info["data"].as_array().unwrap().as_slice() else { panic!("{info}") };
    assert_eq!(
        (&known["model_name"], &known["litellm_params"]["model"]),
        (&json!("known"), &json!("openai/gpt-4o"))
    );
    assert!(known["model_info"]["input_cost_per_token"].as_f64().unwrap() > 0.0, "{known}");
    assert_eq!(known["model_info"]["supports_vision"], true, "{known}");
    assert_eq!(own["model_info"]["input_cost_per_token"], json!(0.000003));
    assert_eq!(own["litellm_params"]["rpm"], 7);
    assert!(!info.to_string().contains("pk-canary"));
    let id = own["model_info"]["id"].as_str().unwrap();
    let one = gateway.get(&format!("/v1/model/info?litellm_model_id={id}")).await.json();
    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.chat(&chat(id, "hi")).await.expect(200).header("x-litellm-model-group"), "own");
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_here() {
    let fake = fake().await;
    let models = [
        at(&fake, "claude", "anthropic/fake-ok", ""),
        at(&fake, "gpt", "openai/gpt-4o", ""),
        at(&fake, "gem", "gemini/fake-ok", ""),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let counted =
        gateway.post("/utils/token_counter", &json!({ "model": "gpt", "prompt": "hello world" })).await;
    assert_eq!(
        counted.expect(200).json(),
        json!({ "total_tokens": 2, "request_model": "gpt", "model_used": "gpt-4o", "tokenizer_type": "openai_tokenizer", "count_source": "local" })
    );
    gateway.post("/utils/token_counter", &json!({ "model": "gpt" })).await.expect(400);
    assert!(fake.received().is_empty());
    for model in ["claude", "gpt", "gem"] {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello world" }] });
        let counted = gateway.post("/v1/messages/count_tokens", &body).await;
        let tokens = counted.expect(200).json()["input_tokens"].as_u64().unwrap();
        assert!((2..20).contains(&tokens), "{model}: {tokens}");
        let contents = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello world" }] }] });
        let counted = gateway.post(&format!("/v1beta/models/{model}:countTokens"), &contents).await;
        assert!(counted.expect(200).json()["totalTokens"].as_u64().unwrap() > 0, "{model}");
    }
    assert_eq!(fake.received().len(), 4, "OpenAI cannot count");
}

#[tokio::test]
async fn embeddings_and_completions_are_served() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for model in ["gpt", "gem"] {
        let answer = gateway.post("/v1/embeddings", &json!({ "model": model, "input": ["a", "b"] })).await;
        let answer = answer.expect(200).json();
        assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!(model)));
        assert_eq!(answer["data"].as_array().unwrap().len(), 2, "{answer}");
        assert!(answer["data"][0]["embedding"][0].is_f64(), "{answer}");
    }
    let refused = gateway.post("/v1/embeddings", &json!({ "model": "claude", "input": "a" })).await;
    assert!(refused.expect(400).text().contains("embedding"), "{}", refused.text());
    for model in ["gpt", "claude"] {
        for stream in [false, true] {
            let body =
                json!({ "model": model, "prompt": "say: one two", "max_tokens": 50, "stream": stream });
            let answer = gateway.post("/v1/completions", &body).await;
            answer.expect(200);
            let events = if stream { answer.events() } else { vec![answer.json()] };
            let said: String =
                events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
            assert_eq!(said.trim(), "one two", "{model}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn geminis_clients_get_vectors_from_every_provider_that_has_them() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let text = |text: &str| json!({ "parts": [{ "text": text }] });
    for model in ["gpt", "gem"] {
        let path = format!("/v1beta/models/{model}:embedContent");
        let body = json!({ "content": text("a"), "outputDimensionality": 8 });
        let one = gateway.post(&path, &body).await.expect(200).json();
        assert_eq!(one["embedding"]["values"].as_array().unwrap().len(), 8, "{model}: {one}");
        let path = format!("/v1beta/models/{model}:batchEmbedContents");
        let part = |said: &str| json!({ "model": format!("models/{model}"), "content": text(said), "outputDimensionality": 8 });
        let body = json!({ "requests": [part("a"), part("b")] });
        let two = gateway.post(&path, &body).await.expect(200).json();
        assert_eq!(two["embeddings"].as_array().unwrap().len(), 2, "{model}: {two}");
        assert_eq!(two["embeddings"][0], one["embedding"], "{model}");
        let empty = gateway.post(&path, &json!({})).await;
        empty.expect(400);
        assert_eq!(empty.json()["error"]["status"], "INVALID_ARGUMENT", "{model}");
    }
    gateway.post("/v1beta/models/claude:embedContent", &json!({ "content": text("a") })).await.expect(400);
}

#[tokio::test]
async fn health_says_what_cannot_be_called_and_why() {
    let fake = fake().await;
    let mut models = three(&fake);
    models.push("{model_name: lost, litellm_params: {model: groq/llama}}".to_owned());
    models.push("{model_name: odd, litellm_params: {model: nothing/x}}".to_owned());
    let gateway = Gateway::start(&config(&models, "")).await;
    let health = gateway.get("/health").await.json();
    assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&json!(3), &json!(2)), "{health}");
    let unhealthy = health["unhealthy_endpoints"].to_string();
    assert!(unhealthy.contains("GROQ_API_KEY") && unhealthy.contains("nothing"), "{unhealthy}");
    let answer = gateway.chat(&chat("lost", "hi")).await;
    assert!(answer.expect(503).text().contains("GROQ_API_KEY"), "{}", answer.text());
    assert!(gateway.stdout().contains("2 deployments cannot be called"), "{}", gateway.stdout());
    for path in ["/health/liveliness", "/health/liveness", "/health/readiness"] {
        assert_eq!(gateway.send("GET", path, &[], "").await.status, 200, "{path}");
    }
    assert!(fake.received().is_empty(), "health costs nothing");
}

#[tokio::test]
async fn the_documents_name_every_route() {
    let gateway = Gateway::with(crate::support::Start::default()).await;
    let document = gateway.get("/openapi.json").await.json();
    let routes = gateway.get("/routes").await.json();
    let page = gateway.get("/docs").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.header("content-security-policy").is_empty());
    let mut seen = BTreeSet::new();
    for route in ROUTES {
        let end = if route.action == Action::Gemini { ":countTokens" } else { "" };
        let path = route.path.replace("{call...}", "{model}").replace("...}", "}") + end;
        let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
        assert!(operation["summary"].is_string(), "{path}");
        assert!(seen.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
        assert!(page.text().contains(route.path), "{path}");
        assert!(routes["routes"].to_string().contains(route.path), "{path}");
    }
    let references = document.to_string();
    for part in references.split("\"$ref\":\"#/").skip(1) {
        let pointer = format!("/{}", part.split('"').next().unwrap());
        assert!(document.pointer(&pointer).is_some(), "{pointer}");
    }
}
