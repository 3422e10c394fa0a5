//! Single flight: of several equal requests at the same time one goes upstream, the others wait
//! for what it brings.

use std::sync::Arc;

use dashmap::{DashMap, Entry as Slot};
use meridian_core::cache::{CacheKey, Entry};
use tokio::sync::watch;

/// How far the first of several equal requests has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Bytes of its answer so far.
    Running(u64),
    /// The answer.
    Stored(Arc<Entry>),
    /// There is no answer that others may have: they go themselves.
    Alone,
    /// Its own caller was why it ended: another one goes first.
    Left,
}

/// What became of a wait.
#[derive(Clone, Debug)]
pub enum Followed {
    /// The answer.
    Answer(Arc<Entry>),
    /// Go yourself.
    Alone,
    /// Whoever comes first goes.
    Left,
}

/// Requests that others may wait for.
#[derive(Default)]
pub(super) struct Flights {
    running: DashMap<CacheKey, watch::Sender<Stage>>,
}

/// A place among equal requests.
pub enum Join {
    /// The first one: the others wait for it.
    Lead(Lead),
    /// Somebody is on the way.
    Follow(watch::Receiver<Stage>),
}

/// The first of several equal requests. Dropped without a word, it counts as left.
pub struct Lead {
    flights: Arc<Flights>,
    key: CacheKey,
    stage: watch::Sender<Stage>,
    ended: bool,
}

impl Flights {
    /// Takes a place.
    pub(super) fn join(flights: &Arc<Self>, key: CacheKey) -> Join {
        match flights.running.entry(key) {
            Slot::Occupied(running) => Join::Follow(running.get().subscribe()),
            Slot::Vacant(free) => {
                let stage = watch::Sender::new(Stage::Running(0));
                free.insert(stage.clone());
                Join::Lead(Lead {
                    flights: Arc::clone(flights),
                    key,
                    stage,
                    ended: false,
                })
            }
        }
    }
}

impl Lead {
    /// Its answer has grown to so many bytes.
    pub fn progress(&self, bytes: u64) {
        self.stage.send_replace(Stage::Running(bytes));
    }

    /// Here is the answer. It must be in memory already, so that nobody falls in between.
    pub fn stored(mut self, entry: &Arc<Entry>) {
        self.end(Stage::Stored(Arc::clone(entry)));
    }

    /// There will be none for others.
    pub fn alone(mut self) {
        self.end(Stage::Alone);
    }

    fn end(&mut self, stage: Stage) {
        self.ended = true;
        self.flights.running.remove(&self.key);
        self.stage.send_replace(stage);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Stage::Left);
        }
    }
}
