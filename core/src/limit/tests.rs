//! Windows, refunds and permits, alone and under contention.

use super::*;
use crate::rate::Tenure;
use crate::time::MonoUs;

const START: WallMs = WallMs(1_800_000_000_000);

fn limits(rpm: Option<u64>, tpm: Option<u64>, parallel: Option<u64>) -> RateSlot {
    RateSlot::new(Limits { rpm, tpm, parallel })
}

#[test]
fn a_window_admits_its_limit_and_starts_at_first_use() {
    let slot = limits(Some(3), None, None);
    let at = START.plus_ms(17_000);
    for _ in 0..3 {
        slot.settle(slot.take(0, at).unwrap(), 0);
    }
    let refused = slot.take(0, at.plus_ms(59_000)).unwrap_err();
    assert_eq!(refused.dimension, Dimension::Requests);
    assert_eq!((refused.limit, refused.remaining), (3, 0));
    assert_eq!(refused.resets_at, at.plus_ms(60_000));
    assert_eq!(refused.retry_after_s, 1);
    slot.settle(slot.take(0, at.plus_ms(60_000)).unwrap(), 0);
    // A clock that goes back does not open a new window.
    assert!(slot.take(0, START).is_ok() && slot.take(0, START).is_ok());
    assert!(slot.take(0, START).is_err());
}

#[test]
fn the_error_is_litellms() {
    let slot = limits(Some(0), None, None);
    let error = slot
        .take(0, WallMs(1_767_225_540_000))
        .unwrap_err()
        .error("api_key", "h".into());
    let text = "Rate limit exceeded for api_key: h. Limit type: requests. Current limit: 0, \
                Remaining: 0. Limit resets at: 2026-01-01 00:00:00 UTC";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.reply().retry_after_s, Some(60));
}

#[test]
fn a_refusal_by_one_dimension_takes_nothing_from_the_others() {
    let slot = limits(Some(2), Some(100), Some(1));
    let running = slot.take(10, START).unwrap();
    assert_eq!(
        slot.take(10, START).unwrap_err().dimension,
        Dimension::Parallel
    );
    slot.settle(running, 10);
    assert_eq!(
        slot.take(1_000, START).unwrap_err().dimension,
        Dimension::Tokens
    );
    let left: Vec<u64> = slot.levels(START).map(|level| level.remaining).collect();
    assert_eq!(left, [1, 90, 1]);
    let second = slot.take(90, START).unwrap();
    slot.release(second);
    let left: Vec<u64> = slot.levels(START).map(|level| level.remaining).collect();
    assert_eq!(
        left,
        [1, 90, 1],
        "a request that was not sent counts for nothing"
    );
}

#[test]
fn tokens_are_corrected_in_their_own_window_only() {
    let slot = limits(None, Some(100), None);
    let first = slot.take(80, START).unwrap();
    slot.settle(first, 30);
    let second = slot.take(70, START).unwrap();
    let late = START.plus_ms(61_000);
    let third = slot.take(50, late).unwrap();
    slot.settle(second, 0);
    assert_eq!(slot.levels(late).next().unwrap().remaining, 50);
    slot.settle(third, 400);
    assert_eq!(slot.levels(late).next().unwrap().remaining, 0);
}

#[test]
fn a_request_over_the_whole_limit_gets_an_empty_window_and_no_other() {
    let slot = limits(None, Some(100), None);
    let hold = slot.take(663, START).unwrap();
    assert!(slot.take(1, START).is_err());
    slot.settle(hold, 50);
    assert!(slot.take(663, START).is_err());
    assert!(limits(None, Some(0), None).take(1, START).is_err());
}

#[test]
fn limits_change_while_requests_run() {
    let slot = limits(None, None, None);
    let holds: Vec<_> = (0..5).map(|_| slot.take(9, START).unwrap()).collect();
    slot.set(Limits {
        rpm: Some(1),
        tpm: Some(10),
        parallel: Some(6),
    });
    let last = slot.take(10, START).unwrap();
    assert!(slot.take(0, START).is_err());
    for hold in holds {
        slot.settle(hold, 1_000_000);
    }
    assert_eq!(slot.levels(START).nth(1).unwrap().remaining, 0);
    slot.settle(last, 4);
    assert_eq!(slot.levels(START).nth(1).unwrap().remaining, 6);
    assert_eq!(slot.in_flight(), 0);
    assert_eq!(
        limits(Some(LIMIT_MAX + 1), None, None)
            .levels(START)
            .count(),
        0
    );
}

#[test]
fn exactly_the_limit_is_admitted_per_window_whatever_the_threads_do() {
    let (threads, rounds, limit) = (8, 500u64, 700u64);
    let slot = limits(Some(limit), Some(limit * 10), Some(6));
    for window in 0..4 {
        let now = START.plus_ms(window * 60_000);
        let admitted: u64 = std::thread::scope(|scope| {
            let offer = || {
                let mut admitted = 0;
                for _ in 0..rounds {
                    match slot.take(10, now) {
                        Ok(hold) => {
                            admitted += 1;
                            assert!(slot.in_flight() <= 6);
                            slot.settle(hold, 10);
                        }
                        Err(refused) => assert_eq!(refused.limit % 2, 0),
                    }
                }
                admitted
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(offer)).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        // The parallel limit refuses too, so fewer may get through, but never more; what it
        // refused must not have used up requests: the rest is still there.
        assert!(admitted <= limit);
        for _ in admitted..limit {
            slot.settle(slot.take(10, now).unwrap(), 10);
        }
        assert!(slot.take(10, now).is_err());
        assert_eq!(slot.in_flight(), 0);
    }
}

/// A slot that shares its limits, on a node that may use `permits` of them.
fn joined(slot: &RateSlot, permits: u32) -> Arc<Joint> {
    let joint = Arc::new(Joint::default());
    let clocks = (START, MonoUs(0));
    joint.permits.set(&Tenure::default(), permits, clocks);
    slot.join(Arc::clone(&joint), START);
    joint
}

#[test]
fn shared_limits_begin_with_what_was_counted_and_refusals_take_nothing() {
    let slot = limits(Some(3), Some(100), Some(4));
    slot.settle(slot.take(40, START).unwrap(), 40);
    assert!(slot.is_apart());
    let joint = joined(&slot, 1);
    assert!(!slot.is_apart());
    let left = || -> Vec<u64> { slot.levels(START).map(|level| level.remaining).collect() };
    assert_eq!(left(), [2, 60, 1]);
    let running = slot.take(10, START).unwrap();
    let refused = slot.take(10, START).unwrap_err();
    assert_eq!(
        (refused.dimension, refused.limit, refused.retry_after_s),
        (Dimension::Parallel, 4, 1),
        "the limit of all is told, and that it may be had in a moment"
    );
    assert_eq!(joint.permits.take_refused(), 1);
    slot.settle(running, 20);
    let refused = slot.take(50, START).unwrap_err();
    assert_eq!(refused.dimension, Dimension::Tokens);
    assert_eq!((refused.limit, refused.remaining), (100, 40));
    assert_eq!(refused.resets_at, START.plus_ms(61_000));
    assert_eq!(left(), [1, 40, 1]);
    slot.release(slot.take(40, START).unwrap());
    assert_eq!(
        left(),
        [1, 40, 1],
        "a request that was not sent counts for nothing"
    );
    slot.settle(slot.take(5, START).unwrap(), 5);
    let refused = slot.take(5, START).unwrap_err();
    assert_eq!(refused.dimension, Dimension::Requests);
    assert_eq!(slot.in_flight(), 0);
}

#[test]
fn a_request_that_runs_while_limits_come_to_be_shared_gives_back_what_it_took() {
    let slot = limits(Some(5), None, Some(4));
    let before = slot.take(0, START).unwrap();
    joined(&slot, 4);
    let shared = slot.take(0, START).unwrap();
    slot.part();
    assert_eq!(slot.in_flight(), 2);
    slot.release(before);
    slot.release(shared);
    assert_eq!(slot.in_flight(), 0);
    // Alone again this node's own windows decide.
    assert_eq!(slot.levels(START).next().unwrap().remaining, 5);
}

#[test]
fn a_shared_limit_that_is_changed_holds_at_once() {
    let slot = limits(Some(5), None, None);
    joined(&slot, 0);
    for _ in 0..3 {
        slot.settle(slot.take(0, START).unwrap(), 0);
    }
    slot.set(Limits {
        rpm: Some(2),
        ..Limits::default()
    });
    assert!(slot.take(0, START).is_err());
    slot.set(Limits::default());
    assert!(slot.take(0, START).is_ok());
}
