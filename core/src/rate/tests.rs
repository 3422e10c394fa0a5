//! The rules by example. What holds over nodes and regions is in `core/tests/sim/rates.rs`.

use std::time::Duration;

use super::*;
use crate::escrow::Actor;
use crate::time::MonoUs;

const SECOND: u64 = 1_000_000;

fn actor(region: u8, node: u16) -> Actor {
    Actor {
        region,
        node,
        incarnation: 1,
    }
}

#[test]
fn a_bucket_gives_a_burst_and_then_its_rate() {
    let bucket = Bucket::new(Some(60));
    let at = |us: u64| bucket.take(1, MonoUs(SECOND + us)).is_ok();
    assert_eq!((0..20).filter(|_| at(0)).count(), 10);
    let wait = bucket.take(1, MonoUs(SECOND)).unwrap_err();
    assert_eq!(wait.remaining, 0);
    assert_eq!(wait.after, Duration::from_secs(1));
    assert!(!at(999_999) && at(SECOND));
    // Refusals have taken nothing.
    assert_eq!((0..20).filter(|_| at(61 * SECOND)).count(), 10);
}

#[test]
fn limits_of_none_zero_and_one_mean_what_they_say() {
    let none = Bucket::new(None);
    assert!((0..1_000).all(|_| none.take(1_000_000, MonoUs(0)).is_ok()));
    assert_eq!(none.remaining(MonoUs(0)), None);
    assert!(Bucket::new(Some(0)).take(1, MonoUs(5)).is_err());
    let one = Bucket::new(Some(1));
    assert!(one.take(1, MonoUs(5)).is_ok());
    assert!(one.take(1, MonoUs(59 * SECOND)).is_err());
    assert!(one.take(1, MonoUs(61 * SECOND)).is_ok());
}

#[test]
fn a_request_over_the_burst_gets_through_and_is_paid_for() {
    let bucket = Bucket::new(Some(600));
    assert!(bucket.take(300, MonoUs(SECOND)).is_ok());
    assert!(bucket.take(1, MonoUs(20 * SECOND)).is_err());
    assert!(bucket.take(1, MonoUs(22 * SECOND)).is_ok());
}

#[test]
fn tokens_are_corrected_both_ways() {
    let bucket = Bucket::new(Some(6_000));
    assert!(bucket.take(1_000, MonoUs(SECOND)).is_ok());
    assert_eq!(bucket.remaining(MonoUs(SECOND)), Some(0));
    bucket.give_back(400);
    assert_eq!(bucket.remaining(MonoUs(SECOND)), Some(400));
    bucket.add(500, MonoUs(SECOND));
    assert!(bucket.take(1, MonoUs(SECOND)).is_err());
    assert!(bucket.take(1, MonoUs(2 * SECOND + SECOND / 50)).is_ok());
}

#[test]
fn what_others_took_is_debited_once_and_debt_has_an_end() {
    let bucket = Bucket::new(Some(60));
    let mut gossip = Gossip::new(actor(0, 0));
    let peer = actor(1, 2);
    let counts = |taken| Counts {
        taken,
        returned: 0,
        offered: taken,
    };
    let now = MonoUs(SECOND);
    gossip.hear(&bucket, peer, counts(100), now);
    assert_eq!(
        bucket.remaining(now),
        Some(10),
        "what was before is not debited"
    );
    for taken in [104, 104, 102] {
        gossip.hear(&bucket, peer, counts(taken), now);
    }
    assert_eq!(bucket.remaining(now), Some(6));
    gossip.hear(&bucket, peer, counts(10_000), now);
    assert!(bucket.take(1, MonoUs(31 * SECOND)).is_err());
    assert!(bucket.take(1, MonoUs(32 * SECOND)).is_ok());
}

#[test]
fn a_silence_costs_a_share_and_is_not_debited_afterwards() {
    let bucket = Bucket::new(Some(600));
    let mut gossip = Gossip::new(actor(0, 0));
    let peer = actor(1, 2);
    let mut taken = 0;
    for step in 0..600 {
        let now = MonoUs(step * SECOND / 5);
        // This node takes two in a second, the other one six.
        if step % 5 < 2 {
            assert!(bucket.take(1, now).is_ok());
        }
        taken += u64::from(step % 5 < 2) * 3;
        let counts = Counts {
            taken,
            returned: 0,
            offered: taken,
        };
        gossip.hear(&bucket, peer, counts, now);
        gossip.tick(&bucket, now);
    }
    let cut = MonoUs(123 * SECOND);
    gossip.tick(&bucket, cut);
    assert!(gossip.is_cut());
    let later = |us: u64| MonoUs(cut.0 + us);
    let admitted = (0..6_000).filter(|ms| bucket.take(1, later(ms * 10_000)).is_ok());
    let admitted = admitted.count();
    // A quarter of the limit, and a quarter of the burst.
    assert!((150..=185).contains(&admitted), "{admitted}");
    let back = later(60 * SECOND);
    let counts = Counts {
        taken: taken + 5_000,
        returned: 0,
        offered: taken + 5_000,
    };
    gossip.hear(&bucket, peer, counts, back);
    gossip.tick(&bucket, back);
    assert!(!gossip.is_cut());
    assert!(bucket.take(1, later(61 * SECOND)).is_ok());
}

#[test]
fn permits_never_exceed_the_pool_whatever_is_lost() {
    let mut vault = PermitVault::default();
    let (a, b) = (actor(0, 1), actor(0, 2));
    let (mut at_a, mut at_b) = (PermitLease::default(), PermitLease::default());
    let now = MonoUs(SECOND);
    assert!(!at_a.take(now), "nothing before the first grant");
    for _ in 0..20 {
        at_a.take(now);
    }
    let beat = at_a.beat();
    at_a.granted(vault.beat(a, beat, 10, now), now);
    assert_eq!((0..20).filter(|_| at_a.take(now)).count(), 10);
    // The other one wants some: it gets them when the first one has said that it obeys.
    at_b.take(now);
    let beat = at_b.beat();
    at_b.granted(vault.beat(b, beat, 10, now), now);
    assert!(!at_b.take(now));
    for _ in 0..6 {
        at_a.give_back();
    }
    let beat = at_a.beat();
    let lower = vault.beat(a, beat, 10, now);
    assert_eq!(lower.permits, 5);
    let beat = at_b.beat();
    assert_eq!(vault.beat(b, beat, 10, now).permits, 0, "not obeyed yet");
    at_a.granted(lower, now);
    let beat = at_a.beat();
    at_a.granted(vault.beat(a, beat, 10, now), now);
    let beat = at_b.beat();
    at_b.granted(vault.beat(b, beat, 10, now), now);
    assert!(at_b.take(now));
    assert!(vault.leased() <= 10);
}

#[test]
fn a_lease_ends_at_the_node_before_it_ends_at_the_vault() {
    let mut vault = PermitVault::default();
    let node = actor(0, 1);
    let mut lease = PermitLease::default();
    let beat = lease.beat();
    lease.granted(vault.beat(node, beat, 3, MonoUs(100)), MonoUs(0));
    assert!(lease.take(MonoUs(14 * SECOND)));
    // The process slept.
    assert!(!lease.take(MonoUs(15 * SECOND)));
    vault.expire(MonoUs(15 * SECOND));
    assert_eq!(vault.leased(), 1);
    vault.expire(MonoUs(16 * SECOND));
    assert_eq!(vault.leased(), 0);
}

#[test]
fn permits_are_all_back_after_ten_thousand_requests_that_went_away() {
    let mut vault = PermitVault::default();
    let node = actor(0, 1);
    let mut lease = PermitLease::default();
    for number in 0..10_000_u64 {
        let now = MonoUs(number * 1_000);
        if number % 100 == 0 {
            let beat = lease.beat();
            lease.granted(vault.beat(node, beat, 5, now), now);
        }
        if lease.take(now) {
            lease.give_back();
        }
    }
    assert_eq!(lease.in_use(), 0);
}
