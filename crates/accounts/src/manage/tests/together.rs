//! Several at once: both edits count, or one is told of the conflict.

use serde_json::json;
use tollway_store::records::{Key, Record};

use super::{World, told};
use crate::rights::Right;

#[tokio::test]
async fn edits_of_different_fields_at_the_same_time_all_count() {
    let world = World::new().await;
    let key = world.key(json!({})).await;
    let bodies = [
        json!({ "key": key, "max_budget": 5 }),
        json!({ "key": key, "tpm_limit": 7 }),
        json!({ "key": key, "models": ["m"] }),
        json!({ "key": key, "metadata": { "a": 1 } }),
    ];
    let mut running = Vec::new();
    for body in bodies {
        let (management, grant) = (world.management.clone(), world.admin(Right::KeyUpdate).await);
        running.push(tokio::spawn(async move {
            management.key_update(&grant, body.to_string().as_bytes()).await
        }));
    }
    for one in running {
        one.await.unwrap().unwrap();
    }
    let info = world.info(&key).await.unwrap();
    assert_eq!(
        (&info["max_budget"], &info["tpm_limit"], &info["models"], &info["metadata"]),
        (&json!(5.0), &json!(7), &json!(["m"]), &json!({ "a": 1 }))
    );
    world.check_audit(&[&key]).await;
}

#[tokio::test]
async fn one_name_goes_to_one_of_many() {
    let world = World::new().await;
    let mut running = Vec::new();
    for _ in 0..8 {
        let (management, grant) = (world.management.clone(), world.admin(Right::KeyGenerate).await);
        running.push(tokio::spawn(async move {
            management.key_generate(&grant, br#"{"key_alias":"one"}"#).await
        }));
    }
    let mut made = 0;
    for one in running {
        match one.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!(told(&error), (400, "bad_request_error".into(), Some("key_alias".into())))
            }
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn a_stale_record_is_a_conflict() {
    let world = World::new().await;
    let key = world.key(json!({})).await;
    let shelf = world.store.shelf::<Key>();
    let stale = shelf.find("token", &crate::manage::hash_key(&key)).await.unwrap().unwrap();
    world.update(json!({ "key": key, "blocked": true })).await.unwrap();
    let mut after = stale.clone();
    after.blocked = false;
    after.tags = vec!["x".into()];
    let actor = world.admin(Right::KeyUpdate).await.actor().clone();
    let error = world.management.keys.change(&actor, "updated", &stale, after).await.unwrap_err();
    assert_eq!(error.status(), 409);
    let kept = shelf.get(stale.id()).await.unwrap().unwrap();
    assert!(kept.blocked && kept.tags.is_empty());
    world.check_audit(&[&key]).await;
}
