//! Counters of single models of a scope.

use jiff::tz::TimeZone;

use super::chain::Chain;
use super::purse::Purse;
use crate::budget::Terms;
use crate::limit::{Limits, RateSlot};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// Most models of one key that can have limits of their own.
pub const MODELS_MAX: usize = 256;

/// Those of one scope; most keys have none.
#[derive(Debug, Default)]
pub(super) struct ModelChain(Chain<ModelMeters>);

/// Counters of one model. Without rules left it stays in the list and limits nothing.
#[derive(Debug)]
pub(super) struct ModelMeters {
    name: Box<str>,
    pub(super) rates: RateSlot,
    pub(super) budget: Purse,
}

impl ModelMeters {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl ModelChain {
    /// Counters for a model by its name, or by its name without the provider (`openai/gpt-4o`
    /// falls under limits for `gpt-4o`), with their place in the list.
    pub(super) fn find(&self, model: &str) -> Option<(usize, &ModelMeters)> {
        if self.0.is_empty() {
            return None;
        }
        let named = |name: &str| {
            let mut all = self.0.iter().enumerate();
            all.find(|(_, meters)| &*meters.name == name)
        };
        named(model).or_else(|| named(model.split_once('/')?.1))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ModelMeters> {
        self.0.iter()
    }

    pub(super) fn at(&self, place: usize) -> Option<&ModelMeters> {
        self.0.at(place)
    }

    /// Changes the rules of a model; appends it when it is new.
    pub(super) fn set(
        &self,
        model: &str,
        limits: Limits,
        terms: Terms,
        zone: &TimeZone,
        now: WallMs,
    ) {
        let make = || ModelMeters {
            name: model.into(),
            rates: RateSlot::new(limits),
            budget: Purse::new(terms, NanoUsd::ZERO, zone, now),
        };
        let named = |meters: &ModelMeters| &*meters.name == model;
        if let Some((meters, false)) = self.0.find_or_add(MODELS_MAX, named, make) {
            meters.rates.set(limits);
            meters.budget.slot.update(terms, now);
        }
    }

    /// Lifts the limits of every model that has no rules any more.
    pub(super) fn clear_except(&self, has_rules: impl Fn(&str) -> bool, now: WallMs) {
        for meters in self.0.iter().filter(|meters| !has_rules(&meters.name)) {
            meters.rates.set(Limits::default());
            meters.budget.slot.update(Terms::default(), now);
        }
    }
}
