//! What operators set: prices of a deployment, discounts, margins, maps with mistakes in them.

use meridian_core::money::NanoUsd;
use meridian_core::price::{AdjustmentRules, PriceError};

use super::*;

#[test]
fn a_deployment_that_sells_seconds_bills_the_time_it_worked() {
    let own = fields(json!({"input_cost_per_second": "0.0003"}));
    let base = with(json!({"mode": "chat"}));
    let usage = Usage {
        units: Units {
            wall_ms: 2_000,
            ..Units::default()
        },
        ..tokens(100, 10)
    };
    for price in [
        ModelPrice::from_overrides(&own).unwrap(),
        base.with_overrides(&own).unwrap(),
    ] {
        let cost = cost(&price, &usage);
        assert_eq!(
            (cost.total, cost.output),
            (NanoUsd(600_000), NanoUsd(600_000))
        );
        assert!(!cost.price_unknown);
    }
}

#[test]
fn a_deployments_own_prices_replace_only_what_they_name() {
    let base = with(json!({
        "cache_read_input_token_cost": 1e-7, "input_cost_per_token_above_200k_tokens": 9e-6,
        "max_input_tokens": 1000, "litellm_provider": "openai", "supports_vision": true,
    }));
    let usage = Usage {
        cache_read: 50,
        ..tokens(100, 10)
    };
    let cheaper = base
        .with_overrides(&fields(
            json!({"cache_read_input_token_cost": "0", "rpm": 3}),
        ))
        .unwrap();
    assert_eq!(nano(&cheaper, &usage), 50_000 + 20_000);
    assert_eq!(cheaper.info()["supports_vision"], true);
    assert_eq!(cheaper.max_input_tokens(), Some(1000));

    // The pair of custom token prices stands alone: the map's cache and size rates go.
    let pair = fields(
        json!({"input_cost_per_token": "3e-6", "output_cost_per_token": 0,
                             "output_cost_per_token_priority": null}),
    );
    let own = base.with_overrides(&pair).unwrap();
    assert_eq!(nano(&own, &usage), 300_000);
    assert_eq!(nano(&own, &tokens(300_000, 1)), 900_000_000);
    assert!(!own.info().contains_key("cache_read_input_token_cost"));
    assert_eq!(own.info()["input_cost_per_token"], "3e-6");
    assert_eq!(
        nano(&ModelPrice::from_overrides(&pair).unwrap(), &usage),
        300_000
    );
}

#[test]
fn provisioned_capacity_is_free_when_the_operator_says_so() {
    let zero = fields(json!({"input_cost_per_token": 0.0, "output_cost_per_token": "0"}));
    let price = with(json!({"cache_read_input_token_cost": 1e-7}))
        .with_overrides(&zero)
        .unwrap();
    let cost = cost(&price, &tokens(1_000_000, 1_000_000));
    assert_eq!((cost.total, cost.price_unknown), (NanoUsd::ZERO, false));
}

#[test]
fn a_custom_price_that_is_no_number_is_refused() {
    for bad in [
        json!("cheap"),
        json!(-1e-6),
        json!(true),
        json!([1]),
        json!(1e9),
    ] {
        let own = fields(json!({"input_cost_per_token": bad}));
        let error = ModelPrice::from_overrides(&own).unwrap_err();
        assert!(matches!(error, PriceError::BadField { .. }), "{error}");
    }
}

#[test]
fn entries_that_cannot_be_read_are_listed_and_the_rest_is_used() {
    let map = json!({
        "good": {"input_cost_per_token": "1e-6", "max_input_tokens": "1e5", "new_field": [{}]},
        "half": {"input_cost_per_token": 1e-6, "output_cost_per_token": {"a": 1}},
        "text": "not an entry", "none": null, "list": [],
        "sample_spec": {"input_cost_per_token": 0},
    });
    let book = PriceBook::from_json(map.to_string().as_bytes()).unwrap();
    assert_eq!(book.len(), 2);
    assert_eq!(book.problem_count(), 4);
    let half = book.problems().iter().find(|problem| problem.key == "half");
    assert_eq!(half.unwrap().field, "output_cost_per_token");
    assert!(book.find("any", "sample_spec", None).is_none());
    let good = book.find("any", "good", None).unwrap();
    assert_eq!(good.max_input_tokens(), Some(100_000));
    for bad in ["", "[]", "{", "{}", "{\"a\": 1}", "\u{1}"] {
        assert!(PriceBook::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(PriceBook::from_json(b"{\"\xff\": {}}").is_err());
}

#[test]
fn discount_and_margin_are_on_the_exact_sum_and_rounded_once() {
    let rules = AdjustmentRules::from_config(
        &fields(json!({"openai": 0.05})),
        &fields(json!({"global": {"percentage": 0.1, "fixed_amount": 0.0005}})),
    )
    .unwrap();
    let place = BillingPlace {
        adjustment: rules.resolve("openai", "gpt-4o"),
        ..BillingPlace::default()
    };
    let cost = with(json!({})).cost(&tokens(1_000, 0), &place);
    assert_eq!(cost.original, NanoUsd(1_000_000));
    assert_eq!(cost.discount, NanoUsd(50_000));
    assert_eq!(cost.margin, NanoUsd(95_000 + 500_000));
    assert_eq!(cost.total, NanoUsd(1_545_000));
}
