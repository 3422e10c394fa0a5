//! Crontab lines: `minute hour day month weekday`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::time::WallMs;

const MINUTE_MS: i64 = 60_000;
/// Minutes that are looked back at: one that fired longer ago is missed.
const LOOK_BACK_MINUTES: i64 = 24 * 60;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is to be done: sets of numbers, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// From Sunday, 0.
    weekdays: u64,
    /// Which of day and weekday are written: with both one of them is enough, as in cron.
    either_day: bool,
}

impl Cron {
    /// Reads a line; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let weekdays = set(weekday, 0, 7, &WEEKDAYS)?;
        Some(Self {
            minutes: set(minute, 0, 59, &[])?,
            hours: set(hour, 0, 23, &[])?,
            days: set(day, 1, 31, &[])?,
            months: set(month, 1, 12, &MONTHS)?,
            // 7 is Sunday too.
            weekdays: weekdays & 0x7f | weekdays >> 7 & 1,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    /// Whether a minute that it names began after `after` and not later than `now`.
    pub fn fired(&self, zone: &TimeZone, after: WallMs, now: WallMs) -> bool {
        let last = now.0.div_euclid(MINUTE_MS);
        let first = after.0.div_euclid(MINUTE_MS).max(last - LOOK_BACK_MINUTES) + 1;
        (first..=last).any(|minute| self.names(zone, minute * MINUTE_MS))
    }

    fn names(&self, zone: &TimeZone, at_ms: i64) -> bool {
        let Ok(stamp) = Timestamp::from_millisecond(at_ms) else {
            return false;
        };
        let local = zone.to_datetime(stamp);
        let has = |set: u64, number: i8| u32::try_from(number).is_ok_and(|n| set >> n & 1 == 1);
        let (day, weekday) = (
            has(self.days, local.day()),
            has(self.weekdays, local.weekday().to_sunday_zero_offset()),
        );
        let on_day = match self.either_day {
            true => day || weekday,
            false => day && weekday,
        };
        has(self.minutes, local.minute())
            && has(self.hours, local.hour())
            && has(self.months, local.month())
            && on_day
    }
}

/// The numbers of a field such as `*`, `*/5`, `1,3` or `mon-fri`.
fn set(field: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let named = names
            .iter()
            .position(|name| text.eq_ignore_ascii_case(name));
        let named = named
            .and_then(|at| u32::try_from(at).ok())
            .map(|at| at + min);
        let number = named.or_else(|| text.parse().ok())?;
        (min..=max).contains(&number).then_some(number)
    };
    let mut bits = 0u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1usize),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if range == "*" => (min, max),
            // `5/10` means from 5 on.
            None if part.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return None;
        }
        (first..=last)
            .step_by(step)
            .for_each(|one| bits |= 1 << one);
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallMs {
        WallMs::parse_iso(text).unwrap()
    }

    fn fires(line: &str, zone: &TimeZone, moment: &str) -> bool {
        let now = at(moment);
        Cron::parse(line).unwrap().fired(zone, now.plus_ms(-1), now)
    }

    #[test]
    fn fields_are_numbers_lists_ranges_steps_and_names() {
        let utc = TimeZone::UTC;
        for (line, moment, expected) in [
            ("* * * * *", "2026-11-18T00:00:00Z", true),
            ("0 4 * * *", "2026-11-18T04:00:00Z", true),
            ("0 4 * * *", "2026-11-18T04:01:00Z", false),
            ("*/15 * * * *", "2026-11-18T04:45:00Z", true),
            ("5/20 * * * *", "2026-11-18T04:45:00Z", true),
            ("1,3 0-6 * * *", "2026-11-18T06:03:00Z", true),
            ("0 0 * * wed", "2026-11-18T00:00:00Z", true),
            ("0 0 * * mon-tue", "2026-11-18T00:00:00Z", false),
            ("0 0 * * 7", "2026-11-22T00:00:00Z", true),
            ("0 0 1 * sun", "2026-11-22T00:00:00Z", true),
            ("0 0 1 * sun", "2026-12-01T00:00:00Z", true),
            ("0 0 * NOV *", "2026-11-22T00:00:00Z", true),
            ("0 0 31 * *", "2026-11-30T00:00:00Z", false),
        ] {
            assert_eq!(fires(line, &utc, moment), expected, "{line} {moment}");
        }
        let paris = TimeZone::get("Europe/Paris").unwrap();
        assert!(fires("0 4 * * *", &paris, "2026-11-18T03:00:00Z"));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "@daily",
        ] {
            assert_eq!(Cron::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_minute_that_passed_between_two_looks_is_not_missed() {
        let cron = Cron::parse("30 3 * * *").unwrap();
        let (before, after) = (at("2026-11-18T03:29:55Z"), at("2026-11-18T03:31:05Z"));
        assert!(cron.fired(&TimeZone::UTC, before, after));
        assert!(!cron.fired(&TimeZone::UTC, after, after.plus_ms(10_000)));
    }
}
