//! Money of one scope in the running period: reserve, settle, release, without locks.
//!
//! A slot is two atomic words, `committed` (settled + reserved) and `spent` (settled), each with
//! the low bits of its period's number on top. A period ends by one compare-and-swap that puts
//! the next number in, and what was reserved in an old period no longer matches: late settlements
//! cannot reach a new period.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicI64, AtomicU64};

use jiff::tz::TimeZone;

use crate::error::{BudgetScope, GatewayError};
use crate::money::NanoUsd;
use crate::period::{BudgetDuration, period_from};
use crate::time::WallMs;

mod overdraft;
pub mod policy;
mod shared;
mod word;

pub use shared::Stored;
use word::{Epoch, Period, Word};

/// Largest amount a slot can count in one period: 1.15 billion dollars. Counting stops there.
pub const AMOUNT_MAX: NanoUsd = NanoUsd(word::VALUE_MAX as i64);

/// Rules of a budget. All of it can change while requests run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Money per period; `None` only counts.
    pub limit: Option<NanoUsd>,
    /// Length of the period; `None` is one that never ends.
    pub duration: Option<BudgetDuration>,
    /// Known end of the running period (`budget_reset_at`); what lies in the past is ignored.
    pub resets_at: Option<WallMs>,
    /// Added to `limit` until then (`temp_budget_increase`, `temp_budget_expiry`).
    pub extra: Option<(NanoUsd, WallMs)>,
}

/// A budget that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRefusal {
    /// Settled and reserved.
    pub used: NanoUsd,
    /// The limit in force, extra included.
    pub limit: NanoUsd,
    /// End of the period; `None` is never.
    pub resets_at: Option<WallMs>,
}

impl BudgetRefusal {
    /// The client's error.
    pub fn error(self, scope: BudgetScope) -> GatewayError {
        GatewayError::BudgetExceeded {
            scope,
            spent: self.used,
            limit: self.limit,
            resets_at: self.resets_at,
        }
    }
}

/// What one request holds of one budget. Give it back once, to the slot that it came from.
#[must_use = "a reservation that is not given back blocks its budget until the period ends"]
#[derive(Debug)]
pub struct Reservation {
    need: u64,
    epoch: Epoch,
}

/// The budget of one scope.
#[derive(Debug)]
pub struct BudgetSlot {
    committed: AtomicU64,
    spent: AtomicU64,
    /// Number and end of the running period and of the one before or after it, by parity.
    periods: [AtomicU64; 2],
    limit: AtomicI64,
    extra: AtomicI64,
    extra_until: AtomicI64,
    duration: AtomicU64,
    /// What other nodes spent in the running period.
    others: AtomicU64,
    /// What of `spent` is in the store already.
    stored: AtomicU64,
    zone: TimeZone,
}

const NO_LIMIT: i64 = i64::MAX;

impl BudgetSlot {
    /// A slot that has spent `spent` in the period of `terms.resets_at`; if that is over, nothing.
    pub fn new(terms: Terms, spent: NanoUsd, zone: &TimeZone, now: WallMs) -> Self {
        let first = Epoch::default();
        let slot = Self {
            committed: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            periods: [
                AtomicU64::new(0),
                AtomicU64::new(Period::never(first.before()).bits()),
            ],
            limit: AtomicI64::new(NO_LIMIT),
            extra: AtomicI64::new(0),
            extra_until: AtomicI64::new(0),
            duration: AtomicU64::new(0),
            others: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            zone: zone.clone(),
        };
        slot.store_terms(terms);
        let end = slot.first_end(terms, now);
        slot.periods[0].store(Period { epoch: first, end }.bits(), Release);
        let over = terms.duration.is_some() && terms.resets_at.is_some_and(|end| end <= now);
        let amount = if over { 0 } else { amount(spent) };
        slot.committed
            .store(Word::new(first, amount).bits(), Release);
        slot.spent.store(Word::new(first, amount).bits(), Release);
        slot.stored.store(Word::new(first, amount).bits(), Release);
        slot
    }

    /// Changes the rules; what is spent and reserved stays. A new duration moves the end of the
    /// running period.
    pub fn update(&self, terms: Terms, now: WallMs) {
        let before = BudgetDuration::unpack(self.duration.load(Acquire));
        self.store_terms(terms);
        let (_, running) = self.running(now);
        let moved = terms
            .resets_at
            .is_some_and(|end| end > now && Some(end) != running.ends());
        if before == terms.duration && !(moved && terms.duration.is_some()) {
            return;
        }
        let end = self.first_end(terms, now);
        loop {
            let (word, period) = self.running(now);
            let moved = Period { end, ..period }.bits();
            let cell = self.cell(period.epoch);
            let done = cell
                .compare_exchange(period.bits(), moved, AcqRel, Acquire)
                .is_ok();
            if done && self.word().epoch_matches(word) {
                return;
            }
        }
    }

    /// Changes the limit alone.
    pub fn set_limit(&self, limit: Option<NanoUsd>) {
        let limit = limit.map_or(NO_LIMIT, |limit| limit.0.min(AMOUNT_MAX.0));
        self.limit.store(limit, Release);
    }

    /// The limit without what is added for a time.
    pub fn own_limit(&self) -> Option<NanoUsd> {
        let limit = self.limit.load(Acquire);
        (limit != NO_LIMIT).then_some(NanoUsd(limit))
    }

    /// Holds `need`, the most a request can cost.
    ///
    /// Admitted if settled + reserved + need stays within the limit; also if nothing is reserved
    /// and the limit is not reached, so that a budget can be used to its end. The overshoot is
    /// thus at most one request, whatever the number of threads.
    ///
    /// # Errors
    /// What is used and what the limit is.
    pub fn reserve(&self, need: NanoUsd, now: WallMs) -> Result<Reservation, BudgetRefusal> {
        loop {
            let (word, period) = self.running(now);
            let need = amount(need).min(word.room());
            self.admits(word, 0, need, period, now)?;
            if self.commit(word, word.plus(need)) {
                let epoch = period.epoch;
                return Ok(Reservation { need, epoch });
            }
        }
    }

    /// Whether [`Self::reserve`] would hold `need` now.
    pub fn has_room(&self, need: NanoUsd, now: WallMs) -> bool {
        let (word, period) = self.running(now);
        self.admits(word, 0, amount(need), period, now).is_ok()
    }

    /// Holds nothing, so that a request whose model costs nothing is still counted here if it does
    /// cost something in the end. Never refused.
    pub fn count(&self, now: WallMs) -> Reservation {
        let epoch = self.running(now).1.epoch;
        Reservation { need: 0, epoch }
    }

    /// Holds `more` for a request that runs longer than was reserved for. In a period that is over
    /// there is nothing left to check, so it is granted.
    ///
    /// # Errors
    /// As [`Self::reserve`]; the reservation stays as it was.
    pub fn extend(
        &self,
        held: &mut Reservation,
        more: NanoUsd,
        now: WallMs,
    ) -> Result<(), BudgetRefusal> {
        loop {
            let (word, period) = self.running(now);
            if period.epoch != held.epoch {
                return Ok(());
            }
            let more = amount(more).min(word.room());
            self.admits(word, held.need, more, period, now)?;
            if self.commit(word, word.plus(more)) {
                held.need += more;
                return Ok(());
            }
        }
    }

    /// Takes an extension back, as far as the reservation goes.
    pub fn shrink(&self, held: &mut Reservation, less: NanoUsd) {
        let less = amount(less).min(held.need);
        held.need -= less;
        self.change(&self.committed, held.epoch, |word| word.minus(less));
    }

    /// Replaces the reservation by what the request cost, in the period that it was made in.
    /// Returns what is spent there with it; nothing in a period that is over.
    pub fn settle(&self, held: Reservation, cost: NanoUsd) -> NanoUsd {
        let cost = amount(cost);
        // First the hold, then the sum of what is spent: `committed` is never below `spent` plus
        // what is reserved, so "nothing is reserved" is never concluded wrongly.
        let counted = self.change(&self.committed, held.epoch, |word| {
            word.minus(held.need).plus(cost)
        });
        let before = counted.then(|| self.add_spent(held.epoch, cost)).flatten();
        before.map_or(NanoUsd::ZERO, |word| {
            let others = value_in(&self.others, word);
            NanoUsd(word.plus(cost).plus(others).value() as i64)
        })
    }

    /// Gives the reservation back unused.
    pub fn release(&self, held: Reservation) {
        self.change(&self.committed, held.epoch, |word| word.minus(held.need));
    }

    /// Adds a cost that was never reserved (a record replayed from the journal), if the running
    /// period is the one that holds `at`. Like what a slot begins with it counts as stored:
    /// nobody marks it when the store gets it, if it is not there already.
    pub fn charge(&self, cost: NanoUsd, at: WallMs, now: WallMs) {
        let (_, period) = self.running(now);
        if !self.holds(at, period, now) {
            return;
        }
        let cost = amount(cost);
        if self.change(&self.committed, period.epoch, |word| word.plus(cost)) {
            self.add_spent(period.epoch, cost);
            add_in(&self.stored, period.epoch, cost);
        }
    }

    /// Sets what is spent in the running period (`reset_spend`); reservations stay. For one caller
    /// at a time.
    pub fn set_spent(&self, spent: NanoUsd, now: WallMs) {
        let target = amount(spent);
        let (_, period) = self.running(now);
        let epoch = period.epoch;
        let current = value_in(&self.spent, Word::new(epoch, 0));
        let (up, down) = (
            target.saturating_sub(current),
            current.saturating_sub(target),
        );
        // The order keeps `committed >= spent + reserved`, as in `settle`.
        if up > 0 && self.change(&self.committed, epoch, |word| word.plus(up)) {
            self.add_spent(epoch, up);
        }
        if down > 0 && self.change(&self.spent, epoch, |word| word.minus(down)) {
            self.change(&self.committed, epoch, |word| word.minus(down));
        }
        // The amount is the store's too, and all nodes' together.
        self.others.store(Word::new(epoch, 0).bits(), Release);
        self.stored.store(Word::new(epoch, target).bits(), Release);
    }

    /// Settled in the running period, here and on other nodes as far as that is known.
    pub fn spent(&self, now: WallMs) -> NanoUsd {
        let (word, _) = self.running(now);
        NanoUsd(
            self.spent_in(word)
                .saturating_add(value_in(&self.others, word)) as i64,
        )
    }

    /// Settled and reserved in the running period: what refusals are decided on.
    pub fn used(&self, now: WallMs) -> NanoUsd {
        let (word, _) = self.running(now);
        NanoUsd(word.value().saturating_add(value_in(&self.others, word)) as i64)
    }

    /// Limit in force, extra included; `None` only counts.
    pub fn limit(&self, now: WallMs) -> Option<NanoUsd> {
        let limit = self.limit.load(Acquire);
        let extra = match self.extra.load(Acquire) {
            0 => 0,
            extra if now.0 < self.extra_until.load(Acquire) => extra,
            _ => 0,
        };
        (limit != NO_LIMIT).then(|| NanoUsd(limit.saturating_add(extra)))
    }

    /// Length of a period; `None` is one that never ends.
    pub fn duration(&self) -> Option<BudgetDuration> {
        BudgetDuration::unpack(self.duration.load(Acquire))
    }

    /// End of the running period; `None` is never.
    pub fn resets_at(&self, now: WallMs) -> Option<WallMs> {
        self.running(now).1.ends()
    }

    /// When the running period began; `None` is never.
    pub fn begins(&self, now: WallMs) -> Option<WallMs> {
        let duration = BudgetDuration::unpack(self.duration.load(Acquire))?;
        Some(period_from(duration, &self.zone, now, self.resets_at(now)).start)
    }

    /// Whether `more` fits on top of `word`; `own` of what is reserved belongs to the asker.
    fn admits(
        &self,
        word: Word,
        own: u64,
        more: u64,
        period: Period,
        now: WallMs,
    ) -> Result<(), BudgetRefusal> {
        let Some(limit) = self.limit(now) else {
            return Ok(());
        };
        let ceiling = amount(limit);
        let spent = self.spent_in(word);
        let others = value_in(&self.others, word);
        let used = word.value().saturating_add(others);
        let fits = used.saturating_add(more) <= ceiling;
        // What runs already is not let grow past the limit because nobody else runs.
        let alone = own == 0 && word.value() == spent;
        if spent.saturating_add(others) < ceiling && (fits || alone) {
            return Ok(());
        }
        Err(BudgetRefusal {
            used: NanoUsd(used as i64),
            limit,
            resets_at: period.ends(),
        })
    }

    /// Spent in the period of `word`; nothing yet when the other word is still in the one before.
    fn spent_in(&self, word: Word) -> u64 {
        value_in(&self.spent, word)
    }

    /// Adds to what is spent in a period and returns what it was; `None` when the period is over:
    /// its sum has been closed.
    fn add_spent(&self, epoch: Epoch, cost: u64) -> Option<Word> {
        add_in(&self.spent, epoch, cost)
    }

    /// Changes a word if it is still in the period; says whether it was.
    fn change(&self, word: &AtomicU64, epoch: Epoch, to: impl Fn(Word) -> Word) -> bool {
        let changed = |bits: u64| {
            let word = Word::from_bits(bits);
            let same = epoch.distance_from(word) == 0
                && Period::from_bits(self.cell(epoch).load(Acquire)).epoch == epoch;
            same.then(|| to(word).bits())
        };
        word.fetch_update(AcqRel, Acquire, changed).is_ok()
    }

    fn commit(&self, from: Word, to: Word) -> bool {
        let swap = self
            .committed
            .compare_exchange_weak(from.bits(), to.bits(), AcqRel, Acquire);
        swap.is_ok()
    }

    fn word(&self) -> Word {
        Word::from_bits(self.committed.load(Acquire))
    }

    fn cell(&self, epoch: Epoch) -> &AtomicU64 {
        &self.periods[epoch.parity()]
    }

    /// The running period and what is committed in it, after ending those that are over.
    fn running(&self, now: WallMs) -> (Word, Period) {
        loop {
            let word = self.word();
            let period = Period::from_bits(self.periods[word.parity()].load(Acquire));
            // The cell is rewritten only after `committed` moved on: then this was a stale look.
            if period.epoch.distance_from(word) != 0 {
                continue;
            }
            if now.0 < period.end || period.ends().is_none() {
                return (word, period);
            }
            self.end(period, now);
        }
    }

    /// Puts the next period in place. Any number of threads may do so at once; one succeeds.
    fn end(&self, over: Period, now: WallMs) {
        let next = over.epoch.after();
        let cell = self.cell(next);
        let seen = Period::from_bits(cell.load(Acquire));
        if seen.epoch == over.epoch.before() {
            let end = self.end_after(now, over.ends());
            let prepared = Period { epoch: next, end }.bits();
            // Whoever was faster has prepared the same period.
            let _ = cell.compare_exchange(seen.bits(), prepared, AcqRel, Acquire);
        }
        let begin = |bits: u64| {
            let word = Word::from_bits(bits);
            let still = over.epoch.distance_from(word) == 0;
            still.then(|| Word::new(next, 0).bits())
        };
        let _ = self.committed.fetch_update(AcqRel, Acquire, begin);
        // Kept close behind, so that "ahead" and "behind" stay distinct modulo sixteen.
        for sum in [&self.spent, &self.others, &self.stored] {
            add_in(sum, next, 0);
        }
    }

    fn end_after(&self, now: WallMs, boundary: Option<WallMs>) -> i64 {
        match BudgetDuration::unpack(self.duration.load(Acquire)) {
            Some(duration) => period_from(duration, &self.zone, now, boundary).end.0,
            None => word::NEVER,
        }
    }

    fn first_end(&self, terms: Terms, now: WallMs) -> i64 {
        match (terms.duration, terms.resets_at) {
            (None, _) => word::NEVER,
            (Some(_), Some(end)) if end > now => end.0,
            (Some(_), boundary) => self.end_after(now, boundary),
        }
    }

    fn store_terms(&self, terms: Terms) {
        let limit = terms
            .limit
            .map_or(NO_LIMIT, |limit| limit.0.min(AMOUNT_MAX.0));
        let (extra, until) = terms.extra.unwrap_or_default();
        self.duration
            .store(terms.duration.map_or(0, BudgetDuration::pack), Release);
        self.extra_until.store(until.0, Release);
        self.extra.store(extra.0, Release);
        self.limit.store(limit, Release);
    }
}

/// What a sum says of the period of `word`: nothing while it is still in another one.
fn value_in(sum: &AtomicU64, word: Word) -> u64 {
    let seen = Word::from_bits(sum.load(Acquire));
    match seen.epoch_matches(word) {
        true => seen.value(),
        false => 0,
    }
}

/// Adds to the sum of a period, beginning it if need be. Returns what it was before, or `None` if
/// a later period has begun.
fn add_in(sum: &AtomicU64, epoch: Epoch, cost: u64) -> Option<Word> {
    let begun = |bits: u64| {
        let word = Word::from_bits(bits);
        match epoch.distance_from(word) {
            0 => Some(word),
            ahead if ahead < Epoch::HALF => Some(Word::new(epoch, 0)),
            _ => None,
        }
    };
    let added = |bits: u64| begun(bits).map(|word| word.plus(cost).bits());
    let before = sum.fetch_update(AcqRel, Acquire, added).ok()?;
    begun(before)
}

/// Money as a word counts it: nothing below zero, nothing above what fits.
fn amount(money: NanoUsd) -> u64 {
    money.0.clamp(0, AMOUNT_MAX.0) as u64
}

#[cfg(test)]
mod tests;
