//! Regions that are called lost.

use super::*;

/// Region 0 has made 100 and heard what regions 1 and 2 have; region 2 is not heard any more.
fn bereft(live: &[Actor]) -> Escrow {
    let (me, other, gone) = (actor(0, 1), actor(1, 1), actor(2, 1));
    let mut escrow = rich(me, &[me, other, gone], 100);
    let mut out = Vec::new();
    for (to, free, used, open) in [(other, 20, 5, 2), (gone, 30, 10, 0)] {
        let given = free + used + open;
        let need = Message::Need {
            pid: pid(),
            want: Want::Recall,
            amount: given,
            standing: Standing::default(),
        };
        let asked = Event::Received {
            from: to,
            message: need,
        };
        escrow.step(MonoUs(1), asked, &mut out);
        let standing = Standing {
            free,
            ..Standing::default()
        };
        let message = Message::View {
            pid: pid(),
            standing,
            used,
            open,
        };
        escrow.step(MonoUs(2), Event::Received { from: to, message }, &mut out);
    }
    escrow.step(MonoUs(3), Event::Members(live.to_vec()), &mut out);
    escrow
}

/// A book of 100 that the first node has made.
fn book_of_100() -> Book {
    Book {
        pid: pid(),
        base: 0,
        entries: vec![BookEntry {
            amount: 100,
            by: actor(0, 1),
        }],
    }
}

#[test]
fn a_lost_region_is_to_destroy_what_the_others_do_not_have() {
    let (me, other, gone) = (actor(0, 1), actor(1, 1), actor(2, 1));
    let lives = bereft(&[me, other, gone]);
    assert_eq!(lives.lost(pid(), 2), None);
    let escrow = bereft(&[me, other]);
    let lost = escrow.lost(pid(), 2).unwrap();
    let entry = lost.entry(&book_of_100(), 0).unwrap();
    assert_eq!((entry.amount, entry.by), (-30, gone));
    // Where another region is silent too it may have got some of it.
    let mut both = book_of_100();
    both.entries[0].amount = 150;
    let alone = bereft(&[me]).lost(pid(), 2).unwrap();
    // What it said, and what it has not confirmed.
    assert_eq!(alone.entry(&both, 0).unwrap().amount, -70);
    assert_eq!(lost.entry(&both, 0).unwrap().amount, -80);
}

#[test]
fn a_region_is_not_called_lost_twice_before_it_was_back() {
    let lost = bereft(&[actor(0, 1), actor(1, 1)]).lost(pid(), 2).unwrap();
    let mut book = book_of_100();
    let first = lost.entry(&book, 0).unwrap();
    let anew = BookEntry {
        amount: -first.amount,
        by: actor(0, 1),
    };
    book.entries.extend([first, anew]);
    assert_eq!(lost.entry(&book, 0), None);
    assert_eq!(lost.entry(&book, 29), None);
    assert!(lost.entry(&book, 30).is_some());
}
