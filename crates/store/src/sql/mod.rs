//! A thin layer over SQLite and PostgreSQL.
//!
//! Every statement is written once, in the subset both understand: `$1` placeholders, `ON CONFLICT`, `RETURNING`,
//! `BIGINT`, `DOUBLE PRECISION`, `TEXT` and bytes. Sums of integers are cast (`CAST(sum(x) AS BIGINT)`), because
//! PostgreSQL widens them. Where the two differ, [`Dialect`] says so.
//!
//! A write that met another transaction (deadlock, serialisation failure, locked file) is tried again here, after a
//! random pause and a bounded number of times, so that no caller has to. What cannot be known to have failed is not
//! repeated: a connection lost while committing is an error.

mod fault;
mod location;
mod pause;
mod postgres;
mod rows;
mod sqlite;
mod statement;
mod transaction;
mod value;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use location::{Location, Server};
pub use rows::{Cells, Kind, Load, Rows, clean};
pub use statement::{Statement, containing, placeholder_rows, placeholders};
pub use transaction::Transaction;
pub use value::{Row, Value};

use crate::{StoreError, StoreResult};
use fault::Fault;
use pause::Pause;

/// How long [`Sql::ping`] waits.
const PING: Duration = Duration::from_secs(1);

/// Which database it is, where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL 13 or later.
    Postgres,
}

impl Dialect {
    /// The expression for the database's own time in milliseconds since 1970.
    pub const fn now_millis(self) -> &'static str {
        match self {
            Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }
}

/// A database. Copies share its connections.
#[derive(Clone)]
pub struct Sql {
    shared: Arc<Shared>,
}

struct Shared {
    location: Location,
    backend: Backend,
}

enum Backend {
    Sqlite(sqlite::Pools),
    Postgres { pool: postgres::Pool, server: Box<Server> },
}

enum Answer {
    Count(u64),
    Rows(Vec<Row>),
}

impl Answer {
    fn count(self) -> u64 {
        match self {
            Answer::Count(count) => count,
            Answer::Rows(rows) => rows.len() as u64,
        }
    }

    fn rows(self) -> Vec<Row> {
        match self {
            Answer::Count(_) => Vec::new(),
            Answer::Rows(rows) => rows,
        }
    }
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sql({})", self.shared.location)
    }
}

impl Sql {
    /// Prepares connections; a server is first spoken to when something is asked. Makes a missing SQLite file.
    /// Must be called within the runtime that will use it.
    pub fn open(location: Location) -> StoreResult<Sql> {
        let backend = match &location {
            Location::Memory => Backend::Sqlite(sqlite::memory()),
            Location::File(path) => Backend::Sqlite(sqlite::file(path)?),
            Location::Postgres(server) => {
                Backend::Postgres { pool: postgres::Pool::new(server), server: server.clone() }
            }
        };
        Ok(Sql { shared: Arc::new(Shared { location, backend }) })
    }

    /// The same database for work of a lower priority, in a runtime of its own. On SQLite it is done by that runtime's
    /// threads until somebody waits for the connection that it writes with: what is left of the transaction is then
    /// done by threads of the runtime that this was opened in. PostgreSQL gets connections of their own, which belong to
    /// the runtime that first uses them.
    #[must_use]
    pub fn aside(&self) -> Sql {
        let backend = match &self.shared.backend {
            Backend::Sqlite(pools) => Backend::Sqlite(pools.aside()),
            Backend::Postgres { server, .. } => {
                Backend::Postgres { pool: postgres::Pool::new(server), server: server.clone() }
            }
        };
        Sql { shared: Arc::new(Shared { location: self.shared.location.clone(), backend }) }
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match &self.shared.backend {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.shared.location
    }

    /// Runs a statement that changes something, by itself; the number of rows it changed.
    pub async fn execute(&self, statement: impl Into<Statement>, values: Vec<Value>) -> StoreResult<u64> {
        let statement = statement.into();
        let mut pause = Pause::new();
        loop {
            let fault = match self.write_once(&statement, &values).await {
                Ok(answer) => return Ok(answer.count()),
                Err(fault) => fault,
            };
            // A lost connection says nothing about the change.
            if !matches!(fault, Fault::Contended(_)) || !pause.wait().await {
                return Err(fault.into());
            }
        }
    }

    /// Runs a statement that only reads. Never use it for `INSERT … RETURNING`: that is a transaction's. Within a
    /// transaction, ask the transaction: the database in memory has one connection.
    pub async fn query(&self, statement: impl Into<Statement>, values: Vec<Value>) -> StoreResult<Vec<Row>> {
        let statement = statement.into();
        let mut pause = Pause::new();
        let mut stale = Stale::new(1);
        loop {
            let fault = match self.read_once(&statement, &values).await {
                Ok(answer) => return Ok(answer.rows()),
                Err(fault) => fault,
            };
            let again = match fault {
                Fault::Contended(_) => pause.wait().await,
                Fault::Lost(_) => stale.another(),
                _ => false,
            };
            if !again {
                return Err(fault.into());
            }
        }
    }

    /// Runs a statement that only reads, and returns its first row.
    pub async fn query_one(
        &self,
        statement: impl Into<Statement>,
        values: Vec<Value>,
    ) -> StoreResult<Option<Row>> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// Does `work` in a transaction: all of it happens, or, when `work` fails, nothing.
    ///
    /// `work` may be called several times: another transaction in the way, or a connection lost before committing,
    /// means that nothing has happened, and it is tried again. So it must do nothing but ask the transaction.
    ///
    /// ```no_run
    /// # async fn example(sql: &tollway_store::sql::Sql) -> tollway_store::StoreResult<()> {
    /// use tollway_store::values;
    /// let id = "a";
    /// let count = sql
    ///     .transaction(|transaction| async move {
    ///         transaction.execute("UPDATE counters SET n = n + 1 WHERE id = $1", values![id]).await
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn transaction<T, F, W>(&self, work: F) -> StoreResult<T>
    where
        F: Fn(Transaction) -> W + Send + Sync,
        W: Future<Output = StoreResult<T>> + Send,
        T: Send,
    {
        self.transact(false, work).await
    }

    /// As [`Sql::transaction`], for work that may take minutes: no statement is given up on our side.
    pub async fn long_transaction<T, F, W>(&self, work: F) -> StoreResult<T>
    where
        F: Fn(Transaction) -> W + Send + Sync,
        W: Future<Output = StoreResult<T>> + Send,
        T: Send,
    {
        self.transact(true, work).await
    }

    async fn transact<T, F, W>(&self, patient: bool, work: F) -> StoreResult<T>
    where
        F: Fn(Transaction) -> W + Send + Sync,
        W: Future<Output = StoreResult<T>> + Send,
        T: Send,
    {
        let mut pause = Pause::new();
        let mut stale = Stale::new(2);
        loop {
            let (error, fault) = match self.transact_once(patient, &work).await {
                Ok(output) => return Ok(output),
                Err(failed) => failed,
            };
            let again = match fault {
                Some(Fault::Contended(_)) => pause.wait().await,
                Some(Fault::Lost(_)) => stale.another(),
                _ => false,
            };
            if !again {
                return Err(error);
            }
        }
    }

    /// One try. The fault is given when it can be tried again without doing anything twice.
    async fn transact_once<T, F, W>(&self, patient: bool, work: &F) -> Result<T, (StoreError, Option<Fault>)>
    where
        F: Fn(Transaction) -> W + Send + Sync,
        W: Future<Output = StoreResult<T>> + Send,
        T: Send,
    {
        let transaction =
            Transaction::begin(self, patient).await.map_err(|fault| (fault.clone().into(), Some(fault)))?;
        let result = work(transaction.clone()).await;
        match (result, transaction.fault()) {
            (Ok(output), None) => match transaction.commit().await {
                Ok(()) => Ok(output),
                // The answer to the commit may be what was lost.
                Err(Fault::Lost(message)) => Err((StoreError::Unavailable(message), None)),
                Err(fault) => Err((fault.clone().into(), Some(fault))),
            },
            (Ok(_), Some(fault)) => {
                transaction.roll_back().await;
                Err((fault.clone().into(), Some(fault)))
            }
            (Err(error), fault) => {
                transaction.roll_back().await;
                Err((error, fault))
            }
        }
    }

    /// Is it reachable? Bounded to a second.
    pub async fn ping(&self) -> StoreResult<()> {
        let statement = Statement::from("SELECT 1");
        let given = self.given();
        match tokio::time::timeout(PING, self.read_once(&statement, &[])).await {
            Ok(result) => result.map(|_| ()).map_err(StoreError::from),
            Err(_) => {
                let reason = "no answer within a second";
                if let Backend::Postgres { pool, .. } = &self.shared.backend {
                    pool.suspect(given, reason);
                }
                Err(StoreError::Unavailable(reason.to_owned()))
            }
        }
    }

    /// Closes all connections and waits for it. Everything asked afterwards fails.
    pub async fn close(&self) {
        match &self.shared.backend {
            Backend::Sqlite(pools) => {
                pools.readers.close().await;
                pools.writer.close().await;
            }
            Backend::Postgres { pool, .. } => pool.close().await,
        }
    }

    /// A connection of its own that hears notifications on `channel`; `None` on SQLite.
    pub(crate) async fn listener(&self, channel: &str) -> StoreResult<Option<sqlx::postgres::PgListener>> {
        match &self.shared.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres { server, .. } => Ok(Some(postgres::listener(server, channel).await?)),
        }
    }

    fn given(&self) -> u64 {
        match &self.shared.backend {
            Backend::Sqlite(_) => 0,
            Backend::Postgres { pool, .. } => pool.given(),
        }
    }

    async fn write_once(&self, statement: &Statement, values: &[Value]) -> Result<Answer, Fault> {
        match &self.shared.backend {
            Backend::Sqlite(pools) => {
                sqlite::run(pools.writing().await?, statement, values.to_vec(), false).await.1
            }
            Backend::Postgres { pool, .. } => on_postgres(pool, statement, values, false).await,
        }
    }

    async fn read_once(&self, statement: &Statement, values: &[Value]) -> Result<Answer, Fault> {
        match &self.shared.backend {
            Backend::Sqlite(pools) => {
                sqlite::run(pools.readers.take().await?, statement, values.to_vec(), true).await.1
            }
            Backend::Postgres { pool, .. } => on_postgres(pool, statement, values, true).await,
        }
    }
}

async fn on_postgres(
    pool: &postgres::Pool,
    statement: &Statement,
    values: &[Value],
    rows: bool,
) -> Result<Answer, Fault> {
    let mut connection = pool.acquire().await?;
    let result = postgres::run(&mut connection, statement, values, rows, false).await;
    if matches!(result, Err(Fault::Lost(_))) {
        // It may be waiting for an answer still.
        connection.close_on_drop();
    }
    result
}

/// How often a connection may turn out to be lost. When a server was restarted, every idle one is, and each says so at once.
struct Stale {
    begun: std::time::Instant,
    lost: u32,
    /// So many may take their time to be found out.
    patience: u32,
}

impl Stale {
    /// Idle connections that are lost are found out within this time, all of them.
    const SOON: std::time::Duration = std::time::Duration::from_secs(1);
    const MOST: u32 = 64;

    fn new(patience: u32) -> Stale {
        Stale { begun: std::time::Instant::now(), lost: 0, patience }
    }

    /// One more is lost. Is another to be tried?
    fn another(&mut self) -> bool {
        self.lost += 1;
        self.lost <= self.patience || (self.lost <= Stale::MOST && self.begun.elapsed() < Stale::SOON)
    }
}
