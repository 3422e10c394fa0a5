//! Which store a process uses, and what it finds there.

use std::path::Path;

use meridian_core::config::Config;

use crate::clock;
use crate::store::{Store, StoreError};

/// Opens the store of a configuration, and says whether it answers. A Postgres that does not
/// answer is no reason not to start: it is asked again until it does. One with a schema that this
/// program does not understand is.
pub(super) async fn open(config: &Config, data_dir: &Path) -> Result<(Store, bool), StoreError> {
    let region = config.routing.regions.own.as_deref();
    let Some(database) = &config.database else {
        let store = Store::open_embedded(data_dir).await?;
        return Ok((store.in_region(region), true));
    };
    let store = Store::postgres(database)?.in_region(region);
    match store.check_schema().await {
        Ok(()) => {
            // A server that only reads is asked for it again later.
            if let Err(error) = store.prepare(clock::now()).await {
                tracing::warn!(%error, "the store is not prepared for the next day");
            }
            Ok((store, true))
        }
        Err(error @ (StoreError::Schema(_) | StoreError::Settings(_))) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "Postgres does not answer; requests do not wait for it");
            Ok((store, false))
        }
    }
}
