//! Everything of a key that changes with every request: its rates, its budget, its models'.
//!
//! One admission takes all of them or none; one settlement gives them back.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::budget::{BudgetRefusal, BudgetSlot, Reservation, Terms};
use crate::error::{BudgetScope, GatewayError};
use crate::ids::KeyHash;
use crate::key::KeyRecord;
use crate::limit::{Level, Limits, RateHold, RateSlot};
use crate::money::NanoUsd;
use crate::time::WallMs;

mod models;
mod rules;

pub use models::MODELS_MAX;
use models::ModelChain;
pub(crate) use rules::bad_model_budget;
pub use rules::check_rules;

/// The counters of one key: 160 bytes when no model has limits of its own.
#[derive(Debug)]
pub struct KeyMeters {
    token: KeyHash,
    rates: RateSlot,
    budget: BudgetSlot,
    models: ModelChain,
}

/// The most that a request can take.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Upper bound of its cost.
    pub cost: NanoUsd,
    /// Estimate of its tokens, input and output.
    pub tokens: u64,
    /// The model, after aliases.
    pub model: &'a str,
    /// The model is known to cost nothing: budgets do not refuse it. Not for an unknown price.
    pub free: bool,
    /// The key's alias, for messages.
    pub key_alias: Option<&'a str>,
}

/// A further budget that a request is charged to: user, team, tag, the whole installation.
#[derive(Clone, Debug)]
pub struct ScopeBudget {
    /// Whose, for the refusal.
    pub scope: BudgetScope,
    /// Its counter.
    pub slot: Arc<BudgetSlot>,
}

impl KeyMeters {
    /// Counters of a key that is loaded: spent as stored, rates empty. A rule that cannot be read
    /// is taken at its strictest; [`check_rules`] refuses such rules before they are stored.
    pub fn new(record: &KeyRecord, zone: &TimeZone, now: WallMs) -> Self {
        let meters = Self {
            token: record.token,
            rates: RateSlot::new(rules::limits(record)),
            budget: BudgetSlot::new(rules::terms(record), record.spend, zone, now),
            models: ModelChain::default(),
        };
        meters.update_models(record, zone, now);
        meters
    }

    /// Counters without limits: the master key's.
    pub fn unlimited(token: KeyHash, zone: &TimeZone, now: WallMs) -> Self {
        Self {
            token,
            rates: RateSlot::new(Limits::default()),
            budget: BudgetSlot::new(Terms::default(), NanoUsd::ZERO, zone, now),
            models: ModelChain::default(),
        }
    }

    /// Takes over changed limits and keeps all counters; the stored `spend` is not read.
    pub fn update(&self, record: &KeyRecord, zone: &TimeZone, now: WallMs) {
        self.rates.set(rules::limits(record));
        self.budget.update(rules::terms(record), now);
        self.update_models(record, zone, now);
    }

    /// Settled in the running period.
    pub fn spent(&self, now: WallMs) -> NanoUsd {
        self.budget.spent(now)
    }

    /// The key's budget: `spent`, `used`, `limit`, `resets_at`, `set_spent`, `charge`.
    pub fn budget(&self) -> &BudgetSlot {
        &self.budget
    }

    /// The key's rates: `levels` for headers, `in_flight`.
    pub fn rates(&self) -> &RateSlot {
        &self.rates
    }

    /// Rate limits of one model of the key and what is left of them, for
    /// `x-litellm-key-remaining-{requests,tokens}-{model}`.
    pub fn model_levels(&self, model: &str, now: WallMs) -> Vec<Level> {
        let meters = self.models.find(model);
        meters.map_or(Vec::new(), |(_, meters)| meters.rates.levels(now).collect())
    }

    /// Replays a cost from the journal into the periods that hold `at`.
    pub fn charge(&self, model: &str, cost: NanoUsd, at: WallMs, now: WallMs) {
        self.budget.charge(cost, at, now);
        if let Some((_, meters)) = self.models.find(model) {
            meters.budget.charge(cost, at, now);
        }
    }

    /// Admits a request: budgets of the key, of its model and of `others`, then the rates of both.
    /// A refusal leaves every counter as it was.
    ///
    /// # Errors
    /// `BudgetExceeded`, `RateLimited`.
    pub fn admit(
        self: &Arc<Self>,
        need: Need<'_>,
        others: &[ScopeBudget],
        now: WallMs,
    ) -> Result<Admission, GatewayError> {
        let model = self.models.find(need.model);
        // From here on a refusal drops the admission, which gives back what it holds so far.
        let mut admission = Admission::new(Arc::clone(self), need, model.map(|(at, _)| at));
        let hold = |slot: &BudgetSlot| match need.free {
            true => Ok(slot.count(now)),
            false => slot.reserve(need.cost, now),
        };
        let key = hold(&self.budget).map_err(|refused| refused.error(BudgetScope::Key))?;
        admission.held.budget = Some(key);
        if let Some((_, meters)) = model {
            let reserved = hold(&meters.budget)
                .map_err(|refused| refused.error(self.model_scope(need, meters.name())))?;
            admission.held.model_budget = Some(reserved);
        }
        admission.held.others.reserve_exact(others.len());
        for other in others {
            let reserved =
                hold(&other.slot).map_err(|refused| refused.error(other.scope.clone()))?;
            admission
                .held
                .others
                .push((Arc::clone(&other.slot), reserved));
        }
        let taken = self.rates.take(need.tokens, now);
        let taken = taken.map_err(|full| full.error("api_key", self.token.to_string()))?;
        admission.held.rate = Some(taken);
        if let Some((_, meters)) = model {
            let taken = meters.rates.take(need.tokens, now).map_err(|full| {
                full.error("model_per_key", format!("{}:{}", self.token, meters.name()))
            })?;
            admission.held.model_rate = Some(taken);
        }
        Ok(admission)
    }

    fn model_scope(&self, need: Need<'_>, model: &str) -> BudgetScope {
        BudgetScope::KeyModel {
            key: self.token.to_string(),
            alias: need.key_alias.unwrap_or("None").to_owned(),
            model: model.to_owned(),
        }
    }

    fn update_models(&self, record: &KeyRecord, zone: &TimeZone, now: WallMs) {
        for (model, limits, terms) in rules::models(record) {
            self.models.set(model, limits, terms, zone, now);
        }
        self.models
            .clear_except(|model| rules::names_model(record, model), now);
    }
}

/// What an admitted request holds, to be settled once. It can be moved anywhere.
///
/// Dropped without [`Self::settle`] (a panic, a lost context) it gives its permits back at once;
/// its money is released when nothing was sent upstream, and charged at the full reservation after
/// [`Self::mark_sent`], because the provider may bill it.
#[derive(Debug)]
#[must_use = "dropping an admission ends the request's accounting"]
pub struct Admission {
    meters: Arc<KeyMeters>,
    held: Held,
    sent: bool,
}

/// Every hold is `Some` until it is given back.
#[derive(Debug, Default)]
struct Held {
    cost: NanoUsd,
    tokens: u64,
    rate: Option<RateHold>,
    budget: Option<Reservation>,
    model_at: Option<usize>,
    model_rate: Option<RateHold>,
    model_budget: Option<Reservation>,
    others: Vec<(Arc<BudgetSlot>, Reservation)>,
}

/// How a request ended.
#[derive(Clone, Copy)]
enum End {
    Settled { cost: NanoUsd, tokens: u64 },
    Released,
}

impl Admission {
    fn new(meters: Arc<KeyMeters>, need: Need<'_>, model_at: Option<usize>) -> Self {
        let held = Held {
            cost: if need.free { NanoUsd::ZERO } else { need.cost },
            tokens: need.tokens,
            model_at,
            ..Held::default()
        };
        Self {
            meters,
            held,
            sent: false,
        }
    }

    /// A provider may bill this request from now on.
    pub fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Cost that is held.
    pub fn reserved(&self) -> NanoUsd {
        self.held.cost
    }

    /// Replaces what is held by what the request cost and used.
    pub fn settle(mut self, cost: NanoUsd, tokens: u64) {
        self.finish(End::Settled { cost, tokens });
    }

    /// The request was never sent: nothing of it counts.
    pub fn release(mut self) {
        self.finish(End::Released);
    }

    /// Moves on to another model: its own rates and budget are taken in place of the last one's,
    /// and every budget holds `cost` if that is more than before. `false` when something has no
    /// room; the admission stays as it was.
    pub fn enter(&mut self, model: &str, cost: NanoUsd, tokens: u64, now: WallMs) -> bool {
        let meters = Arc::clone(&self.meters);
        let next = meters.models.find(model);
        let next_at = next.map(|(at, _)| at);
        if next_at == self.held.model_at {
            let more = cost.saturating_sub(self.held.cost);
            return more <= NanoUsd::ZERO || self.extend(more, now).is_ok();
        }
        let mut taken = (None, None);
        if let Some((_, model)) = next {
            let Ok(reserved) = model.budget.reserve(cost, now) else {
                return false;
            };
            let Ok(rate) = model.rates.take(tokens, now) else {
                model.budget.release(reserved);
                return false;
            };
            taken = (Some(rate), Some(reserved));
        }
        // Without a model of its own, `extend` reaches the key's budget and the shared ones only.
        let last_at = self.held.model_at.take();
        let more = cost.saturating_sub(self.held.cost);
        let extended = more <= NanoUsd::ZERO || self.extend(more, now).is_ok();
        let (unwanted_at, unwanted) = match extended {
            true => {
                let last = (self.held.model_rate.take(), self.held.model_budget.take());
                (self.held.model_rate, self.held.model_budget) = taken;
                self.held.model_at = next_at;
                (last_at, last)
            }
            false => {
                self.held.model_at = last_at;
                (next_at, taken)
            }
        };
        // A model that was asked and failed keeps the request, not the money.
        let end = match extended && self.sent {
            true => End::Settled {
                cost: NanoUsd::ZERO,
                tokens: 0,
            },
            false => End::Released,
        };
        if let Some(model) = unwanted_at.and_then(|at| meters.models.at(at)) {
            end.rate(&model.rates, unwanted.0);
            end.budget(&model.budget, unwanted.1);
        }
        extended
    }

    /// Holds `more` in every budget, or in none.
    ///
    /// # Errors
    /// The first budget that has no room; the admission stays as it was.
    pub fn extend(&mut self, more: NanoUsd, now: WallMs) -> Result<(), BudgetRefusal> {
        let mut extended = 0;
        let mut refused = None;
        for (slot, reserved) in self.budgets() {
            match slot.extend(reserved, more, now) {
                Ok(()) => extended += 1,
                Err(refusal) => {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        match refused {
            None => {
                self.held.cost = self.held.cost.saturating_add(more);
                Ok(())
            }
            Some(refusal) => {
                for (slot, reserved) in self.budgets().take(extended) {
                    slot.shrink(reserved, more);
                }
                Err(refusal)
            }
        }
    }

    fn budgets(&mut self) -> impl Iterator<Item = (&BudgetSlot, &mut Reservation)> {
        let meters = &self.meters;
        let model = self.held.model_at.and_then(|at| meters.models.at(at));
        let key = self.held.budget.as_mut().map(|held| (&meters.budget, held));
        let model = model.zip(self.held.model_budget.as_mut());
        let model = model.map(|(meters, held)| (&meters.budget, held));
        let others = self.held.others.iter_mut();
        let others = others.map(|(slot, held)| (&**slot, held));
        key.into_iter().chain(model).chain(others)
    }

    fn finish(&mut self, end: End) {
        let held = std::mem::take(&mut self.held);
        end.rate(&self.meters.rates, held.rate);
        end.budget(&self.meters.budget, held.budget);
        if let Some(meters) = held.model_at.and_then(|at| self.meters.models.at(at)) {
            end.rate(&meters.rates, held.model_rate);
            end.budget(&meters.budget, held.model_budget);
        }
        for (slot, reserved) in held.others {
            end.budget(&slot, Some(reserved));
        }
    }
}

impl End {
    fn rate(self, slot: &RateSlot, hold: Option<RateHold>) {
        match (self, hold) {
            (_, None) => {}
            (Self::Settled { tokens, .. }, Some(hold)) => slot.settle(hold, tokens),
            (Self::Released, Some(hold)) => slot.release(hold),
        }
    }

    fn budget(self, slot: &BudgetSlot, held: Option<Reservation>) {
        match (self, held) {
            (_, None) => {}
            (Self::Settled { cost, .. }, Some(held)) => slot.settle(held, cost),
            (Self::Released, Some(held)) => slot.release(held),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (cost, tokens) = (self.held.cost, self.held.tokens);
        self.finish(match self.sent {
            true => End::Settled { cost, tokens },
            false => End::Released,
        });
    }
}

#[cfg(test)]
mod tests;
