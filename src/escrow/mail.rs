//! What is to be said, until it is sent: at once in the region, paced to other regions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meridian_core::escrow::{Actor, RegionNumbers, ScopeId};
use meridian_core::rate::Life;
use meridian_core::signature::Signer;

use super::frames::{Fencing, Frame, Item, Rates, Says};
use super::members::Members;
use super::neighbours::NeighboursEnd;
use crate::clock;
use crate::shared::WireEnd;

/// A node that has nothing to say shows in this time that it lives.
const BEAT_NEAR: Duration = Duration::from_millis(500);
/// The same to other regions.
const BEAT_FAR: Duration = Duration::from_secs(2);
/// A region sends one frame in this time to each other region, all its nodes together: on average.
const PACE_FAR: Duration = Duration::from_millis(200);
/// Frames of one node that may leave ahead of their time: where little is said it is said at once.
const BURST_FAR: u32 = 8;
/// Between two of them: what is said meanwhile goes along.
const GAP_FAR: Duration = Duration::from_millis(20);
/// Node to node a frame is posted at most this often.
const PACE_POST: Duration = Duration::from_millis(20);
/// Things in one frame.
const ITEMS_MAX: usize = 400;
/// Scopes in one frame whose limits are told.
const RATES_MAX: usize = 2_000;
/// Things that wait for one region; the oldest are lost, and said again by the protocol.
const WAITING_MAX: usize = 20_000;

/// Letters of this node.
pub(super) struct Mail {
    me: Life,
    signer: Signer,
    near: Way,
    far: BTreeMap<u8, Way>,
    posts: NeighboursEnd,
}

/// One way, and what waits for it.
#[derive(Default)]
struct Way {
    region: String,
    wire: Option<WireEnd>,
    items: Vec<Item>,
    /// Absolute, so only the last is kept of each scope.
    rates: BTreeMap<ScopeId, Rates>,
    sent: Option<Instant>,
    /// When all frames that left would have been due.
    due: Option<Instant>,
    /// A region that is lost, and until when that is said.
    lost: Option<(u8, Instant)>,
    /// The same for actors that will not come back.
    gone: Vec<(Actor, Instant)>,
    /// Whether this node keeps ceilings, where there are other regions.
    ceilings: Option<bool>,
    /// What is to be said of a region that is fenced.
    fencing: Option<Fencing>,
}

impl Mail {
    pub(super) fn new(
        me: Life,
        signer: Signer,
        (region, near): (&str, Option<WireEnd>),
        far: Vec<(String, WireEnd)>,
        posts: NeighboursEnd,
        numbers: &RegionNumbers,
    ) -> Self {
        let way = |region: &str, wire: Option<WireEnd>| Way {
            region: region.to_owned(),
            wire,
            ..Way::default()
        };
        let far = far.into_iter();
        let far = far.map(|(region, wire)| (numbers.of(&region), way(&region, Some(wire))));
        Self {
            me,
            signer,
            near: way(region, near),
            far: far.collect(),
            posts,
        }
    }

    /// To one node.
    pub(super) fn to(&mut self, to: Actor, says: Says) {
        let way = match to.region == self.me.actor.region {
            true => Some(&mut self.near),
            false => self.far.get_mut(&to.region),
        };
        if let Some(way) = way {
            way.push(Item { to: Some(to), says });
        }
    }

    /// To all nodes of the own region.
    pub(super) fn tell_region(&mut self, says: Says) {
        self.near.push(Item { to: None, says });
    }

    /// To all nodes of another region, or of the own one.
    pub(super) fn tell_region_of(&mut self, region: u8, says: Says) {
        let way = match region == self.me.actor.region {
            true => Some(&mut self.near),
            false => self.far.get_mut(&region),
        };
        if let Some(way) = way {
            way.push(Item { to: None, says });
        }
    }

    /// To everybody.
    pub(super) fn tell_all(&mut self, says: Says) {
        for way in self.far.values_mut() {
            way.push(Item {
                to: None,
                says: says.clone(),
            });
        }
        self.tell_region(says);
    }

    /// What this node counts of limits, to its own region.
    pub(super) fn count_near(&mut self, rates: Vec<Rates>) {
        self.near.count(rates);
    }

    /// The same to other regions.
    pub(super) fn count_far(&mut self, rates: &[Rates]) {
        for way in self.far.values_mut() {
            way.count(rates.to_vec());
        }
    }

    /// Other nodes of the region that its store knows.
    pub(super) fn neighbours(&self) -> usize {
        self.posts.count()
    }

    /// Numbers of other nodes of the region that its store knows.
    pub(super) fn neighbour_numbers(&self) -> std::sync::Arc<Vec<u16>> {
        self.posts.numbers()
    }

    /// Other regions: number, name, and whether the way there is open.
    pub(super) fn far(&self) -> impl Iterator<Item = (u8, &str, bool)> {
        let is_open = |way: &Way| way.wire.as_ref().is_some_and(|wire| wire.state().is_up());
        let far = self.far.iter();
        far.map(move |(number, way)| (*number, way.region.as_str(), is_open(way)))
    }

    /// Says with every frame until then that a region is lost.
    pub(super) fn call_lost(&mut self, region: u8, until: Instant) {
        for way in self.far.values_mut().chain([&mut self.near]) {
            way.lost = Some((region, until));
        }
    }

    /// Says from now on whether this node keeps ceilings.
    pub(super) fn say_ceilings(&mut self, kept: bool) {
        for way in self.far.values_mut().chain([&mut self.near]) {
            way.ceilings = Some(kept);
        }
    }

    /// Says to everybody, once, what this node knows of a region that is fenced.
    pub(super) fn tell_fencing(&mut self, fencing: &Fencing) {
        for way in self.far.values_mut().chain([&mut self.near]) {
            way.fencing = Some(fencing.clone());
        }
    }

    /// Says with every frame until then that an actor will not come back.
    pub(super) fn call_gone(&mut self, actor: Actor, until: Instant) {
        for way in self.far.values_mut().chain([&mut self.near]) {
            way.gone.push((actor, until));
        }
    }

    /// The number of another region, by its name.
    pub(super) fn number_of(&self, name: &str) -> Option<u8> {
        let named = |(number, way): (&u8, &Way)| (way.region == name).then_some(*number);
        self.far.iter().find_map(named)
    }

    /// Names of the other regions.
    pub(super) fn far_names(&self) -> impl Iterator<Item = &str> {
        self.far.values().map(|way| way.region.as_str())
    }

    /// How many regions there are, this one included.
    pub(super) fn regions(&self) -> usize {
        self.far.len() + 1
    }

    /// Whether there are other regions.
    pub(super) fn has_far(&self) -> bool {
        !self.far.is_empty()
    }

    /// Sends what may be sent now: in the region through Redis, or node to node as well while one
    /// does not hear it.
    pub(super) fn send(&mut self, now: Instant, members: &Members) {
        let (me, signer) = (self.me, &self.signer);
        let others = self.posts.count();
        if others + 1 < members.near() {
            self.posts.ask();
        }
        match self.is_near_up() && members.all_listen(others) {
            true => self.near.send(me, signer, now, BEAT_NEAR),
            false => self.near.post(me, signer, now, &self.posts),
        }
        let near = u32::try_from(members.near()).unwrap_or(u32::MAX);
        let pace = PACE_FAR.saturating_mul(near);
        for way in self.far.values_mut() {
            way.send_paced(me, signer, now, pace);
        }
    }

    /// The last words.
    pub(super) fn farewell(&mut self) {
        let ways = self.far.values_mut().map(|way| (way, None));
        for (way, posts) in ways.chain([(&mut self.near, Some(&self.posts))]) {
            way.items.clear();
            let mut frame = way.frame(self.me);
            frame.leaves = true;
            let text = frame.write(&self.signer);
            if let Some(posts) = posts {
                posts.send(&text);
            }
            if let Some(wire) = &way.wire {
                let _ = wire.send(text);
            }
        }
    }

    /// Frames that went to other regions, by region, and whether the way is open.
    pub(super) fn links(&self) -> Vec<(String, bool, u64)> {
        let links = self.far.values().chain([&self.near]);
        links
            .filter_map(|way| {
                let state = way.wire.as_ref()?.state();
                Some((way.region.clone(), state.is_up(), state.sent()))
            })
            .collect()
    }

    /// Whether another region is reached.
    pub(super) fn reaches(&self, region: u8) -> bool {
        let wire = self.far.get(&region).and_then(|way| way.wire.as_ref());
        wire.is_some_and(|wire| wire.state().is_up())
    }

    /// Whether the own region is reached.
    pub(super) fn is_near_up(&self) -> bool {
        let wire = self.near.wire.as_ref();
        wire.is_some_and(|wire| wire.state().is_up())
    }
}

impl Way {
    fn push(&mut self, item: Item) {
        if self.items.len() >= WAITING_MAX {
            self.items.drain(..WAITING_MAX / 2);
        }
        self.items.push(item);
    }

    fn count(&mut self, rates: Vec<Rates>) {
        for newer in rates {
            match self.rates.get_mut(&newer.scope) {
                Some(older) => older.merge(newer),
                None => {
                    self.rates.insert(newer.scope, newer);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.rates.is_empty() && self.fencing.is_none()
    }

    /// As much of what waits as goes into one frame.
    fn frame(&mut self, me: Life) -> Frame {
        let count = self.items.len().min(ITEMS_MAX);
        let items = self.items.drain(..count).collect();
        let mut frame = Frame::new(me.actor, clock::now(), items);
        frame.boot = me.boot;
        let told = self.lost.filter(|(_, until)| clock::mono() < *until);
        frame.lost = told.map(|(region, _)| region);
        self.gone.retain(|(_, until)| clock::mono() < *until);
        frame.gone = self.gone.iter().map(|(actor, _)| *actor).collect();
        frame.ceilings = self.ceilings;
        frame.fencing = self.fencing.take();
        while frame.rates.len() < RATES_MAX
            && let Some((_, rates)) = self.rates.pop_first()
        {
            frame.rates.push(rates);
        }
        frame
    }

    /// Node to node, and through Redis where it answers: all that waits, a little slower.
    fn post(&mut self, me: Life, signer: &Signer, now: Instant, posts: &NeighboursEnd) {
        let since = self.sent.map(|sent| now.saturating_duration_since(sent));
        let pace = if self.is_empty() {
            BEAT_NEAR
        } else {
            PACE_POST
        };
        if since.is_some_and(|since| since < pace) {
            return;
        }
        self.sent = Some(now);
        let up = self.wire.clone();
        let up = up.filter(|wire| wire.state().is_up());
        loop {
            let mut frame = self.frame(me);
            frame.deaf = up.is_none();
            let text = frame.write(signer);
            posts.send(&text);
            if let Some(wire) = &up {
                // What does not fit was posted.
                let _ = wire.send(text);
            }
            if self.is_empty() {
                return;
            }
        }
    }

    /// To another region: ahead of its time as long as that is not usual.
    fn send_paced(&mut self, me: Life, signer: &Signer, now: Instant, pace: Duration) {
        let gap = self.sent.is_none_or(|sent| now >= sent + GAP_FAR);
        let ahead = pace.saturating_mul(BURST_FAR - 1);
        let may = self.due.is_none_or(|due| now + ahead >= due);
        let before = self.sent;
        if gap && may {
            self.send(me, signer, now, BEAT_FAR);
        }
        if self.sent != before {
            self.due = Some(self.due.map_or(now, |due| due.max(now)) + pace);
        }
    }

    /// All that waits, or a sign of life.
    fn send(&mut self, me: Life, signer: &Signer, now: Instant, beat: Duration) {
        let Some(wire) = self.wire.clone() else {
            return;
        };
        let since = self.sent.map(|sent| now.saturating_duration_since(sent));
        let must = since.is_none_or(|since| since >= beat);
        if self.is_empty() && !must {
            return;
        }
        while wire.has_room() {
            let text = self.frame(me).write(signer);
            let _ = wire.send(text);
            self.sent = Some(now);
            if self.is_empty() {
                return;
            }
        }
    }
}
