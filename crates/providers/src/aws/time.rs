//! Moments as Amazon writes them, in UTC.

/// `20150830T123600Z` of seconds since 1970.
pub(super) fn stamp(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{:02}Z", second % 60)
}

/// Seconds since 1970 of `2015-08-30T12:36:00Z`, fractions of seconds left out; `None` when it is no moment in UTC.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (day, time) = text.trim().split_once('T')?;
    let time = time.strip_suffix('Z').or_else(|| time.strip_suffix("+00:00"))?;
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let numbers = |text: &str, separator: char| -> Option<[i64; 3]> {
        let mut parts =
            text.split(separator).map(|part| part.parse::<i64>().ok().filter(|number| *number >= 0));
        let three = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(three)
    };
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_moment = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    is_moment.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Year, month and day of days since 1970, by counting in eras of 400 years that begin in March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, month_day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = if month > 2 { month - 3 } else { month + 9 };
    era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        let check = |seconds: i64, written: &str, read: &str| {
            assert_eq!(stamp(seconds), written);
            assert_eq!(parse(read), Some(seconds), "{read}");
        };
        check(0, "19700101T000000Z", "1970-01-01T00:00:00Z");
        check(1_440_938_160, "20150830T123600Z", "2015-08-30T12:36:00Z");
        check(951_782_399, "20000228T235959Z", "2000-02-28T23:59:59.123Z");
        check(951_868_800, "20000301T000000Z", "2000-03-01T00:00:00+00:00");
        check(4_107_542_400, "21000301T000000Z", "2100-03-01T00:00:00Z");
        for wrong in
            ["", "2015-08-30", "2015-13-30T12:36:00Z", "2015-08-30T12:36:00+02:00", "2015-08-30T12:36Z"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for day in (0..60_000).step_by(17) {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }
}
