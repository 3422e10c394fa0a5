//! Talking to providers: addresses, pooled connections, one exchange at a time.
//!
//! Nothing here retries. A transport that resends a POST by itself is a double bill, so every
//! send is visible to the attempt loop in `plane::forward`.

mod exchange;
mod h1;
mod head;
mod pool;
mod resolve;

pub use exchange::{Exchange, SendError};
pub use head::{RequestHead, ResponseHead, is_hop_by_hop};
pub use resolve::{Origin, Resolver};

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::upstreams::peer::HttpPeer;

use pool::IdlePool;
use resolve::Address;

use crate::path_guard;

/// Idle connections kept per process, over all providers.
const POOL_CONNECTIONS_MAX: usize = 4096;
/// HTTP/2 streams on one upstream connection before another one is opened.
const H2_STREAMS_MAX: usize = 64;
/// Bytes of one HTTP/2 answer that may wait for a client that does not read. The connection's
/// window has room for all its streams, so that none holds up another.
const H2_STREAM_WINDOW: u32 = 1 << 20;
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
    /// Makes connections, and keeps those over HTTP/2.
    connector: Connector,
    /// Keeps those over HTTP/1.1.
    idle: IdlePool,
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
            idle: IdlePool::new(POOL_CONNECTIONS_MAX, options.idle_timeout),
            resolver: Arc::new(Resolver::new(options.dns_ttl)),
            options,
        }
    }

    /// Takes a pooled connection to `origin` or makes one.
    pub async fn connect(&self, origin: &Origin) -> Result<Connection, SendError> {
        path_guard::asks("a provider");
        let address = self.resolver.address(origin, &self.options).await?;
        if let Some(stream) = self.idle.take(address.key) {
            let link = Link::Http1(stream, true);
            return Ok(Connection { link, address });
        }
        // Boxed: a new TLS connection needs 19 KB, which every waiting request would carry.
        let session = Box::pin(self.connector.get_http_session(&address.peer)).await;
        match session {
            Ok((HttpSession::H1(session), _)) => Ok(Connection {
                link: Link::Http1(session.into_inner(), false),
                address,
            }),
            Ok((session, _)) => Ok(Connection {
                link: Link::Http2(Box::new(session)),
                address,
            }),
            Err(error) => {
                self.resolver.connect_failed(origin, &address);
                Err(SendError::connect(&error))
            }
        }
    }

    /// Drops idle connections that are too old or that their servers closed.
    pub fn sweep(&self) {
        self.idle.sweep();
    }

    async fn release_h2(&self, session: HttpSession, address: &Address) {
        let idle = Some(self.options.idle_timeout);
        self.connector
            .release_http_session(session, &address.peer, idle)
            .await;
    }
}

/// A connection checked out of the pool.
pub struct Connection {
    link: Link,
    address: Arc<Address>,
}

enum Link {
    /// Whether it was used before: such a one may be closed under our hands.
    Http1(Stream, bool),
    Http2(Box<HttpSession>),
}

/// A peer with this installation's timeouts and ALPN.
fn peer_with_options(mut peer: HttpPeer, options: &UpstreamOptions) -> HttpPeer {
    let peer_options = &mut peer.options;
    peer_options.connection_timeout = Some(options.connect_timeout);
    peer_options.total_connection_timeout = Some(options.connect_timeout);
    peer_options.idle_timeout = Some(options.idle_timeout);
    peer_options.h2_ping_interval = Some(H2_PING_INTERVAL);
    peer_options.max_h2_streams = H2_STREAMS_MAX;
    peer_options.h2_stream_window_size = Some(H2_STREAM_WINDOW);
    peer_options.h2_connection_window_size = Some(H2_STREAM_WINDOW * H2_STREAMS_MAX as u32);
    let tls = matches!(peer.scheme, pingora_core::upstreams::peer::Scheme::HTTPS);
    peer.options.alpn = if tls { ALPN::H2H1 } else { ALPN::H1 };
    peer
}
