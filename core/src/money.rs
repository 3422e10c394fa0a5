//! Money as an integer number of nano-dollars. Never a float, never a silent overflow.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Nano-dollars (1e-9 USD). `i64` holds up to 9.2 billion dollars.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// One dollar.
    pub const DOLLAR: Self = Self(1_000_000_000);

    /// Nearest nano-dollar to a decimal number of dollars as JSON and YAML write it; `None` when
    /// it is not finite or does not fit.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let nano = (dollars * 1e9).round();
        (nano.is_finite() && nano.abs() < 9.2e18).then_some(Self(nano as i64))
    }

    /// Dollars as the float that LiteLLM's JSON shows; for display only.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Sum that stops at the ends of the range instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference that stops at the ends of the range instead of wrapping.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written into several headers of every answer: from the last digit to the first, without
        // the detour over other formatters. Ten digits, the point, nine digits, the sign.
        let mut text = [b'0'; 21];
        let mut left = self.0.unsigned_abs();
        let mut at = text.len();
        let mut end = text.len();
        for place in 0..9 {
            at -= 1;
            text[at] = b'0' + (left % 10) as u8;
            left /= 10;
            // Zeros at the end are left out, but one digit stays.
            if end == at + 1 && text[at] == b'0' && place < 8 {
                end = at;
            }
        }
        at -= 1;
        text[at] = b'.';
        loop {
            at -= 1;
            text[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if self.0 < 0 {
            at -= 1;
            text[at] = b'-';
        }
        f.write_str(std::str::from_utf8(&text[at..end]).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact_to_the_nano_both_ways() {
        assert_eq!(NanoUsd::from_dollars(0.00015), Some(NanoUsd(150_000)));
        assert_eq!(NanoUsd(150_000).to_string(), "0.00015");
        assert_eq!(NanoUsd(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(NanoUsd::ZERO.to_string(), "0.0");
        assert_eq!(NanoUsd(1).to_string(), "0.000000001");
        assert_eq!(NanoUsd(-20_000_000_000).to_string(), "-20.0");
        assert_eq!(NanoUsd(100_000_000).to_string(), "0.1");
        assert_eq!(NanoUsd(i64::MAX).to_string(), "9223372036.854775807");
        assert_eq!(NanoUsd(i64::MIN).to_string(), "-9223372036.854775808");
        assert_eq!(NanoUsd::from_dollars(f64::NAN), None);
        assert_eq!(NanoUsd::from_dollars(1e30), None);
    }
}
