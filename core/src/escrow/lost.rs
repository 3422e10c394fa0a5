//! A region that is gone for good: its rights are made anew where somebody lives.
//!
//! Home writes into the budget's book that an actor of the lost region is to destroy what that held
//! when it was last heard, and so finds its limit not made into rights any more: the difference is
//! made at home. Should the region come back, it reads the book and destroys as much; what it has
//! spent meanwhile is pulled from the others.

use super::account::Account;
use super::book::{Book, BookEntry};
use super::ids::Actor;
use super::members::Members;
use super::message::Standing;
use super::rebalance::Region;
use super::row::Rights;

/// What is known of rights in a region that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Who spoke for it last: destroys them, should it come back.
    pub speaker: Actor,
    /// Rights that all others have or have spent, and what the region had spent.
    elsewhere: Rights,
    /// What the region had by its own words, with what was sent from there and to there since: the
    /// most that is taken away while not all others are heard, who may have got some of it.
    most: Option<Rights>,
}

impl Lost {
    /// The entry for the book that takes the region's rights away: what the others leave of what
    /// was made. `None` if that is nothing, or an earlier one is still to be carried out.
    pub fn entry(&self, book: &Book, burned: Rights) -> Option<BookEntry> {
        let region = self.speaker.region;
        let of_region = book
            .entries
            .iter()
            .filter(|entry| entry.by.region == region);
        let ordered = of_region.map(|entry| entry.amount.min(0).saturating_neg());
        if ordered.fold(0, Rights::saturating_add) > burned {
            return None;
        }
        let made = book.limit().saturating_sub(book.base);
        let rest = made.saturating_sub(self.elsewhere);
        let amount = self.most.map_or(rest, |most| rest.min(most));
        (amount > 0).then_some(BookEntry {
            amount: -amount,
            by: self.speaker,
        })
    }
}

impl Region {
    /// It says how it stands.
    pub(super) fn hear(&mut self, speaker: Actor, standing: Standing) {
        self.standing = Some(standing);
        self.speaker = Some(speaker);
        (self.sent, self.given) = (0, 0);
    }
}

impl Account {
    pub(super) fn lost(&self, me: Actor, members: &Members, region: u8) -> Option<Lost> {
        let live = members.regions();
        if live.contains(&region) {
            return None;
        }
        let lost = self.regions.get(&region)?;
        let mut elsewhere = lost.used;
        let others = self.regions.iter().filter(|(id, _)| **id != region);
        let silent = others.clone().any(|(id, _)| !live.contains(id));
        for other in live.iter().filter(|other| **other != me.region) {
            self.regions.get(other)?.standing?;
        }
        for (_, other) in others {
            let free = other.standing.map_or(0, |standing| standing.free.max(0));
            let all = [free, other.open, other.used].into_iter();
            elsewhere = all.fold(elsewhere, Rights::saturating_add);
        }
        let own = self
            .slot
            .avail()
            .max(0)
            .saturating_add(self.slot.reserved());
        let own = own
            .saturating_add(self.slot.used())
            .saturating_sub(self.row.refund);
        let siblings = self.peers.iter().filter(|(id, _)| id.region == me.region);
        let siblings = siblings.map(|(_, peer)| peer.row.rights());
        let elsewhere = siblings.fold(elsewhere.saturating_add(own), Rights::saturating_add);
        let actors = self.row.sent.iter().filter(|(to, _)| to.region == region);
        let on_the_way = actors.map(|(to, sent)| (sent - self.arrived(me, *to)).max(0));
        let on_the_way = on_the_way.fold(0, Rights::saturating_add);
        let said = lost.standing?.free.saturating_sub(lost.sent);
        Some(Lost {
            speaker: lost.speaker?,
            elsewhere,
            most: silent.then(|| said.saturating_add(on_the_way.max(lost.given))),
        })
    }

    /// What another actor is known to have received from here.
    fn arrived(&self, me: Actor, to: Actor) -> Rights {
        let peer = self.peers.get(&to);
        peer.map_or(0, |peer| peer.row.received_from(me))
    }

    /// What actors of a region are known to have destroyed.
    pub(super) fn burned_by(&self, region: u8) -> Rights {
        let of_region = self.peers.iter().filter(|(id, _)| id.region == region);
        let burned = of_region.map(|(_, peer)| peer.row.burned);
        burned.fold(0, Rights::saturating_add)
    }
}
