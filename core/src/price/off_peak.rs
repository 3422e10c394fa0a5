//! `off_peak_pricing`: other token rates at certain hours of certain days.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::adjust::scalar_text;
use super::decimal::Rate;
use crate::time::WallMs;

const MINUTES_PER_DAY: u16 = 24 * 60;
const MS_PER_MINUTE: i64 = 60_000;
const EVERY_DAY: u8 = 0b111_1111;
/// Rules and windows of one entry that are read; the map has three at most.
const WINDOWS_MAX: usize = 64;

/// Rates that replace the usual ones while a window is open. Absent ones stay as they are.
#[derive(Clone, Debug)]
pub(super) struct OffPeak {
    pub(super) input: Option<Rate>,
    pub(super) output: Option<Rate>,
    pub(super) cache_read: Option<Rate>,
    pub(super) cache_write: Option<Rate>,
    pub(super) reasoning: Option<Rate>,
    windows: Vec<Window>,
    calendar: TimeZone,
}

/// Minutes of the UTC day, end excluded; start == end is the whole day.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: u16,
    end: u16,
    /// Bit 0 is Monday.
    weekdays: u8,
}

impl OffPeak {
    /// Reads the block; `None` when it has no window that can be understood.
    pub(super) fn read(block: &Map<String, Value>) -> Option<Self> {
        let mut windows = hours(block.get("hours_utc"), EVERY_DAY);
        let rules = block.get("windows").and_then(Value::as_array);
        for rule in rules.into_iter().flatten().take(WINDOWS_MAX) {
            windows.extend(hours(rule.get("hours_utc"), weekdays(rule.get("weekdays"))));
        }
        windows.truncate(WINDOWS_MAX);
        let zone = block.get("weekday_timezone").and_then(Value::as_str);
        let rate = |field: &str| Rate::parse(&scalar_text(block.get(field)?)?);
        let read = Self {
            input: rate("input_cost_per_token"),
            output: rate("output_cost_per_token"),
            cache_read: rate("cache_read_input_token_cost"),
            cache_write: rate("cache_creation_input_token_cost"),
            reasoning: rate("output_cost_per_reasoning_token"),
            calendar: zone
                .and_then(|name| TimeZone::get(name).ok())
                .unwrap_or(TimeZone::UTC),
            windows,
        };
        (!read.windows.is_empty()).then_some(read)
    }

    /// Whether a window is open.
    pub(super) fn is_open(&self, at: WallMs) -> bool {
        let minute = at.0.div_euclid(MS_PER_MINUTE);
        let minute = minute.rem_euclid(i64::from(MINUTES_PER_DAY)) as u16;
        let Ok(stamp) = jiff::Timestamp::from_millisecond(at.0) else {
            return false;
        };
        let weekday = stamp.to_zoned(self.calendar.clone()).weekday();
        let today = 1u8 << weekday.to_monday_zero_offset();
        self.windows
            .iter()
            .any(|window| window.weekdays & today != 0 && window.contains(minute))
    }
}

impl Window {
    fn contains(self, minute: u16) -> bool {
        if self.start < self.end {
            return (self.start..self.end).contains(&minute);
        }
        minute >= self.start || minute < self.end
    }
}

/// One `HH:MM-HH:MM` or a list of them; malformed ones are left out.
fn hours(value: Option<&Value>, weekdays: u8) -> Vec<Window> {
    let texts: Vec<&str> = match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let window = |text: &str| {
        let (start, end) = text.split_once('-')?;
        Some(Window {
            start: minute_of(start)?,
            end: minute_of(end)?,
            weekdays,
        })
    };
    texts.into_iter().filter_map(window).collect()
}

fn minute_of(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// ISO numbers (1 is Monday) or English names as a bit set; absent is every day.
fn weekdays(value: Option<&Value>) -> u8 {
    let Some(value) = value else {
        return EVERY_DAY;
    };
    let days = value.as_array().into_iter().flatten();
    let bit = |day: &Value| match day {
        Value::Number(number) => {
            let number = number.as_u64().filter(|number| (1..=7).contains(number))?;
            Some(1u8 << (number - 1))
        }
        Value::String(name) => named_day(name.trim()),
        _ => None,
    };
    days.filter_map(bit).fold(0, |set, day| set | day)
}

fn named_day(name: &str) -> Option<u8> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let short = name.get(..3)?.to_ascii_lowercase();
    let at = names.iter().position(|day| *day == short)?;
    Some(1 << at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn block(value: Value) -> Option<OffPeak> {
        OffPeak::read(value.as_object().unwrap())
    }

    #[test]
    fn windows_know_days_and_midnight() {
        let block = block(json!({
            "input_cost_per_token": "1e-7",
            "windows": [
                {"hours_utc": ["10:00-00:00", "00:00-01:00"], "weekdays": [1, "tue", 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        }))
        .unwrap();
        let open = |text: &str| block.is_open(WallMs::parse_iso(text).unwrap());
        assert!(open("2026-11-20T10:00:00Z"), "friday, start included");
        assert!(!open("2026-11-20T09:59:59Z"));
        assert!(open("2026-11-20T23:59:59Z"));
        assert!(!open("2026-11-20T01:00:00Z"), "end excluded");
        assert!(open("2026-11-21T05:00:00Z"), "saturday is open all day");
        assert!(!block.is_open(WallMs(i64::MAX)));
    }

    #[test]
    fn the_weekday_is_read_on_the_vendors_calendar() {
        let block = block(json!({
            "hours_utc": [], "weekday_timezone": "Asia/Shanghai",
            "windows": [{"hours_utc": "16:00-20:00", "weekdays": ["saturday"]}],
        }))
        .unwrap();
        let friday_evening_utc = WallMs::parse_iso("2026-11-20T17:00:00Z").unwrap();
        assert!(block.is_open(friday_evening_utc));
    }

    #[test]
    fn a_block_without_a_readable_window_is_no_block() {
        assert!(block(json!({"hours_utc": "soon"})).is_none());
        assert!(block(json!({"windows": [{"hours_utc": ["25:00-26:00"]}, 3]})).is_none());
        assert!(block(json!({"hours_utc": "00:00-00:00"})).is_some());
    }
}
