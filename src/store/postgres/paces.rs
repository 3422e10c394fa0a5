//! Speed and failures, from the log.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::logs::Filter;
use super::work::Work;
use crate::store::columns::count;
use crate::store::{Failures, Pace, PaceQuery, REPORT_ROWS_MAX, StoreError};

impl Postgres {
    pub(crate) async fn paces(&self, query: PaceQuery) -> Result<Vec<Pace>, StoreError> {
        let work = self.report().await?;
        let paces = select_paces(&work, &query).await;
        work.finish(paces).await
    }

    pub(crate) async fn failures(&self, query: PaceQuery) -> Result<Vec<Failures>, StoreError> {
        let work = self.report().await?;
        let failures = select_failures(&work, &query).await;
        work.finish(failures).await
    }
}

fn filter_of(query: &PaceQuery) -> Filter {
    let mut filter = Filter::of_query(&query.log());
    filter.text("model_group = ?", &query.model_group);
    filter.clause.push_str(" AND context->>'cache_hit' IS NULL");
    filter
}

async fn select_paces(work: &Work, query: &PaceQuery) -> Result<Vec<Pace>, StoreError> {
    let mut filter = filter_of(query);
    let slow = filter.values.add(query.slow_ms(), Type::INT8);
    let sql = format!(
        "SELECT (started AT TIME ZONE 'UTC')::date::text, api_base, model, count(*), \
         count(*) FILTER (WHERE extract(epoch FROM ended - started) * 1000 >= {slow}), \
         avg(extract(epoch FROM ended - started)::float8 / nullif(completion, 0)), \
         avg(extract(epoch FROM first_byte - started)::float8) FILTER (WHERE first_byte <> ended) \
         FROM meridian.spend_log WHERE {} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 \
         LIMIT {REPORT_ROWS_MAX}",
        filter.clause
    );
    let rows = work.rows(&sql, &filter.values.params()).await?;
    let pace = |row: &Row| Pace {
        day: row.get(0),
        api_base: row.get(1),
        model: row.get(2),
        requests: count(row.get(3)),
        slow: count(row.get(4)),
        per_token_s: row.get(5),
        first_token_s: row.get(6),
    };
    Ok(rows.iter().map(pace).collect())
}

async fn select_failures(work: &Work, query: &PaceQuery) -> Result<Vec<Failures>, StoreError> {
    let filter = filter_of(query);
    let sql = format!(
        "SELECT model, api_base, status, count(*) FROM meridian.spend_log WHERE {} AND failed \
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT {REPORT_ROWS_MAX}",
        filter.clause
    );
    let rows = work.rows(&sql, &filter.values.params()).await?;
    let failures = |row: &Row| Failures {
        model: row.get(0),
        api_base: row.get(1),
        status: u16::try_from(row.get::<_, i32>(2)).unwrap_or(u16::MAX),
        requests: count(row.get(3)),
    };
    Ok(rows.iter().map(failures).collect())
}
