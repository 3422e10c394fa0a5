//! Pages of the spend log, retention.

use meridian_core::ids::CallId;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};

use super::{Embedded, count, hash_of};
use crate::store::columns::{of_text, texts_of};
use crate::store::{
    SKIP_ROWS_MAX, SpendCursor, SpendPage, SpendPageAt, SpendQuery, SpendSort, StoreError,
};

/// Rows deleted in one transaction.
const DROP_BATCH: usize = 5_000;
/// Pages given back to the file system after each of them.
const VACUUM_PAGES: u32 = 2_000;

impl Embedded {
    pub(crate) async fn spend_logs(&self, query: SpendQuery) -> Result<SpendPage, StoreError> {
        self.read(move |db| select_page(db, &query)).await
    }

    pub(crate) async fn drop_logs_before(&self, before: WallMs) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let batch = self
                .write(move |db| {
                    let count = db.execute(
                        "DELETE FROM spend_log WHERE id IN (SELECT id FROM spend_log
                             WHERE started < ?1 ORDER BY started, id LIMIT ?2)",
                        params![before.0, DROP_BATCH as i64],
                    )?;
                    // A transaction of its own; steps through the pages it frees.
                    let mut vacuum =
                        db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
                    let mut rows = vacuum.query([])?;
                    while rows.next()?.is_some() {}
                    Ok(count)
                })
                .await?;
            dropped += batch as u64;
            if batch < DROP_BATCH {
                return Ok(dropped);
            }
        }
    }
}

/// Conditions of a query and their values.
pub(super) struct Filter {
    pub(super) clause: String,
    pub(super) values: Vec<Value>,
}

impl Filter {
    /// Adds a condition; `?` in it stands for the value.
    pub(super) fn add(&mut self, condition: &str, value: Option<impl Into<Value>>) {
        let Some(value) = value else { return };
        self.values.push(value.into());
        let place = format!("?{}", self.values.len());
        self.clause.push_str(" AND ");
        self.clause.push_str(&condition.replace('?', &place));
    }

    pub(super) fn of_query(query: &SpendQuery) -> Self {
        let SpendQuery {
            api_key,
            key_alias,
            user_id,
            team_id,
            organization_id,
            end_user,
            request_id,
            session_id,
            model,
            deployment_id,
            failed,
            status,
            spend_min,
            spend_max,
            range,
            with_texts: _,
            sort_by: _,
            ascending: _,
            size: _,
            page: _,
        } = query;
        let mut filter = Self {
            clause: String::from("1"),
            values: Vec::new(),
        };
        filter.add("api_key = ?", api_key.map(|key| key.to_string()));
        filter.add("key_alias = ?", key_alias.clone());
        filter.add("user_id = ?", user_id.clone());
        filter.add("team_id = ?", team_id.clone());
        filter.add("organization_id = ?", organization_id.clone());
        filter.add("end_user = ?", end_user.clone());
        filter.add("session_id = ?", session_id.clone());
        filter.add("(model_group = ? OR model = ?)", model.clone());
        filter.add("deployment_id = ?", deployment_id.clone());
        filter.add("failed = ?", failed.map(i64::from));
        filter.add("status = ?", status.map(i64::from));
        filter.add("cost >= ?", spend_min.map(|cost| cost.0));
        filter.add("cost <= ?", spend_max.map(|cost| cost.0));
        filter.add("started >= ?", range.map(|range| range.from.0));
        filter.add("started < ?", range.map(|range| range.to.0));
        if let Some(id) = request_id {
            match CallId::parse(id) {
                Some(call_id) => filter.add("call_id = ?", Some(call_id.to_bytes().to_vec())),
                None => filter.add("response_id = ?", Some(id.clone())),
            }
        }
        filter
    }
}

fn select_page(db: &Connection, query: &SpendQuery) -> Result<SpendPage, StoreError> {
    let mut filter = Filter::of_query(query);
    let size = query.rows_max();
    let (direction, behind) = match query.ascending {
        true => ("ASC", ">"),
        false => ("DESC", "<"),
    };
    let (mut skip, mut total) = (0, None);
    match query.page {
        SpendPageAt::Number(number) => {
            skip = u64::from(number.saturating_sub(1)) * u64::from(size);
            if skip > SKIP_ROWS_MAX {
                return Err(StoreError::TooMuch);
            }
            let sql = format!(
                "SELECT COUNT(*) FROM (SELECT 1 FROM spend_log WHERE {} LIMIT {SKIP_ROWS_MAX})",
                filter.clause
            );
            let values = rusqlite::params_from_iter(&filter.values);
            total = Some(count(db.query_row(&sql, values, |row| row.get(0))?));
        }
        SpendPageAt::After(_) if query.sort_by != SpendSort::Started => {
            return Err(StoreError::TooMuch);
        }
        SpendPageAt::After(SpendCursor { started, id }) => {
            let condition = format!("(started, id) {behind} (?, {id})");
            filter.add(&condition, Some(started.0));
        }
    }
    let order = match query.sort_by {
        SpendSort::Started => "started",
        SpendSort::Ended => "ended",
        SpendSort::Spend => "cost",
        SpendSort::TotalTokens => "prompt + completion",
    };
    let mut select = db.prepare_cached(&format!(
        "SELECT {COLUMNS}{} FROM spend_log WHERE {} ORDER BY {order} {direction}, id {direction}
         LIMIT {size} OFFSET {skip}",
        if query.with_texts { TEXTS } else { "" },
        filter.clause
    ))?;
    let mut found = select.query(rusqlite::params_from_iter(&filter.values))?;
    let (mut rows, mut last) = (Vec::new(), None);
    while let Some(row) = found.next()? {
        let mut record = record_of(row)?;
        if query.with_texts {
            let text = |name| row.get::<_, Option<String>>(name);
            let (request, response) = (text("request")?, text("response")?);
            record.texts = texts_of(request.as_deref(), response.as_deref())?;
        }
        last = Some(SpendCursor {
            started: record.started,
            id: row.get::<_, i64>("id")?.unsigned_abs().into(),
        });
        rows.push(record);
    }
    let more = query.sort_by == SpendSort::Started && rows.len() == size as usize;
    let next = last.filter(|_| more);
    Ok(SpendPage { rows, next, total })
}

/// What was asked and answered.
const TEXTS: &str = ", request, response";

/// Columns that `record_of` reads by name.
const COLUMNS: &str = "id, call_id, response_id, started, ended, first_byte, endpoint, stream, \
    api_key, key_alias, user_id, team_id, organization_id, end_user, model_group, deployment_id, \
    model, provider, api_base, prompt, completion, cache_read, cache_write, usage, cost, \
    price_unknown, estimated, end_reason, status, attempts, context, error";

fn record_of(row: &Row<'_>) -> Result<SpendRecord, StoreError> {
    let api_key: Option<String> = row.get("api_key")?;
    let context: Option<String> = row.get("context")?;
    let context = context.map(|json| serde_json::from_str::<RequestContext>(&json));
    Ok(SpendRecord {
        call_id: CallId::from_bytes(row.get("call_id")?),
        response_id: row.get("response_id")?,
        endpoint: of_text(row.get("endpoint")?)?,
        stream: row.get("stream")?,
        payer: Payer {
            key: api_key.as_deref().and_then(hash_of),
            key_alias: row.get("key_alias")?,
            user_id: row.get("user_id")?,
            team_id: row.get("team_id")?,
            organization_id: row.get("organization_id")?,
            end_user: row.get("end_user")?,
        },
        model_group: row.get("model_group")?,
        deployment_id: row.get("deployment_id")?,
        model: row.get("model")?,
        provider: row.get("provider")?,
        api_base: row.get("api_base")?,
        region: None,
        started: WallMs(row.get("started")?),
        ended: WallMs(row.get("ended")?),
        first_byte: row.get::<_, Option<i64>>("first_byte")?.map(WallMs),
        usage: usage_of(row)?,
        cost: NanoUsd(row.get("cost")?),
        price_unknown: row.get("price_unknown")?,
        estimated: row.get("estimated")?,
        end_reason: of_text(row.get("end_reason")?)?,
        status: row.get("status")?,
        attempts: row.get("attempts")?,
        context: context.transpose()?.unwrap_or_default(),
        error: row.get("error")?,
        texts: None,
    })
}

fn usage_of(row: &Row<'_>) -> Result<Usage, StoreError> {
    if let Some(json) = row.get::<_, Option<String>>("usage")? {
        return Ok(serde_json::from_str(&json)?);
    }
    Ok(Usage {
        prompt: count(row.get("prompt")?),
        completion: count(row.get("completion")?),
        cache_read: count(row.get("cache_read")?),
        cache_write: count(row.get("cache_write")?),
        ..Usage::default()
    })
}
