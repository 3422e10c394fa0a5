//! The store: keys, the spend ledger and its roll-ups. An enum of products, not a plug-in system.
//!
//! Nothing here is awaited by a request with a known key. SQL lies in the variant's own files.

mod embedded;
mod types;

use std::path::Path;
use std::sync::Arc;

use meridian_core::ids::KeyHash;
use meridian_core::journal::Position;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

pub use embedded::Embedded;
pub use types::*;

/// Gives the end of the period that runs at a moment; `None` if the key has no periods.
pub type NextReset = Arc<dyn Fn(&KeyRecord, WallMs) -> Option<WallMs> + Send + Sync>;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another row has the same value, or (`version`) the row was changed since it was read.
    #[error("{field} is already taken or has changed")]
    Conflict {
        /// `token`, `key_alias` or `version`.
        field: String,
    },
    /// No such row.
    #[error("not found")]
    NotFound,
    /// The question would read too much: narrow it or go on with a cursor.
    #[error("this question reads too many rows")]
    TooMuch,
    /// Too many questions are waiting, or one took too long. Answer 503 with Retry-After.
    #[error("the store is busy")]
    Busy,
    /// The store has been shut down or its thread died.
    #[error("the store is closed")]
    Closed,
    /// The database file belongs to another version or cannot be migrated.
    #[error("migration: {0}")]
    Migration(String),
    /// A row does not hold what it should.
    #[error("stored value: {0}")]
    Json(#[from] serde_json::Error),
    /// The database failed.
    #[error("sqlite: {0}")]
    Sqlite(rusqlite::Error),
}

/// A place to keep keys and spend. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// One local SQLite file.
    Embedded(Embedded),
}

impl Store {
    /// Opens (or makes) the embedded store of a data directory and brings its schema up to date.
    pub async fn open_embedded(data_dir: &Path) -> Result<Self, StoreError> {
        Embedded::open(data_dir).await.map(Self::Embedded)
    }

    // Keys.

    /// Every key. With very many keys prefer `keys_after`, which bounds the memory.
    pub async fn load_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.load_keys().await,
        }
    }

    /// Up to `limit` keys in order of their tokens, behind `after`.
    pub async fn keys_after(
        &self,
        after: Option<KeyHash>,
        limit: u32,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.keys_after(after, limit).await,
        }
    }

    /// One key.
    pub async fn get_key(&self, token: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.get_key(token).await,
        }
    }

    /// Adds a key; `Conflict` names `token` or `key_alias`. Its `version` is stored as given.
    pub async fn insert_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.insert_key(key).await,
        }
    }

    /// Replaces a key if its stored version is still `key.version`; spend is not touched. Returns
    /// the key as stored.
    pub async fn update_key(&self, key: KeyRecord) -> Result<KeyRecord, StoreError> {
        match self {
            Self::Embedded(store) => store.update_key(key).await,
        }
    }

    /// Moves a key, and what it replaced, out of use; returns it.
    pub async fn delete_key(
        &self,
        token: KeyHash,
        by: String,
        now: WallMs,
    ) -> Result<KeyRecord, StoreError> {
        match self {
            Self::Embedded(store) => store.delete_key(token, by, now).await,
        }
    }

    /// Gives a key a new token (`new.token`) if its stored version is still `new.version`. Its
    /// spend goes on. The old token is listed as deprecated until `revoke_at`.
    pub async fn rotate_key(
        &self,
        old: KeyHash,
        new: KeyRecord,
        revoke_at: WallMs,
    ) -> Result<KeyRecord, StoreError> {
        match self {
            Self::Embedded(store) => store.rotate_key(old, new, revoke_at).await,
        }
    }

    /// Replaced tokens that still work at `now`.
    pub async fn load_deprecated_keys(
        &self,
        now: WallMs,
    ) -> Result<Vec<DeprecatedKey>, StoreError> {
        match self {
            Self::Embedded(store) => store.load_deprecated_keys(now).await,
        }
    }

    /// One page of keys.
    pub async fn list_keys(&self, query: KeyQuery) -> Result<KeyPage, StoreError> {
        match self {
            Self::Embedded(store) => store.list_keys(query).await,
        }
    }

    // Spend of keys.

    /// Sets what a key has spent; requests that started before `now` do not count any more.
    /// Returns the spend before.
    pub async fn set_key_spend(
        &self,
        token: KeyHash,
        spend: NanoUsd,
        now: WallMs,
    ) -> Result<NanoUsd, StoreError> {
        match self {
            Self::Embedded(store) => store.set_key_spend(token, spend, now).await,
        }
    }

    /// Begins the next period of every key whose period has ended. The spend of the new period is
    /// what the log says about requests that started in it, so that neither a late job nor late
    /// records shift money between periods.
    pub async fn roll_budget_periods(
        &self,
        now: WallMs,
        next: NextReset,
    ) -> Result<Vec<RolledPeriod>, StoreError> {
        match self {
            Self::Embedded(store) => store.roll_budget_periods(now, next).await,
        }
    }

    /// `/global/spend/reset`: every key has spent nothing from `now` on. Logs and roll-ups stay.
    pub async fn reset_all_spend(&self, now: WallMs) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.reset_all_spend(now).await,
        }
    }

    // The ledger.

    /// Where a consumer of the journal goes on.
    pub async fn journal_position(
        &self,
        consumer: &'static str,
    ) -> Result<Option<Position>, StoreError> {
        match self {
            Self::Embedded(store) => store.journal_position(consumer).await,
        }
    }

    /// Adds the records that are not stored yet, counts only those in the roll-ups and in key
    /// spend, and moves the cursor: all or nothing. Returns how many were new.
    pub async fn apply_spend(
        &self,
        consumer: &'static str,
        records: Vec<SpendRecord>,
        next: Position,
    ) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(store) => store.apply_spend(consumer, records, next).await,
        }
    }

    /// One page of spend logs.
    pub async fn spend_logs(&self, query: SpendQuery) -> Result<SpendPage, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_logs(query).await,
        }
    }

    /// The latest request that gave this response id.
    pub async fn find_response(
        &self,
        response_id: String,
    ) -> Result<Option<ResponseOwner>, StoreError> {
        match self {
            Self::Embedded(store) => store.find_response(response_id).await,
        }
    }

    /// Deletes logs of requests that started before `before`, in short transactions. Roll-ups
    /// stay. Returns how many there were.
    pub async fn drop_logs_before(&self, before: WallMs) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.drop_logs_before(before).await,
        }
    }

    // Reports: from roll-ups only.

    /// Sums per group.
    pub async fn spend_by(
        &self,
        group: GroupBy,
        query: ReportQuery,
    ) -> Result<Vec<SpendTotals>, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_by(group, query).await,
        }
    }

    /// Cost per day with its users and models; `limit` does not apply.
    pub async fn spend_by_day(&self, query: ReportQuery) -> Result<Vec<DaySpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_by_day(query).await,
        }
    }

    /// Cost of everything in a range of days; of all time without one.
    pub async fn global_spend(&self, range: Option<TimeRange>) -> Result<NanoUsd, StoreError> {
        match self {
            Self::Embedded(store) => store.global_spend(range).await,
        }
    }
}
