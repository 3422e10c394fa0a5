//! Rights taken away outside the home region: a set that only grows.

use serde::{Deserialize, Serialize};

use super::{Body, RecordKind};
use crate::money::NanoUsd;

/// A block, a deletion or a lower budget, written by the region that took the call and valid
/// everywhere from then on. It counts until the home region of the record lifts it: by a tombstone
/// of this very restriction, so that one which home has not heard of stands on. A generation of
/// the record above its own lifts it too, seen or unseen: for a home that is moved by force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restriction {
    /// Kind of the record.
    pub target_kind: RecordKind,
    /// Its id.
    pub target_id: String,
    /// Generation of the record that was restricted.
    pub generation: u32,
    /// What is taken away.
    pub restricts: Restricts,
}

/// What a restriction takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restricts {
    /// Everything, for good: the record is deleted.
    Revoked,
    /// Everything, until the home region unblocks it.
    Blocked,
    /// Money above this amount per period.
    Lowered(NanoUsd),
}

impl Body for Restriction {
    const KIND: RecordKind = RecordKind::Restriction;
}

impl Restriction {
    /// Identity of its record: one for each target, effect and region of origin, and each amount
    /// has its own, or lifting one would lift a lower one that was not seen.
    pub fn record_id(&self, origin: &str) -> String {
        let prefix = Self::id_prefix(self.target_kind, &self.target_id);
        match self.restricts {
            Restricts::Revoked => format!("{prefix}revoked/{origin}"),
            Restricts::Blocked => format!("{prefix}blocked/{origin}"),
            Restricts::Lowered(amount) => format!("{prefix}lowered-{}/{origin}", amount.0),
        }
    }

    /// What the ids of all restrictions of a record begin with.
    pub fn id_prefix(kind: RecordKind, id: &str) -> String {
        format!("{}/{id}/", kind.as_str())
    }

    /// Whether it counts against a record of this generation.
    pub fn binds(&self, generation: u32) -> bool {
        generation <= self.generation || self.restricts == Restricts::Revoked
    }
}
