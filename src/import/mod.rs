//! `meridian import litellm`: from a LiteLLM database into the store, as often as needed.
//!
//! The source is read as it is at one moment and never written. What a row becomes, and whether it
//! is written, is decided in `meridian_core::litellm`; here lie the questions to both databases.

mod command;
mod history;
mod records;
mod source;
mod sweep;

use std::collections::HashMap;

use jiff::tz::TimeZone;
use meridian_core::config::Database;
use meridian_core::litellm::{Audit, LogChoice, Report};
use meridian_core::period::{BudgetDuration, period_from};
use meridian_core::sealed::SealKey;
use meridian_core::time::WallMs;

use crate::clock;
use crate::store::{Actor, NextReset, Outside, Store, StoreError};
pub use command::{LitellmArgs, command};
use records::Importer;
use source::Source;

/// What to import, and how.
pub struct Options {
    /// The LiteLLM database; `views_schema` is where its tables are.
    pub from: Database,
    /// Name under which the store remembers what was imported.
    pub name: String,
    /// Where it goes, for the report.
    pub target: String,
    /// Only look.
    pub dry_run: bool,
    /// The source wins over changes made in Meridian.
    pub force_source: bool,
    /// How much of the log is taken.
    pub logs: LogChoice,
    /// What LiteLLM sealed its values with.
    pub salt: Option<SealKey>,
    /// The clock of budget periods.
    pub zone: TimeZone,
    /// The environment, for the audit of settings.
    pub env: HashMap<String, String>,
}

/// Why an import ended early. What was stored before stays, and the next run goes on from it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source cannot be read.
    #[error("source {0}: {1}")]
    Source(String, StoreError),
    /// There are no tables of LiteLLM.
    #[error(
        "source {0}: no table LiteLLM_VerificationToken that this user may read in the schema \
             {1} (another one is named with ?schema=)"
    )]
    NotLiteLlm(String, String),
    /// The source holds something that is not what was asked for.
    #[error("source: {0}")]
    Unexpected(String),
    /// The target cannot be written.
    #[error("target: {0}")]
    Target(#[from] StoreError),
}

/// Imports everything and says what it did.
///
/// # Errors
/// When one of the databases cannot be used.
pub async fn run(options: &Options, store: &Store) -> Result<Report, ImportError> {
    let now = clock::now();
    let name = options.from.primary.to_string();
    let of_source = |error| ImportError::Source(name.clone(), error);
    store.check_schema().await?;
    if !options.dry_run {
        // Sums are compared within the period that runs.
        store
            .roll_budget_periods(now, next_reset(&options.zone))
            .await?;
    }
    let outside = Outside::new(&options.from).map_err(of_source)?;
    let reading = outside.read().await.map_err(of_source)?;
    let source = Source::open(reading, &options.from).await?;
    let mut importer = Importer {
        options,
        store,
        source: &source,
        now,
        actor: Actor {
            changed_by: format!("meridian import {}", options.name),
            key: None,
        },
        report: Report {
            source: name,
            target: options.target.clone(),
            snapshot: now.to_iso(),
            dry_run: options.dry_run,
            force_source: options.force_source,
            ..Report::default()
        },
        audit: Audit::new(options.salt.clone()),
    };
    importer.take_tables().await?;
    let days = importer.take_days().await?;
    importer.report.not_imported = source.others().await?;
    let Importer {
        mut report, audit, ..
    } = importer;
    report.settings = audit.remarks(&options.env);
    let tables = source.end().await;
    history::take_logs(options, store, &outside, &tables, days, &mut report).await?;
    Ok(report)
}

fn next_reset(zone: &TimeZone) -> NextReset {
    let zone = zone.clone();
    std::sync::Arc::new(move |duration: &str, at| end_of_period(duration, &zone, at, Some(at)))
}

/// End of the period of a duration that `at` lies in, where one is known to end at `boundary`.
fn end_of_period(
    duration: &str,
    zone: &TimeZone,
    at: WallMs,
    boundary: Option<WallMs>,
) -> Option<WallMs> {
    let duration = BudgetDuration::parse(duration)?;
    Some(period_from(duration, zone, at, boundary).end)
}
