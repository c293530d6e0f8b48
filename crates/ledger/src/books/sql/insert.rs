//! Recording a batch.

use std::fmt::Write as _;
use std::sync::OnceLock;

use tollway_store::sql::{Dialect, Sql, Statement, Transaction, Value, placeholder_rows};
use tollway_store::{StoreError, StoreResult, values};

use super::LIFETIME;
use super::columns::{self, DAY_COUNTS, DAY_KEY, LINE, LINES};
use crate::books::sums::{Batch, Day, DayKey, Sum, Tally};
use crate::books::{Adjustment, HOUR};
use crate::receipt::Receipt;

/// Rows in one statement: few different statements, so that each is prepared once.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// Statements of each size, made once.
type Texts = OnceLock<Both>;

/// For SQLite, for PostgreSQL.
type Both = [[String; SIZES.len()]; 2];

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
    static TEXTS: Texts = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let head = format!("INSERT INTO receipts ({LINE}, detail) VALUES ");
        texts(&head, LINES + 1, " ON CONFLICT (id, at) DO NOTHING")
    });
    let mut inserted = 0;
    for (size, some) in pieces(&batch.receipts) {
        let mut values = Vec::with_capacity(some.len() * (LINES + 1));
        for receipt in some {
            columns::push(receipt, &mut values)?;
        }
        inserted += transaction.execute(statement(texts, transaction, size), values).await?;
    }
    if inserted != batch.receipts.len() as u64 {
        return Err(StoreError::Conflict { table: "receipts", id: first(&batch.receipts) });
    }
    add(transaction, &batch.tally, true).await?;
    Ok(inserted)
}

fn first(receipts: &[std::sync::Arc<Receipt>]) -> String {
    receipts.first().map_or_else(String::new, |receipt| receipt.id.clone())
}

/// Adds up. `lifetimes`: those too.
pub(super) async fn add(transaction: &Transaction, tally: &Tally, lifetimes: bool) -> StoreResult<()> {
    let mut sums: Vec<(&str, &str, i64, Sum)> = Vec::with_capacity(tally.hours.len() * 2);
    if lifetimes {
        sums.extend(tally.scopes().into_iter().map(|((kind, id), sum)| (kind, id, LIFETIME, sum)));
    }
    sums.extend(tally.hours.iter().map(|((kind, id, hour), sum)| (*kind, id.as_str(), *hour, *sum)));
    // Everyone takes rows in this order, so that nobody waits in a circle.
    sums.sort_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
    add_sums(transaction, &sums).await?;
    let days: Vec<(&DayKey<'static>, &Day)> = tally.days.iter().collect();
    add_days(transaction, &days).await
}

/// Adds to sums: kind, id, hour, sum; in order.
pub(super) async fn add_sums(transaction: &Transaction, sums: &[(&str, &str, i64, Sum)]) -> StoreResult<()> {
    static TEXTS: Texts = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        texts(
            "INSERT INTO spend (scope, id, hour, nanos, calls, unknown) VALUES ",
            6,
            &upsert("spend", "scope, id, hour", &["nanos", "calls", "unknown"]),
        )
    });
    for (size, some) in pieces(sums) {
        let mut values = Vec::with_capacity(some.len() * 6);
        for (kind, id, hour, sum) in some {
            values.extend(values![*kind, columns::clean(id), *hour]);
            columns::push_sum(*sum, &mut values);
        }
        transaction.execute(statement(texts, transaction, size), values).await?;
    }
    Ok(())
}

async fn add_days(transaction: &Transaction, days: &[(&DayKey<'static>, &Day)]) -> StoreResult<()> {
    static TEXTS: Texts = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let head = format!("INSERT INTO spend_days ({DAY_KEY}, {}) VALUES ", DAY_COUNTS.join(", "));
        texts(&head, 22, &upsert("spend_days", DAY_KEY, &DAY_COUNTS))
    });
    for (size, some) in pieces(days) {
        let mut values = Vec::with_capacity(some.len() * 22);
        for (key, day) in some {
            columns::push_day(key, day, &mut values);
        }
        transaction.execute(statement(texts, transaction, size), values).await?;
    }
    Ok(())
}

fn upsert(table: &str, key: &str, counts: &[&str]) -> String {
    let mut text = format!(" ON CONFLICT ({key}) DO UPDATE SET ");
    for (index, count) in counts.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{count} = {table}.{count} + excluded.{count}");
    }
    text
}

fn texts(head: &str, columns: usize, tail: &str) -> Both {
    // SQLite searches a list of all parameters for each one that has a name or number: thousands of them take a second.
    let row = format!("({})", vec!["?"; columns].join(", "));
    let unnamed = SIZES.map(|rows| [head, &vec![row.as_str(); rows].join(", "), tail].concat());
    [unnamed, SIZES.map(|rows| [head, &placeholder_rows(rows, columns), tail].concat())]
}

fn statement(texts: &Both, transaction: &Transaction, size: usize) -> Statement {
    let [sqlite, postgres] = texts;
    let texts = if transaction.dialect() == Dialect::Sqlite { sqlite } else { postgres };
    Statement::assembled(texts.get(size).cloned().unwrap_or_default())
}

/// A list in pieces of the sizes there are, the largest first: index of the size, piece.
fn pieces<T>(mut list: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let (index, size) = SIZES.iter().enumerate().find(|(_, size)| **size <= list.len())?;
        let (piece, rest) = list.split_at(*size);
        list = rest;
        Some((index, piece))
    })
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
                values![id, *at, kind, columns::clean(&scope.id), amount.nanos(), columns::clean(reason)],
            )
            .await?;
        if new == 0 {
            return Ok(false);
        }
        let sum = Sum::of_money(*amount);
        let sums =
            [(kind, scope.id.as_ref(), LIFETIME, sum), (kind, scope.id.as_ref(), at.div_euclid(HOUR), sum)];
        add_sums(&transaction, &sums).await?;
        Ok(true)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_list_with_few_sizes() {
        let list: Vec<usize> = (0..601).collect();
        let found: Vec<(usize, usize)> =
            pieces(&list).map(|(index, piece)| (SIZES[index], piece.len())).collect();
        assert!(found.iter().all(|(size, length)| size == length));
        assert_eq!(pieces(&list).flat_map(|(_, piece)| piece).copied().collect::<Vec<_>>(), list);
    }
}
