//! One transaction, every step of it bounded in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::error::{refused, store_error};
use super::pool::{Lease, Pool};
use crate::clock;
use crate::store::StoreError;
use crate::store::deadline::time_left;

/// The client waits this much longer than the server works on one statement.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// A value for `$1`, `$2`, ... and its type. Types are named, so that no statement has to be
/// prepared: a pooler between may give each transaction another server.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Adds or changes rows.
    Write,
    /// Reads a few rows by their keys.
    Read,
    /// Reads everything, step by step: nodes do so when they start.
    Walk,
    /// Reads as many as a report needs; it is refused when that takes too long.
    Report,
    /// Changes partitions; waits a little for its turn and then gives up.
    Maintain,
    /// Changes the schema.
    Migrate,
}

impl Access {
    /// Longest time of a statement.
    fn statement_max(self) -> Duration {
        match self {
            Self::Write | Self::Walk => Duration::from_secs(20),
            Self::Read => Duration::from_secs(5),
            Self::Report => Duration::from_millis(900),
            Self::Maintain => Duration::from_secs(10),
            Self::Migrate => Duration::from_secs(3_600),
        }
    }

    /// Longest time of the whole: the client waits a little longer than the server works. A report
    /// of several statements has no more time than one of a single statement.
    fn time_max(self) -> Duration {
        match self {
            Self::Report => time_left(self.statement_max()),
            _ => self.statement_max() + ANSWER_MARGIN,
        }
    }

    /// Longest wait for a lock.
    fn lock_max(self) -> Duration {
        match self {
            // As long as a statement may take: drains of many nodes wait for each other in a
            // line, and who gives up its place does all its work again behind them.
            Self::Write => self.statement_max(),
            Self::Migrate => Duration::from_secs(60),
            Self::Read | Self::Walk | Self::Report | Self::Maintain => Duration::from_secs(2),
        }
    }

    fn writes(self) -> bool {
        match self {
            Self::Read | Self::Walk | Self::Report => false,
            Self::Write | Self::Maintain | Self::Migrate => true,
        }
    }

    /// Opens a transaction that has this time for each of its statements.
    fn begin(self, statement: Duration) -> String {
        let mode = if self.writes() { "" } else { " READ ONLY" };
        let more = match self {
            Self::Write => DURABLE,
            Self::Report => NAMED,
            _ => "",
        };
        let lock = self.lock_max();
        format!(
            "BEGIN{mode}; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = 30000{more}",
            statement.as_millis().max(1),
            lock.as_millis()
        )
    }
}

/// The journal forgets what a commit has stored: a server that is set to answer before that is on
/// its disk is asked to wait. Stricter settings stay.
const DURABLE: &str = "; SELECT set_config('synchronous_commit', 'local', true) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// Reports are known to the server by name: they make room for what cannot wait.
const NAMED: &str = "; SET LOCAL application_name = 'meridian report'";

/// Why no transaction began.
enum Begin {
    /// The connection was not what it seemed.
    Broken,
    /// For good.
    Refused(StoreError),
}

impl Begin {
    fn store_error(self) -> StoreError {
        match self {
            Self::Broken => refused("connections break"),
            Self::Refused(error) => error,
        }
    }
}

/// An open transaction. Dropped without `finish` it is undone with its connection.
pub(super) struct Work {
    lease: Lease,
    pool: Pool,
    access: Access,
    ends: Instant,
    /// A report's statements share its time: those behind the first are told what is left.
    asked: AtomicBool,
    /// An answer did not come in time: the server may still be at it.
    late: AtomicBool,
}

impl Work {
    /// Begins one. A connection that broke while nobody used it shows here: then a fresh one is
    /// taken, once.
    pub(super) async fn begin(pool: &Pool, access: Access) -> Result<Self, StoreError> {
        match Self::try_begin(pool, access).await {
            Err(Begin::Broken) => Self::try_begin(pool, access)
                .await
                .map_err(Begin::store_error),
            begun => begun.map_err(Begin::store_error),
        }
    }

    async fn try_begin(pool: &Pool, access: Access) -> Result<Self, Begin> {
        let lease = pool.lease().await.map_err(Begin::Refused)?;
        let work = Self {
            lease,
            pool: pool.clone(),
            access,
            ends: clock::mono() + access.time_max(),
            asked: AtomicBool::new(false),
            late: AtomicBool::new(false),
        };
        let begun = work.batch(&access.begin(work.statement_left())).await;
        match work.noted(begun) {
            Ok(()) => Ok(work),
            // It is not the question that takes long.
            Err(_) if work.is_late() => Err(Begin::Refused(refused("no answer in time"))),
            Err(StoreError::Unavailable(_)) => Err(Begin::Broken),
            Err(other) => Err(Begin::Refused(other)),
        }
    }

    /// Longest time of the next statement.
    fn statement_left(&self) -> Duration {
        let most = self.access.statement_max();
        most.min(self.ends.saturating_duration_since(clock::mono()))
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// Gives what follows as much time as a new transaction has: the server has answered until now,
    /// and what takes so long is that others are before this one.
    pub(super) fn renew(&mut self) {
        self.ends = clock::mono() + self.access.time_max();
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        if self.access == Access::Report && self.asked.swap(true, Ordering::Relaxed) {
            let left = self.statement_left().as_millis().max(1);
            self.batch(&format!("SET LOCAL statement_timeout = {left}"))
                .await?;
        }
        let answer = self.lease.client()?.query_typed(sql, params);
        self.answered(answer).await
    }

    /// The first row that a statement gives.
    pub(super) async fn row(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// How many rows a statement changed.
    pub(super) async fn change(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let owned = params.iter().map(|(value, kind)| (*value, kind.clone()));
        let owned: Vec<(&(dyn ToSql + Sync), Type)> = owned.collect();
        let answer = self.lease.client()?.execute_typed(sql, &owned);
        self.answered(answer).await
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        let answer = self.lease.client()?.batch_execute(sql);
        self.answered(answer).await
    }

    /// Commits after a success, if there was something to commit; undoes after a failure.
    pub(super) async fn finish<T>(self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_late() || matches!(outcome, Err(StoreError::Unavailable(_))) {
            return self.noted(outcome);
        }
        let commits = outcome.is_ok() && self.access.writes();
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        match self.batch(end).await {
            Ok(()) => {
                self.lease.give_back();
                outcome
            }
            Err(error) if commits => self.noted(Err(error)),
            Err(_) => outcome,
        }
    }

    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match timeout_at(self.ends.into(), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(store_error(error, self.access)),
            Err(_) => {
                self.late.store(true, Ordering::Relaxed);
                Err(match self.access {
                    Access::Report => StoreError::Late,
                    _ => refused("no answer in time"),
                })
            }
        }
    }

    /// Other connections to a server that failed are not trusted either.
    fn noted<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(outcome, Err(StoreError::Unavailable(_))) {
            self.pool.distrust();
        }
        outcome
    }
}
