//! `start_date` and `end_date`.

use tollway_accounts::manage::Params;
use tollway_ledger::books::{DAY, Range};
use tollway_ledger::litellm::stretch;
use tollway_model::{Error, Result};

/// Most days that one answer is about.
const MOST_DAYS: i64 = 366;

/// Days of the reports that name no dates.
const USUAL_DAYS: i64 = 30;

/// The time between two dates, both included. Either may be missing.
pub(super) fn range(params: &Params) -> Result<Range> {
    let from = moment(params, "start_date")?.map(|(from, _)| from);
    let until = moment(params, "end_date")?.map(|(_, until)| until);
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        return Err(Error::invalid_at("end_date", "`end_date` is before `start_date`"));
    }
    Ok(Range { from, until })
}

/// The days between two dates, both included, since 1970. Both are needed.
pub(super) fn days(params: &Params) -> Result<(i64, i64)> {
    match range(params)? {
        Range { from: Some(from), until: Some(until) } => bounded(from, until),
        Range { from: None, .. } => Err(missing("start_date")),
        Range { until: None, .. } => Err(missing("end_date")),
    }
}

/// The same; the last thirty days where a date is missing.
pub(super) fn days_or_latest(params: &Params, now: i64) -> Result<(i64, i64)> {
    let range = range(params)?;
    let until = range.until.unwrap_or(now + 1);
    let from =
        range.from.unwrap_or((until - 1).div_euclid(DAY).saturating_sub(USUAL_DAYS - 1).saturating_mul(DAY));
    bounded(from, until.max(from + 1))
}

fn bounded(from: i64, until: i64) -> Result<(i64, i64)> {
    let days = (from.div_euclid(DAY), (until - 1).div_euclid(DAY));
    if days.1 - days.0 >= MOST_DAYS {
        return Err(Error::invalid_at("start_date", format!("ask for at most {MOST_DAYS} days at once")));
    }
    Ok(days)
}

fn moment(params: &Params, name: &str) -> Result<Option<(i64, i64)>> {
    let Some(text) = params.text(name)? else { return Ok(None) };
    stretch(text).map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let message = format!("`{name}` is `YYYY-MM-DD` or `YYYY-MM-DD HH:MM:SS` in UTC, not `{shown}`");
        Error::invalid_at(name, message)
    })
}

fn missing(name: &str) -> Error {
    Error::invalid_at(name, format!("`{name}` is missing: give `start_date` and `end_date` as YYYY-MM-DD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &str, end: &str, expected: Option<(i64, i64)>) {
        let pairs = [("start_date", start), ("end_date", end)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = range(&Params::new(pairs)).ok().map(|range| (range.from.unwrap(), range.until.unwrap()));
        assert_eq!(found, expected, "{start} {end}");
    }

    #[test]
    fn both_ends_are_included() {
        let ten = 1_795_168_800_000;
        let day = ten - 10 * 3_600_000;
        check("2026-11-20", "2026-11-20", Some((day, day + DAY)));
        check("2026-11-20 10:00:00", "2026-11-20 10:00:00", Some((ten, ten + 1000)));
        check("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.500Z", Some((ten, ten + 501)));
        check("2026-11-20T12:00:00+02:00", "2026-11-20", Some((ten, day + DAY)));
        check("2026-11-21", "2026-11-20", None);
        for wrong in [
            "2026-13-01",
            "2026-02-30",
            "yesterday",
            "20.11.2026",
            "2026-11-20junk",
            "1' OR '1'='1",
            "9999999999",
        ] {
            check(wrong, "2026-11-20", None);
            check("2026-11-20", wrong, None);
        }
    }

    #[test]
    fn days_are_bounded_and_have_a_usual_length() {
        let of = |pairs: &[(&str, &str)]| {
            Params::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
        };
        let today = 20_777;
        assert_eq!(days_or_latest(&of(&[]), today * DAY + 5).unwrap(), (today - 29, today));
        assert!(days(&of(&[("start_date", "2026-11-20")])).unwrap_err().message().contains("end_date"));
        let long = of(&[("start_date", "2024-01-01"), ("end_date", "2026-01-01")]);
        assert!(days(&long).unwrap_err().message().contains("at most 366"));
    }
}
