//! What a batch of new records adds to roll-ups and scopes, merged so that a row is written once.

use std::collections::BTreeMap;

use meridian_core::ids::KeyHash;
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use rusqlite::{Transaction, params};

use super::column;
use super::scopes::add_spend;
use crate::store::StoreError;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Kind of `daily_entity_spend` rows for tags.
pub(super) const TAG: &str = "tag";
/// Kind of `daily_entity_spend` rows for the callers' customers.
pub(super) const END_USER: &str = "end_user";

#[derive(Default)]
pub(super) struct Sums<'a> {
    daily: BTreeMap<DailyKey<'a>, Measures>,
    entities: BTreeMap<EntityKey<'a>, Measures>,
    scopes: BTreeMap<Scope, Vec<(WallMs, i64)>>,
}

/// Key of `daily_spend`, in the order of its index. Days are counted from 1970.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct DailyKey<'a> {
    day: i64,
    api_key: Option<KeyHash>,
    payer: [&'a str; 3],
    model: [&'a str; 4],
    endpoint: &'static str,
}

/// Key of `daily_entity_spend`, in the order of its index.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct EntityKey<'a> {
    kind: &'static str,
    day: i64,
    entity: &'a str,
    api_key: Option<KeyHash>,
    model: [&'a str; 3],
}

#[derive(Clone, Copy, Default)]
struct Measures {
    spend: i64,
    prompt: i64,
    completion: i64,
    cache_read: i64,
    cache_write: i64,
    requests: i64,
    failed: i64,
}

impl Measures {
    fn add(&mut self, other: Self) {
        self.spend = self.spend.saturating_add(other.spend);
        self.prompt += other.prompt;
        self.completion += other.completion;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.requests += other.requests;
        self.failed += other.failed;
    }
}

impl<'a> Sums<'a> {
    /// Takes a record that was not stored before.
    pub(super) fn add(&mut self, record: &'a SpendRecord, cost: i64, failed: bool) {
        let (payer, usage) = (&record.payer, &record.usage);
        let measures = Measures {
            spend: cost,
            prompt: column(usage.prompt),
            completion: column(usage.completion),
            cache_read: column(usage.cache_read),
            cache_write: column(usage.cache_write.saturating_add(usage.cache_write_1h)),
            requests: 1,
            failed: i64::from(failed),
        };
        let day = record.started.0.div_euclid(DAY_MS);
        let or_none = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let daily = DailyKey {
            day,
            api_key: payer.key,
            payer: [&payer.user_id, &payer.team_id, &payer.organization_id].map(or_none),
            model: [
                &record.model_group,
                &record.model,
                &record.provider,
                &record.deployment_id,
            ],
            endpoint: record.endpoint.label(),
        };
        self.daily.entry(daily).or_default().add(measures);
        let mut tags: Vec<&str> = record.context.tags.iter().map(String::as_str).collect();
        tags.sort_unstable();
        tags.dedup();
        let tags = tags.into_iter().map(|tag| (TAG, tag));
        let end_user = payer.end_user.as_deref().map(|user| (END_USER, user));
        for (kind, entity) in tags.chain(end_user) {
            let key = EntityKey {
                kind,
                day,
                entity,
                api_key: payer.key,
                model: [&record.model_group, &record.model, &record.provider],
            };
            self.entities.entry(key).or_default().add(measures);
        }
        for scope in Scope::of_record(record) {
            let costs = self.scopes.entry(scope).or_default();
            costs.push((record.started, cost));
        }
    }

    /// Adds everything to the tables.
    pub(super) fn write(self, work: &Transaction<'_>) -> Result<(), StoreError> {
        for (key, measures) in &self.daily {
            add_daily(work, key, measures)?;
        }
        for (key, measures) in &self.entities {
            add_entity(work, key, measures)?;
        }
        for (scope, costs) in &self.scopes {
            add_spend(work, scope, costs)?;
        }
        Ok(())
    }
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
