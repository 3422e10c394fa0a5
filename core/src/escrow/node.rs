//! All periods of one node: events in, effects out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::account::{Account, Claim, Scene};
use super::bound::Exposure;
use super::ceiling::Ceiling;
use super::digest;
use super::fence::Fence;
use super::ids::{Actor, Pid, ScopeId};
use super::lost::Lost;
use super::members::Members;
use super::message::{Effect, Event, Message, Standing, Want};
use super::outbox::Outbox;
use super::row::{Rights, Row};
use super::settings::Settings;
use super::slot::Slot;
use super::visits::Visits;
use crate::time::MonoUs;

/// Rights of one node in all periods that it knows.
#[derive(Debug)]
pub struct Escrow {
    me: Actor,
    settings: Settings,
    members: Members,
    accounts: BTreeMap<Pid, Account>,
    visits: Visits,
    outbox: Outbox,
    leaving: bool,
    /// By scope, the last period that is over for good, as `(index, generation)`.
    ended: BTreeMap<ScopeId, (i64, u32)>,
    digested: Option<MonoUs>,
    /// The first event.
    began: Option<MonoUs>,
}

impl Escrow {
    /// A node that knows nothing yet.
    pub fn new(me: Actor, settings: Settings) -> Self {
        Self {
            me,
            settings,
            members: Members::default(),
            accounts: BTreeMap::new(),
            visits: Visits::default(),
            outbox: Outbox::default(),
            leaving: false,
            ended: BTreeMap::new(),
            digested: None,
            began: None,
        }
    }

    /// Puts back what the journal says, before the first event: all TRANSFER rows of the period
    /// merged, with `used` as the ledger of this journal has it, orphans' charges included.
    pub fn restore(&mut self, pid: Pid, row: Row, now: MonoUs) {
        let mut account = Account::new(pid, row);
        account.put_above(self.me, &self.settings);
        account.leased = Some(now);
        self.accounts.insert(pid, account);
        self.visits.soon(pid, now);
    }

    /// Who this is.
    pub fn me(&self) -> Actor {
        self.me
    }

    /// The hot words of a period, for requests; `None` before [`Event::Opened`].
    pub fn slot(&self, pid: Pid) -> Option<Arc<Slot>> {
        self.accounts
            .get(&pid)
            .map(|account| Arc::clone(&account.slot))
    }

    /// The own row of a period, as it is now.
    pub fn row(&self, pid: Pid) -> Option<Row> {
        let account = self.accounts.get(&pid)?;
        let mut row = account.row.clone();
        row.used = account.slot.used();
        Some(row)
    }

    /// Periods that are known here.
    pub fn pids(&self) -> impl Iterator<Item = Pid> {
        self.accounts.keys().copied()
    }

    /// Generations of a period that are known here.
    pub fn pids_of(&self, period: Pid) -> Vec<Pid> {
        let generation = |generation| Pid {
            generation,
            ..period
        };
        let range = self.accounts.range(generation(0)..=generation(u32::MAX));
        range.map(|(pid, _)| *pid).collect()
    }

    /// The node of this region that speaks for it about a scope.
    pub fn vault(&self, scope: ScopeId) -> Option<Actor> {
        self.members.vault(scope, self.me.region)
    }

    /// How this node stands in a period.
    pub fn standing(&self, pid: Pid) -> Option<Standing> {
        self.accounts.get(&pid).map(Account::standing)
    }

    /// Whether waiting could help a request that found too few rights: as far as is known here
    /// `need` is there, somewhere, or was a second ago and is on its way. Where it is not, requests
    /// are refused at once, so that a budget that is used up costs nothing.
    pub fn may_find(&mut self, now: MonoUs, pid: Pid, need: Rights) -> bool {
        let (me, members) = (self.me, &self.members);
        let account = self.accounts.get_mut(&pid);
        account.is_some_and(|account| account.may_find(now, need, me, members))
    }

    /// How other nodes stand in a period, as they last said.
    pub fn peers(&self, pid: Pid) -> Vec<(Actor, Standing, &Row)> {
        let peers = self.accounts.get(&pid).into_iter();
        let peers = peers.flat_map(|account| &account.peers);
        peers
            .map(|(id, peer)| (*id, peer.standing, &peer.row))
            .collect()
    }

    /// Whether this node holds nothing of any period, and all it gave away has arrived: the end of
    /// [`Event::Leaving`].
    pub fn is_empty(&self) -> bool {
        let holds = |account: &Account| account.free() > 0 || account.slot.reserved() > 0;
        self.is_settled() && !self.accounts.values().any(holds)
    }

    /// How other regions stand, as far as they said, with what they have settled.
    pub fn regions(&self, pid: Pid) -> Vec<(u8, Standing, Rights)> {
        let regions = self.accounts.get(&pid).into_iter();
        let regions = regions.flat_map(|account| &account.regions);
        let known = regions.filter_map(|(id, region)| Some((*id, region.standing?, region.used)));
        known.collect()
    }

    /// What is known of the rights that a region without a live node holds, to have them made anew;
    /// `None` where this node does not speak for its region, or does not know enough.
    pub fn lost(&self, pid: Pid, region: u8) -> Option<Lost> {
        let speaks = self.members.vault(pid.scope, self.me.region) == Some(self.me);
        let account = self.accounts.get(&pid).filter(|_| speaks)?;
        account.lost(self.me, &self.members, region)
    }

    /// How this node stands to its ceiling in a period; `None` where it has none.
    pub fn ceiling(&self, pid: Pid) -> Option<Ceiling> {
        let account = self.accounts.get(&pid)?;
        account.ceiling(self.me, &self.settings)
    }

    /// Whether this node has given out more than a ceiling allows, in a period from before it kept
    /// ceilings: until the others have heard of it, what it held must not be made anew.
    pub fn exceeds_ceiling(&self) -> bool {
        let mut accounts = self.accounts.values();
        accounts.any(|account| account.exceeds_ceiling(self.me, &self.settings))
    }

    /// What a fenced actor can no longer spend of what it brought into its region, once everybody
    /// has fenced it: to be entered into the book ([`reclaim`](super::reclaim)).
    pub fn reclaimable(&self, pid: Pid, actor: Actor) -> Option<Rights> {
        let account = self.accounts.get(&pid)?;
        account.reclaimable(self.me, actor, |sync| self.outbox.is_done(sync))
    }

    /// Actors that are fenced here, and of which it is not decided what they are to destroy.
    pub fn frozen(&self, pid: Pid) -> Vec<Actor> {
        let account = self.accounts.get(&pid);
        account.map_or(Vec::new(), Account::frozen)
    }

    /// Actors that are fenced here.
    pub fn fences(&self, pid: Pid) -> Vec<(Actor, Fence)> {
        let account = self.accounts.get(&pid).into_iter();
        let all = account.flat_map(|account| &account.row.fences);
        let holding = all.filter(|(_, fence)| fence.holds());
        holding.map(|(actor, fence)| (*actor, *fence)).collect()
    }

    /// Terms of the bound that this node can see.
    pub fn exposure(&self, pid: Pid) -> Exposure {
        let Some(account) = self.accounts.get(&pid) else {
            return Exposure::default();
        };
        Exposure {
            metering: account.slot.overrun(),
            running: account.slot.excess(),
            overdraft: account.slot.overdraft(),
            pending_decrease: account.burn_total - account.row.burned,
            ..Exposure::default()
        }
    }

    /// Whether everything that this node gave away is known to have arrived.
    pub fn is_settled(&self) -> bool {
        let mut accounts = self.accounts.values();
        accounts.all(|account| account.is_confirmed(self.me, &self.members))
    }

    /// Whether everything that this node gave to another is known to have arrived there.
    pub fn is_confirmed_by(&self, to: Actor) -> bool {
        let mut accounts = self.accounts.values();
        accounts.all(|account| account.is_confirmed_by(self.me, to))
    }

    /// Digests of what this node and another have given each other, by bucket.
    pub fn digest(&self, peer: Actor) -> Vec<(u8, u64)> {
        digest::of_pair(self.me, peer, self.accounts.values())
    }

    /// Takes one event; appends what is to be done.
    pub fn step(&mut self, now: MonoUs, event: Event, out: &mut Vec<Effect>) {
        self.began.get_or_insert(now);
        match event {
            Event::Tick => self.tick(now, out),
            Event::Members(live) => self.meet(now, live),
            Event::Opened(pid) => self.with(now, pid, out, |_, _| {}),
            Event::Claimed {
                pid,
                claim,
                amount,
                by,
            } => self.with(now, pid, out, |account, cx| {
                if claim == 0 {
                    account.claim = Claim::Known;
                }
                if by == cx.me {
                    account.mint(cx, claim, amount);
                    account.serve(cx);
                }
            }),
            Event::Spread(pid) => self.with(now, pid, out, |account, cx| account.spread(cx)),
            Event::Short { pid, need } => self.with(now, pid, out, |account, cx| {
                account.short(cx, need);
            }),
            Event::Lowered {
                pid,
                lowering,
                by,
                to,
            } => self.with(now, pid, out, |account, cx| {
                if account.lowered.insert(lowering) {
                    account.lower(cx, by, to);
                }
            }),
            Event::BurnOrdered { pid, total } => self.with(now, pid, out, |account, cx| {
                account.burn_total = account.burn_total.max(total);
                account.pull_burn(cx);
            }),
            Event::Refunded { pid, total } => self.with(now, pid, out, |account, cx| {
                account.refund(cx, total);
            }),
            Event::Frozen(pid) => self.with(now, pid, out, |account, _| account.slot.freeze()),
            Event::Ended(pid) => self.end(pid),
            Event::Leaving => self.leaving = true,
            Event::HandOver(to) => {
                for pid in self.pids().collect::<Vec<_>>() {
                    self.with(now, pid, out, |account, cx| account.hand_over(cx, to));
                }
            }
            Event::AtHome(pid) => self.with(now, pid, out, |account, cx| account.come_home(cx)),
            Event::Fence { pid, actor, roster } => self.with(now, pid, out, |account, cx| {
                account.fence(cx, actor, roster);
            }),
            Event::Reclaimed { pid, actor, due } => self.with(now, pid, out, |account, cx| {
                account.reclaimed(cx, actor, due);
            }),
            Event::WrittenOff(actor) => self.write_off(actor, out),
            Event::Received { from, message } => self.receive(now, from, message, out),
            Event::Synced(ticket) => self.outbox.synced(ticket, out),
        }
        self.outbox.seal(out);
    }

    fn listens(&self, now: MonoUs) -> bool {
        let until = self.began.map(|began| began.plus(self.settings.listening));
        until.is_some_and(|until| now < until)
    }

    /// Takes who lives. Who is new in the region is told what was published before it came: a vault
    /// that was restarted does not know who has what. Who is new anywhere is told who is fenced.
    fn meet(&mut self, now: MonoUs, live: Vec<Actor>) {
        let (region, members) = (self.me.region, &self.members);
        let new = live.iter().filter(|actor| !members.is_live(**actor));
        let regions: BTreeSet<u8> = new.map(|actor| actor.region).collect();
        self.members.set(live);
        if regions.is_empty() {
            return;
        }
        for (pid, account) in &mut self.accounts {
            let fences = account.fences_again();
            if regions.contains(&region) {
                account.publish_again();
            }
            if fences || regions.contains(&region) {
                self.visits.soon(*pid, now);
            }
        }
    }

    /// Runs `act` on an account, which is made if need be, and has it looked at soon.
    fn with(
        &mut self,
        now: MonoUs,
        pid: Pid,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Account, &mut Scene<'_>),
    ) {
        // A late copy must not begin an empty row where a whole one was.
        if self.is_ended(pid) {
            return;
        }
        let listens = self.listens(now);
        let account = self.accounts.entry(pid);
        let account = account.or_insert_with(|| Account::new(pid, Row::default()));
        let mut scene = Scene {
            me: self.me,
            now,
            listens,
            members: &self.members,
            settings: &self.settings,
            outbox: &mut self.outbox,
            out,
        };
        act(account, &mut scene);
        self.visits.soon(pid, now);
    }

    fn tick(&mut self, now: MonoUs, out: &mut Vec<Effect>) {
        for pid in self.visits.due(now) {
            self.visit(now, pid, out);
        }
        let every = self.settings.digest;
        if self.digested.is_none_or(|at| now >= at.plus(every)) {
            self.digested = Some(now);
            self.send_digests(out);
        }
    }

    fn visit(&mut self, now: MonoUs, pid: Pid, out: &mut Vec<Effect>) {
        let (leaving, listens) = (self.leaving, self.listens(now));
        let Some(account) = self.accounts.get_mut(&pid) else {
            return;
        };
        let mut scene = Scene {
            me: self.me,
            now,
            listens,
            members: &self.members,
            settings: &self.settings,
            outbox: &mut self.outbox,
            out,
        };
        let cx = &mut scene;
        account.look(cx);
        account.resend(cx);
        account.fetch(cx);
        if account.burn_total > account.row.burned {
            account.pull_burn(cx);
        }
        account.tend_ceiling(cx, leaving);
        account.tend_fences(cx);
        match cx.vault(pid) {
            Some(vault) if leaving => {
                account.donate(cx, vault, Rights::MAX);
            }
            Some(vault) if vault == cx.me => account.tend_pool(cx),
            Some(vault) => {
                account.leave_pool();
                account.tend_lease(cx, vault);
            }
            None => {}
        }
        account.publish(cx);
        let active = account.is_asked_for(cx) || !account.is_confirmed(cx.me, cx.members);
        self.visits.again(pid, now, active);
    }

    fn send_digests(&self, out: &mut Vec<Effect>) {
        for to in self.members.iter().filter(|to| *to != self.me) {
            let buckets = self.digest(to);
            if !buckets.is_empty() {
                let message = Message::Digest { buckets };
                out.push(Effect::Send { to, message });
            }
        }
    }

    fn receive(&mut self, now: MonoUs, from: Actor, message: Message, out: &mut Vec<Effect>) {
        match message {
            Message::Row {
                pid,
                row,
                standing,
                answer,
            } => self.with(now, pid, out, |account, cx| {
                account.note(cx, from, &row, standing);
                account.doubt(cx, from, &row);
                account.hear_fences(cx, from, &row);
                account.hear_ceiling(cx, from, &row);
                let gained = account.receive(cx, from, &row);
                if gained {
                    account.thank(from.region);
                    account.burn(cx);
                    account.serve(cx);
                    cx.out.push(Effect::Wake(pid));
                }
                if gained || answer {
                    account.send_row(cx, from, false);
                }
            }),
            Message::Need {
                pid,
                want,
                amount,
                standing,
            } => self.with(now, pid, out, |account, cx| match want {
                Want::Lease => account.lease_to(cx, from, amount, standing),
                Want::Share => account.share_with(cx, from, standing, None),
                Want::Urgent => account.share_with(cx, from, standing, Some(amount)),
                Want::Recall | Want::Burn => account.give_up(cx, from, amount),
                Want::Witness => account.answer_proposal(cx, from, standing),
            }),
            Message::View {
                pid,
                standing,
                used,
                open,
            } => self.with(now, pid, out, |account, cx| {
                account.hear_view(cx, from, standing, (used, open));
            }),
            Message::Fence { pid, actor, fence } => self.with(now, pid, out, |account, cx| {
                account.hear_fence(cx, actor, fence);
                account.send_row(cx, from, false);
            }),
            Message::Digest { buckets } => {
                for pid in digest::differing(&self.digest(from), &buckets, self.pids()) {
                    self.with(now, pid, out, |account, cx| {
                        account.send_row(cx, from, true)
                    });
                }
            }
        }
    }

    /// The period and all before it are over for good.
    fn end(&mut self, pid: Pid) {
        let last = self
            .ended
            .entry(pid.scope)
            .or_insert((pid.index, pid.generation));
        *last = (*last).max((pid.index, pid.generation));
        let over: Vec<Pid> = self.pids().filter(|pid| self.is_ended(*pid)).collect();
        for pid in over {
            self.accounts.remove(&pid);
            self.visits.forget(pid);
        }
    }

    fn is_ended(&self, pid: Pid) -> bool {
        let last = self.ended.get(&pid.scope);
        last.is_some_and(|last| (pid.index, pid.generation) <= *last)
    }

    /// The vault of each scope says what the lost node held; what was on the way to it is lost too.
    fn write_off(&mut self, actor: Actor, out: &mut Vec<Effect>) {
        if !self.members.lose(actor) {
            return;
        }
        for (pid, account) in &self.accounts {
            let vault = self.members.vault(pid.scope, self.me.region);
            let amount = account.held_by(self.me, actor);
            if vault == Some(self.me) && amount > 0 {
                let pid = *pid;
                out.push(Effect::Suspense { pid, actor, amount });
            }
        }
    }
}
