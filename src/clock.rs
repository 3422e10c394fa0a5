//! The only file that reads time, randomness and the environment.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use meridian_core::ids::CallId;
use meridian_core::time::WallMs;

/// Wall clock now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now() -> WallMs {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    WallMs(since_epoch.unwrap_or(Duration::ZERO).as_millis() as i64)
}

/// Monotonic clock now, for durations.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn mono() -> Instant {
    Instant::now()
}

/// Sixteen bytes from a cryptographic generator that the operating system seeds: one for each
/// thread, so that an identity costs no system call.
pub fn random_bytes() -> [u8; 16] {
    rand::random()
}

/// A fresh request identity.
pub fn new_call_id() -> CallId {
    CallId::new(now(), random_bytes())
}

/// The environment, read once at start. Names or values that are not UTF-8 are left out.
pub fn environment() -> HashMap<String, String> {
    let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(utf8).collect()
}

/// A uniform number in `[0, 1)`.
pub fn dice() -> f64 {
    rand::random::<f64>()
}
