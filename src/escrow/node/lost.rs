//! A region that the operator calls lost: what it held of budgets that are at home here is made
//! anew here.

use meridian_core::escrow::{Lost, Pid, Rights};
use meridian_core::money::NanoUsd;
use serde_json::{Value, json};

use super::{Answer, Desk};
use crate::escrow::NotLost;
use crate::escrow::books::{self, Regained};
use crate::escrow::frames::Says;

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
        self.mail.tell_all(Says::Lost { region });
        let (budgets, unknown) = self.regain(region);
        let at_home_there = self.windows.values().filter(|opened| opened.home == region);
        Ok(json!({
            "region": name,
            "budgets_looked_at_here": budgets,
            "not_known_here": unknown,
            "at_home_in_the_lost_region": at_home_there.count(),
            "why": "other nodes look at the budgets that they speak for; /budget/state and the \
                    logs say what was made anew",
        }))
    }

    /// Has books written for the budgets that this node speaks for. Says how many there are, and of
    /// how many it does not know what the region held.
    pub(super) fn regain(&mut self, region: u8) -> (usize, usize) {
        let spoken_for: Vec<Pid> = self.escrow.pids().collect();
        let spoken_for = spoken_for.into_iter();
        let spoken_for = spoken_for.filter(|pid| self.escrow.vault(pid.scope) == Some(self.me));
        let all: Vec<Pid> = spoken_for.collect();
        let known = |pid: &Pid| {
            let lost = self.escrow.lost(*pid, region)?;
            Some((*pid, lost, self.escrow.burned_by(*pid, region)))
        };
        let lost: Vec<(Pid, Lost, Rights)> = all.iter().filter_map(known).collect();
        let (budgets, unknown) = (lost.len(), all.len() - lost.len());
        if budgets > 0 {
            let work = books::regain(self.store.clone(), lost);
            self.asking
                .push(Box::pin(async move { Answer::Regained(work.await) }));
        }
        (budgets, unknown)
    }

    /// The books are written: their limits are made into rights again.
    pub(super) fn regained(&mut self, regained: Regained) {
        let Regained {
            books,
            amount,
            failed,
        } = regained;
        if !books.is_empty() || failed > 0 {
            tracing::warn!(
                budgets = books.len(),
                failed,
                dollars = %NanoUsd(amount),
                "rights of a lost region are made anew"
            );
        }
        for book in books {
            let scope = book.pid.scope;
            // Should the region come back, its first word is answered with the book.
            if let Some(last) = book.entries.last() {
                self.told.remove(&(scope, last.by.region));
            }
            self.learn(book.clone());
            self.mail.tell_all(Says::Book(book));
            if let Some(opened) = self.windows.get_mut(&scope) {
                // Not a record that is on its way here: what is missing is made at once.
                opened.agreed = None;
            }
            self.follow_limit(scope, crate::clock::mono());
        }
    }
}
