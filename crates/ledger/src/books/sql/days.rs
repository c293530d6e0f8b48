//! Reading days.
//!
//! There are rows that tell keys apart and rows that do not. What can be answered by the latter reads a few rows a day,
//! however many keys there are. For the others whoever called is found first, and then their rows of each day.

use std::collections::BTreeMap;

use tollway_store::StoreResult;
use tollway_store::sql::{Dialect, Sql, Statement, Value, clean};

use super::columns::{self, CALLER, DAY_COUNTS, DAY_KEY};
use super::filter::Conditions;
use crate::books::sums::{CUSTOMERS, Day, DayKey, EVERYBODY, TAGS, TEAMS};
use crate::books::{DayFilter, DaysOf, Detail, Within};

pub(super) async fn days(sql: &Sql, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
    if let Some(others) = others(filter) {
        return difference(sql, filter, &others).await;
    }
    some_days(sql, filter).await
}

/// Some teams left out of everybody: the days of these teams.
fn others(filter: &DayFilter) -> Option<DayFilter> {
    let others = DayFilter {
        teams: filter.without_teams.clone(),
        without_teams: Vec::new(),
        skip: 0,
        limit: None,
        ..filter.clone()
    };
    let everybody = DayFilter { without_teams: Vec::new(), ..filter.clone() };
    let source = Source::without_keys(&everybody)?;
    (source.kind == EVERYBODY && !filter.without_teams.is_empty()).then_some(others)
}

async fn difference(
    sql: &Sql,
    filter: &DayFilter,
    others: &DayFilter,
) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
    let everybody = DayFilter { without_teams: Vec::new(), skip: 0, limit: None, ..filter.clone() };
    let mut found: BTreeMap<DayKey<'static>, Day> = some_days(sql, &everybody).await?.into_iter().collect();
    for (key, other) in some_days(sql, others).await? {
        if let Some(day) = found.get_mut(&key) {
            day.subtract(&other);
        }
    }
    found.retain(|_, day| *day != Day::default());
    let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
    Ok(found.into_iter().skip(filter.skip as usize).take(limit).collect())
}

async fn some_days(sql: &Sql, filter: &DayFilter) -> StoreResult<Vec<(DayKey<'static>, Day)>> {
    let source = Source::of(filter);
    let Some(days) = known(sql, filter.days).await? else { return Ok(Vec::new()) };
    if source.ids.as_ref().is_some_and(Vec::is_empty) || filter.within == Some(Within::default()) {
        return Ok(Vec::new());
    }
    let (text, conditions) = statement(sql.dialect(), filter, &source, days);
    let rows = sql.query(Statement::assembled(text).planned_anew(), conditions.values).await?;
    let mut found: Vec<_> = rows.iter().map(columns::day).collect::<StoreResult<_>>()?;
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The days that are asked for, as far as there are any.
async fn known(sql: &Sql, (first, last): (i64, i64)) -> StoreResult<Option<(i64, i64)>> {
    let text = format!(
        "SELECT (SELECT min(day) FROM spend_days WHERE of_kind = '{EVERYBODY}'), \
         (SELECT max(day) FROM spend_days WHERE of_kind = '{EVERYBODY}')"
    );
    let Some(row) = sql.query_one(Statement::assembled(text), Vec::new()).await? else { return Ok(None) };
    let Some((oldest, youngest)) = row.maybe_int(0)?.zip(row.maybe_int(1)?) else { return Ok(None) };
    let days = (first.max(oldest), last.min(youngest));
    Ok((days.0 <= days.1).then_some(days))
}

/// Which rows can tell what is asked for.
pub(super) struct Source {
    /// `spend_days.of_kind`.
    kind: &'static str,
    /// `spend_days.of_id`, one of these; `None`: all.
    ids: Option<Vec<String>>,
    /// Rows of who called, or rows without.
    callers: Callers,
}

#[derive(PartialEq)]
enum Callers {
    /// The rows have none.
    Untold,
    /// The rows have them, and all are wanted.
    All,
    /// The rows have them, and some are wanted.
    Some,
}

impl Source {
    pub(super) fn of(filter: &DayFilter) -> Source {
        let some = |ids: &Vec<String>| (!ids.is_empty()).then(|| ids.clone());
        if let Some(source) = Source::without_keys(filter) {
            return source;
        }
        let named = [&filter.keys, &filter.tokens, &filter.users, &filter.teams, &filter.organizations];
        let all = named.iter().all(|list| list.is_empty())
            && filter.without_teams.is_empty()
            && filter.within.is_none();
        let (kind, _) = filter.of.name_and_ids();
        let ids = match &filter.of {
            DaysOf::All => Some(vec![String::new()]),
            DaysOf::Customers(ids) | DaysOf::Tags(ids) => some(ids),
        };
        Source { kind, ids, callers: if all { Callers::All } else { Callers::Some } }
    }

    fn without_keys(filter: &DayFilter) -> Option<Source> {
        let told = [&filter.keys, &filter.tokens, &filter.users, &filter.organizations]
            .iter()
            .any(|list| !list.is_empty());
        if told || matches!(filter.detail, Detail::All | Detail::Keys) {
            return None;
        }
        let some = |ids: &Vec<String>| (!ids.is_empty()).then(|| ids.clone());
        let by_team = filter.detail == Detail::Teams;
        let untold = |kind, ids| Some(Source { kind, ids, callers: Callers::Untold });
        let everybodys =
            filter.teams.is_empty() && filter.without_teams.is_empty() && filter.within.is_none();
        match (&filter.of, &filter.within) {
            (DaysOf::All, _) if everybodys && !by_team => untold(EVERYBODY, Some(vec![String::new()])),
            (DaysOf::All, None) => untold(TEAMS, some(&filter.teams)),
            // Whoever may see all of these teams need not be asked for its own calls.
            (DaysOf::All, Some(within)) if !filter.teams.is_empty() => {
                let all = filter.teams.iter().all(|team| !team.is_empty() && within.teams.contains(team));
                if all { untold(TEAMS, some(&filter.teams)) } else { None }
            }
            (DaysOf::Customers(ids), None) if everybodys && !by_team => untold(CUSTOMERS, some(ids)),
            (DaysOf::Tags(ids), None) if everybodys && !by_team => untold(TAGS, some(ids)),
            _ => None,
        }
    }
}

pub(super) fn statement(
    dialect: Dialect,
    filter: &DayFilter,
    source: &Source,
    days: (i64, i64),
) -> (String, Conditions) {
    let mut conditions = Conditions::default();
    let mut from = places(&mut conditions, source, days);
    if source.callers == Callers::Some {
        from = format!("{from}{} CROSS JOIN ", callers(&mut conditions, filter));
    }
    let in_order = from.is_empty() && source.callers == Callers::All;
    if from.is_empty() {
        conditions.add("spend_days.of_kind = {}", source.kind);
        conditions.add("spend_days.day >= {}", days.0);
        conditions.add("spend_days.day <= {}", days.1);
        from.push_str("spend_days");
    } else {
        // The kinds are constants.
        let mut found = vec![format!("spend_days.of_kind = '{}'", source.kind)];
        found.extend(["day", "of_id"].map(|column| format!("spend_days.{column} = places.{column}")));
        if source.callers == Callers::Some {
            let same = |column| format!("spend_days.{column} = callers.{column}");
            found.extend(CALLER.split(", ").map(same));
        }
        from.push_str(&looked_up(dialect, &mut conditions, found));
    }
    if source.callers == Callers::Untold {
        conditions.none_of("spend_days.of_id", &filter.without_teams);
    }
    for (column, list) in [
        ("spend_days.model_group", &filter.model_groups),
        ("spend_days.model", &filter.models),
        ("spend_days.provider", &filter.providers),
    ] {
        conditions.any_of(column, list);
    }
    (selection(filter, source, &format!("{from}{}", conditions.text()), in_order), conditions)
}

/// Rows of days, one look into the table for each of what stands before. PostgreSQL would rather read all rows of a day,
/// and is kept from it by the offset.
fn looked_up(dialect: Dialect, conditions: &mut Conditions, found: Vec<String>) -> String {
    match dialect {
        Dialect::Sqlite => {
            found.iter().for_each(|condition| conditions.plain(condition));
            "spend_days".to_owned()
        }
        Dialect::Postgres => {
            let found = found.join(" AND ");
            format!("LATERAL (SELECT * FROM spend_days WHERE {found} OFFSET 0) AS spend_days")
        }
    }
}

/// What is shown, and how rows become one.
fn selection(filter: &DayFilter, source: &Source, from: &str, in_order: bool) -> String {
    let limit = match (filter.limit, filter.skip) {
        (None, 0) => String::new(),
        (limit, skip) => format!(" LIMIT {} OFFSET {skip}", limit.unwrap_or(u32::MAX)),
    };
    let (of, _) = filter.of.name_and_ids();
    // Where all rows of a range are read in the table's order, the first groups are enough.
    let order = |columns: &str| if in_order { format!(" ORDER BY {columns}") } else { String::new() };
    let columns: Vec<&str> = DAY_KEY.split(", ").collect();
    if filter.detail == Detail::All {
        let shown: Vec<String> = columns.iter().map(|column| format!("spend_days.{column}")).collect();
        let shown = shown.join(", ");
        // PostgreSQL would begin at the table's first row, whatever day that is of.
        let order = if limit.is_empty() { String::new() } else { order("day, of_id, key_id, token") };
        return format!("SELECT {shown}, {} FROM {from}{order}{limit}", DAY_COUNTS.join(", "));
    }
    let kept = filter.detail.keeps();
    let (mut shown, mut group) = (Vec::new(), Vec::new());
    for column in columns {
        let name = match column {
            "of_kind" => format!("'{of}'"),
            "team_id" if kept.contains(&column) && source.kind == TEAMS => "spend_days.of_id".to_owned(),
            "of_id" if of.is_empty() => {
                if in_order {
                    // It is empty, too; with it the order is the table's.
                    group.push("spend_days.of_id".to_owned());
                }
                "''".to_owned()
            }
            "day" | "of_id" => format!("spend_days.{column}"),
            column if kept.contains(&column) => format!("spend_days.{column}"),
            _ => "''".to_owned(),
        };
        if !name.starts_with('\'') {
            group.push(name.clone());
        }
        shown.push(name);
    }
    let sums = DAY_COUNTS.map(|column| format!("CAST(sum({column}) AS BIGINT)")).join(", ");
    let (shown, group) = (shown.join(", "), group.join(", "));
    format!("SELECT {shown}, {sums} FROM {from} GROUP BY {group}{}{limit}", order(&group))
}

/// Each day with each id: rows are sorted by the day first. Nothing where a range of days is all that is asked for.
fn places(conditions: &mut Conditions, source: &Source, days: (i64, i64)) -> String {
    let mut next = |value: Value| {
        conditions.values.push(value);
        format!("${}", conditions.values.len())
    };
    let ids = match &source.ids {
        Some(ids) if source.callers == Callers::All && ids.iter().all(String::is_empty) => {
            return String::new();
        }
        Some(ids) if source.callers == Callers::Untold && ids.iter().all(String::is_empty) => {
            return String::new();
        }
        Some(ids) => {
            let each: Vec<String> =
                ids.iter().map(|id| format!("SELECT CAST({} AS TEXT) AS of_id", next(id.into()))).collect();
            each.join(" UNION ")
        }
        None if source.callers == Callers::Some => {
            let kind = if source.kind == "tag" { TAGS } else { CUSTOMERS };
            let (first, last) = (next(days.0.into()), next(days.1.into()));
            return format!(
                "(SELECT DISTINCT day, of_id FROM spend_days \
                 WHERE of_kind = '{kind}' AND day >= {first} AND day <= {last}) AS places CROSS JOIN "
            );
        }
        None => return String::new(),
    };
    let (first, last) = (next(days.0.into()), next(days.1.into()));
    format!(
        "(WITH RECURSIVE counted(day) AS (SELECT CAST({first} AS BIGINT) \
         UNION ALL SELECT day + 1 FROM counted WHERE day < CAST({last} AS BIGINT)), ids AS ({ids}) \
         SELECT day, of_id FROM counted CROSS JOIN ids) AS places CROSS JOIN "
    )
}

/// Keys of whoever called, in their order.
pub(super) async fn keys(
    sql: &Sql,
    filter: &DayFilter,
    after: Option<&str>,
    limit: u32,
) -> StoreResult<Vec<String>> {
    if filter.within == Some(Within::default()) {
        return Ok(Vec::new());
    }
    let (text, conditions) = keys_statement(filter, after, limit);
    let rows = sql.query(Statement::assembled(text).planned_anew(), conditions.values).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

pub(super) fn keys_statement(filter: &DayFilter, after: Option<&str>, limit: u32) -> (String, Conditions) {
    let mut some = asked(Vec::new(), filter);
    if let Some(after) = after {
        some.add("key_id > {}", clean(after).as_ref());
    }
    let text =
        format!("SELECT DISTINCT key_id FROM spend_callers{} ORDER BY key_id LIMIT {limit}", some.text());
    (text, some)
}

/// Those among whoever called that are asked for.
fn callers(conditions: &mut Conditions, filter: &DayFilter) -> String {
    let some = asked(std::mem::take(&mut conditions.values), filter);
    let text = format!("(SELECT {CALLER} FROM spend_callers{}) AS callers", some.text());
    conditions.values = some.values;
    text
}

/// What is asked of whoever called.
fn asked(values: Vec<Value>, filter: &DayFilter) -> Conditions {
    let mut some = Conditions::after(values);
    for (column, list) in [
        ("key_id", &filter.keys),
        ("token", &filter.tokens),
        ("user_id", &filter.users),
        ("team_id", &filter.teams),
        ("organization_id", &filter.organizations),
    ] {
        some.any_of(column, list);
    }
    some.none_of("team_id", &filter.without_teams);
    some.within(filter.within.as_ref());
    some
}
