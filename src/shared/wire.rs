//! Ways on which nodes tell each other about rights: published, to nobody in particular. What is
//! lost is said again by whoever said it, so nothing is kept in any Redis: one that was emptied,
//! replaced or away has forgotten nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use meridian_core::config::Redis;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::client::{Door, Heard, Session};
use super::names::Names;
use crate::clock;
use crate::redis::{Backoff, Fault};
use crate::telemetry::Report;

/// Between two proofs that the listening connection lives.
const PROVE_EVERY: Duration = Duration::from_secs(1);
/// Texts that wait to be published; the sender keeps what does not fit.
const UNSENT_MAX: usize = 8;

/// Whether a wire is up, and what went over it.
#[derive(Debug, Default)]
pub struct WireState {
    up: AtomicBool,
    sent: AtomicU64,
}

impl WireState {
    /// Whether Redis answered the last time.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Texts published.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The sender's end of a wire.
#[derive(Clone, Debug)]
pub struct WireEnd {
    state: Arc<WireState>,
    texts: mpsc::Sender<String>,
}

impl WireEnd {
    /// Publishes a text soon; gives it back when too many wait.
    pub fn send(&self, text: String) -> Result<(), String> {
        self.texts
            .try_send(text)
            .map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Whether a text would be taken.
    pub fn has_room(&self) -> bool {
        self.texts.capacity() > 0
    }

    /// How it is.
    pub fn state(&self) -> &WireState {
        &self.state
    }
}

/// Where texts of the own region go that were heard.
pub type Heed = Box<dyn Fn(Vec<u8>) + Send + Sync>;

/// A way into one region: through its Redis. Ends when its sender is gone.
pub struct Wire {
    redis: Redis,
    channel: String,
    region: String,
    texts: mpsc::Receiver<String>,
    state: Arc<WireState>,
    /// Only the own region is listened to.
    heed: Option<Heed>,
    report: Report,
}

impl Wire {
    /// Into `region`. With `heed` it is the own one: what is published there is heard.
    pub fn new(redis: Redis, region: &str, heed: Option<Heed>) -> (WireEnd, Self) {
        let (sender, texts) = mpsc::channel(UNSENT_MAX);
        let state = Arc::new(WireState::default());
        let end = WireEnd {
            state: Arc::clone(&state),
            texts: sender,
        };
        let names = Names::new("rights", redis.namespace.as_deref(), Some(region));
        let wire = Self {
            channel: names.channel().to_owned(),
            region: region.to_owned(),
            redis,
            texts,
            state,
            heed,
            report: Report::default(),
        };
        (end, wire)
    }

    /// Runs until the sender is gone; without Redis it tries again, for ever.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let Err(fault) = self.session(&mut backoff).await else {
                return;
            };
            self.say(Some(&fault));
            if !self.pause(backoff.next(clock::dice())).await {
                return;
            }
        }
    }

    /// Waits; what is to be said meanwhile is lost. False when there will be no more.
    async fn pause(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                text = self.texts.recv() => if text.is_none() {
                    return false;
                },
            }
        }
    }

    async fn session(&mut self, backoff: &mut Backoff) -> Result<(), Fault> {
        let door = match self.heed {
            Some(_) => Door::new(&self.redis)?,
            None => Door::far(&self.redis)?,
        };
        let mut session = door.open().await?;
        self.prove(&session).await?;
        self.say(None);
        let mut turns = interval_at(Instant::now() + PROVE_EVERY, PROVE_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                text = self.texts.recv() => match text {
                    Some(text) => {
                        session.publish(&self.channel, &text).await?;
                        self.state.sent.fetch_add(1, Ordering::Relaxed);
                    }
                    None => return Ok(()),
                },
                heard = session.hear() => match heard? {
                    Heard::Message(bytes) => if let Some(heed) = &self.heed {
                        heed(bytes);
                    },
                    Heard::Lost(_) => {}
                },
                _ = turns.tick() => {
                    self.prove(&session).await?;
                    self.say(None);
                    // Only one that lasts is a success.
                    backoff.reset();
                }
            }
        }
    }

    /// Shows that the connection in use lives.
    async fn prove(&self, session: &Session) -> Result<(), Fault> {
        match self.heed {
            Some(_) => session.subscribe(&self.channel).await,
            None => session.get_text(&self.channel).await.map(drop),
        }
    }

    fn say(&mut self, fault: Option<&Fault>) {
        self.state.up.store(fault.is_none(), Ordering::Relaxed);
        let Some(line) = self.report.line(fault.is_none(), clock::mono()) else {
            return;
        };
        let (region, place, unshown) = (&self.region, &self.redis.place, line.unshown);
        match fault {
            None => tracing::info!(%region, %place, unshown, "rights reach the region"),
            Some(error) => tracing::warn!(
                %region, %place, %error, unshown,
                "rights do not reach the region; budgets go on with what is here"
            ),
        }
    }
}
