//! Rights that were taken away outside the home region of a record.

use std::sync::Arc;

use dashmap::DashMap;
use meridian_core::money::NanoUsd;
use meridian_core::party::Standing;
use meridian_core::record::{Bounds, Record, RecordKind, Restriction, Restricts};

/// Restrictions by what they restrict.
#[derive(Debug, Default)]
pub(super) struct Restrictions {
    targets: DashMap<Target, Vec<Held>>,
}

type Target = (RecordKind, Arc<str>);

#[derive(Debug)]
struct Held {
    id: Box<str>,
    version: u64,
    /// The home region gave back what it took.
    lifted: bool,
    restriction: Restriction,
}

/// What binds one record, all restrictions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Binding {
    /// Deleted for good.
    pub(super) revoked: bool,
    /// Blocked.
    pub(super) blocked: bool,
    /// Money above this amount per period is taken away.
    pub(super) lowered: Option<NanoUsd>,
}

impl Binding {
    /// The limits that are left.
    pub(super) fn bind(self, mut bounds: Bounds) -> Bounds {
        if let Some(lowered) = self.lowered {
            let limit = bounds
                .max_budget
                .map_or(lowered, |limit| limit.min(lowered));
            bounds.max_budget = Some(limit);
        }
        bounds
    }

    /// The standing that is left.
    pub(super) fn standing(self) -> Option<Standing> {
        match self {
            Self { revoked: true, .. } => Some(Standing::Deleted),
            Self { blocked: true, .. } => Some(Standing::Blocked),
            _ => None,
        }
    }
}

impl Restrictions {
    /// Takes the record of a restriction, or its tombstone; `false` when it is known already.
    pub(super) fn put(&self, record: &Record, restriction: Restriction) -> bool {
        let (id, version) = (record.id.as_str(), record.version);
        let target = (
            restriction.target_kind,
            restriction.target_id.as_str().into(),
        );
        let mut held = self.targets.entry(target).or_default();
        let new = Held {
            id: id.into(),
            version,
            lifted: record.deleted,
            restriction,
        };
        match held.iter_mut().find(|one| *one.id == *id) {
            Some(known) if known.version >= version => return false,
            Some(known) => *known = new,
            None => held.push(new),
        }
        true
    }

    /// What binds a record of this generation.
    pub(super) fn binding(&self, kind: RecordKind, id: &str, generation: u32) -> Binding {
        let mut binding = Binding::default();
        if self.targets.is_empty() {
            return binding;
        }
        let Some(held) = self.targets.get(&(kind, id.into())) else {
            return binding;
        };
        let binds = |one: &&Held| !one.lifted && one.restriction.binds(generation);
        for one in held.iter().filter(binds) {
            match one.restriction.restricts {
                Restricts::Revoked => binding.revoked = true,
                Restricts::Blocked => binding.blocked = true,
                Restricts::Lowered(to) => {
                    let lowest = binding.lowered.map_or(to, |known| known.min(to));
                    binding.lowered = Some(lowest);
                }
            }
        }
        binding
    }
}
