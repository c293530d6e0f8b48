//! Reading receipts and sums.

use std::sync::Arc;

use tollway_meters::{Scope, ScopeKind};
use tollway_store::sql::{Dialect, Sql, Statement, clean};
use tollway_store::{StoreResult, values};

use super::columns::{self, DAY_COUNTS, DAY_KEY, LINE};
use super::filter::{self, Conditions, Source};
use super::{LIFETIME, stretches, walk};
use crate::books::sums::{Day, DayKey, Sum};
use crate::books::{DayFilter, Detail, Filter, HOUR, Millis, Order, Place, Range, SortBy};
use crate::receipt::Receipt;

pub(super) async fn get(sql: &Sql, id: &str) -> StoreResult<Option<Receipt>> {
    for condition in ["id = $1", "call_id = $1"] {
        let text = format!(
            "SELECT {LINE}, detail FROM receipts WHERE {condition} ORDER BY at DESC, id DESC LIMIT 1"
        );
        if let Some(row) = sql.query_one(Statement::assembled(text), values![id]).await? {
            return columns::whole(&row).map(Some);
        }
    }
    Ok(None)
}

pub(super) async fn list(
    sql: &Sql,
    filter: &Filter,
    after: Option<&Place>,
    limit: u32,
) -> StoreResult<Vec<Receipt>> {
    let mut found = Vec::new();
    for range in stretches::of(sql, filter, after).await? {
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
        if left == 0 {
            break;
        }
        let conditions = filter::receipts(sql.dialect(), &Filter { range, ..filter.clone() }, after);
        let text = format!(
            "SELECT {LINE}, detail FROM receipts{} ORDER BY at DESC, id DESC LIMIT {left}",
            conditions.text()
        );
        for row in sql.query(Statement::assembled(text), conditions.values).await? {
            found.push(columns::whole(&row)?);
        }
    }
    Ok(found)
}

pub(super) async fn sorted(
    sql: &Sql,
    filter: &Filter,
    order: Order,
    skip: u32,
    limit: u32,
) -> StoreResult<Vec<Receipt>> {
    let by = match order.by {
        SortBy::Arrived => "at",
        SortBy::Ended => "at + total_us / 1000",
        SortBy::Cost => "coalesce(nanos, 0)",
        SortBy::Tokens => "input + output",
        SortBy::Duration => "total_us",
        SortBy::FirstByte => "coalesce(first_byte_us, 0)",
        SortBy::Model => "coalesce(model, model_group)",
    };
    let direction = if order.descending { "DESC" } else { "ASC" };
    let conditions = filter::receipts(sql.dialect(), filter, None);
    let text = format!(
        "SELECT {LINE}, detail FROM receipts{} ORDER BY {by} {direction}, at DESC, id DESC LIMIT {limit} OFFSET {skip}",
        conditions.text()
    );
    let rows = sql.query(Statement::assembled(text), conditions.values).await?;
    rows.iter().map(columns::whole).collect()
}

pub(super) async fn count(sql: &Sql, filter: &Filter, bound: u64) -> StoreResult<u64> {
    let mut found = 0;
    for range in stretches::of(sql, filter, None).await? {
        let left = bound.min(i64::MAX as u64).saturating_sub(found);
        if left == 0 {
            break;
        }
        let conditions = filter::receipts(sql.dialect(), &Filter { range, ..filter.clone() }, None);
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM receipts{} LIMIT {left}) AS found",
            conditions.text()
        );
        let row = sql.query_one(Statement::assembled(text), conditions.values).await?;
        found += u64::try_from(row.map_or(Ok(0), |row| row.int(0))?).unwrap_or(0);
    }
    Ok(found)
}

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
        sql.query(Statement::assembled(text), conditions.values).await?
    };
    rows.iter().map(|row| Ok((Arc::from(row.text(0)?), columns::sum(row, 1)?))).collect()
}

/// A range as whole hours, which have sums, and what is left over at its ends, which is added up from receipts.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// First hour, and the one after the last.
    hours: (i64, i64),
    /// Stretches of less than an hour, in milliseconds.
    rest: Vec<(Millis, Millis)>,
}

impl Parts {
    fn of(range: Range, forgotten_before: Millis) -> Parts {
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
    fn statement(&self, dialect: Dialect, kind: ScopeKind, id: Option<String>) -> (String, Conditions) {
        let name = kind.name();
        let Source { from, id: expression, nanos, calls, unknown } = filter::source_of(dialect, kind);
        let mut values = values![self.hours.0, self.hours.1, name];
        let of_id = if let Some(id) = &id {
            values.extend(values![id.as_str()]);
            " AND spend.id = $4"
        } else {
            ""
        };
        // Hour by hour, because sums are sorted by it.
        let mut text = format!(
            "SELECT spend.id AS id, spend.nanos AS nanos, spend.calls AS calls, spend.unknown AS unknown FROM \
             (WITH RECURSIVE counted(hour) AS (SELECT CAST($1 AS BIGINT) WHERE CAST($1 AS BIGINT) < CAST($2 AS BIGINT) \
             UNION ALL SELECT hour + 1 FROM counted WHERE hour + 1 < CAST($2 AS BIGINT)) SELECT hour FROM counted) AS hours \
             CROSS JOIN spend WHERE spend.hour = hours.hour AND spend.scope = $3{of_id}"
        );
        let mut all = Conditions::after(values);
        let mut conditions = |texts: Vec<(&str, tollway_store::sql::Value)>| {
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
            text.push_str(&format!(
                " UNION ALL SELECT {expression}, {nanos}, {calls}, {unknown} FROM {from}{receipts} AND {expression} IS NOT NULL \
                 UNION ALL SELECT scope_id, nanos, 0, 0 FROM spend_adjustments{adjustments}"
            ));
        }
        (text, all)
    }
}

pub(super) async fn days(sql: &Sql, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
    let conditions = filter::days(filter);
    let (condition, counts) = (conditions.text(), DAY_COUNTS.join(", "));
    let limit = filter.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    let text = if filter.detail == Detail::All {
        format!("SELECT {DAY_KEY}, {counts} FROM spend_days{condition} ORDER BY {DAY_KEY}{limit}")
    } else {
        let kept = filter.detail.keeps();
        let is_kept = |column: &str| matches!(column, "of_kind" | "day" | "of_id") || kept.contains(&column);
        let columns: Vec<&str> = DAY_KEY.split(", ").collect();
        let shown: Vec<&str> =
            columns.iter().map(|column| if is_kept(column) { *column } else { "''" }).collect();
        let group: Vec<&str> = columns.into_iter().filter(|column| is_kept(column)).collect();
        let sums = DAY_COUNTS.map(|column| format!("CAST(sum({column}) AS BIGINT)")).join(", ");
        let (shown, group) = (shown.join(", "), group.join(", "));
        format!("SELECT {shown}, {sums} FROM spend_days{condition} GROUP BY {group} ORDER BY {group}{limit}")
    };
    let rows = sql.query(Statement::assembled(text), conditions.values).await?;
    rows.iter().map(columns::day).collect()
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
}
