//! Roll-ups and scopes: what a batch adds is written to the tables.

use meridian_core::ids::KeyHash;
use meridian_core::time::WallMs;
use rusqlite::{Transaction, params};

use super::scopes::add_spend;
use crate::store::StoreError;
use crate::store::sums::{DAY_MS, DailyKey, EntityKey, Measures, Sums};

/// Adds everything to the tables.
pub(super) fn write(sums: &Sums<'_>, work: &Transaction<'_>) -> Result<(), StoreError> {
    for (key, measures) in &sums.daily {
        add_daily(work, key, measures)?;
    }
    for (key, measures) in &sums.entities {
        add_entity(work, key, measures)?;
    }
    for (scope, costs) in &sums.scopes {
        add_spend(work, scope, costs)?;
    }
    Ok(())
}

fn day_text(day: i64) -> String {
    WallMs(day.saturating_mul(DAY_MS)).day()
}

fn key_text(key: Option<KeyHash>) -> String {
    key.map(|key| key.to_string()).unwrap_or_default()
}

fn add_daily(
    work: &Transaction<'_>,
    key: &DailyKey<'_>,
    measures: &Measures,
) -> Result<(), StoreError> {
    let [user_id, team_id, organization_id] = key.payer;
    let [model_group, model, provider, deployment_id] = key.model;
    work.prepare_cached(
        "INSERT INTO daily_spend (day, api_key, user_id, team_id, organization_id, model_group,
             model, provider, deployment_id, endpoint, spend, prompt, completion, cache_read,
             cache_write, requests, failed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
         ON CONFLICT DO UPDATE SET spend = spend + ?11, prompt = prompt + ?12,
             completion = completion + ?13, cache_read = cache_read + ?14,
             cache_write = cache_write + ?15, requests = requests + ?16, failed = failed + ?17",
    )?
    .execute(params![
        day_text(key.day),
        key_text(key.api_key),
        user_id,
        team_id,
        organization_id,
        model_group,
        model,
        provider,
        deployment_id,
        key.endpoint,
        measures.spend,
        measures.prompt,
        measures.completion,
        measures.cache_read,
        measures.cache_write,
        measures.requests,
        measures.failed,
    ])?;
    Ok(())
}

fn add_entity(
    work: &Transaction<'_>,
    key: &EntityKey<'_>,
    measures: &Measures,
) -> Result<(), StoreError> {
    let [model_group, model, provider] = key.model;
    work.prepare_cached(
        "INSERT INTO daily_entity_spend (kind, day, entity, api_key, model_group, model, provider,
             spend, prompt, completion, cache_read, cache_write, requests, failed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT DO UPDATE SET spend = spend + ?8, prompt = prompt + ?9,
             completion = completion + ?10, cache_read = cache_read + ?11,
             cache_write = cache_write + ?12, requests = requests + ?13, failed = failed + ?14",
    )?
    .execute(params![
        key.kind,
        day_text(key.day),
        key.entity,
        key_text(key.api_key),
        model_group,
        model,
        provider,
        measures.spend,
        measures.prompt,
        measures.completion,
        measures.cache_read,
        measures.cache_write,
        measures.requests,
        measures.failed,
    ])?;
    Ok(())
}
