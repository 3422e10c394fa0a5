//! The only wiring: what is started in which order, and stopped in which.
//!
//! Order matters for money: journal and store come up and every earlier record is in the ledger
//! before the first key is loaded; the last record is in the ledger before the process ends.

mod answers;
mod batches;
mod budgets;
mod call;
mod copies;
mod deployments;
mod door;
mod first_steps;
mod force;
mod handover;
mod keep;
mod lives;
mod management;
mod memory;
mod open_store;
mod others;
mod passive;
mod prices;
mod probes;
mod reload;
mod sharing;
mod shutdown;
mod supervisor;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::{self, Config, Loaded};
use pingora_core::server::RunArgs;
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use copies::Copies;
use door::Door;
use handover::Predecessor;
use lives::Heir;
use management::Shade;
use memory::InForce;
use sharing::Sharing;
use supervisor::Supervisor;

use crate::cache::Cache;
use crate::cli::{Role, ServeArgs};
use crate::config_load;
use crate::credentials::Credentials;
use crate::escrow::Identity;
use crate::journal::Drain;
use crate::merged::Merged;
use crate::owners::Owners;
use crate::price_source::PriceSource;
use crate::priority;
use crate::records::Memory;
use crate::registry::Registry;
use crate::routing::Routing;
use crate::rules::Rules;
use crate::state::{Parts, State};
use crate::store::Store;
use crate::telemetry;
use crate::telemetry::metrics::{Metrics, MetricsOptions};
use crate::upstream::{UpstreamOptions, Upstreams};

/// Threads of everything that is not traffic: management, drain, reload.
const CONTROL_THREADS: usize = 2;
/// Longest wait for the last records to reach the store at shutdown; what is not there then is
/// drained by the next start.
const LAST_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an earlier process's records to reach the store.
const FIRST_DRAIN_TIMEOUT: Duration = Duration::from_secs(600);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors; they were printed.
    #[error("the configuration has errors")]
    Config,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Host and port.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificate or key cannot be used.
    #[error("tls: {0}")]
    Tls(String),
    /// The data directory cannot be used.
    #[error("data directory {path}: {error}")]
    DataDir {
        /// Its path.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// The store cannot be opened.
    #[error("store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The snapshot of records cannot be read.
    #[error("snapshot of records: {0}")]
    Snapshot(String),
    /// Earlier records did not reach the store.
    #[error("the journal's records cannot be stored; see the log")]
    Ledger,
    /// Prices cannot be read.
    #[error("prices: {0}")]
    Prices(#[from] crate::price_source::PriceSourceError),
    /// This process was started to take another one's place and cannot.
    #[error("cannot take over: {0}")]
    TakeOver(std::io::Error),
    /// The log cannot be set up.
    #[error("log: {0}")]
    Log(String),
    /// A table of metrics is wrong.
    #[error("metrics: {0}")]
    Metrics(String),
    /// The system refuses threads or sockets.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// `meridian serve`.
pub fn serve(args: &ServeArgs, env: &HashMap<String, String>) -> ExitCode {
    match run(args, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config) => ExitCode::FAILURE,
        Err(error) => {
            // The log may not be set up yet, and a unit file shows standard error.
            let _ = writeln!(std::io::stderr(), "meridian: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ServeArgs, env: &HashMap<String, String>) -> Result<(), StartError> {
    let loaded = config_load::load_from(args.config.as_deref(), env);
    let mut config = accepted(&loaded)?;
    telemetry::logs::redact_callers(config.settings.redact_callers);
    let logs = telemetry::logs::start(&log_options(&config, env));
    // Held to the end: dropping it writes the last lines.
    let _logs = logs.map_err(|error| StartError::Log(error.to_string()))?;
    report_warnings(&loaded);
    let address = door::address(args, &config);
    let predecessor = Predecessor::of(env).map_err(StartError::TakeOver)?;
    if predecessor.is_none() {
        door::check_address(&address)?;
    }
    let first_start = first_steps::take_master_key(&mut config, &args.data_dir)?;
    let control = control_runtime()?;
    let source = loaded.source.clone().ok_or(StartError::Config)?;
    let merged = Arc::new(Merged::new(source, config.general.master_key.clone()));
    let opened = control.block_on(open(args, env, (config, merged), predecessor.as_ref()))?;
    let gateway = opened.start(&control, args, env, &loaded)?;
    first_steps::print(args, &gateway.state, &address, first_start.as_deref());
    gateway.serve(&control, args, &address, (predecessor, Supervisor::of(env)))
}

/// The configuration, unless it has errors: then they are printed.
fn accepted(loaded: &Loaded) -> Result<Config, StartError> {
    let Some(config) = loaded.config.clone() else {
        let mut err = std::io::stderr().lock();
        for problem in &loaded.problems {
            let _ = writeln!(err, "{problem}");
        }
        return Err(StartError::Config);
    };
    Ok(config)
}

fn report_warnings(loaded: &Loaded) {
    for problem in &loaded.problems {
        match problem.severity {
            config::Severity::Notice => tracing::info!(%problem, "configuration"),
            _ => tracing::warn!(%problem, "configuration"),
        }
    }
}

fn control_runtime() -> Result<Runtime, StartError> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .on_thread_start(priority::yield_to_requests)
        .enable_all()
        .build();
    Ok(built?)
}

/// Everything that is open before a request is served.
struct Opened {
    state: Arc<State>,
    store: Store,
    drain: Arc<Drain>,
    prices: Arc<PriceSource>,
    merged: Arc<Merged>,
    in_force: Arc<InForce>,
    copies: Option<Copies>,
    sharing: Option<Sharing>,
    heir: Heir,
    batches_over: mpsc::Receiver<String>,
}

/// A running gateway.
struct Gateway {
    state: Arc<State>,
    drain: Arc<Drain>,
    stop: watch::Sender<bool>,
    /// Lifted when requests are let in.
    shade: Shade,
    /// Dropped without waiting: what it does is nobody's answer.
    _cached: Option<answers::Thread>,
    /// Ends when the last snapshot is written.
    snapshot: Option<JoinHandle<()>>,
    /// Ends when this node's rights are given back.
    sharing: Option<JoinHandle<()>>,
}

async fn open(
    args: &ServeArgs,
    env: &HashMap<String, String>,
    (config, merged): (Config, Arc<Merged>),
    predecessor: Option<&Predecessor>,
) -> Result<Opened, StartError> {
    let place @ (data_dir, _) = (args.data_dir.as_path(), predecessor.is_some());
    let (life, store, up) = open_store::with_place(&config, place).await?;
    let (journal, recovery) = open_store::journal(&config, life)?;
    let gone = Identity::of_retired(data_dir);
    let sharing = Sharing::new(&config, &journal, recovery.rows, gone);
    let metrics = metrics(&config)?;
    let registry = Arc::new(Registry::new(budgets::zone(&config)));
    let in_force = Arc::new(InForce::new(Arc::clone(&registry), Arc::clone(&merged)));
    let mut copies = Copies::open(copies::Parts {
        config: &config,
        env,
        journal: &journal,
        store: &store,
        metrics: &metrics,
        memory: Arc::clone(&in_force) as Arc<dyn Memory>,
    })?;
    registry.set_complete(copies.as_ref().is_none_or(|copies| copies.is_complete()));
    let drain = keep::drain(&journal, &store, &config);
    let mut heir = Heir::new(data_dir, &config, &store, journal.life());
    let before = (predecessor, up);
    match &mut copies {
        Some(copies) => heir.look(copies, &journal, &drain, before).await?,
        None => heir.load(&drain, predecessor, (&registry, &merged)).await?,
    }
    let config = merged.config().unwrap_or(config);
    let shared_budgets = budgets::shared(&store, &config, &in_force, up).await?;
    let prices = Arc::new(prices::open(&config, env)?);
    let routing = Routing::new();
    let known = (Arc::clone(&routing), Credentials::new());
    let (told_over, batches_over) = mpsc::channel(batches::OVER_MAX);
    let state = State::new(Parts {
        region: config.routing.regions.own.clone(),
        upstreams: Upstreams::new(upstream_options(&config)),
        link: deployments::link(&config, args.role),
        cache: config.cache.as_ref().map(Cache::new).map(Arc::new),
        rules: Rules::build(Arc::new(config), prices.book(), known, 1),
        routing,
        registry,
        shared_budgets,
        journal,
        metrics,
        owners: Owners::new(store.clone()),
        batches_over: told_over,
        admin: management::socket_origin(data_dir),
        serves_management: args.role != Role::Gateway,
        serves_models: args.role != Role::Admin,
        lookups: copies.as_ref().map(|copies| copies.lookups.clone()),
        records: copies.as_ref().map(|copies| Arc::clone(&copies.records)),
        rights: sharing.as_ref().map(|sharing| Arc::clone(&sharing.rights)),
    });
    in_force.serve(&state);
    Ok(Opened {
        state,
        store,
        drain: Arc::new(drain),
        prices,
        merged,
        in_force,
        copies,
        sharing,
        heir,
        batches_over,
    })
}

fn metrics(config: &Config) -> Result<Arc<Metrics>, StartError> {
    let options = MetricsOptions {
        series_max: config.meridian.metrics_series_max,
        ..MetricsOptions::default()
    };
    let metrics = Metrics::new(&options);
    let metrics = Arc::new(metrics.map_err(|error| StartError::Metrics(error.to_string()))?);
    telemetry::report_panics(Arc::clone(&metrics));
    Ok(metrics)
}

impl Opened {
    /// Starts everything that runs beside the traffic.
    fn start(
        self,
        control: &Runtime,
        args: &ServeArgs,
        env: &HashMap<String, String>,
        loaded: &Loaded,
    ) -> Result<Gateway, StartError> {
        let Self {
            state,
            store,
            drain,
            prices,
            merged,
            in_force,
            copies,
            sharing,
            heir,
            batches_over,
        } = self;
        let (stop, stopped) = watch::channel(false);
        let snapshot = copies.map(|copies| copies.start(control, &stopped));
        let listens = door::address(args, &state.rules.load().config);
        let sharing =
            sharing.map(|it| it.start(control, &state, &store, (env, &listens), &stopped));
        let (draining, stop_drain) = (Arc::clone(&drain), stopped.clone());
        let others = others::start(control, &state, (&store, &drain), &stopped);
        control.spawn(heir.run(stopped.clone(), state.replaced.subscribe()));
        control.spawn(async move { draining.run(stop_drain).await });
        let keeper = keep::Keeper::new(&state, &store, &prices, &drain);
        control.spawn(keeper.run(stopped.clone()));
        control.spawn(Arc::clone(state.rules.load().credentials()).run(stopped.clone()));
        let hangup = control.block_on(async { unix::signal(SignalKind::hangup()) })?;
        let reloader = reloader(&state, (&prices, &merged), args, (env, loaded, hangup));
        control.spawn(reloader.run(stopped.clone()));
        deployments::look(control, &state, (&store, args.role), &stopped);
        if args.role != Role::Admin {
            let biller = batches::Biller::new(&state, (&store, &drain), batches_over);
            control.spawn(biller.run(stopped.clone()));
        }
        let cached = state
            .cache
            .clone()
            .map(|cache| answers::start(cache, &stopped));
        let admin = management::Management {
            state: Arc::clone(&state),
            store,
            drain: Arc::clone(&drain),
            prices,
            merged,
            in_force,
            others,
        };
        let shade = control.block_on(admin.start(&args.data_dir, stopped))?;
        Ok(Gateway {
            state,
            drain,
            stop,
            shade,
            _cached: cached.transpose()?,
            snapshot,
            sharing,
        })
    }
}

/// Who reads the files of this process anew when they change.
fn reloader(
    state: &Arc<State>,
    (prices, merged): (&Arc<PriceSource>, &Arc<Merged>),
    args: &ServeArgs,
    (env, loaded, hangup): (&HashMap<String, String>, &Loaded, unix::Signal),
) -> reload::Reloader {
    reload::Reloader {
        state: Arc::clone(state),
        prices: Arc::clone(prices),
        merged: Arc::clone(merged),
        config: args.config.clone(),
        files: loaded.files.clone(),
        seen: reload::stamp(&loaded.files),
        env: env.clone(),
        hangup,
    }
}

impl Gateway {
    /// Serves until a signal or another process ends it.
    fn serve(
        self,
        control: &Runtime,
        args: &ServeArgs,
        address: &str,
        (predecessor, supervisor): (Option<Predecessor>, Option<Arc<Supervisor>>),
    ) -> Result<(), StartError> {
        let signals = control.block_on(async { shutdown::Signals::new() })?;
        let taken_over = predecessor.as_ref().map(Predecessor::socket).transpose();
        let taken_over = taken_over.map_err(StartError::TakeOver)?;
        let door = Door::open(address, taken_over)?;
        let pulse = door.pulse();
        if let Some(supervisor) = supervisor.clone() {
            let (stop, replaced) = (self.stop.subscribe(), self.state.replaced.subscribe());
            control.spawn(supervisor.watch(pulse, stop, replaced));
        }
        let (state, shade) = (Arc::clone(&self.state), self.shade);
        let told = supervisor.clone();
        let opened = Box::new(move || open_up(&state, &shade, predecessor, told.as_deref()));
        let server = door::server(&self.state, &door, args, opened)?;
        let signal = shutdown::Signal {
            signals: Mutex::new(signals),
            state: Arc::clone(&self.state),
            drain: Arc::clone(&self.drain),
            door,
            supervisor,
            drain_delay: args.drain_delay.map(Duration::from_secs),
        };
        server.run(RunArgs {
            shutdown_signal: Box::new(signal),
        });
        // After the last request: its record goes into the store.
        if !control.block_on(self.drain.flush(LAST_DRAIN_TIMEOUT)) {
            tracing::warn!("records are left in the journal; the next start stores them");
        }
        // Nobody may be listening any more.
        let _ = self.stop.send(true);
        for last in [self.snapshot, self.sharing].into_iter().flatten() {
            let _ = control.block_on(last);
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Requests are let in: management is asked here, the process before lets nobody in any more.
fn open_up(
    state: &State,
    shade: &Shade,
    predecessor: Option<Predecessor>,
    supervisor: Option<&Supervisor>,
) {
    if let Err(error) = shade.lift() {
        tracing::error!(%error, "management cannot be reached");
    }
    if let Some(Err(error)) = predecessor.map(|predecessor| predecessor.serving()) {
        // It is gone; its socket is here.
        tracing::warn!(%error, "the process before did not wait");
    }
    state.serving.send_replace(true);
    if let Some(supervisor) = supervisor {
        supervisor.ready();
    }
}

fn log_options(config: &Config, env: &HashMap<String, String>) -> telemetry::logs::LogOptions {
    let terminal = std::io::stdout().is_terminal();
    telemetry::logs::LogOptions::of(env, config.settings.json_logs, terminal)
}

fn upstream_options(config: &Config) -> UpstreamOptions {
    let limits = &config.meridian;
    UpstreamOptions {
        connect_timeout: limits.connect_timeout,
        idle_timeout: limits.upstream_idle,
        dns_ttl: limits.dns_ttl,
        ca_file: limits.upstream_ca_file.clone(),
    }
}
