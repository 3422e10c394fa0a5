//! A database of somebody else, read as it is at one moment: for imports.
//!
//! Everything is read as text in the simple protocol: no statement is prepared, so a pooler in
//! transaction mode may lie between.

use std::time::Duration;

use meridian_core::config::Database;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::error::{refused, store_error};
use super::password::Passwords;
use super::pool::{Lease, Pool};
use super::work::Access;
use crate::store::StoreError;

/// Longest time of a statement.
const STATEMENT_MAX: Duration = Duration::from_secs(600);
/// The client waits this much longer than the server works.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Longest wait for a free connection.
const WAIT: Duration = Duration::from_secs(5);

/// A row as texts; `None` is null.
pub type TextRow = Vec<Option<String>>;

/// A foreign database. Nothing is ever written to it.
#[derive(Debug)]
pub struct Outside {
    pool: Pool,
}

/// A read-only transaction that sees one moment.
pub struct Reading {
    lease: Lease,
}

impl Outside {
    /// Connects when it is first read; an error says that the settings cannot be used.
    pub fn new(database: &Database) -> Result<Self, StoreError> {
        let pool = Pool::new(&database.primary, 1, WAIT, Passwords::Fixed)?;
        Ok(Self { pool })
    }

    /// Begins to read the state of this moment.
    pub async fn read(&self) -> Result<Reading, StoreError> {
        let lease = self.pool.lease().await?;
        let reading = Reading { lease };
        // Between two fetches the transaction waits for the other side to be written.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = 10000; \
             SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1; \
             SET LOCAL standard_conforming_strings = on",
            STATEMENT_MAX.as_millis(),
            STATEMENT_MAX.as_millis()
        );
        reading.rows(&begin).await?;
        Ok(reading)
    }
}

impl Reading {
    /// The rows that statements give.
    pub async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, StoreError> {
        let answer = self.lease.client()?.simple_query(sql);
        let messages = match timeout(STATEMENT_MAX + ANSWER_MARGIN, answer).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return Err(store_error(error, Access::Walk)),
            Err(_) => return Err(refused("no answer in time")),
        };
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                let texts = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
                Some(texts.collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Ends it. Nothing was written, so nothing is lost when that fails.
    pub async fn end(self) {
        if self.rows("ROLLBACK").await.is_ok() {
            self.lease.give_back();
        }
    }
}
