//! Proving sums, and making them anew.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use tollway_meters::{Scope, ScopeKind};
use tollway_store::sql::{Dialect, Sql, Statement, Transaction, clean};
use tollway_store::{StoreResult, values};

use super::columns::{self, CALLER};
use super::expected::{Expected, MINUTES};
use super::insert::{add, add_sums};
use super::walk::{self, Days, Sums};
use super::{FORGOTTEN, FORGOTTEN_DAYS, FORGOTTEN_HOURS, HOURS, LIFETIME, has_days, hour_of_day};
use crate::books::sums::{CallerOf, Sum, Tally};
use crate::books::{DAY, HOUR, Millis, Progress, Verification, is_summed_by_days};

pub(super) async fn verify(sql: &Sql, progress: Progress<'_>) -> StoreResult<Verification> {
    sql.long_transaction(|transaction| async move {
        if transaction.dialect() == Dialect::Postgres {
            // Everything as it was at one moment, while receipts go on arriving.
            transaction.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", vec![]).await?;
            transaction.execute("SET LOCAL statement_timeout = 0", vec![]).await?;
        }
        compare(&transaction, progress).await
    })
    .await
}

pub(super) async fn rebuild(sql: &Sql, progress: Progress<'_>) -> StoreResult<Verification> {
    sql.long_transaction(|transaction| async move {
        lock(&transaction).await?;
        make(&transaction, progress).await?;
        compare(&transaction, &|_, _| ()).await
    })
    .await
}

/// Nobody else changes sums until the transaction ends. Receipts wait in the journal.
pub(super) async fn lock(transaction: &Transaction) -> StoreResult<()> {
    if transaction.dialect() == Dialect::Postgres {
        transaction.execute("SET LOCAL statement_timeout = 0", vec![]).await?;
        let text = "LOCK TABLE receipts, spend, spend_days, spend_adjustments, receipt_minutes, spend_callers \
                    IN SHARE ROW EXCLUSIVE MODE";
        transaction.execute(text, vec![]).await?;
    }
    Ok(())
}

async fn make(transaction: &Transaction, progress: Progress<'_>) -> StoreResult<()> {
    let forgotten = walk::forgotten_within(transaction).await?;
    let first = forgotten.div_euclid(DAY);
    let hours = "DELETE FROM spend WHERE hour = $1 OR hour >= $2 OR hour <= $3";
    transaction.execute(hours, values![LIFETIME, first * HOURS, hour_of_day(first)]).await?;
    transaction.execute("DELETE FROM spend_days WHERE day >= $1", values![first]).await?;
    transaction.execute("DELETE FROM receipt_minutes WHERE minute >= $1", values![first * MINUTES]).await?;
    let mut lifetime = carried(transaction, FORGOTTEN).await?;
    let (mut days, mut done) = (Days::new(i64::MIN, i64::MAX), 0);
    while let Some(day) = days.next(transaction).await? {
        accumulate(&mut lifetime, &day.tally);
        // The sums of older days stand, with late receipts in them.
        if day.day >= first {
            add(transaction, &day.tally, false).await?;
        }
        done += day.receipts;
        progress(day.day * DAY, done);
    }
    for (scope, at, sum) in adjustments(transaction, i64::MIN, i64::MAX).await? {
        lifetime.entry(scope.clone()).or_default().add(sum);
        if at >= first * DAY {
            let day = has_days(&scope.0).then(|| hour_of_day(at.div_euclid(DAY)));
            let hours = [Some(at.div_euclid(HOUR)), day].into_iter().flatten();
            let sums = hours.map(|hour| (scope.0.clone().into(), scope.1.clone(), hour, sum));
            add_sums(transaction, sums.collect()).await?;
        }
    }
    let sums = lifetime.into_iter().map(|((kind, id), sum)| (kind.into(), id, LIFETIME, sum));
    add_sums(transaction, sums.collect()).await
}

fn accumulate(sums: &mut Sums, tally: &Tally) {
    for ((kind, id), sum) in tally.scopes() {
        sums.entry((kind.to_owned(), id.to_owned())).or_default().add(sum);
    }
}

/// What is kept under one of the special hours.
async fn carried(transaction: &Transaction, hour: i64) -> StoreResult<Sums> {
    walk::sums(
        transaction,
        &format!("SELECT scope, id, nanos, calls, unknown FROM spend WHERE hour = {hour}"),
    )
    .await
}

pub(super) type Adjusted = ((String, String), Millis, Sum);

pub(super) async fn adjustments(
    transaction: &Transaction,
    from: Millis,
    until: Millis,
) -> StoreResult<Vec<Adjusted>> {
    let text = "SELECT scope, scope_id, at, nanos FROM spend_adjustments WHERE at >= $1 AND at < $2";
    let rows = transaction.query(text, values![from, until]).await?;
    rows.iter()
        .map(|row| {
            let sum = Sum::of_money(tollway_model::Money::from_nanos(row.int(3)?));
            Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.int(2)?, sum))
        })
        .collect()
}

pub(super) fn scope((kind, id): &(String, String)) -> Scope {
    Scope { kind: columns::kind_of(kind).unwrap_or(ScopeKind::Global), id: Arc::from(id.as_str()) }
}

async fn compare(transaction: &Transaction, progress: Progress<'_>) -> StoreResult<Verification> {
    let mut found = Verification::default();
    let forgotten = walk::forgotten_within(transaction).await?.div_euclid(DAY);
    let mut lifetime = carried(transaction, FORGOTTEN).await?;
    let mut days = Days::new(i64::MIN, i64::MAX);
    let mut callers = HashSet::new();
    let mut next = forgotten;
    loop {
        let mut expected = Expected::default();
        let each = |page: Tally| callers.extend(expected.add(page));
        let Some((day, receipts)) = days.next_page_by_page(transaction, each).await? else { break };
        found.receipts += receipts;
        expected.scopes(|kind, id, sum| match lifetime.get_mut(&(kind.to_owned(), id.to_owned())) {
            Some(known) => known.add(sum),
            None => drop(lifetime.insert((kind.to_owned(), id.to_owned()), sum)),
        });
        if let Some(global) = expected.global() {
            found.total += global.money;
            found.unknown += u64::try_from(global.unknown).unwrap_or(0);
        }
        progress(day * DAY, found.receipts);
        if day < forgotten {
            continue;
        }
        // Days without receipts must have no sums.
        Expected::default().compare(transaction, next, day, &mut found).await?;
        next = day + 1;
        expected.compare(transaction, day, next, &mut found).await?;
    }
    Expected::default().compare(transaction, next, i64::MAX / DAY, &mut found).await?;
    let mut adjusted = Sums::new();
    for (scope, _, sum) in adjustments(transaction, i64::MIN, i64::MAX).await? {
        adjusted.entry(scope).or_default().add(sum);
    }
    for (scope, sum) in &adjusted {
        lifetime.entry(scope.clone()).or_default().add(*sum);
    }
    let kept = carried(transaction, LIFETIME).await?;
    found.scopes = kept.len() as u64;
    compare_sums("lifetime", &lifetime, &kept, &mut found);
    compare_sums("hours", &kept, &all_hours(transaction).await?, &mut found);
    compare_days(transaction, &kept, &adjusted, &mut found).await?;
    compare_callers(transaction, callers, &mut found).await?;
    Ok(found)
}

fn compare_sums(what: &'static str, expected: &Sums, kept: &Sums, found: &mut Verification) {
    let keys: BTreeSet<_> = expected.keys().chain(kept.keys()).collect();
    for key in keys {
        let sum = |sums: &Sums| sums.get(key).copied().unwrap_or_default();
        found.compare(what, &scope(key), None, sum(expected), sum(kept));
    }
}

/// Whoever called must be known; those whose receipts are gone may be known, too.
async fn compare_callers(
    transaction: &Transaction,
    callers: HashSet<CallerOf>,
    found: &mut Verification,
) -> StoreResult<()> {
    let text = Statement::assembled(format!("SELECT {CALLER} FROM spend_callers"));
    let rows = transaction.query(text, vec![]).await?;
    let of = |row: &tollway_store::sql::Row| -> StoreResult<CallerOf> {
        let text = |column| row.text(column).map(str::to_owned);
        Ok([text(0)?, text(1)?, text(2)?, text(3)?, text(4)?])
    };
    let known: BTreeSet<CallerOf> = rows.iter().map(of).collect::<StoreResult<_>>()?;
    for caller in callers {
        let caller = caller.map(|text| clean(&text).into_owned());
        if !known.contains(&caller) {
            let [key, ..] = caller;
            let one = Sum { calls: 1, ..Sum::default() };
            let scope = Scope { kind: ScopeKind::Key, id: key.into() };
            found.compare("caller", &scope, None, one, Sum::default());
        }
    }
    Ok(())
}

/// Every scope's hours, those that were forgotten included.
async fn all_hours(transaction: &Transaction) -> StoreResult<Sums> {
    walk::sums(
        transaction,
        &format!(
            "SELECT scope, id, CAST(sum(nanos) AS BIGINT), CAST(sum(calls) AS BIGINT), CAST(sum(unknown) AS BIGINT) \
             FROM spend WHERE hour >= 0 OR hour = {FORGOTTEN_HOURS} GROUP BY scope, id"
        ),
    )
    .await
}

/// Sums of days by the id of a kind of scope; `None`: days do not tell it. Adjustments are in no day.
pub(super) fn days_by(kind: ScopeKind, condition: &str) -> Option<String> {
    let (of, id) = match kind {
        ScopeKind::Global => ("", "''"),
        ScopeKind::Key => ("", "key_id"),
        ScopeKind::User => ("", "user_id"),
        ScopeKind::Team => ("", "team_id"),
        ScopeKind::TeamMember => {
            ("", "CASE WHEN team_id = '' OR user_id = '' THEN '' ELSE team_id || '/' || user_id END")
        }
        ScopeKind::Organization => ("", "organization_id"),
        ScopeKind::Provider => ("", "provider"),
        ScopeKind::ModelPerKey => ("", "CASE WHEN key_id = '' THEN '' ELSE key_id || ':' || model_group END"),
        ScopeKind::ModelPerTeam => {
            ("", "CASE WHEN team_id = '' THEN '' ELSE team_id || ':' || model_group END")
        }
        ScopeKind::Customer | ScopeKind::Tag => (kind.name(), "of_id"),
        ScopeKind::ModelPerUser => {
            ("", "CASE WHEN user_id = '' THEN '' ELSE user_id || ':' || model_group END")
        }
        ScopeKind::ModelPerMember => (
            "",
            "CASE WHEN team_id = '' OR user_id = '' THEN '' ELSE team_id || '/' || user_id || ':' || model_group END",
        ),
        ScopeKind::ModelPerCustomer => (ScopeKind::Customer.name(), "of_id || ':' || model_group"),
        ScopeKind::ModelPerTag => (ScopeKind::Tag.name(), "of_id || ':' || model_group"),
        ScopeKind::Deployment | ScopeKind::TokensADay | ScopeKind::TagPerKey => return None,
    };
    let known = if kind == ScopeKind::Global { "" } else { " WHERE id <> ''" };
    Some(format!(
        "SELECT id, CAST(sum(nanos) AS BIGINT), CAST(sum(calls) AS BIGINT), CAST(sum(unknown) AS BIGINT) FROM \
         (SELECT {id} AS id, nanos, answered + failed AS calls, unknown FROM spend_days \
         WHERE of_kind = '{of}' AND {condition}) AS days{known} GROUP BY id"
    ))
}

async fn compare_days(
    transaction: &Transaction,
    lifetime: &Sums,
    adjusted: &Sums,
    found: &mut Verification,
) -> StoreResult<()> {
    // Sums of days are all there is of models of users, members, customers and tags: nothing to compare them with.
    let kinds = || ScopeKind::ALL.into_iter().filter(|kind| !is_summed_by_days(*kind));
    let mut days = carried(transaction, FORGOTTEN_DAYS).await?;
    days.retain(|(name, _), _| kinds().any(|kind| kind.name() == name));
    for kind in kinds() {
        let Some(text) = days_by(kind, "day >= $1") else { continue };
        for row in transaction.query(Statement::assembled(text), values![i64::MIN]).await? {
            let key = (kind.name().to_owned(), row.text(0)?.to_owned());
            days.entry(key).or_default().add(columns::sum(&row, 1)?);
        }
    }
    let mut expected = Sums::new();
    for (key, sum) in lifetime.iter().filter(|((kind, _), _)| kind != ScopeKind::Deployment.name()) {
        let corrected = adjusted.get(key).copied().unwrap_or_default();
        expected.insert(key.clone(), sum.without(corrected));
    }
    compare_sums("days", &expected, &days, found);
    Ok(())
}
