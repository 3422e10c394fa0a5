//! How much something may do, and whether that is more than something else may.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::access::{ModelFacts, ModelRules};
use crate::key::KeyRecord;
use crate::money::NanoUsd;
use crate::record::{Bounds, Team, User};
use crate::routes::RouteSet;
use crate::time::WallMs;

/// Limits per model that live in `metadata`.
const PER_MODEL: [&str; 2] = ["model_rpm_limit", "model_tpm_limit"];

/// Rights that can be given away. `None` and empty are without a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Rights {
    /// Models, wildcards and access groups.
    pub models: Vec<String>,
    /// Names that stand for other models: what they stand for counts as well.
    pub aliases: BTreeMap<String, String>,
    /// Money and rates.
    pub bounds: Bounds,
    /// Routes.
    pub routes: RouteSet,
    /// Regions.
    pub regions: BTreeSet<String>,
    /// End of everything.
    pub expires: Option<WallMs>,
    /// Limits per model, by their name in `metadata`.
    pub per_model: Map<String, Value>,
}

impl Rights {
    /// Everything.
    pub fn all() -> Self {
        Self {
            models: Vec::new(),
            aliases: BTreeMap::new(),
            bounds: Bounds::default(),
            routes: RouteSet::ALL,
            regions: BTreeSet::new(),
            expires: None,
            per_model: Map::new(),
        }
    }

    /// What a key by itself allows; its team and user may allow less.
    pub fn of_key(key: &KeyRecord) -> Self {
        Self {
            models: key.models.clone(),
            aliases: key.aliases.clone(),
            bounds: Bounds {
                max_budget: key.max_budget,
                budget_duration: key.budget_duration.clone(),
                tpm_limit: key.tpm_limit,
                rpm_limit: key.rpm_limit,
                max_parallel_requests: key.max_parallel_requests,
                model_max_budget: key.model_max_budget.clone(),
                ..Bounds::default()
            },
            routes: RouteSet::of_entries(&key.allowed_routes),
            regions: key.allowed_regions.iter().cloned().collect(),
            expires: key.expires,
            per_model: per_model(&key.metadata),
        }
    }

    /// What a team allows.
    pub fn of_team(team: &Team) -> Self {
        Self {
            models: team.models.clone(),
            aliases: team.model_aliases.clone(),
            bounds: team.bounds.clone(),
            regions: team.allowed_regions.iter().cloned().collect(),
            per_model: per_model(&team.metadata),
            ..Self::all()
        }
    }

    /// What a user's own keys may do.
    pub fn of_user(user: &User) -> Self {
        Self {
            models: user.models.clone(),
            bounds: user.bounds.clone(),
            per_model: per_model(&user.metadata),
            ..Self::all()
        }
    }

    /// Bounds and models, of an organization.
    pub fn of_bounds(models: &[String], bounds: &Bounds) -> Self {
        Self {
            models: models.to_vec(),
            bounds: bounds.clone(),
            ..Self::all()
        }
    }
}

fn per_model(metadata: &Map<String, Value>) -> Map<String, Value> {
    let limits = PER_MODEL.into_iter();
    limits
        .filter_map(|name| Some((name.to_owned(), metadata.get(name)?.clone())))
        .filter(|(_, limits)| limits.as_object().is_some_and(|limits| !limits.is_empty()))
        .collect()
}

/// The first field in which `wanted` is more than `ceiling` allows, by its name in the API.
pub fn exceeds(wanted: &Rights, ceiling: &Rights) -> Option<&'static str> {
    let over = over_models(wanted, ceiling)
        .or_else(|| over_bounds(&wanted.bounds, &ceiling.bounds))
        .or_else(|| over_per_model(wanted, ceiling));
    if over.is_some() {
        return over;
    }
    if !wanted.routes.is_within(ceiling.routes) {
        return Some("allowed_routes");
    }
    let regions = &ceiling.regions;
    let within = !wanted.regions.is_empty() && wanted.regions.is_subset(regions);
    if !regions.is_empty() && !within {
        return Some("allowed_regions");
    }
    later(wanted.expires, ceiling.expires).then_some("duration")
}

fn later(wanted: Option<WallMs>, ceiling: Option<WallMs>) -> bool {
    ceiling.is_some_and(|end| wanted.is_none_or(|wanted| wanted > end))
}

fn over_models(wanted: &Rights, ceiling: &Rights) -> Option<&'static str> {
    let rules = ModelRules::parse(&ceiling.models, false);
    if rules == ModelRules::All {
        return None;
    }
    let covered = |name: &String| {
        let special = name == "no-default-models";
        let literal = ceiling.models.contains(name);
        // A wildcard is in the list or it is not: what it reaches is not worked out.
        let reached = !is_open(name) && rules.allows(ModelFacts::named(name));
        special || literal || reached
    };
    let within = !wanted.models.is_empty() && wanted.models.iter().all(covered);
    if !within {
        return Some("models");
    }
    let renamed = wanted.aliases.iter();
    let inherited = |(from, to): &(&String, &String)| ceiling.aliases.get(*from) == Some(to);
    let mut new = renamed.filter(|pair| !inherited(pair));
    (!new.all(|(_, to)| covered(to))).then_some("aliases")
}

fn is_open(name: &str) -> bool {
    name.contains('*') || matches!(name, "all-proxy-models" | "all-team-models")
}

fn over_bounds(wanted: &Bounds, ceiling: &Bounds) -> Option<&'static str> {
    if let Some(most) = ceiling.max_budget {
        if wanted.max_budget.is_none_or(|wanted| wanted > most) {
            return Some("max_budget");
        }
        // An amount for ever is less than the same amount again and again.
        let once = wanted.budget_duration.is_none();
        if !once && wanted.budget_duration != ceiling.budget_duration {
            return Some("budget_duration");
        }
    }
    let rates = [
        ("tpm_limit", wanted.tpm_limit, ceiling.tpm_limit),
        ("rpm_limit", wanted.rpm_limit, ceiling.rpm_limit),
        (
            "max_parallel_requests",
            wanted.max_parallel_requests,
            ceiling.max_parallel_requests,
        ),
    ];
    let over = |(_, wanted, most): &(_, Option<u64>, Option<u64>)| {
        most.is_some_and(|most| wanted.is_none_or(|wanted| wanted > most))
    };
    rates.iter().find(|rate| over(rate)).map(|(name, ..)| *name)
}

/// Limits per model are the ceiling's, or there are more of them.
fn over_per_model(wanted: &Rights, ceiling: &Rights) -> Option<&'static str> {
    let kept = |wanted: &Map<String, Value>, ceiling: &Map<String, Value>| {
        let mut limits = ceiling.iter();
        limits.all(|(model, limit)| wanted.get(model) == Some(limit))
    };
    let (own, most) = (
        &wanted.bounds.model_max_budget,
        &ceiling.bounds.model_max_budget,
    );
    if !kept(own, most) {
        return Some("model_max_budget");
    }
    let nothing = Map::new();
    let of = |rights: &Rights, name: &str| {
        let limits = rights.per_model.get(name).and_then(Value::as_object);
        limits.unwrap_or(&nothing).clone()
    };
    let mut names = PER_MODEL.into_iter();
    names.find(|name| !kept(&of(wanted, name), &of(ceiling, name)))
}

/// What `wanted` does not say, as `ceiling` says it: so that leaving a field out is not asking for
/// more than there is to give.
pub fn fill(wanted: &mut KeyRecord, ceiling: &KeyRecord) {
    if wanted.models.is_empty() {
        wanted.models.clone_from(&ceiling.models);
    }
    if wanted.allowed_routes.is_empty() {
        wanted.allowed_routes.clone_from(&ceiling.allowed_routes);
    }
    if wanted.allowed_regions.is_empty() {
        wanted.allowed_regions.clone_from(&ceiling.allowed_regions);
    }
    if wanted.max_budget.is_none() {
        wanted.max_budget = ceiling.max_budget;
        wanted.budget_duration.clone_from(&ceiling.budget_duration);
        wanted.budget_reset_at = ceiling.budget_reset_at;
    }
    if wanted.model_max_budget.is_empty() {
        wanted
            .model_max_budget
            .clone_from(&ceiling.model_max_budget);
    }
    wanted.expires = wanted.expires.or(ceiling.expires);
    wanted.tpm_limit = wanted.tpm_limit.or(ceiling.tpm_limit);
    wanted.rpm_limit = wanted.rpm_limit.or(ceiling.rpm_limit);
    let parallel = ceiling.max_parallel_requests;
    wanted.max_parallel_requests = wanted.max_parallel_requests.or(parallel);
    for (name, limits) in per_model(&ceiling.metadata) {
        wanted.metadata.entry(name).or_insert(limits);
    }
}

/// Money that a member may spend in a group that has a budget of its own.
pub fn fits(amount: Option<NanoUsd>, group: Option<NanoUsd>) -> bool {
    match (amount, group) {
        (Some(amount), Some(group)) => amount <= group,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::KeyHash;

    fn key(fields: Value) -> KeyRecord {
        let mut all = json!({"token": KeyHash::of_secret("sk-a"), "key_name": "sk-...sk-a"});
        let object = all.as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn over(wanted: Value, ceiling: Value) -> Option<&'static str> {
        exceeds(
            &Rights::of_key(&key(wanted)),
            &Rights::of_key(&key(ceiling)),
        )
    }

    #[test]
    fn everything_is_more_than_something_in_every_field() {
        let limits = [
            ("models", json!({"models": ["a"]})),
            ("max_budget", json!({"max_budget": 5})),
            ("tpm_limit", json!({"tpm_limit": 5})),
            ("rpm_limit", json!({"rpm_limit": 5})),
            ("max_parallel_requests", json!({"max_parallel_requests": 5})),
            (
                "model_max_budget",
                json!({"model_max_budget": {"a": {"budget_limit": 1}}}),
            ),
            (
                "model_rpm_limit",
                json!({"metadata": {"model_rpm_limit": {"a": 1}}}),
            ),
            ("allowed_routes", json!({"allowed_routes": ["/key/info"]})),
            ("allowed_regions", json!({"allowed_regions": ["eu"]})),
            ("duration", json!({"expires": 5})),
        ];
        for (field, ceiling) in limits {
            assert_eq!(over(json!({}), ceiling.clone()), Some(field));
            assert_eq!(over(ceiling.clone(), ceiling.clone()), None, "{field}");
            assert_eq!(over(ceiling.clone(), json!({})), None, "{field}");
            // Filled up, nothing is asked for that is not there.
            let mut filled = key(json!({}));
            fill(&mut filled, &key(ceiling.clone()));
            let rights = Rights::of_key(&filled);
            assert_eq!(exceeds(&rights, &Rights::of_key(&key(ceiling))), None);
        }
    }

    #[test]
    fn models_are_within_names_and_wildcards_of_the_ceiling() {
        let ceiling = || json!({"models": ["a", "openai/*"]});
        for within in [json!(["a"]), json!(["openai/x"]), json!(["openai/*"])] {
            assert_eq!(over(json!({"models": within}), ceiling()), None);
        }
        let none = json!({"models": ["no-default-models"]});
        assert_eq!(over(none, ceiling()), None);
        for more in ["b", "*", "openai*", "all-proxy-models", "all-team-models"] {
            let models = json!({"models": [more]});
            assert_eq!(over(models, ceiling()), Some("models"), "{more}");
        }
        let renamed = json!({"models": ["a"], "aliases": {"a": "b"}});
        assert_eq!(over(renamed, ceiling()), Some("aliases"));
        let inside = json!({"models": ["a"], "aliases": {"a": "openai/y"}});
        assert_eq!(over(inside, ceiling()), None);
    }

    #[test]
    fn a_budget_that_begins_anew_is_more_than_one_for_ever() {
        let forever = json!({"max_budget": 5});
        let daily = json!({"max_budget": 5, "budget_duration": "1d"});
        assert_eq!(
            over(daily.clone(), forever.clone()),
            Some("budget_duration")
        );
        assert_eq!(over(forever, daily.clone()), None);
        let hourly = json!({"max_budget": 1, "budget_duration": "1h"});
        assert_eq!(over(hourly, daily), Some("budget_duration"));
    }
}
