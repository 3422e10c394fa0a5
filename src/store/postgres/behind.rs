//! How far a replica is behind: reports say it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::pool::Pool;
use super::work::{Access, Work};
use crate::clock;
use crate::store::StoreError;

/// Between two questions.
const ASK_GAP: Duration = Duration::from_secs(1);
/// The same while the replica does not know: not every kind of it does.
const UNKNOWN_GAP: Duration = Duration::from_secs(60);
/// Not known.
const UNKNOWN: i64 = -1;

/// Milliseconds since the last transaction that the replica has, where it has received a later
/// one; a primary that is idle is nothing to be behind of.
const ASK: &str = "SELECT CASE \
    WHEN pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn() THEN 0 \
    ELSE COALESCE(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000, \
        0) END::bigint";

/// What the replica said last.
#[derive(Debug)]
pub(super) struct Behind {
    ms: AtomicI64,
    next: Mutex<Option<Instant>>,
}

impl Default for Behind {
    fn default() -> Self {
        Self {
            ms: AtomicI64::new(UNKNOWN),
            next: Mutex::default(),
        }
    }
}

impl Behind {
    /// How far it was behind a moment ago; `None` where that is not known.
    pub(super) fn known(&self) -> Option<Duration> {
        let ms = u64::try_from(self.ms.load(Ordering::Relaxed));
        ms.ok().map(Duration::from_millis)
    }

    /// Forgets it: reports are read elsewhere.
    pub(super) fn forget(&self) {
        self.ms.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Asks the replica, if that was not done a moment ago.
    pub(super) async fn ask(&self, replica: &Pool) {
        let now = clock::mono();
        {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if next.is_some_and(|next| now < next) {
                return;
            }
            *next = Some(now + ASK_GAP);
        }
        match asked(replica).await {
            Ok(ms) => self.ms.store(ms.max(0), Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "how far the replica is behind is not known");
                self.forget();
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                *next = Some(now + UNKNOWN_GAP);
            }
        }
    }
}

async fn asked(replica: &Pool) -> Result<i64, StoreError> {
    let work = Work::begin(replica, Access::Read).await?;
    let row = work.row(ASK, &[]).await;
    let row = work.finish(row).await?;
    Ok(row.map_or(0, |row| row.get(0)))
}
