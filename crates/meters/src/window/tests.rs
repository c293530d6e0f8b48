use proptest::prelude::*;

use super::*;

fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// The window of `duration` in `zone` that `now` lies in reaches from `start` to `end`.
#[track_caller]
fn check(duration: &str, zone: &str, now: &str, start: &str, end: &str) {
    let span = Window::parse(duration, zone).unwrap().current(millis(now));
    let shown = |time: Option<i64>| Timestamp::from_millisecond(time.unwrap()).unwrap().to_string();
    assert_eq!((shown(span.start), shown(span.end)), (start.to_owned(), end.to_owned()), "{duration} {zone}");
}

#[test]
fn days_end_at_midnight() {
    check("1d", "UTC", "2026-11-20T13:14:15Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    check("24h", "UTC", "2026-11-20T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
    check("daily", "Asia/Kolkata", "2026-11-20T18:29:59Z", "2026-11-19T18:30:00Z", "2026-11-20T18:30:00Z");
    check("Daily ", "Asia/Kolkata", "2026-11-20T18:30:00Z", "2026-11-20T18:30:00Z", "2026-11-21T18:30:00Z");
    check("48h", "UTC", "1970-01-02T23:00:00Z", "1970-01-01T00:00:00Z", "1970-01-03T00:00:00Z");
}

#[test]
fn weeks_end_on_monday() {
    check("7d", "UTC", "2026-11-20T13:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
    check("1w", "UTC", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z");
    check("weekly", "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
    check("1w", "UTC", "1969-12-31T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z");
}

#[test]
fn months_end_on_the_first() {
    check("1mo", "UTC", "2026-11-20T13:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z");
    check("30d", "UTC", "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
    check("monthly", "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z");
    check("3mo", "UTC", "2026-11-20T00:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z");
    check("12mo", "Europe/Berlin", "2026-11-20T00:00:00Z", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z");
}

#[test]
fn a_day_has_23_or_25_hours_when_clocks_change() {
    check("1d", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    check("1d", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
}

#[test]
fn a_day_without_midnight_begins_at_its_first_moment() {
    check("1d", "Asia/Beirut", "2026-03-29T05:00:00Z", "2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z");
}

#[test]
fn a_clock_put_back_over_midnight_does_not_bring_a_day_back() {
    // In St John's the clock went from 00:01 on 2010-11-07 to 23:01 on the 6th.
    check("1d", "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
}

#[test]
fn short_durations_are_aligned_to_the_clock() {
    check("30s", "UTC", "2026-11-20T13:14:45Z", "2026-11-20T13:14:30Z", "2026-11-20T13:15:00Z");
    check("15m", "UTC", "2026-11-20T13:14:45Z", "2026-11-20T13:00:00Z", "2026-11-20T13:15:00Z");
    check("hourly", "Asia/Kolkata", "2026-11-20T13:14:45Z", "2026-11-20T12:30:00Z", "2026-11-20T13:30:00Z");
    check("12h", "Europe/Berlin", "2026-11-20T13:14:45Z", "2026-11-20T11:00:00Z", "2026-11-20T23:00:00Z");
}

#[test]
fn what_is_no_duration_is_refused_with_what_to_write() {
    for text in [
        "",
        "d",
        "30",
        "1y",
        "1.5h",
        "-1d",
        "0d",
        "0s",
        "99999999999999999999s",
        "9999999999h",
        "5 x",
        "70000d",
    ] {
        assert!(Window::parse(text, "UTC").unwrap_err().contains("`"), "{text}");
    }
    assert!(Window::parse("1d", "Mars/Olympus").unwrap_err().contains("IANA"));
}

#[test]
fn a_lifetime_has_no_ends() {
    assert_eq!(Window::Lifetime.current(1), Span { start: None, end: None });
}

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kolkata",
];

proptest! {
    #[test]
    fn windows_follow_each_other_without_gap_or_overlap(
        now in 0_i64..4_000_000_000_000,
        zone in proptest::sample::select(ZONES.to_vec()),
        count in 1_u32..40,
        unit in proptest::sample::select(vec!["s", "m", "h", "d", "w", "mo"]),
    ) {
        let window = Window::parse(&format!("{count}{unit}"), zone).unwrap();
        let span = window.current(now);
        let (start, end) = (span.start.unwrap(), span.end.unwrap());
        prop_assert!(start <= now && now < end);
        prop_assert_eq!(window.current(start), span);
        prop_assert_eq!(window.current(end - 1), span);
        prop_assert_eq!(window.current(end).start, Some(end));
        prop_assert!(window.current(start - 1).end == Some(start));
    }
}
