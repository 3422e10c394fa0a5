//! Questions about records and the answers to them.

use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::record::{Facet, Record, RecordKind};
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;
use serde_json::Value;

/// A record with what is counted for it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// Spent in the running period, as of the last drain; zero for kinds without a scope.
    pub spend: NanoUsd,
    /// End of the running period; `None` is never.
    pub resets_at: Option<WallMs>,
}

/// A record to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordWrite {
    /// What is stored; its version is given by the store.
    pub record: Record,
    /// Version of the live record that it replaces; `None` if there is none.
    pub replaces: Option<u64>,
    /// What becomes of the spend that is counted for it.
    pub spend: SpendChange,
}

/// What a write does to the spend of its record's scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpendChange {
    /// Nothing.
    #[default]
    Keep,
    /// It begins with this amount, whatever an earlier holder of the id spent.
    Start(NanoUsd),
    /// What the record with this id spent goes on here.
    Move(String),
}

impl RecordWrite {
    /// A record that is new.
    pub fn create(record: Record) -> Self {
        Self {
            record,
            replaces: None,
            spend: SpendChange::Keep,
        }
    }

    /// A record that was read, changed, and is written back.
    pub fn replace(record: Record) -> Self {
        Self {
            replaces: Some(record.version),
            record,
            spend: SpendChange::Keep,
        }
    }

    /// The end of a record that was read.
    pub fn delete(mut record: Record, now: WallMs) -> Self {
        record.deleted = true;
        record.updated_at = now;
        Self::replace(record)
    }
}

/// Who changes records; a line of the audit log is written for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The user, or what the caller names in `litellm-changed-by`.
    pub changed_by: String,
    /// Its key; `None` is the master key.
    pub key: Option<KeyHash>,
}

/// Which records to list. Absent filters let everything pass.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordQuery {
    /// Only this kind.
    pub kind: RecordKind,
    /// Equal facets, all of them.
    pub facets: Vec<(Facet, String)>,
    /// Only these ids; empty is all.
    pub ids: Vec<String>,
    /// Part of the id, alias or e-mail, in any case of letters.
    pub search: Option<String>,
    /// Tombstones instead of what lives.
    pub deleted: bool,
    /// Order.
    pub sort_by: RecordSort,
    /// Largest or latest first.
    pub descending: bool,
    /// From 1; 0 is taken as 1.
    pub page: u32,
    /// Records per page, at most `PAGE_SIZE_MAX`; 0 is taken as 10.
    pub size: u32,
}

impl RecordQuery {
    /// Every record of a kind, oldest first.
    pub fn all(kind: RecordKind) -> Self {
        Self {
            kind,
            facets: Vec::new(),
            ids: Vec::new(),
            search: None,
            deleted: false,
            sort_by: RecordSort::default(),
            descending: false,
            page: 1,
            size: 0,
        }
    }

    /// With one more equal facet.
    #[must_use]
    pub fn with(mut self, facet: Facet, value: impl Into<String>) -> Self {
        self.facets.push((facet, value.into()));
        self
    }
}

/// Order of a list of records; equal ones are ordered by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordSort {
    /// By creation.
    #[default]
    CreatedAt,
    /// By last change.
    UpdatedAt,
    /// By id.
    Id,
    /// By spend of the running period.
    Spend,
    /// By budget.
    MaxBudget,
    /// By expiry.
    Expires,
    /// By a facet.
    Facet(Facet),
}

impl RecordSort {
    /// The column.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Id => "id",
            Self::Spend => "spend",
            Self::MaxBudget => "max_budget",
            Self::Expires => "expires",
            Self::Facet(facet) => facet.column(),
        }
    }
}

/// One page of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// How many there are on all pages.
    pub total: u64,
}

/// Where a walk over all records goes on: behind this one.
pub type RecordPlace = (RecordKind, String);

/// Place in the order in which records became visible; opaque, of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedCursor(pub String);

/// Records that changed since a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The records as they are now, tombstones among them.
    pub records: Vec<Record>,
    /// Where to go on.
    pub next: FeedCursor,
    /// Nothing is left behind `next` for now.
    pub caught_up: bool,
}

/// What a scope has spent in its running period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSpend {
    /// The scope.
    pub scope: Scope,
    /// Spent, as of the last drain.
    pub spend: NanoUsd,
    /// Start of the running period: requests that started earlier do not count.
    pub period_start: WallMs,
    /// End of the running period; `None` is never.
    pub period_end: Option<WallMs>,
}

/// The period of a scope's budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePeriod {
    /// LiteLLM's word: `30d`, `1mo`, ...
    pub duration: String,
    /// End of the running one.
    pub ends: Option<WallMs>,
}

/// A change to what is counted for a scope, made with records in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeChange {
    /// Its record takes its budget from another one: the period that runs.
    Period(Option<ScopePeriod>),
    /// It has spent this much; requests that started before do not count any more.
    Spent {
        /// So much.
        spend: NanoUsd,
        /// Since when.
        since: WallMs,
    },
}

/// The period of a scope that takes its budget from another record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BorrowedPeriod {
    /// The scope.
    pub scope: Scope,
    /// Its period.
    pub period: ScopePeriod,
    /// When that began.
    pub start: WallMs,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its identity: a UUID.
    pub id: String,
    /// When.
    pub at: WallMs,
    /// Who.
    pub changed_by: String,
    /// With which key: its digest, empty for the master key.
    pub changed_by_key: String,
    /// `created`, `updated`, `deleted`.
    pub action: AuditAction,
    /// Kind of the record.
    pub kind: RecordKind,
    /// Its id.
    pub object_id: String,
    /// Its body before.
    pub before: Option<Value>,
    /// Its body after.
    pub after: Option<Value>,
}

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// It did not exist.
    Created,
    /// It did.
    Updated,
    /// It does not any more.
    Deleted,
}

impl AuditAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    /// What a write did; `before` is the live record that it replaced.
    pub(super) fn of(before: Option<&Record>, after: &Record) -> Self {
        match (before, after.deleted) {
            (_, true) => Self::Deleted,
            (Some(_), false) => Self::Updated,
            (None, false) => Self::Created,
        }
    }

    /// LiteLLM's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// Which lines of the audit log to read, latest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditQuery {
    /// The one with this id.
    pub id: Option<String>,
    /// Lines by this one.
    pub changed_by: Option<String>,
    /// Lines with this key.
    pub changed_by_key: Option<String>,
    /// Only this action.
    pub action: Option<AuditAction>,
    /// Only this kind.
    pub kind: Option<RecordKind>,
    /// Only this object.
    pub object_id: Option<String>,
    /// From here (inclusive).
    pub from: Option<WallMs>,
    /// To here (exclusive).
    pub to: Option<WallMs>,
    /// Oldest first.
    pub ascending: bool,
    /// From 1; 0 is taken as 1.
    pub page: u32,
    /// Lines per page, at most `PAGE_SIZE_MAX`; 0 is taken as 10.
    pub size: u32,
}

/// One page of the audit log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditPage {
    /// The lines.
    pub entries: Vec<AuditEntry>,
    /// How many there are on all pages.
    pub total: u64,
}
