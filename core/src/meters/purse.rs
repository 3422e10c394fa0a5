//! The money of one scope or model: a counter, and where nodes share budgets the rights that
//! decide.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::budget::{BudgetRefusal, BudgetSlot, Reservation, Terms};
use crate::error::{BudgetScope, GatewayError};
use crate::escrow::{Gate, Grant, Hold, Pid, Short};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// What decides whether a budget has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decides {
    /// What this node has counted: it is the only one.
    Count,
    /// Rights of this node: budgets are shared with others.
    Rights,
}

/// A budget's counter and its rights.
#[derive(Debug)]
pub(super) struct Purse {
    pub(super) slot: BudgetSlot,
    pub(super) gate: Gate,
}

/// What one request holds of a purse. Give it back once.
#[must_use = "what is not given back blocks its budget"]
#[derive(Debug)]
pub(super) struct PurseHold {
    counted: Reservation,
    right: Option<(Arc<Grant>, Hold)>,
}

/// A purse that says no.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoMoney {
    /// What is used, and the limit.
    pub(super) refusal: BudgetRefusal,
    /// Rights may be had elsewhere, so many at least.
    pub(super) lacks: Option<NanoUsd>,
    /// It is no answer about money: those who decide are out of reach.
    pub(super) closed: bool,
}

/// Seconds after which a budget that is closed is asked for again.
const CLOSED_RETRY_S: u64 = 1;

impl NoMoney {
    /// The client's error.
    pub(super) fn error(self, scope: BudgetScope) -> GatewayError {
        match self.closed {
            false => self.refusal.error(scope),
            true => GatewayError::Overloaded {
                what: "Those who decide about a budget cannot be reached \
                    (degraded_policy: fail_closed)",
                retry_after_s: CLOSED_RETRY_S,
            },
        }
    }
}

impl From<BudgetRefusal> for NoMoney {
    fn from(refusal: BudgetRefusal) -> Self {
        Self {
            refusal,
            lacks: None,
            closed: false,
        }
    }
}

impl Purse {
    pub(super) fn new(terms: Terms, spent: NanoUsd, zone: &TimeZone, now: WallMs) -> Self {
        Self {
            slot: BudgetSlot::new(terms, spent, zone, now),
            gate: Gate::default(),
        }
    }

    /// Spent in the running period, by whoever decides.
    pub(super) fn decisive(&self, now: WallMs) -> NanoUsd {
        match self.gate.grant(now) {
            None => self.slot.spent(now),
            Some(grant) => self.gate.reset().unwrap_or_else(|| grant.used()),
        }
    }

    /// The same as far as anybody knows: a node that left before this one came told it nothing, and
    /// what it spent is in the store.
    pub(super) fn spent(&self, now: WallMs) -> NanoUsd {
        let decisive = self.decisive(now);
        match self.gate.reset() {
            Some(_) => decisive,
            None => decisive.max(self.slot.spent(now)),
        }
    }

    pub(super) fn reserve(
        &self,
        need: NanoUsd,
        decides: Decides,
        now: WallMs,
    ) -> Result<PurseHold, NoMoney> {
        let limit = match decides {
            Decides::Count => None,
            Decides::Rights => self.slot.limit(now),
        };
        let Some(limit) = limit else {
            let counted = self.slot.reserve(need, now)?;
            let right = None;
            return Ok(PurseHold { counted, right });
        };
        let Some(grant) = self.gate.grant(now).filter(|_| self.gate.reset().is_none()) else {
            let used = self.spent(now);
            let lacks = Some(need);
            return Err(self.no(used, (limit, lacks), now));
        };
        if grant.is_closed() {
            let closed = true;
            let no = self.no(grant.committed(), (limit, None), now);
            return Err(NoMoney { closed, ..no });
        }
        // Lowered, and rights for the old limit are still here; or all is known to be used, and
        // only what is granted beyond is left.
        let most = grant.committed().saturating_add(need);
        let lowered = most > limit && grant.slot().room() >= need.0;
        if lowered {
            return Err(self.no(grant.committed(), (limit, None), now));
        }
        match grant.slot().reserve(need.0) {
            Ok(hold) => Ok(PurseHold {
                counted: self.slot.count(now),
                right: Some((grant, hold)),
            }),
            Err(short) => {
                let vain = grant.is_barren(need.0, now) && short != Short::Frozen;
                let lacks = (!vain).then_some(need);
                Err(self.no(grant.committed(), (limit, lacks), now))
            }
        }
    }

    /// Whether [`Self::reserve`] would hold `need` now, as far as can be seen without trying.
    pub(super) fn has_room(&self, need: NanoUsd, decides: Decides, now: WallMs) -> bool {
        let limit = self.slot.limit(now);
        let (Decides::Rights, Some(limit)) = (decides, limit) else {
            return self.slot.has_room(need, now);
        };
        let grant = self.gate.grant(now).filter(|_| self.gate.reset().is_none());
        grant.is_some_and(|grant| {
            let most = grant.committed().saturating_add(need);
            !grant.is_closed() && most <= limit && grant.slot().room() >= need.0
        })
    }

    /// Holds nothing and is never refused; what it costs in the end counts.
    pub(super) fn count(&self, decides: Decides, now: WallMs) -> PurseHold {
        let grant = match decides {
            Decides::Count => None,
            Decides::Rights => self.gate.grant(now),
        };
        let right = grant.and_then(|grant| {
            let hold = grant.slot().hold_nothing()?;
            Some((grant, hold))
        });
        let counted = self.slot.count(now);
        PurseHold { counted, right }
    }

    pub(super) fn extend(
        &self,
        held: &mut PurseHold,
        more: NanoUsd,
        now: WallMs,
    ) -> Result<(), NoMoney> {
        let Some((grant, hold)) = &mut held.right else {
            return Ok(self.slot.extend(&mut held.counted, more, now)?);
        };
        grant.slot().extend(hold, more.0).map_err(|_| {
            let limit = self.slot.limit(now).unwrap_or_default();
            self.no(grant.committed(), (limit, Some(more)), now)
        })
    }

    /// Holds `more` whether or not there is room, for a request that may end.
    pub(super) fn overdraw(&self, held: &mut PurseHold, more: NanoUsd, now: WallMs) {
        match &mut held.right {
            Some((grant, hold)) => grant.slot().overdraw(hold, more.0),
            None => self.slot.overdraw(&mut held.counted, more, now),
        }
    }

    /// Says what the request can cost over what it holds.
    pub(super) fn expose(&self, held: &mut PurseHold, excess: NanoUsd) {
        if let Some((grant, hold)) = &mut held.right {
            grant.slot().expose(hold, excess.0);
        }
    }

    pub(super) fn shrink(&self, held: &mut PurseHold, less: NanoUsd) {
        match &mut held.right {
            Some((grant, hold)) => grant.slot().shrink(hold, less.0),
            None => self.slot.shrink(&mut held.counted, less),
        }
    }

    /// Returns what is spent in the running period with it.
    pub(super) fn settle(&self, held: PurseHold, cost: NanoUsd) -> NanoUsd {
        let counted = self.slot.settle(held.counted, cost);
        let Some((grant, hold)) = held.right else {
            return counted;
        };
        grant.slot().settle(hold, cost.0);
        grant.used()
    }

    pub(super) fn release(&self, held: PurseHold) {
        self.slot.release(held.counted);
        if let Some((grant, hold)) = held.right {
            grant.slot().release(hold);
        }
    }

    fn no(
        &self,
        used: NanoUsd,
        (limit, lacks): (NanoUsd, Option<NanoUsd>),
        now: WallMs,
    ) -> NoMoney {
        let resets_at = self.slot.resets_at(now);
        let refusal = BudgetRefusal {
            used: used.max(self.spent(now)),
            limit,
            resets_at,
        };
        NoMoney {
            refusal,
            lacks,
            closed: false,
        }
    }
}

impl PurseHold {
    /// The period whose rights it holds.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.right.as_ref().map(|(grant, _)| grant.pid())
    }
}
