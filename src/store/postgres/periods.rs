//! The beginning of budget periods.

use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use std::time::SystemTime;
use tokio_postgres::types::Type;

use super::Postgres;
use super::days::same_time;
use super::params::{digest, moment, wall};
use super::scopes::{columns, lock_periods, scope_of};
use super::work::{Access, Param, Work};
use crate::store::periods::period_at;
use crate::store::{BorrowedPeriod, NextReset, ScopeSpend, StoreError};

/// Scopes whose period is rolled in one transaction.
const ROLL_BATCH: usize = 500;

impl Postgres {
    pub(crate) async fn roll_budget_periods(
        &self,
        now: WallMs,
        next: NextReset,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        let mut rolled = Vec::new();
        loop {
            if !self.is_due(now).await? {
                return Ok(rolled);
            }
            let work = self.work(Access::Write).await?;
            let batch = roll_batch(&work, now, &next).await;
            let batch = work.finish(batch).await?;
            let last = batch.len() < ROLL_BATCH;
            rolled.extend(batch);
            if last {
                return Ok(rolled);
            }
        }
    }

    pub(crate) async fn begin_borrowed_periods(
        &self,
        periods: Vec<BorrowedPeriod>,
        listed: bool,
    ) -> Result<Vec<ScopeSpend>, StoreError> {
        let work = self.work(Access::Write).await?;
        let begun = begin_borrowed(&work, &periods, listed).await;
        work.finish(begun).await
    }

    /// Asked without the lock that keeps drains waiting.
    async fn is_due(&self, now: WallMs) -> Result<bool, StoreError> {
        let work = self.work(Access::Read).await?;
        let sql = "SELECT EXISTS (SELECT 1 FROM meridian.scope_period WHERE period_end <= $1)";
        let due = work.row(sql, &[(&moment(now), Type::TIMESTAMPTZ)]).await;
        let due = work.finish(due).await?;
        Ok(due.is_some_and(|row| row.get(0)))
    }
}

/// Scopes without a period of this length get it, and have spent what the log says about it.
async fn begin_borrowed(
    work: &Work,
    periods: &[BorrowedPeriod],
    listed: bool,
) -> Result<Vec<ScopeSpend>, StoreError> {
    lock_periods(work).await?;
    let (kinds, ids) = columns(periods.iter().map(|one| &one.scope));
    let sql = "SELECT p.duration, p.period_start \
        FROM unnest($1, $2) WITH ORDINALITY AS s (kind, id, place) \
        LEFT JOIN meridian.scope_period p ON p.kind = s.kind AND p.id = s.id ORDER BY s.place";
    let known = work
        .rows(sql, &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)])
        .await?;
    let mut begun = Vec::new();
    for (borrowed, row) in periods.iter().zip(&known) {
        let duration: Option<&str> = row.get(0);
        if duration == Some(borrowed.period.duration.as_str()) {
            continue;
        }
        let since = row.get::<_, Option<SystemTime>>(1).map_or(WallMs(0), wall);
        let (scope, start) = (&borrowed.scope, borrowed.start);
        if listed && since < start {
            let spend = logged_since(work, scope, start).await?;
            super::scopes::start(work, scope, spend).await?;
        }
        super::scopes::write_period(work, scope, Some(&borrowed.period)).await?;
        let start = since.max(start);
        let sql = "UPDATE meridian.scope_period SET period_start = $3, set_at = now() \
            WHERE kind = $1 AND id = $2";
        let (kind, start_at) = (scope.kind.label(), moment(start));
        let params: [Param<'_>; 3] = [
            (&kind, Type::TEXT),
            (&scope.id, Type::TEXT),
            (&start_at, Type::TIMESTAMPTZ),
        ];
        work.change(sql, &params).await?;
        begun.push(Begun {
            scope: scope.clone(),
            start,
            end: borrowed.period.ends,
            from_log: false,
        });
    }
    match begun.is_empty() {
        true => Ok(Vec::new()),
        false => spends(work, &begun).await,
    }
}

/// A period that begins.
struct Begun {
    scope: Scope,
    start: WallMs,
    end: Option<WallMs>,
    /// `scope_early` does not know all that was spent since its start.
    from_log: bool,
}

async fn roll_batch(
    work: &Work,
    now: WallMs,
    next: &NextReset,
) -> Result<Vec<ScopeSpend>, StoreError> {
    same_time(work).await?;
    lock_periods(work).await?;
    let sql = format!(
        "SELECT kind, id, period_end, duration, set_at FROM meridian.scope_period \
         WHERE period_end <= $1 ORDER BY period_end, kind, id LIMIT {ROLL_BATCH}"
    );
    let due = work
        .rows(&sql, &[(&moment(now), Type::TIMESTAMPTZ)])
        .await?;
    let begun = due.iter().filter_map(|row| {
        let duration: Option<String> = row.get(3);
        let next = |at| next(duration.as_deref()?, at);
        let (start, end) = period_at(wall(row.get::<_, SystemTime>(2)), now, next);
        let set_at = wall(row.get::<_, SystemTime>(4));
        Some(Begun {
            scope: scope_of(row)?,
            start,
            end,
            from_log: start < set_at,
        })
    });
    let begun: Vec<Begun> = begun.collect();
    begin_all(work, &begun).await?;
    for period in begun.iter().filter(|period| period.from_log) {
        let spend = logged_since(work, &period.scope, period.start).await?;
        super::scopes::start(work, &period.scope, spend).await?;
    }
    spends(work, &begun).await
}

/// Puts the new bounds in place; the spend begins with what is known of the new period.
async fn begin_all(work: &Work, begun: &[Begun]) -> Result<(), StoreError> {
    let (kinds, ids) = columns(begun.iter().map(|period| &period.scope));
    let starts: Vec<SystemTime> = begun.iter().map(|period| moment(period.start)).collect();
    let ends: Vec<Option<SystemTime>> = begun.iter().map(|period| period.end.map(moment)).collect();
    let params: [Param<'_>; 4] = [
        (&kinds, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&starts, Type::TIMESTAMPTZ_ARRAY),
        (&ends, Type::TIMESTAMPTZ_ARRAY),
    ];
    let batch = "unnest($1, $2, $3, $4) AS b (kind, id, starts, ends)";
    let same = "t.kind = b.kind AND t.id = b.id";
    for sql in [
        format!(
            "UPDATE meridian.scope_period t SET period_start = starts, period_end = ends \
             FROM {batch} WHERE {same}"
        ),
        format!("DELETE FROM meridian.scope_spend t USING {batch} WHERE {same}"),
        format!(
            "DELETE FROM meridian.scope_early t USING {batch} WHERE {same} AND t.started < starts"
        ),
        format!(
            "INSERT INTO meridian.scope_spend (kind, id, writer, spend) \
             SELECT t.kind, t.id, t.writer, sum(t.cost)::bigint FROM meridian.scope_early t \
             JOIN {batch} ON {same} GROUP BY 1, 2, 3"
        ),
        format!(
            "DELETE FROM meridian.scope_early t USING {batch} WHERE {same} \
             AND (ends IS NULL OR t.started < ends)"
        ),
    ] {
        work.change(&sql, &params).await?;
    }
    Ok(())
}

async fn spends(work: &Work, begun: &[Begun]) -> Result<Vec<ScopeSpend>, StoreError> {
    let (kinds, ids) = columns(begun.iter().map(|period| &period.scope));
    let sql = "SELECT COALESCE(sum(t.spend), 0)::bigint \
        FROM unnest($1, $2) WITH ORDINALITY AS s (kind, id, place) \
        LEFT JOIN meridian.scope_spend t ON t.kind = s.kind AND t.id = s.id \
        GROUP BY s.place ORDER BY s.place";
    let rows = work
        .rows(sql, &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)])
        .await?;
    let spend = |(period, row): (&Begun, &tokio_postgres::Row)| ScopeSpend {
        scope: period.scope.clone(),
        spend: NanoUsd(row.get(0)),
        period_start: period.start,
        period_end: period.end,
    };
    Ok(begun.iter().zip(&rows).map(spend).collect())
}

/// What the log says about requests of a scope since a moment.
async fn logged_since(work: &Work, scope: &Scope, start: WallMs) -> Result<NanoUsd, StoreError> {
    let condition = match scope.kind {
        ScopeKind::Key => {
            "(api_key = $2 OR encode(api_key, 'hex') IN (SELECT id FROM meridian.record \
             WHERE kind = 'rotated_key' AND alias = $3))"
        }
        ScopeKind::User => "user_id = $3",
        ScopeKind::Team => "team_id = $3",
        ScopeKind::Organization => "organization_id = $3",
        ScopeKind::EndUser => "end_user = $3",
        ScopeKind::TeamMember => "team_id = $3 AND user_id = $4",
        ScopeKind::OrganizationMember => "organization_id = $3 AND user_id = $4",
        ScopeKind::Tag => "context -> 'tags' ? $3",
    };
    let (id, user) = scope.member().unwrap_or((&scope.id, ""));
    let key = digest(meridian_core::ids::KeyHash::from_hex(id));
    let sql = format!(
        "SELECT COALESCE(sum(cost), 0)::bigint FROM meridian.spend_log \
         WHERE started >= $1 AND {condition} AND ($2::bytea, $3::text, $4::text) IS NOT NULL"
    );
    let start = moment(start);
    let params: [Param<'_>; 4] = [
        (&start, Type::TIMESTAMPTZ),
        (&key, Type::BYTEA),
        (&id, Type::TEXT),
        (&user, Type::TEXT),
    ];
    let row = work.row(&sql, &params).await?;
    Ok(row.map_or(NanoUsd::ZERO, |row| NanoUsd(row.get(0))))
}
