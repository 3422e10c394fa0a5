//! When each account is looked at next, so that a tick costs what is in use and not what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::{Pid, ScopeId};
use crate::time::MonoUs;

/// First and longest pause between two visits of an account that nobody asks for.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Due times; one for each account.
#[derive(Debug, Default)]
pub(super) struct Visits {
    due: BTreeSet<(MonoUs, Pid)>,
    next: BTreeMap<Pid, (MonoUs, Duration)>,
}

impl Visits {
    /// Something happened: look at it soon.
    pub(super) fn soon(&mut self, pid: Pid, now: MonoUs) {
        let at = now.plus(PAUSE.0);
        if self.next.get(&pid).is_none_or(|(next, _)| *next > at) {
            self.set(pid, at, PAUSE.0);
        }
    }

    /// It was looked at: again soon if it is in use, else later and later.
    pub(super) fn again(&mut self, pid: Pid, now: MonoUs, in_use: bool) {
        let before = self.next.get(&pid).map_or(PAUSE.0, |(_, pause)| *pause);
        let pause = match in_use {
            true => PAUSE.0,
            false => (before * 2).min(PAUSE.1),
        };
        self.set(pid, now.plus(pause), pause);
    }

    /// Not any more.
    pub(super) fn forget(&mut self, pid: Pid) {
        if let Some((at, _)) = self.next.remove(&pid) {
            self.due.remove(&(at, pid));
        }
    }

    /// Accounts that are due.
    pub(super) fn due(&self, now: MonoUs) -> Vec<Pid> {
        let after = (now.plus(Duration::from_micros(1)), FIRST);
        self.due.range(..after).map(|(_, pid)| *pid).collect()
    }

    fn set(&mut self, pid: Pid, at: MonoUs, pause: Duration) {
        self.forget(pid);
        self.next.insert(pid, (at, pause));
        self.due.insert((at, pid));
    }
}

const FIRST: Pid = Pid {
    scope: ScopeId::FIRST,
    index: i64::MIN,
    generation: 0,
};
