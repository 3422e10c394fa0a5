//! Reports, from the daily roll-ups only.

use std::collections::BTreeMap;

use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::params::{Values, clean, digest};
use super::work::Work;
use crate::store::columns::count;
use crate::store::sums::{END_USER, TAG};
use crate::store::{
    CellQuery, DaySpend, GroupBy, REPORT_ROWS_MAX, ReportQuery, SpendCell, SpendTotals, StoreError,
    TimeRange,
};

/// Columns that `totals_of` reads behind the group.
const SUMS: &str = "sum(spend)::bigint, sum(prompt)::bigint, sum(completion)::bigint, \
    sum(cache_read)::bigint, sum(cache_write)::bigint, sum(requests)::bigint, sum(failed)::bigint";

impl Postgres {
    pub(crate) async fn spend_by(
        &self,
        group: GroupBy,
        query: ReportQuery,
    ) -> Result<Vec<SpendTotals>, StoreError> {
        let work = self.report().await?;
        let totals = select_totals(&work, group, &query).await;
        work.finish(totals).await
    }

    pub(crate) async fn spend_cells(&self, query: CellQuery) -> Result<Vec<SpendCell>, StoreError> {
        let work = self.report().await?;
        let cells = select_cells(&work, &query).await;
        work.finish(cells).await
    }

    pub(crate) async fn spend_by_day(
        &self,
        query: ReportQuery,
    ) -> Result<Vec<DaySpend>, StoreError> {
        let work = self.report().await?;
        let days = select_days(&work, &query).await;
        work.finish(days).await
    }

    pub(crate) async fn global_spend(
        &self,
        range: Option<TimeRange>,
    ) -> Result<NanoUsd, StoreError> {
        let query = ReportQuery {
            range,
            ..ReportQuery::default()
        };
        let (clause, values) = conditions(&query, None);
        let sql = format!(
            "SELECT COALESCE(sum(spend), 0)::bigint FROM meridian.daily_spend WHERE {clause}"
        );
        let work = self.report().await?;
        let row = work.row(&sql, &values.params()).await;
        let row = work.finish(row).await?;
        Ok(row.map_or(NanoUsd::ZERO, |row| NanoUsd(row.get(0))))
    }
}

async fn select_totals(
    work: &Work,
    group: GroupBy,
    query: &ReportQuery,
) -> Result<Vec<SpendTotals>, StoreError> {
    let (column, kind) = place_of(group);
    let table = match kind {
        Some(_) => "daily_entity_spend",
        None => "daily_spend",
    };
    if kind.is_some() && (query.user_id.is_some() || query.team_id.is_some()) {
        return Err(StoreError::TooMuch);
    }
    let (clause, values) = conditions(query, kind);
    let order = match group {
        GroupBy::Day => "1",
        _ => "2 DESC, 1",
    };
    let limit = match query.limit {
        0 => REPORT_ROWS_MAX,
        limit => limit.min(REPORT_ROWS_MAX),
    };
    let sql = format!(
        "SELECT {column}, {SUMS} FROM meridian.{table} WHERE {clause} GROUP BY 1 \
         ORDER BY {order} LIMIT {limit}"
    );
    let rows = work.rows(&sql, &values.params()).await?;
    Ok(rows.iter().map(totals_of).collect())
}

fn place_of(group: GroupBy) -> (&'static str, Option<&'static str>) {
    match group {
        GroupBy::Day => ("day::text", None),
        GroupBy::Key => ("encode(api_key, 'hex')", None),
        GroupBy::User => ("user_id", None),
        GroupBy::Team => ("team_id", None),
        GroupBy::Organization => ("organization_id", None),
        GroupBy::ModelGroup => ("model_group", None),
        GroupBy::Model => ("model", None),
        GroupBy::Provider => ("provider", None),
        GroupBy::Deployment => ("deployment_id", None),
        GroupBy::Endpoint => ("endpoint", None),
        GroupBy::EndUser => ("entity", Some(END_USER)),
        GroupBy::Tag => ("entity", Some(TAG)),
    }
}

async fn select_cells(work: &Work, query: &CellQuery) -> Result<Vec<SpendCell>, StoreError> {
    let table = match query.entity()? {
        Some(_) => "daily_entity_spend",
        None => "daily_spend",
    };
    let columns: Vec<&str> = query.by.iter().map(|group| place_of(*group).0).collect();
    let (clause, values) = cell_conditions(query);
    let count = columns.len();
    let (columns, numbers) = (columns.join(", "), (1..=count).map(|at| at.to_string()));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    let limit = REPORT_ROWS_MAX + 1;
    let sql = format!(
        "SELECT {columns}, {SUMS} FROM meridian.{table} WHERE {clause} GROUP BY {numbers} \
         ORDER BY {numbers} LIMIT {limit}"
    );
    let rows = work.rows(&sql, &values.params()).await?;
    if rows.len() > REPORT_ROWS_MAX as usize {
        return Err(StoreError::TooMuch);
    }
    let cell = |row: &Row| SpendCell {
        groups: (0..count).map(|at| row.get(at)).collect(),
        totals: sums_of(row, count),
    };
    Ok(rows.iter().map(cell).collect())
}

/// Conditions of a question by cells and their values.
fn cell_conditions(query: &CellQuery) -> (String, Values) {
    let kind = query.columns().find_map(|group| place_of(group).1);
    let report = ReportQuery {
        range: query.range,
        ..ReportQuery::default()
    };
    let (mut clause, mut values) = conditions(&report, kind);
    for (lists, word) in [(&query.only, "IN"), (&query.without, "NOT IN")] {
        for (group, texts) in lists.iter().filter(|(_, texts)| !texts.is_empty()) {
            let place = |text: &String| values.add(clean(text).into_owned(), Type::TEXT);
            let places: Vec<String> = texts.iter().map(place).collect();
            let column = place_of(*group).0;
            clause.push_str(&format!(" AND {column} {word} ({})", places.join(", ")));
        }
    }
    (clause, values)
}

fn totals_of(row: &Row) -> SpendTotals {
    SpendTotals {
        group: row.get(0),
        ..sums_of(row, 1)
    }
}

/// The sums that stand in a row from column `at` on.
fn sums_of(row: &Row, at: usize) -> SpendTotals {
    SpendTotals {
        group: String::new(),
        spend: NanoUsd(row.get(at)),
        prompt: count(row.get(at + 1)),
        completion: count(row.get(at + 2)),
        cache_read: count(row.get(at + 3)),
        cache_write: count(row.get(at + 4)),
        requests: count(row.get(at + 5)),
        failed: count(row.get(at + 6)),
    }
}

async fn select_days(work: &Work, query: &ReportQuery) -> Result<Vec<DaySpend>, StoreError> {
    let mut days: BTreeMap<String, DaySpend> = BTreeMap::new();
    for (column, of_users) in [("user_id", true), ("model", false)] {
        let (clause, values) = conditions(query, None);
        let sql = format!(
            "SELECT day::text, {column}, sum(spend)::bigint FROM meridian.daily_spend \
             WHERE {clause} GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2 LIMIT {REPORT_ROWS_MAX}"
        );
        let rows = work.rows(&sql, &values.params()).await?;
        if rows.len() == REPORT_ROWS_MAX as usize {
            return Err(StoreError::TooMuch);
        }
        for row in rows {
            let (name, spend) = (row.get(1), NanoUsd(row.get(2)));
            let entry = days.entry(row.get(0)).or_default();
            if of_users {
                entry.users.push((name, spend));
            } else {
                entry.spend = entry.spend.saturating_add(spend);
                entry.models.push((name, spend));
            }
        }
    }
    let named = |(day, spend)| DaySpend { day, ..spend };
    Ok(days.into_iter().map(named).collect())
}

/// Conditions on a roll-up table and their values.
fn conditions(query: &ReportQuery, kind: Option<&'static str>) -> (String, Values) {
    let ReportQuery {
        range,
        api_key,
        user_id,
        team_id,
        limit: _,
    } = query;
    let last = |range: &TimeRange| WallMs(range.to.0.saturating_sub(1)).day();
    let filters = [
        ("kind = ?", kind.map(str::to_owned)),
        (
            "day >= ?::date",
            range.as_ref().map(|range| range.from.day()),
        ),
        ("day <= ?::date", range.as_ref().map(last)),
        ("user_id = ?", user_id.clone()),
        ("team_id = ?", team_id.clone()),
    ];
    let mut clause = String::from("true");
    let mut values = Values::default();
    for (condition, value) in filters {
        if let Some(value) = value {
            let place = values.add(clean(&value).into_owned(), Type::TEXT);
            clause.push_str(" AND ");
            clause.push_str(&condition.replace('?', &place));
        }
    }
    if let Some(key) = api_key {
        let place = values.add(digest(Some(*key)), Type::BYTEA);
        clause.push_str(&format!(" AND api_key = {place}"));
    }
    (clause, values)
}
