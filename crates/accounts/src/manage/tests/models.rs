//! Models added over the API: their secrets go in and do not come out.

use serde_json::{Value, json};
use tollway_model::Result;
use tollway_store::records::Model;

use super::{World, told};
use crate::rights::Right;

const CANARY: &str = "sk-provider-canary";

async fn new(world: &World, body: Value) -> Result<Value> {
    let grant = world.admin(Right::ModelWrite).await;
    world.management.model_new(&grant, body.to_string().as_bytes()).await
}

async fn update(world: &World, id: &str, body: Value) -> Result<Value> {
    let grant = world.admin(Right::ModelWrite).await;
    world.management.model_update(&grant, Some(id), body.to_string().as_bytes()).await
}

async fn opened(world: &World, id: &str) -> Value {
    let models = world.management.open_models().await.unwrap();
    let (_, model) = models.into_iter().find(|(name, _)| name == id).unwrap();
    Value::Object(model.unwrap().0.litellm_params)
}

#[tokio::test]
async fn secrets_are_written_and_never_read() {
    let world = World::new().await;
    let params = json!({
        "model": "openai/gpt-4o", "api_key": CANARY, "api_base": "https://a.example", "rpm": 5,
        "vertex_credentials": { "private_key": CANARY }, "extra_headers": { "x-auth": CANARY },
    });
    let made =
        new(&world, json!({ "model_name": "gpt", "litellm_params": params, "model_info": { "id": "m" } }));
    let made = made.await.unwrap();
    assert_eq!(made["litellm_params"]["api_key"], "***");
    assert_eq!((&made["litellm_params"]["rpm"], &made["model_info"]["id"]), (&json!(5), &json!("m")));
    let kept = world.store.shelf::<Model>().get("m").await.unwrap().unwrap();
    for text in [made.to_string(), serde_json::to_string(&kept).unwrap()] {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert_eq!(opened(&world, "m").await, params);

    // What was shown may be sent back: stars leave the secret as it is.
    let back =
        json!({ "model_name": "gpt-new", "litellm_params": { "api_key": "***", "rpm": 6, "tpm": null } });
    let changed = update(&world, "m", back).await.unwrap();
    assert_eq!((&changed["model_name"], &changed["litellm_params"]["rpm"]), (&json!("gpt-new"), &json!(6)));
    assert_eq!(opened(&world, "m").await["api_key"], CANARY);

    // A secret does not follow to another place.
    for moved in [
        json!({ "api_base": "https://evil.example" }),
        json!({ "model": "groq/llama" }),
        json!({ "base_url": "https://evil.example" }),
        json!({ "api_base": null }),
        json!({ "api_base": "https://evil.example", "api_key": "sk-new" }),
    ] {
        let error = update(&world, "m", json!({ "litellm_params": moved })).await.unwrap_err();
        assert_eq!(told(&error).0, 400, "{moved}");
    }
    let anew = json!({
        "api_base": "https://b.example", "api_key": "sk-new", "vertex_credentials": null, "extra_headers": null,
    });
    update(&world, "m", json!({ "litellm_params": anew })).await.unwrap();
    assert_eq!(opened(&world, "m").await["api_key"], "sk-new");
    world.check_audit(&[CANARY, "sk-new"]).await;
}

#[tokio::test]
async fn what_makes_no_model_is_refused() {
    let world = World::new().await;
    let good = json!({ "model": "openai/gpt-4o" });
    new(&world, json!({ "model_name": "a", "litellm_params": good, "model_info": { "id": "m" } }))
        .await
        .unwrap();
    let sealed = world.store.shelf::<Model>().get("m").await.unwrap().unwrap();
    assert!(sealed.litellm_params.contains_key("model"));
    for (body, param) in [
        (json!({}), "model_name"),
        (json!({ "model_name": "a" }), "litellm_params"),
        (json!({ "model_name": "a", "litellm_params": {} }), "litellm_params.model"),
        (json!({ "model_name": "", "litellm_params": good }), "model_name"),
        (json!({ "model_name": "a", "litellm_params": good, "model_info": { "id": "m" } }), "model_info.id"),
        (
            json!({ "model_name": "a", "litellm_params": { "model": "x", "api_key": "***" } }),
            "litellm_params.api_key",
        ),
        (
            json!({ "model_name": "a", "litellm_params": { "model": "x", "api_key": "os.environ/MASTER" } }),
            "litellm_params.api_key",
        ),
        (
            json!({ "model_name": "a", "litellm_params": good, "model_info": { "team_id": "t" } }),
            "model_info.team_id",
        ),
        (json!({ "model_name": "os.environ/MASTER", "litellm_params": good }), "model_info"),
        (json!({ "model_nam": "a", "litellm_params": good }), "model_nam"),
    ] {
        let error = new(&world, body.clone()).await.unwrap_err();
        assert_eq!(told(&error), (400, "bad_request_error".into(), Some(param.into())), "{body}");
    }
    let grant = world.admin(Right::ModelWrite).await;
    for empty in [&b""[..], b"  ", b"{}"] {
        for result in [
            world.management.model_new(&grant, empty).await,
            world.management.model_update(&grant, None, empty).await,
            world.management.model_delete(&grant, empty).await,
            world.management.model_block(&grant, empty, true).await,
        ] {
            assert_eq!(told(&result.unwrap_err()).0, 400);
        }
    }
    let id = br#"{"id":"m"}"#;
    assert_eq!(world.management.model_block(&grant, id, true).await.unwrap()["blocked"], true);
    assert_eq!(world.management.model_delete(&grant, id).await.unwrap()["model_id"], "m");
    assert_eq!(told(&world.management.model_delete(&grant, id).await.unwrap_err()).0, 404);
}
