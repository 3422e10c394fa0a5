//! Who made which stored response, so that GET, DELETE and cancel go back to the deployment that
//! holds it, and another tenant's id is 404.
//!
//! Recent ones are in memory; older ones are looked up in the ledger by response id, a named
//! exception to "no wait on the request path" (docs/ARCHITECTURE.md).

use dashmap::DashMap;
use meridian_core::ids::KeyHash;

use crate::store::Store;

/// Responses remembered in memory before the memory starts over; the ledger knows them all.
const REMEMBERED_MAX: usize = 100_000;

/// Maker of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The key; `None` for the master key.
    pub key: Option<KeyHash>,
    /// The deployment.
    pub deployment_id: String,
    /// Name that the client asked for.
    pub model_group: String,
}

/// Makers by response id.
pub struct ResponseOwners {
    recent: DashMap<String, Owner>,
    store: Store,
}

impl ResponseOwners {
    /// Nothing remembered yet; `store` has the ledger.
    pub fn new(store: Store) -> Self {
        Self {
            recent: DashMap::new(),
            store,
        }
    }

    /// Remembers the maker of a response.
    pub fn remember(&self, response_id: &str, owner: Owner) {
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.clear();
        }
        self.recent.insert(response_id.to_owned(), owner);
    }

    /// The maker of a response; `None` if it was not made here.
    pub async fn find(&self, response_id: &str) -> Option<Owner> {
        if let Some(owner) = self.recent.get(response_id) {
            return Some(owner.clone());
        }
        match self.store.find_response(response_id.to_owned()).await {
            Ok(found) => found.map(|found| Owner {
                key: found.key,
                deployment_id: found.deployment_id,
                model_group: found.model_group,
            }),
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be read");
                None
            }
        }
    }
}
