//! The embedded store: one SQLite file, one thread that writes, a few connections that read.

mod apply;
mod audit;
mod batches;
mod imports;
mod limits;
mod logs;
mod models;
mod objects;
mod paces;
mod records;
mod reports;
mod rollups;
mod scopes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::StoreError;
use super::columns::{column, count};
use super::deadline::time_left;
use crate::priority;

/// The database in the data directory.
const DATABASE_FILE: &str = "meridian.db";
/// Writes that may wait; the next one waits for a place.
const WRITES_QUEUED_MAX: usize = 256;
/// Reads at the same time.
const READERS: usize = 4;
/// A caller waits this long for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// A report or a page of logs that takes longer is broken off.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// How long SQLite itself waits for a lock; only another process can hold one.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

const MIGRATIONS: &[(&str, &str)] = &[
    (
        "V1__ledger",
        include_str!("../../../migrations/embedded/V1__ledger.sql"),
    ),
    (
        "V2__key_regions",
        include_str!("../../../migrations/embedded/V2__key_regions.sql"),
    ),
    (
        "V3__records",
        include_str!("../../../migrations/embedded/V3__records.sql"),
    ),
    (
        "V4__imports",
        include_str!("../../../migrations/embedded/V4__imports.sql"),
    ),
    (
        "V5__early_spend",
        include_str!("../../../migrations/embedded/V5__early_spend.sql"),
    ),
    (
        "V6__texts",
        include_str!("../../../migrations/embedded/V6__texts.sql"),
    ),
    (
        "V7__objects",
        include_str!("../../../migrations/embedded/V7__objects.sql"),
    ),
    (
        "V8__lineage",
        include_str!("../../../migrations/embedded/V8__lineage.sql"),
    ),
    (
        "V9__batches",
        include_str!("../../../migrations/embedded/V9__batches.sql"),
    ),
    (
        "V10__batch_output",
        include_str!("../../../migrations/embedded/V10__batch_output.sql"),
    ),
];

type Write = Box<dyn FnOnce(&mut Connection) + Send>;

/// A SQLite file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedded {
    writes: mpsc::Sender<Write>,
    readers: Arc<Readers>,
    pub(super) region: Arc<str>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    turns: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Embedded {
    /// Opens the file and brings its schema up to date. The caller holds the directory's lock.
    pub async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(DATABASE_FILE);
        let opened = spawn_blocking({
            let path = path.clone();
            move || open_writer(&path)
        });
        let mut connection = opened.await.map_err(|_| StoreError::Closed)??;
        let (writes, mut queue) = mpsc::channel::<Write>(WRITES_QUEUED_MAX);
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                priority::yield_to_requests();
                while let Some(write) = queue.blocking_recv() {
                    // One write that panics must not end all later ones; its transaction is undone.
                    let run = AssertUnwindSafe(|| write(&mut connection));
                    if catch_unwind(run).is_err() {
                        tracing::error!("a write to the store panicked");
                    }
                }
            })
            .map_err(|_| StoreError::Closed)?;
        let readers = Readers {
            path,
            turns: Semaphore::new(READERS),
            idle: Mutex::default(),
        };
        Ok(Self {
            writes,
            readers: Arc::new(readers),
            region: Arc::from(""),
        })
    }

    /// Runs a write on the writer's thread. It is carried out even if the caller goes away.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |connection| {
            let _caller_left = answer.send(work(connection));
        });
        match self.writes.send_timeout(write, TURN_WAIT_MAX).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(StoreError::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(StoreError::Closed),
        }
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a read that is broken off after `READ_TIME_MAX`.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_within(Some(time_left(READ_TIME_MAX)), work).await
    }

    async fn read_within<T: Send + 'static>(
        &self,
        time_max: Option<Duration>,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn =
            tokio::time::timeout(time_left(TURN_WAIT_MAX), self.readers.turns.acquire()).await;
        let _turn = turn
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(&self.readers);
        let (started, starting) = oneshot::channel();
        let mut reading = spawn_blocking(move || {
            let connection = readers.connection()?;
            let _caller_left = started.send(connection.get_interrupt_handle());
            let outcome = work(&connection);
            readers.give_back(connection);
            outcome
        });
        let outcome = match time_max {
            None => reading.await,
            Some(time_max) => match tokio::time::timeout(time_max, &mut reading).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    if let Ok(handle) = starting.await {
                        handle.interrupt();
                    }
                    let _interrupted = reading.await;
                    return Err(StoreError::Late);
                }
            },
        };
        outcome.map_err(|_| StoreError::Closed)?
    }
}

impl Readers {
    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(LOCK_WAIT_MAX)?;
        Ok(connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS {
            idle.push(connection);
        }
    }
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(LOCK_WAIT_MAX)?;
    // During an upgrade two processes write: each waits for its turn before it reads what it
    // changes.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    set_durable(&connection, true)?;
    let mut migrations = Vec::with_capacity(MIGRATIONS.len());
    for (name, sql) in MIGRATIONS {
        let migration = Migration::unapplied(name, sql);
        migrations.push(migration.map_err(|error| StoreError::Migration(error.to_string()))?);
    }
    // Grouped: a migration and the note that it was made in one transaction, or a kill between the
    // two leaves a database that cannot be opened again.
    Runner::new(&migrations)
        .set_grouped(true)
        .run(&mut connection)
        .map_err(|error| StoreError::Migration(error.to_string()))?;
    Ok(connection)
}

/// Whether a commit waits for the disk. Without, a power loss may undo the last commits, never a
/// part of one, and a process that is killed loses nothing.
fn set_durable(connection: &Connection, durable: bool) -> Result<(), StoreError> {
    let level = if durable { "FULL" } else { "NORMAL" };
    Ok(connection.pragma_update(None, "synchronous", level)?)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let rusqlite::Error::SqliteFailure(code, message) = &error else {
            return match error {
                rusqlite::Error::QueryReturnedNoRows => Self::NotFound,
                other => Self::Sqlite(other),
            };
        };
        match (code.code, message) {
            (Code::ConstraintViolation, Some(message)) if message.starts_with("UNIQUE") => {
                let name = message.rsplit(['.', ' ']).next().unwrap_or_default();
                let field = name.trim_matches('\'');
                Self::Conflict {
                    field: field.to_owned(),
                }
            }
            (Code::DatabaseBusy | Code::DatabaseLocked, _) => Self::Busy,
            (Code::OperationInterrupted, _) => Self::Late,
            _ => Self::Sqlite(error),
        }
    }
}

/// A token as its column holds it.
fn hash_of(text: &str) -> Option<meridian_core::ids::KeyHash> {
    meridian_core::ids::KeyHash::from_hex(text)
}
