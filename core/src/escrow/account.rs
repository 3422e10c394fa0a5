//! One period on one node: its own row, copies of others' rows, and its demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ceiling::Ceilings;
use super::demand::Demand;
use super::fence::Fencing;
use super::ids::{Actor, Pid};
use super::members::Members;
use super::message::{Effect, Message, Standing};
use super::outbox::Outbox;
use super::rebalance::Region;
use super::row::{Rights, Row};
use super::settings::Settings;
use super::slot::Slot;
use crate::time::MonoUs;

/// Rights that nobody has are on the way to somebody, for this long at most.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Who has rights of a period and does not say so within this time is not heard at all.
const SILENCE: Duration = Duration::from_secs(2);

/// A sibling that was asked to give back answers within this time, or has nothing; after the longer
/// one it is asked again: the question may be lost.
const RECALL_WAIT: Duration = Duration::from_millis(300);
const RECALL_AGAIN: Duration = Duration::from_millis(1_000);

/// Parts of the node that an account needs while it works.
pub(super) struct Scene<'a> {
    pub(super) me: Actor,
    pub(super) now: MonoUs,
    /// This node is new: it takes nothing from other regions yet.
    pub(super) listens: bool,
    pub(super) members: &'a Members,
    pub(super) settings: &'a Settings,
    pub(super) outbox: &'a mut Outbox,
    pub(super) out: &'a mut Vec<Effect>,
}

impl Scene<'_> {
    pub(super) fn is_since(&self, then: Option<MonoUs>, time: Duration) -> bool {
        then.is_none_or(|then| self.now >= then.plus(time))
    }

    pub(super) fn vault(&self, pid: Pid) -> Option<Actor> {
        self.members.vault(pid.scope, self.me.region)
    }
}

/// What is known of another actor of the same period.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) row: Row,
    pub(super) standing: Standing,
    /// A transfer to it is sent again at this moment unless its row confirms it before.
    resend: Option<(MonoUs, Duration)>,
    /// Asked to give back, since when and how much in all, and not heard since.
    recalled: Option<(MonoUs, Rights)>,
}

impl Peer {
    /// What it could give back; nothing if it was asked a while ago and has not said a word.
    pub(super) fn spare(&self, now: MonoUs) -> Rights {
        let silent = |(since, _): (MonoUs, Rights)| {
            now >= since.plus(RECALL_WAIT) && now < since.plus(RECALL_AGAIN)
        };
        match self.recalled.is_some_and(silent) {
            true => 0,
            false => self.standing.free.max(0),
        }
    }

    /// Whether to ask it for so much: not again for the same rights before its next row.
    pub(super) fn recall(&mut self, now: MonoUs, wanted: Rights) -> bool {
        let recent = |(since, _): &(MonoUs, Rights)| now < since.plus(RECALL_AGAIN);
        let (since, asked) = self.recalled.filter(recent).unwrap_or((now, 0));
        let more = asked < self.standing.free;
        if more {
            self.recalled = Some((since, asked.saturating_add(wanted)));
        }
        more
    }
}

/// The period's claim on its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody is known to have it; asked for at this moment.
    Open(Option<MonoUs>),
    /// Somebody has it.
    Known,
}

/// One period on this node.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) pid: Pid,
    pub(super) slot: Arc<Slot>,
    pub(super) row: Row,
    pub(super) peers: BTreeMap<Actor, Peer>,
    pub(super) regions: BTreeMap<u8, Region>,
    pub(super) claim: Claim,
    /// Asked for rights that were not here; until when.
    pub(super) waiting: BTreeMap<Actor, (Rights, MonoUs)>,
    /// Lowerings that this node has sent its part for.
    pub(super) lowered: BTreeSet<u32>,
    /// Rights that this node is to destroy, in all.
    pub(super) burn_total: Rights,
    /// When rights came last: from a sibling, or with the journal of a life before.
    pub(super) leased: Option<MonoUs>,
    /// Last request for a lease; last return of rights over the lease.
    pub(super) asked: Option<MonoUs>,
    pub(super) returned: Option<MonoUs>,
    pub(super) viewed: Option<(MonoUs, Standing)>,
    /// A request waits for this much, until then.
    pub(super) wanting: Option<(Rights, MonoUs)>,
    /// Last moment that enough for a request was known to be free somewhere.
    hopeful: Option<MonoUs>,
    /// Since when requests look for rights here.
    searched: Option<MonoUs>,
    /// Last sign of demand anywhere in the region.
    pub(super) region_asked: Option<MonoUs>,
    published: Option<(MonoUs, Row, Standing)>,
    pub(super) ceilings: Ceilings,
    /// Actors of other regions that this node has fenced by all.
    pub(super) fencing: BTreeMap<Actor, Fencing>,
    demand: Demand,
}

impl Account {
    /// An account whose own row says `row`. Reservations of an earlier life are settled in it.
    pub(super) fn new(pid: Pid, row: Row) -> Self {
        let claim = match row.minted.is_empty() {
            true => Claim::Open(None),
            false => Claim::Known,
        };
        Self {
            pid,
            slot: Arc::new(Slot::new(row.held(), row.used)),
            row,
            peers: BTreeMap::new(),
            regions: BTreeMap::new(),
            claim,
            waiting: BTreeMap::new(),
            lowered: BTreeSet::new(),
            burn_total: 0,
            leased: None,
            asked: None,
            returned: None,
            viewed: None,
            wanting: None,
            hopeful: None,
            searched: None,
            region_asked: None,
            published: None,
            ceilings: Ceilings::default(),
            fencing: BTreeMap::new(),
            demand: Demand::default(),
        }
    }

    pub(super) fn look(&mut self, cx: &Scene<'_>) {
        self.demand.look(&self.slot, cx.now, cx.settings.rate_tau);
        self.row.used = self.slot.used();
        self.region_asked = self.region_asked.max(self.demand.asked);
    }

    /// How this node stands.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            free: self.slot.avail(),
            rate: self.demand.rate,
            need: self.demand.need.max(1),
            ..Standing::default()
        }
    }

    /// The same for siblings, to whom a vault says what it hears of other regions.
    fn standing_for_siblings(&self, cx: &Scene<'_>) -> Standing {
        let beyond = match cx.vault(self.pid) == Some(cx.me) {
            true => self.beyond(cx.me, cx.members),
            false => None,
        };
        Standing {
            beyond,
            ..self.standing()
        }
    }

    /// Free in other regions, or where they can let it be spent; `None` unless all of them have
    /// said something.
    fn beyond(&self, me: Actor, members: &Members) -> Option<Rights> {
        let mut others = members.regions();
        others.remove(&me.region);
        let above = if others.is_empty() { 0 } else { self.above() };
        let free = |region| Some(self.regions.get(&region)?.standing?.free.max(0));
        let all: Option<Rights> = others.into_iter().map(free).sum();
        Some(all?.saturating_add(above))
    }

    /// How this node's region stands, as far as it is known here.
    pub(super) fn region_standing(&self, cx: &Scene<'_>) -> Standing {
        let own = Standing {
            free: self.free(),
            ..self.standing()
        };
        let siblings = cx.members.of_region(cx.me.region);
        let siblings = siblings.filter(|sibling| *sibling != cx.me);
        siblings
            .filter_map(|sibling| self.peers.get(&sibling))
            .fold(own, |sum, peer| Standing {
                free: sum.free + peer.standing.free.max(0),
                rate: sum.rate + peer.standing.rate,
                need: sum.need.max(peer.standing.need),
                ..Standing::default()
            })
    }

    pub(super) fn may_find(
        &mut self,
        now: MonoUs,
        need: Rights,
        me: Actor,
        members: &Members,
    ) -> bool {
        let since = *self.searched.get_or_insert(now);
        let settled = now >= since.plus(SILENCE);
        let found = self.known_free(me, members, settled) >= need;
        if found {
            self.hopeful = Some(now);
        }
        let lately = |then: MonoUs| now < then.plus(ON_THE_WAY);
        found || self.hopeful.is_some_and(lately)
    }

    /// Free rights everywhere, as far as they are known here: who was never heard may have any
    /// number. Other regions are heard by the vault, or through it.
    /// Once `settled`, a sibling that never said anything has nothing: who has says so.
    fn known_free(&self, me: Actor, members: &Members, settled: bool) -> Rights {
        let vault = members.vault(self.pid.scope, me.region);
        let beyond = match vault {
            Some(vault) if vault != me => {
                let peer = self.peers.get(&vault);
                peer.and_then(|peer| peer.standing.beyond)
            }
            _ => self.beyond(me, members),
        };
        let siblings = members.of_region(me.region).filter(|one| *one != me);
        let free = |one| match self.peers.get(&one) {
            Some(peer) => Some(peer.standing.free.max(0)),
            None => settled.then_some(0),
        };
        let siblings: Option<Rights> = siblings.map(free).sum();
        match (siblings, beyond) {
            (Some(siblings), Some(beyond)) => siblings
                .saturating_add(beyond)
                .saturating_add(self.slot.avail()),
            _ => Rights::MAX,
        }
    }

    /// Settled in this node's region, as far as it is known here.
    pub(super) fn region_used(&self, cx: &Scene<'_>) -> Rights {
        let sibling = |(actor, _): &(&Actor, &Peer)| actor.region == cx.me.region;
        let peers = self.peers.iter().filter(sibling);
        self.slot.used() + peers.map(|(_, peer)| peer.row.used).sum::<Rights>()
    }

    /// Reserved by requests that run in this node's region, as far as it is known here.
    pub(super) fn region_open(&self, cx: &Scene<'_>) -> Rights {
        let sibling = |(actor, _): &(&Actor, &Peer)| actor.region == cx.me.region;
        let peers = self.peers.iter().filter(sibling);
        let open = |peer: &Peer| peer.row.held().saturating_sub(peer.standing.free).max(0);
        peers.fold(self.slot.reserved(), |sum, (_, peer)| {
            sum.saturating_add(open(peer))
        })
    }

    pub(super) fn is_idle(&self, cx: &Scene<'_>) -> bool {
        cx.is_since(self.demand.asked.max(self.leased), cx.settings.holding)
    }

    pub(super) fn is_asked_for(&self, cx: &Scene<'_>) -> bool {
        !cx.is_since(self.demand.asked, Duration::from_secs(1))
    }

    /// Gives away what is free, at most `amount`: first the slot, then the row and the journal,
    /// and after the sync the message. Says how much it was.
    pub(super) fn donate(&mut self, cx: &mut Scene<'_>, to: Actor, amount: Rights) -> Rights {
        // Rights sent to the dead would only wait for them.
        let frozen = self.row.fence_of(to).is_frozen();
        if to == cx.me || !cx.members.is_live(to) || !cx.outbox.has_room() || frozen {
            return 0;
        }
        let given = self.take(amount, to.region != cx.me.region);
        if given > 0 {
            *self.row.sent.entry(to).or_insert(0) += given;
            if let Some(region) = self.regions.get_mut(&to.region) {
                region.given = region.given.saturating_add(given);
            }
            self.journal(cx);
            self.send_row(cx, to, true);
            let peer = self.peers.entry(to).or_default();
            peer.resend = Some((cx.now.plus(cx.settings.resend.0), cx.settings.resend.0));
            peer.standing.free += given;
        }
        given
    }

    /// Credits what `from` has sent since it was last heard; says whether that was anything.
    pub(super) fn receive(&mut self, cx: &mut Scene<'_>, from: Actor, row: &Row) -> bool {
        let (sent, received) = (row.sent_to(cx.me), self.row.received_from(from));
        if sent <= received {
            return false;
        }
        if !self.takes_from(cx, from) {
            self.send_back(cx, from, sent - received);
            return false;
        }
        self.row.received.insert(from, sent);
        if let Some(region) = self.regions.get_mut(&from.region) {
            region.take(cx.now, sent - received);
        }
        if from.region == cx.me.region {
            self.leased = Some(cx.now);
        }
        self.journal(cx);
        self.gain(cx, from, sent - received);
        true
    }

    /// Creates what a claim allows: absolute, so that hearing of it twice changes nothing.
    pub(super) fn mint(&mut self, cx: &mut Scene<'_>, claim: u32, amount: Rights) {
        let cell = self.row.minted.entry(claim).or_insert(0);
        let more = amount - *cell;
        if more > 0 {
            *cell = amount;
            self.journal(cx);
            self.slot.credit(more);
            cx.out.push(Effect::Wake(self.pid));
        }
    }

    /// Credits what was charged too much: never more than was used.
    pub(super) fn refund(&mut self, cx: &mut Scene<'_>, total: Rights) {
        let more = total.min(self.slot.used()) - self.row.refund;
        if more > 0 {
            self.row.refund += more;
            self.journal(cx);
            self.slot.credit(more);
            cx.out.push(Effect::Wake(self.pid));
        }
    }

    /// Destroys what is still to be destroyed and free here; says how much is missing.
    pub(super) fn burn(&mut self, cx: &mut Scene<'_>) -> Rights {
        let due = self.burn_total - self.row.burned;
        let burned = self.take(due, true);
        if burned > 0 {
            self.row.burned += burned;
            self.journal(cx);
            // Home looks whether it was done.
            for region in cx.members.regions() {
                let vault = cx.members.vault(self.pid.scope, region);
                if let Some(vault) = vault.filter(|_| region != cx.me.region) {
                    self.send_row(cx, vault, false);
                }
            }
        }
        due - burned
    }

    pub(super) fn journal(&mut self, cx: &mut Scene<'_>) {
        self.row.used = self.slot.used();
        cx.out.push(Effect::Journal {
            pid: self.pid,
            row: self.row.clone(),
        });
    }

    /// Sends the own row once it is on disk.
    pub(super) fn send_row(&mut self, cx: &mut Scene<'_>, to: Actor, answer: bool) {
        self.row.used = self.slot.used();
        let message = Message::Row {
            pid: self.pid,
            row: self.row.clone(),
            standing: self.standing_for_siblings(cx),
            answer,
        };
        cx.outbox.hold(Effect::Send { to, message });
    }

    /// Takes over a copy of another actor's row.
    pub(super) fn note(&mut self, cx: &Scene<'_>, from: Actor, row: &Row, standing: Standing) {
        let peer = self.peers.entry(from).or_default();
        if from.region == cx.me.region && row.used > peer.row.used {
            self.region_asked = Some(cx.now);
        }
        peer.row.merge(row);
        peer.standing = standing;
        peer.recalled = None;
        if peer.row.received_from(cx.me) >= self.row.sent_to(from) {
            peer.resend = None;
        }
    }

    /// What another actor held when it was last heard, what is on the way to it included.
    pub(super) fn held_by(&self, me: Actor, actor: Actor) -> Rights {
        let held = self.peers.get(&actor).map_or(0, |peer| peer.row.held());
        (held + self.unconfirmed(me, actor)).max(0)
    }

    /// What was given to a region and is not known to have arrived there. What waits for a node
    /// that is down serves nobody there.
    pub(super) fn on_the_way_to(&self, cx: &Scene<'_>, region: u8) -> Rights {
        let to = self.row.sent.keys();
        let live = to.filter(|to| to.region == region && cx.members.is_live(**to));
        let missing = live.map(|to| self.unconfirmed(cx.me, *to).max(0));
        missing.fold(0, Rights::saturating_add)
    }

    /// What was given to another actor less what it is known to have received.
    pub(super) fn unconfirmed(&self, me: Actor, to: Actor) -> Rights {
        let received = self.peers.get(&to).map(|peer| peer.row.received_from(me));
        self.row.sent_to(to).saturating_sub(received.unwrap_or(0))
    }

    /// Whether everything that was given away is known to have arrived.
    pub(super) fn is_confirmed(&self, me: Actor, members: &Members) -> bool {
        let mut to = self.row.sent.keys();
        to.all(|to| members.is_lost(*to) || self.is_confirmed_by(me, *to))
    }

    /// The same for one other.
    pub(super) fn is_confirmed_by(&self, me: Actor, to: Actor) -> bool {
        let received = self.peers.get(&to).map(|peer| peer.row.received_from(me));
        received.unwrap_or(0) >= self.row.sent_to(to)
    }

    /// Sends again what was not confirmed. After a restart everything is unconfirmed.
    pub(super) fn resend(&mut self, cx: &mut Scene<'_>) {
        let mut due = Vec::new();
        for (to, sent) in &self.row.sent {
            let peer = self.peers.entry(*to).or_default();
            let confirmed = peer.row.received_from(cx.me) >= *sent;
            let (at, pause) = peer.resend.unwrap_or((cx.now, cx.settings.resend.0));
            if !confirmed && cx.now >= at && cx.members.is_live(*to) && cx.outbox.has_room() {
                let longer = (pause * 2).min(cx.settings.resend.1);
                peer.resend = Some((cx.now.plus(pause), longer));
                due.push(*to);
            }
        }
        for to in due {
            self.send_row(cx, to, true);
        }
    }

    /// Somebody has not heard what was published.
    pub(super) fn publish_again(&mut self) {
        self.published = None;
    }

    /// Publishes the own row to the region when it or the standing has changed.
    pub(super) fn publish(&mut self, cx: &mut Scene<'_>) {
        self.row.used = self.slot.used();
        let standing = self.standing_for_siblings(cx);
        let due = match &self.published {
            None => !self.row.is_empty() || self.demand.asked.is_some(),
            Some((at, row, told)) => {
                let moved = *row != self.row || has_moved(*told, standing);
                moved && cx.is_since(Some(*at), cx.settings.publish)
            }
        };
        if due && cx.outbox.has_room() {
            self.published = Some((cx.now, self.row.clone(), standing));
            cx.outbox.hold(Effect::Publish {
                pid: self.pid,
                row: self.row.clone(),
                standing,
            });
        }
    }
}

/// Whether a standing differs by more than a tenth.
pub(super) fn has_moved(told: Standing, now: Standing) -> bool {
    let differs = |a: f64, b: f64| (a - b).abs() > 0.1 * a.abs().max(b.abs());
    let beyond = |one: Standing| one.beyond.map_or(-1.0, |beyond| beyond as f64);
    differs(told.free as f64, now.free as f64)
        || differs(told.rate, now.rate)
        || differs(beyond(told), beyond(now))
}
