//! Limits of tags, customers, users and days, from outside.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_testkit::FakeProvider;

use crate::support::{Answer, Gateway, KEY, Start, at, chat, config, fake};

/// A dollar for a thousand tokens.
const PRICE: &str = ", input_cost_per_token: 0.001, output_cost_per_token: 0.001";

async fn key(gateway: &Gateway, wanted: Value) -> String {
    let made = gateway.post("/key/generate", &wanted).await;
    made.expect(200).json()["key"].as_str().unwrap().to_owned()
}

async fn ask(gateway: &Gateway, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    gateway.send("POST", "/v1/chat/completions", &headers, body.to_string()).await.read().await
}

fn said(model: &str, more: &Value) -> Value {
    let mut body = chat(model, "hi");
    body["max_tokens"] = json!(16);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Asks until it is refused, for what the answer says.
async fn until_refused(gateway: &Gateway, key: &str, body: &Value, status: u16, says: &str) -> Answer {
    for _ in 0..200 {
        let answer = ask(gateway, key, body).await;
        if answer.status == 200 {
            continue;
        }
        let message = answer.expect(status).json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(says), "no {says:?} in {message}");
        return answer;
    }
    panic!("never refused: {body}");
}

fn reasons(receipt: &Value) -> String {
    let skipped = receipt["skipped"].as_array().cloned().unwrap_or_default();
    skipped.iter().map(|one| format!("{}: {}; ", one["deployment"], one["reason"])).collect()
}

/// A deployment with an id of its own.
fn with_id(fake: &FakeProvider, name: &str, id: &str, more: &str) -> String {
    let whole = at(fake, name, &format!("openai/fake-ok+id-{id}"), &format!("{PRICE}{more}"));
    format!("{}, model_info: {{id: {id}}}}}", whole.strip_suffix('}').unwrap())
}

#[tokio::test]
async fn tokens_of_a_day_are_limited_told_and_known_after_a_new_start() {
    let fake = fake().await;
    let configuration = config(&[with_id(&fake, "g", "one", "")], "");
    let gateway = Gateway::start(&configuration).await;
    let limited = key(&gateway, json!({ "tpd_limit": 200, "key_alias": "daily" })).await;
    let body = said("g", &json!({}));
    let first = ask(&gateway, &limited, &body).await;
    assert_eq!(first.expect(200).header("x-ratelimit-api_key-limit-tokens_per_day"), "200");
    let left: u64 = first.header("x-ratelimit-api_key-remaining-tokens_per_day").parse().unwrap();
    assert!(left < 200, "{left}");
    let refused =
        until_refused(&gateway, &limited, &body, 429, "for api_key: daily. Limit type: tokens_per_day").await;
    assert_eq!(refused.header("rate_limit_type"), "tokens_per_day");
    assert!(refused.header("reset_at").ends_with("T00:00:00Z"), "{}", refused.header("reset_at"));
    // What is not limited so goes on, and so does the key with more of it.
    ask(&gateway, KEY, &body).await.expect(200);
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    ask(&gateway, &limited, &body).await.expect(429);
    gateway.post("/key/update", &json!({ "key": limited, "tpd_limit": 2_000 })).await.expect(200);
    ask(&gateway, &limited, &body).await.expect(200);

    gateway.post("/budget/new", &json!({ "budget_id": "daily", "tpd_limit": 60 })).await.expect(200);
    gateway.post("/customer/new", &json!({ "user_id": "c", "budget_id": "daily" })).await.expect(200);
    until_refused(
        &gateway,
        KEY,
        &said("g", &json!({ "user": "c" })),
        429,
        "for end_user: c. Limit type: tokens_per_day",
    )
    .await;
    gateway.post("/team/new", &json!({ "team_id": "t", "tpd_limit": 60 })).await.expect(200);
    let of_team = key(&gateway, json!({ "team_id": "t" })).await;
    until_refused(&gateway, &of_team, &body, 429, "for team: t. Limit type: tokens_per_day").await;
}

#[tokio::test]
async fn a_tag_has_budgets_models_and_limits_by_key() {
    let fake = fake().await;
    let gateway =
        Gateway::start(&config(&[with_id(&fake, "g", "one", ""), with_id(&fake, "h", "two", "")], "")).await;
    let web = |model: &str| said(model, &json!({ "metadata": { "tags": ["web"] } }));
    ask(&gateway, KEY, &web("g")).await.expect(200);
    gateway.post("/tag/new", &json!({ "name": "web", "max_budget": 0.2, "models": ["g"] })).await.expect(200);
    let denied = ask(&gateway, KEY, &web("h")).await;
    let error = denied.expect(403).json()["error"].clone();
    assert_eq!(
        (&error["type"], &error["param"]),
        (&json!("tag_model_access_denied"), &json!("model")),
        "{error}"
    );
    // What was spent before the tag was made counts.
    let refused = until_refused(&gateway, KEY, &web("g"), 422, "Tag=web").await;
    assert_eq!(refused.json()["error"]["type"], "budget_exceeded");
    ask(&gateway, KEY, &said("g", &json!({}))).await.expect(200);
    // A key that brings the tag along is bound, too.
    let tagged = key(&gateway, json!({ "tags": ["web"] })).await;
    until_refused(&gateway, &tagged, &said("g", &json!({})), 422, "Tag=web").await;
    gateway
        .post("/tag/update", &json!({ "name": "web", "max_budget": null, "rpm_limit": 2 }))
        .await
        .expect(200);
    until_refused(&gateway, &tagged, &said("g", &json!({})), 429, "for tag: web. Limit type: requests").await;
    gateway.post("/tag/delete", &json!({ "name": "web" })).await.expect(200);
    ask(&gateway, &tagged, &said("h", &json!({}))).await.expect(200);
    let list = gateway.get("/tag/list").await.json();
    assert!(
        list.as_array().unwrap().iter().any(|one| one["name"] == "web" && one["created_at"].is_null()),
        "{list}"
    );

    let by_tag = key(&gateway, json!({ "tag_rpm_limit": { "batch": 1 } })).await;
    let batch = said("g", &json!({ "metadata": { "tags": ["batch"] } }));
    until_refused(&gateway, &by_tag, &batch, 429, "for tag_per_key: batch. Limit type: requests").await;
    ask(&gateway, &by_tag, &said("g", &json!({}))).await.expect(200);
}

#[tokio::test]
async fn a_model_whose_budget_is_gone_is_replaced_by_the_keys_own_choice() {
    let fake = fake().await;
    let models =
        [with_id(&fake, "g", "one", ""), with_id(&fake, "h", "two", ""), with_id(&fake, "i", "three", "")];
    let gateway = Gateway::start(&config(&models, "")).await;
    let wanted = json!({
        "models": ["g", "h"], "model_max_budget": { "g": { "budget_limit": 0.05, "time_period": "1d" } },
        "budget_fallbacks": { "g": ["i", "nothing", "h"] },
    });
    let limited = key(&gateway, wanted).await;
    let body = said("g", &json!({}));
    let answer = loop {
        let answer = ask(&gateway, &limited, &body).await;
        if answer.expect(200).header("x-litellm-model-group") != "g" {
            break answer;
        }
    };
    assert_eq!(answer.header("x-litellm-model-id"), "two");
    assert_eq!(answer.json()["model"], "g", "the caller's name for it");
    let receipt = gateway.receipt(&answer.headers).await;
    let why = reasons(&receipt);
    assert!(
        why.contains("\"g\": \"a budget for this model alone is used up; h is asked instead"),
        "{receipt}"
    );
    assert!(why.contains("\"i\": \"it cannot be asked"), "not the key's model: {receipt}");
    assert_eq!(receipt["group"], "h", "{receipt}");
    // Without spare models it is refused as ever.
    gateway.post("/key/update", &json!({ "key": limited, "budget_fallbacks": null })).await.expect(200);
    ask(&gateway, &limited, &body).await.expect(422);
}

#[tokio::test]
async fn the_spare_model_is_counted_where_the_caller_named_it_by_an_alias() {
    let fake = fake().await;
    let gateway =
        Gateway::start(&config(&[with_id(&fake, "g", "one", ""), with_id(&fake, "h", "two", "")], "")).await;
    let wanted = json!({
        "aliases": { "h": "g" }, "budget_fallbacks": { "g": ["h"] },
        "model_max_budget": {
            "g": { "budget_limit": 0.05, "time_period": "1d" }, "h": { "budget_limit": 0.2, "time_period": "1d" },
        },
    });
    let limited = key(&gateway, wanted).await;
    // Stands for the one, and then it is what it says.
    let body = said("h", &json!({}));
    let answer = loop {
        let answer = ask(&gateway, &limited, &body).await;
        if answer.expect(200).header("x-litellm-model-id") == "two" {
            break answer;
        }
    };
    let receipt = gateway.receipt(&answer.headers).await;
    assert!(receipt["group"].is_null() && receipt["attempts"][0]["group"].is_null(), "{receipt}");
    until_refused(&gateway, &limited, &body, 422, "Model=g").await;
}

#[tokio::test]
async fn a_callers_own_fallbacks_are_no_way_around_the_models_of_customer_and_tag() {
    let fake = fake().await;
    let models = [at(&fake, "g", "openai/fake-error-500", PRICE), with_id(&fake, "h", "two", "")];
    for checked in [true, false] {
        let rest = format!(
            "general_settings: {{master_key: {KEY}, enforce_fallback_model_access: {checked}}}\nrouter_settings: {{num_retries: 0}}"
        );
        let gateway = Gateway::start(&config(&models, &rest)).await;
        gateway.post("/customer/new", &json!({ "user_id": "c", "models": ["g"] })).await.expect(200);
        gateway.post("/tag/new", &json!({ "name": "web", "models": ["g"] })).await.expect(200);
        for more in [json!({ "user": "c" }), json!({ "tags": ["web"] })] {
            let mut body = said("g", &more);
            body["fallbacks"] = json!(["h"]);
            let refused = ask(&gateway, KEY, &body).await;
            assert_eq!(refused.expect(403).json()["error"]["param"], "model", "{checked}");
        }
        let mut body = said("g", &json!({}));
        body["fallbacks"] = json!(["h"]);
        ask(&gateway, KEY, &body).await.expect(200);
    }
}

#[tokio::test]
async fn users_members_customers_and_tags_have_budgets_of_single_models() {
    let fake = fake().await;
    let configuration = config(&[with_id(&fake, "g", "one", ""), with_id(&fake, "h", "two", "")], "");
    let gateway = Gateway::start(&configuration).await;
    let budget = json!({ "g": { "budget_limit": 0.05, "time_period": "1d" } });
    let user = json!({ "user_id": "ann", "model_max_budget": budget });
    let ann = gateway.post("/user/new", &user).await.expect(200).json()["key"].as_str().unwrap().to_owned();
    let team = json!({
        "team_id": "t", "team_member_model_max_budget": budget, "members_with_roles": [{ "user_id": "bob", "role": "user" }],
    });
    gateway.post("/team/new", &team).await.expect(200);
    let bob = key(&gateway, json!({ "team_id": "t", "user_id": "bob" })).await;
    gateway
        .post("/customer/new", &json!({ "user_id": "shop", "model_max_budget": budget }))
        .await
        .expect(200);
    gateway.post("/tag/new", &json!({ "name": "web", "model_max_budget": budget })).await.expect(200);
    let whose = [
        (ann.as_str(), json!({})),
        (bob.as_str(), json!({})),
        (KEY, json!({ "user": "shop" })),
        (KEY, json!({ "tags": ["web"] })),
    ];
    for (key, more) in &whose {
        until_refused(&gateway, key, &said("g", more), 422, "Model=g").await;
        ask(&gateway, key, &said("h", more)).await.expect(200);
    }
    // The team's other keys, and ann's with the team, are free of it.
    let other = key(&gateway, json!({ "team_id": "t" })).await;
    ask(&gateway, &other, &said("g", &json!({}))).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let directory = Some(gateway.stop());
    let gateway = Gateway::with(Start { config: Some(&configuration), directory, ..Start::default() }).await;
    for (key, more) in &whose {
        ask(&gateway, key, &said("g", more)).await.expect(422);
    }
}

#[tokio::test]
async fn a_customers_calls_stay_in_its_region_and_have_its_model() {
    let fake = fake().await;
    let models = [
        with_id(&fake, "g", "us", ", region_name: us-east-1"),
        with_id(&fake, "g", "eu", ", region_name: europe-west4"),
        with_id(&fake, "g", "nowhere", ""),
        with_id(&fake, "far", "far", ", region_name: us"),
    ];
    let gateway = Gateway::start(&config(&models, "")).await;
    let customer = json!({ "user_id": "c", "allowed_model_region": "eu" });
    gateway.post("/customer/new", &customer).await.expect(200);
    let of = |model: &str| said(model, &json!({ "user": "c" }));
    for _ in 0..6 {
        let answer = ask(&gateway, KEY, &of("g")).await;
        assert_eq!(answer.expect(200).header("x-litellm-model-id"), "eu");
        let why = reasons(&gateway.receipt(&answer.headers).await);
        assert!(why.contains("\"us\": \"the customer's calls are served in the region `eu` only"), "{why}");
        assert!(why.contains("\"nowhere\": \"the customer's calls"), "{why}");
    }
    let refused = ask(&gateway, KEY, &of("far")).await;
    let error = refused.expect(403).json()["error"].clone();
    assert_eq!(error["param"], "model", "{error}");
    assert!(error["message"].as_str().unwrap().contains("in the region `eu` only"), "{error}");
    let nameless = |user: &str| {
        let mut body = said("g", &json!({ "user": user }));
        body.as_object_mut().unwrap().shift_remove("model");
        body
    };
    assert_eq!(ask(&gateway, KEY, &nameless("c")).await.expect(400).json()["error"]["param"], "model");
    gateway.post("/customer/update", &json!({ "user_id": "c", "default_model": "g" })).await.expect(200);
    for body in [nameless("c"), of("far")] {
        let answer = ask(&gateway, KEY, &body).await;
        assert_eq!(answer.expect(200).header("x-litellm-model-id"), "eu");
    }
    assert_eq!(ask(&gateway, KEY, &nameless("stranger")).await.expect(400).json()["error"]["param"], "model");
    ask(&gateway, KEY, &said("far", &json!({}))).await.expect(200);
}

#[tokio::test]
async fn a_dynamic_limit_binds_while_a_deployment_rests() {
    let fake = fake().await;
    let models = [
        with_id(&fake, "calm", "calm", ""),
        at(&fake, "g", "openai/fake-ratelimit-30", &format!("{PRICE}, order: 1")),
        with_id(&fake, "g", "two", ", order: 2"),
    ];
    let rest = "router_settings: {num_retries: 0, allowed_fails: 0, cooldown_time: 30}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let bound = key(&gateway, json!({ "rpm_limit": 3, "rpm_limit_type": "dynamic" })).await;
    for _ in 0..6 {
        let answer = ask(&gateway, &bound, &said("calm", &json!({}))).await;
        assert!(answer.expect(200).headers.get("x-ratelimit-api_key-limit-requests").is_none());
    }
    // This one finds out that a provider refuses calls, and ends at another.
    assert_eq!(
        ask(&gateway, &bound, &said("g", &json!({}))).await.expect(200).header("x-litellm-model-id"),
        "two"
    );
    let refused = ask(&gateway, &bound, &said("g", &json!({}))).await;
    assert_eq!(refused.expect(429).header("rate_limit_type"), "requests");
    ask(&gateway, &bound, &said("calm", &json!({}))).await.expect(200);
}
