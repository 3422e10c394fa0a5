//! What management wrote, as requests need it: keys and their scopes in memory.
//!
//! A request never waits for the store. Every record that changes comes through
//! [`Registry::apply`], whoever wrote it: this node's management API, another node, another region,
//! a snapshot. A record that is not newer than what is known is ignored, so that a slow writer can
//! neither undo a block nor bring back what was deleted.

mod alike;
mod apply;
mod borrowed;
mod customers;
mod keys;
mod parties;
mod resolve;
mod restrictions;
mod routed;
mod spend;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use jiff::tz::TimeZone;
use meridian_core::access::ModelRules;
use meridian_core::auth::KeyView;
use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::party::View;
use meridian_core::record::{Bounds, Record, RecordKind};
use meridian_core::scope::ScopeKind;
use meridian_core::time::WallMs;

use keys::Keys;
use parties::Parties;
use restrictions::Restrictions;
pub use routed::RoutedBudgets;

use crate::store::StoredRecord;

/// How long what was deleted is remembered, against writers that read it before.
const REMOVED_MS: i64 = 3_600_000;
/// Most deleted keys that are remembered; the oldest are forgotten first.
const REMOVED_MAX: usize = 100_000;

/// Keys and scopes of this node.
#[derive(Debug)]
pub struct Registry {
    /// The clock that budget periods follow.
    zone: TimeZone,
    keys: Keys,
    parties: Parties,
    budgets: DashMap<Box<str>, HeldBudget>,
    restrictions: Restrictions,
    active: spend::Active,
    /// Budgets that decide where requests go.
    routed: ArcSwap<RoutedBudgets>,
    customers: customers::Customers,
    /// Whether a scope without a record has none anywhere.
    complete: AtomicBool,
    /// Writers come one at a time; readers never wait for them.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct HeldBudget {
    version: u64,
    bounds: Bounds,
    models: ModelRules,
}

/// What is counted for a record, as a store or a snapshot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Spent in the running period.
    pub spend: NanoUsd,
    /// End of the running period; `None` is never.
    pub resets_at: Option<WallMs>,
}

impl Counted {
    /// What a store says of a record.
    pub fn of(stored: &StoredRecord) -> Self {
        let StoredRecord {
            spend, resets_at, ..
        } = *stored;
        Self { spend, resets_at }
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Requests follow it from now on.
    Taken,
    /// Something as new or newer is known already.
    Stale,
    /// Requests do not look at records of this kind here: models, credentials, settings.
    NotHere,
    /// It cannot be read, and why. What was known before goes on; a scope of which nothing was
    /// known is blocked.
    Unreadable(String),
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its kind.
    pub kind: &'static str,
    /// Its id: in a line of the log only through `whose` of the telemetry.
    pub id: String,
    /// What is wrong with it.
    pub why: String,
}

impl Registry {
    /// Nothing is known. Budget periods follow the calendar of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            keys: Keys::default(),
            parties: Parties::default(),
            budgets: DashMap::default(),
            restrictions: Restrictions::default(),
            active: spend::Active::default(),
            customers: customers::Customers::default(),
            routed: ArcSwap::default(),
            complete: AtomicBool::new(true),
            writing: Mutex::new(()),
        }
    }

    /// The zone whose calendar budget periods follow.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether every record there is has been applied. While it has not, a key whose team, user or
    /// organization is not known is refused: it might have limits.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Says whether every record there is has been applied.
    pub fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Release);
    }

    /// The key with this digest, or the one that replaced it while its grace period runs.
    pub fn get(&self, hash: &KeyHash, now: WallMs) -> Option<Arc<KeyView>> {
        self.keys.get(hash, now)
    }

    /// The digest that replaced a rotated one, while its grace period runs.
    pub fn active_of(&self, hash: &KeyHash, now: WallMs) -> Option<KeyHash> {
        self.keys.active_of(hash, now)
    }

    /// Number of keys, rotated ones not counted.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that have a budget, at most `count_max` of them.
    pub fn with_budget(&self, count_max: usize, now: WallMs) -> Vec<Arc<KeyView>> {
        self.keys.with_budget(count_max, now)
    }

    /// What is known of a scope other than a key; `None` is no record.
    pub fn view(&self, kind: ScopeKind, id: &str) -> Option<Arc<View>> {
        self.parties.view(kind, id)
    }

    /// Drops what is not needed any more. To be called once a minute; nothing depends on its being
    /// on time.
    pub fn sweep(&self, now: WallMs) {
        let _writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.sweep(now);
        self.parties.sweep(now);
        self.active.sweep(now);
    }

    /// When a key was deleted; `None` where there is one, and where nobody remembers.
    pub fn gone_since(&self, hash: &KeyHash) -> Option<WallMs> {
        self.keys.gone_since(hash)
    }

    /// Takes one record; several that belong together are better given to [`Self::apply_all`].
    /// `counted` is what a store says is spent: without it counters begin at zero or go on.
    pub fn apply(&self, record: &Record, counted: Option<Counted>, now: WallMs) -> Applied {
        let _writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply_one(record, counted, now)
    }

    /// Takes records, of one write or of a whole store, in an order in which no key is seen
    /// without its limits and the counters of a rotated key go on. Returns what cannot be read.
    pub fn apply_all<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a Record, Option<Counted>)>,
        now: WallMs,
    ) -> Vec<Unread> {
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_by_key(|(record, _)| place(record));
        let _writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let apply = |(record, counted): (&Record, Option<Counted>)| match self
            .apply_one(record, counted, now)
        {
            Applied::Unreadable(why) => Some(Unread {
                kind: record.kind.as_str(),
                id: record.id.clone(),
                why,
            }),
            Applied::Taken | Applied::Stale | Applied::NotHere => None,
        };
        records.into_iter().filter_map(apply).collect()
    }
}

/// Which records of one write come first: what others refer to, then what keys become, keys last
/// and their ends at the very end.
fn place(record: &Record) -> u8 {
    match record.kind {
        RecordKind::Restriction => 0,
        RecordKind::Budget => 1,
        RecordKind::Organization => 2,
        RecordKind::Team => 3,
        RecordKind::User => 4,
        RecordKind::TeamMember | RecordKind::OrganizationMember => 5,
        RecordKind::Customer | RecordKind::Tag => 6,
        RecordKind::RotatedKey => 7,
        RecordKind::Key if record.deleted => 9,
        RecordKind::Key => 8,
        RecordKind::Model | RecordKind::Credential | RecordKind::Setting => 10,
    }
}

#[cfg(test)]
mod tests;
