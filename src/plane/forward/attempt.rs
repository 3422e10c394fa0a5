//! One try at one deployment: connect, send, wait for the head, read until it can be committed.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::wire::upstream_error::ErrorAnswer;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::{Answer, AttemptEnd, Failure, canned};
use crate::clock;
use crate::plane::admit::Admitted;
use crate::plane::outgoing::{self, Outgoing};
use crate::plane::relay::prelude::{self, Prelude, Reader};
use crate::plane::reply::Gone;
use crate::plane::source::Source;
use crate::plane::{client_gone, early};
use crate::rules::{Door, Target};
use crate::state::State;
use crate::upstream::{Connection, Exchange, RequestHead, ResponseHead, SendError};

/// Upstream error bodies are read up to this size.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Time to read an upstream's error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections in closing that one attempt may meet.
const UNPROCESSED_MAX: usize = 2;

/// Makes one attempt.
pub(super) async fn run(
    state: &State,
    session: &mut ServerSession,
    admitted: &mut Admitted,
    target: &Arc<Target>,
    sent_at: Instant,
) -> Result<Box<Answer>, AttemptEnd> {
    let Some(door) = &target.door else {
        return canned::answer(admitted, target, sent_at);
    };
    let client = &session.req_header().headers;
    let outgoing = outgoing::build(admitted, target, door, client).map_err(Failure::terminal)?;
    let limit = admitted.timeout(target);
    let wait = Wait {
        session,
        admitted,
        target,
        until: sent_at + limit,
        limit,
    };
    let (mut exchange, head) = wait.exchange(state, door, &outgoing).await?;
    if !head.status.is_success() {
        return Err(refusal(state, exchange, &head, target).await.into());
    }
    let reader = Reader {
        session,
        exchange: &mut exchange,
        target,
        sent_at,
        limit,
        usage_chunk: outgoing.usage_chunk,
    };
    let prelude = prelude::read(reader, &head, admitted).await?;
    if early::is_open(session) && !matches!(prelude, Prelude::Stream(_)) {
        // A stream was begun for the client already: nothing else can follow.
        return Err(Failure::broken(target).into());
    }
    Ok(Box::new(Answer {
        source: Source::Upstream(Box::new(exchange)),
        head,
        target: Arc::clone(target),
        sent_at,
        ready_at: Instant::now(),
        prelude,
    }))
}

/// An attempt that waits for its provider while the client is watched.
struct Wait<'a> {
    session: &'a mut ServerSession,
    admitted: &'a mut Admitted,
    target: &'a Arc<Target>,
    /// The attempt's deadline.
    until: Instant,
    /// The time limit that led to it.
    limit: Duration,
}

impl Wait<'_> {
    /// Sends and waits for the head. What the provider promises not to have processed, because its
    /// connection was closing, is sent again at once: it is one attempt, and one bill.
    async fn exchange(
        mut self,
        state: &State,
        door: &Door,
        outgoing: &Outgoing,
    ) -> Result<(Exchange, ResponseHead), AttemptEnd> {
        let mut unprocessed = 0;
        loop {
            let connection = self.step(state.upstreams.connect(&door.origin)).await?;
            let connection = connection.map_err(|error| unreachable(self.target, &error))?;
            // From the moment that a connection stands, the provider may bill the request.
            self.admitted.mark_sent(self.target);
            match self
                .step(send(connection, &outgoing.head, &outgoing.body))
                .await?
            {
                Ok(answered) => return Ok(answered),
                Err(SendError::Unprocessed) if unprocessed < UNPROCESSED_MAX => unprocessed += 1,
                Err(error) => return Err(unreachable(self.target, &error).into()),
            }
        }
    }

    /// One step, bounded by the deadline and by the client's patience; keepalives bridge it.
    async fn step<T>(
        &mut self,
        step: impl Future<Output = Result<T, SendError>>,
    ) -> Result<Result<T, SendError>, AttemptEnd> {
        tokio::pin!(step);
        loop {
            tokio::select! {
                biased;
                done = &mut step => return Ok(done),
                () = client_gone(self.session) => return Err(AttemptEnd::ClientGone),
                () = tokio::time::sleep_until(self.until) => {
                    let taken = self.limit + self.until.elapsed();
                    return Err(Failure::timeout(self.target, self.limit, taken).into());
                }
                () = early::due(self.admitted.keepalive_due) => {
                    let bridged = early::bridge(self.session, self.admitted, self.target).await;
                    bridged.map_err(|Gone| AttemptEnd::ClientGone)?;
                }
            }
        }
    }
}

/// Sends the request and reads the head of its answer.
async fn send(
    connection: Connection,
    head: &RequestHead,
    body: &[bytes::Bytes],
) -> Result<(Exchange, ResponseHead), SendError> {
    let mut exchange = Exchange::send(connection, head, body).await?;
    let head = exchange.read_head().await?;
    Ok((exchange, head))
}

fn unreachable(target: &Target, error: &SendError) -> Failure {
    tracing::warn!(deployment = target.deployment.id, %error, "no answer");
    Failure::broken(target)
}

async fn refusal(
    state: &State,
    mut exchange: Exchange,
    head: &ResponseHead,
    target: &Target,
) -> Failure {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(part)) = exchange.read_body().await {
            let room = ERROR_BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&part[..part.len().min(room)]);
            if body.len() == ERROR_BODY_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(ERROR_BODY_TIMEOUT, read).await;
    exchange.finish(&state.upstreams).await;
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let answer = ErrorAnswer {
        status: head.status.as_u16(),
        retry_after: header("retry-after"),
        retry_after_ms: header("retry-after-ms"),
        body: &body,
        provider: &target.deployment.provider.exception(),
    };
    let error = answer.read(clock::now()).error;
    Failure::refused(GatewayError::Upstream(Box::new(error)))
}
