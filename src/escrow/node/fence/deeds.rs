//! What an order to fence a region has done in budgets that are at home here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Book, Event, Pid, Rights, Row};
use meridian_core::time::WallMs;

use super::super::{Answer, Desk};
use super::{NAMED_MAX, Running};
use crate::clock;
use crate::escrow::frames::{Report, Says};
use crate::escrow::reclaims::{self, Before, Decided, Decision};
use crate::store::StoreError;

/// Between two questions to the store that did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Budgets in which a region is fenced at the same time.
const AT_ONCE: usize = 200;
/// Whoever said nothing to its region's store for so long before a budget began was gone by then.
const GONE_MS: i64 = 3_600_000;
/// A fence whose order nobody carries out any more ends after this, looked for so often.
const STALE: Duration = Duration::from_secs(60);
const STALE_LOOK: Duration = Duration::from_secs(5);

impl Desk {
    /// Which nodes this region has, the store knows.
    pub(super) fn ask_for_nodes(&mut self, now: Instant) {
        let own = self.me.region;
        let Some(order) = &mut self.fences.order else {
            return;
        };
        let lately = |at: Instant| now.saturating_duration_since(at) < ASK_AGAIN;
        if order.nodes.contains_key(&own) || order.asked.is_some_and(lately) {
            return;
        }
        order.asked = Some(now);
        let store = self.store.clone();
        self.asking
            .push(Box::pin(async move { Answer::Nodes(store.nodes().await) }));
    }

    pub(in super::super) fn know_nodes(
        &mut self,
        nodes: Result<Option<Vec<(u16, WallMs)>>, StoreError>,
    ) {
        let own = self.me;
        match (nodes, &mut self.fences.order) {
            (Ok(Some(nodes)), Some(order)) => {
                order.know(
                    own.region,
                    nodes.into_iter().chain([(own.node, clock::now())]),
                );
                order.told = None;
            }
            (Ok(None), _) => tracing::warn!("the store knows too many nodes to fence a region"),
            (Err(error), _) => tracing::debug!(%error, "the store does not say which nodes it has"),
            (Ok(Some(_)), None) => {}
        }
    }

    /// Begins with some budgets once it is known which nodes there are, some more after them.
    pub(super) fn look_for_budgets(&mut self, over: bool) {
        let far = self.mail.far().map(|(number, ..)| number);
        let all: BTreeSet<u8> = far.chain([self.me.region]).collect();
        let Some(order) = &self.fences.order else {
            return;
        };
        let is_unknown = |region: &u8| *region != order.region && !order.nodes.contains_key(region);
        let unknown: BTreeSet<u8> = all.into_iter().filter(is_unknown).collect();
        let mine = match order.rest {
            Some(_) => None,
            None if unknown.is_empty() || over => Some(self.own_budgets()),
            None => return,
        };
        let Some(order) = &mut self.fences.order else {
            return;
        };
        if let Some(mine) = mine {
            order.rest = Some(mine);
            order.report.unknown = unknown;
        }
        let rest = order.rest.get_or_insert_default();
        if over || !order.report.unknown.is_empty() {
            order.report.failed += rest.len() as u64;
            rest.clear();
        }
        let busy = !order.looking.is_empty() || !order.running.is_empty();
        if rest.is_empty() || busy || !self.fences.deciding.is_empty() {
            return;
        }
        let some = rest.split_off(rest.len().saturating_sub(AT_ONCE));
        order.looking.clone_from(&some);
        let work = reclaims::look(self.store.clone(), some);
        self.asking
            .push(Box::pin(async move { Answer::Looked(work.await) }));
    }

    /// The books of some budgets are read: the region is fenced in them.
    pub(in crate::escrow) fn fence_in(&mut self, looked: Result<Vec<Before>, StoreError>) {
        let Some(order) = &mut self.fences.order else {
            return;
        };
        let pids = std::mem::take(&mut order.looking);
        match looked {
            Ok(all) => all.into_iter().for_each(|before| self.fence_one(before)),
            Err(error) => {
                tracing::debug!(%error, "books are not read");
                order.rest.get_or_insert_default().extend(pids);
            }
        }
    }

    fn fence_one(&mut self, Before { book, began }: Before) {
        let pid = book.pid;
        self.learn(book.clone());
        let rows = self.rows(pid);
        let fences: BTreeMap<_, _> = self.escrow.fences(pid).into_iter().collect();
        let mut report = Report::default();
        let Some(order) = &self.fences.order else {
            return;
        };
        let region = order.region;
        let burned = |by: &Actor| rows.get(by).map_or(0, |row| row.burned);
        let mut named = book.entries.iter().map(|entry| entry.by);
        let called_dead = named.any(|by| {
            let owes = by.region == region && book.ordered_from(by) > burned(&by);
            owes && !fences.contains_key(&by)
        });
        let holders = self.holders(pid, &rows, region);
        let is_done = |actor: &&Actor| {
            let fence = fences.get(actor);
            fence.is_some_and(|fence| !fence.is_frozen())
        };
        let done = holders.iter().filter(is_done).count();
        let free = holders.iter().filter(|actor| !is_done(actor)).copied();
        let (actors, open): (Vec<Actor>, Vec<Actor>) =
            free.partition(|actor| self.fences.keeps(*actor));
        report.open.extend(open);
        if called_dead || (done > 0 && actors.is_empty()) {
            report.ordered = 1;
        } else if !actors.is_empty() {
            let roster = self.roster(&rows, began);
            for actor in &actors {
                self.step(Event::Fence {
                    pid,
                    actor: *actor,
                    roster: roster.clone(),
                });
            }
            let running = Running {
                noted: book.entries.len(),
                actors,
                roster,
            };
            if let Some(order) = &mut self.fences.order {
                order.running.insert(pid, running);
            }
        }
        self.report(&report);
    }

    /// All rows of a period, as far as they are known here.
    pub(in crate::escrow) fn rows(&self, pid: Pid) -> BTreeMap<Actor, Row> {
        let peers = self.escrow.peers(pid).into_iter();
        let mut rows: BTreeMap<Actor, Row> =
            peers.map(|(actor, _, row)| (actor, row.clone())).collect();
        rows.extend(self.escrow.row(pid).map(|row| (self.me, row)));
        rows
    }

    /// Everybody outside the region that may have had to do with it since a period's first rights
    /// were made.
    fn roster(&self, rows: &BTreeMap<Actor, Row>, began: WallMs) -> Vec<Actor> {
        let Some(order) = &self.fences.order else {
            return Vec::new();
        };
        let stored = order.nodes.values().flatten();
        let stored = stored.filter(|(_, seen)| seen.plus_ms(GONE_MS) >= began);
        let stored = stored.map(|(actor, _)| *actor);
        let had_part = rows.iter().filter(|(_, row)| !row.is_empty());
        let had_part = had_part.map(|(actor, _)| *actor);
        let live = self.members.live().iter().copied();
        let all = stored.chain(had_part).chain(live);
        let others: BTreeSet<Actor> = all.filter(|actor| actor.region != order.region).collect();
        others.into_iter().collect()
    }

    /// Who began since it was asked which nodes there are has to agree too.
    pub(super) fn ask_newcomers(&mut self) {
        let live = self.members.live().to_vec();
        let Some(order) = &mut self.fences.order else {
            return;
        };
        let live = live.into_iter().filter(|one| one.region != order.region);
        let live: Vec<Actor> = live.collect();
        let mut events = Vec::new();
        for (pid, running) in &mut order.running {
            let known = |one: &&Actor| !running.roster.contains(one);
            let more: Vec<Actor> = live.iter().filter(known).copied().collect();
            if more.is_empty() {
                continue;
            }
            running.roster.extend(&more);
            events.extend(running.actors.iter().map(|actor| Event::Fence {
                pid: *pid,
                actor: *actor,
                roster: more.clone(),
            }));
        }
        events.into_iter().for_each(|event| self.step(event));
    }

    /// Decides where everybody has answered, and ends the rest once the time is over.
    pub(super) fn collect(&mut self, over: bool) {
        let mut decisions = Vec::new();
        let mut report = Report::default();
        let Some(order) = &self.fences.order else {
            return;
        };
        for (pid, running) in &order.running {
            let frozen = self.escrow.frozen(*pid);
            let left = running.actors.iter().filter(|one| frozen.contains(one));
            let actors: Vec<Actor> = left.copied().collect();
            let known = |actor: &Actor| Some((*actor, self.escrow.reclaimable(*pid, *actor)?));
            let amounts: Option<Vec<(Actor, Rights)>> = actors.iter().map(known).collect();
            if amounts.is_none() && !over {
                continue;
            }
            if amounts.is_none() {
                report.failed += 1;
                let rows = self.rows(*pid);
                let agrees = |one: &Actor| {
                    let row = rows.get(one);
                    let holds = |row: &Row| actors.iter().all(|x| row.fence_of(*x).holds());
                    row.is_some_and(holds)
                };
                let silent = running.roster.iter().filter(|one| !agrees(one));
                report.silent.extend(silent.take(NAMED_MAX));
            }
            report.ordered += u64::from(actors.is_empty());
            decisions.push(Decision {
                pid: *pid,
                actors,
                noted: running.noted,
                amounts,
            });
        }
        self.report(&report);
        if let Some(order) = &mut self.fences.order {
            for decision in &decisions {
                order.running.remove(&decision.pid);
            }
        }
        // Somebody else may have decided already.
        decisions.retain(|decision| !decision.actors.is_empty());
        self.decide(decisions);
    }

    fn decide(&mut self, decisions: Vec<Decision>) {
        if decisions.is_empty() {
            return;
        }
        let pids = decisions.iter().map(|decision| decision.pid);
        self.fences.deciding.extend(pids);
        let work = reclaims::decide(self.store.clone(), self.me, decisions);
        self.asking
            .push(Box::pin(async move { Answer::Decided(work.await) }));
    }

    /// Some books are written.
    pub(in crate::escrow) fn decided(&mut self, all: Vec<Decided>) {
        for Decided { decision, done } in all {
            let pid = decision.pid;
            self.fences.deciding.remove(&pid);
            match done {
                Ok((book, anew)) => self.reclaimed(&decision, book, anew),
                Err(error) => {
                    tracing::debug!(%error, "what a fenced region is to destroy is not written");
                    self.decide_again(decision);
                }
            }
        }
    }

    /// The store did not answer; what stays frozen after the order is ended by
    /// [`Desk::end_fences`].
    fn decide_again(&mut self, decision: Decision) {
        let Some(order) = &mut self.fences.order else {
            return;
        };
        match order.is_over(clock::mono()) || decision.amounts.is_none() {
            true => order.report.failed += 1,
            false => {
                // The state machine still knows who has to agree.
                let running = Running {
                    noted: decision.noted,
                    actors: decision.actors,
                    roster: self.members.live().to_vec(),
                };
                order.running.insert(decision.pid, running);
            }
        }
    }

    fn reclaimed(&mut self, decision: &Decision, book: Option<Book>, anew: Rights) {
        let (pid, scope) = (decision.pid, decision.pid.scope);
        let left = self.left_there(pid, &decision.actors);
        let due = |actor: Actor| book.as_ref().map_or(0, |book| book.ordered_from(actor));
        let dues: Vec<(Actor, Rights)> = decision.actors.iter().map(|by| (*by, due(*by))).collect();
        if let Some(book) = book {
            // Should the region come back, its first word is answered with the book.
            for (actor, _) in &dues {
                self.told.remove(&(scope, actor.region));
            }
            self.learn(book.clone());
            self.mail.tell_all(Says::Book(book));
        }
        for (actor, due) in dues {
            self.step(Event::Reclaimed { pid, actor, due });
        }
        self.wake(scope);
        if decision.amounts.is_some() {
            self.report(&Report {
                budgets: u64::from(anew > 0),
                amount: anew,
                left,
                ..Report::default()
            });
        }
    }

    /// What a fenced region may still spend of a budget, at most: its ceilings, less what it is
    /// known to have spent.
    fn left_there(&self, pid: Pid, actors: &[Actor]) -> Rights {
        let Some(region) = actors.first().map(|actor| actor.region) else {
            return 0;
        };
        let rows = self.rows(pid);
        let ceiling = |actor: &Actor| {
            let all = rows.values().map(|row| row.witnessed_for(*actor));
            all.max().unwrap_or(0)
        };
        let ceilings = actors.iter().map(ceiling);
        let ceilings = ceilings.fold(0, Rights::saturating_add);
        let mut regions = self.escrow.regions(pid).into_iter();
        let used = regions.find(|(number, ..)| *number == region);
        let used = used.map_or(0, |(_, _, used)| used);
        ceilings.saturating_sub(used).max(0)
    }

    /// Notes what became of a budget.
    fn report(&mut self, more: &Report) {
        if let Some(order) = &mut self.fences.order {
            order.report = std::mem::take(&mut order.report).plus(more);
        }
    }

    /// Ends fences that nobody computes any more with nothing: whoever began them is gone.
    pub(in crate::escrow) fn end_fences(&mut self, now: Instant) {
        let looked = self.fences.looked;
        let lately = |at: Instant| now.saturating_duration_since(at) < STALE_LOOK;
        if looked.is_some_and(lately) {
            return;
        }
        self.fences.looked = Some(now);
        let order = self.fences.order.as_ref();
        let runs = |pid: &Pid| order.is_some_and(|order| order.running.contains_key(pid));
        let mut frozen = Vec::new();
        for pid in self.own_budgets() {
            let actors = self.escrow.frozen(pid);
            if !actors.is_empty() && !runs(&pid) && !self.fences.deciding.contains(&pid) {
                frozen.push((pid, actors));
            }
        }
        let is_frozen = |pid: &Pid| frozen.iter().any(|(one, _)| one == pid);
        self.fences.stale.retain(|pid, _| is_frozen(pid));
        let mut decisions = Vec::new();
        for (pid, actors) in frozen {
            let since = *self.fences.stale.entry(pid).or_insert(now);
            if now.saturating_duration_since(since) >= STALE {
                let book = self.books.get(&pid.scope);
                decisions.push(Decision {
                    pid,
                    actors,
                    noted: book.map_or(0, |book| book.entries.len()),
                    amounts: None,
                });
            }
        }
        self.decide(decisions);
    }

    /// Who in a region may have been given rights: what third regions gave it is not known here, so
    /// all that anybody has heard of it, if it had any part in the budget.
    fn holders(&self, pid: Pid, rows: &BTreeMap<Actor, Row>, region: u8) -> BTreeSet<Actor> {
        let sent = rows.values().flat_map(|row| &row.sent);
        let given = sent.filter(|(_, amount)| **amount > 0).map(|(to, _)| *to);
        let heard_here = self.fences.others.keys().copied();
        let order = self.fences.order.as_ref();
        let heard = order.into_iter().flat_map(|order| order.heard.keys());
        let known = rows.keys().copied();
        let regions = self.escrow.regions(pid);
        let speaks = regions.iter().any(|(number, ..)| *number == region);
        let some = speaks || known.clone().any(|actor| actor.region == region);
        let all = heard_here.chain(heard.copied()).filter(|_| some);
        let all = all.chain(given).chain(known);
        all.filter(|actor| actor.region == region).collect()
    }
}
