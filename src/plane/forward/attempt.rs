//! One try at one deployment: connect, send, wait for the head, read until it can be committed.
//!
//! It knows nothing of the client: dropping it cancels it, which is how a client that left, a
//! deadline and a faster second request end it.

mod counted;
mod inlined;
mod objects;
mod several;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::HeaderMap;
use meridian_core::routing::failure::{self, Silence};
use meridian_core::translate::CountClient;
use meridian_core::wire::upstream_error::ErrorAnswer;
use tokio::time::Instant;

pub(in crate::plane) use inlined::Inlined;

use super::{Answer, Failure, canned};
use crate::byte_budget::ByteLease;
use crate::clock;
use crate::credentials::Token;
use crate::plane::admit::Admitted;
use crate::plane::outgoing::{self, Outgoing};
use crate::plane::relay::prelude::Reader;
use crate::plane::source::Source;
use crate::rules::{Door, Target};
use crate::state::State;
use crate::upstream::{Exchange, RequestHead, ResponseHead, SendError};

/// Upstream error bodies are read up to this size.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Time to read an upstream's error body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections in closing that one attempt may meet.
const UNPROCESSED_MAX: usize = 2;
/// AWS's name of an error.
const EXCEPTION_HEADER: &str = "x-amzn-errortype";

/// One try.
pub(super) struct Attempt<'a> {
    state: &'a State,
    admitted: &'a Admitted,
    target: Arc<Target>,
    /// Turns true when a provider may bill it.
    sent: &'a AtomicBool,
    sent_at: Instant,
    limit: Duration,
    /// What was asked for, before anything of it was used up.
    asked: Duration,
    /// The caller's deadline passes before ours.
    is_callers: bool,
}

impl<'a> Attempt<'a> {
    /// A try that begins now.
    pub(super) fn new(
        state: &'a State,
        admitted: &'a Admitted,
        target: Arc<Target>,
        sent: &'a AtomicBool,
    ) -> Self {
        let sent_at = Instant::now();
        let ends_at = admitted.ends_at(&target);
        let deadline = admitted.deadline().map_or(ends_at, |at| at.min(ends_at));
        let left = deadline.saturating_duration_since(sent_at);
        let asked = admitted.timeout(&target);
        let limit = left.min(asked);
        let is_callers = left < admitted.configured_timeout(&target);
        Self {
            state,
            admitted,
            target,
            sent,
            sent_at,
            limit,
            asked,
            is_callers,
        }
    }

    /// Makes it. `client` are the headers of the client's request.
    pub(super) async fn run(mut self, client: &HeaderMap) -> Result<Box<Answer>, Failure> {
        let target = Arc::clone(&self.target);
        let Some(door) = &target.door else {
            return canned::answer(self.admitted, &self.target, self.sent_at);
        };
        if let Some(counts) = CountClient::of(self.admitted.arrival.endpoint) {
            return self.count(counts, door, client).boxed().await;
        }
        let inlined = self.inlined().boxed().await?;
        if inlined.is_some() {
            // How long that took says nothing about the deployment.
            self = Self::new(self.state, self.admitted, Arc::clone(&target), self.sent);
        }
        let answered = self.prepared(door, client, inlined.as_ref());
        let Ok(answer) = tokio::time::timeout_at(self.sent_at + self.limit, answered).await else {
            let taken = self.sent_at.elapsed();
            return Err(Failure::timeout(
                &self.target,
                self.asked,
                taken,
                self.is_callers,
            ));
        };
        let mut answer = answer?;
        self.name_results(&mut answer);
        // Not within the deadline: one that was made is not to be made again.
        let is_kept = objects::stores(self.admitted.arrival.endpoint);
        if is_kept && !objects::is_shared_list(self.admitted) {
            self.keep_owners(&answer).boxed().await;
        }
        Ok(answer)
    }

    /// Builds the request, with credentials that are held or, where none is, on their way.
    async fn prepared(
        &self,
        door: &Door,
        client: &HeaderMap,
        inlined: Option<&Inlined>,
    ) -> Result<Box<Answer>, Failure> {
        let token = match &door.source {
            None => None,
            Some(source) => Some(source.token().await.map_err(|missing| {
                let deployment = &self.target.deployment.id;
                tracing::warn!(deployment, error = %missing, "no credentials");
                Failure::without_credentials(&self.target, missing.retry_after)
            })?),
        };
        let token = token.as_deref();
        if objects::is_shared_list(self.admitted) {
            return self.own_list(door, client, token).boxed().await;
        }
        let tail = &self.admitted.ask.tail;
        let mut lease = ByteLease::new(&self.state.bytes);
        let requests = match &self.admitted.ask.batched {
            None => None,
            Some(batched) => {
                let body = &self.admitted.ask.body.bytes;
                let renamed = batched.renamed(body, &self.target, &mut lease).boxed();
                renamed.await.map_err(Failure::terminal)?
            }
        };
        let more = (inlined, requests.as_ref());
        let outgoing = self.outgoing(door, client, token, (tail, more))?;
        self.answer(door, outgoing, token).await
    }

    fn outgoing(
        &self,
        door: &Door,
        client: &HeaderMap,
        token: Option<&Token>,
        (tail, (inlined, requests)): (&str, (Option<&Inlined>, Option<&Bytes>)),
    ) -> Result<Outgoing, Failure> {
        let asked = outgoing::Asked {
            admitted: self.admitted,
            inlined,
            requests,
        };
        let outgoing = outgoing::build(asked, &self.target, door, client, token, tail);
        outgoing.map_err(Failure::terminal)
    }

    async fn answer(
        &self,
        door: &Door,
        outgoing: Outgoing,
        token: Option<&Token>,
    ) -> Result<Box<Answer>, Failure> {
        let (mut exchange, head) = self
            .accepted(door, token, &outgoing.head, &outgoing.body)
            .await?;
        for loss in &outgoing.losses {
            let (field, reason) = (loss.field.as_ref(), loss.reason);
            let call_id = &self.admitted.arrival.call_id;
            tracing::info!(%call_id, field, change = ?loss.change, reason, "translation");
            self.state.metrics.translation_lost(loss);
        }
        let mut lease = ByteLease::new(&self.state.bytes);
        if !outgoing.more.is_empty() {
            let first = (exchange, head);
            return self
                .several(door, token, outgoing, first, lease)
                .boxed()
                .await;
        }
        let reader = Reader {
            exchange: &mut exchange,
            target: &self.target,
            usage_chunk: outgoing.usage_chunk,
            telling: outgoing.telling,
        };
        let prelude = reader.read(&head, self.admitted, &mut lease).await?;
        Ok(Box::new(Answer {
            source: Source::Upstream(Box::new(exchange)),
            head,
            target: Arc::clone(&self.target),
            sent_at: self.sent_at,
            ready_at: Instant::now(),
            prelude,
            losses: outgoing.losses,
            _lease: lease,
        }))
    }

    /// Sends and waits for the head of an answer that is none of an error.
    async fn accepted(
        &self,
        door: &Door,
        token: Option<&Token>,
        head: &RequestHead,
        body: &[Bytes],
    ) -> Result<(Exchange, ResponseHead), Failure> {
        let (exchange, head) = self.exchange(door, head, body).await?;
        if head.status.is_success() {
            return Ok((exchange, head));
        }
        let refused = matches!(head.status.as_u16(), 401 | 403);
        if let Some((source, token)) = door.source.as_ref().zip(token).filter(|_| refused) {
            source.distrust(token);
        }
        Err(self.refusal(exchange, &head).await)
    }

    /// Sends and waits for the head. What the provider promises not to have processed, because its
    /// connection was closing, is sent again at once: it is one attempt, and one bill.
    async fn exchange(
        &self,
        door: &Door,
        head: &RequestHead,
        body: &[Bytes],
    ) -> Result<(Exchange, ResponseHead), Failure> {
        let mut unprocessed = 0;
        loop {
            let sent = async {
                let connection = self.state.upstreams.connect(&door.origin).await?;
                // From the moment that a connection stands, the provider may bill the request.
                self.sent.store(true, Ordering::Release);
                let mut exchange = Exchange::send(connection, head, body).await?;
                let head = exchange.read_head().await?;
                Ok((exchange, head))
            };
            match sent.await {
                Ok(answered) => return Ok(answered),
                Err(SendError::Unprocessed) if unprocessed < UNPROCESSED_MAX => unprocessed += 1,
                Err(error) => return Err(self.silence(&error)),
            }
        }
    }

    fn silence(&self, error: &SendError) -> Failure {
        let deployment = &self.target.deployment.id;
        tracing::warn!(deployment, %error, "no answer");
        let silence = match error {
            SendError::Unresolved { .. }
            | SendError::Connect { .. }
            | SendError::ConnectTimeout => Silence::Unreachable,
            SendError::Lost { .. } | SendError::Unprocessed => Silence::Lost,
            SendError::Stale { .. } => return Failure::stale(&self.target),
            SendError::Invalid { .. } => Silence::Malformed,
        };
        Failure::silent(&self.target, silence)
    }

    async fn refusal(&self, mut exchange: Exchange, head: &ResponseHead) -> Failure {
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
        exchange.finish(&self.state.upstreams).await;
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let answer = ErrorAnswer {
            status: head.status.as_u16(),
            retry_after: header("retry-after"),
            retry_after_ms: header("retry-after-ms"),
            body: &body,
            provider: &self.target.deployment.provider.exception(),
        };
        let exception = header(EXCEPTION_HEADER);
        let origin = self.target.origin();
        Failure::refused(failure::of_answer(origin, &answer, exception, clock::now()))
    }
}
