//! Exact decimals for prices: read from their text, multiplied as integers, rounded once.

use crate::money::NanoUsd;

/// Yocto-dollars (1e-24 USD) per nano-dollar.
const YOCTO_PER_NANO: i128 = 1_000_000_000_000_000;
/// Decimal places that a [`Rate`] keeps. The longest price in the map has 24.
const PLACES: i32 = 24;
/// A price above a million dollars per unit is a mistake.
const RATE_MAX: i128 = 10i128.pow(30);
/// Digits of a number that are kept; the rest are beyond any price.
const DIGITS_MAX: u32 = 30;

/// Yocto-dollars (1e-24 USD): the price of one unit, or an amount that is not rounded yet.
/// Never negative. Sums and products stop at the end of the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(i128);

impl Rate {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal as JSON writes it (`3e-7`, `0.0000025`), exact to 24 places. `None` when it
    /// is not a number, is negative or is above a million dollars.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = scan(digits)?;
        let value = shift(mantissa, exponent.saturating_add(PLACES))?;
        let fits = value <= RATE_MAX && !(negative && value != 0);
        fits.then_some(Self(value))
    }

    /// This price for `count` units.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i128::from(count)))
    }

    /// This price per second for a number of milliseconds.
    #[must_use]
    pub fn times_ms(self, ms: u64) -> Self {
        Self(self.times(ms).0 / 1000)
    }

    /// Half of it.
    #[must_use]
    pub fn half(self) -> Self {
        Self(self.0 >> 1)
    }

    /// Sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference, zero when `other` is larger.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0).max(0))
    }

    /// Product with a multiplier.
    #[must_use]
    pub fn scaled(self, factor: Factor) -> Self {
        if factor == Factor::ONE {
            return self;
        }
        let by = i128::from(factor.0);
        let (whole, rest) = (self.0 / Factor::UNIT, self.0 % Factor::UNIT);
        // The rest is below 1e9 and the factor below 2^64, so only the first product can saturate.
        Self(
            whole
                .saturating_mul(by)
                .saturating_add(rest * by / Factor::UNIT),
        )
    }

    /// Nearest nano-dollar, half up.
    pub fn round(self) -> NanoUsd {
        // 10^15 = 2^15 * 5^15: after the shift, amounts below 600 dollars divide as 64 bits.
        let shifted = self.0.saturating_add(YOCTO_PER_NANO / 2) >> 15;
        let nano = match u64::try_from(shifted) {
            Ok(small) => i128::from(small / 5u64.pow(15)),
            Err(_) => shifted / 5i128.pow(15),
        };
        NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
    }
}

/// A multiplier with nine decimal places, such as a regional uplift of 1.1. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(u64);

impl Factor {
    const UNIT: i128 = 1_000_000_000;
    /// Changes nothing.
    pub const ONE: Self = Self(1_000_000_000);
    /// Makes everything free.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal as JSON writes it. `None` when it is not a number or is negative.
    pub fn parse(text: &str) -> Option<Self> {
        let rate = Rate::parse(text)?;
        u64::try_from(rate.0 / YOCTO_PER_NANO).ok().map(Self)
    }
}

impl Default for Factor {
    fn default() -> Self {
        Self::ONE
    }
}

/// Digits and power of ten of a decimal; `None` when it is not one.
fn scan(text: &str) -> Option<(u128, i32)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, power)) => (number, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (mut mantissa, mut kept, mut exponent) = (0u128, 0, exponent);
    let (mut seen_point, mut seen_digit) = (false, false);
    for byte in number.bytes() {
        match byte {
            b'.' if !seen_point => seen_point = true,
            b'0'..=b'9' => {
                seen_digit = true;
                if kept < DIGITS_MAX {
                    mantissa = mantissa * 10 + u128::from(byte - b'0');
                    kept += u32::from(mantissa != 0);
                    exponent = exponent.saturating_sub(i32::from(seen_point));
                } else {
                    exponent = exponent.saturating_add(i32::from(!seen_point));
                }
            }
            _ => return None,
        }
    }
    seen_digit.then_some((mantissa, exponent))
}

/// `mantissa * 10^power`, rounded half up; `None` when it does not fit.
fn shift(mantissa: u128, power: i32) -> Option<i128> {
    if mantissa == 0 {
        return Some(0);
    }
    let scale = 10u128.checked_pow(power.unsigned_abs());
    let value = match (power < 0, scale) {
        (false, Some(scale)) => mantissa.checked_mul(scale)?,
        (false, None) => return None,
        (true, Some(scale)) => mantissa.saturating_add(scale / 2) / scale,
        (true, None) => 0,
    };
    i128::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_however_they_are_written() {
        let exact = Rate::parse("0.0000003").unwrap();
        for text in [
            "3e-7", "3E-07", "0.3e-6", "30e-8", "+3e-7", " 3e-7 ", "3.0e-7",
        ] {
            assert_eq!(Rate::parse(text), Some(exact), "{text}");
        }
        assert_eq!(exact.times(10_000_000).round(), NanoUsd(3_000_000_000));
        let long = Rate::parse("3.0001999999999996e-07").unwrap();
        assert_eq!(long.0, 300_019_999_999_999_960);
        assert_eq!(Rate::parse("-0.0"), Some(Rate::ZERO));
        assert_eq!(Rate::parse("0e99999"), Some(Rate::ZERO));
        assert_eq!(Rate::parse("1e-99999"), Some(Rate::ZERO));
    }

    #[test]
    fn what_is_not_a_price_is_refused() {
        let bad = [
            "",
            "-",
            ".",
            "abc",
            "-1e-6",
            "1e",
            "1e99",
            "1e999999999999",
            "NaN",
            "inf",
        ];
        for text in bad.into_iter().chain(["1.2.3", "1 2", "0x10", "1e7", "٣"]) {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
        let many_digits = "9".repeat(1000);
        assert_eq!(Rate::parse(&many_digits), None);
        assert_eq!(Rate::parse(&format!("0.{many_digits}")), Rate::parse("1"));
    }

    #[test]
    fn rounding_is_half_up_and_extremes_stop() {
        assert_eq!(Rate::parse("0.0000000005").unwrap().round(), NanoUsd(1));
        assert_eq!(Rate::parse("0.00000000049999").unwrap().round(), NanoUsd(0));
        let most = Rate::parse("1000000").unwrap().times(u64::MAX);
        let factor = Factor::parse("999999").unwrap();
        assert_eq!(most.scaled(factor).plus(most).round(), NanoUsd(i64::MAX));
        assert_eq!(Rate::ZERO.minus(most), Rate::ZERO);
    }

    #[test]
    fn a_multiplier_is_exact() {
        let uplift = Factor::parse("1.1").unwrap();
        let rate = Rate::parse("0.000003").unwrap().times(1000);
        assert_eq!(rate.scaled(uplift).round(), NanoUsd(3_300_000));
        assert_eq!(Factor::parse("-0.1"), None);
    }
}
