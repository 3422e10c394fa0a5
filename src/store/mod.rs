//! The store: records, the spend ledger, its roll-ups. An enum of products, not a plug-in system.
//!
//! Nothing here is awaited by a request with a known key. SQL lies in the variant's own files.

mod batches;
mod cells;
mod columns;
mod deadline;
mod embedded;
mod home;
mod imports;
mod keys;
mod paces;
mod periods;
mod postgres;
mod records;
mod rights;
mod sums;
mod types;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::Database;
use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::record::{BadRecord, Record, RecordKind};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;

pub use batches::{BatchClaim, BatchKey, NextLook, OldObjects, OpenBatch, Which};
pub use cells::{CellQuery, SpendCell};
pub use deadline::with_deadline;
pub use embedded::Embedded;
pub use imports::{IMPORT_BATCH_MAX, ImportWrite, Imported};
pub use keys::in_words_of_keys;
pub use paces::{Failures, Pace, PaceQuery};
pub use postgres::{
    Direction, MigrateError, Migrated, Outside, Postgres, Reading, Schema, TextRow, migrate,
};
pub use records::*;
pub use rights::Neighbour;
pub use types::*;

/// Gives the end of the period of a duration (`30d`, ...) that runs at a moment; `None` if that is
/// no duration.
pub type NextReset = Arc<dyn Fn(&str, WallMs) -> Option<WallMs> + Send + Sync>;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another row has the same value, or (`version`) the row was changed since it was read.
    #[error("{field} is already taken or has changed")]
    Conflict {
        /// `id`, `alias`, `email` or `version`; for keys `token`, `key_alias` or `version`.
        field: String,
    },
    /// No such row.
    #[error("not found")]
    NotFound,
    /// The record is another region's, and the change is not one that takes rights away.
    #[error("only region {home} may change this")]
    Elsewhere {
        /// Its home.
        home: String,
    },
    /// The question would read too much: narrow it or go on with a cursor.
    #[error("this question reads too many rows")]
    TooMuch,
    /// A report took too long or had to make room for the dropping of a day. Answer 503 with
    /// Retry-After.
    #[error("this report takes too long")]
    Late,
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
    /// The same for a record.
    #[error("stored record: {0}")]
    Record(#[from] BadRecord),
    /// A row of a kind that this version does not know.
    #[error("stored kind {0:?} is not known")]
    UnknownKind(String),
    /// The database failed.
    #[error("sqlite: {0}")]
    Sqlite(rusqlite::Error),
    /// The database cannot be reached, is shutting down, lacks something or is read-only: nothing
    /// that a caller did. Answer 503 with Retry-After.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The schema is missing, too old or too new for this program; the text says what to do.
    #[error("{0}")]
    Schema(String),
    /// The settings of the database cannot be used.
    #[error("database: {0}")]
    Settings(String),
    /// The database refused a statement.
    #[error("postgres: {0}")]
    Postgres(String),
    /// The cursor is not where the caller left it: an earlier batch was stored although its answer
    /// was lost. Read the cursor again.
    #[error("the journal's cursor has moved")]
    Moved,
}

/// Records of ended requests that go into the ledger together, or not at all.
#[derive(Clone, Debug)]
pub struct SpendBatch {
    /// Whose journal they come from; no two processes have the same at a time.
    pub writer: String,
    /// Where the cursor is.
    pub from: Position,
    /// Where it goes.
    pub next: Position,
    /// The records.
    pub records: Vec<SpendRecord>,
    /// Whether requests are listed. They are always counted.
    pub keeps_logs: bool,
}

/// A place to keep keys and spend. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// One local SQLite file.
    Embedded(Embedded),
    /// A Postgres server that the nodes of a region share.
    Postgres(Postgres),
}

impl Store {
    /// Opens (or makes) the embedded store of a data directory and brings its schema up to date.
    pub async fn open_embedded(data_dir: &Path) -> Result<Self, StoreError> {
        Embedded::open(data_dir).await.map(Self::Embedded)
    }

    /// The store on a Postgres server; it need not be reachable.
    pub fn postgres(database: &Database) -> Result<Self, StoreError> {
        Postgres::new(database).map(Self::Postgres)
    }

    /// Whether the schema is one that this program understands: `StoreError::Schema` says what to
    /// do.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Postgres(store) => store.check_schema().await,
        }
    }

    /// Makes what the next hours need, so that no request and no drain has to.
    pub async fn prepare(&self, now: WallMs) -> Result<(), StoreError> {
        match self {
            Self::Embedded(_) => Ok(()),
            Self::Postgres(store) => store.prepare_days(now).await,
        }
    }

    /// Under which name a journal's cursor is kept. `first`: it is that of the directory's first
    /// life.
    pub fn writer_name(&self, journal: &str, first: bool, consumer: &str) -> String {
        match self {
            // The file belongs to one journal, but for the time of an upgrade.
            Self::Embedded(_) if first => consumer.to_owned(),
            Self::Embedded(_) | Self::Postgres(_) => format!("{journal}/{consumer}"),
        }
    }

    /// Whether other nodes use it too.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Postgres(_) => true,
        }
    }

    // Records.

    /// One record, a tombstone too.
    pub async fn get_record(
        &self,
        kind: RecordKind,
        id: impl Into<String>,
    ) -> Result<Option<StoredRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.get_record(kind, id.into()).await,
            Self::Postgres(store) => store.get_record(kind, id.into()).await,
        }
    }

    /// Up to `limit` records (10,000 at most) in order of kind and id, behind `after`, tombstones
    /// among them. Reads the primary.
    pub async fn records_after(
        &self,
        after: Option<RecordPlace>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        match self {
            Self::Embedded(store) => store.records_after(after, limit).await,
            Self::Postgres(store) => store.records_after(after, limit).await,
        }
    }

    /// One page of records.
    pub async fn list_records(&self, query: RecordQuery) -> Result<RecordPage, StoreError> {
        match self {
            Self::Embedded(store) => store.list_records(query).await,
            Self::Postgres(store) => store.list_records(query).await,
        }
    }

    /// Name of the region that it is written in; empty where there is one region only.
    pub fn region(&self) -> &str {
        match self {
            Self::Embedded(store) => &store.region,
            Self::Postgres(store) => &store.region,
        }
    }

    fn region_mut(&mut self) -> &mut Arc<str> {
        match self {
            Self::Embedded(store) => &mut store.region,
            Self::Postgres(store) => &mut store.region,
        }
    }

    /// Stores them, whose home they may be, and changes what is counted, all or nothing.
    async fn write_as_is(
        &self,
        writes: Vec<RecordWrite>,
        changes: Vec<(Scope, ScopeChange)>,
        actor: Option<Actor>,
    ) -> Result<Vec<Record>, StoreError> {
        match self {
            Self::Embedded(store) => store.write_records(writes, changes, actor).await,
            Self::Postgres(store) => store.write_records(writes, changes, actor).await,
        }
    }

    /// Takes records of other regions, or of an export, with their versions: only those that are
    /// newer than what is stored. Returns these.
    pub async fn merge_records(&self, records: Vec<Record>) -> Result<Vec<Record>, StoreError> {
        match self {
            Self::Embedded(store) => store.merge_records(records).await,
            Self::Postgres(store) => store.merge_records(records).await,
        }
    }

    /// Up to `limit` records that became visible behind a place, whoever wrote them. Never skips
    /// one; may show one twice. Reads the primary.
    pub async fn changes_after(
        &self,
        cursor: FeedCursor,
        limit: u32,
    ) -> Result<Changes, StoreError> {
        match self {
            Self::Embedded(_) => {
                let _no_other_writer = limit;
                Ok(Embedded::changes_after(cursor))
            }
            Self::Postgres(store) => store.changes_after(cursor, limit).await,
        }
    }

    /// One page of the audit log.
    pub async fn audit_log(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        match self {
            Self::Embedded(store) => store.audit_log(query).await,
            Self::Postgres(store) => store.audit_log(query).await,
        }
    }

    // What scopes have spent.

    /// What these scopes have spent; those that nothing is known of are left out.
    pub async fn scope_spends(&self, scopes: Vec<Scope>) -> Result<Vec<ScopeSpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.scope_spends(scopes).await,
            Self::Postgres(store) => store.scope_spends(scopes).await,
        }
    }

    /// What is spent of every entry of `budget_limits`, where the store counts it: nodes that share
    /// a store have rights for them.
    pub async fn limit_spends(&self) -> Result<Vec<ScopeSpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.limit_spends().await,
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// What scopes of a kind spent since then, by the name that clients asked by: scope, name,
    /// amount. Of a first day that the log does not know whole, all of it. For a store of one node:
    /// those that share one have rights.
    pub async fn model_spends(
        &self,
        kind: ScopeKind,
        ids: Vec<String>,
        since: Option<WallMs>,
    ) -> Result<Vec<(String, String, NanoUsd)>, StoreError> {
        match self {
            Self::Embedded(store) => store.model_spends(kind, ids, since).await,
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Sets what a scope has spent; requests that started before `now` do not count any more.
    /// Returns the spend before.
    pub async fn set_scope_spend(
        &self,
        scope: Scope,
        spend: NanoUsd,
        now: WallMs,
    ) -> Result<NanoUsd, StoreError> {
        match self {
            Self::Embedded(store) => store.set_scope_spend(scope, spend, now).await,
            Self::Postgres(store) => store.set_scope_spend(scope, spend, now).await,
        }
    }

    /// Sets the periods of scopes whose records refer to a budget; a record that names its own
    /// period brings it along when it is written.
    pub async fn set_scope_periods(
        &self,
        periods: Vec<(Scope, Option<ScopePeriod>)>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.set_scope_periods(periods).await,
            Self::Postgres(store) => store.set_scope_periods(periods).await,
        }
    }

    /// Gives scopes that take their budget from another record the period that runs, where they
    /// have none or one of another length. They have spent then what the log says about it; where
    /// requests are not `listed`, what they had spent. Returns those that were changed.
    pub async fn begin_borrowed_periods(
        &self,
        periods: Vec<BorrowedPeriod>,
        listed: bool,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.begin_borrowed_periods(periods, listed).await,
            Self::Postgres(store) => store.begin_borrowed_periods(periods, listed).await,
        }
    }

    /// Begins the next period of every scope whose period has ended. The spend of the new period
    /// is what the log says about requests that started in it, so that neither a late job nor late
    /// records shift money between periods.
    pub async fn roll_budget_periods(
        &self,
        now: WallMs,
        next: NextReset,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.roll_budget_periods(now, next).await,
            Self::Postgres(store) => store.roll_budget_periods(now, next).await,
        }
    }

    /// `/global/spend/reset`: every key and team has spent nothing from `now` on. Logs and
    /// roll-ups stay.
    pub async fn reset_all_spend(&self, now: WallMs) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.reset_all_spend(now).await,
            Self::Postgres(store) => store.reset_all_spend(now).await,
        }
    }

    // The ledger.

    /// Where a consumer of the journal goes on.
    pub async fn journal_position(&self, writer: &str) -> Result<Option<Position>, StoreError> {
        match self {
            Self::Embedded(store) => store.journal_position(writer).await,
            Self::Postgres(store) => store.journal_position(writer).await,
        }
    }

    /// Adds the records that are not stored yet, counts only those in the roll-ups and scopes, and
    /// moves the cursor: all or nothing. Returns how many were new.
    pub async fn apply_spend(&self, batch: SpendBatch) -> Result<usize, StoreError> {
        match self {
            Self::Embedded(store) => store.apply_spend(batch).await,
            Self::Postgres(store) => store.apply_spend(&batch).await,
        }
    }

    /// One page of spend logs.
    pub async fn spend_logs(&self, query: SpendQuery) -> Result<SpendPage, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_logs(query).await,
            Self::Postgres(store) => store.spend_logs(query).await,
        }
    }

    /// Owners of responses, files and batches, by the provider's ids; those that nobody made here
    /// are left out.
    pub async fn find_owners(&self, ids: Vec<String>) -> Result<Vec<(String, Owner)>, StoreError> {
        match self {
            Self::Embedded(store) => store.find_owners(ids).await,
            Self::Postgres(store) => store.find_owners(ids).await,
        }
    }

    /// Keeps who made these files or batches. An owner that is known stays.
    pub async fn keep_owner(&self, ids: Vec<String>, owner: Owner) -> Result<(), StoreError> {
        match self {
            Self::Embedded(store) => store.keep_owner(ids, owner).await,
            Self::Postgres(store) => store.keep_owner(ids, owner).await,
        }
    }

    /// Deletes logs of requests that started before `before`, in short transactions. Roll-ups
    /// stay. Returns how many there were.
    pub async fn drop_logs_before(&self, before: WallMs) -> Result<u64, StoreError> {
        match self {
            Self::Embedded(store) => store.drop_logs_before(before).await,
            Self::Postgres(store) => store.drop_logs_before(before).await,
        }
    }

    /// How far a replica that reports are read from was behind a moment ago; `None` where they are
    /// read from what is written.
    pub fn report_behind(&self) -> Option<Duration> {
        match self {
            Self::Embedded(_) => None,
            Self::Postgres(store) => store.report_behind(),
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
            Self::Postgres(store) => store.spend_by(group, query).await,
        }
    }

    /// Sums per combination of groups, in the order of the groups. More than `REPORT_ROWS_MAX` of
    /// them are `TooMuch`.
    pub async fn spend_cells(&self, query: CellQuery) -> Result<Vec<SpendCell>, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_cells(query).await,
            Self::Postgres(store) => store.spend_cells(query).await,
        }
    }

    /// How fast providers' models answered, per day and place; read from the log.
    pub async fn paces(&self, query: PaceQuery) -> Result<Vec<Pace>, StoreError> {
        match self {
            Self::Embedded(store) => store.paces(query).await,
            Self::Postgres(store) => store.paces(query).await,
        }
    }

    /// How often they failed; read from the log.
    pub async fn failures(&self, query: PaceQuery) -> Result<Vec<Failures>, StoreError> {
        match self {
            Self::Embedded(store) => store.failures(query).await,
            Self::Postgres(store) => store.failures(query).await,
        }
    }

    /// Cost per day with its users and models; `limit` does not apply.
    pub async fn spend_by_day(&self, query: ReportQuery) -> Result<Vec<DaySpend>, StoreError> {
        match self {
            Self::Embedded(store) => store.spend_by_day(query).await,
            Self::Postgres(store) => store.spend_by_day(query).await,
        }
    }

    /// Cost of everything in a range of days; of all time without one.
    pub async fn global_spend(&self, range: Option<TimeRange>) -> Result<NanoUsd, StoreError> {
        match self {
            Self::Embedded(store) => store.global_spend(range).await,
            Self::Postgres(store) => store.global_spend(range).await,
        }
    }
}
