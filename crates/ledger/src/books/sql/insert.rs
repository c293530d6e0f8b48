//! Recording a batch.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use tollway_store::sql::{Cells, Kind, Load, Rows, Sql, Statement, Transaction, Value, clean};
use tollway_store::{StoreError, StoreResult, values};

use super::LIFETIME;
use super::columns::{self, DAY_COUNTS, DAY_KEY, LINE};
use crate::books::sums::{Batch, Day, DayKey, Sum, Tally};
use crate::books::{Adjustment, HOUR};
use crate::receipt::Receipt;

/// Records a batch. Usually all of it is new, and then nobody asks first.
pub(super) async fn record(sql: &Sql, batch: &Batch) -> StoreResult<u64> {
    let known = match sql.transaction(|transaction| async move { insert(&transaction, batch).await }).await {
        Err(StoreError::Conflict { .. }) => known(sql, batch).await?,
        other => return other,
    };
    let new: Vec<_> = batch.receipts.iter().filter(|receipt| !known.contains(&receipt.id)).cloned().collect();
    let new = Batch::of(new);
    if new.receipts.is_empty() {
        return Ok(0);
    }
    let new = &new;
    match sql.transaction(|transaction| async move { insert(&transaction, new).await }).await {
        // Another process recorded one of them just now: the caller tries again.
        Err(error @ StoreError::Conflict { .. }) => Err(StoreError::Unavailable(error.to_string())),
        other => other,
    }
}

/// The receipts of a batch that are there already.
async fn known(sql: &Sql, batch: &Batch) -> StoreResult<std::collections::BTreeSet<String>> {
    let mut found = std::collections::BTreeSet::new();
    for some in batch.receipts.chunks(256) {
        let marks = tollway_store::sql::placeholders(1, some.len());
        let text = format!("SELECT id FROM receipts WHERE id IN ({marks})");
        let ids = some.iter().map(|receipt| Value::from(receipt.id.as_str())).collect();
        for row in sql.query(Statement::assembled(text), ids).await? {
            found.insert(row.text(0)?.to_owned());
        }
    }
    Ok(found)
}

/// All of it, or a conflict when something of it is known.
async fn insert(transaction: &Transaction, batch: &Batch) -> StoreResult<u64> {
    static LOAD: OnceLock<Load> = OnceLock::new();
    let load = LOAD.get_or_init(|| {
        let columns: Vec<_> = columns::kinds(LINE).chain([("detail", Kind::Bytes)]).collect();
        Load::new("receipts", &columns, "ON CONFLICT (id, at) DO NOTHING")
    });
    let inserted = transaction.load(load, Arc::new(Receipts(batch.receipts.clone()))).await?;
    if inserted != batch.receipts.len() as u64 {
        return Err(StoreError::Conflict { table: "receipts", id: first(&batch.receipts) });
    }
    add(transaction, &batch.tally, true).await?;
    Ok(inserted)
}

fn first(receipts: &[Arc<Receipt>]) -> String {
    receipts.first().map_or_else(String::new, |receipt| receipt.id.clone())
}

/// Adds up. `lifetimes`: those too.
pub(super) async fn add(transaction: &Transaction, tally: &Tally, lifetimes: bool) -> StoreResult<()> {
    let mut sums: Vec<SumOf> = Vec::with_capacity(tally.hours.len() * 2);
    if lifetimes {
        let scopes = tally.scopes().into_iter();
        sums.extend(scopes.map(|((kind, id), sum)| (kind.into(), id.into(), LIFETIME, sum)));
    }
    let hours = tally.hours.iter();
    sums.extend(hours.map(|((kind, id, hour), sum)| ((*kind).into(), id.clone(), *hour, *sum)));
    add_sums(transaction, sums).await?;
    static LOAD: OnceLock<Load> = OnceLock::new();
    let load = LOAD.get_or_init(|| {
        let counts = DAY_COUNTS.map(|count| (count, Kind::Int));
        let columns: Vec<_> = columns::kinds(DAY_KEY).chain(counts).collect();
        Load::new("spend_days", &columns, &upsert("spend_days", DAY_KEY, &DAY_COUNTS))
    });
    let days = tally.days.iter().map(|(key, day)| (key.clone(), *day)).collect();
    transaction.load(load, Arc::new(Days(days))).await?;
    Ok(())
}

/// Kind, id, hour, sum.
pub(super) type SumOf = (Cow<'static, str>, String, i64, Sum);

/// Adds to sums.
pub(super) async fn add_sums(transaction: &Transaction, mut sums: Vec<SumOf>) -> StoreResult<()> {
    static LOAD: OnceLock<Load> = OnceLock::new();
    let load = LOAD.get_or_init(|| {
        let texts = ["scope", "id"].map(|column| (column, Kind::Text));
        let numbers = ["hour", "nanos", "calls", "unknown"].map(|column| (column, Kind::Int));
        let columns: Vec<_> = texts.into_iter().chain(numbers).collect();
        Load::new("spend", &columns, &upsert("spend", "hour, scope, id", &["nanos", "calls", "unknown"]))
    });
    // Everyone takes rows in this order, which is the table's, so that nobody waits in a circle.
    sums.sort_by(|a, b| (a.2, &a.0, &a.1).cmp(&(b.2, &b.0, &b.1)));
    transaction.load(load, Arc::new(Sums(sums))).await?;
    Ok(())
}

struct Receipts(Vec<Arc<Receipt>>);

impl Rows for Receipts {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        self.0.get(index).map_or(Ok(()), |receipt| columns::write(receipt, cells))
    }
}

struct Sums(Vec<SumOf>);

impl Rows for Sums {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        let Some((kind, id, hour, sum)) = self.0.get(index) else { return Ok(()) };
        cells.text(Some(kind));
        cells.text(Some(id));
        cells.int(Some(*hour));
        columns::write_sum(*sum, cells);
        Ok(())
    }
}

struct Days(Vec<(DayKey<'static>, Day)>);

impl Rows for Days {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        if let Some((key, day)) = self.0.get(index) {
            columns::write_day(key, day, cells);
        }
        Ok(())
    }
}

fn upsert(table: &str, key: &str, counts: &[&str]) -> String {
    let mut text = format!("ON CONFLICT ({key}) DO UPDATE SET ");
    for (index, count) in counts.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{count} = {table}.{count} + excluded.{count}");
    }
    text
}

/// Books a change that no call made; once.
pub(super) async fn adjust(sql: &Sql, adjustment: &Adjustment) -> StoreResult<bool> {
    sql.transaction(|transaction| async move {
        let Adjustment { id, at, scope, amount, reason } = adjustment;
        let kind = scope.kind.name();
        let new = transaction
            .execute(
                "INSERT INTO spend_adjustments (id, at, scope, scope_id, nanos, reason) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
                values![id, *at, kind, clean(&scope.id).as_ref(), amount.nanos(), clean(reason).as_ref()],
            )
            .await?;
        if new == 0 {
            return Ok(false);
        }
        let sum = Sum::of_money(*amount);
        let sums = [LIFETIME, at.div_euclid(HOUR)].map(|hour| (kind.into(), scope.id.to_string(), hour, sum));
        add_sums(&transaction, sums.into()).await?;
        Ok(true)
    })
    .await
}
