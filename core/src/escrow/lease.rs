//! Inside a region: nodes lease rights from the vault, which recalls them when it is short.

use std::time::Duration;

use super::account::{Account, Scene};
use super::ids::Actor;
use super::message::{Effect, Message, Standing, Want};
use super::row::Rights;

/// Pause between two requests for a lease, and between two returns of what is over it.
const ASK_PAUSE: Duration = Duration::from_millis(250);
const RETURN_PAUSE: Duration = Duration::from_secs(5);

impl Account {
    /// What a node without the vault's role does: refill at half, return what is too much.
    pub(super) fn tend_lease(&mut self, cx: &mut Scene<'_>, vault: Actor) {
        let standing = self.standing();
        let target = cx.settings.lease_target(standing);
        if self.is_idle(cx) {
            self.give_back(cx, vault, standing.free - standing.need);
        } else if standing.free > target.saturating_mul(2)
            // What its demand is shows in time.
            && cx.is_since(self.leased, cx.settings.rate_tau)
        {
            self.give_back(cx, vault, standing.free - target);
        } else if standing.free < target / 2 && self.is_asked_for(cx) {
            self.ask_vault(cx, vault, target - standing.free);
        }
    }

    fn give_back(&mut self, cx: &mut Scene<'_>, vault: Actor, amount: Rights) {
        if amount > 0 && cx.is_since(self.returned, RETURN_PAUSE) {
            self.returned = Some(cx.now);
            self.donate(cx, vault, amount);
        }
    }

    fn ask_vault(&mut self, cx: &mut Scene<'_>, vault: Actor, amount: Rights) {
        if cx.is_since(self.asked, ASK_PAUSE) {
            self.asked = Some(cx.now);
            // What waits may be larger than what is usual.
            let waits = self.wanting.map_or(0, |(need, _)| need);
            let usual = self.standing();
            let standing = Standing {
                need: usual.need.max(waits),
                ..usual
            };
            self.ask(cx, vault, Want::Lease, amount, standing);
        }
    }

    /// A request found too little here: ask at once, and again while it may wait.
    pub(super) fn short(&mut self, cx: &mut Scene<'_>, need: Rights) {
        self.look(cx);
        self.wanting = Some((need, cx.now.plus(cx.settings.waiting)));
        self.fetch(cx);
    }

    /// Asks for what a request waits for.
    pub(super) fn fetch(&mut self, cx: &mut Scene<'_>) {
        let Some((need, until)) = self.wanting else {
            return;
        };
        let missing = need - self.slot.avail();
        if missing <= 0 || cx.now >= until {
            self.wanting = None;
            return;
        }
        match cx.vault(self.pid) {
            Some(vault) if vault == cx.me => self.gather(cx, missing, None),
            Some(vault) => {
                let target = cx.settings.lease_target(self.standing());
                self.ask_vault(cx, vault, target.max(need) - self.slot.avail());
            }
            None => {}
        }
    }

    pub(super) fn ask(
        &mut self,
        cx: &mut Scene<'_>,
        to: Actor,
        want: Want,
        amount: Rights,
        standing: Standing,
    ) {
        let pid = self.pid;
        let message = Message::Need {
            pid,
            want,
            amount,
            standing,
        };
        cx.out.push(Effect::Send { to, message });
    }

    /// A node of the region wants a lease: a part of the pool, one request's worth at least.
    pub(super) fn lease_to(
        &mut self,
        cx: &mut Scene<'_>,
        node: Actor,
        amount: Rights,
        asker: Standing,
    ) {
        self.peers.entry(node).or_default().standing = asker;
        self.region_asked = Some(cx.now);
        // One that can serve its next request waits for nothing.
        let need = (asker.need - asker.free.max(0)).clamp(0, amount.max(0));
        // What is not enough for it stays in one place, or nodes would pass it around.
        let room = match self.near(cx, node) >= need {
            true => self.slot.avail().max(0),
            false => 0,
        };
        let share = cx.settings.grant(self.standing(), asker);
        let given = self.donate(cx, node, amount.min(share).max(need.min(room)));
        if given < need {
            self.waiting
                .insert(node, (need - given, cx.now.plus(cx.settings.waiting)));
            self.gather(cx, need - given, Some(node));
        }
    }

    /// Free in the region beside what `but` has, as far as is known here.
    fn near(&self, cx: &Scene<'_>, but: Actor) -> Rights {
        let siblings = cx.members.of_region(cx.me.region);
        let siblings = siblings.filter(|sibling| *sibling != cx.me && *sibling != but);
        let free = |sibling| Some(self.peers.get(&sibling)?.standing.free.max(0));
        let own = self.slot.avail().max(0);
        siblings.filter_map(free).fold(own, Rights::saturating_add)
    }

    /// Fetches what a request waits for: from siblings, and from other regions only what those are
    /// not known to have. What crosses is out of use on its way, and lost to who is cut off then.
    fn gather(&mut self, cx: &mut Scene<'_>, missing: Rights, but: Option<Actor>) {
        let missing = self.raise_for(cx, missing);
        let beyond = self.recall(cx, missing, but);
        if beyond > 0 {
            self.ask_regions(cx, Some(beyond));
        }
    }

    /// Asks siblings for what is missing, those that hold most first. `but` needs it itself. Says
    /// how much of it none of them is known to have.
    pub(super) fn recall(
        &mut self,
        cx: &mut Scene<'_>,
        missing: Rights,
        but: Option<Actor>,
    ) -> Rights {
        let siblings = cx.members.of_region(cx.me.region);
        let siblings = siblings.filter(|sibling| *sibling != cx.me && Some(*sibling) != but);
        let free = |actor: Actor| Some((self.peers.get(&actor)?.spare(cx.now), actor));
        let mut richest: Vec<_> = siblings.filter_map(free).collect();
        richest.sort_unstable_by(|a, b| b.cmp(a));
        let own = self.standing();
        let (mut wanted, mut found) = (missing.saturating_mul(2), 0);
        for (spare, sibling) in richest {
            if wanted <= 0 || spare <= 0 {
                break;
            }
            found += spare;
            let peer = self.peers.entry(sibling).or_default();
            if peer.recall(cx.now, wanted) {
                self.ask(cx, sibling, Want::Recall, wanted, own);
            }
            wanted -= spare;
        }
        (missing - found).max(0)
    }

    /// A sibling is about to get the requests that came here: half of what is free goes there, or
    /// all of it where half would not serve one.
    pub(super) fn hand_over(&mut self, cx: &mut Scene<'_>, to: Actor) {
        if self.is_idle(cx) {
            return;
        }
        let standing = self.standing();
        let half = standing.free / 2;
        let part = half - half % standing.need;
        self.donate(cx, to, if part > 0 { part } else { standing.free });
    }

    /// Rights came: those who wait for them are served first.
    pub(super) fn serve(&mut self, cx: &mut Scene<'_>) {
        let waiting = std::mem::take(&mut self.waiting);
        for (actor, (amount, until)) in waiting {
            if cx.now >= until {
                continue;
            }
            let given = self.donate(cx, actor, amount);
            if given < amount {
                self.waiting.insert(actor, (amount - given, until));
            }
        }
    }
}
