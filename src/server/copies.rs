//! This node's copy of what the nodes of a region share in Postgres: made before anything is
//! served, from the snapshot and, if it answers soon, from the store; kept up to date beside the
//! traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::{Config, Peer};
use meridian_core::ids::Secret;
use meridian_core::signature::{Purpose, Signer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StartError;
use crate::clock;
use crate::journal::{Drain, Journal};
use crate::records::{self, Follower, Keeper, Loaded, Lookups, Memory, Records, Seeker};
use crate::shared::{Courier, Doorbell, Leader, Mailbox};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Longest wait at start for a store that answers: what it has by then is served from the first
/// request on, the rest as it comes.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Records of the journal that are read at once.
const REPLAY_RECORDS: usize = 5_000;
/// The key for everything that is sealed or signed; where it is not set, the master key.
const SALT_KEY: &str = "LITELLM_SALT_KEY";

/// What the copy is made of and kept by.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) env: &'a HashMap<String, String>,
    pub(super) journal: &'a Arc<Journal>,
    pub(super) store: &'a Store,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) memory: Arc<dyn Memory>,
}

/// The copy and those who keep it, not running yet.
pub(super) struct Copies {
    pub(super) records: Arc<Records>,
    pub(super) lookups: Lookups,
    follower: Follower,
    seeker: Seeker,
    keeper: Keeper,
    doorbell: Option<Doorbell>,
    mailbox: Option<Mailbox>,
    couriers: Vec<Courier>,
    replay: Option<Loaded>,
}

impl Copies {
    /// Takes what the snapshot has. Nothing may be drained before: the snapshot counts from where
    /// the journal stood. `None` with the embedded store, which is not shared.
    pub(super) fn open(parts: Parts<'_>) -> Result<Option<Self>, StartError> {
        let Parts {
            config,
            env,
            journal,
            store,
            metrics,
            memory,
        } = parts;
        if config.database.is_none() {
            return Ok(None);
        }
        let data_dir = journal.life().home();
        let secret = secret(config, env);
        let signer = |purpose| Signer::new(&secret, purpose);
        let mut records = Records::new(memory, store.region());
        if !config.links.peers.is_empty() {
            records = records.linked(config.links.max_stale);
        }
        let records = Arc::new(records);
        let saved = signer(Purpose::Snapshot);
        let loaded = records::load(data_dir, &saved, &records, metrics)
            .map_err(|error| StartError::Snapshot(error.to_string()))?;
        if let Some(loaded) = &loaded {
            tracing::info!(
                records = loaded.records,
                "the snapshot of records is loaded"
            );
        }
        let keeper = Keeper::new(
            Arc::clone(&records),
            Arc::clone(journal),
            Arc::clone(metrics),
            saved,
            data_dir,
            loaded.as_ref(),
        );
        let cursor = loaded.as_ref().map(|loaded| loaded.cursor.clone());
        let follower = Follower::new(
            Arc::clone(&records),
            store.clone(),
            cursor.unwrap_or_default(),
        );
        let (lookups, seeker) =
            Lookups::new(Arc::clone(&records), store.clone(), Arc::clone(metrics));
        let regions = signer(Purpose::Regions);
        let (mailbox, couriers) = links(config, &records, store, &regions, metrics);
        let doorbell = config.redis.clone().map(|redis| {
            let (records, metrics) = (Arc::clone(&records), Arc::clone(metrics));
            Doorbell::new(redis, records, signer(Purpose::Region), metrics)
        });
        Ok(Some(Self {
            records,
            lookups,
            follower,
            seeker,
            keeper,
            doorbell,
            mailbox,
            couriers,
            replay: loaded,
        }))
    }

    /// Whether the snapshot was of all that the store had.
    pub(super) fn is_complete(&self) -> bool {
        self.replay.as_ref().is_some_and(|loaded| loaded.complete)
    }

    /// Counts what the journal holds that the snapshot had not counted, and takes what the store
    /// has, if it answers in time. `up` says whether it did a moment ago.
    pub(super) async fn catch_up(&mut self, journal: &Journal, drain: &Drain, up: bool) {
        if let Some(loaded) = self.replay.take() {
            self.records.replay(journal, loaded.journal, REPLAY_RECORDS);
        }
        if !up {
            return;
        }
        let began = clock::mono();
        let drained = drain.flush(FIRST_LOOK / 2).await;
        let left = FIRST_LOOK.saturating_sub(began.elapsed());
        let looked = tokio::time::timeout(left, self.follower.look_once()).await;
        if !drained || looked.is_err() {
            tracing::warn!("the store is slow: what is known is served meanwhile");
        }
    }

    /// Starts what keeps the copy. The handle ends when the last snapshot is written.
    pub(super) fn start(self, control: &Runtime, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
        control.spawn(self.follower.run(stop.clone()));
        control.spawn(self.seeker.run(stop.clone()));
        if let Some(doorbell) = self.doorbell {
            control.spawn(doorbell.run(stop.clone()));
        }
        if let Some(mailbox) = self.mailbox {
            control.spawn(mailbox.run(stop.clone()));
        }
        for courier in self.couriers {
            control.spawn(courier.run(stop.clone()));
        }
        control.spawn(self.keeper.run(stop.clone()))
    }
}

/// Who reads what other regions send, and who sends to each of them.
fn links(
    config: &Config,
    records: &Arc<Records>,
    store: &Store,
    signer: &Signer,
    metrics: &Arc<Metrics>,
) -> (Option<Mailbox>, Vec<Courier>) {
    let peers = &config.links.peers;
    let Some(redis) = config.redis.clone().filter(|_| !peers.is_empty()) else {
        return (None, Vec::new());
    };
    let leader = Leader::default();
    let courier = |peer: &Peer| {
        Courier::new(
            peer.clone(),
            Arc::clone(records),
            store.clone(),
            signer.clone(),
            leader.clone(),
            Arc::clone(metrics),
        )
    };
    let couriers = peers.iter().map(courier).collect();
    let mailbox = Mailbox::new(
        redis,
        peers.iter().map(|peer| peer.region.clone()),
        Arc::clone(records),
        store.clone(),
        signer.clone(),
        leader.clone(),
        Arc::clone(metrics),
    );
    (Some(mailbox), couriers)
}

pub(super) fn secret(config: &Config, env: &HashMap<String, String>) -> Secret {
    let salt = env.get(SALT_KEY).filter(|salt| !salt.is_empty());
    match salt {
        Some(salt) => Secret::new(salt.clone()),
        // A configuration without a master key does not start.
        None => config
            .general
            .master_key
            .clone()
            .unwrap_or_else(|| Secret::new(String::new())),
    }
}
