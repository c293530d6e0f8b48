//! Where receipts of something without an index can be at all.
//!
//! Tags, deployments, providers and organizations have no index of receipts, but sums by the hour: a list reads only the
//! hours that have one.

use tollway_meters::ScopeKind;
use tollway_store::sql::{Sql, clean};
use tollway_store::{StoreResult, values};

use super::walk;
use crate::books::{Filter, HOUR, Place, Range};

/// Hours that are looked up. What is older is one stretch.
const MOST: i64 = 2000;

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
    let Some((oldest, youngest)) = walk::hours(sql).await? else { return Ok(vec![range]) };
    let last = range.until.map_or(youngest, |until| (until - 1).div_euclid(HOUR).min(youngest));
    let first = range.from.map_or(oldest, |from| from.div_euclid(HOUR).max(oldest)).max(last - MOST);
    // Hour by hour, because sums are sorted by it.
    let text = "SELECT hours.hour FROM (WITH RECURSIVE counted(hour) AS \
         (SELECT CAST($1 AS BIGINT) WHERE CAST($1 AS BIGINT) >= CAST($2 AS BIGINT) \
         UNION ALL SELECT hour - 1 FROM counted WHERE hour > CAST($2 AS BIGINT)) SELECT hour FROM counted) AS hours \
         CROSS JOIN spend WHERE spend.hour = hours.hour AND spend.scope = $3 AND spend.id = $4 \
         ORDER BY hours.hour DESC";
    let rows = sql.query(text, values![last, first, kind.name(), clean(id).as_ref()]).await?;
    let hours: Vec<i64> = rows.iter().map(|row| row.int(0)).collect::<StoreResult<_>>()?;
    // What lies before may have been forgotten before its receipts, or is too much to look up.
    Ok(cut(&hours, first, range))
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
        fn check(
            hours: &[i64],
            known_from: i64,
            range: (Option<i64>, Option<i64>),
            expected: &[(Option<i64>, i64)],
        ) {
            let range = Range { from: range.0, until: range.1 };
            let found: Vec<_> = cut(hours, known_from, range)
                .into_iter()
                .map(|range| (range.from, range.until.unwrap()))
                .collect();
            assert_eq!(found, expected);
        }
        check(&[], 0, (None, None), &[(None, 0)]);
        check(&[], 5, (Some(5 * HOUR), None), &[]);
        check(
            &[9, 8, 3],
            2,
            (None, None),
            &[(Some(8 * HOUR), 10 * HOUR), (Some(3 * HOUR), 4 * HOUR), (None, 2 * HOUR)],
        );
        check(&[9, 8], 2, (Some(8 * HOUR + 5), Some(9 * HOUR + 7)), &[(Some(8 * HOUR + 5), 9 * HOUR + 7)]);
        check(&[4], 4, (Some(7), None), &[(Some(4 * HOUR), 5 * HOUR), (Some(7), 4 * HOUR)]);
    }
}
