//! What a process finds when it starts: its journal, and the store it uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::{self, Config};
use meridian_core::escrow::{Pid, Row};

use super::StartError;
use crate::clock;
use crate::journal::{Fsync, Journal, JournalOptions, Life, Recovery};
use crate::store::{Store, StoreError};

/// Time between two fsyncs of the journal with `fsync: interval`.
const FSYNC_INTERVAL: Duration = Duration::from_millis(10);

/// Opens the journal and settles what a dead process left open in it; gives this node's rows in
/// shared budgets. `takes_over`: the process that serves from the directory has started this one.
pub(super) fn journal(
    config: &Config,
    data_dir: &Path,
    takes_over: bool,
) -> Result<(Arc<Journal>, BTreeMap<Pid, Row>), StartError> {
    let life = Life::take(data_dir, takes_over)?;
    let (journal, recovery) = Journal::of_life(life, journal_options(config))?;
    report(&recovery);
    Ok((Arc::new(journal), recovery.rows))
}

/// Says in the log what a process left that did not stop in order.
pub(super) fn report(recovery: &Recovery) {
    if !recovery.settled.is_empty() || recovery.damaged_bytes() > 0 {
        let (settled, damaged) = (recovery.settled.len(), recovery.damaged_bytes());
        tracing::warn!(settled, damaged, "the last process did not stop in order");
    }
}

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

pub(super) fn journal_options(config: &Config) -> JournalOptions {
    JournalOptions {
        bytes_max: config.meridian.journal_bytes_max,
        fsync: match config.meridian.fsync {
            config::Fsync::Interval => Fsync::Interval(FSYNC_INTERVAL),
            config::Fsync::Always => Fsync::Always,
            config::Fsync::Never => Fsync::Never,
        },
        ..JournalOptions::default()
    }
}
