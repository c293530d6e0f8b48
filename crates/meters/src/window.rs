//! Stretches of time that money is counted in, computed from the time.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::{CalendarUnit, Window};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Above this a duration is taken for a mistake: a hundred years of days.
const MOST: i64 = 36_525;

/// One stretch of a [`Window`], from `start` up to but without `end`; milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began; `None`: with the first call ever.
    pub start: Option<i64>,
    /// When the next begins; `None`: never.
    pub end: Option<i64>,
}

impl Window {
    /// Reads a budget's duration as LiteLLM writes them: `30s`, `15m`, `12h`, `1d`, `2w`, `1mo`, `hourly`, `daily`,
    /// `weekly`, `monthly`.
    ///
    /// Days, weeks and months are calendar windows: `1d` and `24h` end at midnight in `zone`, `7d` and `1w` on Monday,
    /// `30d` and `1mo` on the first of the month. Several of a unit are counted from 1970 on, so that every process
    /// agrees: `3mo` is a quarter, `2d` ends every other midnight. Shorter durations are always of the same length,
    /// beginning at midnight of a day without daylight saving.
    ///
    /// The error says what was wrong and what to write instead.
    pub fn parse(duration: &str, zone: &str) -> Result<Window, String> {
        let time_zone = TimeZone::get(zone).map_err(|_| {
            format!("`{zone}` is no known time zone; write an IANA name such as `Europe/Berlin` or `UTC`")
        })?;
        let text = duration.trim().to_ascii_lowercase();
        let (count, unit) = match text.as_str() {
            "hourly" => (1, "h"),
            "daily" => (1, "d"),
            "weekly" => (1, "w"),
            "monthly" => (1, "mo"),
            text => split(text).ok_or_else(|| {
                format!(
                    "`{duration}` is no duration; write a number and s, m, h, d, w or mo, such as `30d` or `1mo`"
                )
            })?,
        };
        if !(1..=MOST).contains(&count) && !matches!(unit, "s" | "m" | "h") || count < 1 {
            return Err(format!("a window of `{duration}` cannot be counted in; write one of 1 or more"));
        }
        let calendar = |unit, count| {
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            Window::Calendar { unit, count, zone: Arc::from(zone) }
        };
        let steady = |unit: i64| {
            let length = count.checked_mul(unit).filter(|length| *length <= MOST * 24 * HOUR);
            let length = length.ok_or_else(|| format!("`{duration}` is too long to be counted in"))?;
            Ok(Window::Every { length, anchor: steady_anchor(&time_zone) })
        };
        match unit {
            "s" => steady(SECOND),
            "m" => steady(MINUTE),
            "h" if count % 24 == 0 && count / 24 <= MOST => Ok(calendar(CalendarUnit::Day, count / 24)),
            "h" => steady(HOUR),
            "d" if count == 7 => Ok(calendar(CalendarUnit::Week, 1)),
            "d" if count == 30 => Ok(calendar(CalendarUnit::Month, 1)),
            "d" => Ok(calendar(CalendarUnit::Day, count)),
            "w" => Ok(calendar(CalendarUnit::Week, count)),
            _ => Ok(calendar(CalendarUnit::Month, count)),
        }
    }

    /// The stretch that the moment `now` lies in, milliseconds since 1970. A zone that is not known counts as UTC.
    pub fn current(&self, now: i64) -> Span {
        match self {
            Window::Lifetime => Span { start: None, end: None },
            Window::Every { length, anchor } => {
                let length = (*length).max(1);
                let start = now.saturating_sub(now.saturating_sub(*anchor).rem_euclid(length));
                Span { start: Some(start), end: Some(start.saturating_add(length)) }
            }
            Window::Calendar { unit, count, zone } => {
                let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
                calendar_span(*unit, i64::from((*count).max(1)), &zone, now)
            }
        }
    }

    /// A short name that tells it from any other window of a scope, for keys of the shared store.
    pub(crate) fn name(&self) -> String {
        match self {
            Window::Lifetime => "all".to_owned(),
            Window::Every { length, anchor } => format!("e{length}@{anchor}"),
            Window::Calendar { unit, count, zone } => {
                let unit = match unit {
                    CalendarUnit::Day => 'd',
                    CalendarUnit::Week => 'w',
                    CalendarUnit::Month => 'm',
                };
                format!("{unit}{count}@{zone}")
            }
        }
    }
}

/// `15m` as 15 and `m`.
fn split(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim();
    matches!(unit, "s" | "m" | "h" | "d" | "w" | "mo").then_some(())?;
    Some((count.parse().ok()?, unit))
}

/// Midnight in the zone on a winter's day long ago, when hardly any clock is put forward.
fn steady_anchor(zone: &TimeZone) -> i64 {
    midnight(Date::constant(2001, 1, 1), zone).unwrap_or(0)
}

/// The first moment of a day, even where the clock is put forward at midnight.
fn midnight(date: Date, zone: &TimeZone) -> Option<i64> {
    Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

fn calendar_span(unit: CalendarUnit, count: i64, zone: &TimeZone, now: i64) -> Span {
    let instant = Timestamp::from_millisecond(now).unwrap_or_default();
    let today = zone.to_datetime(instant).date();
    let mut number = unit_number(unit, today).div_euclid(count);
    let begin = |number: i64| first_day(unit, number.checked_mul(count)?).and_then(|day| midnight(day, zone));
    // Where a clock is put back over midnight, a day's name comes twice: the window is the one that the moment is in.
    while begin(number + 1).is_some_and(|end| end <= now) {
        number += 1;
    }
    Span { start: begin(number), end: begin(number + 1) }
}

/// How many whole units lie between the unit that 1970 began in and the one of this day.
fn unit_number(unit: CalendarUnit, day: Date) -> i64 {
    let days = day.duration_since(Date::constant(1970, 1, 1)).as_hours().div_euclid(24);
    match unit {
        CalendarUnit::Day => days,
        // 1970 began on a Thursday: its week on the Monday three days before.
        CalendarUnit::Week => (days + 3).div_euclid(7),
        CalendarUnit::Month => (i64::from(day.year()) - 1970) * 12 + i64::from(day.month()) - 1,
    }
}

/// The day a unit of that number begins with.
fn first_day(unit: CalendarUnit, number: i64) -> Option<Date> {
    let epoch = Date::constant(1970, 1, 1);
    match unit {
        CalendarUnit::Day => epoch.checked_add(number.days()).ok(),
        CalendarUnit::Week => epoch.checked_add(number.checked_mul(7)?.checked_sub(3)?.days()).ok(),
        CalendarUnit::Month => {
            let year = i16::try_from(1970 + number.div_euclid(12)).ok()?;
            let month = i8::try_from(number.rem_euclid(12) + 1).ok()?;
            Date::new(year, month, 1).ok()
        }
    }
}

#[cfg(test)]
mod tests;
