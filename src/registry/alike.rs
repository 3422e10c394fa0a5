//! What many keys say alike, each once: a thousand keys of a team have the same models and limits.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meridian_core::access::{Listed, ModelRules};
use meridian_core::auth::{KeyPolicy, KeyView, Shared};
use meridian_core::key::KeyRecord;

/// Only writers come here.
#[derive(Debug, Default)]
pub(super) struct Alike {
    lists: Once<Listed>,
    shared: Once<Shared>,
}

#[derive(Debug)]
struct Once<T>(Mutex<HashSet<Arc<T>>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Eq + Hash> Once<T> {
    fn lock(&self) -> MutexGuard<'_, HashSet<Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object that says the same, which is this one if there was none.
    fn of(&self, one: &Arc<T>) -> Arc<T> {
        let mut all = self.lock();
        if let Some(same) = all.get(one) {
            return Arc::clone(same);
        }
        all.insert(Arc::clone(one));
        Arc::clone(one)
    }

    /// Drops what nobody says any more.
    fn sweep(&self) {
        self.lock().retain(|one| Arc::strong_count(one) > 1);
    }
}

impl Alike {
    /// The rules of a key, its list of models that of others.
    pub(super) fn policy(&self, record: &KeyRecord) -> KeyPolicy {
        let mut policy = KeyPolicy::of(record);
        policy.change(|shared| {
            if let ModelRules::Listed(list) = &mut shared.models {
                *list = self.lists.of(list);
            }
        });
        policy
    }

    /// Lets a key share all that others say too.
    pub(super) fn share(&self, view: &mut KeyView) {
        if view.policy.is_common() {
            let same = self.shared.of(view.policy.shared());
            view.policy.share(&same);
        }
    }

    /// Drops what no key says any more.
    pub(super) fn sweep(&self) {
        self.shared.sweep();
        self.lists.sweep();
    }

    /// Lists, and whatever else is shared.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.lists.lock().len(), self.shared.lock().len())
    }
}
