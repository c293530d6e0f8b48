//! Speed with very many records. Takes a minute or two: `cargo xtask` does not run it; by hand, optimised:
//! `test-services cargo test --release -p tollway-store --test suite scale -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use tollway_store::records::{Key, Record as _};
use tollway_store::sql::{Dialect, Statement, Value, placeholder_rows};
use tollway_store::{Query, Shelf, Store, values};

use crate::place::{Place, key};

/// Records, or as many as `TOLLWAY_TEST_KEYS` says.
const KEYS: i64 = 1_000_000;
const CHUNK: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute or two"]
async fn a_million_keys_on_sqlite() {
    measure(Place::file()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute or two"]
async fn a_million_keys_on_postgresql() {
    measure(Place::postgres()).await;
}

async fn measure(place: Option<Place>) {
    let Some(place) = place else { return };
    let keys =
        std::env::var_os("TOLLWAY_TEST_KEYS").map_or(KEYS, |text| text.to_str().unwrap().parse().unwrap());
    let store = place.store().await;
    fill(&store, keys).await;
    let shelf: Shelf<Key> = store.shelf();
    let all = || Query { limit: 50, ..Query::default() };
    let team = || Some("team-1".to_owned());
    let queries = [
        ("first page", all()),
        ("newest first", Query { descending: true, ..all() }),
        ("deep page", Query { offset: keys.unsigned_abs() * 9 / 10, ..all() }),
        ("by alias", Query { sort: Some("key_alias"), ..all() }),
        ("by alias, last first", Query { sort: Some("key_alias"), descending: true, ..all() }),
        ("of a team of a third", Query { equal: vec![("team_id", team())], ..all() }),
        ("of a team, deep", Query { equal: vec![("team_id", team())], offset: 300_000, ..all() }),
        ("of a team, by alias", Query { equal: vec![("team_id", team())], sort: Some("key_alias"), ..all() }),
        ("of nobody", Query { equal: vec![("user_id", Some("x".to_owned()))], ..all() }),
        ("alias contains", Query { contains: vec![("key_alias", "99999".to_owned())], ..all() }),
    ];
    let mut slow = Vec::new();
    for (name, query) in queries {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let page = shelf.list(&query).await.unwrap();
            best = best.min(start.elapsed());
            assert!(page.records.len() <= 50);
        }
        println!("{:?} {name}: {best:?}", store.sql().dialect());
        if best > Duration::from_millis(300) {
            slow.push(name);
        }
    }
    let start = Instant::now();
    const GETS: i64 = 5_000;
    for n in 0..GETS {
        let id = key(n * 7919 % keys).id;
        assert!(shelf.get(&id).await.unwrap().is_some());
    }
    println!("{:?} get by id: {:?}", store.sql().dialect(), start.elapsed() / 5_000);
    let start = Instant::now();
    for n in 0..GETS {
        let token = key(n * 7919 % keys).token;
        assert!(shelf.find("token", &token).await.unwrap().is_some());
    }
    println!("{:?} find by token: {:?}", store.sql().dialect(), start.elapsed() / 5_000);
    let start = Instant::now();
    for n in 0..200 {
        shelf.insert(key(keys + n)).await.unwrap();
    }
    println!("{:?} insert: {:?}", store.sql().dialect(), start.elapsed() / 200);
    assert!(slow.is_empty(), "slower than 300 ms: {slow:?}");
}

async fn fill(store: &Store, keys: i64) {
    let start = Instant::now();
    for first in (0..keys).step_by(usize::try_from(CHUNK).unwrap()) {
        store
            .sql()
            .transaction(move |transaction| async move {
                let mut parameters: Vec<Value> = Vec::new();
                let mut rows = 0;
                for n in first..(first + CHUNK).min(keys) {
                    let record = key(n);
                    let body = serde_json::to_string(&record).unwrap();
                    let stamp = record.stamp();
                    parameters.extend(values![&record.id, 1_i64, stamp.created_at, stamp.updated_at, body]);
                    parameters.extend(record.columns().into_iter().map(Value::Text));
                    rows += 1;
                }
                let statement = format!(
                    "INSERT INTO keys (id, version, created_at, updated_at, body, {}) VALUES {}",
                    Key::COLUMNS.join(", "),
                    placeholder_rows(rows, 5 + Key::COLUMNS.len())
                );
                transaction.execute(Statement::assembled(statement), parameters).await
            })
            .await
            .unwrap();
    }
    // What the server does by itself after so many insertions.
    let tidy = match store.sql().dialect() {
        Dialect::Sqlite => "ANALYZE",
        Dialect::Postgres => "VACUUM (ANALYZE) keys",
    };
    store.sql().execute(tidy, vec![]).await.unwrap();
    println!("{:?} {keys} keys made in {:?}", store.sql().dialect(), start.elapsed());
}
