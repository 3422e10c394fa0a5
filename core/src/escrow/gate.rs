//! Where a budget meets its rights: what requests look at, put in place by the node's one task.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64};

use arc_swap::ArcSwapOption;

use super::ids::Pid;
use super::rollover::SKEW_MAX_MS;
use super::row::Rights;
use super::slot::Slot;
use crate::money::NanoUsd;
use crate::time::WallMs;

/// Rights of this node in the running period of one budget.
#[derive(Debug)]
pub struct Grant {
    pid: Pid,
    slot: Arc<Slot>,
    ends: Option<WallMs>,
    /// Settled by others, and before rights were made, as far as is known here.
    elsewhere: AtomicI64,
    /// Until then nothing can be found for a request of this size or more.
    barren_until: AtomicI64,
    barren_need: AtomicI64,
    /// Those who decide are out of reach, and nothing new is to begin meanwhile.
    closed: AtomicBool,
}

impl Grant {
    /// Rights in a period that ends; `None` is never.
    pub fn new(pid: Pid, slot: Arc<Slot>, ends: Option<WallMs>) -> Self {
        Self {
            pid,
            slot,
            ends,
            elsewhere: AtomicI64::new(0),
            barren_until: AtomicI64::new(i64::MIN),
            barren_need: AtomicI64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Which period.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The hot words.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Whether its period has ended, by a clock that may be late.
    pub fn is_over(&self, now: WallMs) -> bool {
        let ends = self.ends.map(|ends| ends.plus_ms(SKEW_MAX_MS));
        ends.is_some_and(|ends| ends <= now)
    }

    /// Settled everywhere, as far as is known here.
    pub fn used(&self) -> NanoUsd {
        let elsewhere = self.elsewhere.load(Acquire);
        NanoUsd(elsewhere.saturating_add(self.slot.used()))
    }

    /// Settled everywhere and held here.
    pub fn committed(&self) -> NanoUsd {
        NanoUsd(self.used().0.saturating_add(self.slot.reserved()))
    }

    /// Says what others have settled, and what was spent before rights were made.
    pub fn set_elsewhere(&self, spent: Rights) {
        self.elsewhere.store(spent, Release);
    }

    /// Says whether nothing new may begin, whatever rights are here.
    pub fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Release);
    }

    /// Whether nothing new may begin, because those who decide are out of reach.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Requests that need this much or more are refused at once until then.
    pub fn set_barren(&self, need: Rights, until: WallMs) {
        self.barren_need.store(need, Relaxed);
        self.barren_until.store(until.0, Release);
    }

    /// Whether it is known that asking for so much is in vain.
    pub fn is_barren(&self, need: Rights, now: WallMs) -> bool {
        now.0 < self.barren_until.load(Acquire) && need >= self.barren_need.load(Relaxed)
    }
}

/// The place of a budget's rights. Empty until a request needs some.
#[derive(Debug)]
pub struct Gate {
    grant: ArcSwapOption<Grant>,
    /// What management has set as spent, until the node's task has carried it out.
    reset: AtomicI64,
}

/// No reset is asked for; nobody has spent so little.
const NO_RESET: i64 = i64::MIN;

impl Default for Gate {
    fn default() -> Self {
        Self {
            grant: ArcSwapOption::default(),
            reset: AtomicI64::new(NO_RESET),
        }
    }
}

impl Gate {
    /// The rights of the period that runs.
    pub fn grant(&self, now: WallMs) -> Option<Arc<Grant>> {
        let grant = self.grant.load();
        let runs = grant.as_ref().filter(|grant| !grant.is_over(now));
        runs.map(Arc::clone)
    }

    /// Puts rights in place for requests that come from now on.
    pub fn set(&self, grant: Option<Arc<Grant>>) {
        self.grant.store(grant);
    }

    /// Asks for a fresh start of the running period with this much spent.
    pub fn ask_reset(&self, spent: NanoUsd) {
        self.reset.store(spent.0, Release);
    }

    /// What is to be set as spent.
    pub fn reset(&self) -> Option<NanoUsd> {
        let asked = self.reset.load(Acquire);
        (asked != NO_RESET).then_some(NanoUsd(asked))
    }

    /// It is done, unless something else was asked for meanwhile.
    pub fn end_reset(&self, spent: NanoUsd) {
        let _ = self
            .reset
            .compare_exchange(spent.0, NO_RESET, AcqRel, Relaxed);
    }
}
