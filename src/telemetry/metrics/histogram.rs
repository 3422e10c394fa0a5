//! Histograms as plain integers: an observation is one search and two additions.
//!
//! Values are integers in billionths of the family's unit (nanoseconds for seconds), so that a sum
//! is one integer addition. A sum wraps after 585 years of observed seconds.

use std::time::Duration;

/// Parts of a unit.
pub(super) const NANO: u64 = 1_000_000_000;

/// Most buckets that a configuration may ask for.
pub(super) const BUCKETS_MAX: usize = 64;

/// Ascending upper bounds in billionths; the last bucket, `+Inf`, has none.
pub(super) struct Bounds(Box<[u64]>);

impl Bounds {
    /// Bounds given in the family's unit. What is not positive and finite is left out.
    pub(super) fn of(units: &[f64]) -> Self {
        let usable = units.iter().filter(|unit| unit.is_finite() && **unit > 0.0);
        let mut nanos: Vec<u64> = usable.map(|unit| (unit * NANO as f64) as u64).collect();
        nanos.sort_unstable();
        nanos.dedup();
        nanos.truncate(BUCKETS_MAX);
        Self(nanos.into())
    }

    pub(super) fn nanos(&self) -> &[u64] {
        &self.0
    }

    fn slot(&self, nanos: u64) -> usize {
        self.0.partition_point(|bound| *bound < nanos)
    }
}

/// One series of a histogram. Takes its memory with the first observation.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// Per bucket, not cumulative; the last one is `+Inf`.
    pub(super) counts: Vec<u64>,
    /// In billionths.
    pub(super) sum: u64,
}

impl Histogram {
    pub(super) fn record(&mut self, bounds: &Bounds, nanos: u64) {
        if self.counts.is_empty() {
            self.counts.resize(bounds.0.len() + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bounds.slot(nanos)) {
            *count += 1;
            self.sum = self.sum.wrapping_add(nanos);
        }
    }

    /// Adds another series with the same bounds.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts
            .resize(self.counts.len().max(other.counts.len()), 0);
        for (total, count) in self.counts.iter_mut().zip(&other.counts) {
            *total += count;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Adds the gaps of one stream.
    pub(super) fn add_gaps(&mut self, sketch: &GapSketch) {
        self.counts.resize(GAP_SLOTS, 0);
        for (total, count) in self.counts.iter_mut().zip(sketch.counts) {
            *total += u64::from(count);
        }
        self.sum = self.sum.wrapping_add(sketch.sum_ns);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// Bounds of the gaps between chunks: 1 ms, doubled up to 65.536 s.
const GAP_BOUNDS: usize = 17;
const GAP_SLOTS: usize = GAP_BOUNDS + 1;
const GAP_FIRST_NS: u64 = 1_000_000;

/// Gaps between the chunks of one stream: an array on the stack, no atomics, merged at settle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapSketch {
    counts: [u32; GAP_SLOTS],
    sum_ns: u64,
}

impl GapSketch {
    /// Adds the time between two chunks.
    pub fn record(&mut self, gap: Duration) {
        let nanos = as_nanos(gap);
        let firsts = nanos.div_ceil(GAP_FIRST_NS).max(1);
        // Doubling bounds: the bucket is the binary logarithm, rounded up.
        let slot = (u64::BITS - (firsts - 1).leading_zeros()) as usize;
        let slot = slot.min(GAP_SLOTS - 1);
        self.counts[slot] = self.counts[slot].saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(nanos);
    }

    /// How many gaps were added.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }
}

/// Bounds of the histogram that gap sketches are added to.
pub(super) fn gap_bounds() -> Bounds {
    Bounds((0..GAP_BOUNDS).map(|power| GAP_FIRST_NS << power).collect())
}

/// Nanoseconds, at most what a `u64` holds.
pub(super) fn as_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let bounds = Bounds::of(&[0.1, 0.005, f64::NAN, -1.0, 0.1]);
        assert_eq!(bounds.nanos(), [5_000_000, 100_000_000]);
        let mut histogram = Histogram::default();
        for nanos in [0, 5_000_000, 5_000_001, 100_000_000, 100_000_001] {
            histogram.record(&bounds, nanos);
        }
        assert_eq!(histogram.counts, [2, 2, 1]);
        assert_eq!(histogram.sum, 210_000_002);
    }

    #[test]
    fn gaps_land_where_their_bounds_say() {
        let bounds = gap_bounds();
        let mut nanos = vec![0, 1];
        for bound in bounds.nanos() {
            nanos.extend([bound - 1, *bound, bound + 1]);
        }
        nanos.push(u64::MAX);
        for nanos in nanos {
            let mut sketch = GapSketch::default();
            sketch.record(Duration::from_nanos(nanos));
            assert_eq!(sketch.counts[bounds.slot(nanos)], 1, "{nanos} ns");
            assert_eq!(sketch.count(), 1);
        }
    }
}
