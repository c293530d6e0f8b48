//! The store: one database, and everything that is kept in it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::audit::{self, Log};
use crate::changes::Followed;
use crate::migrations::{self, Migration};
use crate::records::{Millis, Record};
use crate::shelf::{self, Table};
use crate::sql::{Location, Sql, Transaction};
use crate::{Audit, AuditEntry, Changes, Progress, Resealed, Sealer, Shelf, StoreError, StoreResult, Upkeep};

/// A database and what is kept in it. Copies share its connections.
#[derive(Clone)]
pub struct Store {
    sql: Sql,
    news: News,
    changes: Arc<Followed>,
    known: &'static [Migration],
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.sql.location())
    }
}

impl Store {
    /// Prepares a store at `postgres://…`, `sqlite:PATH`, `memory:` or the path of an SQLite file. A server is first
    /// spoken to when something is asked, so this succeeds while it is down. Must be called within the runtime that
    /// will use it.
    pub fn open(location: &str) -> StoreResult<Store> {
        Store::open_at(Location::parse(location)?)
    }

    /// As [`Store::open`].
    pub fn open_at(location: Location) -> StoreResult<Store> {
        Store::with_migrations(location, migrations::ALL)
    }

    /// As [`Store::open`], with the SQLite file of a data directory, which must exist.
    pub fn open_in(directory: &Path) -> StoreResult<Store> {
        Store::open_at(Location::in_directory(directory))
    }

    /// As [`Store::open`], and applies the migrations that are missing.
    pub async fn open_and_migrate(location: &str) -> StoreResult<Store> {
        let store = Store::open(location)?;
        store.migrate().await?;
        Ok(store)
    }

    /// A store that knows other migrations than this version's: for tests of upgrades.
    pub fn with_migrations(location: Location, known: &'static [Migration]) -> StoreResult<Store> {
        let sql = Sql::open(location)?;
        let news = News::default();
        let changes = Followed::new(sql.clone(), news.clone());
        Ok(Store { sql, news, changes, known })
    }

    /// The records of one type.
    pub fn shelf<R: Record>(&self) -> Shelf<R> {
        Arc::new(Table::<R>::new(self.sql.clone(), self.news.clone()))
    }

    /// The audit log.
    pub fn audit(&self) -> Arc<dyn Audit> {
        Arc::new(Log::new(self.sql.clone()))
    }

    /// News of changed records.
    pub fn changes(&self) -> Arc<dyn Changes> {
        Arc::clone(&self.changes) as Arc<dyn Changes>
    }

    /// The store's own upkeep.
    pub fn upkeep(&self) -> Arc<dyn Upkeep> {
        Arc::new(self.clone())
    }

    /// The database itself.
    pub fn sql(&self) -> &Sql {
        &self.sql
    }

    /// Seals every secret of every record with the sealer's active key, while the store is in use. What cannot be
    /// opened is left as it is and named in the result. May be repeated, and goes on where it was interrupted.
    pub async fn reseal(
        &self,
        sealer: &Sealer,
        mut progress: impl FnMut(Progress) + Send,
    ) -> StoreResult<Resealed> {
        let result = crate::reseal::all(&self.sql, sealer, &mut progress).await;
        self.news.wake();
        result
    }

    /// Forgets the stored responses that have expired at `now`; how many they were.
    pub async fn forget_responses(&self, now: Millis) -> StoreResult<u64> {
        const BATCH: u64 = 500;
        let expires = format!("{now:020}");
        let mut gone = 0;
        loop {
            let statement = "DELETE FROM responses WHERE id IN \
                 (SELECT id FROM responses WHERE expires < $1 ORDER BY expires LIMIT $2)";
            let count = self.sql.execute(statement, crate::values![expires.as_str(), BATCH]).await?;
            gone += count;
            if count < BATCH {
                return Ok(gone);
            }
        }
    }

    /// Changes several records at once, together with their audit entries, or none of them.
    ///
    /// `work` may be called several times, as in [`Sql::transaction`].
    pub async fn write<T, F, W>(&self, work: F) -> StoreResult<T>
    where
        F: Fn(Writer) -> W + Send + Sync,
        W: Future<Output = StoreResult<T>> + Send,
        T: Send,
    {
        let result = self.sql.transaction(|transaction| work(Writer { transaction })).await;
        self.news.wake();
        result
    }
}

/// Changes within one transaction; see [`Store::write`].
#[derive(Debug, Clone)]
pub struct Writer {
    transaction: Transaction,
}

impl Writer {
    /// The record with this id, as the transaction sees it.
    pub async fn get<R: Record>(&self, id: &str) -> StoreResult<Option<R>> {
        shelf::get(&self.transaction, id).await
    }

    /// As [`Records::insert`](crate::Records::insert).
    pub async fn insert<R: Record>(&self, record: R) -> StoreResult<R> {
        shelf::insert(&self.transaction, record).await
    }

    /// As [`Records::update`](crate::Records::update).
    pub async fn update<R: Record>(&self, record: R) -> StoreResult<R> {
        shelf::update(&self.transaction, record).await
    }

    /// As [`Records::delete`](crate::Records::delete).
    pub async fn delete<R: Record>(&self, ids: &[&str]) -> StoreResult<Vec<R>> {
        shelf::delete(&self.transaction, ids).await
    }

    /// As [`Audit::append`]. Best the last thing done: others who append wait from here on.
    pub async fn audit(&self, entry: AuditEntry) -> StoreResult<AuditEntry> {
        audit::append(&self.transaction, entry).await
    }

    /// The transaction itself.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }
}

#[async_trait]
impl Upkeep for Store {
    async fn ping(&self) -> StoreResult<()> {
        self.sql.ping().await
    }

    /// Known ones in order, then those of newer versions.
    async fn migrations(&self) -> StoreResult<Vec<(String, Option<Millis>)>> {
        let mut applied = migrations::applied(&self.sql).await?;
        let mut all: Vec<_> = self
            .known
            .iter()
            .map(|migration| (migration.name.to_owned(), applied.remove(migration.name).map(|it| it.at)))
            .collect();
        all.extend(applied.into_iter().map(|(name, applied)| (name, Some(applied.at))));
        Ok(all)
    }

    async fn migrate(&self) -> StoreResult<Vec<String>> {
        migrations::apply(&self.sql, self.known).await
    }
}

/// Wakes those of this process who wait for changes.
#[derive(Clone)]
pub(crate) struct News {
    sender: Arc<watch::Sender<()>>,
}

impl Default for News {
    fn default() -> News {
        News { sender: Arc::new(watch::Sender::new(())) }
    }
}

impl News {
    pub(crate) fn wake(&self) {
        self.sender.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.sender.subscribe()
    }

    /// Passes a change's result on. One that is not known to have failed may have happened.
    pub(crate) fn tell<R: Record, T>(&self, result: StoreResult<T>) -> StoreResult<T> {
        if R::ANNOUNCED && matches!(result, Ok(_) | Err(StoreError::Unavailable(_))) {
            self.wake();
        }
        result
    }
}
