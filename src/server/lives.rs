//! What processes that are gone left in the data directory beside this one's own journal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::config::Config;
use tokio::sync::watch;

use super::copies::Copies;
use super::handover::Predecessor;
use super::{FIRST_DRAIN_TIMEOUT, StartError, budgets, keep, open_store};
use crate::escrow::keep_rows;
use crate::journal::{Drain, Journal, Life};
use crate::merged::Merged;
use crate::registry::Registry;
use crate::store::Store;

/// Between two looks.
const TURN: Duration = Duration::from_secs(10);

/// Settles and stores what dead processes had in journals of their own.
pub(super) struct Heir {
    data_dir: PathBuf,
    store: Store,
    config: Arc<Config>,
    own: u32,
    /// Places that hold nothing, unless somebody takes them.
    settled: BTreeSet<u32>,
    /// Journals that the store has not taken yet.
    waiting: Vec<(u32, Drain)>,
}

impl Heir {
    pub(super) fn new(data_dir: &Path, config: &Config, store: &Store, own: &Life) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            store: store.clone(),
            config: Arc::new(config.clone()),
            own: own.number(),
            settled: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes what nobody else holds; `true` when the store has all of it within the time.
    pub(super) async fn adopt(&mut self, within: Duration) -> Result<bool, StartError> {
        let busy: BTreeSet<u32> = self.waiting.iter().map(|(number, _)| *number).collect();
        let skipped =
            |number| number == self.own || busy.contains(&number) || self.settled.contains(&number);
        for life in Life::abandoned(&self.data_dir, skipped)? {
            let number = life.number();
            let retired = life.is_retired();
            let (journal, _) = open_store::journal(&self.config, life)?;
            if self.config.database.is_some() && !retired {
                // Its rights stay its own, until a process is in its place again.
                keep_rows(&journal);
            }
            let drain = keep::drain(&journal, &self.store, &self.config);
            self.waiting.push((number, drain));
        }
        let mut left = Vec::new();
        for (number, drain) in std::mem::take(&mut self.waiting) {
            match drain.flush(within).await {
                true => _ = self.settled.insert(number),
                false => left.push((number, drain)),
            }
        }
        self.waiting = left;
        Ok(self.waiting.is_empty())
    }

    /// Takes what it can before the copy of a shared store is brought up to date.
    ///
    /// # Errors
    /// When this process would know less than the one that serves.
    pub(super) async fn look(
        &mut self,
        copies: &mut Copies,
        journal: &Journal,
        drain: &Drain,
        (predecessor, up): (Option<&Predecessor>, bool),
    ) -> Result<(), StartError> {
        if !up && predecessor.is_some() {
            let message = "Postgres does not answer, and the process that serves has its keys";
            return Err(StartError::TakeOver(std::io::Error::other(message)));
        }
        if up && !self.adopt(TURN).await? {
            tracing::warn!("what dead processes left is stored later");
        }
        copies.catch_up(journal, drain, up).await;
        Ok(())
    }

    /// Loads all that the embedded store has, once it has all that was ever spent.
    ///
    /// # Errors
    /// When it does not take it, or the process that serves does not hold still.
    pub(super) async fn load(
        &mut self,
        drain: &Drain,
        predecessor: Option<&Predecessor>,
        (registry, merged): (&Registry, &Merged),
    ) -> Result<(), StartError> {
        if let Some(predecessor) = predecessor {
            predecessor.hold().map_err(StartError::TakeOver)?;
        }
        let adopted = self.adopt(FIRST_DRAIN_TIMEOUT).await?;
        if !adopted || !drain.flush(FIRST_DRAIN_TIMEOUT).await {
            return Err(StartError::Ledger);
        }
        budgets::load(&self.store, registry).await?;
        merged.load(&self.store).await?;
        Ok(())
    }

    /// Looks again and again, until another process serves in this one's place or `stop` turns
    /// true: a process that leaves may be killed before it has finished.
    pub(super) async fn run(
        mut self,
        mut stop: watch::Receiver<bool>,
        mut replaced: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                _ = stop.wait_for(|stop| *stop) => return,
                _ = replaced.wait_for(|replaced| *replaced) => return,
            }
            // Held by a process that lives, or by nobody: in the second case it is looked into.
            let settled = std::mem::take(&mut self.settled);
            let free = |number: &u32| !was_taken(&self.data_dir, *number);
            self.settled = settled.into_iter().filter(free).collect();
            if let Err(error) = self.adopt(TURN).await {
                tracing::warn!(%error, "what a dead process left is not stored yet");
            }
        }
    }
}

fn was_taken(data_dir: &Path, number: u32) -> bool {
    let others = |other| other != number;
    Life::abandoned(data_dir, others).is_ok_and(|free| free.is_empty())
}
