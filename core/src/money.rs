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
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (
            self.0.unsigned_abs() / 1_000_000_000,
            self.0.unsigned_abs() % 1_000_000_000,
        );
        // Written into several headers of every answer: no text is made on the way.
        let mut digits = [b'0'; 9];
        let mut left = fraction;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        let length = digits.iter().rposition(|digit| *digit != b'0');
        let digits = &digits[..=length.unwrap_or(0)];
        write!(f, "{sign}{whole}.")?;
        f.write_str(std::str::from_utf8(digits).unwrap_or("0"))
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
        assert_eq!(NanoUsd::from_dollars(f64::NAN), None);
        assert_eq!(NanoUsd::from_dollars(1e30), None);
    }
}
