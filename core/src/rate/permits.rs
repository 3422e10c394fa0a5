//! Permits for parallel requests: leased by one node, the scope's vault, to all others, for as
//! long as they can be heard.
//!
//! A node without a lease has its even part of the limit, and the vault counts it for every node
//! that it knows and has not heard; so what nodes may use together is the limit also while a
//! region is cut off. A lease is numbered, and lowered only in the vault's own mind until the node
//! has said that it obeys; so it does not matter what is lost. One that is not heard for
//! [`LEASE_LASTS`] has its even part again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU32};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{MonoUs, WallMs};

/// A lease ends this long after the beat that it answers.
pub const LEASE_LASTS: Duration = Duration::from_secs(15);
/// The vault waits a little longer than the node, whose clock runs as fast within 1 %.
const GRACE: Duration = Duration::from_millis(500);
/// A new vault first hears what others hold.
const LISTEN: Duration = Duration::from_secs(2);

/// Which grant: by the process that gave it, and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantId {
    /// `boot` of the vault's process; zero is none.
    pub by: u64,
    /// Grows at that process.
    pub number: u64,
}

/// What a node tells the vault: when something has changed, and every few seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The grant that it obeys.
    #[serde(rename = "o")]
    pub obeys: GrantId,
    /// Permits that it may use.
    #[serde(rename = "h")]
    pub holds: u32,
    /// Permits in use.
    #[serde(rename = "u")]
    pub in_use: u32,
    /// Permits that it could use.
    #[serde(rename = "w")]
    pub wanted: u32,
    /// Its clock, in milliseconds: comes back with the grant.
    #[serde(rename = "t")]
    pub turn: u64,
}

/// What the vault answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `boot` of the process that it is for.
    pub to: u64,
    /// An older one of the same vault is ignored.
    #[serde(rename = "n")]
    pub number: u64,
    /// Permits in all, those in use included.
    #[serde(rename = "p")]
    pub permits: u32,
    /// From the beat that it answers.
    #[serde(rename = "t")]
    pub turn: u64,
}

/// Permits that everybody has who has no lease: `limit` over `nodes`, of which this is the one at
/// `rank`. All of them together are the limit.
pub fn even_part(limit: u32, rank: usize, nodes: usize) -> u32 {
    let nodes = u32::try_from(nodes.max(1)).unwrap_or(u32::MAX);
    let rank = u32::try_from(rank).unwrap_or(u32::MAX);
    limit / nodes + u32::from(rank < limit % nodes)
}

#[derive(Debug, Default)]
struct Lease {
    /// The most that the node may believe to have.
    may_use: u32,
    number: u64,
    permits: u32,
    in_use: u32,
    wanted: u32,
    turn: u64,
    until: MonoUs,
}

/// One scope's permits at the node that leases them.
#[derive(Debug)]
pub struct Vault {
    me: u64,
    began: MonoUs,
    leases: BTreeMap<u64, Lease>,
    numbers: u64,
}

impl Vault {
    /// Nothing leased; `me` is the own process.
    pub fn new(me: u64, now: MonoUs) -> Self {
        Self {
            me,
            began: now,
            leases: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Permits that nodes may be using, of those that have a lease.
    pub fn leased(&self) -> u32 {
        let leases = self.leases.values();
        leases.fold(0, |sum, lease| sum.saturating_add(lease.may_use))
    }

    /// Nodes that have a lease.
    pub fn lessees(&self) -> Vec<u64> {
        self.leases.keys().copied().collect()
    }

    /// A node was heard.
    pub fn hear(&mut self, node: u64, beat: Beat, now: MonoUs) {
        let me = self.me;
        let lease = self.leases.entry(node).or_insert_with(|| Lease {
            may_use: beat.holds,
            ..Lease::default()
        });
        if beat.obeys.by != me {
            lease.may_use = lease.may_use.max(beat.holds);
        } else if beat.obeys.number >= lease.number {
            lease.may_use = beat.holds;
        }
        // What it uses it uses.
        lease.may_use = lease.may_use.max(beat.in_use);
        (lease.in_use, lease.wanted) = (beat.in_use, beat.wanted.max(beat.in_use));
        lease.turn = lease.turn.max(beat.turn);
        lease.until = now.plus(LEASE_LASTS + GRACE);
    }

    /// What a node gets of `limit`. `known` are the processes that share it, in an order that all
    /// of them know. `None` while it is not known what the others hold.
    pub fn grant(&mut self, node: u64, known: &[u64], limit: u32, now: MonoUs) -> Option<Grant> {
        let permits = self.permits(node, known, limit, now)?;
        let lease = self.leases.get_mut(&node)?;
        // The same once more has the same number: a new one would be news to answer.
        if lease.number == 0 || lease.permits != permits {
            self.numbers += 1;
            (lease.number, lease.permits) = (self.numbers, permits);
        }
        lease.may_use = lease.may_use.max(permits);
        Some(Grant {
            to: node,
            number: lease.number,
            permits,
            turn: lease.turn,
        })
    }

    /// The same, if it is another number of permits than the last one.
    pub fn change(&mut self, node: u64, known: &[u64], limit: u32, now: MonoUs) -> Option<Grant> {
        let before = self.leases.get(&node).map(|lease| lease.permits);
        match self.permits(node, known, limit, now) == before {
            true => None,
            false => self.grant(node, known, limit, now),
        }
    }

    /// What it wants, within what is free; when others want more than they have, what it has over
    /// its even part is taken back as it falls free.
    fn permits(&mut self, node: u64, known: &[u64], limit: u32, now: MonoUs) -> Option<u32> {
        self.leases.retain(|_, lease| now < lease.until);
        let heard = known.iter().all(|life| self.leases.contains_key(life));
        if !heard && now < self.began.plus(LISTEN) {
            return None;
        }
        let lease = self.leases.get(&node)?;
        let even = |rank: usize| even_part(limit, rank, known.len());
        let others = self.leases.iter().filter(|(id, _)| **id != node);
        let used = others.clone().map(|(_, other)| other.may_use);
        let unheard = known.iter().enumerate();
        let unheard = unheard.filter(|(_, id)| !self.leases.contains_key(id));
        let unheard = unheard.map(|(rank, _)| even(rank));
        let used = used.chain(unheard).fold(0_u32, u32::saturating_add);
        let free = limit.saturating_sub(used);
        let rank = known.iter().position(|id| *id == node).unwrap_or(0);
        let mut others = others.map(|(_, other)| other);
        let most = match others.any(|other| other.wanted > other.may_use) {
            true => lease.in_use.max(even(rank)),
            false => limit,
        };
        Some(lease.wanted.min(free).min(most))
    }
}

/// A node's lease of one scope.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tenure {
    id: GrantId,
    permits: u32,
    until: MonoUs,
}

impl Tenure {
    /// The vault's answer. One that comes late is ignored.
    pub fn granted(&mut self, by: u64, grant: Grant) {
        let until = MonoUs(grant.turn.saturating_mul(1_000)).plus(LEASE_LASTS);
        let is_late = (grant.number, until) <= (self.id.number, self.until);
        if self.id.by == by && is_late {
            return;
        }
        self.id = GrantId {
            by,
            number: grant.number,
        };
        self.permits = grant.permits;
        self.until = until;
    }

    /// What to tell the vault now: permits in use, and requests that found none. A little more is
    /// wanted than is used, or each request would wait for the next beat; a node that nobody asks
    /// wants `idle`.
    pub fn beat(&self, hot: &Permits, counts: [u32; 3], now: MonoUs) -> Beat {
        let [in_use, refused, idle] = counts;
        let busy = in_use > 0 || refused > 0;
        let more = in_use
            .saturating_add(refused)
            .saturating_add(1 + in_use / 4);
        Beat {
            obeys: self.id,
            holds: hot.held(self.left(now).is_some()),
            in_use,
            wanted: if busy { more } else { idle },
            turn: now.0 / 1_000,
        }
    }

    /// Permits and the time that they are good for.
    fn left(&self, now: MonoUs) -> Option<Duration> {
        let left = self.until.since(now);
        (self.id.by != 0 && now < self.until).then_some(left)
    }
}

/// What requests see of it.
#[derive(Debug)]
pub struct Permits {
    leased: AtomicU32,
    /// The lease is good until then: a process that slept through it has its even part.
    until: AtomicI64,
    even: AtomicU32,
    refused: AtomicU32,
}

impl Default for Permits {
    /// Before the first round nothing is shared: the limit alone counts.
    fn default() -> Self {
        Self {
            leased: AtomicU32::new(0),
            until: AtomicI64::new(0),
            even: AtomicU32::new(u32::MAX),
            refused: AtomicU32::new(0),
        }
    }
}

impl Permits {
    /// Takes over what the task knows.
    pub fn set(&self, tenure: &Tenure, even: u32, (wall, now): (WallMs, MonoUs)) {
        let left = tenure.left(now).unwrap_or_default();
        let left = i64::try_from(left.as_millis()).unwrap_or(0);
        self.even.store(even, Relaxed);
        self.leased.store(tenure.permits, Relaxed);
        self.until.store(wall.0.saturating_add(left), Relaxed);
    }

    /// Requests that may run at the same time here.
    pub fn allowed(&self, now: WallMs) -> u32 {
        match now.0 < self.until.load(Relaxed) {
            true => self.leased.load(Relaxed),
            false => self.even.load(Relaxed),
        }
    }

    /// A request found none: more are wanted.
    pub fn note_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Requests that found none since this was asked last.
    pub fn take_refused(&self) -> u32 {
        self.refused.swap(0, Relaxed)
    }

    fn held(&self, leased: bool) -> u32 {
        match leased {
            true => self.leased.load(Relaxed),
            false => self.even.load(Relaxed),
        }
    }
}
