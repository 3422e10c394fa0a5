//! Requests that may end past a budget hold what they take there too.

use super::{BudgetSlot, Reservation, amount};
use crate::money::NanoUsd;
use crate::time::WallMs;

impl BudgetSlot {
    /// Holds `more` whether or not it fits, for a request that may end.
    pub fn overdraw(&self, held: &mut Reservation, more: NanoUsd, now: WallMs) {
        loop {
            let (word, period) = self.running(now);
            if period.epoch != held.epoch {
                return;
            }
            let more = amount(more).min(word.room());
            if self.commit(word, word.plus(more)) {
                held.need += more;
                return;
            }
        }
    }
}
