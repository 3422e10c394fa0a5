//! The drain's transaction: new log rows, roll-ups, what scopes spent and the cursor, or nothing.
//!
//! Statements lock rows in one order everywhere: the writer's cursor, bills of batches, log rows,
//! its own rows of scopes, roll-ups by day and cell. Drains of other nodes may wait for the bills
//! and the roll-ups, never in a circle.

use std::collections::HashSet;

use meridian_core::journal::Position;
use meridian_core::spend::SpendRecord;
use tokio_postgres::types::Type;

use super::rows::{self, LogRows};
use super::work::{Access, Work};
use super::{LOCK_PERIODS, LOCK_SPACE, Postgres, batches, rollups, scopes};
use crate::store::sums::Sums;
use crate::store::{SpendBatch, StoreError};

/// How often a batch queues for the roll-ups, each time for as long as a statement may take: two
/// minutes, in which a line of a hundred nodes has passed.
const TURNS_MAX: u32 = 6;

impl Postgres {
    pub(crate) async fn journal_position(
        &self,
        writer: &str,
    ) -> Result<Option<Position>, StoreError> {
        let work = self.work(Access::Read).await?;
        let cursor = select_cursor(&work, writer, "").await;
        Ok(work.finish(cursor).await?.map(|cursor| cursor.position))
    }

    pub(crate) async fn apply_spend(&self, batch: &SpendBatch) -> Result<usize, StoreError> {
        if batch.keeps_logs {
            self.add_days_of(&batch.records).await?;
        }
        let mut work = self.work(Access::Write).await?;
        let added = apply(&mut work, batch).await;
        if matches!(added, Err(StoreError::Postgres(_))) {
            // Perhaps a day was dropped meanwhile.
            self.forget_days();
        }
        work.finish(added).await
    }
}

struct Cursor {
    writer: i32,
    position: Position,
}

async fn select_cursor(work: &Work, name: &str, lock: &str) -> Result<Option<Cursor>, StoreError> {
    let sql = format!(
        "SELECT writer, segment, \"offset\" FROM meridian.journal_cursor WHERE name = $1{lock}"
    );
    let row = work.row(&sql, &[(&name, Type::TEXT)]).await?;
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(row.map(|row| Cursor {
        writer: row.get(0),
        position: Position {
            segment: unsigned(row.get(1)),
            offset: unsigned(row.get(2)),
        },
    }))
}

/// The writer's cursor, locked; made at the beginning when there is none.
async fn lock_cursor(work: &Work, name: &str) -> Result<Cursor, StoreError> {
    if let Some(cursor) = select_cursor(work, name, " FOR UPDATE").await? {
        return Ok(cursor);
    }
    let insert = "INSERT INTO meridian.journal_cursor (name, segment, \"offset\") \
        VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
    work.change(insert, &[(&name, Type::TEXT)]).await?;
    let cursor = select_cursor(work, name, " FOR UPDATE").await?;
    cursor.ok_or(StoreError::Busy)
}

async fn apply(work: &mut Work, batch: &SpendBatch) -> Result<usize, StoreError> {
    let lock = format!("SELECT pg_advisory_xact_lock_shared({LOCK_SPACE}, {LOCK_PERIODS})");
    work.batch(&lock).await?;
    let cursor = lock_cursor(work, &batch.writer).await?;
    if cursor.position != batch.from {
        // An earlier commit went through although its answer was lost.
        return Err(StoreError::Moved);
    }
    let records = batches::without_known(work, &batch.records).await?;
    let new = match batch.keeps_logs {
        true => insert_logs(work, &records, cursor.writer).await?,
        false => distinct(&records),
    };
    batches::add(work, &new).await?;
    let mut sums = Sums::default();
    new.iter().for_each(|record| sums.add(record));
    scopes::add(work, &sums.scopes, cursor.writer).await?;
    move_cursor(work, cursor.writer, batch.next).await?;
    // Last: their rows are those that other drains wait for.
    add_sums(work, &sums).await?;
    Ok(new.len())
}

/// Adds to the roll-ups. Who has waited as long as a statement may take gives back the rows that it
/// has and queues again: the rows of the log, most of the work, stay.
async fn add_sums(work: &mut Work, sums: &Sums<'_>) -> Result<(), StoreError> {
    work.batch("SAVEPOINT sums").await?;
    let mut turn = 1;
    loop {
        let added = try_sums(work, sums).await;
        work.renew();
        match added {
            Err(StoreError::Busy) if turn < TURNS_MAX => turn += 1,
            other => return other,
        }
        work.batch("ROLLBACK TO SAVEPOINT sums").await?;
    }
}

async fn try_sums(work: &mut Work, sums: &Sums<'_>) -> Result<(), StoreError> {
    work.renew();
    rollups::add_daily(work, &sums.daily).await?;
    work.renew();
    rollups::add_entities(work, &sums.entities).await
}

/// Adds log rows; returns the records that were not there.
pub(super) async fn insert_logs<'a>(
    work: &Work,
    records: &'a [SpendRecord],
    writer: i32,
) -> Result<Vec<&'a SpendRecord>, StoreError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let rows = LogRows::of(records, writer)?;
    let added = work.rows(rows::INSERT, &rows.params()).await?;
    let mut added: HashSet<Vec<u8>> = added.iter().map(|row| row.get(0)).collect();
    // Taken out, so that one that is twice in the batch counts once.
    let is_new = |one: &&SpendRecord| added.remove(one.call_id.to_bytes().as_slice());
    Ok(records.iter().filter(is_new).collect())
}

/// Without a log only the cursor keeps a record from counting twice.
fn distinct(records: &[SpendRecord]) -> Vec<&SpendRecord> {
    let mut seen = HashSet::with_capacity(records.len());
    records
        .iter()
        .filter(|one| seen.insert(one.call_id))
        .collect()
}

async fn move_cursor(work: &Work, writer: i32, next: Position) -> Result<(), StoreError> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (segment, offset) = (signed(next.segment), signed(next.offset));
    let sql = "UPDATE meridian.journal_cursor SET segment = $2, \"offset\" = $3, \
        updated_at = now() WHERE writer = $1";
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&writer, Type::INT4),
        (&segment, Type::INT8),
        (&offset, Type::INT8),
    ];
    work.change(sql, &params).await?;
    Ok(())
}
