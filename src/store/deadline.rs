//! One deadline for all that a caller asks the store in a row.

use std::time::{Duration, Instant};

use crate::clock;

tokio::task_local! {
    static ENDS: Instant;
}

/// Runs work whose reads are broken off at `ends`, however many there are and whatever they wait
/// for: for their turn, for a connection or for rows. Writes are not.
pub async fn with_deadline<T>(ends: Instant, work: impl Future<Output = T>) -> T {
    ENDS.scope(ends, work).await
}

/// How long a read may take that has no more than `most`.
pub(super) fn time_left(most: Duration) -> Duration {
    let ends = ENDS.try_with(|ends| *ends);
    ends.map_or(most, |ends| {
        most.min(ends.saturating_duration_since(clock::mono()))
    })
}
