//! A region that the operator calls lost: what it held of budgets that are at home here is made
//! anew here.

use std::time::{Duration, Instant};

use meridian_core::escrow::Pid;
use meridian_core::money::NanoUsd;
use serde_json::{Value, json};

use super::{Answer, Desk};
use crate::clock;
use crate::escrow::NotLost;
use crate::escrow::books::{self, Regained};

/// Budgets that are looked at in one go: what is known of them is as old as that takes.
const AT_ONCE: usize = 200;
/// The order goes on being told for so long.
const TOLD_FOR: Duration = Duration::from_secs(5);
/// Whoever has heard it does not begin anew for so long.
const HEARD_FOR: Duration = Duration::from_secs(30);
/// An order that was given longer ago is not carried out: the region may have been back since.
const OLD_MS: i64 = 30_000;

/// An order that is carried out.
#[derive(Debug)]
pub(super) struct Order {
    region: u8,
    since: Instant,
    /// Budgets that are still to be looked at.
    rest: Vec<Pid>,
    sum: Regained,
}

impl Desk {
    /// Tells every node, and begins here.
    pub(super) fn call_lost(&mut self, name: &str) -> Result<Value, NotLost> {
        let Some(region) = self.mail.number_of(name) else {
            let names = self.mail.far_names().collect::<Vec<_>>().join(", ");
            return Err(NotLost::Unknown(names));
        };
        let mut live = self.members.live().iter();
        if let Some(actor) = live.find(|actor| actor.region == region) {
            return Err(NotLost::Lives(*actor));
        }
        self.mail.call_lost(region, clock::mono() + TOLD_FOR);
        let (budgets, unknown) = self.regain(region);
        let at_home_there = self.windows.values().filter(|opened| opened.home == region);
        Ok(json!({
            "region": name,
            "proof": "dead",
            "budgets_looked_at_here": budgets,
            "not_known_here": unknown,
            "at_home_in_the_lost_region": at_home_there.count(),
            "why": "other nodes look at the budgets that they speak for; /budget/state and the \
                    logs say what was made anew",
        }))
    }

    /// Another node was told that a region is lost, `age_ms` ago.
    pub(super) fn hear_lost(&mut self, region: u8, age_ms: i64) {
        let now = clock::mono();
        let known = self.lost.as_ref().is_some_and(|order| {
            order.region == region && now.saturating_duration_since(order.since) < HEARD_FOR
        });
        // One that is heard lives, also where nothing reaches it.
        let lives = self
            .members
            .live()
            .iter()
            .any(|actor| actor.region == region);
        if !known && !lives && age_ms.abs() < OLD_MS {
            self.regain(region);
        }
    }

    /// Budgets that are at home here and that this node speaks for.
    pub(super) fn own_budgets(&self) -> Vec<Pid> {
        let at_home = self.books.values().filter(|book| {
            let first = book.entries.first();
            first.is_some_and(|entry| entry.by.region == self.me.region)
                && self.escrow.vault(book.pid.scope) == Some(self.me)
                && !super::rounds::is_over(book.pid, clock::now())
        });
        at_home.map(|book| book.pid).collect()
    }

    /// Begins with the budgets that are at home here and that this node speaks for. Says how many
    /// there are, and of how many it does not know what the region held.
    fn regain(&mut self, region: u8) -> (usize, usize) {
        let all = self.own_budgets();
        let known = |pid: &Pid| self.escrow.lost(*pid, region).is_some();
        let rest: Vec<Pid> = all.iter().copied().filter(known).collect();
        let (budgets, unknown) = (rest.len(), all.len() - rest.len());
        let runs = self
            .lost
            .as_ref()
            .is_some_and(|order| !order.rest.is_empty());
        self.lost = Some(Order {
            region,
            since: clock::mono(),
            rest,
            sum: Regained::default(),
        });
        if !runs {
            self.regain_some();
        }
        (budgets, unknown)
    }

    fn regain_some(&mut self) {
        let Some(order) = &mut self.lost else { return };
        let from = order.rest.len().saturating_sub(AT_ONCE);
        let some = order.rest.split_off(from);
        let region = order.region;
        let known = some
            .into_iter()
            .filter_map(|pid| Some((pid, self.escrow.lost(pid, region)?)));
        let work = books::regain(self.store.clone(), self.me, known.collect());
        self.asking
            .push(Box::pin(async move { Answer::Regained(work.await) }));
    }

    /// Some books are written.
    pub(super) fn regained(&mut self, regained: Regained) {
        for book in &regained.books {
            let scope = book.pid.scope;
            // Should the region come back, its first word is answered with the book.
            for entry in book.entries.iter().filter(|entry| entry.amount < 0) {
                self.told.remove(&(scope, entry.by.region));
            }
            self.learn(book.clone());
            self.mail.tell_all(super::Says::Book(book.clone()));
            self.wake(scope);
        }
        let Some(order) = &mut self.lost else { return };
        order.sum.failed += regained.failed;
        order.sum.budgets += regained.budgets;
        order.sum.amount = order.sum.amount.saturating_add(regained.amount);
        if !order.rest.is_empty() && regained.failed == 0 {
            return self.regain_some();
        }
        let failed = order.sum.failed + order.rest.len();
        order.rest.clear();
        tracing::warn!(
            budgets = order.sum.budgets,
            failed,
            dollars = %NanoUsd(order.sum.amount),
            "rights of a lost region are made anew"
        );
    }
}
