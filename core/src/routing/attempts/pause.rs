//! How long to wait before the same deployment is asked again.

use std::time::Duration;

use crate::routing::policy::RetryPolicy;

/// First pause; doubles with each further one.
const FIRST: Duration = Duration::from_millis(500);

/// Longest pause of the gateway's own.
const LONGEST: Duration = Duration::from_secs(8);

/// Longest `Retry-After` that is waited for; above it the client is told to come back itself.
const ASKED_MAX: Duration = Duration::from_secs(10);

/// The pause before retry number `retries` (from zero). `None` when the provider asks for longer
/// than a client should be held.
pub(super) fn at_same(
    retries: u32,
    asked: Option<Duration>,
    policy: &RetryPolicy,
    dice: f64,
) -> Option<Duration> {
    let pause = match asked {
        Some(asked) if asked > ASKED_MAX => return None,
        // Not sooner than was asked for, and not all at the same moment.
        Some(asked) => asked.mul_f64(1.0 + 0.1 * dice),
        None => {
            let doubled = FIRST * 2_u32.pow(retries.min(4));
            doubled.min(LONGEST).mul_f64(0.75 + 0.5 * dice)
        }
    };
    Some(pause.max(policy.pause_min))
}
