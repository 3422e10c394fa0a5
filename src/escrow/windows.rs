//! Budgets that requests of this node use, each with its rights and those who wait for some.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::escrow::{Grant, Pid, ScopeId};
use meridian_core::meters::{Window, WindowName};
use tokio::sync::oneshot;

use super::Found;

/// A budget that nobody uses here for this long is not looked after; the next request opens it.
const IDLE: Duration = Duration::from_secs(600);
/// A budget that is this young may still hear of rights, whatever is known of it.
pub(super) const YOUNG: Duration = Duration::from_secs(1);

/// A budget in use.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) window: Window,
    pub(super) name: WindowName,
    pub(super) pid: Pid,
    pub(super) grant: Arc<Grant>,
    /// Number of its home region.
    pub(super) home: u8,
    pub(super) since: Instant,
    /// Its book is being asked for.
    pub(super) asking: bool,
    /// The store did not answer the last time.
    pub(super) failed: bool,
    /// The limit when rights were last what it says.
    pub(super) agreed: Option<i64>,
    /// Since when rights are not what the limit says, although that has not changed here.
    pub(super) differs: Option<Instant>,
    /// The store is not asked again before.
    pub(super) retry: Option<Instant>,
    /// Settled here as far as it is on disk for sure, and what will be when a frame is.
    pub(super) on_disk: i64,
    pub(super) mark: Option<(u64, i64)>,
    /// Settled here at the last look, and when that was something new.
    pub(super) used: i64,
    pub(super) active: Instant,
    /// Last moment that home was told that it is in use.
    pub(super) announced: Option<Instant>,
    /// Until then it may be spent beyond rights (`fail_open`).
    pub(super) open_until: Option<Instant>,
    pub(super) waiters: Vec<Waiter>,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) need: i64,
    pub(super) until: Instant,
    pub(super) reply: oneshot::Sender<Found>,
}

/// All of them.
pub(super) type Windows = HashMap<ScopeId, Opened>;

impl Opened {
    /// Whether a request of this size would get an answer now: it would be admitted, or the budget
    /// is closed.
    pub(super) fn has(&self, need: i64) -> bool {
        let slot = self.grant.slot();
        let fits = !slot.is_frozen() && slot.room() >= need;
        self.grant.is_closed() || (fits && self.window.gate().reset().is_none())
    }

    /// Charges that a power loss would take: those that are not known to be on disk.
    pub(super) fn unsynced(&self) -> i64 {
        self.grant.slot().used().saturating_sub(self.on_disk).max(0)
    }

    /// Notes how far the journal is on disk; whether there is something new to wait for.
    pub(super) fn note_synced(&mut self, synced: u64) -> bool {
        if let Some((frame, used)) = self.mark
            && synced >= frame
        {
            self.on_disk = used;
            self.mark = None;
        }
        self.mark.is_none() && self.unsynced() > 0
    }

    /// Whether nobody has used it here for a while.
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        let slot = self.grant.slot();
        let busy = slot.reserved() > 0 || !self.waiters.is_empty() || self.asking;
        if busy || slot.used() != self.used {
            self.used = slot.used();
            self.active = now;
        }
        now.saturating_duration_since(self.active) >= IDLE
    }

    /// Tells those who can go on, or cannot wait longer.
    pub(super) fn wake(&mut self, now: Instant) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let found = match self.has(waiter.need) {
                true => Found::Some,
                false if now < waiter.until => {
                    self.waiters.push(waiter);
                    continue;
                }
                false if self.failed => Found::Unknown,
                false => Found::Nothing,
            };
            // Whoever is gone needs nothing any more.
            let _ = waiter.reply.send(found);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for waiter in self.waiters.drain(..) {
            // The budget is another one now: asked for again it is opened.
            let _ = waiter.reply.send(Found::Some);
        }
    }
}
