//! What the management API needs of the rest of the gateway.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::config::Config;
use meridian_core::error::GatewayError;
use meridian_core::health::{Propagation, Readiness};
use meridian_core::ids::{KeyHash, Secret};
use meridian_core::price::PriceBook;
use meridian_core::record::Record;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use serde_json::Value;

use super::access::Caller;
use super::health_history::History;
use super::keys::Moment;
use super::reports::Reports;
use crate::cache::Cache;
use crate::clock;
use crate::escrow::Rights;
use crate::merged::Merged;
use crate::registry::Registry;
use crate::store::{RecordWrite, ScopeChange, SpendChange, Store, StoreError};

/// A future that a hook returns.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The rules that hold now. Taken once per call, so that a reload never changes them in between.
#[derive(Clone)]
pub struct Rules {
    /// The configuration.
    pub config: Arc<Config>,
    /// The price map.
    pub prices: Arc<PriceBook>,
}

/// What decides where requests go, now. Taken once per call.
#[derive(Clone)]
pub struct Routes {
    /// Deployments and the policy.
    pub rules: Arc<crate::rules::Rules>,
    /// What is known of deployments, and the node's budgets.
    pub known: Arc<crate::routing::Routing>,
}

/// What the passive health check knows of one deployment.
#[derive(Clone, Debug, Default)]
pub struct DeploymentHealth {
    /// Its id.
    pub model_id: String,
    /// The name that clients ask for.
    pub model_name: String,
    /// The provider's name of the model, with the provider in front.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// Base URL without credentials.
    pub api_base: String,
    /// Why it is left out now; `None` when it gets requests.
    pub unhealthy: Option<String>,
}

/// Looks what other nodes have spent.
pub type LookAtOthers = Box<dyn Fn(Vec<Scope>) -> Pending<()> + Send + Sync>;
/// Looks for a key.
pub type FindKey = Box<dyn Fn(KeyHash) -> Pending<Result<(), GatewayError>> + Send + Sync>;
/// Whether what a region took away is known.
pub type CheckFresh = Box<dyn Fn(&str) -> Result<(), GatewayError> + Send + Sync>;
/// Takes records that were stored.
pub type Changed = Box<dyn Fn(&[Record]) + Send + Sync>;

/// Makes one real call through a deployment of a configuration.
pub type Test = Box<dyn Fn(Config, String) -> Pending<Result<Tested, String>> + Send + Sync>;

/// Doors to the parts that the management API does not own. Each is called per management call,
/// never per request of the data plane.
pub struct Hooks {
    /// The rules that hold now.
    pub rules: Box<dyn Fn() -> Rules + Send + Sync>,
    /// What decides where requests go.
    pub routes: Box<dyn Fn() -> Routes + Send + Sync>,
    /// Resolves when what requests have spent until now is in the store. Bounded in time.
    pub flush_spend: Box<dyn Fn() -> Pending<()> + Send + Sync>,
    /// Resolves when what other nodes have spent of scopes is counted here, as far as the store
    /// has it. Bounded in time.
    pub look_at_others: LookAtOthers,
    /// The metrics in Prometheus' text form.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Where the price map in use is from.
    pub price_map: Box<dyn Fn() -> PriceMap + Send + Sync>,
    /// Loads the price map anew; the number of models, or why it stays as it is.
    pub reload_prices: Box<dyn Fn() -> Pending<Result<usize, String>> + Send + Sync>,
    /// Whether this node should get traffic.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Requests that are running.
    pub in_flight: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Every deployment and how it is.
    pub deployments: Box<dyn Fn() -> Vec<DeploymentHealth> + Send + Sync>,
    /// Cached answers; `None` where there is no cache.
    pub cache: Option<Arc<Cache>>,
    /// Looks for a key that is not in memory; then it is there, or there is none.
    pub find_key: FindKey,
    /// Whether what a region took away is known here.
    pub check_fresh: CheckFresh,
    /// How the node's copy of the records is doing; `None` where nothing is shared.
    pub propagation: Box<dyn Fn() -> Option<Propagation> + Send + Sync>,
    /// Rights in shared budgets; `None` where none are shared.
    pub rights: Option<Arc<Rights>>,
    /// Takes records that were just stored, so that requests on this node follow them before the
    /// call is answered, and tells the other nodes.
    pub changed: Changed,
    /// Files and records of the configuration.
    pub merged: Arc<Merged>,
    /// Makes one real call through the deployment with this id of a configuration that is not in
    /// force; what was called, or what went wrong.
    pub test: Test,
}

/// Where a price map is from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceMap {
    /// It was fetched from the URL.
    pub remote: bool,
    /// Where it is fetched from; `None` where it is the binary's or a file.
    pub url: Option<String>,
    /// The environment forbids to fetch one.
    pub forced: bool,
}

/// What a test of a connection called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// The model itself, with a short question.
    Chat,
    /// The provider's list of models.
    Models,
    /// Nothing: its answer is canned.
    Mock,
}

/// State of the management API. Cheap to clone.
#[derive(Clone)]
pub struct AdminState(Arc<Parts>);

struct Parts {
    store: Store,
    registry: Arc<Registry>,
    master_key: Secret,
    hooks: Hooks,
    history: Mutex<History>,
    reports: Reports,
}

impl AdminState {
    /// Puts the parts together. The master key must not be empty: with an empty one nobody is let
    /// in as administrator.
    pub fn new(store: Store, registry: Arc<Registry>, master_key: Secret, hooks: Hooks) -> Self {
        Self(Arc::new(Parts {
            store,
            registry,
            master_key,
            hooks,
            history: Mutex::default(),
            reports: Reports::default(),
        }))
    }

    /// Looks at every deployment, for the history of their health. To be called every few seconds.
    pub fn look_at_health(&self) {
        let (all, now) = (self.deployments(), self.now());
        self.history().look(&all, now);
    }

    /// Changes of a model's health to a status, latest first.
    pub(super) fn health_history(&self, model: Option<&str>, status: Option<&str>) -> Vec<Value> {
        self.look_at_health();
        self.history().shown(model, status)
    }

    /// Turns of reports.
    pub(super) fn reports(&self) -> &Reports {
        &self.0.reports
    }

    fn history(&self) -> MutexGuard<'_, History> {
        let history = self.0.history.lock();
        history.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Stores records for a caller: all or none. What is stored holds on this node before this
    /// returns.
    pub(super) async fn write(
        &self,
        writes: Vec<RecordWrite>,
        caller: &Caller,
    ) -> Result<Vec<Record>, StoreError> {
        self.write_with(writes, Vec::new(), caller).await
    }

    /// As [`Self::write`], with changes to what is counted: all of it or nothing.
    pub(super) async fn write_with(
        &self,
        writes: Vec<RecordWrite>,
        changes: Vec<(Scope, ScopeChange)>,
        caller: &Caller,
    ) -> Result<Vec<Record>, StoreError> {
        let begun: Vec<Scope> = writes.iter().filter_map(begins_to_count).collect();
        let spent = changes.iter().filter_map(|(scope, change)| match change {
            ScopeChange::Spent { spend, since } => Some((scope.clone(), *spend, *since)),
            ScopeChange::Period(_) => None,
        });
        let spent: Vec<_> = spent.collect();
        let store = self.store();
        let stored = store
            .write_records_with(writes, changes, caller.actor())
            .await?;
        (self.0.hooks.changed)(&stored);
        for (scope, spend, since) in spent {
            // Requests on this node are decided by the figure in memory.
            self.registry().reset_spent(&scope, spend, since);
        }
        if !begun.is_empty() {
            // What was charged to the name before there was a record of it counts on.
            let now = self.now();
            for spend in self.store().scope_spends(begun).await? {
                self.registry().set_spent(&spend.scope, spend.spend, now);
            }
        }
        Ok(stored)
    }

    /// Files and records of the configuration.
    pub(super) fn merged(&self) -> &Merged {
        &self.0.hooks.merged
    }

    /// One real call through a deployment of a configuration that is not in force.
    pub(super) async fn test(&self, config: Config, id: String) -> Result<Tested, String> {
        (self.0.hooks.test)(config, id).await
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The master key of the rules that hold now.
    pub(super) fn master_key(&self) -> Secret {
        let of_rules = self.rules().config.general.master_key.clone();
        of_rules.unwrap_or_else(|| self.0.master_key.clone())
    }

    pub(super) fn is_master_key(&self, clear: &str) -> bool {
        self.master_key().matches(clear)
    }

    pub(super) fn rules(&self) -> Rules {
        (self.0.hooks.rules)()
    }

    pub(super) fn routes(&self) -> Routes {
        (self.0.hooks.routes)()
    }

    pub(super) fn now(&self) -> WallMs {
        clock::now()
    }

    /// Now, on the clock that budget periods follow.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            now: self.now(),
            zone: self.registry().zone().clone(),
        }
    }

    pub(super) async fn flush_spend(&self) {
        (self.0.hooks.flush_spend)().await;
    }

    /// Counts what other nodes spent of keys until now, so that what is shown is what is stored.
    pub(super) async fn look_at_others(&self, keys: impl IntoIterator<Item = KeyHash>) {
        let scopes = keys
            .into_iter()
            .map(|key| Scope::new(ScopeKind::Key, key.to_string()));
        (self.0.hooks.look_at_others)(scopes.collect()).await;
    }

    pub(super) fn metrics_text(&self) -> String {
        (self.0.hooks.metrics)()
    }

    pub(super) fn price_map(&self) -> PriceMap {
        (self.0.hooks.price_map)()
    }

    pub(super) async fn reload_prices(&self) -> Result<usize, String> {
        (self.0.hooks.reload_prices)().await
    }

    pub(super) fn cache(&self) -> Option<Arc<Cache>> {
        self.0.hooks.cache.clone()
    }

    pub(super) fn readiness(&self) -> Readiness {
        (self.0.hooks.readiness)()
    }

    pub(super) async fn find_key(&self, key: KeyHash) -> Result<(), GatewayError> {
        (self.0.hooks.find_key)(key).await
    }

    pub(super) fn check_fresh(&self, home: &str) -> Result<(), GatewayError> {
        (self.0.hooks.check_fresh)(home)
    }

    pub(super) fn propagation(&self) -> Option<Propagation> {
        (self.0.hooks.propagation)()
    }

    pub(super) fn rights(&self) -> Option<Arc<Rights>> {
        self.0.hooks.rights.clone()
    }

    pub(super) fn in_flight(&self) -> u64 {
        (self.0.hooks.in_flight)()
    }

    pub(super) fn deployments(&self) -> Vec<DeploymentHealth> {
        (self.0.hooks.deployments)()
    }
}

/// The scope whose counters a write begins. A rotated key's go on.
fn begins_to_count(write: &RecordWrite) -> Option<Scope> {
    let begins = write.replaces.is_none() && !matches!(write.spend, SpendChange::Move(_));
    begins.then(|| write.record.scope()).flatten()
}
