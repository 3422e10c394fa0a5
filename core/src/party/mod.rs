//! Teams, users, organizations, their members, customers and tags as requests see them.
//!
//! A [`Party`] is one object for as long as anything refers to it: what its record says is swapped
//! inside it. So a key finds its scopes once, when it changes, and never by a look-up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use crate::access::ModelRules;
use crate::auth::Role;
use crate::meters::Meters;
use crate::scope::{Scope, ScopeKind};

mod charter;

pub use charter::Charter;

/// A scope other than a key.
#[derive(Debug)]
pub struct Party {
    scope: Scope,
    view: ArcSwapOption<View>,
    /// A user as a member of its groups, of which something is known: sorted by kind and group.
    memberships: ArcSwapOption<Vec<Arc<Party>>>,
}

/// What a scope may and has used, now.
#[derive(Debug)]
pub struct View {
    /// What its record grants.
    pub rights: Rights,
    /// Its counters; they outlive the view.
    pub meters: Arc<Meters>,
}

/// Whether a scope lets requests through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    #[default]
    Active,
    /// It is blocked.
    Blocked,
    /// It was deleted; keys that name it may not outlive its limits.
    Deleted,
}

/// What the record of a scope grants, limits aside.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Whether it lets requests through.
    pub standing: Standing,
    /// Models that it may use.
    pub models: ModelRules,
    /// Models that its budget allows.
    pub budget_models: ModelRules,
    /// Model names that it rewrites.
    pub aliases: Aliases,
    /// Regions that may serve its requests; `None` is all.
    pub allowed_regions: Option<Arc<BTreeSet<String>>>,
    /// Role of a user.
    pub role: Option<Role>,
    /// Model of a customer's requests that name none.
    pub default_model: Option<Box<str>>,
    /// Where deployments must be that serve a customer: `eu` or `us`.
    pub model_region: Option<Box<str>>,
    /// What its requests ask and are answered is never kept.
    pub redacts: bool,
    /// Tags of its requests.
    pub tags: Box<[Box<str>]>,
    /// Ids of deployments that carry a tag besides those that are configured to.
    pub deployments: Box<[Box<str>]>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            standing: Standing::Active,
            models: ModelRules::All,
            budget_models: ModelRules::All,
            aliases: Aliases::default(),
            allowed_regions: None,
            role: None,
            default_model: None,
            model_region: None,
            redacts: false,
            tags: Box::default(),
            deployments: Box::default(),
        }
    }
}

impl Party {
    /// A scope of which no record is known.
    pub fn unknown(mut scope: Scope) -> Self {
        scope.id.shrink_to_fit();
        Self {
            scope,
            view: ArcSwapOption::empty(),
            memberships: ArcSwapOption::empty(),
        }
    }

    /// Which one.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What its record says; `None` when none is known.
    pub fn view(&self) -> Option<Arc<View>> {
        // The common case of no record costs one load.
        self.view.load_full()
    }

    /// Puts what its record says now in force.
    pub fn set(&self, view: Option<View>) {
        self.view.store(view.map(Arc::new));
    }

    /// This user as a member of a group: of most nothing is known, and there is no object for them.
    pub fn membership(&self, kind: ScopeKind, group: &str) -> Option<Arc<Party>> {
        let memberships = self.memberships.load();
        let all = memberships.as_deref()?;
        let place = all.binary_search_by(|member| member.group().cmp(&(kind, group)));
        place.ok().map(|at| Arc::clone(&all[at]))
    }

    /// Whether there is any.
    pub fn is_member(&self) -> bool {
        self.memberships.load().is_some()
    }

    /// From now on requests of this user's keys in that group are the member's too. For one caller
    /// at a time, as [`Self::drop_membership`].
    pub fn add_membership(&self, member: &Arc<Party>) {
        self.change_memberships(|all| match place_of(all, member) {
            Ok(at) => all[at] = Arc::clone(member),
            Err(at) => all.insert(at, Arc::clone(member)),
        });
    }

    /// Nothing is known of the member any more.
    pub fn drop_membership(&self, member: &Party) {
        self.change_memberships(|all| {
            if let Ok(at) = place_of(all, member) {
                all.remove(at);
            }
        });
    }

    fn change_memberships(&self, change: impl FnOnce(&mut Vec<Arc<Party>>)) {
        let mut all = self
            .memberships
            .load()
            .as_deref()
            .cloned()
            .unwrap_or_default();
        change(&mut all);
        let all = (!all.is_empty()).then(|| Arc::new(all));
        self.memberships.store(all);
    }

    /// Kind and group of a member.
    fn group(&self) -> (ScopeKind, &str) {
        (self.scope.kind, self.scope.member().unwrap_or_default().0)
    }

    /// Whether a key that names it is only as good as its record: members, customers and tags have
    /// one where somebody wants to limit them.
    pub fn must_exist(&self) -> bool {
        matches!(
            self.scope.kind,
            ScopeKind::Team | ScopeKind::User | ScopeKind::Organization
        )
    }
}

fn place_of(all: &[Arc<Party>], member: &Party) -> Result<usize, usize> {
    all.binary_search_by(|one| one.group().cmp(&member.group()))
}

/// Model names that are rewritten, sorted by the name asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(Box<[(Box<str>, Box<str>)]>);

impl Aliases {
    /// Of a record's map.
    pub fn of(map: &BTreeMap<String, String>) -> Self {
        let alias = |(from, to): (&String, &String)| (from.as_str().into(), to.as_str().into());
        Self(map.iter().map(alias).collect())
    }

    /// What a name stands for.
    pub fn of_name(&self, asked: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(from, _)| (**from).cmp(asked));
        place.ok().map(|at| &*self.0[at].1)
    }
}

/// A list of regions as a set; `None` when it is empty.
pub fn region_set(regions: &[String]) -> Option<Arc<BTreeSet<String>>> {
    let set: BTreeSet<String> = regions.iter().cloned().collect();
    (!set.is_empty()).then(|| Arc::new(set))
}

/// LiteLLM keeps the tags of a record in its metadata.
pub fn tags_in(metadata: &Map<String, Value>) -> Box<[Box<str>]> {
    let tags = metadata.get("tags").and_then(Value::as_array);
    let texts = tags.into_iter().flatten().filter_map(Value::as_str);
    texts.map(Box::from).collect()
}
