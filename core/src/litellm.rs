//! A LiteLLM database, row by row, in Meridian's words: what `meridian import litellm` decides.
//!
//! A row comes as the JSON object that Postgres makes of it, so that columns that only some
//! versions have are simply absent. What a row becomes depends on the row alone; whether it is
//! written depends on what the last import left ([`decide`]).

mod audit;
mod bounds;
mod decide;
mod elsewhere;
mod groups;
mod history;
mod keys;
mod logs;
mod models;
mod people;
mod report;
pub mod response_id;
mod row;
mod table;

pub use audit::Audit;
pub use decide::{Decision, Known, Mark, SpendMark, decide, digest, gone, spend_to_add};
pub use elsewhere::{Elsewhere, elsewhere};
pub use history::{DayRow, DayTable, History, HistoryPlan, LogChoice, day_of, day_row};
pub use logs::{LOG_COLUMNS, LOG_METADATA, LOG_TABLE, Log, log_record};
pub use report::{
    Conflict, HistoryReport, LogsReport, NotImported, Report, SettingRemark, SkippedRow,
    TableReport, Warning,
};
pub use row::{Note, Refused};
pub use table::{Mapping, Table};

use serde_json::{Map, Value};

use crate::money::NanoUsd;
use crate::record::Record;
use crate::sealed::SealKey;
use crate::time::WallMs;
use row::Row;

/// Team of the keys that LiteLLM's user interface makes for sessions of a day.
pub const DASHBOARD_TEAM: &str = "litellm-dashboard";
/// User whose row holds the budget of the whole proxy.
const PROXY_BUDGET_USER: &str = "litellm-proxy-budget";

/// What a row becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The record; the store gives it its version.
    pub record: Record,
    /// What its scope has spent, where its kind has one.
    pub spend: Option<SourceSpend>,
    /// Period of the budget that it refers to, if that decides.
    pub period: Option<SourcePeriod>,
    /// What of the row is not taken, or has no effect.
    pub notes: Vec<Note>,
}

/// What LiteLLM counted for a scope in its running period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceSpend {
    /// The amount.
    pub spend: NanoUsd,
    /// End of the period that it was spent in; `None` is never.
    pub ends: Option<WallMs>,
}

/// The period of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePeriod {
    /// LiteLLM's word: `30d`, `1mo`, ...
    pub duration: String,
    /// End of the running one.
    pub ends: Option<WallMs>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A record.
    Mapped(Box<Mapped>),
    /// Nothing, on purpose.
    Left {
        /// Why.
        why: &'static str,
        /// Whether the user should be told: rows that mean nothing to anybody are only counted.
        tell: bool,
    },
}

/// Reads a row of a table. `id` is its identity for messages: the columns of its primary key.
///
/// # Errors
/// When a column holds what cannot be enforced or understood; it names the column.
pub fn map(
    table: Table,
    id: &str,
    fields: Map<String, Value>,
    salt: Option<&SealKey>,
) -> Result<Outcome, Refused> {
    let row = Row::new(table.mapping().name, id, fields);
    match table {
        Table::Budgets => groups::budget(row),
        Table::Organizations => groups::organization(row),
        Table::Teams => groups::team(row),
        Table::Users => people::user(row),
        Table::TeamMembers => people::team_member(row),
        Table::OrganizationMembers => people::organization_member(row),
        Table::DeletedKeys => keys::deleted(row),
        Table::Keys => keys::key(row),
        Table::RotatedKeys => keys::rotated(row),
        Table::Customers => people::customer(row),
        Table::Tags => groups::tag(row),
        Table::Models => models::model(row, salt),
        Table::Credentials => models::credential(row, salt),
        Table::Settings => models::setting(row, salt),
    }
}

#[cfg(test)]
mod tests;
