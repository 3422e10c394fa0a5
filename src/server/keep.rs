//! Housekeeping beside the traffic: budget periods, retention, prices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use meridian_core::config::{Config, Schedule};
use meridian_core::scope::Scope;
use meridian_core::time::WallMs;
use tokio::sync::watch;

use super::{budgets, prices};
use crate::clock;
use crate::journal::{Drain, Journal, Life};
use crate::price_source::{PriceSource, Refreshed};
use crate::state::State;
use crate::store::{NextReset, OldObjects, Store};

/// Between two looks at what is due.
const TURN: Duration = Duration::from_secs(10);

/// What a process may not have looked at any more when this one took its place, in milliseconds:
/// its last turns. A line of cron that fell there is done by this one, perhaps once more.
const LEFT_OVER_MS: i64 = 60_000;

/// How long the series of a deleted key are shown, in milliseconds: twice as long as the rarest
/// usual scrape, so that what it did last is seen.
const GONE_SHOWN_MS: i64 = 300_000;

/// Between two looks at objects that are old.
const OBJECTS_EVERY: Schedule = Schedule::Every(Duration::from_secs(3_600));
/// Their rows in one transaction, and transactions of one look.
const OBJECTS_AT_ONCE: u32 = 1_000;
const OBJECTS_STEPS: usize = 50;
const DAY_MS: i64 = 86_400_000;

/// Does what is due, again and again.
pub(super) struct Keeper {
    state: Arc<State>,
    store: Store,
    prices: Arc<PriceSource>,
    drain: Arc<Drain>,
    /// Scopes of which the store knows the period that they take from another record.
    borrowed: HashMap<Scope, String>,
}

/// Name of the consumer that fills the store.
const STORE_CONSUMER: &str = "store";

/// The way of records into the store, as a configuration says. Nothing is drained yet.
pub(super) fn drain(journal: &Arc<Journal>, store: &Store, config: &Config) -> Drain {
    let drain = Drain::new(Arc::clone(journal), store.clone(), STORE_CONSUMER);
    tell(&drain, config);
    drain
}

/// Under which name the store keeps the place of a journal.
pub(super) fn writer_name(store: &Store, journal: &str, life: &Life) -> String {
    store.writer_name(journal, life.number() == 0, STORE_CONSUMER)
}

/// Tells the drain what a configuration says about it.
pub(super) fn tell(drain: &Drain, config: &Config) {
    let shared = config.database.is_some();
    drain.set_interval(shared.then_some(config.general.batch_write_at));
    drain.set_keeps_logs(!config.general.disable_spend_logs);
}

impl Keeper {
    pub(super) fn new(
        state: &Arc<State>,
        store: &Store,
        prices: &Arc<PriceSource>,
        drain: &Arc<Drain>,
    ) -> Self {
        Self {
            state: Arc::clone(state),
            store: store.clone(),
            prices: Arc::clone(prices),
            drain: Arc::clone(drain),
            borrowed: HashMap::new(),
        }
    }

    /// Runs until `stop` turns true. What is done to the store is done by the process that serves:
    /// from when it serves, and until another one does in its place.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut serving = self.state.serving.subscribe();
        let mut began = clock::now();
        if self.state.journal.life().is_along() {
            began = began.plus_ms(-LEFT_OVER_MS);
        }
        let (mut past, mut past_objects) = (Past::at(began), Past::at(began));
        while !*stop.borrow() {
            tell(&self.drain, &self.state.rules.load().config);
            self.state.registry.sweep(clock::now());
            self.forget_keys(clock::now());
            self.state.upstreams.sweep();
            if self.state.is_in_charge() {
                self.tell_borrowed().await;
                self.roll_periods().await;
                self.prepare().await;
            }
            if self.state.is_in_charge() {
                self.drop_old_logs(&mut past).await;
                self.drop_old_objects(&mut past_objects).await;
            }
            self.refresh_prices().await;
            tokio::select! {
                _ = stop.changed() => {}
                Ok(()) = serving.changed() => {}
                () = tokio::time::sleep(TURN) => {}
            }
        }
    }

    /// What deleted keys counted is not shown for ever.
    fn forget_keys(&self, now: WallMs) {
        let (registry, shown_until) = (&self.state.registry, now.plus_ms(-GONE_SHOWN_MS));
        let metrics = &self.state.metrics;
        metrics.forget(|key| registry.gone_since(key).is_some_and(|at| at < shown_until));
    }

    /// Requests derive the period from the time; this moves what the management API shows.
    async fn roll_periods(&self) {
        let now = clock::now();
        let zone = self.state.registry.zone().clone();
        let next: NextReset =
            Arc::new(move |duration, at| budgets::next_reset(duration, &zone, at));
        if let Err(error) = self.store.roll_budget_periods(now, next).await {
            tracing::warn!(%error, "budget periods are not rolled in the store");
        }
    }

    async fn tell_borrowed(&mut self) {
        let listed = !self.state.rules.load().config.general.disable_spend_logs;
        let (store, registry) = (&self.store, &self.state.registry);
        let told = budgets::tell_borrowed(store, registry, &mut self.borrowed, listed).await;
        if let Err(error) = told {
            tracing::warn!(%error, "periods of budgets that are shared are not in the store");
        }
    }

    /// What a drain of tomorrow needs is made today.
    async fn prepare(&self) {
        if let Err(error) = self.store.prepare(clock::now()).await {
            tracing::debug!(%error, "the store is not prepared for the next day");
        }
    }

    async fn drop_old_logs(&self, past: &mut Past) {
        let config = Arc::clone(&self.state.rules.load().config);
        let Some(retention) = &config.general.spend_logs_retention else {
            return;
        };
        let now = clock::now();
        if !past.is_due(&retention.schedule, self.state.registry.zone(), now) {
            return;
        }
        let before = now.plus_ms(-(retention.keep.as_millis() as i64));
        match self.store.drop_logs_before(before).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "spend logs past their retention"),
            Err(error) => {
                tracing::warn!(%error, "old spend logs are not dropped");
                past.failed = true;
            }
        }
    }

    /// Who made what is kept for long: nobody else ever becomes the owner of what is forgotten.
    async fn drop_old_objects(&self, past: &mut Past) {
        let now = clock::now();
        if !past.is_due(&OBJECTS_EVERY, self.state.registry.zone(), now) {
            return;
        }
        let days = self.state.rules.load().config.meridian.stored_objects_days;
        let today = now.0 / DAY_MS;
        let old = OldObjects {
            today,
            before: today.saturating_sub_unsigned(days),
            most: OBJECTS_AT_ONCE,
        };
        for _ in 0..OBJECTS_STEPS {
            match self.store.drop_old_objects(old).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old objects are not forgotten");
                    past.failed = true;
                    return;
                }
            }
        }
        past.failed = true;
    }

    async fn refresh_prices(&self) {
        let interval = self.state.rules.load().config.meridian.price_map.refresh;
        let due = prices::is_due(&self.prices, interval, clock::now());
        if !due {
            return;
        }
        match self.prices.refresh(clock::now()).await {
            Ok(Refreshed::Unchanged) => {}
            Ok(_) => {
                let book = self.prices.book();
                self.state.update_rules(|old| old.with_prices(book));
                tracing::info!("price map refreshed");
            }
            Err(error) => tracing::warn!(%error, "price map is not refreshed"),
        }
    }
}

/// When something that is done again was done, and when it was last thought of.
struct Past {
    done: Option<WallMs>,
    looked: WallMs,
    /// It did not work: it stays due.
    failed: bool,
}

impl Past {
    fn at(now: WallMs) -> Self {
        Self {
            done: None,
            looked: now,
            failed: false,
        }
    }

    /// Whether it is to be done now; then it counts as done. A process begins with it, unless a
    /// cron line says when.
    fn is_due(&mut self, schedule: &Schedule, zone: &TimeZone, now: WallMs) -> bool {
        let looked = std::mem::replace(&mut self.looked, now);
        let due = match schedule {
            // A clock that was set back makes it due as well: it may have been far ahead.
            Schedule::Every(time) => self.done.is_none_or(|done| {
                let passed = now.0.saturating_sub(done.0);
                passed < 0 || passed >= time.as_millis() as i64
            }),
            Schedule::Cron(cron) => cron.fired(zone, looked, now),
        };
        let due = std::mem::take(&mut self.failed) || due;
        if due {
            self.done = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meridian_core::cron::Cron;

    use super::*;

    const NOON: WallMs = WallMs(1_795_003_200_000);

    #[test]
    fn an_interval_begins_with_the_process_and_a_cron_line_does_not() {
        let utc = TimeZone::UTC;
        let hourly = Schedule::Every(Duration::from_secs(3_600));
        let mut past = Past::at(NOON);
        let minutes = [0, 1, 59, 60, 61, 120];
        let due = minutes.map(|minute| past.is_due(&hourly, &utc, NOON.plus_ms(minute * 60_000)));
        assert_eq!(due, [true, false, false, true, false, true]);
        let line = Schedule::Cron(Cron::parse("30 12 * * *").unwrap());
        let mut past = Past::at(NOON);
        // The third look comes late: what it names lies before it.
        let due = [0, 29, 45, 46].map(|minute| {
            let now = NOON.plus_ms(minute * 60_000);
            past.is_due(&line, &utc, now)
        });
        assert_eq!(due, [false, false, true, false]);
    }

    #[test]
    fn what_failed_is_tried_at_the_next_turn_and_not_after_the_next_interval() {
        let utc = TimeZone::UTC;
        let daily = Schedule::Every(Duration::from_secs(86_400));
        let mut past = Past::at(NOON);
        assert!(past.is_due(&daily, &utc, NOON));
        past.failed = true;
        assert!(past.is_due(&daily, &utc, NOON.plus_ms(10_000)));
        assert!(!past.is_due(&daily, &utc, NOON.plus_ms(20_000)));
    }

    #[test]
    fn a_clock_that_was_far_ahead_stops_no_retention() {
        let utc = TimeZone::UTC;
        let daily = Schedule::Every(Duration::from_secs(86_400));
        let mut past = Past::at(NOON);
        assert!(past.is_due(&daily, &utc, NOON.plus_ms(400 * 86_400_000)));
        assert!(past.is_due(&daily, &utc, NOON));
        assert!(!past.is_due(&daily, &utc, NOON.plus_ms(20_000)));
    }
}
