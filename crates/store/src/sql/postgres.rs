//! The driver for PostgreSQL.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgListener, PgRow, PgTypeInfo};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, PgPool, Postgres,
    Row as _, TypeInfo as _,
};
use tokio::sync::Mutex;

use super::fault::Fault;
use super::location::Server;
use super::rows::{Cells, Kind, Load, Rows, clean};
use super::{Answer, Row, Statement, Value};

/// How long a statement waits for a free connection, a new one included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest duration of a statement, kept by the server.
const STATEMENT: Duration = Duration::from_secs(30);
/// How long a statement waits for a lock, kept by the server.
const LOCK: Duration = Duration::from_secs(5);
/// What a connection that hangs gets on top of [`STATEMENT`] before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// A connection that was used this short a time ago is taken to be alive.
const FRESH: Duration = Duration::from_secs(1);
/// Connections of a process, when the URL has no `connection_limit`.
const CONNECTIONS: u32 = 10;

/// A fixed number of connections, and whether the server is there.
///
/// When nobody got a connection for as long as one may take, the server counts as down: then one caller at a time
/// tries to reach it, and the others are told at once instead of waiting in vain.
pub(super) struct Pool {
    pool: PgPool,
    /// Connections handed out, ever.
    given: AtomicU64,
    down: AtomicBool,
    probe: Mutex<()>,
}

impl Pool {
    pub(super) fn new(server: &Server) -> Pool {
        // Compiling a statement takes longer than any of ours.
        let settings = format!(
            "SET search_path TO {schema}; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
             SET idle_in_transaction_session_timeout = {statement}; SET client_min_messages = warning; \
             SET jit = off",
            schema = server.schema,
            statement = STATEMENT.as_millis(),
            lock = LOCK.as_millis(),
        );
        let pool = options(server, server.connections.unwrap_or(CONNECTIONS).max(2))
            .after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move { connection.execute(AssertSqlSafe(settings)).await.map(|_| ()) })
            })
            .test_before_acquire(false)
            .before_acquire(|connection, seen| {
                Box::pin(async move {
                    if seen.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect_options(server));
        Pool { pool, given: AtomicU64::new(0), down: AtomicBool::new(false), probe: Mutex::new(()) }
    }

    pub(super) async fn acquire(&self) -> Result<PoolConnection<Postgres>, Fault> {
        if !self.down.load(Ordering::Relaxed) {
            return self.wait().await;
        }
        match self.probe.try_lock() {
            Ok(_probing) => self.wait().await,
            Err(_) => Err(Fault::Unreachable("the server does not answer".to_owned())),
        }
    }

    async fn wait(&self) -> Result<PoolConnection<Postgres>, Fault> {
        let before = self.given();
        match self.pool.acquire().await {
            Ok(connection) => {
                self.given.fetch_add(1, Ordering::Relaxed);
                if self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database answers again");
                }
                Ok(connection)
            }
            Err(error) => {
                let fault = Fault::from(error).not_connected();
                self.suspect(before, &fault.to_string());
                Err(fault)
            }
        }
    }

    /// How many connections were handed out, ever.
    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// The server counts as down when no connection was given since `before`. Where all were merely in use, some were.
    pub(super) fn suspect(&self, before: u64, reason: &str) {
        if self.given() == before && !self.pool.is_closed() && !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason, "the database cannot be reached");
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection of its own that hears of changes on `channel`.
pub(super) async fn listener(server: &Server, channel: &str) -> Result<PgListener, Fault> {
    let pool = options(server, 1).connect_lazy_with(connect_options(server));
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(channel).await?;
    Ok(listener)
}

fn options(server: &Server, connections: u32) -> PoolOptions<Postgres> {
    let connect = server.connect_seconds.map_or(CONNECT, |seconds| Duration::from_secs(seconds.clamp(1, 60)));
    PoolOptions::new().max_connections(connections).acquire_timeout(connect)
}

fn connect_options(server: &Server) -> sqlx::postgres::PgConnectOptions {
    let options = server.options.clone().disable_statement_logging();
    if options.get_application_name().is_some() { options } else { options.application_name("tollway") }
}

/// Runs one statement. A connection that does not answer in time must not be used again: [`Fault::Slow`].
pub(super) async fn run(
    connection: &mut PgConnection,
    statement: &Statement,
    values: &[Value],
    rows: bool,
    patient: bool,
) -> Result<Answer, Fault> {
    let query = sqlx::query::<Postgres>(AssertSqlSafe(statement.text().to_owned()));
    // A statement that is not kept by the server is planned for its parameters.
    let mut query = query.persistent(!statement.is_planned_anew());
    for value in values {
        query = bind(query, value);
    }
    let work = async {
        if rows {
            let rows = query.fetch_all(connection).await?;
            return Ok(Answer::Rows(rows.iter().map(row).collect::<Result<_, _>>()?));
        }
        Ok(Answer::Count(query.execute(connection).await?.rows_affected()))
    };
    bounded(patient, work).await
}

/// Puts rows into a table with one statement, an array a column.
pub(super) async fn load(
    connection: &mut PgConnection,
    load: &Load,
    rows: &dyn Rows,
    patient: bool,
) -> Result<u64, Fault> {
    let mut columns = Columns { columns: load.kinds.iter().map(|kind| Array::new(*kind)).collect(), next: 0 };
    for index in 0..rows.count() {
        columns.next = 0;
        rows.row(index, &mut columns).map_err(|error| Fault::Refused(error.to_string()))?;
    }
    let mut query = sqlx::query::<Postgres>(AssertSqlSafe(load.postgres.text().to_owned()));
    for (column, kind) in columns.columns.into_iter().zip(&load.kinds) {
        query = match kind {
            Kind::Int => query.bind(Ints(column)),
            Kind::Text => query.bind(Texts(column)),
            Kind::Bytes => query.bind(Blobs(column)),
        };
    }
    bounded(patient, async { Ok(query.execute(connection).await?.rows_affected()) }).await
}

async fn bounded<T>(patient: bool, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    if patient {
        return work.await;
    }
    match tokio::time::timeout(STATEMENT + GRACE, work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Lost("the database did not answer in time".to_owned())),
    }
}

/// Rows turned into columns.
struct Columns {
    columns: Vec<Array>,
    next: usize,
}

impl Columns {
    fn push(&mut self, bytes: Option<&[u8]>) {
        if let Some(column) = self.columns.get_mut(self.next) {
            column.push(bytes);
        }
        self.next += 1;
    }
}

impl Cells for Columns {
    fn int(&mut self, value: Option<i64>) {
        self.push(value.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    }

    fn text(&mut self, value: Option<&str>) {
        self.push(value.map(clean).as_deref().map(str::as_bytes));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.push(Some(value));
    }
}

/// A column as the server reads it: an array of one dimension in its binary form.
/// <https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c> (`array_recv`)
struct Array {
    count: i32,
    /// Behind the header.
    bytes: Vec<u8>,
    nulls: bool,
    element: u32,
}

impl Array {
    fn new(kind: Kind) -> Array {
        // Object ids of the server's own types: int8, text, bytea.
        let element = match kind {
            Kind::Int => 20,
            Kind::Text => 25,
            Kind::Bytes => 17,
        };
        Array { count: 0, bytes: Vec::new(), nulls: false, element }
    }

    fn push(&mut self, value: Option<&[u8]>) {
        self.count += 1;
        self.nulls |= value.is_none();
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    fn write(&self, buffer: &mut PgArgumentBuffer) {
        let header = [1, i32::from(self.nulls)];
        header.iter().for_each(|number| buffer.extend_from_slice(&number.to_be_bytes()));
        buffer.extend_from_slice(&self.element.to_be_bytes());
        [self.count, 1].iter().for_each(|number| buffer.extend_from_slice(&number.to_be_bytes()));
        buffer.extend_from_slice(&self.bytes);
    }
}

struct Ints(Array);
struct Texts(Array);
struct Blobs(Array);

macro_rules! array {
    ($($name:ident as $known:ty;)*) => {$(
        impl sqlx::Type<Postgres> for $name {
            fn type_info() -> PgTypeInfo {
                <$known as sqlx::Type<Postgres>>::type_info()
            }
        }

        impl sqlx::Encode<'_, Postgres> for $name {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                self.0.write(buffer);
                Ok(IsNull::No)
            }
        }
    )*};
}

array! {
    Ints as Vec<i64>;
    Texts as Vec<String>;
    Blobs as Vec<Vec<u8>>;
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

fn bind<'q>(query: Query<'q>, value: &Value) -> Query<'q> {
    match value.clone() {
        Value::Int(value) => query.bind(value),
        Value::Real(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
    }
}

fn row(row: &PgRow) -> Result<Row, Fault> {
    let mut values = Vec::with_capacity(row.len());
    for (index, column) in row.columns().iter().enumerate() {
        let value = match column.type_info().name() {
            "INT8" => Value::Int(row.try_get(index)?),
            "INT4" => Value::Int(row.try_get::<Option<i32>, _>(index)?.map(i64::from)),
            "INT2" => Value::Int(row.try_get::<Option<i16>, _>(index)?.map(i64::from)),
            "BOOL" => Value::Int(row.try_get::<Option<bool>, _>(index)?.map(i64::from)),
            "FLOAT8" => Value::Real(row.try_get(index)?),
            "FLOAT4" => Value::Real(row.try_get::<Option<f32>, _>(index)?.map(f64::from)),
            "TEXT" | "VARCHAR" | "NAME" | "BPCHAR" => Value::Text(row.try_get(index)?),
            "BYTEA" => Value::Bytes(row.try_get(index)?),
            // What functions such as pg_notify return.
            "VOID" => Value::Text(None),
            other => {
                let name = column.name();
                return Err(Fault::Refused(format!(
                    "column {name} is of type {other}: cast it in the statement"
                )));
            }
        };
        values.push(value);
    }
    Ok(Row::new(values))
}
