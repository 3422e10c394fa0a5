//! The rules by example. What holds over many nodes and faults is in `core/tests/sim`.

mod fence;
mod lease;
mod lost;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::scope::{Scope, ScopeKind};
use crate::time::{MonoUs, WallMs};

fn actor(region: u8, node: u16) -> Actor {
    Actor {
        region,
        node,
        incarnation: 1,
    }
}

fn pid() -> Pid {
    Pid {
        scope: ScopeId::of(&Scope::new(ScopeKind::Team, "red"), ""),
        index: 0,
        generation: 0,
    }
}

/// A node that lives with the others and has minted `amount`.
fn rich(me: Actor, live: &[Actor], amount: Rights) -> Escrow {
    let mut escrow = Escrow::new(me, Settings::default());
    let mut out = Vec::new();
    escrow.step(MonoUs(0), Event::Members(live.to_vec()), &mut out);
    let claimed = Event::Claimed {
        pid: pid(),
        claim: 0,
        amount,
        by: me,
    };
    escrow.step(MonoUs(0), claimed, &mut out);
    escrow
}

fn lease(amount: Rights) -> Message {
    let standing = Standing {
        need: amount,
        ..Standing::default()
    };
    Message::Need {
        pid: pid(),
        want: Want::Lease,
        amount,
        standing,
    }
}

/// Another actor tells what its row says.
fn tells(from: Actor, row: Row) -> Event {
    let message = Message::Row {
        pid: pid(),
        row,
        standing: Standing::default(),
        answer: false,
    };
    Event::Received { from, message }
}

/// The vault of `pid` among two nodes of region 0, and the other one.
fn pair() -> (Actor, Actor) {
    let both = [actor(0, 1), actor(0, 2)];
    let vault = Members::new(both).vault(pid().scope, 0).unwrap();
    let other = both.into_iter().find(|one| *one != vault).unwrap();
    (vault, other)
}

#[test]
fn rights_leave_only_after_the_journal_is_on_disk() {
    let (vault, node) = pair();
    let mut escrow = rich(vault, &[vault, node], 1_000);
    let mut out = Vec::new();
    let asked = Event::Received {
        from: node,
        message: lease(100),
    };
    escrow.step(MonoUs(1), asked, &mut out);
    let row = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::Row { .. },
                ..
            }
        )
    };
    assert!(!out.iter().any(row), "nothing is visible yet: {out:?}");
    let journal = out
        .iter()
        .position(|one| matches!(one, Effect::Journal { .. }));
    let sync = out.iter().position(|one| matches!(one, Effect::Sync(_)));
    assert!(journal.unwrap() < sync.unwrap());
    // What is promised is gone already, whatever becomes of the message.
    assert_eq!(escrow.slot(pid()).unwrap().avail(), 900);
    let Effect::Sync(ticket) = out[sync.unwrap()] else {
        unreachable!();
    };
    out.clear();
    escrow.step(MonoUs(2), Event::Synced(ticket), &mut out);
    assert!(out.iter().any(row), "{out:?}");
}

/// A disk that was put back from a copy knows less of its gifts than who received them.
#[test]
fn a_row_that_is_older_than_what_others_have_from_it_spends_nothing_more() {
    let (vault, node) = pair();
    let mut escrow = rich(vault, &[vault, node], 1_000);
    let mut hear = |received: Rights| {
        let row = Row {
            received: [(vault, received)].into(),
            ..Row::default()
        };
        let mut out = Vec::new();
        escrow.step(MonoUs(1), tells(node, row), &mut out);
        let said = |effect: &Effect| matches!(effect, Effect::Outdated { by, .. } if *by == node);
        (
            out.iter().any(said),
            escrow.slot(pid()).unwrap().reserve(10).is_ok(),
        )
    };
    assert_eq!(hear(0), (false, true));
    assert_eq!(hear(300), (true, false));
}

/// The vault is told that its sibling has plenty, and what it says is lost.
#[test]
fn a_sibling_that_did_not_hear_is_asked_again_and_other_regions_only_meanwhile() {
    let (vault, node) = pair();
    let far = actor(1, 3);
    let mut escrow = rich(vault, &[vault, node, far], 0);
    let mut out = Vec::new();
    let says = Message::Row {
        pid: pid(),
        row: Row::default(),
        standing: Standing {
            free: 500,
            ..Standing::default()
        },
        answer: false,
    };
    let says = Event::Received {
        from: node,
        message: says,
    };
    escrow.step(MonoUs(1), says, &mut out);
    let mut asked = |ms: u64| {
        out.clear();
        let short = Event::Short {
            pid: pid(),
            need: 100,
        };
        escrow.step(MonoUs(ms * 1_000), short, &mut out);
        let want = |effect: &Effect| match effect {
            Effect::Send {
                to,
                message: Message::Need { want, .. },
            } => Some((*to, *want)),
            _ => None,
        };
        out.iter().filter_map(want).collect::<Vec<_>>()
    };
    assert_eq!(asked(10), [(node, Want::Recall)]);
    assert_eq!(asked(400), [(far, Want::Urgent)]);
    assert_eq!(asked(1_100), [(node, Want::Recall)]);
}

#[test]
fn a_transfer_that_comes_twice_or_late_counts_once() {
    let (vault, node) = pair();
    let mut escrow = rich(node, &[vault, node], 0);
    let told = |sent: Rights| Event::Received {
        from: vault,
        message: Message::Row {
            pid: pid(),
            row: Row {
                sent: [(node, sent)].into(),
                ..Row::default()
            },
            standing: Standing::default(),
            answer: true,
        },
    };
    let mut out = Vec::new();
    for sent in [50, 80, 80, 50] {
        escrow.step(MonoUs(1), told(sent), &mut out);
    }
    assert_eq!(escrow.slot(pid()).unwrap().avail(), 80);
    assert_eq!(escrow.row(pid()).unwrap().received_from(vault), 80);
}

#[test]
fn a_claim_that_is_told_twice_is_minted_once_and_a_raise_comes_on_top() {
    let me = actor(0, 1);
    let mut escrow = rich(me, &[me], 1_000);
    let mut claimed = |claim, amount, by| {
        let mut out = Vec::new();
        let event = Event::Claimed {
            pid: pid(),
            claim,
            amount,
            by,
        };
        escrow.step(MonoUs(1), event, &mut out);
        escrow.slot(pid()).unwrap().avail()
    };
    assert_eq!(claimed(0, 1_000, me), 1_000);
    assert_eq!(claimed(1, 500, me), 1_500);
    assert_eq!(claimed(1, 500, me), 1_500);
    assert_eq!(claimed(2, 700, actor(0, 2)), 1_500);
}

#[test]
fn a_restart_goes_on_with_what_the_journal_says() {
    let (vault, node) = pair();
    let mut escrow = rich(vault, &[vault, node], 1_000);
    let slot = escrow.slot(pid()).unwrap();
    slot.settle(slot.reserve(300).unwrap(), 250);
    let row = escrow.row(pid()).unwrap();
    assert_eq!(row.held(), 750);
    escrow = Escrow::new(vault, Settings::default());
    escrow.restore(pid(), row, MonoUs(0));
    let slot = escrow.slot(pid()).unwrap();
    assert_eq!((slot.avail(), slot.used()), (750, 250));
}

#[test]
fn a_cost_over_its_reservation_is_a_debt_and_counts_in_the_bound() {
    let me = actor(0, 1);
    let escrow = rich(me, &[me], 100);
    let slot = escrow.slot(pid()).unwrap();
    slot.settle(slot.reserve(100).unwrap(), 103);
    assert_eq!(slot.avail(), -3);
    assert_eq!(slot.reserve(1).unwrap_err(), Short::Rights { missing: 4 });
    assert_eq!(escrow.exposure(pid()).total(), 3);
}

#[test]
fn a_frozen_period_admits_nothing_and_settles_what_runs() {
    let me = actor(0, 1);
    let mut escrow = rich(me, &[me], 100);
    let slot = escrow.slot(pid()).unwrap();
    let mut hold = slot.reserve(10).unwrap();
    escrow.step(MonoUs(1), Event::Frozen(pid()), &mut Vec::new());
    assert_eq!(slot.reserve(1).unwrap_err(), Short::Frozen);
    assert_eq!(slot.extend(&mut hold, 1).unwrap_err(), Short::Frozen);
    slot.settle(hold, 7);
    assert_eq!(slot.used(), 7);
}

#[test]
fn a_lowering_destroys_what_is_free_and_shows_what_is_not() {
    let me = actor(0, 1);
    let mut escrow = rich(me, &[me], 100);
    let slot = escrow.slot(pid()).unwrap();
    let hold = slot.reserve(60).unwrap();
    let order = Event::BurnOrdered {
        pid: pid(),
        total: 70,
    };
    escrow.step(MonoUs(1), order, &mut Vec::new());
    assert_eq!(escrow.row(pid()).unwrap().burned, 40);
    assert_eq!(escrow.exposure(pid()).pending_decrease, 30);
    slot.release(hold);
    escrow.step(MonoUs(2_000_000), Event::Tick, &mut Vec::new());
    assert_eq!(escrow.row(pid()).unwrap().burned, 70);
    assert_eq!(escrow.exposure(pid()).pending_decrease, 0);
}

#[test]
fn a_node_that_leaves_gives_everything_back_and_an_idle_one_keeps_one_request() {
    let (vault, node) = pair();
    let mut out = Vec::new();
    let mut idle = rich(node, &[vault, node], 1_000);
    let slot = idle.slot(pid()).unwrap();
    slot.settle(slot.reserve(10).unwrap(), 10);
    idle.step(MonoUs(100_000), Event::Tick, &mut out);
    let later = MonoUs(0).plus(Duration::from_secs(3_600));
    idle.step(later, Event::Tick, &mut out);
    assert_eq!(slot.avail(), 10);
    idle.step(later, Event::Members(vec![vault]), &mut out);
    idle.step(later, Event::Leaving, &mut out);
    idle.step(later.plus(Duration::from_secs(5)), Event::Tick, &mut out);
    assert_eq!(slot.avail(), 0);
    let sent = idle.row(pid()).unwrap();
    assert_eq!(sent.sent_to(vault), 990);
    assert!(!idle.is_empty(), "the vault has not said that it arrived");
    let arrived = Message::Row {
        pid: pid(),
        row: Row {
            received: [(node, 990)].into(),
            ..Row::default()
        },
        standing: Standing::default(),
        answer: false,
    };
    let from = vault;
    let message = arrived;
    idle.step(later, Event::Received { from, message }, &mut out);
    assert!(idle.is_empty());
}

#[test]
fn a_request_is_charged_to_each_budget_once_or_to_none() {
    let me = actor(0, 1);
    let (rich_one, poor) = (rich(me, &[me], 100), rich(me, &[me], 30));
    let slots = [rich_one.slot(pid()).unwrap(), poor.slot(pid()).unwrap()];
    let refused = Holds::reserve(&slots, 40).unwrap_err();
    let short = Short::Rights { missing: 10 };
    assert_eq!(refused, Refused { at: 1, short });
    assert_eq!(slots[0].avail(), 100);
    let mut holds = Holds::reserve(&slots, 20).unwrap();
    assert!(holds.extend(20).is_err());
    assert_eq!((holds.reserved(), slots[0].avail()), (20, 80));
    holds.settle(15);
    assert_eq!((slots[0].used(), slots[1].avail()), (15, 15));
}

#[test]
fn the_vault_charges_what_a_lost_node_held() {
    let (vault, node) = pair();
    let mut escrow = rich(vault, &[vault, node], 1_000);
    let mut out = Vec::new();
    let asked = Event::Received {
        from: node,
        message: lease(100),
    };
    escrow.step(MonoUs(1), asked, &mut out);
    out.clear();
    escrow.step(MonoUs(2), Event::WrittenOff(node), &mut out);
    let expected = Effect::Suspense {
        pid: pid(),
        actor: node,
        amount: 100,
    };
    assert_eq!(out, [expected]);
}

#[test]
fn parts_of_a_plan_are_the_whole_budget_whatever_its_size() {
    for amount in [0, 1, 7, 1_000, 999_999_999_999] {
        let plan = Plan::new(amount, &[0, 1, 2], 1, 0.02, 30).unwrap();
        assert_eq!(plan.check(), Ok(()));
        assert!(plan.part(1) * 2 >= amount, "{plan:?}");
    }
    assert_eq!(
        Plan::new(1, &[0], 1, 0.02, 1).unwrap_err(),
        BadPlan::NoHome(1)
    );
    let mut plan = Plan::new(100, &[0, 1], 0, 0.02, 1).unwrap();
    plan.parts.insert(2, 1);
    assert!(matches!(plan.check(), Err(BadPlan::Sum { parts: 101, .. })));
}

#[test]
fn periods_change_after_the_skew_and_never_back() {
    let start_of = |at: WallMs| WallMs(at.0 - at.0.rem_euclid(60_000));
    let mut rollover = Rollover::new(WallMs(0));
    let mut at = |ms, health| rollover.enter(WallMs(ms), health, start_of);
    let healthy = clock_health(&mut [-100, 3, 9_000]);
    assert_eq!(at(60_499, healthy), Entry::Period(WallMs(0)));
    assert_eq!(at(60_500, healthy), Entry::Period(WallMs(60_000)));
    assert_eq!(at(59_000, healthy), Entry::Period(WallMs(60_000)));
    let off = clock_health(&mut [4_000, 4_001, 0]);
    assert_eq!(off, ClockHealth::Off(4_000));
    assert_eq!(at(180_000, off), Entry::Quarantined);
    assert_eq!(clock_health(&mut []), ClockHealth::Healthy);
}

#[test]
fn names_of_actors_and_rows_survive_text() {
    let row = Row {
        minted: [(0, 5), (2, 7)].into(),
        sent: [(actor(3, 9), 4)].into(),
        ..Row::default()
    };
    let text = serde_json::to_string(&(pid(), &row)).unwrap();
    let back: (Pid, Row) = serde_json::from_str(&text).unwrap();
    assert_eq!(back, (pid(), row));
    assert_eq!("3.9.1".parse(), Ok(actor(3, 9)));
    assert_eq!("3.9".parse::<Actor>(), Err(BadActor));
    let other = ScopeId::of(&Scope::new(ScopeKind::Team, "red"), "1d");
    assert_ne!(other, pid().scope);
}

#[test]
fn a_late_copy_of_a_period_that_is_over_gives_nothing_again() {
    let (vault, node) = pair();
    let mut escrow = rich(node, &[vault, node], 0);
    let told = |index| Event::Received {
        from: vault,
        message: Message::Row {
            pid: Pid { index, ..pid() },
            row: Row {
                sent: [(node, 50)].into(),
                ..Row::default()
            },
            standing: Standing::default(),
            answer: true,
        },
    };
    let mut out = Vec::new();
    escrow.step(MonoUs(1), told(0), &mut out);
    escrow.step(MonoUs(2), Event::Ended(pid()), &mut out);
    out.clear();
    for index in [0, -1] {
        escrow.step(MonoUs(3), told(index), &mut out);
    }
    assert!(escrow.slot(pid()).is_none() && out.is_empty(), "{out:?}");
    escrow.step(MonoUs(3), told(1), &mut out);
    assert_eq!(escrow.pids().count(), 1);
}

#[test]
fn threads_never_hold_more_than_there_is() {
    let me = actor(0, 1);
    let escrow = rich(me, &[me], 1_000);
    let slot = escrow.slot(pid()).unwrap();
    let admitted = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for round in 0..2_000 {
                    let Ok(hold) = slot.reserve(7) else {
                        continue;
                    };
                    if round % 3 == 0 {
                        slot.release(hold);
                    } else {
                        slot.settle(hold, 5);
                        admitted.fetch_add(5, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(slot.used(), admitted.into_inner());
    assert_eq!((slot.avail() + slot.used(), slot.reserved()), (1_000, 0));
    assert!((0..7).contains(&slot.avail()), "{}", slot.avail());
}

#[test]
fn regions_have_different_numbers_also_where_their_digests_begin_alike() {
    let names = |all: &[&str]| RegionNumbers::new(all.iter().map(|name| (*name).to_owned()));
    let three = names(&["us", "ap", "eu"]);
    assert_eq!(
        ["ap", "us", "eu"].map(|name| three.of(name)),
        [121, 122, 77]
    );
    assert_eq!(names(&["eu", "us", "ap"]).of("us"), 122);
    assert_eq!(names(&["us"]).of("us"), 121);
    assert_eq!(three.first(), Some(121));
}
