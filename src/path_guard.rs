//! Admission asks no other process: what would is stopped wherever debug assertions are on, so
//! that every test of a whole gateway asserts it. In a release it is nothing.

use std::future::Future;

tokio::task_local! {
    /// Whether this task is deciding about a request.
    static DECIDES: bool;
}

/// Runs what decides about a request, from its key to its line in the journal.
pub fn admission<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    scoped(true, work)
}

/// Runs what only some requests need and no budget, limit or key waits for: who made an object
/// that a request names.
pub fn beside<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    scoped(false, work)
}

/// To be said before every question to another process: Redis, Postgres, a node, a provider.
pub fn asks(whom: &str) {
    let on_path = DECIDES.try_with(|decides| *decides).unwrap_or(false);
    debug_assert!(!on_path, "admission asks {whom}");
}

/// Boxed: where it is checked, size is no matter.
#[cfg(debug_assertions)]
fn scoped<T>(decides: bool, work: impl Future<Output = T>) -> impl Future<Output = T> {
    Box::pin(DECIDES.scope(decides, work))
}

#[cfg(not(debug_assertions))]
fn scoped<T>(_: bool, work: impl Future<Output = T>) -> impl Future<Output = T> {
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_on_the_path_is_stopped_and_elsewhere_is_not() {
        asks("nobody");
        beside(async { asks("a store") }).await;
        admission(beside(async { asks("a store") })).await;
        let caught = tokio::spawn(admission(async { asks("redis") })).await;
        assert_eq!(caught.is_err(), cfg!(debug_assertions));
    }

    #[tokio::test]
    async fn what_another_task_does_meanwhile_is_its_own() {
        admission(async {
            let other = tokio::spawn(async { asks("a store") });
            other.await.unwrap();
        })
        .await;
    }
}
