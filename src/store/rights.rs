//! Budgets that nodes share: numbers of nodes, and books of periods. Rights lie in journals.

use meridian_core::escrow::{Actor, Book, BookEntry, Pid, Rights, ScopeId};
use meridian_core::time::WallMs;

use super::{Store, StoreError};

/// Another node of the region, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its number.
    pub number: u16,
    /// Host and port.
    pub address: String,
}

impl Store {
    /// The number of the node with this journal: given once, never given again. The embedded store
    /// has one node.
    pub async fn node_number(&self, journal: &str) -> Result<u16, StoreError> {
        match self {
            Self::Embedded(_) => Ok(1),
            Self::Postgres(store) => store.node_number(journal).await,
        }
    }

    /// Says that a node lives, and where; returns the others that said so lately.
    pub async fn greet(
        &self,
        number: u16,
        address: Option<&str>,
    ) -> Result<Vec<Neighbour>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Postgres(store) => store.greet(number, address).await,
        }
    }

    /// Every node that the store has ever given a number, with its last sign of life; `None` if
    /// there are too many.
    pub async fn nodes(&self) -> Result<Option<Vec<(u16, WallMs)>>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Some(Vec::new())),
            Self::Postgres(store) => store.nodes().await,
        }
    }

    /// When the first rights of a period's generation were made.
    pub async fn book_began(&self, pid: Pid) -> Result<Option<WallMs>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Postgres(store) => store.book_began(pid).await,
        }
    }

    /// What was decided about a period, in its last generation.
    pub async fn book(&self, scope: ScopeId, period: i64) -> Result<Option<Book>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Postgres(store) => store.book(scope, period).await,
        }
    }

    /// Adds an entry; `false` when somebody else has added one under this number.
    pub async fn add_entry(
        &self,
        pid: Pid,
        number: u32,
        entry: BookEntry,
        base: Rights,
    ) -> Result<bool, StoreError> {
        match self {
            Self::Embedded(_) => Ok(false),
            Self::Postgres(store) => store.add_entry(pid, number, entry, base).await,
        }
    }

    /// Books of periods that end after a moment and have an entry of this actor.
    pub async fn books_of(&self, actor: Actor, after: WallMs) -> Result<Vec<Book>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Postgres(store) => store.books_of(actor, after).await,
        }
    }
}
