//! The only wiring: what is started in which order, and stopped in which.
//!
//! Order matters for money: journal and store come up and every earlier record is in the ledger
//! before the first key is loaded; the last record is in the ledger before the process ends.

mod answers;
mod budgets;
mod copies;
mod first_steps;
mod force;
mod keep;
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

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::{self, Config, Loaded};
use meridian_core::health::Coordination;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::listening::Service;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use copies::Copies;
use memory::InForce;
use sharing::Sharing;

use crate::cache::Cache;
use crate::cli::{Role, ServeArgs};
use crate::config_load;
use crate::credentials::Credentials;
use crate::journal::Drain;
use crate::merged::Merged;
use crate::owners::ResponseOwners;
use crate::plane::Front;
use crate::price_source::PriceSource;
use crate::priority;
use crate::records::Memory;
use crate::registry::Registry;
use crate::routing::Routing;
use crate::rules::Rules;
use crate::shared::{Link, Sharer};
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
/// Name of the consumer that fills the store.
const STORE_CONSUMER: &str = "store";

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
    let logs = telemetry::logs::start(&log_options(&config, env));
    // Held to the end: dropping it writes the last lines.
    let _logs = logs.map_err(|error| StartError::Log(error.to_string()))?;
    report_warnings(&loaded);
    let address = address(args, &config);
    check_address(&address)?;
    let first_start = first_steps::take_master_key(&mut config, &args.data_dir)?;
    let control = control_runtime()?;
    let source = loaded.source.clone().ok_or(StartError::Config)?;
    let merged = Merged::new(source, config.general.master_key.clone());
    let opened = control.block_on(open(args, env, (config, merged)))?;
    let gateway = opened.start(&control, args, env, &loaded)?;
    let server = listener(&gateway.state, &address, args)?;
    first_steps::print(args, &gateway.state, &address, first_start.as_deref());
    let signal = shutdown::Signal::new(Arc::clone(&gateway.state));
    server.run(RunArgs {
        shutdown_signal: Box::new(signal),
    });
    gateway.stop(&control);
    Ok(())
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

fn address(args: &ServeArgs, config: &Config) -> String {
    if args.role == Role::Admin {
        let bind = config.meridian.admin_bind;
        let host = if args.host == "0.0.0.0" {
            bind.ip().to_string()
        } else {
            args.host.clone()
        };
        return join_address(&host, args.port.unwrap_or(bind.port()));
    }
    join_address(&args.host, args.port.unwrap_or(4000))
}

fn join_address(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Pingora panics on an address it cannot bind; a person gets a sentence instead.
fn check_address(address: &str) -> Result<(), StartError> {
    let bound = std::net::TcpListener::bind(address);
    bound.map(drop).map_err(|error| StartError::Listen {
        address: address.to_owned(),
        error,
    })
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

/// Buffers of a client's connection. Reads go straight to the session's own buffer: Pingora's
/// default of another 64 KiB would be most of what an idle stream costs. Head and body of a usual
/// answer leave in one write.
const LISTENER_BUFFERS: L4BufferSettings = L4BufferSettings {
    read: Some(0),
    write: Some(4 * 1024),
};

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
}

/// A running gateway.
struct Gateway {
    state: Arc<State>,
    drain: Arc<Drain>,
    stop: watch::Sender<bool>,
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
    (config, merged): (Config, Merged),
) -> Result<Opened, StartError> {
    let merged = Arc::new(merged);
    let data_dir = args.data_dir.as_path();
    let (journal, rows) = open_store::journal(&config, data_dir)?;
    let sharing = Sharing::new(&config, &journal, rows);
    let (store, up) = open_store::open(&config, data_dir).await?;
    let metrics = metrics(&config)?;
    let registry = Arc::new(Registry::new(budgets::zone(&config)));
    let in_force = Arc::new(InForce::new(Arc::clone(&registry), Arc::clone(&merged)));
    let mut copies = match config.database.is_some() {
        true => Some(Copies::open(copies::Parts {
            config: &config,
            env,
            data_dir,
            journal: &journal,
            store: &store,
            metrics: &metrics,
            memory: Arc::clone(&in_force) as Arc<dyn Memory>,
        })?),
        false => None,
    };
    registry.set_complete(copies.as_ref().is_none_or(|copies| copies.is_complete()));
    let drain = Drain::new(Arc::clone(&journal), store.clone(), STORE_CONSUMER);
    keep::tell(&drain, &config);
    match &mut copies {
        Some(copies) => copies.catch_up(&journal, &drain, up).await,
        None if drain.flush(FIRST_DRAIN_TIMEOUT).await => {
            budgets::load(&store, &registry).await?;
            merged.load(&store).await?;
        }
        None => return Err(StartError::Ledger),
    }
    let config = merged.config().unwrap_or(config);
    let spent = (up, in_force.saved());
    let shared_budgets = budgets::shared(&store, &config, &registry, spent).await?;
    let prices = Arc::new(prices::open(&config, env)?);
    let routing = Routing::new();
    let known = (Arc::clone(&routing), Credentials::new());
    let cache = config.cache.as_ref().map(Cache::new);
    let shares = config.redis.is_some() && args.role != Role::Admin;
    let state = State::new(Parts {
        region: config.routing.regions.own.clone(),
        upstreams: Upstreams::new(upstream_options(&config)),
        rules: Rules::build(Arc::new(config), prices.book(), known, 1),
        routing,
        link: Arc::new(Link::new(shares)),
        registry,
        shared_budgets,
        journal,
        metrics,
        owners: ResponseOwners::new(store.clone()),
        cache: cache.map(Arc::new),
        admin: management::socket_origin(data_dir),
        serves_management: args.role == Role::All,
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
        } = self;
        let (stop, stopped) = watch::channel(false);
        let snapshot = copies.map(|copies| copies.start(control, &stopped));
        let sharing = sharing.map(|it| {
            let config = &state.rules.load().config;
            let at = sharing::address(config, &address(args, config));
            it.start(control, &state, &store, (env, at), &stopped)
        });
        let draining = Arc::clone(&drain);
        let stop_drain = stopped.clone();
        let registry = Arc::clone(&state.registry);
        if let Some(others) = others::Others::new(registry, store.clone(), Arc::clone(&drain)) {
            control.spawn(others.run(stopped.clone()));
        }
        control.spawn(async move { draining.run(stop_drain).await });
        let keeper = keep::Keeper {
            state: Arc::clone(&state),
            store: store.clone(),
            prices: Arc::clone(&prices),
            borrowed: HashMap::new(),
            drain: Arc::clone(&drain),
        };
        control.spawn(keeper.run(stopped.clone()));
        control.spawn(Arc::clone(state.rules.load().credentials()).run(stopped.clone()));
        let reloader = reload::Reloader {
            state: Arc::clone(&state),
            prices: Arc::clone(&prices),
            merged: Arc::clone(&merged),
            config: args.config.clone(),
            files: loaded.files.clone(),
            env: env.clone(),
        };
        control.spawn(reloader.run(stopped.clone()));
        if args.role != Role::Admin {
            let prober = probes::Prober::new(Arc::clone(&state), store.clone());
            control.spawn(prober.run(stopped.clone()));
        }
        let cached = state
            .cache
            .clone()
            .map(|cache| answers::start(cache, &stopped));
        if let Some(sharer) = sharer(&state) {
            control.spawn(sharer.run(stopped.clone()));
        }
        let admin = management::Management {
            state: Arc::clone(&state),
            store,
            drain: Arc::clone(&drain),
            prices,
            merged,
            in_force,
        };
        control.block_on(admin.start(args, &address(args, &state.rules.load().config), stopped))?;
        Ok(Gateway {
            state,
            drain,
            stop,
            _cached: cached.transpose()?,
            snapshot,
            sharing,
        })
    }
}

/// Who shares cooldowns with the region; `None` without Redis, and where nothing is routed.
fn sharer(state: &Arc<State>) -> Option<Sharer> {
    let redis = state.rules.load().config.redis.clone()?;
    let shares = state.link.coordination() != Coordination::Alone;
    shares.then(|| {
        let (routing, metrics) = (Arc::clone(&state.routing), Arc::clone(&state.metrics));
        let link = Arc::clone(&state.link);
        Sharer::new(redis, state.region.as_deref(), routing, link, metrics)
    })
}

impl Gateway {
    /// After the last request: its record goes into the store.
    fn stop(self, control: &Runtime) {
        if !control.block_on(self.drain.flush(LAST_DRAIN_TIMEOUT)) {
            tracing::warn!("records are left in the journal; the next start stores them");
        }
        // Nobody may be listening any more.
        let _ = self.stop.send(true);
        if let Some(snapshot) = self.snapshot {
            let _ = control.block_on(snapshot);
        }
        if let Some(sharing) = self.sharing {
            let _ = control.block_on(sharing);
        }
        tracing::info!("stopped");
    }
}

/// Pingora's server with the data plane on its listener.
fn listener(state: &Arc<State>, address: &str, args: &ServeArgs) -> Result<Server, StartError> {
    let threads = args
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let conf = ServerConf {
        threads: threads.unwrap_or(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    if args.role == Role::Admin {
        return Ok(server);
    }
    let plane = Front::new(Arc::clone(state));
    let mut service = Service::new("data plane".to_owned(), plane);
    let mut endpoint = ListenerConfig::tcp(address).l4_buffer(LISTENER_BUFFERS);
    match &state.rules.load().config.meridian.tls {
        None => {}
        Some(tls) => {
            let (cert, key) = (&tls.cert, &tls.key);
            let failed = |error| StartError::Tls(format!("{cert}, {key}: {error}"));
            let mut settings = TlsSettings::intermediate(cert, key).map_err(failed)?;
            settings.enable_h2();
            endpoint = endpoint.tls(settings);
        }
    }
    service.add_listener(endpoint);
    server.add_service(service);
    Ok(server)
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
