//! Durations as LiteLLM writes them, and when the windows of budgets end.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};
use tollway_model::Result;
use tollway_store::records::Millis;

use super::errors::bad;

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Period {
    /// So many milliseconds from when it began.
    Plain(i64),
    /// From midnight.
    Day,
    /// From Monday's midnight.
    Week,
    /// So many months from the first of a month.
    Months(i64),
}

/// Ten years: nothing is limited for longer.
const LONGEST: i64 = 10 * 366 * 24 * 3_600_000;

/// `30s`, `15m`, `24h`, `7d`, `2w`, `1mo`, `daily`, `weekly`, `monthly`.
pub(crate) fn parse(field: &str, text: &str) -> Result<Period> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        bad(
            field,
            format!("`{field}`: `{shown}` is not a duration; write `30s`, `15m`, `24h`, `7d`, `2w` or `1mo`"),
        )
    };
    match text {
        "daily" => return Ok(Period::Day),
        "weekly" => return Ok(Period::Week),
        "monthly" => return Ok(Period::Months(1)),
        _ => {}
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (Some(count), Some(unit)) = (text.get(..digits), text.get(digits..)) else { return Err(wrong()) };
    let count: i64 = count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        "w" => 7 * 24 * 3_600_000,
        "mo" if count <= 120 => return Ok(Period::Months(count)),
        _ => return Err(wrong()),
    };
    match count.checked_mul(unit) {
        Some(length) if length <= LONGEST => Ok(Period::Plain(length)),
        _ => Err(bad(field, format!("`{field}` is longer than ten years"))),
    }
}

impl Period {
    /// The running window at `now`: when it began and when it ends. Plain ones begin at `anchor`; the calendar is UTC's.
    pub(crate) fn window(self, now: Millis, anchor: Option<Millis>) -> (Millis, Millis) {
        match self {
            Period::Plain(length) => {
                let anchor = anchor.unwrap_or(now).min(now);
                let begins = now - (now - anchor).rem_euclid(length.max(1));
                (begins, begins.saturating_add(length))
            }
            _ => self.calendar_window(now).unwrap_or((now, now)),
        }
    }

    fn calendar_window(self, now: Millis) -> Option<(Millis, Millis)> {
        let today = Timestamp::from_millisecond(now).ok()?.to_zoned(TimeZone::UTC).date();
        let (first, span) = match self {
            Period::Week => {
                let since = today.weekday().since(Weekday::Monday);
                (today.checked_sub(i64::from(since).days()).ok()?, 1.week())
            }
            Period::Months(count) => {
                // Several months are counted from the first January of the calendar.
                let month = i64::from(today.year()) * 12 + i64::from(today.month()) - 1;
                let back = month.rem_euclid(count.max(1));
                (today.first_of_month().checked_sub(back.months()).ok()?, count.months())
            }
            _ => (today, 1.day()),
        };
        let millis =
            |date: jiff::civil::Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
        Some((millis(first)?, millis(first.checked_add(span).ok()?)?))
    }

    /// When a period that begins at `now` is over: for keys that end, where a month is a month from today.
    pub(crate) fn over(self, now: Millis) -> Millis {
        let months = |count: i64| {
            let start: Zoned = Timestamp::from_millisecond(now).ok()?.to_zoned(TimeZone::UTC);
            Some(start.checked_add(count.months()).ok()?.timestamp().as_millisecond())
        };
        match self {
            Period::Plain(length) => now.saturating_add(length),
            Period::Day => now.saturating_add(24 * 3_600_000),
            Period::Week => now.saturating_add(7 * 24 * 3_600_000),
            Period::Months(count) => months(count).unwrap_or(now),
        }
    }
}

/// A time as ISO 8601 text in UTC; null for none.
pub(crate) fn iso(at: Option<Millis>) -> Value {
    match at.and_then(|at| Timestamp::from_millisecond(at).ok()) {
        Some(at) => json!(at.to_string()),
        None => Value::Null,
    }
}

/// Reads a time: ISO 8601, with or without a zone (then UTC), or a date.
pub(crate) fn read_time(field: &str, text: &str) -> Result<Millis> {
    let text = text.trim();
    let with_zone = text.parse::<Timestamp>().ok();
    let without =
        || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    with_zone.or_else(without).map(Timestamp::as_millisecond).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        bad(field, format!("`{field}`: `{shown}` is not a time; write `2026-12-31T23:59:59Z`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_795_170_600_000; // 2026-11-20T10:30:00Z, a Friday

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let window =
            parse("budget_duration", text).ok().map(|period| period.window(NOW, Some(NOW - 3_600_000)));
        let shown = window.map(|(begins, ends)| (iso(Some(begins)), iso(Some(ends))));
        let expected = expected.map(|(begins, ends)| (json!(begins), json!(ends)));
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn windows_follow_their_anchor_or_the_calendar() {
        check("30m", Some(("2026-11-20T10:30:00Z", "2026-11-20T11:00:00Z")));
        check("24h", Some(("2026-11-20T09:30:00Z", "2026-11-21T09:30:00Z")));
        check("7d", Some(("2026-11-20T09:30:00Z", "2026-11-27T09:30:00Z")));
        check("daily", Some(("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")));
        check("weekly", Some(("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")));
        check("1mo", Some(("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")));
        check("3mo", Some(("2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")));
        for wrong in
            ["", "s", "-1", "0d", "1y", "1.5h", "d1", "99999999999999999999s", "4000d", "'; DROP", "1 d"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in ["2026-11-20T10:30:00Z", "2026-11-20T10:30:00", "2026-11-20T11:30:00+01:00"] {
            assert_eq!(read_time("x", text).ok(), Some(NOW), "{text}");
        }
        assert!(read_time("x", "tomorrow").is_err());
        assert_eq!(iso(Some(Period::Months(1).over(NOW))), json!("2026-12-20T10:30:00Z"));
    }
}
