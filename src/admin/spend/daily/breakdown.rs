//! Sums of a day by model, provider, endpoint, key and entity.

use std::collections::{BTreeMap, HashMap};

use meridian_core::ids::KeyHash;
use meridian_core::money::NanoUsd;
use serde_json::{Map, Value, json};

use super::super::super::state::AdminState;
use super::super::row::MASTER_KEY_ALIAS;
use crate::clock;
use crate::store::{SpendCell, SpendTotals};

/// Sums in LiteLLM's words.
#[derive(Default)]
pub(super) struct Sums {
    spend: NanoUsd,
    prompt: u64,
    completion: u64,
    cache_read: u64,
    cache_write: u64,
    requests: u64,
    failed: u64,
}

impl Sums {
    pub(super) fn add(&mut self, totals: &SpendTotals) {
        self.spend = self.spend.saturating_add(totals.spend);
        self.prompt += totals.prompt;
        self.completion += totals.completion;
        self.cache_read += totals.cache_read;
        self.cache_write += totals.cache_write;
        self.requests += totals.requests;
        self.failed += totals.failed;
    }

    pub(super) fn shown(&self) -> Map<String, Value> {
        let pairs = [
            ("spend", json!(self.spend.dollars())),
            ("prompt_tokens", json!(self.prompt)),
            ("completion_tokens", json!(self.completion)),
            ("cache_read_input_tokens", json!(self.cache_read)),
            ("cache_creation_input_tokens", json!(self.cache_write)),
            (
                "total_tokens",
                json!(self.prompt.saturating_add(self.completion)),
            ),
            (
                "successful_requests",
                json!(self.requests.saturating_sub(self.failed)),
            ),
            ("failed_requests", json!(self.failed)),
            ("api_requests", json!(self.requests)),
        ];
        pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Sums of one group, and of each key in it.
#[derive(Default)]
struct Part<'a> {
    sums: Sums,
    keys: BTreeMap<&'a str, Sums>,
}

/// Sums of one group by name.
type Parts<'a> = BTreeMap<&'a str, Part<'a>>;

/// Everything of one day.
#[derive(Default)]
pub(super) struct Day<'a> {
    sums: Sums,
    models: Parts<'a>,
    model_groups: Parts<'a>,
    providers: Parts<'a>,
    endpoints: Parts<'a>,
    entities: Parts<'a>,
    keys: BTreeMap<&'a str, Sums>,
}

impl<'a> Day<'a> {
    /// Adds a row: day, entity, key, model group, model, provider, and the endpoint if it has one.
    pub(super) fn add(&mut self, row: &'a SpendCell, with_endpoints: bool) {
        let [_, entity, key, group, model, provider, rest @ ..] = row.groups.as_slice() else {
            return;
        };
        self.sums.add(&row.totals);
        self.keys.entry(key).or_default().add(&row.totals);
        let part = |parts: &mut Parts<'a>, name: &'a str| {
            if name.is_empty() {
                return;
            }
            let part = parts.entry(name).or_default();
            part.sums.add(&row.totals);
            part.keys.entry(key).or_default().add(&row.totals);
        };
        part(&mut self.models, model);
        part(&mut self.model_groups, group);
        part(&mut self.providers, provider);
        part(&mut self.entities, entity);
        if let (true, Some(endpoint)) = (with_endpoints, rest.first()) {
            part(&mut self.endpoints, endpoint);
        }
    }

    pub(super) fn metrics(&self) -> Map<String, Value> {
        self.sums.shown()
    }

    pub(super) fn breakdown(&self, names: &Names, with_entities: bool) -> Value {
        let entities = match with_entities {
            true => shown(&self.entities, names),
            false => Map::new(),
        };
        json!({
            "mcp_servers": {},
            "models": shown(&self.models, names),
            "model_groups": shown(&self.model_groups, names),
            "providers": shown(&self.providers, names),
            "endpoints": shown(&self.endpoints, names),
            "api_keys": names.keys(&self.keys),
            "entities": entities,
        })
    }
}

fn shown(parts: &Parts<'_>, names: &Names) -> Map<String, Value> {
    let one = |(name, part): (&&str, &Part<'_>)| {
        let value = json!({
            "metrics": part.sums.shown(), "metadata": {},
            "api_key_breakdown": names.keys(&part.keys),
        });
        ((*name).to_owned(), value)
    };
    parts.iter().map(one).collect()
}

/// Alias and team of keys, as far as they still exist.
pub(super) struct Names(HashMap<String, Value>);

impl Names {
    /// Names of the keys in some rows; keys are in memory.
    pub(super) fn of(state: &AdminState, rows: &[SpendCell]) -> Self {
        let now = clock::now();
        let mut names = HashMap::new();
        for key in rows.iter().filter_map(|row| row.groups.get(2)) {
            if names.contains_key(key) {
                continue;
            }
            let known = KeyHash::from_hex(key).and_then(|hash| state.registry().get(&hash, now));
            let value = match known {
                Some(known) => json!({
                    "key_alias": known.policy.alias, "team_id": known.policy.team_id,
                }),
                None => json!({"key_alias": null, "team_id": null}),
            };
            names.insert(key.clone(), value);
        }
        Self(names)
    }

    fn keys(&self, keys: &BTreeMap<&str, Sums>) -> Map<String, Value> {
        let one = |(key, sums): (&&str, &Sums)| {
            let metadata = self.0.get(*key).cloned().unwrap_or(Value::Null);
            let value = json!({"metrics": sums.shown(), "metadata": metadata});
            let name = if key.is_empty() {
                MASTER_KEY_ALIAS
            } else {
                key
            };
            (name.to_owned(), value)
        };
        keys.iter().map(one).collect()
    }
}
