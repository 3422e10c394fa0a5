//! A region that is gone for good: its rights are made anew where somebody lives.
//!
//! Home writes into the budget's book that an actor of the lost region is to destroy what that held
//! when it was last heard, and that as much is made at home. Should the region come back, it reads
//! the book and destroys it; what it has spent meanwhile is pulled from the others.

use std::time::Duration;

use super::account::Account;
use super::book::{Book, BookEntry};
use super::ids::Actor;
use super::members::Members;
use super::message::Standing;
use super::rebalance::Region;
use super::row::Rights;
use crate::time::MonoUs;

/// A message may come so much later than one that was sent after it.
const OVERTAKES: Duration = Duration::from_secs(1);

/// What is known of rights in a region that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who spoke for it last: destroys them, should it come back.
    pub speaker: Actor,
    /// What the region had by its own words, with what was sent from there and to there since.
    most: Rights,
    /// Rights that all others are known to have, and all that is known to be spent.
    elsewhere: Rights,
    /// What is known to be destroyed, and which part of it the region did.
    burned: Rights,
    burned_there: Rights,
}

impl Lost {
    /// The entries for the book that take the region's rights away and make as much anew by `me`:
    /// what the others leave of what was made and not destroyed. Never more than the region had by
    /// its own words: what others have may not be known here. `None` if that is nothing, or an
    /// earlier order is still to be carried out.
    pub fn entries(&self, book: &Book, me: Actor) -> Option<[BookEntry; 2]> {
        let (mut made, mut ordered): (Rights, Rights) = (0, 0);
        for entry in &book.entries {
            made = made.saturating_add(entry.amount.max(0));
            if entry.by.region == self.speaker.region {
                ordered = ordered.saturating_sub(entry.amount.min(0));
            }
        }
        if ordered > self.burned_there {
            return None;
        }
        let rest = made
            .saturating_sub(self.burned)
            .saturating_sub(self.elsewhere);
        let amount = rest.min(self.most);
        let taken = BookEntry {
            amount: amount.saturating_neg(),
            by: self.speaker,
        };
        let anew = BookEntry { amount, by: me };
        (amount > 0).then_some([taken, anew])
    }
}

impl Region {
    /// It says what it has. What came from there just before may have been sent after: it is not
    /// counted as there any more, or it would be made anew while it is here.
    pub(super) fn hear(&mut self, now: MonoUs, speaker: Actor, standing: Standing) {
        self.standing = Some(standing);
        self.speaker = Some(speaker);
        self.forget(now);
        self.sent = sum(self.lately.iter().map(|(_, amount)| *amount));
        self.given = 0;
    }

    /// Rights came from there.
    pub(super) fn take(&mut self, now: MonoUs, amount: Rights) {
        self.forget(now);
        self.lately.push((now, amount));
        self.sent = self.sent.saturating_add(amount);
    }

    fn forget(&mut self, now: MonoUs) {
        self.lately.retain(|(at, _)| now < at.plus(OVERTAKES));
    }
}

impl Account {
    /// `None` where the region lives, or this node does not know enough since it speaks for its
    /// own.
    pub(super) fn lost(&self, me: Actor, members: &Members, region: u8) -> Option<Lost> {
        let live = members.regions();
        let lost = self.regions.get(&region).filter(|lost| lost.viewed)?;
        let unheard = |other: &u8| *other != me.region && !self.has_view(*other);
        if live.contains(&region) || live.iter().any(unheard) {
            return None;
        }
        let others = self.regions.iter().filter(|(id, _)| **id != region);
        let others = others.map(|(_, other)| {
            let free = other.standing.map_or(0, |standing| standing.free.max(0));
            free.saturating_add(other.open).saturating_add(other.used)
        });
        let spent = self.slot.used().saturating_sub(self.row.refund);
        let own = [self.free().max(0), self.slot.reserved(), spent, lost.used];
        let siblings = self.peers.iter().filter(|(id, _)| id.region == me.region);
        let siblings = siblings.map(|(_, peer)| peer.row.rights());
        let burned = self.peers.values().map(|peer| peer.row.burned);
        let said = lost.standing?.free.max(0).saturating_add(lost.open);
        let given = self.on_the_way(me, region).max(lost.given);
        Some(Lost {
            speaker: lost.speaker?,
            most: said.saturating_sub(lost.sent).saturating_add(given),
            elsewhere: sum(own.into_iter().chain(others).chain(siblings)),
            burned: sum(burned.chain([self.row.burned])),
            burned_there: self.burned_by(region),
        })
    }

    /// What actors of a region are known to have destroyed.
    pub(super) fn burned_by(&self, region: u8) -> Rights {
        let of_region = self.peers.iter().filter(|(id, _)| id.region == region);
        sum(of_region.map(|(_, peer)| peer.row.burned))
    }

    /// What was sent to a region and is not known to have arrived. Who was never heard since this
    /// node started says nothing.
    fn on_the_way(&self, me: Actor, region: u8) -> Rights {
        let there = self.peers.iter().filter(|(id, _)| id.region == region);
        let heard = there.filter(|(_, peer)| !peer.row.is_empty());
        sum(heard.map(|(actor, _)| self.unconfirmed(me, *actor).max(0)))
    }

    fn has_view(&self, region: u8) -> bool {
        self.regions.get(&region).is_some_and(|known| known.viewed)
    }

    /// Who does not speak for its region is told nothing of the others: what it knows gets old.
    pub(super) fn leave_pool(&mut self) {
        for region in self.regions.values_mut() {
            region.viewed = false;
        }
    }
}

fn sum(all: impl IntoIterator<Item = Rights>) -> Rights {
    all.into_iter().fold(0, Rights::saturating_add)
}
