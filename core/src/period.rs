//! Budget periods: LiteLLM's `budget_duration` grammar on the calendar of a time zone.
//!
//! A period is a pure function of the moment, so a reset needs no job that could fail to run.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::time::WallMs;

/// Largest number in a duration: 10,000 days are 27 years, and arithmetic stays far from its ends.
pub const COUNT_MAX: u32 = 10_000;

/// Unit of a budget duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
    /// `w`
    Week,
    /// `mo`
    Month,
}

/// A parsed `budget_duration`, e.g. `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BudgetDuration {
    /// How many, 1 to [`COUNT_MAX`].
    pub count: u32,
    /// Of what.
    pub unit: Unit,
}

/// A half-open stretch of time, `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First moment.
    pub start: WallMs,
    /// First moment after it.
    pub end: WallMs,
}

impl std::fmt::Display for BudgetDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.unit {
            Unit::Second => "s",
            Unit::Minute => "m",
            Unit::Hour => "h",
            Unit::Day => "d",
            Unit::Week => "w",
            Unit::Month => "mo",
        };
        write!(f, "{}{unit}", self.count)
    }
}

impl BudgetDuration {
    /// Reads `(\d+)(s|m|h|d|w|mo)`; `None` for anything else, for zero and above [`COUNT_MAX`].
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let count: u32 = number.parse().ok()?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            "d" => Unit::Day,
            "w" => Unit::Week,
            "mo" => Unit::Month,
            _ => return None,
        };
        (1..=COUNT_MAX)
            .contains(&count)
            .then_some(Self { count, unit })
    }

    /// The same as one number, for an atomic; never zero.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.count) << 8 | self.unit as u64
    }

    /// Reverse of [`Self::pack`]; `None` for zero.
    pub(crate) fn unpack(bits: u64) -> Option<Self> {
        let unit = match bits & 0xff {
            0 => Unit::Second,
            1 => Unit::Minute,
            2 => Unit::Hour,
            3 => Unit::Day,
            4 => Unit::Week,
            _ => Unit::Month,
        };
        let count = (bits >> 8) as u32;
        (count > 0).then_some(Self { count, unit })
    }
}

/// The period of `duration` that holds `at`, on the clock of `zone`.
///
/// `1d` begins at midnight, `7d` and `1w` on Monday, `30d` and `1mo` on the first of the month,
/// hours that divide a day at multiples since midnight. Everything else is counted in whole
/// periods from 1970-01-01.
pub fn period_of(duration: BudgetDuration, zone: &TimeZone, at: WallMs) -> Period {
    period_from(duration, zone, at, None)
}

/// As [`period_of`], for a period that is known to end or to have ended at `boundary`: durations
/// without a place of their own in the calendar (`14d`, `5h`) are counted from there.
pub fn period_from(
    duration: BudgetDuration,
    zone: &TimeZone,
    at: WallMs,
    boundary: Option<WallMs>,
) -> Period {
    calendar(duration, zone, at, boundary).unwrap_or(Period {
        start: WallMs(i64::MIN),
        end: WallMs(i64::MAX),
    })
}

/// `None` only at the ends of representable time.
fn calendar(
    duration: BudgetDuration,
    zone: &TimeZone,
    at: WallMs,
    boundary: Option<WallMs>,
) -> Option<Period> {
    let BudgetDuration { count, unit } = duration;
    let civil = civil_at(zone, at)?;
    let today = civil.date();
    let count_i = i64::from(count);
    match (count, unit) {
        (_, Unit::Second) => Some(blocks(count_i * 1_000, at, boundary)),
        (_, Unit::Minute) => Some(blocks(count_i * 60_000, at, boundary)),
        (_, Unit::Hour) if 24 % count == 0 => hours(count, zone, civil),
        (_, Unit::Hour) => Some(blocks(count_i * 3_600_000, at, boundary)),
        (30, Unit::Day) => months(1, zone, today),
        (7, Unit::Day) => days(7, zone, today, None),
        (_, Unit::Day) => days(count_i, zone, today, local_date(zone, boundary)),
        (1, Unit::Week) => days(7, zone, today, None),
        (_, Unit::Week) => days(count_i * 7, zone, today, local_date(zone, boundary)),
        (_, Unit::Month) => months(count_i, zone, today),
    }
}

fn civil_at(zone: &TimeZone, at: WallMs) -> Option<DateTime> {
    let stamp = Timestamp::from_millisecond(at.0).ok()?;
    Some(zone.to_datetime(stamp))
}

fn local_date(zone: &TimeZone, at: Option<WallMs>) -> Option<Date> {
    civil_at(zone, at?).map(DateTime::date)
}

/// First moment that the local clock shows `civil` or, where it skips it, the moment it skips.
fn moment(zone: &TimeZone, civil: DateTime) -> Option<WallMs> {
    let stamp = zone.to_ambiguous_zoned(civil).compatible().ok()?;
    Some(WallMs(stamp.timestamp().as_millisecond()))
}

/// Equal stretches of `length_ms`, counted from `boundary` or from the epoch.
fn blocks(length_ms: i64, at: WallMs, boundary: Option<WallMs>) -> Period {
    let anchor = boundary.map_or(0, |boundary| boundary.0);
    let start = at.0 - (at.0 - anchor).rem_euclid(length_ms);
    Period {
        start: WallMs(start),
        end: WallMs(start + length_ms),
    }
}

fn hours(count: u32, zone: &TimeZone, civil: DateTime) -> Option<Period> {
    let count = count as i8;
    let midnight = civil.date().to_datetime(jiff::civil::Time::midnight());
    let start = midnight + (civil.hour() / count * count).hours();
    Some(Period {
        start: moment(zone, start)?,
        end: moment(zone, start + count.hours())?,
    })
}

/// `count` calendar days, counted from `anchor` or from a Monday.
fn days(count: i64, zone: &TimeZone, today: Date, anchor: Option<Date>) -> Option<Period> {
    // 1970-01-05 was a Monday: what has no anchor starts on one.
    let anchor = anchor.unwrap_or(Date::constant(1970, 1, 5));
    let since = today.since(anchor).ok()?.get_days();
    let start = today
        .checked_sub(i64::from(since).rem_euclid(count).days())
        .ok()?;
    let end = start.checked_add(count.days()).ok()?;
    Some(Period {
        start: moment(zone, start.at(0, 0, 0, 0))?,
        end: moment(zone, end.at(0, 0, 0, 0))?,
    })
}

/// `count` calendar months, counted from January 1970.
fn months(count: i64, zone: &TimeZone, today: Date) -> Option<Period> {
    let index = (i64::from(today.year()) - 1970) * 12 + i64::from(today.month()) - 1;
    let start = today
        .first_of_month()
        .checked_sub(index.rem_euclid(count).months())
        .ok()?;
    let end = start.checked_add(count.months()).ok()?;
    Some(Period {
        start: moment(zone, start.at(0, 0, 0, 0))?,
        end: moment(zone, end.at(0, 0, 0, 0))?,
    })
}

#[cfg(test)]
mod tests;
