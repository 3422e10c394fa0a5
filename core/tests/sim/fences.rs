//! Regions that the operator has fenced: what the vaults of homes do about it, and what holds.

use std::collections::BTreeSet;

use meridian_core::escrow::{Actor, Event, Message, Pid, Rights, Standing, Want, reclaim};

use crate::checks::Rows;
use crate::mutants::Mutant;
use crate::world::{SECOND, WALL_MS, World};

impl World {
    /// Every second each vault of a budget's home has fenced what is to be fenced, takes up what
    /// others have begun, and writes into the book what is known.
    pub(crate) fn fence_round(&mut self) {
        if self.scenario.isolation_s.is_none() {
            return;
        }
        let pids: Vec<Pid> = self.office.plans.keys().copied().collect();
        for index in 0..self.nodes.len() {
            for pid in &pids {
                if self.is_home_vault(index, *pid) {
                    if !self.is_over(*pid) {
                        self.fence_all(index, *pid);
                    }
                    self.reclaim_known(index, *pid);
                }
            }
        }
    }

    fn is_home_vault(&self, index: usize, pid: Pid) -> bool {
        let node = &self.nodes[index];
        let mut budgets = self.scenario.demand.budgets.iter();
        let home = budgets.find(|budget| budget.scope == pid.scope);
        let at_home = home.is_some_and(|budget| budget.home == node.actor.region);
        let escrow = node.escrow.as_ref().filter(|_| node.is_up() && at_home);
        escrow.is_some_and(|escrow| escrow.vault(pid.scope) == Some(node.actor))
    }

    /// Nobody has anything fenced in a period that is over.
    fn is_over(&self, pid: Pid) -> bool {
        let mut budgets = self.scenario.demand.budgets.iter();
        let of = budgets.find(|budget| budget.scope == pid.scope);
        let length = of.and_then(|budget| budget.period_ms);
        let now = WALL_MS + (self.now / 1_000) as i64;
        length.is_some_and(|length| pid.index + length < now)
    }

    fn fence_all(&mut self, index: usize, pid: Pid) {
        let me = self.nodes[index].actor;
        let now = self.now;
        let ordered = |region: u8| self.fences.get(&region).is_some_and(|until| now < *until);
        let every: Vec<Actor> = self.every_actor(pid);
        let wanted = every.iter().filter(|actor| ordered(actor.region));
        let wanted: BTreeSet<Actor> = wanted.copied().collect();
        for actor in wanted.into_iter().filter(|one| one.region != me.region) {
            let decided = self.decided(pid, actor);
            let node = &mut self.nodes[index];
            node.fencing.entry((pid, actor)).or_insert(decided);
            let roster = self.roster(pid, actor);
            self.step(index, Event::Fence { pid, actor, roster });
        }
    }

    /// How often it was decided what a fenced actor is to destroy.
    fn decided(&self, pid: Pid, actor: Actor) -> u32 {
        let decided = self.office.decided.get(&(pid, actor));
        decided.copied().unwrap_or(0)
    }

    /// Everybody that may have taken part in a period.
    fn every_actor(&self, pid: Pid) -> Vec<Actor> {
        let tombs = self.truth.tombs.iter();
        let tombs = tombs.filter(|(_, rows)| rows.contains_key(&pid));
        let tombs = tombs.map(|(actor, _)| *actor);
        let alive = self.nodes.iter().map(|node| node.actor);
        alive.chain(tombs).collect()
    }

    fn roster(&self, pid: Pid, fenced: Actor) -> Vec<Actor> {
        let mut all = self.every_actor(pid);
        all.retain(|actor| actor.region != fenced.region);
        if self.scenario.mutant == Some(Mutant::FencesAlone) {
            let home = |actor: &Actor| {
                let mut budgets = self.scenario.demand.budgets.iter();
                let of = budgets.find(|budget| budget.scope == pid.scope);
                of.is_some_and(|budget| budget.home == actor.region)
            };
            all.retain(home);
        }
        all
    }

    /// What is known of all that are fenced of one region goes into the book in one go.
    fn reclaim_known(&mut self, index: usize, pid: Pid) {
        let me = self.nodes[index].actor;
        let Some(escrow) = self.nodes[index].escrow.as_ref() else {
            return;
        };
        let frozen = escrow.frozen(pid);
        let regions: BTreeSet<u8> = frozen.iter().map(|actor| actor.region).collect();
        let mut known = Vec::new();
        for region in regions {
            let there = frozen.iter().filter(|actor| actor.region == region);
            let there: Vec<Actor> = there.copied().collect();
            let amounts = there.iter();
            let amounts = amounts.map(|actor| Some((*actor, escrow.reclaimable(pid, *actor)?)));
            let amounts: Option<Vec<(Actor, Rights)>> = amounts.collect();
            let late = self
                .fences
                .get(&region)
                .is_none_or(|until| *until <= self.now);
            known.extend(amounts.map(|amounts| (there.clone(), amounts)));
            known.extend(late.then_some((there, Vec::new())));
        }
        if self.postgres[usize::from(me.region)].down > 0 {
            return;
        }
        for (there, amounts) in known {
            let begun = &self.nodes[index].fencing;
            let fresh = |actor: &Actor| {
                let begun = begun.get(&(pid, *actor)).copied();
                begun == Some(self.decided(pid, *actor))
            };
            // Somebody else may have decided since.
            if there.iter().all(fresh) {
                self.enter(index, pid, &amounts);
            }
            for actor in there {
                *self.office.decided.entry((pid, actor)).or_insert(0) += 1;
                self.nodes[index].fencing.remove(&(pid, actor));
                let due = self.office.burns.get(&(pid, actor)).copied().unwrap_or(0);
                self.note(|| format!("{actor} is to destroy {due} of {pid:?}"));
                self.step(index, Event::Reclaimed { pid, actor, due });
            }
        }
    }

    /// Into the book of a period.
    fn enter(&mut self, index: usize, pid: Pid, amounts: &[(Actor, Rights)]) {
        let me = self.nodes[index].actor;
        for entry in reclaim(&self.book(pid, me), me, amounts) {
            if entry.amount > 0 {
                self.mint_at(pid, entry.amount, entry.by);
                self.report.reclaimed += entry.amount;
                continue;
            }
            self.decide_lowering(pid, -entry.amount, entry.by, me.region);
            *self.truth.fenced.entry((pid, entry.by)).or_insert(0) -= entry.amount;
        }
    }

    /// Checker 6: what a fenced actor has not destroyed yet is not spent by anybody either.
    pub(crate) fn check_fenced(&mut self, rows: &Rows) {
        let mut problem = None;
        for (pid, spent) in &self.truth.spent {
            let (mut budget, mut owed) = (0, 0);
            for (actor, rows) in rows {
                let Some(row) = rows.get(pid) else { continue };
                budget += row.minted_total() - row.burned;
                let of = |terms: &std::collections::BTreeMap<(Pid, Actor), Rights>| {
                    terms.get(&(*pid, *actor)).copied().unwrap_or(0)
                };
                let left = of(&self.office.burns) - row.burned;
                owed += left.clamp(0, of(&self.truth.fenced));
            }
            let of = |terms: &std::collections::BTreeMap<Pid, Rights>| {
                terms.get(pid).copied().unwrap_or(0)
            };
            let bound = of(&self.truth.excess) + of(&self.truth.unsynced);
            if owed > 0 && *spent > budget - owed + bound {
                problem = Some(format!(
                    "{spent} billed of {budget} less {owed}, bound {bound}: {pid:?}"
                ));
            }
        }
        if let Some(problem) = problem {
            self.fail(6, problem);
        }
    }

    /// Checker 11: whoever came back is taken from again.
    pub(crate) fn check_lifted(&mut self) {
        let mut problem = None;
        let pids: Vec<Pid> = self.office.plans.keys().copied().collect();
        for pid in pids {
            for node in &self.nodes {
                let Some(row) = node.escrow.as_ref().and_then(|escrow| escrow.row(pid)) else {
                    continue;
                };
                for (actor, fence) in &row.fences {
                    let lives = self.index_of(*actor).is_some();
                    if fence.holds() && lives {
                        problem = Some(format!("{} holds {actor} fenced: {pid:?}", node.actor));
                    }
                }
            }
        }
        if let Some(problem) = problem {
            self.fail(11, problem);
        }
    }

    /// A ceiling that is wanted is granted by nobody's word.
    pub(crate) fn witness_itself(&mut self, index: usize, to: Actor, message: &Message) {
        let Message::Need {
            pid,
            want: Want::Witness,
            standing,
            ..
        } = message
        else {
            return;
        };
        let me = self.nodes[index].actor;
        let mut row = meridian_core::escrow::Row::default();
        row.witnessed.insert(me, standing.ceiling.unwrap_or(0));
        let message = Message::Row {
            pid: *pid,
            row,
            standing: Standing::default(),
            answer: false,
        };
        let life = self.nodes[index].life;
        let event = Event::Received { from: to, message };
        self.after(
            SECOND / 10,
            crate::world::Happening::Step {
                node: index,
                life,
                event,
            },
        );
    }
}
