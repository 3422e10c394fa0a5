//! What the lines of a batch used and cost, by model.

use std::collections::BTreeMap;

use super::Line;
use crate::money::NanoUsd;
use crate::price::{BillingPlace, ModelPrice};
use crate::usage::Usage;

/// Models that are told apart in one batch; a provider takes one, others a few.
const MODELS_MAX: usize = 64;

/// A model's price, where the batch was made.
#[derive(Clone, Debug)]
pub struct Priced<'a> {
    /// Name that clients ask for it by.
    pub model_group: &'a str,
    /// Its price; `None` is unknown.
    pub price: Option<&'a ModelPrice>,
    /// Facts that change the price.
    pub place: BillingPlace,
}

/// What a batch used of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Name that clients ask for it by.
    pub model_group: String,
    /// The provider's name.
    pub model: String,
    /// Sum of its lines.
    pub usage: Usage,
    /// Sum of what they cost, each rounded.
    pub cost: NanoUsd,
    /// The model has no price.
    pub price_unknown: bool,
    /// Some of it was not reported.
    pub estimated: bool,
    /// Lines.
    pub requests: u64,
}

/// Sums of a batch.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    models: BTreeMap<String, Part>,
    unread: u64,
}

impl Tally {
    /// Adds a line. `price` knows what a model costs.
    pub fn add<'p>(&mut self, line: Line, price: impl FnOnce(&str) -> Priced<'p>) {
        let (model, usage, estimated) = match line {
            Line::Free => return,
            Line::Unreadable => {
                self.unread += 1;
                return;
            }
            Line::Used {
                model,
                usage,
                estimated,
            } => (model, usage, estimated),
        };
        let priced = price(&model);
        let cost = priced.price.map(|price| price.cost(&usage, &priced.place));
        let is_full = self.models.len() >= MODELS_MAX && !self.models.contains_key(&model);
        let part = match is_full {
            // What it costs is right all the same.
            true => self.models.values_mut().next(),
            false => Some(self.models.entry(model.clone()).or_default()),
        };
        let Some(part) = part else { return };
        if part.requests == 0 {
            part.model = model;
            part.model_group = priced.model_group.to_owned();
        }
        part.requests += 1;
        part.usage.add(&usage);
        part.cost = part
            .cost
            .saturating_add(cost.map_or(NanoUsd::ZERO, |cost| cost.total));
        part.price_unknown |= cost.is_none_or(|cost| cost.price_unknown);
        part.estimated |= estimated;
    }

    /// Whether a better look could say something else.
    pub fn is_estimate(&self) -> bool {
        self.unread > 0 || self.models.values().any(|part| part.estimated)
    }

    /// Lines that could not be read.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// What was used, by the model's name. Where lines could not be read nothing is known for sure.
    pub fn parts(self) -> Vec<Part> {
        let unread = self.unread > 0;
        let part = |mut part: Part| {
            part.estimated |= unread;
            part
        };
        self.models.into_values().map(part).collect()
    }
}
