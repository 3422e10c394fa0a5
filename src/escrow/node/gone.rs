//! Actors that will not come back, and how a node finds out that it is a copy of one.
//!
//! A disk or a machine that was restored from a copy, or cloned, holds rights that are spent or
//! given away. Such a node spends nothing more: it retires its journal and has another
//! process serve, with a journal and rights of its own. What the earlier one held is not known to
//! anybody for sure, so budgets that it had a part in begin a new generation with what was spent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Event, Pid, ScopeId};
use meridian_core::meters::WindowName;
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use rustix::process::Signal;

use super::{Answer, Desk};
use crate::clock;
use crate::escrow::books;
use crate::store::StoreError;

/// That an actor is gone is told for so long.
const TOLD_FOR: Duration = Duration::from_secs(10);
/// Who hears its own voice for so long is not alone with its name.
const TWIN_TIME: Duration = Duration::from_secs(2);
/// Between two tries to have another process serve.
const REPLACE_AGAIN: Duration = Duration::from_secs(60);

/// Who is gone, as far as it is known here.
#[derive(Debug, Default)]
pub(super) struct Gone {
    actors: BTreeSet<Actor>,
    /// Periods that were begun anew for them.
    renewed: BTreeSet<Pid>,
    /// Budgets that are being begun anew, and after which generation: not after a later one.
    waiting: BTreeMap<ScopeId, u32>,
    /// Another process with this node's name: when it was heard first.
    twin: Option<Instant>,
    /// This node is a copy; when another process was last asked for.
    disowned: Option<Option<Instant>>,
}

impl Gone {
    /// Somebody speaks, and is not gone: a copy says nothing.
    pub(super) fn lives(&mut self, actor: Actor) {
        self.actors.remove(&actor);
    }

    /// The generation that a budget which is begun anew is to have had until then.
    pub(super) fn after(&self, scope: ScopeId) -> Option<u32> {
        self.waiting.get(&scope).copied()
    }

    /// It is begun anew, here or elsewhere.
    pub(super) fn begun(&mut self, scope: ScopeId) {
        self.waiting.remove(&scope);
    }

    /// Whether this node is a copy, and neither takes nor gives.
    pub(super) fn is_disowned(&self) -> bool {
        self.disowned.is_some()
    }
}

impl Desk {
    /// An actor will not come back: everybody is told.
    pub(super) fn call_gone(&mut self, actor: Actor) {
        self.mail.call_gone(actor, clock::mono() + TOLD_FOR);
        self.hear_gone(actor);
    }

    pub(super) fn hear_gone(&mut self, actor: Actor) {
        let lives = actor == self.me || self.members.live().contains(&actor);
        if !lives && self.gone.actors.insert(actor) {
            tracing::warn!(%actor, "what this actor held of budgets is made anew");
        }
    }

    /// Begins a budget anew, with what was spent, if somebody who is gone had a part in its rights.
    pub(super) fn renew(&mut self, scope: ScopeId) {
        let Some(opened) = self.windows.get(&scope) else {
            return;
        };
        let pid = opened.pid;
        let at_home = opened.home == self.me.region;
        if !at_home || !self.had_part(pid) || !self.gone.renewed.insert(pid) {
            return;
        }
        // The last words of who is gone may be older than what it stored.
        let (store, asked) = (self.store.clone(), in_ledger(&opened.window.name()));
        self.asking.push(Box::pin(async move {
            Answer::Spent(pid, books::spent(store, asked, pid.index).await)
        }));
    }

    /// The ledger says what was spent of a budget that somebody who is gone had a part in.
    pub(super) fn renew_with(&mut self, pid: Pid, ledger: Result<NanoUsd, StoreError>) {
        let Some(opened) = self
            .windows
            .get(&pid.scope)
            .filter(|opened| opened.pid == pid)
        else {
            return;
        };
        match ledger {
            Ok(ledger) => {
                let counted = opened.window.counted(clock::now());
                let spent = opened.grant.used().max(counted).max(ledger);
                opened.window.gate().ask_reset(spent);
                self.gone.waiting.insert(pid.scope, pid.generation);
                self.follow_limit(pid.scope, clock::mono());
            }
            Err(error) => {
                tracing::debug!(%error, "what was spent of a budget is not known yet");
                self.gone.renewed.remove(&pid);
            }
        }
    }

    /// Whether somebody who is gone made rights of a period, or was last heard to hold some.
    fn had_part(&self, pid: Pid) -> bool {
        let gone = &self.gone.actors;
        if gone.is_empty() {
            return false;
        }
        let book = self.books.get(&pid.scope).filter(|book| book.pid == pid);
        let mut entries = book.into_iter().flat_map(|book| &book.entries);
        let peers = self.escrow.peers(pid);
        entries.any(|entry| entry.amount > 0 && gone.contains(&entry.by))
            || peers
                .iter()
                .any(|(actor, _, row)| gone.contains(actor) && row.held() > 0)
    }

    /// A process with this node's name says something. The one that began later is the copy.
    pub(super) fn hear_twin(&mut self, boot: u64, leaves: bool) {
        if leaves || boot == 0 || boot > self.life.boot {
            return;
        }
        let now = clock::mono();
        let since = *self.gone.twin.get_or_insert(now);
        if now.saturating_duration_since(since) >= TWIN_TIME {
            tracing::error!(actor = %self.me, "another process serves with this node's name: its \
                data directory was copied to here");
            self.disown();
        }
    }

    /// Looks whether the store has more of this journal than this node, and sees to it that a copy
    /// is replaced.
    pub(super) fn look_at_itself(&mut self, now: Instant) {
        if self.journal.is_outdated() {
            self.disown();
        }
        let again = |asked: Instant| now.saturating_duration_since(asked) >= REPLACE_AGAIN;
        if let Some(asked) = self.gone.disowned
            && asked.is_none_or(again)
        {
            self.gone.disowned = Some(Some(now));
            // Without a supervisor that follows it to another process it is the one to be started.
            let signal = match self.supervised {
                true => Signal::USR2,
                false => Signal::TERM,
            };
            let sent = rustix::process::kill_process(rustix::process::getpid(), signal);
            if let Err(error) = sent {
                tracing::error!(%error, "this process cannot end itself: restart it");
            }
        }
    }

    /// This node is a copy of another one, or of itself: it gives and takes nothing more, and its
    /// journal is not gone on with.
    pub(super) fn disown(&mut self) {
        if self.gone.is_disowned() {
            return;
        }
        self.gone.disowned = Some(None);
        tracing::error!(actor = %self.me, "this node goes on with an old copy of a data directory: \
            it spends nothing more of shared budgets, and makes room for a process with a \
            journal of its own");
        if let Err(error) = self.journal.life().retire() {
            tracing::error!(%error, "the old copy cannot be marked as such");
        }
        let pids: Vec<Pid> = self.escrow.pids().collect();
        for pid in pids {
            self.step(Event::Frozen(pid));
        }
        self.step(Event::Members(vec![self.me]));
        self.mail.farewell();
    }
}

/// The scope under which the ledger has what was spent of a budget. Of a scope's models and further
/// windows it has nothing of this kind: what nodes counted stands for them.
fn in_ledger(name: &WindowName) -> Option<Scope> {
    let whole = name.model.is_none() && name.limit.is_none();
    let kind = ScopeKind::of_label(&name.kind).filter(|_| whole)?;
    Some(Scope::new(kind, name.id.as_str()))
}
