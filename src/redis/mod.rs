//! The way to Redis, for whoever needs it: one connection at a time, which is never repaired. When
//! a call fails or is late, the connection is over and its owner begins another one.

mod backoff;

use std::time::Duration;

use fred::interfaces::ClientLike;
use fred::prelude::{Builder, Client, Error, ErrorKind, ServerConfig};
use fred::types::ConnectHandle;
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, Server, TlsConfig, TlsConnector, TlsHostMapping,
};
use futures::FutureExt;
use meridian_core::config::{Place, Redis};

use crate::path_guard;

pub(crate) use backoff::Backoff;

/// Longest wait for a connection in the region.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for one of its steps, so that there is time for a second node.
const CONNECT_STEP_TIMEOUT: Duration = Duration::from_millis(750);
/// The same for a Redis in another region, a quarter of a second away.
const FAR_CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
const FAR_CONNECT_STEP_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest text of an error.
const ERROR_CHARS_MAX: usize = 200;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// No answer in time.
    #[error("no answer to {0} in time")]
    Late(&'static str),
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
    /// Redis, or the way to it, says no.
    #[error("{0}")]
    Refused(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        Self::Refused(text.chars().take(ERROR_CHARS_MAX).collect())
    }
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest wait for one command.
    pub(crate) call: Duration,
    /// Commands that wait to be written.
    pub(crate) commands_max: usize,
    /// Published messages that wait to be heard; of more, the oldest are lost.
    pub(crate) unheard_max: usize,
    /// How far away it is.
    pub(crate) distance: Distance,
}

/// Where a Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// In the region.
    Near,
    /// In another region.
    Far,
}

impl Distance {
    /// Longest wait for a connection: names, TCP, TLS, login, and asking Sentinels or cluster
    /// nodes, of which the first ones may be gone; and for one of these steps.
    fn connect(self) -> (Duration, Duration) {
        match self {
            Self::Near => (CONNECT_TIMEOUT, CONNECT_STEP_TIMEOUT),
            Self::Far => (FAR_CONNECT_TIMEOUT, FAR_CONNECT_STEP_TIMEOUT),
        }
    }
}

/// How to reach Redis.
#[derive(Debug)]
pub(crate) struct Door {
    config: Config,
}

/// A connection and the task that serves it. Dropping it closes the socket, also one that no
/// longer answers.
pub(crate) struct Connection {
    /// Sends commands; clones work as long as the connection stands.
    pub(crate) client: Client,
    task: ConnectHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Returns once it is closed.
    pub(crate) async fn closed(&mut self) -> Fault {
        let _ = (&mut self.task).await;
        Fault::Closed
    }
}

impl Door {
    /// Fails where the system's certificates cannot be read.
    pub(crate) fn new(redis: &Redis) -> Result<Self, Fault> {
        let cluster = matches!(redis.place, Place::Cluster(_));
        let tls = redis.tls.then(|| tls(cluster)).transpose()?;
        let config = Config {
            username: redis.username.clone(),
            password: redis.password.as_ref().map(|it| it.reveal().to_owned()),
            server: server(&redis.place),
            database: Some(redis.database).filter(|number| *number > 0 && !cluster),
            tls,
            ..Config::default()
        };
        Ok(Self { config })
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self, limits: Limits) -> Result<Connection, Fault> {
        let mut builder = Builder::from_config(self.config.clone());
        let (connect, step) = limits.distance.connect();
        builder.with_connection_config(|config| {
            config.connection_timeout = step;
            config.internal_command_timeout = step;
            config.max_command_attempts = 1;
            config.max_command_buffer_len = limits.commands_max;
            config.tcp.nodelay = Some(true);
        });
        builder.with_performance_config(|config| {
            config.default_command_timeout = limits.call;
            config.broadcast_channel_capacity = limits.unheard_max;
        });
        // Without a policy a connection that is lost stays lost: its owner begins anew.
        let client = builder.build()?;
        let mut connected = Box::pin(client.wait_for_connect());
        // Polled once, so that it waits before there is something to wait for.
        let early = connected.as_mut().now_or_never();
        let task = client.connect();
        let connection = Connection {
            client: client.clone(),
            task,
        };
        let outcome = match early {
            Some(outcome) => outcome,
            None => in_time("connecting", connect, connected).await?,
        };
        outcome?;
        Ok(connection)
    }
}

/// Waits for an answer as long as `limit`. Boxed: fred's futures take 20 KiB.
pub(crate) fn call<T>(
    what: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Fault>> {
    let answer = Box::pin(answer);
    async move { Ok(in_time(what, limit, answer).await??) }
}

/// Waits as long as `limit`.
pub(crate) async fn in_time<T>(
    what: &'static str,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Fault> {
    path_guard::asks("Redis");
    let waited = tokio::time::timeout(limit, future).await;
    waited.map_err(|_| Fault::Late(what))
}

/// Whether it is Redis itself that refuses this one command: the connection is well.
pub(crate) fn is_answer(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument | ErrorKind::InvalidCommand
    )
}

fn server(place: &Place) -> ServerConfig {
    let servers = |nodes: &[(String, u16)]| {
        let each = nodes.iter().map(|(host, port)| Server::new(host, *port));
        each.collect()
    };
    match place {
        Place::Single((host, port)) => ServerConfig::new_centralized(host, *port),
        Place::Sentinel {
            service,
            nodes,
            password,
        } => ServerConfig::Sentinel {
            hosts: servers(nodes),
            service_name: service.clone(),
            username: None,
            password: password.as_ref().map(|it| it.reveal().to_owned()),
        },
        Place::Cluster(nodes) => ServerConfig::Clustered {
            hosts: servers(nodes),
            policy: ClusterDiscoveryPolicy::default(),
        },
    }
}

/// Nodes of a cluster name each other by address; their certificates name a host.
fn tls(cluster: bool) -> Result<TlsConfig, Fault> {
    let hostnames = match cluster {
        true => TlsHostMapping::DefaultHost,
        false => TlsHostMapping::None,
    };
    Ok(TlsConfig {
        connector: TlsConnector::default_rustls()?,
        hostnames,
    })
}
