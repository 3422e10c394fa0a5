//! Rights taken away outside the home region: a set that only grows.

use serde::{Deserialize, Serialize};

use super::{Body, RecordKind};
use crate::money::NanoUsd;

/// A block, a deletion or a lower budget, written by the region that took the call and valid
/// everywhere from then on. It counts while the record's generation is not above its own, so only
/// the home region can lift it.
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
    /// Identity of its record: one for each target, effect and region of origin.
    pub fn record_id(&self, origin: &str) -> String {
        let effect = match self.restricts {
            Restricts::Revoked => "revoked",
            Restricts::Blocked => "blocked",
            Restricts::Lowered(_) => "lowered",
        };
        let (kind, id) = (self.target_kind.as_str(), &self.target_id);
        format!("{kind}/{id}/{effect}/{origin}")
    }

    /// Whether it counts against a record of this generation.
    pub fn binds(&self, generation: u32) -> bool {
        generation <= self.generation || self.restricts == Restricts::Revoked
    }
}
