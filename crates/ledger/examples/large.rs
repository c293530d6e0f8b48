//! A large database: fills one with keys and receipts, and measures what is asked of it.
//!
//! `large URL KEYS RECEIPTS` (`cargo xtask generate-data` starts it). What is there already is kept, so a second run only
//! measures. A hundredth of the keys, at least a thousand, make all the calls, over thirty days.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement that fails should say where")]

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway_ledger::books::{
    self, Batch, Books, DAY, DayFilter, DaysOf, Detail, Filter, Place, SqlBooks, Within,
};
use tollway_ledger::{Receipt, sample};
use tollway_meters::{Scope, ScopeKind};
use tollway_model::Money;
use tollway_store::records::Key;
use tollway_store::sql::{Cells, Kind, Load, Rows, Sql, Statement, Transaction};
use tollway_store::{Query, Store, StoreResult};

/// Days that the receipts are spread over.
const DAYS: i64 = 30;

/// Keys in one transaction.
const KEYS: u64 = 50_000;

/// Receipts in one transaction.
const BATCH: u64 = 4_000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "large.db".to_owned());
    let mut number = |usual| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (keys, receipts) = (number(1_000_000_u64), number(1_000_000_u64));
    let store = Store::open_and_migrate(&url).await.unwrap();
    let books = SqlBooks::new(store.sql().clone());
    make_keys(store.sql(), keys).await;
    make_receipts(store.sql(), &books, receipts, (keys / 100).max(1000)).await;
    measure_keys(&store, keys).await;
    measure_books(&books, (keys / 100).max(1000)).await;
}

fn key_id(number: u64) -> String {
    format!("key-{number:08}")
}

fn token(number: u64) -> String {
    format!("{:064x}", u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

async fn count(sql: &Sql, table: &str) -> u64 {
    let text = format!("SELECT count(*) FROM {table}");
    let row = sql.query_one(Statement::assembled(text), Vec::new()).await.unwrap().unwrap();
    u64::try_from(row.int(0).unwrap()).unwrap()
}

async fn make_keys(sql: &Sql, keys: u64) {
    let there = count(sql, "keys").await;
    let begun = Instant::now();
    let texts = ["id", "token", "key_alias", "user_id", "team_id", "body"].map(|column| (column, Kind::Text));
    let numbers = ["version", "created_at", "updated_at"].map(|column| (column, Kind::Int));
    let load = &Load::new("keys", &[&texts[..], &numbers[..]].concat(), "");
    for first in (there..keys).step_by(usize::try_from(KEYS).unwrap()) {
        let some: Arc<dyn Rows> = Arc::new(Keys(first..(first + KEYS).min(keys)));
        let put = |transaction: Transaction| {
            let some = some.clone();
            async move { transaction.load(load, some).await }
        };
        sql.long_transaction(put).await.unwrap();
    }
    each("making a key", keys.saturating_sub(there), begun.elapsed());
}

struct Keys(Range<u64>);

impl Rows for Keys {
    fn count(&self) -> usize {
        usize::try_from(self.0.end - self.0.start).unwrap()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        let number = self.0.start + index as u64;
        let key = Key {
            id: key_id(number),
            token: token(number),
            key_name: format!("sk-...{:04x}", number % 65_536),
            key_alias: Some(format!("alias {number}")),
            user_id: Some(format!("user-{}", number % 100_000)),
            team_id: Some(format!("team-{}", number % 10_000)),
            ..Key::default()
        };
        let body = serde_json::to_string(&key).unwrap();
        cells.text(Some(&key.id));
        cells.text(Some(&key.token));
        for text in [&key.key_alias, &key.user_id, &key.team_id] {
            cells.text(text.as_deref());
        }
        cells.text(Some(&body));
        let at = sample::BEGIN + i64::try_from(number).unwrap();
        for number in [1, at, at] {
            cells.int(Some(number));
        }
        Ok(())
    }
}

async fn make_receipts(sql: &Sql, books: &SqlBooks, receipts: u64, active: u64) {
    let there = count(sql, "receipts").await;
    let step = DAYS * DAY / i64::try_from(receipts.max(1)).unwrap();
    let begun = Instant::now();
    for first in (there..receipts).step_by(usize::try_from(BATCH).unwrap()) {
        let some =
            (first..(first + BATCH).min(receipts)).map(|number| Arc::new(receipt(number, step, active)));
        books.record(&Batch::of(some.collect())).await.unwrap();
        if first.is_multiple_of(BATCH * 100) {
            println!("{first} receipts after {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    each("recording a receipt", receipts.saturating_sub(there), begun.elapsed());
}

/// The sample's receipt, of one of the keys above. A few keys make many of the calls.
fn receipt(number: u64, step: i64, active: u64) -> Receipt {
    let mut receipt = sample::receipt(number);
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let key = if random.is_multiple_of(2) { random % 50 } else { random % active };
    receipt.at = sample::BEGIN + step * i64::try_from(number).unwrap();
    receipt.who.key = Some(key_id(key).into());
    receipt.who.token = token(key).into();
    receipt.who.key_alias = Some(format!("alias {key}").into());
    receipt.who.user = Some(format!("user-{}", key % 100_000).into());
    receipt.who.team = Some(format!("team-{}", key % 100).into());
    receipt
}

async fn measure_keys(store: &Store, keys: u64) {
    let shelf = store.shelf::<Key>();
    let begun = Instant::now();
    for number in 0..1000 {
        let found = shelf.find("token", &token(number * 7919 % keys)).await.unwrap();
        assert!(found.is_some());
    }
    each("a key by its hash", 1000, begun.elapsed());
    let page = |query: Query| {
        let shelf = shelf.clone();
        async move { shelf.list(&query).await.unwrap().total }
    };
    let newest = Query { descending: true, limit: 50, ..Query::default() };
    timed("keys: newest page", || page(newest.clone())).await;
    timed("keys: page 1000", || page(Query { offset: 50_000, ..newest.clone() })).await;
    let team = Query { equal: vec![("team_id", Some("team-7".to_owned()))], ..newest.clone() };
    timed("keys: of a team", || page(team.clone())).await;
    let part = Query { contains: vec![("key_alias", "alias 99".to_owned())], ..newest.clone() };
    timed("keys: part of an alias", || page(part.clone())).await;
}

async fn measure_books(books: &SqlBooks, active: u64) {
    let month = books::Range { from: Some(sample::BEGIN), until: Some(sample::BEGIN + DAYS * DAY) };
    let day = books::Range { from: Some(sample::BEGIN + 3 * DAY), until: Some(sample::BEGIN + 4 * DAY) };
    let list = |filter: Filter, after: Option<Place>| async move {
        books.list(&filter, after.as_ref(), 100).await.unwrap().len() as u64
    };
    let busy = Filter { key: Some(key_id(7)), ..Filter::default() };
    let quiet = Filter { key: Some(key_id(active - 1)), ..Filter::default() };
    let user = Filter { user: Some("user-7".to_owned()), ..Filter::default() };
    let team = Filter { team: Some("team-7".to_owned()), ..Filter::default() };
    let of_day = Filter { range: day, ..Filter::default() };
    let failed = Filter { range: month, answered: Some(false), ..Filter::default() };
    let place = Place { at: sample::BEGIN + 15 * DAY, id: String::new() };
    timed("receipts: newest", || list(Filter::default(), None)).await;
    timed("receipts: from the middle on", || list(Filter::default(), Some(place.clone()))).await;
    timed("receipts: a busy key's", || list(busy.clone(), None)).await;
    timed("receipts: a quiet key's", || list(quiet.clone(), None)).await;
    timed("receipts: a user's", || list(user.clone(), None)).await;
    timed("receipts: a team's", || list(team.clone(), None)).await;
    timed("receipts: of a day", || list(of_day.clone(), None)).await;
    timed("receipts: failed", || list(failed.clone(), None)).await;
    timed("receipts: counted, up to 10,000", || async {
        books.count(&Filter::default(), 10_000).await.unwrap()
    })
    .await;
    measure_filters(books, &list).await;
    for kind in [ScopeKind::Global, ScopeKind::Key, ScopeKind::Team, ScopeKind::Provider] {
        let sums = |range| async move { books.sums(kind, range, 100).await.unwrap().len() as u64 };
        timed(&format!("sums by {}: ever", kind.name()), || sums(books::Range::default())).await;
        timed(&format!("sums by {}: 30 days", kind.name()), || sums(month)).await;
        timed(&format!("sums by {}: a day", kind.name()), || sums(day)).await;
    }
    let scope = Scope { kind: ScopeKind::Key, id: key_id(7).into() };
    timed("spent: a key, 24 hours and a half", || async {
        let from = sample::BEGIN + 29 * DAY - 1_800_000;
        u64::try_from(books.spent(&scope, Some(from)).await.unwrap().calls).unwrap()
    })
    .await;
    let first = sample::BEGIN / DAY;
    let days = |filter: DayFilter| async move { books.days(&filter).await.unwrap().len() as u64 };
    let week = DayFilter { days: (first, first + 6), ..DayFilter::default() };
    let all = DayFilter { days: (first, first + DAYS), ..DayFilter::default() };
    timed("days: a user's 30", || days(DayFilter { users: vec!["user-7".to_owned()], ..all.clone() })).await;
    timed("days: a team's 30", || days(DayFilter { teams: vec!["team-7".to_owned()], ..all.clone() })).await;
    for (what, detail) in [
        ("models", Detail::Models),
        ("keys", Detail::Keys),
        ("providers", Detail::Providers),
        ("days", Detail::Days),
    ] {
        let some = DayFilter { detail, limit: Some(1000), ..all.clone() };
        timed(&format!("days: everybody's 30 by {what}"), || days(some.clone())).await;
    }
    let tags =
        DayFilter { of: DaysOf::Tags(vec!["production".to_owned()]), detail: Detail::Days, ..all.clone() };
    timed("days: a tag's 30", || days(tags.clone())).await;
    timed("days: everybody's 7, every row", || days(week.clone())).await;
    timed("days: everybody's 30, every row", || days(all.clone())).await;
}

/// Every filter by itself, once with something that is there often, seldom or never.
async fn measure_filters<W: Future<Output = u64>>(
    books: &SqlBooks,
    list: &impl Fn(Filter, Option<Place>) -> W,
) {
    let newest = books.list(&Filter::default(), None, 1).await.unwrap().pop().unwrap();
    timed("a receipt by its id", || async { u64::from(books.get(&newest.id).await.unwrap().is_some()) })
        .await;
    timed("a receipt that is not there", || async {
        u64::from(books.get("nobody's").await.unwrap().is_some())
    })
    .await;
    let some = |text: &str| Some(text.to_owned());
    let usual = Filter::default;
    let within = |user: &str| {
        let (keys, users) = (vec![key_id(900), key_id(901), format!("{user}'s")], vec![user.to_owned()]);
        Some(Within { keys: if user == "nobody" { Vec::new() } else { keys }, users, teams: Vec::new() })
    };
    let filters = [
        ("a token's", Filter { token: Some(token(7)), ..usual() }),
        ("a customer's", Filter { customer: some("customer-3"), ..usual() }),
        ("a session's", Filter { session: some("session-3"), ..usual() }),
        ("a call's", Filter { call: Some(newest.call_id.clone()), ..usual() }),
        ("an organization's", Filter { organization: some("organization"), ..usual() }),
        ("a model's", Filter { model: some("model-3"), ..usual() }),
        ("a model group's", Filter { model_group: some("group-3"), ..usual() }),
        ("a provider's", Filter { provider: some("openai"), ..usual() }),
        ("a deployment's", Filter { deployment: some("deployment-3"), ..usual() }),
        ("a tag's", Filter { tag: some("job-3"), ..usual() }),
        ("visible to a user", Filter { within: within("user-7"), ..usual() }),
        ("visible to nobody", Filter { within: within("nobody"), ..usual() }),
        ("dear ones", Filter { min: Some(Money::from_nanos(49_990_000)), ..usual() }),
        ("nobody's token", Filter { token: some("none"), ..usual() }),
        ("nobody's organization", Filter { organization: some("none"), ..usual() }),
        ("nobody's model", Filter { model: some("none"), ..usual() }),
        ("nobody's model group", Filter { model_group: some("none"), ..usual() }),
        ("nobody's provider", Filter { provider: some("none"), ..usual() }),
        ("nobody's deployment", Filter { deployment: some("none"), ..usual() }),
        ("nobody's tag", Filter { tag: some("none"), ..usual() }),
    ];
    for (what, filter) in filters {
        timed(&format!("receipts: {what}"), || list(filter.clone(), None)).await;
        timed(&format!("receipts: {what}, counted"), || async {
            books.count(&filter, 10_000).await.unwrap()
        })
        .await;
    }
}

/// The best and the worst of five, after one that fills caches.
async fn timed<W: Future<Output = u64>>(what: &str, work: impl Fn() -> W) {
    let begun = Instant::now();
    let rows = work().await;
    let first = begun.elapsed();
    let mut took = vec![first];
    // What takes this long is not asked again to be sure.
    let times = if first > Duration::from_secs(2) { 0 } else { 5 };
    for _ in 0..times {
        let begun = Instant::now();
        work().await;
        took.push(begun.elapsed());
    }
    let then = took.get(1..).filter(|then| !then.is_empty()).unwrap_or(&took);
    let (best, worst) = (then.iter().min().unwrap(), then.iter().max().unwrap());
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "{what:<40} {:>9.2} ms first, {:>9.2} to {:>9.2} ms then; {rows} rows",
        millis(&first),
        millis(best),
        millis(worst)
    );
}

fn each(what: &str, count: u64, took: Duration) {
    if count > 0 {
        println!("{what:<40} {:>9.2} µs each ({count})", took.as_secs_f64() * 1e6 / count as f64);
    }
}
