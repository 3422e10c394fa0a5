//! A whole JSON answer: settled first, so that its cost goes into a header; then sent in one
//! write.

use bytes::Bytes;
use meridian_core::cache::Shape;
use meridian_core::meter::Meter;
use meridian_core::spend::EndReason;
use pingora_core::protocols::http::ServerSession;

use super::{Delivered, head};
use crate::plane::admit::Admitted;
use crate::plane::forward::Answer;
use crate::plane::lookup::{self, Complete};
use crate::plane::reply::{self, Gone};
use crate::plane::settle::{self, Outcome};
use crate::state::State;

/// Settles and sends a whole answer.
pub(super) async fn relay(
    state: &State,
    session: &mut ServerSession,
    mut admitted: Box<Admitted>,
    answer: Box<Answer>,
    body: Bytes,
    meter: &Meter,
) -> Delivered {
    let mut head = head::of_answer(&admitted, &answer);
    let outcome = Outcome {
        reason: EndReason::Complete,
        status: answer.head.status.as_u16(),
        target: Some(&answer.target),
        meter: Some(meter),
        sent_at: Some(answer.sent_at),
        first_content: Some(answer.ready_at),
        ready_at: Some(answer.ready_at),
        gaps: None,
        error: None,
        cached: None,
    };
    if let Some(transcript) = &mut admitted.transcript {
        transcript.whole(&body);
    }
    let keeping = admitted.keeping.take();
    let keeping = lookup::kept(keeping, &admitted, outcome.reason, outcome.status);
    let settled = settle::settle(admitted, outcome);
    if let Some(mut keeping) = keeping {
        keeping.record(state, &body);
        let complete = Complete {
            target: &answer.target,
            head: &answer.head,
            settled: &settled,
            shape: Shape::Whole,
            response_id: meter.facts().response_id.clone(),
        };
        keeping.complete(state, complete);
    }
    head::add_cost(&mut head, &settled);
    let sent = reply::send_whole(state, session, head, body).await;
    answer.source.finish(&state.upstreams).await;
    match sent {
        Ok(()) => Delivered::Whole,
        Err(Gone) => Delivered::Gone,
    }
}
