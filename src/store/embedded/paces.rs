//! Speed and failures, from the log.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::logs::Filter;
use super::{Embedded, count};
use crate::store::{Failures, Pace, PaceQuery, REPORT_ROWS_MAX, StoreError};

impl Embedded {
    pub(crate) async fn paces(&self, query: PaceQuery) -> Result<Vec<Pace>, StoreError> {
        self.read(move |db| select_paces(db, &query)).await
    }

    pub(crate) async fn failures(&self, query: PaceQuery) -> Result<Vec<Failures>, StoreError> {
        self.read(move |db| select_failures(db, &query)).await
    }
}

fn filter_of(query: &PaceQuery) -> Filter {
    let mut filter = Filter::of_query(&query.log());
    filter.add("model_group = ?", query.model_group.clone());
    filter
        .clause
        .push_str(" AND json_extract(context, '$.cache_hit') IS NULL");
    filter
}

fn select_paces(db: &Connection, query: &PaceQuery) -> Result<Vec<Pace>, StoreError> {
    let mut filter = filter_of(query);
    filter.values.push(Value::from(query.slow_ms()));
    let slow = filter.values.len();
    let mut select = db.prepare_cached(&format!(
        "SELECT date(started / 1000, 'unixepoch'), api_base, model, COUNT(*),
             SUM(ended - started >= ?{slow}),
             AVG((ended - started) / 1000.0 / NULLIF(completion, 0)),
             AVG(CASE WHEN first_byte <> ended THEN (first_byte - started) / 1000.0 END)
         FROM spend_log WHERE {} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT {REPORT_ROWS_MAX}",
        filter.clause
    ))?;
    let rows = select.query_map(params_from_iter(&filter.values), |row| {
        Ok(Pace {
            day: row.get(0)?,
            api_base: row.get(1)?,
            model: row.get(2)?,
            requests: count(row.get(3)?),
            slow: count(row.get(4)?),
            per_token_s: row.get(5)?,
            first_token_s: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn select_failures(db: &Connection, query: &PaceQuery) -> Result<Vec<Failures>, StoreError> {
    let filter = filter_of(query);
    let mut select = db.prepare_cached(&format!(
        "SELECT model, api_base, status, COUNT(*) FROM spend_log WHERE {} AND failed
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT {REPORT_ROWS_MAX}",
        filter.clause
    ))?;
    let rows = select.query_map(params_from_iter(&filter.values), |row| {
        Ok(Failures {
            model: row.get(0)?,
            api_base: row.get(1)?,
            status: row.get(2)?,
            requests: count(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
