//! One limit per minute of the whole installation, without locks: what was taken in the last
//! minute, here and elsewhere, second by second.
//!
//! A limit of N lets N through at once, as LiteLLM's windows do, and never more than N in any 60
//! seconds as far as this node knows. What others took beyond it meanwhile is a debt: it takes the
//! place of what leaves the minute, so that in the long run the limit holds whatever the delay.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::time::WallMs;

/// Seconds that count: the running one and the sixty before it.
const SECONDS: u32 = 61;
/// The last minute in parts of five seconds.
pub(super) const AGES: usize = 12;
const AGE_S: u32 = 5;
/// Places for seconds: some more, for a thread that read the clock a moment ago.
const PLACES: usize = 64;
/// The most that is owed, in limits. What others took beyond it is forgiven.
const DEBT_LIMITS: u64 = 1;
const WHOLE_PPM: u64 = 1_000_000;
const NO_LIMIT: u64 = u64::MAX;
/// More in one second is counted as so much.
const SECOND_MAX: u64 = u32::MAX as u64 / 128;

/// A minute that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The limit.
    pub limit: u64,
    /// What could be taken now.
    pub remaining: u64,
    /// When there is room, if nobody else takes it.
    pub room_at: WallMs,
}

/// Where something was taken: for giving it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second(u32);

/// Requests or tokens of one scope in the last minute.
#[derive(Debug)]
pub struct Minute {
    /// By second, the remainder of its number being its place.
    places: [AtomicU32; PLACES],
    /// The latest second that was seen; a clock that goes back stays in it.
    head: AtomicU32,
    /// Sum of all places.
    used: AtomicU64,
    /// What others took that had no room: it waits for its place.
    debt: AtomicU64,
    limit: AtomicU64,
    /// Part of the limit that this node and those that it hears may use, in millionths.
    share: AtomicU64,
    taken: AtomicU64,
    returned: AtomicU64,
    offered: AtomicU64,
}

/// What one node counts of one limit since it started: each only grows, so losing, doubling and
/// reordering of them is harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) taken: u64,
    pub(super) returned: u64,
    pub(super) offered: u64,
}

impl Minute {
    /// Nothing taken yet; `None` is no limit.
    pub fn new(limit: Option<u64>) -> Self {
        Self {
            places: [const { AtomicU32::new(0) }; PLACES],
            head: AtomicU32::new(0),
            used: AtomicU64::new(0),
            debt: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(NO_LIMIT)),
            share: AtomicU64::new(WHOLE_PPM),
            taken: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            offered: AtomicU64::new(0),
        }
    }

    /// Changes the limit and keeps what was taken.
    /// What is owed is never more than a minute of the new limit pays.
    pub fn set_limit(&self, limit: Option<u64>) {
        let limit = limit.unwrap_or(NO_LIMIT);
        self.limit.store(limit, Relaxed);
        let most = limit.saturating_mul(DEBT_LIMITS);
        self.debt.fetch_min(most, Relaxed);
    }

    /// The limit per minute.
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.load(Relaxed);
        (limit != NO_LIMIT).then_some(limit)
    }

    /// Takes `amount`, or nothing. More than the limit is taken from an empty minute: no waiting
    /// would ever help such a request.
    ///
    /// # Errors
    /// When there will be room.
    pub fn take(&self, amount: u64, now: WallMs) -> Result<Second, Full> {
        self.offered
            .fetch_add(self.countable(amount).min(SECOND_MAX), Relaxed);
        let second = self.advance(now);
        let (limit, debt) = (self.room(), self.debt.load(Relaxed));
        let fits = |used: u64| {
            let fits = fits(amount, used.saturating_add(debt), limit);
            fits.then(|| used.saturating_add(amount.min(limit).min(SECOND_MAX)))
        };
        match self.used.fetch_update(Relaxed, Relaxed, fits) {
            Ok(_) => {
                self.put(second, amount.min(limit));
                self.owe(amount.saturating_sub(limit));
                self.taken.fetch_add(self.countable(amount), Relaxed);
                Ok(Second(second))
            }
            Err(_) => Err(self.full(amount, second)),
        }
    }

    /// Whether [`Minute::take`] would find room now.
    ///
    /// # Errors
    /// When there will be room.
    pub fn would_take(&self, amount: u64, now: WallMs) -> Result<(), Full> {
        let second = self.advance(now);
        match fits(amount, self.level(), self.room()) {
            true => Ok(()),
            false => Err(self.full(amount, second)),
        }
    }

    /// The request used `actual` where `estimate` was taken for it. More counts from now on.
    pub fn correct(&self, second: Second, estimate: u64, actual: u64) {
        let (held, used) = (self.countable(estimate), self.countable(actual));
        match used.checked_sub(held) {
            Some(more) => {
                self.taken.fetch_add(more, Relaxed);
                self.debit_at(more, self.head.load(Relaxed));
            }
            None => self.give_back(held - used, second),
        }
    }

    /// Gives back a request that was never sent, or what it did not use. What has left the minute
    /// by now is nobody's any more.
    pub fn give_back(&self, amount: u64, Second(second): Second) {
        let owed = self.forgive(amount);
        let head = self.head.load(Relaxed);
        let still = head.saturating_sub(second) < SECONDS;
        let given = match still {
            true => self.pick(second, amount - owed),
            false => 0,
        };
        self.returned.fetch_add(owed + given, Relaxed);
    }

    /// What could be taken now, for `x-ratelimit-*`: as fresh as what was heard of others. `None`
    /// without a limit.
    pub fn remaining(&self, now: WallMs) -> Option<u64> {
        self.advance(now);
        self.limit()?;
        Some(self.room().saturating_sub(self.level()))
    }

    /// Taken here and elsewhere in the last minute, as far as is known, and owed.
    pub(super) fn level(&self) -> u64 {
        let debt = self.debt.load(Relaxed);
        self.used.load(Relaxed).saturating_add(debt)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            taken: self.taken.load(Relaxed),
            returned: self.returned.load(Relaxed),
            offered: self.offered.load(Relaxed),
        }
    }

    /// What was taken since `start`, before it was counted here.
    pub fn begin_with(&self, amount: u64, (start, now): (WallMs, WallMs)) {
        let second = self.advance(now);
        let first = u32::try_from(start.0.div_euclid(1_000)).unwrap_or(0);
        self.offered.fetch_add(amount, Relaxed);
        self.taken.fetch_add(amount, Relaxed);
        let oldest = second.saturating_sub(SECONDS - 1);
        self.debit_at(amount, first.clamp(oldest, second));
    }

    /// Others took so much.
    pub(super) fn debit(&self, amount: u64, now: WallMs) {
        let second = self.advance(now);
        self.debit_at(amount, second);
    }

    fn debit_at(&self, amount: u64, second: u32) {
        // Of the whole limit: what comes back from a cut is not of this node's part.
        let limit = self.limit.load(Relaxed);
        let free = limit.saturating_sub(self.used.load(Relaxed));
        let into = amount.min(free).min(SECOND_MAX);
        self.used.fetch_add(into, Relaxed);
        self.put(second, into);
        self.owe(amount - into);
    }

    /// Others gave so much back: of what was taken last.
    pub(super) fn credit(&self, amount: u64) {
        let mut rest = amount - self.forgive(amount);
        let head = self.head.load(Relaxed);
        for age in 0..SECONDS.min(head) {
            if rest == 0 {
                return;
            }
            rest -= self.pick(head - age, rest);
        }
    }

    /// What is in the minute by age, the youngest first.
    pub(super) fn ages(&self, now: WallMs) -> [u64; AGES] {
        let second = self.advance(now);
        let mut ages = [0; AGES];
        for (sum, from) in ages.iter_mut().zip((0..).step_by(AGE_S as usize)) {
            *sum = self.aged(second, from);
        }
        ages
    }

    /// Somebody else took so much, by age.
    pub(super) fn debit_ages(&self, ages: [u64; AGES], now: WallMs) {
        let second = self.advance(now);
        for (amount, from) in ages.into_iter().zip((0..).step_by(AGE_S as usize)) {
            self.debit_at(amount, second.saturating_sub(from + AGE_S / 2));
        }
    }

    /// Somebody else knows of so much by age, what is here included: the rest is put there.
    pub(super) fn raise(&self, mut ages: [u64; AGES], now: WallMs) {
        let mut known = self.level();
        for amount in &mut ages {
            let here = known.min(*amount);
            known -= here;
            *amount -= here;
        }
        self.debit_ages(ages, now);
    }

    /// Sum of the seconds that are `from` and up to four more old.
    fn aged(&self, second: u32, from: u32) -> u64 {
        let seconds = (from..from + AGE_S).filter_map(|age| second.checked_sub(age));
        let counts = seconds.map(|second| self.place(second).load(Relaxed));
        counts.map(u64::from).sum()
    }

    /// Uses a part of the limit only. When it gets smaller, what was taken before is counted in
    /// proportion: that of the others belongs to their part.
    pub(super) fn set_share(&self, part: f64) {
        let ppm = ((part * WHOLE_PPM as f64) as u64).clamp(1, WHOLE_PPM);
        let before = self.share.swap(ppm, Relaxed);
        if before <= ppm {
            return;
        }
        let (ppm, before) = (u128::from(ppm), u128::from(before));
        // What one second loses by rounding the next one has.
        let mut rest = 0;
        for place in &self.places {
            let count = place.swap(0, Relaxed);
            let scaled = u128::from(count) * ppm + rest;
            rest = scaled % before;
            let scaled = u64::try_from(scaled / before).unwrap_or(SECOND_MAX);
            let scaled = u32::try_from(scaled.min(SECOND_MAX)).unwrap_or(u32::MAX);
            place.fetch_add(scaled, Relaxed);
            self.used.fetch_add(u64::from(scaled), Relaxed);
            self.lower_used(u64::from(count));
        }
        let scaled = |debt: u64| u64::try_from(u128::from(debt) * ppm / before).ok();
        // A debt that does not fit into its number stays what it was.
        let _ = self.debt.fetch_update(Relaxed, Relaxed, scaled);
    }

    /// The part of the limit that is in use; one unit at least, if the limit is not zero.
    fn room(&self) -> u64 {
        let limit = self.limit.load(Relaxed);
        let share = self.share.load(Relaxed);
        if limit == NO_LIMIT || share == WHOLE_PPM {
            return limit;
        }
        let whole = u128::from(WHOLE_PPM);
        let part = (u128::from(limit) * u128::from(share) + whole / 2) / whole;
        u64::try_from(part).unwrap_or(limit).max(limit.min(1))
    }

    /// Lets go of the seconds that have left the minute; what is owed takes their room.
    pub(super) fn advance(&self, now: WallMs) -> u32 {
        let now = u32::try_from(now.0.div_euclid(1_000)).unwrap_or(0);
        let head = self.head.fetch_max(now, Relaxed);
        if head > now.saturating_add(SECONDS) {
            return self.restart(head, now);
        }
        if head >= now {
            return head;
        }
        let first = head.max(now.saturating_sub(PLACES as u32 - 1)) + 1;
        let mut gone = 0;
        for second in first.max(SECONDS)..=now {
            gone += u64::from(self.place(second - SECONDS).swap(0, Relaxed));
        }
        if now - head >= PLACES as u32 {
            let rest = self.places.iter();
            gone += rest
                .map(|place| u64::from(place.swap(0, Relaxed)))
                .sum::<u64>();
        }
        self.pay(gone, now);
        now
    }

    /// The clock was ahead by more than a minute and was set right: what it counted there would
    /// not leave the minute before that time comes.
    fn restart(&self, head: u32, now: u32) -> u32 {
        let is_first = self
            .head
            .compare_exchange(head, now, Relaxed, Relaxed)
            .is_ok();
        if is_first {
            self.places.iter().for_each(|place| place.store(0, Relaxed));
            self.used.store(0, Relaxed);
            self.debt.store(0, Relaxed);
        }
        now
    }

    /// `gone` has left the minute: what is owed takes its room and any other.
    fn pay(&self, gone: u64, second: u32) {
        if self.debt.load(Relaxed) == 0 {
            return self.lower_used(gone);
        }
        let left = self.used.load(Relaxed).saturating_sub(gone);
        let paid = self.forgive(self.room().saturating_sub(left).min(SECOND_MAX));
        self.put(second, paid);
        match gone.checked_sub(paid) {
            Some(less) => self.lower_used(less),
            None => {
                self.used.fetch_add(paid - gone, Relaxed);
            }
        }
    }

    fn full(&self, amount: u64, second: u32) -> Full {
        let (limit, level) = (self.room(), self.level());
        // A request over the whole limit needs an empty minute.
        let wanted = limit.saturating_sub(amount);
        let mut to_go = level.saturating_sub(wanted);
        let oldest = second.saturating_sub(SECONDS - 1);
        let mut room_s = second + 1;
        for taken_at in oldest..=second {
            let count = u64::from(self.place(taken_at).load(Relaxed));
            if to_go == 0 {
                break;
            }
            if count > 0 {
                room_s = taken_at + SECONDS;
                to_go = to_go.saturating_sub(count);
            }
        }
        if to_go > 0 || limit == 0 {
            room_s = second + SECONDS - 1;
        }
        Full {
            limit: self.limit.load(Relaxed),
            remaining: limit.saturating_sub(level),
            room_at: WallMs(i64::from(room_s) * 1_000),
        }
    }

    fn place(&self, second: u32) -> &AtomicU32 {
        let [first, ..] = &self.places;
        let index = second as usize % PLACES;
        self.places.get(index).unwrap_or(first)
    }

    fn put(&self, second: u32, amount: u64) {
        let amount = u32::try_from(amount.min(SECOND_MAX)).unwrap_or(u32::MAX);
        self.place(second).fetch_add(amount, Relaxed);
    }

    /// Takes up to `amount` out of a second; returns how much that was.
    fn pick(&self, second: u32, amount: u64) -> u64 {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let less = |count: u32| Some(count.saturating_sub(amount));
        let before = self.place(second).fetch_update(Relaxed, Relaxed, less);
        let picked = u64::from(before.unwrap_or(0).min(amount));
        self.lower_used(picked);
        picked
    }

    /// As much of an amount as is in the minute and owed at most.
    fn countable(&self, amount: u64) -> u64 {
        amount.min(self.limit.load(Relaxed).saturating_mul(1 + DEBT_LIMITS))
    }

    fn owe(&self, amount: u64) {
        if amount == 0 {
            return;
        }
        let most = self.limit.load(Relaxed).saturating_mul(DEBT_LIMITS);
        let more = |debt: u64| Some(debt.saturating_add(amount).min(most).max(debt));
        let _ = self.debt.fetch_update(Relaxed, Relaxed, more);
    }

    /// Lowers the debt by up to `amount`; returns by how much.
    fn forgive(&self, amount: u64) -> u64 {
        if self.debt.load(Relaxed) == 0 {
            return 0;
        }
        let less = |debt: u64| Some(debt.saturating_sub(amount));
        let before = self.debt.fetch_update(Relaxed, Relaxed, less);
        before.unwrap_or(0).min(amount)
    }

    fn lower_used(&self, by: u64) {
        let less = |used: u64| Some(used.saturating_sub(by));
        let _ = self.used.fetch_update(Relaxed, Relaxed, less);
    }
}

/// Whether `amount` has room beside what is in the minute. More than the limit has some in an empty
/// minute: no waiting would ever help it.
fn fits(amount: u64, level: u64, limit: u64) -> bool {
    level.saturating_add(amount) <= limit || (level == 0 && limit > 0)
}
