//! Pages of the spend log and look-up by response id.

use std::time::SystemTime;

use meridian_core::endpoint::Endpoint;
use meridian_core::ids::CallId;
use meridian_core::money::NanoUsd;
use meridian_core::spend::{Payer, RequestContext, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::usage::Usage;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{Values, clean, digest, digest_of, moment, wall};
use super::work::Work;
use crate::store::columns::{count, of_text, texts_of};
use crate::store::{
    SKIP_ROWS_MAX, SpendCursor, SpendPage, SpendPageAt, SpendQuery, SpendSort, StoreError,
};

/// A call id is made within this time of the start of its request, in milliseconds.
const ID_SKEW_MS: i64 = 60_000;

impl Postgres {
    pub(crate) async fn spend_logs(&self, query: SpendQuery) -> Result<SpendPage, StoreError> {
        let work = self.report().await?;
        let page = select_page(&work, &query).await;
        work.finish(page).await
    }
}

/// Conditions of a query and their values.
pub(super) struct Filter {
    pub(super) clause: String,
    pub(super) values: Values,
}

impl Filter {
    /// Adds a condition; `?` in it stands for the value.
    pub(super) fn text(&mut self, condition: &str, value: &Option<String>) {
        let Some(value) = value else { return };
        let place = self.values.add(clean(value).into_owned(), Type::TEXT);
        self.and(condition, &place);
    }

    fn number(&mut self, condition: &str, value: Option<i64>) {
        let Some(value) = value else { return };
        let place = self.values.add(value, Type::INT8);
        self.and(condition, &place);
    }

    fn time(&mut self, condition: &str, at: Option<WallMs>) {
        let Some(at) = at else { return };
        let place = self.values.add(moment(at), Type::TIMESTAMPTZ);
        self.and(condition, &place);
    }

    fn and(&mut self, condition: &str, place: &str) {
        self.clause.push_str(" AND ");
        self.clause.push_str(&condition.replace('?', place));
    }

    pub(super) fn of_query(query: &SpendQuery) -> Self {
        let mut filter = Self {
            clause: String::from("true"),
            values: Values::default(),
        };
        if let Some(key) = query.api_key {
            let place = filter.values.add(digest(Some(key)), Type::BYTEA);
            filter.and("api_key = ?", &place);
        }
        filter.text("key_alias = ?", &query.key_alias);
        filter.text("user_id = ?", &query.user_id);
        filter.text("team_id = ?", &query.team_id);
        filter.text("organization_id = ?", &query.organization_id);
        filter.text("end_user = ?", &query.end_user);
        filter.text("session_id = ?", &query.session_id);
        filter.text("(model_group = ? OR model = ?)", &query.model);
        filter.text("deployment_id = ?", &query.deployment_id);
        if let Some(failed) = query.failed {
            filter.and("failed = ?", &failed.to_string());
        }
        filter.number("status = ?", query.status.map(i64::from));
        filter.number("cost >= ?", query.spend_min.map(|cost| cost.0));
        filter.number("cost <= ?", query.spend_max.map(|cost| cost.0));
        filter.time("started >= ?", query.range.map(|range| range.from));
        filter.time("started < ?", query.range.map(|range| range.to));
        filter
    }

    /// The request with this id. `near` looks only where an id of ours tells that it lies.
    fn request(&mut self, id: &str, near: bool) {
        let Some(call_id) = CallId::parse(id) else {
            self.text("response_id = ?", &Some(id.to_owned()));
            return;
        };
        self.text("call_id = ?::uuid", &Some(call_id.to_string()));
        if near {
            let bits = u128::from_be_bytes(call_id.to_bytes());
            let at = WallMs(i64::try_from(bits >> 80).unwrap_or(i64::MAX));
            self.time("started >= ?", Some(at.plus_ms(-ID_SKEW_MS)));
            self.time("started < ?", Some(at.plus_ms(ID_SKEW_MS)));
        }
    }
}

async fn select_page(work: &Work, query: &SpendQuery) -> Result<SpendPage, StoreError> {
    let Some(id) = &query.request_id else {
        return select_filtered(work, query, Filter::of_query(query)).await;
    };
    for near in [true, false] {
        let mut filter = Filter::of_query(query);
        filter.request(id, near);
        let page = select_filtered(work, query, filter).await?;
        if !page.rows.is_empty() || !near {
            return Ok(page);
        }
    }
    Ok(SpendPage::default())
}

async fn select_filtered(
    work: &Work,
    query: &SpendQuery,
    mut filter: Filter,
) -> Result<SpendPage, StoreError> {
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
                "SELECT count(*) FROM (SELECT 1 FROM meridian.spend_log WHERE {} \
                 LIMIT {SKIP_ROWS_MAX}) AS found",
                filter.clause
            );
            let row = work.row(&sql, &filter.values.params()).await?;
            total = Some(row.map_or(0, |row| count(row.get(0))));
        }
        SpendPageAt::After(_) if query.sort_by != SpendSort::Started => {
            return Err(StoreError::TooMuch);
        }
        SpendPageAt::After(SpendCursor { started, id }) => {
            let call_id = CallId::from_bytes(id.to_be_bytes()).to_string();
            let place = filter.values.add(call_id, Type::TEXT);
            let condition = format!("(started, call_id) {behind} (?, {place}::text::uuid)");
            filter.time(&condition, Some(started));
        }
    }
    let order = match query.sort_by {
        SpendSort::Started => "started",
        SpendSort::Ended => "ended",
        SpendSort::Spend => "cost",
        SpendSort::TotalTokens => "prompt + completion",
    };
    let sql = format!(
        "SELECT {COLUMNS}{} FROM meridian.spend_log WHERE {} ORDER BY {order} {direction}, \
         call_id {direction} LIMIT {size} OFFSET {skip}",
        if query.with_texts { TEXTS } else { "" },
        filter.clause
    );
    let found = work.rows(&sql, &filter.values.params()).await?;
    let mut rows: Vec<SpendRecord> = found.iter().map(record_of).collect::<Result<_, _>>()?;
    if query.with_texts {
        for (record, row) in rows.iter_mut().zip(&found) {
            record.texts = texts_of(row.get("request"), row.get("response"))?;
        }
    }
    let more = query.sort_by == SpendSort::Started && rows.len() == size as usize;
    let next = rows.last().filter(|_| more).map(|last| SpendCursor {
        started: last.started,
        id: u128::from_be_bytes(last.call_id.to_bytes()),
    });
    Ok(SpendPage { rows, next, total })
}

/// What was asked and answered.
const TEXTS: &str = ", request::text AS request, response::text AS response";

/// Columns that `record_of` reads by name.
const COLUMNS: &str = "started, ended, first_byte, prompt, completion, cache_read, cache_write, \
    cost, uuid_send(call_id) AS call_id, status, attempts, stream, price_unknown, estimated, \
    api_key, response_id, endpoint, end_reason, key_alias, user_id, team_id, organization_id, \
    end_user, model_group, deployment_id, model, provider, api_base, region, usage::text AS usage, \
    context::text AS context, error";

fn record_of(row: &Row) -> Result<SpendRecord, StoreError> {
    let context: Option<&str> = row.get("context");
    let context = context.map(serde_json::from_str::<RequestContext>);
    let call_id: &[u8] = row.get("call_id");
    let region: String = row.get("region");
    Ok(SpendRecord {
        call_id: CallId::from_bytes(call_id.try_into().unwrap_or_default()),
        response_id: row.get("response_id"),
        endpoint: endpoint_of(row.get("endpoint"))?,
        stream: row.get("stream"),
        payer: Payer {
            key: row.get::<_, Option<&[u8]>>("api_key").and_then(digest_of),
            key_alias: row.get("key_alias"),
            user_id: row.get("user_id"),
            team_id: row.get("team_id"),
            organization_id: row.get("organization_id"),
            end_user: row.get("end_user"),
        },
        model_group: row.get("model_group"),
        deployment_id: row.get("deployment_id"),
        model: row.get("model"),
        provider: row.get("provider"),
        api_base: row.get("api_base"),
        region: Some(region).filter(|region| !region.is_empty()),
        started: wall(row.get::<_, SystemTime>("started")),
        ended: wall(row.get::<_, SystemTime>("ended")),
        first_byte: row.get::<_, Option<SystemTime>>("first_byte").map(wall),
        usage: usage_of(row)?,
        cost: NanoUsd(row.get("cost")),
        price_unknown: row.get("price_unknown"),
        estimated: row.get("estimated"),
        end_reason: of_text(row.get("end_reason"))?,
        status: u16::try_from(row.get::<_, i32>("status")).unwrap_or(u16::MAX),
        attempts: u32::try_from(row.get::<_, i32>("attempts")).unwrap_or(0),
        context: context.transpose()?.unwrap_or_default(),
        error: row.get("error"),
        texts: None,
    })
}

/// Columns hold LiteLLM's words, so that the views show them.
fn endpoint_of(label: &str) -> Result<Endpoint, StoreError> {
    Endpoint::of_label(label).ok_or_else(|| StoreError::UnknownKind(label.to_owned()))
}

fn usage_of(row: &Row) -> Result<Usage, StoreError> {
    if let Some(json) = row.get::<_, Option<&str>>("usage") {
        return Ok(serde_json::from_str(json)?);
    }
    Ok(Usage {
        prompt: count(row.get("prompt")),
        completion: count(row.get("completion")),
        cache_read: count(row.get("cache_read")),
        cache_write: count(row.get("cache_write")),
        ..Usage::default()
    })
}
