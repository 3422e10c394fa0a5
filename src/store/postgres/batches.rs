//! Batches at providers and their bills.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use meridian_core::batch::Step;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{clean, clean_json};
use super::work::{Access, Param, Work};
use crate::store::batches::BatchRow;
use crate::store::sums::DAY_MS;
use crate::store::{BatchClaim, BatchKey, NextLook, OldObjects, OpenBatch, StoreError, Which};

impl Postgres {
    pub(crate) async fn claim_batches(
        &self,
        claim: &BatchClaim,
    ) -> Result<Vec<OpenBatch>, StoreError> {
        let mut params: Vec<Param<'_>> = vec![
            (&claim.until.0, Type::INT8),
            (&claim.now.0, Type::INT8),
            (&claim.by, Type::TEXT),
        ];
        let limit;
        let which = match &claim.which {
            Which::One(id) => {
                params.push((id, Type::TEXT));
                "id = $4 AND (tries = 0 OR look_at <= $2)"
            }
            Which::Due {
                region,
                elsewhere_before,
                most,
            } => {
                limit = i64::from(*most);
                params.push((region, Type::TEXT));
                params.push((&elsewhere_before.0, Type::INT8));
                params.push((&limit, Type::INT8));
                "(look_at <= $2 AND region = $4 OR look_at < $5) ORDER BY look_at LIMIT $6"
            }
        };
        // Rows that another node is taking at this moment are its.
        let sql = format!(
            "WITH free AS (SELECT id, deployment_id FROM meridian.batch \
                WHERE done_at IS NULL AND (leased_until <= $2 OR leased_by = $3) AND {which} \
                FOR UPDATE SKIP LOCKED) \
             UPDATE meridian.batch b SET leased_until = $1, leased_by = $3 FROM free \
             WHERE b.id = free.id AND b.deployment_id = free.deployment_id \
             RETURNING b.id, b.deployment_id, b.made, b.decided, b.tries, b.gone_since"
        );
        let work = self.work(Access::Write).await?;
        let rows = work.rows(&sql, &params).await;
        let rows = work.finish(rows).await?;
        let mut open = Vec::new();
        for row in &rows {
            let batch = BatchKey {
                id: row.get(0),
                deployment_id: row.get(1),
            };
            let row = BatchRow {
                made: row.get(2),
                is_decided: row.get(3),
                tries: u32::try_from(row.get::<_, i32>(4)).unwrap_or(0),
                gone_since: row.get::<_, Option<i64>>(5).map(WallMs),
            };
            match row.read() {
                Ok(one) => open.push(one),
                Err(error) => {
                    let next = NextLook::unreadable(&batch, &error, claim.until);
                    self.put_off_batch(&batch, next).await?;
                }
            }
        }
        Ok(open)
    }

    pub(crate) async fn is_batch_open(&self, batch: &BatchKey) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT NOT decided AND done_at IS NULL FROM meridian.batch \
            WHERE id = $1 AND deployment_id = $2";
        let work = self.work(Access::Read).await?;
        let row = work.row(sql, &Key::of(batch).params()).await;
        Ok(work.finish(row).await?.map(|row| row.get(0)))
    }

    pub(crate) async fn decide_batch(
        &self,
        batch: &BatchKey,
        bills: &[SpendRecord],
    ) -> Result<bool, StoreError> {
        let work = self.work(Access::Write).await?;
        let decided = decide(&work, batch, bills).await;
        work.finish(decided).await
    }

    pub(crate) async fn open_bills(
        &self,
        batch: &BatchKey,
    ) -> Result<Vec<SpendRecord>, StoreError> {
        let sql = "SELECT record FROM meridian.batch_bill \
            WHERE id = $1 AND deployment_id = $2 AND billed_at IS NULL ORDER BY call_id";
        let work = self.work(Access::Read).await?;
        let rows = work.rows(sql, &Key::of(batch).params()).await;
        let rows = work.finish(rows).await?;
        let bills = rows.iter().map(|row| Ok(serde_json::from_str(row.get(0))?));
        bills.collect()
    }

    pub(crate) async fn put_off_batch(
        &self,
        batch: &BatchKey,
        next: NextLook,
    ) -> Result<(), StoreError> {
        let key = Key::of(batch);
        let mut params = key.params();
        params.push((&next.at.0, Type::INT8));
        params.push((&next.failed, Type::BOOL));
        let gone_since = next.gone_since.map(|since| since.0);
        params.push((&gone_since, Type::INT8));
        let sql = "UPDATE meridian.batch SET leased_until = 0, look_at = $3, \
            tries = CASE WHEN $4 THEN tries + 1 ELSE 0 END, gone_since = $5 \
            WHERE id = $1 AND deployment_id = $2";
        let work = self.work(Access::Write).await?;
        let put_off = work.change(sql, &params).await;
        work.finish(put_off).await?;
        Ok(())
    }

    pub(crate) async fn forget_objects(&self, ids: &[String]) -> Result<(), StoreError> {
        let ids: Vec<String> = ids.iter().map(|id| clean(id).into_owned()).collect();
        let sql = "DELETE FROM meridian.stored_object WHERE id = ANY($1)";
        let work = self.work(Access::Write).await?;
        let forgotten = work.change(sql, &[(&ids, Type::TEXT_ARRAY)]).await;
        work.finish(forgotten).await?;
        Ok(())
    }

    pub(crate) async fn drop_old_objects(&self, old: OldObjects) -> Result<u64, StoreError> {
        let work = self.work(Access::Write).await?;
        let dropped = drop_old(&work, old).await;
        work.finish(dropped).await
    }

    pub(crate) async fn end_batch(
        &self,
        batch: &BatchKey,
        now: WallMs,
    ) -> Result<bool, StoreError> {
        let key = Key::of(batch);
        let mut params = key.params();
        params.push((&now.0, Type::INT8));
        let sql = "UPDATE meridian.batch SET done_at = $3, leased_until = 0 \
            WHERE id = $1 AND deployment_id = $2 AND NOT EXISTS (\
                SELECT 1 FROM meridian.batch_bill bill WHERE bill.id = $1 \
                AND bill.deployment_id = $2 AND bill.billed_at IS NULL)";
        let work = self.work(Access::Write).await?;
        let ended = work.change(sql, &params).await;
        Ok(work.finish(ended).await? == 1)
    }
}

async fn drop_old(work: &Work, old: OldObjects) -> Result<u64, StoreError> {
    let most = i64::from(old.most);
    let day = |day: i64| i32::try_from(day).unwrap_or(i32::MAX);
    let (today, before) = (day(old.today), day(old.before));
    // Rows that another node is at are left to it.
    let some = |rows: &str| {
        format!(
            "(SELECT id FROM meridian.stored_object WHERE {rows} LIMIT $2 FOR UPDATE SKIP LOCKED)"
        )
    };
    let date = some("kept_day = 0");
    let date = format!("UPDATE meridian.stored_object SET kept_day = $1 WHERE id IN {date}");
    let params: [Param<'_>; 2] = [(&today, Type::INT4), (&most, Type::INT8)];
    let dated = work.change(&date, &params).await?;
    let gone = some("kept_day > 0 AND kept_day < $1");
    let gone = format!("DELETE FROM meridian.stored_object WHERE id IN {gone}");
    let params: [Param<'_>; 2] = [(&before, Type::INT4), (&most, Type::INT8)];
    let owners = work.change(&gone, &params).await?;
    let done = old.before.saturating_mul(DAY_MS);
    let sql = "WITH done AS (SELECT id, deployment_id FROM meridian.batch \
            WHERE done_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED), \
        bills AS (DELETE FROM meridian.batch_bill bill USING done \
            WHERE bill.id = done.id AND bill.deployment_id = done.deployment_id) \
        DELETE FROM meridian.batch b USING done \
        WHERE b.id = done.id AND b.deployment_id = done.deployment_id";
    let params: [Param<'_>; 2] = [(&done, Type::INT8), (&most, Type::INT8)];
    let batches = work.change(sql, &params).await?;
    Ok(dated + owners + batches)
}

/// A batch as columns name it.
struct Key<'a> {
    id: Cow<'a, str>,
    deployment_id: Cow<'a, str>,
}

impl<'a> Key<'a> {
    fn of(batch: &'a BatchKey) -> Self {
        Self {
            id: clean(&batch.id),
            deployment_id: clean(&batch.deployment_id),
        }
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![(&self.id, Type::TEXT), (&self.deployment_id, Type::TEXT)]
    }
}

async fn decide(work: &Work, batch: &BatchKey, bills: &[SpendRecord]) -> Result<bool, StoreError> {
    let key = Key::of(batch);
    let sql = "UPDATE meridian.batch SET decided = true \
        WHERE id = $1 AND deployment_id = $2 AND NOT decided";
    if work.change(sql, &key.params()).await? == 0 {
        return Ok(false);
    }
    let call_ids: Vec<String> = bills.iter().map(|bill| bill.call_id.to_string()).collect();
    let records = bills.iter().map(clean_json);
    let records = records.collect::<Result<Vec<String>, StoreError>>()?;
    let mut params = key.params();
    params.push((&call_ids, Type::TEXT_ARRAY));
    params.push((&records, Type::TEXT_ARRAY));
    let sql = "INSERT INTO meridian.batch_bill (call_id, id, deployment_id, record) \
        SELECT call_id::uuid, $1, $2, record FROM unnest($3, $4) AS bill (call_id, record) \
        ON CONFLICT DO NOTHING";
    work.change(sql, &params).await?;
    Ok(true)
}

/// Notes batches that requests made.
pub(super) async fn add(work: &Work, records: &[&SpendRecord]) -> Result<(), StoreError> {
    let is_made =
        |one: &&&SpendRecord| one.context.batch == Some(Step::Made) && one.response_id.is_some();
    let made: BTreeMap<BatchKey, &SpendRecord> = records
        .iter()
        .filter(is_made)
        .map(|one| (BatchKey::of(one), *one))
        .collect();
    if made.is_empty() {
        return Ok(());
    }
    let keys: Vec<Key<'_>> = made.keys().map(Key::of).collect();
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    let deployments: Vec<&str> = keys.iter().map(|key| &*key.deployment_id).collect();
    let regions = made.values().map(|one| one.region.as_deref());
    let regions: Vec<&str> = regions.map(Option::unwrap_or_default).collect();
    let looks: Vec<i64> = made.values().map(|one| one.ended.0).collect();
    let bare = made.values().map(|one| {
        let texts = None;
        clean_json(&SpendRecord {
            texts,
            ..SpendRecord::clone(one)
        })
    });
    let bare = bare.collect::<Result<Vec<String>, StoreError>>()?;
    let params: [Param<'_>; 5] = [
        (&ids, Type::TEXT_ARRAY),
        (&deployments, Type::TEXT_ARRAY),
        (&regions, Type::TEXT_ARRAY),
        (&bare, Type::TEXT_ARRAY),
        (&looks, Type::INT8_ARRAY),
    ];
    let sql = "INSERT INTO meridian.batch (id, deployment_id, region, made, look_at) \
        SELECT * FROM unnest($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    work.change(sql, &params).await?;
    Ok(())
}

/// Marks bills as being in the ledger, and leaves out those that are there already.
pub(super) async fn without_known<'a>(
    work: &Work,
    records: &'a [SpendRecord],
) -> Result<Cow<'a, [SpendRecord]>, StoreError> {
    let is_bill = |one: &&SpendRecord| one.context.batch == Some(Step::Used);
    // In one order on every node: two that have the same bills wait for each other in a line.
    let bills: BTreeMap<String, &SpendRecord> = records
        .iter()
        .filter(is_bill)
        .map(|one| (one.call_id.to_string(), one))
        .collect();
    if bills.is_empty() {
        return Ok(Cow::Borrowed(records));
    }
    let call_ids: Vec<&str> = bills.keys().map(String::as_str).collect();
    let batches: Vec<BatchKey> = bills.values().map(|one| BatchKey::of(one)).collect();
    let keys: Vec<Key<'_>> = batches.iter().map(Key::of).collect();
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    let deployments: Vec<&str> = keys.iter().map(|key| &*key.deployment_id).collect();
    let times: Vec<i64> = bills.values().map(|one| one.ended.0).collect();
    let params: [Param<'_>; 4] = [
        (&call_ids, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&deployments, Type::TEXT_ARRAY),
        (&times, Type::INT8_ARRAY),
    ];
    let sql = "INSERT INTO meridian.batch_bill AS bill \
            (call_id, id, deployment_id, record, billed_at) \
        SELECT call_id::uuid, id, deployment_id, '', billed_at \
        FROM unnest($1, $2, $3, $4) AS batch (call_id, id, deployment_id, billed_at) \
        ON CONFLICT (call_id) DO UPDATE SET billed_at = excluded.billed_at \
            WHERE bill.billed_at IS NULL RETURNING bill.call_id::text";
    let first = work.rows(sql, &params).await?;
    let mut first: HashSet<String> = first.iter().map(|row| row.get(0)).collect();
    // Taken out, so that one that is twice in the records counts once.
    let counts = |one: &&SpendRecord| !is_bill(one) || first.remove(&one.call_id.to_string());
    Ok(records.iter().filter(counts).cloned().collect())
}
