use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tollway_store::records::{Model, Stamp};
use tollway_store::{SaltKey, SealError, Sealer, Shelf, StoreError};

use crate::place::{Place, on_every_database, secret};

on_every_database!(secrets_are_sealed_again_under_load, what_cannot_be_opened_is_named_and_left);

fn sealer(keys: &[&str]) -> Sealer {
    let mut keys = keys.iter().map(|key| SaltKey::new(secret(key)));
    Sealer::new(keys.next().unwrap(), keys.collect())
}

fn model(n: i64, sealer: &Sealer) -> Model {
    let id = format!("model-{n:04}");
    let seal = |text: String| json!(sealer.seal("model", &id, &secret(&text)).unwrap());
    let params = json!({
        "model": "openai/gpt-4o",
        "api_key": seal(format!("sk-{n}")),
        "deep": [{"aws_secret": seal(format!("aws-{n}"))}],
        "note": "\"tw1: is not sealed",
        "temperature": 0.1,
    });
    Model {
        litellm_params: params.as_object().unwrap().clone(),
        model_id: id,
        stamp: Stamp { created_at: n, ..Stamp::default() },
        ..Model::default()
    }
}

fn opens(model: &Model, n: i64, sealer: &Sealer) -> Result<(), SealError> {
    let key = model.litellm_params["api_key"].as_str().unwrap();
    let deep = model.litellm_params["deep"][0]["aws_secret"].as_str().unwrap();
    assert_eq!(sealer.open("model", &model.model_id, key)?.expose(), format!("sk-{n}"));
    assert_eq!(sealer.open("model", &model.model_id, deep)?.expose(), format!("aws-{n}"));
    Ok(())
}

async fn secrets_are_sealed_again_under_load(place: Place) {
    const MODELS: i64 = 250;
    let (old, both, new) = (sealer(&["old"]), sealer(&["new", "old"]), sealer(&["new"]));
    let store = place.store().await;
    let models: Shelf<Model> = store.shelf();
    for n in 0..MODELS {
        models.insert(model(n, &old)).await.unwrap();
    }
    // Someone reads and changes all the time, and never meets what cannot be opened.
    let stop = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let (models, both, stop) = (models.clone(), both.clone(), Arc::clone(&stop));
        async move {
            let mut changes = 0;
            for n in (0..MODELS).cycle() {
                let mut read = models.get(&format!("model-{n:04}")).await.unwrap().unwrap();
                opens(&read, n, &both).unwrap();
                read.blocked = !read.blocked;
                match models.update(read).await {
                    Ok(_) => changes += 1,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                if stop.load(Ordering::Relaxed) {
                    return changes;
                }
            }
            changes
        }
    });
    let mut seen = 0;
    let done = store.reseal(&both, |progress| seen = progress.seen).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(busy.await.unwrap() > 0);
    assert_eq!((done.failed.len(), seen, done.records), (0, 250, 250));
    assert_eq!(done.resealed, 500);
    for n in 0..MODELS {
        let read = models.get(&format!("model-{n:04}")).await.unwrap().unwrap();
        opens(&read, n, &new).unwrap();
        assert_eq!(read.litellm_params["note"], "\"tw1: is not sealed");
    }
    assert_eq!(store.reseal(&both, |_| ()).await.unwrap().resealed, 0, "once is enough");
    // And back.
    assert_eq!(store.reseal(&sealer(&["old", "new"]), |_| ()).await.unwrap().resealed, 500);
}

async fn what_cannot_be_opened_is_named_and_left(place: Place) {
    let store = place.store().await;
    let models: Shelf<Model> = store.shelf();
    let before = models.insert(model(1, &sealer(&["lost"]))).await.unwrap();
    let done = store.reseal(&sealer(&["new", "old"]), |_| ()).await.unwrap();
    let lost = SealError::UnknownKey(sealer(&["lost"]).active());
    let expected = vec![("models", before.model_id.clone(), lost.clone()); 2];
    assert_eq!((done.resealed, done.failed), (0, expected));
    assert_eq!(models.get(&before.model_id).await.unwrap(), Some(before));
    assert!(lost.to_string().contains(&sealer(&["lost"]).active()));
}
