//! The audit log: one line for each record that somebody changed, in the same transaction.

use std::time::SystemTime;

use meridian_core::record::{Record, RecordKind};
use meridian_core::time::WallMs;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{Values, clean, clean_json, moment, wall};
use super::work::{Access, Param, Work};
use crate::clock;
use crate::store::columns::{count, page_bounds};
use crate::store::{Actor, AuditAction, AuditEntry, AuditPage, AuditQuery, StoreError};

impl Postgres {
    pub(crate) async fn audit_log(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        let work = self.work(Access::Read).await?;
        let page = select_page(&work, &query).await;
        work.finish(page).await
    }
}

/// Writes the line of a change; `before` is the live record that it replaced.
pub(super) async fn append(
    work: &Work,
    actor: &Actor,
    before: Option<&Record>,
    after: &Record,
    now: WallMs,
) -> Result<(), StoreError> {
    let action = AuditAction::of(before, after).as_str();
    let body = |record: &Record| clean_json(&record.body);
    let after_body = (!after.deleted).then(|| body(after)).transpose()?;
    let before_body = before.map(body).transpose()?;
    let (id, at) = (clock::new_call_id().to_string(), moment(now));
    let (by, object) = (clean(&actor.changed_by), clean(&after.id));
    let key = actor.key.map(|key| key.to_string()).unwrap_or_default();
    let kind = after.kind.as_str();
    let params: [Param<'_>; 9] = [
        (&id, Type::TEXT),
        (&at, Type::TIMESTAMPTZ),
        (&by, Type::TEXT),
        (&key, Type::TEXT),
        (&action, Type::TEXT),
        (&kind, Type::TEXT),
        (&object, Type::TEXT),
        (&before_body, Type::TEXT),
        (&after_body, Type::TEXT),
    ];
    let sql = "INSERT INTO meridian.audit_log (id, at, changed_by, changed_by_key, action, kind, \
            object_id, before, after) \
        VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb)";
    work.change(sql, &params).await?;
    Ok(())
}

async fn select_page(work: &Work, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let mut values = Values::default();
    let mut clause = String::from("true");
    let texts = [
        ("id::text", query.id.clone()),
        ("changed_by", query.changed_by.clone()),
        ("changed_by_key", query.changed_by_key.clone()),
        ("action", query.action.map(|it| it.as_str().to_owned())),
        ("kind", query.kind.map(|it| it.as_str().to_owned())),
        ("object_id", query.object_id.clone()),
    ];
    for (column, value) in texts {
        if let Some(value) = value {
            let place = values.add(clean(&value).into_owned(), Type::TEXT);
            clause.push_str(&format!(" AND {column} = {place}"));
        }
    }
    for (condition, at) in [("at >=", query.from), ("at <", query.to)] {
        if let Some(at) = at {
            let place = values.add(moment(at), Type::TIMESTAMPTZ);
            clause.push_str(&format!(" AND {condition} {place}"));
        }
    }
    let (size, skip) = page_bounds(query.page, query.size)?;
    let sql = format!("SELECT count(*) FROM meridian.audit_log WHERE {clause}");
    let total = work.row(&sql, &values.params()).await?;
    let total = total.map_or(0, |row| count(row.get(0)));
    let direction = if query.ascending { "ASC" } else { "DESC" };
    let sql = format!(
        "SELECT id::text, at, changed_by, changed_by_key, action, kind, object_id, before::text, \
         after::text FROM meridian.audit_log WHERE {clause} \
         ORDER BY at {direction}, id {direction} LIMIT {size} OFFSET {skip}"
    );
    let rows = work.rows(&sql, &values.params()).await?;
    let entries = rows.iter().map(entry_of).collect::<Result<_, _>>()?;
    Ok(AuditPage { entries, total })
}

fn entry_of(row: &Row) -> Result<AuditEntry, StoreError> {
    let (action, kind): (&str, &str) = (row.get(4), row.get(5));
    let action = AuditAction::ALL
        .into_iter()
        .find(|one| one.as_str() == action);
    let json = |text: Option<&str>| text.map(serde_json::from_str).transpose();
    Ok(AuditEntry {
        id: row.get(0),
        at: wall(row.get::<_, SystemTime>(1)),
        changed_by: row.get(2),
        changed_by_key: row.get(3),
        action: action.unwrap_or(AuditAction::Updated),
        kind: RecordKind::parse(kind).ok_or_else(|| StoreError::UnknownKind(kind.to_owned()))?,
        object_id: row.get(6),
        before: json(row.get(7))?,
        after: json(row.get(8))?,
    })
}
