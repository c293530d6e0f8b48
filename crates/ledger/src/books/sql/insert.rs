//! Recording a batch.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use tollway_store::sql::{Cells, Kind, Load, Rows, Sql, Statement, Transaction, Value, clean};
use tollway_store::{StoreError, StoreResult, values};

use super::columns::{self, CALLER, DAY_COUNTS, DAY_KEY, LINE, MINUTE_COUNTS, MINUTE_KEY};
use super::{HOURS, LIFETIME, has_days, hour_of_day};
use crate::books::sums::{Batch, CallerOf, Day, DayKey, Minute, Sum, Tally};
use crate::books::{Adjustment, DAY, HOUR};
use crate::packed::PackedReceipts;

/// Records a batch. Usually all of it is new, and then nobody asks first.
pub(super) async fn record(sql: &Sql, batch: &Batch) -> StoreResult<u64> {
    let known = match sql.transaction(|transaction| async move { insert(&transaction, batch).await }).await {
        Err(StoreError::Conflict { .. }) => known(sql, batch).await?,
        other => return other,
    };
    let new = batch.only(|id| !known.contains(id));
    if new.is_empty() {
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
    let ids: Vec<&str> = batch.ids().collect();
    for some in ids.chunks(256) {
        let marks = tollway_store::sql::placeholders(1, some.len());
        let text = format!("SELECT id FROM receipts WHERE id IN ({marks})");
        let ids = some.iter().map(|id| Value::from(*id)).collect();
        for row in sql.query(Statement::assembled(text), ids).await? {
            found.insert(row.text(0)?.to_owned());
        }
    }
    Ok(found)
}

/// All of it, or a conflict when something of it is known.
async fn insert(transaction: &Transaction, batch: &Batch) -> StoreResult<u64> {
    let inserted = rows(transaction, &batch.receipts).await?;
    add(transaction, &batch.tally, true).await?;
    Ok(inserted)
}

/// The receipts alone.
pub(super) async fn rows(transaction: &Transaction, receipts: &Arc<PackedReceipts>) -> StoreResult<u64> {
    static LOAD: OnceLock<Load> = OnceLock::new();
    let load = LOAD.get_or_init(|| {
        let columns: Vec<_> = columns::kinds(LINE).chain([("detail", Kind::Bytes)]).collect();
        Load::new("receipts", &columns, "ON CONFLICT (id, at) DO NOTHING")
    });
    let inserted = transaction.load(load, receipts.clone()).await?;
    if inserted != receipts.len() as u64 {
        let first = receipts.iter().next().and_then(|receipt| receipt.id().ok()).unwrap_or_default();
        return Err(StoreError::Conflict { table: "receipts", id: first.to_owned() });
    }
    Ok(inserted)
}

/// Adds up. `lifetimes`: those too.
pub(super) async fn add(transaction: &Transaction, tally: &Tally, lifetimes: bool) -> StoreResult<()> {
    let mut sums: Vec<SumOf> = Vec::with_capacity(tally.hours.len() * 3);
    if lifetimes {
        let scopes = tally.scopes().into_iter();
        sums.extend(scopes.map(|((kind, id), sum)| (kind.into(), id.into(), LIFETIME, sum)));
    }
    sums.extend(day_sums(&tally.hours).map(|(kind, id, day, sum)| (kind.into(), id.into(), day, sum)));
    let hours = tally.hours.iter();
    sums.extend(hours.map(|((kind, id, hour), sum)| ((*kind).into(), id.clone(), *hour, *sum)));
    add_sums(transaction, sums).await?;
    add_days(transaction, tally).await?;
    add_minutes(transaction, tally).await
}

/// Sums by the day, of the scopes that have them, under the hour that stands for the day.
pub(super) fn day_sums<'a>(
    hours: &'a BTreeMap<(&'static str, String, i64), Sum>,
) -> impl Iterator<Item = (&'static str, &'a str, i64, Sum)> {
    let mut days: BTreeMap<(i64, &'static str, &str), Sum> = BTreeMap::new();
    for ((kind, id, hour), sum) in hours.iter().filter(|((kind, ..), _)| has_days(kind)) {
        days.entry((hour_of_day(hour.div_euclid(HOURS)), kind, id)).or_default().add(*sum);
    }
    days.into_iter().map(|((day, kind, id), sum)| (kind, id, day, sum))
}

async fn add_days(transaction: &Transaction, tally: &Tally) -> StoreResult<()> {
    static LOAD: OnceLock<Load> = OnceLock::new();
    let load = LOAD.get_or_init(|| {
        let counts = DAY_COUNTS.map(|count| (count, Kind::Int));
        let columns: Vec<_> = columns::kinds(DAY_KEY).chain(counts).collect();
        Load::new("spend_days", &columns, &upsert("spend_days", DAY_KEY, &DAY_COUNTS))
    });
    let mut days: Vec<_> = tally.days.iter().map(|(key, day)| (key.clone(), *day)).collect();
    // In the table's order.
    days.sort_by(|(a, _), (b, _)| {
        (a.of, a.day, &a.of_id).cmp(&(b.of, b.day, &b.of_id)).then_with(|| a.cmp(b))
    });
    transaction.load(load, Arc::new(Days(days))).await.map(drop)
}

/// Where to find receipts, and who called.
async fn add_minutes(transaction: &Transaction, tally: &Tally) -> StoreResult<()> {
    static MINUTES: OnceLock<Load> = OnceLock::new();
    static CALLERS: OnceLock<Load> = OnceLock::new();
    let load = MINUTES.get_or_init(|| {
        let columns: Vec<_> =
            columns::kinds(MINUTE_KEY).chain(MINUTE_COUNTS.map(|count| (count, Kind::Int))).collect();
        let then = format!(
            "ON CONFLICT ({MINUTE_KEY}) DO UPDATE SET calls = receipt_minutes.calls + excluded.calls, \
             least = CASE WHEN excluded.least < receipt_minutes.least THEN excluded.least ELSE receipt_minutes.least END, \
             most = CASE WHEN excluded.most > receipt_minutes.most THEN excluded.most ELSE receipt_minutes.most END"
        );
        Load::new("receipt_minutes", &columns, &then)
    });
    let minutes =
        tally.minutes.iter().map(|((kind, id, minute), costs)| (*kind, id.clone(), *minute, *costs));
    transaction.load(load, Arc::new(Minutes(minutes.collect()))).await?;
    let load = CALLERS.get_or_init(|| {
        let columns: Vec<_> = columns::kinds(CALLER).collect();
        Load::new("spend_callers", &columns, "ON CONFLICT DO NOTHING")
    });
    let callers = tally.callers.iter().cloned().collect();
    transaction.load(load, Arc::new(Callers(callers))).await.map(drop)
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

impl Rows for PackedReceipts {
    fn count(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        self.get(index).map_or(Ok(()), |receipt| receipt.write(cells))
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

struct Minutes(Vec<(&'static str, String, i64, Minute)>);

impl Rows for Minutes {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        let Some((kind, id, minute, costs)) = self.0.get(index) else { return Ok(()) };
        cells.text(Some(kind));
        cells.text(Some(id));
        for number in [*minute, costs.calls, costs.least, costs.most] {
            cells.int(Some(number));
        }
        Ok(())
    }
}

struct Callers(Vec<CallerOf>);

impl Rows for Callers {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        for text in self.0.get(index).into_iter().flatten() {
            cells.text(Some(text));
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
        let day = has_days(kind).then(|| hour_of_day(at.div_euclid(DAY)));
        let hours = [Some(LIFETIME), Some(at.div_euclid(HOUR)), day].into_iter().flatten();
        let sums = hours.map(|hour| (kind.into(), scope.id.to_string(), hour, sum));
        add_sums(&transaction, sums.collect()).await?;
        Ok(true)
    })
    .await
}
