//! An answer whose bytes are not read: audio, file contents, very large JSON.

use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;
use meridian_core::cache::Shape;
use meridian_core::meter::Meter;
use meridian_core::spend::EndReason;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::{Delivered, head, join};
use crate::plane::admit::Admitted;
use crate::plane::client_gone;
use crate::plane::forward::Answer;
use crate::plane::lookup::{self, Complete, Keeping};
use crate::plane::reply::{self, Gone};
use crate::plane::settle::{self, Outcome};
use crate::state::State;

/// Last bytes of a large JSON answer that are kept: its usage stands there.
const TAIL_BYTES: usize = 64 * 1024;

/// Streams an answer through and settles it.
pub(super) async fn relay(
    state: &State,
    session: &mut ServerSession,
    mut admitted: Box<Admitted>,
    mut answer: Box<Answer>,
    mut parts: Vec<Bytes>,
) -> Delivered {
    let mut head = head::of_answer(&admitted, &answer);
    if let Some(length) = answer.head.headers.get(http::header::CONTENT_LENGTH) {
        head.set(http::header::CONTENT_LENGTH, length.clone());
    }
    let mut copy = Copy {
        state,
        tail: Tail::default(),
        keeping: admitted.keeping.take(),
    };
    parts.iter().for_each(|part| copy.push(part));
    let stall = admitted.stall_timeout(&answer.target);
    let ends_at = admitted.ends_at(&answer.target);
    let mut reason = match reply::send_head(state, session, head).await {
        Ok(()) => None,
        Err(Gone) => Some(EndReason::ClientGoneBeforeFirstByte),
    };
    while reason.is_none() {
        let held = join(&mut parts);
        // An empty part would be an empty DATA frame, which some h2 clients count as abuse.
        if !held.is_empty() && reply::send_part(session, held).await.is_err() {
            reason = Some(EndReason::ClientGoneMidStream);
            break;
        }
        reason = match next(session, &mut answer, stall, ends_at).await {
            Ok(Some(part)) => {
                copy.push(&part);
                parts.push(part);
                None
            }
            Ok(None) => Some(EndReason::Complete),
            Err(reason) => Some(reason),
        };
    }
    finish(
        state,
        session,
        admitted,
        answer,
        reason.unwrap_or(EndReason::Complete),
        copy,
    )
    .await
}

async fn next(
    session: &mut ServerSession,
    answer: &mut Answer,
    (stall, stalled): (Duration, EndReason),
    ends_at: Instant,
) -> Result<Option<Bytes>, EndReason> {
    tokio::select! {
        read = answer.source.read_body() => read.map_err(|_| EndReason::UpstreamReset),
        () = client_gone(session) => Err(EndReason::ClientGoneMidStream),
        () = tokio::time::sleep_until(Instant::now() + stall) => Err(stalled),
        () = tokio::time::sleep_until(ends_at) => Err(EndReason::Timeout),
    }
}

async fn finish(
    state: &State,
    session: &mut ServerSession,
    admitted: Box<Admitted>,
    answer: Box<Answer>,
    reason: EndReason,
    copy: Copy<'_>,
) -> Delivered {
    let complete = reason == EndReason::Complete;
    let meter = copy.tail.read(&admitted);
    let outcome = Outcome {
        reason,
        status: match reason {
            EndReason::ClientGoneBeforeFirstByte => 499,
            _ => answer.head.status.as_u16(),
        },
        target: Some(&answer.target),
        meter: Some(&meter),
        sent_at: Some(answer.sent_at),
        first_content: Some(answer.ready_at),
        ready_at: Some(answer.ready_at),
        gaps: None,
        error: None,
        cached: None,
    };
    let keeping = lookup::kept(copy.keeping, &admitted, reason, outcome.status);
    let settled = settle::settle(admitted, outcome);
    if let Some(keeping) = keeping {
        let complete = Complete {
            target: &answer.target,
            head: &answer.head,
            settled: &settled,
            shape: Shape::Whole,
            response_id: None,
        };
        keeping.complete(state, complete);
    }
    if !complete {
        answer.source.cancel().await;
        // No error can be told inside foreign bytes: a cut connection is the honest ending.
        session.shutdown().await;
        return Delivered::Gone;
    }
    answer.source.finish(&state.upstreams).await;
    match reply::send_end(session, Bytes::new()).await {
        Ok(()) => Delivered::Whole,
        Err(Gone) => Delivered::Gone,
    }
}

/// What is kept of the bytes that pass.
struct Copy<'a> {
    state: &'a State,
    tail: Tail,
    keeping: Option<Box<Keeping>>,
}

impl Copy<'_> {
    fn push(&mut self, part: &[u8]) {
        self.tail.push(part);
        if let Some(keeping) = &mut self.keeping {
            keeping.record(self.state, part);
        }
    }
}

/// The end of a body that is not kept whole.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        if self.bytes.len() > 2 * TAIL_BYTES {
            self.bytes.drain(..self.bytes.len() - TAIL_BYTES);
        }
    }

    /// The usage of a JSON answer that was too large to be kept whole stands at its end; bytes
    /// that are not JSON say nothing.
    fn read(&self, admitted: &Admitted) -> Meter {
        let mut meter = admitted.meter();
        let usage = memmem::rfind(&self.bytes, b"\"usage\"").map(|at| &self.bytes[at..]);
        if let Some(usage) = usage {
            let object = [b"{".as_slice(), usage.trim_ascii_end()].concat();
            meter.body(&object);
        }
        meter
    }
}
