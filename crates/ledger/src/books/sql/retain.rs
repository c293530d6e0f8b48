//! Forgetting: receipts by whole days, and sums by the hour and by the day.
//!
//! What is forgotten is carried forward, so that sums over all time can still be proved.

use std::time::Duration;

use tollway_store::sql::{Dialect, Row, Sql, Statement, Transaction};
use tollway_store::{StoreResult, values};

use super::insert::add_sums;
use super::{
    DAY_ZERO, FORGOTTEN, FORGOTTEN_DAYS, FORGOTTEN_HOURS, columns, hour_of_day, partitions, verify, walk,
};
use crate::books::sums::Tally;
use crate::books::{DAY, HOUR, MINUTE, Millis, Retained};

/// Receipts deleted in one transaction where there are no partitions.
const PIECE: usize = 2000;

/// Time for others between two of them.
const REST: Duration = Duration::from_millis(20);

pub(super) async fn retain(sql: &Sql, before: Millis) -> StoreResult<Retained> {
    let day = before.div_euclid(DAY);
    match sql.dialect() {
        Dialect::Sqlite => by_pieces(sql, day * DAY).await,
        Dialect::Postgres => by_partitions(sql, day).await,
    }
}

async fn by_partitions(sql: &Sql, before: i64) -> StoreResult<Retained> {
    let mut retained = Retained::default();
    for day in partitions::list(sql).await?.into_iter().filter(|day| *day < before) {
        retained.receipts += sql
            .long_transaction(|transaction| async move { drop_partition(&transaction, day).await })
            .await?;
        retained.partitions += 1;
    }
    Ok(retained)
}

async fn drop_partition(transaction: &Transaction, day: i64) -> StoreResult<u64> {
    let table = partitions::name(day);
    transaction.execute("SET LOCAL statement_timeout = 0", vec![]).await?;
    // Nobody adds to it after it was added up.
    let lock = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
    transaction.execute(Statement::assembled(lock), vec![]).await?;
    let mut days = walk::Days::new(day * DAY, (day + 1) * DAY);
    let gone = days.next(transaction).await?.unwrap_or_default();
    // Receipts before sums, as everyone else: the drop waits for those who are writing, and they for its commit.
    transaction.execute(Statement::assembled(format!("DROP TABLE {table}")), vec![]).await?;
    forget_minutes(transaction, (day * DAY, (day + 1) * DAY)).await?;
    carry(transaction, &gone.tally).await?;
    walk::set_forgotten(transaction, (day + 1) * DAY).await?;
    Ok(gone.receipts)
}

async fn by_pieces(sql: &Sql, before: Millis) -> StoreResult<Retained> {
    let mut retained = Retained::default();
    loop {
        let gone = sql
            .transaction(|transaction| async move {
                let start = (i64::MIN, String::new());
                let lines = walk::page(&transaction, &start, before, PIECE).await?;
                let Some(last) = lines.last() else { return Ok(0) };
                carry(&transaction, &Tally::of(lines.iter())).await?;
                walk::set_forgotten(&transaction, before).await?;
                let text = "DELETE FROM receipts WHERE at < $1 OR (at = $1 AND id <= $2)";
                transaction.execute(text, values![last.at, last.id.as_ref()]).await
            })
            .await?;
        if gone == 0 {
            break;
        }
        retained.receipts += gone;
        tokio::time::sleep(REST).await;
    }
    if retained.receipts > 0 {
        sql.long_transaction(
            |transaction| async move { forget_minutes(&transaction, (i64::MIN, before)).await },
        )
        .await?;
    }
    Ok(retained)
}

async fn forget_minutes(transaction: &Transaction, (from, until): (Millis, Millis)) -> StoreResult<()> {
    let minutes = values![from.div_euclid(MINUTE), until.div_euclid(MINUTE)];
    transaction.execute("DELETE FROM receipt_minutes WHERE minute >= $1 AND minute < $2", minutes).await?;
    Ok(())
}

async fn carry(transaction: &Transaction, tally: &Tally) -> StoreResult<()> {
    let sums = tally.scopes().into_iter().map(|((kind, id), sum)| (kind.into(), id.into(), FORGOTTEN, sum));
    add_sums(transaction, sums.collect()).await
}

/// Forgets the sums of hours and days before `before`; the number of rows.
pub(super) async fn thin(sql: &Sql, before: Millis) -> StoreResult<u64> {
    let day = before.div_euclid(DAY);
    sql.long_transaction(|transaction| async move {
        verify::lock(&transaction).await?;
        let hours = "FROM spend WHERE hour >= 0 AND hour < $1";
        let hour = day * (DAY / HOUR);
        let text = format!(
            "INSERT INTO spend (scope, id, hour, nanos, calls, unknown) SELECT scope, id, {FORGOTTEN_HOURS}, \
             CAST(sum(nanos) AS BIGINT), CAST(sum(calls) AS BIGINT), CAST(sum(unknown) AS BIGINT) {hours} \
             GROUP BY scope, id ON CONFLICT (scope, id, hour) DO UPDATE SET nanos = spend.nanos + excluded.nanos, \
             calls = spend.calls + excluded.calls, unknown = spend.unknown + excluded.unknown"
        );
        transaction.execute(Statement::assembled(text), values![hour]).await?;
        let mut gone = transaction.execute(Statement::assembled(format!("DELETE {hours}")), values![hour]).await?;
        let days = values![hour_of_day(day), DAY_ZERO];
        gone += transaction.execute("DELETE FROM spend WHERE hour > $1 AND hour <= $2", days).await?;
        for kind in tollway_meters::ScopeKind::ALL {
            let Some(text) = verify::days_by(kind, "day < $1") else { continue };
            let rows = transaction.query(Statement::assembled(text), values![day]).await?;
            let sum = |row: &Row| Ok((kind.name().into(), row.text(0)?.to_owned(), FORGOTTEN_DAYS, columns::sum(row, 1)?));
            add_sums(&transaction, rows.iter().map(sum).collect::<StoreResult<_>>()?).await?;
        }
        gone += transaction.execute("DELETE FROM spend_days WHERE day < $1", values![day]).await?;
        Ok(gone)
    })
    .await
}
