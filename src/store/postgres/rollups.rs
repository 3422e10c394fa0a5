//! Roll-ups per day: one statement for each table, rows in the order of their keys.

use std::collections::BTreeMap;

use meridian_core::time::WallMs;
use sha2::{Digest, Sha256};
use tokio_postgres::types::{ToSql, Type};

use super::params::{clean, digest};
use super::work::{Param, Work};
use crate::store::StoreError;
use crate::store::sums::{DAY_MS, DailyKey, EntityKey, Measures};

/// Columns of the sums, and how they grow.
const MEASURES: &str = "spend, prompt, completion, cache_read, cache_write, requests, failed";
const GROW: &str = "spend = t.spend + excluded.spend, prompt = t.prompt + excluded.prompt, \
    completion = t.completion + excluded.completion, cache_read = t.cache_read + \
    excluded.cache_read, cache_write = t.cache_write + excluded.cache_write, requests = \
    t.requests + excluded.requests, failed = t.failed + excluded.failed";

/// Rows of a roll-up before they are put in order.
struct Cell {
    day: String,
    cell: String,
    measures: Measures,
    api_key: Vec<u8>,
    texts: Vec<String>,
}

/// Adds sums of requests that are in no roll-up yet.
pub(super) async fn add_daily(
    work: &Work,
    sums: &BTreeMap<DailyKey<'_>, Measures>,
) -> Result<(), StoreError> {
    let cells = sums.iter().map(|(key, measures)| {
        let texts = key.payer.iter().chain(&key.model).copied();
        let texts = texts.chain([key.endpoint, key.region]);
        Cell::new(key.day, *measures, digest(key.api_key), texts)
    });
    let texts = "user_id, team_id, organization_id, model_group, model, provider, deployment_id, \
        endpoint, region";
    add(work, "daily_spend", texts, cells.collect()).await
}

/// The same for tags and end users.
pub(super) async fn add_entities(
    work: &Work,
    sums: &BTreeMap<EntityKey<'_>, Measures>,
) -> Result<(), StoreError> {
    let cells = sums.iter().map(|(key, measures)| {
        let texts = [key.kind, key.entity].into_iter();
        let texts = texts.chain(key.model).chain([key.endpoint, key.region]);
        Cell::new(key.day, *measures, digest(key.api_key), texts)
    });
    let texts = "kind, entity, model_group, model, provider, endpoint, region";
    add(work, "daily_entity_spend", texts, cells.collect()).await
}

impl Cell {
    fn new<'a>(
        day: i64,
        measures: Measures,
        api_key: Vec<u8>,
        texts: impl Iterator<Item = &'a str>,
    ) -> Self {
        let texts: Vec<String> = texts.map(|text| clean(text).into_owned()).collect();
        let mut hash = Sha256::new();
        hash.update(&api_key);
        for text in &texts {
            // With its length, so that no two lists of texts look alike.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let cell: String = hash.finalize()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            day: WallMs(day.saturating_mul(DAY_MS)).day(),
            cell,
            measures,
            api_key,
            texts,
        }
    }

    fn numbers(&self) -> [i64; 7] {
        let sums = &self.measures;
        [
            sums.spend,
            sums.prompt,
            sums.completion,
            sums.cache_read,
            sums.cache_write,
            sums.requests,
            sums.failed,
        ]
    }
}

async fn add(
    work: &Work,
    table: &str,
    texts: &str,
    mut cells: Vec<Cell>,
) -> Result<(), StoreError> {
    if cells.is_empty() {
        return Ok(());
    }
    cells.sort_unstable_by(|one, two| (&one.day, &one.cell).cmp(&(&two.day, &two.cell)));
    let text_count = texts.split(", ").count();
    let places: Vec<String> = (1..=10 + text_count).map(|at| format!("${at}")).collect();
    let sql = format!(
        "INSERT INTO meridian.{table} AS t (day, cell, {MEASURES}, api_key, {texts}) \
         SELECT day::date, cell::uuid, {MEASURES}, api_key, {texts} FROM unnest({}) \
         AS batch (day, cell, {MEASURES}, api_key, {texts}) \
         ON CONFLICT (day, cell) DO UPDATE SET {GROW}",
        places.join(", ")
    );
    let days: Vec<&str> = cells.iter().map(|cell| cell.day.as_str()).collect();
    let ids: Vec<&str> = cells.iter().map(|cell| cell.cell.as_str()).collect();
    let keys: Vec<&[u8]> = cells.iter().map(|cell| cell.api_key.as_slice()).collect();
    let rows: Vec<[i64; 7]> = cells.iter().map(Cell::numbers).collect();
    let number = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<i64>>();
    let numbers: Vec<Vec<i64>> = (0..7).map(number).collect();
    let text = |at: usize| cells.iter().map(|cell| cell.texts[at].as_str()).collect();
    let columns: Vec<Vec<&str>> = (0..text_count).map(text).collect();
    let mut params: Vec<Param<'_>> = vec![(&days, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
    let of = |column| (column as &(dyn ToSql + Sync), Type::INT8_ARRAY);
    params.extend(numbers.iter().map(of));
    params.push((&keys, Type::BYTEA_ARRAY));
    params.extend(
        columns
            .iter()
            .map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)),
    );
    work.change(&sql, &params).await?;
    Ok(())
}
