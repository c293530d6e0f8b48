//! The driver for SQLite.

use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, Sqlite, SqlitePool, TypeInfo as _,
    ValueRef as _,
};

use super::fault::Fault;
use super::{Answer, Row, Statement, Value};
use crate::{StoreError, StoreResult};

/// How long a writer waits for another process's.
const BUSY: Duration = Duration::from_secs(5);
/// How long a statement waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);
const READERS: u32 = 4;

/// One connection that writes and a few that read beside it. In memory it is one for everything.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    /// How further writers connect; `None` in memory.
    beside: Option<SqliteConnectOptions>,
}

/// A private database in memory.
pub(super) fn memory() -> Pools {
    let options = common(SqliteConnectOptions::new().filename(":memory:"));
    let pool = pool(1).min_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(options);
    Pools { writer: pool.clone(), readers: pool, beside: None }
}

/// The database in the file `path`.
pub(super) fn file(path: &Path) -> StoreResult<Pools> {
    make_private(path)
        .map_err(|error| StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display())))?;
    let options = common(SqliteConnectOptions::new().filename(path))
        .journal_mode(SqliteJournalMode::Wal)
        // Commits survive a crash of the process, and of the machine with it but for the last moments.
        .synchronous(SqliteSynchronous::Normal)
        .pragma("mmap_size", "268435456");
    let readers = options.clone().pragma("query_only", "on");
    Ok(Pools {
        writer: pool(1).connect_lazy_with(options.clone()),
        readers: pool(READERS).connect_lazy_with(readers),
        beside: Some(options),
    })
}

impl Pools {
    /// The same with a writing connection of its own. A database in memory has one only.
    pub(super) fn aside(&self) -> Pools {
        let Some(options) = &self.beside else { return self.clone() };
        Pools { writer: pool(1).connect_lazy_with(options.clone()), ..self.clone() }
    }
}

fn common(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.busy_timeout(BUSY).disable_statement_logging()
}

fn pool(connections: u32) -> PoolOptions<Sqlite> {
    PoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE).test_before_acquire(false)
}

/// Makes the file before SQLite does: SQLite gives its journal files the rights of the database.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

pub(super) async fn run(
    connection: &mut SqliteConnection,
    statement: &Statement,
    values: &[Value],
    rows: bool,
) -> Result<Answer, Fault> {
    let mut query = sqlx::query::<Sqlite>(AssertSqlSafe(statement.text().to_owned()));
    for value in values {
        query = bind(query, value);
    }
    if rows {
        let rows = query.fetch_all(connection).await?;
        return Ok(Answer::Rows(rows.iter().map(row).collect::<Result<_, _>>()?));
    }
    Ok(Answer::Count(query.execute(connection).await?.rows_affected()))
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Query<'q>, value: &Value) -> Query<'q> {
    match value.clone() {
        Value::Int(value) => query.bind(value),
        Value::Real(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    }
}

fn row(row: &SqliteRow) -> Result<Row, Fault> {
    let mut values = Vec::with_capacity(row.len());
    for index in 0..row.len() {
        let raw = row.try_get_raw(index)?;
        let info = raw.type_info();
        let value = match info.name() {
            "NULL" => Value::Text(None),
            "INTEGER" | "INT4" | "INT8" | "BOOLEAN" => Value::Int(row.try_get_unchecked(index)?),
            "REAL" => Value::Real(row.try_get_unchecked(index)?),
            "TEXT" => Value::Text(row.try_get_unchecked(index)?),
            "BLOB" => Value::Bytes(row.try_get_unchecked(index)?),
            other => {
                let name = row.columns().get(index).map_or("?", |column| column.name());
                return Err(Fault::Refused(format!("column {name} is of the unknown type {other}")));
            }
        };
        values.push(value);
    }
    Ok(Row::new(values))
}
