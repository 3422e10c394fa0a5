//! What is read before an answer is committed: until then an error inside a 200, an empty answer
//! or a stall is an attempt that failed, and another one may follow unseen by the client.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use meridian_core::error::GatewayError;
use meridian_core::meter::{Answer, Meter};
use meridian_core::relay::{Framing, StreamRelay};
use meridian_core::restream;
use meridian_core::wire::edit::UsageChunk;
use meridian_core::wire::upstream_error::fault;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::join;
use crate::plane::admit::Admitted;
use crate::plane::client_gone;
use crate::plane::forward::{AttemptEnd, Failure};
use crate::rules::Target;
use crate::upstream::{Exchange, ResponseHead};

/// JSON answers up to this size are read whole before they are sent on, so that their cost can
/// be told in a header and an error inside a 200 can fail over.
const WHOLE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A stream is committed after this many bytes even if none of them is content yet.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// The part of an answer that was read before it was committed.
pub(crate) enum Prelude {
    /// A whole JSON body and what it says.
    Whole(Bytes, Box<Meter>),
    /// The beginning of a stream and the machine that reads it.
    Stream(Box<StreamStart>),
    /// The beginning of a body that is passed through (audio, files, very large JSON).
    Opaque(Vec<Bytes>),
}

/// The beginning of a stream.
pub(crate) struct StreamStart {
    /// Reads usage, boundaries and endings.
    pub relay: StreamRelay,
    /// Bytes for the client so far.
    pub held: Vec<Bytes>,
    /// When the first content delta arrived, if one did.
    pub first_content: Option<Instant>,
    /// The upstream ended already.
    pub at_end: bool,
}

/// One attempt whose head has arrived.
pub(crate) struct Reader<'a> {
    /// The client's side, watched for leaving.
    pub session: &'a mut ServerSession,
    /// The upstream's side.
    pub exchange: &'a mut Exchange,
    /// Who answers.
    pub target: &'a Target,
    /// When this attempt was sent.
    pub sent_at: Instant,
    /// How long it may take until it is committed.
    pub limit: Duration,
    /// Who asked for the usage chunk of a stream.
    pub usage_chunk: UsageChunk,
}

enum Interrupt {
    ClientGone,
    Broken,
    Time,
}

/// Reads the prelude of one answer.
pub(crate) async fn read(
    mut reader: Reader<'_>,
    head: &ResponseHead,
    admitted: &mut Admitted,
) -> Result<Prelude, AttemptEnd> {
    let content_type = head
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    match Framing::of(content_type) {
        Framing::Events => reader.stream(admitted).await,
        Framing::Json => reader.whole(admitted).await,
        Framing::Other => Ok(Prelude::Opaque(Vec::new())),
    }
}

impl Reader<'_> {
    async fn whole(&mut self, admitted: &mut Admitted) -> Result<Prelude, AttemptEnd> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut length = 0;
        let until = self.sent_at + self.limit;
        loop {
            match self.next(until).await {
                Ok(Some(part)) => {
                    length += part.len();
                    parts.push(part);
                }
                Ok(None) => break,
                Err(interrupt) => return Err(self.attempt_end(interrupt)),
            }
            let held = parts.last().map_or(0, Bytes::len) as u64;
            if length > WHOLE_BYTES_MAX || !admitted.answer_lease.grow(held) {
                return Ok(Prelude::Opaque(parts));
            }
        }
        let body = join(&mut parts);
        let mut meter = admitted.meter();
        match meter.body(&body) {
            Answer::Error => Err(self.reported(&meter)),
            Answer::Empty | Answer::Broken => Err(self.broken()),
            Answer::Good if admitted.ask.stream => Ok(self.as_stream(admitted, body, meter)),
            Answer::Good | Answer::NotJson => Ok(Prelude::Whole(body, Box::new(meter))),
        }
    }

    /// A JSON document in place of a stream: a streaming client would discard it silently, so it
    /// is told as events where its shape is known.
    fn as_stream(&self, admitted: &Admitted, body: Bytes, meter: Meter) -> Prelude {
        let Some(events) = restream::events(admitted.arrival.endpoint, &body) else {
            return Prelude::Whole(body, Box::new(meter));
        };
        let mut relay = admitted.stream_relay(self.usage_chunk);
        let mut held = Vec::new();
        // Our own text is well formed.
        let _ = relay.push(&Bytes::from(events), &mut held);
        Prelude::Stream(Box::new(StreamStart {
            relay,
            held,
            first_content: Some(Instant::now()),
            at_end: true,
        }))
    }

    async fn stream(&mut self, admitted: &Admitted) -> Result<Prelude, AttemptEnd> {
        let mut start = StreamStart {
            relay: admitted.stream_relay(self.usage_chunk),
            held: Vec::new(),
            first_content: None,
            at_end: false,
        };
        let waited_since = self.sent_at.max(admitted.arrival.body_at);
        let commit_at = match admitted.keepalive() {
            Duration::ZERO => self.sent_at + self.limit,
            keepalive => waited_since + keepalive,
        };
        let until = commit_at.min(self.sent_at + self.limit);
        let mut held = 0;
        while !start.at_end
            && !start.relay.facts().terminal
            && start.first_content.is_none()
            && held < HELD_BYTES_MAX
        {
            match self.next(until).await {
                Ok(Some(part)) => {
                    held += part.len();
                    start
                        .relay
                        .push(&part, &mut start.held)
                        .map_err(|_| self.broken())?;
                }
                Ok(None) => start.at_end = true,
                Err(Interrupt::Time) if Instant::now() < self.sent_at + self.limit => break,
                Err(interrupt) => return Err(self.attempt_end(interrupt)),
            }
            if start.relay.meter().facts().content_seen {
                start.first_content = Some(Instant::now());
            }
            if let Some(failure) = self.failure_of(start.relay.meter(), start.at_end) {
                return Err(failure);
            }
        }
        Ok(Prelude::Stream(Box::new(start)))
    }

    /// Next bytes from the upstream, unless the client leaves or time runs out.
    async fn next(&mut self, until: Instant) -> Result<Option<Bytes>, Interrupt> {
        tokio::select! {
            biased;
            read = self.exchange.read_body() => read.map_err(|_| Interrupt::Broken),
            () = client_gone(self.session) => Err(Interrupt::ClientGone),
            () = tokio::time::sleep_until(until) => Err(Interrupt::Time),
        }
    }

    /// The failure inside a 200 stream, if nothing but it has arrived: an error event before any
    /// content, or an end without anything.
    fn failure_of(&self, meter: &Meter, ended: bool) -> Option<AttemptEnd> {
        let facts = meter.facts();
        if facts.content_seen {
            return None;
        }
        if facts.error.is_some() {
            return Some(self.reported(meter));
        }
        let empty = ended && !meter.is_finished() && meter.usage().is_none();
        empty.then(|| self.broken())
    }

    /// An error that the provider reported under a status of success.
    fn reported(&self, meter: &Meter) -> AttemptEnd {
        let Some(complaint) = meter.facts().error.clone() else {
            return self.broken();
        };
        let provider = self.target.deployment.provider.exception();
        let error = fault(complaint, 0, None, &provider).error;
        Failure::refused(GatewayError::Upstream(Box::new(error))).into()
    }

    fn broken(&self) -> AttemptEnd {
        Failure::broken(self.target).into()
    }

    fn attempt_end(&self, interrupt: Interrupt) -> AttemptEnd {
        match interrupt {
            Interrupt::ClientGone => AttemptEnd::ClientGone,
            Interrupt::Broken => self.broken(),
            Interrupt::Time => {
                Failure::timeout(self.target, self.limit, self.sent_at.elapsed()).into()
            }
        }
    }
}
