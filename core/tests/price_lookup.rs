//! Which entry a deployment's model finds in the embedded map.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, LazyLock};

use meridian_core::price::{EMBEDDED, ModelPrice, PriceBook};

static BOOK: LazyLock<PriceBook> = LazyLock::new(|| PriceBook::from_json(EMBEDDED).unwrap());

fn key(found: Option<Arc<ModelPrice>>) -> String {
    found.map_or_else(|| "unknown".to_owned(), |price| price.key().to_owned())
}

#[test]
fn names_find_the_most_exact_entry() {
    let cases = [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("openai", "openai/openai/gpt-4o", "gpt-4o"),
        ("azure", "gpt-4o", "azure/gpt-4o"),
        ("azure", "azure/gpt-4o", "azure/gpt-4o"),
        (
            "azure",
            "eu/gpt-4o-2024-08-06",
            "azure/eu/gpt-4o-2024-08-06",
        ),
        ("azure", "gpt-4o-2024-05-13", "azure/gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-2099-01-31", "gpt-4o"),
        (
            "anthropic",
            "claude-sonnet-4-5-20990101",
            "claude-sonnet-4-5",
        ),
        ("anthropic", "Claude-Sonnet-4-5", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("gemini", "gemini-2.5-pro-001", "gemini/gemini-2.5-pro"),
        ("vertex_ai", "gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "vertex_ai",
            "claude-sonnet-4-5@20250929",
            "vertex_ai/claude-sonnet-4-5@20250929",
        ),
        (
            "vertex_ai",
            "claude-sonnet-4-5@20990101",
            "vertex_ai/claude-sonnet-4-5",
        ),
        (
            "perplexity",
            "perplexity/deepseek-v4-flash-0731",
            "perplexity/perplexity/deepseek-v4-flash-0731",
        ),
        ("openrouter", "anthropic/claude-3.5-sonnet", "unknown"),
        (
            "openai",
            "ft:gpt-4o-mini-2024-07-18:org:name:id",
            "ft:gpt-4o-mini-2024-07-18",
        ),
        (
            "openai",
            "ft:gpt-4o-mini-2024-07-18:org::id",
            "ft:gpt-4o-mini-2024-07-18",
        ),
        ("openai", "ft:unheard-of:org::id", "unknown"),
        ("openai", "no-such-model", "unknown"),
        ("openai", "", "unknown"),
    ];
    for (provider, model, expected) in cases {
        assert_eq!(
            key(BOOK.find(provider, model, None)),
            expected,
            "{provider} {model}"
        );
    }
}

#[test]
fn bedrock_names_lose_route_region_and_version_in_turn() {
    let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let cases = [
        (sonnet.to_owned(), sonnet.to_owned()),
        (format!("us.{sonnet}"), format!("us.{sonnet}")),
        (
            format!("bedrock/converse/us.{sonnet}"),
            format!("us.{sonnet}"),
        ),
        (format!("converse/ca.{sonnet}"), sonnet.to_owned()),
        (format!("us-west-99/{sonnet}"), sonnet.to_owned()),
        (
            format!("arn:aws:bedrock:us-east-1:1234:inference-profile/us.{sonnet}"),
            format!("us.{sonnet}"),
        ),
        (
            "arn:aws:bedrock:us-east-1:1234:application-inference-profile/abc".to_owned(),
            "unknown".to_owned(),
        ),
    ];
    for (model, expected) in cases {
        assert_eq!(key(BOOK.find("bedrock", &model, None)), expected, "{model}");
    }
}

#[test]
fn the_base_model_decides_where_the_operator_named_one() {
    let cases = [
        ("azure", "my-deployment", "gpt-4o", "azure/gpt-4o"),
        ("azure", "my-deployment", "azure/gpt-4o", "azure/gpt-4o"),
        ("azure", "gpt-4o", "gpt-4o-mini", "azure/gpt-4o-mini"),
        ("azure", "gpt-4o", "no-such-model", "azure/gpt-4o"),
        ("hosted_vllm", "local", "gpt-4o", "gpt-4o"),
        ("hosted_vllm", "local", "openai/gpt-4o", "gpt-4o"),
    ];
    for (provider, model, base, expected) in cases {
        let found = key(BOOK.find(provider, model, Some(base)));
        assert_eq!(found, expected, "{provider} {model} {base}");
    }
}

#[test]
fn a_name_shared_with_another_provider_is_no_price() {
    for provider in ["hosted_vllm", "ollama", "openrouter", "custom"] {
        let found = BOOK.find(provider, "gpt-4o", None);
        assert_ne!(key(found), "gpt-4o", "{provider} is not OpenAI");
    }
    assert_eq!(
        key(BOOK.find("openai", "claude-sonnet-4-5", None)),
        "unknown"
    );
}

#[test]
fn regions_and_image_sizes_have_entries_of_their_own() {
    let regional = BOOK.find_in_region("azure", Some("eu"), "gpt-4o-2024-08-06", None);
    assert_eq!(key(regional), "azure/eu/gpt-4o-2024-08-06");
    let elsewhere = BOOK.find_in_region("azure", Some("mars"), "gpt-4o-2024-08-06", None);
    assert_eq!(key(elsewhere), "azure/gpt-4o-2024-08-06");
    let image = |quality, size| {
        let found = BOOK.find_image("azure", "azure/dall-e-3", quality, size);
        key(found)
    };
    assert_eq!(
        image(Some("hd"), Some("1024x1024")),
        "azure/hd/1024-x-1024/dall-e-3"
    );
    assert_eq!(
        image(Some("hd"), Some("1024-x-1024")),
        "azure/hd/1024-x-1024/dall-e-3"
    );
    let model = BOOK.find_image("azure", "gpt-image-2", Some("auto"), Some("auto"));
    assert_eq!(key(model), "azure/gpt-image-2");
}

#[test]
fn odd_names_are_unknown_and_never_a_panic() {
    let long = "a/".repeat(10_000);
    let odd = [
        "/",
        "//",
        "-",
        "@",
        ":",
        "ft:",
        "a:1",
        "openai/",
        "é-日本",
        "us.",
        long.as_str(),
    ];
    for model in odd {
        for provider in ["", "openai", "bedrock", "vertex_ai", "azure_ai"] {
            let found = BOOK.find(provider, model, Some(model));
            assert_eq!(key(found), "unknown", "{provider} {model}");
            assert_eq!(
                key(BOOK.find_image(provider, model, Some("x"), Some("x"))),
                "unknown"
            );
        }
    }
}
