//! How long a client may keep silent before its request.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use crate::state::State;

/// What is left to a request that is on its way when the process closes: a head that came in two
/// parts is served, and who says nothing is not waited for.
const LAST_CALL: Duration = Duration::from_millis(200);

/// What comes within `limit`; `None` if nothing does, or if the process closes while nothing came.
/// The future that awaits this must be polled when it closes ([`super::Front`] sees to that): no
/// request pays for being told.
pub(super) async fn before<T>(
    state: &State,
    limit: Duration,
    coming: impl Future<Output = T>,
) -> Option<T> {
    let mut coming = pin!(tokio::time::timeout(limit, coming));
    let mut last_call = None;
    let came = std::future::poll_fn(|cx| {
        let polled = coming.as_mut().poll(cx);
        if polled.is_ready() || !state.is_closed() {
            return polled;
        }
        let soon = || Box::pin(tokio::time::timeout(LAST_CALL, std::future::pending()));
        last_call.get_or_insert_with(soon).as_mut().poll(cx)
    });
    came.await.ok()
}
