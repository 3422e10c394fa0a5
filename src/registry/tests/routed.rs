//! Budgets of providers, deployments and tags.

use meridian_core::config::RoutedBudget;
use meridian_core::meters::{Decides, Routed, RoutedKind};

use super::*;

fn budget(kind: RoutedKind, id: &str, limit: i64) -> RoutedBudget {
    RoutedBudget {
        of: Routed::new(kind, id),
        limit: NanoUsd(limit),
        period: None,
        written: None,
    }
}

#[test]
fn counters_go_on_through_a_reload_and_what_is_gone_limits_nobody() {
    let registry = registry();
    let all = [
        budget(RoutedKind::Provider, "openai", 100),
        budget(RoutedKind::Tag, "product", 50),
    ];
    assert_eq!(registry.set_routed(&all, NOW).len(), 2);
    let tags = ["product".to_owned(), "other".to_owned()];
    let routed = registry.routed();
    let dues = routed.dues("openai", "d1", &tags);
    assert_eq!(dues.len(), 2);
    assert!(routed.dues("anthropic", "d1", &[]).is_empty());
    dues[0].meters.budget().charge(NanoUsd(80), NOW, NOW);
    let has_room = |registry: &Registry, need: i64| {
        let dues = registry.routed().dues("openai", "d1", &[]);
        let fits = |due: &meridian_core::meters::Due| {
            due.meters.has_room(NanoUsd(need), Decides::Count, NOW)
        };
        dues.iter().all(fits)
    };
    assert!(has_room(&registry, 20));
    // Lowered to what is spent.
    let lowered = [budget(RoutedKind::Provider, "openai", 80)];
    assert!(registry.set_routed(&lowered, NOW).is_empty());
    assert!(!has_room(&registry, 20));
    let exceeded = registry.routed().exceeded(("openai", "d1"), &[], NOW);
    let says = exceeded.unwrap().to_string();
    assert!(
        says.contains("Exceeded budget for provider openai: "),
        "{says}"
    );
    assert!(registry.routed().dues("anthropic", "d1", &tags).is_empty());
    assert_eq!(dues[1].meters.budget().limit(NOW), None);
}
