//! Prices as operators meet them: the rules of the map, and what a configuration sets over it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(test)]
mod overrides;
#[cfg(test)]
mod rules;

use meridian_core::price::{BillingPlace, Cost, ModelPrice, PriceBook};
use meridian_core::usage::{Units, Usage};
use serde_json::{Map, Value, json};

pub(crate) fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A price as it comes out of a map with this one entry.
pub(crate) fn price(entry: Value) -> ModelPrice {
    let book = PriceBook::from_json(json!({"m": entry}).to_string().as_bytes()).unwrap();
    assert_eq!(book.problems(), []);
    let price = book.iter().next().unwrap().1;
    ModelPrice::clone(price)
}

pub(crate) fn cost(price: &ModelPrice, usage: &Usage) -> Cost {
    price.cost(usage, &BillingPlace::default())
}

pub(crate) fn nano(price: &ModelPrice, usage: &Usage) -> i64 {
    cost(price, usage).total.0
}

pub(crate) fn tokens(prompt: u64, completion: u64) -> Usage {
    Usage {
        prompt,
        completion,
        ..Usage::default()
    }
}

pub(crate) fn units(units: Units) -> Usage {
    Usage {
        units,
        ..Usage::default()
    }
}

/// 1 micro-dollar per input token, 2 per output token.
pub(crate) fn plain() -> Value {
    json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6})
}

pub(crate) fn with(more: Value) -> ModelPrice {
    let mut entry = fields(plain());
    entry.extend(fields(more));
    price(Value::Object(entry))
}
