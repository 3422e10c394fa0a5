//! Series of the per-request families: their cells, and the limit on their number.
//!
//! A series is a bundle: one look-up per request finds the cells of every family at once. The
//! cells are kept per thread, so that a request takes a lock that no other thread wants and adds
//! plain integers; a page adds the threads up. The prometheus crate's vectors would cost a hash,
//! a shared lock and several locked instructions per family.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use meridian_core::ids::KeyHash;
use meridian_core::spend::EndReason;

use super::AttemptOutcome;
use super::catalogue::{Latency, Shown};
use super::histogram::{Bounds, Histogram};
use super::labels::{LabelSet, MISSING, OTHER, Probe};

/// Sets of cells: threads beyond this share. More than a node has threads for requests.
const STRIPES: usize = 64;

/// Cells that a request adds to.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    Ended,
    SpendNano,
    TokensIn,
    TokensOut,
    CacheRead,
    CacheWrite,
    AudioIn,
    Reasoning,
    AudioOut,
    PriceUnknown,
    CacheHits,
    CacheMisses,
    CachedTokens,
}

const CELLS: usize = Cell::CachedTokens as usize + 1;

/// The cells of one label set in one thread.
#[derive(Clone)]
pub(super) struct Series {
    pub(super) labels: Arc<LabelSet>,
    /// Of its labels.
    fingerprint: u64,
    /// Whether requests of this label set count as failed; follows from the labels.
    pub(super) failed: bool,
    cells: [u64; CELLS],
    attempts: [u64; AttemptOutcome::COUNT],
    /// Position of its latencies in the stripe, once it has some.
    latencies: Option<usize>,
}

impl Series {
    fn new(labels: Arc<LabelSet>, fingerprint: u64, failed: bool) -> Self {
        Self {
            labels,
            fingerprint,
            failed,
            cells: [0; CELLS],
            attempts: [0; AttemptOutcome::COUNT],
            latencies: None,
        }
    }

    pub(super) fn add(&mut self, cell: Cell, amount: u64) {
        let cell = &mut self.cells[cell as usize];
        *cell = cell.wrapping_add(amount);
    }

    pub(super) fn add_attempt(&mut self, outcome: AttemptOutcome) {
        self.attempts[outcome as usize] += 1;
    }

    /// Adds what another series counted, its latencies aside.
    fn add_all(&mut self, other: &Self) {
        for (cell, more) in self.cells.iter_mut().zip(other.cells) {
            *cell = cell.wrapping_add(more);
        }
        for (count, more) in self.attempts.iter_mut().zip(other.attempts) {
            *count += more;
        }
    }

    fn cell(&self, cell: Cell) -> u64 {
        self.cells[cell as usize]
    }

    pub(super) fn attempts(&self, outcome: AttemptOutcome) -> u64 {
        self.attempts[outcome as usize]
    }

    fn failed_attempts(&self) -> u64 {
        let failures = AttemptOutcome::ALL.iter().filter(|it| it.is_failure());
        failures.map(|outcome| self.attempts(*outcome)).sum()
    }

    /// What a counter family shows of this series.
    pub(super) fn shown(&self, shown: Shown) -> u64 {
        let success = self.attempts(AttemptOutcome::Success);
        match shown {
            Shown::Ended => self.cell(Cell::Ended),
            Shown::Failed if self.failed => self.cell(Cell::Ended),
            Shown::Served if !self.failed => self.cell(Cell::Ended),
            Shown::Failed | Shown::Served => 0,
            Shown::Spend => self.cell(Cell::SpendNano),
            Shown::TokensTotal => {
                let output = self.cell(Cell::TokensOut);
                self.cell(Cell::TokensIn).wrapping_add(output)
            }
            Shown::TokensIn => self.cell(Cell::TokensIn),
            Shown::TokensOut => self.cell(Cell::TokensOut),
            Shown::CacheRead => self.cell(Cell::CacheRead),
            Shown::CacheWrite => self.cell(Cell::CacheWrite),
            Shown::AudioIn => self.cell(Cell::AudioIn),
            Shown::Reasoning => self.cell(Cell::Reasoning),
            Shown::AudioOut => self.cell(Cell::AudioOut),
            Shown::DeploymentSuccess => success,
            Shown::DeploymentFailure => self.failed_attempts(),
            Shown::DeploymentTotal => success + self.failed_attempts(),
            Shown::PriceUnknown => self.cell(Cell::PriceUnknown),
            Shown::CacheHits => self.cell(Cell::CacheHits),
            Shown::CacheMisses => self.cell(Cell::CacheMisses),
            Shown::CachedTokens => self.cell(Cell::CachedTokens),
        }
    }
}

/// Latency histograms of one label set. Several series share them: they do not tell statuses and
/// routes apart and, by default, not keys (twenty lines each are too many to have per key).
#[derive(Clone)]
pub(super) struct Latencies {
    pub(super) labels: Arc<LabelSet>,
    pub(super) histograms: [Histogram; Latency::COUNT],
}

/// Which families tell keys and users apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallerLabels {
    /// Counters and latencies, as LiteLLM.
    Everywhere,
    /// Counters only; latencies show `None` for key and user.
    #[default]
    Counters,
    /// None: key and user are `None` everywhere.
    Nowhere,
}

/// Families without labels, and what one thread counted of each label set.
#[derive(Default)]
pub(super) struct Stripe {
    pub(super) series: Vec<Series>,
    pub(super) latencies: Vec<Latencies>,
    pub(super) unlabelled: Unlabelled,
    series_at: HashMap<u64, usize, RandomState>,
    latencies_at: HashMap<u64, usize, RandomState>,
}

/// Families without labels that every request adds to.
#[derive(Clone, Default)]
pub(super) struct Unlabelled {
    pub(super) overhead: Histogram,
    pub(super) ttft: Histogram,
    pub(super) gaps: Histogram,
    pub(super) stream_ends: [u64; EndReason::ALL.len()],
}

/// Keeps the locks of two threads on different cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Padded(Mutex<Stripe>);

/// All series, found by label set. Bounded.
pub(super) struct SeriesTable {
    state: RandomState,
    stripes: Box<[Padded]>,
    /// Every label set there is, shared by the stripes.
    sets: DashMap<u64, Arc<LabelSet>, RandomState>,
    /// What series counted that are not kept any more, by labels that do not name keys.
    forgotten: Mutex<HashMap<u64, Series, RandomState>>,
    bounds: [Bounds; Latency::COUNT],
    callers: CallerLabels,
    made: AtomicUsize,
    series_max: usize,
    dropped: AtomicU64,
}

impl SeriesTable {
    pub(super) fn new(series_max: usize, callers: CallerLabels, buckets: &[f64]) -> Self {
        Self {
            state: RandomState::default(),
            stripes: (0..STRIPES).map(|_| Padded::default()).collect(),
            sets: DashMap::default(),
            forgotten: Mutex::default(),
            bounds: Latency::ALL.map(|latency| latency.bounds(buckets)),
            callers,
            made: AtomicUsize::new(0),
            series_max,
            dropped: AtomicU64::new(0),
        }
    }

    /// This thread's cells.
    pub(super) fn stripe(&self) -> MutexGuard<'_, Stripe> {
        let own = own_stripe() % self.stripes.len();
        // A panic between two additions loses one of them, no more.
        let lock = self.stripes[own].0.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    /// Position of a label set's series in a stripe, made if need be.
    pub(super) fn find(&self, stripe: &mut Stripe, probe: &Probe<'_>) -> usize {
        let fingerprint = probe.fingerprint(&self.state);
        match stripe.at(fingerprint, probe) {
            Some(at) => at,
            None => self.make(stripe, probe, fingerprint),
        }
    }

    #[cold]
    fn make(&self, stripe: &mut Stripe, probe: &Probe<'_>, fingerprint: u64) -> usize {
        let shown_key = probe.key.map(|key| key.to_string());
        let shown_key = shown_key.as_deref().unwrap_or(MISSING);
        if let Some(set) = self.set(probe, shown_key, fingerprint, self.series_max) {
            return stripe.insert(fingerprint, set, probe.is_failed());
        }
        self.dropped.fetch_add(1, Relaxed);
        // Deployments, statuses and routes are still told apart, in a reserve of the same size.
        let reserve_max = 2 * self.series_max;
        let rest = Probe::rest(probe.is_failed());
        for (folded, made_max) in [(probe.without_caller(), reserve_max), (rest, usize::MAX)] {
            let fingerprint = folded.fingerprint(&self.state);
            if let Some(at) = stripe.at(fingerprint, &folded) {
                return at;
            }
            if let Some(set) = self.set(&folded, OTHER, fingerprint, made_max) {
                return stripe.insert(fingerprint, set, folded.is_failed());
            }
        }
        // Only if two fingerprints were equal.
        let set = Arc::new(LabelSet::of(&rest, OTHER));
        stripe.insert(fingerprint, set, probe.is_failed())
    }

    /// The shared label set; `None` when it may not be made or its place is taken.
    fn set(
        &self,
        probe: &Probe<'_>,
        shown_key: &str,
        fingerprint: u64,
        made_max: usize,
    ) -> Option<Arc<LabelSet>> {
        if let Some(set) = self.sets.get(&fingerprint) {
            return set.is(probe).then(|| set.clone());
        }
        // Without this a table that is full would be locked for writing by every request.
        if self.made.load(Relaxed) >= made_max {
            return None;
        }
        match self.sets.entry(fingerprint) {
            dashmap::Entry::Occupied(raced) => raced.get().is(probe).then(|| raced.get().clone()),
            dashmap::Entry::Vacant(place) => {
                let reserve = |made: usize| (made < made_max).then_some(made + 1);
                self.made.fetch_update(Relaxed, Relaxed, reserve).ok()?;
                let set = Arc::new(LabelSet::of(probe, shown_key));
                place.insert(set.clone());
                Some(set)
            }
        }
    }

    /// Bounds of one latency.
    pub(super) fn bounds(&self, latency: Latency) -> &Bounds {
        &self.bounds[latency as usize]
    }

    /// The latency histograms of the series at a position.
    pub(super) fn latencies_of<'s>(&self, stripe: &'s mut Stripe, at: usize) -> &'s mut Latencies {
        let found = match stripe.series[at].latencies {
            Some(found) => found,
            None => self.make_latencies(stripe, at),
        };
        &mut stripe.latencies[found]
    }

    #[cold]
    fn make_latencies(&self, stripe: &mut Stripe, at: usize) -> usize {
        let labels = stripe.series[at].labels.clone();
        let with_caller = self.callers == CallerLabels::Everywhere;
        let probe = Probe::for_latencies(&labels, with_caller);
        let shown_key = if with_caller {
            labels.hashed_api_key()
        } else {
            MISSING
        };
        let latencies = &mut stripe.latencies;
        let new = || {
            latencies.push(Latencies {
                labels: Arc::new(LabelSet::of(&probe, shown_key)),
                histograms: Default::default(),
            });
            latencies.len() - 1
        };
        let fingerprint = probe.fingerprint(&self.state);
        let found = *stripe.latencies_at.entry(fingerprint).or_insert_with(new);
        stripe.series[at].latencies = Some(found);
        found
    }

    /// Drops the series of keys that are gone. A stripe is locked while it is gone through.
    pub(super) fn forget(&self, is_gone: impl Fn(&KeyHash) -> bool) {
        let keys = self.sets.iter().filter_map(|set| set.value().key());
        let gone: HashSet<KeyHash> = keys.filter(is_gone).collect();
        if gone.is_empty() {
            return;
        }
        let is_gone = |labels: &LabelSet| labels.key().is_some_and(|key| gone.contains(&key));
        // First the sets: a series that a request makes meanwhile has one, and goes with the next.
        self.sets.retain(|_, set| {
            let kept = !is_gone(set);
            self.made.fetch_sub(usize::from(!kept), Relaxed);
            kept
        });
        let mut forgotten = self.forgotten();
        for padded in &self.stripes {
            let mut stripe = padded.0.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = stripe.take(|series| is_gone(&series.labels));
            drop(stripe);
            for series in &taken {
                self.keep_sums(&mut forgotten, series);
            }
        }
    }

    fn keep_sums(&self, forgotten: &mut HashMap<u64, Series, RandomState>, series: &Series) {
        let probe = Probe::keyless(&series.labels);
        let fingerprint = probe.fingerprint(&self.state);
        let sums = forgotten.entry(fingerprint).or_insert_with(|| {
            Series::new(Arc::new(LabelSet::of(&probe, MISSING)), fingerprint, false)
        });
        sums.add_all(series);
    }

    fn forgotten(&self) -> MutexGuard<'_, HashMap<u64, Series, RandomState>> {
        let forgotten = self.forgotten.lock();
        forgotten.unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies of every stripe's cells, for the page, and what forgotten series counted; a stripe
    /// is locked while it is copied.
    pub(super) fn copy(&self) -> (Vec<Copied>, Vec<Series>) {
        // Held to the end: nothing is forgotten halfway, and so nothing is shown twice.
        let forgotten = self.forgotten();
        let copy = |padded: &Padded| {
            let stripe = padded.0.lock().unwrap_or_else(PoisonError::into_inner);
            Copied {
                series: stripe.series.clone(),
                latencies: stripe.latencies.clone(),
                unlabelled: stripe.unlabelled.clone(),
            }
        };
        let stripes = self.stripes.iter().map(copy).collect();
        (stripes, forgotten.values().cloned().collect())
    }

    /// Which families tell callers apart.
    pub(super) fn callers(&self) -> CallerLabels {
        self.callers
    }

    /// How often a request was added to an `_other` series for want of its own.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// A stripe at one moment.
pub(super) struct Copied {
    pub(super) series: Vec<Series>,
    pub(super) latencies: Vec<Latencies>,
    pub(super) unlabelled: Unlabelled,
}

impl Stripe {
    fn at(&self, fingerprint: u64, probe: &Probe<'_>) -> Option<usize> {
        let at = *self.series_at.get(&fingerprint)?;
        self.series[at].labels.is(probe).then_some(at)
    }

    fn insert(&mut self, fingerprint: u64, labels: Arc<LabelSet>, failed: bool) -> usize {
        self.series.push(Series::new(labels, fingerprint, failed));
        let at = self.series.len() - 1;
        self.series_at.insert(fingerprint, at);
        at
    }

    /// Takes series out; the others move together.
    fn take(&mut self, is_taken: impl Fn(&Series) -> bool) -> Vec<Series> {
        let taken: Vec<_> = self
            .series
            .extract_if(.., |series| is_taken(series))
            .collect();
        if !taken.is_empty() {
            let places = self.series.iter().enumerate();
            self.series_at = places
                .map(|(at, series)| (series.fingerprint, at))
                .collect();
        }
        taken
    }
}

/// A number that each thread takes once.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Relaxed);
    }
    OWN.with(|own| *own)
}
