//! Durations as LiteLLM writes them, and times.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};
use tollway_model::Result;
use tollway_store::records::Millis;

use super::errors::bad;
use super::fields::Field;

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

/// Changes an end as the field says.
pub(crate) fn put_end(
    name: &str,
    field: &Field<String>,
    target: &mut Option<Millis>,
    now: Millis,
) -> Result<()> {
    match field {
        Field::Absent => {}
        Field::Null => *target = None,
        Field::Set(text) => *target = Some(read_end(name, text, now)?),
    }
    Ok(())
}

/// When something ends: a time, a day, or a duration from `now`.
pub(crate) fn read_end(field: &str, text: &str, now: Millis) -> Result<Millis> {
    match parse(field, text.trim()) {
        Ok(period) => Ok(period.over(now)),
        Err(_) => read_time(field, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_795_170_600_000; // 2026-11-20T10:30:00Z, a Friday

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let over = |text: &str| parse("duration", text).ok().map(|period| iso(Some(period.over(NOW))));
        for (text, end) in [
            ("30m", "2026-11-20T11:00:00Z"),
            ("24h", "2026-11-21T10:30:00Z"),
            ("7d", "2026-11-27T10:30:00Z"),
            ("1mo", "2026-12-20T10:30:00Z"),
        ] {
            assert_eq!(over(text), Some(json!(end)), "{text}");
        }
        for wrong in
            ["", "s", "-1", "0d", "1y", "1.5h", "d1", "99999999999999999999s", "4000d", "'; DROP", "1 d"]
        {
            assert_eq!(over(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in ["2026-11-20T10:30:00Z", "2026-11-20T10:30:00", "2026-11-20T11:30:00+01:00"] {
            assert_eq!(read_time("x", text).ok(), Some(NOW), "{text}");
        }
        assert!(read_time("x", "tomorrow").is_err());
        assert!(read_end("x", "tomorrow", NOW).is_err());
        assert_eq!(iso(read_end("x", "10d", NOW).ok()), json!("2026-11-30T10:30:00Z"));
        assert_eq!(iso(read_end("x", "2026-12-01", NOW).ok()), json!("2026-12-01T00:00:00Z"));
        assert_eq!(iso(Some(Period::Months(1).over(NOW))), json!("2026-12-20T10:30:00Z"));
    }
}
