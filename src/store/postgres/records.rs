//! Records: written under row locks, with the spend of their scopes and lines of the audit log in
//! the same transaction.

use std::collections::BTreeMap;

use meridian_core::hlc;
use meridian_core::money::NanoUsd;
use meridian_core::record::{Facet, Record, RecordKind};
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::params::{clean, clean_json, wall};
use super::work::{Access, Param, Work};
use super::{Postgres, audit, scopes};
use crate::clock;
use crate::store::columns::count;
use crate::store::periods::period_of;
use crate::store::{
    Actor, RecordPlace, RecordWrite, ScopeChange, SpendChange, StoreError, StoredRecord,
};

/// Most records of one step of a walk.
const WALK_RECORDS_MAX: u32 = 10_000;

/// Columns that `stored_of` reads, in its order.
pub(super) const COLUMNS: &str = "r.kind, r.id, r.home, r.version, r.generation, r.deleted, \
    r.created_at, r.updated_at, r.body::text";
/// The same with what is counted for the record: kinds and scopes share their words, customers
/// excepted.
pub(super) const COUNTED: &str = "COALESCE((SELECT sum(t.spend) FROM meridian.scope_spend t \
    WHERE t.kind = CASE r.kind WHEN 'customer' THEN 'end_user' ELSE r.kind END AND t.id = r.id), \
    0)::bigint AS spend, (SELECT p.period_end FROM meridian.scope_period p \
    WHERE p.kind = CASE r.kind WHEN 'customer' THEN 'end_user' ELSE r.kind END AND p.id = r.id)";

/// Records by their places.
type Known = BTreeMap<RecordPlace, Record>;

impl Postgres {
    pub(crate) async fn get_record(
        &self,
        kind: RecordKind,
        id: String,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let work = self.work(Access::Read).await?;
        let sql = format!(
            "SELECT {COLUMNS}, {COUNTED} FROM meridian.record r WHERE r.kind = $1 AND r.id = $2"
        );
        let (kind, id) = (kind.as_str(), clean(&id).into_owned());
        let row = work
            .row(&sql, &[(&kind, Type::TEXT), (&id, Type::TEXT)])
            .await;
        let row = work.finish(row).await?;
        row.as_ref().map(stored_of).transpose()
    }

    pub(crate) async fn records_after(
        &self,
        after: Option<RecordPlace>,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (kind, id) = after.map_or(("", String::new()), |(kind, id)| (kind.as_str(), id));
        let id = clean(&id).into_owned();
        let limit = i64::from(limit.min(WALK_RECORDS_MAX));
        let work = self.work(Access::Walk).await?;
        let sql = format!(
            "SELECT {COLUMNS}, {COUNTED} FROM meridian.record r \
             WHERE (r.kind, r.id) > ($1, $2) \
             ORDER BY r.kind, r.id LIMIT $3"
        );
        let params: [Param<'_>; 3] = [(&kind, Type::TEXT), (&id, Type::TEXT), (&limit, Type::INT8)];
        let rows = work.rows(&sql, &params).await;
        let rows = work.finish(rows).await?;
        rows.iter().map(stored_of).collect()
    }

    pub(crate) async fn write_records(
        &self,
        writes: Vec<RecordWrite>,
        changes: Vec<(Scope, ScopeChange)>,
        actor: Option<Actor>,
    ) -> Result<Vec<Record>, StoreError> {
        let work = self.work(Access::Write).await?;
        let written = write_all(&work, writes, changes, actor.as_ref()).await;
        work.finish(written).await
    }

    pub(crate) async fn merge_records(
        &self,
        records: Vec<Record>,
    ) -> Result<Vec<Record>, StoreError> {
        let work = self.work(Access::Write).await?;
        let merged = merge_all(&work, records).await;
        work.finish(merged).await
    }
}

/// A record of `COLUMNS`.
pub(super) fn record_of(row: &Row) -> Result<Record, StoreError> {
    let kind: &str = row.get(0);
    let kind = RecordKind::parse(kind).ok_or_else(|| StoreError::UnknownKind(kind.to_owned()))?;
    Ok(Record {
        kind,
        id: row.get(1),
        home: row.get(2),
        version: count(row.get(3)),
        generation: u32::try_from(row.get::<_, i64>(4)).unwrap_or(u32::MAX),
        deleted: row.get(5),
        created_at: WallMs(row.get(6)),
        updated_at: WallMs(row.get(7)),
        body: serde_json::from_str(row.get(8))?,
    })
}

/// A record of `COLUMNS` and `COUNTED`.
pub(super) fn stored_of(row: &Row) -> Result<StoredRecord, StoreError> {
    Ok(StoredRecord {
        record: record_of(row)?,
        spend: NanoUsd(row.get(9)),
        resets_at: row.get::<_, Option<_>>(10).map(wall),
    })
}

/// Records as they are, locked in their order, so that two writers never wait in a circle.
async fn lock(work: &Work, places: Vec<RecordPlace>) -> Result<Known, StoreError> {
    let kinds: Vec<&str> = places.iter().map(|(kind, _)| kind.as_str()).collect();
    let ids: Vec<&str> = places.iter().map(|(_, id)| id.as_str()).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM meridian.record r WHERE (r.kind, r.id) IN \
         (SELECT kind, id FROM unnest($1, $2) AS s (kind, id)) ORDER BY r.kind, r.id FOR UPDATE"
    );
    let rows = work
        .rows(
            &sql,
            &[(&kinds, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)],
        )
        .await?;
    let place = |row: &Row| {
        let record = record_of(row)?;
        Ok(((record.kind, record.id.clone()), record))
    };
    rows.iter().map(place).collect()
}

fn place_of(record: &Record) -> RecordPlace {
    (record.kind, clean(&record.id).into_owned())
}

pub(super) async fn write_all(
    work: &Work,
    writes: Vec<RecordWrite>,
    mut changes: Vec<(Scope, ScopeChange)>,
    actor: Option<&Actor>,
) -> Result<Vec<Record>, StoreError> {
    let now = clock::now();
    let moves = |write: &RecordWrite| matches!(write.spend, SpendChange::Move(_));
    if !changes.is_empty() || writes.iter().any(moves) {
        // Before any row: who takes this lock waits for those who have rows.
        scopes::lock_periods(work).await?;
    }
    let places = writes.iter().map(|write| place_of(&write.record)).collect();
    let mut known = lock(work, places).await?;
    let mut written: Vec<(Record, SpendChange)> = Vec::with_capacity(writes.len());
    for write in writes {
        let record = write_one(work, &known, write.record, write.replaces, now).await?;
        if let Some(actor) = actor {
            let before = known.get(&place_of(&record)).filter(|known| !known.deleted);
            audit::append(work, actor, before, &record, now).await?;
        }
        known.insert(place_of(&record), record.clone());
        written.push((record, write.spend));
    }
    change_scopes(work, &written).await?;
    changes.sort_by(|(one, _), (two, _)| one.cmp(two));
    for (scope, change) in &changes {
        scopes::change(work, scope, change).await?;
    }
    Ok(written.into_iter().map(|(record, _)| record).collect())
}

async fn write_one(
    work: &Work,
    known: &Known,
    mut record: Record,
    replaces: Option<u64>,
    now: WallMs,
) -> Result<Record, StoreError> {
    let conflict = |field: &str| StoreError::Conflict {
        field: field.to_owned(),
    };
    let known = known.get(&place_of(&record));
    let live = known.filter(|known| !known.deleted);
    match (live, replaces) {
        (None, None) => {}
        (Some(live), Some(version)) if live.version == version => {}
        (None, Some(_)) => return Err(StoreError::NotFound),
        (Some(_), Some(_)) => return Err(conflict("version")),
        (Some(_), None) => return Err(conflict("id")),
    }
    let before = known.map_or(0, |known| known.version);
    record.version = hlc::next(before, now, hlc::region_number(&record.home));
    match put(work, &record, before).await? {
        true => Ok(record),
        // Somebody made it between our look and our write.
        false => Err(conflict("id")),
    }
}

/// Writes a record over the one with version `before` (0 for none); `false` if that is not there
/// any more.
async fn put(work: &Work, record: &Record, before: u64) -> Result<bool, StoreError> {
    let number = |name: &str| record.body.get(name).and_then(serde_json::Value::as_i64);
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let facets = Facet::ALL.map(|facet| record.facet(facet).map(clean));
    let (kind, id) = (record.kind.as_str(), clean(&record.id));
    let (version, before) = (signed(record.version), signed(before));
    let generation = i64::from(record.generation);
    let (expires, max_budget) = (number("expires"), number("max_budget"));
    let body = clean_json(&record.body)?;
    let mut params: Vec<Param<'_>> = vec![
        (&kind, Type::TEXT),
        (&id, Type::TEXT),
        (&record.home, Type::TEXT),
        (&version, Type::INT8),
        (&generation, Type::INT8),
        (&record.deleted, Type::BOOL),
    ];
    for facet in &facets {
        params.push((facet, Type::TEXT));
    }
    params.extend([
        (&expires as _, Type::INT8),
        (&max_budget as _, Type::INT8),
        (&record.created_at.0 as _, Type::INT8),
        (&record.updated_at.0 as _, Type::INT8),
        (&body as _, Type::TEXT),
        (&before as _, Type::INT8),
    ]);
    let sql = "INSERT INTO meridian.record AS r (kind, id, home, version, generation, deleted, \
            alias, email, user_id, team_id, organization_id, budget_id, expires, max_budget, \
            created_at, updated_at, body) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::jsonb) \
        ON CONFLICT (kind, id) DO UPDATE SET home = $3, version = $4, generation = $5, \
            deleted = $6, alias = $7, email = $8, user_id = $9, team_id = $10, \
            organization_id = $11, budget_id = $12, expires = $13, max_budget = $14, \
            created_at = $15, updated_at = $16, body = $17::jsonb, \
            changed_in = pg_current_xact_id() \
        WHERE r.version = $18";
    Ok(work.change(sql, &params).await? == 1)
}

/// Spend and periods of the scopes of records, in the order of the scopes.
async fn change_scopes(work: &Work, written: &[(Record, SpendChange)]) -> Result<(), StoreError> {
    let scoped = written.iter().filter_map(|(record, change)| {
        let mut scope = record.scope()?;
        scope.id = clean(&scope.id).into_owned();
        Some((scope, record, change))
    });
    let mut scoped: Vec<_> = scoped.collect();
    scoped.sort_by(|(one, ..), (two, ..)| one.cmp(two));
    for (scope, record, change) in scoped {
        match change {
            SpendChange::Keep => {}
            SpendChange::Start(spend) => {
                scopes::start(work, &scope, *spend).await?;
                scopes::write_period(work, &scope, None).await?;
            }
            SpendChange::Move(from) => scopes::take_over(work, from, &scope).await?,
        }
        if let Some(period) = period_of(record) {
            scopes::write_period(work, &scope, period.as_ref()).await?;
        }
    }
    Ok(())
}

async fn merge_all(work: &Work, records: Vec<Record>) -> Result<Vec<Record>, StoreError> {
    let places = records.iter().map(place_of).collect();
    let mut known = lock(work, places).await?;
    let mut newer = Vec::new();
    for record in records {
        let place = place_of(&record);
        let before = known.get(&place).map_or(0, |known| known.version);
        if before >= record.version {
            continue;
        }
        if !put(work, &record, before).await? {
            // Written meanwhile by somebody else: the next round compares again.
            return Err(StoreError::Busy);
        }
        known.insert(place, record.clone());
        newer.push((record, SpendChange::Keep));
    }
    change_scopes(work, &newer).await?;
    Ok(newer.into_iter().map(|(record, _)| record).collect())
}
