//! An answer from the cache: settled at no cost, then sent as it was sent the first time.

use std::sync::Arc;

use meridian_core::cache::{Entry, Shape};
use meridian_core::spend::EndReason;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::{Delivered, head};
use crate::plane::admit::Admitted;
use crate::plane::early;
use crate::plane::reply::{self, Gone};
use crate::plane::settle::{self, Outcome};
use crate::state::State;

/// Settles and sends an answer from the cache.
pub(crate) async fn replay(
    state: &State,
    session: &mut ServerSession,
    mut admitted: Box<Admitted>,
    entry: Arc<Entry>,
) -> Delivered {
    let targets = admitted.group.targets().iter();
    let mut targets = targets.filter(|one| one.deployment.id == entry.answer.deployment_id);
    let target = targets.next().cloned();
    let mut head = head::of_cached(&admitted, &entry, target.as_deref());
    if let Some(transcript) = &mut admitted.transcript {
        match entry.answer.shape {
            Shape::Whole => transcript.whole(&entry.body),
            Shape::Stream => transcript.stream(&entry.body),
        }
    }
    if let Some(cache) = &state.cache {
        cache.counts().saved(&entry.answer);
    }
    let outcome = Outcome {
        target: target.as_ref(),
        first_content: Some(Instant::now()),
        cached: Some(&entry),
        ..Outcome::without_answer(EndReason::Complete, 200)
    };
    let settled = settle::settle(admitted, outcome);
    head::add_cost(&mut head, &settled);
    let body = entry.body.clone();
    let sent = match entry.answer.shape {
        Shape::Whole => reply::send_whole(state, session, head, body).await,
        Shape::Stream if early::is_open(session) => reply::send_end(session, body).await,
        Shape::Stream => match reply::send_head(state, session, head).await {
            Ok(()) => reply::send_end(session, body).await,
            Err(Gone) => Err(Gone),
        },
    };
    match sent {
        Ok(()) => Delivered::Whole,
        Err(Gone) => Delivered::Gone,
    }
}
