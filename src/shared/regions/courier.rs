//! Takes what is at home here to another region.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::config::Peer;
use meridian_core::record::Record;
use meridian_core::record::versions::Buckets;
use meridian_core::signature::Signer;
use tokio::sync::watch;

use super::names::Box as Names;
use super::{BATCHES_MAX, Batch, FORM, Leader, Mark, Stored, Sums, Wanted, read, write};
use crate::clock;
use crate::records::{Records, StoreState};
use crate::redis::{Backoff, Fault};
use crate::shared::client::{Door, Session};
use crate::store::{FeedCursor, RecordPlace, Store, StoreError};
use crate::telemetry::Report;
use crate::telemetry::metrics::{Metrics, RecordEvent};

/// Between two looks into the feed of the own store.
const TURN: Duration = Duration::from_millis(400);
/// Records of one batch.
const BATCH_RECORDS: u32 = 500;
/// Batches of one turn.
const TURN_BATCHES: usize = 50;
/// Batches that may wait to be stored: what the mailbox drops would have to be sent again.
const UNSTORED_MAX: usize = 200;
/// First and longest wait until what is not stored is sent again: the other region's Postgres may
/// be away.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Between two messages that everything is told.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Between two comparisons of all that is told.
const SUMS_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the own store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends to one region, while this node leads its own.
pub struct Courier {
    peer: Peer,
    names: Names,
    records: Arc<Records>,
    store: Store,
    metrics: Arc<Metrics>,
    signer: Signer,
    leader: Leader,
    sending: Option<Sending>,
    marked: Option<Instant>,
    summed: Option<Instant>,
    report: Report,
}

/// How far the feed was sent.
struct Sending {
    /// Read up to here.
    read: FeedCursor,
    /// The last batch ended here.
    sent: FeedCursor,
    /// The receiver has stored up to here.
    stored: FeedCursor,
    /// Batches that it has not stored.
    unstored: usize,
    since: Instant,
    patience: Duration,
}

impl Sending {
    fn from(stored: FeedCursor, patience: Duration) -> Self {
        Self {
            read: stored.clone(),
            sent: stored.clone(),
            stored,
            unstored: 0,
            since: clock::mono(),
            patience,
        }
    }

    /// What the receiver says; begins again where it is behind for too long, or has forgotten.
    fn hears(&mut self, stored: FeedCursor) {
        let now = clock::mono();
        if stored != self.stored {
            self.stored.clone_from(&stored);
            (self.since, self.patience) = (now, PATIENCE.0);
        }
        if stored == self.sent {
            self.unstored = 0;
            self.since = now;
        } else if now.saturating_duration_since(self.since) > self.patience {
            let patience = (2 * self.patience).min(PATIENCE.1);
            *self = Self::from(stored, patience);
        }
    }
}

/// Why a turn was broken off.
enum Broken {
    /// The other region's Redis: the session is over.
    Away(Fault),
    /// The own store: tried again at the next turn.
    Here(StoreError),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Away(fault)
    }
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Here(error)
    }
}

impl Courier {
    /// To `peer`, with what the feed of `store` says is at home in the region of `records`.
    pub fn new(
        peer: Peer,
        records: Arc<Records>,
        store: Store,
        signer: Signer,
        leader: Leader,
        metrics: Arc<Metrics>,
    ) -> Self {
        let namespace = peer.redis.namespace.as_deref();
        Self {
            names: Names::new(namespace, &peer.region, records.region()),
            peer,
            records,
            store,
            metrics,
            signer,
            leader,
            sending: None,
            marked: None,
            summed: None,
            report: Report::default(),
        }
    }

    /// Runs until `stop` turns true; without the other region's Redis it tries again, for ever.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.sessions() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn sessions(&mut self) {
        let mut backoff = Backoff::default();
        loop {
            let fault = match self.session(&mut backoff).await {
                Err(fault) => fault,
                Ok(never) => match never {},
            };
            self.say(Some(&fault));
            tokio::time::sleep(backoff.next(clock::dice())).await;
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let session = Door::far(&self.peer.redis)?.open().await?;
        // The mailbox may be another one.
        self.sending = None;
        loop {
            match self.leader.is_here() {
                true => match std::boxed::Box::pin(self.turn(&session)).await {
                    Ok(()) => backoff.reset(),
                    Err(Broken::Away(fault)) => return Err(fault),
                    Err(Broken::Here(error)) => {
                        tracing::debug!(%error, "nothing is sent to other regions");
                    }
                },
                false => {
                    self.sending = None;
                    // Shows that the way is open, for when this node leads.
                    session.get_text(&self.names.stored).await?;
                }
            }
            self.say(None);
            tokio::time::sleep(TURN).await;
        }
    }

    async fn turn(&mut self, session: &Session) -> Result<(), Broken> {
        let stored = session.get_text(&self.names.stored).await?;
        let stored = stored.and_then(|text| read::<Stored>(&self.signer, &text));
        let stored = stored.map(|stored| stored.cursor()).unwrap_or_default();
        match &mut self.sending {
            Some(sending) => sending.hears(stored),
            None => self.sending = Some(Sending::from(stored, PATIENCE.0)),
        }
        self.repeat(session).await?;
        let told = clock::now();
        for _ in 0..TURN_BATCHES {
            if !self.send_next(session).await? {
                continue;
            }
            // Nothing is left.
            let due = |last: Option<Instant>, every| {
                last.is_none_or(|at| clock::mono().saturating_duration_since(at) >= every)
            };
            if due(self.marked, MARK_EVERY) {
                let mark = write(&self.signer, &Mark { at: told });
                session.set_text(&self.names.mark, &mark).await?;
                self.marked = Some(clock::mono());
            }
            if due(self.summed, SUMS_EVERY) && self.records.status().store() == StoreState::Up {
                let sums = self.records.digest(self.records.region());
                let sums = sums.sums().to_vec();
                let sums = write(&self.signer, &Sums { sums });
                session.set_text(&self.names.sums, &sums).await?;
                self.summed = Some(clock::mono());
            }
            break;
        }
        Ok(())
    }

    /// Sends the next records of the feed; `true` when nothing is left for now.
    async fn send_next(&mut self, session: &Session) -> Result<bool, Broken> {
        let Some(sending) = &mut self.sending else {
            return Ok(true);
        };
        if sending.unstored >= UNSTORED_MAX {
            return Ok(true);
        }
        let changes = self
            .store
            .changes_after(sending.read.clone(), BATCH_RECORDS);
        let changes = in_time(changes).await?;
        let own = self.records.region();
        let ours = |record: &Record| record.home == own;
        let records: Vec<Record> = changes.records.into_iter().filter(ours).collect();
        sending.read = changes.next;
        if !records.is_empty() {
            let span = (sending.sent.0.clone(), sending.read.0.clone());
            let batch = self.batch(Some(span), records);
            self.post(session, &batch).await?;
            if let Some(sending) = &mut self.sending {
                sending.sent.clone_from(&sending.read);
                if sending.unstored == 0 {
                    sending.since = clock::mono();
                }
                sending.unstored += 1;
            }
        }
        Ok(changes.caught_up)
    }

    /// Sends once more what the receiver says it has otherwise than it is here.
    async fn repeat(&mut self, session: &Session) -> Result<(), Broken> {
        let wanted = session.get_text(&self.names.wanted).await?;
        let Some(wanted) = wanted else {
            return Ok(());
        };
        session.delete(&self.names.wanted).await?;
        let wanted = read::<Wanted>(&self.signer, &wanted);
        let buckets = wanted.and_then(|wanted| Buckets::from_hex(&wanted.buckets));
        let Some(buckets) = buckets else {
            self.metrics.record_events(RecordEvent::Forged, 1);
            return Ok(());
        };
        let own = self.records.region().to_owned();
        let mut after: Option<RecordPlace> = None;
        loop {
            let step = self.store.records_after(after.take(), BATCH_RECORDS);
            let step = in_time(step).await?;
            let Some(last) = step.last().map(|last| &last.record) else {
                return Ok(());
            };
            after = Some((last.kind, last.id.clone()));
            let records = step.into_iter().map(|stored| stored.record);
            let asked = |one: &Record| one.home == own && buckets.hold(one.kind, &one.id);
            let records: Vec<Record> = records.filter(asked).collect();
            if !records.is_empty() {
                let batch = self.batch(None, records);
                self.post(session, &batch).await?;
            }
        }
    }

    fn batch(&self, span: Option<(String, String)>, records: Vec<Record>) -> Batch {
        Batch {
            form: FORM,
            from: self.records.region().to_owned(),
            to: self.peer.region.clone(),
            span,
            records,
        }
    }

    async fn post(&self, session: &Session, batch: &Batch) -> Result<(), Fault> {
        let text = write(&self.signer, batch);
        session
            .append(&self.names.batches, &text, BATCHES_MAX)
            .await?;
        session
            .publish(&self.names.bell, self.records.region())
            .await?;
        self.metrics.record_events(RecordEvent::Sent, 1);
        Ok(())
    }

    fn say(&mut self, fault: Option<&Fault>) {
        let region = &self.peer.region;
        self.records.status().link_is(region, fault.is_none());
        let Some(line) = self.report.line(fault.is_none(), clock::mono()) else {
            return;
        };
        let (place, unshown) = (&self.peer.redis.place, line.unshown);
        match fault {
            None => tracing::info!(%region, %place, unshown, "the mailbox of a region answers"),
            Some(error) => tracing::warn!(
                %region, %place, %error, unshown,
                "the mailbox of a region is not reached; it is tried again"
            ),
        }
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(STORE_TIMEOUT, std::boxed::Box::pin(answer)).await;
    answer.unwrap_or(Err(StoreError::Busy))
}
