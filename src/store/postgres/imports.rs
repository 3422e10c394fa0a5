//! Imports: records, marks and spend in one transaction; history into roll-ups and log.

use std::collections::HashMap;

use meridian_core::litellm::{DayRow, History, Mark, SpendMark};
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use tokio_postgres::types::Type;

use super::apply::insert_logs;
use super::params::clean;
use super::records::{COLUMNS, COUNTED, stored_of, write_all};
use super::scopes::{BY_HAND, write_period};
use super::work::{Access, Param, Work};
use super::{LOCK_PERIODS, LOCK_SPACE, Postgres, rollups};
use crate::store::columns::count;
use crate::store::sums::Sums;
use crate::store::{
    Actor, IMPORT_BATCH_MAX, ImportWrite, Imported, RecordWrite, StoreError, StoredRecord,
};

impl Postgres {
    pub(crate) async fn imported(
        &self,
        source: String,
        kind: RecordKind,
        ids: Vec<String>,
    ) -> Result<Vec<Imported>, StoreError> {
        let work = self.work(Access::Read).await?;
        let known = select_known(&work, &source, kind, ids).await;
        work.finish(known).await
    }

    pub(crate) async fn import_marks_after(
        &self,
        source: String,
        kind: RecordKind,
        after: String,
    ) -> Result<Vec<String>, StoreError> {
        let (kind, limit) = (kind.as_str(), IMPORT_BATCH_MAX as i64);
        let work = self.work(Access::Read).await?;
        let sql = "SELECT id FROM meridian.import_mark \
            WHERE source = $1 AND kind = $2 AND id > $3 ORDER BY id LIMIT $4";
        let params: [Param<'_>; 4] = [
            (&source, Type::TEXT),
            (&kind, Type::TEXT),
            (&after, Type::TEXT),
            (&limit, Type::INT8),
        ];
        let rows = work.rows(sql, &params).await;
        let rows = work.finish(rows).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(crate) async fn write_imports(
        &self,
        source: String,
        writes: Vec<ImportWrite>,
        actor: Actor,
    ) -> Result<(), StoreError> {
        let work = self.work(Access::Write).await?;
        let written = write_steps(&work, &source, writes, &actor).await;
        work.finish(written).await
    }

    pub(crate) async fn import_history(&self, source: String) -> Result<History, StoreError> {
        let work = self.work(Access::Read).await?;
        let sql = "SELECT until, logs_from, logs_read FROM meridian.import_history \
            WHERE source = $1";
        let row = work.row(sql, &[(&source, Type::TEXT)]).await;
        let row = work.finish(row).await?;
        Ok(row.map_or(History::default(), |row| History {
            until: row.get(0),
            logs_from: row.get(1),
            logs_read: row.get::<_, Option<i64>>(2).map(WallMs),
        }))
    }

    pub(crate) async fn add_history(
        &self,
        source: String,
        rows: Vec<DayRow>,
        next: History,
    ) -> Result<(), StoreError> {
        let work = self.work(Access::Write).await?;
        let added = add_days(&work, &source, &rows, next).await;
        work.finish(added).await
    }

    pub(crate) async fn add_logs(&self, records: Vec<SpendRecord>) -> Result<usize, StoreError> {
        self.add_days_of(&records).await?;
        let work = self.work(Access::Write).await?;
        let added = add_log_rows(&work, &records).await;
        if matches!(added, Err(StoreError::Postgres(_))) {
            // Perhaps a day was dropped meanwhile.
            self.forget_days();
        }
        work.finish(added).await
    }
}

async fn select_known(
    work: &Work,
    source: &str,
    kind: RecordKind,
    ids: Vec<String>,
) -> Result<Vec<Imported>, StoreError> {
    let word = kind.as_str();
    let asked: Vec<String> = ids.iter().map(|id| clean(id).into_owned()).collect();
    let sql = format!(
        "SELECT {COLUMNS}, {COUNTED} FROM meridian.record r WHERE r.kind = $1 AND r.id = ANY($2)"
    );
    let rows = work
        .rows(&sql, &[(&word, Type::TEXT), (&asked, Type::TEXT_ARRAY)])
        .await?;
    let mut stored: HashMap<String, StoredRecord> = HashMap::with_capacity(rows.len());
    for row in &rows {
        stored.insert(row.get(1), stored_of(row)?);
    }
    let sql = "SELECT id, digest, version, counted, ends FROM meridian.import_mark \
        WHERE source = $3 AND kind = $1 AND id = ANY($2)";
    let params: [Param<'_>; 3] = [
        (&word, Type::TEXT),
        (&asked, Type::TEXT_ARRAY),
        (&source, Type::TEXT),
    ];
    let rows = work.rows(sql, &params).await?;
    let mut marks: HashMap<String, Mark> = HashMap::with_capacity(rows.len());
    for row in &rows {
        let spend = SpendMark {
            counted: NanoUsd(row.get(3)),
            ends: row.get::<_, Option<i64>>(4).map(WallMs),
        };
        let (digest, version) = (row.get(1), count(row.get(2)));
        let mark = Mark {
            digest,
            version,
            spend,
        };
        marks.insert(row.get(0), mark);
    }
    let known = ids.into_iter().zip(asked).map(|(id, asked)| Imported {
        mark: marks.remove(&asked),
        stored: stored.remove(&asked),
        id,
    });
    Ok(known.collect())
}

async fn write_steps(
    work: &Work,
    source: &str,
    mut steps: Vec<ImportWrite>,
    actor: &Actor,
) -> Result<(), StoreError> {
    // Before any row, as the drains do; in the order of the scopes, as everybody does.
    lock_shared(work).await?;
    steps.sort_by(|one, two| (one.kind, &one.id).cmp(&(two.kind, &two.id)));
    let mut writes: Vec<RecordWrite> = Vec::with_capacity(steps.len());
    let mut stored_by = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter_mut().enumerate() {
        if let Some(write) = step.write.take() {
            writes.push(write);
            stored_by.push(index);
        }
    }
    let stored = write_all(work, writes, Vec::new(), Some(actor)).await?;
    for (index, record) in stored_by.into_iter().zip(stored) {
        if let Some(step) = steps.get_mut(index) {
            step.mark.version = record.version;
        }
    }
    for step in &steps {
        if let Some((scope, period)) = &step.period {
            write_period(work, scope, period.as_ref()).await?;
        }
    }
    add_amounts(work, &steps).await?;
    write_marks(work, source, &steps).await
}

async fn lock_shared(work: &Work) -> Result<(), StoreError> {
    let lock = format!("SELECT pg_advisory_xact_lock_shared({LOCK_SPACE}, {LOCK_PERIODS})");
    work.batch(&lock).await
}

async fn add_amounts(work: &Work, steps: &[ImportWrite]) -> Result<(), StoreError> {
    let added: Vec<_> = steps.iter().filter_map(|step| step.add.as_ref()).collect();
    if added.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = added.iter().map(|(scope, _)| scope.kind.label()).collect();
    let ids: Vec<String> = added
        .iter()
        .map(|(scope, _)| clean(&scope.id).into_owned())
        .collect();
    let amounts: Vec<i64> = added.iter().map(|(_, amount)| amount.0).collect();
    let sql = "INSERT INTO meridian.scope_spend AS t (kind, id, writer, spend) \
        SELECT kind, id, $4, spend FROM unnest($1, $2, $3) AS batch (kind, id, spend) \
        ON CONFLICT (kind, id, writer) DO UPDATE SET spend = t.spend + excluded.spend";
    let params: [Param<'_>; 4] = [
        (&kinds, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&amounts, Type::INT8_ARRAY),
        (&BY_HAND, Type::INT4),
    ];
    work.change(sql, &params).await?;
    Ok(())
}

async fn write_marks(work: &Work, source: &str, steps: &[ImportWrite]) -> Result<(), StoreError> {
    let kinds: Vec<&str> = steps.iter().map(|step| step.kind.as_str()).collect();
    let ids: Vec<String> = steps
        .iter()
        .map(|step| clean(&step.id).into_owned())
        .collect();
    let digests: Vec<&str> = steps.iter().map(|step| step.mark.digest.as_str()).collect();
    let signed = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
    let versions: Vec<i64> = steps.iter().map(|step| signed(step.mark.version)).collect();
    let counted: Vec<i64> = steps.iter().map(|step| step.mark.spend.counted.0).collect();
    let ends: Vec<Option<i64>> = steps
        .iter()
        .map(|step| step.mark.spend.ends.map(|at| at.0))
        .collect();
    let sql = "INSERT INTO meridian.import_mark \
            (source, kind, id, digest, version, counted, ends) \
        SELECT $1, b.* FROM unnest($2, $3, $4, $5, $6, $7) AS b \
        ON CONFLICT (source, kind, id) DO UPDATE SET digest = excluded.digest, \
            version = excluded.version, counted = excluded.counted, ends = excluded.ends";
    let params: [Param<'_>; 7] = [
        (&source, Type::TEXT),
        (&kinds, Type::TEXT_ARRAY),
        (&ids, Type::TEXT_ARRAY),
        (&digests, Type::TEXT_ARRAY),
        (&versions, Type::INT8_ARRAY),
        (&counted, Type::INT8_ARRAY),
        (&ends, Type::INT8_ARRAY),
    ];
    work.change(sql, &params).await?;
    Ok(())
}

async fn add_days(
    work: &Work,
    source: &str,
    rows: &[DayRow],
    next: History,
) -> Result<(), StoreError> {
    let mut sums = Sums::default();
    rows.iter().for_each(|row| sums.add_day(row));
    rollups::add_daily(work, &sums.daily).await?;
    rollups::add_entities(work, &sums.entities).await?;
    let sql = "INSERT INTO meridian.import_history (source, until, logs_from, logs_read) \
        VALUES ($1, $2, $3, $4) ON CONFLICT (source) \
        DO UPDATE SET until = $2, logs_from = $3, logs_read = $4";
    let read = next.logs_read.map(|at| at.0);
    let params: [Param<'_>; 4] = [
        (&source, Type::TEXT),
        (&next.until, Type::INT8),
        (&next.logs_from, Type::INT8),
        (&read, Type::INT8),
    ];
    work.change(sql, &params).await?;
    Ok(())
}

async fn add_log_rows(work: &Work, records: &[SpendRecord]) -> Result<usize, StoreError> {
    let new = insert_logs(work, records, BY_HAND).await?;
    let mut sums = Sums::default();
    new.iter().for_each(|record| sums.add(record));
    sums.charge_nobody();
    rollups::add_daily(work, &sums.daily).await?;
    rollups::add_entities(work, &sums.entities).await?;
    Ok(new.len())
}
