//! Which store a process uses, and what it finds there.

use std::path::Path;

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
