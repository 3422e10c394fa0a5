//! One key's counters as requests see them, and a simulation against a simple model.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use serde_json::json;

mod exposure;
mod policies;

use super::*;
use crate::error::GatewayError;
use std::sync::Arc;

const START: WallMs = WallMs(1_800_000_000_000);

fn record(fields: serde_json::Value) -> KeyRecord {
    let mut all = json!({"token": KeyHash::of_secret("sk-1"), "key_name": "sk-...0001"});
    all.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn meters(fields: serde_json::Value) -> Arc<Meters> {
    Arc::new(Meters::of_key(&record(fields), &TimeZone::UTC, START))
}

fn need(cost: i64, tokens: u64) -> Need<'static> {
    Need {
        cost: NanoUsd(cost),
        tokens,
        model: "gpt-4o",
        free: false,
        key_alias: None,
        decides: Decides::Count,
        excess: NanoUsd::ZERO,
    }
}

fn shared(limit: i64, kind: ScopeKind) -> Due {
    let terms = Terms {
        limit: Some(NanoUsd(limit)),
        ..Terms::default()
    };
    let whose = Whose::Scope(Scope::new(kind, "t"));
    let meters = Meters::budget_of(whose, terms, NanoUsd::ZERO, &TimeZone::UTC, START);
    Due::of(Arc::new(meters))
}

#[test]
fn a_request_takes_and_gives_back_everything_once() {
    let fields = json!({"max_budget": 1_000, "rpm_limit": 10, "tpm_limit": 500,
        "max_parallel_requests": 2, "spend": 100});
    let meters = meters(fields);
    let team = shared(5_000, ScopeKind::Team);
    let admission = meters
        .admit(need(400, 50), vec![team.clone()], START)
        .unwrap();
    assert_eq!(meters.budget().used(START), NanoUsd(500));
    assert_eq!(team.meters.budget().used(START), NanoUsd(400));
    admission.settle(NanoUsd(300), 70);
    assert_eq!(
        (meters.spent(START), team.meters.budget().spent(START)),
        (NanoUsd(400), NanoUsd(300))
    );
    let levels: Vec<_> = meters.rates().levels(START).collect();
    assert_eq!(
        levels
            .iter()
            .map(|level| level.remaining)
            .collect::<Vec<_>>(),
        [9, 430, 2]
    );
    assert_eq!(
        levels[0].key_headers().0,
        "x-ratelimit-api_key-limit-requests"
    );
    meters
        .admit(need(400, 50), Vec::new(), START)
        .unwrap()
        .release();
    let left: Vec<_> = meters
        .rates()
        .levels(START)
        .map(|level| level.remaining)
        .collect();
    assert_eq!(left, [9, 430, 2]);
}

#[test]
fn a_refusal_anywhere_leaves_every_counter_as_it_was() {
    let fields = json!({"max_budget": 1_000, "rpm_limit": 10, "max_parallel_requests": 5,
        "model_max_budget": {"gpt-4o": {"budget_limit": 0.0000008, "time_period": "1d"}},
        "metadata": {"model_rpm_limit": {"gpt-4o": 1}}});
    let meters = meters(fields);
    let team = shared(700, ScopeKind::Team);
    let tag = shared(10_000, ScopeKind::Tag);
    let others = [tag, team];
    let first = meters.admit(need(600, 1), others.to_vec(), START).unwrap();
    let used = || -> Vec<i64> {
        let (_, model) = meters.models.find("gpt-4o").unwrap();
        let slots = [
            meters.budget(),
            &model.budget.slot,
            others[0].meters.budget(),
            others[1].meters.budget(),
        ];
        let mut all: Vec<i64> = slots.iter().map(|slot| slot.used(START).0).collect();
        let levels = meters
            .rates()
            .levels(START)
            .chain(meters.model_levels("gpt-4o", START));
        all.extend(levels.map(|level| level.remaining as i64));
        all
    };
    let before = used();
    let refused = |cost: i64| {
        let denied = meters.admit(need(cost, 1), others.to_vec(), START);
        *denied.unwrap_err().error
    };
    assert!(matches!(
        refused(500),
        GatewayError::BudgetExceeded {
            scope: BudgetScope::Key,
            ..
        }
    ));
    let model = refused(300).to_string();
    assert!(
        model.ends_with("key_alias: None, exceeded budget for model=gpt-4o"),
        "{model}"
    );
    let team = refused(150);
    assert!(team.to_string().contains("Team=t"), "{team}");
    let rate = refused(50);
    let GatewayError::RateLimited {
        scope: "model_per_key",
        id,
        ..
    } = &rate
    else {
        panic!("{rate}");
    };
    assert!(id.ends_with(":gpt-4o"));
    assert_eq!(used(), before);
    first.release();
    assert_eq!(used(), [0, 0, 0, 0, 10, 5, 1]);
}

#[test]
fn a_lost_admission_frees_its_permit_and_charges_only_what_may_be_billed() {
    let meters = meters(json!({"max_budget": 1_000, "max_parallel_requests": 1, "rpm_limit": 9}));
    drop(meters.admit(need(400, 5), Vec::new(), START).unwrap());
    assert_eq!(meters.budget().used(START), NanoUsd::ZERO);
    let on_fire = Arc::clone(&meters);
    let thread = std::thread::spawn(move || {
        let mut admission = on_fire.admit(need(400, 5), Vec::new(), START).unwrap();
        admission.mark_sent();
        panic!("lost");
    });
    assert!(thread.join().is_err());
    assert_eq!(meters.spent(START), NanoUsd(400));
    assert_eq!(meters.rates().in_flight(), 0);
    assert!(meters.admit(need(400, 5), Vec::new(), START).is_ok());
}

#[test]
fn a_free_model_passes_an_empty_budget_and_an_unpriced_one_does_not() {
    let meters = meters(json!({"max_budget": 0}));
    let free = Need {
        free: true,
        ..need(0, 1)
    };
    meters
        .admit(free, Vec::new(), START)
        .unwrap()
        .settle(NanoUsd::ZERO, 1);
    assert!(meters.admit(need(0, 1), Vec::new(), START).is_err());
}

#[test]
fn changed_limits_apply_at_once_and_counters_stay() {
    let meters = meters(json!({"max_budget": 100, "metadata": {"model_tpm_limit": {"gpt-4o": 5}}}));
    let running = meters.admit(need(90, 5), Vec::new(), START).unwrap();
    assert!(meters.admit(need(90, 0), Vec::new(), START).is_err());
    let update = |fields| {
        let record = record(fields);
        let written = Written {
            bounds: &record.bounds(),
            metadata: &record.metadata,
        };
        meters.update(written, &TimeZone::UTC, START);
    };
    update(json!({"max_budget": 1_000, "spend": 777, "max_parallel_requests": 1}));
    assert!(meters.model_levels("gpt-4o", START).is_empty());
    assert!(
        meters.admit(need(90, 50), Vec::new(), START).is_err(),
        "one runs already"
    );
    running.settle(NanoUsd(50), 5);
    assert_eq!(meters.spent(START), NanoUsd(50));
    meters
        .admit(need(90, 50), Vec::new(), START)
        .unwrap()
        .settle(NanoUsd(1), 1);
    update(json!({"metadata": {"model_rpm_limit": {"gpt-4o": 1, "other": 3}}}));
    meters
        .admit(need(1, 1), Vec::new(), START)
        .unwrap()
        .settle(NanoUsd(1), 1);
    assert!(meters.admit(need(1, 1), Vec::new(), START).is_err());
    let prefixed = Need {
        model: "openai/gpt-4o",
        ..need(1, 1)
    };
    assert!(meters.admit(prefixed, Vec::new(), START).is_err());
    assert_eq!(meters.model_levels("other", START)[0].remaining, 3);
}

#[test]
fn temporary_increases_and_model_budgets_come_out_of_the_record() {
    let until = START.plus_ms(1_000).to_iso();
    let fields = json!({"max_budget": 1_000_000_000,
        "metadata": {"temp_budget_increase": 0.5, "temp_budget_expiry": until}});
    let meters = meters(fields);
    assert_eq!(meters.budget().limit(START), Some(NanoUsd(1_500_000_000)));
    assert_eq!(
        meters.budget().limit(START.plus_ms(1_000)),
        Some(NanoUsd::DOLLAR)
    );
}

#[test]
fn rules_that_cannot_be_enforced_are_refused_and_never_ignored() {
    let good = json!({"max_budget": 5, "budget_duration": "30d",
        "model_max_budget": {"a": {"max_budget": "1.5", "budget_duration": "1d"}, "b": 2},
        "metadata": {"model_rpm_limit": {"a": 3}, "model_tpm_limit": null}});
    assert_eq!(check_rules(&record(good)), Ok(()));
    let many: serde_json::Map<_, _> = (0..300).map(|at| (at.to_string(), json!(1))).collect();
    let bad = [
        json!({"budget_duration": "monthly"}),
        json!({"max_budget": -5}),
        json!({"model_max_budget": {"a": {"budget_limit": "lots"}}}),
        json!({"model_max_budget": {"a": {"budget_limit": 1, "time_period": "soon"}}}),
        json!({"metadata": {"model_rpm_limit": {"a": -1}}}),
        json!({"metadata": {"model_tpm_limit": [1]}}),
        json!({"metadata": {"temp_budget_increase": 5}}),
        json!({"model_max_budget": many}),
    ];
    for fields in bad {
        let error = check_rules(&record(fields.clone())).unwrap_err();
        assert_eq!(error.reply().status, 400, "{fields}");
    }
    // Were it stored all the same, it would allow nothing.
    let closed = meters(json!({"model_max_budget": {"gpt-4o": {"budget_limit": "lots"}}}));
    assert!(closed.admit(need(1, 1), Vec::new(), START).is_err());
    let closed = meters(json!({"metadata": {"model_rpm_limit": {"gpt-4o": "many"}}}));
    assert!(closed.admit(need(1, 1), Vec::new(), START).is_err());
}

#[test]
fn a_million_keys_fit() {
    assert!(size_of::<Meters>() <= 240, "{} bytes", size_of::<Meters>());
    println!("Meters {} bytes", size_of::<Meters>());
    println!("KeyPolicy {} bytes", size_of::<crate::auth::KeyPolicy>());
    println!("Admission {} bytes", size_of::<Admission>());
}

/// Threads on one key with every limit, over several windows and seeds, against plain sums.
#[test]
fn a_simulation_keeps_every_invariant() {
    for seed in 1..=8u64 {
        let (budget, most, rpm) = (400_000i64, 1_000i64, 300u64);
        let fields = json!({"max_budget": budget, "rpm_limit": rpm, "max_parallel_requests": 3});
        let meters = meters(fields);
        let team = shared(budget * 2, ScopeKind::Team);
        let spent = AtomicI64::new(0);
        for window in 0..3 {
            let now = START.plus_ms(window * 60_000);
            let admitted = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for thread in 0..6u64 {
                    let (meters, team, admitted, spent) = (&meters, &team, &admitted, &spent);
                    scope.spawn(move || {
                        let others = [team.clone()];
                        let mut dice = seed << 20 | thread << 8 | window as u64 | 1 << 50;
                        for _ in 0..400 {
                            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let cost = (dice >> 33) as i64 % most;
                            let Ok(mut admission) =
                                meters.admit(need(most, 1), others.to_vec(), now)
                            else {
                                continue;
                            };
                            assert!(meters.rates().in_flight() <= 3);
                            match dice >> 61 {
                                0 => admission.release(),
                                1 => drop(admission),
                                end => {
                                    admitted.fetch_add(1, SeqCst);
                                    admission.mark_sent();
                                    let cost = if end == 2 { most } else { cost };
                                    spent.fetch_add(cost, SeqCst);
                                    if end != 2 {
                                        admission.settle(NanoUsd(cost), 1);
                                    }
                                }
                            }
                        }
                    });
                }
            });
            let admitted = admitted.into_inner();
            let left = meters.rates().levels(now).next().unwrap().remaining;
            assert_eq!(
                admitted + left,
                rpm,
                "refunds are exact, L and no more are admitted"
            );
            assert_eq!(meters.rates().in_flight(), 0);
        }
        let spent = spent.into_inner();
        assert!(spent <= budget + most);
        assert_eq!(
            (meters.spent(START), team.meters.budget().spent(START)),
            (NanoUsd(spent), NanoUsd(spent))
        );
        assert_eq!(meters.budget().used(START), NanoUsd(spent));
    }
}

/// Prints nanoseconds for one request over key, model, team and user; asserts only the absurd.
#[test]
fn admission_takes_nanoseconds() {
    let fields = json!({"max_budget": 1_000_000_000_000_000_000i64, "rpm_limit": 4_000_000_000u64,
        "tpm_limit": 4_000_000_000u64, "max_parallel_requests": 100,
        "model_max_budget": {"gpt-4o": 1_000_000}});
    let meters = meters(fields);
    let big = 1_000_000_000_000_000_000i64;
    let others = [
        shared(big, ScopeKind::Team),
        shared(big, ScopeKind::User),
        shared(big, ScopeKind::Tag),
        shared(big, ScopeKind::Organization),
    ];
    let slots = [&others[0], &others[1], &others[2], &others[3]].map(|other| other.meters.budget());
    let reserve = || slots.map(|slot| slot.reserve(NanoUsd(1_000), START).unwrap());
    let reserved = best_of(|| {
        for (slot, held) in slots.into_iter().zip(reserve()) {
            slot.settle(held, NanoUsd(900));
        }
    });
    println!("reserve and settle 4 budgets: {reserved:?}");
    let admitted = best_of(|| {
        let mut admission = meters
            .admit(need(1_000, 10), others[..2].to_vec(), START)
            .unwrap();
        admission.mark_sent();
        admission.settle(NanoUsd(900), 9);
    });
    println!("admit and settle, 4 budgets and 2 scopes of rates: {admitted:?}");
    assert!(admitted.as_micros() < 50, "{admitted:?}");
}

/// Time of one round in the fastest of many batches: other work on the machine stays out.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement needs a real clock"
)]
fn best_of(round: impl Fn()) -> std::time::Duration {
    const ROUNDS: u32 = 2_000;
    let batch = |_| {
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            round();
        }
        start.elapsed() / ROUNDS
    };
    (0..50).map(batch).min().unwrap_or_default()
}

#[test]
fn a_soft_budget_is_told_once_and_never_refuses() {
    let meters = meters(json!({"soft_budget": 100}));
    let pay = |cost: i64| {
        let admitted = meters.admit(need(cost, 1), Vec::new(), START).unwrap();
        admitted.settle(NanoUsd(cost), 1)
    };
    assert_eq!(pay(60), []);
    let crossed = pay(60);
    assert_eq!(
        (crossed[0].soft, crossed[0].spent),
        (NanoUsd(100), NanoUsd(120))
    );
    assert_eq!(pay(60), []);
}

#[test]
fn a_scope_that_only_counts_does_not_refuse_and_an_end_reaches_what_runs() {
    let meters = meters(json!({}));
    let full = shared(0, ScopeKind::User);
    assert!(meters.admit(need(5, 1), vec![full.clone()], START).is_err());
    let counts = Due {
        counts_only: true,
        ..full.clone()
    };
    let admission = meters.admit(need(5, 1), vec![counts], START).unwrap();
    assert!(!admission.has_ended());
    full.meters.set_ended(true);
    assert!(admission.has_ended());
    admission.settle(NanoUsd(7), 1);
    assert_eq!(full.meters.spent(START), NanoUsd(7));
}
