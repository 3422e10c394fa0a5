//! Links between regions: late, lossy, doubling, reordering, cut in one or both directions.

use crate::demand::REGIONS;
use crate::rng::Rng;

/// Half of the round trip between two regions, in microseconds.
const HALF_RTT_US: [[u64; 3]; 3] = [
    [300, 40_000, 80_000],
    [40_000, 300, 115_000],
    [80_000, 115_000, 300],
];

#[derive(Debug)]
pub(crate) struct Network {
    /// Directions that are cut.
    cut: [[u32; REGIONS as usize]; REGIONS as usize],
    pub(crate) loss: f64,
    pub(crate) double: f64,
    /// Busy nodes: what is said to another region is late by so much at most.
    late_us: u64,
}

impl Network {
    pub(crate) fn new(late_us: u64) -> Self {
        Self {
            late_us,
            cut: Default::default(),
            loss: 0.0,
            double: 0.0,
        }
    }

    pub(crate) fn is_cut(&self, from: u8, to: u8) -> bool {
        self.cut[usize::from(from)][usize::from(to)] > 0
    }

    pub(crate) fn cut(&mut self, from: u8, to: u8) {
        self.cut[usize::from(from)][usize::from(to)] += 1;
    }

    pub(crate) fn mend(&mut self, from: u8, to: u8) {
        let cut = &mut self.cut[usize::from(from)][usize::from(to)];
        *cut = cut.saturating_sub(1);
    }

    /// When the copies of a message arrive, from now: none, one or two.
    pub(crate) fn delays(&self, from: u8, to: u8, rng: &mut Rng) -> Vec<u64> {
        if self.is_cut(from, to) {
            return Vec::new();
        }
        let between = from != to;
        let mut half = HALF_RTT_US[usize::from(from)][usize::from(to)];
        if between && self.late_us > 0 {
            half += (rng.dice() * self.late_us as f64) as u64;
        }
        let mut copies = vec![half + (rng.dice() * half as f64 * 0.2) as u64];
        if between && rng.dice() < self.loss {
            copies.clear();
        }
        // A copy that comes much later is a replayed old mailbox.
        if between && rng.dice() < self.double {
            copies.push(half + (rng.dice() * 5e6) as u64);
        }
        copies
    }
}
