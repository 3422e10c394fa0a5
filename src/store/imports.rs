//! What an import from another system stores: records with the marks that make it repeatable, and
//! the history before it. Nothing of it is charged to anybody twice.

use meridian_core::litellm::{DayRow, History, Mark};
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;

use super::{Actor, RecordWrite, ScopePeriod, Store, StoreError, StoredRecord};

/// What is known of a record that an import is about to decide on.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its id.
    pub id: String,
    /// What the last import left.
    pub mark: Option<Mark>,
    /// What stands in the store, tombstones too.
    pub stored: Option<StoredRecord>,
}

/// One step of an import.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportWrite {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Its id.
    pub id: String,
    /// How it is stored; `None` leaves it as it is.
    pub write: Option<RecordWrite>,
    /// Period of its scope where the record does not name it.
    pub period: Option<(Scope, Option<ScopePeriod>)>,
    /// Added to what its scope has spent; may be negative.
    pub add: Option<(Scope, NanoUsd)>,
    /// What the next import has to know. With a write its version is the one that is stored.
    pub mark: Mark,
}

/// Most ids of one question.
pub const IMPORT_BATCH_MAX: usize = 1_000;

impl Store {
    /// What is known of records, in the order of `ids` (`IMPORT_BATCH_MAX` at most).
    pub async fn imported(
        &self,
        source: &str,
        kind: RecordKind,
        ids: Vec<String>,
    ) -> Result<Vec<Imported>, StoreError> {
        let source = source.to_owned();
        match self {
            Self::Embedded(store) => store.imported(source, kind, ids).await,
            Self::Postgres(store) => store.imported(source, kind, ids).await,
        }
    }

    /// Ids of up to `IMPORT_BATCH_MAX` marked records behind `after`, in their order.
    pub async fn import_marks_after(
        &self,
        source: &str,
        kind: RecordKind,
        after: String,
    ) -> Result<Vec<String>, StoreError> {
        let source = source.to_owned();
        match self {
            Self::Embedded(store) => store.import_marks_after(source, kind, after).await,
            Self::Postgres(store) => store.import_marks_after(source, kind, after).await,
        }
    }

    /// Makes all steps, or none.
    pub async fn write_imports(
        &self,
        source: &str,
        writes: Vec<ImportWrite>,
        actor: Actor,
    ) -> Result<(), StoreError> {
        let source = source.to_owned();
        match self {
            Self::Embedded(store) => store.write_imports(source, writes, actor).await,
            Self::Postgres(store) => store.write_imports(source, writes, actor).await,
        }
    }

    /// How far the history of a source was taken.
    pub async fn import_history(&self, source: &str) -> Result<History, StoreError> {
        let source = source.to_owned();
        match self {
            Self::Embedded(store) => store.import_history(source).await,
            Self::Postgres(store) => store.import_history(source).await,
        }
    }

    /// Adds sums of days to the roll-ups and notes how far that went: both or nothing. Scopes are
    /// not charged: their spend is imported with their records.
    pub async fn add_history(
        &self,
        source: &str,
        rows: Vec<DayRow>,
        next: History,
    ) -> Result<(), StoreError> {
        let source = source.to_owned();
        match self {
            Self::Embedded(store) => store.add_history(source, rows, next).await,
            Self::Postgres(store) => store.add_history(source, rows, next).await,
        }
    }

    /// Adds requests to the log and the roll-ups that are not there yet; scopes are not charged.
    /// Returns how many there were.
    pub async fn add_logs(&self, records: Vec<SpendRecord>) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(store) => store.add_logs(records).await,
            Self::Postgres(store) => store.add_logs(records).await,
        }
    }
}
