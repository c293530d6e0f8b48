//! What a day's receipts say its sums must be, and whether they are.
//!
//! Only what is expected is in memory, each name once: what is kept is read a few thousand rows at a time and crosses out
//! what agrees with it.

use foldhash::{HashMap, HashMapExt as _};
use tollway_meters::{Scope, ScopeKind};
use tollway_model::Money;
use tollway_store::sql::{Row, Statement, Transaction, Value, clean, placeholders};
use tollway_store::{StoreResult, values};

use super::columns::{self, DAY_COUNTS, DAY_KEY};
use super::verify::{adjustments, scope};
use super::{DAY_ZERO, HOURS, has_days, hour_of_day};
use crate::books::sums::{CallerOf, Day, DayKey, Minute, Sum, Tally};
use crate::books::{DAY, HOUR, MINUTE, Millis, Verification};

/// Minutes of a day.
pub(super) const MINUTES: i64 = DAY / MINUTE;

/// Rows of a day that are read at once.
const PAGE: usize = 10_000;

/// What makes rows of a day differ beside its kind, in the order of the table.
const WITHIN_KIND: &str = "of_id, key_id, token, user_id, team_id, organization_id, model, model_group, provider, surface, operation";

type Costs = [i64; 3];

/// What the receipts of a day add up to; empty: there are none.
#[derive(Debug, Default)]
pub(super) struct Expected {
    hours: HashMap<(String, String, i64), Sum>,
    minutes: HashMap<(String, String, i64), Costs>,
    /// By [`packed`] key.
    days: HashMap<Box<str>, Day>,
}

impl Expected {
    /// Adds what some receipts add up to. Returns who called.
    pub(super) fn add(&mut self, tally: Tally) -> impl Iterator<Item = CallerOf> + use<> {
        for ((kind, id, hour), sum) in tally.hours {
            self.hours.entry((kind.to_owned(), id, hour)).or_default().add(sum);
        }
        for ((kind, id, minute), Minute { calls, least, most }) in tally.minutes {
            // Two names may be the same to the database.
            let id = clean(&id).into_owned();
            self.minutes
                .entry((kind.to_owned(), id, minute))
                .and_modify(|all| *all = [all[0] + calls, all[1].min(least), all[2].max(most)])
                .or_insert([calls, least, most]);
        }
        let mut text = String::new();
        for (key, day) in tally.days {
            packed(&key, &mut text);
            match self.days.get_mut(text.as_str()) {
                Some(known) => known.add(&day),
                None => drop(self.days.insert(text.as_str().into(), day)),
            }
        }
        tally.callers.into_iter()
    }

    /// Sums over everything.
    pub(super) fn global(&self) -> Option<Sum> {
        let mut found = None;
        for ((kind, ..), sum) in &self.hours {
            if kind == ScopeKind::Global.name() {
                found.get_or_insert(Sum::default()).add(*sum);
            }
        }
        found
    }

    /// Sums by scope.
    pub(super) fn scopes(&self, mut each: impl FnMut(&str, &str, Sum)) {
        let mut scopes: HashMap<(&str, &str), Sum> = HashMap::new();
        for ((kind, id, _), sum) in &self.hours {
            scopes.entry((kind, id)).or_default().add(*sum);
        }
        scopes.into_iter().for_each(|((kind, id), sum)| each(kind, id, sum));
    }

    /// Compares everything that is kept of the days from `first` on and before `until` with what is expected of them.
    pub(super) async fn compare(
        mut self,
        transaction: &Transaction,
        first: i64,
        until: i64,
        found: &mut Verification,
    ) -> StoreResult<()> {
        if first >= until {
            return Ok(());
        }
        self.adjust(transaction, first, until).await?;
        self.compare_hours(transaction, first, until, found).await?;
        self.compare_minutes(transaction, first, until, found).await?;
        self.compare_days(transaction, first, until, found).await
    }

    /// Adds adjustments, and sums by the day.
    async fn adjust(&mut self, transaction: &Transaction, first: i64, until: i64) -> StoreResult<()> {
        for ((kind, id), at, sum) in adjustments(transaction, first * DAY, until.saturating_mul(DAY)).await? {
            self.hours.entry((kind, id, at.div_euclid(HOUR))).or_default().add(sum);
        }
        // Days are kept under hours that go the other way.
        let mut of_days: HashMap<(String, String, i64), Sum> = HashMap::new();
        for ((kind, id, hour), sum) in self.hours.iter().filter(|((kind, ..), _)| has_days(kind)) {
            let day = hour_of_day(hour.div_euclid(HOURS));
            of_days.entry((kind.clone(), id.clone(), day)).or_default().add(*sum);
        }
        self.hours.extend(of_days);
        Ok(())
    }

    async fn compare_hours(
        &mut self,
        transaction: &Transaction,
        first: i64,
        until: i64,
        found: &mut Verification,
    ) -> StoreResult<()> {
        let text = "SELECT scope, id, hour, nanos, calls, unknown FROM spend WHERE hour >= $1 AND hour < $2";
        let mut stretches =
            vec![(DAY_ZERO.saturating_sub(until).saturating_add(1), hour_of_day(first).saturating_add(1))];
        match until - first {
            // An hour at a time.
            1 => stretches.extend((first * HOURS..until * HOURS).map(|hour| (hour, hour + 1))),
            _ => stretches.push((first * HOURS, until.saturating_mul(HOURS))),
        }
        for (from, before) in stretches {
            for row in transaction.query(text, values![from, before]).await? {
                let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.int(2)?);
                let wanted = self.hours.remove(&key).unwrap_or_default();
                let (what, at) = time_of(key.2);
                found.compare(what, &scope(&(key.0, key.1)), Some(at), wanted, columns::sum(&row, 3)?);
            }
        }
        for ((kind, id, hour), sum) in std::mem::take(&mut self.hours) {
            let (what, at) = time_of(hour);
            found.compare(what, &scope(&(kind, id)), Some(at), sum, Sum::default());
        }
        Ok(())
    }

    async fn compare_minutes(
        &mut self,
        transaction: &Transaction,
        first: i64,
        until: i64,
        found: &mut Verification,
    ) -> StoreResult<()> {
        let text = "SELECT of_kind, of_id, minute, calls, least, most FROM receipt_minutes \
                    WHERE minute >= $1 AND minute < $2";
        let rows = transaction.query(text, values![first * MINUTES, until.saturating_mul(MINUTES)]).await?;
        // Costs are bounds, not sums; shown is the money between them.
        let sum = |[calls, least, most]: Costs| Sum {
            money: Money::from_nanos(most.saturating_sub(least)),
            calls,
            unknown: least,
        };
        let mut compare = |(kind, id, minute): (String, String, i64), wanted: Costs, there: Costs| {
            let scope = scope(&(kind, id));
            found.compare("minute", &scope, Some(minute.saturating_mul(MINUTE)), sum(wanted), sum(there));
        };
        for row in rows {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.int(2)?);
            let wanted = self.minutes.remove(&key).unwrap_or_default();
            compare(key, wanted, [row.int(3)?, row.int(4)?, row.int(5)?]);
        }
        std::mem::take(&mut self.minutes).into_iter().for_each(|(key, wanted)| compare(key, wanted, [0; 3]));
        Ok(())
    }

    async fn compare_days(
        &mut self,
        transaction: &Transaction,
        first: i64,
        until: i64,
        found: &mut Verification,
    ) -> StoreResult<()> {
        let columns = format!("{DAY_KEY}, {}", DAY_COUNTS.join(", "));
        if until - first > 1 {
            let text = format!("SELECT {columns} FROM spend_days WHERE day >= $1 AND day < $2");
            let rows = transaction.query(Statement::assembled(text), values![first, until]).await?;
            for row in &rows {
                let (key, day) = columns::day(row)?;
                differ(&key, Day::default(), day, found);
            }
            return Ok(());
        }
        let mut text = String::new();
        for kind in kinds(transaction).await? {
            let mut after: Option<Vec<Value>> = None;
            loop {
                let rows = page(transaction, &columns, &kind, first, after.as_deref()).await?;
                for row in &rows {
                    let (key, day) = columns::day(row)?;
                    packed(&key, &mut text);
                    differ(&key, self.days.remove(text.as_str()).unwrap_or_default(), day, found);
                }
                match rows.last().filter(|_| rows.len() == PAGE) {
                    Some(last) => {
                        after = Some((2..13).map(|at| Ok(last.text(at)?.into())).collect::<StoreResult<_>>()?)
                    }
                    None => break,
                }
            }
        }
        for (text, day) in std::mem::take(&mut self.days) {
            differ(&unpacked(&text, first), day, Day::default(), found);
        }
        Ok(())
    }
}

/// Some rows of a kind and day behind a place, in the order of the table.
async fn page(
    transaction: &Transaction,
    columns: &str,
    kind: &str,
    day: i64,
    after: Option<&[Value]>,
) -> StoreResult<Vec<Row>> {
    let mut parameters = values![kind, day];
    let behind = after.map_or_else(String::new, |after| {
        parameters.extend(after.iter().cloned());
        format!(" AND ({WITHIN_KIND}) > ({})", placeholders(3, after.len()))
    });
    let text = format!(
        "SELECT {columns} FROM spend_days WHERE of_kind = $1 AND day = $2{behind} ORDER BY {WITHIN_KIND} LIMIT {PAGE}"
    );
    transaction.query(Statement::assembled(text).planned_anew(), parameters).await
}

/// Every kind of rows that there is, also those that nobody writes.
async fn kinds(transaction: &Transaction) -> StoreResult<Vec<String>> {
    let text = "WITH RECURSIVE kinds(kind) AS (SELECT min(of_kind) FROM spend_days UNION ALL \
                SELECT (SELECT min(of_kind) FROM spend_days WHERE of_kind > kinds.kind) FROM kinds \
                WHERE kinds.kind IS NOT NULL) SELECT kind FROM kinds WHERE kind IS NOT NULL";
    let rows = transaction.query(text, vec![]).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// What stands under a value of `spend.hour`, and when it begins.
fn time_of(hour: i64) -> (&'static str, Millis) {
    if hour < 0 { ("day", (DAY_ZERO - hour) * DAY) } else { ("hour", hour * HOUR) }
}

/// The key of a row as one text, without its day. No text of the database has the character between.
fn packed(key: &DayKey<'_>, text: &mut String) {
    text.clear();
    text.push_str(key.of);
    for part in [
        &key.of_id,
        &key.key,
        &key.token,
        &key.user,
        &key.team,
        &key.organization,
        &key.model,
        &key.model_group,
        &key.provider,
        &key.surface,
        &key.operation,
    ] {
        text.push('\0');
        text.push_str(part);
    }
}

/// What a difference says of a packed key: whose it is.
fn unpacked(text: &str, day: i64) -> DayKey<'_> {
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let of = columns::kind_of(next()).map_or("", ScopeKind::name);
    DayKey { day, of, of_id: next().into(), key: next().into(), ..DayKey::default() }
}

/// Notes a difference between rows of a day, if there is one.
fn differ(key: &DayKey<'_>, wanted: Day, there: Day, found: &mut Verification) {
    if wanted == there {
        return;
    }
    let (mut expected, mut kept) = (wanted.sum(), there.sum());
    if expected == kept {
        // Tokens or times differ: shown as a difference of calls nobody made.
        expected.calls = 0;
        kept.calls = 1;
    }
    let id = if key.of.is_empty() { &key.key } else { &key.of_id };
    let kind = columns::kind_of(key.of).filter(|_| !key.of.is_empty()).unwrap_or(ScopeKind::Key);
    let scope = Scope { kind, id: id.as_ref().into() };
    found.compare("day", &scope, Some(key.day * DAY), expected, kept);
}
