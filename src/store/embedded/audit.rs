//! The audit log: one line for each record that somebody changed, in the same transaction.

use meridian_core::record::{Record, RecordKind};
use meridian_core::time::WallMs;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};

use super::{Embedded, count};
use crate::clock;
use crate::store::columns::page_bounds;
use crate::store::{Actor, AuditAction, AuditEntry, AuditPage, AuditQuery, StoreError};

impl Embedded {
    pub(crate) async fn audit_log(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.read(move |db| select_page(db, &query)).await
    }
}

/// Writes the line of a change; `before` is the live record that it replaced.
pub(super) fn append(
    work: &Transaction<'_>,
    actor: &Actor,
    before: Option<&Record>,
    after: &Record,
    now: WallMs,
) -> Result<(), StoreError> {
    let action = AuditAction::of(before, after);
    let body = |record: &Record| serde_json::to_string(&record.body);
    let after_body = (!after.deleted).then(|| body(after)).transpose()?;
    work.prepare_cached(
        "INSERT INTO audit_log (id, at, changed_by, changed_by_key, action, kind, object_id,
             before, after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        clock::new_call_id().to_string(),
        now.0,
        actor.changed_by,
        actor.key.map(|key| key.to_string()).unwrap_or_default(),
        action.as_str(),
        after.kind.as_str(),
        after.id,
        before.map(body).transpose()?,
        after_body,
    ])?;
    Ok(())
}

fn select_page(db: &Connection, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let filters: [(&str, Option<Value>); 8] = [
        ("id =", query.id.clone().map(Value::from)),
        ("changed_by =", query.changed_by.clone().map(Value::from)),
        (
            "changed_by_key =",
            query.changed_by_key.clone().map(Value::from),
        ),
        (
            "action =",
            query.action.map(|it| Value::from(it.as_str().to_owned())),
        ),
        (
            "kind =",
            query.kind.map(|it| Value::from(it.as_str().to_owned())),
        ),
        ("object_id =", query.object_id.clone().map(Value::from)),
        ("at >=", query.from.map(|at| Value::from(at.0))),
        ("at <", query.to.map(|at| Value::from(at.0))),
    ];
    let mut clause = String::from("1");
    let mut values = Vec::new();
    for (condition, value) in filters {
        if let Some(value) = value {
            values.push(value);
            clause.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    }
    let (size, skip) = page_bounds(query.page, query.size)?;
    let sql = format!("SELECT COUNT(*) FROM audit_log WHERE {clause}");
    let total: i64 = db.query_row(&sql, params_from_iter(&values), |row| row.get(0))?;
    let direction = if query.ascending { "ASC" } else { "DESC" };
    let mut select = db.prepare(&format!(
        "SELECT id, at, changed_by, changed_by_key, action, kind, object_id, before, after
         FROM audit_log WHERE {clause} ORDER BY at {direction}, id {direction}
         LIMIT {size} OFFSET {skip}"
    ))?;
    let mut rows = select.query(params_from_iter(&values))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry_of(row)?);
    }
    let total = count(total);
    Ok(AuditPage { entries, total })
}

fn entry_of(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    let (action, kind): (String, String) = (row.get(4)?, row.get(5)?);
    let known = AuditAction::ALL.into_iter();
    let action = known.into_iter().find(|one| one.as_str() == action);
    let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(AuditEntry {
        id: row.get(0)?,
        at: WallMs(row.get(1)?),
        changed_by: row.get(2)?,
        changed_by_key: row.get(3)?,
        action: action.unwrap_or(AuditAction::Updated),
        kind: RecordKind::parse(&kind).ok_or(StoreError::UnknownKind(kind))?,
        object_id: row.get(6)?,
        before: json(row.get(7)?)?,
        after: json(row.get(8)?)?,
    })
}
