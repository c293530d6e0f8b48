//! Several statements that happen together or not at all.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, Postgres, Sqlite};
use tokio::sync::Mutex;

use super::fault::Fault;
use super::{Answer, Backend, Dialect, Row, Sql, Statement, Value, postgres, sqlite};
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
    Sqlite(sqlx::Transaction<'static, Sqlite>),
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
        Ok(self.run(&statement.into(), &values, false).await?.count())
    }

    /// Runs a statement, and returns its rows.
    pub async fn query(&self, statement: impl Into<Statement>, values: Vec<Value>) -> StoreResult<Vec<Row>> {
        Ok(self.run(&statement.into(), &values, true).await?.rows())
    }

    /// Runs a statement, and returns its first row.
    pub async fn query_one(
        &self,
        statement: impl Into<Statement>,
        values: Vec<Value>,
    ) -> StoreResult<Option<Row>> {
        Ok(self.query(statement, values).await?.into_iter().next())
    }

    async fn run(&self, statement: &Statement, values: &[Value], rows: bool) -> StoreResult<Answer> {
        let mut open = self.shared.open.lock().await;
        let Some(connection) = open.as_mut() else {
            return Err(StoreError::Broken("the transaction has ended".to_owned()));
        };
        let result = match connection {
            Open::Sqlite(transaction) => sqlite::run(transaction, statement, values, rows).await,
            Open::Postgres(Unfinished(Some(connection))) => {
                postgres::run(connection, statement, values, rows, self.shared.patient).await
            }
            Open::Postgres(Unfinished(None)) => Err(Fault::Lost("the connection is gone".to_owned())),
        };
        result.map_err(|fault| {
            self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault.clone());
            fault.into()
        })
    }

    pub(super) async fn begin(sql: &Sql, patient: bool) -> Result<Transaction, Fault> {
        let open = match &sql.shared.backend {
            // Not deferred: a transaction that begins to write later fails at once when another one has.
            Backend::Sqlite(pools) => Open::Sqlite(pools.writer.begin_with("BEGIN IMMEDIATE").await?),
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
            Some(Open::Sqlite(transaction)) => Ok(transaction.commit().await?),
            Some(Open::Postgres(unfinished)) => finish(unfinished, "COMMIT").await,
            None => Err(Fault::Refused("the transaction has ended".to_owned())),
        }
    }

    /// Takes it back. A connection that does not even do that is closed.
    pub(super) async fn roll_back(&self) {
        match self.shared.open.lock().await.take() {
            Some(Open::Sqlite(transaction)) => {
                let _ = transaction.rollback().await;
            }
            Some(Open::Postgres(unfinished)) => {
                let _ = finish(unfinished, "ROLLBACK").await;
            }
            None => {}
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
