//! A stream: every read goes on at once, silence is bridged by keepalives at event boundaries,
//! and an upstream that breaks never looks like one that finished.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use meridian_core::cache::Shape;
use meridian_core::relay::{Ending, abort_reply};
use meridian_core::spend::EndReason;
use pingora_core::protocols::http::ServerSession;
use tokio::sync::watch;
use tokio::time::Instant;

use super::prelude::StreamStart;
use super::progress::Noted;
use super::{Delivered, head, join};
use crate::plane::admit::Admitted;
use crate::plane::client_gone;
use crate::plane::early;
use crate::plane::forward::Answer;
use crate::plane::lookup::{self, Complete, Keeping};
use crate::plane::reply::{self, Gone};
use crate::plane::settle::{self, Outcome, Settled};
use crate::state::State;
use crate::telemetry::metrics::GapSketch;
use crate::upstream::ResponseHead;

/// Longest wait for the end of a body whose last event has arrived, so that its connection can
/// be used again.
const TAIL_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest wait for the usage of a stream whose client left, when draining is asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What the upstream or the clock did next.
enum Turn {
    Bytes(Bytes),
    End,
    Broken,
    ClientGone,
    Silence,
    Stall,
    /// The time for the whole answer is over.
    Late,
    /// The process ends before the stream does.
    Cut,
}

/// One stream on its way from an upstream to a client.
struct Stream<'a> {
    state: &'a State,
    session: &'a mut ServerSession,
    answer: Box<Answer>,
    start: Box<StreamStart>,
    noted: Noted,
    gaps: GapSketch,
    last_bytes: Instant,
    last_write: Instant,
    keepalive: Duration,
    /// Longest silence, and how a stream that is silent for longer ends.
    stall: (Duration, EndReason),
    /// When it must be over.
    ends_at: Instant,
    /// Where its bytes go beside the client.
    keeping: Option<Box<Keeping>>,
    cut: watch::Receiver<bool>,
}

/// Relays a stream to its end and settles it.
pub(crate) async fn relay(
    state: &State,
    session: &mut ServerSession,
    mut admitted: Box<Admitted>,
    answer: Box<Answer>,
    start: Box<StreamStart>,
) -> Delivered {
    let head = head::of_stream(&admitted, &answer);
    let now = Instant::now();
    let keepalive = admitted.keepalive();
    let stall = admitted.stall_timeout(&answer.target);
    let ends_at = admitted.ends_at(&answer.target);
    let gaps = GapSketch::default();
    let (last_bytes, last_write) = (now, now);
    let mut stream = Stream {
        state,
        session,
        answer,
        start,
        noted: Noted::default(),
        gaps,
        last_bytes,
        last_write,
        keepalive,
        stall,
        ends_at,
        keeping: admitted.keeping.take(),
        cut: state.cut.subscribe(),
    };
    let reason = stream.run(head, &mut admitted).await;
    stream.finish(admitted, reason).await
}

impl Stream<'_> {
    /// Relays until the stream is over; the bytes of its last event are still held then, because
    /// the ledger comes first.
    async fn run(&mut self, head: ResponseHead, admitted: &mut Admitted) -> EndReason {
        let open = early::is_open(self.session);
        if !open
            && reply::send_head(self.state, self.session, head)
                .await
                .is_err()
        {
            return EndReason::ClientGoneBeforeFirstByte;
        }
        loop {
            if let Some(reason) = self.over() {
                return reason;
            }
            if admitted.is_revoked() {
                return EndReason::Revoked;
            }
            if !self.is_covered(admitted) {
                return EndReason::BudgetCut;
            }
            self.listen(admitted);
            if self.write_held(admitted).await.is_err() {
                return EndReason::ClientGoneMidStream;
            }
            match self.next().await {
                Turn::Bytes(bytes) => {
                    self.gaps.record(self.last_bytes.elapsed());
                    self.last_bytes = Instant::now();
                    if self.start.relay.push(&bytes, &mut self.start.held).is_err() {
                        return EndReason::UpstreamReset;
                    }
                    self.note_first_content(admitted);
                    if self.last_bytes >= self.ends_at {
                        return EndReason::Timeout;
                    }
                }
                Turn::End => self.start.at_end = true,
                Turn::Silence => {
                    if self.keep_alive().await.is_err() {
                        return EndReason::ClientGoneMidStream;
                    }
                }
                Turn::Broken => return EndReason::UpstreamReset,
                Turn::ClientGone => return EndReason::ClientGoneMidStream,
                Turn::Stall => return self.stall.1,
                Turn::Late => return EndReason::Timeout,
                Turn::Cut => return EndReason::InternalError,
            }
        }
    }

    /// Whether the budgets have room for what is about to leave.
    fn is_covered(&self, admitted: &mut Admitted) -> bool {
        let meter = self.start.relay.meter();
        let reported = meter.usage().map_or(0, |usage| usage.completion);
        self.start.held.is_empty() || admitted.cover(meter.facts().content.tokens().max(reported))
    }

    /// A stream that was committed before any content: its first token is late, and counts.
    fn note_first_content(&mut self, admitted: &mut Admitted) {
        if self.start.first_content.is_none() && self.start.relay.facts().content_seen {
            self.start.first_content = Some(self.last_bytes);
            if let Some(flight) = &mut admitted.flight {
                flight.first_token(self.state);
            }
        }
    }

    /// How the stream ended, if it did.
    fn over(&mut self) -> Option<EndReason> {
        let relay = &mut self.start.relay;
        if self.start.at_end {
            return Some(match relay.finish(&mut self.start.held) {
                Ending::Complete => EndReason::Complete,
                Ending::ProviderError => EndReason::ProviderError,
                Ending::Empty | Ending::Cut => EndReason::UpstreamReset,
            });
        }
        let facts = relay.facts();
        match (facts.terminal, facts.error.is_some()) {
            (true, true) => Some(EndReason::ProviderError),
            (true, false) => Some(EndReason::Complete),
            (false, _) => None,
        }
    }

    async fn next(&mut self) -> Turn {
        let silence_at = self.last_write + self.keepalive;
        let stall_at = self.last_bytes + self.stall.0;
        let may_keep_alive = !self.keepalive.is_zero() && self.start.relay.at_event_boundary();
        let last_at = stall_at.min(self.ends_at);
        let wake_at = match may_keep_alive {
            true => silence_at.min(last_at),
            false => last_at,
        };
        tokio::select! {
            biased;
            _ = self.cut.wait_for(|cut| *cut) => Turn::Cut,
            read = self.answer.source.read_body() => match read {
                Ok(Some(bytes)) => Turn::Bytes(bytes),
                Ok(None) => Turn::End,
                Err(_) => Turn::Broken,
            },
            () = client_gone(self.session) => Turn::ClientGone,
            () = tokio::time::sleep_until(wake_at) => match wake_at {
                at if at == self.ends_at => Turn::Late,
                at if at == stall_at => Turn::Stall,
                _ => Turn::Silence,
            },
        }
    }

    /// Hands what is about to leave to the transcript, if there is one.
    fn listen(&self, admitted: &mut Admitted) {
        if let Some(transcript) = &mut admitted.transcript {
            for bytes in &self.start.held {
                transcript.stream(bytes);
            }
        }
    }

    async fn write_held(&mut self, admitted: &mut Admitted) -> Result<(), Gone> {
        if self.start.held.is_empty() {
            return Ok(());
        }
        let (start, target) = (&self.start, &self.answer.target);
        let meter = start.relay.meter();
        self.noted
            .note(admitted, target, meter, start.first_content);
        self.send_held().await
    }

    /// Nothing is held when it is silent; what only keeps a connection alive is not cached.
    async fn keep_alive(&mut self) -> Result<(), Gone> {
        let keepalive = Bytes::from_static(self.start.relay.keepalive());
        reply::send_part(self.session, keepalive).await?;
        self.last_write = Instant::now();
        Ok(())
    }

    async fn send_held(&mut self) -> Result<(), Gone> {
        let bytes = join(&mut self.start.held);
        if let Some(keeping) = &mut self.keeping {
            keeping.record(self.state, &bytes);
        }
        reply::send_part(self.session, bytes).await?;
        self.last_write = Instant::now();
        Ok(())
    }

    /// Settles, then sends what is left and says goodbye honestly.
    async fn finish(mut self, mut admitted: Box<Admitted>, reason: EndReason) -> Delivered {
        self.listen(&mut admitted);
        let client_left = matches!(
            reason,
            EndReason::ClientGoneBeforeFirstByte | EndReason::ClientGoneMidStream
        );
        if client_left && admitted.drains_after_disconnect() {
            self.drain().await;
        }
        let goodbye = match reason {
            EndReason::UpstreamReset
            | EndReason::Stall
            | EndReason::Timeout
            | EndReason::BudgetCut
            | EndReason::Revoked
            | EndReason::InternalError => {
                let request_id = admitted.arrival.call_id.to_string();
                Some(self.start.relay.abort(&abort_reply(reason), &request_id))
            }
            _ => None,
        };
        let outcome = Outcome {
            reason,
            status: if reason == EndReason::ClientGoneBeforeFirstByte {
                499
            } else {
                200
            },
            target: Some(&self.answer.target),
            meter: Some(self.start.relay.meter()),
            sent_at: Some(self.answer.sent_at),
            first_content: self.start.first_content,
            ready_at: None,
            gaps: Some(&self.gaps),
            error: None,
            cached: None,
        };
        self.keeping = lookup::kept(self.keeping.take(), &admitted, reason, outcome.status);
        let settled = settle::settle(admitted, outcome);
        if client_left {
            self.answer.source.cancel().await;
            return Delivered::Gone;
        }
        self.start.held.extend(goodbye);
        let delivered = match reason {
            EndReason::Complete => self.tail().await,
            _ => Ok(()),
        };
        let last = join(&mut self.start.held);
        self.keep(&last, &settled);
        let delivered = match delivered {
            Ok(()) => reply::send_end(self.session, last).await,
            Err(Gone) => Err(Gone),
        };
        self.release(reason).await;
        match delivered {
            Ok(()) => Delivered::Whole,
            Err(Gone) => Delivered::Gone,
        }
    }

    /// Caches the answer, if it may be, with the bytes that go last.
    fn keep(&mut self, last: &Bytes, settled: &Settled) {
        let Some(mut keeping) = self.keeping.take() else {
            return;
        };
        keeping.record(self.state, last);
        let complete = Complete {
            target: &self.answer.target,
            head: &self.answer.head,
            settled,
            shape: Shape::Stream,
            response_id: self.start.relay.facts().response_id.clone(),
        };
        keeping.complete(self.state, complete);
    }

    /// What follows the terminal event: comments, a `[DONE]` that not every dialect has, the end
    /// of the body. Most often it is there already, and everything leaves in one write.
    async fn tail(&mut self) -> Result<(), Gone> {
        let until = Instant::now() + TAIL_TIMEOUT;
        while !self.start.at_end && Instant::now() < until {
            let read = match self.answer.source.read_body().now_or_never() {
                Some(read) => Ok(read),
                None => {
                    self.send_held().await?;
                    tokio::time::timeout_at(until, self.answer.source.read_body()).await
                }
            };
            match read {
                Ok(Ok(Some(bytes))) => {
                    let pushed = self.start.relay.push(&bytes, &mut self.start.held);
                    self.start.at_end = pushed.is_err();
                }
                Ok(Ok(None) | Err(_)) | Err(_) => self.start.at_end = true,
            }
        }
        Ok(())
    }

    /// Reads on without a client, for the usage that comes last.
    async fn drain(&mut self) {
        let read = async {
            while let Ok(Some(bytes)) = self.answer.source.read_body().await {
                self.start.held.clear();
                let pushed = self.start.relay.push(&bytes, &mut self.start.held);
                if pushed.is_err() || self.start.relay.facts().terminal {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, read).await;
    }

    async fn release(self, reason: EndReason) {
        if reason != EndReason::Complete {
            self.answer.source.cancel().await;
            return;
        }
        self.answer.source.finish(&self.state.upstreams).await;
    }
}
