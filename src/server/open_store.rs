//! Which store a process uses, and what it finds there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::Config;

use super::{StartError, keep};
use crate::clock;
use crate::journal::{Drain, Journal};
use crate::store::{Store, StoreError};

/// Longest wait for an earlier process's records to reach the store.
const FIRST_DRAIN_TIMEOUT: Duration = Duration::from_secs(600);
/// The same for a store that other nodes use too: it may be down, and they serve meanwhile.
const FIRST_SHARED_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Name of the consumer that fills the store.
const STORE_CONSUMER: &str = "store";

/// Opens the store of a configuration with its drain. Every record of an earlier process is in it
/// then, or waits in the journal for a Postgres that does not answer.
pub(super) async fn open(
    config: &Config,
    data_dir: &Path,
    journal: &Arc<Journal>,
) -> Result<(Store, Arc<Drain>), StartError> {
    let store = open_one(config, data_dir).await?;
    let drain = Drain::new(Arc::clone(journal), store.clone(), STORE_CONSUMER);
    keep::tell(&drain, config);
    let shared = config.database.is_some();
    let patience = match shared {
        true => FIRST_SHARED_DRAIN_TIMEOUT,
        false => FIRST_DRAIN_TIMEOUT,
    };
    if !drain.flush(patience).await {
        if !shared {
            return Err(StartError::Ledger);
        }
        tracing::warn!("records of an earlier process wait in the journal for Postgres");
    }
    Ok((store, Arc::new(drain)))
}

/// Opens the store of a configuration. A Postgres that does not answer is no reason not to start:
/// it is asked again until it does. One with a schema that this program does not understand is.
async fn open_one(config: &Config, data_dir: &Path) -> Result<Store, StoreError> {
    let Some(database) = &config.database else {
        return Store::open_embedded(data_dir).await;
    };
    let store = Store::postgres(database)?;
    let looked = match store.check_schema().await {
        Ok(()) => store.prepare(clock::now()).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok(()) => {}
        Err(StoreError::Unavailable(why)) => {
            tracing::warn!(why, "Postgres does not answer; requests do not wait for it");
        }
        Err(StoreError::Busy) => tracing::warn!("Postgres is busy; it is asked again"),
        Err(error) => return Err(error),
    }
    Ok(store)
}

/// Longest wait for a store that a process cannot start without, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

/// Asks a store that may be away for a moment until it answers.
pub(super) async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let began = clock::mono();
    loop {
        match ask().await {
            Err(StoreError::Unavailable(_) | StoreError::Busy)
                if clock::mono() - began < PATIENCE =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}
