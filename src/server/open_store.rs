//! Which store a process uses, and what it finds there.

use std::path::Path;
use std::time::Duration;

use meridian_core::config::Config;

use crate::clock;
use crate::store::{Store, StoreError};

/// Opens the store of a configuration. A Postgres that does not answer is no reason not to start:
/// it is asked again until it does. One with a schema that this program does not understand is.
pub(super) async fn open(config: &Config, data_dir: &Path) -> Result<Store, StoreError> {
    let Some(database) = &config.database else {
        return Store::open_embedded(data_dir).await;
    };
    let store = Store::postgres(database)?;
    match store.check_schema().await {
        Ok(()) => store.prepare(clock::now()).await?,
        Err(StoreError::Unavailable(why)) => {
            tracing::warn!(why, "Postgres does not answer; requests do not wait for it");
        }
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
