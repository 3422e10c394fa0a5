//! Talking to providers: addresses, pooled connections, one exchange at a time.
//!
//! Nothing here retries. A transport that resends a POST by itself is a double bill, so every
//! send is visible to the attempt loop in `plane::forward`.

mod exchange;
mod resolve;

pub use exchange::{Exchange, RequestHead, SendError, is_hop_by_hop};
pub use resolve::{Origin, Resolver};

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;

/// Idle connections kept per process, over all providers.
const POOL_CONNECTIONS_MAX: usize = 4096;
/// HTTP/2 streams on one upstream connection before another one is opened.
const H2_STREAMS_MAX: usize = 64;
/// HTTP/2 PING interval: finds a dead path under a silent stream.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// How connections to providers are made and kept.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Limit for TCP and TLS together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How long a resolved address is used before it is looked up again.
    pub dns_ttl: Duration,
    /// Extra certificate authorities (PEM) instead of the system's.
    pub ca_file: Option<String>,
}

/// The pool of connections to all providers.
pub struct Upstreams {
    connector: Connector,
    resolver: Arc<Resolver>,
    options: UpstreamOptions,
}

impl Upstreams {
    /// An empty pool.
    pub fn new(options: UpstreamOptions) -> Self {
        let mut connector = ConnectorOptions::new(POOL_CONNECTIONS_MAX);
        connector.ca_file = options.ca_file.clone();
        Self {
            connector: Connector::new(Some(connector)),
            resolver: Arc::new(Resolver::new(options.dns_ttl)),
            options,
        }
    }

    /// Takes a pooled connection to `origin` or makes one.
    pub async fn connect(&self, origin: &Origin) -> Result<Connection, SendError> {
        let peer = self.resolver.peer(origin, &self.options).await?;
        // Boxed: a new TLS connection needs 19 KB, which every waiting request would carry.
        let session = Box::pin(self.connector.get_http_session(&*peer)).await;
        match session {
            Ok((session, reused)) => Ok(Connection {
                session,
                peer,
                reused,
            }),
            Err(error) => {
                self.resolver.connect_failed(origin, &peer);
                Err(SendError::connect(&error))
            }
        }
    }

    /// Gives a connection back after its answer was read to the end.
    pub async fn release(&self, session: HttpSession, peer: &HttpPeer) {
        let idle = Some(self.options.idle_timeout);
        self.connector
            .release_http_session(session, peer, idle)
            .await;
    }
}

/// A connection checked out of the pool.
pub struct Connection {
    session: HttpSession,
    peer: Arc<HttpPeer>,
    /// Whether it was used before: such a one may be closed under our hands.
    pub reused: bool,
}

/// A peer with this installation's timeouts and ALPN.
fn peer_with_options(mut peer: HttpPeer, options: &UpstreamOptions) -> HttpPeer {
    let peer_options = &mut peer.options;
    peer_options.connection_timeout = Some(options.connect_timeout);
    peer_options.total_connection_timeout = Some(options.connect_timeout);
    peer_options.idle_timeout = Some(options.idle_timeout);
    peer_options.h2_ping_interval = Some(H2_PING_INTERVAL);
    peer_options.max_h2_streams = H2_STREAMS_MAX;
    let tls = matches!(peer.scheme, pingora_core::upstreams::peer::Scheme::HTTPS);
    peer.options.alpn = if tls { ALPN::H2H1 } else { ALPN::H1 };
    peer
}
