//! How much is asked for on one node, in one period.

use std::time::Duration;

use super::row::Rights;
use super::slot::Slot;
use crate::time::MonoUs;

/// Demand is taken to have been nothing for so long before the first request.
const BEFORE: Duration = Duration::from_secs(10);

/// Demand: what is asked for per second, averaged.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// The average so far, which begins at nothing, and what it says of the demand.
    mean: f64,
    pub(super) rate: f64,
    since: Option<MonoUs>,
    pub(super) need: Rights,
    seen: Rights,
    at: Option<MonoUs>,
    /// Last moment that anything was asked for.
    pub(super) asked: Option<MonoUs>,
}

impl Demand {
    /// Takes what was asked for since the last look.
    pub(super) fn look(&mut self, slot: &Slot, now: MonoUs, tau: Duration) {
        let offered = slot.offered();
        let more = (offered - self.seen).max(0);
        self.seen = offered;
        if more > 0 {
            self.asked = Some(now);
            let (last, before) = (slot.need(), self.need);
            self.need = match before {
                0 => last,
                _ => before + (last - before) / 8,
            };
        }
        let Some(before) = self.at.replace(now) else {
            return;
        };
        let seconds = now.since(before).as_secs_f64();
        let weight = |time: Duration| 1.0 - (-time.as_secs_f64() / tau.as_secs_f64()).exp();
        if seconds > 0.0 {
            let weight = weight(now.since(before));
            self.mean += weight * (more as f64 / seconds - self.mean);
        }
        let seen = now.since(*self.since.get_or_insert(before));
        self.rate = self.mean / weight(seen + BEFORE);
    }
}
