//! What scopes have spent, and their budget periods: rows of `scope_spend`.

use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::Embedded;
use super::limits::{ids_of_limits, set_limits};
use crate::clock;
use crate::store::periods::{period_at, period_of};
use crate::store::{
    BorrowedPeriod, NextReset, ScopeChange, ScopePeriod, ScopeSpend, SpendChange, StoreError,
};

/// Scopes whose period is rolled in one transaction.
const ROLL_BATCH: usize = 500;

impl Embedded {
    pub(crate) async fn scope_spends(
        &self,
        scopes: Vec<Scope>,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT kind, id, spend, period_start, period_end FROM scope_spend
                 WHERE kind = ?1 AND id = ?2",
            )?;
            let mut found = Vec::with_capacity(scopes.len());
            for scope in scopes {
                let row = select.query_row([scope.kind.label(), &scope.id], spend_of);
                found.extend(row.optional()?);
            }
            Ok(found)
        })
        .await
    }

    pub(crate) async fn set_scope_spend(
        &self,
        scope: Scope,
        spend: NanoUsd,
        now: WallMs,
    ) -> Result<NanoUsd, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let before = set_spend(&work, &scope, spend, now)?;
            work.commit()?;
            Ok(before)
        })
        .await
    }

    pub(crate) async fn begin_borrowed_periods(
        &self,
        periods: Vec<BorrowedPeriod>,
        listed: bool,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let mut changed = Vec::new();
            for borrowed in &periods {
                changed.extend(begin_borrowed(&work, borrowed, listed)?);
            }
            work.commit()?;
            Ok(changed)
        })
        .await
    }

    pub(crate) async fn set_scope_periods(
        &self,
        periods: Vec<(Scope, Option<ScopePeriod>)>,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            for (scope, period) in &periods {
                write_period(&work, scope, period.as_ref())?;
            }
            Ok(work.commit()?)
        })
        .await
    }

    pub(crate) async fn reset_all_spend(&self, now: WallMs) -> Result<u64, StoreError> {
        self.write(move |db| {
            let sql = "UPDATE scope_spend SET spend = 0, period_start = ?1
                WHERE kind IN ('key', 'team') AND EXISTS (SELECT 1 FROM record
                    WHERE record.kind = scope_spend.kind AND record.id = scope_spend.id
                        AND deleted = 0)";
            let work = db.transaction()?;
            work.execute("DELETE FROM scope_early WHERE kind IN ('key', 'team')", [])?;
            let reset = work.execute(sql, [now.0])?;
            // Those of `budget_limits` with them.
            work.execute(
                "UPDATE scope_spend SET spend = 0, period_start = ?1
                 WHERE kind IN ('key', 'team') AND instr(id, char(30)) > 0",
                [now.0],
            )?;
            work.commit()?;
            Ok(reset as u64)
        })
        .await
    }

    pub(crate) async fn roll_budget_periods(
        &self,
        now: WallMs,
        next: NextReset,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        let mut rolled = Vec::new();
        loop {
            let next = NextReset::clone(&next);
            let batch = self.write(move |db| roll_batch(db, now, &next)).await?;
            let last = batch.len() < ROLL_BATCH;
            rolled.extend(batch);
            if last {
                return Ok(rolled);
            }
        }
    }
}

/// Does to a scope what comes with records.
pub(super) fn change_scope(
    work: &Transaction<'_>,
    scope: &Scope,
    change: &ScopeChange,
) -> Result<(), StoreError> {
    match change {
        ScopeChange::Period(period) => write_period(work, scope, period.as_ref()),
        ScopeChange::Spent { spend, since } => set_spend(work, scope, *spend, *since).map(drop),
    }
}

fn set_spend(
    work: &Transaction<'_>,
    scope: &Scope,
    spend: NanoUsd,
    since: WallMs,
) -> Result<NanoUsd, StoreError> {
    let place = [scope.kind.label(), &scope.id];
    let before = work
        .query_row(
            "SELECT spend FROM scope_spend WHERE kind = ?1 AND id = ?2",
            place,
            |row| row.get(0),
        )
        .optional()?;
    work.execute("DELETE FROM scope_early WHERE kind = ?1 AND id = ?2", place)?;
    work.execute(
        "INSERT INTO scope_spend (kind, id, spend, period_start) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind, id) DO UPDATE SET spend = ?3, period_start = ?4",
        params![scope.kind.label(), scope.id, spend.0, since.0],
    )?;
    for limit in ids_of_limits(work, scope.kind.label(), &scope.id)? {
        let lowered = work.execute(
            "UPDATE scope_spend SET spend = ?3, period_start = ?4
             WHERE kind = ?1 AND id = ?2 AND spend >= ?3",
            params![scope.kind.label(), limit, spend.0, since.0],
        )?;
        if lowered > 0 {
            let place = [scope.kind.label(), &limit];
            work.execute("DELETE FROM scope_early WHERE kind = ?1 AND id = ?2", place)?;
        }
    }
    Ok(NanoUsd(before.unwrap_or(0)))
}

fn begin_borrowed(
    work: &Transaction<'_>,
    borrowed: &BorrowedPeriod,
    listed: bool,
) -> Result<Option<ScopeSpend>, StoreError> {
    let BorrowedPeriod {
        scope,
        period,
        start,
    } = borrowed;
    let known = work
        .prepare_cached(
            "SELECT spend, period_start, duration FROM scope_spend WHERE kind = ?1 AND id = ?2",
        )?
        .query_row([scope.kind.label(), &scope.id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?))
        })
        .optional()?;
    let (spend, since, duration): (i64, i64, _) = known.unwrap_or((0, start.0, None));
    if duration.as_ref() == Some(&period.duration) {
        return Ok(None);
    }
    let spend = match listed && since < start.0 {
        true => logged_since(work, scope, *start)?,
        false => spend,
    };
    let since = since.max(start.0);
    work.execute(
        "DELETE FROM scope_early WHERE kind = ?1 AND id = ?2",
        [scope.kind.label(), &scope.id],
    )?;
    work.prepare_cached(
        "INSERT OR REPLACE INTO scope_spend
             (kind, id, spend, period_start, period_end, duration, set_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        scope.kind.label(),
        scope.id,
        spend,
        since,
        period.ends.map(|ends| ends.0),
        period.duration,
        clock::now().0
    ])?;
    Ok(Some(ScopeSpend {
        scope: scope.clone(),
        spend: NanoUsd(spend),
        period_start: WallMs(since),
        period_end: period.ends,
    }))
}

pub(super) fn spend_of(row: &Row<'_>) -> rusqlite::Result<ScopeSpend> {
    let kind: String = row.get(0)?;
    Ok(ScopeSpend {
        // Only labels are written.
        scope: Scope::new(
            ScopeKind::of_label(&kind).unwrap_or(ScopeKind::Key),
            row.get::<_, String>(1)?,
        ),
        spend: NanoUsd(row.get(2)?),
        period_start: WallMs(row.get(3)?),
        period_end: row.get::<_, Option<i64>>(4)?.map(WallMs),
    })
}

/// Takes over the period that a record names.
pub(super) fn set_period(work: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    let Some(scope) = record.scope() else {
        return Ok(());
    };
    set_limits(work, &scope, record)?;
    match period_of(record) {
        Some(period) => write_period(work, &scope, period.as_ref()),
        None => Ok(()),
    }
}

pub(super) fn write_period(
    work: &Transaction<'_>,
    scope: &Scope,
    period: Option<&ScopePeriod>,
) -> Result<(), StoreError> {
    let ends = period.and_then(|period| period.ends).map(|at| at.0);
    work.prepare_cached(
        "INSERT INTO scope_spend (kind, id, duration, period_end, set_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kind, id) DO UPDATE SET duration = ?3, period_end = ?4,
             set_at = CASE WHEN period_end IS ?4 THEN set_at ELSE ?5 END",
    )?
    .execute(params![
        scope.kind.label(),
        scope.id,
        period.map(|period| &period.duration),
        ends,
        clock::now().0
    ])?;
    Ok(())
}

/// Does to the spend of a record's scope what its write asks for.
pub(super) fn change_spend(
    work: &Transaction<'_>,
    record: &Record,
    change: &SpendChange,
) -> Result<(), StoreError> {
    let Some(scope) = record.scope() else {
        return Ok(());
    };
    let (kind, id) = (scope.kind.label(), &scope.id);
    match change {
        SpendChange::Keep => {}
        SpendChange::Start(spend) => {
            work.execute(
                "DELETE FROM scope_early WHERE kind = ?1 AND id = ?2",
                [kind, id],
            )?;
            work.execute(
                "INSERT OR REPLACE INTO scope_spend (kind, id, spend) VALUES (?1, ?2, ?3)",
                params![kind, id, spend.0],
            )?;
        }
        SpendChange::Move(from) => {
            work.execute(
                "INSERT OR REPLACE INTO scope_spend
                     (kind, id, spend, period_start, period_end, duration, set_at)
                 SELECT kind, ?3, spend, period_start, period_end, duration, set_at
                 FROM scope_spend
                 WHERE kind = ?1 AND id = ?2",
                params![kind, from, id],
            )?;
            work.execute(
                "UPDATE scope_early SET id = ?3 WHERE kind = ?1 AND id = ?2",
                [kind, from, id],
            )?;
            for limit in ids_of_limits(work, kind, from)? {
                let moved = format!("{id}{}", &limit[from.len()..]);
                work.execute(
                    "UPDATE OR REPLACE scope_spend SET id = ?3 WHERE kind = ?1 AND id = ?2",
                    params![kind, limit, moved],
                )?;
            }
            work.execute(
                "DELETE FROM scope_spend WHERE kind = ?1 AND id = ?2",
                [kind, from],
            )?;
        }
    }
    Ok(())
}

/// Adds to a scope what belongs to its running period: a request counts in the period it started
/// in. A digest that a rotation replaced pays into its successor.
pub(super) fn add_spend(
    work: &Transaction<'_>,
    scope: &Scope,
    costs: &[(WallMs, i64)],
) -> Result<(), StoreError> {
    let active = match scope.kind {
        ScopeKind::Key => successor(work, &scope.id)?,
        _ => None,
    };
    let (kind, id) = (scope.kind.label(), active.as_ref().unwrap_or(&scope.id));
    add_to(work, (kind, id.as_str()), costs)?;
    for limit in ids_of_limits(work, kind, id)? {
        add_to(work, (kind, &limit), costs)?;
    }
    Ok(())
}

fn add_to(
    work: &Transaction<'_>,
    (kind, id): (&str, &str),
    costs: &[(WallMs, i64)],
) -> Result<(), StoreError> {
    let period = work
        .prepare_cached(
            "SELECT period_start, period_end FROM scope_spend WHERE kind = ?1 AND id = ?2",
        )?
        .query_row([kind, id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        })
        .optional()?;
    let (start, end) = period.unwrap_or((0, None));
    let mut sum = 0i64;
    for (started, cost) in costs.iter().filter(|(started, _)| started.0 >= start) {
        sum = sum.saturating_add(*cost);
        if end.is_some_and(|end| started.0 >= end) {
            work.prepare_cached(
                "INSERT INTO scope_early (kind, id, started, cost) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![kind, id, started.0, cost])?;
        }
    }
    work.prepare_cached(
        "INSERT INTO scope_spend (kind, id, spend) VALUES (?1, ?2, ?3)
         ON CONFLICT (kind, id) DO UPDATE SET spend = spend + ?3",
    )?
    .execute(params![kind, id, sum])?;
    Ok(())
}

fn successor(work: &Transaction<'_>, token: &str) -> Result<Option<String>, StoreError> {
    let active = work
        .prepare_cached(
            "SELECT json_extract(body, '$.active') FROM record
             WHERE kind = 'rotated_key' AND id = ?1",
        )?
        .query_row([token], |row| row.get(0))
        .optional()?;
    Ok(active)
}

fn roll_batch(
    db: &mut Connection,
    now: WallMs,
    next: &NextReset,
) -> Result<Vec<ScopeSpend>, StoreError> {
    let work = db.transaction()?;
    let due: Vec<(ScopeSpend, Option<String>, i64)> = work
        .prepare_cached(
            "SELECT kind, id, spend, period_start, period_end, duration, set_at FROM scope_spend
             WHERE period_end <= ?1 ORDER BY period_end LIMIT ?2",
        )?
        .query_map(params![now.0, ROLL_BATCH as i64], |row| {
            Ok((spend_of(row)?, row.get(5)?, row.get(6)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut rolled = Vec::with_capacity(due.len());
    for (before, duration, set_at) in due {
        let next = |at| duration.as_deref().and_then(|duration| next(duration, at));
        rolled.push(roll(&work, before, WallMs(set_at), now, next)?);
    }
    work.commit()?;
    Ok(rolled)
}

fn roll(
    work: &Transaction<'_>,
    before: ScopeSpend,
    set_at: WallMs,
    now: WallMs,
    next: impl Fn(WallMs) -> Option<WallMs>,
) -> Result<ScopeSpend, StoreError> {
    let (period_start, period_end) = period_at(before.period_end.unwrap_or(now), now, next);
    let scope = before.scope;
    let spend = match period_start < set_at {
        true => logged_since(work, &scope, period_start)?,
        false => early_since(work, &scope, period_start)?,
    };
    work.prepare_cached("DELETE FROM scope_early WHERE kind = ?1 AND id = ?2 AND started < ?3")?
        .execute(params![
            scope.kind.label(),
            scope.id,
            period_end.map_or(i64::MAX, |end| end.0)
        ])?;
    work.prepare_cached(
        "UPDATE scope_spend SET spend = ?3, period_start = ?4, period_end = ?5
         WHERE kind = ?1 AND id = ?2",
    )?
    .execute(params![
        scope.kind.label(),
        scope.id,
        spend,
        period_start.0,
        period_end.map(|end| end.0)
    ])?;
    Ok(ScopeSpend {
        scope,
        spend: NanoUsd(spend),
        period_start,
        period_end,
    })
}

/// What was counted for a scope before its new period was begun.
fn early_since(work: &Transaction<'_>, scope: &Scope, start: WallMs) -> Result<i64, StoreError> {
    let sum = work
        .prepare_cached(
            "SELECT COALESCE(SUM(cost), 0) FROM scope_early
             WHERE kind = ?1 AND id = ?2 AND started >= ?3",
        )?
        .query_row(params![scope.kind.label(), scope.id, start.0], |row| {
            row.get(0)
        })?;
    Ok(sum)
}

/// What the log says about requests of a scope since a moment.
fn logged_since(work: &Transaction<'_>, scope: &Scope, start: WallMs) -> Result<i64, StoreError> {
    let whole = scope.limit_of().map(|(whole, _)| whole);
    let scope = whole.as_ref().unwrap_or(scope);
    let condition = match scope.kind {
        ScopeKind::Key => {
            "api_key IN (SELECT ?1 UNION SELECT id FROM record
                 WHERE kind = 'rotated_key' AND json_extract(body, '$.active') = ?1)"
        }
        ScopeKind::User => "user_id = ?1",
        ScopeKind::Team => "team_id = ?1",
        ScopeKind::Organization => "organization_id = ?1",
        ScopeKind::EndUser => "end_user = ?1",
        ScopeKind::TeamMember => "team_id = ?1 AND user_id = ?3",
        ScopeKind::OrganizationMember => "organization_id = ?1 AND user_id = ?3",
        ScopeKind::Tag => "EXISTS (SELECT 1 FROM json_each(context, '$.tags') WHERE value = ?1)",
    };
    let (id, user) = scope.member().unwrap_or((&scope.id, ""));
    let sql = format!(
        "SELECT COALESCE(SUM(cost), 0) FROM spend_log
         WHERE started >= ?2 AND {condition} AND ?3 = ?3"
    );
    let sum = work
        .prepare_cached(&sql)?
        .query_row(params![id, start.0, user], |row| row.get(0))?;
    Ok(sum)
}
