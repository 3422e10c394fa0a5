//! What the rules of one key come to. There may be a million keys: what many of them say alike is
//! one object for all.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::access::ModelRules;
use crate::cache::KeyCache;
use crate::error::GatewayError;
use crate::ids::KeyHash;
use crate::key::{KeyOverrides, KeyRecord};
use crate::meters::{Meters, Plain};
use crate::party::{Aliases, Party, region_set, tags_in};
use crate::routes::{Match, RouteSet};
use crate::time::WallMs;
use crate::transcript::redacts;

/// What the rules of one key come to, parsed once when the key is loaded or changed. Reads as its
/// [`Shared`] part.
#[derive(Clone, Debug)]
pub struct KeyPolicy {
    /// Digest of the key.
    pub token: KeyHash,
    /// Its alias.
    pub alias: Option<Box<str>>,
    /// [`WallMs::MAX`] is never: half the size of an option.
    expires: WallMs,
    shared: Arc<Shared>,
}

/// What many keys say alike: those of a team often differ in nothing else than what
/// [`KeyPolicy`] has beside it.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Region that writes the key; `None` where there is one region only.
    pub home: Option<Arc<str>>,
    /// Blocked by an administrator.
    pub blocked: bool,
    /// Restrictions of an older generation no longer count.
    pub generation: u32,
    /// Models it may use.
    pub models: ModelRules,
    /// What few keys say.
    rare: Option<Arc<Rare>>,
    /// Regions that may serve its requests, fallbacks and retries too; `None` is all.
    pub allowed_regions: Option<Arc<BTreeSet<String>>>,
    /// What it says about routing; `None` is nothing.
    pub overrides: Option<Arc<KeyOverrides>>,
    /// What it says about the response cache; `None` is nothing.
    pub cache: Option<Arc<KeyCache>>,
    /// What its requests ask and are answered is never kept.
    pub redacts: bool,
    /// Its team.
    pub team_id: Option<Box<str>>,
    /// Its own organization.
    pub organization_id: Option<Box<str>>,
    /// Its team as requests see it.
    pub team: Option<Arc<Party>>,
    /// Its organization, or its team's, as requests see it.
    pub organization: Option<Arc<Party>>,
    /// Its limits, with which its counters begin.
    pub limits: Plain,
    /// The clock that its budget's periods follow.
    pub zone: TimeZone,
}

/// What few keys say.
#[derive(Debug)]
struct Rare {
    /// Whose what it made is, where that is not the key itself.
    lineage: Option<KeyHash>,
    /// Model names it rewrites.
    aliases: Aliases,
    /// Routes it may call.
    routes: RouteSet,
    /// `allowed_routes` as written, for the refusal; empty when nothing is restricted.
    routes_written: Box<[String]>,
    /// Tags that count as its requests' own when tags select deployments.
    tags: Box<[Box<str>]>,
}

impl Rare {
    /// `None` when nothing of it is said.
    fn of(record: &KeyRecord) -> Option<Arc<Self>> {
        let tags = tags_in(&record.metadata);
        let says_nothing = record.lineage.is_none() && tags.is_empty();
        if says_nothing && record.aliases.is_empty() && record.allowed_routes.is_empty() {
            return None;
        }
        Some(Arc::new(Self {
            lineage: record.lineage,
            aliases: Aliases::of(&record.aliases),
            routes: RouteSet::of_entries(&record.allowed_routes),
            routes_written: record.allowed_routes.as_slice().into(),
            tags,
        }))
    }
}

impl KeyPolicy {
    /// Parses a stored key: its scopes are not known, and nothing limits it.
    pub fn of(record: &KeyRecord) -> Self {
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let shared = Shared {
            home: (!record.home.is_empty()).then(|| record.home.as_str().into()),
            blocked: record.blocked,
            generation: record.generation,
            models: ModelRules::parse(&record.models, record.team_id.is_some()),
            rare: Rare::of(record),
            allowed_regions: region_set(&record.allowed_regions),
            overrides: overrides(record),
            cache: KeyCache::of(record).map(Arc::new),
            redacts: redacts(&record.metadata),
            team_id: boxed(&record.team_id),
            organization_id: boxed(&record.organization_id),
            team: None,
            organization: None,
            limits: Plain::default(),
            zone: TimeZone::UTC,
        };
        Self {
            token: record.token,
            expires: record.expires.unwrap_or(WallMs::MAX),
            alias: boxed(&record.key_alias),
            shared: Arc::new(shared),
        }
    }

    /// When it stops working; `None` is never.
    pub fn expires(&self) -> Option<WallMs> {
        (self.expires != WallMs::MAX).then_some(self.expires)
    }

    /// Changes what it may share, for this key alone.
    pub fn change(&mut self, change: impl FnOnce(&mut Shared)) {
        change(Arc::make_mut(&mut self.shared));
    }

    /// What it may share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes an object that says the same in place of its own.
    pub fn share(&mut self, same: &Arc<Shared>) {
        if self.shared == *same {
            self.shared = Arc::clone(same);
        }
    }

    /// Tells counters what of the key decides about them besides limits.
    pub fn tell(&self, meters: &Meters) {
        if let Some(lineage) = self.lineage() {
            meters.set_lineage(lineage);
        }
        if let Some(home) = &self.home {
            meters.set_home(home);
        }
        meters.set_ended(self.blocked);
    }

    /// [`KeyRecord::identity`].
    pub fn identity(&self) -> KeyHash {
        self.lineage().unwrap_or(self.token)
    }
}

impl Deref for KeyPolicy {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    /// Whether another key is likely to say the same.
    pub fn is_common(&self) -> bool {
        self.rare.is_none() && self.overrides.is_none() && self.cache.is_none()
    }

    /// What is compared by value.
    fn said(&self) -> impl Hash + PartialEq {
        (
            &self.home,
            (self.blocked, self.redacts, self.generation),
            &self.models,
            &self.allowed_regions,
            &self.team_id,
            &self.organization_id,
            &self.limits,
        )
    }

    /// Whose what it made is, where that is not the key itself: [`KeyRecord::identity`].
    pub fn lineage(&self) -> Option<KeyHash> {
        self.rare.as_ref()?.lineage
    }

    /// The name that a model asked for stands for under this key: one step, no chains.
    pub fn model_for<'a>(&'a self, asked: &'a str) -> &'a str {
        let renamed = self
            .rare
            .as_ref()
            .and_then(|rare| rare.aliases.of_name(asked));
        renamed.unwrap_or(asked)
    }

    /// Tags that count as its requests' own when tags select deployments.
    pub fn tags(&self) -> &[Box<str>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.tags[..])
    }

    /// Whether it may call a route.
    ///
    /// # Errors
    /// `RouteNotAllowed` with what it may call, as it was written.
    pub(super) fn check_route(&self, found: &Match<'_>) -> Result<(), GatewayError> {
        match &self.rare {
            Some(rare) if !rare.routes.contains(found.target) => {
                Err(GatewayError::RouteNotAllowed {
                    routes: rare.routes_written.to_vec(),
                    route: found.pattern.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Two are equal only if they say the same of everything; of what few keys say, if it is the same
/// object.
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
            && is_same(&self.team, &other.team)
            && is_same(&self.organization, &other.organization)
            && is_same(&self.rare, &other.rare)
            && is_same(&self.overrides, &other.overrides)
            && is_same(&self.cache, &other.cache)
            && self.zone == other.zone
    }
}

impl Eq for Shared {}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.said().hash(state);
    }
}

fn is_same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// A stored key was checked when it was written; what cannot be read overrides nothing.
fn overrides(record: &KeyRecord) -> Option<Arc<KeyOverrides>> {
    let overrides = KeyOverrides::of(record).unwrap_or_default();
    (overrides != KeyOverrides::default()).then(|| Arc::new(overrides))
}
