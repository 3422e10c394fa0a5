//! Name resolution off the request path: an expired address is used while it is looked up again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use pingora_core::upstreams::peer::{HttpPeer, Peer};

use super::{SendError, UpstreamOptions, peer_with_options};
use crate::clock;

/// Where a deployment lives, without its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A host and port, with or without TLS.
    Tcp {
        /// Name or literal address; also the TLS server name.
        host: String,
        /// Port.
        port: u16,
        /// Whether to speak TLS.
        tls: bool,
    },
    /// A Unix socket: our own admin server.
    Unix {
        /// Path of the socket.
        path: String,
    },
}

/// One address of an origin.
pub(super) struct Address {
    /// How Pingora connects to it.
    pub(super) peer: HttpPeer,
    /// Connections with the same key may stand in for each other.
    pub(super) key: u64,
}

impl Address {
    fn new(peer: HttpPeer, options: &UpstreamOptions) -> Arc<Self> {
        let peer = peer_with_options(peer, options);
        let key = peer.reuse_hash();
        Arc::new(Self { peer, key })
    }
}

/// Addresses by origin, re-resolved in the background.
pub struct Resolver {
    ttl: Duration,
    started: Instant,
    entries: DashMap<Origin, Arc<Entry>>,
}

struct Entry {
    addresses: ArcSwap<Vec<Arc<Address>>>,
    next: AtomicUsize,
    /// Milliseconds since the resolver started.
    fresh_until_ms: AtomicU64,
    refreshing: AtomicBool,
}

impl Resolver {
    /// `ttl`: how long an answer is fresh.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            started: clock::mono(),
            entries: DashMap::new(),
        }
    }

    /// An address of `origin`: at once when it was resolved before, even if long ago.
    pub(super) async fn address(
        self: &Arc<Self>,
        origin: &Origin,
        options: &UpstreamOptions,
    ) -> Result<Arc<Address>, SendError> {
        let known = self.entries.get(origin).map(|entry| Arc::clone(&entry));
        let entry = match known {
            Some(entry) => {
                self.refresh_if_stale(origin, &entry, options);
                entry
            }
            None => self.resolve_first(origin, options).await?,
        };
        Ok(entry.pick())
    }

    /// After a failed connect the next one tries another address.
    pub(super) fn connect_failed(&self, origin: &Origin, failed: &Arc<Address>) {
        let Some(entry) = self.entries.get(origin) else {
            return;
        };
        if Arc::ptr_eq(&entry.pick(), failed) {
            entry.next.fetch_add(1, Ordering::Relaxed);
        }
        entry.fresh_until_ms.store(0, Ordering::Relaxed);
    }

    async fn resolve_first(
        &self,
        origin: &Origin,
        options: &UpstreamOptions,
    ) -> Result<Arc<Entry>, SendError> {
        let addresses = lookup(origin, options).await?;
        let entry = Arc::new(Entry {
            addresses: ArcSwap::from_pointee(addresses),
            next: AtomicUsize::new(0),
            fresh_until_ms: AtomicU64::new(self.fresh_until_ms()),
            refreshing: AtomicBool::new(false),
        });
        self.entries.insert(origin.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    fn refresh_if_stale(
        self: &Arc<Self>,
        origin: &Origin,
        entry: &Arc<Entry>,
        options: &UpstreamOptions,
    ) {
        let stale = self.now_ms() >= entry.fresh_until_ms.load(Ordering::Relaxed);
        if !stale || entry.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (resolver, entry) = (Arc::clone(self), Arc::clone(entry));
        let (origin, options) = (origin.clone(), options.clone());
        tokio::spawn(async move {
            match lookup(&origin, &options).await {
                Ok(addresses) => entry.replace(addresses),
                Err(error) => tracing::warn!(%error, ?origin, "address kept, look-up failed"),
            }
            entry
                .fresh_until_ms
                .store(resolver.fresh_until_ms(), Ordering::Relaxed);
            entry.refreshing.store(false, Ordering::Release);
        });
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn fresh_until_ms(&self) -> u64 {
        self.now_ms() + self.ttl.as_millis() as u64
    }
}

impl Entry {
    fn pick(&self) -> Arc<Address> {
        let addresses = self.addresses.load();
        let at = self.next.load(Ordering::Relaxed) % addresses.len().max(1);
        Arc::clone(&addresses[at])
    }

    /// Keeps the addresses that are unchanged, so that their pooled connections stay in use.
    fn replace(&self, fresh: Vec<Arc<Address>>) {
        let known = self.addresses.load();
        let keep = |address: Arc<Address>| {
            known
                .iter()
                .find(|old| old.key == address.key)
                .cloned()
                .unwrap_or(address)
        };
        let addresses: Vec<_> = fresh.into_iter().map(keep).collect();
        let same_set = addresses.len() == known.len()
            && addresses
                .iter()
                .all(|address| known.iter().any(|old| Arc::ptr_eq(old, address)));
        if !same_set {
            self.addresses.store(Arc::new(addresses));
        }
    }
}

/// Never empty on success.
async fn lookup(
    origin: &Origin,
    options: &UpstreamOptions,
) -> Result<Vec<Arc<Address>>, SendError> {
    match origin {
        Origin::Unix { path } => {
            let peer = HttpPeer::new_uds(path, false, String::new())
                .map_err(|error| SendError::connect(&error))?;
            Ok(vec![Address::new(peer, options)])
        }
        Origin::Tcp { host, port, tls } => {
            let found = tokio::time::timeout(
                options.connect_timeout,
                tokio::net::lookup_host((host.trim_matches(['[', ']']), *port)),
            );
            let addresses: Vec<SocketAddr> = match found.await {
                Ok(Ok(addresses)) => addresses.collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            if addresses.is_empty() {
                return Err(SendError::Unresolved { host: host.clone() });
            }
            let peer = |address: SocketAddr| HttpPeer::new(address, *tls, host.clone());
            let address = |found| Address::new(peer(found), options);
            Ok(addresses.into_iter().map(address).collect())
        }
    }
}
