//! Regions that are called lost.

use super::*;

/// A region says how it stands.
fn says(from: Actor, free: Rights, (used, open): (Rights, Rights)) -> Event {
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
    Event::Received { from, message }
}

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
        escrow.step(MonoUs(2), says(to, free, (used, open)), &mut out);
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

fn order(lost: &Lost, book: &Book) -> Option<Rights> {
    lost.entries(book, actor(0, 1)).map(|[_, anew]| anew.amount)
}

#[test]
fn a_lost_region_is_to_destroy_what_the_others_do_not_have() {
    let (me, other, gone) = (actor(0, 1), actor(1, 1), actor(2, 1));
    let lives = bereft(&[me, other, gone]);
    assert_eq!(lives.lost(pid(), 2), None);
    let lost = bereft(&[me, other]).lost(pid(), 2).unwrap();
    let [taken, anew] = lost.entries(&book_of_100(), me).unwrap();
    assert_eq!((taken.amount, taken.by), (-30, gone));
    assert_eq!((anew.amount, anew.by), (30, me));
    // What nobody here knows of may be with others: by its own words it had 30.
    let mut more = book_of_100();
    more.entries[0].amount = 150;
    assert_eq!(order(&lost, &more), Some(30));
}

#[test]
fn what_was_given_to_a_region_since_its_last_word_was_there() {
    let (me, gone) = (actor(0, 1), actor(2, 1));
    let mut escrow = bereft(&[me, actor(1, 1), gone]);
    let mut out = Vec::new();
    let need = Message::Need {
        pid: pid(),
        want: Want::Recall,
        amount: 20,
        standing: Standing::default(),
    };
    let asked = Event::Received {
        from: gone,
        message: need,
    };
    escrow.step(MonoUs(4), asked, &mut out);
    escrow.step(MonoUs(5), Event::Members(vec![me, actor(1, 1)]), &mut out);
    let lost = escrow.lost(pid(), 2).unwrap();
    assert_eq!(order(&lost, &book_of_100()), Some(50));
}

/// Home made it anew beside having it.
#[test]
fn what_came_before_an_older_word_is_not_there_any_more() {
    let (me, other, gone) = (actor(0, 1), actor(1, 1), actor(2, 1));
    let left = |heard_us: u64| {
        let mut escrow = bereft(&[me, other, gone]);
        let mut out = Vec::new();
        let gift = Row {
            sent: [(me, 25)].into(),
            received: [(me, 40)].into(),
            ..Row::default()
        };
        escrow.step(MonoUs(10), tells(gone, gift), &mut out);
        escrow.step(MonoUs(heard_us), says(gone, 30, (0, 0)), &mut out);
        let alone = Event::Members(vec![me, other]);
        escrow.step(MonoUs(heard_us + 1), alone, &mut out);
        // Others have less than is known: only the region's own words bound it.
        let mut book = book_of_100();
        book.entries[0].amount = 200;
        order(&escrow.lost(pid(), 2).unwrap(), &book)
    };
    assert_eq!(left(11_000), Some(5));
    assert_eq!(left(2_000_000), Some(30));
}

#[test]
fn a_node_that_was_not_told_how_all_regions_stand_makes_nothing_anew() {
    let (me, other, gone) = (actor(0, 1), actor(1, 1), actor(2, 1));
    let mut escrow = rich(me, &[me, other, gone], 100);
    let mut out = Vec::new();
    escrow.step(MonoUs(1), says(gone, 30, (0, 0)), &mut out);
    escrow.step(MonoUs(2), Event::Members(vec![me, other]), &mut out);
    assert_eq!(escrow.lost(pid(), 2), None);
}

#[test]
fn what_was_heard_as_an_earlier_vault_is_too_old() {
    let (me, other) = (actor(0, 1), actor(1, 1));
    let mut escrow = bereft(&[me, other]);
    // A sibling that comes before this node in the scope's order takes the role, and dies.
    let leads = |node: &u16| {
        let both = Members::new([me, actor(0, *node)]);
        both.vault(pid().scope, 0) != Some(me)
    };
    let sibling = actor(0, (2..100).find(leads).unwrap());
    let mut out = Vec::new();
    escrow.step(
        MonoUs(10),
        Event::Members(vec![me, other, sibling]),
        &mut out,
    );
    escrow.step(MonoUs(10_000_000), Event::Tick, &mut out);
    escrow.step(
        MonoUs(10_000_001),
        Event::Members(vec![me, other]),
        &mut out,
    );
    assert_eq!(escrow.lost(pid(), 2), None);
}

#[test]
fn two_regions_may_be_lost() {
    let me = actor(0, 1);
    let escrow = bereft(&[me]);
    let mut book = book_of_100();
    let entries = escrow.lost(pid(), 2).unwrap().entries(&book, me).unwrap();
    assert_eq!(entries[1].amount, 30);
    book.entries.extend(entries);
    let mut both = bereft(&[me]);
    let minted = Event::Claimed {
        pid: pid(),
        claim: 2,
        amount: 30,
        by: me,
    };
    both.step(MonoUs(9), minted, &mut Vec::new());
    let second = both.lost(pid(), 1).unwrap();
    // Free and reserved there.
    assert_eq!(order(&second, &book), Some(22));
}

#[test]
fn a_region_is_not_called_lost_twice_before_it_was_back() {
    let (me, gone) = (actor(0, 1), actor(2, 1));
    let mut escrow = bereft(&[me, actor(1, 1)]);
    let mut book = book_of_100();
    let lost = escrow.lost(pid(), 2).unwrap();
    book.entries.extend(lost.entries(&book, me).unwrap());
    assert_eq!(order(&lost, &book), None);
    let mut destroys = |burned: Rights| {
        let row = Row {
            burned,
            ..Row::default()
        };
        escrow.step(MonoUs(20), tells(gone, row), &mut Vec::new());
        order(&escrow.lost(pid(), 2).unwrap(), &book)
    };
    assert_eq!(destroys(29), None);
    assert!(destroys(30).is_some());
}
