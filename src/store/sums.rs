//! What a batch of new records adds to roll-ups and scopes, merged so that a row is written once.

use std::collections::BTreeMap;

use meridian_core::ids::KeyHash;
use meridian_core::litellm::{DayRow, DayTable};
use meridian_core::scope::Scope;
use meridian_core::spend::{EndReason, SpendRecord};
use meridian_core::time::WallMs;

use super::columns::column;

pub(super) const DAY_MS: i64 = 24 * 3600 * 1000;
/// More than a request can cost (nine million dollars): keeps sums inside 64 bits.
const COST_NANO_MAX: i64 = 9_000_000_000_000_000;

/// Kind of `daily_entity_spend` rows for tags.
pub(super) const TAG: &str = "tag";
/// Kind of `daily_entity_spend` rows for the callers' customers.
pub(super) const END_USER: &str = "end_user";

/// Everything that a batch adds, in the order in which every store writes it: two that write at
/// once never wait for each other in a circle.
#[derive(Default)]
pub(super) struct Sums<'a> {
    pub(super) daily: BTreeMap<DailyKey<'a>, Measures>,
    pub(super) entities: BTreeMap<EntityKey<'a>, Measures>,
    pub(super) scopes: BTreeMap<Scope, Vec<(WallMs, i64)>>,
}

/// What `daily_spend` counts by. Days are counted from 1970.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DailyKey<'a> {
    pub(super) day: i64,
    pub(super) api_key: Option<KeyHash>,
    /// User, team, organization.
    pub(super) payer: [&'a str; 3],
    /// Model group, model, provider, deployment.
    pub(super) model: [&'a str; 4],
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
}

/// What `daily_entity_spend` counts by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntityKey<'a> {
    pub(super) kind: &'static str,
    pub(super) day: i64,
    pub(super) entity: &'a str,
    pub(super) api_key: Option<KeyHash>,
    /// Model group, model, provider.
    pub(super) model: [&'a str; 3],
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
}

/// Sums of some requests.
#[derive(Clone, Copy, Default)]
pub(super) struct Measures {
    pub(super) spend: i64,
    pub(super) prompt: i64,
    pub(super) completion: i64,
    pub(super) cache_read: i64,
    pub(super) cache_write: i64,
    pub(super) requests: i64,
    pub(super) failed: i64,
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
    pub(super) fn add(&mut self, record: &'a SpendRecord) {
        let (payer, usage) = (&record.payer, &record.usage);
        let cost = cost_of(record);
        let measures = Measures {
            spend: cost,
            prompt: column(usage.prompt),
            completion: column(usage.completion),
            cache_read: column(usage.cache_read),
            cache_write: column(usage.cache_write.saturating_add(usage.cache_write_1h)),
            requests: 1,
            failed: i64::from(failed(record)),
        };
        let day = day_of(record.started);
        let or_none = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let (endpoint, region) = (record.endpoint.label(), or_none(&record.region));
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
            endpoint,
            region,
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
                endpoint,
                region,
            };
            self.entities.entry(key).or_default().add(measures);
        }
        for scope in Scope::of_record(record) {
            let costs = self.scopes.entry(scope).or_default();
            costs.push((record.started, cost));
        }
    }
}

impl<'a> Sums<'a> {
    /// Takes sums of a day that another system counted.
    pub(super) fn add_day(&mut self, row: &'a DayRow) {
        let measures = Measures {
            spend: row.spend.0.clamp(0, COST_NANO_MAX),
            prompt: column(row.prompt),
            completion: column(row.completion),
            cache_read: column(row.cache_read),
            cache_write: column(row.cache_write),
            requests: column(row.requests),
            failed: column(row.failed),
        };
        let kind = match row.table {
            DayTable::User => {
                let key = DailyKey {
                    day: row.day,
                    api_key: row.key,
                    payer: [&row.user_id, &row.team_id, &row.organization_id],
                    model: [&row.model_group, &row.model, &row.provider, ""],
                    endpoint: &row.endpoint,
                    region: "",
                };
                self.daily.entry(key).or_default().add(measures);
                return;
            }
            DayTable::Tag => TAG,
            DayTable::EndUser => END_USER,
        };
        let key = EntityKey {
            kind,
            day: row.day,
            entity: &row.entity,
            api_key: row.key,
            model: [&row.model_group, &row.model, &row.provider],
            endpoint: &row.endpoint,
            region: "",
        };
        self.entities.entry(key).or_default().add(measures);
    }

    /// Leaves scopes alone: what was spent is counted for them elsewhere.
    pub(super) fn charge_nobody(&mut self) {
        self.scopes.clear();
    }
}

/// The UTC day of a moment, counted from 1970.
pub(super) fn day_of(at: WallMs) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// Cost as it is stored: never negative, never so large that a sum could overflow.
pub(super) fn cost_of(record: &SpendRecord) -> i64 {
    let cost = record.cost.0.clamp(0, COST_NANO_MAX);
    if cost != record.cost.0 {
        tracing::error!(call_id = %record.call_id, cost = record.cost.0, "impossible cost");
    }
    cost
}

/// Whether a request counts as failed in reports. One that the client broke off after content
/// arrived does not.
pub(super) fn failed(record: &SpendRecord) -> bool {
    match record.end_reason {
        EndReason::Complete => record.status >= 400,
        EndReason::ClientGoneMidStream => false,
        EndReason::ClientGoneBeforeFirstByte
        | EndReason::UpstreamReset
        | EndReason::Stall
        | EndReason::ProviderError
        | EndReason::UpstreamFailed
        | EndReason::Timeout
        | EndReason::BudgetCut
        | EndReason::InternalError
        | EndReason::Crashed => true,
    }
}
