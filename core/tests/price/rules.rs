//! Each pricing rule and each known trap, with amounts worked out by hand.

use meridian_core::money::NanoUsd;
use meridian_core::price::{Ceiling, HostRegion};
use meridian_core::time::WallMs;
use meridian_core::usage::{SearchContext, ServiceTier};

use super::*;

#[test]
fn cached_tokens_without_a_price_cost_the_input_rate_and_zero_is_a_price() {
    let usage = Usage {
        cache_read: 60,
        cache_write: 30,
        ..tokens(100, 0)
    };
    assert_eq!(nano(&with(json!({})), &usage), 100_000);
    let free_reads = with(json!({"cache_read_input_token_cost": 0}));
    assert_eq!(nano(&free_reads, &usage), 40_000);
}

#[test]
fn an_hour_in_the_cache_is_not_billed_as_five_minutes() {
    let price = with(json!({
        "cache_creation_input_token_cost": 1.25e-6,
        "cache_creation_input_token_cost_above_1hr": 2e-6,
        "cache_creation_input_token_cost_above_12hr": 3e-6,
    }));
    let usage = Usage {
        cache_write: 100,
        cache_write_1h: 10,
        cache_write_12h: 1,
        ..tokens(111, 0)
    };
    let cost = cost(&price, &usage);
    assert_eq!(cost.total, NanoUsd(125_000 + 20_000 + 3_000));
    assert_eq!(cost.cache_write, cost.input);
    let no_hour = with(json!({"cache_creation_input_token_cost": 1.25e-6}));
    assert_eq!(nano(&no_hour, &usage), 138_750);
}

#[test]
fn above_a_threshold_every_rate_of_the_request_changes() {
    let price = with(json!({
        "cache_read_input_token_cost": 1e-7,
        "input_cost_per_token_above_200k_tokens": "2e-6",
        "output_cost_per_token_above_200k_tokens": 4e-6,
        "cache_read_input_token_cost_above_200k_tokens": 5e-7,
        "input_cost_per_token_above_1000k_tokens": 3e-6,
    }));
    let usage = |prompt| Usage {
        cache_read: 100_000,
        ..tokens(prompt, 10)
    };
    assert_eq!(nano(&price, &usage(200_000)), 110_000_000 + 20_000);
    assert_eq!(nano(&price, &usage(200_001)), 250_002_000 + 40_000);
    // The highest threshold changes the input only: the rest stays as of 200k.
    let high = 900_001 * 3_000 + 100_000 * 500 + 40_000;
    assert_eq!(nano(&price, &usage(1_000_001)), high);
}

#[test]
fn xai_bills_the_higher_rate_from_the_threshold_on() {
    let more = json!({"input_cost_per_token_above_128k_tokens": 2e-6, "litellm_provider": "xai"});
    assert_eq!(nano(&with(more), &tokens(128_000, 0)), 256_000_000);
}

#[test]
fn ranges_hold_their_end_and_the_last_has_none() {
    let price = price(json!({"tiered_pricing": [
        {"range": [32000.0, 128_000], "input_cost_per_token": 2e-6, "output_cost_per_token": 4e-6},
        {"range": [0, 32000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6,
         "output_cost_per_reasoning_token": 3e-6, "cache_read_input_token_cost": 1e-7},
    ]}));
    let usage = |prompt| Usage {
        cache_read: 1000,
        reasoning: 5,
        ..tokens(prompt, 10)
    };
    assert_eq!(nano(&price, &usage(32_000)), 31_000_000 + 100_000 + 25_000);
    assert_eq!(nano(&price, &usage(32_001)), 64_002_000 + 40_000);
    assert_eq!(nano(&price, &usage(500_000)), 1_000_000_000 + 40_000);
}

#[test]
fn the_tier_of_the_answer_has_its_own_rates_or_the_standard_ones() {
    let price = with(json!({
        "input_cost_per_token_priority": 2e-6,
        "output_cost_per_token_flex": 1e-6,
        "output_cost_per_reasoning_token": 5e-6,
    }));
    let usage = |tier| Usage {
        tier,
        reasoning: 10,
        ..tokens(100, 10)
    };
    assert_eq!(nano(&price, &usage(ServiceTier::Standard)), 150_000);
    assert_eq!(nano(&price, &usage(ServiceTier::Priority)), 250_000);
    // Flex has an output price of its own: it covers reasoning too.
    assert_eq!(nano(&price, &usage(ServiceTier::Flex)), 110_000);
    assert_eq!(
        nano(&price, &usage(ServiceTier::from_label("fast"))),
        250_000
    );
}

#[test]
fn a_batch_costs_its_own_rates_or_half() {
    let usage = Usage {
        tier: ServiceTier::Batch,
        cache_read: 50,
        ..tokens(100, 10)
    };
    let half = with(json!({"cache_read_input_token_cost": 1e-7}));
    assert_eq!(nano(&half, &usage), 25_000 + 2_500 + 10_000);
    let own = with(json!({
        "cache_read_input_token_cost": 1e-7, "input_cost_per_token_batches": 6e-7,
    }));
    // A batch price for input and none for the cache: no cache discount.
    assert_eq!(nano(&own, &usage), 60_000 + 10_000);
}

#[test]
fn reasoning_audio_and_images_cost_their_rate_only_where_there_is_one() {
    let usage = Usage {
        prompt_audio: 40,
        prompt_image: 10,
        reasoning: 20,
        completion_audio: 30,
        completion_image: 5,
        ..tokens(100, 100)
    };
    assert_eq!(nano(&with(json!({})), &usage), 300_000);
    let price = with(json!({
        "input_cost_per_audio_token": 1e-5,
        "input_cost_per_image_token": 3e-6,
        "output_cost_per_reasoning_token": 4e-6,
        "output_cost_per_audio_token": 2e-5,
        "output_cost_per_image_token": 3e-5,
    }));
    let (input, output) = (
        50_000 + 400_000 + 30_000,
        90_000 + 80_000 + 600_000 + 150_000,
    );
    assert_eq!(nano(&price, &usage), input + output);
}

#[test]
fn cached_audio_is_not_billed_twice() {
    let price = with(json!({
        "input_cost_per_audio_token": 1e-5,
        "cache_read_input_token_cost": 1e-7,
        "cache_read_input_audio_token_cost": 1e-6,
    }));
    let usage = Usage {
        prompt_audio: 50,
        cache_read: 40,
        cache_read_audio: 30,
        ..tokens(100, 0)
    };
    // 10 cached text, 30 cached audio, 20 fresh audio, 40 fresh text.
    assert_eq!(nano(&price, &usage), 1_000 + 30_000 + 200_000 + 40_000);
}

#[test]
fn inconsistent_details_are_cut_to_their_totals() {
    let price = with(json!({"cache_read_input_token_cost": 5e-7}));
    let usage = Usage {
        cache_read: 1_000,
        cache_write: 1_000,
        cache_read_audio: u64::MAX,
        prompt_audio: 1_000,
        reasoning: 1_000,
        completion_image: u64::MAX,
        ..tokens(100, 10)
    };
    assert_eq!(nano(&price, &usage), 50_000 + 20_000);
}

#[test]
fn places_and_modes_multiply_the_token_costs_but_not_the_tools() {
    let price = with(json!({
        "regional_processing_uplift_multiplier_eu": 1.1,
        "regional_endpoint_uplift_multiplier": 1.2,
        "provider_specific_entry": {"us": 1.1, "fast": 2, "free_images": 5, "kind": "x"},
        "search_context_cost_per_query": {
            "search_context_size_low": 0.01, "search_context_size_medium": 0.02,
            "search_context_size_high": 0.03,
        },
    }));
    let mut usage = tokens(100, 10);
    let at = |place: BillingPlace, usage: &Usage| price.cost(usage, &place).total.0;
    let eu = BillingPlace::of("openai", "eu.api.openai.com", None);
    assert_eq!(eu.openai_host_region, Some(HostRegion::Eu));
    assert_eq!(at(eu, &usage), 132_000);
    let us = BillingPlace::of("openai", "us.api.openai.com", None);
    assert_eq!(at(us, &usage), 120_000, "no multiplier for this region");
    let regional = BillingPlace::of("vertex_ai", "", Some("us-east5"));
    assert_eq!(at(regional, &usage), 144_000);
    for location in [Some("Global"), Some(""), None] {
        assert_eq!(
            at(BillingPlace::of("vertex_ai", "", location), &usage),
            120_000
        );
    }
    (usage.fast, usage.geo_us) = (true, true);
    usage.units.web_searches = 3;
    assert_eq!(at(BillingPlace::default(), &usage), 264_000 + 60_000_000);
    usage.units.search_context = Some(SearchContext::High);
    let cost = cost(&price, &usage);
    assert_eq!(cost.tools, NanoUsd(90_000_000));
    assert_eq!(cost.total, NanoUsd(264_000 + 90_000_000));
}

#[test]
fn perplexity_searches_at_its_low_price_unless_asked() {
    let price = with(json!({
        "litellm_provider": "perplexity",
        "search_context_cost_per_query": {
            "search_context_size_low": 0.005, "search_context_size_medium": 0.008,
        },
    }));
    let searched = units(Units {
        web_searches: 1,
        ..Units::default()
    });
    assert_eq!(nano(&price, &searched), 5_000_000);
}

#[test]
fn things_that_are_not_tokens_have_their_own_units() {
    // Whisper names the same price on both sides: charged once.
    let whisper = price(json!({
        "mode": "audio_transcription",
        "input_cost_per_second": 1e-4,
        "output_cost_per_second": 1e-4,
    }));
    let audio = Units {
        audio_ms: 1_500,
        wall_ms: 9_000,
        ..Units::default()
    };
    assert_eq!(nano(&whisper, &units(audio)), 150_000);

    let images = Units {
        images: 2,
        pixels: 2 * 1024 * 1024,
        ..Units::default()
    };
    let per_image = price(json!({"output_cost_per_image": 0.04, "input_cost_per_pixel": 1e-8}));
    assert_eq!(nano(&per_image, &units(images)), 80_000_000);
    let per_pixel = price(json!({"input_cost_per_pixel": 2e-8, "output_cost_per_pixel": 0.0}));
    assert_eq!(nano(&per_pixel, &units(images)), 41_943_040);
    // The answer's tokens already stand for the image.
    let both = with(json!({"output_cost_per_image_token": 1e-5, "output_cost_per_image": 0.04}));
    let drawn = Usage {
        completion_image: 100,
        units: images,
        ..tokens(10, 100)
    };
    assert_eq!(nano(&both, &drawn), 10_000 + 1_000_000);

    let speech = with(json!({"input_cost_per_character": 1.5e-5}));
    let spoken = Usage {
        units: Units {
            characters: 100,
            ..Units::default()
        },
        ..tokens(25, 0)
    };
    assert_eq!(
        nano(&speech, &spoken),
        1_500_000,
        "characters instead of text tokens"
    );

    let rerank = price(json!({"input_cost_per_query": 0.002, "input_cost_per_token": 0.0}));
    let ranked = Usage {
        units: Units {
            queries: 2,
            ..Units::default()
        },
        ..tokens(900, 0)
    };
    assert_eq!(nano(&rerank, &ranked), 4_000_000);
}

#[test]
fn off_peak_hours_have_their_own_rates() {
    let price = with(json!({"off_peak_pricing": {
        "input_cost_per_token": 5e-7, "windows": [{"hours_utc": "16:30-00:30"}],
    }}));
    let usage = Usage {
        cache_read: 50,
        ..tokens(100, 10)
    };
    let at = |text: &str| {
        let place = BillingPlace::default().at(WallMs::parse_iso(text).unwrap());
        price.cost(&usage, &place).total.0
    };
    assert_eq!(at("2026-11-20T12:00:00Z"), 120_000);
    assert_eq!(at("2026-11-20T17:00:00Z"), 70_000);
    assert_eq!(nano(&price, &usage), 120_000);
}

#[test]
fn what_has_no_price_is_flagged_and_never_silently_free() {
    let unknown = |entry: Value, usage: Usage| cost(&price(entry), &usage).price_unknown;
    assert!(unknown(json!({"mode": "chat"}), tokens(1, 1)));
    assert!(unknown(json!({"mode": "chat"}), Usage::default()));
    assert!(unknown(json!({"input_cost_per_token": 1e-6}), tokens(1, 1)));
    assert!(!unknown(
        json!({"input_cost_per_token": 1e-6}),
        tokens(1, 0)
    ));
    assert!(unknown(json!({"input_cost_per_query": 0.1}), tokens(5, 0)));
    let searched = Units {
        web_searches: 1,
        ..Units::default()
    };
    assert!(unknown(plain(), units(searched)));
    let spoken = Units {
        characters: 10,
        ..Units::default()
    };
    assert!(unknown(plain(), units(spoken)));
    let free = json!({"input_cost_per_token": 0, "output_cost_per_token": 0});
    assert!(!unknown(free, tokens(1, 1)), "an explicit zero is a price");
    let unpriced = price(json!({"mode": "chat", "max_input_tokens": 10}));
    assert!(!unpriced.is_priced());
    assert_eq!(
        unpriced.bound(&Ceiling::tokens(1, 1), &BillingPlace::default()),
        None
    );
}

#[test]
fn prices_below_a_nano_dollar_are_summed_before_rounding() {
    let price = price(json!({"input_cost_per_token": 1e-10, "output_cost_per_token": 4e-10}));
    assert_eq!(nano(&price, &tokens(1, 1)), 1, "0.5 rounds up");
    assert_eq!(nano(&price, &tokens(1, 0)), 0);
    assert_eq!(nano(&price, &tokens(1_000, 1_000)), 500);
}
