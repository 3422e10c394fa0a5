//! Records, the lines that their changes leave in the audit log, and lists of both.

use meridian_core::hlc;
use meridian_core::money::NanoUsd;
use meridian_core::record::{Facet, Record, RecordKind};
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, params_from_iter};

use super::scopes::{change_scope, change_spend, set_period};
use super::{Embedded, audit, count};
use crate::clock;
use crate::store::columns::page_bounds;
use crate::store::{
    Actor, Changes, FeedCursor, RecordPage, RecordPlace, RecordQuery, RecordSort, RecordWrite,
    ScopeChange, StoreError, StoredRecord,
};

/// Most records of one step of a walk.
const WALK_RECORDS_MAX: u32 = 10_000;

/// Columns that `stored_of` reads, in its order.
const COLUMNS: &str = "record.kind, record.id, home, version, generation, deleted, created_at,
    updated_at, body, COALESCE(scope_spend.spend, 0) AS spend, scope_spend.period_end";
/// A record and what is counted for it: kinds and scopes share their words, customers excepted.
const FROM: &str = "record LEFT JOIN scope_spend ON scope_spend.id = record.id
    AND scope_spend.kind = CASE record.kind WHEN 'customer' THEN 'end_user' ELSE record.kind END";

impl Embedded {
    pub(crate) async fn get_record(
        &self,
        kind: RecordKind,
        id: String,
    ) -> Result<Option<StoredRecord>, StoreError> {
        self.read(move |db| select(db, kind, &id)).await
    }

    pub(crate) async fn records_after(
        &self,
        after: Option<RecordPlace>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        // At start, of any size: no time limit.
        self.read_within(None, move |db| {
            let (kind, id) = after.map_or((String::new(), String::new()), |(kind, id)| {
                (kind.as_str().to_owned(), id)
            });
            let mut select = db.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM {FROM} WHERE (record.kind, record.id) > (?1, ?2)
                 ORDER BY record.kind, record.id LIMIT ?3"
            ))?;
            collect(select.query(params![kind, id, limit.min(WALK_RECORDS_MAX)])?)
        })
        .await
    }

    pub(crate) async fn list_records(&self, query: RecordQuery) -> Result<RecordPage, StoreError> {
        self.read(move |db| select_page(db, &query)).await
    }

    pub(crate) async fn write_records(
        &self,
        writes: Vec<RecordWrite>,
        changes: Vec<(Scope, ScopeChange)>,
        actor: Option<Actor>,
    ) -> Result<Vec<Record>, StoreError> {
        self.write(move |db| {
            let now = clock::now();
            let work = db.transaction()?;
            let mut stored = Vec::with_capacity(writes.len());
            for write in writes {
                stored.push(write_one(&work, write, actor.as_ref(), now)?);
            }
            for (scope, change) in &changes {
                change_scope(&work, scope, change)?;
            }
            work.commit()?;
            Ok(stored)
        })
        .await
    }

    pub(crate) async fn merge_records(
        &self,
        records: Vec<Record>,
    ) -> Result<Vec<Record>, StoreError> {
        self.write(move |db| {
            let work = db.transaction()?;
            let mut newer = Vec::new();
            for record in records {
                let known = select(&work, record.kind, &record.id)?;
                if known.is_none_or(|known| known.record.version < record.version) {
                    put(&work, &record)?;
                    set_period(&work, &record)?;
                    newer.push(record);
                }
            }
            work.commit()?;
            Ok(newer)
        })
        .await
    }

    /// Nobody else writes the file: what this process wrote, it knows.
    pub(crate) fn changes_after(cursor: FeedCursor) -> Changes {
        Changes {
            records: Vec::new(),
            next: cursor,
            caught_up: true,
        }
    }
}

pub(super) fn write_one(
    work: &Transaction<'_>,
    write: RecordWrite,
    actor: Option<&Actor>,
    now: WallMs,
) -> Result<Record, StoreError> {
    let RecordWrite {
        mut record,
        replaces,
        spend,
    } = write;
    let known = select(work, record.kind, &record.id)?.map(|known| known.record);
    let live = known.as_ref().filter(|known| !known.deleted);
    match (live, replaces) {
        (None, None) => {}
        (Some(live), Some(version)) if live.version == version => {}
        (None, Some(_)) => return Err(StoreError::NotFound),
        (Some(_), replaces) => {
            let field = if replaces.is_some() { "version" } else { "id" };
            return Err(StoreError::Conflict {
                field: field.to_owned(),
            });
        }
    }
    let before = known.as_ref().map_or(0, |known| known.version);
    record.version = hlc::next(before, now, hlc::region_number(&record.home));
    put(work, &record)?;
    change_spend(work, &record, &spend)?;
    set_period(work, &record)?;
    if let Some(actor) = actor {
        audit::append(work, actor, live, &record, now)?;
    }
    Ok(record)
}

fn put(work: &Transaction<'_>, record: &Record) -> Result<(), StoreError> {
    let number = |name: &str| record.body.get(name).and_then(serde_json::Value::as_i64);
    let facet = |facet| record.facet(facet).map(str::to_owned);
    let facets = Facet::ALL.map(facet);
    work.prepare_cached(
        "INSERT INTO record (kind, id, home, version, generation, deleted, alias, email, user_id,
             team_id, organization_id, budget_id, expires, max_budget, created_at, updated_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT (kind, id) DO UPDATE SET home = ?3, version = ?4, generation = ?5,
             deleted = ?6, alias = ?7, email = ?8, user_id = ?9, team_id = ?10,
             organization_id = ?11, budget_id = ?12, expires = ?13, max_budget = ?14,
             created_at = ?15, updated_at = ?16, body = ?17",
    )?
    .execute(params![
        record.kind.as_str(),
        record.id,
        record.home,
        i64::try_from(record.version).unwrap_or(i64::MAX),
        record.generation,
        record.deleted,
        facets[0],
        facets[1],
        facets[2],
        facets[3],
        facets[4],
        facets[5],
        number("expires"),
        number("max_budget"),
        record.created_at.0,
        record.updated_at.0,
        serde_json::to_string(&record.body)?,
    ])?;
    Ok(())
}

pub(super) fn select(
    db: &Connection,
    kind: RecordKind,
    id: &str,
) -> Result<Option<StoredRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE record.kind = ?1 AND record.id = ?2");
    let mut select = db.prepare_cached(&sql)?;
    select
        .query_row([kind.as_str(), id], |row| Ok(stored_of(row)))
        .optional()?
        .transpose()
}

fn collect(mut rows: rusqlite::Rows<'_>) -> Result<Vec<StoredRecord>, StoreError> {
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(stored_of(row)?);
    }
    Ok(records)
}

/// A record from a row of `COLUMNS`.
fn stored_of(row: &Row<'_>) -> Result<StoredRecord, StoreError> {
    let kind: String = row.get(0)?;
    let kind = RecordKind::parse(&kind).ok_or(StoreError::UnknownKind(kind))?;
    let body = row.get_ref(8)?.as_str().unwrap_or_default();
    let record = Record {
        kind,
        id: row.get(1)?,
        home: row.get(2)?,
        version: count(row.get(3)?),
        generation: row.get(4)?,
        deleted: row.get(5)?,
        created_at: WallMs(row.get(6)?),
        updated_at: WallMs(row.get(7)?),
        body: serde_json::from_str(body)?,
    };
    Ok(StoredRecord {
        record,
        spend: NanoUsd(row.get(9)?),
        resets_at: row.get::<_, Option<i64>>(10)?.map(WallMs),
    })
}

fn select_page(db: &Connection, query: &RecordQuery) -> Result<RecordPage, StoreError> {
    let (clause, values) = filters(query);
    let (size, skip) = page_bounds(query.page, query.size)?;
    let sql = format!("SELECT COUNT(*) FROM record WHERE {clause}");
    let total: i64 = db.query_row(&sql, params_from_iter(&values), |row| row.get(0))?;
    let order = match query.sort_by {
        RecordSort::Id => "record.id",
        RecordSort::Spend => "COALESCE(scope_spend.spend, 0)",
        other => other.column(),
    };
    let direction = if query.descending { "DESC" } else { "ASC" };
    let mut select = db.prepare(&format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE {clause}
         ORDER BY {order} {direction}, record.id {direction} LIMIT {size} OFFSET {skip}"
    ))?;
    let records = collect(select.query(params_from_iter(&values))?)?;
    let total = count(total);
    Ok(RecordPage { records, total })
}

fn filters(query: &RecordQuery) -> (String, Vec<Value>) {
    let mut values = vec![Value::from(query.kind.as_str().to_owned())];
    let mut clause = format!("record.kind = ?1 AND deleted = {}", u8::from(query.deleted));
    if query.deleted && query.kind == RecordKind::Key {
        // A key that was rotated lives on under another digest.
        clause.push_str(
            " AND NOT EXISTS (SELECT 1 FROM record AS other
                 WHERE other.kind = 'rotated_key' AND other.id = record.id)",
        );
    }
    for (facet, value) in &query.facets {
        values.push(Value::from(value.clone()));
        clause.push_str(&format!(" AND {} = ?{}", facet.column(), values.len()));
    }
    if !query.ids.is_empty() {
        let first = values.len() + 1;
        values.extend(query.ids.iter().cloned().map(Value::from));
        let places: Vec<String> = (first..=values.len()).map(|at| format!("?{at}")).collect();
        clause.push_str(&format!(" AND record.id IN ({})", places.join(", ")));
    }
    if let Some(search) = &query.search {
        values.push(Value::from(search.to_lowercase()));
        let at = values.len();
        clause.push_str(&format!(
            " AND (instr(lower(record.id), ?{at}) OR instr(lower(COALESCE(alias, '')), ?{at})
                 OR instr(lower(COALESCE(email, '')), ?{at}))"
        ));
    }
    (clause, values)
}
