//! The task that owns this node's rights.

mod asks;
mod fence;
mod gone;
mod handover;
mod heard;
mod lost;
mod parts;
mod reach;
mod rounds;
mod unlike;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use meridian_core::escrow::{
    Actor, Book, Effect, Escrow, Event, Message, Pid, RegionNumbers, Row, ScopeId, Ticket,
};
use meridian_core::journal::Transfer;
use meridian_core::meters::Due;
use meridian_core::money::NanoUsd;
use meridian_core::rate::Life;
use meridian_core::signature::Signer;
use meridian_core::time::{MonoUs, WallMs};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use parts::Parts;
pub(super) use rounds::CONSUMER;

use super::books::{self, Settled};
use super::frames::Says;
use super::identity::Identity;
use super::limits::Limits;
use super::mail::Mail;
use super::members::Members;
use super::neighbours::NeighboursEnd;
use super::windows::Windows;
use super::{Found, Order, Orders, Proof, Rights, reclaims};
use crate::clock;
use crate::journal::Journal;
use crate::registry::Registry;
use crate::store::{Store, StoreError};
use crate::telemetry::logs::whose;

/// Between two looks of the state machine.
const TICK: Duration = Duration::from_millis(50);
/// Between two tries to learn who this node is.
const IDENTITY_RETRY: Duration = Duration::from_secs(1);
/// Orders that are taken before anything is carried out.
const ORDERS_AT_ONCE: usize = 512;
/// After a failed write or sync of the journal nothing is tried again for this long.
const DISK_RETRY: Duration = Duration::from_millis(200);

/// The task, not running yet.
pub struct Node(Parts);

/// An answer of the store.
enum Answer {
    /// The book of a budget that is home here.
    Settled(ScopeId, Result<Settled, StoreError>),
    /// The book of a period that others use.
    Found(Pid, Result<Option<Book>, StoreError>),
    /// Books with entries of this node, from before it started.
    Own(Result<Vec<Book>, StoreError>),
    /// Books that take away what a lost region held.
    Regained(books::Regained),
    /// What the ledger says was spent of a budget.
    Spent(Pid, Result<NanoUsd, StoreError>),
    /// Nodes that the store of the region has ever known.
    Nodes(Result<Option<Vec<(u16, WallMs)>>, StoreError>),
    /// Periods in which a region is about to be fenced.
    Looked(Result<Vec<reclaims::Before>, StoreError>),
    /// What a fenced region is to destroy is written.
    Decided(Vec<reclaims::Decided>),
}

/// The task at work.
struct Desk {
    me: Actor,
    /// This process of the node.
    life: Life,
    region: String,
    numbers: RegionNumbers,
    rights: Arc<Rights>,
    store: Store,
    journal: Arc<Journal>,
    registry: Arc<Registry>,
    shared: Vec<Due>,
    signer: Signer,
    began: Instant,
    escrow: Escrow,
    effects: Vec<Effect>,
    windows: Windows,
    books: HashMap<ScopeId, Book>,
    /// Periods whose book was looked for, and when.
    sought: HashMap<Pid, Instant>,
    /// When a region was last told a book.
    told: HashMap<(ScopeId, u8), Instant>,
    mail: Mail,
    members: Members,
    /// Those of them that what this node says reaches, as the state machine was told.
    reached: Vec<Actor>,
    asking: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The last sync that is wanted, and the one that runs.
    wanted: Option<Ticket>,
    syncing: Option<(Ticket, JoinHandle<bool>)>,
    disk_after: Option<Instant>,
    /// Rows that the journal refused.
    unwritten: BTreeSet<Pid>,
    rounds: rounds::Rounds,
    tally: Tally,
    limits: Limits,
    lost: Option<lost::Order>,
    reach: reach::Reach,
    gone: gone::Gone,
    handover: Option<handover::HandOver>,
    unlike: unlike::Unlike,
    fences: fence::Fences,
    supervised: bool,
}

/// What is counted for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) asked: u64,
    pub(super) waited: u64,
    pub(super) forged: u64,
    pub(super) suspense: i64,
}

impl Node {
    /// Made of its parts.
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// Runs until `stop` turns true, and then until its rights are given back or nobody takes them.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut parts = self.0;
        let (numbers, region) = (parts.numbers(), parts.region.clone());
        let (identity, is_new) = tokio::select! {
            identity = identify(&mut parts, numbers.of(&region)) => identity,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Parts { orders, .. } = &mut parts;
        let Orders(mut orders) = std::mem::replace(orders, Rights::new().1);
        let mut desk = Desk::new((identity.actor, is_new), parts);
        tracing::info!(actor = %identity.actor, "budgets are shared as this actor");
        loop {
            tokio::select! {
                () = desk.turn(&mut orders) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        desk.leave(&mut orders).await;
    }
}

/// Who this node is; without the store a node that never had a number waits for one.
/// Says too whether its journal is new.
async fn identify(parts: &mut Parts, region: u8) -> (Identity, bool) {
    let mut said = false;
    loop {
        let known = match Identity::kept(&parts.journal, region) {
            Ok(Some(identity)) => Ok((identity, parts.is_young())),
            Ok(None) => {
                let taken = Identity::take(&parts.journal, &parts.store, region).await;
                taken.map(|identity| (identity, true))
            }
            Err(error) => Err(error),
        };
        match known {
            Ok(identity) => return identity,
            Err(error) if !said => {
                said = true;
                tracing::warn!(%error, "this node has no rights in budgets yet");
            }
            Err(error) => tracing::debug!(%error, "this node has no rights in budgets yet"),
        }
        let until = clock::mono() + IDENTITY_RETRY;
        while let Ok(Some(order)) =
            tokio::time::timeout_at(until.into(), parts.orders.0.recv()).await
        {
            if let Order::Ask {
                reply: Some(reply), ..
            } = order
            {
                let _ = reply.send(Found::Unknown);
            }
        }
    }
}

impl Desk {
    fn new((me, is_new): (Actor, bool), parts: Parts) -> Self {
        let (numbers, settings) = (parts.numbers(), parts.settings(is_new));
        let Parts {
            rights,
            orders: _,
            region,
            store,
            journal,
            rows,
            gone,
            supervised,
            registry,
            shared,
            signer,
            near,
            far,
            posts,
            isolation: _,
        } = parts;
        let life = Life {
            actor: me,
            boot: boot(),
        };
        let mut desk = Self {
            mail: Mail::new(life, signer.clone(), (&region, near), far, posts, &numbers),
            members: Members::new(me),
            reached: Vec::new(),
            me,
            life,
            region,
            numbers,
            rights,
            store,
            journal,
            registry,
            shared,
            signer,
            began: clock::mono(),
            fences: fence::Fences::new(settings.isolation.is_some()),
            escrow: Escrow::new(me, settings),
            effects: Vec::new(),
            windows: HashMap::new(),
            books: HashMap::new(),
            sought: HashMap::new(),
            told: HashMap::new(),
            asking: FuturesUnordered::new(),
            wanted: None,
            syncing: None,
            disk_after: None,
            unwritten: BTreeSet::new(),
            rounds: rounds::Rounds::default(),
            tally: Tally::default(),
            limits: Limits::new(life, MonoUs(0)),
            lost: None,
            reach: reach::Reach::default(),
            gone: gone::Gone::default(),
            handover: None,
            unlike: unlike::Unlike::default(),
            supervised,
        };
        if desk.mail.has_far() {
            desk.mail.say_ceilings(false);
        }
        desk.restore(rows);
        gone.into_iter().for_each(|actor| desk.call_gone(actor));
        desk
    }

    /// Puts back what the journal says, and asks what was decided while this node was away.
    fn restore(&mut self, rows: BTreeMap<Pid, Row>) {
        let (now, wall) = (self.now(), clock::now());
        for (pid, row) in rows {
            match rounds::is_over(pid, wall) {
                true => self.step(Event::Ended(pid)),
                false => self.escrow.restore(pid, row, now),
            }
        }
        self.tell_members();
        let (store, me) = (self.store.clone(), self.me);
        self.asking.push(Box::pin(async move {
            Answer::Own(store.books_of(me, rounds::oldest(wall)).await)
        }));
        self.checkpoint();
    }

    fn now(&self) -> MonoUs {
        let micros = clock::mono().saturating_duration_since(self.began);
        MonoUs(u64::try_from(micros.as_micros()).unwrap_or(u64::MAX))
    }

    fn clocks(&self) -> (WallMs, MonoUs) {
        (clock::now(), self.now())
    }

    fn step(&mut self, event: Event) {
        let now = self.now();
        self.escrow.step(now, event, &mut self.effects);
    }

    /// Waits for something, takes it, and carries out what follows.
    async fn turn(&mut self, orders: &mut tokio::sync::mpsc::Receiver<Order>) {
        let tick = self.rounds.next_tick(TICK);
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => self.take(order),
                // Nobody can ask any more: only the clock goes on.
                None => tokio::time::sleep(TICK).await,
            },
            () = tokio::time::sleep_until(tick.into()) => {
                self.rounds.ticked();
                self.tick();
            }
            answer = self.asking.next(), if !self.asking.is_empty() => {
                if let Some(answer) = answer {
                    self.answered(answer);
                }
            }
            synced = synced(&mut self.syncing), if self.syncing.is_some() => self.synced(synced),
        }
        for _ in 0..ORDERS_AT_ONCE {
            let Ok(order) = orders.try_recv() else { break };
            self.take(order);
        }
        self.carry_out();
        if !self.gone.is_disowned() {
            self.mail.send(clock::mono(), &self.members);
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Ask {
                window,
                need,
                until,
                reply,
            } => self.ask(window, need, (until, reply)),
            Order::Limits(limited) => {
                let clocks = self.clocks();
                self.limits.open(limited, clocks);
            }
            Order::Heard(text) => self.hear(&text),
            Order::HandOver { to, until, reply } => {
                self.handover = Some(handover::HandOver::new(to, until, reply));
            }
            Order::Show { name, reply } => {
                let _ = reply.send(self.show(name.as_ref()));
            }
            Order::WriteOff { actor, anew, reply } => {
                let _ = reply.send(self.write_off(actor, anew));
            }
            Order::Lost {
                region,
                proof: Proof::Dead,
                reply,
            } => {
                let _ = reply.send(self.call_lost(&region));
            }
            Order::Lost { region, reply, .. } => self.call_fenced(&region, reply),
        }
    }

    /// Does what the state machine wants done, in its order.
    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Journal { pid, row } => self.write(pid, row),
                    Effect::Sync(ticket) => self.wanted = self.wanted.max(Some(ticket)),
                    Effect::Send { to, message } if self.fences.reads(to, &message) => {
                        self.mail.to(to, Says::Message(message));
                    }
                    // Whoever cannot read it would lose all that is in the same frame.
                    Effect::Send { .. } => {}
                    Effect::Publish { pid, row, standing } => {
                        let answer = false;
                        let message = Message::Row {
                            pid,
                            row,
                            standing,
                            answer,
                        };
                        self.mail.tell_region(Says::Message(message));
                    }
                    Effect::Claim(pid) => self.claim(pid),
                    Effect::Wake(pid) => self.wake(pid.scope),
                    Effect::Outdated { pid, by } => {
                        let scope = whose(pid.scope);
                        tracing::error!(%scope, %by, "another node has more of a budget from \
                            this one than this one knows to have given");
                        self.disown();
                    }
                    Effect::Suspense { pid, actor, amount } => {
                        self.tally.suspense = self.tally.suspense.saturating_add(amount);
                        let scope = whose(pid.scope);
                        tracing::error!(%scope, %actor, amount,
                            "rights of a lost node count as spent (nano-dollars)");
                    }
                }
            }
        }
        self.start_sync();
    }

    /// Writes a row. What is settled by then was closed in the journal before.
    fn write(&mut self, pid: Pid, mut row: Row) {
        let rights = Arc::clone(&self.rights);
        let _writing = rights.writing();
        if let Some(slot) = self.escrow.slot(pid) {
            row.used = slot.used();
        }
        match self.journal.append_transfer(&Transfer { pid, row }) {
            Ok(()) => {
                self.unwritten.remove(&pid);
            }
            Err(error) => {
                // Nothing of it may be shown: syncs wait until it is written.
                tracing::debug!(%error, "rights are not in the journal");
                self.disk_after = Some(clock::mono() + DISK_RETRY);
                self.unwritten.insert(pid);
            }
        }
    }

    fn start_sync(&mut self) {
        let waits = self.disk_after.is_some_and(|after| clock::mono() < after);
        if self.wanted.is_none() || self.syncing.is_some() || waits {
            return;
        }
        for pid in self.unwritten.clone() {
            match self.escrow.row(pid) {
                Some(row) => self.write(pid, row),
                None => {
                    self.unwritten.remove(&pid);
                }
            }
        }
        if !self.unwritten.is_empty() {
            return;
        }
        if let Some(ticket) = self.wanted.take() {
            let journal = Arc::clone(&self.journal);
            let sync = tokio::task::spawn_blocking(move || journal.sync());
            self.syncing = Some((ticket, sync));
        }
    }

    fn synced(&mut self, (ticket, worked): (Ticket, bool)) {
        match worked {
            true => self.step(Event::Synced(ticket)),
            false => {
                self.disk_after = Some(clock::mono() + DISK_RETRY);
                self.wanted = self.wanted.max(Some(ticket));
                // What the kernel forgot is written once more.
                self.unwritten.extend(self.escrow.pids());
            }
        }
    }
}

/// Tells this process from others of the same node; never zero, and larger in one that began later.
fn boot() -> u64 {
    let [a, b, ..] = clock::random_bytes();
    let began = u64::try_from(clock::now().0).unwrap_or(0);
    ((began << 16) | u64::from(u16::from_le_bytes([a, b]))).max(1)
}

/// The sync that runs, when it is over.
async fn synced(syncing: &mut Option<(Ticket, JoinHandle<bool>)>) -> (Ticket, bool) {
    let Some((ticket, sync)) = syncing else {
        return std::future::pending().await;
    };
    let done = (*ticket, sync.await.unwrap_or(false));
    *syncing = None;
    done
}
