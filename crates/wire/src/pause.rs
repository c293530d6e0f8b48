//! How long a provider asks callers to wait, one reading for every dialect.

use std::time::Duration;

use http::HeaderMap;

/// Longer pauses than a day are no advice.
const LONGEST: f64 = 86_400.0;

/// `retry-after-ms`, else `retry-after`: seconds, or a date, which is held against the answer's own `date`.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    number("retry-after-ms")
        .and_then(|millis| seconds(millis / 1000.0))
        .or_else(|| number("retry-after").and_then(seconds))
        .or_else(|| {
            let until = moment(text("retry-after")?)?.saturating_sub(moment(text("date")?)?);
            // A moment that has passed asks for nothing.
            u64::try_from(until).ok().map(Duration::from_secs).filter(|pause| pause.as_secs_f64() <= LONGEST)
        })
}

/// A number of seconds that can be a pause.
pub(crate) fn seconds(seconds: f64) -> Option<Duration> {
    (0.0..=LONGEST).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// Seconds since 1970 of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn moment(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.strip_suffix("GMT")?.split_once(',')?.1.split_whitespace();
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock =
        words.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|part| (0..=60).contains(part)));
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Years that begin in March have their odd day at the end.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 719_469;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[(&'static str, &str)], expected: Option<f64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, value.parse().unwrap());
        }
        assert_eq!(asked(&headers).map(|pause| pause.as_secs_f64()), expected, "{given:?}");
    }

    #[test]
    fn a_pause_is_asked_for_in_milliseconds_seconds_or_by_a_date() {
        check(&[], None);
        check(&[("retry-after", "7")], Some(7.0));
        check(&[("retry-after", " 0.5 ")], Some(0.5));
        check(&[("retry-after", "7"), ("retry-after-ms", "1500")], Some(1.5));
        check(&[("retry-after", "7"), ("retry-after-ms", "-1")], Some(7.0));
        let date = ("date", "Wed, 31 Dec 2025 23:59:58 GMT");
        check(&[date, ("retry-after", "Thu, 01 Jan 2026 00:00:03 GMT")], Some(5.0));
        check(&[date, ("retry-after", "Wed, 31 Dec 2025 23:59:58 GMT")], Some(0.0));
        for no_advice in [
            "Wed, 31 Dec 2025 23:59:57 GMT",
            "-1",
            "inf",
            "NaN",
            "90000",
            "soon",
            "Wed, 31 Foo 2025 23:59:58 GMT",
        ] {
            check(&[date, ("retry-after", no_advice)], None);
        }
        check(&[("retry-after", "Thu, 01 Jan 2026 00:00:03 GMT")], None);
    }

    #[test]
    fn dates_are_read_over_leap_years() {
        for (text, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
        ] {
            assert_eq!(moment(text), Some(expected), "{text}");
        }
    }
}
