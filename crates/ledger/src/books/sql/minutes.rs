//! Receipts by what no index knows: model, provider, deployment, organization, tag, outcome, cost.
//!
//! `receipt_minutes` has the minutes in which there are any, and how many: a list reads these minutes only, however rare
//! what it asks for is, and a count reads no receipts at all.

use std::borrow::Cow;

use tollway_meters::ScopeKind;
use tollway_store::sql::{Dialect, Sql, Statement, clean};
use tollway_store::{StoreResult, values};

use super::columns::{self, LINE};
use super::filter::{self, Conditions};
use super::read;
use crate::books::sums::mark;
use crate::books::{Counted, Filter, MINUTE, Place, Range};
use crate::receipt::Receipt;

/// Minutes that are read at once.
const AT_ONCE: usize = 500;

/// So many minutes are looked at one by one rather than everything that an owner called.
const RARE: usize = 1_000;

/// What minutes are remembered for.
pub(super) struct Mark<'a> {
    kind: &'static str,
    id: Cow<'a, str>,
}

/// What a filter can be looked up by, the rarest first as a rule; `None`: it asks for nothing of the kind.
pub(super) fn mark(filter: &Filter) -> Option<Mark<'_>> {
    let named = [
        (ScopeKind::Tag.name(), &filter.tag),
        (ScopeKind::Deployment.name(), &filter.deployment),
        (mark::MODEL, &filter.model),
        (mark::GROUP, &filter.model_group),
        (ScopeKind::Organization.name(), &filter.organization),
        (ScopeKind::Provider.name(), &filter.provider),
    ];
    if let Some((kind, id)) = named.into_iter().find_map(|(kind, id)| Some((kind, id.as_deref()?))) {
        return Some(Mark { kind, id: id.into() });
    }
    if let Some(status) = filter.status {
        return Some(Mark { kind: mark::STATUS, id: status.to_string().into() });
    }
    match filter.answered {
        Some(answered) => Some(Mark { kind: mark::OUTCOME, id: mark::outcome(answered).into() }),
        None if filter.min.is_some() || filter.max.is_some() => Some(Mark { kind: mark::ALL, id: "".into() }),
        None => None,
    }
}

/// Everything, or what the only condition is: then the minutes alone say how many there are.
pub(super) fn only(filter: &Filter) -> Option<Mark<'_>> {
    let mark = mark(filter).unwrap_or(Mark { kind: mark::ALL, id: "".into() });
    let rest = Filter { range: Range::default(), ..filter.clone() };
    let given = filter::receipts(Dialect::Sqlite, &rest, None).len();
    (given == usize::from(mark.kind != mark::ALL)).then_some(mark)
}

/// Minutes with their receipts, in this order: PostgreSQL would rather read all receipts, and is kept from it by the
/// offset.
fn minute_by_minute(dialect: Dialect, conditions: &mut Conditions) -> String {
    let bounds = format!("at >= minute * {MINUTE} AND at < minute * {MINUTE} + {MINUTE}");
    match dialect {
        Dialect::Sqlite => {
            conditions.plain(&bounds);
            // Where many minutes are asked for, SQLite would make an index of all receipts for the question.
            format!("receipt_minutes CROSS JOIN {}", filter::by_time(dialect))
        }
        Dialect::Postgres => format!(
            "receipt_minutes CROSS JOIN LATERAL (SELECT * FROM receipts WHERE {bounds} OFFSET 0) AS receipts"
        ),
    }
}

/// Only the ends of a range are not whole minutes. The plus keeps the index to the bounds of the minute: it takes one
/// bound on each side.
fn within(conditions: &mut Conditions, range: Range) {
    if let Some(from) = range.from {
        conditions.add("+at >= {}", from);
    }
    if let Some(until) = range.until {
        conditions.add("+at < {}", until);
    }
}

impl Mark<'_> {
    /// Which minutes, those with the right costs only.
    fn conditions(&self, filter: &Filter) -> Conditions {
        let mut found = Conditions::default();
        found.add("of_kind = {}", self.kind);
        found.add("of_id = {}", clean(&self.id).as_ref());
        if let Some(from) = filter.range.from {
            found.add("minute >= {}", from.div_euclid(MINUTE));
        }
        if let Some(until) = filter.range.until {
            found.add("minute <= {}", (until - 1).div_euclid(MINUTE));
        }
        if let Some(min) = filter.min {
            found.add("most >= {}", min.nanos());
        }
        if let Some(max) = filter.max {
            found.add("least <= {}", max.nanos());
        }
        found
    }

    /// Are there few minutes?
    pub(super) async fn is_rare(&self, sql: &Sql, filter: &Filter) -> StoreResult<bool> {
        let conditions = self.conditions(filter);
        let text = format!(
            "SELECT count(*) FROM (SELECT 1 FROM receipt_minutes{} LIMIT {}) AS few",
            conditions.text(),
            RARE + 1
        );
        let row = sql.query_one(Statement::assembled(text).planned_anew(), conditions.values).await?;
        let minutes = row.map_or(Ok(0), |row| row.int(0))?;
        Ok(usize::try_from(minutes).is_ok_and(|minutes| minutes <= RARE))
    }

    /// The receipts of a filter, newest first.
    pub(super) async fn list(
        &self,
        sql: &Sql,
        filter: &Filter,
        after: Option<&Place>,
        limit: u32,
    ) -> StoreResult<Vec<Receipt>> {
        let mut range = filter.range;
        if let Some(place) = after {
            range.until = Some(range.until.map_or(place.at + 1, |until| until.min(place.at + 1)));
        }
        let (mut found, mut wanted) = (Vec::new(), i64::from(limit));
        loop {
            let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
            if left == 0 {
                return Ok(found);
            }
            let within = Filter { range, ..filter.clone() };
            let Some((first, last)) = self.latest(sql, &within, wanted).await? else {
                return Ok(found);
            };
            let stretch = Range {
                from: Some(range.from.map_or(first * MINUTE, |from| from.max(first * MINUTE))),
                until: Some(range.until.map_or((last + 1) * MINUTE, |until| until.min((last + 1) * MINUTE))),
            };
            let stretch = Filter { range: stretch, ..filter.clone() };
            let (text, conditions) = self.joined(sql, &stretch, after, left);
            for row in sql.query(Statement::assembled(text).planned_anew(), conditions.values).await? {
                found.push(columns::whole(&row)?);
            }
            range.until = stretch.range.from;
            // What else is asked for is rare among these.
            wanted = wanted.saturating_mul(4);
        }
    }

    /// The first and the last of the latest minutes that have `wanted` receipts, or as many as are read at once.
    async fn latest(&self, sql: &Sql, filter: &Filter, wanted: i64) -> StoreResult<Option<(i64, i64)>> {
        let conditions = self.conditions(filter);
        let most = usize::try_from(wanted).unwrap_or(usize::MAX).clamp(1, AT_ONCE);
        let text = format!(
            "SELECT minute, calls FROM receipt_minutes{} ORDER BY minute DESC LIMIT {most}",
            conditions.text()
        );
        let (mut stretch, mut calls) = (None, 0);
        for row in sql.query(Statement::assembled(text).planned_anew(), conditions.values).await? {
            let minute = row.int(0)?;
            stretch = Some((minute, stretch.map_or(minute, |(_, last)| last)));
            calls += row.int(1)?;
            if calls >= wanted {
                break;
            }
        }
        Ok(stretch)
    }

    /// Minutes, and their receipts.
    pub(super) fn joined(
        &self,
        sql: &Sql,
        filter: &Filter,
        after: Option<&Place>,
        limit: u32,
    ) -> (String, Conditions) {
        let (from, found) = self.source(sql.dialect(), filter, after);
        let text = format!(
            "SELECT {LINE}, detail FROM {from}{} ORDER BY at DESC, id DESC LIMIT {limit}",
            found.text()
        );
        (text, found)
    }

    /// Minutes with the receipts of a filter in them.
    pub(super) fn source(
        &self,
        dialect: Dialect,
        filter: &Filter,
        after: Option<&Place>,
    ) -> (String, Conditions) {
        let mut found = self.conditions(filter);
        let from = minute_by_minute(dialect, &mut found);
        within(&mut found, filter.range);
        if let Some(place) = after {
            found.add("+at <= {}", place.at);
            let at = found.values.len();
            found.add(&format!("(at < ${at} OR id < {{}})"), place.id.as_str());
        }
        let rest = Filter { range: Range::default(), ..filter.clone() };
        filter::add_receipts(&mut found, dialect, &rest, None);
        (from, found)
    }

    /// Exactly how many there are, where nothing else is asked for.
    pub(super) async fn count(&self, sql: &Sql, filter: &Filter) -> StoreResult<u64> {
        let Range { from, until } = filter.range;
        let first = from.map(|from| -(-from).div_euclid(MINUTE));
        let end = until.map(|until| until.div_euclid(MINUTE));
        if let (Some(first), Some(end)) = (first, end)
            && first > end
        {
            return read::count_rows(sql, filter).await;
        }
        let mut conditions = Conditions::after(values![self.kind, clean(&self.id).as_ref()]);
        conditions.plain("of_kind = $1");
        conditions.plain("of_id = $2");
        if let Some(first) = first {
            conditions.add("minute >= {}", first);
        }
        if let Some(end) = end {
            conditions.add("minute < {}", end);
        }
        let text = format!("SELECT CAST(sum(calls) AS BIGINT) FROM receipt_minutes{}", conditions.text());
        let row = sql.query_one(Statement::assembled(text).planned_anew(), conditions.values).await?;
        let mut calls = row.map_or(Ok(None), |row| row.maybe_int(0))?.map_or(0, i64::unsigned_abs);
        let edges = [
            from.zip(first).map(|(from, first)| (from, first * MINUTE)),
            end.zip(until).map(|(end, until)| (end * MINUTE, until)),
        ];
        for (from, until) in edges.into_iter().flatten().filter(|(from, until)| from < until) {
            let range = Range { from: Some(from), until: Some(until) };
            calls += read::count_rows(sql, &Filter { range, ..filter.clone() }).await?;
        }
        Ok(calls)
    }

    /// How many there are among the first `bound` receipts of these minutes.
    pub(super) async fn look(&self, sql: &Sql, filter: &Filter, bound: u64) -> StoreResult<Counted> {
        let mut conditions = self.conditions(filter);
        let from = minute_by_minute(sql.dialect(), &mut conditions);
        within(&mut conditions, filter.range);
        let owner = Filter { range: Range::default(), ..read::owner(filter) };
        filter::add_receipts(&mut conditions, sql.dialect(), &owner, None);
        read::look(sql, &from, conditions, filter, bound).await
    }
}
