//! What keys have spent, and their budget periods.

use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::keys::select_key;
use super::{Embedded, hash_of};
use crate::store::{NextReset, RolledPeriod, StoreError};

/// Keys whose period is rolled in one transaction.
const ROLL_BATCH: usize = 500;
/// Periods that may have passed unnoticed. After more of them the running one starts now.
const PERIODS_SKIPPED_MAX: usize = 10_000;

impl Embedded {
    pub(crate) async fn set_key_spend(
        &self,
        token: KeyHash,
        spend: NanoUsd,
        now: WallMs,
    ) -> Result<NanoUsd, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let token = token.to_string();
            let before = work
                .query_row(
                    "SELECT spend FROM virtual_key WHERE token = ?1",
                    [&token],
                    |row| row.get(0),
                )
                .optional()?
                .ok_or(StoreError::NotFound)?;
            work.execute(
                "UPDATE virtual_key SET spend = ?2, period_start = ?3 WHERE token = ?1",
                params![token, spend.0, now.0],
            )?;
            work.commit()?;
            Ok(NanoUsd(before))
        })
        .await
    }

    pub(crate) async fn reset_all_spend(&self, now: WallMs) -> Result<u64, StoreError> {
        self.write(move |db| {
            let sql = "UPDATE virtual_key SET spend = 0, period_start = ?1";
            Ok(db.execute(sql, [now.0])? as u64)
        })
        .await
    }

    pub(crate) async fn roll_budget_periods(
        &self,
        now: WallMs,
        next: NextReset,
    ) -> Result<Vec<RolledPeriod>, StoreError> {
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

fn roll_batch(
    db: &mut Connection,
    now: WallMs,
    next: &NextReset,
) -> Result<Vec<RolledPeriod>, StoreError> {
    let work = db.transaction()?;
    let due: Vec<String> = work
        .prepare_cached(
            "SELECT token FROM virtual_key WHERE budget_reset_at <= ?1
             ORDER BY budget_reset_at LIMIT ?2",
        )?
        .query_map(params![now.0, ROLL_BATCH as i64], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut rolled = Vec::with_capacity(due.len());
    for token in due {
        rolled.push(roll_key(&work, &token, now, next)?);
    }
    work.commit()?;
    Ok(rolled)
}

fn roll_key(
    work: &Transaction<'_>,
    text: &str,
    now: WallMs,
    next: &NextReset,
) -> Result<RolledPeriod, StoreError> {
    let token = hash_of(text).ok_or(StoreError::NotFound)?;
    let key = select_key(work, token)?.ok_or(StoreError::NotFound)?;
    let mut start = key.budget_reset_at.unwrap_or(now);
    let mut end = next(&key, start);
    for _ in 0..PERIODS_SKIPPED_MAX {
        match end {
            Some(passed) if passed <= now && passed > start => {
                start = passed;
                end = next(&key, start);
            }
            _ => break,
        }
    }
    if end.is_some_and(|end| end <= now) {
        start = now;
        end = next(&key, now).filter(|&end| end > now);
    }
    let spend: i64 = work
        .prepare_cached(
            "SELECT COALESCE(SUM(cost), 0) FROM spend_log WHERE started >= ?2 AND api_key IN
                 (SELECT ?1 UNION SELECT token FROM deprecated_key WHERE active = ?1)",
        )?
        .query_row(params![text, start.0], |row| row.get(0))?;
    work.prepare_cached(
        "UPDATE virtual_key SET spend = ?2, period_start = ?3, budget_reset_at = ?4,
             version = version + 1 WHERE token = ?1",
    )?
    .execute(params![text, spend, start.0, end.map(|end| end.0)])?;
    Ok(RolledPeriod {
        token,
        period_start: start,
        budget_reset_at: end,
        spend: NanoUsd(spend),
        version: key.version + 1,
    })
}
