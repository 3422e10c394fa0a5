//! Rights inside a region: what stays, what goes back, and what goes to a successor.

use super::*;

#[test]
fn who_got_rights_before_its_first_request_keeps_them_for_a_while() {
    let (vault, node) = pair();
    let (mut fresh, mut out) = (Escrow::new(node, Settings::default()), Vec::new());
    fresh.step(MonoUs(0), Event::Members(vec![vault, node]), &mut out);
    let row = Row {
        sent: [(node, 1_000)].into(),
        ..Row::default()
    };
    fresh.step(MonoUs(1), tells(vault, row), &mut out);
    let slot = fresh.slot(pid()).unwrap();
    let mut left_after = |seconds| {
        let at = MonoUs(1).plus(Duration::from_secs(seconds));
        fresh.step(at, Event::Tick, &mut out);
        slot.avail()
    };
    assert_eq!(left_after(30), 1_000);
    assert!(left_after(3_600) < 10);
}

#[test]
fn who_takes_over_gets_half_of_what_is_in_use() {
    let (vault, node) = pair();
    let mut escrow = rich(vault, &[vault, node], 1_050);
    let mut out = Vec::new();
    escrow.step(MonoUs(1), Event::HandOver(node), &mut out);
    let slot = escrow.slot(pid()).unwrap();
    assert_eq!(slot.avail(), 1_050, "nobody uses it");
    slot.release(slot.reserve(100).unwrap());
    escrow.step(MonoUs(60_000), Event::Tick, &mut out);
    assert!(escrow.is_confirmed_by(node));
    escrow.step(MonoUs(60_001), Event::HandOver(node), &mut out);
    assert_eq!(slot.avail(), 550, "whole requests");
    assert!(!escrow.is_confirmed_by(node));
    let row = Row {
        received: [(vault, 500)].into(),
        ..Row::default()
    };
    escrow.step(MonoUs(60_002), tells(node, row), &mut out);
    assert!(escrow.is_confirmed_by(node));
}

#[test]
fn what_would_not_serve_a_request_stays_where_it_is() {
    let (vault, node) = pair();
    let left = |amount: Rights| {
        let mut escrow = rich(vault, &[vault, node], amount);
        let asked = Event::Received {
            from: node,
            message: lease(100),
        };
        escrow.step(MonoUs(1), asked, &mut Vec::new());
        escrow.slot(pid()).unwrap().avail()
    };
    assert_eq!(left(99), 99);
    assert_eq!(left(160), 60);
}
