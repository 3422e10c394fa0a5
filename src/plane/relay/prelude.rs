//! What is read before an answer is committed: until then an error inside a 200, an empty answer
//! or a stall is an attempt that failed, and another one may follow unseen by the client.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use meridian_core::meter::{Answer, Meter};
use meridian_core::relay::{Framing, Line};
use meridian_core::restream;
use meridian_core::routing::failure::{Silence, of_complaint};
use meridian_core::wire::edit::UsageChunk;
use tokio::time::Instant;

use super::join;
use super::telling::Unreadable;
use crate::byte_budget::ByteLease;
use crate::plane::admit::Admitted;
use crate::plane::forward::Failure;
use crate::plane::outgoing::Telling;
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
    pub relay: Line,
    /// Bytes for the client so far.
    pub held: Vec<Bytes>,
    /// When the first content delta arrived, if one did.
    pub first_content: Option<Instant>,
    /// The upstream ended already.
    pub at_end: bool,
}

/// One attempt whose head has arrived.
pub(crate) struct Reader<'a> {
    /// The upstream's side.
    pub exchange: &'a mut Exchange,
    /// Who answers.
    pub target: &'a Target,
    /// Who asked for the usage chunk of a stream.
    pub usage_chunk: UsageChunk,
    /// What has to be done with it.
    pub telling: Telling,
}

impl Reader<'_> {
    /// Reads the prelude of one answer.
    pub(crate) async fn read(
        mut self,
        head: &ResponseHead,
        admitted: &Admitted,
        lease: &mut ByteLease,
    ) -> Result<Prelude, Failure> {
        let content_type = head.headers.get(CONTENT_TYPE);
        match Framing::of(content_type.and_then(|value| value.to_str().ok())) {
            Framing::Events => self.stream(admitted).await,
            Framing::Json => self.whole(admitted, lease).await,
            Framing::Other if !self.telling.passes() => self.whole(admitted, lease).await,
            Framing::Other => Ok(Prelude::Opaque(Vec::new())),
        }
    }

    async fn whole(
        &mut self,
        admitted: &Admitted,
        lease: &mut ByteLease,
    ) -> Result<Prelude, Failure> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut length = 0;
        while let Some(part) = self.next().await? {
            let held = part.len();
            length += held;
            parts.push(part);
            if length > WHOLE_BYTES_MAX || !lease.grow(held as u64) {
                return match self.telling.passes() {
                    true => Ok(Prelude::Opaque(parts)),
                    false => Err(self.silent(Silence::Malformed)),
                };
            }
        }
        let body = join(&mut parts);
        let mut meter = admitted.meter();
        let (body, read) = match self.telling.whole(admitted, &body, &mut meter) {
            Some(told) => told.map_err(|Unreadable| self.silent(Silence::Malformed))?,
            None => {
                let read = meter.body(&body);
                (body, read)
            }
        };
        match read {
            Answer::Error => Err(self.reported(&meter)),
            Answer::Empty => Err(self.silent(Silence::Empty)),
            Answer::Broken => Err(self.silent(Silence::Malformed)),
            Answer::Good if admitted.ask.stream => Ok(self.as_stream(admitted, body, meter)),
            Answer::Good | Answer::NotJson => {
                let alias = admitted.alias().filter(|_| self.telling.passes());
                let named = alias.and_then(|alias| alias.body(&body));
                Ok(Prelude::Whole(named.unwrap_or(body), Box::new(meter)))
            }
        }
    }

    /// A JSON document in place of a stream: a streaming client would discard it silently, so it
    /// is told as events where its shape is known.
    fn as_stream(&self, admitted: &Admitted, body: Bytes, meter: Meter) -> Prelude {
        let Some(events) = restream::events(admitted.arrival.endpoint, &body) else {
            return Prelude::Whole(body, Box::new(meter));
        };
        let alias = admitted.alias().filter(|_| self.telling.passes());
        let mut relay = admitted.stream_relay(self.usage_chunk).under(alias);
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

    async fn stream(&mut self, admitted: &Admitted) -> Result<Prelude, Failure> {
        let alias = admitted.alias().filter(|_| self.telling.passes());
        let relay = admitted.stream_relay(self.usage_chunk).under(alias);
        let relay = self.telling.stream(admitted, relay);
        let mut start = StreamStart {
            relay: relay.ok_or_else(|| self.silent(Silence::Malformed))?,
            held: Vec::new(),
            first_content: None,
            at_end: false,
        };
        let mut held = 0;
        while !start.at_end
            && !start.relay.facts().terminal
            && start.first_content.is_none()
            && held < HELD_BYTES_MAX
        {
            match self.next().await? {
                Some(part) => {
                    held += part.len();
                    let pushed = start.relay.push(&part, &mut start.held);
                    pushed.map_err(|_| self.silent(Silence::Malformed))?;
                }
                None => start.at_end = true,
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

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let read = self.exchange.read_body().await;
        read.map_err(|_| self.silent(Silence::Lost))
    }

    /// The failure inside a 200 stream that has not been committed: an error event before any
    /// content, an event there that no client could read, or an end without anything.
    fn failure_of(&self, meter: &Meter, ended: bool) -> Option<Failure> {
        let facts = meter.facts();
        if facts.malformed_first && facts.error.is_none() {
            return Some(self.silent(Silence::Malformed));
        }
        if facts.content_seen {
            return None;
        }
        if facts.error.is_some() {
            return Some(self.reported(meter));
        }
        let empty = ended && !meter.is_finished() && meter.usage().is_none();
        empty.then(|| self.silent(Silence::Empty))
    }

    /// An error that the provider reported under a status of success.
    fn reported(&self, meter: &Meter) -> Failure {
        let Some(complaint) = meter.facts().error.clone() else {
            return self.silent(Silence::Malformed);
        };
        let origin = self.target.origin();
        Failure::refused(of_complaint(origin, complaint, 200, None, None))
    }

    fn silent(&self, silence: Silence) -> Failure {
        Failure::silent(self.target, silence)
    }
}
