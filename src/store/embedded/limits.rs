//! What is spent of `budget_limits`: rows of `scope_spend` under the names of the limits, made with
//! the record, so that a process that starts goes on counting.

use meridian_core::meters::limit_periods;
use meridian_core::record::Record;
use meridian_core::scope::Scope;
use rusqlite::{OptionalExtension, Transaction, params};

use super::Embedded;
use super::scopes::{spend_of, write_period};
use crate::clock;
use crate::store::{ScopePeriod, ScopeSpend, StoreError};

/// Ids of a scope's limits are between it with the one and with the other.
const BEFORE: char = '\u{1e}';
const AFTER: char = '\u{1f}';

impl Embedded {
    /// What is spent of every limit.
    pub(crate) async fn limit_spends(&self) -> Result<Vec<ScopeSpend>, StoreError> {
        self.read(|db| {
            let mut select = db.prepare_cached(
                "SELECT kind, id, spend, period_start, period_end FROM scope_spend
                 WHERE period_end IS NOT NULL AND instr(id, char(30)) > 0",
            )?;
            let rows = select.query_map([], spend_of)?;
            let found: Vec<ScopeSpend> = rows.collect::<Result<_, _>>()?;
            Ok(found)
        })
        .await
    }
}

/// Begins the periods that a record's `budget_limits` name; those that run go on.
pub(super) fn set_limits(
    work: &Transaction<'_>,
    scope: &Scope,
    record: &Record,
) -> Result<(), StoreError> {
    let extra = record.body.get("extra");
    let Some(limits) = extra.and_then(|extra| extra.get("budget_limits")) else {
        return Ok(());
    };
    let now = clock::now();
    for (duration, ends) in limit_periods(limits) {
        let limit = scope.limit(&duration);
        let known = work
            .prepare_cached("SELECT period_end FROM scope_spend WHERE kind = ?1 AND id = ?2")?
            .query_row([limit.kind.label(), &limit.id], |row| row.get(0))
            .optional()?;
        // A record tells the end that was known when it was written: the row may know a later one.
        let over = ends.is_none_or(|ends| ends <= now);
        // Its period is over and what was spent in it still stands: the next round begins the new
        // one from nothing, which it would not find to do when the end moved here.
        let is_due = known.flatten().is_some_and(|end: i64| end <= now.0);
        if is_due || known.is_some() && over {
            continue;
        }
        // Without an end it is due at once, and the next round begins the one that runs.
        let ends = Some(ends.unwrap_or(now));
        write_period(work, &limit, Some(&ScopePeriod { duration, ends }))?;
    }
    Ok(())
}

/// Ids of the rows that a scope's requests count in besides its own.
pub(super) fn ids_of_limits(
    work: &Transaction<'_>,
    kind: &str,
    id: &str,
) -> Result<Vec<String>, StoreError> {
    let (from, to) = (format!("{id}{BEFORE}"), format!("{id}{AFTER}"));
    let mut select =
        work.prepare_cached("SELECT id FROM scope_spend WHERE kind = ?1 AND id > ?2 AND id < ?3")?;
    let ids = select.query_map(params![kind, from, to], |row| row.get(0))?;
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    Ok(ids)
}
