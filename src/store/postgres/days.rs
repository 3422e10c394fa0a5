//! Partitions of the spend log: made before they are needed, dropped whole.

use std::collections::{BTreeSet, HashSet};
use std::sync::{MutexGuard, PoisonError};

use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::moment;
use super::work::{Access, Work};
use crate::store::StoreError;
use crate::store::sums::{DAY_MS, day_of};

/// SQL of a UTC day from a moment in it.
const DAY_SQL: &str = "(($1::timestamptz) AT TIME ZONE 'UTC')::date";

impl Postgres {
    /// Makes the partitions that the records of a batch belong to. What is known to be there costs
    /// nothing.
    pub(super) async fn add_days_of(&self, records: &[SpendRecord]) -> Result<(), StoreError> {
        let days: BTreeSet<i64> = records.iter().map(|one| day_of(one.started)).collect();
        let missing: Vec<i64> = {
            let known = self.known_days();
            days.into_iter()
                .filter(|day| !known.contains(day))
                .collect()
        };
        for day in missing {
            self.add_day(day).await?;
        }
        Ok(())
    }

    /// Makes the partitions of today and tomorrow, so that no drain has to.
    pub(crate) async fn prepare_days(&self, now: WallMs) -> Result<(), StoreError> {
        let today = day_of(now);
        for day in [today, today + 1] {
            if !self.known_days().contains(&day) {
                self.add_day(day).await?;
            }
        }
        Ok(())
    }

    async fn add_day(&self, day: i64) -> Result<(), StoreError> {
        let work = self.work(Access::Maintain).await?;
        let start = moment(WallMs(day.saturating_mul(DAY_MS)));
        let sql = format!("SELECT meridian.add_day({DAY_SQL})");
        let added = work.rows(&sql, &[(&start, Type::TIMESTAMPTZ)]).await;
        work.finish(added).await?;
        self.known_days().insert(day);
        Ok(())
    }

    /// Somebody dropped one: all are asked for again.
    pub(super) fn forget_days(&self) {
        self.known_days().clear();
    }

    /// Drops the days that ended before `before`, as whole tables. Returns how many rows Postgres
    /// thinks they had.
    pub(crate) async fn drop_logs_before(&self, before: WallMs) -> Result<u64, StoreError> {
        let work = self.work(Access::Maintain).await?;
        let dropped = drop_days(&work, before).await;
        let dropped = work.finish(dropped).await?;
        if dropped > 0 {
            self.forget_days();
        }
        Ok(dropped)
    }

    fn known_days(&self) -> MutexGuard<'_, HashSet<i64>> {
        let days = self.inner.days.lock();
        days.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drop_days(work: &Work, before: WallMs) -> Result<u64, StoreError> {
    let sql = format!(
        "SELECT count(*), COALESCE(sum(estimate), 0)::bigint \
         FROM meridian.drop_days_before({DAY_SQL})"
    );
    let row = work
        .row(&sql, &[(&moment(before), Type::TIMESTAMPTZ)])
        .await?;
    let (tables, rows): (i64, i64) = row.map_or((0, 0), |row| (row.get(0), row.get(1)));
    // A table that was never analysed has no estimate.
    Ok(u64::try_from(rows.max(tables)).unwrap_or(0))
}
