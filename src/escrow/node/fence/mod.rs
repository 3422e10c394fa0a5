//! A region that the operator has fenced: it is cut off, and may be alive.
//!
//! Every node that may have had to do with what the region holds of a budget takes nothing more
//! from it and witnesses nothing more for it. Once all of them say so, home makes anew what the
//! region held above its witnessed ceilings. Who does not say so in time keeps it from being made.

mod deeds;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Message, Pid, Want};
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use serde_json::Value;
use tokio::sync::oneshot;

use super::Desk;
use crate::clock;
use crate::escrow::NotLost;
use crate::escrow::frames::{Fencing, Report};

/// An order is carried out for so long; what is not decided by then ends with nothing.
const ORDER_TIME: Duration = Duration::from_secs(20);
/// It goes on being told for so long after that.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// Between two times that a node says what it knows of it.
const TELL: Duration = Duration::from_millis(500);
/// Nodes that one answer names.
const NAMED_MAX: usize = 50;

type Reply = oneshot::Sender<Result<Value, NotLost>>;

/// What a node knows of ceilings and fences beside its rows.
#[derive(Debug)]
pub(super) struct Fences {
    /// Ceilings are kept here.
    kept: bool,
    /// They were never exceeded, or others have heard of it since.
    sound: bool,
    /// Whether others keep them; nothing of who does not know what they are.
    others: BTreeMap<Actor, Option<bool>>,
    /// The last order.
    order: Option<Order>,
    /// Periods whose book is being written.
    deciding: BTreeSet<Pid>,
    /// Periods in which somebody is frozen and no order runs, and since when.
    stale: BTreeMap<Pid, Instant>,
    looked: Option<Instant>,
}

/// An order that is carried out.
#[derive(Debug)]
struct Order {
    region: u8,
    number: WallMs,
    since: Instant,
    told: Option<Instant>,
    asked: Option<Instant>,
    /// By region, its nodes with their last sign of life.
    nodes: BTreeMap<u8, BTreeMap<Actor, WallMs>>,
    /// Whether nodes of the region keep ceilings, as others heard them.
    heard: BTreeMap<Actor, bool>,
    /// What became of budgets that others speak for.
    reports: BTreeMap<Actor, Report>,
    report: Report,
    /// Budgets that are still to be looked at, those whose books are read, and those in which the
    /// region is being fenced.
    rest: Option<Vec<Pid>>,
    looking: Vec<Pid>,
    running: BTreeMap<Pid, Running>,
    replies: Vec<Reply>,
}

/// A period in which a region is being fenced.
#[derive(Debug)]
struct Running {
    noted: usize,
    actors: Vec<Actor>,
    roster: Vec<Actor>,
}

impl Fences {
    pub(super) fn new(kept: bool) -> Self {
        Self {
            kept,
            sound: false,
            others: BTreeMap::new(),
            order: None,
            deciding: BTreeSet::new(),
            stale: BTreeMap::new(),
            looked: None,
        }
    }

    /// A node says whether it keeps ceilings.
    pub(super) fn hear(&mut self, from: Actor, keeps: Option<bool>) {
        self.others.insert(from, keeps);
    }

    /// Whether a node can read a message.
    pub(super) fn reads(&self, to: Actor, message: &Message) -> bool {
        let of_ceilings = matches!(
            message,
            Message::Fence { .. }
                | Message::Need {
                    want: Want::Witness,
                    ..
                }
        );
        !of_ceilings || self.others.get(&to).is_some_and(Option::is_some)
    }

    /// Whether all that is known of a node says that it keeps ceilings.
    fn keeps(&self, actor: Actor) -> bool {
        let own = self.others.get(&actor).map(|keeps| keeps == &Some(true));
        let order = self.order.as_ref();
        let heard = order.and_then(|order| order.heard.get(&actor).copied());
        let mut all = own.into_iter().chain(heard).peekable();
        all.peek().is_some() && all.all(|keeps| keeps)
    }
}

impl Order {
    fn new(region: u8, number: WallMs) -> Self {
        Self {
            region,
            number,
            since: clock::mono(),
            told: None,
            asked: None,
            nodes: BTreeMap::new(),
            heard: BTreeMap::new(),
            reports: BTreeMap::new(),
            report: Report::default(),
            rest: None,
            looking: Vec::new(),
            running: BTreeMap::new(),
            replies: Vec::new(),
        }
    }

    fn runs(&self, now: Instant) -> bool {
        !self.report.done && !self.is_over(now)
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= ORDER_TIME
    }

    fn know(&mut self, region: u8, nodes: impl IntoIterator<Item = (u16, WallMs)>) {
        let known = self.nodes.entry(region).or_default();
        for (node, seen) in nodes {
            let actor = Actor {
                region,
                node,
                incarnation: 0,
            };
            let at = known.entry(actor).or_insert(seen);
            *at = (*at).max(seen);
        }
    }
}

impl Desk {
    /// The operator has a region fenced; answered when that is done, or when its time is over.
    pub(super) fn call_fenced(&mut self, name: &str, reply: Reply) {
        let now = clock::mono();
        let known = self.mail.number_of(name);
        let running = self.fences.order.as_mut();
        let running = running.filter(|order| order.runs(now));
        let busy = match running {
            Some(order) if known == Some(order.region) => return order.replies.push(reply),
            running => running.map(|order| order.region),
        };
        let refused = match (known, busy) {
            (None, _) => {
                let names = self.mail.far_names().collect::<Vec<_>>().join(", ");
                NotLost::Unknown(names)
            }
            (Some(_), Some(busy)) => NotLost::Busy(self.region_named(busy)),
            _ if !self.fences.kept => NotLost::NoCeilings,
            (Some(region), None) => {
                let mut reached = self.reached.iter();
                match reached.find(|actor| actor.region == region) {
                    Some(actor) => NotLost::Lives(*actor),
                    None => {
                        let mut order = Order::new(region, clock::now());
                        order.replies.push(reply);
                        self.fences.order = Some(order);
                        return;
                    }
                }
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(Err(refused));
    }

    /// Another node says what it knows of a region that is to be fenced.
    pub(super) fn hear_fencing(&mut self, from: Actor, says: Fencing) {
        let now = clock::mono();
        if says.region == self.me.region || says.region == from.region {
            return;
        }
        let last = self.fences.order.as_ref();
        let runs = last.is_some_and(|order| order.runs(now));
        // Two that were given at the same time are one.
        let same = |order: &Order| order.region == says.region && runs && !says.report.done;
        let known = last.is_some_and(|order| order.number == says.order || same(order));
        if !known {
            let older = last.is_some_and(|order| order.number >= says.order);
            let age_ms = clock::now().0.saturating_sub(says.order.0).unsigned_abs();
            if runs || older || u128::from(age_ms) >= ORDER_TIME.as_millis() {
                return;
            }
            self.fences.order = Some(Order::new(says.region, says.order));
        }
        if let Some(order) = &mut self.fences.order {
            order.know(from.region, says.nodes.into_iter().flatten());
            order.nodes.retain(|_, nodes| !nodes.is_empty());
            for (actor, keeps) in says.heard {
                *order.heard.entry(actor).or_insert(keeps) &= keeps;
            }
            order.reports.insert(from, says.report);
        }
    }

    /// Goes on with the order that runs.
    pub(super) fn tend_fencing(&mut self, now: Instant) {
        let Some(order) = &self.fences.order else {
            return;
        };
        let over = order.is_over(now);
        if !order.report.done {
            self.ask_for_nodes(now);
            self.look_for_budgets(over);
            self.ask_newcomers();
            self.collect(over);
            self.end_order();
        }
        self.tell_fencing(now);
        self.answer_fencing(now);
    }

    fn end_order(&mut self) {
        let deciding = !self.fences.deciding.is_empty();
        let Some(order) = &mut self.fences.order else {
            return;
        };
        let rest = order.rest.as_ref().is_none_or(|rest| !rest.is_empty());
        if rest || deciding || !order.looking.is_empty() || !order.running.is_empty() {
            return;
        }
        order.report.done = true;
        order.told = None;
        let report = &order.report;
        tracing::warn!(
            budgets = report.budgets,
            failed = report.failed,
            dollars = %NanoUsd(report.amount),
            left = %NanoUsd(report.left),
            "a region is fenced: what it can no longer spend is made anew"
        );
    }

    fn tell_fencing(&mut self, now: Instant) {
        let (own, others) = (self.me.region, &self.fences.others);
        let Some(order) = &mut self.fences.order else {
            return;
        };
        let lately = |at: Instant| now.saturating_duration_since(at) < TELL;
        let late = now.saturating_duration_since(order.since) >= ORDER_TIME + TOLD_AFTER;
        if late || order.told.is_some_and(lately) {
            return;
        }
        order.told = Some(now);
        let there = others
            .iter()
            .filter(|(actor, _)| actor.region == order.region);
        let nodes = order.nodes.get(&own).map(|nodes| {
            let nodes = nodes.iter();
            nodes.map(|(actor, seen)| (actor.node, *seen)).collect()
        });
        let says = Fencing {
            region: order.region,
            order: order.number,
            nodes,
            heard: there
                .map(|(actor, keeps)| (*actor, *keeps == Some(true)))
                .collect(),
            report: order.report.clone(),
        };
        self.mail.tell_fencing(&says);
    }

    /// Answers whoever asked, once every node has done its part.
    fn answer_fencing(&mut self, now: Instant) {
        let Some(order) = &self.fences.order else {
            return;
        };
        let late = now.saturating_duration_since(order.since) >= ORDER_TIME + TOLD_AFTER;
        let mut others = self.members.live().iter();
        let is_done = |actor: &Actor| {
            let away = *actor == self.me || actor.region == order.region;
            away || order.reports.get(actor).is_some_and(|report| report.done)
        };
        if order.replies.is_empty() || !(late || order.report.done && others.all(is_done)) {
            return;
        }
        let answer = self.fencing_shown();
        if let Some(order) = &mut self.fences.order {
            for reply in order.replies.drain(..) {
                // Whoever asked may be gone.
                let _ = reply.send(Ok(answer.clone()));
            }
        }
    }

    /// Whether regions that are cut off may spend a part of what they hold only.
    pub(super) fn keeps_ceilings(&self) -> bool {
        self.fences.kept
    }

    /// Says that ceilings are kept here once none is exceeded from before they were.
    pub(super) fn look_at_ceilings(&mut self) {
        let fences = &mut self.fences;
        if fences.kept && !fences.sound && !self.escrow.exceeds_ceiling() {
            fences.sound = true;
            self.mail.say_ceilings(true);
        }
    }
}
