//! Budgets that nodes share: the task that has this node's rights, and its ways to the others.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use meridian_core::config::Config;
use meridian_core::escrow::{Actor, Pid, Row};
use meridian_core::signature::{Purpose, Signer};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::copies;
use crate::escrow::{Neighbours, Node, Orders, Parts, Rights, keep_rows};
use crate::journal::Journal;
use crate::shared::{Wire, WireEnd};
use crate::state::State;
use crate::store::Store;

/// What is known before anything runs.
pub(super) struct Sharing {
    pub(super) rights: Arc<Rights>,
    orders: Orders,
    rows: BTreeMap<Pid, Row>,
    gone: Vec<Actor>,
}

impl Sharing {
    /// `None` with the embedded store: its only node has all rights, and its counters decide.
    /// To be called before anything is drained. `rows` are those of the journal, `gone` is who this
    /// node was before its disk was put back from a copy.
    pub(super) fn new(
        config: &Config,
        journal: &Journal,
        rows: BTreeMap<Pid, Row>,
        gone: Vec<Actor>,
    ) -> Option<Self> {
        if config.database.is_none() && config.redis.is_some() {
            tracing::warn!(
                "budgets, limits per minute and max_parallel_requests hold on this node alone: \
                 nodes share them where they have one `database_url`"
            );
        }
        config.database.as_ref()?;
        keep_rows(journal);
        let (rights, orders) = Rights::new();
        rights.set_policy(config.meridian.budget_policy);
        Some(Self {
            rights,
            orders,
            rows,
            gone,
        })
    }

    /// Starts the task. The handle ends when its rights are given back.
    pub(super) fn start(
        self,
        control: &Runtime,
        state: &Arc<State>,
        store: &Store,
        (env, listens): (&HashMap<String, String>, &str),
        stop: &watch::Receiver<bool>,
    ) -> JoinHandle<()> {
        let Self {
            rights,
            orders,
            rows,
            gone,
        } = self;
        let config = Arc::clone(&state.rules.load().config);
        let region = store.region().to_owned();
        let near = near(&config, &region, &rights, control);
        let peers = config.links.peers.iter();
        let far = peers.map(|peer| {
            let (end, wire) = Wire::new(peer.redis.clone(), &peer.region, None);
            control.spawn(wire.run());
            (peer.region.clone(), end)
        });
        let far = far.collect();
        let (posts, neighbours) = Neighbours::new(
            store.clone(),
            Arc::clone(&state.journal),
            address(&config, listens),
        );
        control.spawn(neighbours.run());
        let node = Node::new(Parts {
            rights,
            orders,
            region,
            store: store.clone(),
            journal: Arc::clone(&state.journal),
            rows,
            gone,
            supervised: env.contains_key("NOTIFY_SOCKET"),
            registry: Arc::clone(&state.registry),
            shared: state.shared_budgets.clone(),
            signer: Signer::new(&copies::secret(&config, env), Purpose::Rights),
            near,
            far,
            posts,
            isolation: config.links.isolation,
        });
        control.spawn(node.run(stop.clone()))
    }
}

/// The way to the other nodes of the region.
fn near(config: &Config, region: &str, rights: &Arc<Rights>, control: &Runtime) -> Option<WireEnd> {
    let redis = config.redis.clone()?;
    let rights = Arc::clone(rights);
    let heed = Box::new(move |text| rights.hear(text));
    let (end, wire) = Wire::new(redis, region, Some(heed));
    control.spawn(wire.run());
    Some(end)
}

/// Where other nodes of the region reach this one: the address it listens on or, if that is every
/// address, the one that leads to its Postgres.
fn address(config: &Config, listens: &str) -> Option<String> {
    let (host, port) = listens.rsplit_once(':')?;
    if !matches!(host, "0.0.0.0" | "[::]") {
        return Some(listens.to_owned());
    }
    let server = &config.database.as_ref()?.primary;
    // Nothing is sent: the system says from where it would be.
    let socket = UdpSocket::bind((host.trim_matches(['[', ']']), 0)).ok()?;
    socket.connect((server.host.as_str(), server.port)).ok()?;
    let from = socket.local_addr().ok()?;
    let port: u16 = port.parse().ok()?;
    Some(SocketAddr::new(from.ip(), port).to_string())
}
