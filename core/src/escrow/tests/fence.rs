//! Ceilings, and regions that are fenced whether they live or not.

use super::*;

const HOME: Actor = Actor {
    region: 0,
    node: 1,
    incarnation: 1,
};
const OTHER: Actor = Actor {
    region: 1,
    node: 1,
    incarnation: 1,
};
const FAR: Actor = Actor {
    region: 2,
    node: 1,
    incarnation: 1,
};

/// Three regions of one node each, with ceilings; the first has made 1,000. What one says the
/// others hear at once, unless it is cut off.
struct Three {
    nodes: BTreeMap<Actor, Escrow>,
    now: u64,
    cut: Option<Actor>,
}

fn kept() -> Settings {
    Settings {
        isolation: Some(Duration::from_secs(1)),
        ..Settings::default()
    }
}

impl Three {
    fn new() -> Self {
        let all = [HOME, OTHER, FAR];
        let node = |me: Actor| (me, Escrow::new(me, kept()));
        let mut three = Self {
            nodes: all.into_iter().map(node).collect(),
            now: 1,
            cut: None,
        };
        for me in all {
            three.step(me, Event::Members(all.to_vec()));
        }
        three.step(HOME, Event::AtHome(pid()));
        let (claim, amount) = (0, 1_000);
        let made = Event::Claimed {
            pid: pid(),
            claim,
            amount,
            by: HOME,
        };
        three.step(HOME, made);
        three
    }

    fn step(&mut self, at: Actor, event: Event) {
        let mut events = vec![(at, event)];
        while let Some((at, event)) = events.pop() {
            let mut out = Vec::new();
            let now = MonoUs(self.now);
            self.nodes.get_mut(&at).unwrap().step(now, event, &mut out);
            for effect in out {
                match effect {
                    Effect::Sync(ticket) => events.push((at, Event::Synced(ticket))),
                    Effect::Send { to, message }
                        if self.cut != Some(at) && self.cut != Some(to) =>
                    {
                        events.push((to, Event::Received { from: at, message }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Some seconds pass.
    fn wait(&mut self) {
        for _ in 0..10 {
            self.now += 1_000_000;
            for at in [HOME, OTHER, FAR] {
                self.step(at, Event::Tick);
            }
        }
    }

    fn give(&mut self, from: Actor, to: Actor, amount: Rights) {
        let message = Message::Need {
            pid: pid(),
            want: Want::Burn,
            amount,
            standing: Standing::default(),
        };
        self.step(from, Event::Received { from: to, message });
    }

    fn at(&self, actor: Actor) -> &Escrow {
        &self.nodes[&actor]
    }

    fn avail(&self, actor: Actor) -> Rights {
        self.at(actor).slot(pid()).unwrap().avail()
    }

    fn fence(&mut self) {
        let fence = Event::Fence {
            pid: pid(),
            actor: FAR,
            roster: vec![HOME, OTHER],
        };
        self.step(HOME, fence);
    }
}

#[test]
fn what_comes_from_another_region_is_spent_up_to_a_witnessed_ceiling() {
    let mut three = Three::new();
    three.cut = Some(FAR);
    three.give(HOME, FAR, 400);
    // It comes in the last moment before the cut.
    let row = three.at(HOME).row(pid()).unwrap();
    let late = Message::Row {
        pid: pid(),
        row,
        standing: Standing::default(),
        answer: false,
    };
    three.step(
        FAR,
        Event::Received {
            from: HOME,
            message: late,
        },
    );
    three.wait();
    assert_eq!(three.avail(FAR), 0);
    assert_eq!(three.at(FAR).ceiling(pid()).unwrap().above, 400);
    three.cut = None;
    three.wait();
    let ceiling = three.at(FAR).ceiling(pid()).unwrap();
    // A tenth of what it brought in.
    assert_eq!((three.avail(FAR), ceiling.above), (40, 360));
    let witnessed = |by| three.at(by).row(pid()).unwrap().witnessed_for(FAR);
    assert_eq!(witnessed(HOME).max(witnessed(OTHER)), 40);
    // The home of the budget has no ceiling.
    assert_eq!(three.avail(HOME), 600);
    assert_eq!(three.at(HOME).ceiling(pid()), None);
}

#[test]
fn without_ceilings_rows_are_what_they_were() {
    let mut three = Three::new();
    for (me, node) in &mut three.nodes {
        *node = Escrow::new(*me, Settings::default());
    }
    for me in [HOME, OTHER, FAR] {
        three.step(me, Event::Members(vec![HOME, OTHER, FAR]));
    }
    let made = Event::Claimed {
        pid: pid(),
        claim: 0,
        amount: 1_000,
        by: HOME,
    };
    three.step(HOME, made);
    three.give(HOME, FAR, 400);
    assert_eq!(three.avail(FAR), 400);
    let row = serde_json::to_value(three.at(FAR).row(pid()).unwrap()).unwrap();
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    assert_eq!(names, ["burned", "received", "refund", "used"]);
}

/// The region goes on as far as it was witnessed, and what it sent late comes back to it.
#[test]
fn a_region_that_is_fenced_and_lives_destroys_what_it_could_not_spend() {
    let mut three = Three::new();
    three.give(HOME, FAR, 400);
    three.wait();
    three.cut = Some(FAR);
    three.give(FAR, OTHER, 50);
    assert_eq!(three.at(HOME).reclaimable(pid(), FAR), None);
    three.fence();
    three.wait();
    let amount = three.at(HOME).reclaimable(pid(), FAR);
    assert_eq!(amount, Some(360));
    let book = Book {
        pid: pid(),
        base: 0,
        entries: vec![BookEntry {
            amount: 1_000,
            by: HOME,
        }],
    };
    let entries = reclaim(&book, HOME, &[(FAR, 360)]);
    let taken = BookEntry {
        amount: -360,
        by: FAR,
    };
    let anew = BookEntry {
        amount: 360,
        by: HOME,
    };
    assert_eq!(entries, [taken, anew]);
    let made = Event::Claimed {
        pid: pid(),
        claim: 2,
        amount: 360,
        by: HOME,
    };
    three.step(HOME, made);
    let (actor, due) = (FAR, 360);
    three.step(
        HOME,
        Event::Reclaimed {
            pid: pid(),
            actor,
            due,
        },
    );
    // 40 may be spent there, and no more for ever.
    let spendable = three.avail(HOME) + three.avail(OTHER) + three.avail(FAR);
    assert_eq!(spendable, 1_000);
    three.cut = None;
    three.wait();
    assert_eq!(three.avail(OTHER), 0);
    three.step(
        FAR,
        Event::BurnOrdered {
            pid: pid(),
            total: 360,
        },
    );
    three.wait();
    let burned = three.at(FAR).row(pid()).unwrap().burned;
    assert_eq!(burned, 360);
    let fence = three.at(OTHER).row(pid()).unwrap().fence_of(FAR);
    assert!(!fence.holds());
    three.give(FAR, OTHER, 10);
    assert_eq!(three.at(OTHER).row(pid()).unwrap().received_from(FAR), 60);
    assert!(three.nodes.values().all(Escrow::is_settled));
}

#[test]
fn a_fence_counts_once_everybody_agrees() {
    let mut three = Three::new();
    three.give(HOME, FAR, 400);
    three.wait();
    three.cut = Some(OTHER);
    three.fence();
    three.wait();
    assert_eq!(three.at(HOME).reclaimable(pid(), FAR), None);
    three.cut = Some(FAR);
    three.wait();
    assert_eq!(three.at(HOME).reclaimable(pid(), FAR), Some(360));
}

#[test]
fn what_was_ordered_before_is_not_taken_again() {
    let entry = |amount, by| BookEntry { amount, by };
    let sibling = Actor { node: 2, ..FAR };
    let book = |entries| Book {
        pid: pid(),
        base: 0,
        entries,
    };
    let amounts = [(FAR, 300), (sibling, 100)];
    let sum = |entries: Vec<BookEntry>| {
        let anew = entries.last().map_or(0, |entry| entry.amount);
        let all: Rights = entries.iter().map(|entry| entry.amount).sum();
        assert_eq!(all, 0);
        anew
    };
    let made = entry(1_000, HOME);
    assert_eq!(sum(reclaim(&book(vec![made]), HOME, &amounts)), 400);
    let before = book(vec![made, entry(-300, FAR)]);
    assert_eq!(sum(reclaim(&before, HOME, &amounts)), 100);
    // More than one has: a part of it is with its sibling.
    let more = book(vec![made, entry(-350, FAR)]);
    assert_eq!(sum(reclaim(&more, HOME, &amounts)), 50);
    let all = book(vec![made, entry(-300, FAR), entry(-100, sibling)]);
    assert_eq!(reclaim(&all, HOME, &amounts), []);
}

/// Ceilings are turned on after a part was spent: nobody has witnessed that yet.
#[test]
fn what_was_spent_before_ceilings_were_kept_is_witnessed_before_it_counts() {
    let mut three = Three::new();
    three
        .nodes
        .insert(FAR, Escrow::new(FAR, Settings::default()));
    three.step(FAR, Event::Members(vec![HOME, OTHER, FAR]));
    three.give(HOME, FAR, 400);
    let slot = three.at(FAR).slot(pid()).unwrap();
    slot.settle(slot.reserve(400).unwrap(), 400);
    let row = three.at(FAR).row(pid()).unwrap();
    let mut later = Escrow::new(FAR, kept());
    later.restore(pid(), row, MonoUs(three.now));
    assert!(later.exceeds_ceiling());
    three.nodes.insert(FAR, later);
    three.step(FAR, Event::Members(vec![HOME, OTHER, FAR]));
    three.wait();
    assert!(!three.at(FAR).exceeds_ceiling());
    three.cut = Some(FAR);
    three.fence();
    three.wait();
    assert_eq!(three.at(HOME).reclaimable(pid(), FAR), Some(0));
}

/// A node that begins after everybody has agreed hears of it, whether the fenced one is heard or
/// not.
#[test]
fn who_joins_is_told_who_is_fenced() {
    let mut three = Three::new();
    three.give(HOME, FAR, 400);
    three.wait();
    three.cut = Some(FAR);
    three.step(HOME, Event::Members(vec![HOME, OTHER]));
    three.fence();
    three.wait();
    let new = Actor { node: 2, ..OTHER };
    let settings = kept();
    three.nodes.remove(&OTHER);
    three.nodes.insert(new, Escrow::new(new, settings));
    three.step(HOME, Event::Members(vec![HOME, new]));
    three.now += 3_000_000;
    three.step(HOME, Event::Tick);
    let row = three.at(new).row(pid()).unwrap();
    assert!(row.fence_of(FAR).holds());
}
