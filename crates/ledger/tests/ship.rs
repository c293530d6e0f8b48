//! Shipping over failures of the store: the books end up with exactly what was settled.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests: they fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tollway_ledger::books::{
    Adjustment, Batch, Books, Counted, Day, DayFilter, DayKey, Filter, MemoryBooks, Millis, Order, Place,
    Progress, Range, Retained, SqlBooks, Sum, Verification,
};
use tollway_ledger::{Calm, Ledger, Opening, Options, Outcome, Receipt, sample, ship};
use tollway_meters::{Scope, ScopeKind};
use tollway_store::{Store, StoreError, StoreResult};

/// Books that fail on a plan.
struct Faulty {
    inner: Arc<dyn Books>,
    calls: AtomicU32,
    /// What the n-th call does.
    plan: fn(u32) -> Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Nothing happened: no connection, a deadlock.
    Before,
    /// It happened, and nobody said so.
    After,
    /// Receipts of one model are refused.
    Poison,
    /// Everything is refused.
    Broken,
}

const POISON: &str = "group-3";

#[async_trait]
impl Books for Faulty {
    async fn record(&self, batch: &Batch) -> StoreResult<u64> {
        match (self.plan)(self.calls.fetch_add(1, Ordering::Relaxed)) {
            Fault::None => self.inner.record(batch).await,
            Fault::Before => Err(StoreError::Unavailable("deadlock detected (SQLSTATE 40P01)".into())),
            Fault::After => {
                self.inner.record(batch).await?;
                Err(StoreError::Unavailable("the connection broke".into()))
            }
            Fault::Poison if batch.receipts()?.iter().any(|receipt| receipt.model == POISON) => {
                Err(StoreError::Broken("invalid byte sequence".into()))
            }
            Fault::Poison => self.inner.record(batch).await,
            Fault::Broken => Err(StoreError::Broken("no such table".into())),
        }
    }
    async fn get(&self, id: &str) -> StoreResult<Option<Receipt>> {
        self.inner.get(id).await
    }
    async fn list(&self, filter: &Filter, after: Option<&Place>, limit: u32) -> StoreResult<Vec<Receipt>> {
        self.inner.list(filter, after, limit).await
    }
    async fn sorted(
        &self,
        filter: &Filter,
        order: Order,
        skip: u32,
        limit: u32,
    ) -> StoreResult<Vec<Receipt>> {
        self.inner.sorted(filter, order, skip, limit).await
    }
    async fn count(&self, filter: &Filter, bound: u64) -> StoreResult<Counted> {
        self.inner.count(filter, bound).await
    }
    async fn spent(&self, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum> {
        self.inner.spent(scope, from).await
    }
    async fn sums(&self, kind: ScopeKind, range: Range, limit: u32) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        self.inner.sums(kind, range, limit).await
    }
    async fn days(&self, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
        self.inner.days(filter).await
    }
    async fn day_sums(
        &self,
        kind: ScopeKind,
        day: i64,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        self.inner.day_sums(kind, day, after, limit).await
    }
    async fn callers(&self, filter: &DayFilter, after: Option<&str>, limit: u32) -> StoreResult<Vec<String>> {
        self.inner.callers(filter, after, limit).await
    }
    async fn adjust(&self, adjustment: &Adjustment) -> StoreResult<bool> {
        self.inner.adjust(adjustment).await
    }
    async fn retain(&self, before: Millis) -> StoreResult<Retained> {
        self.inner.retain(before).await
    }
    async fn thin(&self, before: Millis) -> StoreResult<u64> {
        self.inner.thin(before).await
    }
    async fn verify(&self, progress: Progress<'_>) -> StoreResult<Verification> {
        self.inner.verify(progress).await
    }
    async fn rebuild(&self, progress: Progress<'_>) -> StoreResult<Verification> {
        self.inner.rebuild(progress).await
    }
}

fn options() -> Options {
    Options { segment_bytes: 32 << 10, ship_every: Duration::from_millis(2), batch: 37, ..Options::default() }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Settles receipts from several threads while a faulty store takes them.
async fn run(inner: Arc<dyn Books>, count: u64, plan: fn(u32) -> Fault) -> (Ledger, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path(), options()).unwrap();
    let books = Arc::new(Faulty { inner, calls: AtomicU32::new(0), plan });
    let (stop, stopped) = watch::channel(false);
    let shipping = tokio::spawn(ship(ledger.clone(), books, None, stopped));
    let settling: Vec<_> = (0..4)
        .map(|thread| {
            let ledger = ledger.clone();
            tokio::task::spawn_blocking(move || {
                for number in (thread..count).step_by(4) {
                    let receipt = sample::receipt(number);
                    let opened = ledger.opened(&Opening::of(&receipt));
                    ledger.closed(&receipt, opened);
                    ledger.write();
                }
            })
        })
        .collect();
    for thread in settling {
        thread.await.unwrap();
    }
    until("everything is shipped", || ledger.status().waiting == 0).await;
    stop.send(true).unwrap();
    shipping.await.unwrap();
    (ledger, directory)
}

async fn exact(books: &dyn Books, count: u64) {
    let mut stored: Vec<String> = books
        .list(&Filter::default(), None, u32::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|receipt| receipt.id)
        .collect();
    let mut expected: Vec<String> = (0..count).map(|number| sample::receipt(number).id).collect();
    stored.sort();
    expected.sort();
    assert!(stored == expected, "{} of {count}", stored.len());
    let verified = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!((verified.different, verified.receipts), (0, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_and_after_a_commit_change_nothing_in_the_end() {
    let plan = |call| match call % 7 {
        1 | 4 => Fault::Before,
        2 | 3 => Fault::After,
        _ => Fault::None,
    };
    let books: Arc<dyn Books> = Arc::new(MemoryBooks::new());
    let (ledger, _directory) = run(books.clone(), 900, plan).await;
    exact(books.as_ref(), 900).await;
    assert!(ledger.shipped() >= 900 && ledger.status().store_error.is_none());
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open_and_migrate(directory.path().join("books.db").to_str().unwrap()).await.unwrap();
    let books: Arc<dyn Books> = Arc::new(SqlBooks::new(store.sql().clone()));
    let _kept = run(books.clone(), 900, plan).await;
    exact(books.as_ref(), 900).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_ship_into_one_postgresql_at_once() {
    let Some(url) = tollway_testkit::services::new_database() else { return };
    let plan = |call| if call % 5 == 2 { Fault::After } else { Fault::None };
    // The same receipts from three journals: each may be recorded by any of them, once.
    let stores = [(); 3].map(|()| Store::open(&url).unwrap());
    stores[0].upkeep().migrate().await.unwrap();
    let books: Vec<Arc<dyn Books>> =
        stores.iter().map(|store| Arc::new(SqlBooks::new(store.sql().clone())) as Arc<dyn Books>).collect();
    let runs: Vec<_> = books.iter().map(|books| tokio::spawn(run(books.clone(), 600, plan))).collect();
    for one in runs {
        one.await.unwrap();
    }
    exact(books[0].as_ref(), 600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_the_store_refuses_are_set_aside_and_the_others_recorded() {
    let books: Arc<dyn Books> = Arc::new(MemoryBooks::new());
    let (ledger, directory) = run(books.clone(), 300, |_| Fault::Poison).await;
    let refused = (0..300).filter(|number| sample::receipt(*number).model == POISON).count();
    assert_eq!(ledger.status().set_aside, refused as u64);
    assert_eq!(books.count(&Filter::default(), 1000).await.unwrap().calls, 300 - refused as u64);
    let journal = std::fs::read_dir(directory.path().join("journal")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(journal.path().join("refused.jsonl")).unwrap();
    assert_eq!(text.lines().filter(|line| serde_json::from_str::<Receipt>(line).is_ok()).count(), refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_everything_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path(), options()).unwrap();
    let inner: Arc<dyn Books> = Arc::new(MemoryBooks::new());
    let plan = |call| if call < 40 { Fault::Broken } else { Fault::None };
    let books = Arc::new(Faulty { inner: inner.clone(), calls: AtomicU32::new(0), plan });
    let (stop, stopped) = watch::channel(false);
    for number in 0..10 {
        ledger.settled(&sample::receipt(number));
    }
    let shipping = tokio::spawn(ship(ledger.clone(), books, None, stopped));
    until("says why", || ledger.status().store_error.is_some_and(|error| error.contains("no such table")))
        .await;
    assert_eq!(ledger.status().oldest_at, Some(sample::BEGIN));
    until("everything is shipped", || ledger.status().waiting == 0).await;
    stop.send(true).unwrap();
    shipping.await.unwrap();
    exact(inner.as_ref(), 10).await;
    assert_eq!(ledger.status().set_aside, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_its_segment_is_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let inner: Arc<dyn Books> = Arc::new(MemoryBooks::new());
    let (ledger, _) = Ledger::open(directory.path(), Options { segment_bytes: 2048, ..options() }).unwrap();
    let (stop, stopped) = watch::channel(false);
    let shipping = tokio::spawn(ship(ledger.clone(), inner.clone(), None, stopped));
    let (long, finished) = (sample::receipt(5000), sample::receipt(5001));
    let _ = ledger.opened(&Opening::of(&long));
    let opened = ledger.opened(&Opening::of(&finished));
    for number in 0..200 {
        ledger.settled(&sample::receipt(number));
        until("shipped", || ledger.status().waiting == 0).await;
        if number == 100 {
            ledger.closed(&finished, opened);
        }
    }
    // They go a moment after what is in them is shipped.
    until("finished segments are gone", || ledger.status().journal_bytes < 20_000).await;
    stop.send(true).unwrap();
    shipping.await.unwrap();
    drop(ledger);
    let (ledger, recovered) = Ledger::open(directory.path(), options()).unwrap();
    assert_eq!(recovered.interrupted, 1);
    let (_stop, stopped) = watch::channel(true);
    ship(ledger, inner.clone(), None, stopped).await;
    let kept = inner.get(&long.id).await.unwrap().unwrap();
    assert_eq!((kept.outcome, kept.at), (Outcome::Interrupted, long.at));
    let finished_kept = inner.get(&finished.id).await.unwrap().unwrap();
    assert_eq!(finished_kept.outcome, finished.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_calls_and_in_a_hurry_the_books_are_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Store::open_and_migrate(&directory.path().join("books.db").display().to_string()).await.unwrap();
    let books = Arc::new(SqlBooks::new(store.sql().clone()));
    let beside = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let calm = Calm {
        runtime: beside.handle().clone(),
        books: {
            let _within = beside.enter();
            Arc::new(SqlBooks::new(store.sql().aside()))
        },
    };
    let (ledger, _) = Ledger::open(directory.path(), options()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let shipping = tokio::spawn(ship(ledger.clone(), books.clone(), Some(calm), stopped));
    for number in 0..2000 {
        let receipt = sample::receipt(number);
        ledger.settled(&receipt);
        // Now and then somebody asks what a key has spent, which must know of this very receipt.
        if number.is_multiple_of(97)
            && let Some(key) = receipt.who.key
        {
            ledger.caught_up_with(&Scope { kind: ScopeKind::Key, id: key }).await;
            assert!(books.get(&receipt.id).await.unwrap().is_some(), "{number}");
        }
    }
    // Nobody waits for what concerns nobody.
    let stranger = Scope { kind: ScopeKind::User, id: "nobody was ever called so".into() };
    tokio::time::timeout(Duration::from_secs(60), ledger.caught_up_with(&stranger)).await.unwrap();
    until("everything is shipped", || ledger.status().waiting == 0).await;
    stop.send(true).unwrap();
    shipping.await.unwrap();
    exact(books.as_ref(), 2000).await;
    beside.shutdown_background();
}
