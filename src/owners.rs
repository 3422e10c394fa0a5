//! Who made which stored response, file or batch, so that it is asked for where it lies, and
//! another tenant's id is 404.
//!
//! Recent ones are in memory; others are looked up in the store by the provider's id, a named
//! exception to "no wait on the request path" (docs/ARCHITECTURE.md).

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use dashmap::{DashMap, DashSet};

pub use crate::store::Owner;
use crate::store::{BatchKey, Store};

/// Objects remembered in memory before the memory starts over; the store knows them all.
const REMEMBERED_MAX: usize = 100_000;

/// Batches that are remembered until the store has them; then the memory starts over.
const MADE_MAX: usize = 10_000;

/// The store did not say whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// Owners by the provider's id.
pub struct Owners {
    recent: DashMap<String, Owner>,
    /// Batches that the store may not have yet.
    made: DashSet<String>,
    /// Files that answers named and that the store has not been told of.
    written: Mutex<Vec<(Vec<String>, Owner)>>,
    /// There are such.
    has_written: AtomicBool,
    store: Store,
}

impl Owners {
    /// Nothing remembered yet; `store` has the ledger.
    pub fn new(store: Store) -> Self {
        Self {
            recent: DashMap::new(),
            made: DashSet::new(),
            written: Mutex::default(),
            has_written: AtomicBool::new(false),
            store,
        }
    }

    /// Remembers who made an object.
    pub fn remember(&self, id: &str, owner: Owner) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.clear();
        }
        self.recent.insert(id.to_owned(), owner);
    }

    /// Remembers whose files are that an answer names, but those that are known to be somebody's.
    /// [`Self::keep_written`] tells the store.
    pub fn note_written(&self, ids: Vec<String>, owner: Owner) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.clear();
        }
        for id in &ids {
            let owner = || owner.clone();
            self.recent.entry(id.clone()).or_insert_with(owner);
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((ids, owner));
        self.has_written.store(true, Ordering::Release);
    }

    /// Whether there is something to [`Self::keep_written`].
    pub fn has_written(&self) -> bool {
        self.has_written.load(Ordering::Acquire)
    }

    /// Has the store keep whose the files are that answers have named.
    pub async fn keep_written(&self) {
        let written = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_written.store(false, Ordering::Release);
            mem::take(&mut *written)
        };
        for (ids, owner) in written {
            self.store_owner(ids, owner).await;
        }
    }

    /// Forgets who made an object that is no more; for everybody it is one that nobody made.
    pub async fn forget(&self, id: &str) {
        self.recent.remove(id);
        if let Err(error) = self.store.forget_objects(vec![id.to_owned()]).await {
            // Its row goes when it is old.
            tracing::warn!(%error, "who made a deleted object is still kept");
        }
    }

    /// The owner of an object; `None` if it was not made here.
    pub async fn find(&self, id: &str) -> Result<Option<Owner>, Unknown> {
        Ok(self.find_all(vec![id.to_owned()]).await?.remove(id))
    }

    /// The owners of those of these objects that were made here.
    pub async fn find_all(&self, ids: Vec<String>) -> Result<HashMap<String, Owner>, Unknown> {
        let mut found = HashMap::new();
        let mut others = Vec::new();
        for id in ids {
            match self.recent.get(&id).map(|owner| owner.clone()) {
                Some(owner) => drop(found.insert(id, owner)),
                None => others.push(id),
            }
        }
        if others.is_empty() {
            return Ok(found);
        }
        match self.store.find_owners(others).await {
            Ok(stored) => found.extend(stored),
            Err(error) => {
                tracing::error!(%error, "the store does not say whose an object is");
                return Err(Unknown);
            }
        }
        Ok(found)
    }

    /// Whether nobody knows yet what a batch used: then what tells it has to stay.
    pub async fn is_unbilled(&self, batch: &str, deployment_id: &str) -> Result<bool, Unknown> {
        let key = BatchKey {
            id: batch.to_owned(),
            deployment_id: deployment_id.to_owned(),
        };
        match self.store.is_batch_open(key).await {
            Ok(Some(is_open)) => {
                self.made.remove(batch);
                Ok(is_open)
            }
            Ok(None) => Ok(self.made.contains(batch)),
            Err(error) => {
                tracing::error!(%error, "the store does not say whether a batch is billed");
                Err(Unknown)
            }
        }
    }

    /// A batch was made through this node; the store has its record a little later.
    pub fn note_batch(&self, batch: &str) {
        if self.made.len() >= MADE_MAX {
            self.made.clear();
        }
        self.made.insert(batch.to_owned());
    }

    /// Keeps who made files or batches, for as long as they may be used. Where the store does not
    /// take it, memory and the ledger still know those that a request made.
    pub async fn keep(&self, ids: Vec<String>, owner: Owner) {
        for id in &ids {
            self.remember(id, owner.clone());
        }
        self.store_owner(ids, owner).await;
    }

    /// Has the store keep who made objects; whose it knows to be somebody else's stay so.
    async fn store_owner(&self, ids: Vec<String>, owner: Owner) {
        if let Err(error) = self.store.keep_owner(ids, owner).await {
            tracing::error!(%error, "who made an object is not kept");
        }
    }
}
