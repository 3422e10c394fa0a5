//! Rights in deeds: budgets that the nodes of a store share, in every region.
//!
//! One task owns the state machine (`meridian_core::escrow`) and does its IO: frames in the
//! journal, books in the region's store, messages over Redis. Requests touch slots, which are
//! atomics; one that finds too few rights may ask the task and wait a moment for some.
//! `docs/BUDGETS.md` has the protocol.

mod books;
mod frames;
mod identity;
mod limited;
mod limits;
mod mail;
mod members;
mod neighbours;
mod node;
mod reclaims;
mod show;
mod windows;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use meridian_core::budget::policy::Policy;
use meridian_core::journal::Position;
use meridian_core::meters::{Admission, Lacking, Window, WindowName};
use meridian_core::routing::health::Health;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use identity::{Identity, NoIdentity};
use limited::Limited;
pub use neighbours::{Neighbours, NeighboursEnd};
pub use node::{Node, Parts};
pub use show::Status;

use crate::clock;
use crate::journal::Journal;

/// Orders that wait for the task. More are answered as if there were nothing to find.
const ORDERS_MAX: usize = 65_536;
/// Longest wait of a request for rights from elsewhere.
pub const WAIT_MAX: Duration = Duration::from_millis(1_500);

/// Keeps what the journal has of rights, until a node says what it needs of it. To be called
/// before anything is drained.
pub fn keep_rows(journal: &Journal) {
    journal.consumed(node::CONSUMER, Position::default());
}

/// Whether a budget has a place for rights on this node, and is not about to begin anew.
fn is_in_use(lacking: &Lacking) -> bool {
    let window = Window::from(lacking);
    let gate = window.gate();
    gate.grant(clock::now()).is_some() && gate.reset().is_none()
}

/// What became of a request for rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// They are here: try again.
    Some,
    /// There are none, as far as is known.
    Nothing,
    /// Nobody can say: the store or the clock cannot be asked.
    Unknown,
}

/// What the task is asked.
#[derive(Debug)]
pub(crate) enum Order {
    /// A request found too few rights.
    Ask {
        window: Window,
        need: i64,
        until: Instant,
        /// Nobody waits where this is `None`.
        reply: Option<oneshot::Sender<Found>>,
    },
    /// Requests are limited here, and this node alone counts them.
    Limits(Limited),
    /// Another node said something.
    Heard(Vec<u8>),
    /// The process that takes this one's place is that actor: it gets rights before it serves.
    HandOver {
        to: meridian_core::escrow::Actor,
        until: Instant,
        reply: oneshot::Sender<bool>,
    },
    /// The operator asks how a budget stands; `None` is all that are in use.
    Show {
        name: Option<WindowName>,
        reply: oneshot::Sender<Value>,
    },
    /// The operator says that a node is lost with its disk; `anew`: what it held is made anew.
    WriteOff {
        actor: meridian_core::escrow::Actor,
        anew: bool,
        reply: oneshot::Sender<Value>,
    },
    /// The operator says that a region, by its name, is lost.
    Lost {
        region: String,
        proof: Proof,
        reply: oneshot::Sender<Result<Value, NotLost>>,
    },
}

/// What says that a lost region spends nothing of what is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The operator: it is gone for good.
    Dead,
    /// The ceilings that others have witnessed for it: it may be alive.
    Fence,
}

impl Proof {
    /// From its word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "dead" => Some(Self::Dead),
            "fence" => Some(Self::Fence),
            _ => None,
        }
    }
}

/// Why a region does not count as lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLost {
    /// No link leads to it.
    #[error("no region of this name is linked; linked are {0}")]
    Unknown(String),
    /// It was heard in the last seconds.
    #[error("the region lives: node {0} was heard in the last seconds")]
    Lives(meridian_core::escrow::Actor),
    /// Nothing says how much the region can have spent.
    #[error(
        "no ceilings are kept: a region can be fenced where all regions have set \
         `meridian.regions.isolation_s`, and before it is cut off"
    )]
    NoCeilings,
    /// One order at a time.
    #[error("region {0} is being fenced: say it again in half a minute")]
    Busy(String),
}

/// What requests and management know of the task.
#[derive(Debug)]
pub struct Rights {
    orders: mpsc::Sender<Order>,
    /// Settling and its CLOSE are one step for who writes rows into the journal.
    closing: RwLock<()>,
    status: ArcSwap<Status>,
    /// Whether other nodes share limits with this one.
    joined: AtomicBool,
    /// What holds for budgets that say nothing themselves.
    policy: ArcSwap<Policy>,
}

/// Orders on their way to the task.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

impl Rights {
    /// Both ends.
    pub fn new() -> (Arc<Self>, Orders) {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let rights = Self {
            orders,
            closing: RwLock::new(()),
            status: ArcSwap::default(),
            joined: AtomicBool::new(false),
            policy: ArcSwap::default(),
        };
        (Arc::new(rights), Orders(received))
    }

    /// Held while a request is settled and its CLOSE is written.
    pub fn closing(&self) -> RwLockReadGuard<'_, ()> {
        self.closing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while rows are written.
    fn writing(&self) -> RwLockWriteGuard<'_, ()> {
        self.closing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a budget has rights here for what it lacks, as long as there is hope.
    pub async fn wait(&self, lacking: &Lacking, until: Instant) -> Found {
        let (reply, answer) = oneshot::channel();
        let order = Order::Ask {
            window: Window::from(lacking),
            need: lacking.need.0,
            until,
            reply: Some(reply),
        };
        if self.orders.try_send(order).is_err() {
            return Found::Unknown;
        }
        let late = until + Duration::from_millis(50);
        match tokio::time::timeout_at(late.into(), answer).await {
            Ok(Ok(found)) => found,
            // Late: what is here is used up, unless nothing was ever looked for.
            Ok(Err(_)) | Err(_) => match is_in_use(lacking) {
                true => Found::Nothing,
                false => Found::Unknown,
            },
        }
    }

    /// Whether a budget is in use on this node.
    pub fn is_open(&self, lacking: &Lacking) -> bool {
        is_in_use(lacking)
    }

    /// Has rights fetched for a request that does not wait for them.
    pub fn hint(&self, lacking: &Lacking) {
        let order = Order::Ask {
            window: Window::from(lacking),
            need: lacking.need.0,
            until: clock::mono() + WAIT_MAX,
            reply: None,
        };
        // One that is lost is asked again with the next tokens.
        let _ = self.orders.try_send(order);
    }

    /// Has limits of an admitted request kept together with the other nodes, if there are any.
    pub fn share_limits(&self, admission: &Admission) {
        if !self.joined.load(Ordering::Relaxed) {
            return;
        }
        for window in admission.apart() {
            // One that is lost is asked again with the next request.
            let _ = self.orders.try_send(Order::Limits(Limited::Window(window)));
        }
    }

    /// The same for those of a deployment that a request was sent to.
    pub fn share_limits_of(&self, deployment: &str, health: &Arc<Health>) {
        if health.rates().is_apart() && self.joined.load(Ordering::Relaxed) {
            let limited = Limited::deployment(deployment, health);
            let _ = self.orders.try_send(Order::Limits(limited));
        }
    }

    /// Says what holds for budgets that say nothing themselves.
    pub fn set_policy(&self, all: Policy) {
        self.policy.store(Arc::new(all));
    }

    /// Takes what another node said; too much of it is lost, and said again.
    pub fn hear(&self, text: Vec<u8>) {
        let _ = self.orders.try_send(Order::Heard(text));
    }

    /// How the task is.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Gives rights to the process that takes this one's place; whether they have arrived in time.
    pub async fn hand_over(&self, to: meridian_core::escrow::Actor, until: Instant) -> bool {
        let (reply, answer) = oneshot::channel();
        let order = Order::HandOver { to, until, reply };
        self.orders.send(order).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// How a budget stands, or all that are in use here; `None` when nobody answers.
    pub async fn show(&self, name: Option<WindowName>) -> Option<Value> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Show { name, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Writes off a node that is lost with its disk; `anew`: has what it held made anew, instead of
    /// counting it as spent. `None` when nobody answers.
    pub async fn write_off(
        &self,
        actor: meridian_core::escrow::Actor,
        anew: bool,
    ) -> Option<Value> {
        let (reply, answer) = oneshot::channel();
        let order = Order::WriteOff { actor, anew, reply };
        self.orders.send(order).await.ok()?;
        answer.await.ok()
    }

    /// Has what a lost region held made anew; `None` when nobody answers.
    pub async fn call_lost(&self, region: String, proof: Proof) -> Option<Result<Value, NotLost>> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Lost {
            region,
            proof,
            reply,
        };
        self.orders.send(order).await.ok()?;
        answer.await.ok()
    }
}
