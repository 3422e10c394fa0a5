//! What one request holds of one scope: its money and its rates, and those of its model.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Meters;
use super::admission::{Covered, Crossing, Denied, Due, Grows, Lacking, Need};
use super::purse::{Decides, NoMoney, Purse, PurseHold};
use super::window::{Part, Window};
use crate::budget::policy::{OnExhausted, Policy};
use crate::error::GatewayError;
use crate::escrow::Pid;
use crate::limit::{RateHold, RateSlot};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// What is held of one scope; every hold is `Some` until it is given back.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) meters: Arc<Meters>,
    counts_only: bool,
    rate: Option<RateHold>,
    budget: Option<PurseHold>,
    /// By the places of the scope's `budget_limits`, as many as there were.
    limits: Vec<PurseHold>,
    pub(super) model: ModelHeld,
}

/// The same of one of its models.
#[derive(Debug, Default)]
pub(super) struct ModelHeld {
    pub(super) at: Option<usize>,
    rate: Option<RateHold>,
    budget: Option<PurseHold>,
}

/// How a request ended.
#[derive(Clone, Copy)]
pub(super) enum End {
    Settled { cost: NanoUsd, tokens: u64 },
    Released,
}

impl Held {
    pub(super) fn of(due: Due) -> Self {
        Self {
            meters: due.meters,
            counts_only: due.counts_only,
            rate: None,
            budget: None,
            limits: Vec::new(),
            model: ModelHeld::default(),
        }
    }

    pub(super) fn take_budget(&mut self, need: Need<'_>, now: WallMs) -> Result<(), Denied> {
        let meters = &self.meters;
        let counts_only = need.free || self.counts_only;
        let hold = |purse: &Purse| -> Result<PurseHold, NoMoney> {
            if counts_only {
                return Ok(purse.count(need.decides, now));
            }
            let mut held = purse.reserve(need.cost, need.decides, now)?;
            purse.expose(&mut held, need.excess);
            Ok(held)
        };
        let denied = |no: NoMoney, part, scope| {
            let meters = Arc::clone(meters);
            let lacking = no.lacks.map(|need| Lacking { meters, part, need });
            let error = Box::new(no.error(scope));
            Denied { error, lacking }
        };
        let reserved = hold(&meters.budget);
        let reserved = reserved.map_err(|no| denied(no, Part::Whole, meters.budget_scope()));
        self.budget = Some(reserved?);
        for (at, limit) in meters.limits.iter().enumerate() {
            let reserved = hold(&limit.purse).map_err(|no| {
                let scope = meters.limit_scope(limit.duration());
                denied(no, Part::Limit(at), scope)
            });
            self.limits.push(reserved?);
        }
        if let Some((at, model)) = meters.models.find(need.model) {
            let reserved = hold(&model.budget).map_err(|no| {
                let scope = meters.model_budget_scope(need.key_alias, model.name());
                denied(no, Part::Model(at), scope)
            });
            self.model.budget = Some(reserved?);
            self.model.at = Some(at);
        }
        Ok(())
    }

    /// Holds nothing of the budgets, so that what is settled counts in them.
    pub(super) fn count_budget(&mut self, model: &str, decides: Decides, now: WallMs) {
        let meters = &self.meters;
        self.budget = Some(meters.budget.count(decides, now));
        let limits = meters.limits.iter();
        self.limits = limits
            .map(|limit| limit.purse.count(decides, now))
            .collect();
        if let Some((at, model)) = meters.models.find(model) {
            self.model.budget = Some(model.budget.count(decides, now));
            self.model.at = Some(at);
        }
    }

    /// Limited budgets whose rights it does not hold.
    pub(super) fn without_rights(&mut self, now: WallMs) -> Vec<Lacking> {
        let meters = Arc::clone(&self.meters);
        let without = self.purses().filter(|(_, purse, held)| {
            let limited = purse.slot.limit(now).is_some();
            limited && held.pid().is_none()
        });
        let lacking = without.map(|(part, ..)| Lacking {
            meters: Arc::clone(&meters),
            part,
            need: NanoUsd(1),
        });
        lacking.collect()
    }

    pub(super) fn take_rate(&mut self, tokens: u64, now: WallMs) -> Result<(), GatewayError> {
        let taken = self.meters.rates.take(tokens, now).map_err(|full| {
            let (scope, id) = self.meters.rate_scope();
            full.error(scope, id)
        });
        self.rate = Some(taken?);
        Ok(())
    }

    pub(super) fn take_model_rate(&mut self, tokens: u64, now: WallMs) -> Result<(), GatewayError> {
        let Some(model) = self.model.at.and_then(|at| self.meters.models.at(at)) else {
            return Ok(());
        };
        let taken = model.rates.take(tokens, now).map_err(|full| {
            let (scope, id) = self.meters.model_rate_scope(model.name());
            full.error(scope, id)
        });
        self.model.rate = Some(taken?);
        Ok(())
    }

    /// Holds of another model, in place of nothing yet; `None` when it has no room.
    pub(super) fn take_model(
        &self,
        model: &str,
        (cost, excess, tokens): (NanoUsd, NanoUsd, u64),
        decides: Decides,
        now: WallMs,
    ) -> Option<ModelHeld> {
        let Some((at, model)) = self.meters.models.find(model) else {
            return Some(ModelHeld::default());
        };
        let reserved = match self.counts_only {
            true => model.budget.count(decides, now),
            false => {
                let mut held = model.budget.reserve(cost, decides, now).ok()?;
                model.budget.expose(&mut held, excess);
                held
            }
        };
        match model.rates.take(tokens, now) {
            Ok(rate) => Some(ModelHeld {
                at: Some(at),
                rate: Some(rate),
                budget: Some(reserved),
            }),
            Err(_) => {
                model.budget.release(reserved);
                None
            }
        }
    }

    /// Gives back what is held of a model.
    pub(super) fn end_model(&self, held: ModelHeld, end: End) {
        if let Some(model) = held.at.and_then(|at| self.meters.models.at(at)) {
            end.rate(&model.rates, held.rate);
            end.budget(&model.budget, held.budget);
        }
    }

    /// Limits that nodes could share and do not share yet.
    pub(super) fn apart(&self) -> impl Iterator<Item = Window> {
        let meters = &self.meters;
        let own = meters
            .rates
            .is_apart()
            .then(|| Window::of(meters, Part::Whole));
        let model = self.model.at.filter(|at| {
            let model = meters.models.at(*at);
            model.is_some_and(|model| model.rates.is_apart())
        });
        let model = model.map(|at| Window::of(meters, Part::Model(at)));
        own.into_iter().chain(model)
    }

    /// Periods whose rights it holds.
    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> {
        let holds = self.budget.iter().chain(&self.limits);
        holds.chain(&self.model.budget).filter_map(PurseHold::pid)
    }

    /// Everything that it holds money of, and the money.
    fn purses(&mut self) -> impl Iterator<Item = (Part, &Purse, &mut PurseHold)> {
        let Self {
            meters,
            budget,
            limits,
            model,
            ..
        } = self;
        let meters: &Meters = meters;
        let own = budget.iter_mut();
        let own = own.map(move |held| (Part::Whole, &meters.budget, held));
        let limits = limits.iter_mut().zip(meters.limits.iter()).enumerate();
        let limits = limits.map(|(at, (held, limit))| (Part::Limit(at), &limit.purse, held));
        let at = model.at.unwrap_or_default();
        let counted = model.at.and_then(|at| meters.models.at(at));
        let model = counted.zip(model.budget.as_mut());
        let model = model.map(|(counted, held)| (Part::Model(at), &counted.budget, held));
        own.chain(limits).chain(model)
    }

    /// Holds `more` money in every budget here, or nothing.
    pub(super) fn extend(&mut self, more: NanoUsd, now: WallMs) -> Result<(), Lacking> {
        if self.counts_only {
            return Ok(());
        }
        let mut extended = 0;
        let mut short = None;
        for (part, purse, held) in self.purses() {
            if purse.extend(held, more, now).is_err() {
                short = Some(part);
                break;
            }
            extended += 1;
        }
        let Some(part) = short else { return Ok(()) };
        for (_, purse, held) in self.purses().take(extended) {
            purse.shrink(held, more);
        }
        Err(Lacking {
            meters: Arc::clone(&self.meters),
            part,
            need: more,
        })
    }

    /// Holds `more` for a stream that runs, with rights or, where it may end, without.
    pub(super) fn grow(&mut self, grows: Grows, now: WallMs) -> Result<Covered, Lacking> {
        let refusal = match self.extend(grows.more, now) {
            Ok(()) => return Ok(Covered::Within),
            Err(refusal) => refusal,
        };
        let ends = match self.meters.policy(grows.all).on_exhausted {
            OnExhausted::Cut => false,
            OnExhausted::Finish => grows.may_finish,
            OnExhausted::RefuseOnly => true,
        };
        if !ends {
            return Err(refusal);
        }
        for (_, purse, held) in self.purses() {
            if purse.extend(held, grows.more, now).is_err() {
                purse.overdraw(held, grows.more, now);
            }
        }
        Ok(Covered::Past)
    }

    /// Says what a stream can cost over what it holds: `cut` where it is cut, `past` where it may
    /// end.
    pub(super) fn expose(&mut self, cut: NanoUsd, past: NanoUsd, all: Policy) {
        let ends = self.meters.policy(all).on_exhausted != OnExhausted::Cut;
        if self.counts_only || !ends {
            return;
        }
        for (_, purse, held) in self.purses() {
            purse.expose(held, cut.saturating_add(past));
        }
    }

    pub(super) fn shrink(&mut self, less: NanoUsd) {
        if self.counts_only {
            return;
        }
        for (_, purse, held) in self.purses() {
            purse.shrink(held, less);
        }
    }

    pub(super) fn finish(&mut self, end: End) -> Option<Crossing> {
        let model = std::mem::take(&mut self.model);
        self.end_model(model, end);
        end.rate(&self.meters.rates, self.rate.take());
        for (held, limit) in std::mem::take(&mut self.limits)
            .into_iter()
            .zip(self.meters.limits.iter())
        {
            end.budget(&limit.purse, Some(held));
        }
        let spent = end.budget(&self.meters.budget, self.budget.take())?;
        let End::Settled { cost, .. } = end else {
            return None;
        };
        let soft = NanoUsd(self.meters.soft.load(Relaxed));
        let crossed = spent >= soft && spent.saturating_sub(cost) < soft;
        crossed.then(|| Crossing {
            whose: self.meters.whose.clone(),
            soft,
            spent,
        })
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

    /// Returns what is spent with it, if it was held.
    fn budget(self, slot: &Purse, held: Option<PurseHold>) -> Option<NanoUsd> {
        match (self, held?) {
            (Self::Settled { cost, .. }, held) => Some(slot.settle(held, cost)),
            (Self::Released, held) => {
                slot.release(held);
                None
            }
        }
    }
}
