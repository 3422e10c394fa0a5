//! Housekeeping beside the traffic: budget periods, retention, prices.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{budgets, prices};
use crate::clock;
use crate::price_source::{PriceSource, Refreshed};
use crate::state::State;
use crate::store::{NextReset, Store};

/// Between two looks at what is due.
const TURN: Duration = Duration::from_secs(10);
/// Turns between two deletions of old logs.
const RETENTION_TURNS: u64 = 360;

/// Does what is due, again and again.
pub(super) struct Keeper {
    pub(super) state: Arc<State>,
    pub(super) store: Store,
    pub(super) prices: Arc<PriceSource>,
}

impl Keeper {
    /// Runs until `stop` turns true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut turn = 0u64;
        while !*stop.borrow() {
            self.roll_periods().await;
            if turn.is_multiple_of(RETENTION_TURNS) {
                self.drop_old_logs().await;
            }
            self.refresh_prices().await;
            self.state.upstreams.sweep();
            turn += 1;
            let _ = tokio::time::timeout(TURN, stop.changed()).await;
        }
    }

    /// Requests derive the period from the time; this moves what the management API shows.
    async fn roll_periods(&self) {
        let now = clock::now();
        self.state.registry.sweep(now);
        let zone = self.state.registry.zone().clone();
        let next: NextReset =
            Arc::new(move |duration, at| budgets::next_reset(duration, &zone, at));
        if let Err(error) = self.store.roll_budget_periods(now, next).await {
            tracing::warn!(%error, "budget periods are not rolled in the store");
        }
    }

    async fn drop_old_logs(&self) {
        let keep = self.state.rules.load().config.general.spend_logs_retention;
        let Some(keep) = keep else { return };
        let before = clock::now().plus_ms(-(keep.as_millis() as i64));
        match self.store.drop_logs_before(before).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "spend logs past their retention"),
            Err(error) => tracing::warn!(%error, "old spend logs are not dropped"),
        }
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
