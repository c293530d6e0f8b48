//! The driver for PostgreSQL.

use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgArguments, PgConnection, PgListener, PgRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Executor as _, PgPool, Postgres, Row as _, TypeInfo as _,
};

use super::fault::Fault;
use super::location::Server;
use super::{Answer, Row, Statement, Value};

/// How long a statement waits for a free connection, a new one included.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest duration of a statement, kept by the server.
const STATEMENT: Duration = Duration::from_secs(30);
/// How long a statement waits for a lock, kept by the server.
const LOCK: Duration = Duration::from_secs(5);
/// What a connection that hangs gets on top of [`STATEMENT`] before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// Connections of a process, when the URL has no `connection_limit`.
const CONNECTIONS: u32 = 10;

/// A fixed number of connections.
pub(super) fn pool(server: &Server) -> PgPool {
    let settings = format!(
        "SET search_path TO {schema}; SET statement_timeout = {statement}; SET lock_timeout = {lock}; \
         SET idle_in_transaction_session_timeout = {statement}; SET client_min_messages = warning",
        schema = server.schema,
        statement = STATEMENT.as_millis(),
        lock = LOCK.as_millis(),
    );
    options(server, server.connections.unwrap_or(CONNECTIONS).max(2))
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(settings)).await.map(|_| ()) })
        })
        .connect_lazy_with(connect_options(server))
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
    let mut query = sqlx::query::<Postgres>(AssertSqlSafe(statement.text().to_owned()));
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
    if patient {
        return work.await;
    }
    match tokio::time::timeout(STATEMENT + GRACE, work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Lost("the database did not answer in time".to_owned())),
    }
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
