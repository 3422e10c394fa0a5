//! What requests share: rules, keys, journal, meters, pools.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLockReadGuard};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use meridian_core::budget::Terms;
use meridian_core::ids::KeyHash;
use meridian_core::meters::{Crossing, Decides, Due, Meters, Whose};
use meridian_core::period::BudgetDuration;

use crate::byte_budget::ByteBudget;
use crate::cache::Cache;
use crate::clock;
use crate::escrow::Rights;
use crate::journal::Journal;
use crate::owners::Owners;
use crate::records::{Lookups, Records};
use crate::registry::Registry;
use crate::remote::Remote;
use crate::routing::Routing;
use crate::rules::Rules;
use crate::shared::Link;
use crate::telemetry::logs::{redact_callers, whose};
use crate::telemetry::metrics::Metrics;
use crate::turnstile::Turnstile;
use crate::upstream::{Origin, Upstreams};

/// Bytes of management requests held at the same time.
const ADMIN_BYTES_MAX: u64 = 64 << 20;

/// Everything a request touches; nothing in it is waited for but the upstream.
pub struct State {
    /// Configuration and prices; loaded once per request.
    pub rules: ArcSwap<Rules>,
    /// Virtual keys and their scopes.
    pub registry: Arc<Registry>,
    /// Counters of the master key, which has no limits.
    pub master_meters: Arc<Meters>,
    /// Budgets that every request is charged to besides its key's: the installation's.
    pub shared_budgets: Vec<Due>,
    /// The spend journal.
    pub journal: Arc<Journal>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Connections to providers and to the admin server.
    pub upstreams: Upstreams,
    /// What is known of deployments.
    pub routing: Arc<Routing>,
    /// Whether it is shared with the region.
    pub link: Arc<Link>,
    /// Bytes held in memory for requests to providers.
    pub bytes: Arc<ByteBudget>,
    /// The same for management, whose bodies come before their credential is checked.
    pub admin_bytes: Arc<ByteBudget>,
    /// True once running requests are told to end now.
    pub cut: watch::Sender<bool>,
    /// Held while rules are replaced, so that two reloads do not undo each other.
    reloading: Mutex<()>,
    /// Who made which stored response, file or batch.
    pub owners: Owners,
    /// Batches that somebody has read and that are over: they are billed.
    pub batches_over: mpsc::Sender<String>,
    /// The way to what requests name on the web.
    pub remote: Remote,
    /// Cached answers; `None` where there is no cache.
    pub cache: Option<Arc<Cache>>,
    /// Where the routes go that the data plane does not serve itself.
    pub admin: Origin,
    /// Whether management is among them; not with `--role gateway`.
    pub serves_management: bool,
    /// Whether requests for models are served; not with `--role admin`.
    pub serves_models: bool,
    /// Name of this node's region.
    pub region: Option<String>,
    /// Who looks for keys that are not in memory; `None` where all keys are.
    pub lookups: Option<Lookups>,
    /// The copy of what the nodes of a region share; `None` where nothing is shared.
    pub records: Option<Arc<Records>>,
    /// Rights in budgets that nodes share; `None` where this node is the only one.
    pub rights: Option<Arc<Rights>>,
    /// Requests being served.
    pub in_flight: AtomicU64,
    /// Connections of clients.
    pub connections: AtomicU64,
    /// True once requests on new connections are turned away, and connections end that do not ask
    /// for anything.
    pub closing: watch::Sender<bool>,
    /// True once connections are told not to stay.
    pub leaving: watch::Sender<bool>,
    /// True once requests are let in: until then another process may serve here.
    pub serving: watch::Sender<bool>,
    /// True once another process serves in this one's place.
    pub replaced: watch::Sender<bool>,
    /// Management calls wait while a new process reads what they would change.
    pub turnstile: Turnstile,
    /// Admitted requests that are not settled.
    pub reservations: AtomicU64,
    draining: AtomicBool,
    closed: AtomicBool,
}

/// The parts of a `State`.
pub struct Parts {
    /// First version of the rules.
    pub rules: Rules,
    /// Virtual keys and their scopes.
    pub registry: Arc<Registry>,
    /// The installation's own budgets.
    pub shared_budgets: Vec<Due>,
    /// The spend journal.
    pub journal: Arc<Journal>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// Connection pools.
    pub upstreams: Upstreams,
    /// What is known of deployments.
    pub routing: Arc<Routing>,
    /// Whether it is shared with the region.
    pub link: Arc<Link>,
    /// Who made which stored response, file or batch.
    pub owners: Owners,
    /// Takes batches that are over.
    pub batches_over: mpsc::Sender<String>,
    /// Cached answers.
    pub cache: Option<Arc<Cache>>,
    /// Where the routes go that the data plane does not serve itself.
    pub admin: Origin,
    /// Whether management is among them.
    pub serves_management: bool,
    /// Whether requests for models are served.
    pub serves_models: bool,
    /// Name of this node's region.
    pub region: Option<String>,
    /// Who looks for keys that are not in memory; `None` where all keys are.
    pub lookups: Option<Lookups>,
    /// The copy of what the nodes of a region share; `None` where nothing is shared.
    pub records: Option<Arc<Records>>,
    /// Rights in budgets that nodes share.
    pub rights: Option<Arc<Rights>>,
}

impl State {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts {
            rules,
            registry,
            shared_budgets,
            journal,
            metrics,
            upstreams,
            routing,
            link,
            owners,
            batches_over,
            cache,
            admin,
            serves_management,
            serves_models,
            region,
            lookups,
            records,
            rights,
        } = parts;
        let master = rules
            .config
            .general
            .master_key
            .as_ref()
            .map_or("", |key| key.reveal());
        let master = KeyHash::of_secret(master);
        let master_meters = Meters::unlimited(master, registry.zone(), clock::now());
        let bytes = ByteBudget::new(rules.config.meridian.buffered_bytes_max);
        let of_customers = rules.config.new_keys.customer_budget.as_deref();
        registry.set_customer_budget(of_customers, clock::now());
        Arc::new(Self {
            rules: ArcSwap::from_pointee(rules),
            registry,
            master_meters: Arc::new(master_meters),
            shared_budgets,
            journal,
            metrics,
            upstreams,
            routing,
            link,
            bytes,
            admin_bytes: ByteBudget::new(ADMIN_BYTES_MAX),
            cut: watch::Sender::new(false),
            reloading: Mutex::new(()),
            owners,
            batches_over,
            remote: Remote::default(),
            cache,
            admin,
            serves_management,
            serves_models,
            region,
            lookups,
            records,
            rights,
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            closing: watch::Sender::new(false),
            leaving: watch::Sender::new(false),
            serving: watch::Sender::new(false),
            replaced: watch::Sender::new(false),
            turnstile: Turnstile::default(),
            reservations: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    /// What decides about budgets.
    pub fn decides(&self) -> Decides {
        match self.rights {
            Some(_) => Decides::Rights,
            None => Decides::Count,
        }
    }

    /// Held while a request is settled and its CLOSE is written: one step for who writes rows.
    pub fn closing(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.rights.as_ref().map(|rights| rights.closing())
    }

    /// Soft budgets never refuse: they are told once when they are passed.
    pub fn report_crossings(&self, crossings: &[Crossing]) {
        for crossing in crossings {
            let (kind, id) = match &crossing.whose {
                Whose::Key(key) => ("key", key.to_string()),
                Whose::Scope(scope) => (scope.kind.label(), scope.shown_id()),
                Whose::Installation => ("installation", String::new()),
                Whose::Routed(of) => (of.kind.label(), of.id.clone()),
            };
            let (soft, spent) = (crossing.soft, crossing.spent);
            tracing::warn!(scope = kind, id = %whose(id), %soft, %spent, "soft_budget_crossed");
            self.metrics.soft_budget_crossed(kind);
        }
    }

    /// From now on connections are closed after their request and readiness says no.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
        self.leaving.send_replace(true);
    }

    /// From now on requests on new connections are turned away, and connections that wait for a
    /// request end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.send_replace(true);
    }

    /// Whether this process does for its node what only one may do: another one did before it
    /// served, and another one does since it was replaced.
    pub fn is_in_charge(&self) -> bool {
        *self.serving.borrow() && !self.is_replaced()
    }

    /// Whether another process serves at the same place.
    pub fn is_replaced(&self) -> bool {
        *self.replaced.borrow()
    }

    /// Whether requests on new connections are turned away.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Puts new rules in force for requests that arrive from now on. `make` gets the ones they
    /// replace; calls wait for each other.
    pub fn update_rules(&self, make: impl FnOnce(&Rules) -> Rules) {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let rules = make(&self.rules.load());
        self.bytes.set_max(rules.config.meridian.buffered_bytes_max);
        let of_customers = rules.config.new_keys.customer_budget.as_deref();
        self.registry
            .set_customer_budget(of_customers, clock::now());
        redact_callers(rules.config.settings.redact_callers);
        let budget = rules.config.settings.budget.as_ref();
        if let Some((shared, budget)) = self.shared_budgets.first().zip(budget) {
            let duration = budget.duration.as_deref().and_then(BudgetDuration::parse);
            let limit = Some(budget.max);
            let terms = Terms {
                limit,
                duration,
                ..Terms::default()
            };
            shared.meters.budget().update(terms, clock::now());
        }
        self.registry
            .set_routed(&rules.config.routed_budgets(), clock::now());
        if let Some(rights) = &self.rights {
            rights.set_policy(rules.config.meridian.budget_policy);
        }
        self.rules.store(Arc::new(rules));
    }
}
