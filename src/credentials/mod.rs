//! Credentials that end: fetched before they are needed, replaced long before they end.
//!
//! One loop in the background fetches for all sources. A request takes what is held, without a
//! wait; only where nothing usable is held does it wait for the fetch that is on its way.

mod aws;
mod entra;
mod fetch;
mod google;
mod inspect;
mod jwt;
mod source;

use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use meridian_core::identity::{Fingerprint, Identity};
use meridian_core::time::WallMs;
use tokio::sync::{Notify, watch};

use crate::clock;

use fetch::Fetcher;
pub use fetch::{Credential, FetchError, Token};
pub use inspect::inspect;
pub use source::{Source, SourceReport, Unavailable};

/// Longest sleep of the loop: a step of the wall clock is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Every source in use.
pub struct Credentials {
    sources: DashMap<Fingerprint, Weak<Source>>,
    poke: Arc<Notify>,
}

impl Credentials {
    /// None yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            sources: DashMap::new(),
            poke: Arc::new(Notify::new()),
        })
    }

    /// The source of an identity; deployments with the same one share it, over reloads too.
    pub fn source(&self, identity: &Identity) -> Arc<Source> {
        let mut entry = self.sources.entry(identity.fingerprint).or_default();
        if let Some(source) = entry.upgrade() {
            return source;
        }
        let source = Source::new(identity.clone(), Arc::clone(&self.poke), clock::now());
        let source = Arc::new(source);
        *entry = Arc::downgrade(&source);
        self.poke.notify_one();
        source
    }

    /// What is known of every source in use, by name.
    pub fn report(&self) -> Vec<SourceReport> {
        let now = clock::now();
        let mut reports: Vec<_> = self.live().iter().map(|one| one.report(now)).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// Fetches whatever is due until `stop` turns true.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let fetcher = Fetcher::new();
        let mut running = FuturesUnordered::new();
        loop {
            let now = clock::now();
            let mut next = now.plus_ms(i64::try_from(SLEEP_MAX.as_millis()).unwrap_or(i64::MAX));
            for source in self.live() {
                match source.due(now) {
                    Due::Now => running.push(source.fetch(&fetcher)),
                    Due::At(at) => next = next.min(at),
                    Due::Never => {}
                }
            }
            let sleep = Duration::from_millis(u64::try_from(next.0 - now.0).unwrap_or(0));
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.poke.notified() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn live(&self) -> Vec<Arc<Source>> {
        self.sources.retain(|_, source| source.strong_count() > 0);
        let sources = self.sources.iter();
        sources.filter_map(|entry| entry.upgrade()).collect()
    }
}

/// When a source is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    At(WallMs),
    /// It is on its way, or never needed again.
    Never,
}

#[cfg(test)]
mod tests;
