//! How far settled spend can be over the budget: computed, never guessed.

use crate::journal::Rates;
use crate::money::NanoUsd;

use super::row::Rights;

/// Terms of the bound of one period on one node. Lag, the length of a partition, the number of
/// regions and the size of the budget are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// What requests have cost over their reservations so far.
    pub metering: Rights,
    /// What the requests that run now can still cost over theirs.
    pub running: Rights,
    /// Lowered, but not destroyed yet: spend stays within the older, larger budget.
    pub pending_decrease: Rights,
    /// Given to scopes whose plan could not be read (`cold_policy: micro`).
    pub cold: Rights,
    /// Held or spent without rights and not paid off: by streams that may end (`on_exhausted:
    /// finish` and `refuse_only`), and what is granted while those who decide are out of reach
    /// (`degraded_policy: fail_open`).
    pub overdraft: Rights,
    /// Charges that a power loss can take with it: those since the last sync.
    pub unsynced: Rights,
}

impl Exposure {
    /// The bound.
    pub fn total(&self) -> Rights {
        [
            self.metering,
            self.running,
            self.pending_decrease,
            self.cold,
            self.overdraft,
            self.unsynced,
        ]
        .into_iter()
        .fold(0, Rights::saturating_add)
    }

    /// Both together: another node's, another region's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = Rights::saturating_add;
        Self {
            metering: sum(self.metering, other.metering),
            running: sum(self.running, other.running),
            pending_decrease: sum(self.pending_decrease, other.pending_decrease),
            cold: sum(self.cold, other.cold),
            overdraft: sum(self.overdraft, other.overdraft),
            unsynced: sum(self.unsynced, other.unsynced),
        }
    }
}

/// What a running stream can cost over its reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Estimated input tokens.
    pub prompt_tokens: u64,
    /// How far the estimate can be off, in thousandths.
    pub prompt_error_permille: u64,
    /// Output tokens per second at most.
    pub tokens_per_s: u64,
    /// Time from the cut to the end of billing, in milliseconds.
    pub cut_ms: u64,
    /// Output tokens in one chunk.
    pub chunk_tokens: u64,
    /// Prices.
    pub rates: Rates,
}

impl Running {
    /// Input that was estimated too low, and output that came after the cut.
    pub fn excess(&self) -> NanoUsd {
        let prompt = (self.prompt_tokens * self.prompt_error_permille).div_ceil(1_000);
        let late = (self.tokens_per_s * self.cut_ms).div_ceil(1_000);
        self.rates.cost(prompt, late + self.chunk_tokens)
    }
}
