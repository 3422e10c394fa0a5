//! Requests that found too few rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, Book, ClockHealth, Event, Grant, Pid, ScopeId};
use meridian_core::meters::Window;
use meridian_core::money::NanoUsd;
use meridian_core::scope::ScopeKind;
use meridian_core::time::WallMs;
use tokio::sync::oneshot;

use super::{Answer, Desk};
use crate::clock;
use crate::escrow::Found;
use crate::escrow::books::{self, Wanted};
use crate::escrow::frames::Says;
use crate::escrow::windows::{Opened, Waiter, YOUNG};
use crate::telemetry::logs::whose;

/// Where nothing was found requests are refused without a question for this long.
const BARREN_MS: i64 = 250;
/// Between two messages to home that a budget is used here.
const ANNOUNCE: Duration = Duration::from_secs(1);
/// Questions to the store at the same time.
const ASKING_MAX: usize = 64;
/// After a question that the store did not answer it is asked again after this.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// A node that knows another limit than the rest is told the record within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for the book of a period that only others use.
const SEEK: Duration = Duration::from_secs(10);

/// Nobody: stands for who made rights in another region.
const NOBODY: Actor = Actor {
    region: 0,
    node: 0,
    incarnation: 0,
};

impl Desk {
    pub(super) fn ask(
        &mut self,
        window: Window,
        need: i64,
        (until, reply): (Instant, Option<oneshot::Sender<Found>>),
    ) {
        self.tally.asked += 1;
        let found = self.search(&window, need);
        let Some(reply) = reply else { return };
        match found {
            Ok(found) => {
                let _ = reply.send(found);
            }
            Err(scope) => {
                self.tally.waited += 1;
                let waiter = Waiter { need, until, reply };
                if let Some(opened) = self.windows.get_mut(&scope) {
                    opened.waiters.push(waiter);
                }
            }
        }
    }

    /// Looks for rights; an error names the budget for which there is hope.
    fn search(&mut self, window: &Window, need: i64) -> Result<Found, ScopeId> {
        let (scope, now) = (window.scope_id(), clock::mono());
        let Some(pid) = self.open(window, scope) else {
            return Ok(Found::Unknown);
        };
        self.step(Event::Short { pid, need });
        self.follow_limit(scope, now);
        let Some(opened) = self.windows.get(&scope) else {
            return Ok(Found::Unknown);
        };
        if opened.has(need) {
            return Ok(Found::Some);
        }
        let young = now.saturating_duration_since(opened.since) < YOUNG;
        let (asking, failed) = (opened.asking, opened.failed);
        let grant = Arc::clone(&opened.grant);
        let at = self.now();
        if asking || young || self.escrow.may_find(at, pid, need) {
            return Err(scope);
        }
        if failed {
            return Ok(Found::Unknown);
        }
        grant.set_barren(need, clock::now().plus_ms(BARREN_MS));
        Ok(Found::Nothing)
    }

    /// Puts the rights of a budget's running period where requests look.
    pub(super) fn open(&mut self, window: &Window, scope: ScopeId) -> Option<Pid> {
        let wall = clock::now();
        if let Some(opened) = self.windows.get(&scope)
            && !opened.grant.is_over(wall)
        {
            let pid = opened.pid;
            if window.gate().grant(wall).is_none_or(|it| it.pid() != pid) {
                window.gate().set(Some(Arc::clone(&opened.grant)));
            }
            return Some(pid);
        }
        let ends = window.resets_at(wall);
        if ends.is_some() && self.members.clock(clock::mono()) != ClockHealth::Healthy {
            // Whose clock is off does not know which period runs.
            return None;
        }
        let index = ends.map_or(i64::MAX, |ends| ends.0);
        let pid = Pid {
            scope,
            index,
            generation: self.generation(scope, index),
        };
        self.place(window, pid, ends)
    }

    /// The last generation of a period that was heard of.
    fn generation(&self, scope: ScopeId, index: i64) -> u32 {
        let of_book = self.books.get(&scope).map(|book| book.pid);
        let first = Pid {
            scope,
            index,
            generation: 0,
        };
        let known = self.escrow.pids_of(first);
        let all = known.into_iter().chain(of_book);
        let same = all.filter(|pid| pid.index == index);
        same.map(|pid| pid.generation).max().unwrap_or(0)
    }

    /// Begins to use a period here.
    pub(super) fn place(&mut self, window: &Window, pid: Pid, ends: Option<WallMs>) -> Option<Pid> {
        self.step(Event::Opened(pid));
        let grant = Arc::new(Grant::new(pid, self.escrow.slot(pid)?, ends));
        let of_group = || self.registry.home_of_group(window.scope()?);
        let home = window.home().or_else(of_group);
        let home = match home.filter(|home| !home.is_empty()) {
            Some(home) => self.numbers.of(&home),
            None => self.home_of_nobody(window),
        };
        window.gate().set(Some(Arc::clone(&grant)));
        let on_disk = grant.slot().used();
        let opened = Opened {
            name: window.name(),
            window: window.clone(),
            pid,
            grant,
            home,
            since: clock::mono(),
            asking: false,
            failed: false,
            agreed: None,
            differs: None,
            announced: None,
            open_until: None,
            retry: None,
            used: 0,
            active: clock::mono(),
            waiters: Vec::new(),
            // What was settled before this process began is on disk: it was read from there.
            on_disk,
            mark: None,
        };
        let before = self.windows.remove(&pid.scope);
        let mut opened = opened;
        if let Some(mut before) = before {
            opened.waiters = std::mem::take(&mut before.waiters);
            before.grant.slot().set_granted(0);
        }
        self.windows.insert(pid.scope, opened);
        self.follow_policy(pid.scope, clock::mono());
        match self.books.get(&pid.scope).filter(|book| book.pid == pid) {
            Some(book) => {
                let book = book.clone();
                self.apply(&book);
            }
            None if home != self.me.region => self.step(Event::Claimed {
                pid,
                claim: 0,
                amount: 0,
                by: NOBODY,
            }),
            None => {}
        }
        self.follow_limit(pid.scope, clock::mono());
        Some(pid)
    }

    /// Home of a budget without a record (the installation's, a provider's): the region with the
    /// first name.
    fn home_of_nobody(&self, window: &Window) -> u8 {
        let whole = ScopeKind::of_label(&window.name().kind).is_none();
        match whole {
            true => self.numbers.first().unwrap_or(self.me.region),
            false => self.me.region,
        }
    }

    /// Sees to it that the budget's rights are what its limit says: asks the store where it is at
    /// home, and home where it is not.
    pub(super) fn follow_limit(&mut self, scope: ScopeId, now: Instant) {
        let wall = clock::now();
        let Some(opened) = self.windows.get_mut(&scope) else {
            return;
        };
        let Some(limit) = opened.window.limit(wall) else {
            return;
        };
        let reset = opened.window.gate().reset();
        let book = self.books.get(&scope).filter(|book| book.pid == opened.pid);
        let says = book.is_some_and(|book| book.due(limit.0).is_none());
        if says && reset.is_none() {
            opened.agreed = Some(limit.0);
            opened.differs = None;
            return;
        }
        // Another node has changed the rights: the record that made it do so is on its way here.
        if opened.agreed == Some(limit.0) && reset.is_none() {
            let since = *opened.differs.get_or_insert(now);
            if now.saturating_duration_since(since) < PATIENCE {
                return;
            }
        }
        if opened.home != self.me.region {
            let lately = |at: Instant| now.saturating_duration_since(at) < ANNOUNCE;
            if opened.announced.is_some_and(lately) {
                return;
            }
            opened.announced = Some(now);
            let (name, pid) = (opened.name.clone(), opened.pid);
            let home = opened.home;
            self.mail.tell_region_of(home, Says::Opened { name, pid });
            return;
        }
        let waits = opened.retry.is_some_and(|at| now < at);
        if opened.asking || waits || self.asking.len() >= ASKING_MAX {
            return;
        }
        opened.asking = true;
        let wanted = Wanted {
            me: self.me,
            scope,
            period: opened.pid.index,
            limit: limit.0,
            base: opened.window.counted(wall).0,
            reset: reset.map(|reset| reset.0),
            after: self.gone.after(scope),
        };
        let store = self.store.clone();
        self.asking.push(Box::pin(async move {
            Answer::Settled(scope, books::settle(store, wanted).await)
        }));
    }

    /// The state machine wants to know who has the period's claim.
    pub(super) fn claim(&mut self, pid: Pid) {
        let now = clock::mono();
        if let Some(book) = self.books.get(&pid.scope).filter(|book| book.pid == pid) {
            let book = book.clone();
            return self.apply(&book);
        }
        if self.windows.contains_key(&pid.scope) {
            return self.follow_limit(pid.scope, now);
        }
        let lately = |at: &Instant| now.saturating_duration_since(*at) < SEEK;
        if self.sought.get(&pid).is_some_and(lately) {
            return;
        }
        self.sought.insert(pid, now);
        let store = self.store.clone();
        self.asking.push(Box::pin(async move {
            Answer::Found(pid, books::find(store, pid).await)
        }));
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Settled(scope, settled) => self.settled(scope, settled),
            Answer::Found(pid, Ok(Some(book))) if book.pid >= pid => self.learn(book),
            Answer::Found(pid, Ok(_)) => self.step(Event::Claimed {
                pid,
                claim: 0,
                amount: 0,
                by: NOBODY,
            }),
            Answer::Found(_, Err(error)) => tracing::debug!(%error, "no book is read"),
            Answer::Regained(regained) => self.regained(regained),
            Answer::Nodes(nodes) => self.know_nodes(nodes),
            Answer::Looked(looked) => self.fence_in(looked),
            Answer::Decided(decided) => self.decided(decided),
            Answer::Spent(pid, ledger) => self.renew_with(pid, ledger),
            Answer::Own(Ok(books)) => books.into_iter().for_each(|book| self.learn(book)),
            Answer::Own(Err(error)) => {
                tracing::debug!(%error, "books of this node are not read yet");
                self.rounds.ask_own_again();
            }
        }
    }

    fn settled(
        &mut self,
        scope: ScopeId,
        settled: Result<books::Settled, crate::store::StoreError>,
    ) {
        let Some(opened) = self.windows.get_mut(&scope) else {
            return;
        };
        opened.asking = false;
        // What this node knows of the period's rights is an answer too.
        let knows = self.escrow.row(opened.pid);
        let knows = knows.is_some_and(|row| !row.is_empty());
        opened.failed = settled.is_err() && !knows;
        opened.retry = settled.is_err().then(|| clock::mono() + STORE_RETRY);
        match settled {
            Err(error) => {
                let whose = whose(&scope);
                tracing::debug!(%error, scope = %whose, "the book of a budget is not written");
                opened.wake(clock::mono());
            }
            Ok(books::Settled { book, begun, reset }) => {
                let pid = book.pid;
                let news = self.books.get(&scope) != Some(&book);
                // First: what follows must not carry it out once more.
                if let Some(reset) = reset {
                    opened.window.gate().end_reset(NanoUsd(reset));
                    self.gone.begun(scope);
                }
                self.learn(book.clone());
                if begun {
                    self.step(Event::Spread(pid));
                }
                if news {
                    self.mail.tell_all(Says::Book(book));
                }
                self.wake(scope);
            }
        }
    }

    /// Takes what was decided about a period, if it is news.
    pub(super) fn learn(&mut self, book: Book) {
        let scope = book.pid.scope;
        let order = |book: &Book| (book.pid.index, book.pid.generation, book.entries.len());
        let known = self.books.get(&scope);
        // Books of periods that end are told before and after their end.
        if known.is_some_and(|known| order(known) > order(&book)) {
            return;
        }
        self.books.insert(scope, book.clone());
        if let Some(opened) = self.windows.get(&scope)
            && opened.pid.index == book.pid.index
            && opened.pid.generation < book.pid.generation
        {
            let (window, before) = (opened.window.clone(), opened.pid);
            self.step(Event::Frozen(before));
            let ends = window.resets_at(clock::now());
            self.place(&window, book.pid, ends);
            return;
        }
        self.apply(&book);
    }

    fn apply(&mut self, book: &Book) {
        for event in book.events(self.me) {
            self.step(event);
        }
        self.count_elsewhere(book.pid.scope);
    }

    /// What others have settled of a budget, as far as it is known here.
    pub(super) fn count_elsewhere(&mut self, scope: ScopeId) {
        let Some(opened) = self.windows.get(&scope) else {
            return;
        };
        let pid = opened.pid;
        let book = self.books.get(&scope).filter(|book| book.pid == pid);
        let base = book.map_or(0, |book| book.base);
        let near = self.escrow.peers(pid).into_iter();
        let near = near.filter(|(actor, ..)| actor.region == self.me.region);
        let near: i64 = near.map(|(_, _, row)| row.used).sum();
        let far = self.escrow.regions(pid).into_iter();
        let far: i64 = far.map(|(_, _, used)| used).sum();
        let sum = base.saturating_add(near).saturating_add(far);
        opened.grant.set_elsewhere(sum);
    }

    pub(super) fn wake(&mut self, scope: ScopeId) {
        if let Some(opened) = self.windows.get_mut(&scope) {
            opened.wake(clock::mono());
        }
    }
}
