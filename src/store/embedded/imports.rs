//! Imports: records, marks and spend in one transaction; history into roll-ups and log.

use meridian_core::litellm::{DayRow, History, Mark, SpendMark};
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::apply::insert_log;
use super::records::{select, write_one};
use super::scopes::write_period;
use super::{Embedded, rollups};
use crate::clock;
use crate::store::columns::count;
use crate::store::sums::{Sums, cost_of};
use crate::store::{Actor, IMPORT_BATCH_MAX, ImportWrite, Imported, StoreError};

impl Embedded {
    pub(crate) async fn imported(
        &self,
        source: String,
        kind: RecordKind,
        ids: Vec<String>,
    ) -> Result<Vec<Imported>, StoreError> {
        self.read(move |db| {
            let known = |id: String| {
                Ok(Imported {
                    mark: select_mark(db, &source, kind, &id)?,
                    stored: select(db, kind, &id)?,
                    id,
                })
            };
            ids.into_iter().map(known).collect()
        })
        .await
    }

    pub(crate) async fn import_marks_after(
        &self,
        source: String,
        kind: RecordKind,
        after: String,
    ) -> Result<Vec<String>, StoreError> {
        self.read(move |db| {
            let mut select = db.prepare_cached(
                "SELECT id FROM import_mark WHERE source = ?1 AND kind = ?2 AND id > ?3
                 ORDER BY id LIMIT ?4",
            )?;
            let limit = IMPORT_BATCH_MAX as i64;
            let ids = select.query_map(params![source, kind.as_str(), after, limit], |row| {
                row.get(0)
            })?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    pub(crate) async fn write_imports(
        &self,
        source: String,
        writes: Vec<ImportWrite>,
        actor: Actor,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let now = clock::now();
            for write in writes {
                write_import(&work, &source, write, &actor, now)?;
            }
            Ok(work.commit()?)
        })
        .await
    }

    pub(crate) async fn import_history(&self, source: String) -> Result<History, StoreError> {
        self.read(move |db| {
            let history = db
                .prepare_cached(
                    "SELECT until, logs_from, logs_read FROM import_history WHERE source = ?1",
                )?
                .query_row([source], |row| {
                    Ok(History {
                        until: row.get(0)?,
                        logs_from: row.get(1)?,
                        logs_read: row.get::<_, Option<i64>>(2)?.map(WallMs),
                    })
                })
                .optional()?;
            Ok(history.unwrap_or_default())
        })
        .await
    }

    pub(crate) async fn add_history(
        &self,
        source: String,
        rows: Vec<DayRow>,
        next: History,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let mut sums = Sums::default();
            rows.iter().for_each(|row| sums.add_day(row));
            rollups::write(&sums, &work)?;
            work.prepare_cached(
                "INSERT INTO import_history (source, until, logs_from, logs_read)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (source)
                 DO UPDATE SET until = ?2, logs_from = ?3, logs_read = ?4",
            )?
            .execute(params![
                source,
                next.until,
                next.logs_from,
                next.logs_read.map(|at| at.0)
            ])?;
            Ok(work.commit()?)
        })
        .await
    }

    pub(crate) async fn add_logs(&self, records: Vec<SpendRecord>) -> Result<usize, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let mut sums = Sums::default();
            let mut added = 0;
            for record in &records {
                if insert_log(&work, record, cost_of(record))? {
                    added += 1;
                    sums.add(record);
                }
            }
            sums.charge_nobody();
            rollups::write(&sums, &work)?;
            work.commit()?;
            Ok(added)
        })
        .await
    }
}

fn select_mark(
    db: &Connection,
    source: &str,
    kind: RecordKind,
    id: &str,
) -> Result<Option<Mark>, StoreError> {
    let mark = db
        .prepare_cached(
            "SELECT digest, version, counted, ends FROM import_mark
             WHERE source = ?1 AND kind = ?2 AND id = ?3",
        )?
        .query_row([source, kind.as_str(), id], |row| {
            Ok(Mark {
                digest: row.get(0)?,
                version: count(row.get(1)?),
                spend: SpendMark {
                    counted: NanoUsd(row.get(2)?),
                    ends: row.get::<_, Option<i64>>(3)?.map(WallMs),
                },
            })
        })
        .optional()?;
    Ok(mark)
}

fn write_import(
    work: &Transaction<'_>,
    source: &str,
    step: ImportWrite,
    actor: &Actor,
    now: WallMs,
) -> Result<(), StoreError> {
    let version = match step.write {
        Some(write) => write_one(work, write, Some(actor), now)?.version,
        None => step.mark.version,
    };
    if let Some((scope, period)) = &step.period {
        write_period(work, scope, period.as_ref())?;
    }
    if let Some((scope, amount)) = &step.add {
        add_amount(work, scope, *amount)?;
    }
    work.prepare_cached(
        "INSERT INTO import_mark (source, kind, id, digest, version, counted, ends)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (source, kind, id)
         DO UPDATE SET digest = ?4, version = ?5, counted = ?6, ends = ?7",
    )?
    .execute(params![
        source,
        step.kind.as_str(),
        step.id,
        step.mark.digest,
        i64::try_from(version).unwrap_or(i64::MAX),
        step.mark.spend.counted.0,
        step.mark.spend.ends.map(|at| at.0),
    ])?;
    Ok(())
}

fn add_amount(work: &Transaction<'_>, scope: &Scope, amount: NanoUsd) -> Result<(), StoreError> {
    work.prepare_cached(
        "INSERT INTO scope_spend (kind, id, spend) VALUES (?1, ?2, MAX(?3, 0))
         ON CONFLICT (kind, id) DO UPDATE SET spend = MAX(spend + ?3, 0)",
    )?
    .execute(params![scope.kind.label(), scope.id, amount.0])?;
    Ok(())
}
