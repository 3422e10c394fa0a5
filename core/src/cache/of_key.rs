//! What a key says about the cache, for all of its requests.

use super::controls::CacheControls;
use crate::error::GatewayError;
use crate::key::KeyRecord;

/// `allowed_cache_controls` and `metadata.cache` of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCache {
    /// Controls that its requests may use; empty is all.
    allowed: Box<[Box<str>]>,
    /// What counts in place of what a request says.
    own: CacheControls,
}

impl KeyCache {
    /// `None` for a key that says nothing. What cannot be understood says nothing either: it was
    /// stored before anybody read it.
    pub fn of(record: &KeyRecord) -> Option<Self> {
        let allowed = record.extra.get("allowed_cache_controls");
        let allowed = allowed.and_then(|list| list.as_array());
        let allowed = allowed.into_iter().flatten().filter_map(|one| one.as_str());
        let own = record.metadata.get("cache").map(ToString::to_string);
        let own = own.map(|own| CacheControls::read(Some(own.as_bytes()), None));
        let found = Self {
            allowed: allowed.map(Box::from).collect(),
            own: own.and_then(Result::ok).unwrap_or_default(),
        };
        (found != Self::default()).then_some(found)
    }

    /// Puts the key's own controls over those of a request.
    ///
    /// # Errors
    /// The request uses one that the key may not.
    pub fn apply(&self, controls: &mut CacheControls) -> Result<(), GatewayError> {
        if !self.allowed.is_empty()
            && let Some(control) = controls.first_outside(&self.allowed)
        {
            return Err(GatewayError::CacheControlNotAllowed { control });
        }
        let own = &self.own;
        controls.no_cache |= own.no_cache;
        controls.no_store |= own.no_store;
        controls.use_cache |= own.use_cache;
        controls.ttl = own.ttl.or(controls.ttl);
        controls.max_age = own.max_age.or(controls.max_age);
        if own.namespace.is_some() {
            controls.namespace.clone_from(&own.namespace);
        }
        Ok(())
    }
}
