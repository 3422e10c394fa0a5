//! Batches at providers, from the request that made one until what it used is in the ledger.

use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

use super::{Store, StoreError};

/// A batch at one deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// The provider's id.
    pub id: String,
    /// Deployment that holds it.
    pub deployment_id: String,
}

impl BatchKey {
    /// The batch that a request made or that a bill is for.
    pub fn of(record: &SpendRecord) -> Self {
        Self {
            id: record.response_id.clone().unwrap_or_default(),
            deployment_id: record.deployment_id.clone(),
        }
    }
}

/// A batch that this node is at.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenBatch {
    /// The record of the request that made it.
    pub made: SpendRecord,
    /// Its bills are written; they may not all be in the ledger.
    pub is_decided: bool,
    /// Looks that failed, one after the other.
    pub tries: u32,
    /// Since when its provider does not have it.
    pub gone_since: Option<WallMs>,
}

/// A batch's row, whose record may not be readable.
pub(super) struct BatchRow {
    /// The record of the request that made it, as JSON.
    pub(super) made: String,
    /// Its bills are written.
    pub(super) is_decided: bool,
    /// Looks that failed.
    pub(super) tries: u32,
    /// Since when its provider does not have it.
    pub(super) gone_since: Option<WallMs>,
}

impl BatchRow {
    pub(super) fn read(self) -> Result<OpenBatch, serde_json::Error> {
        Ok(OpenBatch {
            made: serde_json::from_str(&self.made)?,
            is_decided: self.is_decided,
            tries: self.tries,
            gone_since: self.gone_since,
        })
    }
}

/// Which batches to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one, due or not; one whose last look failed only when it is due.
    One(String),
    /// Those that are due, the longest waiting first.
    Due {
        /// Made in this region.
        region: String,
        /// Of other regions those that were due before this: nobody there looks.
        elsewhere_before: WallMs,
        /// So many at most.
        most: u32,
    },
}

/// A question for batches: they are this node's until `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchClaim {
    /// Who asks. What it had before and did not give back is its own still: it has died since.
    pub by: String,
    /// Which.
    pub which: Which,
    /// Now.
    pub now: WallMs,
    /// When somebody else may take them.
    pub until: WallMs,
}

/// When a batch is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextLook {
    /// When.
    pub at: WallMs,
    /// This look failed; otherwise failures are counted anew.
    pub failed: bool,
    /// Since when its provider does not have it.
    pub gone_since: Option<WallMs>,
}

impl NextLook {
    /// Of a row that this version cannot read: the others are not to wait for it.
    pub(super) fn unreadable(batch: &BatchKey, error: &serde_json::Error, at: WallMs) -> Self {
        let (id, deployment) = (&batch.id, &batch.deployment_id);
        tracing::error!(batch = id, deployment, %error, "a batch's row cannot be read");
        Self {
            at,
            failed: true,
            gone_since: None,
        }
    }
}

/// What is forgotten of objects at providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldObjects {
    /// Days since 1970 now.
    pub today: i64,
    /// Owners that were first seen before this day go, and batches that were billed before it.
    pub before: i64,
    /// So many rows of each at most.
    pub most: u32,
}

impl Store {
    /// Forgets who made objects that are no more. What the log says of them stays.
    pub async fn forget_objects(&self, ids: Vec<String>) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.forget_objects(ids).await,
            Self::Postgres(store) => store.forget_objects(&ids).await,
        }
    }

    /// Forgets old objects, some of them: returns how many rows were dated or went.
    pub async fn drop_old_objects(&self, old: OldObjects) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.drop_old_objects(old).await,
            Self::Postgres(store) => store.drop_old_objects(old).await,
        }
    }

    /// Takes batches that nobody is at and that are not billed whole. A row that cannot be read is
    /// put off until the lease would end.
    pub async fn claim_batches(&self, claim: BatchClaim) -> Result<Vec<OpenBatch>, StoreError> {
        match self {
            Self::Embedded(store) => store.claim_batches(claim).await,
            Self::Postgres(store) => store.claim_batches(&claim).await,
        }
    }

    /// Whether nobody knows yet what a batch used: its output has to stay. `None`: there is no such
    /// batch here, or its record has not come yet.
    pub async fn is_batch_open(&self, batch: BatchKey) -> Result<Option<bool>, StoreError> {
        match self {
            Self::Embedded(store) => store.is_batch_open(batch).await,
            Self::Postgres(store) => store.is_batch_open(&batch).await,
        }
    }

    /// Writes what a batch used, once: `false` when it was written before, and these are not.
    pub async fn decide_batch(
        &self,
        batch: BatchKey,
        bills: Vec<SpendRecord>,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.decide_batch(batch, bills).await,
            Self::Postgres(store) => store.decide_batch(&batch, &bills).await,
        }
    }

    /// Bills of a batch that are not in the ledger.
    pub async fn open_bills(&self, batch: BatchKey) -> Result<Vec<SpendRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.open_bills(batch).await,
            Self::Postgres(store) => store.open_bills(&batch).await,
        }
    }

    /// Gives a batch back, to be looked at again.
    pub async fn put_off_batch(&self, batch: BatchKey, next: NextLook) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.put_off_batch(batch, next).await,
            Self::Postgres(store) => store.put_off_batch(&batch, next).await,
        }
    }

    /// Ends a batch whose bills are all in the ledger; `false` when one is not.
    pub async fn end_batch(&self, batch: BatchKey, now: WallMs) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(store) => store.end_batch(batch, now).await,
            Self::Postgres(store) => store.end_batch(&batch, now).await,
        }
    }
}
