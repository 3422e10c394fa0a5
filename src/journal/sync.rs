//! The journal's background thread: fdatasync, and frames that could not be written at once.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Fsync, Inner, JournalError};
use crate::clock;

/// How often parked frames are tried when the fsync policy gives no shorter interval.
const IDLE_INTERVAL: Duration = Duration::from_millis(50);

/// What appenders and the background thread tell each other.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    state: Mutex<State>,
    asked: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Frames (counted as by `Inner::appended`) that are on disk.
    synced: u64,
    /// Frames whose fdatasync failed.
    failed: u64,
    stopping: bool,
}

impl GroupCommit {
    /// Returns when the frame with this number is on disk.
    pub(super) fn wait(&self, number: u64) -> Result<(), JournalError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.asked.notify_one();
        while state.synced < number && state.failed < number && !state.stopping {
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match state.synced >= number {
            true => Ok(()),
            false => Err(JournalError::NotSynced),
        }
    }

    /// Frames that are on disk.
    pub(super) fn synced(&self) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.synced
    }

    /// Ends the background thread after one last round.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopping = true;
        self.asked.notify_all();
        self.done.notify_all();
    }

    /// Sleeps until there is something to do; `true` when it is time to end.
    fn pause(&self, fsync: Fsync, appended: impl Fn() -> u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let interval = match fsync {
            Fsync::Interval(interval) => interval.min(IDLE_INTERVAL),
            Fsync::Always | Fsync::Never => IDLE_INTERVAL,
        };
        let busy = fsync == Fsync::Always && appended() > state.synced.max(state.failed);
        if state.stopping || busy {
            return state.stopping;
        }
        let woken = self.asked.wait_timeout(state, interval);
        woken.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn report(&self, number: u64, worked: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match worked {
            true => state.synced = number,
            false => state.failed = number,
        }
        self.done.notify_all();
    }
}

/// Body of the background thread.
pub(super) fn run(inner: &Inner) {
    let mut looked = clock::mono();
    loop {
        let appended = || inner.appended.load(Ordering::SeqCst);
        let stopping = inner.commit.pause(inner.options.fsync, appended);
        inner.write_parked();
        let due = match inner.options.fsync {
            Fsync::Always => true,
            Fsync::Interval(interval) => looked.elapsed() >= interval,
            Fsync::Never => false,
        };
        if due || stopping {
            looked = clock::mono();
            let number = appended();
            let worked = inner.sync_all();
            inner.commit.report(number, worked);
        }
        if stopping {
            return;
        }
    }
}
