//! `cost_discount_config` and `cost_margin_config`.

use meridian_core::config::Severity;
use meridian_core::price::AdjustmentRules;
use serde_json::{Value, json};

use super::{KEY, load_text};

fn rules(discounts: Value, margins: Value) -> AdjustmentRules {
    let map = |value: Value| value.as_object().cloned().unwrap_or_default();
    AdjustmentRules::from_config(&map(discounts), &map(margins)).unwrap_or_default()
}

#[test]
fn discounts_and_margins_are_read_as_they_are_written() {
    let text = format!(
        "{KEY}litellm_settings:\n  cost_discount_config: {{openai: 0.05, vertex_ai/gemini-*: '0.1'}}\n  \
         cost_margin_config: {{global: {{percentage: 0.1, fixed_amount: 0.001}}}}\n"
    );
    let loaded = load_text(&text);
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let expected = rules(
        json!({"openai": 0.05, "vertex_ai/gemini-*": 0.1}),
        json!({"global": {"percentage": 0.1, "fixed_amount": 0.001}}),
    );
    for (provider, model) in [
        ("openai", "gpt-4o"),
        ("vertex_ai", "gemini-2"),
        ("groq", "x"),
    ] {
        let adjusted = config.adjustments.resolve(provider, model);
        assert_eq!(adjusted, expected.resolve(provider, model), "{provider}");
    }
    assert_ne!(expected, AdjustmentRules::default());
}

#[test]
fn what_cannot_be_billed_is_told_where_it_stands() {
    for (entry, path, severity) in [
        (
            "cost_discount_config: {openai: 1.5}",
            "cost_discount_config.openai",
            Severity::Error,
        ),
        (
            "cost_discount_config: {openai: -1}",
            "cost_discount_config.openai",
            Severity::Error,
        ),
        (
            "cost_margin_config: {openai: much}",
            "cost_margin_config.openai",
            Severity::Error,
        ),
        (
            "cost_margin_config: {opnai: 0.1}",
            "cost_margin_config.opnai",
            Severity::Warning,
        ),
    ] {
        let loaded = load_text(&format!("{KEY}litellm_settings:\n  {entry}\n"));
        let found = loaded
            .problems
            .iter()
            .find(|problem| problem.path.ends_with(path));
        let found = found.unwrap_or_else(|| panic!("{entry}: {:?}", loaded.problems));
        assert_eq!(found.severity, severity, "{entry}");
    }
}
