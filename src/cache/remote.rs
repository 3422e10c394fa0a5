//! Answers in Redis, which a request may ask and never waits for when it does not answer.
//!
//! A circuit decides: while it is closed a request waits [`READ_TIMEOUT`] at most; the first call
//! that fails opens it, and every request after that goes on without Redis. One task, away from
//! requests, begins a new session and closes the circuit once that one answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fred::interfaces::KeysInterface;
use fred::prelude::{Client, Error, ErrorKind, Expiration};
use futures::future::join_all;
use meridian_core::cache::{CacheKey, Entry};
use meridian_core::config::{Place, Redis};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::counts::{Count, Counts};
use crate::clock;
use crate::redis::{Backoff, Connection, Distance, Door, Fault, Limits, call, in_time, is_answer};
use crate::telemetry::Report;

mod keys;

pub use keys::RedisFigures;

/// Longest wait of a request. A Redis of the same region answers in a tenth of it; where it comes
/// and goes every other second, less than one request in a hundred waits that long.
const READ_TIMEOUT: Duration = Duration::from_millis(20);
/// Longest wait for a write, which nobody waits for.
const WRITE_TIMEOUT: Duration = Duration::from_millis(250);
/// Longest wait for the answer that closes the circuit.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);
/// Between two probes of a session that stands.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Reads that wait to be written to the socket.
const READS_MAX: usize = 4_096;
/// Answers that wait to be written; further ones are dropped.
const WRITES_MAX: usize = 1_024;
/// Their bytes together.
const WRITES_BYTES_MAX: u64 = 32 << 20;
/// Answers written with one round trip.
const WRITES_AT_ONCE: usize = 32;
/// What an entry takes beside its body, at most.
const ENTRY_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Limits of the connection that requests read over.
const READING: Limits = Limits {
    call: READ_TIMEOUT,
    commands_max: READS_MAX,
    unheard_max: 1,
    distance: Distance::Near,
};
/// Limits of the other one: a large answer on its way there must not be in the way of a read.
const WRITING: Limits = Limits {
    call: WRITE_TIMEOUT,
    commands_max: 2 * WRITES_AT_ONCE + 64,
    unheard_max: 1,
    distance: Distance::Near,
};

/// Why a management call about the cache failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The circuit is open.
    #[error("Redis does not answer")]
    Down,
    /// It did not do what was asked.
    #[error("{0}")]
    Failed(String),
}

impl From<Fault> for CacheError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.to_string())
    }
}

/// What requests use while the circuit is closed.
struct Session {
    reads: Client,
    writes: Client,
}

/// An answer on its way to Redis.
struct Write {
    entry: Arc<Entry>,
    left: Duration,
}

/// Answers in Redis.
pub(super) struct Remote {
    redis: Redis,
    /// What every name begins with.
    start: String,
    /// Bytes of the longest value.
    value_bytes_max: usize,
    counts: Arc<Counts>,
    /// `None` while the circuit is open.
    session: ArcSwapOption<Session>,
    opened: Notify,
    queue: mpsc::Sender<Write>,
    queued: Mutex<mpsc::Receiver<Write>>,
    queued_bytes: AtomicU64,
}

impl Remote {
    /// The circuit is open until [`Self::run`] has reached Redis.
    pub(super) fn new(redis: &Redis, entry_bytes_max: usize, counts: Arc<Counts>) -> Self {
        let (queue, queued) = mpsc::channel(WRITES_MAX);
        Self {
            redis: redis.clone(),
            start: keys::start(redis.namespace.as_deref()),
            value_bytes_max: entry_bytes_max + ENTRY_HEAD_BYTES_MAX,
            counts,
            session: ArcSwapOption::empty(),
            opened: Notify::new(),
            queue,
            queued: Mutex::new(queued),
            queued_bytes: AtomicU64::new(0),
        }
    }

    /// Whether requests ask it.
    pub(super) fn is_up(&self) -> bool {
        self.session.load().is_some()
    }

    /// From now on nobody asks it.
    pub(super) fn leave(&self) {
        self.session.store(None);
    }

    /// The answer under a key.
    pub(super) async fn get(&self, key: CacheKey) -> Option<Entry> {
        let session = self.session.load_full()?;
        // A value that is longer than any of ours is cut, and then is none.
        let end = self.value_bytes_max;
        let asked = session
            .reads
            .getrange::<Option<Bytes>, _>(self.name(&key), 0, end);
        // Boxed: fred's futures take 20 KiB.
        let bytes = match in_time("GETRANGE", READ_TIMEOUT, Box::pin(asked)).await {
            Ok(Ok(bytes)) => bytes.filter(|bytes| !bytes.is_empty())?,
            Ok(Err(error)) => {
                self.read_failed(&session, &error);
                return None;
            }
            Err(_) => {
                self.counts.add(Count::ReadLate);
                self.open_circuit(&session);
                return None;
            }
        };
        let entry = Entry::decode(key, &bytes).ok();
        let Some(mut entry) = entry.filter(|_| bytes.len() <= self.value_bytes_max) else {
            self.counts.add(Count::Malformed);
            return None;
        };
        // A slice would keep all that was read with it in memory.
        entry.body = Bytes::copy_from_slice(&entry.body);
        Some(entry)
    }

    fn read_failed(&self, session: &Arc<Session>, error: &Error) {
        self.counts.add(match error.kind() {
            ErrorKind::Timeout => Count::ReadLate,
            _ => Count::ReadFailed,
        });
        // A full queue is no reason to close the connection that is busy.
        if !is_answer(error) && !matches!(error.kind(), ErrorKind::Backpressure) {
            self.open_circuit(session);
        }
    }

    /// Puts an answer into the queue, if there is room and Redis answers.
    pub(super) fn put(&self, entry: &Arc<Entry>, left: Duration) {
        let bytes = entry.weight() as u64;
        let queued = self.queued_bytes.fetch_add(bytes, Relaxed) + bytes;
        let write = Write {
            entry: Arc::clone(entry),
            left,
        };
        let room = self.is_up() && queued <= WRITES_BYTES_MAX;
        if !room || self.queue.try_send(write).is_err() {
            self.queued_bytes.fetch_sub(bytes, Relaxed);
            self.counts.add(Count::WriteDropped);
        }
    }

    /// Begins sessions, one after the other, for ever.
    pub(super) async fn run(&self) {
        let mut queued = self.queued.lock().await;
        let (mut backoff, mut report) = (Backoff::default(), Report::default());
        loop {
            let fault = match self.session(&mut queued, &mut backoff, &mut report).await {
                Err(fault) => fault,
                Ok(never) => match never {},
            };
            self.session.store(None);
            self.say(&mut report, Some(&fault));
            while let Ok(write) = queued.try_recv() {
                self.taken(&write);
                self.counts.add(Count::WriteDropped);
            }
            tokio::time::sleep(backoff.next(clock::dice())).await;
        }
    }

    /// One session, until something in it fails.
    async fn session(
        &self,
        queued: &mut mpsc::Receiver<Write>,
        backoff: &mut Backoff,
        report: &mut Report,
    ) -> Result<std::convert::Infallible, Fault> {
        let door = Door::new(&self.redis)?;
        let both = futures::try_join!(door.connect(READING), door.connect(WRITING))?;
        let (mut reads, mut writes): (Connection, Connection) = both;
        self.probe(&reads.client).await?;
        let session = Arc::new(Session {
            reads: reads.client.clone(),
            writes: writes.client.clone(),
        });
        self.session.store(Some(Arc::clone(&session)));
        self.say(report, None);
        let mut turns = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(WRITES_AT_ONCE);
        loop {
            tokio::select! {
                () = self.opened.notified() => {
                    // One of an earlier session opened nothing.
                    if !self.is_up() {
                        return Err(Fault::Late("a read"));
                    }
                }
                fault = reads.closed() => return Err(fault),
                fault = writes.closed() => return Err(fault),
                _ = queued.recv_many(&mut batch, WRITES_AT_ONCE) => {
                    self.write(&session, &mut batch).await?;
                }
                _ = turns.tick() => {
                    self.probe(&reads.client).await?;
                    self.say(report, None);
                    // Only one that lasts is a success.
                    backoff.reset();
                }
            }
        }
    }

    async fn write(&self, session: &Session, batch: &mut Vec<Write>) -> Result<(), Fault> {
        let set = |write: &Write| {
            let millis = i64::try_from(write.left.as_millis()).unwrap_or(i64::MAX);
            let expiry = Some(Expiration::PX(millis.max(1)));
            let (name, value) = (self.name(&write.entry.key), write.entry.encode());
            let set = session
                .writes
                .set::<(), _, _>(name, Bytes::from(value), expiry, None, false);
            Box::pin(set)
        };
        let outcomes = in_time("SET", WRITE_TIMEOUT, join_all(batch.iter().map(set))).await;
        for write in batch.drain(..) {
            self.taken(&write);
        }
        for outcome in outcomes? {
            let Err(error) = outcome else { continue };
            self.counts.add(Count::WriteFailed);
            // Out of memory, read only: reads go on, unless Sentinels know of a better server.
            let lost = matches!(
                error.kind(),
                ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled
            );
            let demoted = matches!(self.redis.place, Place::Sentinel { .. })
                && error.details().starts_with("READONLY");
            if lost || demoted {
                return Err(error.into());
            }
            tracing::debug!(%error, "an answer is not in Redis");
        }
        Ok(())
    }

    /// A write has left the queue.
    fn taken(&self, write: &Write) {
        let bytes = write.entry.weight() as u64;
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Nobody asks again until the background has made sure that Redis answers.
    fn open_circuit(&self, failed: &Arc<Session>) {
        let current = self.session.compare_and_swap(failed, None);
        if current.as_ref().is_some_and(|one| Arc::ptr_eq(one, failed)) {
            self.opened.notify_one();
        }
    }

    fn say(&self, report: &mut Report, fault: Option<&Fault>) {
        let Some(line) = report.line(fault.is_none(), clock::mono()) else {
            return;
        };
        let (place, unshown) = (&self.redis.place, line.unshown);
        match fault {
            None => tracing::info!(%place, unshown, "Redis answers; cached answers are shared"),
            Some(error) => tracing::warn!(
                %place, %error, unshown,
                "cached answers are not shared until Redis answers; no request waits for it"
            ),
        }
    }

    /// Reads as requests do: a greeting would not show a replica that is still loading.
    async fn probe(&self, client: &Client) -> Result<(), Fault> {
        let name = format!("{}probe", self.start);
        let read = client.getrange::<Option<Bytes>, _>(name, 0, 0);
        call("GETRANGE", PROBE_TIMEOUT, read).await.map(drop)
    }
}
