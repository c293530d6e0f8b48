//! RFC 3339 timestamps, for `createTime`.

/// Seconds since 1970 of `2026-11-20T07:36:16.5Z`; fractions are cut. `None` for anything but UTC.
pub(super) fn read(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split('.').next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let sane = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    sane.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 in the Gregorian calendar, counting years from March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era_years = year.rem_euclid(400);
    let leap = era_years / 4 - era_years / 100;
    year.div_euclid(400) * 146_097 + era_years * 365 + leap + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The timestamp of `seconds` since 1970.
pub(super) fn write(seconds: i64) -> String {
    let (day, rest) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2023-11-14T22:13:20.123456Z"), Some(1_700_000_000));
        assert_eq!(write(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(read("2024-02-29T12:00:00+01:00"), None);
        assert_eq!(read("nonsense"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in -10_000_000_000_i64..100_000_000_000) {
            prop_assert_eq!(read(&write(seconds)), Some(seconds));
        }
    }
}
