//! What one actor has done with rights of one period: cells that only grow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fence::Fence;
use super::ids::{Actor, Pid, mixed};

/// A right to spend one nano-dollar; for limits on parallel requests, a permit.
pub type Rights = i64;

/// The row of one actor in one period.
///
/// Every cell is absolute, only grows, and is written by this actor alone. Copies are merged by
/// the larger cell, so a copy that comes late, twice or out of order changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Rights created here, by the number of the claim: 0 for the period's plan, then raises.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub minted: BTreeMap<u32, Rights>,
    /// Rights given away, in all, by receiver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<Actor, Rights>,
    /// Copies of what givers have sent here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub received: BTreeMap<Actor, Rights>,
    /// Settled.
    pub used: Rights,
    /// Destroyed after a lowering of the budget.
    pub burned: Rights,
    /// Given back of what was used (a provider's bill was lower than the estimate).
    pub refund: Rights,
    /// How much of what came from other regions may be spent: others have witnessed it.
    #[serde(skip_serializing_if = "is_nothing")]
    pub ceiling: Rights,
    /// Ceilings of actors of other regions: whoever makes anew what they held is told of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub witnessed: BTreeMap<Actor, Rights>,
    /// Actors of other regions from which nothing more is taken, and that were fenced before.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fences: BTreeMap<Actor, Fence>,
}

fn is_nothing(rights: &Rights) -> bool {
    *rights == 0
}

impl Row {
    /// What the actor holds, open reservations included. Below zero only by what requests cost
    /// over their reservation.
    pub fn held(&self) -> Rights {
        let gained = [self.minted_total(), self.received_total(), self.refund];
        let lost = [self.sent_total(), self.burned, self.used];
        sum(gained).saturating_sub(sum(lost))
    }

    /// What the actor has spent, and may still spend.
    pub fn rights(&self) -> Rights {
        let spent = self.used.saturating_sub(self.refund);
        self.held().saturating_add(spent)
    }

    /// All rights created here.
    pub fn minted_total(&self) -> Rights {
        sum(self.minted.values().copied())
    }

    /// All rights given away.
    pub fn sent_total(&self) -> Rights {
        sum(self.sent.values().copied())
    }

    /// All rights received.
    pub fn received_total(&self) -> Rights {
        sum(self.received.values().copied())
    }

    /// What was given to `to`.
    pub fn sent_to(&self, to: Actor) -> Rights {
        self.sent.get(&to).copied().unwrap_or(0)
    }

    /// What came from `from`.
    pub fn received_from(&self, from: Actor) -> Rights {
        self.received.get(&from).copied().unwrap_or(0)
    }

    /// What came from other regions, less what was given to them and destroyed.
    pub fn brought_in(&self, me: Actor) -> Rights {
        let far = |cells: &BTreeMap<Actor, Rights>| {
            let far = cells.iter().filter(|(actor, _)| actor.region != me.region);
            sum(far.map(|(_, amount)| *amount))
        };
        far(&self.received)
            .saturating_sub(far(&self.sent))
            .saturating_sub(self.burned)
    }

    /// The ceiling that was witnessed here for an actor.
    pub fn witnessed_for(&self, actor: Actor) -> Rights {
        self.witnessed.get(&actor).copied().unwrap_or(0)
    }

    /// How far an actor is fenced here.
    pub fn fence_of(&self, actor: Actor) -> Fence {
        self.fences.get(&actor).copied().unwrap_or_default()
    }

    /// Takes over every cell that is larger in a copy of the same row.
    pub fn merge(&mut self, copy: &Self) {
        larger(&mut self.minted, &copy.minted);
        larger(&mut self.sent, &copy.sent);
        larger(&mut self.received, &copy.received);
        self.used = self.used.max(copy.used);
        self.burned = self.burned.max(copy.burned);
        self.refund = self.refund.max(copy.refund);
        self.ceiling = self.ceiling.max(copy.ceiling);
        larger(&mut self.witnessed, &copy.witnessed);
        for (actor, fence) in &copy.fences {
            self.fences.entry(*actor).or_default().merge(*fence);
        }
    }

    /// Whether no cell of `earlier` is larger than here.
    pub fn covers(&self, earlier: &Self) -> bool {
        let mut merged = self.clone();
        merged.merge(earlier);
        merged == *self
    }

    /// Whether nothing ever happened here.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A sum that stops at the end of the range: a cell that a peer got wrong must not wrap.
fn sum(cells: impl IntoIterator<Item = Rights>) -> Rights {
    cells.into_iter().fold(0, Rights::saturating_add)
}

fn larger<K: Copy + Ord>(cells: &mut BTreeMap<K, Rights>, copy: &BTreeMap<K, Rights>) {
    for (key, value) in copy {
        let cell = cells.entry(*key).or_insert(0);
        *cell = (*value).max(*cell);
    }
}

/// Digest of what two actors have given each other in one period, the same seen from both sides
/// once everything has arrived.
pub(super) fn pair_digest(pid: Pid, lower_to_upper: Rights, upper_to_lower: Rights) -> u64 {
    if lower_to_upper == 0 && upper_to_lower == 0 {
        return 0;
    }
    mixed(pid.fold() ^ mixed(lower_to_upper as u64 ^ mixed(upper_to_lower as u64)))
}
