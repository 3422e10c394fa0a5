//! Laws that hold for every model of the embedded map and any usage.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, LazyLock};

use meridian_core::money::NanoUsd;
use meridian_core::price::{
    AdjustmentRules, BillingPlace, Ceiling, EMBEDDED, HostRegion, ModelPrice, PriceBook,
};
use meridian_core::time::WallMs;
use meridian_core::usage::{SearchContext, ServiceTier, Units, Usage};
use proptest::prelude::*;
use serde_json::json;

static PRICES: LazyLock<Vec<Arc<ModelPrice>>> = LazyLock::new(|| {
    let book = PriceBook::from_json(EMBEDDED).unwrap();
    let mut prices: Vec<_> = book.iter().map(|(_, price)| Arc::clone(price)).collect();
    prices.sort_by(|a, b| a.key().cmp(b.key()));
    prices
});

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..2_000u64,
        4 => 0..1_500_000u64,
        1 => Just(200_000), 1 => Just(200_001), 1 => Just(272_000), 1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

fn tier() -> impl Strategy<Value = ServiceTier> {
    prop_oneof![
        Just(ServiceTier::Standard),
        Just(ServiceTier::Priority),
        Just(ServiceTier::Flex),
        Just(ServiceTier::Batch),
        Just(ServiceTier::Ultrafast),
        Just(ServiceTier::Balanced),
    ]
}

prop_compose! {
    fn some_units()(
        web_searches in any::<u32>(), images in any::<u32>(), queries in any::<u32>(),
        characters in count(), audio_ms in count(), pixels in count(), wall_ms in count(),
        high in any::<bool>(), used in 0..3u8,
    ) -> Units {
        let search_context = high.then_some(SearchContext::High);
        let all = Units {
            web_searches, search_context, images, queries, characters, audio_ms, pixels, wall_ms,
        };
        if used == 0 { all } else { Units::default() }
    }
}

prop_compose! {
    fn some_usage()(
        prompt in count(), details in proptest::array::uniform7(count()),
        completion in count(), parts in proptest::array::uniform3(count()),
        units in some_units(), tier in tier(), fast in any::<bool>(), geo_us in any::<bool>(),
    ) -> Usage {
        let [cache_read, cache_write, cache_write_1h, cache_write_12h, cache_read_audio,
             prompt_audio, prompt_image] = details;
        let [reasoning, completion_audio, completion_image] = parts;
        Usage {
            prompt, cache_read, cache_write, cache_write_1h, cache_write_12h, cache_read_audio,
            prompt_audio, prompt_image, completion, reasoning, completion_audio, completion_image,
            units, tier, fast, geo_us,
        }
    }
}

prop_compose! {
    fn some_place()(
        region in 0..3u8, vertex_regional in any::<bool>(), adjusted in any::<bool>(),
        at in proptest::option::of(any::<i64>()),
    ) -> BillingPlace {
        let discounts = json!({"openai": 0.3});
        let margins = json!({"openai": {"percentage": 0.25, "fixed_amount": 0.001}});
        let rules = AdjustmentRules::from_config(
            discounts.as_object().unwrap(),
            margins.as_object().unwrap(),
        ).unwrap();
        let place = BillingPlace {
            openai_host_region: [None, Some(HostRegion::Eu), Some(HostRegion::Us)]
                [usize::from(region)],
            vertex_regional,
            now: at.map(WallMs),
            ..BillingPlace::default()
        };
        let adjustment = rules.resolve("openai", "m");
        if adjusted { BillingPlace { adjustment, ..place } } else { place }
    }
}

fn some_price() -> impl Strategy<Value = Arc<ModelPrice>> {
    (0..PRICES.len()).prop_map(|at| Arc::clone(&PRICES[at]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_answer_within_the_ceiling_costs_more_than_was_reserved(
        price in some_price(), usage in some_usage(), place in some_place(),
        slack in proptest::array::uniform2(0..1_000u64),
    ) {
        let cost = price.cost(&usage, &place);
        prop_assert!(cost.total >= NanoUsd::ZERO && cost.discount >= NanoUsd::ZERO);
        let ceiling = Ceiling {
            prompt: usage.prompt.saturating_add(slack[0]),
            completion: usage.completion.saturating_add(slack[1]),
            tier: usage.tier,
            fast: usage.fast,
            units: usage.units,
        };
        match price.bound(&ceiling, &place) {
            Some(bound) => prop_assert!(bound >= cost.total, "{bound} < {cost:?} {}", price.key()),
            None => prop_assert!(cost.price_unknown && !price.is_priced()),
        }
    }

    /// At the standard tier: another tier may have no rate for long prompts in the map, and falls
    /// back to the standard one there (gpt-5.5 in priority).
    #[test]
    fn more_tokens_never_cost_less(
        price in some_price(), usage in some_usage(), place in some_place(),
        more in proptest::array::uniform2(0..100_000u64),
    ) {
        let usage = Usage { units: Units::default(), tier: ServiceTier::Standard, ..usage };
        let longer = Usage {
            prompt: usage.prompt.saturating_add(more[0]),
            completion: usage.completion.saturating_add(more[1]),
            ..usage.clone()
        };
        let (before, after) = (price.cost(&usage, &place), price.cost(&longer, &place));
        prop_assert!(after.total >= before.total, "{} {before:?} {after:?}", price.key());
    }

    #[test]
    fn the_parts_add_up(price in some_price(), usage in some_usage()) {
        let cost = price.cost(&usage, &BillingPlace::default());
        prop_assert_eq!(cost.total, cost.original);
        let parts = [cost.input, cost.output, cost.tools];
        let sum = parts.into_iter().fold(0i128, |sum, part| sum + i128::from(part.0));
        let total = i128::from(cost.total.0);
        prop_assert!(total == i128::from(i64::MAX) || (sum - total).abs() <= 2);
        let cached = cost.cache_read.0.saturating_add(cost.cache_write.0);
        prop_assert!(cached <= cost.input.0.saturating_add(1));
    }

    #[test]
    fn any_text_is_a_map_or_an_error(text in "\\PC{0,200}", field in "[a-z_0-9]{1,40}") {
        let _ = PriceBook::from_json(text.as_bytes());
        let entry = json!({"m": {field: text}});
        let book = PriceBook::from_json(entry.to_string().as_bytes()).unwrap();
        prop_assert_eq!(book.len(), 1);
    }
}

#[test]
fn a_map_cut_at_any_byte_is_an_error_and_never_a_panic() {
    let map = json!({"m": {"input_cost_per_token": 1e-6, "tiered_pricing": [{"range": [0, 1]}],
        "off_peak_pricing": {"hours_utc": "00:00-01:00"}, "x": "é\"\\"}})
    .to_string();
    for cut in 0..map.len() {
        assert!(
            PriceBook::from_json(&map.as_bytes()[..cut]).is_err(),
            "{cut}"
        );
    }
    assert!(PriceBook::from_json(map.as_bytes()).is_ok());
}
