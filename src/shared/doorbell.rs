//! What calls on one node write is told to the others of the region at once.
//!
//! A message has the records themselves where they are small, so that a revocation holds also on a
//! node that cannot reach the store, and it has everybody look into the feed. It is signed: whoever
//! can write to Redis cannot make up records. One that is lost is found by the feed.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::Redis;
use meridian_core::hlc;
use meridian_core::record::Record;
use meridian_core::signature::Signer;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::{Door, Heard, Session};
use super::names::Names;
use crate::clock;
use crate::records::Records;
use crate::redis::{Backoff, Fault};
use crate::telemetry::Report;
use crate::telemetry::metrics::{Metrics, RecordEvent};

/// Between two proofs that the listening connection lives.
const PROVE_EVERY: Duration = Duration::from_secs(5);
/// Longest message; records that do not fit are left to the feed.
const BYTES_MAX: usize = 256 << 10;
/// Form of the messages; one of another form is not read.
const FORM: u8 = 1;

/// Tells the region what this node wrote, and hears what others wrote.
pub struct Doorbell {
    redis: Redis,
    names: Names,
    records: Arc<Records>,
    metrics: Arc<Metrics>,
    signer: Signer,
    node: u64,
    made: broadcast::Receiver<Arc<[Record]>>,
    report: Report,
}

#[derive(Serialize, Deserialize)]
struct Message {
    form: u8,
    node: u64,
    records: Vec<Record>,
}

impl Doorbell {
    /// In the region of `records`; regions that share a Redis do not hear each other here.
    pub fn new(redis: Redis, records: Arc<Records>, signer: Signer, metrics: Arc<Metrics>) -> Self {
        let head = clock::random_bytes();
        Self {
            names: Names::new(
                "records",
                redis.namespace.as_deref(),
                Some(records.region()),
            ),
            redis,
            made: records.listen(),
            records,
            metrics,
            signer,
            node: head
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
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
            tokio::time::sleep(backoff.next(clock::dice())).await;
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Fault> {
        let mut session = Door::new(&self.redis)?.open().await?;
        session.subscribe(self.names.channel()).await?;
        self.say(None);
        // What was told meanwhile was not heard.
        self.records.look_now();
        let mut turns = interval_at(Instant::now() + PROVE_EVERY, PROVE_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                made = self.made.recv() => match made {
                    Ok(records) => self.tell(&session, &records).await?,
                    Err(RecvError::Lagged(lost)) => self.count(RecordEvent::Lost, lost),
                    Err(RecvError::Closed) => return Err(Fault::Closed),
                },
                heard = session.hear() => match heard? {
                    Heard::Message(bytes) => self.hear(&bytes),
                    Heard::Lost(count) => {
                        self.count(RecordEvent::Lost, count);
                        self.records.look_now();
                    }
                },
                _ = turns.tick() => {
                    session.subscribe(self.names.channel()).await?;
                    self.say(None);
                    // Only one that lasts is a success.
                    backoff.reset();
                }
            }
        }
    }

    async fn tell(&self, session: &Session, records: &[Record]) -> Result<(), Fault> {
        let message = |records: &[Record]| {
            let message = Message {
                form: FORM,
                node: self.node,
                records: records.to_vec(),
            };
            let json = serde_json::to_string(&message).ok()?;
            (json.len() <= BYTES_MAX).then_some(json)
        };
        let Some(json) = message(records).or_else(|| message(&[])) else {
            return Ok(());
        };
        let wrapped = self.signer.sign_text(&json);
        session.publish(self.names.channel(), &wrapped).await?;
        self.count(RecordEvent::Told, 1);
        Ok(())
    }

    fn hear(&self, bytes: &[u8]) {
        let message = self.signer.verified(bytes);
        let message = message.and_then(|json| serde_json::from_slice::<Message>(json).ok());
        let Some(message) = message.filter(|message| message.form == FORM) else {
            self.count(RecordEvent::Forged, 1);
            return;
        };
        if message.node == self.node {
            return;
        }
        let now = clock::now();
        let whole = message.records.len();
        let believable = |record: &Record| hlc::is_believable(record.version, now);
        let records = message.records.into_iter().filter(believable);
        let records: Vec<_> = records.map(crate::records::without_spend).collect();
        self.count(RecordEvent::Future, (whole - records.len()) as u64);
        self.count(RecordEvent::Heard, 1);
        self.records.take(records);
        self.records.look_now();
    }

    fn count(&self, event: RecordEvent, count: u64) {
        self.metrics.record_events(event, count);
    }

    fn say(&mut self, fault: Option<&Fault>) {
        let Some(line) = self.report.line(fault.is_none(), clock::mono()) else {
            return;
        };
        let (place, unshown) = (&self.redis.place, line.unshown);
        match fault {
            None => tracing::info!(%place, unshown, "Redis answers; changes are told at once"),
            Some(error) => tracing::warn!(
                %place, %error, unshown,
                "Redis is not used until it answers; changes are found in the store"
            ),
        }
    }
}
