//! Limits per minute over three regions of three nodes, beside one ideal bucket (checker 8).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use meridian_core::escrow::Actor;
use meridian_core::rate::{Bucket, Counts, Gossip};
use meridian_core::time::MonoUs;

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
}

#[derive(Clone, Copy, Debug)]
struct Case {
    limit: u64,
    pattern: Pattern,
    /// Cut from everybody else from second 120 to 240.
    partition: bool,
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

/// When, to whom, from whom; taken, returned, offered.
type Letter = (u64, usize, usize, u64, u64, u64);

struct Fleet {
    buckets: Vec<Bucket>,
    gossips: Vec<Gossip>,
    mail: BinaryHeap<Reverse<Letter>>,
}

fn actor(node: usize) -> Actor {
    Actor {
        region: (node / 3) as u8,
        node: node as u16,
        incarnation: 1,
    }
}

impl Fleet {
    fn new(limit: u64) -> Self {
        Self {
            buckets: (0..NODES).map(|_| Bucket::new(Some(limit))).collect(),
            gossips: (0..NODES).map(|node| Gossip::new(actor(node))).collect(),
            mail: BinaryHeap::new(),
        }
    }

    /// Every 200 ms to siblings, every second to the other regions.
    fn talk(&mut self, case: Case, at: u64) {
        let cut = case.partition && (120 * SECOND..240 * SECOND).contains(&at);
        for from in 0..NODES {
            let counts = self.gossips[from].counts(&self.buckets[from]);
            for to in (0..NODES).filter(|to| *to != from) {
                let near = from / 3 == to / 3;
                let due = near || at.is_multiple_of(SECOND);
                let lost = case.broken == Some(Broken::Deaf) || (cut && !near);
                if due && !lost {
                    let half = HALF_RTT_US[from / 3][to / 3];
                    let Counts {
                        taken,
                        returned,
                        offered,
                    } = counts;
                    self.mail
                        .push(Reverse((at + half, to, from, taken, returned, offered)));
                }
            }
        }
        for node in 0..NODES {
            self.gossips[node].tick(&self.buckets[node], MonoUs(at));
            if case.broken == Some(Broken::NoShares) && cut {
                for other in (0..NODES).filter(|other| other / 3 != node / 3) {
                    self.gossips[node].forget(actor(other));
                }
            }
        }
    }

    fn read_mail(&mut self, until: u64) {
        while let Some(Reverse((at, to, from, taken, returned, offered))) =
            self.mail.peek().copied()
        {
            if at > until {
                return;
            }
            self.mail.pop();
            let counts = Counts {
                taken,
                returned,
                offered,
            };
            self.gossips[to].hear(&self.buckets[to], actor(from), counts, MonoUs(at));
        }
    }
}

fn run(case: Case) -> Figures {
    let mut rng = Rng(case.seed);
    let mut fleet = Fleet::new(case.limit);
    let ideal = Bucket::new(Some(case.limit));
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
            fleet.read_mail(talk);
            fleet.talk(case, talk);
            talk += SECOND / 5;
        }
        fleet.read_mail(us);
        if gap > 0.5 {
            continue;
        }
        let node = case.pattern.node(at, &mut rng);
        let taken = fleet.buckets[node].take(1, MonoUs(us)).is_ok();
        let right = ideal.take(1, MonoUs(us)).is_ok();
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

#[test]
fn the_checker_of_limits_bites() {
    for (broken, partition) in [(Broken::Deaf, false), (Broken::NoShares, true)] {
        let case = Case {
            limit: 600,
            pattern: Pattern::Uniform,
            partition,
            broken: Some(broken),
            seed: 1,
        };
        let window = run(case).window;
        assert!(window > 1.25, "{broken:?}: {window}");
    }
}
