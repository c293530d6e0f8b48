//! Refusals in the words and codes that clients of LiteLLM know, in every dialect.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, KEY, at, config, fake, surfaces};

/// What a denial looks like.
struct Denial<'a> {
    status: u16,
    /// OpenAI's `type`, `param` and `code`.
    openai: (&'a str, Value, &'a str),
    /// Anthropic's `type`.
    anthropic: &'a str,
    /// Google's `status`.
    google: &'a str,
    /// Parts of the message, in all of them.
    says: &'a [&'a str],
}

/// Asks in three dialects and compares; the answers.
async fn check(
    gateway: &Gateway,
    headers: &[(&str, &str)],
    model: &str,
    expected: &Denial<'_>,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (_, surface) in surfaces(model, "hi", false) {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        let body = surface.body.to_string();
        let answer = gateway.send("POST", &surface.path, &all, body).await.read().await;
        let error = answer.expect(expected.status).json()["error"].clone();
        let message = error["message"].as_str().unwrap_or_default();
        for part in expected.says {
            assert!(message.contains(part), "{}: no {part:?} in {message}", surface.path);
        }
        if error["status"].is_string() {
            assert_eq!(
                (&error["status"], &error["code"]),
                (&json!(expected.google), &json!(expected.status))
            );
        } else if error.get("code").is_none() {
            assert_eq!(error["type"], expected.anthropic, "{error}");
        } else {
            let (kind, param, code) = &expected.openai;
            assert_eq!(
                (&error["type"], &error["param"], &error["code"]),
                (&json!(kind), param, &json!(code))
            );
        }
        answers.push(answer);
    }
    answers
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn key(gateway: &Gateway, wanted: Value) -> String {
    let made = gateway.post("/key/generate", &wanted).await;
    made.expect(200).json()["key"].as_str().unwrap().to_owned()
}

fn unauthenticated<'a>(kind: &'a str, param: Value, says: &'a [&'a str]) -> Denial<'a> {
    Denial {
        status: 401,
        openai: (kind, param, "401"),
        anthropic: "authentication_error",
        google: "UNAUTHENTICATED",
        says,
    }
}

#[tokio::test]
async fn whoever_is_not_known_is_told_why() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&[at(&fake, "gpt", "openai/fake-ok", "")], "")).await;
    let null = || Value::Null;
    let says = ["Authentication Error, No api key passed in."];
    check(&gateway, &[], "gpt", &unauthenticated("auth_error", null(), &says)).await;
    let wrong = bearer("sk-nobody-knows-this-key");
    let says = ["Authentication Error, Invalid API key provided."];
    let expected = unauthenticated("token_not_found_in_db", json!("key"), &says);
    check(&gateway, &[("authorization", &wrong)], "gpt", &expected).await;
    // The key itself is not in the answer, and its holder sees which it was.
    let foreign = bearer("somebodys-very-own-key-7f3a");
    let says = ["virtual key is expected", "`sk-`", "***7f3a"];
    let expected = unauthenticated("auth_error", json!("key"), &says);
    for answer in check(&gateway, &[("authorization", &foreign)], "gpt", &expected).await {
        assert!(!answer.text().contains("somebodys"), "{}", answer.text());
    }
    let says = ["Malformed API Key"];
    check(&gateway, &[("authorization", KEY)], "gpt", &unauthenticated("auth_error", null(), &says)).await;

    let ended = key(&gateway, json!({ "duration": "1s" })).await;
    let info = gateway.get(&format!("/key/info?key={ended}")).await.json();
    let shown = info["info"]["key_name"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let says = ["Authentication Error, Expired Key", "the key ended at 20", "now it is 20"];
    let expected = unauthenticated("expired_key", json!(shown), &says);
    for answer in check(&gateway, &[("authorization", &bearer(&ended))], "gpt", &expected).await {
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("Authentication Error"), "{message}");
    }
    let blocked = key(&gateway, json!({})).await;
    gateway.post("/key/block", &json!({ "key": blocked })).await.expect(200);
    let says = ["Authentication Error, Key is blocked"];
    let expected = unauthenticated("auth_error", null(), &says);
    check(&gateway, &[("authorization", &bearer(&blocked))], "gpt", &expected).await;
    gateway.post("/team/new", &json!({ "team_id": "t1" })).await.expect(200);
    let of_team = key(&gateway, json!({ "team_id": "t1" })).await;
    gateway.post("/team/block", &json!({ "team_id": "t1" })).await.expect(200);
    let says = ["Authentication Error, Team=t1 is blocked"];
    let expected = unauthenticated("auth_error", null(), &says);
    check(&gateway, &[("authorization", &bearer(&of_team))], "gpt", &expected).await;
}

#[tokio::test]
async fn whoever_may_not_or_may_no_more_is_told_what_and_until_when() {
    let fake = fake().await;
    let price = ", input_cost_per_token: 0.001, output_cost_per_token: 0.001";
    let models = [at(&fake, "gpt", "openai/fake-ok", price), at(&fake, "other", "openai/fake-ok", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let null = || Value::Null;
    let of = async |wanted: Value| bearer(&key(&gateway, wanted).await);
    let may_not = of(json!({ "models": ["other"] })).await;
    let expected = Denial {
        status: 403,
        openai: ("key_model_access_denied", json!("model"), "403"),
        anthropic: "permission_error",
        google: "PERMISSION_DENIED",
        says: &["this key may not use the model gpt"],
    };
    for answer in check(&gateway, &[("authorization", &may_not)], "gpt", &expected).await {
        assert!(!answer.text().contains("other"), "what is allowed is not told: {}", answer.text());
    }
    let expected = Denial {
        status: 400,
        openai: ("invalid_request_error", json!("model"), "model_not_found"),
        anthropic: "invalid_request_error",
        google: "INVALID_ARGUMENT",
        says: &["Invalid model name passed in model=nothing"],
    };
    let answers = check(&gateway, &[("authorization", &bearer(KEY))], "nothing", &expected).await;
    let error = &answers[0].json()["error"];
    assert_eq!(error["provider_specific_fields"]["error"], error["message"], "{error}");

    let spent = of(json!({ "key_alias": "small", "max_budget": 0.0001 })).await;
    let expected = Denial {
        status: 422,
        openai: ("budget_exceeded", null(), "422"),
        anthropic: "billing_error",
        google: "INVALID_ARGUMENT",
        says: &["Budget has been exceeded! Key=small Current cost: 0.00, Max budget: 0.0001"],
    };
    check(&gateway, &[("authorization", &spent)], "gpt", &expected).await;

    let throttled = |says| Denial {
        status: 429,
        openai: ("throttling_error", null(), "429"),
        anthropic: "rate_limit_error",
        google: "RESOURCE_EXHAUSTED",
        says,
    };
    let says = ["Rate limit exceeded for api_key: ", "Limit type: requests. Current limit: 0, Remaining: 0."];
    let none = of(json!({ "rpm_limit": 0 })).await;
    for answer in check(&gateway, &[("authorization", &none)], "gpt", &throttled(&says)).await {
        assert_eq!(answer.header("rate_limit_type"), "requests");
    }
    let one = of(json!({ "key_alias": "one", "rpm_limit": 1 })).await;
    let body = json!({ "model": "gpt", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let headers = [("authorization", one.as_str()), ("content-type", "application/json")];
    gateway.send("POST", "/v1/chat/completions", &headers, body).await.read().await.expect(200);
    let says = ["Rate limit exceeded for api_key: one. Limit type: requests", "Limit resets at: 20", " UTC"];
    for answer in check(&gateway, &[("authorization", &one)], "gpt", &throttled(&says)).await {
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(answer.header("reset_at").starts_with("20"));
    }
    let places = of(json!({ "max_parallel_requests": 0 })).await;
    let says = ["Limit type: max_parallel_requests. Current limit: 0"];
    for answer in check(&gateway, &[("authorization", &places)], "gpt", &throttled(&says)).await {
        assert_eq!(answer.header("rate_limit_type"), "max_parallel_requests");
    }
    let elsewhere = of(json!({ "allowed_routes": ["/v1/embeddings"] })).await;
    let expected = Denial {
        status: 403,
        openai: ("key_route_not_allowed", null(), "403"),
        anthropic: "permission_error",
        google: "PERMISSION_DENIED",
        says: &["this key is not allowed to call "],
    };
    let answers = check(&gateway, &[("authorization", &elsewhere)], "gpt", &expected).await;
    assert!(answers[0].json()["detail"].is_string());
    gateway.post("/user/new", &json!({ "user_id": "ann-with-a-name" })).await.expect(200);
    let user = of(json!({ "user_id": "ann-with-a-name" })).await;
    let headers = [("authorization", user.as_str()), ("content-type", "application/json")];
    let refused = gateway.send("POST", "/user/new", &headers, "{}".to_owned()).await.read().await;
    let error = &refused.expect(401).json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        error["type"] == "auth_error" && message.contains("/user/new") && message.contains("role"),
        "{error}"
    );
    assert!(message.contains("an***") && !message.contains("ann-with"), "{message}");
}
