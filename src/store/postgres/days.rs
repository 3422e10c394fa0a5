//! Partitions of the spend log: made before they are needed, dropped whole.

use std::collections::{BTreeSet, HashSet};
use std::convert::Infallible;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::moment;
use super::work::{Access, Work};
use crate::clock;
use crate::store::StoreError;
use crate::store::sums::{DAY_MS, day_of};

/// SQL of a UTC day from a moment in it.
const DAY_SQL: &str = "(($1::timestamptz) AT TIME ZONE 'UTC')::date";

/// Furthest that a node's clock may be from the server's.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(600);

/// How long reports may hold up the dropping of a day, and how often is looked for more of them.
const ROOM_AFTER: Duration = Duration::from_millis(250);
/// Breaks off the reports that a session waits for. Others that wait behind it go on after it.
const MAKE_ROOM: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
    WHERE pid = ANY(pg_blocking_pids($1)) AND usename = current_user \
    AND application_name = 'meridian report'";

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

    /// Drops the days that ended before `before`, as whole tables and each in a transaction of its
    /// own: however many there are, drains and readers wait for one day at a time. Returns how many
    /// rows Postgres thinks they had.
    pub(crate) async fn drop_logs_before(&self, before: WallMs) -> Result<u64, StoreError> {
        let mut rows = 0u64;
        while let Some(dropped) = self.drop_oldest_day(before).await? {
            rows = rows.saturating_add(dropped);
            self.forget_days();
        }
        Ok(rows)
    }

    /// Drops the oldest day if it ended before `before`.
    async fn drop_oldest_day(&self, before: WallMs) -> Result<Option<u64>, StoreError> {
        let work = self.work(Access::Maintain).await?;
        let own = work.row("SELECT pg_backend_pid()", &[]).await;
        let dropped = match own {
            Ok(own) => {
                let pid: i32 = own.map_or(0, |row| row.get(0));
                tokio::select! {
                    dropped = drop_oldest(&work, before) => dropped,
                    never = self.make_room(pid) => match never {},
                }
            }
            Err(error) => Err(error),
        };
        work.finish(dropped).await
    }

    /// Breaks off reports that this session waits for, as long as it does: a report can be asked
    /// for again, and drains wait behind the session.
    async fn make_room(&self, pid: i32) -> Infallible {
        loop {
            tokio::time::sleep(ROOM_AFTER).await;
            if let Err(error) = self.cancel_reports_before(pid).await {
                tracing::debug!(%error, "no report makes room for a day that is dropped");
            }
        }
    }

    async fn cancel_reports_before(&self, pid: i32) -> Result<(), StoreError> {
        let work = self.work(Access::Read).await?;
        let cancelled = work.rows(MAKE_ROOM, &[(&pid, Type::INT4)]).await;
        work.finish(cancelled).await.map(drop)
    }

    fn known_days(&self) -> MutexGuard<'_, HashSet<i64>> {
        let days = self.inner.days.lock();
        days.unwrap_or_else(PoisonError::into_inner)
    }
}

async fn drop_oldest(work: &Work, before: WallMs) -> Result<Option<u64>, StoreError> {
    same_time(work).await?;
    let sql = format!(
        "SELECT min(c.relname)::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'meridian.spend_log'::regclass \
         AND c.relname < 'spend_log_' || to_char({DAY_SQL}, 'YYYYMMDD')"
    );
    let oldest = work
        .row(&sql, &[(&moment(before), Type::TIMESTAMPTZ)])
        .await?;
    let oldest: Option<String> = oldest.and_then(|row| row.get(0));
    let Some(oldest) = oldest else {
        return Ok(None);
    };
    let sql = "SELECT count(*), COALESCE(sum(estimate), 0)::bigint \
        FROM meridian.drop_days_before(to_date(right($1, 8), 'YYYYMMDD') + 1)";
    let row = work.row(sql, &[(&oldest, Type::TEXT)]).await?;
    let (tables, rows): (i64, i64) = row.map_or((0, 0), |row| (row.get(0), row.get(1)));
    // A table that was never analysed has no estimate.
    Ok(Some(u64::try_from(rows.max(tables)).unwrap_or(0)))
}

/// Refuses what cannot be undone when this node's clock and the server's do not agree: one that
/// jumped ahead by a month would drop every log and begin every budget anew, for all nodes.
pub(super) async fn same_time(work: &Work) -> Result<(), StoreError> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let theirs = work.row(sql, &[]).await?.map(|row| WallMs(row.get(0)));
    match theirs {
        Some(theirs) => agree(clock::now(), theirs),
        None => Ok(()),
    }
}

fn agree(own: WallMs, theirs: WallMs) -> Result<(), StoreError> {
    let apart = own.0.saturating_sub(theirs.0);
    match apart.unsigned_abs() <= CLOCKS_APART_MAX.as_millis() as u64 {
        true => Ok(()),
        false => Err(StoreError::Postgres(format!(
            "this node's clock is {} s away from the database's: nothing is dropped or reset",
            apart / 1000
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_apart_drop_nothing() {
        let theirs = WallMs(1_795_003_200_000);
        for (apart_s, fine) in [(0, true), (599, true), (-599, true), (3_601, false)] {
            let own = theirs.plus_ms(apart_s * 1_000);
            assert_eq!(agree(own, theirs).is_ok(), fine, "{apart_s}");
        }
        assert!(agree(WallMs(i64::MIN), theirs).is_err());
        let error = agree(theirs.plus_ms(86_400_000), theirs).unwrap_err();
        assert!(error.to_string().contains("86400 s away"), "{error}");
    }
}
