//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// Enough for anything that should happen at once, on a loaded machine.
pub const SOON: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(2);
/// Between two questions to another process.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Monotonic clock now; the product's own code may not read it.
pub fn now() -> Instant {
    Instant::now()
}

/// Polls until `found` has something, and returns it. Stops after `limit`, naming `what`.
pub async fn eventually<T>(limit: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Asks another process until it gets what it wants, and returns that. Stops after `limit` with
/// what was said last.
pub async fn insist<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(wanted) => return wanted,
            Err(said) => assert!(started.elapsed() < limit, "after {limit:?} still: {said}"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Runs a future under a limit. Stops after it, naming `what`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not end within {limit:?}"),
    }
}
