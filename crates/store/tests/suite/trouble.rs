//! What happens while the database is gone.

use std::time::{Duration, Instant};

use tollway_store::records::Key;
use tollway_store::{Store, StoreError, Upkeep as _};
use tollway_testkit::services::{self, Postgres};

use crate::place::{Place, key, on_every_database};

on_every_database!(a_closed_store_is_unavailable);

async fn a_closed_store_is_unavailable(place: Place) {
    let store = place.store().await;
    store.ping().await.unwrap();
    store.sql().close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.shelf::<Key>().get("x").await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.shelf::<Key>().insert(key(1)).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_and_comes_back_is_found_again() {
    if services::new_database().is_none() {
        return;
    }
    let mut server = Postgres::start().unwrap();
    let store = Store::open_and_migrate(&server.url()).await.unwrap();
    let keys = store.shelf::<Key>();
    keys.insert(key(1)).await.unwrap();
    let changes = store.changes();
    assert_eq!(changes.after(0, Duration::from_millis(100)).await.unwrap().len(), 1);

    server.stop().unwrap();
    for _ in 0..3 {
        let start = Instant::now();
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    assert!(matches!(keys.get("key-0000001").await, Err(StoreError::Unavailable(_))));
    // It is known to be down: one tries, the others do not wait.
    let start = Instant::now();
    let trying = tokio::spawn({
        let keys = keys.clone();
        async move { keys.insert(key(2)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..100 {
        assert!(matches!(keys.get("key-0000001").await, Err(StoreError::Unavailable(_))));
    }
    assert!(matches!(changes.after(1, Duration::ZERO).await, Err(StoreError::Unavailable(_))));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(matches!(trying.await.unwrap(), Err(StoreError::Unavailable(_))));

    server.start_again().unwrap();
    let start = Instant::now();
    store.ping().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert!(keys.get("key-0000001").await.unwrap().is_some());
    keys.insert(key(3)).await.unwrap();
    assert_eq!(changes.after(1, Duration::from_secs(5)).await.unwrap()[0].id, key(3).id);

    // Killed and up again between two statements: nobody notices.
    server.stop().unwrap();
    server.start_again().unwrap();
    keys.insert(key(4)).await.unwrap();
    assert!(keys.get(&key(4).id).await.unwrap().is_some());
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_not_a_crash() {
    let store = Store::open("postgres://nobody:secret@127.0.0.1:1/none?connect_timeout=1").unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert!(matches!(store.migrate().await, Err(StoreError::Unavailable(_))));
}

#[cfg(unix)]
#[tokio::test]
async fn an_sqlite_file_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_in(directory.path()).unwrap();
    store.migrate().await.unwrap();
    store.shelf::<Key>().insert(key(1)).await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        files += 1;
    }
    assert!(files >= 2, "the database and its journal");
}
