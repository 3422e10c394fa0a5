//! From one period to the next: by the wall clock, if it can be trusted, and never back.

use crate::time::WallMs;

/// Clocks differ by less than this, or are not used for periods. The next period begins this much
/// after its boundary, so that no healthy clock is still before it.
pub const SKEW_MAX_MS: i64 = 500;

/// Whether this node's wall clock may decide about periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockHealth {
    /// Within [`SKEW_MAX_MS`] of the others.
    Healthy,
    /// Off by so many milliseconds: the node takes no requests for budgets that have a period.
    Off(i64),
}

/// Health by the offsets (others minus own) that peers, Redis and Postgres show. With nobody to
/// compare to, a clock is believed: a node alone must work.
pub fn clock_health(offsets_ms: &mut [i64]) -> ClockHealth {
    offsets_ms.sort_unstable();
    let median = offsets_ms.get(offsets_ms.len() / 2).copied().unwrap_or(0);
    match median.abs() < SKEW_MAX_MS {
        true => ClockHealth::Healthy,
        false => ClockHealth::Off(median),
    }
}

/// What a request is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Use the period that starts here.
    Period(WallMs),
    /// The clock is off: refuse with 503, not with 429.
    Quarantined,
}

/// The running period of one scope on one node. Its start is journaled with the first row of the
/// period, so that a restart does not go back either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollover {
    start: WallMs,
}

impl Rollover {
    /// The period that runs, or the last one that the journal knows.
    pub fn new(start: WallMs) -> Self {
        Self { start }
    }

    /// The period for a request at `now`; `start_of` is the calendar (`period::period_of`).
    pub fn enter(
        &mut self,
        now: WallMs,
        health: ClockHealth,
        start_of: impl Fn(WallMs) -> WallMs,
    ) -> Entry {
        if health != ClockHealth::Healthy {
            return Entry::Quarantined;
        }
        // What is less than the skew past a boundary still belongs to the period before it.
        let start = start_of(now.plus_ms(-SKEW_MAX_MS));
        self.start = self.start.max(start);
        Entry::Period(self.start)
    }
}
