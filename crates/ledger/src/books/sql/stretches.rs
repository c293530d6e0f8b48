//! Where receipts of something without an index can be at all.
//!
//! Tags, deployments, providers and organizations have no index of receipts, but sums by the hour: a list reads only the
//! hours that have one.

use tollway_meters::ScopeKind;
use tollway_store::sql::{Sql, Statement, clean};
use tollway_store::{StoreResult, values};

use crate::books::{Filter, HOUR, Place, Range};

/// Hours that are looked up. What is older is one stretch.
const MOST: usize = 500;

/// The stretches of time in which what the filter asks for can be, the latest first.
pub(super) async fn of(sql: &Sql, filter: &Filter, after: Option<&Place>) -> StoreResult<Vec<Range>> {
    let Some((kind, id)) = sought(filter) else { return Ok(vec![filter.range]) };
    let range = match after {
        Some(place) => {
            let until = filter.range.until.map_or(place.at + 1, |until| until.min(place.at + 1));
            Range { until: Some(until), ..filter.range }
        }
        None => filter.range,
    };
    let first = range.from.map_or(0, |from| from.div_euclid(HOUR)).max(0);
    let last = range.until.map_or(i64::MAX, |until| (until - 1).div_euclid(HOUR));
    let text = format!(
        "SELECT hour FROM spend WHERE scope = $1 AND id = $2 AND hour >= $3 AND hour <= $4 \
         ORDER BY hour DESC LIMIT {MOST}"
    );
    let values = values![kind.name(), clean(id).as_ref(), first, last];
    let rows = sql.query(Statement::assembled(text), values).await?;
    let hours: Vec<i64> = rows.iter().map(|row| row.int(0)).collect::<StoreResult<_>>()?;
    let known_from = match hours.last() {
        Some(last) if hours.len() == MOST => *last,
        _ => oldest(sql).await?,
    };
    Ok(cut(&hours, known_from, range))
}

/// What is asked for, where no index knows it but sums do.
fn sought(filter: &Filter) -> Option<(ScopeKind, &str)> {
    let indexed = [&filter.key, &filter.user, &filter.team, &filter.customer, &filter.session, &filter.call];
    if indexed.iter().any(|id| id.is_some()) {
        return None;
    }
    let sums = [
        (ScopeKind::Tag, &filter.tag),
        (ScopeKind::Deployment, &filter.deployment),
        (ScopeKind::Organization, &filter.organization),
        (ScopeKind::Provider, &filter.provider),
    ];
    sums.into_iter().find_map(|(kind, id)| id.as_deref().map(|id| (kind, id)))
}

/// The first hour that has a sum; those before it may have been forgotten before their receipts.
async fn oldest(sql: &Sql) -> StoreResult<i64> {
    let text = "SELECT min(hour) FROM spend WHERE scope = $1 AND id = '' AND hour >= 0";
    let row = sql.query_one(text, values![ScopeKind::Global.name()]).await?;
    Ok(row.map_or(Ok(None), |row| row.maybe_int(0))?.unwrap_or(i64::MAX / HOUR))
}

/// Hours, the latest first, as stretches of neighbours within a range, and everything before `known_from`.
fn cut(hours: &[i64], known_from: i64, range: Range) -> Vec<Range> {
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for hour in hours {
        match stretches.last_mut() {
            Some((first, _)) if *first == hour + 1 => *first = *hour,
            _ => stretches.push((*hour, hour + 1)),
        }
    }
    let earlier = |from: i64| range.from.map_or(from, |own| own.max(from));
    let later = |until: i64| range.until.map_or(until, |own| own.min(until));
    let mut found: Vec<Range> = stretches
        .into_iter()
        .map(|(first, end)| Range { from: Some(earlier(first * HOUR)), until: Some(later(end * HOUR)) })
        .collect();
    let before = later(known_from.saturating_mul(HOUR));
    if range.from.is_none_or(|from| from < before) {
        found.push(Range { from: range.from, until: Some(before) });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_stretches_within_the_range() {
        fn check(hours: &[i64], known_from: i64, range: (Option<i64>, Option<i64>), expected: &[(Option<i64>, i64)]) {
            let range = Range { from: range.0, until: range.1 };
            let found: Vec<_> = cut(hours, known_from, range)
                .into_iter()
                .map(|range| (range.from, range.until.unwrap()))
                .collect();
            assert_eq!(found, expected);
        }
        check(&[], 0, (None, None), &[(None, 0)]);
        check(&[], 5, (Some(5 * HOUR), None), &[]);
        check(&[9, 8, 3], 2, (None, None), &[
            (Some(8 * HOUR), 10 * HOUR),
            (Some(3 * HOUR), 4 * HOUR),
            (None, 2 * HOUR),
        ]);
        check(&[9, 8], 2, (Some(8 * HOUR + 5), Some(9 * HOUR + 7)), &[(Some(8 * HOUR + 5), 9 * HOUR + 7)]);
        check(&[4], 4, (Some(7), None), &[(Some(4 * HOUR), 5 * HOUR), (Some(7), 4 * HOUR)]);
    }
}
