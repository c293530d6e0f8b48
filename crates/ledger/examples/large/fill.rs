//! Making what is missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway_ledger::books::{Books, DAY, SqlBooks};
use tollway_ledger::{Receipt, sample};
use tollway_store::records::{Customer, Key, Record, Stamp, Team, User};
use tollway_store::sql::{Cells, Dialect, Kind, Load, Rows, Sql, Statement, Transaction};
use tollway_store::{Store, StoreResult};

use super::{BEGIN, CUSTOMERS, DAYS, RARE, TEAMS, USERS, active, key_id, key_text, token};

/// Records in one transaction.
const RECORDS: u64 = 50_000;

/// Receipts made at once, while those before are written.
const PIECE: u64 = 20_000;

/// Receipts up to which all sums are proved afterwards.
const PROVED: u64 = 500_000;

pub(super) async fn fill(url: &str, keys: u64, receipts: u64) {
    let store = Store::open_and_migrate(url).await.unwrap();
    if store.sql().dialect() == Dialect::Sqlite {
        // Nobody minds if the power goes; and the indexes' pages stay in memory.
        for setting in ["cache_size = -1500000", "synchronous = off", "wal_autocheckpoint = 100000"] {
            let statement = Statement::assembled(format!("PRAGMA {setting}"));
            store.sql().execute(statement, Vec::new()).await.unwrap();
        }
    }
    make(store.sql(), TEAMS, |number| Team {
        team_id: format!("team-{number}"),
        team_alias: Some(format!("the team {number}")),
        stamp: stamp(number),
        ..Team::default()
    })
    .await;
    make(store.sql(), USERS, |number| User {
        user_id: format!("user-{number}"),
        user_email: Some(format!("user{number}@example.com")),
        user_role: Some("internal_user".to_owned()),
        stamp: stamp(number),
        ..User::default()
    })
    .await;
    make(store.sql(), CUSTOMERS, |number| Customer {
        user_id: format!("customer-{number}"),
        stamp: stamp(number),
        ..Customer::default()
    })
    .await;
    make(store.sql(), keys, |number| Key {
        id: key_id(number),
        token: token(number),
        key_name: format!("sk-...{}", key_text(number).split_at(13).1),
        key_alias: Some(format!("alias {number}")),
        user_id: Some(format!("user-{}", number % USERS)),
        team_id: Some(format!("team-{}", number % TEAMS)),
        stamp: stamp(number),
        ..Key::default()
    })
    .await;
    let books = SqlBooks::new(store.sql().clone());
    make_receipts(store.sql(), &books, receipts, active(keys)).await;
    if receipts <= PROVED {
        let found = books.verify(&|_, _| ()).await.unwrap();
        println!("{} receipts proved, {} differences", found.receipts, found.different);
        assert_eq!(found.different, 0, "{:?}", found.differences.first());
    }
    // What a server does by itself after so many insertions.
    match store.sql().dialect() {
        Dialect::Sqlite => {
            for statement in ["PRAGMA optimize = 0x10002", "PRAGMA wal_checkpoint(TRUNCATE)"] {
                store.sql().execute(statement, Vec::new()).await.unwrap();
            }
        }
        Dialect::Postgres => {
            let tidy = |transaction: Transaction| async move {
                transaction.execute("SET LOCAL statement_timeout = 0", Vec::new()).await?;
                transaction.execute("ANALYZE", Vec::new()).await
            };
            store.sql().long_transaction(tidy).await.unwrap();
        }
    }
    store.sql().close().await;
}

/// Proves the sums, as `tollway ledger verify` does.
pub(super) async fn verify(url: &str) {
    let store = Store::open_and_migrate(url).await.unwrap();
    let begun = Instant::now();
    let progress =
        |at, done| println!("{done} receipts, day {}, {:.0} s", at / DAY, begun.elapsed().as_secs_f64());
    let found = SqlBooks::new(store.sql().clone()).verify(&progress).await.unwrap();
    println!(
        "{} receipts and {} scopes proved after {:.0} s, {} differences",
        found.receipts,
        found.scopes,
        begun.elapsed().as_secs_f64(),
        found.different
    );
    store.sql().close().await;
}

fn stamp(number: u64) -> Stamp {
    let at = BEGIN + i64::try_from(number).unwrap();
    Stamp { version: 1, created_at: at, updated_at: at, ..Stamp::default() }
}

/// Records from 0 on, as far as they are missing.
async fn make<R: Record>(sql: &Sql, count: u64, one: fn(u64) -> R) {
    let there = rows(sql, R::TABLE).await;
    let begun = Instant::now();
    let texts = ["id", "body"].into_iter().chain(R::COLUMNS.iter().copied()).map(|name| (name, Kind::Text));
    let numbers = ["version", "created_at", "updated_at"].map(|name| (name, Kind::Int));
    let columns: Vec<_> = texts.chain(numbers).collect();
    let load = &Load::new(R::TABLE, &columns, "");
    for first in (there..count).step_by(usize::try_from(RECORDS).unwrap()) {
        let some: Arc<dyn Rows> = Arc::new(Made { first, end: (first + RECORDS).min(count), one });
        let put = |transaction: Transaction| {
            let some = some.clone();
            async move { transaction.load(load, some).await }
        };
        sql.long_transaction(put).await.unwrap();
    }
    each(R::TABLE, count.saturating_sub(there), begun.elapsed());
}

async fn rows(sql: &Sql, table: &str) -> u64 {
    let text = format!("SELECT count(*) FROM {table}");
    let row = sql.query_one(Statement::assembled(text), Vec::new()).await.unwrap().unwrap();
    u64::try_from(row.int(0).unwrap()).unwrap()
}

struct Made<R> {
    first: u64,
    end: u64,
    one: fn(u64) -> R,
}

impl<R: Record> Rows for Made<R> {
    fn count(&self) -> usize {
        usize::try_from(self.end - self.first).unwrap()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        let record = (self.one)(self.first + index as u64);
        cells.text(Some(record.id()));
        cells.text(Some(&serde_json::to_string(&record).unwrap()));
        for text in record.columns() {
            cells.text(text.as_deref());
        }
        let stamp = record.stamp();
        for number in [1, stamp.created_at, stamp.updated_at] {
            cells.int(Some(number));
        }
        Ok(())
    }
}

async fn make_receipts(sql: &Sql, books: &SqlBooks, receipts: u64, active: u64) {
    let there = rows(sql, "receipts").await;
    let begun = Instant::now();
    let names: Arc<Vec<Names>> = Arc::new((0..active).map(Names::of).collect());
    let piece = |first: u64| {
        let names = names.clone();
        let piece = move || {
            let numbers = first..(first + PIECE).min(receipts);
            numbers.map(|number| Arc::new(receipt(number, &names))).collect::<Vec<_>>()
        };
        tokio::task::spawn_blocking(piece)
    };
    let mut filling = books.filling();
    let mut next = piece(there);
    for first in (there..receipts).step_by(usize::try_from(PIECE).unwrap()) {
        let some = next.await.unwrap();
        next = piece(first + PIECE);
        filling.add(some).await.unwrap();
        if first.is_multiple_of(PIECE * 25) {
            println!("{first} receipts after {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    filling.finish().await.unwrap();
    each("receipts", receipts.saturating_sub(there), begun.elapsed());
}

/// What a receipt has of its key.
struct Names {
    key: Arc<str>,
    token: Arc<str>,
    alias: Arc<str>,
    user: Arc<str>,
    team: Arc<str>,
}

impl Names {
    fn of(number: u64) -> Names {
        Names {
            key: key_id(number).into(),
            token: token(number).into(),
            alias: format!("alias {number}").into(),
            user: format!("user-{}", number % USERS).into(),
            team: format!("team-{}", number % TEAMS).into(),
        }
    }
}

/// The sample's receipt, of one of the keys above. A few keys make many of the calls.
fn receipt(number: u64, names: &[Names]) -> Receipt {
    let mut receipt = sample::receipt(number);
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let of = if random.is_multiple_of(2) { (random / 2) % 50 } else { (random / 2) % names.len() as u64 };
    let names = names.get(usize::try_from(of).unwrap()).unwrap();
    // Ten million are thirty days; fewer are fewer days.
    let step = DAYS * DAY / 10_000_000;
    receipt.at = BEGIN + step * i64::try_from(number).unwrap();
    receipt.who.key = Some(names.key.clone());
    receipt.who.token = names.token.clone();
    receipt.who.key_alias = Some(names.alias.clone());
    receipt.who.user = Some(names.user.clone());
    receipt.who.team = Some(names.team.clone());
    if number % RARE == 7 {
        receipt.who.organization = Some("rare".into());
        receipt.who.tags = vec!["rare".into()];
        receipt.model = "rare".to_owned();
        receipt.group = None;
        for attempt in &mut receipt.attempts {
            attempt.group = None;
            attempt.model = "rare".into();
            attempt.provider = "rare".into();
            attempt.deployment = "rare".into();
        }
    }
    receipt
}

fn each(what: &str, count: u64, took: Duration) {
    if count > 0 {
        println!("{count} {what}: {:.1} µs each", took.as_secs_f64() * 1e6 / count as f64);
    }
}
