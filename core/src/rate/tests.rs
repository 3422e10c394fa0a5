//! The rules by example. What holds over nodes and regions is in `core/tests/sim/rates.rs`.

use super::*;
use crate::escrow::Actor;
use crate::time::{MonoUs, WallMs};

const SECOND: u64 = 1_000_000;

fn actor(region: u8, node: u16) -> Actor {
    Actor {
        region,
        node,
        incarnation: 0,
    }
}

const START: WallMs = WallMs(1_800_000_000_000);

fn at(ms: i64) -> WallMs {
    START.plus_ms(ms)
}

fn life(region: u8, node: u16) -> Life {
    Life {
        actor: actor(region, node),
        boot: 1,
    }
}

fn counts(taken: u64) -> Counts {
    Counts {
        taken,
        offered: taken,
        ..Counts::default()
    }
}

/// The same with what was taken in the last minute.
fn with_past(taken: u64, recent: u64) -> Counts {
    let mut own = [0; 12];
    own[0] = recent;
    let past = Past { own, ages: None };
    Counts {
        past: Some(past),
        ..counts(taken)
    }
}

#[test]
fn a_debt_is_never_more_than_a_lowered_limit_pays_in_a_minute() {
    let minute = Minute::new(Some(1_000_000));
    let held = minute.take(1_000_000, at(0)).unwrap();
    minute.correct(held, 1_000_000, 1_400_000);
    minute.set_limit(Some(1_000));
    assert!(
        minute.take(1, at(61_500)).is_err(),
        "the debt is paid first"
    );
    assert!(minute.take(1, at(123_000)).is_ok());
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_blocks_nobody_for_as_long() {
    let minute = Minute::new(Some(10));
    assert!(minute.take(10, at(3_600_000)).is_ok());
    assert!(minute.take(10, at(1_000)).is_ok());
    assert!(minute.take(1, at(2_000)).is_err());
    assert!(minute.take(10, at(62_500)).is_ok());
}

#[test]
fn a_minute_gives_its_limit_at_once_and_again_when_it_has_passed() {
    let minute = Minute::new(Some(60));
    let takes = |ms: i64| minute.take(1, at(ms)).is_ok();
    assert_eq!((0..100).filter(|_| takes(900)).count(), 60);
    let full = minute.take(1, at(1_500)).unwrap_err();
    assert_eq!((full.limit, full.remaining), (60, 0));
    assert_eq!(full.room_at, at(61_000));
    assert!(!takes(60_999));
    // Refusals have taken nothing.
    assert_eq!((0..100).filter(|_| takes(61_000)).count(), 60);
    // Half a minute's pause gives what was taken before it, and no more.
    let minute = Minute::new(Some(60));
    let takes = |ms: i64| minute.take(1, at(ms)).is_ok();
    assert!((0..30).all(|_| takes(0)) && (0..30).all(|_| takes(30_000)));
    assert!(!takes(60_900));
    assert_eq!((0..100).filter(|_| takes(61_000)).count(), 30);
}

#[test]
fn limits_of_none_zero_and_one_mean_what_they_say() {
    let none = Minute::new(None);
    assert!((0..1_000).all(|_| none.take(1_000_000, at(0)).is_ok()));
    assert_eq!(none.remaining(at(0)), None);
    assert!(Minute::new(Some(0)).take(1, at(5)).is_err());
    let one = Minute::new(Some(1));
    assert!(one.take(1, at(5)).is_ok());
    assert!(one.take(1, at(59_000)).is_err());
    assert!(one.take(1, at(61_000)).is_ok());
}

#[test]
fn a_request_over_the_limit_gets_an_empty_minute_and_is_paid_for() {
    let minute = Minute::new(Some(100));
    assert!(minute.take(663, at(0)).is_ok());
    assert!(minute.take(1, at(60_000)).is_err());
    assert!(
        minute.take(1, at(61_000)).is_err(),
        "one more limit is owed"
    );
    assert!(minute.take(1, at(122_000)).is_ok());
    // An estimate that was far too high owes nothing.
    let minute = Minute::new(Some(100));
    let taken = minute.take(663, at(0)).unwrap();
    minute.correct(taken, 663, 50);
    assert_eq!(minute.remaining(at(100)), Some(50));
}

#[test]
fn tokens_are_corrected_both_ways() {
    let minute = Minute::new(Some(1_000));
    let taken = minute.take(1_000, at(0)).unwrap();
    minute.correct(taken, 1_000, 600);
    assert_eq!(minute.remaining(at(0)), Some(400));
    let more = minute.take(100, at(0)).unwrap();
    minute.correct(more, 100, 500);
    assert!(minute.take(1, at(60_000)).is_err());
    // What is owed is in the next minute.
    assert_eq!(minute.remaining(at(61_000)), Some(900));
    minute.give_back(400, taken);
    assert_eq!(
        minute.remaining(at(61_000)),
        Some(900),
        "it had left before"
    );
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let minute = Minute::new(Some(2));
    assert!(minute.take(1, at(10_000)).is_ok() && minute.take(1, at(0)).is_ok());
    assert!(minute.take(1, at(5_000)).is_err());
    assert!(minute.take(1, at(71_000)).is_ok());
}

#[test]
fn what_others_took_is_debited_once_and_debt_has_an_end() {
    let minute = Minute::new(Some(60));
    let mut gossip = Gossip::default();
    let peer = life(1, 2);
    gossip.hear(&minute, peer, with_past(0, 0), at(0));
    for taken in [4, 4, 2] {
        gossip.hear(&minute, peer, counts(taken), at(0));
    }
    assert_eq!(minute.remaining(at(0)), Some(56));
    gossip.hear(&minute, peer, counts(10_000), at(0));
    assert_eq!(minute.remaining(at(61_000)), Some(0));
    assert!(minute.take(1, at(121_000)).is_err());
    assert!(minute.take(1, at(122_000)).is_ok());
}

#[test]
fn what_a_peer_took_in_the_minute_before_it_was_met_counts() {
    let minute = Minute::new(Some(60));
    let mut gossip = Gossip::default();
    gossip.hear(&minute, life(1, 2), counts(100_000), at(0));
    assert_eq!(minute.remaining(at(0)), Some(60), "nobody can say when");
    gossip.hear(&minute, life(1, 2), with_past(100_000, 10), at(0));
    assert_eq!(minute.remaining(at(0)), Some(50));
    gossip.hear(&minute, life(1, 2), with_past(100_001, 11), at(0));
    assert_eq!(minute.remaining(at(0)), Some(49), "it is met once");
}

#[test]
fn who_starts_is_told_what_all_took_and_when() {
    let (known, fresh) = (Minute::new(Some(60)), Minute::new(Some(60)));
    let (mut old, mut young) = (Gossip::default(), Gossip::default());
    let ears = Ears::new(life(0, 0));
    old.tick(&known, &ears, (at(0), MonoUs(0)));
    assert!((0..30).all(|_| known.take(1, at(20_000)).is_ok()));
    assert!((0..20).all(|_| known.take(1, at(50_000)).is_ok()));
    // Its own last takings are part of what the other one knows.
    assert!((0..5).all(|_| fresh.take(1, at(52_000)).is_ok()));
    known.debit(5, at(52_000));
    for boot in 1..4 {
        let from = Life { boot, ..life(0, 1) };
        let counts = old.counts_and_past(&known, at(53_000));
        young.hear(&fresh, from, counts, at(53_000));
    }
    assert_eq!(fresh.remaining(at(53_000)), Some(5), "however many say so");
    assert_eq!(fresh.remaining(at(84_500)), Some(35));
    assert_eq!(fresh.remaining(at(116_000)), Some(60));
}

#[test]
fn a_process_that_started_anew_is_told_by_its_boot_however_little_it_has_counted() {
    let minute = Minute::new(Some(60));
    let mut gossip = Gossip::default();
    let first = life(1, 2);
    let second = Life { boot: 2, ..first };
    gossip.hear(&minute, first, with_past(0, 0), at(0));
    gossip.hear(&minute, first, counts(10), at(0));
    // More than half of what the first one counted, and none of it is the same.
    gossip.hear(&minute, second, with_past(8, 8), at(0));
    assert_eq!(minute.remaining(at(0)), Some(42));
    // A late letter of the first process changes nothing.
    gossip.hear(&minute, first, counts(9), at(0));
    gossip.hear(&minute, second, counts(12), at(0));
    assert_eq!(minute.remaining(at(0)), Some(38));
}

#[test]
fn a_silence_costs_a_share_and_afterwards_the_last_minute_counts() {
    let minute = Minute::new(Some(600));
    let (mut gossip, peer) = (Gossip::default(), life(1, 2));
    let mut ears = Ears::new(life(0, 0));
    let mut taken = 0;
    let clock = |ms: u64| (at(ms as i64), MonoUs(ms * 1_000));
    for step in 0..600_u64 {
        let (wall, mono) = clock(step * 200);
        // This node takes two in a second, the other one six.
        if step % 5 < 2 {
            assert!(minute.take(1, wall).is_ok());
        }
        taken += u64::from(step % 5 < 2) * 3;
        ears.hear(peer, mono);
        gossip.hear(&minute, peer, with_past(taken, 0), wall);
        gossip.tick(&minute, &ears, (wall, mono));
    }
    let cut = 124_000;
    ears.forget(0, clock(cut).1);
    gossip.tick(&minute, &ears, clock(cut));
    assert!(ears.is_cut(clock(cut).1));
    let admitted = (0..6_100).filter(|step| minute.take(1, clock(cut + step * 10).0).is_ok());
    let admitted = admitted.count();
    // A quarter of the limit.
    assert!((150..=185).contains(&admitted), "{admitted}");
    let (wall, mono) = clock(cut + 62_000);
    gossip.tick(&minute, &ears, (wall, mono));
    let before = minute.level();
    assert!(ears.hear(peer, mono), "it is to be told everything");
    gossip.hear(&minute, peer, counts(taken + 5_000), wall);
    assert_eq!(minute.level(), before);
    gossip.hear(&minute, peer, with_past(taken + 5_000, 440), wall);
    gossip.tick(&minute, &ears, (wall, mono));
    assert!(!ears.is_cut(mono));
    assert_eq!(minute.level(), before + 440);
    assert!(minute.take(1, clock(cut + 124_000).0).is_ok());
}

#[test]
fn who_is_silent_may_be_dead_or_cut_off() {
    let (me, sibling, afar, beside) = (life(0, 0), life(0, 1), life(1, 2), life(1, 3));
    let mut ears = Ears::new(me);
    let second = |s: u64| MonoUs(s * SECOND);
    for life in [sibling, afar, beside] {
        assert!(ears.hear(life, second(1)) && !ears.hear(life, second(1)));
    }
    ears.hear(beside, second(10));
    ears.forget(1, second(10));
    assert_eq!(ears.standing(sibling, second(10)), Standing::Silent);
    assert_eq!(
        ears.standing(afar, second(10)),
        Standing::Gone,
        "others of it are heard"
    );
    // As long as the store says that there is a sibling, it may only be unheard.
    ears.forget(1, second(20));
    assert_eq!(ears.standing(sibling, second(20)), Standing::Silent);
    assert_eq!(ears.standing(beside, second(20)), Standing::Silent);
    ears.forget(0, second(20));
    assert_eq!(ears.standing(sibling, second(20)), Standing::Gone);
    assert_eq!(ears.least(second(20)).to_bits(), 0.0_f64.to_bits());
    assert_eq!(ears.least(second(200)).to_bits(), 0.5_f64.to_bits());
    // A process that started anew takes the place of the one before.
    let anew = Life { boot: 2, ..beside };
    ears.hear(anew, second(200));
    ears.forget(0, second(200));
    assert_eq!(ears.standing(beside, second(200)), Standing::Gone);
    assert!(!ears.is_cut(second(200)));
    ears.leave(anew);
    assert_eq!(ears.known().count(), 1);
}

/// Nodes of one scope with a limit on parallel requests, and the one that leases them.
struct Office {
    vault: Vault,
    nodes: Vec<(u64, Tenure, Permits, u32)>,
    limit: u32,
}

impl Office {
    fn new(limit: u32, nodes: u64, now: MonoUs) -> Self {
        let mut office = Self {
            vault: Vault::new(1, now),
            nodes: Vec::new(),
            limit,
        };
        for boot in 1..=nodes {
            let (tenure, hot) = (Tenure::default(), Permits::default());
            let even = even_part(limit, boot as usize - 1, nodes as usize);
            hot.set(&tenure, even, clocks(now));
            office.nodes.push((boot, tenure, hot, 0));
        }
        office
    }

    fn known(&self) -> Vec<u64> {
        self.nodes.iter().map(|(boot, ..)| *boot).collect()
    }

    /// A node's beat reaches the vault, and the answer the node.
    fn beat(&mut self, node: usize, now: MonoUs) {
        let (known, limit) = (self.known(), self.limit);
        let (boot, tenure, hot, in_use) = &mut self.nodes[node];
        let beat = tenure.beat(hot, [*in_use, hot.take_refused(), 0], now);
        self.vault.hear(*boot, beat, now);
        if let Some(grant) = self.vault.grant(*boot, &known, limit, now) {
            tenure.granted(1, grant);
            hot.set(tenure, even_part(limit, node, known.len()), clocks(now));
        }
    }

    /// Takes permits until there is none; how many.
    fn fill(&mut self, node: usize, now: MonoUs) -> u32 {
        let (.., hot, in_use) = &mut self.nodes[node];
        let before = *in_use;
        for _ in 0..100 {
            match *in_use < hot.allowed(clocks(now).0) {
                true => *in_use += 1,
                false => hot.note_refusal(),
            }
        }
        *in_use - before
    }

    fn in_use(&self) -> u32 {
        self.nodes.iter().map(|(.., in_use)| in_use).sum()
    }
}

fn clocks(now: MonoUs) -> (WallMs, MonoUs) {
    (at((now.0 / 1_000) as i64), now)
}

#[test]
fn permits_go_where_requests_are_and_never_exceed_the_limit() {
    let second = |s: u64| MonoUs(s * SECOND);
    let mut office = Office::new(10, 3, second(1));
    // Nobody has a lease: everybody has an even part.
    assert_eq!(
        [0, 1, 2].map(|node| office.fill(node, second(1))),
        [4, 3, 3]
    );
    for node in 0..3 {
        office.nodes[node].3 = 0;
    }
    // All requests come to one node: it has all permits when the others have let go of theirs.
    for turn in 2..6 {
        office.fill(0, second(turn));
        (0..3)
            .rev()
            .for_each(|node| office.beat(node, second(turn)));
        assert!(office.in_use() <= 10 && office.vault.leased() <= 10);
    }
    office.fill(0, second(6));
    assert_eq!(office.in_use(), 10);
    // Another one wants some: it gets them as they fall free, after the first has let go.
    assert_eq!(office.fill(1, second(6)), 0);
    office.nodes[0].3 = 6;
    for turn in 7..10 {
        office.beat(1, second(turn));
        office.beat(0, second(turn));
        office.fill(1, second(turn));
        office.fill(0, second(turn));
        assert!(office.in_use() <= 10, "{}", office.in_use());
        office.nodes[0].3 = office.nodes[0].3.saturating_sub(1);
    }
    assert!(office.nodes[1].3 >= 3, "{}", office.nodes[1].3);
}

#[test]
fn who_is_not_heard_has_an_even_part_and_the_vault_leaves_it() {
    let second = |s: u64| MonoUs(s * SECOND);
    let mut office = Office::new(9, 3, second(1));
    for turn in 2..5 {
        office.fill(0, second(turn));
        (0..3)
            .rev()
            .for_each(|node| office.beat(node, second(turn)));
    }
    office.fill(0, second(5));
    assert_eq!(office.nodes[0].3, 9);
    // The lease of the one that is cut off ends there before the vault gives its part away.
    let allowed = |office: &Office, node: usize, now| office.nodes[node].2.allowed(clocks(now).0);
    assert_eq!(allowed(&office, 1, second(18)), 0);
    assert_eq!(allowed(&office, 1, second(20)), 3);
    office.nodes[0].3 = 0;
    for turn in 18..22 {
        office.fill(0, second(turn));
        [2, 0]
            .into_iter()
            .for_each(|node| office.beat(node, second(turn)));
        office.nodes[0].3 = 0;
    }
    assert_eq!(allowed(&office, 0, second(22)), 6);
}

#[test]
fn a_new_vault_listens_before_it_gives() {
    let second = |s: u64| MonoUs(s * SECOND);
    let mut vault = Vault::new(7, second(10));
    let obeys = GrantId { by: 3, number: 9 };
    let beat = |holds| Beat {
        obeys,
        holds,
        in_use: 0,
        wanted: 10,
        turn: 10_000,
    };
    vault.hear(7, beat(1), second(10));
    assert_eq!(vault.grant(7, &[7, 8], 10, second(11)), None);
    vault.hear(8, beat(8), second(11));
    let grant = vault.grant(7, &[7, 8], 10, second(11)).unwrap();
    assert_eq!(grant.permits, 2, "what the other has of the vault before");
}
