//! Who holds rights, and for what: actors, scopes and instances of periods.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scope::Scope;

/// A node in one life of its journal: the only writer of its rows.
///
/// A plain restart keeps the incarnation. A node whose journal cannot prove that it continues (new
/// disk, restored snapshot) takes the next one, so that two writers never share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// Number of the region, as configured.
    pub region: u8,
    /// Number of the node in its region.
    pub node: u16,
    /// Life of the node's journal.
    pub incarnation: u32,
}

/// Numbers of regions: the same wherever the same regions are linked, without anybody giving them.
#[derive(Clone, Debug, Default)]
pub struct RegionNumbers(BTreeMap<String, u8>);

impl RegionNumbers {
    /// Each name has the first byte of its digest or, where another one before it in the alphabet
    /// has that, the next free number.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut numbers: BTreeMap<String, u8> = BTreeMap::new();
        for name in names.into_iter().take(usize::from(u8::MAX)) {
            let mut number = first_byte(&name);
            while numbers.values().any(|taken| *taken == number) {
                number = number.wrapping_add(1);
            }
            numbers.insert(name, number);
        }
        Self(numbers)
    }

    /// The number of a region. One that is not linked has none of its own.
    pub fn of(&self, name: &str) -> u8 {
        let known = self.0.get(name).copied();
        known.unwrap_or_else(|| first_byte(name))
    }

    /// Number of the region whose name comes first.
    pub fn first(&self) -> Option<u8> {
        self.0.values().next().copied()
    }
}

fn first_byte(name: &str) -> u8 {
    let digest = Sha256::digest(name.as_bytes());
    digest.first().copied().unwrap_or_default()
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.region, self.node, self.incarnation)
    }
}

/// A text that names no actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an actor is `region.node.incarnation`, three numbers")]
pub struct BadActor;

impl FromStr for Actor {
    type Err = BadActor;

    fn from_str(text: &str) -> Result<Self, BadActor> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(BadActor);
        let actor = Self {
            region: part()?.parse().map_err(|_| BadActor)?,
            node: part()?.parse().map_err(|_| BadActor)?,
            incarnation: part()?.parse().map_err(|_| BadActor)?,
        };
        parts.next().is_none().then_some(actor).ok_or(BadActor)
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One window of one scope's budget: 128 bits of a SHA-256, so that frames between regions carry
/// no names and have a fixed length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(u128);

impl ScopeId {
    /// Smallest of all.
    pub(super) const FIRST: Self = Self(0);

    /// The window of a scope. `window` tells several budgets of one scope apart (`""` for its
    /// only one, else a duration or a model).
    pub fn of(scope: &Scope, window: &str) -> Self {
        let mut hasher = Sha256::new();
        for part in [scope.kind.label(), &scope.id, window] {
            // Lengths first: no two triples of texts have the same bytes.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let digest = hasher.finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        Self(u128::from_be_bytes(first))
    }

    /// The number itself, for tables and simulators.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The number of a text of 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    /// Of several places for it, that of the greatest weight is its own: it moves only when that
    /// place is gone.
    pub fn weight_at(self, place: u64) -> u64 {
        mixed(self.fold() ^ place)
    }

    /// Well mixed 64 bits of it.
    pub(super) fn fold(self) -> u64 {
        mixed(self.0 as u64 ^ mixed((self.0 >> 64) as u64))
    }
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeId({self})")
    }
}

impl Serialize for ScopeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bits = u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(bits))
    }
}

/// An instance of a scope's period: what rights are minted and spent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid {
    /// Whose.
    pub scope: ScopeId,
    /// Start of the period in milliseconds since the epoch: grows from period to period.
    pub index: i64,
    /// Grows with "reset now" and with a change of the duration.
    pub generation: u32,
}

impl Pid {
    /// Well mixed 64 bits of it.
    pub(super) fn fold(self) -> u64 {
        mixed(self.scope.fold() ^ mixed(self.index as u64 ^ u64::from(self.generation) << 48))
    }
}

/// The finalizer of splitmix64: the same on every machine and in every version.
pub(super) fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
