//! Batches at providers and their bills.

use meridian_core::batch::Step;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Transaction, params, params_from_iter};

use super::Embedded;
use crate::store::batches::BatchRow;
use crate::store::sums::DAY_MS;
use crate::store::{BatchClaim, BatchKey, NextLook, OldObjects, OpenBatch, StoreError, Which};

impl Embedded {
    pub(crate) async fn claim_batches(
        &self,
        claim: BatchClaim,
    ) -> Result<Vec<OpenBatch>, StoreError> {
        let (which, mut values) = match claim.which {
            Which::One(id) => (
                "id = ?4 AND (tries = 0 OR look_at <= ?2)",
                vec![Value::from(id)],
            ),
            Which::Due {
                region,
                elsewhere_before,
                most,
            } => (
                "(look_at <= ?2 AND region = ?4 OR look_at < ?5) ORDER BY look_at LIMIT ?6",
                vec![
                    region.into(),
                    elsewhere_before.0.into(),
                    i64::from(most).into(),
                ],
            ),
        };
        let asked = [claim.until.0.into(), claim.now.0.into(), claim.by.into()];
        values.splice(0..0, asked);
        let sql = format!(
            "UPDATE batch SET leased_until = ?1, leased_by = ?3
             WHERE (id, deployment_id) IN (
                 SELECT id, deployment_id FROM batch
                 WHERE done_at IS NULL AND (leased_until <= ?2 OR leased_by = ?3) AND {which})
             RETURNING id, deployment_id, made, decided, tries, gone_since"
        );
        let rows = self.write(move |db| {
            let mut claimed = db.prepare_cached(&sql)?;
            let rows = claimed.query_map(params_from_iter(values), open)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        let mut open = Vec::new();
        for (batch, row) in rows.await? {
            match row.read() {
                Ok(one) => open.push(one),
                Err(error) => {
                    let next = NextLook::unreadable(&batch, &error, claim.until);
                    self.put_off_batch(batch, next).await?;
                }
            }
        }
        Ok(open)
    }

    pub(crate) async fn is_batch_open(&self, batch: BatchKey) -> Result<Option<bool>, StoreError> {
        self.read(move |db| {
            let sql = "SELECT decided = 0 AND done_at IS NULL FROM batch
                WHERE id = ?1 AND deployment_id = ?2";
            let key = params![batch.id, batch.deployment_id];
            let mut open = db.prepare_cached(sql)?;
            Ok(open.query_row(key, |row| row.get(0)).optional()?)
        })
        .await
    }

    pub(crate) async fn decide_batch(
        &self,
        batch: BatchKey,
        bills: Vec<SpendRecord>,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let sql = "UPDATE batch SET decided = 1
                WHERE id = ?1 AND deployment_id = ?2 AND decided = 0";
            if work.execute(sql, params![batch.id, batch.deployment_id])? == 0 {
                return Ok(false);
            }
            for bill in bills {
                work.prepare_cached(
                    "INSERT INTO batch_bill (call_id, id, deployment_id, record)
                     VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?
                .execute(params![
                    bill.call_id.to_bytes(),
                    batch.id,
                    batch.deployment_id,
                    serde_json::to_string(&bill)?,
                ])?;
            }
            work.commit()?;
            Ok(true)
        })
        .await
    }

    pub(crate) async fn open_bills(&self, batch: BatchKey) -> Result<Vec<SpendRecord>, StoreError> {
        self.read(move |db| {
            let mut bills = db.prepare_cached(
                "SELECT record FROM batch_bill
                 WHERE id = ?1 AND deployment_id = ?2 AND billed_at IS NULL ORDER BY call_id",
            )?;
            let key = params![batch.id, batch.deployment_id];
            let rows = bills.query_map(key, |row| row.get::<_, String>(0))?;
            rows.map(|row| Ok(serde_json::from_str(&row?)?)).collect()
        })
        .await
    }

    pub(crate) async fn put_off_batch(
        &self,
        batch: BatchKey,
        next: NextLook,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            db.execute(
                "UPDATE batch SET leased_until = 0, look_at = ?3,
                     tries = CASE WHEN ?4 THEN tries + 1 ELSE 0 END, gone_since = ?5
                 WHERE id = ?1 AND deployment_id = ?2",
                params![
                    batch.id,
                    batch.deployment_id,
                    next.at.0,
                    next.failed,
                    next.gone_since.map(|since| since.0),
                ],
            )?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn forget_objects(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.write(move |db| {
            for id in ids {
                db.prepare_cached("DELETE FROM stored_object WHERE id = ?1")?
                    .execute([id])?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn drop_old_objects(&self, old: OldObjects) -> Result<u64, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let dated = work.execute(
                "UPDATE stored_object SET kept_day = ?1 WHERE id IN (
                     SELECT id FROM stored_object WHERE kept_day = 0 LIMIT ?2)",
                params![old.today, old.most],
            )?;
            let owners = work.execute(
                "DELETE FROM stored_object WHERE id IN (
                     SELECT id FROM stored_object WHERE kept_day > 0 AND kept_day < ?1 LIMIT ?2)",
                params![old.before, old.most],
            )?;
            let key = "SELECT id, deployment_id FROM batch WHERE done_at < ?1 LIMIT ?2";
            let done = params![old.before.saturating_mul(DAY_MS), old.most];
            let bills = format!("DELETE FROM batch_bill WHERE (id, deployment_id) IN ({key})");
            work.execute(&bills, done)?;
            let batches = format!("DELETE FROM batch WHERE (id, deployment_id) IN ({key})");
            let batches = work.execute(&batches, done)?;
            work.commit()?;
            Ok((dated + owners + batches) as u64)
        })
        .await
    }

    pub(crate) async fn end_batch(&self, batch: BatchKey, now: WallMs) -> Result<bool, StoreError> {
        self.write(move |db| {
            let ended = db.execute(
                "UPDATE batch SET done_at = ?3, leased_until = 0
                 WHERE id = ?1 AND deployment_id = ?2 AND NOT EXISTS (
                     SELECT 1 FROM batch_bill WHERE batch_bill.id = ?1
                         AND batch_bill.deployment_id = ?2 AND billed_at IS NULL)",
                params![batch.id, batch.deployment_id, now.0],
            )?;
            Ok(ended == 1)
        })
        .await
    }
}

fn open(row: &Row<'_>) -> rusqlite::Result<(BatchKey, BatchRow)> {
    let batch = BatchKey {
        id: row.get(0)?,
        deployment_id: row.get(1)?,
    };
    let row = BatchRow {
        made: row.get(2)?,
        is_decided: row.get(3)?,
        tries: row.get(4)?,
        gone_since: row.get::<_, Option<i64>>(5)?.map(WallMs),
    };
    Ok((batch, row))
}

/// Notes a batch that a request made.
pub(super) fn add(work: &Transaction<'_>, record: &SpendRecord) -> Result<(), StoreError> {
    if record.context.batch != Some(Step::Made) || record.response_id.is_none() {
        return Ok(());
    }
    let key = BatchKey::of(record);
    let made = SpendRecord {
        texts: None,
        ..record.clone()
    };
    work.prepare_cached(
        "INSERT INTO batch (id, deployment_id, region, made, look_at)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        key.id,
        key.deployment_id,
        record.region.as_deref().unwrap_or_default(),
        serde_json::to_string(&made)?,
        record.ended.0,
    ])?;
    Ok(())
}

/// Marks a bill as being in the ledger; `false` when it is there already.
pub(super) fn is_first(work: &Transaction<'_>, record: &SpendRecord) -> Result<bool, StoreError> {
    if record.context.batch != Some(Step::Used) {
        return Ok(true);
    }
    let key = BatchKey::of(record);
    let marked = work
        .prepare_cached(
            "INSERT INTO batch_bill (call_id, id, deployment_id, record, billed_at)
             VALUES (?1, ?2, ?3, '', ?4)
             ON CONFLICT (call_id) DO UPDATE SET billed_at = ?4 WHERE billed_at IS NULL",
        )?
        .execute(params![
            record.call_id.to_bytes(),
            key.id,
            key.deployment_id,
            record.ended.0,
        ])?;
    Ok(marked == 1)
}
