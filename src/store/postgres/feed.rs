//! Which records changed, in the order in which that became visible.
//!
//! A cursor holds what its reader could see (`pg_snapshot`), so that a transaction which commits
//! late is shown late, and never skipped. A server that was started again may have lost
//! transactions whose numbers it gives once more: then a reader begins anew.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::Postgres;
use super::records::{COLUMNS, record_of};
use super::work::{Access, Param, Work};
use crate::store::{Changes, FeedCursor, StoreError};

/// Most records of one step.
const STEP_RECORDS_MAX: u32 = 10_000;

/// What a cursor says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// When the server was started, as it says it.
    server: String,
    /// All that is visible in it has been shown.
    seen: String,
    /// A walk in steps that is not at its end.
    walk: Option<Walk>,
}

/// What is not visible in `seen` is shown in the order of transaction, kind and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Walk {
    /// Becomes `seen` at the end.
    until: String,
    /// The last record that was shown.
    last: (String, String, String),
}

impl Postgres {
    pub(crate) async fn changes_after(
        &self,
        cursor: FeedCursor,
        limit: u32,
    ) -> Result<Changes, StoreError> {
        let work = self.work(Access::Walk).await?;
        let changes = select_changes(&work, &cursor, limit.clamp(1, STEP_RECORDS_MAX)).await;
        work.finish(changes).await
    }
}

async fn select_changes(
    work: &Work,
    cursor: &FeedCursor,
    limit: u32,
) -> Result<Changes, StoreError> {
    let sql = "SELECT pg_postmaster_start_time()::text, pg_current_snapshot()::text";
    let row = work.row(sql, &[]).await?.ok_or(StoreError::Busy)?;
    let (server, now): (String, String) = (row.get(0), row.get(1));
    let place: Place = serde_json::from_str(&cursor.0).unwrap_or_default();
    let place = match place.server == server {
        true => place,
        false => Place {
            server,
            ..Place::default()
        },
    };
    let until = place.walk.as_ref().map_or(&now, |walk| &walk.until).clone();
    let rows = select_step(work, &place, limit).await?;
    let mut records = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in &rows {
        let record = record_of(row)?;
        last = Some((
            row.get(9),
            record.kind.as_str().to_owned(),
            record.id.clone(),
        ));
        records.push(record);
    }
    let full = rows.len() == limit as usize;
    let next = match last.filter(|_| full) {
        Some(last) => Place {
            walk: Some(Walk { until, last }),
            ..place
        },
        None => Place {
            seen: until,
            walk: None,
            ..place
        },
    };
    Ok(Changes {
        records,
        next: FeedCursor(serde_json::to_string(&next)?),
        caught_up: !full,
    })
}

async fn select_step(
    work: &Work,
    place: &Place,
    limit: u32,
) -> Result<Vec<tokio_postgres::Row>, StoreError> {
    let first = (String::from("0"), String::new(), String::new());
    let last = place.walk.as_ref().map_or(&first, |walk| &walk.last);
    // Nothing was seen before the first transaction.
    let seen = if place.seen.is_empty() {
        "1:1:"
    } else {
        &place.seen
    };
    let sql = format!(
        "SELECT {COLUMNS}, r.changed_in::text FROM meridian.record r \
         WHERE r.changed_in >= pg_snapshot_xmin($1::text::pg_snapshot) \
         AND NOT pg_visible_in_snapshot(r.changed_in, $1::text::pg_snapshot) \
         AND (r.changed_in, r.kind, r.id) > ($2::text::xid8, $3, $4) \
         ORDER BY r.changed_in, r.kind, r.id LIMIT $5"
    );
    let limit = i64::from(limit);
    let params: [Param<'_>; 5] = [
        (&seen, Type::TEXT),
        (&last.0, Type::TEXT),
        (&last.1, Type::TEXT),
        (&last.2, Type::TEXT),
        (&limit, Type::INT8),
    ];
    work.rows(&sql, &params).await
}
