//! Reports, from the daily roll-ups only.

use std::collections::BTreeMap;

use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::{Embedded, count};
use crate::store::sums::{END_USER, TAG};
use crate::store::{
    CellQuery, DaySpend, GroupBy, REPORT_ROWS_MAX, ReportQuery, SpendCell, SpendTotals, StoreError,
    TimeRange,
};

/// Columns that `totals_of` reads behind the group.
const SUMS: &str = "SUM(spend), SUM(prompt), SUM(completion), SUM(cache_read), SUM(cache_write), \
    SUM(requests), SUM(failed)";

impl Embedded {
    pub(crate) async fn spend_by(
        &self,
        group: GroupBy,
        query: ReportQuery,
    ) -> Result<Vec<SpendTotals>, StoreError> {
        self.read(move |db| select_totals(db, group, &query)).await
    }

    pub(crate) async fn spend_cells(&self, query: CellQuery) -> Result<Vec<SpendCell>, StoreError> {
        self.read(move |db| select_cells(db, &query)).await
    }

    pub(crate) async fn spend_by_day(
        &self,
        query: ReportQuery,
    ) -> Result<Vec<DaySpend>, StoreError> {
        self.read(move |db| select_days(db, &query)).await
    }

    pub(crate) async fn global_spend(
        &self,
        range: Option<TimeRange>,
    ) -> Result<NanoUsd, StoreError> {
        self.read(move |db| {
            let query = ReportQuery {
                range,
                ..ReportQuery::default()
            };
            let (clause, values) = conditions(&query, None);
            let sql = format!("SELECT COALESCE(SUM(spend), 0) FROM daily_spend WHERE {clause}");
            let spend = db.query_row(&sql, params_from_iter(values), |row| row.get(0))?;
            Ok(NanoUsd(spend))
        })
        .await
    }
}

fn select_totals(
    db: &Connection,
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
    let limit = limit_of(query);
    let mut select = db.prepare_cached(&format!(
        "SELECT {column}, {SUMS} FROM {table} WHERE {clause} GROUP BY 1 ORDER BY {order} \
         LIMIT {limit}"
    ))?;
    let totals = select.query_map(params_from_iter(values), totals_of)?;
    Ok(totals.collect::<Result<_, _>>()?)
}

fn select_cells(db: &Connection, query: &CellQuery) -> Result<Vec<SpendCell>, StoreError> {
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
    let mut select = db.prepare_cached(&format!(
        "SELECT {columns}, {SUMS} FROM {table} WHERE {clause} GROUP BY {numbers} \
         ORDER BY {numbers} LIMIT {limit}"
    ))?;
    let cell = |row: &Row<'_>| {
        let groups = (0..count).map(|at| row.get(at));
        Ok(SpendCell {
            groups: groups.collect::<Result<_, _>>()?,
            totals: sums_of(row, count)?,
        })
    };
    let cells = select.query_map(params_from_iter(values), cell)?;
    let cells: Vec<SpendCell> = cells.collect::<Result<_, _>>()?;
    match cells.len() > REPORT_ROWS_MAX as usize {
        true => Err(StoreError::TooMuch),
        false => Ok(cells),
    }
}

/// Conditions of a question by cells and their values.
fn cell_conditions(query: &CellQuery) -> (String, Vec<Value>) {
    let kind = query.columns().find_map(|group| place_of(group).1);
    let report = ReportQuery {
        range: query.range,
        ..ReportQuery::default()
    };
    let (mut clause, mut values) = conditions(&report, kind);
    for (lists, word) in [(&query.only, "IN"), (&query.without, "NOT IN")] {
        for (group, texts) in lists.iter().filter(|(_, texts)| !texts.is_empty()) {
            let marks: Vec<String> = texts
                .iter()
                .map(|text| {
                    values.push(Value::from(text.clone()));
                    format!("?{}", values.len())
                })
                .collect();
            let column = place_of(*group).0;
            clause.push_str(&format!(" AND {column} {word} ({})", marks.join(", ")));
        }
    }
    (clause, values)
}

fn place_of(group: GroupBy) -> (&'static str, Option<&'static str>) {
    match group {
        GroupBy::Day => ("day", None),
        GroupBy::Key => ("api_key", None),
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

fn totals_of(row: &Row<'_>) -> rusqlite::Result<SpendTotals> {
    Ok(SpendTotals {
        group: row.get(0)?,
        ..sums_of(row, 1)?
    })
}

/// The sums that stand in a row from column `at` on.
fn sums_of(row: &Row<'_>, at: usize) -> rusqlite::Result<SpendTotals> {
    Ok(SpendTotals {
        group: String::new(),
        spend: NanoUsd(row.get(at)?),
        prompt: count(row.get(at + 1)?),
        completion: count(row.get(at + 2)?),
        cache_read: count(row.get(at + 3)?),
        cache_write: count(row.get(at + 4)?),
        requests: count(row.get(at + 5)?),
        failed: count(row.get(at + 6)?),
    })
}

fn select_days(db: &Connection, query: &ReportQuery) -> Result<Vec<DaySpend>, StoreError> {
    let mut days: BTreeMap<String, DaySpend> = BTreeMap::new();
    for (column, of_users) in [("user_id", true), ("model", false)] {
        let (clause, values) = conditions(query, None);
        let mut select = db.prepare_cached(&format!(
            "SELECT day, {column}, SUM(spend) FROM daily_spend WHERE {clause} GROUP BY 1, 2 \
             ORDER BY 1, 3 DESC, 2 LIMIT {REPORT_ROWS_MAX}"
        ))?;
        let mut rows = select.query(params_from_iter(values))?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            if read == REPORT_ROWS_MAX {
                return Err(StoreError::TooMuch);
            }
            let (day, name, spend): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let spend = NanoUsd(spend);
            let entry = days.entry(day).or_default();
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

fn limit_of(query: &ReportQuery) -> u32 {
    match query.limit {
        0 => REPORT_ROWS_MAX,
        limit => limit.min(REPORT_ROWS_MAX),
    }
}

/// Conditions on a roll-up table and their values.
fn conditions(query: &ReportQuery, kind: Option<&str>) -> (String, Vec<Value>) {
    let ReportQuery {
        range,
        api_key,
        user_id,
        team_id,
        limit: _,
    } = query;
    let last = |range: &TimeRange| WallMs(range.to.0.saturating_sub(1)).day();
    let filters = [
        ("kind =", kind.map(str::to_owned)),
        ("day >=", range.as_ref().map(|range| range.from.day())),
        ("day <=", range.as_ref().map(last)),
        ("api_key =", api_key.map(|key| key.to_string())),
        ("user_id =", user_id.clone()),
        ("team_id =", team_id.clone()),
    ];
    let mut clause = String::from("1");
    let mut values = Vec::new();
    for (condition, value) in filters {
        if let Some(value) = value {
            values.push(Value::from(value));
            clause.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    }
    (clause, values)
}
