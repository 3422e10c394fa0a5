//! The management API on its own runtime, over a Unix socket behind the data plane.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use meridian_core::auth::KeyView;
use meridian_core::error::GatewayError;
use meridian_core::health::{Propagation, Readiness};
use meridian_core::ids::KeyHash;
use meridian_core::time::WallMs;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::memory::InForce;
use super::others::Others;
use super::{StartError, passive, probes};
use crate::admin::{
    self, AdminState, Changed, CheckFresh, FindKey, Hooks, LookAtOthers, PriceMap, Routes,
};
use crate::clock;
use crate::escrow::Status;
use crate::journal::Drain;
use crate::merged::Merged;
use crate::price_source::{self, PriceSource};
use crate::records::{Answer, StoreState};
use crate::state::State;
use crate::store::Store;
use crate::telemetry::metrics::{Gauges, KeyBudget, RightsGauges};
use crate::upstream::Origin;

/// Longest path of a Unix socket that every system takes.
const SOCKET_PATH_MAX: usize = 100;
/// Keys whose budgets the metrics page shows.
const BUDGETS_SHOWN_MAX: usize = 1_000;
/// Age of a record that waits for the store, in milliseconds, from which the store counts as down.
const STORE_LAG_MAX_MS: u64 = 10_000;
/// Longest wait of a report for the newest records.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks at the health of deployments.
const HEALTH_LOOK: Duration = Duration::from_secs(2);

/// The management API and what it needs.
pub(super) struct Management {
    pub(super) state: Arc<State>,
    pub(super) store: Store,
    pub(super) drain: Arc<Drain>,
    pub(super) prices: Arc<PriceSource>,
    pub(super) merged: Arc<Merged>,
    pub(super) in_force: Arc<InForce>,
    /// Who looks for what other nodes spent; `None` where nobody else uses the store.
    pub(super) others: Option<Arc<Others>>,
}

/// Address of the management API's socket. A data directory with a long path gets one in the
/// system's folder for temporary files, named by the process.
pub(super) fn socket_origin(data_dir: &Path) -> Origin {
    Origin::Unix {
        path: socket_path(data_dir).display().to_string(),
    }
}

fn socket_path(data_dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let path = absolute.join("admin.sock");
    match path.as_os_str().len() <= SOCKET_PATH_MAX {
        true => path,
        false => {
            // The same for the process that takes this one's place.
            let digest = KeyHash::of_secret(&absolute.to_string_lossy()).to_string();
            std::env::temp_dir().join(format!("meridian-{}.sock", digest.get(..16).unwrap_or("")))
        }
    }
}

/// The management API's socket under the name that only its maker knows, until it is to be asked.
#[derive(Debug)]
pub(super) struct Shade {
    path: PathBuf,
    made: PathBuf,
}

impl Shade {
    /// From now on this process is asked, and no other one that was before.
    pub(super) fn lift(&self) -> std::io::Result<()> {
        std::fs::rename(&self.made, &self.path)
    }
}

impl Management {
    /// Starts listening; serving goes on in the background until `stop` turns true or another
    /// process serves in this one's place. Its socket is not asked until the shade is lifted.
    pub(super) async fn start(
        self,
        data_dir: &Path,
        stop: watch::Receiver<bool>,
    ) -> Result<Shade, StartError> {
        let replaced = self.state.replaced.subscribe();
        let state = self.admin_state()?;
        tokio::spawn(look_at_health(state.clone(), stop.clone()));
        tokio::spawn(admin::record_newcomers(state.clone(), stop.clone()));
        let router = admin::router(state);
        let stopped = stopped(stop, replaced);
        let path = socket_path(data_dir);
        let made = path.with_extension("new");
        // Left behind by a process that was killed; the directory is locked by this one.
        let _ = std::fs::remove_file(&made);
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopped);
            report(served.await);
        });
        Ok(Shade { path, made })
    }

    fn admin_state(self) -> Result<AdminState, StartError> {
        let rules = self.state.rules.load_full();
        let master_key = rules
            .config
            .general
            .master_key
            .clone()
            .ok_or(StartError::Config)?;
        let registry = Arc::clone(&self.state.registry);
        let store = self.store.clone();
        Ok(AdminState::new(store, registry, master_key, self.hooks()))
    }

    fn hooks(self) -> Hooks {
        let Self {
            state,
            drain,
            prices,
            merged,
            in_force,
            others,
            ..
        } = self;
        let shown = Arc::clone(&merged);
        let [
            for_rules,
            for_metrics,
            for_ready,
            for_flight,
            for_deployments,
            for_prices,
            for_routing,
            for_tests,
        ] = std::array::from_fn(|_| Arc::clone(&state));
        let cache = state.cache.clone();
        let (flushed, waiting, lagging) = (Arc::clone(&drain), Arc::clone(&drain), drain);
        Hooks {
            rules: Box::new(move || {
                let rules = for_rules.rules.load();
                let (config, prices) = (Arc::clone(&rules.config), Arc::clone(&rules.prices));
                admin::Rules { config, prices }
            }),
            routes: Box::new(move || Routes {
                rules: for_routing.rules.load_full(),
                known: Arc::clone(&for_routing.routing),
            }),
            flush_spend: Box::new(move || {
                let drain = Arc::clone(&flushed);
                Box::pin(async move {
                    if !drain.flush(FLUSH_TIMEOUT).await {
                        tracing::warn!("a report is answered without the newest records");
                    }
                })
            }),
            look_at_others: look_at_others(others),
            metrics: Box::new(move || metrics(&for_metrics, &lagging, &shown)),
            price_map: price_map(&prices),
            reload_prices: Box::new(move || {
                let (state, prices) = (Arc::clone(&for_prices), Arc::clone(&prices));
                Box::pin(async move { reload_prices(&state, &prices).await })
            }),
            readiness: Box::new(move || Readiness {
                loaded: true,
                // A check that still comes here must not take the node out: another process serves.
                draining: for_ready.is_draining() && !for_ready.is_replaced(),
                store_up: store_up(&for_ready, &waiting),
                coordination: for_ready.link.coordination(),
            }),
            in_flight: Box::new(move || for_flight.in_flight.load(Ordering::Relaxed)),
            deployments: Box::new(move || passive::health(&for_deployments)),
            cache,
            find_key: find_key(&state),
            check_fresh: check_fresh(&state),
            propagation: propagation(&state),
            rights: state.rights.clone(),
            changed: changed(state, in_force),
            merged,
            test: Box::new(move |config, id| {
                let state = Arc::clone(&for_tests);
                Box::pin(probes::test(state, config, id))
            }),
        }
    }
}

fn price_map(prices: &Arc<PriceSource>) -> Box<dyn Fn() -> PriceMap + Send + Sync> {
    let prices = Arc::clone(prices);
    Box::new(move || {
        let settings = prices.settings();
        PriceMap {
            remote: prices.current().origin == price_source::Origin::Url,
            url: settings.url.clone(),
            forced: settings.local,
        }
    })
}

fn look_at_others(others: Option<Arc<Others>>) -> LookAtOthers {
    Box::new(move |scopes| {
        let others = others.clone();
        Box::pin(async move {
            if let Some(others) = others {
                others.ask(scopes).await;
            }
        })
    })
}

fn find_key(state: &Arc<State>) -> FindKey {
    let lookups = state.lookups.clone();
    Box::new(move |key| {
        let lookups = lookups.clone();
        Box::pin(async move {
            let Some(lookups) = lookups else {
                return Ok(());
            };
            match lookups.find(key).await {
                Answer::Known | Answer::Absent => Ok(()),
                Answer::Unavailable => Err(GatewayError::KeysUnavailable {
                    retry_after_s: Answer::RETRY_AFTER_S,
                }),
            }
        })
    })
}

fn check_fresh(state: &Arc<State>) -> CheckFresh {
    let records = state.records.clone();
    Box::new(move |home| match &records {
        Some(records) => records.check_fresh(home, clock::now()),
        None => Ok(()),
    })
}

fn propagation(state: &Arc<State>) -> Box<dyn Fn() -> Option<Propagation> + Send + Sync> {
    let records = state.records.clone();
    Box::new(move || records.as_ref().map(|records| records.status().show()))
}

/// What a call wrote holds here before it is answered, and is told to others.
fn changed(state: Arc<State>, in_force: Arc<InForce>) -> Changed {
    Box::new(move |written| match &state.records {
        Some(records) => records.changed_here(written),
        None => in_force.take(written.iter().map(|one| (one, None))),
    })
}

/// Loads the price map anew and puts it in force; the number of models in it.
async fn reload_prices(state: &State, prices: &PriceSource) -> Result<usize, String> {
    let refreshed = prices.refresh(clock::now()).await;
    refreshed.map_err(|error| error.to_string())?;
    let book = prices.book();
    let models = book.len();
    state.update_rules(|old| old.with_prices(book));
    Ok(models)
}

/// Looks at deployments until `stop` turns true: what changes in between is told by no request.
async fn look_at_health(state: AdminState, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        state.look_at_health();
        let waited = tokio::time::timeout(HEALTH_LOOK, stop.changed()).await;
        if matches!(waited, Ok(Err(_))) {
            return;
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>, mut replaced: watch::Receiver<bool>) {
    // An error means that the sender is gone: the process ends.
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        _ = replaced.wait_for(|replaced| *replaced) => {}
    }
}

/// A shared store is asked every second or two; the embedded one is down when records wait for it.
fn store_up(state: &State, drain: &Drain) -> bool {
    match &state.records {
        Some(records) => records.status().store() == StoreState::Up,
        None => drain.lag_ms(clock::now()) < STORE_LAG_MAX_MS,
    }
}

fn report(served: std::io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "the management API stopped");
    }
}

fn metrics(state: &State, drain: &Drain, merged: &Merged) -> String {
    let rules = state.rules.load();
    let targets = rules.every_target();
    let now = clock::now();
    let budgets = state.registry.with_budget(BUDGETS_SHOWN_MAX, now);
    let key_budget = |key| key_budget(key, now);
    let page = state.metrics.render(&Gauges {
        requests_in_flight: state.in_flight.load(Ordering::Relaxed),
        buffered_bytes: state.bytes.used(),
        journal_bytes: state.journal.bytes(),
        journal_lag: Duration::from_millis(drain.lag_ms(clock::now())),
        ledger_records: drain.drained(),
        records_left_out: merged.left_out().len() as u64,
        reservations_outstanding: state.reservations.load(Ordering::Relaxed),
        coordination: state.link.coordination(),
        propagation: match &state.records {
            Some(records) => records.status().show(),
            None => Propagation::default(),
        },
        rights: state
            .rights
            .as_ref()
            .map(|rights| rights_gauges(&rights.status())),
        now,
        key_budgets: budgets.iter().map(key_budget).collect(),
        deployments: passive::gauges(&targets, &rules, &state.routing),
        cache: state.cache.as_ref().map(|cache| cache.gauges()),
        retry_budget_left: state.routing.retries.left_at(state.routing.now()),
    });
    String::from_utf8(page).unwrap_or_default()
}

fn rights_gauges(status: &Status) -> RightsGauges {
    RightsGauges {
        budgets: status.budgets,
        free: status.free,
        reserved: status.reserved,
        bound: status.bound,
        pending_decrease: status.pending_decrease,
        cut_off: status.cut_off,
        overdraft: status.overdraft,
        suspense: status.suspense,
        above: status.above,
        fenced: status.fenced,
        nodes: [status.nodes_near, status.nodes_far],
        mode: status.mode,
        links: status.links.clone(),
        asked: status.asked,
        waited: status.waited,
        forged: status.forged,
        limits: status.limits,
        silent: status.silent,
        left_out: status.left_out,
    }
}

fn key_budget(key: &Arc<KeyView>, now: WallMs) -> KeyBudget<'_> {
    let budget = key.meters().budget();
    let limit = budget.limit(now).unwrap_or_default();
    let left_ms = |at: WallMs| u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0);
    KeyBudget {
        key: key.policy.token,
        alias: key.policy.alias.as_deref(),
        limit,
        remaining: limit.saturating_sub(key.meters().spent(now)),
        resets_in: budget
            .resets_at(now)
            .map(|at| Duration::from_millis(left_ms(at))),
    }
}
