//! Books of periods of which a fenced region holds rights, in the store of the scope's home.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_core::escrow::{Actor, Book, BookEntry, Pid, Rights, reclaim};
use meridian_core::time::WallMs;

use crate::store::{Store, StoreError};

/// Tries to add entries while others add some.
const TRIES: usize = 8;
/// Longest wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// A period before anybody is fenced in it.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) book: Book,
    /// When its first rights were made: nobody who was gone by then had to do with it.
    pub(super) began: WallMs,
}

/// Reads the books of periods. Those that have gone on to another generation are left out.
pub(super) async fn look(store: Store, pids: Vec<Pid>) -> Result<Vec<Before>, StoreError> {
    let work = Box::pin(look_now(store, pids));
    let done = tokio::time::timeout(STORE_TIMEOUT, work).await;
    done.unwrap_or(Err(StoreError::Busy))
}

async fn look_now(store: Store, pids: Vec<Pid>) -> Result<Vec<Before>, StoreError> {
    let mut all = Vec::new();
    for pid in pids {
        let book = store.book(pid.scope, pid.index).await?;
        if let Some(book) = book.filter(|book| book.pid == pid)
            && let Some(began) = store.book_began(pid).await?
        {
            all.push(Before { book, began });
        }
    }
    Ok(all)
}

/// What is to be decided about a period.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) pid: Pid,
    /// Fenced.
    pub(super) actors: Vec<Actor>,
    /// So long was the book before they were: with a later entry somebody else has decided.
    pub(super) noted: usize,
    /// What each of them can no longer spend; `None` where it is not known in time.
    pub(super) amounts: Option<Vec<(Actor, Rights)>>,
}

/// What was decided.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    /// The book as it is now and what was made anew; no book where the period goes on in another
    /// generation.
    pub(super) done: Result<(Option<Book>, Rights), StoreError>,
}

/// Writes decisions into the books, one after the other.
pub(super) async fn decide(store: Store, me: Actor, decisions: Vec<Decision>) -> Vec<Decided> {
    let mut all = Vec::new();
    for decision in decisions {
        let work = Box::pin(decide_one(&store, me, &decision));
        let done = tokio::time::timeout(STORE_TIMEOUT, work).await;
        let done = done.unwrap_or(Err(StoreError::Busy));
        all.push(Decided { decision, done });
    }
    all
}

async fn decide_one(
    store: &Store,
    me: Actor,
    decision: &Decision,
) -> Result<(Option<Book>, Rights), StoreError> {
    let pid = decision.pid;
    let mut own: BTreeSet<usize> = BTreeSet::new();
    let mut anew: Rights = 0;
    for _ in 0..TRIES {
        let found = store.book(pid.scope, pid.index).await?;
        let Some(mut book) = found.filter(|book| book.pid == pid) else {
            return Ok((None, anew));
        };
        if decision.is_made(&book, &own) {
            return Ok((Some(book), anew));
        }
        let mut whole = true;
        for entry in decision.entries(&book, me, &own) {
            let at = book.entries.len();
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            // Should the last one fail the limit is not made into rights: whoever looks makes it.
            whole = store.add_entry(pid, number, entry, book.base).await?;
            if !whole {
                break;
            }
            own.insert(at);
            anew = anew.saturating_add(if entry.by == me { entry.amount } else { 0 });
            book.entries.push(entry);
        }
        if whole {
            return Ok((Some(book), anew));
        }
    }
    Err(StoreError::Busy)
}

impl Decision {
    /// Whether somebody else has decided since: an entry takes from an actor, or names it with
    /// nothing.
    fn is_made(&self, book: &Book, own: &BTreeSet<usize>) -> bool {
        let later = book.entries.iter().enumerate().skip(self.noted);
        let mut others = later.filter(|(at, _)| !own.contains(at));
        others.any(|(_, entry)| entry.amount <= 0 && self.actors.contains(&entry.by))
    }

    /// What is to be added. Who is fenced and gives nothing, since nobody knows what it has, is
    /// named, so that nobody else takes from it for the same fence.
    fn entries(&self, book: &Book, me: Actor, own: &BTreeSet<usize>) -> Vec<BookEntry> {
        if let Some(amounts) = &self.amounts {
            return reclaim(book, me, amounts);
        }
        let named: BTreeSet<Actor> = own
            .iter()
            .filter_map(|at| book.entries.get(*at).map(|entry| entry.by))
            .collect();
        let left = self.actors.iter().filter(|by| !named.contains(by));
        left.map(|by| BookEntry { amount: 0, by: *by }).collect()
    }
}

#[cfg(test)]
mod tests {
    use meridian_core::escrow::ScopeId;

    use super::*;

    const HOME: Actor = Actor {
        region: 0,
        node: 1,
        incarnation: 0,
    };
    const FAR: Actor = Actor {
        region: 2,
        node: 1,
        incarnation: 0,
    };

    fn book(entries: &[(Rights, Actor)]) -> Book {
        let entry = |(amount, by): &(Rights, Actor)| BookEntry {
            amount: *amount,
            by: *by,
        };
        Book {
            pid: Pid {
                scope: ScopeId::from_bits(1),
                index: 0,
                generation: 0,
            },
            base: 0,
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn what_somebody_else_has_decided_is_not_decided_again() {
        let decision = |amounts| Decision {
            pid: book(&[]).pid,
            actors: vec![FAR],
            noted: 1,
            amounts,
        };
        let known = decision(Some(vec![(FAR, 300)]));
        let none = BTreeSet::new();
        let made = [(1_000, HOME)];
        let raised = [(1_000, HOME), (500, HOME)];
        for open in [&made[..], &raised] {
            assert!(!known.is_made(&book(open), &none));
            let entries = known.entries(&book(open), HOME, &none);
            let amounts: Vec<Rights> = entries.iter().map(|entry| entry.amount).collect();
            assert_eq!(amounts, [-300, 300]);
        }
        for later in [(0, FAR), (-300, FAR)] {
            let other = book(&[(1_000, HOME), later]);
            assert!(known.is_made(&other, &none));
            // The own one is not another's.
            assert!(!known.is_made(&other, &[1].into()));
        }
        let ended = decision(None).entries(&book(&made), HOME, &none);
        assert_eq!(ended, book(&[(0, FAR)]).entries);
        let named = book(&[(1_000, HOME), (0, FAR)]);
        assert_eq!(decision(None).entries(&named, HOME, &[1].into()), []);
    }
}
