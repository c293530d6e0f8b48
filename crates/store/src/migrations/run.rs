//! Applying migrations.

use std::collections::BTreeMap;

use super::Migration;
use crate::records::Millis;
use crate::sql::{Dialect, Location, Sql, Statement, Transaction};
use crate::{StoreResult, values};

/// "Tollway" on a telephone's keys: what processes that migrate at once lock.
const ADVISORY_LOCK: i64 = 8_655_929;

/// A migration that the database has.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) checksum: String,
    pub(crate) at: Millis,
}

/// The migrations that the database has, by name.
pub(crate) async fn applied(sql: &Sql) -> StoreResult<BTreeMap<String, Applied>> {
    let exists = match sql.dialect() {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'",
        Dialect::Postgres => {
            "SELECT count(*) FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = 'migrations'"
        }
    };
    let there = sql.query_one(exists, vec![]).await?.map_or(Ok(0), |row| row.int(0))?;
    if there == 0 {
        return Ok(BTreeMap::new());
    }
    let rows = sql.query("SELECT name, checksum, applied_at FROM migrations ORDER BY name", vec![]).await?;
    rows.iter()
        .map(|row| {
            let applied = Applied { checksum: row.text(1)?.to_owned(), at: row.int(2)? };
            Ok((row.text(0)?.to_owned(), applied))
        })
        .collect()
}

/// Applies what is missing of `wanted`, each in a transaction of its own; the names of those it applied. Several
/// processes may do this at once.
pub(crate) async fn apply(sql: &Sql, wanted: &[Migration]) -> StoreResult<Vec<String>> {
    let dialect = sql.dialect();
    let there = applied(sql).await?;
    for (name, applied) in &there {
        match wanted.iter().find(|migration| migration.name == name) {
            // A newer version made it, and only added: this one goes on working.
            None => tracing::info!(migration = name, "the database knows a migration of a newer version"),
            Some(known) if known.checksum(dialect) != applied.checksum => {
                tracing::warn!(migration = name, "the database got this migration in another form");
            }
            Some(_) => {}
        }
    }
    if wanted.iter().all(|migration| there.contains_key(migration.name)) {
        return Ok(Vec::new());
    }
    make_schema(sql).await?;
    let mut done = Vec::new();
    for migration in wanted.iter().filter(|migration| !there.contains_key(migration.name)) {
        let fresh = sql
            .long_transaction(|transaction| async move { apply_one(&transaction, migration).await })
            .await?;
        if fresh {
            tracing::info!(migration = migration.name, "the database was migrated");
            done.push(migration.name.to_owned());
        }
    }
    Ok(done)
}

/// The schema is asked for before it is made: making one takes a right that a careful operator does not give.
async fn make_schema(sql: &Sql) -> StoreResult<()> {
    let Location::Postgres(server) = sql.location() else { return Ok(()) };
    let schema = server.schema();
    let there = sql
        .query_one("SELECT count(*) FROM information_schema.schemata WHERE schema_name = $1", values![schema])
        .await?
        .map_or(Ok(0), |row| row.int(0))?;
    if there > 0 {
        return Ok(());
    }
    sql.long_transaction(|transaction| async move {
        lock(&transaction).await?;
        // The name is checked where the URL is read: a-z, 0-9 and _ only.
        let statement = Statement::assembled(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        transaction.execute(statement, vec![]).await.map(|_| ())
    })
    .await
}

/// Applies a migration unless another process did in the meantime: `false`.
async fn apply_one(transaction: &Transaction, migration: &Migration) -> StoreResult<bool> {
    let dialect = transaction.dialect();
    lock(transaction).await?;
    transaction
        .execute(
            "CREATE TABLE IF NOT EXISTS migrations \
             (name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)",
            vec![],
        )
        .await?;
    let there =
        transaction.query_one("SELECT name FROM migrations WHERE name = $1", values![migration.name]).await?;
    if there.is_some() {
        return Ok(false);
    }
    for statement in migration.statements(dialect) {
        transaction.execute(Statement::assembled(statement), vec![]).await?;
    }
    let insert = format!(
        "INSERT INTO migrations (name, checksum, applied_at) VALUES ($1, $2, {})",
        dialect.now_millis()
    );
    transaction
        .execute(Statement::assembled(insert), values![migration.name, migration.checksum(dialect)])
        .await?;
    Ok(true)
}

/// One process at a time. It waits long for another that migrates, but a change of a table that is in use waits two
/// seconds only, because everything else queues up behind it; it is then tried again.
async fn lock(transaction: &Transaction) -> StoreResult<()> {
    if transaction.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    transaction.execute("SET LOCAL statement_timeout = 0", vec![]).await?;
    transaction.execute("SET LOCAL lock_timeout = '60s'", vec![]).await?;
    transaction.query("SELECT pg_advisory_xact_lock($1)", values![ADVISORY_LOCK]).await?;
    transaction.execute("SET LOCAL lock_timeout = '2s'", vec![]).await?;
    Ok(())
}
