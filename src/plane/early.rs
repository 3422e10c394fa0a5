//! Before a provider has answered: whoever asked for a stream gets its head and keepalives, so
//! that no proxy in between takes a long wait for a dead connection.

use bytes::Bytes;
use meridian_core::endpoint::Endpoint;
use meridian_core::relay::keepalive_bytes;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::admit::Admitted;
use super::relay;
use super::reply::{self, Gone};
use crate::rules::Target;

/// When the first keepalive is due; `None` for whoever did not ask for a stream of events.
pub(super) fn first_due(admitted: &Admitted) -> Option<Instant> {
    let streams = matches!(
        admitted.arrival.endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Completions
            | Endpoint::Responses
            | Endpoint::Messages
    );
    (streams && admitted.ask.stream).then(|| admitted.arrival.at + admitted.keepalive())
}

/// Returns when the next keepalive is due.
pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Writes a keepalive, after the head if that was not written yet, and says when the next one is
/// due. From then on a failure can only be told inside the stream.
pub(super) async fn bridge(
    session: &mut ServerSession,
    admitted: &Admitted,
    target: &Target,
) -> Result<Instant, Gone> {
    if !is_open(session) {
        let head = relay::early_head(admitted, target);
        reply::send_head(&admitted.state, session, head).await?;
    }
    let keepalive = keepalive_bytes(admitted.arrival.endpoint.dialect());
    reply::send_part(session, Bytes::from_static(keepalive)).await?;
    Ok(Instant::now() + admitted.keepalive())
}

/// Whether the head was written already; `100 Continue` is none.
pub(super) fn is_open(session: &ServerSession) -> bool {
    let written = session.response_written();
    written.is_some_and(|head| !head.status.is_informational())
}
