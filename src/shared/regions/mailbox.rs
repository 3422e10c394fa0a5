//! Reads what other regions send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meridian_core::config::Redis;
use meridian_core::hlc;
use meridian_core::record::Record;
use meridian_core::record::versions::{Buckets, Digest};
use meridian_core::signature::Signer;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::names::Box as Names;
use super::{Batch, FORM, Mark, Stored, Sums, Wanted, read, write};
use crate::clock;
use crate::records::{Records, without_spend};
use crate::redis::{Backoff, Fault};
use crate::shared::client::{Door, Heard, Session};
use crate::store::Store;
use crate::telemetry::Report;
use crate::telemetry::metrics::{Metrics, RecordEvent};

/// Between two looks when nobody rings.
const TURN: Duration = Duration::from_secs(1);
/// Batches that are read with one round trip.
const BATCHES_AT_ONCE: u64 = 10;
/// How long a node leads without saying so again.
const LEADS: Duration = Duration::from_secs(5);
/// Longest wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two comparisons of all that was told.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// Before the first entry of a stream.
const START: &str = "0";

/// Whether this node sends and stores for its region. Two that do so at the same time do no harm.
#[derive(Clone, Debug, Default)]
pub struct Leader(Arc<AtomicBool>);

impl Leader {
    pub(super) fn is_here(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, here: bool) {
        self.0.store(here, Ordering::Relaxed);
    }
}

/// Reads the mailbox of this node's region.
pub struct Mailbox {
    redis: Redis,
    homes: Vec<Home>,
    lock: String,
    node: String,
    records: Arc<Records>,
    store: Store,
    metrics: Arc<Metrics>,
    signer: Signer,
    leader: Leader,
    report: Report,
}

/// Another region, as far as it was read.
struct Home {
    region: String,
    names: Names,
    /// The last entry that is in memory.
    heard: String,
    /// What is stored, while this node leads.
    stored: Option<Stored>,
    compared: Option<Instant>,
    /// Buckets that differed the last time; what differs once may be on its way.
    differed: Buckets,
    sums: Option<Digest>,
}

impl Mailbox {
    /// Of the region of `records`, with mail from `homes`.
    pub fn new(
        redis: Redis,
        homes: impl IntoIterator<Item = String>,
        records: Arc<Records>,
        store: Store,
        signer: Signer,
        leader: Leader,
        metrics: Arc<Metrics>,
    ) -> Self {
        let namespace = redis.namespace.as_deref();
        let home = |region: String| Home {
            names: Names::new(namespace, records.region(), &region),
            region,
            heard: START.to_owned(),
            stored: None,
            compared: None,
            differed: Buckets::default(),
            sums: None,
        };
        let node = clock::random_bytes();
        Self {
            homes: homes.into_iter().map(home).collect(),
            lock: Names::leader(namespace, records.region()),
            node: node.iter().map(|byte| format!("{byte:02x}")).collect(),
            redis,
            records,
            store,
            metrics,
            signer,
            leader,
            report: Report::default(),
        }
    }

    /// Runs until `stop` turns true; without Redis it tries again, for ever.
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
            // Nobody can say who leads: everybody sends, and nothing comes.
            self.leader.set(true);
            tokio::time::sleep(backoff.next(clock::dice())).await;
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let mut session = Door::new(&self.redis)?.open().await?;
        let Some(bell) = self.homes.first().map(|home| home.names.bell.clone()) else {
            return std::future::pending().await;
        };
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = session.hear() => match heard? {
                    Heard::Message(_) | Heard::Lost(_) => {}
                },
                _ = turns.tick() => {
                    session.subscribe(&bell).await?;
                    let leads = session.hold(&self.lock, &self.node, LEADS).await?;
                    self.leader.set(leads);
                    self.say(None);
                    backoff.reset();
                }
            }
            for place in 0..self.homes.len() {
                self.read(&session, place).await?;
                match self.leader.is_here() {
                    true => self.keep(&session, place).await?,
                    false => self.homes[place].stored = None,
                }
            }
        }
    }

    /// Takes into memory what came.
    async fn read(&mut self, session: &Session, place: usize) -> Result<(), Fault> {
        let names = self.homes[place].names.clone();
        // First the mark: what it speaks of is in the stream by then.
        let mark = session.get_text(&names.mark).await?;
        loop {
            let after = self.homes[place].heard.clone();
            let entries = session
                .entries(&names.batches, &after, BATCHES_AT_ONCE)
                .await?;
            let whole = entries.len() as u64 == BATCHES_AT_ONCE;
            for (entry, text) in entries {
                if let Some(batch) = self.open(place, &text, true) {
                    self.metrics.record_events(RecordEvent::Received, 1);
                    self.records
                        .take(batch.records.into_iter().map(without_spend).collect());
                }
                self.homes[place].heard = entry;
            }
            if !whole {
                break;
            }
        }
        let mark = mark.and_then(|text| read::<Mark>(&self.signer, &text));
        if let Some(mark) = mark.filter(|mark| mark.at <= clock::now().plus_ms(hlc::SKEW_MAX_MS)) {
            self.records
                .status()
                .told(&self.homes[place].region, mark.at);
        }
        Ok(())
    }

    fn say(&mut self, fault: Option<&Fault>) {
        let Some(line) = self.report.line(fault.is_none(), clock::mono()) else {
            return;
        };
        let (place, unshown) = (&self.redis.place, line.unshown);
        match fault {
            None => tracing::info!(%place, unshown, "the mailbox of this region is read"),
            Some(error) => tracing::warn!(
                %place, %error, unshown,
                "the mailbox of this region is not read; it is tried again"
            ),
        }
    }

    /// A batch that is for us, without records from the future.
    fn open(&self, place: usize, text: &str, counts: bool) -> Option<Batch> {
        let count = |event, count| {
            if counts {
                self.metrics.record_events(event, count);
            }
        };
        let batch = read::<Batch>(&self.signer, text).filter(|batch| {
            let ways = (batch.from.as_str(), batch.to.as_str());
            let expected = (self.homes[place].region.as_str(), self.records.region());
            batch.form == FORM && ways == expected
        });
        let Some(mut batch) = batch else {
            count(RecordEvent::Forged, 1);
            return None;
        };
        let (now, whole) = (clock::now(), batch.records.len());
        let home = batch.from.clone();
        let believable = |one: &Record| one.home == home && hlc::is_believable(one.version, now);
        batch.records.retain(believable);
        let future = whole - batch.records.len();
        if future > 0 {
            // Not stored up to its end: it is sent again when its time has come.
            batch.span = None;
            count(RecordEvent::Future, future as u64);
        }
        Some(batch)
    }

    /// Stores what came, and says so.
    async fn keep(&mut self, session: &Session, place: usize) -> Result<(), Fault> {
        let names = self.homes[place].names.clone();
        let said = session.get_text(&names.stored).await?;
        let said = said.and_then(|text| read::<Stored>(&self.signer, &text));
        let mut stored = match (self.homes[place].stored.take(), said) {
            (Some(stored), Some(_)) => stored,
            (None, Some(said)) => said,
            // New, or Redis has forgotten: everything is sent again.
            (_, None) => Stored {
                entry: START.to_owned(),
                ..Stored::default()
            },
        };
        loop {
            let entries = session
                .entries(&names.batches, &stored.entry, BATCHES_AT_ONCE)
                .await?;
            let whole = entries.len() as u64 == BATCHES_AT_ONCE;
            for (entry, text) in entries {
                if let Some(batch) = self.open(place, &text, false) {
                    let Batch { span, records, .. } = batch;
                    let merged = std::boxed::Box::pin(self.store.merge_records(records));
                    match tokio::time::timeout(STORE_TIMEOUT, merged).await {
                        Ok(Ok(_)) => {}
                        // It stays in the mailbox.
                        Ok(Err(_)) | Err(_) => return Ok(()),
                    }
                    self.records.look_now();
                    match span {
                        Some((from, to)) if from == stored.cursor || from.is_empty() => {
                            stored.cursor = to;
                        }
                        _ => {}
                    }
                }
                stored.entry = entry;
                let text = write(&self.signer, &stored);
                session.set_text(&names.stored, &text).await?;
            }
            if !whole {
                break;
            }
        }
        self.homes[place].stored = Some(stored);
        self.compare(session, place).await
    }

    /// Asks for what differs here from what the home says that it has told.
    async fn compare(&mut self, session: &Session, place: usize) -> Result<(), Fault> {
        let now = clock::mono();
        let home = &mut self.homes[place];
        let recent = |at: Instant| now.saturating_duration_since(at) < COMPARE_EVERY;
        if home.compared.is_some_and(recent) {
            return Ok(());
        }
        home.compared = Some(now);
        let text = session.get_text(&home.names.sums).await?;
        let sums = text.and_then(|text| read::<Sums>(&self.signer, &text));
        let Some(sums) = sums.and_then(|sums| Digest::of_sums(&sums.sums)) else {
            return Ok(());
        };
        // The same sums twice say nothing new.
        if home.sums.as_ref() == Some(&sums) {
            return Ok(());
        }
        let differs = self.records.digest(&home.region).differs(&sums);
        let lasting = differs.and(home.differed);
        (home.differed, home.sums) = (differs, Some(sums));
        if !lasting.is_empty() {
            self.metrics.record_events(RecordEvent::Differs, 1);
            let wanted = write(&self.signer, &Wanted::of(lasting));
            session.set_text(&home.names.wanted, &wanted).await?;
        }
        Ok(())
    }
}
