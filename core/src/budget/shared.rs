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
