//! One request's texts, embedded by several requests: a model that takes one text at a time, or
//! fewer than were asked for.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use meridian_core::routing::failure::Silence;
use tokio::time::Instant;

use super::{Answer, Attempt, Failure};
use crate::byte_budget::ByteLease;
use crate::credentials::Token;
use crate::plane::outgoing::Outgoing;
use crate::plane::relay::Prelude;
use crate::plane::source::Source;
use crate::rules::Door;
use crate::upstream::{Exchange, RequestHead, ResponseHead};

/// Requests of one client's that are on their way at the same time.
const AT_ONCE: usize = 8;
/// Most bytes of their answers together.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Attempt<'_> {
    /// Sends the requests that follow the first and joins all answers, in their order. They are
    /// one attempt: it fails with the first of them that does.
    pub(super) async fn several(
        &self,
        door: &Door,
        token: Option<&Token>,
        outgoing: Outgoing,
        (exchange, head): (Exchange, ResponseHead),
        mut lease: ByteLease,
    ) -> Result<Box<Answer>, Failure> {
        let Outgoing {
            more,
            telling,
            losses,
            ..
        } = outgoing;
        let mut bodies = vec![self.body(exchange).await?];
        let others = more.into_iter().map(|one| self.one(door, token, one));
        let mut others = futures::stream::iter(others).buffered(AT_ONCE);
        let mut held = 0;
        let malformed = || Failure::silent(&self.target, Silence::Malformed).after_some();
        // The first was answered: it is billed, whatever becomes of the others.
        while let Some(body) = others.try_next().await.map_err(Failure::after_some)? {
            held += body.len();
            if held > ANSWERS_BYTES_MAX || !lease.grow(body.len() as u64) {
                return Err(malformed());
            }
            bodies.push(body);
        }
        drop(others);
        let mut meter = self.admitted.meter();
        let joined = telling.joined(self.admitted, &bodies, &mut meter);
        let body = joined.ok_or_else(malformed)?;
        Ok(Box::new(Answer {
            source: Source::Done,
            head,
            target: Arc::clone(&self.target),
            sent_at: self.sent_at,
            ready_at: Instant::now(),
            prelude: Prelude::Whole(body, Box::new(meter)),
            losses,
            _lease: lease,
        }))
    }

    async fn one(
        &self,
        door: &Door,
        token: Option<&Token>,
        (head, body): (RequestHead, Vec<Bytes>),
    ) -> Result<Vec<u8>, Failure> {
        let (exchange, _) = self.accepted(door, token, &head, &body).await?;
        self.body(exchange).await
    }

    async fn body(&self, mut exchange: Exchange) -> Result<Vec<u8>, Failure> {
        let lost = |silence| Failure::silent(&self.target, silence);
        let mut body = Vec::new();
        while let Some(part) = exchange
            .read_body()
            .await
            .map_err(|_| lost(Silence::Lost))?
        {
            body.extend_from_slice(&part);
            if body.len() > ANSWERS_BYTES_MAX {
                return Err(lost(Silence::Malformed));
            }
        }
        exchange.finish(&self.state.upstreams).await;
        Ok(body)
    }
}
