//! Ceilings: what a region brings in from others it spends only as far as another region has
//! witnessed it, so that who makes anew what it held knows what it may have spent.
//!
//! An actor answers for what it brought into its region, whoever spends it there: that less what
//! lies above its ceiling is at most the ceiling. What lies above is no part of the slot. It can be
//! given to other regions, destroyed, and is told as free. What siblings give was below theirs.

use std::time::Duration;

use super::account::{Account, Scene};
use super::ids::Actor;
use super::message::{Effect, Standing, Want};
use super::row::{Rights, Row};
use super::settings::Settings;
use crate::time::MonoUs;

/// A ceiling leaves room for a tenth of what was brought in, and for so many requests.
const ROOM_PART: Rights = 10;
const ROOM_NEEDS: Rights = 8;
/// A proposal that was not answered is made again, to another region, after this.
const PROPOSE_AGAIN: Duration = Duration::from_secs(1);

/// What an account keeps about ceilings.
#[derive(Debug, Default)]
pub(super) struct Ceilings {
    /// Brought in, and above the ceiling.
    above: Rights,
    /// The scope is at home here.
    at_home: bool,
    /// The last proposal, when it was made, and how many were.
    proposed: Option<(MonoUs, Rights)>,
    proposals: u64,
    /// Somebody joined since others were told who is fenced.
    pub(super) newcomers: bool,
    /// When fenced actors were told last.
    pub(super) told_fenced: Option<MonoUs>,
}

/// How a node stands to its ceiling in one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// What of the rights that were brought in may be spent in this region.
    pub ceiling: Rights,
    /// How much of that has been given to requests and siblings.
    pub used: Rights,
    /// What lies above it.
    pub above: Rights,
    /// Proposals to raise it, in all.
    pub proposals: u64,
}

impl Account {
    /// Rights above the ceiling.
    pub(super) fn above(&self) -> Rights {
        self.ceilings.above
    }

    /// What could be given to another region now.
    pub(super) fn free(&self) -> Rights {
        self.slot.avail().saturating_add(self.ceilings.above)
    }

    fn is_limited(&self, settings: &Settings) -> bool {
        settings.isolation.is_some() && !self.ceilings.at_home
    }

    /// After a restart: what lies above the ceiling is no part of the slot.
    pub(super) fn put_above(&mut self, me: Actor, settings: &Settings) {
        if self.is_limited(settings) {
            let over = self.row.brought_in(me).saturating_sub(self.row.ceiling);
            self.ceilings.above = self.slot.take(over);
        }
    }

    /// Nobody makes anew what is held at home.
    pub(super) fn come_home(&mut self, cx: &mut Scene<'_>) {
        if !self.ceilings.at_home {
            self.ceilings.at_home = true;
            self.lift(cx);
        }
    }

    /// Rights came from another actor.
    pub(super) fn gain(&mut self, cx: &mut Scene<'_>, from: Actor, gained: Rights) {
        if from.region == cx.me.region || !self.is_limited(cx.settings) {
            return self.slot.credit(gained);
        }
        self.ceilings.above = self.ceilings.above.saturating_add(gained);
        self.lift(cx);
    }

    /// Moves into the slot what the ceiling allows.
    fn lift(&mut self, cx: &mut Scene<'_>) {
        let over = match self.is_limited(cx.settings) {
            true => self.row.brought_in(cx.me).saturating_sub(self.row.ceiling),
            false => 0,
        };
        let lifted = self.ceilings.above - over.max(0);
        if lifted > 0 {
            self.ceilings.above -= lifted;
            self.slot.credit(lifted);
            cx.out.push(Effect::Wake(self.pid));
        }
    }

    /// Takes out what is free, at most `amount`: first what nobody may spend here, if it is to
    /// leave the region or to be destroyed.
    pub(super) fn take(&mut self, amount: Rights, leaves: bool) -> Rights {
        let above = match leaves {
            true => amount.min(self.ceilings.above).max(0),
            false => 0,
        };
        self.ceilings.above -= above;
        above + self.slot.take(amount - above)
    }

    /// What was brought in and is used, reserved or lent to siblings.
    fn given_out(&self, me: Actor) -> Rights {
        self.row.brought_in(me).saturating_sub(self.free())
    }

    /// What a region that is cut off can go on with: a part of what was brought in, some requests,
    /// and its rate for the time of isolation.
    fn room(&self, cx: &Scene<'_>) -> Rights {
        let time = cx.settings.isolation.unwrap_or_default().as_secs_f64();
        let standing = self.region_standing(cx);
        let at_rate = (standing.rate * time) as Rights;
        let part = self.row.brought_in(cx.me) / ROOM_PART;
        let requests = standing.need.saturating_mul(ROOM_NEEDS);
        at_rate.max(part).max(requests)
    }

    /// The ceiling to be proposed, with `more` that is about to come for a request.
    pub(super) fn wanted_ceiling(&self, cx: &Scene<'_>, more: Rights) -> Option<Rights> {
        let limited = self.is_limited(cx.settings);
        let wanted = self.given_out(cx.me).max(0);
        let wanted = wanted.saturating_add(self.room(cx)).saturating_add(more);
        limited.then_some(wanted)
    }

    /// Whether more was given out than the ceiling allows: before ceilings were kept.
    pub(super) fn exceeds_ceiling(&self, me: Actor, settings: &Settings) -> bool {
        // What requests cost over their reservations is no right that could be made anew.
        let given = self.given_out(me).min(self.row.brought_in(me));
        self.is_limited(settings) && given > self.row.ceiling
    }

    /// Proposes a ceiling when half of its room is gone; all that is here before the node leaves.
    pub(super) fn tend_ceiling(&mut self, cx: &mut Scene<'_>, leaving: bool) {
        if self.ceilings.above <= 0 && !self.exceeds_ceiling(cx.me, cx.settings) {
            return;
        }
        let wanted = match leaving {
            true => self.row.brought_in(cx.me),
            false => self.wanted_ceiling(cx, 0).unwrap_or(0),
        };
        let left = self.row.ceiling.saturating_sub(self.given_out(cx.me));
        if leaving || left < self.room(cx) / 2 {
            self.propose(cx, wanted, false);
        }
    }

    /// A request lacks so much, which may be here: says what is missing beside it.
    pub(super) fn raise_for(&mut self, cx: &mut Scene<'_>, missing: Rights) -> Rights {
        let above = self.ceilings.above.min(missing).max(0);
        if above > 0 {
            let wanted = self.wanted_ceiling(cx, missing).unwrap_or(0);
            self.propose(cx, wanted, true);
        }
        missing - above
    }

    /// Asks one other region, each time another one, or all of them for a request that waits.
    fn propose(&mut self, cx: &mut Scene<'_>, ceiling: Rights, urgent: bool) {
        let recent = |(at, asked): (MonoUs, Rights)| {
            // Little more is not worth another question before the answer.
            cx.now < at.plus(PROPOSE_AGAIN) && (!urgent || ceiling <= asked)
        };
        if ceiling <= self.row.ceiling || self.ceilings.proposed.is_some_and(recent) {
            return;
        }
        let mut regions = cx.members.regions();
        regions.remove(&cx.me.region);
        let mut vaults: Vec<Actor> = regions
            .into_iter()
            .filter_map(|region| cx.members.vault(self.pid.scope, region))
            .collect();
        if vaults.is_empty() {
            return;
        }
        if !urgent {
            let turn = self.ceilings.proposals as usize % vaults.len();
            vaults = vec![vaults[turn]];
        }
        self.ceilings.proposed = Some((cx.now, ceiling));
        self.ceilings.proposals += 1;
        let standing = Standing {
            ceiling: Some(ceiling),
            ..self.region_standing(cx)
        };
        for vault in vaults {
            self.ask(cx, vault, Want::Witness, 0, standing);
        }
    }

    /// Another region's actor asks for a ceiling: answered by this node's row, once it is on disk.
    pub(super) fn answer_proposal(&mut self, cx: &mut Scene<'_>, from: Actor, asker: Standing) {
        self.witness(cx, from, asker);
        self.send_row(cx, from, false);
    }

    /// Notes the ceiling that another region's actor asks for; says whether it is a new one.
    pub(super) fn witness(&mut self, cx: &mut Scene<'_>, from: Actor, asker: Standing) -> bool {
        let known = self.row.witnessed_for(from);
        let wanted = asker.ceiling.filter(|wanted| *wanted > known);
        let Some(wanted) = wanted.filter(|_| self.takes_from(cx, from)) else {
            return false;
        };
        if from.region == cx.me.region {
            return false;
        }
        self.row.witnessed.insert(from, wanted);
        self.journal(cx);
        true
    }

    /// A region that gets its first share may spend it at once: it is witnessed as it is given.
    pub(super) fn witness_share(&mut self, cx: &mut Scene<'_>, to: Actor, share: Rights) {
        if cx.settings.isolation.is_some() {
            let ceiling = self.row.sent_to(to).saturating_add(share);
            let standing = Standing {
                ceiling: Some(ceiling),
                ..Standing::default()
            };
            self.witness(cx, to, standing);
        }
    }

    /// Another region's row may show a higher ceiling of this node.
    pub(super) fn hear_ceiling(&mut self, cx: &mut Scene<'_>, from: Actor, row: &Row) {
        let witnessed = row.witnessed_for(cx.me);
        if from.region != cx.me.region && witnessed > self.row.ceiling {
            self.row.ceiling = witnessed;
            self.journal(cx);
            self.lift(cx);
        }
    }

    /// How this node stands to its ceiling; `None` where it has none.
    pub(super) fn ceiling(&self, me: Actor, settings: &Settings) -> Option<Ceiling> {
        self.is_limited(settings).then(|| Ceiling {
            ceiling: self.row.ceiling,
            used: self.given_out(me),
            above: self.ceilings.above,
            proposals: self.ceilings.proposals,
        })
    }
}
