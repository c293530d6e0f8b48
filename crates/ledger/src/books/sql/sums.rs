//! Sums of scopes: since ever, and over a range.

use std::collections::HashMap;
use std::sync::Arc;

use tollway_meters::{Scope, ScopeKind};
use tollway_store::sql::{Dialect, Sql, Statement, Value, clean, placeholders};
use tollway_store::{StoreResult, values};

use super::filter::{self, Conditions, Source};
use super::{DAY_ZERO, FORGOTTEN_DAYS, HOURS, LIFETIME, columns, has_days, hour_of_day, walk};
use crate::books::sums::Sum;
use crate::books::{DAY, HOUR, Millis, Range};

pub(super) async fn spent(sql: &Sql, scope: &Scope, from: Option<Millis>) -> StoreResult<Sum> {
    let (kind, id) = (scope.kind.name(), clean(&scope.id).into_owned());
    let row = match from {
        None => {
            let text = "SELECT nanos, calls, unknown FROM spend WHERE scope = $1 AND id = $2 AND hour = $3";
            sql.query_one(text, values![kind, id, LIFETIME]).await?
        }
        Some(from) => {
            let range = Range { from: Some(from), until: None };
            let parts = Parts::of(range, walk::forgotten_before(sql).await?).known(sql).await?;
            let (text, conditions) = parts.statement(sql.dialect(), scope.kind, Some(id));
            let text = format!("SELECT {SUMS} FROM ({text}) AS parts");
            sql.query_one(Statement::assembled(text), conditions.values).await?
        }
    };
    row.map_or(Ok(Sum::default()), |row| columns::sum(&row, 0))
}

/// What days that are forgotten added up to.
pub(super) async fn forgotten_days(sql: &Sql, scope: &Scope) -> StoreResult<Sum> {
    let text = "SELECT nanos, calls, unknown FROM spend WHERE scope = $1 AND id = $2 AND hour = $3";
    let row = sql.query_one(text, values![scope.kind.name(), clean(&scope.id).into_owned(), FORGOTTEN_DAYS]);
    row.await?.map_or(Ok(Sum::default()), |row| columns::sum(&row, 0))
}

/// Ids that one statement takes.
const IDS: usize = 500;

pub(super) async fn lifetimes(sql: &Sql, kind: ScopeKind, ids: &[&str]) -> StoreResult<HashMap<String, Sum>> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(IDS) {
        let marks = placeholders(2, ids.len());
        let text = format!(
            "SELECT id, nanos, calls, unknown FROM spend WHERE hour = {LIFETIME} AND scope = $1 AND id IN ({marks})"
        );
        let mut parameters = values![kind.name()];
        parameters.extend(ids.iter().map(|id| Value::from(clean(id).as_ref())));
        for row in sql.query(Statement::assembled(text), parameters).await? {
            found.insert(row.text(0)?.to_owned(), columns::sum(&row, 1)?);
        }
    }
    Ok(found)
}

const SUMS: &str = "CAST(sum(nanos) AS BIGINT), CAST(sum(calls) AS BIGINT), CAST(sum(unknown) AS BIGINT)";

pub(super) async fn sums(
    sql: &Sql,
    kind: ScopeKind,
    range: Range,
    limit: u32,
) -> StoreResult<Vec<(Arc<str>, Sum)>> {
    let rows = if range == Range::default() {
        let text = format!(
            "SELECT id, nanos, calls, unknown FROM spend WHERE hour = {LIFETIME} AND scope = $1 \
             ORDER BY nanos DESC, id LIMIT {limit}"
        );
        sql.query(Statement::assembled(text), values![kind.name()]).await?
    } else {
        let parts = Parts::of(range, walk::forgotten_before(sql).await?).known(sql).await?;
        let (text, conditions) = parts.statement(sql.dialect(), kind, None);
        let text =
            format!("SELECT id, {SUMS} FROM ({text}) AS parts GROUP BY id ORDER BY 2 DESC, id LIMIT {limit}");
        sql.query(Statement::assembled(text).planned_anew(), conditions.values).await?
    };
    rows.iter().map(|row| Ok((Arc::from(row.text(0)?), columns::sum(row, 1)?))).collect()
}

/// What calls of a day spent, in the order of the table.
pub(super) async fn of_day(
    sql: &Sql,
    kind: ScopeKind,
    day: i64,
    after: Option<&str>,
    limit: u32,
) -> StoreResult<Vec<(Arc<str>, Sum)>> {
    let (text, conditions) = of_day_statement(kind, day, after, limit);
    let rows = sql.query(Statement::assembled(text), conditions.values).await?;
    rows.iter().map(|row| Ok((Arc::from(row.text(0)?), columns::sum(row, 1)?))).collect()
}

pub(super) fn of_day_statement(
    kind: ScopeKind,
    day: i64,
    after: Option<&str>,
    limit: u32,
) -> (String, Conditions) {
    let (first, until) = (day.saturating_mul(HOURS), day.saturating_add(1).saturating_mul(HOURS));
    let mut found = Conditions::after(values![
        kind.name(),
        day.saturating_mul(DAY),
        day.saturating_add(1).saturating_mul(DAY)
    ]);
    found.plain("spend.scope = $1");
    let day_has_a_row = has_days(kind.name());
    if day_has_a_row {
        found.add("spend.hour = {}", hour_of_day(day));
    } else {
        found.add("spend.hour >= {}", first);
        found.add("spend.hour < {}", until);
    }
    if let Some(after) = after {
        found.add("spend.id > {}", clean(after).as_ref());
    }
    // A reset is in the sum, and no call made it. Whoever was only reset is left out.
    let adjusted = "COALESCE((SELECT CAST(sum(one.nanos) AS BIGINT) FROM spend_adjustments AS one \
                    WHERE one.scope = $1 AND one.scope_id = spend.id AND one.at >= $2 AND one.at < $3), 0)";
    let (nanos, calls, unknown, group) = if day_has_a_row {
        ("spend.nanos", "spend.calls", "spend.unknown", "")
    } else {
        let [nanos, calls, unknown] = [
            "CAST(sum(spend.nanos) AS BIGINT)",
            "CAST(sum(spend.calls) AS BIGINT)",
            "CAST(sum(spend.unknown) AS BIGINT)",
        ];
        (nanos, calls, unknown, " GROUP BY spend.id")
    };
    let text = format!(
        "SELECT id, nanos, calls, unknown FROM (SELECT spend.id AS id, {nanos} - {adjusted} AS nanos, \
         {calls} AS calls, {unknown} AS unknown FROM spend{}{group}) AS sums \
         WHERE calls <> 0 OR nanos <> 0 OR unknown <> 0 ORDER BY id LIMIT {limit}",
        found.text()
    );
    (text, found)
}

/// A range as whole hours, which have sums, and what is left over at its ends, which is added up from receipts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// First hour, and the one after the last.
    hours: (i64, i64),
    /// Stretches of less than an hour, in milliseconds.
    rest: Vec<(Millis, Millis)>,
}

impl Parts {
    pub(super) fn of(range: Range, forgotten_before: Millis) -> Parts {
        let up = |at: Millis| at.div_euclid(HOUR) + i64::from(at.rem_euclid(HOUR) > 0);
        let (from, until) = (range.from.unwrap_or(0).max(0), range.until.unwrap_or(i64::MAX));
        if until <= from {
            return Parts { hours: (0, 0), rest: Vec::new() };
        }
        // Where receipts are gone the whole hour counts.
        let first = if from < forgotten_before { from.div_euclid(HOUR) } else { up(from) };
        let last = if until <= forgotten_before { up(until) } else { until.div_euclid(HOUR) };
        if first > last {
            return Parts { hours: (0, 0), rest: vec![(from, until)] };
        }
        let begin = (from, first.saturating_mul(HOUR));
        let end = (last.saturating_mul(HOUR), until);
        let rest = [begin, end].into_iter().filter(|(from, until)| from < until);
        let rest = if range.until.is_none() {
            rest.take(usize::from(begin.0 < begin.1)).collect()
        } else {
            rest.collect()
        };
        Parts { hours: (first, last), rest }
    }

    /// Leaves out hours that have no sums at all.
    async fn known(mut self, sql: &Sql) -> StoreResult<Parts> {
        let Some((first, last)) = walk::hours(sql).await? else {
            self.hours = (0, 0);
            return Ok(self);
        };
        self.hours = (self.hours.0.max(first), self.hours.1.min(last + 1));
        Ok(self)
    }

    /// A statement whose rows are `id, nanos, calls, unknown` and add up to the range, for one id or all.
    pub(super) fn statement(
        &self,
        dialect: Dialect,
        kind: ScopeKind,
        id: Option<String>,
    ) -> (String, Conditions) {
        let name = kind.name();
        let Source { from, id: expression, nanos, calls, unknown } = filter::source_of(dialect, kind);
        let indexed =
            matches!(kind, ScopeKind::Key | ScopeKind::User | ScopeKind::Team | ScopeKind::Customer);
        let from = if indexed && id.is_some() {
            from.to_owned()
        } else {
            from.replacen("receipts", filter::by_time(dialect), 1)
        };
        let mut all = Conditions::after(values![name]);
        let mut texts: Vec<String> = self
            .stretches(kind)
            .into_iter()
            .map(|stretch| counted(&mut all, stretch, id.as_deref()))
            .collect();
        let mut conditions = |texts: Vec<(&str, Value)>| {
            let mut one = Conditions::after(std::mem::take(&mut all.values));
            for (text, value) in texts {
                one.add(text, value);
            }
            let text = one.text();
            all.values = one.values;
            text
        };
        let of_id = |column: &'static str| id.clone().map(|id| (column, id.into()));
        for (begin, end) in &self.rest {
            let is_id = format!("{expression} = {{}}");
            let mut receipts = vec![("at >= {}", (*begin).into()), ("at < {}", (*end).into())];
            receipts.extend(id.clone().map(|id| (is_id.as_str(), id.into())));
            let receipts = conditions(receipts);
            let mut adjustments =
                vec![("scope = {}", name.into()), ("at >= {}", (*begin).into()), ("at < {}", (*end).into())];
            adjustments.extend(of_id("scope_id = {}"));
            let adjustments = conditions(adjustments);
            texts.push(format!(
                "SELECT {expression} AS id, {nanos} AS nanos, {calls} AS calls, {unknown} AS unknown \
                 FROM {from}{receipts} AND {expression} IS NOT NULL"
            ));
            texts.push(format!("SELECT scope_id, nanos, 0, 0 FROM spend_adjustments{adjustments}"));
        }
        (texts.join(" UNION ALL "), all)
    }

    /// The values of `spend.hour` that add up to the whole hours: the first, how many, and the step to the next one.
    fn stretches(&self, kind: ScopeKind) -> Vec<(i64, i64, i64)> {
        let (first, end) = self.hours;
        let days = (-(-first).div_euclid(HOURS), end.div_euclid(HOURS));
        if !has_days(kind.name()) || days.0 >= days.1 {
            return vec![(first, (end - first).max(0), 1)];
        }
        let (begin, last) = (days.0 * HOURS, days.1 * HOURS);
        vec![(DAY_ZERO - days.0, days.1 - days.0, -1), (first, begin - first, 1), (last, end - last, 1)]
    }
}

/// Sums of the scope `$1`, hour by hour, because they are sorted by it.
fn counted(conditions: &mut Conditions, (first, count, step): (i64, i64, i64), id: Option<&str>) -> String {
    let mut next = |value: Value| {
        conditions.values.push(value);
        format!("${}", conditions.values.len())
    };
    let (first, count) = (next(first.into()), next(count.into()));
    let of_id = id.map_or_else(String::new, |id| format!(" AND spend.id = {}", next(id.into())));
    format!(
        "SELECT spend.id AS id, spend.nanos AS nanos, spend.calls AS calls, spend.unknown AS unknown FROM \
         (WITH RECURSIVE counted(n, hour) AS (SELECT CAST(1 AS BIGINT), CAST({first} AS BIGINT) \
         WHERE CAST({count} AS BIGINT) > 0 UNION ALL SELECT n + 1, hour + ({step}) FROM counted \
         WHERE n < CAST({count} AS BIGINT)) SELECT hour FROM counted) AS hours \
         CROSS JOIN spend WHERE spend.hour = hours.hour AND spend.scope = $1{of_id}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_whole_hours_and_what_is_left_over() {
        fn check(
            from: Option<i64>,
            until: Option<i64>,
            forgotten: i64,
            hours: (i64, i64),
            rest: &[(i64, i64)],
        ) {
            assert_eq!(Parts::of(Range { from, until }, forgotten), Parts { hours, rest: rest.to_vec() });
        }
        let end = i64::MAX.div_euclid(HOUR);
        check(Some(HOUR), None, 0, (1, end), &[]);
        check(Some(HOUR + 5), None, 0, (2, end), &[(HOUR + 5, 2 * HOUR)]);
        check(Some(HOUR + 5), None, 2 * HOUR, (1, end), &[]);
        check(Some(5), Some(7), 0, (0, 0), &[(5, 7)]);
        check(Some(5), Some(3 * HOUR + 7), 0, (1, 3), &[(5, HOUR), (3 * HOUR, 3 * HOUR + 7)]);
        check(Some(5), Some(HOUR), 0, (1, 1), &[(5, HOUR)]);
        check(Some(7), Some(5), 0, (0, 0), &[]);
        check(None, Some(HOUR), 0, (0, 1), &[]);
    }

    #[test]
    fn whole_days_are_read_as_days() {
        fn check(hours: (i64, i64), kind: ScopeKind, expected: &[(i64, i64, i64)]) {
            let parts = Parts { hours, rest: Vec::new() };
            assert_eq!(parts.stretches(kind), expected);
        }
        check((5, 30), ScopeKind::Key, &[(5, 25, 1)]);
        check((0, 48), ScopeKind::Key, &[(DAY_ZERO, 2, -1), (0, 0, 1), (48, 0, 1)]);
        check((0, 48), ScopeKind::Provider, &[(0, 48, 1)]);
        check((23, 97), ScopeKind::Tag, &[(DAY_ZERO - 1, 3, -1), (23, 1, 1), (96, 1, 1)]);
        check((9, 3), ScopeKind::Key, &[(9, 0, 1)]);
    }
}
