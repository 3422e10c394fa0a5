//! What a request is judged by: one immutable view of configuration and prices, with an epoch.
//!
//! A request loads it once and keeps it to its end, so a reload never changes a running request.

mod target;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use meridian_core::access::ModelFacts;
use meridian_core::auth::KeyView;
use meridian_core::config::{Config, Deployment, wildcard};
use meridian_core::endpoint::{Dialect, Endpoint};
use meridian_core::error::GatewayError;
use meridian_core::price::{BillingPlace, ModelPrice, PriceBook};

pub use target::{Door, HeaderValues, Target};

use crate::credentials::Credentials;
pub use crate::credentials::SourceReport;
use crate::routing::Routing;

/// Names resolved through wildcards that are kept; further ones are resolved for each request.
const WILDCARD_NAMES_MAX: usize = 10_000;

/// One version of configuration and prices.
pub struct Rules {
    /// The configuration.
    pub config: Arc<Config>,
    /// The price map.
    pub prices: Arc<PriceBook>,
    /// Grows with every reload.
    pub epoch: u64,
    groups: HashMap<String, Arc<Group>>,
    wildcards: Vec<Arc<Deployment>>,
    wildcard_groups: DashMap<String, Arc<Group>>,
    routing: Arc<Routing>,
    credentials: Arc<Credentials>,
}

/// What a model costs in one account.
#[derive(Clone, Debug)]
pub struct AccountPrice {
    /// Name that clients ask for it by; the provider's where they cannot.
    pub model_group: String,
    /// Its price; `None` is unknown.
    pub price: Option<Arc<ModelPrice>>,
    /// Facts that change the price.
    pub place: BillingPlace,
}

/// The deployments that can serve one model name.
pub struct Group {
    /// The name clients ask for.
    pub name: String,
    /// Whether the name was matched by a wildcard: then it is not a configured object.
    pub is_wildcard: bool,
    targets: Vec<Arc<Target>>,
    access_groups: Vec<String>,
    providers: Vec<String>,
    settings: OnceLock<Vec<u8>>,
}

impl Rules {
    /// Resolves prices and groups of a configuration.
    pub fn build(
        config: Arc<Config>,
        prices: Arc<PriceBook>,
        (routing, credentials): (Arc<Routing>, Arc<Credentials>),
        epoch: u64,
    ) -> Self {
        let mut rules = Self {
            prices,
            epoch,
            groups: HashMap::new(),
            wildcards: Vec::new(),
            wildcard_groups: DashMap::new(),
            routing,
            credentials,
            config,
        };
        let mut groups: HashMap<String, Vec<Arc<Target>>> = HashMap::new();
        for deployment in rules.config.models.clone() {
            let deployment = Arc::new(deployment);
            if deployment.is_wildcard() {
                rules.wildcards.push(deployment);
                continue;
            }
            let name = deployment.model_name.clone();
            let target = rules.target(&deployment, &name);
            groups.entry(name).or_default().push(target);
        }
        let group = |(name, targets): (String, Vec<Arc<Target>>)| {
            (name.clone(), Arc::new(Group::of(name, targets)))
        };
        rules.groups = groups.into_iter().map(group).collect();
        // The longest pattern is the most specific one.
        rules
            .wildcards
            .sort_by_key(|one| std::cmp::Reverse(one.model_name.len()));
        rules.routing.retain(rules.config.models.iter());
        rules
    }

    /// The same configuration with other prices.
    pub fn with_prices(&self, prices: Arc<PriceBook>) -> Self {
        self.next(Arc::clone(&self.config), prices)
    }

    /// The rules that follow these; what is known of deployments is kept.
    pub fn next(&self, config: Arc<Config>, prices: Arc<PriceBook>) -> Self {
        let kept = (Arc::clone(&self.routing), Arc::clone(&self.credentials));
        Self::build(config, prices, kept, self.epoch + 1)
    }

    /// The deployments of a model name, aliases already applied.
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        if let Some(group) = self.groups.get(name) {
            return Some(Arc::clone(group));
        }
        if let Some(group) = self.wildcard_groups.get(name) {
            return Some(Arc::clone(&group));
        }
        let best = self
            .wildcards
            .iter()
            .find(|deployment| deployment.matches(name))?;
        let same_pattern = |one: &&Arc<Deployment>| one.model_name == best.model_name;
        let targets = self
            .wildcards
            .iter()
            .filter(same_pattern)
            .map(|deployment| self.target(deployment, name))
            .collect();
        let mut group = Group::of(name.to_owned(), targets);
        group.is_wildcard = true;
        let group = Arc::new(group);
        if self.wildcard_groups.len() < WILDCARD_NAMES_MAX {
            self.wildcard_groups
                .insert(name.to_owned(), Arc::clone(&group));
        }
        Some(group)
    }

    /// What a name leads to, if the caller may use that: the model after the team's and the key's
    /// aliases and the configuration's, and its group. `None` is the master key.
    ///
    /// # Errors
    /// The key or one of its scopes may not use it.
    pub fn reach(
        &self,
        key: Option<&KeyView>,
        asked: &str,
    ) -> Result<(String, Option<Arc<Group>>), GatewayError> {
        let aliased = key.map_or(asked.into(), |key| key.model_for(asked));
        let model = self.alias(&aliased).to_owned();
        let group = self.group(&model);
        if let Some(key) = key {
            let facts = match &group {
                Some(group) => group.facts(),
                None => ModelFacts::named(&model),
            };
            key.check_model(asked, facts)?;
        }
        Ok((model, group))
    }

    /// What `model_group_alias` makes of a name.
    pub fn alias<'a>(&'a self, name: &'a str) -> &'a str {
        self.config
            .aliases
            .get(name)
            .map_or(name, |alias| &alias.model)
    }

    /// Where credentials come from that end.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// Every concrete deployment, for passive health and metrics.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.groups.values().flat_map(|group| group.targets.iter())
    }

    /// Every deployment in the configuration's order, wildcards by their pattern.
    pub fn every_target(&self) -> Vec<Arc<Target>> {
        let places = self.config.models.iter().map(|one| one.id.as_str());
        let places: HashMap<&str, usize> = places.zip(0..).collect();
        let mut targets: Vec<_> = self
            .targets()
            .cloned()
            .chain(self.wildcard_targets())
            .collect();
        targets.sort_by_key(|target| places.get(target.deployment.id.as_str()).copied());
        targets
    }

    fn wildcard_targets(&self) -> impl Iterator<Item = Arc<Target>> {
        let wildcards = self.wildcards.iter();
        wildcards.map(|one| self.target(one, &one.model_name))
    }

    /// The deployment with this id, for objects that were made through it. `model` names it when
    /// it is a wildcard.
    pub fn deployment(&self, id: &str, model: &str) -> Option<Arc<Target>> {
        let concrete = self.targets().find(|target| target.deployment.id == id);
        let wildcard = || {
            let deployment = self
                .wildcards
                .iter()
                .find(|deployment| deployment.id == id)?;
            Some(self.target(deployment, model))
        };
        concrete.cloned().or_else(wildcard)
    }

    /// A deployment of this provider at this address, for objects whose own was edited meanwhile.
    pub fn deployment_at(&self, provider: &str, api_base: &str) -> Option<Arc<Target>> {
        let is_there = |target: &Arc<Target>| {
            target.door.is_some()
                && target.deployment.provider.label() == provider
                && target.api_base == api_base
        };
        self.every_target().into_iter().find(is_there)
    }

    /// Deployments of any model with a credential of their own that have such objects: files and
    /// batches where OpenAI's dialect is spoken, Message Batches and Anthropic's files where they
    /// are served.
    pub fn accounts(&self, of: Endpoint) -> Vec<Arc<Target>> {
        let mut accounts: Vec<Arc<Target>> = Vec::new();
        for target in self.targets().cloned().chain(self.wildcard_targets()) {
            let has_them = match of {
                Endpoint::MessageBatches | Endpoint::AnthropicFiles => target.serves(of),
                _ => target.deployment.serves(Dialect::OpenAi),
            };
            let fits = target.door.is_some() && has_them;
            if fits && !accounts.iter().any(|known| known.same_account(&target)) {
                accounts.push(target);
            }
        }
        accounts.sort_by(|a, b| a.deployment.id.cmp(&b.deployment.id));
        accounts
    }

    /// What the provider's model costs in the account of a deployment: by this one where it is that
    /// model, by another deployment of the account that is, by a wildcard of it, else by the price
    /// map.
    pub fn price_in_account(&self, target: &Target, model: &str) -> AccountPrice {
        let undated = meridian_core::price::undated(model);
        let is_it = |other: &&Arc<Target>| {
            let base = other.deployment.base_model.as_deref();
            // It may name its provider.
            let bare = base.and_then(|base| base.split_once('/'));
            let names = [Some(other.model.as_str()), base, bare.map(|(_, name)| name)];
            let named = names.into_iter().flatten();
            let is_named = named
                .into_iter()
                .any(|name| name == model || name == undated);
            is_named && other.same_account(target)
        };
        let mut others = self.every_target();
        // The one that has it first.
        others.sort_by_key(|other| other.deployment.id != target.deployment.id);
        let concrete = others.iter().filter(|one| !one.deployment.is_wildcard());
        if let Some(own) = concrete.into_iter().find(is_it) {
            return AccountPrice {
                model_group: own.deployment.model_name.clone(),
                price: own.price.clone(),
                place: own.place,
            };
        }
        let label = target.deployment.provider.label();
        let of_wildcard = |other: &Arc<Target>| {
            let deployment = Arc::clone(&other.deployment);
            let has_prices = deployment.is_wildcard() && !deployment.prices.is_empty();
            let fits = has_prices && other.same_account(target);
            let part = wildcard::capture(&deployment.model, model).filter(|_| fits)?;
            Some((
                deployment.model_name.replacen('*', part, 1),
                Arc::clone(other),
            ))
        };
        let mut place = target.place;
        if let Some((model_group, wildcard)) = others.iter().find_map(of_wildcard) {
            place = wildcard.place;
            place.adjustment = self.config.adjustments.resolve(label, model);
            return AccountPrice {
                model_group,
                price: target::price_of(&wildcard.deployment, model, &self.prices),
                place,
            };
        }
        place.adjustment = self.config.adjustments.resolve(label, model);
        AccountPrice {
            model_group: model.to_owned(),
            price: self.prices.find(label, model, None),
            place,
        }
    }

    fn target(&self, deployment: &Arc<Deployment>, name: &str) -> Arc<Target> {
        Arc::new(Target::build(
            deployment,
            name,
            &self.prices,
            &self.config.adjustments,
            (&self.routing, &self.credentials),
        ))
    }
}

impl Group {
    /// A group of the given deployments.
    pub fn of(name: String, targets: Vec<Arc<Target>>) -> Self {
        let mut access_groups: Vec<String> = Vec::new();
        let mut providers: Vec<String> = Vec::new();
        for target in &targets {
            access_groups.extend(target.deployment.access_groups.iter().cloned());
            providers.push(target.deployment.provider.label().to_owned());
        }
        for list in [&mut access_groups, &mut providers] {
            list.sort_unstable();
            list.dedup();
        }
        Self {
            name,
            is_wildcard: false,
            targets,
            access_groups,
            providers,
            settings: OnceLock::new(),
        }
    }

    /// What the configuration makes of a request to this group, one line for each way in which it
    /// may leave: deployments that differ in their address alone are one. It is part of the keys
    /// of cached answers.
    pub fn settings(&self) -> &[u8] {
        self.settings.get_or_init(|| {
            let mut lines: Vec<String> = self.targets.iter().map(|one| one.settings()).collect();
            lines.sort_unstable();
            lines.dedup();
            lines.join("\n").into_bytes()
        })
    }

    /// The name in the configuration: a pattern, where a wildcard matched the client's name.
    pub fn configured_name(&self) -> &str {
        match self.targets.first() {
            Some(target) if self.is_wildcard => &target.deployment.model_name,
            _ => &self.name,
        }
    }

    /// What permission rules need to know.
    pub fn facts(&self) -> ModelFacts<'_> {
        ModelFacts {
            name: &self.name,
            groups: &self.access_groups,
            providers: &self.providers,
        }
    }

    /// Whether a deployment of the group can answer this endpoint, as it is or translated.
    pub fn serves(&self, endpoint: Endpoint) -> bool {
        self.targets.iter().any(|target| target.serves(endpoint))
    }

    /// Every deployment of the group.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }
}
