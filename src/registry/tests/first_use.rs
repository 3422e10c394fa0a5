//! Counters that are made when a key is first used: they know what was loaded, there is one set of
//! them, and whatever happens to the key meanwhile happens to them.

use std::sync::Barrier;

use super::*;

fn limited(clear: &str, version: u64, more: Value) -> Record {
    let mut fields = json!({"max_budget": 1_000_000, "user_id": "u", "team_id": "t"});
    let more = more.as_object().unwrap().clone();
    fields.as_object_mut().unwrap().extend(more);
    key(clear, version, fields)
}

fn counted(spend: i64) -> Option<Counted> {
    Some(Counted {
        spend: NanoUsd(spend),
        resets_at: None,
    })
}

/// What a request of this cost gets, and whether it was counted.
fn pay(view: &KeyView, cost: i64) -> bool {
    let admitted = view.meters().admit(need(cost), Vec::new(), NOW);
    admitted
        .map(|admission| admission.settle(NanoUsd(cost), 1))
        .is_ok()
}

fn need(cost: i64) -> Need<'static> {
    Need {
        cost: NanoUsd(cost),
        tokens: 1,
        model: "m",
        free: false,
        key_alias: None,
        decides: meridian_core::meters::Decides::Count,
        excess: NanoUsd::ZERO,
    }
}

fn is_unused(registry: &Registry, clear: &str) -> bool {
    registry.key(clear).unwrap().made_meters().is_none()
}

#[test]
fn what_the_store_counted_shows_and_refuses_at_a_key_that_was_never_used() {
    let registry = registry();
    registry.apply(&limited("sk-a", 1, json!({})), counted(999_990), NOW);
    let scope = Scope::new(ScopeKind::Key, digest("sk-a").to_string());
    let spent = Some(NanoUsd(999_990));
    assert_eq!(registry.spent_by_key(&digest("sk-a"), NOW), spent);
    assert_eq!(registry.running(&scope, NOW).map(|one| one.0), spent);
    assert_eq!(registry.with_budget(9, NOW).len(), 1);
    registry.raise_spent(&scope, NanoUsd(5), NOW);
    registry.sweep(NOW);
    assert!(is_unused(&registry, "sk-a"), "nobody used it");
    let view = registry.key("sk-a").unwrap();
    assert!(pay(&view, 10) && !pay(&view, 1));
    // Another one is told more, and a third what an earlier process left in its journal.
    for clear in ["sk-b", "sk-c"] {
        registry.apply(&limited(clear, 1, json!({})), counted(7), NOW);
    }
    let scope = Scope::new(ScopeKind::Key, digest("sk-b").to_string());
    registry.raise_spent(&scope, NanoUsd(1_000_000), NOW);
    assert!(!pay(&registry.key("sk-b").unwrap(), 1));
    let payer = json!({"key": digest("sk-c")});
    registry.charge(&spend::request(1, json!({"payer": payer})), NOW);
    let spent = registry.spent_by_key(&digest("sk-c"), NOW);
    assert_eq!(spent, Some(NanoUsd(67)));
}

#[test]
fn a_budget_that_ended_before_the_first_use_begins_anew() {
    let registry = registry();
    let record = limited("sk-a", 1, json!({"budget_duration": "1d"}));
    let ends = Some(NOW.plus_ms(5_000));
    let counted = Counted {
        spend: NanoUsd(1_000_000),
        resets_at: ends,
    };
    registry.apply(&record, Some(counted), NOW);
    let scope = Scope::new(ScopeKind::Key, digest("sk-a").to_string());
    let running = |ms| registry.running(&scope, NOW.plus_ms(ms)).unwrap();
    assert_eq!(running(4_999), (NanoUsd(1_000_000), ends));
    let (spent, next) = running(5_000);
    assert_eq!(spent, NanoUsd::ZERO);
    let meters = Arc::clone(registry.key("sk-a").unwrap().meters());
    assert_eq!(meters.spent(NOW.plus_ms(4_999)), NanoUsd(1_000_000));
    let budget = meters.budget();
    assert_eq!(budget.spent(NOW.plus_ms(5_000)), NanoUsd::ZERO);
    assert_eq!(budget.resets_at(NOW.plus_ms(5_000)), next);
}

#[test]
fn limits_that_need_lists_are_there_from_the_start() {
    let registry = registry();
    let models = json!({"model_max_budget": {"m": {"budget_limit": 1, "time_period": "1d"}}});
    registry.take(&limited("sk-a", 1, models));
    registry.take(&limited("sk-b", 1, json!({})));
    assert!(!is_unused(&registry, "sk-a") && is_unused(&registry, "sk-b"));
    let with_models = registry.with_model_budgets(NOW);
    assert_eq!(with_models.len(), 1);
    assert_eq!(with_models[0].0.id, digest("sk-a").to_string());
}

/// The view was found before the change, and its counters are asked for after it.
#[test]
fn a_request_that_found_the_key_before_a_change_counts_where_all_others_do() {
    let changes: [(&str, Vec<Record>); 4] = [
        ("sk-a", vec![limited("sk-a", 2, json!({"max_budget": 5}))]),
        ("sk-a", vec![limited("sk-a", 2, json!({"blocked": true}))]),
        ("sk-a", vec![of("t", 1, &organized())]),
        ("sk-b", rotation()),
    ];
    for (now_it_is, records) in changes {
        let registry = registry();
        registry.apply(&limited("sk-a", 1, json!({})), counted(40), NOW);
        let found = registry.key("sk-a").unwrap();
        registry.take_all(&records);
        let view = registry.key(now_it_is).unwrap();
        assert!(Arc::ptr_eq(found.meters(), view.meters()), "{records:?}");
        assert_eq!(found.meters().has_ended(), view.policy.blocked);
        assert_eq!(view.meters().spent(NOW), NanoUsd(40));
    }
}

fn organized() -> Team {
    Team {
        organization_id: Some("o".into()),
        ..Team::default()
    }
}

fn rotation() -> Vec<Record> {
    vec![
        ended(limited("sk-a", 1, json!({})), 3),
        rotated("sk-a", "sk-b", 3, NOW.plus_ms(1_000)),
        limited("sk-b", 3, json!({"lineage": digest("sk-a")})),
    ]
}

#[test]
fn a_key_that_ends_before_its_first_use_ends_for_those_who_found_it() {
    let registry = registry();
    let first = limited("sk-a", 1, json!({}));
    registry.take(&first);
    let found = registry.key("sk-a").unwrap();
    registry.take(&ended(first, 2));
    assert!(registry.key("sk-a").is_none());
    assert!(found.meters().has_ended(), "what runs under it is cut");
    registry.take(&limited("sk-b", 1, json!({})));
    let found = registry.key("sk-b").unwrap();
    let restriction = Restriction {
        target_kind: RecordKind::Key,
        target_id: digest("sk-b").to_string(),
        generation: 0,
        restricts: Restricts::Revoked,
    };
    registry.take(&of(&restriction.record_id("eu"), 1, &restriction));
    assert!(registry.key("sk-b").is_none());
    assert!(found.meters().has_ended());
}

/// Threads that use keys for the first time at the same moment, beside one that changes, rotates,
/// blocks or deletes them: every cost is counted once, in the counters that are left.
#[test]
fn threads_that_use_a_key_for_the_first_time_count_in_the_same_counters() {
    const USERS: usize = 3;
    for turn in 0..400 {
        let registry = registry();
        let first = limited("sk-a", 1, json!({}));
        registry.apply(&first, counted(100), NOW);
        let begin = Barrier::new(USERS + 1);
        let used = std::thread::scope(|scope| {
            let users: Vec<_> = (0..USERS)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        // The old digest stands for the new one, or the key is gone.
                        let view = registry.key("sk-a").or_else(|| registry.key("sk-b"))?;
                        Some((pay(&view, 10), Arc::clone(view.meters())))
                    })
                })
                .collect();
            begin.wait();
            match turn % 5 {
                0 => {}
                1 => registry.take(&limited("sk-a", 2, json!({"key_alias": "x"}))),
                2 => registry.take_all(&rotation()),
                3 => registry.take(&limited("sk-a", 2, json!({"blocked": true}))),
                _ => registry.take(&ended(first, 2)),
            }
            let used = users.into_iter().filter_map(|user| user.join().unwrap());
            used.collect::<Vec<_>>()
        });
        let paid = used.iter().filter(|(paid, _)| *paid).count() as i64;
        let last = registry.key("sk-a").map(|view| Arc::clone(view.meters()));
        for (_, meters) in &used {
            let left = last.as_ref().unwrap_or(meters);
            assert!(Arc::ptr_eq(left, meters), "turn {turn}");
            assert_eq!(meters.spent(NOW), NanoUsd(100 + 10 * paid), "turn {turn}");
            assert_eq!(meters.has_ended(), turn % 5 >= 3, "turn {turn}");
        }
    }
}

#[test]
fn keys_that_say_the_same_share_it() {
    let registry = registry();
    for number in 0..10 {
        let fields = json!({"models": ["m"], "key_alias": number.to_string()});
        registry.take(&limited(&format!("sk-{number}"), 1, fields));
    }
    let shared = |clear: &str| Arc::clone(registry.key(clear).unwrap().policy.shared());
    assert!(Arc::ptr_eq(&shared("sk-0"), &shared("sk-9")));
    assert_eq!(registry.keys.notes().3, 1);
    let other = limited("sk-0", 2, json!({"models": ["m"], "max_budget": 1}));
    registry.take(&other);
    assert!(!Arc::ptr_eq(&shared("sk-0"), &shared("sk-9")));
    assert_eq!(
        registry.key("sk-0").unwrap().budget_limit(NOW),
        Some(NanoUsd(1))
    );
    // Blocked by another region, and free again.
    let restriction = Restriction {
        target_kind: RecordKind::Key,
        target_id: digest("sk-1").to_string(),
        generation: 0,
        restricts: Restricts::Blocked,
    };
    let restriction = of(&restriction.record_id("eu"), 1, &restriction);
    registry.take(&restriction);
    assert!(registry.key("sk-1").unwrap().policy.blocked);
    assert!(!registry.key("sk-2").unwrap().policy.blocked);
    registry.take(&ended(restriction, 2));
    assert!(Arc::ptr_eq(&shared("sk-1"), &shared("sk-9")));
    // What few say is nobody else's.
    let tagged = limited(
        "sk-1",
        2,
        json!({"models": ["m"], "metadata": {"tags": ["x"]}}),
    );
    registry.take(&tagged);
    assert!(!Arc::ptr_eq(&shared("sk-1"), &shared("sk-9")));
    registry.sweep(NOW);
    assert_eq!(registry.keys.notes().3, 2);
}

#[test]
fn a_million_keys_fit() {
    assert!(size_of::<KeyView>() <= 112, "{}", size_of::<KeyView>());
    let party = size_of::<meridian_core::party::Party>();
    assert!(party <= 48, "{party}");
}
