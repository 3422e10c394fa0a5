//! Further budgets of a scope, each with a period of its own: LiteLLM's `budget_limits`.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::chain::Chain;
use super::purse::Purse;
use super::rules::dollars;
use crate::budget::Terms;
use crate::money::NanoUsd;
use crate::period::{BudgetDuration, period_from};
use crate::time::WallMs;

/// Most of them for one scope that are written; stored ones count all.
pub const LIMITS_MAX: usize = 16;

/// Name of a limit whose entry cannot be read: it allows nothing.
const UNREADABLE: &str = "unreadable";

/// Those of one scope; most have none.
#[derive(Debug, Default)]
pub(super) struct LimitChain(Chain<LimitPurse>);

/// One of them. When it is lifted it stays in the list and limits nothing.
#[derive(Debug)]
pub(super) struct LimitPurse {
    /// Its `budget_duration`: a scope has one limit of each.
    duration: Box<str>,
    pub(super) purse: Purse,
}

impl LimitPurse {
    pub(super) fn duration(&self) -> &str {
        &self.duration
    }
}

impl LimitChain {
    pub(super) fn iter(&self) -> impl Iterator<Item = &LimitPurse> {
        self.0.iter()
    }

    pub(super) fn at(&self, place: usize) -> Option<&LimitPurse> {
        self.0.at(place)
    }

    /// The place of the limit with this duration.
    pub(super) fn find(&self, duration: &str) -> Option<usize> {
        let mut all = self.iter();
        all.position(|limit| &*limit.duration == duration)
    }

    /// Puts these in force and lifts all others. Counters go on.
    pub(super) fn set(&self, limits: &[(String, Terms)], zone: &TimeZone, now: WallMs) {
        let mut is_full = false;
        for (duration, terms) in limits {
            let make = || LimitPurse {
                duration: duration.as_str().into(),
                purse: Purse::new(*terms, NanoUsd::ZERO, zone, now),
            };
            let same = |limit: &LimitPurse| *limit.duration == **duration;
            match self.0.find_or_add(LISTED_MAX, same, make) {
                Some((_, true)) => {}
                Some((limit, false)) => limit.purse.slot.update(*terms, now),
                None => is_full = true,
            }
        }
        let listed = |limit: &&LimitPurse| {
            let mut names = limits.iter().map(|(duration, _)| duration);
            names.any(|duration| **duration == *limit.duration)
        };
        for limit in self.iter().filter(|limit| !listed(limit)) {
            limit.purse.slot.update(Terms::default(), now);
        }
        // One that has no place here would limit nothing: nothing is allowed instead.
        if let (true, Some(first)) = (is_full, self.at(0)) {
            first.purse.slot.update(nothing(), now);
        }
    }
}

/// Durations that a scope may ever have had in one process.
const LISTED_MAX: usize = 256;

/// The limits of a record's `budget_limits`; of two with one duration the smaller. An entry that
/// cannot be read allows nothing.
pub(super) fn read(written: &Value) -> Vec<(String, Terms)> {
    let mut limits: Vec<(String, Terms)> = Vec::new();
    let entries = match written {
        Value::Null => return limits,
        Value::Array(entries) => entries.as_slice(),
        other => std::slice::from_ref(other),
    };
    for entry in entries {
        let unreadable = |_| (UNREADABLE.to_owned(), nothing());
        let (duration, terms) = read_one(entry).unwrap_or_else(unreadable);
        match limits.iter_mut().find(|(known, _)| *known == duration) {
            Some((_, known)) if known.limit <= terms.limit => {}
            Some((_, known)) => *known = terms,
            None => limits.push((duration, terms)),
        }
    }
    limits
}

fn nothing() -> Terms {
    Terms {
        limit: Some(NanoUsd::ZERO),
        ..Terms::default()
    }
}

fn read_one(entry: &Value) -> Result<(String, Terms), String> {
    let field = |name: &str| entry.get(name).filter(|value| !value.is_null());
    let duration = field("budget_duration").and_then(Value::as_str);
    let duration = duration.ok_or("budget_duration is missing")?;
    let parsed = BudgetDuration::parse(duration);
    let parsed = parsed.ok_or_else(|| {
        format!("budget_duration '{duration}' is not a number and one of s, m, h, d, w, mo")
    })?;
    let limit = field("max_budget").and_then(dollars);
    let limit = limit.ok_or("max_budget must be a non-negative finite number")?;
    let resets_at = match field("reset_at") {
        None => None,
        Some(text) => {
            let moment = text.as_str().and_then(WallMs::parse_iso);
            Some(moment.ok_or("reset_at must be an ISO 8601 moment")?)
        }
    };
    let terms = Terms {
        limit: Some(limit),
        duration: Some(parsed),
        resets_at,
        extra: None,
    };
    Ok((parsed.to_string(), terms))
}

/// Whether every entry of `budget_limits` can be enforced as written.
///
/// # Errors
/// What is wrong, with the number of the entry.
pub fn check_budget_limits(given: &Value) -> Result<(), String> {
    let entries = given.as_array().ok_or("budget_limits must be a list")?;
    if entries.len() > LIMITS_MAX {
        return Err(format!(
            "budget_limits must have at most {LIMITS_MAX} entries"
        ));
    }
    let mut seen: Vec<String> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let (duration, _) = read_one(entry).map_err(|why| format!("budget_limits[{at}]: {why}"))?;
        if seen.contains(&duration) {
            return Err(format!("budget_limits[{at}]: {duration} is listed twice"));
        }
        seen.push(duration);
    }
    Ok(())
}

/// `budget_limits` as they are stored and shown: with the ends of the periods that run now. What
/// cannot be read is shown as it is.
pub fn shown_budget_limits(stored: &Value, zone: &TimeZone, now: WallMs) -> Value {
    let Some(entries) = stored.as_array() else {
        return stored.clone();
    };
    let shown = entries.iter().map(|entry| {
        let Ok((_, terms)) = read_one(entry) else {
            return entry.clone();
        };
        let ends = terms
            .duration
            .map(|duration| period_from(duration, zone, now, terms.resets_at).end);
        json!({
            "budget_duration": entry.get("budget_duration"),
            "max_budget": terms.limit.map(NanoUsd::dollars),
            "reset_at": ends.map(WallMs::to_iso),
        })
    });
    Value::Array(shown.collect())
}

/// The periods of `budget_limits` as they are stored: the durations that name them, and the ends
/// that were known when they were written.
pub fn limit_periods(stored: &Value) -> Vec<(String, Option<WallMs>)> {
    let limits = read(stored).into_iter();
    let limits = limits.filter(|(duration, _)| duration != UNREADABLE);
    limits
        .map(|(duration, terms)| (duration, terms.resets_at))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Decides, Meters, Need, Part};
    use super::*;
    use crate::error::{BudgetScope, GatewayError};
    use crate::ids::KeyHash;
    use crate::key::KeyRecord;

    /// 2027-01-15, a Friday, at noon.
    const NOON: WallMs = WallMs(1_800_014_400_000);
    const DAY_MS: i64 = 86_400_000;

    fn record(limits: Value) -> KeyRecord {
        let token = KeyHash::of_secret("sk-1");
        let key = json!({"token": token, "key_name": "sk-...0001", "max_budget": 10_000_000_000_i64,
            "extra": {"budget_limits": limits}});
        serde_json::from_value(key).unwrap()
    }

    fn meters(limits: Value) -> Arc<Meters> {
        Arc::new(Meters::of_key(&record(limits), &TimeZone::UTC, NOON))
    }

    fn spend(meters: &Arc<Meters>, dollars: f64, now: WallMs) -> Result<(), GatewayError> {
        let cost = NanoUsd::from_dollars(dollars).unwrap();
        let need = Need {
            cost,
            tokens: 1,
            model: "m",
            free: false,
            key_alias: None,
            decides: Decides::Count,
            excess: NanoUsd::ZERO,
        };
        let admission = meters.admit(need, Vec::new(), now);
        admission.map_err(|no| *no.error)?.settle(cost, 1);
        Ok(())
    }

    #[test]
    fn the_most_restrictive_of_several_budgets_refuses_and_is_named() {
        let meters = meters(json!([
            {"budget_duration": "1d", "max_budget": 2},
            {"budget_duration": "30d", "max_budget": 3.0},
        ]));
        spend(&meters, 2.0, NOON).unwrap();
        let refused = spend(&meters, 0.5, NOON).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "ExceededBudget: Key over 1d budget. Spend=$2.0, Limit=$2.0, \
             Resets at=2027-01-16T00:00:00.000Z"
        );
        // Tomorrow the day begins anew, the month goes on.
        let tomorrow = NOON.plus_ms(DAY_MS);
        spend(&meters, 1.0, tomorrow).unwrap();
        let refused = spend(&meters, 0.5, tomorrow).unwrap_err();
        let GatewayError::BudgetExceeded { scope, limit, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(limit, NanoUsd(3_000_000_000));
        assert!(matches!(scope, BudgetScope::Limit { duration, .. } if duration == "30d"));
        // A refusal took nothing of the others.
        let day = meters.limit("1d").unwrap();
        assert_eq!(day.used(tomorrow), NanoUsd(1_000_000_000));
    }

    #[test]
    fn a_stream_grows_in_all_of_them_or_in_none() {
        let meters = meters(json!([{"budget_duration": "1h", "max_budget": 1}]));
        let need = Need {
            cost: NanoUsd(600_000_000),
            tokens: 1,
            model: "m",
            free: false,
            key_alias: None,
            decides: Decides::Count,
            excess: NanoUsd::ZERO,
        };
        let mut admission = meters.admit(need, Vec::new(), NOON).unwrap();
        let other = meters.admit(need, Vec::new(), NOON);
        assert!(other.is_err());
        admission.extend(NanoUsd(100_000_000), NOON).unwrap();
        let second = Need {
            cost: NanoUsd(250_000_000),
            ..need
        };
        let second = meters.admit(second, Vec::new(), NOON).unwrap();
        let lacking = admission.extend(NanoUsd(100_000_000), NOON).unwrap_err();
        assert_eq!(lacking.part, Part::Limit(0));
        let held = NanoUsd(950_000_000);
        assert_eq!(meters.budget().used(NOON), held);
        assert_eq!(meters.limit("1h").unwrap().used(NOON), held);
        drop(admission);
        second.release();
        assert_eq!(meters.limit("1h").unwrap().used(NOON), NanoUsd::ZERO);
        assert_eq!(meters.budget().used(NOON), NanoUsd::ZERO);
    }

    #[test]
    fn a_change_keeps_what_is_counted_and_a_limit_that_is_gone_refuses_nothing() {
        let meters = meters(json!([{"budget_duration": "1d", "max_budget": 1}]));
        spend(&meters, 1.0, NOON).unwrap();
        assert!(spend(&meters, 0.1, NOON).is_err());
        let change = |limits: Value| {
            let record = record(limits);
            let bounds = record.bounds();
            let metadata = &record.metadata;
            let written = super::super::Written {
                bounds: &bounds,
                metadata,
            };
            meters.update(written, &TimeZone::UTC, NOON);
        };
        change(json!([{"budget_duration": "1d", "max_budget": 2}]));
        spend(&meters, 0.5, NOON).unwrap();
        change(Value::Null);
        spend(&meters, 5.0, NOON).unwrap();
        change(json!([{"budget_duration": "1d", "max_budget": 2}]));
        assert!(spend(&meters, 0.1, NOON).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused_when_written_and_allows_nothing_when_stored() {
        for (bad, why) in [
            (json!({}), "must be a list"),
            (
                json!([{"max_budget": 1}]),
                "[0]: budget_duration is missing",
            ),
            (
                json!([{"budget_duration": "1y", "max_budget": 1}]),
                "[0]: budget_duration '1y'",
            ),
            (
                json!([{"budget_duration": "1d"}]),
                "[0]: max_budget must be",
            ),
            (
                json!([{"budget_duration": "1d", "max_budget": -1}]),
                "[0]: max_budget must be",
            ),
            (
                json!([{"budget_duration": "1d", "max_budget": 1, "reset_at": "soon"}]),
                "[0]: reset_at",
            ),
            (
                json!([{"budget_duration": "1d", "max_budget": 1},
                       {"budget_duration": "1d", "max_budget": 2}]),
                "[1]: 1d is listed twice",
            ),
        ] {
            let told = check_budget_limits(&bad).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let stored = meters(json!([{"budget_duration": "soon", "max_budget": 1}]));
        assert!(spend(&stored, 0.1, NOON).is_err());
        let many = (1..=LIMITS_MAX + 1).map(|hours| {
            let limit = if hours > LIMITS_MAX { 1 } else { 5 };
            json!({"budget_duration": format!("{hours}h"), "max_budget": limit})
        });
        let many = Value::Array(many.collect());
        assert!(
            check_budget_limits(&many)
                .unwrap_err()
                .contains("at most 16")
        );
        let many = meters(many);
        spend(&many, 1.0, NOON).unwrap();
        assert!(spend(&many, 0.1, NOON).is_err());
        let twice = meters(json!([{"budget_duration": "1d", "max_budget": 5},
            {"budget_duration": "1d", "max_budget": 1}]));
        spend(&twice, 1.0, NOON).unwrap();
        assert!(spend(&twice, 0.1, NOON).is_err());
    }

    #[test]
    fn they_are_shown_with_the_end_of_the_period_that_runs() {
        let stored = json!([
            {"budget_duration": "1d", "max_budget": 5, "reset_at": "2027-01-01T00:00:00.000Z"},
            {"budget_duration": "14d", "max_budget": "2.5", "reset_at": "2027-01-20T00:00:00.000Z"},
        ]);
        let shown = shown_budget_limits(&stored, &TimeZone::UTC, NOON);
        assert_eq!(
            shown,
            json!([
                {"budget_duration": "1d", "max_budget": 5.0,
                 "reset_at": "2027-01-16T00:00:00.000Z"},
                {"budget_duration": "14d", "max_budget": 2.5,
                 "reset_at": "2027-01-20T00:00:00.000Z"},
            ])
        );
        assert_eq!(
            shown_budget_limits(&Value::Null, &TimeZone::UTC, NOON),
            Value::Null
        );
        assert_eq!(limit_periods(&shown).len(), 2);
    }
}
