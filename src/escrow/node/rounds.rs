//! What is done again and again, and at the end.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Event, Pid, ScopeId};
use meridian_core::meters::Window;
use meridian_core::time::WallMs;
use tokio::sync::mpsc::Receiver;

use super::{Answer, Desk};
use crate::clock;
use crate::escrow::Order;
use crate::escrow::show::Status;

/// Between two looks at budgets in use.
const SWEEP: Duration = Duration::from_millis(500);
/// Between two rounds of limits in the region, and between those that go to others.
const LIMITS: Duration = Duration::from_millis(200);
/// Less often than frames may leave, or those about rights would never leave ahead of their time.
const LIMITS_FAR: Duration = Duration::from_millis(600);
/// Between two looks whether budgets have other names or durations now.
const NAMES: Duration = Duration::from_secs(2);
/// Between two looks for periods that are over.
const END: Duration = Duration::from_secs(60);
/// Between two times that all rows are written anew, so that old segments can go.
const CHECKPOINT: Duration = Duration::from_secs(600);
/// A period is kept this long after its end, for what still runs in it and what comes late.
const KEEP_MS: i64 = 2 * 3_600_000;
/// Longest wait at the end for rights to be given back.
const LEAVE: Duration = Duration::from_secs(3);
/// Longest wait for the last words to be sent.
const FAREWELL: Duration = Duration::from_millis(100);
/// Pause while leaving.
const LEAVE_TURN: Duration = Duration::from_millis(20);
/// Name of the journal's consumer that keeps rows.
pub(in crate::escrow) const CONSUMER: &str = "rights";

/// Whether a period is over for good.
pub(super) fn is_over(pid: Pid, wall: WallMs) -> bool {
    pid.index != i64::MAX && pid.index < oldest(wall).0
}

/// Periods that ended before are over for good.
pub(super) fn oldest(wall: WallMs) -> WallMs {
    wall.plus_ms(-KEEP_MS)
}

/// When what was done last.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    ticked: Option<Instant>,
    limits: Option<Instant>,
    limits_far: Option<Instant>,
    swept: Option<Instant>,
    named: Option<Instant>,
    ended: Option<Instant>,
    checkpointed: Option<Instant>,
    own_asked: bool,
}

impl Rounds {
    pub(super) fn next_tick(&self, every: Duration) -> Instant {
        self.ticked.map_or_else(clock::mono, |at| at + every)
    }

    pub(super) fn ticked(&mut self) {
        self.ticked = Some(clock::mono());
    }

    /// The store did not say which books this node is in.
    pub(super) fn ask_own_again(&mut self) {
        self.own_asked = true;
    }
}

/// Whether something is due again; then it counts as done.
fn is_due(last: &mut Option<Instant>, every: Duration, now: Instant) -> bool {
    let due = last.is_none_or(|at| now.saturating_duration_since(at) >= every);
    if due {
        *last = Some(now);
    }
    due
}

impl Desk {
    pub(super) fn tick(&mut self) {
        let now = clock::mono();
        self.tell_members();
        let resets = self.registry.take_resets();
        for window in resets.iter().flat_map(Window::of_scope) {
            let Some(reset) = window.gate().reset() else {
                continue;
            };
            if window.limit(clock::now()).is_none() {
                // Nothing is shared: what was set is what is counted.
                window.gate().end_reset(reset);
                continue;
            }
            let scope = window.scope_id();
            self.open(&window, scope);
            self.follow_limit(scope, now);
        }
        self.step(Event::Tick);
        self.note_synced();
        for opened in self.windows.values_mut() {
            if !opened.waiters.is_empty() {
                opened.wake(now);
            }
        }
        self.tend_handover(now);
        self.tend_fencing(now);
        if is_due(&mut self.rounds.limits, LIMITS, now) {
            self.count_limits(now);
        }
        if is_due(&mut self.rounds.swept, SWEEP, now) {
            self.sweep(now);
        }
        if is_due(&mut self.rounds.ended, END, now) {
            self.end_periods(now);
        }
        if is_due(&mut self.rounds.checkpointed, CHECKPOINT, now) {
            self.checkpoint();
        }
    }

    /// Notes which charges are on disk.
    fn note_synced(&mut self) {
        let synced = self.journal.synced();
        let mut new = Vec::new();
        for (scope, opened) in &mut self.windows {
            if opened.note_synced(synced) {
                new.push((*scope, opened.grant.slot().used()));
            }
        }
        if new.is_empty() {
            return;
        }
        // Whoever was between settling and writing has written when this returns.
        drop(self.rights.writing());
        let frame = self.journal.appended();
        for (scope, used) in new {
            if let Some(opened) = self.windows.get_mut(&scope) {
                opened.mark = Some((frame, used));
            }
        }
    }

    /// Says what this node has counted of limits since it said so last.
    fn count_limits(&mut self, now: Instant) {
        let far = self.mail.has_far() && is_due(&mut self.rounds.limits_far, LIMITS_FAR, now);
        let clocks = self.clocks();
        let near = self.mail.neighbours();
        let told = self.limits.round(near, (self.mail.regions(), far), clocks);
        let alone = self.limits.is_alone();
        self.rights.joined.store(!alone, Ordering::Relaxed);
        if !alone {
            self.mail.count_near(told.near);
            self.mail.count_far(&told.far);
        }
    }

    /// Tells the state machine who lives, when that has changed.
    pub(super) fn tell_members(&mut self) {
        if self.gone.is_disowned() {
            return;
        }
        self.members.look(clock::mono());
        // Rights for a region that is heard and not reached would be on their way for ever.
        let reached =
            |actor: &&Actor| actor.region == self.me.region || self.mail.reaches(actor.region);
        let live: Vec<Actor> = self
            .members
            .live()
            .iter()
            .filter(reached)
            .copied()
            .collect();
        if live != self.reached {
            self.reached.clone_from(&live);
            self.step(Event::Members(live));
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.look_at_itself(now);
        let wall = clock::now();
        self.look_around(now);
        self.look_at_ceilings();
        self.end_fences(now);
        let names = is_due(&mut self.rounds.named, NAMES, now);
        let scopes: Vec<ScopeId> = self.windows.keys().copied().collect();
        for scope in scopes {
            let Some(opened) = self.windows.get_mut(&scope) else {
                continue;
            };
            let idle = opened.is_idle(now);
            let window = &opened.window;
            let other = idle
                || window.limit(wall).is_none()
                || window.has_ended()
                || (names && window.scope_id() != scope);
            if other || opened.grant.is_over(wall) {
                // Not frozen: a limit that is set again finds the same period.
                window.gate().set(None);
                opened.grant.slot().set_granted(0);
                self.windows.remove(&scope);
                continue;
            }
            self.count_elsewhere(scope);
            self.renew(scope);
            self.follow_policy(scope, now);
            self.follow_limit(scope, now);
        }
        if std::mem::take(&mut self.rounds.own_asked) {
            let (store, me) = (self.store.clone(), self.me);
            self.asking.push(Box::pin(async move {
                Answer::Own(store.books_of(me, oldest(wall)).await)
            }));
        }
        let status = self.status_now();
        self.rights.status.store(std::sync::Arc::new(status));
    }

    fn end_periods(&mut self, now: Instant) {
        let wall = clock::now();
        let over: Vec<Pid> = self
            .escrow
            .pids()
            .filter(|pid| is_over(*pid, wall))
            .collect();
        for pid in over {
            self.step(Event::Ended(pid));
        }
        self.books.retain(|_, book| !is_over(book.pid, wall));
        let recent = |at: &Instant| now.saturating_duration_since(*at) < END;
        self.sought.retain(|_, at| recent(at));
        self.told.retain(|_, at| recent(at));
    }

    /// Writes all rows once more: segments before them are not needed for a recovery.
    pub(super) fn checkpoint(&mut self) {
        let from = self.journal.end();
        let pids: Vec<Pid> = self.escrow.pids().collect();
        for pid in pids {
            if let Some(row) = self.escrow.row(pid) {
                self.write(pid, row);
            }
        }
        if self.unwritten.is_empty() && self.journal.sync() {
            self.journal.consumed(CONSUMER, from);
        }
    }

    pub(super) fn status_now(&self) -> Status {
        let live = self.members.live();
        let near = live.iter().filter(|one| one.region == self.me.region);
        let limits = self.limits.tally(self.now());
        let mut status = Status {
            actor: Some(self.me),
            budgets: self.windows.len() as u64,
            periods: self.escrow.pids().count() as u64,
            nodes_near: near.count() as u64,
            nodes_far: 0,
            links: self.mail.links(),
            mode: self.mode(),
            asked: self.tally.asked,
            waited: self.tally.waited,
            forged: self.tally.forged,
            suspense: self.tally.suspense,
            limits: limits.scopes,
            silent: limits.silent,
            left_out: limits.left_out,
            cut_off: !self.out_of_reach().is_empty(),
            ..Status::default()
        };
        status.nodes_far = live.len() as u64 - status.nodes_near;
        let mut fenced = BTreeSet::new();
        for opened in self.windows.values() {
            let (slot, bound) = (opened.grant.slot(), self.exposure(opened));
            status.free = status.free.saturating_add(slot.avail().max(0));
            status.reserved = status.reserved.saturating_add(slot.reserved());
            status.bound = status.bound.saturating_add(bound.total());
            status.overdraft = status.overdraft.saturating_add(bound.overdraft);
            let pending = bound.pending_decrease;
            status.pending_decrease = status.pending_decrease.saturating_add(pending);
            let ceiling = self.escrow.ceiling(opened.pid).unwrap_or_default();
            status.above = status.above.saturating_add(ceiling.above);
            let fences = self.escrow.fences(opened.pid).into_iter();
            fenced.extend(fences.map(|(actor, _)| actor));
        }
        status.fenced = fenced.len() as u64;
        status
    }

    /// A node is lost with its disk: what it held counts as spent, or is made anew.
    pub(super) fn write_off(&mut self, actor: Actor, anew: bool) -> serde_json::Value {
        if actor == self.me || self.members.live().contains(&actor) {
            return serde_json::json!({"written_off": false, "why": "the node lives"});
        }
        if anew {
            self.call_gone(actor);
            return serde_json::json!({
                "written_off": true,
                "why": "budgets that are at home in this region begin anew with what was spent, \
                        each when it is used next",
            });
        }
        let before = self.tally.suspense;
        self.step(Event::WrittenOff(actor));
        self.carry_out();
        let suspense = self.tally.suspense - before;
        serde_json::json!({
            "written_off": true,
            "counted_as_spent": meridian_core::money::NanoUsd(suspense).to_string(),
        })
    }

    /// Gives rights back to the region, and says goodbye.
    pub(super) async fn leave(&mut self, orders: &mut Receiver<Order>) {
        let began = clock::mono();
        let over = |now: Instant| now.saturating_duration_since(began) >= LEAVE;
        // A copy gives nothing: it may not be there.
        let has_siblings = |desk: &Self| desk.members.near() > 1 && !desk.gone.is_disowned();
        if has_siblings(self) {
            let me = self.me;
            let others = self.members.live().iter().copied();
            let others = others.filter(|actor| *actor != me).collect();
            self.step(Event::Members(others));
            self.step(Event::Leaving);
        }
        while has_siblings(self) && !self.escrow.is_empty() && !over(clock::mono()) {
            let _ = tokio::time::timeout(LEAVE_TURN, self.turn(orders)).await;
        }
        self.checkpoint();
        self.carry_out();
        if !self.limits.is_alone() {
            let clocks = self.clocks();
            let last = self.limits.farewell(clocks);
            self.mail.count_far(&last);
            self.mail.count_near(last);
        }
        self.mail.farewell();
        tokio::time::sleep(FAREWELL).await;
    }
}
