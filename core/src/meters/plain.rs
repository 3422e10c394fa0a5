//! Limits without lists, as most keys have them: enough to make a key's counters at its first use.

use std::sync::atomic::Ordering::Relaxed;

use jiff::tz::TimeZone;

use super::{Meters, NO_ALERT, Whose};
use crate::budget::{BudgetSlot, Terms};
use crate::limit::{Limits, RateSlot};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// Limits of a record that has no rules of single models and no further budgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plain {
    pub(super) limits: Limits,
    /// Without the end of the period: that is [`Start`]'s.
    pub(super) terms: Terms,
    pub(super) soft: Option<NanoUsd>,
    /// [`crate::budget::policy::OwnPolicy::pack`]
    pub(super) policy: u16,
}

/// Where a budget stands before anything is counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Spent in the running period.
    pub spent: NanoUsd,
    /// End of that period; `None` is never.
    pub resets_at: Option<WallMs>,
}

/// Earlier than every end of a period that a [`Start`] can name.
const BEFORE: WallMs = WallMs(0);

impl Plain {
    /// Takes the end of the period apart, which is each key's own: with `spent` it is where the
    /// budget starts. Both are what counters made now would say.
    pub fn start(&mut self, spent: NanoUsd, zone: &TimeZone, now: WallMs) -> Start {
        let resets_at = self.terms.resets_at.take();
        self.running(Start { spent, resets_at }, zone, now)
    }

    /// What counters that were made with `start` and never used would say at a later moment.
    pub fn running(&self, start: Start, zone: &TimeZone, now: WallMs) -> Start {
        let slot = BudgetSlot::new(self.terms_from(start), start.spent, zone, now);
        Start {
            spent: slot.spent(now),
            resets_at: slot.resets_at(now),
        }
    }

    /// Limit of the budget, what is added for a time included.
    pub fn limit(&self, now: WallMs) -> Option<NanoUsd> {
        let extra = self.terms.extra.filter(|(_, until)| now < *until);
        let extra = extra.unwrap_or_default().0;
        self.terms.limit.map(|limit| limit.saturating_add(extra))
    }

    /// Counters as they would be had they been made when `start` was taken.
    pub fn meters(&self, whose: Whose, start: Start, zone: &TimeZone) -> Meters {
        let terms = self.terms_from(start);
        let meters = Meters {
            rates: RateSlot::new(self.limits),
            ..Meters::budget_of(whose, terms, start.spent, zone, BEFORE)
        };
        let soft = self.soft.map_or(NO_ALERT, |amount| amount.0);
        meters.soft.store(soft, Relaxed);
        meters.policy.store(self.policy, Relaxed);
        meters
    }

    fn terms_from(&self, start: Start) -> Terms {
        Terms {
            resets_at: start.resets_at,
            ..self.terms
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::super::Written;
    use super::*;
    use crate::ids::KeyHash;
    use crate::record::Bounds;

    const NOW: WallMs = WallMs(1_795_000_000_000);

    fn whose() -> Whose {
        Whose::Key(KeyHash::of_secret("sk-a"))
    }

    /// Counters made at the first use are those that would have been made at the start, whenever
    /// the first use is.
    #[test]
    fn counters_that_are_made_late_say_what_early_ones_do() {
        let day = 86_400_000;
        for duration in [
            None,
            Some("30s"),
            Some("5h"),
            Some("14d"),
            Some("30d"),
            Some("1mo"),
        ] {
            for ends in [None, Some(-day), Some(1_000), Some(20 * day)] {
                let bounds = Bounds {
                    max_budget: Some(NanoUsd(100)),
                    soft_budget: Some(NanoUsd(50)),
                    budget_duration: duration.map(str::to_owned),
                    budget_reset_at: ends.map(|ms| NOW.plus_ms(ms)),
                    rpm_limit: Some(7),
                    ..Bounds::default()
                };
                let fields = json!({
                    "on_exhausted": "finish",
                    "temp_budget_increase": 1, "temp_budget_expiry": "2026-11-25T00:00:00Z",
                });
                let metadata = fields.as_object().cloned().unwrap_or_default();
                let written = Written {
                    bounds: &bounds,
                    metadata: &metadata,
                };
                let zone = TimeZone::UTC;
                let early = Meters::new(whose(), written, NanoUsd(60), &zone, NOW);
                let mut plain = written.plain().unwrap();
                let start = plain.start(NanoUsd(60), &zone, NOW);
                assert_eq!(
                    plain.terms.resets_at, None,
                    "it is not what many keys share"
                );
                for later in [0, 999, 1_000, day, 25 * day, 400 * day] {
                    let at = NOW.plus_ms(later);
                    let late = plain.meters(whose(), start, &zone);
                    let says = |meters: &Meters| {
                        let budget = meters.budget();
                        let money = (budget.spent(at), budget.limit(at), budget.resets_at(at));
                        let rest = (meters.soft.load(Relaxed), meters.policy.load(Relaxed));
                        (money, budget.begins(at), rest, meters.rates().limits())
                    };
                    assert_eq!(says(&late), says(&early), "{duration:?} {ends:?} {later}");
                    let unused = plain.running(start, &zone, at);
                    assert_eq!(unused.spent, early.spent(at));
                    assert_eq!(unused.resets_at, early.budget().resets_at(at));
                    assert_eq!(plain.limit(at), early.budget().limit(at));
                }
            }
        }
    }

    #[test]
    fn lists_need_counters_at_once() {
        let (mut bounds, none) = (Bounds::default(), Map::new());
        let plain = |bounds: &Bounds, metadata| Written { bounds, metadata }.plain();
        assert_eq!(plain(&bounds, &none), Some(Plain::default()));
        let rates = json!({"model_rpm_limit": {"m": 1}});
        assert_eq!(plain(&bounds, rates.as_object().unwrap()), None);
        bounds.budget_limits = json!([{"budget_duration": "1d", "max_budget": 1}]);
        assert_eq!(plain(&bounds, &none), None);
        bounds = Bounds::default();
        bounds.model_max_budget.insert("m".to_owned(), json!(1));
        assert_eq!(plain(&bounds, &none), None);
    }
}
