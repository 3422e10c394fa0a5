//! Rows leave this node only after they are on disk: no observer ever sees a cell that a power
//! loss could take back.

use std::collections::VecDeque;

use super::message::{Effect, Ticket};

/// What may wait for the disk. Above it nothing new is given away or published until it answers.
const WAITING_MAX: usize = 65_536;

/// Effects that wait for a sync of the journal.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    last: u64,
    done: u64,
    waiting: VecDeque<(u64, Effect)>,
    /// Something was added since the last sync was asked for.
    open: bool,
}

impl Outbox {
    /// Lets `effect` leave after the next sync.
    pub(super) fn hold(&mut self, effect: Effect) {
        self.open = true;
        self.waiting.push_back((self.last + 1, effect));
    }

    /// Has what was appended put on disk; says by which sync.
    pub(super) fn want(&mut self) -> u64 {
        self.open = true;
        self.last + 1
    }

    /// Whether a sync is over.
    pub(super) fn is_done(&self, sync: u64) -> bool {
        self.done >= sync
    }

    /// Whether the disk keeps up.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    /// Asks for a sync if something needs one: last thing in a step.
    pub(super) fn seal(&mut self, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.open) {
            self.last += 1;
            out.push(Effect::Sync(Ticket(self.last)));
        }
    }

    /// The disk has answered.
    pub(super) fn synced(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        self.done = self.done.max(ticket.0);
        while let Some((needs, _)) = self.waiting.front() {
            if *needs > ticket.0 {
                return;
            }
            out.extend(self.waiting.pop_front().map(|(_, effect)| effect));
        }
    }
}
