//! Costs against LiteLLM's own answers: the shared vectors and 600 more of ours.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use meridian_core::money::NanoUsd;
use meridian_core::price::{BillingPlace, Cost, EMBEDDED, HostRegion, ModelPrice, PriceBook};
use meridian_core::usage::{ServiceTier, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

const SHARED: &str = include_str!("data/cost_vectors_litellm_1.109.1.json");
const WIDE: &str = include_str!("data/cost_vectors_wide_litellm_1.109.1.json");

/// Half a nano-dollar for our rounding and 1e-12 of it for LiteLLM's floats.
fn agrees(cost: NanoUsd, dollars: f64) -> bool {
    let expected = dollars * 1e9;
    (cost.0 as f64 - expected).abs() <= 0.5 + expected.abs() * 1e-12
}

/// A book of one entry, so that a vector does not depend on today's map.
fn price_of(key: &str, entry: &Map<String, Value>) -> ModelPrice {
    let map = Value::Object(Map::from_iter([(
        key.to_owned(),
        Value::Object(entry.clone()),
    )]));
    let book = PriceBook::from_json(map.to_string().as_bytes()).unwrap();
    assert_eq!(book.problems(), []);
    let price = book.iter().next().unwrap().1;
    ModelPrice::clone(price)
}

#[derive(Deserialize)]
struct SharedVector {
    name: String,
    model: String,
    provider: String,
    usage: Value,
    options: Map<String, Value>,
    price_entry: Map<String, Value>,
    expect: Map<String, Value>,
}

fn shared_usage(vector: &SharedVector) -> Usage {
    let count = |path: &str| vector.usage.pointer(path).and_then(Value::as_u64);
    let count = |path| count(path).unwrap_or(0);
    let tier = vector.options.get("service_tier").and_then(Value::as_str);
    Usage {
        prompt: count("/prompt_tokens"),
        completion: count("/completion_tokens"),
        cache_read: count("/prompt_tokens_details/cached_tokens"),
        cache_write: count("/prompt_tokens_details/cache_creation_tokens"),
        prompt_audio: count("/prompt_tokens_details/audio_tokens"),
        reasoning: count("/completion_tokens_details/reasoning_tokens"),
        completion_audio: count("/completion_tokens_details/audio_tokens"),
        tier: tier.map(ServiceTier::from_label).unwrap_or_default(),
        geo_us: vector.usage["inference_geo"] == "us",
        ..Usage::default()
    }
}

#[test]
fn the_shared_vectors_agree() {
    let vectors: Vec<SharedVector> = serde_json::from_str(SHARED).unwrap();
    let embedded = PriceBook::from_json(EMBEDDED).unwrap();
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        let found = embedded.find(&vector.provider, &vector.model, None);
        if vector.expect.contains_key("EXC") {
            assert!(found.is_none(), "{} has no price", vector.model);
            continue;
        }
        let usage = shared_usage(&vector);
        let location = vector
            .options
            .get("vertex_location")
            .and_then(Value::as_str);
        let place = BillingPlace::of(&vector.provider, "", location);
        let own = price_of(&vector.model, &vector.price_entry);
        for price in [&own, found.as_ref().unwrap()] {
            let cost = price.cost(&usage, &place);
            let dollars = |part: &str| vector.expect[part].as_f64().unwrap();
            let name = &vector.name;
            assert!(agrees(cost.total, dollars("total")), "{name}: {cost:?}");
            assert!(
                agrees(cost.input, dollars("prompt_cost")),
                "{name}: {cost:?}"
            );
            assert!(
                agrees(cost.output, dollars("completion_cost")),
                "{name}: {cost:?}"
            );
            assert!(!cost.price_unknown, "{name}");
        }
    }
}

#[derive(Deserialize)]
struct Wide {
    models: BTreeMap<String, Map<String, Value>>,
    vectors: Vec<WideVector>,
}

#[derive(Deserialize)]
struct WideVector {
    name: String,
    key: String,
    provider: String,
    usage: Map<String, Value>,
    prompt_cost: f64,
    completion_cost: f64,
}

fn wide_cost(price: &ModelPrice, vector: &WideVector) -> Cost {
    let count = |name: &str| vector.usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text = |name: &str| vector.usage.get(name).and_then(Value::as_str);
    let tier = text("service_tier").map(ServiceTier::from_label);
    let batch = vector.usage.contains_key("batch");
    let usage = Usage {
        prompt: count("prompt_tokens"),
        completion: count("completion_tokens"),
        cache_read: count("cached_tokens"),
        cache_write: count("cache_write_5m"),
        cache_write_1h: count("cache_write_1h"),
        reasoning: count("reasoning_tokens"),
        prompt_audio: count("prompt_audio"),
        prompt_image: count("prompt_image"),
        completion_audio: count("completion_audio"),
        completion_image: count("completion_image"),
        tier: if batch {
            ServiceTier::Batch
        } else {
            tier.unwrap_or_default()
        },
        geo_us: text("inference_geo") == Some("us"),
        fast: text("speed") == Some("fast"),
        ..Usage::default()
    };
    let mut place = BillingPlace::of(&vector.provider, "", text("vertex_location"));
    if text("data_residency") == Some("eu") && vector.provider == "openai" {
        place.openai_host_region = Some(HostRegion::Eu);
    }
    price.cost(&usage, &place)
}

#[test]
fn six_hundred_vectors_over_many_providers_agree() {
    let wide: Wide = serde_json::from_str(WIDE).unwrap();
    assert!(wide.vectors.len() > 600);
    for vector in &wide.vectors {
        let price = price_of(&vector.key, &wide.models[&vector.key]);
        let cost = wide_cost(&price, vector);
        let expected = vector.prompt_cost + vector.completion_cost;
        assert!(
            agrees(cost.total, expected),
            "{} {}: {cost:?} but {expected}",
            vector.key,
            vector.name
        );
    }
}

#[test]
fn the_documented_example_is_exact() {
    let book = PriceBook::from_json(EMBEDDED).unwrap();
    let price = book.find("openai", "gpt-4o", None).unwrap();
    let usage = Usage {
        prompt: 20,
        completion: 10,
        ..Usage::default()
    };
    let cost = price.cost(&usage, &BillingPlace::default());
    assert_eq!(cost.total, NanoUsd(150_000));
    assert_eq!(
        (cost.input, cost.output),
        (NanoUsd(50_000), NanoUsd(100_000))
    );
}

#[test]
fn the_embedded_map_is_read_whole() {
    let book = PriceBook::from_json(EMBEDDED).unwrap();
    assert_eq!(book.len(), 4551);
    assert_eq!(book.problem_count(), 0, "{:?}", book.problems());
    let info = book.find("openai", "gpt-4o", None).unwrap().info();
    assert_eq!(info["supports_vision"], true);
    assert_eq!(info["input_cost_per_token"], 2.5e-6);
}
