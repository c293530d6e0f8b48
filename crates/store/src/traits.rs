//! What a store can do, one small trait per concern.

use std::sync::Arc;

use async_trait::async_trait;

use crate::records::{Millis, Record};

/// Why a store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or not in time. Nothing is known about the change.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The record changed since it was read.
    #[error("{table} {id} was changed by someone else in the meantime; read it again")]
    Conflict {
        /// The table.
        table: &'static str,
        /// The record.
        id: String,
    },
    /// Another record has this id, or this value in a unique column.
    #[error("another record of {table} has this {column}")]
    Taken {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
    },
    /// A row that this version cannot read, or a statement the database refuses.
    #[error("{0}")]
    Broken(String),
}

/// What a store returns.
pub type StoreResult<T> = Result<T, StoreError>;

/// Which records, in which order. Everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Column → value it must have. `None`: it must be null.
    pub equal: Vec<(&'static str, Option<String>)>,
    /// Column → one of these values.
    pub any_of: Vec<(&'static str, Vec<String>)>,
    /// Column → text it contains, case-insensitively. Wildcards of SQL in the text are plain characters.
    pub contains: Vec<(&'static str, String)>,
    /// A column, or `created_at` / `updated_at` / `id`. Default: `created_at`, then `id`.
    pub sort: Option<&'static str>,
    /// Largest first.
    pub descending: bool,
    /// Records to leave out from the beginning.
    pub offset: u64,
    /// Most records; 0: none, only the total.
    pub limit: u64,
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct Page<R> {
    /// The page's records.
    pub records: Vec<R>,
    /// How many there are without offset and limit.
    pub total: u64,
}

/// The records of one table.
#[async_trait]
pub trait Records<R: Record>: Send + Sync {
    /// The record with this id.
    async fn get(&self, id: &str) -> StoreResult<Option<R>>;
    /// The record with this value in a column; the oldest of several.
    async fn find(&self, column: &'static str, value: &str) -> StoreResult<Option<R>>;
    /// Adds a record; its stamp's version becomes 1.
    async fn insert(&self, record: R) -> StoreResult<R>;
    /// Replaces the record whose stored version is `record.stamp().version`; the returned one has the next version.
    async fn update(&self, record: R) -> StoreResult<R>;
    /// Takes records away; returns those that were there.
    async fn delete(&self, ids: &[&str]) -> StoreResult<Vec<R>>;
    /// Some records.
    async fn list(&self, query: &Query) -> StoreResult<Page<R>>;
}

/// One management change, for the audit log. Holds no secret.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AuditEntry {
    /// Its place in the chain, from 1; set by the store.
    pub sequence: i64,
    /// When.
    pub at: Millis,
    /// Who: a user's id, or `admin` for the master key.
    pub actor: String,
    /// The start of the hash of the key it was done with.
    pub actor_key: String,
    /// `created`, `updated`, `deleted`, `blocked`, `unblocked`, `regenerated`.
    pub action: String,
    /// The table.
    pub table: String,
    /// The record.
    pub id: String,
    /// What it was, as far as it changed; JSON text.
    pub before: Option<String>,
    /// What it became, as far as it changed; JSON text.
    pub after: Option<String>,
    /// SHA-256 over the previous entry's hash and this entry; hexadecimal; set by the store.
    pub hash: String,
}

/// The audit log: append-only, each entry chained to the one before.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Adds an entry and returns it with its place and hash.
    async fn append(&self, entry: AuditEntry) -> StoreResult<AuditEntry>;
    /// Entries, newest first.
    async fn entries(
        &self,
        table: Option<&str>,
        id: Option<&str>,
        offset: u64,
        limit: u64,
    ) -> StoreResult<Page<AuditEntry>>;
    /// Recomputes the chain; the sequence of the first entry that does not fit.
    async fn verify(&self) -> StoreResult<Option<i64>>;
}

/// A record that changed, or, with an empty table, the news that any may have ([`Change::everything`]).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Grows with every change in the store.
    pub sequence: i64,
    /// The table.
    pub table: String,
    /// The record.
    pub id: String,
    /// For keys: the hashes under which it may be remembered, old and new.
    pub tokens: Vec<String>,
}

impl Change {
    /// Changes were missed: whatever is remembered of any record may be old.
    pub fn everything(sequence: i64) -> Change {
        Change { sequence, table: String::new(), id: String::new(), tokens: Vec::new() }
    }

    /// Does it say that changes were missed?
    pub fn is_everything(&self) -> bool {
        self.table.is_empty()
    }
}

/// News of changes, those of other processes included: every insert, update and delete of a record leaves one.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Waits until there is a change after `sequence`, or `patience` has passed, and returns all there are (bounded;
    /// ask again). On PostgreSQL a notification wakes it, and it looks once a second behind that. Who is so far behind
    /// that changes are gone already gets one [`Change::everything`] with the latest sequence.
    async fn after(&self, sequence: i64, patience: std::time::Duration) -> StoreResult<Vec<Change>>;
    /// The latest sequence.
    async fn latest(&self) -> StoreResult<i64>;
}

/// The store's own upkeep.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Is it reachable? Bounded to a second.
    async fn ping(&self) -> StoreResult<()>;
    /// Migrations: name, applied when.
    async fn migrations(&self) -> StoreResult<Vec<(String, Option<Millis>)>>;
    /// Applies what is missing; additive, with a lock timeout; returns the names.
    async fn migrate(&self) -> StoreResult<Vec<String>>;
}

/// Shared by everyone who needs records of this type.
pub type Shelf<R> = Arc<dyn Records<R>>;
