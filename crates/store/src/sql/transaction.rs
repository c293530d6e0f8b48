//! Several statements that happen together or not at all.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, Postgres};
use tokio::sync::Mutex;

use super::fault::Fault;
use super::rows::CHUNK;
use super::{Answer, Backend, Dialect, Load, Row, Rows, Sql, Statement, Value, postgres, sqlite};
use crate::{StoreError, StoreResult};

/// A running transaction; see [`Sql::transaction`]. Copies are the same transaction.
///
/// A statement that failed spoils it: nothing of it will happen, whatever is done afterwards.
#[derive(Clone)]
pub struct Transaction {
    shared: Arc<Shared>,
}

struct Shared {
    dialect: Dialect,
    open: Mutex<Option<Open>>,
    /// The first statement's failure.
    fault: StdMutex<Option<Fault>>,
    /// No time limit on our side.
    patient: bool,
}

enum Open {
    /// Nothing, while a statement runs whose asker is gone.
    Sqlite(Option<sqlite::Taken>),
    Postgres(Unfinished),
}

/// A PostgreSQL connection within a transaction. Dropped there, it is closed: the server then rolls back, and a
/// connection that hangs does not return to the pool.
struct Unfinished(Option<PoolConnection<Postgres>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("dialect", &self.shared.dialect).finish_non_exhaustive()
    }
}

impl Transaction {
    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        self.shared.dialect
    }

    /// Runs a statement; the number of rows it changed.
    pub async fn execute(&self, statement: impl Into<Statement>, values: Vec<Value>) -> StoreResult<u64> {
        Ok(self.run(&statement.into(), values, false).await?.count())
    }

    /// Runs a statement, and returns its rows.
    pub async fn query(&self, statement: impl Into<Statement>, values: Vec<Value>) -> StoreResult<Vec<Row>> {
        Ok(self.run(&statement.into(), values, true).await?.rows())
    }

    /// Runs a statement, and returns its first row.
    pub async fn query_one(
        &self,
        statement: impl Into<Statement>,
        values: Vec<Value>,
    ) -> StoreResult<Option<Row>> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    /// Puts rows into a table; how many of them changed it.
    pub async fn load(&self, load: &Load, rows: Arc<dyn Rows>) -> StoreResult<u64> {
        if rows.count() == 0 {
            return Ok(0);
        }
        let mut open = self.shared.open.lock().await;
        let result = match open.as_mut() {
            None => return Err(ended()),
            Some(Open::Sqlite(place)) => on_sqlite(place, load, &rows).await,
            Some(Open::Postgres(Unfinished(Some(connection)))) => {
                postgres::load(connection, load, rows.as_ref(), self.shared.patient).await
            }
            Some(Open::Postgres(Unfinished(None))) => Err(gone()),
        };
        result.map_err(|fault| self.failed(fault))
    }

    async fn run(&self, statement: &Statement, values: Vec<Value>, rows: bool) -> StoreResult<Answer> {
        let mut open = self.shared.open.lock().await;
        let result = match open.as_mut() {
            None => return Err(ended()),
            Some(Open::Sqlite(place)) => match place.take() {
                Some(connection) => {
                    let (connection, result) = sqlite::run(connection, statement, values, rows).await;
                    *place = connection;
                    result
                }
                None => Err(gone()),
            },
            Some(Open::Postgres(Unfinished(Some(connection)))) => {
                postgres::run(connection, statement, &values, rows, self.shared.patient).await
            }
            Some(Open::Postgres(Unfinished(None))) => Err(gone()),
        };
        result.map_err(|fault| self.failed(fault))
    }

    /// Keeps the first failure.
    fn failed(&self, fault: Fault) -> StoreError {
        self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault.clone());
        fault.into()
    }

    pub(super) async fn begin(sql: &Sql, patient: bool) -> Result<Transaction, Fault> {
        let open = match &sql.shared.backend {
            Backend::Sqlite(pools) => Open::Sqlite(Some(sqlite::begin(pools.writing().await?).await?)),
            Backend::Postgres { pool, .. } => {
                let mut connection = Unfinished(Some(pool.acquire().await?));
                if let Some(connection) = &mut connection.0 {
                    connection.execute("BEGIN").await?;
                }
                Open::Postgres(connection)
            }
        };
        Ok(Transaction {
            shared: Arc::new(Shared {
                dialect: sql.dialect(),
                open: Mutex::new(Some(open)),
                fault: StdMutex::new(None),
                patient,
            }),
        })
    }

    /// The first failure of a statement.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) async fn commit(&self) -> Result<(), Fault> {
        match self.shared.open.lock().await.take() {
            Some(Open::Sqlite(Some(connection))) => sqlite::commit(connection).await,
            Some(Open::Sqlite(None)) => Err(gone()),
            Some(Open::Postgres(unfinished)) => finish(unfinished, "COMMIT").await,
            None => Err(Fault::Refused("the transaction has ended".to_owned())),
        }
    }

    /// Takes it back. A connection that does not even do that is closed.
    pub(super) async fn roll_back(&self) {
        match self.shared.open.lock().await.take() {
            Some(Open::Sqlite(Some(connection))) => sqlite::roll_back(connection).await,
            Some(Open::Postgres(unfinished)) => {
                let _ = finish(unfinished, "ROLLBACK").await;
            }
            Some(Open::Sqlite(None)) | None => {}
        }
    }
}

async fn finish(mut unfinished: Unfinished, how: &'static str) -> Result<(), Fault> {
    if let Some(connection) = &mut unfinished.0 {
        postgres::run(connection, &Statement::from(how), &[], false, false).await?;
    }
    // Clean: back to the pool.
    drop(unfinished.0.take());
    Ok(())
}

/// Piece by piece.
async fn on_sqlite(
    place: &mut Option<sqlite::Taken>,
    load: &Load,
    rows: &Arc<dyn Rows>,
) -> Result<u64, Fault> {
    let mut changed = 0;
    for first in (0..rows.count()).step_by(CHUNK) {
        let connection = place.take().ok_or_else(gone)?;
        let (connection, result) = sqlite::load(connection, load, rows.clone(), first).await;
        *place = connection;
        changed += result?;
    }
    Ok(changed)
}

fn gone() -> Fault {
    Fault::Lost("the connection is gone".to_owned())
}

fn ended() -> StoreError {
    StoreError::Broken("the transaction has ended".to_owned())
}
