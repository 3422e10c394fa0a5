//! What goes wrong, and what administrators do meanwhile: a list that can be shrunk.

use crate::demand::{NODES, REGIONS};
use crate::rng::Rng;

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) at_us: u64,
    pub(crate) what: Fault,
}

/// Regions and nodes by index; times in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// One direction between two regions.
    Cut {
        from: u8,
        to: u8,
        for_us: u64,
    },
    /// A region against all others, both ways.
    Isolate {
        region: u8,
        for_us: u64,
    },
    /// A pair of regions, on and off.
    Flap {
        a: u8,
        b: u8,
        times: u32,
    },
    Loss {
        permille: u32,
        for_us: u64,
    },
    Double {
        permille: u32,
        for_us: u64,
    },
    /// kill -9: the journal stays.
    Kill {
        node: usize,
        for_us: u64,
    },
    /// Power loss: what was not synced is gone.
    Power {
        node: usize,
        for_us: u64,
    },
    /// A node drains, stops and starts again.
    Leave {
        node: usize,
        for_us: u64,
    },
    /// SIGSTOP and SIGCONT.
    Pause {
        node: usize,
        for_us: u64,
    },
    /// The machine is gone with its disk; a new one takes its place.
    DiskLost {
        node: usize,
        for_us: u64,
    },
    /// All machines of a region are down. Five seconds later the operator calls it lost.
    LoseRegion {
        region: u8,
        for_us: u64,
    },
    CallLost {
        region: u8,
    },
    /// The operator has a region fenced, alive or not, for as long as that takes.
    Fence {
        region: u8,
        for_us: u64,
    },
    SlowDisk {
        node: usize,
        for_us: u64,
    },
    RedisDown {
        region: u8,
        for_us: u64,
    },
    RedisFlush {
        region: u8,
    },
    RedisFailOver {
        region: u8,
    },
    PostgresDown {
        region: u8,
        for_us: u64,
    },
    /// The wall clock steps by this much and back.
    Clock {
        node: usize,
        ms: i64,
        for_us: u64,
    },
    /// A node believes that a sibling is dead, so that two think they are the vault.
    Split {
        node: usize,
        for_us: u64,
    },
    Raise {
        budget: usize,
        region: u8,
        permille: u32,
    },
    Lower {
        budget: usize,
        region: u8,
        permille: u32,
    },
    Reset {
        budget: usize,
        region: u8,
    },
    Revoke {
        budget: usize,
        region: u8,
    },
}

/// What a schedule is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Calm,
    /// Every region cut off from the others for this long, from second 10 on.
    Partition(u64),
    /// Anything at random.
    Storm,
    /// Power losses on slow disks.
    Power,
}

pub(crate) fn schedule(weather: Weather, budgets: usize, seconds: u64, rng: &mut Rng) -> Vec<Turn> {
    let mut turns = match weather {
        Weather::Calm => Vec::new(),
        Weather::Partition(for_s) => partition(for_s),
        Weather::Storm => {
            let count = 4 + rng.below(12);
            (0..count).map(|_| turn(budgets, seconds, rng)).collect()
        }
        Weather::Power => (0..12).flat_map(|_| power(seconds, rng)).collect(),
    };
    turns.sort_by_key(|turn| turn.at_us);
    turns
}

fn partition(for_s: u64) -> Vec<Turn> {
    let for_us = for_s * 1_000_000;
    let isolate = |region| Turn {
        at_us: 10_000_000,
        what: Fault::Isolate { region, for_us },
    };
    (0..REGIONS).map(isolate).collect()
}

fn power(seconds: u64, rng: &mut Rng) -> Vec<Turn> {
    let node = rng.below(usize::from(NODES) * usize::from(REGIONS));
    let at_us = moment(seconds, rng);
    let slow = Fault::SlowDisk {
        node,
        for_us: 3_000_000,
    };
    let loss = Fault::Power {
        node,
        for_us: 1_000_000,
    };
    let at = |at_us, what| Turn { at_us, what };
    vec![at(at_us, slow), at(at_us + 2_000_000, loss)]
}

fn moment(seconds: u64, rng: &mut Rng) -> u64 {
    (rng.dice() * seconds as f64 * 1e6) as u64
}

/// Regions that are fenced: while they live, cut off, or dead.
pub(crate) fn fences(seconds: u64, rng: &mut Rng) -> Vec<Turn> {
    let count = 1 + rng.below(3);
    let some = (0..count).flat_map(|_| {
        let at_us = moment(seconds, rng);
        let region = rng.below(usize::from(REGIONS)) as u8;
        let for_us = 1_000_000 + (rng.dice() * 30e6) as u64;
        let at = |after_us, what| Turn {
            at_us: at_us + after_us,
            what,
        };
        let fence = |after_us| {
            let for_us = 15_000_000;
            at(after_us, Fault::Fence { region, for_us })
        };
        let first = usize::from(region) * usize::from(NODES);
        match rng.below(4) {
            0 => vec![fence(0)],
            1 => {
                let dies = |node| at(0, Fault::Kill { node, for_us });
                vec![dies(first), dies(first + 1), fence(4_000_000)]
            }
            _ => {
                let after_us = (rng.dice() * for_us as f64) as u64;
                vec![at(0, Fault::Isolate { region, for_us }), fence(after_us)]
            }
        }
    });
    some.collect()
}

fn turn(budgets: usize, seconds: u64, rng: &mut Rng) -> Turn {
    let at_us = moment(seconds, rng);
    let for_us = 500_000 + (rng.dice() * rng.dice() * 30e6) as u64;
    let region = rng.below(usize::from(REGIONS)) as u8;
    let to = (region + 1 + rng.below(2) as u8) % REGIONS;
    let node = rng.below(usize::from(NODES) * usize::from(REGIONS));
    let budget = rng.below(budgets);
    let permille = 50 + rng.below(600) as u32;
    let what = match rng.below(24) {
        0 => Fault::Cut {
            from: region,
            to,
            for_us,
        },
        1 | 2 => Fault::Isolate { region, for_us },
        3 => Fault::Flap {
            a: region,
            b: to,
            times: 2 + rng.below(8) as u32,
        },
        4 => Fault::Loss { permille, for_us },
        5 => Fault::Double { permille, for_us },
        6 | 7 => Fault::Kill { node, for_us },
        8 => Fault::Power { node, for_us },
        9 => Fault::Pause { node, for_us },
        10 => Fault::DiskLost { node, for_us },
        11 => Fault::SlowDisk { node, for_us },
        12 => Fault::RedisDown { region, for_us },
        13 => Fault::RedisFlush { region },
        14 => Fault::RedisFailOver { region },
        15 => Fault::PostgresDown { region, for_us },
        16 => Fault::Clock {
            node,
            ms: [-400, 400, -5_000, 5_000, 3_600_000][rng.below(5)],
            for_us,
        },
        17 => Fault::Split { node, for_us },
        18 => Fault::Raise {
            budget,
            region,
            permille,
        },
        19 => Fault::Lower {
            budget,
            region,
            permille,
        },
        20 => Fault::Reset { budget, region },
        21 => Fault::Leave { node, for_us },
        22 => Fault::LoseRegion { region, for_us },
        _ => Fault::Revoke { budget, region },
    };
    Turn { at_us, what }
}
