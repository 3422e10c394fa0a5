//! The bound, the period's end under load, and changes of the rules while requests run.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::*;

const START: WallMs = WallMs(1_800_000_000_000);

fn slot(limit: Option<i64>, duration: Option<&str>) -> BudgetSlot {
    let terms = terms(limit, duration);
    BudgetSlot::new(terms, NanoUsd::ZERO, &TimeZone::UTC, START)
}

fn terms(limit: Option<i64>, duration: Option<&str>) -> Terms {
    Terms {
        limit: limit.map(NanoUsd),
        duration: duration.and_then(BudgetDuration::parse),
        ..Terms::default()
    }
}

fn take(slot: &BudgetSlot, need: i64) -> Result<Reservation, BudgetRefusal> {
    slot.reserve(NanoUsd(need), START)
}

#[test]
fn a_budget_is_used_to_its_end_and_not_further_than_one_request() {
    let slot = slot(Some(100), None);
    let first = take(&slot, 60).unwrap();
    let refused = take(&slot, 60).unwrap_err();
    assert_eq!((refused.used, refused.limit), (NanoUsd(60), NanoUsd(100)));
    let second = take(&slot, 40).unwrap();
    slot.settle(first, NanoUsd(50));
    slot.settle(second, NanoUsd(40));
    assert_eq!(slot.spent(START), NanoUsd(90));
    // Ten are left and nothing runs: one more, whatever it costs; then no more.
    let last = take(&slot, 60).unwrap();
    assert!(take(&slot, 1).is_err());
    slot.settle(last, NanoUsd(30));
    assert_eq!(slot.spent(START), NanoUsd(120));
    assert!(take(&slot, 0).is_err());
}

#[test]
fn spend_at_the_limit_refuses_as_litellm_does() {
    assert!(take(&slot(Some(0), None), 0).is_err());
    let spent = BudgetSlot::new(terms(Some(5), None), NanoUsd(5), &TimeZone::UTC, START);
    let error = take(&spent, 0)
        .unwrap_err()
        .error(BudgetScope::Team("t".into()));
    let text =
        "Budget has been exceeded! Team=t Current cost: 0.000000005, Max budget: 0.000000005";
    assert_eq!(error.to_string(), text);
    assert!(take(&slot(None, None), i64::MAX).is_ok());
}

#[test]
fn every_scope_refuses_in_litellms_words() {
    let spent = BudgetSlot::new(terms(Some(5), None), NanoUsd::DOLLAR, &TimeZone::UTC, START);
    let id = || "x".to_owned();
    let per_model = BudgetScope::KeyModel {
        key: "h".into(),
        alias: "a".into(),
        model: "m".into(),
    };
    let tail = "Current cost: 1.0, Max budget: 0.000000005";
    let over = "over budget. Spend=1.0, Budget=0.000000005";
    let scopes = [
        (
            BudgetScope::Key,
            format!("Budget has been exceeded! {tail}"),
        ),
        (
            BudgetScope::Global,
            format!("Budget has been exceeded! {tail}"),
        ),
        (
            BudgetScope::Team(id()),
            format!("Budget has been exceeded! Team=x {tail}"),
        ),
        (
            BudgetScope::Organization(id()),
            format!("Budget has been exceeded! Organization=x {tail}"),
        ),
        (
            BudgetScope::Tag(id()),
            format!("Budget has been exceeded! Tag=x {tail}"),
        ),
        (
            BudgetScope::User(id()),
            format!("ExceededBudget: User=x {over}"),
        ),
        (
            BudgetScope::EndUser(id()),
            format!("ExceededBudget: End User=x {over}"),
        ),
        (
            per_model,
            "LiteLLM Virtual Key: h, key_alias: a, exceeded budget for model=m".to_owned(),
        ),
    ];
    for (scope, text) in scopes {
        let reply = take(&spent, 1).unwrap_err().error(scope).reply();
        assert_eq!(
            (reply.status, reply.kind.as_str()),
            (429, "budget_exceeded")
        );
        assert_eq!((reply.param, reply.message), (None, text));
    }
}

#[test]
fn released_and_free_requests_cost_nothing() {
    let slot = slot(Some(10), None);
    slot.release(take(&slot, 10).unwrap());
    assert_eq!(slot.used(START), NanoUsd::ZERO);
    slot.settle(take(&slot, 10).unwrap(), NanoUsd(10));
    let free = slot.count(START);
    slot.settle(free, NanoUsd(3));
    assert_eq!(slot.spent(START), NanoUsd(13));
}

#[test]
fn late_settlements_belong_to_their_own_period() {
    let slot = slot(Some(100), Some("1h"));
    let end = slot.resets_at(START).unwrap();
    let late = slot.reserve(NanoUsd(70), end.plus_ms(-1)).unwrap();
    let later = slot.reserve(NanoUsd(30), end.plus_ms(-1)).unwrap();
    assert!(slot.reserve(NanoUsd(1), end.plus_ms(-1)).is_err());
    let fresh = slot.reserve(NanoUsd(90), end).unwrap();
    slot.settle(late, NanoUsd(1_000));
    slot.release(later);
    assert_eq!(
        (slot.used(end), slot.spent(end)),
        (NanoUsd(90), NanoUsd::ZERO)
    );
    slot.settle(fresh, NanoUsd(20));
    assert_eq!(
        (slot.used(end), slot.spent(end)),
        (NanoUsd(20), NanoUsd(20))
    );
    assert_eq!(slot.resets_at(end), Some(end.plus_ms(3_600_000)));
    // Fourteen days down: the next period is the one that holds now.
    let much_later = end.plus_ms(14 * 86_400_000 + 5);
    assert_eq!(slot.spent(much_later), NanoUsd::ZERO);
    assert!(slot.resets_at(much_later).unwrap() > much_later);
    // A clock that goes back stays in the period.
    assert_eq!(slot.resets_at(START), slot.resets_at(much_later));
}

#[test]
fn a_reservation_that_outlives_hundreds_of_periods_is_not_mistaken() {
    let slot = slot(Some(100), Some("1s"));
    let old = slot.reserve(NanoUsd(50), START).unwrap();
    let older: Vec<_> = (0..20)
        .map(|_| slot.reserve(NanoUsd(1), START).unwrap())
        .collect();
    let mut older = older.into_iter();
    for second in 1..600 {
        let now = START.plus_ms(second * 1_000);
        let hold = slot.reserve(NanoUsd(100), now).unwrap();
        assert!(slot.reserve(NanoUsd(1), now).is_err());
        // Sixteen periods on, the tag in the word is the same again.
        if second % 8 == 0
            && let Some(older) = older.next()
        {
            slot.settle(older, NanoUsd(90));
        }
        slot.settle(hold, NanoUsd(7));
        assert_eq!((slot.used(now), slot.spent(now)), (NanoUsd(7), NanoUsd(7)));
    }
    let now = START.plus_ms(600_000);
    assert_eq!(slot.spent(now), NanoUsd::ZERO);
    slot.settle(old, NanoUsd(90));
    assert_eq!(
        (slot.used(now), slot.spent(now)),
        (NanoUsd::ZERO, NanoUsd::ZERO)
    );
    // Periods that pass without a settlement leave no trace either.
    for second in 601..640 {
        assert_eq!(slot.spent(START.plus_ms(second * 1_000)), NanoUsd::ZERO);
    }
    let now = START.plus_ms(640_000);
    slot.settle(slot.reserve(NanoUsd(9), now).unwrap(), NanoUsd(9));
    assert_eq!(slot.spent(now), NanoUsd(9));
}

#[test]
fn a_stored_period_is_taken_up_where_it_was() {
    let new = |resets_at: i64| {
        let terms = Terms {
            resets_at: Some(WallMs(resets_at)),
            ..terms(Some(10), Some("14d"))
        };
        BudgetSlot::new(terms, NanoUsd(8), &TimeZone::UTC, START)
    };
    let running = new(START.0 + 500);
    assert_eq!(running.spent(START), NanoUsd(8));
    assert_eq!(running.resets_at(START), Some(START.plus_ms(500)));
    assert_eq!(running.spent(START.plus_ms(500)), NanoUsd::ZERO);
    let over = new(START.0);
    assert_eq!(over.spent(START), NanoUsd::ZERO);
}

#[test]
fn rules_change_and_counters_stay() {
    let slot = slot(Some(100), None);
    let held = take(&slot, 80).unwrap();
    slot.update(terms(Some(50), None), START);
    assert!(take(&slot, 1).is_err());
    slot.update(terms(Some(200), Some("1d")), START);
    let second = take(&slot, 100).unwrap();
    assert!(slot.resets_at(START).is_some());
    slot.settle(held, NanoUsd(70));
    assert_eq!(
        (slot.used(START), slot.spent(START)),
        (NanoUsd(170), NanoUsd(70))
    );
    slot.update(terms(None, None), START);
    assert_eq!((slot.limit(START), slot.resets_at(START)), (None, None));
    slot.settle(second, NanoUsd(100));
    slot.update(terms(Some(170), Some("30d")), START);
    assert!(take(&slot, 1).is_err());
    assert!(
        slot.reserve(NanoUsd(1), START.plus_ms(40 * 86_400_000))
            .is_ok()
    );
}

#[test]
fn a_temporary_increase_ends_by_itself() {
    let terms = Terms {
        extra: Some((NanoUsd(50), START.plus_ms(1_000))),
        ..terms(Some(100), None)
    };
    let slot = BudgetSlot::new(terms, NanoUsd(100), &TimeZone::UTC, START);
    let held = slot.reserve(NanoUsd(10), START).unwrap();
    slot.release(held);
    let refused = slot.reserve(NanoUsd(10), START.plus_ms(1_000)).unwrap_err();
    assert_eq!(refused.limit, NanoUsd(100));
}

#[test]
fn spend_is_set_under_running_requests() {
    let slot = slot(Some(100), None);
    let held = take(&slot, 40).unwrap();
    slot.set_spent(NanoUsd(60), START);
    assert!(take(&slot, 1).is_err());
    slot.set_spent(NanoUsd(10), START);
    assert_eq!(
        (slot.used(START), slot.spent(START)),
        (NanoUsd(50), NanoUsd(10))
    );
    slot.settle(held, NanoUsd(5));
    assert_eq!(
        (slot.used(START), slot.spent(START)),
        (NanoUsd(15), NanoUsd(15))
    );
    slot.set_spent(NanoUsd::ZERO, START);
    assert_eq!(slot.used(START), NanoUsd::ZERO);
}

#[test]
fn replayed_costs_count_in_the_running_period_only() {
    let slot = slot(Some(100), Some("1d"));
    slot.charge(NanoUsd(10), START.plus_ms(-86_400_000), START);
    assert_eq!(slot.spent(START), NanoUsd::ZERO);
    slot.charge(NanoUsd(10), START.plus_ms(-1), START);
    assert_eq!(
        (slot.used(START), slot.spent(START)),
        (NanoUsd(10), NanoUsd(10))
    );
}

#[test]
fn a_stream_extends_its_reservation_while_there_is_money() {
    let slot = slot(Some(100), None);
    let mut held = take(&slot, 10).unwrap();
    slot.extend(&mut held, NanoUsd(50), START).unwrap();
    let other = take(&slot, 30).unwrap();
    assert!(slot.extend(&mut held, NanoUsd(20), START).is_err());
    slot.release(other);
    // What runs does not grow past the limit, even when nobody else runs.
    assert!(slot.extend(&mut held, NanoUsd(41), START).is_err());
    slot.extend(&mut held, NanoUsd(40), START).unwrap();
    slot.shrink(&mut held, NanoUsd(20));
    slot.extend(&mut held, NanoUsd(20), START).unwrap();
    assert_eq!(slot.used(START), NanoUsd(100));
    slot.settle(held, NanoUsd(100));
    assert_eq!(slot.spent(START), NanoUsd(100));
}

#[test]
fn absurd_amounts_do_not_disturb_the_count() {
    let slot = slot(None, None);
    slot.settle(take(&slot, 5).unwrap(), NanoUsd(5));
    let huge = take(&slot, i64::MAX).unwrap();
    let more = take(&slot, i64::MAX).unwrap();
    slot.release(huge);
    slot.release(more);
    assert_eq!(
        (slot.used(START), slot.spent(START)),
        (NanoUsd(5), NanoUsd(5))
    );
    slot.settle(take(&slot, -5).unwrap(), NanoUsd(-5));
    assert_eq!(slot.used(START), NanoUsd(5));
}

/// Threads against one budget; the largest need is the published bound.
#[test]
fn threads_never_overshoot_by_more_than_one_request() {
    for seed in 0..20u64 {
        let (limit, most) = (200_000i64, 5_000i64);
        let slot = slot(Some(limit), None);
        let settled = AtomicI64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..6u64 {
                let (slot, settled) = (&slot, &settled);
                scope.spawn(move || {
                    let mut dice = seed << 8 | thread | 1 << 40;
                    let mut refused = 0;
                    while refused < 50 {
                        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let need = (dice >> 33) as i64 % most + 1;
                        let cost = (dice >> 20) as i64 % (need + 1);
                        match take(slot, need) {
                            Err(_) => refused += 1,
                            Ok(held) if dice >> 60 == 0 => slot.release(held),
                            Ok(held) => {
                                slot.settle(held, NanoUsd(cost));
                                settled.fetch_add(cost, SeqCst);
                            }
                        }
                    }
                });
            }
        });
        let settled = settled.into_inner();
        assert_eq!(
            slot.spent(START),
            NanoUsd(settled),
            "nothing lost, nothing twice"
        );
        assert_eq!(slot.used(START), NanoUsd(settled), "nothing stays reserved");
        assert!(settled <= limit + most, "{settled}");
        assert!(settled >= limit - most, "the budget can be used: {settled}");
    }
}

/// Threads reserve while periods end under them: each period keeps its own bound and its own sum.
#[test]
fn periods_end_under_load_without_mixing() {
    const PERIODS: usize = 40;
    let (limit, most) = (3_000i64, 100i64);
    let slot = slot(Some(limit), Some("1s"));
    let sums: Vec<AtomicI64> = (0..PERIODS).map(|_| AtomicI64::new(0)).collect();
    let clock = AtomicI64::new(START.0);
    std::thread::scope(|scope| {
        for thread in 0..4i64 {
            let (slot, sums, clock) = (&slot, &sums, &clock);
            scope.spawn(move || {
                let mut held = Vec::new();
                for round in 0..40_000i64 {
                    let now = clock.fetch_add(i64::from(round % 4 == thread % 4), SeqCst);
                    let now = WallMs(now.min(START.0 + PERIODS as i64 * 1_000 - 1));
                    if let Ok(reservation) = slot.reserve(NanoUsd(most), now) {
                        held.push(reservation);
                    }
                    if held.len() > 7 || round % 3 == 0 {
                        let at = (round as usize * 7) % held.len().max(1);
                        if at < held.len() {
                            let reservation = held.swap_remove(at);
                            let cost = round % most;
                            let period = reservation.epoch.number() as usize;
                            slot.settle(reservation, NanoUsd(cost));
                            sums[period].fetch_add(cost, SeqCst);
                        }
                    }
                    assert!(slot.used(now).0 <= limit + most);
                }
                held.into_iter()
                    .for_each(|reservation| slot.release(reservation));
            });
        }
    });
    let now = WallMs(clock.into_inner().min(START.0 + PERIODS as i64 * 1_000 - 1));
    assert_eq!(slot.used(now), slot.spent(now), "nothing stays reserved");
    let last = slot.count(now).epoch.number() as usize;
    assert!(last > 10, "periods did end: {last}");
    let in_time = slot.spent(now).0;
    assert!(in_time <= sums[last].load(SeqCst));
    for (period, sum) in sums.iter().enumerate() {
        assert!(sum.load(SeqCst) <= limit + most, "period {period}");
    }
}

#[test]
fn rules_change_while_periods_end() {
    let slot = slot(Some(1_000), Some("1s"));
    std::thread::scope(|scope| {
        let slot = &slot;
        scope.spawn(move || {
            for round in 0..5_000 {
                let rules = [terms(Some(1_000), Some("2s")), terms(Some(900), Some("1s"))];
                slot.update(rules[round % 2], START.plus_ms(round as i64 * 3));
            }
        });
        for _ in 0..3 {
            scope.spawn(move || {
                for round in 0..15_000 {
                    let now = START.plus_ms(round);
                    if let Ok(held) = slot.reserve(NanoUsd(300), now) {
                        assert!(slot.used(now) <= NanoUsd(1_300));
                        slot.settle(held, NanoUsd(1));
                    }
                }
            });
        }
    });
    let now = START.plus_ms(20_000);
    assert_eq!(
        (slot.used(now), slot.spent(now)),
        (NanoUsd::ZERO, NanoUsd::ZERO)
    );
}
