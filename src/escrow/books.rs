//! Books of periods, in the store of the scope's home region.

use std::time::Duration;

use meridian_core::escrow::{Actor, Book, BookEntry, Lost, Pid, Rights, ScopeId};
use meridian_core::money::NanoUsd;
use meridian_core::scope::Scope;

use crate::store::{ScopeSpend, Store, StoreError};

/// Tries to add an entry while others add some.
const TRIES: usize = 8;
/// So many budgets may fail before the store counts as away.
const FAILED_MAX: usize = 3;
/// Longest wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a book is to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) me: Actor,
    pub(super) scope: ScopeId,
    pub(super) period: i64,
    /// The budget.
    pub(super) limit: Rights,
    /// Spent before anybody made rights.
    pub(super) base: Rights,
    /// What is set as spent now: the period begins anew.
    pub(super) reset: Option<Rights>,
    /// Only after this generation; `None` is after whichever runs.
    pub(super) after: Option<u32>,
}

/// A book as it is now.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) book: Book,
    /// This call has begun it.
    pub(super) begun: bool,
    /// The reset that was carried out.
    pub(super) reset: Option<Rights>,
}

/// Makes the book say what is wanted, or finds that it does.
pub(super) async fn settle(store: Store, wanted: Wanted) -> Result<Settled, StoreError> {
    let work = Box::pin(settle_now(store, wanted));
    let done = tokio::time::timeout(STORE_TIMEOUT, work).await;
    done.unwrap_or(Err(StoreError::Busy))
}

async fn settle_now(store: Store, wanted: Wanted) -> Result<Settled, StoreError> {
    let Wanted {
        me, scope, limit, ..
    } = wanted;
    for _ in 0..TRIES {
        let found = store.book(scope, wanted.period).await?;
        let later = |book: &&Book| {
            wanted
                .after
                .is_some_and(|after| book.pid.generation > after)
        };
        if let (Some(book), Some(_)) = (found.as_ref().filter(later), wanted.reset) {
            // Somebody else has begun it anew.
            return Ok(Settled {
                reset: wanted.reset,
                ..of(book.clone())
            });
        }
        let begins = match (&found, wanted.reset) {
            (None, reset) => Some((0, reset.unwrap_or(wanted.base))),
            (Some(book), Some(reset)) => Some((book.pid.generation.saturating_add(1), reset)),
            (Some(_), None) => None,
        };
        if let Some((generation, base)) = begins {
            let pid = Pid {
                scope,
                index: wanted.period,
                generation,
            };
            let amount = limit.saturating_sub(base).max(0);
            let entry = BookEntry { amount, by: me };
            if store.add_entry(pid, 0, entry, base).await? {
                let entries = vec![entry];
                return Ok(Settled {
                    book: Book { pid, base, entries },
                    begun: true,
                    reset: wanted.reset,
                });
            }
            continue;
        }
        let Some(mut book) = found else { continue };
        let Some(amount) = book.due(limit) else {
            return Ok(of(book));
        };
        let number = u32::try_from(book.entries.len()).unwrap_or(u32::MAX);
        let entry = BookEntry { amount, by: me };
        if store.add_entry(book.pid, number, entry, book.base).await? {
            book.entries.push(entry);
            return Ok(of(book));
        }
    }
    Err(StoreError::Busy)
}

fn of(book: Book) -> Settled {
    Settled {
        book,
        begun: false,
        reset: None,
    }
}

/// The book of a period that others use.
pub(super) async fn find(store: Store, pid: Pid) -> Result<Option<Book>, StoreError> {
    let found = Box::pin(store.book(pid.scope, pid.index));
    let found = tokio::time::timeout(STORE_TIMEOUT, found).await;
    found.unwrap_or(Err(StoreError::Busy))
}

/// What the ledger has of a scope's period that ends then; nothing of `None`.
pub(super) async fn spent(
    store: Store,
    scope: Option<Scope>,
    ends: i64,
) -> Result<NanoUsd, StoreError> {
    let Some(scope) = scope else {
        return Ok(NanoUsd(0));
    };
    let asked = Box::pin(store.scope_spends(vec![scope]));
    let spends = tokio::time::timeout(STORE_TIMEOUT, asked).await;
    let spends = spends.unwrap_or(Err(StoreError::Busy))?;
    // The store may not have rolled the last one yet.
    let of_period = |says: &&ScopeSpend| says.period_end.map_or(i64::MAX, |end| end.0) == ends;
    let says = spends.first().filter(of_period);
    Ok(says.map_or(NanoUsd(0), |says| says.spend))
}

/// What became of a lost region's rights in the budgets that are at home here.
#[derive(Clone, Debug, Default)]
pub(super) struct Regained {
    /// Books as they are now.
    pub(super) books: Vec<Book>,
    /// How many rights were made anew in.
    pub(super) budgets: usize,
    /// What was made anew.
    pub(super) amount: Rights,
    /// Budgets whose book could not be written: the operator says it once more.
    pub(super) failed: usize,
}

/// Writes into the books of periods that a lost region's rights are to be destroyed, and as many
/// made by `me`. After some errors of the store the rest counts as failed.
pub(super) async fn regain(store: Store, me: Actor, lost: Vec<(Pid, Lost)>) -> Regained {
    let mut regained = Regained::default();
    for (pid, lost) in lost {
        if regained.failed >= FAILED_MAX {
            regained.failed += 1;
            continue;
        }
        let work = Box::pin(regain_one(&store, me, pid, lost));
        match tokio::time::timeout(STORE_TIMEOUT, work).await {
            Ok(Ok(Some((book, amount)))) => {
                regained.books.push(book);
                regained.budgets += usize::from(amount > 0);
                regained.amount = regained.amount.saturating_add(amount);
            }
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => regained.failed += 1,
        }
    }
    regained
}

/// The book as it is then, also where nothing was to be written.
async fn regain_one(
    store: &Store,
    me: Actor,
    pid: Pid,
    lost: Lost,
) -> Result<Option<(Book, Rights)>, StoreError> {
    let mut regained = 0;
    for _ in 0..TRIES {
        let found = store.book(pid.scope, pid.index).await?;
        let Some(mut book) = found.filter(|book| book.pid == pid) else {
            return Ok(None);
        };
        let Some(entries) = lost.entries(&book, me) else {
            return Ok(Some((book, regained)));
        };
        for entry in entries {
            let number = u32::try_from(book.entries.len()).unwrap_or(u32::MAX);
            // Should the second one fail the limit is not made into rights: whoever looks makes it.
            if !store.add_entry(pid, number, entry, book.base).await? {
                break;
            }
            book.entries.push(entry);
            regained = entry.amount.max(0);
        }
        if regained > 0 {
            return Ok(Some((book, regained)));
        }
    }
    Err(StoreError::Busy)
}
