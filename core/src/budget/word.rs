//! The two packed words of a budget: an amount in a period, and a period's number and end.

use crate::time::WallMs;

/// Bits of an amount.
const VALUE_BITS: u32 = 60;

/// Largest amount, in nano-dollars.
pub(super) const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

/// Bits of a moment in milliseconds: until the year 2109.
const END_BITS: u32 = 42;

/// End of a period that never ends.
pub(super) const NEVER: i64 = (1 << END_BITS) - 1;

/// Number of a period, modulo 2^22. An amount carries the low four bits: they can be mistaken only
/// by a thread that slept through sixteen ends between two of its instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(u32);

impl Epoch {
    const MASK: u32 = (1 << (64 - END_BITS)) - 1;
    const TAG: u32 = (1 << (64 - VALUE_BITS)) - 1;

    /// Distances below this are ahead, others behind.
    pub(super) const HALF: u32 = 1 << (63 - VALUE_BITS);

    pub(super) fn after(self) -> Self {
        Self(self.0.wrapping_add(1) & Self::MASK)
    }

    pub(super) fn before(self) -> Self {
        Self(self.0.wrapping_sub(1) & Self::MASK)
    }

    pub(super) fn parity(self) -> usize {
        (self.0 & 1) as usize
    }

    #[cfg(test)]
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// Periods from that of `word` to this one, modulo sixteen.
    pub(super) fn distance_from(self, word: Word) -> u32 {
        self.0.wrapping_sub(word.tag()) & Self::TAG
    }
}

/// An amount in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    pub(super) fn new(epoch: Epoch, value: u64) -> Self {
        Self(u64::from(epoch.0 & Epoch::TAG) << VALUE_BITS | value.min(VALUE_MAX))
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn value(self) -> u64 {
        self.0 & VALUE_MAX
    }

    /// What can be added without losing count.
    pub(super) fn room(self) -> u64 {
        VALUE_MAX - self.value()
    }

    pub(super) fn parity(self) -> usize {
        (self.tag() & 1) as usize
    }

    pub(super) fn epoch_matches(self, other: Self) -> bool {
        self.tag() == other.tag()
    }

    pub(super) fn plus(self, amount: u64) -> Self {
        self.with(self.value().saturating_add(amount))
    }

    pub(super) fn minus(self, amount: u64) -> Self {
        self.with(self.value().saturating_sub(amount))
    }

    fn with(self, value: u64) -> Self {
        Self(self.0 & !VALUE_MAX | value.min(VALUE_MAX))
    }

    fn tag(self) -> u32 {
        (self.0 >> VALUE_BITS) as u32
    }
}

/// A period: its number, and its end in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) epoch: Epoch,
    pub(super) end: i64,
}

impl Period {
    pub(super) fn never(epoch: Epoch) -> Self {
        Self { epoch, end: NEVER }
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            epoch: Epoch((bits >> END_BITS) as u32),
            end: (bits & NEVER as u64) as i64,
        }
    }

    pub(super) fn bits(self) -> u64 {
        u64::from(self.epoch.0) << END_BITS | self.end.clamp(0, NEVER) as u64
    }

    /// `None` is never.
    pub(super) fn ends(self) -> Option<WallMs> {
        (self.end != NEVER).then_some(WallMs(self.end))
    }
}
