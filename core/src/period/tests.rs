//! Periods over real calendars: daylight saving, month ends, leap days, odd zones.

use proptest::prelude::*;

use super::*;

const ZONES: [&str; 9] = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Pacific/Apia",
];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> WallMs {
    WallMs::parse_iso(text).unwrap()
}

fn period(duration: &str, zone_name: &str, moment: &str) -> (String, String) {
    let duration = BudgetDuration::parse(duration).unwrap();
    let found = period_of(duration, &zone(zone_name), at(moment));
    let short = |at: WallMs| at.to_iso().replace(":00.000Z", "Z");
    (short(found.start), short(found.end))
}

fn pair(start: &str, end: &str) -> (String, String) {
    (start.to_owned(), end.to_owned())
}

#[test]
fn the_grammar_is_litellms_and_nothing_else() {
    for good in ["1s", "30m", "24h", "1d", "7d", "30d", "1w", "1mo", "12mo"] {
        assert!(BudgetDuration::parse(good).is_some(), "{good}");
    }
    let bad = [
        "",
        "d",
        "1",
        "0d",
        "-1d",
        "1 d",
        "1D",
        "1y",
        "1moo",
        "1.5d",
        "10001d",
        "99999999999d",
        "1dd",
        "+1d",
        "١d",
    ];
    for bad in bad {
        assert_eq!(BudgetDuration::parse(bad), None, "{bad}");
    }
}

#[test]
fn calendar_durations_begin_where_litellm_resets() {
    let noon = "2026-03-04T12:34:56Z"; // a Wednesday
    let expected = [
        ("1d", "2026-03-04T00:00Z", "2026-03-05T00:00Z"),
        ("24h", "2026-03-04T00:00Z", "2026-03-05T00:00Z"),
        ("7d", "2026-03-02T00:00Z", "2026-03-09T00:00Z"),
        ("1w", "2026-03-02T00:00Z", "2026-03-09T00:00Z"),
        ("30d", "2026-03-01T00:00Z", "2026-04-01T00:00Z"),
        ("1mo", "2026-03-01T00:00Z", "2026-04-01T00:00Z"),
        ("3mo", "2026-01-01T00:00Z", "2026-04-01T00:00Z"),
        ("6h", "2026-03-04T12:00Z", "2026-03-04T18:00Z"),
        ("15m", "2026-03-04T12:30Z", "2026-03-04T12:45Z"),
    ];
    for (duration, start, end) in expected {
        assert_eq!(
            period(duration, "UTC", noon),
            pair(start, end),
            "{duration}"
        );
    }
}

#[test]
fn month_ends_and_leap_days() {
    assert_eq!(
        period("1mo", "UTC", "2028-02-29T23:59:59Z"),
        pair("2028-02-01T00:00Z", "2028-03-01T00:00Z")
    );
    assert_eq!(
        period("1d", "UTC", "2028-02-29T23:59:59Z"),
        pair("2028-02-29T00:00Z", "2028-03-01T00:00Z")
    );
    assert_eq!(
        period("30d", "UTC", "2026-12-31T23:59:59Z"),
        pair("2026-12-01T00:00Z", "2027-01-01T00:00Z")
    );
}

#[test]
fn days_are_local_and_change_length_with_daylight_saving() {
    // Spring: 23 hours. Autumn: 25 hours.
    assert_eq!(
        period("1d", "America/New_York", "2026-03-08T12:00:00Z"),
        pair("2026-03-08T05:00Z", "2026-03-09T04:00Z")
    );
    assert_eq!(
        period("1d", "America/New_York", "2026-11-01T12:00:00Z"),
        pair("2026-11-01T04:00Z", "2026-11-02T05:00Z")
    );
    // The hour that is shown twice is one period; the one that is skipped has no period.
    assert_eq!(
        period("1h", "America/New_York", "2026-11-01T06:30:00Z"),
        pair("2026-11-01T05:00Z", "2026-11-01T07:00Z")
    );
    assert_eq!(
        period("1h", "America/New_York", "2026-03-08T07:10:00Z"),
        pair("2026-03-08T07:00Z", "2026-03-08T08:00Z")
    );
}

#[test]
fn a_duration_outside_the_calendar_is_counted_from_its_stored_reset() {
    let fortnight = BudgetDuration::parse("14d").unwrap();
    let reset = at("2026-01-10T00:00:00Z");
    let found = period_from(
        fortnight,
        &TimeZone::UTC,
        at("2026-01-30T08:00:00Z"),
        Some(reset),
    );
    assert_eq!(found.start, at("2026-01-24"));
    assert_eq!(found.end, at("2026-02-07"));
    // Down for 100 days: the next period is the one that holds now, not the one that was missed.
    let found = period_from(
        fortnight,
        &TimeZone::UTC,
        at("2026-04-20T08:00:00Z"),
        Some(reset),
    );
    assert!(found.start <= at("2026-04-20T08:00:00Z") && at("2026-04-20T08:00:00Z") < found.end);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn periods_tile_time(
        zone_at in 0..ZONES.len(),
        count in 1u32..=60,
        unit_at in 0usize..6,
        // 1972 to 2100, in milliseconds.
        moment in 63_072_000_000i64..4_102_444_800_000,
        boundary in proptest::option::of(63_072_000_000i64..4_102_444_800_000),
    ) {
        let units = [
            Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month,
        ];
        let duration = BudgetDuration { count, unit: units[unit_at] };
        prop_assert_eq!(BudgetDuration::unpack(duration.pack()), Some(duration));
        let zone = zone(ZONES[zone_at]);
        let moment = WallMs(moment);
        let boundary = boundary.map(WallMs);
        let found = period_from(duration, &zone, moment, boundary);
        prop_assert!(found.start <= moment && moment < found.end);
        // Every moment of a period names the same period; the next begins where it ends.
        let same = period_from(duration, &zone, found.start, boundary);
        prop_assert_eq!(same, found);
        let last = period_from(duration, &zone, found.end.plus_ms(-1), boundary);
        prop_assert_eq!(last, found);
        let next = period_from(duration, &zone, found.end, boundary);
        prop_assert_eq!(next.start, found.end);
    }
}
