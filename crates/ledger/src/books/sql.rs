//! Books in SQLite or PostgreSQL.

mod columns;
mod days;
mod expected;
mod filter;
mod insert;
mod load;
mod minutes;
mod partitions;
#[cfg(test)]
mod plans;
mod read;
mod retain;
mod sums;
mod verify;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tollway_meters::{Scope, ScopeKind};
use tollway_store::StoreResult;
use tollway_store::sql::{Dialect, Sql};

use super::sums::{Batch, Day, DayKey, Sum};
use super::{
    Adjustment, Books, Counted, DAY, DayFilter, Filter, HOUR, Millis, Order, Place, Progress, Range,
    Retained, Verification, is_summed_by_days,
};
use crate::packed::PackedReceipts;
use crate::receipt::Receipt;
use partitions::Partitions;

pub use load::Filling;

/// `spend.hour` of a scope's sum over all time.
const LIFETIME: i64 = -1;

/// `spend.hour` of what forgotten receipts added up to.
const FORGOTTEN: i64 = -2;

/// `spend.hour` of what forgotten hours added up to.
const FORGOTTEN_HOURS: i64 = -3;

/// `spend.hour` of what forgotten days added up to.
const FORGOTTEN_DAYS: i64 = -4;

/// `spend.hour` of the sums of day 0; of later days it is as much less.
const DAY_ZERO: i64 = -1000;

/// Hours of a day.
const HOURS: i64 = DAY / HOUR;

/// `spend.hour` of the sums of a day (days since 1970).
fn hour_of_day(day: i64) -> i64 {
    DAY_ZERO - day.max(0)
}

/// Scopes of which there may be very many have sums by the day, so that a month of them is not all of its hours.
fn has_days(kind: &str) -> bool {
    const KINDS: [ScopeKind; 6] = [
        ScopeKind::Key,
        ScopeKind::User,
        ScopeKind::Team,
        ScopeKind::Organization,
        ScopeKind::Customer,
        ScopeKind::Tag,
    ];
    KINDS.iter().any(|known| known.name() == kind)
}

/// Books in a database that has the store's tables.
#[derive(Debug, Clone)]
pub struct SqlBooks {
    sql: Sql,
    partitions: Arc<Partitions>,
}

impl SqlBooks {
    /// Books in a database. Its migrations are the store's.
    pub fn new(sql: Sql) -> SqlBooks {
        SqlBooks { sql, partitions: Arc::default() }
    }

    /// Sees to it that receipts have a place.
    async fn make_room(&self, receipts: &PackedReceipts) -> StoreResult<()> {
        match self.sql.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.partitions.ensure(&self.sql, receipts).await,
        }
    }
}

#[async_trait]
impl Books for SqlBooks {
    async fn record(&self, batch: &Batch) -> StoreResult<u64> {
        if self.sql.dialect() == Dialect::Sqlite {
            return insert::record(&self.sql, batch).await;
        }
        self.partitions.ensure(&self.sql, &batch.receipts).await?;
        match insert::record(&self.sql, batch).await {
            // Somebody else may have dropped a partition that was there.
            Err(tollway_store::StoreError::Broken(_)) if self.partitions.forget() => {
                self.partitions.ensure(&self.sql, &batch.receipts).await?;
                insert::record(&self.sql, batch).await
            }
            other => other,
        }
    }

    async fn get(&self, id: &str) -> StoreResult<Option<Receipt>> {
        read::get(&self.sql, id).await
    }

    async fn list(&self, filter: &Filter, after: Option<&Place>, limit: u32) -> StoreResult<Vec<Receipt>> {
        read::list(&self.sql, filter, after, limit).await
    }

    async fn sorted(
        &self,
        filter: &Filter,
        order: Order,
        skip: u32,
        limit: u32,
    ) -> StoreResult<Vec<Receipt>> {
        read::sorted(&self.sql, filter, order, skip, limit).await
    }

    async fn count(&self, filter: &Filter, bound: u64) -> StoreResult<Counted> {
        read::count(&self.sql, filter, bound).await
    }

    async fn spent(&self, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum> {
        if !is_summed_by_days(scope.kind) {
            return sums::spent(&self.sql, scope, from).await;
        }
        let mut found = self.spent_on_model(scope, from).await?;
        if from.is_none() {
            found.add(sums::forgotten_days(&self.sql, scope).await?);
        }
        Ok(found)
    }

    async fn lifetimes(&self, kind: ScopeKind, ids: &[&str]) -> StoreResult<HashMap<String, Sum>> {
        sums::lifetimes(&self.sql, kind, ids).await
    }

    async fn sums(&self, kind: ScopeKind, range: Range, limit: u32) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        sums::sums(&self.sql, kind, range, limit).await
    }

    async fn days(&self, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
        days::days(&self.sql, filter).await
    }

    async fn day_sums(
        &self,
        kind: ScopeKind,
        day: i64,
        after: Option<&str>,
        limit: u32,
    ) -> StoreResult<Vec<(Arc<str>, Sum)>> {
        sums::of_day(&self.sql, kind, day, after, limit).await
    }

    async fn callers(&self, filter: &DayFilter, after: Option<&str>, limit: u32) -> StoreResult<Vec<String>> {
        days::keys(&self.sql, filter, after, limit).await
    }

    async fn adjust(&self, adjustment: &Adjustment) -> StoreResult<bool> {
        insert::adjust(&self.sql, adjustment).await
    }

    async fn retain(&self, before: Millis) -> StoreResult<Retained> {
        let retained = retain::retain(&self.sql, before).await;
        self.partitions.forget();
        retained
    }

    async fn thin(&self, before: Millis) -> StoreResult<u64> {
        retain::thin(&self.sql, before).await
    }

    async fn verify(&self, progress: Progress<'_>) -> StoreResult<Verification> {
        verify::verify(&self.sql, progress).await
    }

    async fn rebuild(&self, progress: Progress<'_>) -> StoreResult<Verification> {
        verify::rebuild(&self.sql, progress).await
    }
}
