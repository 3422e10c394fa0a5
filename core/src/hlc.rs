//! Versions of records: hybrid logical clocks, so that regions need not agree on the time.
//!
//! A version is 48 bits of milliseconds, 8 bits of counter and 8 bits of region. It fits a signed
//! 64-bit column. A later version of a record is always larger, whatever the clocks did.

use crate::time::WallMs;

/// A moment further ahead of the local clock than this is not believed.
pub const SKEW_MAX_MS: i64 = 500;

const MS_SHIFT: u32 = 16;
const MS_MAX: u64 = (1 << 47) - 1;
const COUNTER_STEP: u64 = 1 << 8;
const REGION_MASK: u64 = 0xff;

/// The version that follows `before` (0 for none), written at `now` in `region`.
pub fn next(before: u64, now: WallMs, region: u8) -> u64 {
    let ms = u64::try_from(now.0).unwrap_or(0).min(MS_MAX);
    let fresh = ms << MS_SHIFT;
    let after = (before & !REGION_MASK).saturating_add(COUNTER_STEP);
    fresh.max(after) & !REGION_MASK | u64::from(region)
}

/// The wall clock of a version.
pub fn wall(version: u64) -> WallMs {
    WallMs(i64::try_from(version >> MS_SHIFT).unwrap_or(i64::MAX))
}

/// Whether a version that another region wrote may be taken at `now`. One from far in the future
/// would win against every change until then.
pub fn is_believable(version: u64, now: WallMs) -> bool {
    wall(version).0 <= now.0.saturating_add(SKEW_MAX_MS)
}

/// The 8 bits of a region's name. Two names may share them: a record has one home, and versions
/// are only compared within one record.
pub fn region_number(name: &str) -> u8 {
    let fold = |sum: u8, byte: u8| (sum ^ byte).wrapping_mul(167);
    name.bytes().fold(0x9d, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(1_795_003_200_000);

    #[test]
    fn a_version_grows_with_every_change_whatever_the_clock_does() {
        let mut last = 0;
        for back_ms in [0, 0, 5, 3_600_000, -1, 0] {
            let version = next(last, NOW.plus_ms(-back_ms), 7);
            assert!(version > last);
            assert_eq!(version & REGION_MASK, 7);
            last = version;
        }
        assert!(i64::try_from(last).is_ok());
    }

    #[test]
    fn a_version_tells_its_time_and_one_from_the_future_is_not_believed() {
        let version = next(0, NOW, 255);
        assert_eq!(wall(version), NOW);
        assert!(is_believable(version, NOW.plus_ms(-SKEW_MAX_MS)));
        assert!(!is_believable(version, NOW.plus_ms(-SKEW_MAX_MS - 1)));
    }

    #[test]
    fn small_counts_of_older_installations_are_older_than_any_version() {
        assert!(next(41, NOW, 0) > 41);
        assert!(next(41, WallMs(0), 0) > 41);
    }
}
