//! Reading receipts.

use std::collections::BTreeMap;

use tollway_store::sql::{Sql, Statement, clean};
use tollway_store::{StoreResult, values};

use super::columns::{self, LINE};
use super::filter::{self, Conditions};
use super::minutes;
use crate::books::{Counted, Filter, Order, Place, Range, SortBy};
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
    if limit == 0 {
        return Ok(Vec::new());
    }
    match owners(sql, filter).await? {
        None => match minutes::mark(filter) {
            Some(mark) if !has_owner(filter) || mark.is_rare(sql, filter).await? => {
                mark.list(sql, filter, after, limit).await
            }
            _ => rows(sql, filter, after, limit).await,
        },
        Some(owners) => merged(sql, owners, after, limit).await,
    }
}

/// Rows in the order of an index.
async fn rows(sql: &Sql, filter: &Filter, after: Option<&Place>, limit: u32) -> StoreResult<Vec<Receipt>> {
    let (text, conditions) = rows_statement(sql, filter, after, limit);
    let rows = sql.query(Statement::assembled(text).planned_anew(), conditions.values).await?;
    rows.iter().map(columns::whole).collect()
}

pub(super) fn rows_statement(
    sql: &Sql,
    filter: &Filter,
    after: Option<&Place>,
    limit: u32,
) -> (String, Conditions) {
    let conditions = filter::receipts(sql.dialect(), filter, after);
    let from = from(sql, filter);
    let text = format!(
        "SELECT {LINE}, detail FROM {from}{} ORDER BY at DESC, id DESC LIMIT {limit}",
        conditions.text()
    );
    (text, conditions)
}

/// Receipts in another order than time's.
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
    let owned =
        has_owner(filter) || filter.token.is_some() || filter.within.is_some() || !filter.teams.is_empty();
    let (from, conditions) = match minutes::mark(filter).filter(|_| !owned) {
        Some(mark) => mark.source(sql.dialect(), filter, None),
        None => (
            if owned { "receipts" } else { filter::by_time(sql.dialect()) }.to_owned(),
            filter::receipts(sql.dialect(), filter, None),
        ),
    };
    let text = format!(
        "SELECT {LINE}, detail FROM {from}{} ORDER BY {by} {direction}, at DESC, id DESC LIMIT {limit} OFFSET {skip}",
        conditions.text()
    );
    let rows = sql.query(Statement::assembled(text).planned_anew(), conditions.values).await?;
    rows.iter().map(columns::whole).collect()
}

/// The newest of several lists: each is read in the order of its index, and no further than it can matter.
async fn merged(
    sql: &Sql,
    filters: Vec<Filter>,
    after: Option<&Place>,
    limit: u32,
) -> StoreResult<Vec<Receipt>> {
    let mut found: BTreeMap<(i64, String), Receipt> = BTreeMap::new();
    for mut filter in filters {
        if found.len() >= limit as usize
            && let Some(((oldest, _), _)) = found.first_key_value()
        {
            filter.range.from = Some(filter.range.from.map_or(*oldest, |from| from.max(*oldest)));
        }
        for receipt in rows(sql, &filter, after, limit).await? {
            found.insert((receipt.at, receipt.id.clone()), receipt);
        }
        while found.len() > limit as usize {
            found.pop_first();
        }
    }
    Ok(found.into_values().rev().collect())
}

fn from(sql: &Sql, filter: &Filter) -> &'static str {
    if has_owner(filter) || filter.within.is_some() { "receipts" } else { filter::by_time(sql.dialect()) }
}

/// Is it about somebody whose receipts have an index?
fn has_owner(filter: &Filter) -> bool {
    let indexed = [&filter.key, &filter.user, &filter.team, &filter.customer, &filter.session, &filter.call];
    indexed.iter().any(|id| id.is_some())
}

/// What of a filter an index of an owner's receipts knows.
pub(super) fn owner(filter: &Filter) -> Filter {
    Filter {
        range: filter.range,
        key: filter.key.clone(),
        user: filter.user.clone(),
        team: filter.team.clone(),
        customer: filter.customer.clone(),
        session: filter.session.clone(),
        call: filter.call.clone(),
        ..Filter::default()
    }
}

/// A filter that is about several owners, as one for each of them. `None`: it is about one, or nobody in particular.
async fn owners(sql: &Sql, filter: &Filter) -> StoreResult<Option<Vec<Filter>>> {
    if has_owner(filter) {
        return Ok(None);
    }
    let some = |id: &String| Some(id.clone());
    if let Some(token) = &filter.token {
        let text = "SELECT DISTINCT key_id FROM spend_callers WHERE token = $1";
        let keys = sql.query(text, values![clean(token).as_ref()]).await?;
        let of_key = |key: &tollway_store::sql::Row| {
            Ok(Filter { key: Some(key.text(0)?.to_owned()), ..filter.clone() })
        };
        return keys.iter().map(of_key).collect::<StoreResult<_>>().map(Some);
    }
    if !filter.teams.is_empty() {
        let rest = Filter { teams: Vec::new(), ..filter.clone() };
        return Ok(Some(
            filter.teams.iter().map(|team| Filter { team: some(team), ..rest.clone() }).collect(),
        ));
    }
    let Some(within) = &filter.within else { return Ok(None) };
    let rest = Filter { within: None, ..filter.clone() };
    let mut found = Vec::new();
    found.extend(within.keys.iter().map(|key| Filter { key: some(key), ..rest.clone() }));
    found.extend(within.users.iter().map(|user| Filter { user: some(user), ..rest.clone() }));
    found.extend(within.teams.iter().map(|team| Filter { team: some(team), ..rest.clone() }));
    Ok(Some(found))
}

pub(super) async fn count(sql: &Sql, filter: &Filter, bound: u64) -> StoreResult<Counted> {
    let bound = bound.clamp(1, i64::MAX as u64 - 1);
    match owners(sql, filter).await? {
        Some(owners) if owners.is_empty() => return Ok(Counted { calls: 0, whole: true }),
        Some(owners) if owners.len() == 1 => {
            if let Some(one) = owners.first() {
                return count_of_owner(sql, one, bound).await;
            }
        }
        // Whoever is two of them counts once.
        Some(_) => return count_some(sql, filter, bound).await,
        None if has_owner(filter) => return count_of_owner(sql, filter, bound).await,
        None => {}
    }
    if let Some(mark) = minutes::only(filter) {
        return Ok(Counted { calls: mark.count(sql, filter).await?, whole: true });
    }
    match minutes::mark(filter) {
        Some(mark) => mark.look(sql, filter, bound).await,
        None => count_some(sql, filter, bound).await,
    }
}

/// An owner's are counted in its index; those among them with something else are looked for in the latest.
async fn count_of_owner(sql: &Sql, filter: &Filter, bound: u64) -> StoreResult<Counted> {
    let conditions = filter::receipts(sql.dialect(), &owner(filter), None);
    let all = filter::receipts(sql.dialect(), filter, None);
    if all.len() == conditions.len() {
        return count_some(sql, filter, bound).await;
    }
    match minutes::mark(filter) {
        Some(mark) if mark.is_rare(sql, filter).await? => mark.look(sql, filter, bound).await,
        _ => look(sql, "receipts", conditions, filter, bound).await,
    }
}

/// How many match among the first `bound` of some rows.
pub(super) async fn look(
    sql: &Sql,
    from: &str,
    conditions: Conditions,
    filter: &Filter,
    bound: u64,
) -> StoreResult<Counted> {
    let condition = conditions.text();
    let mut hit = Conditions::after(conditions.values);
    filter::add_receipts(&mut hit, sql.dialect(), filter, None);
    let text = format!(
        "SELECT count(*), CAST(sum(hit) AS BIGINT) FROM \
         (SELECT CASE WHEN {} THEN 1 ELSE 0 END AS hit FROM {from}{condition} LIMIT {bound}) AS looked",
        hit.all()
    );
    let Some(row) = sql.query_one(Statement::assembled(text).planned_anew(), hit.values).await? else {
        return Ok(Counted::default());
    };
    let number = |number: Option<i64>| number.map_or(0, i64::unsigned_abs);
    Ok(Counted { calls: number(row.maybe_int(1)?), whole: number(row.maybe_int(0)?) < bound })
}

async fn count_some(sql: &Sql, filter: &Filter, bound: u64) -> StoreResult<Counted> {
    let conditions = filter::receipts(sql.dialect(), filter, None);
    let text = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {}{} LIMIT {}) AS found",
        if filter.teams.is_empty() { from(sql, filter) } else { "receipts" },
        conditions.text(),
        bound + 1
    );
    let row = sql.query_one(Statement::assembled(text).planned_anew(), conditions.values).await?;
    let calls = u64::try_from(row.map_or(Ok(0), |row| row.int(0))?).unwrap_or(0);
    Ok(Counted { calls: calls.min(bound), whole: calls <= bound })
}

/// Every row of a short stretch of time.
pub(super) async fn count_rows(sql: &Sql, filter: &Filter) -> StoreResult<u64> {
    let short = Range { from: filter.range.from, until: filter.range.until };
    let filter = Filter { range: short, ..filter.clone() };
    Ok(count_some(sql, &filter, i64::MAX as u64 - 1).await?.calls)
}
