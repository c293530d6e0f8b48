//! What a key demands of its calls, and what it says where they do not.

use serde_json::{Value, json};

use crate::support::{Gateway, all_surfaces, at, chat, config, fake, three};

#[tokio::test]
async fn a_call_without_what_its_key_demands_reaches_no_provider() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let made =
        gateway.post("/key/generate", &json!({ "enforced_params": ["user", "metadata.project"] })).await;
    let key = made.expect(200).json()["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let ask = async |path: &str, body: &Value| {
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        gateway.send("POST", path, &headers, body.to_string()).await.read().await
    };
    for (dialect, surface) in all_surfaces("gpt", "hi", false) {
        let refused = ask(&surface.path, &surface.body).await;
        assert!(refused.expect(400).text().contains("`user`"), "{dialect}: {}", refused.text());
    }
    let mut body = chat("gpt", "hi");
    body["user"] = json!("somebody");
    body["metadata"] = json!({ "other": "x" });
    assert_eq!(
        ask("/v1/chat/completions", &body).await.expect(400).json()["error"]["param"],
        "metadata.project"
    );
    assert!(fake.received().is_empty());
    ask("/v1/messages/count_tokens", &chat("claude", "hi")).await.expect(200);
    fake.reset();
    body["metadata"] = json!({ "project": "x" });
    ask("/v1/chat/completions", &body).await.expect(200);
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
}

#[tokio::test]
async fn a_keys_router_settings_count_where_the_call_says_nothing_and_the_teams_after_them() {
    let fake = fake().await;
    let models = [
        at(&fake, "broken", "openai/fake-error-500+id-broken", ""),
        at(&fake, "spare", "openai/fake-ok+id-spare", ""),
        at(&fake, "other", "openai/fake-ok+id-other", ""),
    ];
    let rest = "router_settings: {num_retries: 0, disable_cooldowns: true, fallbacks: [{broken: [other]}]}";
    let gateway = Gateway::start(&config(&models, rest)).await;
    let made = async |path: &str, body: Value| gateway.post(path, &body).await.expect(200).json();
    let settings = json!({ "num_retries": 1, "fallbacks": [{ "broken": ["spare"] }] });
    let team = made("/team/new", json!({ "router_settings": settings })).await["team_id"].clone();
    let keys = [
        made("/key/generate", json!({ "team_id": team })).await,
        made("/key/generate", json!({ "team_id": team, "router_settings": { "num_retries": 2 } })).await,
        made("/key/generate", json!({ "router_settings": settings, "models": ["broken", "other"] })).await,
        made("/key/generate", json!({})).await,
    ];
    let check = async |key: &Value, more: Value, expected: &str| {
        fake.reset();
        let mut body = chat("broken", "hi");
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        gateway.send("POST", "/v1/chat/completions", &headers, body.to_string()).await.read().await;
        let asked: Vec<String> = (fake.received().iter())
            .map(|call| call.json()["model"].as_str().unwrap().rsplit('-').next().unwrap().to_owned())
            .collect();
        assert_eq!(asked.join(" "), expected, "{more}");
    };
    check(&keys[0], json!({}), "broken broken spare").await;
    check(&keys[1], json!({}), "broken broken broken spare").await;
    // What the key may not use is no fallback.
    check(&keys[2], json!({}), "broken broken").await;
    check(&keys[3], json!({}), "broken other").await;
    // The call itself counts most.
    check(&keys[0], json!({ "num_retries": 0, "fallbacks": ["other"] }), "broken other").await;
}
