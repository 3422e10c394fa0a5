//! Limits per minute over three regions of three nodes, beside one ideal minute (checker 8).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use meridian_core::escrow::Actor;
use meridian_core::rate::{Counts, Ears, Gossip, Life, Minute};
use meridian_core::time::{MonoUs, WallMs};

use crate::rng::Rng;

const REGIONS: usize = 3;
const NODES: usize = 9;
const SECOND: u64 = 1_000_000;
const SECONDS: u64 = 300;
/// Figures begin here: demand is known by then.
const WARM_S: u64 = 60;
const HALF_RTT_US: [[u64; 3]; 3] = [
    [500, 40_000, 80_000],
    [40_000, 500, 115_000],
    [80_000, 115_000, 500],
];

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pattern {
    /// Ten times the limit, everywhere the same.
    Uniform,
    /// Ten times the limit, nine of ten in one region.
    Home,
    /// Ten times the limit, from region to region every 40 seconds.
    Shift,
    /// Six times the limit, ten seconds on and ten off.
    Bursts,
    /// Four fifths of the limit.
    Below,
}

const PATTERNS: [Pattern; 5] = [
    Pattern::Uniform,
    Pattern::Home,
    Pattern::Shift,
    Pattern::Bursts,
    Pattern::Below,
];

impl Pattern {
    /// Requests per second as a multiple of the limit.
    fn load(self, at_s: f64) -> f64 {
        match self {
            Self::Uniform | Self::Home | Self::Shift => 10.0,
            Self::Bursts if ((at_s / 10.0) as u64).is_multiple_of(2) => 6.0,
            Self::Bursts => 0.01,
            Self::Below => 0.8,
        }
    }

    fn node(self, at_s: f64, rng: &mut Rng) -> usize {
        let region = match self {
            Self::Uniform | Self::Bursts | Self::Below => rng.below(REGIONS),
            Self::Home if rng.dice() < 0.9 => 0,
            Self::Home => rng.below(REGIONS),
            Self::Shift => (at_s / 40.0) as usize % REGIONS,
        };
        region * (NODES / REGIONS) + rng.below(NODES / REGIONS)
    }
}

/// A variant that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Broken {
    /// Nodes tell each other nothing and do not know of each other.
    Deaf,
    /// A silent region is taken for one that has no traffic.
    NoShares,
    /// What others took before they were met does not count.
    Forgetful,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    limit: u64,
    pattern: Pattern,
    /// Cut from everybody else from second 120 to 240.
    partition: bool,
    /// Every seven seconds another node starts anew.
    restarts: bool,
    broken: Option<Broken>,
    seed: u64,
}

#[derive(Debug, Default)]
struct Figures {
    admitted: u64,
    ideal: u64,
    offered: u64,
    /// Refused though the ideal bucket admitted.
    falsely: u64,
    /// Most in any 60 seconds, over the limit.
    window: f64,
}

/// When, its number, to whom, from whom.
type Letter = (u64, usize, usize, Life);

struct Fleet {
    minutes: Vec<Minute>,
    gossips: Vec<Gossip>,
    ears: Vec<Ears>,
    boots: [u64; NODES],
    /// Somebody was met who knows nothing of what was said before.
    strangers: [bool; NODES],
    limit: u64,
    mail: BinaryHeap<Reverse<Letter>>,
    letters: Vec<Counts>,
}

fn actor(node: usize) -> Actor {
    Actor {
        region: (node / 3) as u8,
        node: node as u16,
        incarnation: 0,
    }
}

/// The clock of a wall that was hung up long ago.
fn wall(us: u64) -> WallMs {
    WallMs(1_800_000_000_000 + (us / 1_000) as i64)
}

impl Fleet {
    fn new(limit: u64) -> Self {
        let life = |node| Life {
            actor: actor(node),
            boot: 1,
        };
        Self {
            minutes: (0..NODES).map(|_| Minute::new(Some(limit))).collect(),
            gossips: (0..NODES).map(|_| Gossip::default()).collect(),
            ears: (0..NODES).map(|node| Ears::new(life(node))).collect(),
            boots: [1; NODES],
            strangers: [false; NODES],
            limit,
            mail: BinaryHeap::new(),
            letters: Vec::new(),
        }
    }

    /// A process that knows nothing takes the place of one that knew everything.
    fn restart(&mut self, node: usize) {
        self.boots[node] += 1;
        self.minutes[node] = Minute::new(Some(self.limit));
        self.gossips[node] = Gossip::default();
        self.ears[node] = Ears::new(self.life(node));
    }

    fn life(&self, node: usize) -> Life {
        Life {
            actor: actor(node),
            boot: self.boots[node],
        }
    }

    /// Every 200 ms to siblings, every 600 ms to the other regions.
    fn talk(&mut self, case: Case, at: u64) {
        let cut = case.partition && (120 * SECOND..240 * SECOND).contains(&at);
        for from in 0..NODES {
            let (gossip, minute) = (&self.gossips[from], &self.minutes[from]);
            let anew = std::mem::take(&mut self.strangers[from]);
            let counts = match anew || at.is_multiple_of(3 * SECOND) {
                true => gossip.counts_and_past(minute, wall(at)),
                false => gossip.counts(minute),
            };
            for to in (0..NODES).filter(|to| *to != from) {
                let near = from / 3 == to / 3;
                let due = near || anew || at.is_multiple_of(3 * SECOND / 5);
                let lost = case.broken == Some(Broken::Deaf) || (cut && !near);
                if due && !lost {
                    let half = HALF_RTT_US[from / 3][to / 3];
                    let letter = (at + half, self.letters.len(), to, self.life(from));
                    self.mail.push(Reverse(letter));
                    self.letters.push(counts);
                }
            }
        }
        for node in 0..NODES {
            if case.broken == Some(Broken::NoShares) && cut {
                for other in (0..NODES).filter(|other| other / 3 != node / 3) {
                    let life = self.life(other);
                    self.ears[node].leave(life);
                }
            }
            self.ears[node].forget(2, MonoUs(at));
            let now = (wall(at), MonoUs(at));
            self.gossips[node].tick(&self.minutes[node], &self.ears[node], now);
        }
    }

    fn read_mail(&mut self, case: Case, until: u64) {
        while let Some(Reverse((at, number, to, life))) = self.mail.peek().copied() {
            if at > until {
                return;
            }
            self.mail.pop();
            let mut counts = self.letters[number];
            if case.broken == Some(Broken::Forgetful)
                && let Some(past) = &mut counts.past
            {
                (past.own, past.ages) = ([0; 12], None);
            }
            self.strangers[to] |= self.ears[to].hear(life, MonoUs(at));
            self.gossips[to].hear(&self.minutes[to], life, counts, wall(at));
        }
    }
}

fn run(case: Case) -> Figures {
    let mut rng = Rng(case.seed);
    let mut fleet = Fleet::new(case.limit);
    let ideal = Minute::new(Some(case.limit));
    let mut figures = Figures::default();
    let mut times = Vec::new();
    let (mut at, mut talk) = (0.0_f64, 0_u64);
    loop {
        let load = case.pattern.load(at) * case.limit as f64 / 60.0;
        let gap = rng.exponential(1.0 / load);
        // Nobody came so far; the load may be another one from there on.
        at += gap.min(0.5);
        let us = (at * 1e6) as u64;
        if us > SECONDS * SECOND {
            break;
        }
        while talk <= us {
            fleet.read_mail(case, talk);
            fleet.talk(case, talk);
            if case.restarts && talk > 0 && talk.is_multiple_of(7 * SECOND) {
                fleet.restart((talk / SECOND / 7) as usize % NODES);
            }
            talk += SECOND / 5;
        }
        fleet.read_mail(case, us);
        if gap > 0.5 {
            continue;
        }
        let node = case.pattern.node(at, &mut rng);
        let taken = fleet.minutes[node].take(1, wall(us)).is_ok();
        let right = ideal.take(1, wall(us)).is_ok();
        if us > WARM_S * SECOND {
            figures.offered += 1;
            figures.admitted += u64::from(taken);
            figures.ideal += u64::from(right);
            figures.falsely += u64::from(right && !taken);
            if taken {
                times.push(us);
            }
        }
    }
    figures.window = widest(&times) as f64 / case.limit as f64;
    figures
}

/// Most of these moments in any 60 seconds.
fn widest(times: &[u64]) -> usize {
    let mut from = 0;
    let mut most = 0;
    for (to, at) in times.iter().enumerate() {
        while times[from] + 60 * SECOND <= *at {
            from += 1;
        }
        most = most.max(to + 1 - from);
    }
    most
}

fn cases(limit: u64, pattern: Pattern, partition: bool) -> impl Iterator<Item = Case> {
    (1..=3).map(move |seed| Case {
        limit,
        pattern,
        partition,
        restarts: false,
        broken: None,
        seed,
    })
}

#[test]
fn limits_hold_over_regions_without_waiting() {
    println!("limit pattern   part. | admitted/ideal | max 60 s / L | falsely refused");
    for limit in [60, 600, 6_000] {
        for pattern in PATTERNS {
            for partition in [false, true] {
                check(limit, pattern, partition);
            }
        }
    }
}

fn check(limit: u64, pattern: Pattern, partition: bool) {
    let all: Vec<Figures> = cases(limit, pattern, partition).map(run).collect();
    let sum = |of: fn(&Figures) -> u64| all.iter().map(of).sum::<u64>() as f64;
    let ratio = sum(|one| one.admitted) / sum(|one| one.ideal);
    let falsely = sum(|one| one.falsely) / sum(|one| one.offered);
    let window = all.iter().map(|one| one.window).fold(0.0, f64::max);
    // Over the limit somebody must be refused; that it is not the same request is no mistake.
    let shown = match pattern {
        Pattern::Below => format!("{falsely:.4}"),
        _ => "-".to_owned(),
    };
    println!(
        "{limit:5} {:9} {partition:5} | {ratio:14.3} | {window:12.3} | {shown}",
        format!("{pattern:?}")
    );
    let most = if partition { 1.25 } else { 1.2 };
    assert!(window <= most, "{limit} {pattern:?} {partition}: {window}");
    if pattern == Pattern::Below {
        let most = if partition { 0.10 } else { 0.01 };
        assert!(
            falsely <= most,
            "{limit} {pattern:?} {partition}: {falsely}"
        );
    }
    // A region that demand moves to during a cut has its old share: it is refused, never excused.
    if !partition {
        assert!(
            (0.97..=1.07).contains(&ratio),
            "{limit} {pattern:?}: {ratio}"
        );
    }
}

/// What a node takes before it starts anew is known to the others, and told to it.
#[test]
fn a_limit_holds_while_nodes_start_anew_all_the_time() {
    for limit in [60, 600] {
        for pattern in [Pattern::Uniform, Pattern::Home, Pattern::Below] {
            let all = cases(limit, pattern, false).take(1);
            let all = all.map(|case| Case {
                restarts: true,
                ..case
            });
            let all: Vec<Figures> = all.map(run).collect();
            let sum = |of: fn(&Figures) -> u64| all.iter().map(of).sum::<u64>() as f64;
            let ratio = sum(|one| one.admitted) / sum(|one| one.ideal);
            let window = all.iter().map(|one| one.window).fold(0.0, f64::max);
            println!("{limit:5} {pattern:?}, restarts | {ratio:.3} | {window:.3}");
            assert!(window <= 1.2, "{limit} {pattern:?}: {window}");
            assert!(ratio >= 0.9, "{limit} {pattern:?}: {ratio}");
        }
    }
}

#[test]
fn the_checker_of_limits_bites() {
    let broken = [
        (Broken::Deaf, false, false),
        (Broken::NoShares, true, false),
        (Broken::Forgetful, false, true),
    ];
    for (broken, partition, restarts) in broken {
        let case = Case {
            limit: 600,
            pattern: Pattern::Uniform,
            partition,
            restarts,
            broken: Some(broken),
            seed: 1,
        };
        let window = run(case).window;
        assert!(window > 1.25, "{broken:?}: {window}");
    }
}
