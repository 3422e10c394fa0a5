//! Permits for parallel requests: leased by a region's vault to its nodes, for as long as they
//! can be heard.
//!
//! A lease is absolute and numbered. A vault lowers one only in its own mind until the node has
//! said that it obeys; so what nodes may use together never exceeds the pool, whatever is lost.
//! A node that is not heard for [`LEASE_LASTS`] has lost its lease: its requests died with it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::escrow::Actor;
use crate::time::MonoUs;

/// A lease ends this long after the beat that it answers.
pub const LEASE_LASTS: Duration = Duration::from_secs(15);
/// The vault waits a little longer than the node, whose clock runs as fast within 1 %.
const GRACE: Duration = Duration::from_millis(500);

/// What a node tells its vault: every second, and when it has no permit left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Number of the grant that it obeys.
    pub obeys: u64,
    /// Permits in use.
    pub in_use: u32,
    /// Permits that it could use.
    pub wanted: u32,
}

/// What the vault answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Grows; an older grant is ignored.
    pub number: u64,
    /// Permits in all, those in use included.
    pub permits: u32,
}

#[derive(Debug, Default)]
struct Lease {
    /// The most that the node may believe to have.
    may_use: u32,
    granted: Grant,
    in_use: u32,
    wanted: u32,
    until: MonoUs,
}

impl Default for Grant {
    fn default() -> Self {
        let (number, permits) = (0, 0);
        Self { number, permits }
    }
}

/// A region's permits of one scope. Its pool comes from the other regions through `escrow`, where
/// a permit is a right that is reserved and never spent.
#[derive(Debug, Default)]
pub struct PermitVault {
    leases: BTreeMap<Actor, Lease>,
    numbers: u64,
}

impl PermitVault {
    /// Permits that nodes may be using.
    pub fn leased(&self) -> u32 {
        self.leases.values().map(|lease| lease.may_use).sum()
    }

    /// A node was heard; `pool` is what the region has.
    pub fn beat(&mut self, node: Actor, beat: Beat, pool: u32, now: MonoUs) -> Grant {
        self.expire(now);
        self.numbers += 1;
        let number = self.numbers;
        let lease = self.leases.entry(node).or_default();
        if beat.obeys >= lease.granted.number {
            lease.may_use = lease.granted.permits;
        }
        // What it uses it uses, also after this vault has restarted and knows of no grant.
        lease.may_use = lease.may_use.max(beat.in_use);
        (lease.in_use, lease.wanted) = (beat.in_use, beat.wanted.max(beat.in_use));
        lease.until = now.plus(LEASE_LASTS + GRACE);
        let permits = self.permits(node, pool);
        let lease = self.leases.entry(node).or_default();
        lease.granted = Grant { number, permits };
        lease.may_use = lease.may_use.max(permits);
        lease.granted
    }

    /// Leases of nodes that are not heard any more end.
    pub fn expire(&mut self, now: MonoUs) {
        self.leases.retain(|_, lease| now < lease.until);
    }

    /// What a node gets: what it wants, within what is free; when others want more than they
    /// have, what it has over its even part is taken back as it falls free.
    fn permits(&self, node: Actor, pool: u32) -> u32 {
        let Some(lease) = self.leases.get(&node) else {
            return 0;
        };
        let others = self.leases.iter().filter(|(id, _)| **id != node);
        let used: u32 = others.clone().map(|(_, other)| other.may_use).sum();
        let free = pool.saturating_sub(used);
        let hungry = |other: &Lease| other.wanted > other.may_use;
        let even = pool / u32::try_from(self.leases.len()).unwrap_or(1).max(1);
        let most = match others.map(|(_, other)| other).any(hungry) {
            true => lease.in_use.max(even),
            false => pool,
        };
        lease.wanted.min(free).min(most)
    }
}

/// A node's permits of one scope.
#[derive(Debug, Default)]
pub struct PermitLease {
    grant: Grant,
    until: MonoUs,
    in_use: u32,
    refused: u32,
}

impl PermitLease {
    /// Takes a permit, if there is one and the lease is still good. `now` is read after any pause
    /// of the process: a node that slept through its lease admits nothing.
    pub fn take(&mut self, now: MonoUs) -> bool {
        let room = now < self.until && self.in_use < self.grant.permits;
        match room {
            true => self.in_use += 1,
            false => self.refused = self.refused.saturating_add(1),
        }
        room
    }

    /// A request is over, however it ended.
    pub fn give_back(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// Permits in use.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// What to tell the vault now. A little more is wanted than is used, or each request would
    /// wait for the next beat.
    pub fn beat(&mut self) -> Beat {
        let refused = std::mem::take(&mut self.refused);
        Beat {
            obeys: self.grant.number,
            in_use: self.in_use,
            wanted: self
                .in_use
                .saturating_add(refused)
                .saturating_add(1 + self.in_use / 4),
        }
    }

    /// The vault's answer to the beat that was sent at `asked`. One that comes late is ignored.
    pub fn granted(&mut self, grant: Grant, asked: MonoUs) {
        if grant.number > self.grant.number {
            self.grant = grant;
            self.until = asked.plus(LEASE_LASTS);
        }
    }
}
