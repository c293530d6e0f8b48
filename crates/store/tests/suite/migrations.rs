use std::sync::Arc;

use tollway_store::migrations::{ALL, Migration, Step};
use tollway_store::records::{Key, Record, TABLES};
use tollway_store::sql::{Dialect, Location};
use tollway_store::{Store, Upkeep as _, values};

use crate::place::{Place, key, on_every_database};

on_every_database!(
    every_earlier_state_can_be_migrated,
    processes_that_start_together_migrate_once,
    a_database_from_the_future_is_used_as_it_is,
    a_migration_that_fails_leaves_nothing,
    statuses_are_told,
);

/// A version to come.
const NEXT: Migration = Migration {
    name: "9999_next",
    steps: &[
        Step::Both("ALTER TABLE keys ADD COLUMN next_limit {text}"),
        Step::Both("CREATE TABLE next_things (id {text} PRIMARY KEY)"),
        Step::Sqlite("CREATE INDEX next_sqlite ON next_things (id)"),
        Step::Postgres("CREATE INDEX next_postgres ON next_things (id)"),
    ],
};

/// Half of it works.
const WRONG: Migration = Migration {
    name: "9999_wrong",
    steps: &[Step::Both("CREATE TABLE half (id BIGINT)"), Step::Both("CREATE TABLE keys (id BIGINT)")],
};

fn knowing(place: &Place, known: &[Migration]) -> Option<Store> {
    if place.is_memory() {
        // Another store in memory is another database.
        return None;
    }
    let location = Location::parse(&place.location).unwrap();
    Some(Store::with_migrations(location, Box::leak(known.to_vec().into_boxed_slice())).unwrap())
}

async fn works(store: &Store, n: i64) {
    let keys = store.shelf::<Key>();
    let made = keys.insert(key(n)).await.unwrap();
    assert_eq!(keys.update(made).await.unwrap().stamp.version, 2);
}

async fn every_earlier_state_can_be_migrated(place: Place) {
    for earlier in 0..=ALL.len() {
        // PostgreSQL's schema or SQLite's file starts anew each time.
        let Some(old) = knowing(&place, &ALL[..earlier]) else { return };
        old.migrate().await.unwrap();
        let store = place.open();
        let applied = store.migrate().await.unwrap();
        assert_eq!(applied.len(), ALL.len() - earlier);
        assert_eq!(store.migrate().await.unwrap(), Vec::<String>::new());
        works(&store, 1).await;
        clear(&store).await;
    }
}

async fn clear(store: &Store) {
    let tables = match store.sql().dialect() {
        Dialect::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        Dialect::Postgres => "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
    };
    for row in store.sql().query(tables, vec![]).await.unwrap() {
        let drop = format!("DROP TABLE {}", row.text(0).unwrap());
        store.sql().execute(tollway_store::sql::Statement::assembled(drop), vec![]).await.unwrap();
    }
}

async fn processes_that_start_together_migrate_once(place: Place) {
    let stores: Vec<_> = (0..6).map(|_| Arc::new(place.open())).collect();
    let starts: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = Arc::clone(store);
            tokio::spawn(async move { store.migrate().await.unwrap() })
        })
        .collect();
    let mut applied = Vec::new();
    for start in starts {
        applied.extend(start.await.unwrap());
    }
    let names: Vec<_> = ALL.iter().map(|migration| migration.name).collect();
    applied.sort();
    assert_eq!(applied, names, "each is applied by one of them");
    works(&stores[0], 1).await;
}

async fn a_database_from_the_future_is_used_as_it_is(place: Place) {
    let mut known = ALL.to_vec();
    known.push(NEXT);
    let Some(next) = knowing(&place, &known) else { return };
    let this = place.store().await;
    works(&this, 1).await;
    assert_eq!(next.migrate().await.unwrap(), ["9999_next"]);
    // Both at once, the older one started anew, too.
    works(&this, 2).await;
    works(&next, 3).await;
    let restarted = place.store().await;
    works(&restarted, 4).await;
    assert_eq!(restarted.migrate().await.unwrap(), Vec::<String>::new());
    assert_eq!(restarted.migrations().await.unwrap().last().unwrap().0, "9999_next");
}

async fn a_migration_that_fails_leaves_nothing(place: Place) {
    let mut known = ALL.to_vec();
    known.push(WRONG);
    let Some(wrong) = knowing(&place, &known) else { return };
    let error = wrong.migrate().await.unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    let status = wrong.migrations().await.unwrap();
    assert!(status.iter().all(|(name, applied)| applied.is_some() == (name != WRONG.name)), "{status:?}");
    assert!(wrong.sql().query("SELECT id FROM half", values![]).await.is_err());
    works(&place.store().await, 1).await;
}

async fn statuses_are_told(place: Place) {
    let store = place.open();
    let before = store.migrations().await.unwrap();
    assert_eq!(before.len(), ALL.len());
    assert!(before.iter().all(|(_, applied)| applied.is_none()));
    store.migrate().await.unwrap();
    let after = store.migrations().await.unwrap();
    // Milliseconds since 1970, in this century.
    assert!(after.iter().all(|(_, applied)| applied.is_some_and(|at| at > 1_700_000_000_000)));
    for table in TABLES {
        let empty = tollway_store::sql::Statement::assembled(format!("SELECT count(*) FROM {table}"));
        assert_eq!(store.sql().query_one(empty, vec![]).await.unwrap().unwrap().int(0).unwrap(), 0);
    }
    assert_eq!(Key::TABLE, "keys");
}

/// The beginning of a migration's checksum on SQLite and on PostgreSQL. A line is added for a new migration, and never
/// changes once that was released.
const CHECKSUMS: &[(&str, &str, &str)] = &[
    ("0001_accounts", "773d9e33bacc7fa9", "48975d5dca203207"),
    ("0002_receipts", "2ef77c14be942ab4", "b1f7a5737a10d122"),
    ("0003_shares", "f5805f3aa8c0e3ee", "17c5f79ba366db67"),
    ("0004_tags", "49cfbcd21689e2c9", "3a89a355f53b4c9b"),
];

#[test]
fn migrations_never_change() {
    for (migration, expected) in ALL.iter().zip(CHECKSUMS) {
        let (sqlite, postgres) = (migration.checksum(Dialect::Sqlite), migration.checksum(Dialect::Postgres));
        assert_eq!((migration.name, &sqlite[..16], &postgres[..16]), *expected);
    }
    assert_eq!(ALL.len(), CHECKSUMS.len(), "every migration has its line");
    assert!(ALL.is_sorted_by_key(|migration| migration.name));
}
