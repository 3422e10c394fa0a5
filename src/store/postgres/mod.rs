//! Postgres: keeps spend for a region's nodes together. Everything goes through a small pool, one
//! transaction each, without anything that outlives it: a pooler in transaction mode may lie
//! between.

mod apply;
mod audit;
mod batches;
mod behind;
mod days;
mod error;
mod feed;
mod imports;
mod logs;
mod migrate;
mod objects;
mod outside;
mod paces;
mod params;
mod password;
mod periods;
mod pool;
mod record_lists;
mod records;
mod reports;
mod rights;
mod rollups;
mod rows;
mod scopes;
mod tls;
mod views;
mod work;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_core::config::Database;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Connection;

use super::StoreError;
use crate::credentials::Credentials;
use behind::Behind;
use password::Passwords;
use pool::Pool;
use work::{Access, Work};

pub use migrate::{Direction, MigrateError, Migrated, Schema, migrate};
pub use outside::{Outside, Reading, TextRow};

/// Everything of ours lies in this schema.
const SCHEMA: &str = "meridian";

/// First key of our advisory locks; the second one says what is locked. Also in migrations.
const LOCK_SPACE: i32 = 7_310_027;
/// Shared by those who add spend, alone for those who begin periods.
const LOCK_PERIODS: i32 = 1;
/// Alone for those who change partitions (in `meridian.add_day`).
const LOCK_MIGRATION: i32 = 3;

/// A Postgres server with an optional replica for reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Postgres {
    inner: Arc<Inner>,
    pub(super) region: Arc<str>,
}

#[derive(Debug)]
struct Inner {
    primary: Pool,
    replica: Option<Pool>,
    /// How far it is behind.
    behind: Behind,
    /// The schema was found good.
    checked: AtomicBool,
    /// Days that have a partition, counted from 1970.
    days: Mutex<HashSet<i64>>,
}

impl Postgres {
    /// Connects when it is first used; an error says that the settings cannot be used.
    pub fn new(database: &Database) -> Result<Self, StoreError> {
        let pool = |server| {
            let (limit, wait) = (database.pool_limit, database.pool_wait);
            Pool::new(server, limit, wait, Passwords::of(database))
        };
        let inner = Inner {
            primary: pool(&database.primary)?,
            replica: database.replica.as_ref().map(pool).transpose()?,
            behind: Behind::default(),
            checked: AtomicBool::new(false),
            days: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            region: Arc::from(""),
        })
    }

    /// How far the replica that reports are read from was behind a moment ago.
    pub(crate) fn report_behind(&self) -> Option<Duration> {
        self.inner.behind.known()
    }

    /// Whether this version can work with the schema as it is; `StoreError::Schema` says what to
    /// do.
    pub(crate) async fn check_schema(&self) -> Result<(), StoreError> {
        if self.inner.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let work = Work::begin(&self.inner.primary, Access::Read).await?;
        let schema = migrate::schema_of(&work).await;
        let schema = work.finish(schema).await?;
        schema.fits().map_err(StoreError::Schema)?;
        self.inner.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A transaction on the primary, of whose schema we know that we understand it.
    async fn work(&self, access: Access) -> Result<Work, StoreError> {
        self.check_schema().await?;
        Work::begin(&self.inner.primary, access).await
    }

    /// A transaction for a report: on the replica, and while that fails on the primary.
    async fn report(&self) -> Result<Work, StoreError> {
        self.check_schema().await?;
        if let Some(replica) = &self.inner.replica {
            self.inner.behind.ask(replica).await;
            match Work::begin(replica, Access::Report).await {
                Ok(work) => return Ok(work),
                Err(error) => tracing::debug!(%error, "reports are read from the primary"),
            }
            self.inner.behind.forget();
        }
        Work::begin(&self.inner.primary, Access::Report).await
    }
}

/// Replaces credentials before they end, until the sender of `stopped` is dropped.
fn refresh(credentials: Arc<Credentials>, stopped: watch::Receiver<bool>) {
    tokio::spawn(credentials.run(stopped));
}

/// Runs a connection until its client is dropped, or the returned handle is aborted.
fn drive<S, T>(connection: Connection<S, T>) -> JoinHandle<()>
where
    Connection<S, T>: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Whoever waits for an answer is told too.
            tracing::debug!(%error, "a connection to Postgres ended");
        }
    })
}
