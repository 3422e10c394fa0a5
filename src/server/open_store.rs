//! What a process finds when it starts: its journal, and the store it uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::{self, Config};

use super::{StartError, keep};
use crate::clock;
use crate::journal::{Fsync, Journal, JournalOptions, Life, Recovery};
use crate::store::{Store, StoreError};

/// Time between two fsyncs of the journal with `fsync: interval`.
const FSYNC_INTERVAL: Duration = Duration::from_millis(10);

/// This process's place in the data directory, the store, and whether the store answers.
///
/// # Errors
/// Where there is no place, or no store that this program understands.
pub(super) async fn with_place(
    config: &Config,
    (data_dir, takes_over): (&Path, bool),
) -> Result<(Life, Store, bool), StartError> {
    let life = Life::take(data_dir, takes_over)?;
    let (store, up) = open(config, data_dir).await?;
    let life = match up {
        true => proven(life, (data_dir, takes_over), &store).await?,
        false => life,
    };
    Ok((life, store, up))
}

/// The place of this process, or another one where its journal is not what was written there last,
/// as far as the store knows. An older copy that was put back (of a disk, of a machine) is not gone
/// on with: what it says is free of budgets may be spent.
///
/// # Errors
/// Where there is no other place.
async fn proven(
    mut life: Life,
    (data_dir, takes_over): (&Path, bool),
    store: &Store,
) -> Result<Life, StartError> {
    while store.is_shared() {
        match is_outdated(&life, store).await {
            Ok(false) => break,
            Ok(true) => {
                tracing::error!(home = %life.home().display(),
                    "this data directory is an older copy of itself: Postgres has more of its \
                     journal; a new journal is begun, with rights of its own");
                life.retire()?;
                drop(life);
                life = Life::take(data_dir, takes_over)?;
            }
            Err(error) => {
                tracing::warn!(%error, "whether this data directory is an old copy is not known");
                break;
            }
        }
    }
    Ok(life)
}

async fn is_outdated(life: &Life, store: &Store) -> Result<bool, StartError> {
    let Some(id) = life.journal_id()? else {
        return Ok(false);
    };
    let writer = keep::writer_name(store, &id, life);
    let told = store.journal_position(&writer).await?;
    Ok(life.ends_before(told.unwrap_or_default())?)
}

/// Opens the journal and settles what a dead process left open in it.
pub(super) fn journal(config: &Config, life: Life) -> Result<(Arc<Journal>, Recovery), StartError> {
    let (journal, recovery) = Journal::of_life(life, journal_options(config))?;
    report(&recovery);
    Ok((Arc::new(journal), recovery))
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
async fn open(config: &Config, data_dir: &Path) -> Result<(Store, bool), StoreError> {
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
