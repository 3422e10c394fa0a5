//! A region's Redis, which is a bus, and its Postgres, which keeps claims and the ledger.

use std::collections::BTreeMap;

use meridian_core::escrow::{Actor, Pid, Rights, Row, Standing};

/// Rows as they were published; store-max by cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redis {
    pub(crate) down: u32,
    rows: BTreeMap<(Pid, Actor), (Row, Standing)>,
    /// What the replica has: what is left after a fail-over.
    replica: BTreeMap<(Pid, Actor), (Row, Standing)>,
}

impl Redis {
    pub(crate) fn publish(&mut self, pid: Pid, actor: Actor, row: &Row, standing: Standing) {
        let stored = self.rows.entry((pid, actor)).or_default();
        stored.0.merge(row);
        stored.1 = standing;
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Pid, Actor, &Row, Standing)> {
        let rows = self.rows.iter();
        rows.map(|((pid, actor), (row, standing))| (*pid, *actor, row, *standing))
    }

    /// Once a second: replication is as late as that.
    pub(crate) fn replicate(&mut self) {
        self.replica = self.rows.clone();
    }

    pub(crate) fn fail_over(&mut self) {
        self.rows = self.replica.clone();
    }

    pub(crate) fn flush(&mut self) {
        self.rows.clear();
        self.replica.clear();
    }
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) request: u64,
    pub(crate) pids: Vec<Pid>,
    pub(crate) cost: Rights,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Postgres {
    pub(crate) down: u32,
    /// Insert-only.
    pub(crate) claims: BTreeMap<(Pid, u32), (Actor, Rights)>,
    /// By writer: entries 0.., and with them how far the writer has come.
    pub(crate) ledger: BTreeMap<Actor, Vec<Entry>>,
}

impl Postgres {
    /// `INSERT .. ON CONFLICT DO NOTHING`, then what is there.
    pub(crate) fn claim(
        &mut self,
        pid: Pid,
        claim: u32,
        actor: Actor,
        amount: Rights,
    ) -> (Actor, Rights) {
        *self.claims.entry((pid, claim)).or_insert((actor, amount))
    }

    /// Entries from `first` on, in one transaction with the writer's progress; says how far that
    /// is now.
    pub(crate) fn ship(&mut self, writer: Actor, first: usize, batch: &[Entry]) -> usize {
        let stored = self.ledger.entry(writer).or_default();
        if stored.len() == first {
            stored.extend_from_slice(batch);
        }
        stored.len()
    }
}
