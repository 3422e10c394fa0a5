//! Stage 4: the answer on its way to the client.

mod head;
mod opaque;
pub(crate) mod prelude;
mod progress;
mod replay;
mod stream;
mod telling;
mod whole;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;

pub(crate) use self::head::early_head;
pub(crate) use self::prelude::Prelude;
pub(crate) use self::replay::replay;
use super::admit::Admitted;
use super::forward::Answer;
use crate::state::State;

/// What became of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The answer was written whole; the connection may be used again.
    Whole,
    /// The client left or had to be cut off.
    Gone,
}

/// Sends an answer on and settles its request.
pub(crate) async fn relay(
    state: &State,
    session: &mut ServerSession,
    admitted: Box<Admitted>,
    mut answer: Box<Answer>,
) -> Delivered {
    let prelude = std::mem::replace(&mut answer.prelude, Prelude::Opaque(Vec::new()));
    let delivered = match prelude {
        Prelude::Whole(body, meter) => {
            whole::relay(state, session, admitted, answer, body, &meter).await
        }
        Prelude::Stream(start) => stream::relay(state, session, admitted, answer, start).await,
        Prelude::Opaque(parts) => opaque::relay(state, session, admitted, answer, parts).await,
    };
    if state.owners.has_written() {
        Box::pin(state.owners.keep_written()).await;
    }
    delivered
}

/// Empties a list of slices into one, without a copy when there is only one.
fn join(parts: &mut Vec<Bytes>) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut joined = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
    parts
        .drain(..)
        .for_each(|part| joined.extend_from_slice(&part));
    Bytes::from(joined)
}
