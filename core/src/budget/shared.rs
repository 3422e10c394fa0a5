//! What other nodes spend of the same budget, as far as the store that they share knows it.
//!
//! A slot counts its own node's spend at once, and how much of that is in the store. What all
//! nodes spent is then what the store shows and what of this node is not in it yet.

use std::sync::atomic::Ordering::{Acquire, Release};

use super::{BudgetSlot, Period, Word, add_in, amount, value_in};
use crate::money::NanoUsd;
use crate::period::{BudgetDuration, period_from};
use crate::time::WallMs;

/// What the store says of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Spent by all nodes in the period, without what still waits in their journals.
    pub spend: NanoUsd,
    /// End of the period; `None` is never.
    pub ends: Option<WallMs>,
}

impl BudgetSlot {
    /// A cost of this node is in the store now; the request started at `at`.
    pub fn mark_stored(&self, cost: NanoUsd, at: WallMs, now: WallMs) {
        let (_, period) = self.running(now);
        if self.holds(at, period, now) {
            add_in(&self.stored, period.epoch, amount(cost));
        }
    }

    /// Takes what the store says. To be read while nothing of this node is being stored: what is
    /// stored meanwhile counts twice until the next time. Another period than the running one
    /// (the store's job is late) says nothing. For one caller at a time.
    pub fn take_stored(&self, stored: Stored, now: WallMs) {
        let (word, period) = self.running(now);
        if stored.ends != period.ends() {
            return;
        }
        let (all, own) = (amount(stored.spend), value_in(&self.stored, word));
        let others = Word::new(period.epoch, all.saturating_sub(own));
        // Less than this node stored: somebody set what is spent.
        let gone = own.saturating_sub(all);
        if gone > 0 {
            self.stored
                .store(Word::new(period.epoch, all).bits(), Release);
            if self.change(&self.spent, period.epoch, |word| word.minus(gone)) {
                self.change(&self.committed, period.epoch, |word| word.minus(gone));
            }
        }
        self.others.store(others.bits(), Release);
    }

    /// What other nodes spent in the running period, as of the last look.
    pub fn spent_by_others(&self, now: WallMs) -> NanoUsd {
        NanoUsd(value_in(&self.others, self.running(now).0) as i64)
    }

    /// Whether a request that started at `at` counts in the running period.
    pub(super) fn holds(&self, at: WallMs, period: Period, now: WallMs) -> bool {
        let duration = BudgetDuration::unpack(self.duration.load(Acquire));
        let start =
            duration.map(|duration| period_from(duration, &self.zone, now, period.ends()).start);
        start.is_none_or(|start| at >= start)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::budget::Terms;

    /// 2027-01-15, a Friday, at noon.
    const NOON: WallMs = WallMs(1_800_014_400_000);

    fn slot(limit: i64, duration: Option<&str>, spent: i64) -> BudgetSlot {
        let terms = Terms {
            limit: Some(NanoUsd(limit)),
            duration: duration.and_then(BudgetDuration::parse),
            ..Terms::default()
        };
        BudgetSlot::new(terms, NanoUsd(spent), &TimeZone::UTC, NOON)
    }

    fn spend(slot: &BudgetSlot, cost: i64) -> bool {
        let held = slot.reserve(NanoUsd(cost), NOON);
        held.map(|held| slot.settle(held, NanoUsd(cost))).is_ok()
    }

    fn stored(slot: &BudgetSlot, spend: i64) {
        let says = Stored {
            spend: NanoUsd(spend),
            ends: slot.resets_at(NOON),
        };
        slot.take_stored(says, NOON);
    }

    #[test]
    fn own_spend_counts_once_before_and_after_it_is_stored() {
        let slot = slot(1_000, None, 100);
        assert!(spend(&slot, 50));
        // Others stored 300; the 50 are still in this node's journal.
        stored(&slot, 400);
        assert_eq!(slot.spent(NOON), NanoUsd(450));
        assert_eq!(slot.spent_by_others(NOON), NanoUsd(300));
        slot.mark_stored(NanoUsd(50), NOON, NOON);
        stored(&slot, 450);
        assert_eq!(slot.spent(NOON), NanoUsd(450));
        // The budget of all is what decides.
        assert!(spend(&slot, 550) && !spend(&slot, 1));
        let refused = slot.reserve(NanoUsd(1), NOON).unwrap_err();
        assert_eq!(refused.used, NanoUsd(1_000));
    }

    #[test]
    fn what_an_earlier_process_left_in_the_journal_counts_once() {
        let slot = slot(1_000, None, 100);
        slot.charge(NanoUsd(30), NOON, NOON);
        assert_eq!(slot.spent(NOON), NanoUsd(130));
        // The store has it now, and 5 of another node.
        stored(&slot, 135);
        assert_eq!(slot.spent(NOON), NanoUsd(135));
        // The snapshot knew too much.
        stored(&slot, 120);
        assert_eq!(slot.spent(NOON), NanoUsd(120));
    }

    #[test]
    fn what_was_set_on_another_node_is_set_here() {
        let slot = slot(1_000, None, 900);
        assert!(spend(&slot, 100) && !spend(&slot, 1));
        // Set to zero elsewhere; the last 100 of this node wait in its journal.
        stored(&slot, 0);
        assert_eq!(slot.spent(NOON), NanoUsd(100));
        slot.mark_stored(NanoUsd(100), NOON, NOON);
        stored(&slot, 100);
        assert_eq!(slot.spent(NOON), NanoUsd(100));
        // And what is set here needs no look into the store.
        stored(&slot, 500);
        slot.set_spent(NanoUsd(7), NOON);
        assert_eq!(slot.spent(NOON), NanoUsd(7));
        stored(&slot, 7);
        assert_eq!(slot.spent(NOON), NanoUsd(7));
    }

    #[test]
    fn a_store_that_is_late_with_the_period_says_nothing() {
        let slot = slot(1_000, Some("1d"), 0);
        stored(&slot, 800);
        let ended = slot.resets_at(NOON);
        let tomorrow = NOON.plus_ms(86_400_000);
        assert_eq!(slot.spent(tomorrow), NanoUsd::ZERO);
        let late = Stored {
            spend: NanoUsd(800),
            ends: ended,
        };
        slot.take_stored(late, tomorrow);
        assert_eq!(slot.spent(tomorrow), NanoUsd::ZERO);
        // What started yesterday and is stored today is yesterday's.
        slot.mark_stored(NanoUsd(5), NOON, tomorrow);
        let new = Stored {
            spend: NanoUsd(30),
            ends: slot.resets_at(tomorrow),
        };
        slot.take_stored(new, tomorrow);
        assert_eq!(slot.spent(tomorrow), NanoUsd(30));
    }

    #[test]
    fn two_nodes_reach_a_budget_together_and_pass_it_by_what_they_have_not_told() {
        let (a, b) = (slot(1_000, None, 0), slot(1_000, None, 0));
        let (mut sum, mut told) = (0, 0);
        for turn in 0..40 {
            for node in [&a, &b] {
                if spend(node, 30) {
                    sum += 30;
                }
            }
            // Every fourth turn both journals are drained and the store is read.
            if turn % 4 == 3 {
                for node in [&a, &b] {
                    let own = node.spent(NOON).0 - node.spent_by_others(NOON).0;
                    let new = own - value_in(&node.stored, node.word()) as i64;
                    node.mark_stored(NanoUsd(new), NOON, NOON);
                    told += new;
                }
                stored(&a, told);
                stored(&b, told);
            }
        }
        assert_eq!(told, sum);
        assert!((970..=1_120).contains(&sum), "{sum}");
        assert_eq!((a.spent(NOON), b.spent(NOON)), (NanoUsd(sum), NanoUsd(sum)));
    }
}
