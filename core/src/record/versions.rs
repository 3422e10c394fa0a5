//! Which version of every record a copy has: what is newer, and where two copies differ.
//!
//! Forty bytes a record instead of the record itself. Each home's records are summed in buckets;
//! equal sums mean equal copies, and a bucket that differs is all that has to be sent again.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{Record, RecordKind};

/// Buckets of a digest.
pub const BUCKETS: usize = 256;

/// Sums of the versions of one home's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(Box<[u64; BUCKETS]>);

impl Default for Digest {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

/// Some of the buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; BUCKETS / 64]);

impl Buckets {
    /// All of them.
    pub const ALL: Self = Self([u64::MAX; BUCKETS / 64]);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut both = self.0;
        for (word, other) in both.iter_mut().zip(other.0) {
            *word &= other;
        }
        Self(both)
    }

    /// Whether a record lies in one of them.
    pub fn hold(self, kind: RecordKind, id: &str) -> bool {
        let bucket = bucket(mark(kind, id));
        self.0[bucket / 64] & (1 << (bucket % 64)) != 0
    }

    /// As 64 hex digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|word| format!("{word:016x}")).collect()
    }

    /// Reads [`Self::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut words = [0; BUCKETS / 64];
        if text.len() != 16 * words.len() || !text.is_ascii() {
            return None;
        }
        for (place, word) in words.iter_mut().enumerate() {
            let digits = text.get(16 * place..16 * (place + 1))?;
            *word = u64::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(words))
    }
}

impl Digest {
    /// Buckets in which two copies differ.
    pub fn differs(&self, other: &Self) -> Buckets {
        let mut buckets = Buckets::default();
        for (bucket, (one, two)) in self.0.iter().zip(other.0.iter()).enumerate() {
            buckets.0[bucket / 64] |= u64::from(one != two) << (bucket % 64);
        }
        buckets
    }

    /// The sums.
    pub fn sums(&self) -> &[u64] {
        &self.0[..]
    }

    /// Reads [`Self::sums`].
    pub fn of_sums(sums: &[u64]) -> Option<Self> {
        let sums: [u64; BUCKETS] = sums.try_into().ok()?;
        Some(Self(Box::new(sums)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    version: u64,
    home: u16,
}

/// The versions of a copy.
#[derive(Debug, Default)]
pub struct Versions {
    known: HashMap<u128, Known>,
    homes: Vec<(String, Digest)>,
}

impl Versions {
    /// Notes a record; `false` when this version or a newer one is known.
    pub fn take(&mut self, record: &Record) -> bool {
        let mark = mark(record.kind, &record.id);
        let before = self.known.get(&mark).copied();
        if before.is_some_and(|known| known.version >= record.version) {
            return false;
        }
        let home = self.home(&record.home);
        let version = record.version;
        if let Some(before) = before {
            self.add(mark, before);
        }
        let now = Known { version, home };
        self.add(mark, now);
        self.known.insert(mark, now);
        true
    }

    /// Whether this version of a record, or a newer one, is known.
    pub fn has(&self, record: &Record) -> bool {
        let known = self.known.get(&mark(record.kind, &record.id));
        known.is_some_and(|known| known.version >= record.version)
    }

    /// How many records are known, tombstones among them.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Sums of the records of one home.
    pub fn digest(&self, home: &str) -> Digest {
        let known = self.homes.iter().find(|(name, _)| name == home);
        known.map(|(_, digest)| digest.clone()).unwrap_or_default()
    }

    fn home(&mut self, name: &str) -> u16 {
        let place = self.homes.iter().position(|(known, _)| known == name);
        let place = place.unwrap_or_else(|| {
            self.homes.push((name.to_owned(), Digest::default()));
            self.homes.len() - 1
        });
        // There are at most as many homes as regions; one too many shares the last sum.
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// Adds to a sum, or takes away again: it is its own inverse.
    fn add(&mut self, mark: u128, known: Known) {
        if let Some((_, digest)) = self.homes.get_mut(usize::from(known.home)) {
            digest.0[bucket(mark)] ^= mixed(mark, known.version);
        }
    }
}

/// Sixteen bytes that stand for a record.
fn mark(kind: RecordKind, id: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update(kind.as_str().as_bytes());
    hash.update([0x1f]);
    hash.update(id.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut head = [0; 16];
    head.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(head)
}

fn bucket(mark: u128) -> usize {
    usize::from((mark >> 120) as u8)
}

/// What a version of a record adds to its bucket: far apart for neighbours.
fn mixed(mark: u128, version: u64) -> u64 {
    let mut word = (mark as u64) ^ version.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Tag;
    use crate::time::WallMs;

    fn record(id: &str, home: &str, version: u64) -> Record {
        let mut record = Record::new(id.into(), &Tag::default(), WallMs(0));
        record.home = home.to_owned();
        record.version = version;
        record
    }

    #[test]
    fn only_newer_versions_are_taken() {
        let mut versions = Versions::default();
        assert!(versions.take(&record("a", "eu", 5)));
        assert!(!versions.take(&record("a", "eu", 5)) && !versions.take(&record("a", "eu", 4)));
        assert!(versions.has(&record("a", "eu", 5)) && !versions.has(&record("a", "eu", 6)));
        assert!(versions.take(&record("a", "eu", 6)) && versions.len() == 1);
    }

    #[test]
    fn copies_that_took_the_same_in_any_order_have_equal_sums() {
        let (mut one, mut two) = (Versions::default(), Versions::default());
        for number in 0..1_000 {
            one.take(&record(&number.to_string(), "eu", 1));
            one.take(&record(&number.to_string(), "eu", 2));
        }
        for number in (0..1_000).rev() {
            two.take(&record(&number.to_string(), "eu", 2));
        }
        assert_eq!(one.digest("eu"), two.digest("eu"));
        assert_ne!(one.digest("eu"), Digest::default());
        assert_eq!(one.digest("us"), Digest::default());
        // One newer version shows, in its bucket alone.
        two.take(&record("77", "eu", 3));
        let buckets = one.digest("eu").differs(&two.digest("eu"));
        assert!(buckets.hold(RecordKind::Tag, "77"));
        let others = (0..1_000).filter(|number| buckets.hold(RecordKind::Tag, &number.to_string()));
        assert!(others.count() < 30);
        assert_eq!(Buckets::from_hex(&buckets.to_hex()), Some(buckets));
        let sums = two.digest("eu");
        assert_eq!(Digest::of_sums(sums.sums()), Some(sums));
    }

    #[test]
    fn a_record_that_moves_home_moves_between_the_sums() {
        let mut versions = Versions::default();
        versions.take(&record("a", "", 1));
        versions.take(&record("a", "eu", 2));
        assert_eq!(versions.digest(""), Digest::default());
        assert_ne!(versions.digest("eu"), Digest::default());
    }
}
