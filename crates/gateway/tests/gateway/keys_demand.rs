//! What a key demands of the bodies of its calls.

use serde_json::{Value, json};

use crate::support::{Gateway, all_surfaces, chat, config, fake, three};

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
    body["metadata"] = json!({ "project": "x" });
    ask("/v1/chat/completions", &body).await.expect(200);
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
}
