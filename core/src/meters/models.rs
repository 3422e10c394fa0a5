//! Counters of single models of a key: a list that only grows, so that readers need no lock.

use std::sync::OnceLock;

use jiff::tz::TimeZone;

use super::purse::Purse;
use crate::budget::Terms;
use crate::limit::{Limits, RateSlot};
use crate::money::NanoUsd;
use crate::time::WallMs;

/// Most models of one key that can have limits of their own.
pub const MODELS_MAX: usize = 256;

/// The first of the list; most keys have none.
#[derive(Debug, Default)]
pub(super) struct ModelChain(OnceLock<Box<ModelMeters>>);

/// Counters of one model. Without rules left it stays in the list and limits nothing.
#[derive(Debug)]
pub(super) struct ModelMeters {
    name: Box<str>,
    pub(super) rates: RateSlot,
    pub(super) budget: Purse,
    next: ModelChain,
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
        self.0.get()?;
        let named = |name: &str| {
            self.iter()
                .enumerate()
                .find(|(_, meters)| &*meters.name == name)
        };
        named(model).or_else(|| named(model.split_once('/')?.1))
    }

    pub(super) fn at(&self, place: usize) -> Option<&ModelMeters> {
        self.iter().nth(place)
    }

    fn iter(&self) -> impl Iterator<Item = &ModelMeters> {
        let first = self.0.get().map(|first| &**first);
        std::iter::successors(first, |meters| meters.next.0.get().map(|next| &**next))
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
        let mut chain = self;
        for _ in 0..MODELS_MAX {
            let mut made = false;
            let meters = chain.0.get_or_init(|| {
                made = true;
                Box::new(ModelMeters {
                    name: model.into(),
                    rates: RateSlot::new(limits),
                    budget: Purse::new(terms, NanoUsd::ZERO, zone, now),
                    next: Self::default(),
                })
            });
            if made {
                return;
            }
            if &*meters.name == model {
                meters.rates.set(limits);
                meters.budget.slot.update(terms, now);
                return;
            }
            chain = &meters.next;
        }
    }

    /// Lifts the limits of every model that has no rules any more.
    pub(super) fn clear_except(&self, has_rules: impl Fn(&str) -> bool, now: WallMs) {
        for meters in self.iter().filter(|meters| !has_rules(&meters.name)) {
            meters.rates.set(Limits::default());
            meters.budget.slot.update(Terms::default(), now);
        }
    }
}
