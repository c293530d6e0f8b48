//! PostgreSQL's partitions of `receipts`: one a day, made before they are needed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tollway_store::sql::{Sql, Statement};
use tollway_store::{StoreResult, values};

use crate::books::{DAY, Millis};
use crate::packed::PackedReceipts;

/// Days ahead of the latest receipt that have a partition already.
const AHEAD: i64 = 2;

/// "Partition" on a telephone's keys, shortened: who makes partitions holds this lock.
const ADVISORY_LOCK: i64 = 727_848_466;

/// Partitions that are there.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    known: Mutex<BTreeSet<i64>>,
}

/// The table of a day's receipts.
pub(super) fn name(day: i64) -> String {
    format!("receipts_{}{}", if day < 0 { "before_" } else { "" }, day.unsigned_abs())
}

impl Partitions {
    /// Sees to it that receipts have a place.
    pub(super) async fn ensure(&self, sql: &Sql, receipts: &PackedReceipts) -> StoreResult<()> {
        if receipts.is_empty() {
            return Ok(());
        }
        let days = receipts.iter().map(|receipt| Ok(receipt.at()?.div_euclid(DAY)));
        let days: BTreeSet<i64> = days.collect::<StoreResult<_>>()?;
        let latest = days.last().copied().unwrap_or_default();
        for day in &days {
            self.ensure_day(sql, *day).await?;
        }
        for day in latest + 1..=latest + AHEAD {
            if let Err(error) = self.ensure_day(sql, day).await {
                tracing::debug!(target: "tollway::ledger", %error, day, "a partition could not be made ahead");
                break;
            }
        }
        Ok(())
    }

    async fn ensure_day(&self, sql: &Sql, day: i64) -> StoreResult<()> {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&day) {
            return Ok(());
        }
        make(sql, day).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
        Ok(())
    }

    /// Looks again the next time. `false`: nothing was known.
    pub(super) fn forget(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *known).is_empty()
    }
}

/// Attaching a finished table takes no lock that calls or readers notice, unlike making it a partition at once.
async fn make(sql: &Sql, day: i64) -> StoreResult<()> {
    let (table, from) = (name(day), day * DAY);
    sql.transaction(|transaction| {
        let table = table.clone();
        async move {
            transaction.query("SELECT pg_advisory_xact_lock($1)", values![ADVISORY_LOCK]).await?;
            let there = transaction.query_one("SELECT to_regclass($1) IS NOT NULL", values![&table]).await?;
            if there.map_or(Ok(0), |row| row.int(0))? != 0 {
                return Ok(());
            }
            let create = format!("CREATE TABLE {table} (LIKE receipts INCLUDING ALL)");
            transaction.execute(Statement::assembled(create), vec![]).await?;
            let until: Millis = from + DAY;
            let attach = format!(
                "ALTER TABLE receipts ATTACH PARTITION {table} FOR VALUES FROM ({from}) TO ({until})"
            );
            transaction.execute(Statement::assembled(attach), vec![]).await?;
            Ok(())
        }
    })
    .await
}

/// The days that have a partition, the oldest first.
pub(super) async fn list(sql: &Sql) -> StoreResult<Vec<i64>> {
    let rows = sql
        .query(
            "SELECT CAST(child.relname AS TEXT) FROM pg_inherits \
             JOIN pg_class child ON child.oid = pg_inherits.inhrelid WHERE pg_inherits.inhparent = to_regclass('receipts')",
            vec![],
        )
        .await?;
    let mut days = Vec::new();
    for row in &rows {
        let rest = row.text(0)?.strip_prefix("receipts_").unwrap_or_default();
        let day = match rest.strip_prefix("before_") {
            Some(days) => days.parse::<i64>().ok().map(|days| -days),
            None => rest.parse().ok(),
        };
        days.extend(day);
    }
    days.sort_unstable();
    Ok(days)
}
