//! Speed with very many records. Takes a minute or two: `cargo xtask` does not run it; by hand, optimised:
//! `test-services cargo test --release -p tollway-store --test suite scale -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use tollway_store::records::Key;
use tollway_store::sql::Dialect;
use tollway_store::{Query, Shelf, Store, values};

use crate::place::{Place, key};

/// Records, or as many as `TOLLWAY_TEST_KEYS` says.
const KEYS: i64 = 1_000_000;
const CHUNK: i64 = 50_000;

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
        ("of a team", Query { equal: vec![("team_id", team())], ..all() }),
        ("of a team, deep", Query { equal: vec![("team_id", team())], offset: 9_000, ..all() }),
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
        eprintln!("{:?} {name}: {best:?}", store.sql().dialect());
        if best > Duration::from_millis(300) {
            slow.push(name);
        }
    }
    let start = Instant::now();
    const GETS: i64 = 5_000;
    for n in 0..GETS {
        let id = format!("key-{}", n * 7919 % keys);
        assert!(shelf.get(&id).await.unwrap().is_some());
    }
    eprintln!("{:?} get by id: {:?}", store.sql().dialect(), start.elapsed() / 5_000);
    let start = Instant::now();
    for n in 0..GETS {
        let token = format!("token-{}", n * 7919 % keys);
        assert!(shelf.find("token", &token).await.unwrap().is_some());
    }
    eprintln!("{:?} find by token: {:?}", store.sql().dialect(), start.elapsed() / 5_000);
    let start = Instant::now();
    for n in 0..200 {
        shelf.insert(Key { key_alias: None, ..key(n) }).await.unwrap();
    }
    eprintln!("{:?} insert: {:?}", store.sql().dialect(), start.elapsed() / 200);
    assert!(slow.is_empty(), "slower than 300 ms: {slow:?}");
}

/// Has the database itself make them.
async fn fill(store: &Store, keys: i64) {
    let start = Instant::now();
    let sample = Key {
        id: "key-#".to_owned(),
        token: "token-#".to_owned(),
        key_alias: Some("alias #".to_owned()),
        ..key(1)
    };
    let body = serde_json::to_string(&sample).unwrap();
    for first in (0..keys).step_by(usize::try_from(CHUNK).unwrap()) {
        let last = (first + CHUNK).min(keys) - 1;
        store
            .sql()
            .execute(
                "INSERT INTO keys (id, version, created_at, updated_at, token, key_alias, team_id, body) \
                 WITH RECURSIVE numbers (n) AS \
                 (SELECT CAST($1 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < $2) \
                 SELECT 'key-' || n, 1, n, n, 'token-' || n, 'alias ' || n, 'team-' || (n % 100), \
                 replace($3, '#', CAST(n AS TEXT)) FROM numbers",
                values![first, last, &body],
            )
            .await
            .unwrap();
    }
    // What the server does by itself after so many insertions.
    let tidy = match store.sql().dialect() {
        Dialect::Sqlite => "ANALYZE",
        Dialect::Postgres => "VACUUM (ANALYZE) keys",
    };
    store.sql().execute(tidy, vec![]).await.unwrap();
    eprintln!("{:?} {keys} keys made in {:?}", store.sql().dialect(), start.elapsed());
}
