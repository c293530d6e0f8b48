//! Answers in the shapes of LiteLLM's spend routes, made from what [`Books`](crate::Books) return.
//!
//! Pure functions: who may see what is decided before, by the filter the books are asked with. Money becomes a JSON
//! number here, and nowhere before.

mod activity;
mod logs;
mod reports;

use std::sync::Arc;

pub use activity::{Entity, daily_activity};
pub use logs::{LogDay, log_row, logs_by_day, logs_of_keys, logs_page};
pub use reports::{
    ReportBy, global_activity, global_activity_by_model, global_spend, report_day, short_date, spend_by_tag,
    spend_report, spend_report_by_key, spend_report_groups, spend_report_lines,
};

use crate::books::{DAY, Day, DayKey, Millis};

/// A row of days with what makes it differ.
pub type DayRow = (DayKey<'static>, Day);

/// What a name or alias of an id is, if it has one.
pub type Alias<'a> = &'a dyn Fn(&str) -> Option<Arc<str>>;

/// `2026-11-20`, from days since 1970.
pub fn date(day: i64) -> String {
    timestamp(day.saturating_mul(DAY)).strftime("%Y-%m-%d").to_string()
}

/// Days since 1970 of `2026-11-20`; also takes a date with a time. `None`: it is none.
pub fn day_of(text: &str) -> Option<i64> {
    let text = text.trim().get(..10)?;
    let date: jiff::civil::Date = text.parse().ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(at.div_euclid(DAY))
}

/// What a date or a time names, as milliseconds since 1970: from, and before. A date is the whole day, `2026-11-20
/// 10:00:00` the whole second; `T`, fractions and offsets are read, and without one it is UTC. `None`: it is neither.
pub fn stretch(text: &str) -> Option<(Millis, Millis)> {
    let text = text.trim();
    if text.len() == 10 {
        let day = day_of(text)?;
        return Some((day.checked_mul(DAY)?, day.checked_add(1)?.checked_mul(DAY)?));
    }
    // A date with nothing behind it that is no time, and no time zone's name.
    if text.len() < 16 || text.contains('[') {
        return None;
    }
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => {
            let time: jiff::civil::DateTime = text.parse().ok()?;
            time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    let from = at.as_millisecond();
    Some((from, from + if text.contains('.') { 1 } else { 1000 }))
}

/// `2026-11-20T10:00:00.123Z`, from milliseconds since 1970.
pub fn time(at: Millis) -> String {
    timestamp(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn timestamp(at: Millis) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default()
}

#[cfg(test)]
mod tests;
