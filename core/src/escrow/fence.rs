//! Fencing: an actor of another region that is dead or cut off, nobody knows which, is told from
//! then on: what you send is not taken, and no ceiling of yours is witnessed.
//!
//! Once all who may have had to do with it say so, it can spend no more than its largest witnessed
//! ceiling, ever: what it brought in above that is made anew at home, and the book says that it is
//! to destroy as much. The fence is lifted when it has. Nothing here looks at a clock, and an actor
//! that lives all the same loses only what it could not spend.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, Scene};
use super::book::{Book, BookEntry};
use super::ids::Actor;
use super::message::{Effect, Message};
use super::row::{Rights, Row};
use crate::time::MonoUs;

/// Who has not answered is asked again, and a fenced actor that lives is told, after this.
const AGAIN: Duration = Duration::from_secs(1);
const TELL: Duration = Duration::from_secs(2);

/// How far an actor is fenced on a node: a cell that only grows. The greater one is the later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Three for each time that it is fenced: frozen, reclaimed, lifted.
    step: u64,
    /// What it is to destroy, in all, before the fence is lifted.
    due: Rights,
}

impl Fence {
    /// Nothing is taken from the actor.
    pub fn holds(self) -> bool {
        self.is_frozen() || self.is_reclaimed()
    }

    /// For who looks at it: nothing of a fence that was lifted.
    pub fn word(self) -> Option<&'static str> {
        match self.step % 3 {
            1 => Some("frozen"),
            2 => Some("reclaimed"),
            _ => None,
        }
    }

    /// Nothing is given to it either: what it can spend is being computed.
    pub fn is_frozen(self) -> bool {
        self.step % 3 == 1
    }

    /// What it cannot spend was made anew.
    fn is_reclaimed(self) -> bool {
        self.step % 3 == 2
    }

    fn next(self, due: Rights) -> Self {
        let step = self.step + 1;
        Self { step, due }
    }

    /// Fenced once more: what was said of an earlier time does not count.
    fn anew(self) -> Self {
        let step = match self.is_frozen() {
            true => self.step + 3,
            false => self.step + 1,
        };
        Self { step, ..self }
    }

    /// Takes over what is later.
    pub(super) fn merge(&mut self, other: Self) {
        if (other.step, other.due) > (self.step, self.due) {
            *self = other;
        }
    }
}

/// An actor that this node has fenced by all.
#[derive(Debug)]
pub(super) struct Fencing {
    roster: BTreeSet<Actor>,
    /// The sync with which this node's own part is on disk.
    sync: u64,
    asked: Option<MonoUs>,
}

/// The entries for the book of a period that take from fenced actors what they can no longer spend
/// (by actor, as [`Escrow::reclaimable`](super::Escrow) says), and make as much anew by `me`: what
/// the book has ordered from their region before was theirs too. None if that is nothing.
pub fn reclaim(book: &Book, me: Actor, amounts: &[(Actor, Rights)]) -> Vec<BookEntry> {
    let Some((first, _)) = amounts.first() else {
        return Vec::new();
    };
    let region = first.region;
    let ordered = |by: Actor| book.ordered_from(by);
    let there = book.entries.iter().map(|entry| entry.by);
    let there: BTreeSet<Actor> = there.filter(|by| by.region == region).collect();
    // What was ordered from one and is more than it has is with another one of its region.
    let has = |by: &Actor| amounts.iter().find(|(actor, _)| actor == by);
    let beyond = |by: &Actor| (ordered(*by) - has(by).map_or(0, |(_, amount)| *amount)).max(0);
    let mut others: Rights = there.iter().map(beyond).fold(0, Rights::saturating_add);
    let mut entries = Vec::new();
    let mut sum: Rights = 0;
    for (by, amount) in amounts {
        let left = amount.saturating_sub(ordered(*by)).max(0);
        let owed = left.min(others);
        others -= owed;
        if left > owed {
            let amount = owed - left;
            entries.push(BookEntry { amount, by: *by });
            sum = sum.saturating_sub(amount);
        }
    }
    if sum > 0 {
        let anew = BookEntry {
            amount: sum,
            by: me,
        };
        entries.push(anew);
    }
    entries
}

impl Account {
    /// Whether transfers and proposals of an actor are taken.
    pub(super) fn takes_from(&self, cx: &Scene<'_>, from: Actor) -> bool {
        from.region == cx.me.region || !(cx.listens || self.row.fence_of(from).holds())
    }

    /// What a fenced actor has sent goes back to it, to be destroyed: once it was decided how much
    /// that is, and not before.
    pub(super) fn send_back(&mut self, cx: &mut Scene<'_>, from: Actor, late: Rights) {
        if self.row.fence_of(from).is_reclaimed() && !cx.listens {
            *self.row.received.entry(from).or_insert(0) += late;
            *self.row.sent.entry(from).or_insert(0) += late;
            self.journal(cx);
            self.send_row(cx, from, true);
        }
    }

    /// This node is to fence an actor by all of `roster`.
    pub(super) fn fence(&mut self, cx: &mut Scene<'_>, actor: Actor, roster: Vec<Actor>) {
        if actor.region == cx.me.region {
            return;
        }
        let roster: BTreeSet<Actor> = roster.into_iter().collect();
        let before = self.row.fence_of(actor);
        if let Some(fencing) = self.fencing.get_mut(&actor).filter(|_| before.holds()) {
            fencing.roster.extend(roster);
            return;
        }
        if !before.is_reclaimed() {
            self.row.fences.insert(actor, before.anew());
        }
        self.journal(cx);
        let sync = cx.outbox.want();
        let asked = None;
        self.fencing.insert(
            actor,
            Fencing {
                roster,
                sync,
                asked,
            },
        );
    }

    /// Another node says how far an actor is fenced; its own region is not asked.
    pub(super) fn hear_fence(&mut self, cx: &mut Scene<'_>, actor: Actor, fence: Fence) {
        let mut own = self.row.fence_of(actor);
        own.merge(fence);
        if own != self.row.fence_of(actor) && actor.region != cx.me.region {
            self.row.fences.insert(actor, own);
            self.journal(cx);
        }
    }

    /// What a row says of fences, and whether its writer has destroyed what it was to.
    pub(super) fn hear_fences(&mut self, cx: &mut Scene<'_>, from: Actor, row: &Row) {
        for (actor, fence) in &row.fences {
            self.hear_fence(cx, *actor, *fence);
        }
        let fence = self.row.fence_of(from);
        if fence.is_reclaimed() && row.burned >= fence.due {
            self.hear_fence(cx, from, fence.next(fence.due));
        }
    }

    /// What a fenced actor brought in and can no longer spend, once all of the roster say that they
    /// take nothing more from it.
    pub(super) fn reclaimable(
        &self,
        me: Actor,
        actor: Actor,
        synced: impl Fn(u64) -> bool,
    ) -> Option<Rights> {
        let fencing = self.fencing.get(&actor)?;
        let own = self.row.fence_of(actor);
        if !own.is_frozen() || !synced(fencing.sync) {
            return None;
        }
        let (mut brought, mut ceiling): (Rights, Rights) = (0, 0);
        let others = fencing.roster.iter().filter(|other| **other != me);
        let rows = others.map(|other| self.peers.get(other).map(|peer| &peer.row));
        for row in rows.chain([Some(&self.row)]) {
            let row = row?;
            if row.fence_of(actor).step != own.step {
                return None;
            }
            brought = brought
                .saturating_add(row.sent_to(actor))
                .saturating_sub(row.received_from(actor));
            ceiling = ceiling.max(row.witnessed_for(actor));
        }
        Some(brought.saturating_sub(ceiling).max(0))
    }

    /// The book has the entries.
    pub(super) fn reclaimed(&mut self, cx: &mut Scene<'_>, actor: Actor, due: Rights) {
        let fence = self.row.fence_of(actor);
        if fence.is_frozen() {
            self.hear_fence(cx, actor, fence.next(due));
        }
    }

    /// Asks who has not answered, and tells a fenced actor that lives.
    pub(super) fn tend_fences(&mut self, cx: &mut Scene<'_>) {
        let mut questions = Vec::new();
        for (actor, fencing) in &mut self.fencing {
            let fence = self.row.fence_of(*actor);
            let late = |other: &&Actor| {
                let peer = self.peers.get(*other);
                let known = peer.map_or(Fence::default(), |peer| peer.row.fence_of(*actor));
                known.step < fence.step && **other != cx.me
            };
            if cx.is_since(fencing.asked, AGAIN) {
                fencing.asked = Some(cx.now);
                let late = fencing.roster.iter().filter(late);
                questions.extend(late.map(|other| (*other, *actor, fence)));
            }
        }
        for (to, actor, fence) in questions {
            let pid = self.pid;
            let message = Message::Fence { pid, actor, fence };
            cx.outbox.hold(Effect::Send { to, message });
        }
        self.tell_fenced(cx);
    }

    /// A fenced actor that lives says whether it has destroyed what it was to, and vaults of other
    /// regions hear that it is fenced here: the one that had it done may be gone.
    fn tell_fenced(&mut self, cx: &mut Scene<'_>) {
        let holds = |(_, fence): &(&Actor, &Fence)| fence.holds();
        let fenced = self.row.fences.iter().filter(holds);
        let live: Vec<Actor> = fenced
            .map(|(actor, _)| *actor)
            .filter(|actor| cx.members.is_live(*actor))
            .collect();
        let due = self.ceilings.newcomers || !live.is_empty();
        if !due || !cx.is_since(self.ceilings.told_fenced, TELL) {
            return;
        }
        self.ceilings.told_fenced = Some(cx.now);
        self.ceilings.newcomers = false;
        let mut to: BTreeSet<Actor> = live.into_iter().collect();
        let vaults = cx.members.regions().into_iter();
        to.extend(vaults.filter_map(|region| cx.members.vault(self.pid.scope, region)));
        to.remove(&cx.me);
        for one in to {
            self.send_row(cx, one, true);
        }
    }

    /// Somebody joined, who may not know who is fenced; says whether somebody is.
    pub(super) fn fences_again(&mut self) -> bool {
        let some = self.row.fences.values().any(|fence| fence.holds());
        self.ceilings.newcomers |= some;
        some
    }

    /// Actors whose fence is not computed yet, and that nobody is known to have it done.
    pub(super) fn frozen(&self) -> Vec<Actor> {
        let frozen = |(_, fence): &(&Actor, &Fence)| fence.is_frozen();
        let frozen = self.row.fences.iter().filter(frozen);
        frozen.map(|(actor, _)| *actor).collect()
    }
}
