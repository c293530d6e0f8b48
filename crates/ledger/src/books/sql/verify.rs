//! Proving sums, and making them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollway_meters::{Scope, ScopeKind};
use tollway_store::sql::{Dialect, Sql, Statement, Transaction, clean};
use tollway_store::{StoreResult, values};

use super::columns::{self, CALLER, DAY_COUNTS, DAY_KEY};
use super::insert::{add, add_sums};
use super::walk::{self, DayOf, Days, Sums};
use super::{DAY_ZERO, FORGOTTEN, FORGOTTEN_DAYS, FORGOTTEN_HOURS, HOURS, LIFETIME, has_days, hour_of_day};
use crate::books::sums::{CallerOf, Day, DayKey, Sum, Tally};
use crate::books::{DAY, HOUR, MINUTE, Millis, Progress, Verification, is_summed_by_days};

/// Minutes of a day.
const MINUTES: i64 = DAY / MINUTE;

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

type Adjusted = ((String, String), Millis, Sum);

async fn adjustments(transaction: &Transaction, from: Millis, until: Millis) -> StoreResult<Vec<Adjusted>> {
    let text = "SELECT scope, scope_id, at, nanos FROM spend_adjustments WHERE at >= $1 AND at < $2";
    let rows = transaction.query(text, values![from, until]).await?;
    rows.iter()
        .map(|row| {
            let sum = Sum::of_money(tollway_model::Money::from_nanos(row.int(3)?));
            Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.int(2)?, sum))
        })
        .collect()
}

fn scope((kind, id): &(String, String)) -> Scope {
    Scope { kind: columns::kind_of(kind).unwrap_or(ScopeKind::Global), id: Arc::from(id.as_str()) }
}

async fn compare(transaction: &Transaction, progress: Progress<'_>) -> StoreResult<Verification> {
    let mut found = Verification::default();
    let forgotten = walk::forgotten_within(transaction).await?.div_euclid(DAY);
    let mut lifetime = carried(transaction, FORGOTTEN).await?;
    let mut days = Days::new(i64::MIN, i64::MAX);
    let mut callers = BTreeSet::new();
    let mut next = forgotten;
    while let Some(day) = days.next(transaction).await? {
        found.receipts += day.receipts;
        accumulate(&mut lifetime, &day.tally);
        callers.extend(day.tally.callers.iter().cloned());
        if let Some(global) = day.tally.scopes().get(&(ScopeKind::Global.name(), "")) {
            found.total += global.money;
            found.unknown += u64::try_from(global.unknown).unwrap_or(0);
        }
        progress(day.day * DAY, found.receipts);
        if day.day < forgotten {
            continue;
        }
        // Days without receipts must have no sums.
        stretch(transaction, next, day.day, &DayOf::default(), &mut found).await?;
        next = day.day + 1;
        stretch(transaction, day.day, next, &day, &mut found).await?;
    }
    stretch(transaction, next, i64::MAX / DAY, &DayOf::default(), &mut found).await?;
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

/// Compares the hours and days from `first` on and before `until` with a day's receipts, or with none.
async fn stretch(
    transaction: &Transaction,
    first: i64,
    until: i64,
    day: &DayOf,
    found: &mut Verification,
) -> StoreResult<()> {
    if first >= until {
        return Ok(());
    }
    let mut expected: BTreeMap<(String, String, i64), Sum> = BTreeMap::new();
    for ((kind, id, hour), sum) in &day.tally.hours {
        expected.entry(((*kind).to_owned(), id.clone(), *hour)).or_default().add(*sum);
    }
    for ((kind, id), at, sum) in adjustments(transaction, first * DAY, until.saturating_mul(DAY)).await? {
        expected.entry((kind, id, at.div_euclid(HOUR))).or_default().add(sum);
    }
    // Days are kept under hours that go the other way.
    let mut of_days: BTreeMap<(String, String, i64), Sum> = BTreeMap::new();
    for ((kind, id, hour), sum) in expected.iter().filter(|((kind, ..), _)| has_days(kind)) {
        let day = hour_of_day(hour.div_euclid(HOURS));
        of_days.entry((kind.clone(), id.clone(), day)).or_default().add(*sum);
    }
    expected.extend(of_days);
    let text = "SELECT scope, id, hour, nanos, calls, unknown FROM spend \
                WHERE (hour >= $1 AND hour < $2) OR (hour <= $3 AND hour > $4)";
    let bounds = values![
        first * HOURS,
        until.saturating_mul(HOURS),
        hour_of_day(first),
        DAY_ZERO.saturating_sub(until)
    ];
    let rows = transaction.query(text, bounds).await?;
    for row in &rows {
        let (key, hour) = ((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.int(2)?);
        let wanted = expected.remove(&(key.0.clone(), key.1.clone(), hour)).unwrap_or_default();
        let (what, at) = time_of(hour);
        found.compare(what, &scope(&key), Some(at), wanted, columns::sum(row, 3)?);
    }
    for ((kind, id, hour), sum) in expected {
        let (what, at) = time_of(hour);
        found.compare(what, &scope(&(kind, id)), Some(at), sum, Sum::default());
    }
    stretch_minutes(transaction, first, until, &day.tally, found).await?;
    stretch_days(transaction, first, until, &day.tally.days, found).await
}

/// What stands under a value of `spend.hour`, and when it begins.
fn time_of(hour: i64) -> (&'static str, Millis) {
    if hour < 0 { ("day", (DAY_ZERO - hour) * DAY) } else { ("hour", hour * HOUR) }
}

/// Compares the minutes of the same days.
async fn stretch_minutes(
    transaction: &Transaction,
    first: i64,
    until: i64,
    tally: &Tally,
    found: &mut Verification,
) -> StoreResult<()> {
    let mut expected: BTreeMap<(String, String, i64), [i64; 3]> = BTreeMap::new();
    for ((kind, id, minute), costs) in &tally.minutes {
        // Two names may be the same to the database.
        let id = clean(id).into_owned();
        let one = [costs.calls, costs.least, costs.most];
        let [calls, least, most] = one;
        expected
            .entry(((*kind).to_owned(), id, *minute))
            .and_modify(|all| *all = [all[0] + calls, all[1].min(least), all[2].max(most)])
            .or_insert(one);
    }
    let text = "SELECT of_kind, of_id, minute, calls, least, most FROM receipt_minutes \
                WHERE minute >= $1 AND minute < $2";
    let rows = transaction.query(text, values![first * MINUTES, until.saturating_mul(MINUTES)]).await?;
    let mut kept = BTreeMap::new();
    for row in &rows {
        let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.int(2)?);
        kept.insert(key, [row.int(3)?, row.int(4)?, row.int(5)?]);
    }
    let keys: BTreeSet<_> = expected.keys().chain(kept.keys()).collect();
    for key in keys {
        let of = |sums: &BTreeMap<_, [i64; 3]>| sums.get(key).copied().unwrap_or_default();
        let ([calls, least, most], [there, cheapest, dearest]) = (of(&expected), of(&kept));
        // Costs are bounds, not sums; shown is the money between them.
        let sum = |calls, least: i64, most: i64| Sum {
            money: tollway_model::Money::from_nanos(most.saturating_sub(least)),
            calls,
            unknown: least,
        };
        let scope = Scope {
            kind: columns::kind_of(&key.0).unwrap_or(ScopeKind::Global),
            id: Arc::from(key.1.as_str()),
        };
        let (wanted, there) = (sum(calls, least, most), sum(there, cheapest, dearest));
        found.compare("minute", &scope, Some(key.2.saturating_mul(MINUTE)), wanted, there);
    }
    Ok(())
}

/// Whoever called must be known; those whose receipts are gone may be known, too.
async fn compare_callers(
    transaction: &Transaction,
    callers: BTreeSet<CallerOf>,
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

async fn stretch_days(
    transaction: &Transaction,
    first: i64,
    until: i64,
    expected: &BTreeMap<DayKey<'static>, Day>,
    found: &mut Verification,
) -> StoreResult<()> {
    let text =
        format!("SELECT {DAY_KEY}, {} FROM spend_days WHERE day >= $1 AND day < $2", DAY_COUNTS.join(", "));
    let rows = transaction.query(Statement::assembled(text), values![first, until]).await?;
    let kept: BTreeMap<DayKey<'static>, Day> = rows.iter().map(columns::day).collect::<StoreResult<_>>()?;
    let keys: BTreeSet<_> = expected.keys().chain(kept.keys()).collect();
    for key in keys {
        let (wanted, there) = (expected.get(key).copied(), kept.get(key).copied());
        let (wanted, there) = (wanted.unwrap_or_default(), there.unwrap_or_default());
        if wanted == there {
            continue;
        }
        let (mut expected, mut kept) = (wanted.sum(), there.sum());
        if expected == kept {
            // Tokens or times differ: shown as a difference of calls nobody made.
            expected.calls = 0;
            kept.calls = 1;
        }
        let id = if key.of.is_empty() { &key.key } else { &key.of_id };
        let kind = columns::kind_of(key.of).filter(|_| !key.of.is_empty()).unwrap_or(ScopeKind::Key);
        found.compare(
            "day",
            &Scope { kind, id: Arc::from(id.as_ref()) },
            Some(key.day * DAY),
            expected,
            kept,
        );
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
