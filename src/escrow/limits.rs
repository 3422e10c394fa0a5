//! Limits per minute and on parallel requests, kept together with the other nodes: what is told
//! about those in use, and what is done with what others tell. Nothing of it is kept anywhere.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use meridian_core::escrow::ScopeId;
use meridian_core::rate::{
    Beat, Counts, Ears, Gossip, Grant, Joint, Life, Minute, Tenure, Vault, even_part,
};
use meridian_core::time::{MonoUs, WallMs};

use super::frames::Rates;
use super::limited::Limited;

/// Scopes that are kept. Of more each node has the whole limit, and metrics say so.
const SCOPES_MAX: usize = 50_000;
/// What has not changed is told again after this: what was said last may be lost.
const TELL_AGAIN: Duration = Duration::from_secs(3);
/// So long the last minute goes with every count, at first and when somebody was met: who has not
/// heard it cannot use the counts.
const TELL_PAST: Duration = Duration::from_secs(2);
/// A scope that nobody used for this long is let go.
const IDLE: Duration = Duration::from_secs(75);
/// So long it is said that permits were wanted in vain.
const SHORT: Duration = Duration::from_secs(1);
/// A node that has just started takes for this long all that the store knows for nodes that share
/// limits, heard or not.
const YOUNG: Duration = Duration::from_secs(5);

/// Both clocks.
pub(super) type Clocks = (WallMs, MonoUs);

/// Limits in use, here or elsewhere.
pub(super) struct Limits {
    ears: Ears,
    began: MonoUs,
    scopes: HashMap<ScopeId, Scope>,
    /// Somebody was met who knows nothing of what was said before.
    stranger: bool,
    /// Nodes that share limits at least, heard or not.
    least: usize,
    /// Scopes that found no place.
    left_out: u64,
}

/// What is to be told now.
#[derive(Default)]
pub(super) struct Told {
    pub(super) near: Vec<Rates>,
    pub(super) far: Vec<Rates>,
}

/// How the limits are, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) scopes: u64,
    pub(super) silent: u64,
    pub(super) left_out: u64,
}

#[derive(Default)]
struct Scope {
    joint: Arc<Joint>,
    /// Where requests look here; more than one while a key is rotated.
    here: Vec<Limited>,
    requests: Gossip,
    tokens: Gossip,
    tenure: Tenure,
    vault: Option<Vault>,
    /// Nodes that the vault has to answer.
    asking: BTreeSet<u64>,
    /// The limit on parallel requests, if there is one.
    parallel: Option<u32>,
    /// Requests that found no permit in one round of the last second.
    short: u32,
    short_at: MonoUs,
    near: Last,
    far: Last,
    used: MonoUs,
}

/// What was said last on one way.
#[derive(Clone, Copy, Default)]
struct Last {
    requests: Said<Counts>,
    tokens: Said<Counts>,
    beat: Said<(u32, Beat)>,
}

#[derive(Clone, Copy)]
struct Said<T> {
    what: Option<T>,
    at: MonoUs,
    first: MonoUs,
}

impl<T> Default for Said<T> {
    fn default() -> Self {
        let (what, at, first) = (None, MonoUs(0), MonoUs(0));
        Self { what, at, first }
    }
}

impl<T: Copy> Said<T> {
    /// What is to be said: news, or the same again after a while.
    fn news(&mut self, what: T, is_news: impl Fn(T, T) -> bool, now: MonoUs) -> Option<T> {
        let due = now >= self.at.plus(TELL_AGAIN);
        if !due && self.what.is_some_and(|last| !is_news(last, what)) {
            return None;
        }
        (self.what, self.at) = (Some(what), now);
        Some(what)
    }
}

impl Said<Counts> {
    /// Counts, if there is something to say: the last minute too at first and once in a while. Who
    /// has counted nothing has nothing to say.
    fn counts(&mut self, gossip: &Gossip, minute: &Minute, (wall, now): Clocks) -> Option<Counts> {
        let counts = gossip.counts(minute);
        if counts.offered == 0 {
            return None;
        }
        if self.what.is_none() {
            self.first = now;
        }
        let news = self.what.is_none_or(|last| Counts::differ(last, counts));
        let early = now < self.first.plus(TELL_PAST);
        if early || now >= self.at.plus(TELL_AGAIN) {
            (self.what, self.at) = (Some(counts), now);
            return Some(gossip.counts_and_past(minute, wall));
        }
        news.then(|| {
            self.what = Some(counts);
            counts
        })
    }
}

impl Limits {
    pub(super) fn new(me: Life, now: MonoUs) -> Self {
        Self {
            ears: Ears::new(me),
            began: now,
            scopes: HashMap::new(),
            stranger: false,
            least: 0,
            left_out: 0,
        }
    }

    /// Requests use these limits here.
    pub(super) fn open(&mut self, limited: Limited, (wall, now): Clocks) {
        let id = limited.id();
        let parties = self.parties();
        let Some(scope) = self.scope(id, now) else {
            self.left_out += 1;
            return;
        };
        if !limited.rates().is_apart() {
            return;
        }
        scope.used = now;
        let limits = limited.rates().limits();
        scope.parallel = limits.parallel.and_then(|limit| u32::try_from(limit).ok());
        scope.set_permits(&parties, (wall, now));
        limited.rates().join(Arc::clone(&scope.joint), wall);
        scope.here.push(limited);
    }

    /// A process of another node, or another one of this node, said something.
    pub(super) fn hear(&mut self, from: Life, rates: Vec<Rates>, (wall, now): Clocks) {
        // One that does not share limits.
        if from.boot == 0 {
            return;
        }
        self.stranger |= self.ears.hear(from, now);
        for said in rates {
            self.take(from, said, (wall, now));
        }
    }

    fn take(&mut self, from: Life, said: Rates, (wall, now): Clocks) {
        let me = self.ears.me();
        let is_vault = said.beat.is_some() && vault_of(&self.lives(now), said.scope) == me.boot;
        // What nobody uses any more is not begun anew: all would keep it alive for each other.
        if !self.scopes.contains_key(&said.scope) && !said.is_in_use() {
            return;
        }
        let Some(scope) = self.scope(said.scope, now) else {
            return;
        };
        if let Some(counts) = said.requests {
            let minute = &scope.joint.requests;
            scope.requests.hear(minute, from, counts, wall);
        }
        if let Some(counts) = said.tokens {
            let minute = &scope.joint.tokens;
            scope.tokens.hear(minute, from, counts, wall);
        }
        if let Some((limit, beat)) = said.beat {
            if scope.here.is_empty() {
                scope.parallel = Some(limit);
            }
            if is_vault {
                scope.ask(me.boot, (from.boot, beat), now);
            }
        }
        for grant in said.grants {
            if grant.to == me.boot {
                scope.tenure.granted(from.boot, grant);
            }
        }
    }

    /// A process said that it leaves.
    pub(super) fn leave(&mut self, life: Life) {
        self.ears.leave(life);
    }

    /// Whether nobody else shares limits.
    pub(super) fn is_alone(&self) -> bool {
        self.ears.known().count() == 1
    }

    /// Looks at everything: who is heard, what is to be told. `near` is how many other nodes the
    /// own region has as far as its store knows, `regions` how many regions there are.
    pub(super) fn round(&mut self, near: usize, (regions, far): (usize, bool), at: Clocks) -> Told {
        let (_, now) = at;
        self.ears.forget(near, now);
        let young = now < self.began.plus(YOUNG);
        self.least = if young { regions * (near + 1) } else { 0 };
        let parties = self.parties();
        let stranger = std::mem::take(&mut self.stranger);
        let mut told = Told::default();
        let (ears, lives) = (&self.ears, self.lives(now));
        self.scopes.retain(|id, scope| {
            if stranger {
                (scope.near, scope.far) = (Last::default(), Last::default());
            }
            scope.look(ears, at);
            let is_vault = vault_of(&lives, *id) == parties.me;
            let (beat, grants) = scope.permits(&parties, is_vault, at);
            told.near.extend(scope.tell(*id, true, (beat, &grants), at));
            if far || !grants.is_empty() {
                let rates = scope.tell(*id, false, (beat, &grants), at);
                told.far.extend(rates);
            }
            let idle = scope.is_idle(now);
            if idle {
                scope.here.iter().for_each(|limited| limited.rates().part());
            }
            !idle
        });
        told
    }

    /// The last words: what is counted and may not be told yet.
    pub(super) fn farewell(&mut self, at: Clocks) -> Vec<Rates> {
        let scopes = self.scopes.iter_mut();
        let last = scopes.filter_map(|(id, scope)| {
            scope.near = Last::default();
            scope.tell(*id, true, (None, &[]), at)
        });
        last.collect()
    }

    pub(super) fn tally(&self, now: MonoUs) -> Tally {
        let heard = self.ears.live(now).count() as u64;
        Tally {
            scopes: self.scopes.len() as u64,
            silent: self.ears.known().count() as u64 - 1 - heard,
            left_out: self.left_out,
        }
    }

    fn scope(&mut self, id: ScopeId, now: MonoUs) -> Option<&mut Scope> {
        if self.scopes.len() >= SCOPES_MAX && !self.scopes.contains_key(&id) {
            return None;
        }
        let scope = self.scopes.entry(id).or_default();
        if scope.used == MonoUs(0) {
            scope.used = now;
        }
        Some(scope)
    }

    /// Processes that are heard, this one included.
    fn lives(&self, now: MonoUs) -> Vec<u64> {
        let lives = self.ears.live(now).chain([self.ears.me()]);
        lives.map(|life| life.boot).collect()
    }

    fn parties(&self) -> Parties {
        let mut lives: Vec<Life> = self.ears.known().collect();
        lives.sort_unstable();
        let me = self.ears.me();
        Parties {
            me: me.boot,
            rank: lives.iter().position(|life| *life == me).unwrap_or(0),
            count: lives.len().max(self.least),
            boots: lives.into_iter().map(|life| life.boot).collect(),
        }
    }
}

/// The process that leases a scope's permits: the same for all that hear the same.
fn vault_of(lives: &[u64], id: ScopeId) -> u64 {
    let vault = lives.iter().max_by_key(|boot| id.weight_at(**boot));
    vault.copied().unwrap_or_default()
}

/// Processes that share limits.
struct Parties {
    me: u64,
    rank: usize,
    count: usize,
    boots: Vec<u64>,
}

impl Scope {
    /// Takes over changed limits, and what time has changed.
    fn look(&mut self, ears: &Ears, at: Clocks) {
        self.here.retain(|limited| {
            let ended = limited.has_ended();
            if ended {
                limited.rates().part();
            }
            !ended
        });
        if let Some(limited) = self.here.last() {
            let limits = limited.rates().limits();
            self.parallel = limits.parallel.and_then(|limit| u32::try_from(limit).ok());
        }
        self.requests.tick(&self.joint.requests, ears, at);
        self.tokens.tick(&self.joint.tokens, ears, at);
        let refused = self.joint.permits.take_refused();
        // Said for a second: frames to other regions are rarer than rounds.
        if refused > 0 || at.1 >= self.short_at.plus(SHORT) {
            (self.short, self.short_at) = (refused, at.1);
        }
        let busy = self.in_flight() > 0 || self.short > 0;
        let counting = !self.requests.is_idle(&self.joint.requests)
            || !self.tokens.is_idle(&self.joint.tokens);
        if busy || counting {
            self.used = at.1;
        }
    }

    fn in_flight(&self) -> u32 {
        let running = self.here.iter().map(|limited| limited.rates().in_flight());
        u32::try_from(running.sum::<u64>()).unwrap_or(u32::MAX)
    }

    fn is_idle(&self, now: MonoUs) -> bool {
        now >= self.used.plus(IDLE)
    }

    fn set_permits(&mut self, parties: &Parties, at: Clocks) {
        let Some(limit) = self.parallel else { return };
        let even = even_part(limit, parties.rank, parties.count);
        self.joint.permits.set(&self.tenure, even, at);
    }

    /// Somebody told the vault, which is here, of its permits.
    fn ask(&mut self, me: u64, (from, beat): (u64, Beat), now: MonoUs) {
        let vault = self.vault.get_or_insert_with(|| Vault::new(me, now));
        vault.hear(from, beat, now);
        self.asking.insert(from);
    }

    /// The permits' part of a round: the own beat, and what this node grants as their vault.
    fn permits(
        &mut self,
        parties: &Parties,
        is_vault: bool,
        at: Clocks,
    ) -> (Option<(u32, Beat)>, Vec<Grant>) {
        let Some(limit) = self.parallel else {
            return (None, Vec::new());
        };
        self.set_permits(parties, at);
        let (_, now) = at;
        // A node that nobody asks keeps one where there is plenty.
        let idle = u32::from(limit as usize >= 2 * parties.count);
        let in_use = self.in_flight();
        let beat = self
            .tenure
            .beat(&self.joint.permits, [in_use, self.short, idle], now);
        if !is_vault {
            self.vault = None;
            self.asking.clear();
            return (Some((limit, beat)), Vec::new());
        }
        self.ask(parties.me, (parties.me, beat), now);
        let mut grants = Vec::new();
        let Some(vault) = &mut self.vault else {
            return (Some((limit, beat)), grants);
        };
        let mut give = |grant: Grant| match grant.to == parties.me {
            true => self.tenure.granted(parties.me, grant),
            false => grants.push(grant),
        };
        self.asking.retain(|node| {
            let grant = vault.grant(*node, &parties.boots, limit, now);
            grant.map(&mut give).is_none()
        });
        // What one has given back another one may be waiting for, and the other way round.
        for node in vault.lessees() {
            let grant = vault.change(node, &parties.boots, limit, now);
            grant.into_iter().for_each(&mut give);
        }
        self.set_permits(parties, at);
        // Others learn by it that the scope is in use, and say what they hold of it.
        (Some((limit, beat)), grants)
    }

    /// What is to be told on one way.
    fn tell(
        &mut self,
        id: ScopeId,
        near: bool,
        (beat, grants): (Option<(u32, Beat)>, &[Grant]),
        (wall, now): Clocks,
    ) -> Option<Rates> {
        let last = if near { &mut self.near } else { &mut self.far };
        let mut rates = Rates::of(id);
        let joint = &self.joint;
        rates.requests = last
            .requests
            .counts(&self.requests, &joint.requests, (wall, now));
        rates.tokens = last.tokens.counts(&self.tokens, &joint.tokens, (wall, now));
        rates.beat = beat.and_then(|beat| last.beat.news(beat, differ, now));
        rates.grants = grants.to_vec();
        (!rates.is_empty()).then_some(rates)
    }
}

/// Whether two beats say something else.
fn differ((limit, before): (u32, Beat), (other, after): (u32, Beat)) -> bool {
    limit != other || Beat { turn: 0, ..before } != Beat { turn: 0, ..after }
}
