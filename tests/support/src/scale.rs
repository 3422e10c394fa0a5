//! How much of everything a test does: as much as fits into a suite, or as long as a proof takes.

/// Set to anything, tests of endurance run as long as their claims say.
const LONG: &str = "MERIDIAN_LONG";

/// `long` where `MERIDIAN_LONG` is set, `short` otherwise.
pub fn scaled<T>(short: T, long: T) -> T {
    match std::env::var_os(LONG).is_some_and(|value| !value.is_empty()) {
        true => long,
        false => short,
    }
}
