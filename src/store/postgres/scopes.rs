//! What scopes have spent, and their budget periods.
//!
//! Each node adds to rows of its own. Who begins periods is alone meanwhile: a drain reads the
//! periods of its scopes and adds to them under a lock that it shares with other drains.

use std::collections::BTreeMap;
use std::time::SystemTime;

use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::params::{clean, moment, wall};
use super::work::{Access, Work};
use super::{LOCK_PERIODS, LOCK_SPACE, Postgres};
use crate::store::{ScopeChange, ScopePeriod, ScopeSpend, StoreError};

/// Writer of amounts that were set by hand.
pub(super) const BY_HAND: i32 = 0;

impl Postgres {
    pub(crate) async fn scope_spends(
        &self,
        scopes: Vec<Scope>,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        let work = self.work(Access::Read).await?;
        let found = select_spends(&work, &scopes).await;
        work.finish(found).await
    }

    pub(crate) async fn set_scope_spend(
        &self,
        scope: Scope,
        spend: NanoUsd,
        now: WallMs,
    ) -> Result<NanoUsd, StoreError> {
        let work = self.work(Access::Write).await?;
        let before = async {
            lock_periods(&work).await?;
            set_spend(&work, &scope, spend, now).await
        };
        let before = before.await;
        work.finish(before).await
    }

    pub(crate) async fn set_scope_periods(
        &self,
        periods: Vec<(Scope, Option<ScopePeriod>)>,
    ) -> Result<(), StoreError> {
        let work = self.work(Access::Write).await?;
        let mut periods = periods;
        periods.sort_by(|(one, _), (two, _)| one.cmp(two));
        let mut written = Ok(());
        for (scope, period) in &periods {
            written = write_period(&work, scope, period.as_ref()).await;
            if written.is_err() {
                break;
            }
        }
        work.finish(written).await
    }

    pub(crate) async fn reset_all_spend(&self, now: WallMs) -> Result<u64, StoreError> {
        let work = self.work(Access::Write).await?;
        let reset = reset_all(&work, now).await;
        work.finish(reset).await
    }
}

/// Waits until no drain is at work and keeps others from beginning.
pub(super) async fn lock_periods(work: &Work) -> Result<(), StoreError> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_SPACE}, {LOCK_PERIODS})");
    work.batch(&lock).await
}

/// Kinds and ids of scopes as two columns.
pub(super) fn columns<'a>(
    scopes: impl Iterator<Item = &'a Scope>,
) -> (Vec<&'static str>, Vec<String>) {
    scopes
        .map(|scope| (scope.kind.label(), clean(&scope.id).into_owned()))
        .unzip()
}

async fn select_spends(work: &Work, scopes: &[Scope]) -> Result<Vec<ScopeSpend>, StoreError> {
    let (kinds, ids) = columns(scopes.iter());
    let sql = "SELECT s.kind, s.id, COALESCE(sum(t.spend), 0)::bigint, p.period_start, \
            p.period_end \
        FROM unnest($1, $2) AS s (kind, id) \
        LEFT JOIN meridian.scope_spend t ON t.kind = s.kind AND t.id = s.id \
        LEFT JOIN meridian.scope_period p ON p.kind = s.kind AND p.id = s.id \
        WHERE t.kind IS NOT NULL OR p.kind IS NOT NULL \
        GROUP BY s.kind, s.id, p.period_start, p.period_end ORDER BY 1, 2";
    let rows = work
        .rows(sql, &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)])
        .await?;
    Ok(rows.iter().filter_map(spend_of).collect())
}

/// A row of kind, id, spend, start and end.
pub(super) fn spend_of(row: &Row) -> Option<ScopeSpend> {
    Some(ScopeSpend {
        scope: scope_of(row)?,
        spend: NanoUsd(row.get(2)),
        period_start: row.get::<_, Option<SystemTime>>(3).map_or(WallMs(0), wall),
        period_end: row.get::<_, Option<SystemTime>>(4).map(wall),
    })
}

/// A row that begins with kind and id.
pub(super) fn scope_of(row: &Row) -> Option<Scope> {
    let kind = ScopeKind::of_label(row.get(0))?;
    Some(Scope::new(kind, row.get::<_, String>(1)))
}

/// Does to a scope what comes with records. The caller is alone with the periods.
pub(super) async fn change(
    work: &Work,
    scope: &Scope,
    change: &ScopeChange,
) -> Result<(), StoreError> {
    match change {
        ScopeChange::Period(period) => write_period(work, scope, period.as_ref()).await,
        ScopeChange::Spent { spend, since } => {
            set_spend(work, scope, *spend, *since).await.map(drop)
        }
    }
}

/// The caller is alone with the periods.
async fn set_spend(
    work: &Work,
    scope: &Scope,
    spend: NanoUsd,
    now: WallMs,
) -> Result<NanoUsd, StoreError> {
    let before = select_spends(work, std::slice::from_ref(scope)).await?;
    start(work, scope, spend).await?;
    let (kind, now) = (scope.kind.label(), moment(now));
    let sql = "INSERT INTO meridian.scope_period (kind, id, period_start) VALUES ($1, $2, $3) \
        ON CONFLICT (kind, id) DO UPDATE SET period_start = $3";
    let params: [super::work::Param<'_>; 3] = [
        (&kind, Type::TEXT),
        (&scope.id, Type::TEXT),
        (&now, Type::TIMESTAMPTZ),
    ];
    work.change(sql, &params).await?;
    Ok(before.first().map_or(NanoUsd::ZERO, |before| before.spend))
}

/// Replaces what everybody counted for a scope by an amount.
pub(super) async fn start(work: &Work, scope: &Scope, spend: NanoUsd) -> Result<(), StoreError> {
    let kind = scope.kind.label();
    let place: [super::work::Param<'_>; 2] = [(&kind, Type::TEXT), (&scope.id, Type::TEXT)];
    for table in ["scope_early", "scope_spend"] {
        let sql = format!("DELETE FROM meridian.{table} WHERE kind = $1 AND id = $2");
        work.change(&sql, &place).await?;
    }
    let sql = "INSERT INTO meridian.scope_spend (kind, id, writer, spend) VALUES ($1, $2, $3, $4)";
    let params: [super::work::Param<'_>; 4] = [
        (&kind, Type::TEXT),
        (&scope.id, Type::TEXT),
        (&BY_HAND, Type::INT4),
        (&spend.0, Type::INT8),
    ];
    work.change(sql, &params).await?;
    Ok(())
}

/// What was counted under `from` goes on under `scope`, with its period.
pub(super) async fn take_over(work: &Work, from: &str, scope: &Scope) -> Result<(), StoreError> {
    lock_periods(work).await?;
    let kind = scope.kind.label();
    let params: [super::work::Param<'_>; 3] = [
        (&kind, Type::TEXT),
        (&scope.id, Type::TEXT),
        (&from, Type::TEXT),
    ];
    for table in ["scope_early", "scope_spend", "scope_period"] {
        let sql = format!("DELETE FROM meridian.{table} WHERE kind = $1 AND id = $2");
        work.change(&sql, &params[..2]).await?;
        let sql = format!("UPDATE meridian.{table} SET id = $2 WHERE kind = $1 AND id = $3");
        work.change(&sql, &params).await?;
    }
    Ok(())
}

/// Sets the end of a scope's running period.
pub(super) async fn write_period(
    work: &Work,
    scope: &Scope,
    period: Option<&ScopePeriod>,
) -> Result<(), StoreError> {
    let kind = scope.kind.label();
    let ends = period.and_then(|period| period.ends).map(moment);
    let duration = period.map(|period| period.duration.as_str());
    let sql = match period {
        Some(_) => {
            "INSERT INTO meridian.scope_period AS p (kind, id, period_end, duration) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (kind, id) DO UPDATE SET period_end = $3, \
             duration = $4, set_at = CASE WHEN p.period_end IS NOT DISTINCT FROM $3 \
             THEN p.set_at ELSE now() END"
        }
        // Scopes without periods need no row.
        None => {
            "UPDATE meridian.scope_period SET period_end = $3, duration = $4 \
             WHERE kind = $1 AND id = $2 AND (duration IS NOT NULL OR period_end IS NOT NULL)"
        }
    };
    let params: [super::work::Param<'_>; 4] = [
        (&kind, Type::TEXT),
        (&scope.id, Type::TEXT),
        (&ends, Type::TIMESTAMPTZ),
        (&duration, Type::TEXT),
    ];
    work.change(sql, &params).await?;
    Ok(())
}

async fn reset_all(work: &Work, now: WallMs) -> Result<u64, StoreError> {
    lock_periods(work).await?;
    let live = "EXISTS (SELECT 1 FROM meridian.record r WHERE r.kind = t.kind AND r.id = t.id \
        AND NOT r.deleted)";
    let of = "kind IN ('key', 'team')";
    let sql = format!("DELETE FROM meridian.scope_early t WHERE {of} AND {live}");
    work.change(&sql, &[]).await?;
    let sql = format!(
        "WITH gone AS (DELETE FROM meridian.scope_spend t WHERE {of} AND {live} \
             RETURNING kind, id), \
         scopes AS (SELECT DISTINCT kind, id FROM gone) \
         INSERT INTO meridian.scope_period (kind, id, period_start) \
             SELECT kind, id, $1 FROM scopes ON CONFLICT (kind, id) DO UPDATE SET period_start = $1"
    );
    work.change(&sql, &[(&moment(now), Type::TIMESTAMPTZ)])
        .await
}

/// A scope of a batch, whoever it pays into, and the bounds of its running period.
struct Paying {
    scope: Scope,
    into: Scope,
    start: WallMs,
    end: Option<WallMs>,
}

/// Adds to scopes what belongs to their running periods: a request counts in the period it started
/// in. A digest that a rotation replaced pays into its successor.
pub(super) async fn add(
    work: &Work,
    costs: &BTreeMap<Scope, Vec<(WallMs, i64)>>,
    writer: i32,
) -> Result<(), StoreError> {
    if costs.is_empty() {
        return Ok(());
    }
    let mut sums: BTreeMap<Scope, i64> = BTreeMap::new();
    let mut early = Early::default();
    for paying in paying(work, costs).await? {
        let Some(costs) = costs.get(&paying.scope) else {
            continue;
        };
        let counted = costs.iter().filter(|(started, _)| *started >= paying.start);
        for &(started, cost) in counted {
            if paying.end.is_some_and(|end| started >= end) {
                early.push(&paying.into, started, cost);
            }
            let sum = sums.entry(paying.into.clone()).or_default();
            *sum = sum.saturating_add(cost);
        }
        sums.entry(paying.into).or_default();
    }
    let (kinds, ids) = columns(sums.keys());
    let amounts: Vec<i64> = sums.values().copied().collect();
    let sql = "INSERT INTO meridian.scope_spend AS t (kind, id, writer, spend) \
        SELECT kind, id, $4, spend FROM unnest($1, $2, $3) AS batch (kind, id, spend) \
        ON CONFLICT (kind, id, writer) DO UPDATE SET spend = t.spend + excluded.spend";
    let params: [super::work::Param<'_>; 4] = [
        (&kinds, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&amounts, Type::INT8_ARRAY),
        (&writer, Type::INT4),
    ];
    work.change(sql, &params).await?;
    early.add(work, writer).await
}

async fn paying(
    work: &Work,
    costs: &BTreeMap<Scope, Vec<(WallMs, i64)>>,
) -> Result<Vec<Paying>, StoreError> {
    // As columns: an id with a letter that Postgres cannot hold is found by its place.
    let (kinds, ids) = columns(costs.keys());
    let sql = "SELECT s.kind, COALESCE(r.alias, s.id), s.place, p.period_start, p.period_end \
        FROM unnest($1, $2) WITH ORDINALITY AS s (kind, id, place) \
        LEFT JOIN meridian.record r ON s.kind = 'key' AND r.kind = 'rotated_key' \
            AND r.id = s.id AND NOT r.deleted \
        LEFT JOIN meridian.scope_period p ON p.kind = s.kind AND p.id = COALESCE(r.alias, s.id)";
    let rows = work
        .rows(sql, &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)])
        .await?;
    let scopes: Vec<&Scope> = costs.keys().collect();
    let paying = rows.iter().filter_map(|row| {
        let place = usize::try_from(row.get::<_, i64>(2)).ok()?;
        Some(Paying {
            scope: Scope::clone(scopes.get(place.checked_sub(1)?)?),
            into: scope_of(row)?,
            start: row
                .get::<_, Option<SystemTime>>(3)
                .map_or(WallMs(i64::MIN), wall),
            end: row.get::<_, Option<SystemTime>>(4).map(wall),
        })
    });
    Ok(paying.collect())
}

/// Costs that the next period begins with.
#[derive(Default)]
struct Early {
    scopes: Vec<Scope>,
    started: Vec<SystemTime>,
    costs: Vec<i64>,
}

impl Early {
    fn push(&mut self, scope: &Scope, started: WallMs, cost: i64) {
        self.scopes.push(scope.clone());
        self.started.push(moment(started));
        self.costs.push(cost);
    }

    async fn add(&self, work: &Work, writer: i32) -> Result<(), StoreError> {
        if self.costs.is_empty() {
            return Ok(());
        }
        let (kinds, ids) = columns(self.scopes.iter());
        let sql = "INSERT INTO meridian.scope_early (kind, id, started, cost, writer) \
            SELECT kind, id, started, cost, $5 FROM unnest($1, $2, $3, $4) \
            AS batch (kind, id, started, cost)";
        let params: [super::work::Param<'_>; 5] = [
            (&kinds, Type::TEXT_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&self.started, Type::TIMESTAMPTZ_ARRAY),
            (&self.costs, Type::INT8_ARRAY),
            (&writer, Type::INT4),
        ];
        work.change(sql, &params).await?;
        Ok(())
    }
}
