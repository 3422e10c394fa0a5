//! A few connections to one server, each given to one transaction at a time.
//!
//! A connection goes back only after a clean end: what was broken off in the middle is closed, and
//! the server undoes it. After a failure to connect nobody tries for a while, so that a server that
//! is down costs callers no wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use meridian_core::config::{DatabaseServer, TlsMode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::password::Passwords;
use super::tls::PostgresTls;
use crate::clock;
use crate::store::StoreError;

/// Longest time for name, TCP, TLS and login together.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// A connection that was idle for so long is asked whether it lives before it is given away.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// Longest wait for that answer.
const PING_MAX: Duration = Duration::from_secs(2);
/// A connection of this age is replaced: names, servers and passwords change.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// First and longest pause after a failure to connect: a server that is back is used again within
/// the longest, the time to connect and the caller's own pause.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Unanswered bytes close a connection after this time.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed after this time, so often, in this distance.
const KEEPALIVE: (Duration, u32, Duration) = (Duration::from_secs(5), 2, Duration::from_secs(2));

/// Connections to one server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    server: DatabaseServer,
    config: Config,
    tls: Option<PostgresTls>,
    passwords: Passwords,
    turns: Arc<Semaphore>,
    wait: Duration,
    idle: Mutex<Vec<Connection>>,
    rest: Mutex<Rest>,
}

/// When the next try to connect may be made.
#[derive(Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
    why: String,
}

struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    opened: Instant,
    used: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.inner.server)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool without connections: they are opened when they are needed.
    pub(super) fn new(
        server: &DatabaseServer,
        limit: u32,
        wait: Duration,
        passwords: Passwords,
    ) -> Result<Self, StoreError> {
        let unusable = |error: super::tls::TlsError| StoreError::Settings(error.to_string());
        let tls = match server.tls {
            TlsMode::Disable => None,
            _ => Some(PostgresTls::new(server).map_err(unusable)?),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                server: server.clone(),
                config: config_of(server),
                tls,
                passwords,
                turns: Arc::new(Semaphore::new(limit as usize)),
                wait,
                idle: Mutex::default(),
                rest: Mutex::default(),
            }),
        })
    }

    /// A connection that is alive.
    pub(super) async fn lease(&self) -> Result<Lease, StoreError> {
        let turn = Arc::clone(&self.inner.turns).acquire_owned();
        let turn = timeout(self.inner.wait, turn)
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        let connection = match self.inner.idle().await {
            Some(connection) => connection,
            None => self.inner.connect().await?,
        };
        Ok(Lease {
            connection: Some(connection),
            inner: Arc::clone(&self.inner),
            _turn: turn,
        })
    }

    /// Closes what is idle: the server is not what it was.
    pub(super) fn distrust(&self) {
        hold(&self.inner.idle).clear();
    }
}

impl Inner {
    /// The connection that was used last, if it still lives.
    async fn idle(&self) -> Option<Connection> {
        loop {
            let connection = hold(&self.idle).pop()?;
            let now = clock::mono();
            if connection.client.is_closed() || now - connection.opened > AGE_MAX {
                continue;
            }
            if now - connection.used < TRUSTED_IDLE {
                return Some(connection);
            }
            let ping = connection.client.check_connection();
            if matches!(timeout(PING_MAX, ping).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<Connection, StoreError> {
        self.may_try()?;
        let opened = match timeout(CONNECT_MAX, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let mut rest = hold(&self.rest);
        match opened {
            Ok(connection) => {
                if rest.failures > 0 {
                    tracing::info!(server = %self.server, "Postgres answers again");
                }
                *rest = Rest::default();
                Ok(connection)
            }
            Err(why) => {
                if rest.failures == 0 {
                    tracing::warn!(server = %self.server, why, "Postgres cannot be reached");
                }
                let doubled = PAUSE
                    .0
                    .saturating_mul(2_u32.saturating_pow(rest.failures.min(8)));
                let pause = doubled.min(PAUSE.1).mul_f64(0.5 + 0.5 * clock::dice());
                rest.failures = rest.failures.saturating_add(1);
                rest.until = Some(clock::mono() + pause);
                rest.why = format!("{}: {why}", self.server);
                Err(StoreError::Unavailable(rest.why.clone()))
            }
        }
    }

    fn may_try(&self) -> Result<(), StoreError> {
        let rest = hold(&self.rest);
        match rest.until {
            Some(until) if clock::mono() < until => Err(StoreError::Unavailable(rest.why.clone())),
            _ => Ok(()),
        }
    }

    async fn open(&self) -> Result<Connection, String> {
        let mut config = self.config.clone();
        if let Some(password) = self.passwords.current(&self.server).await? {
            config.password(password.reveal());
        }
        let (client, driver) = match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(described)?;
                (client, super::drive(connection))
            }
            Some(tls) => {
                let connected = config.connect(tls.clone()).await;
                let (client, connection) = connected.map_err(described)?;
                (client, super::drive(connection))
            }
        };
        let now = clock::mono();
        Ok(Connection {
            client,
            driver,
            opened: now,
            used: now,
        })
    }
}

/// An error with its causes; tokio-postgres shows only the first.
fn described(error: tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

fn config_of(server: &DatabaseServer) -> Config {
    let mut config = Config::new();
    match server.host.starts_with('/') {
        true => config.host_path(&server.host),
        false => config.host(&server.host),
    };
    config
        .port(server.port)
        .user(&server.user)
        .dbname(&server.name)
        .application_name("meridian")
        .connect_timeout(CONNECT_MAX)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE.0)
        .keepalives_retries(KEEPALIVE.1)
        .keepalives_interval(KEEPALIVE.2)
        .ssl_mode(match server.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
    config
}

/// A connection for one transaction. Dropped without `give_back` it is closed.
pub(super) struct Lease {
    connection: Option<Connection>,
    inner: Arc<Inner>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    /// The client; `None` after it was given back, which its owner does last.
    pub(super) fn client(&self) -> Result<&Client, StoreError> {
        let connection = self.connection.as_ref().ok_or(StoreError::Closed)?;
        Ok(&connection.client)
    }

    /// The transaction has ended: others may have the connection.
    pub(super) fn give_back(mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.used = clock::mono();
            hold(&self.inner.idle).push(connection);
        }
    }
}
