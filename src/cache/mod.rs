//! Cached answers: in this node's memory, and in Redis where nodes share them.
//!
//! A request asks memory, then waits for the first of several equal requests, then asks Redis for
//! some milliseconds at most ([`remote`]). Writing is never waited for. What is the same answer is
//! decided in `core/src/cache`; what a request does with it in `src/plane/lookup.rs`.

mod counts;
mod flights;
mod memory;
mod remote;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use meridian_core::cache::{CacheKey, Entry};
use meridian_core::config::ResponseCache;
use meridian_core::time::WallMs;
use tokio::sync::watch;

pub use counts::{Counts, Lookup};
pub use flights::{Followed, Join, Lead, Stage};
pub use remote::{CacheError, RedisFigures};

use crate::telemetry::metrics::CacheGauges;
use counts::Count;
use flights::Flights;
use memory::Memory;
use remote::Remote;

/// Time between two looks for answers in memory that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Where an answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this node's memory.
    Memory,
    /// In Redis.
    Redis,
}

/// Cached answers.
pub struct Cache {
    memory: Memory,
    remote: Option<Arc<Remote>>,
    flights: Arc<Flights>,
    counts: Arc<Counts>,
    config: ResponseCache,
}

impl Cache {
    /// Empty. Where a Redis is named, [`Self::run`] has to run for it to be used.
    pub fn new(config: &ResponseCache) -> Self {
        let counts = Arc::new(Counts::default());
        let entry_bytes_max = config.policy.entry_bytes_max;
        let remote = |redis| Remote::new(redis, entry_bytes_max, Arc::clone(&counts));
        Self {
            memory: Memory::new(config.memory_bytes_max),
            remote: config.redis.as_ref().map(remote).map(Arc::new),
            flights: Arc::default(),
            counts,
            config: config.clone(),
        }
    }

    /// Keeps memory and the way to Redis in order until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let redis = async {
            match &self.remote {
                Some(remote) => remote.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = redis => {}
            () = self.sweep() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Some(remote) = &self.remote {
            remote.leave();
        }
    }

    /// An answer that is in memory.
    pub fn in_memory(
        &self,
        key: &CacheKey,
        now: WallMs,
        max_age: Option<Duration>,
    ) -> Option<Arc<Entry>> {
        let entry = self.memory.get(key, now)?;
        entry.left(now, max_age).is_some().then_some(entry)
    }

    /// An answer that is in Redis, which goes into memory as well. Waits 20 ms at most, and not at
    /// all while Redis does not answer.
    pub async fn in_redis(
        &self,
        key: CacheKey,
        memory_ttl: Duration,
        now: WallMs,
        max_age: Option<Duration>,
    ) -> Option<Arc<Entry>> {
        let entry = Arc::new(self.remote.as_ref()?.get(key).await?);
        let left = entry.left(now, max_age)?;
        let in_memory = millis(left.min(memory_ttl));
        self.memory.put(&entry, now, in_memory);
        Some(entry)
    }

    /// Joins those who wait for the same answer, or goes first.
    pub fn join(&self, key: CacheKey) -> Join {
        Flights::join(&self.flights, key)
    }

    /// Keeps an answer; it goes to Redis in the background, and then stays in memory for
    /// `memory_ttl` at most.
    pub fn keep(&self, entry: &Arc<Entry>, memory_ttl: Duration, now: WallMs) {
        let Some(left) = entry.left(now, None) else {
            return;
        };
        let in_memory = match &self.remote {
            Some(remote) => {
                remote.put(entry, left);
                left.min(memory_ttl)
            }
            None => left,
        };
        if self.memory.put(entry, now, millis(in_memory)) || self.remote.is_some() {
            self.counts.add(Count::Stored);
        }
    }

    /// What became of look-ups.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether a new configuration can do with it: everything but the place of answers may change
    /// while it runs.
    pub fn serves(&self, config: &ResponseCache) -> bool {
        self.config.is_same_place(config)
    }

    /// Whether answers are shared through Redis.
    pub fn is_shared(&self) -> bool {
        self.remote.is_some()
    }

    /// Deletes answers; how many of them were there, in memory or in Redis.
    ///
    /// # Errors
    /// Redis does not answer: they are gone from this node's memory only.
    pub async fn delete(&self, keys: &[CacheKey]) -> Result<u64, CacheError> {
        let in_memory = keys.iter().filter(|key| self.memory.remove(key)).count() as u64;
        match &self.remote {
            Some(remote) => Ok(remote.delete(keys).await?.max(in_memory)),
            None => Ok(in_memory),
        }
    }

    /// Deletes every answer, and nothing else that is in Redis; how many there were.
    ///
    /// # Errors
    /// Redis does not answer, or not fast enough: some are left.
    pub async fn flush(&self) -> Result<u64, CacheError> {
        let in_memory = self.memory.clear();
        match &self.remote {
            Some(remote) => Ok(remote.flush().await?.max(in_memory)),
            None => Ok(in_memory),
        }
    }

    /// Writes and reads; in Redis where answers are there.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn ping(&self) -> Result<(), CacheError> {
        match &self.remote {
            Some(remote) => remote.ping().await,
            None => Ok(()),
        }
    }

    /// What Redis says of itself; `None` where answers are in memory only.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn redis_figures(&self) -> Result<Option<RedisFigures>, CacheError> {
        match &self.remote {
            Some(remote) => remote.figures().await.map(Some),
            None => Ok(None),
        }
    }

    /// Figures for the metrics page.
    pub fn gauges(&self) -> CacheGauges {
        CacheGauges {
            entries: self.memory.len(),
            bytes: self.memory.bytes(),
            redis_up: self.remote.as_ref().map(|remote| remote.is_up()),
            ..self.counts.gauges()
        }
    }

    async fn sweep(&self) {
        let mut turns = tokio::time::interval(SWEEP_EVERY);
        loop {
            turns.tick().await;
            self.memory.forget(crate::clock::now());
        }
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
}
