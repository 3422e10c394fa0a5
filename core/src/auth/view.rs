//! A key with everything that decides for it: its own rules and those of its scopes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use super::{KeyPolicy, Role};
use crate::access::{ModelFacts, ModelRules};
use crate::error::GatewayError;
use crate::key::KeyRecord;
use crate::meters::{Due, Meters, Start, Whose};
use crate::money::NanoUsd;
use crate::party::{Party, Standing, View};
use crate::scope::{Scope, ScopeKind};
use crate::time::WallMs;

/// A key as requests see it: rules, counters and scopes. Replaced whole when the key changes; the
/// counters are carried over. The scopes change in place.
///
/// 112 bytes: there may be a million, most of which are never used.
#[derive(Debug)]
pub struct KeyView {
    /// Its rules.
    pub policy: KeyPolicy,
    /// Version of its record.
    pub version: u64,
    user: Option<Arc<Party>>,
    /// Where its budget stood when it was loaded; an end of [`WallMs::MAX`] is never.
    spent: NanoUsd,
    resets_at: WallMs,
    /// Made when they are asked for.
    meters: OnceLock<Arc<Meters>>,
}

/// The scopes of one key.
#[derive(Clone, Debug, Default)]
pub struct PartiesOfKey {
    /// Its team.
    pub team: Option<Arc<Party>>,
    /// Its user.
    pub user: Option<Arc<Party>>,
    /// Its organization, or its team's.
    pub organization: Option<Arc<Party>>,
}

/// Counters of a key.
#[derive(Debug)]
pub enum Counters {
    /// They go on.
    Made(Arc<Meters>),
    /// They begin at the first use, with the limits of the policy.
    AtFirstUse(Start),
}

/// Seconds after which a scope that was not known is looked for again.
const UNKNOWN_RETRY_S: u64 = 2;

impl KeyView {
    /// A key; `policy` has its limits and the clock of its periods.
    pub fn new(
        mut policy: KeyPolicy,
        version: u64,
        parties: PartiesOfKey,
        counters: Counters,
    ) -> Self {
        let PartiesOfKey {
            team,
            user,
            organization,
        } = parties;
        policy.change(|shared| {
            shared.team = team;
            shared.organization = organization;
        });
        let (start, meters) = match counters {
            Counters::AtFirstUse(start) => (Some(start), OnceLock::new()),
            Counters::Made(meters) => (None, OnceLock::from(meters)),
        };
        let resets_at = start.and_then(|start| start.resets_at);
        Self {
            policy,
            version,
            user,
            spent: start.map_or(NanoUsd::ZERO, |start| start.spent),
            resets_at: resets_at.unwrap_or(WallMs::MAX),
            meters,
        }
    }

    /// A key of whose scopes nothing is known.
    pub fn alone(record: &KeyRecord, meters: Arc<Meters>) -> Self {
        let one = |kind, id: &Option<String>| {
            let scope = Scope::new(kind, id.as_deref()?);
            Some(Arc::new(Party::unknown(scope)))
        };
        let parties = PartiesOfKey {
            team: one(ScopeKind::Team, &record.team_id),
            user: one(ScopeKind::User, &record.user_id),
            organization: one(ScopeKind::Organization, &record.organization_id),
        };
        let counters = Counters::Made(meters);
        Self::new(KeyPolicy::of(record), record.version, parties, counters)
    }

    /// The same key with another policy. It has the counters of this one, which are made for that
    /// if need be: who holds this view finds the same.
    pub fn with(&self, change: impl FnOnce(&mut KeyPolicy)) -> Self {
        let mut policy = self.policy.clone();
        change(&mut policy);
        Self {
            policy,
            version: self.version,
            user: self.user.clone(),
            spent: self.spent,
            resets_at: self.resets_at,
            meters: OnceLock::from(Arc::clone(self.meters())),
        }
    }

    /// Its counters, made if nobody has asked for them yet. Of several who ask at once one makes
    /// them and the others wait for that: they all get the same.
    pub fn meters(&self) -> &Arc<Meters> {
        self.meters.get_or_init(|| {
            let policy = &self.policy;
            let whose = Whose::Key(policy.token);
            let meters = policy.limits.meters(whose, self.start(), &policy.zone);
            self.policy.tell(&meters);
            Arc::new(meters)
        })
    }

    /// Its counters, if anybody has asked for them.
    pub fn made_meters(&self) -> Option<&Arc<Meters>> {
        self.meters.get()
    }

    /// What its budget is limited to now; asks for no counters.
    pub fn budget_limit(&self, now: WallMs) -> Option<NanoUsd> {
        match self.meters.get() {
            Some(meters) => meters.budget().limit(now),
            None => self.policy.limits.limit(now),
        }
    }

    /// What is spent in the running period and when that ends; asks for no counters.
    pub fn running(&self, now: WallMs) -> Start {
        match self.meters.get() {
            Some(meters) => Start {
                spent: meters.budget().spent(now),
                resets_at: meters.budget().resets_at(now),
            },
            None => {
                let policy = &self.policy;
                policy.limits.running(self.start(), &policy.zone, now)
            }
        }
    }

    fn start(&self) -> Start {
        Start {
            spent: self.spent,
            resets_at: (self.resets_at != WallMs::MAX).then_some(self.resets_at),
        }
    }

    /// Its user.
    pub fn user_id(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.scope().id.as_str())
    }

    /// Its role: its user's, and an internal user's where that says nothing.
    pub fn role(&self) -> Role {
        let user = self.user.as_ref();
        user.and_then(|user| user.view()?.rights.role)
            .unwrap_or_default()
    }

    /// Whether none of its scopes forbids every request.
    ///
    /// # Errors
    /// `ScopeBlocked`, `ScopeDeleted`.
    pub fn check_parties(&self) -> Result<(), GatewayError> {
        self.try_parties(Party::check)
    }

    /// Whether its scopes are known; to be asked where not every record is here.
    ///
    /// # Errors
    /// `ScopeUnknown`.
    pub fn check_known(&self) -> Result<(), GatewayError> {
        match self.unknown().next() {
            None => Ok(()),
            Some(scope) => Err(GatewayError::ScopeUnknown {
                scope: scope.kind.title(),
                id: scope.shown_id(),
                retry_after_s: UNKNOWN_RETRY_S,
            }),
        }
    }

    /// Its scopes of which no record is here.
    pub fn unknown(&self) -> impl Iterator<Item = &Scope> {
        let unknown = self.owners().filter(|party| party.view().is_none());
        unknown.map(Party::scope)
    }

    /// The name that a model asked for stands for: the team's alias, then the key's own. One step
    /// each, no chains.
    pub fn model_for<'a>(&'a self, asked: &'a str) -> Cow<'a, str> {
        match self.alias_of_team(asked) {
            Some(name) => Cow::Owned(self.policy.model_for(&name).to_owned()),
            None => Cow::Borrowed(self.policy.model_for(asked)),
        }
    }

    fn alias_of_team(&self, asked: &str) -> Option<Box<str>> {
        let team = self.policy.team.as_ref()?.view()?;
        team.rights.aliases.of_name(asked).map(Box::from)
    }

    /// Whether the key and its scopes may use the model: by the name asked for or by the name that
    /// aliases turn that into (`facts` are the latter's). In LiteLLM's order.
    ///
    /// # Errors
    /// `ModelNotAllowed` naming the first scope that forbids it.
    pub fn check_model(&self, asked: &str, facts: ModelFacts<'_>) -> Result<(), GatewayError> {
        let of_team = self.alias_of_team(asked).is_some();
        let check = |scope: &'static str, rules: &ModelRules| {
            let aliased = of_team && matches!(scope, "key" | "team");
            let by_alias = asked != facts.name && rules.allows(ModelFacts::named(asked));
            match aliased || by_alias {
                true => Ok(()),
                false => rules.check(scope, facts),
            }
        };
        check("key", &self.policy.models)?;
        let personal = self.policy.team_id.is_none();
        self.try_parties(|party| {
            // What a user may is for its own keys; its teams' keys are the teams' business.
            let scope = match party.scope().kind {
                ScopeKind::Team => "team",
                ScopeKind::User if personal => "user",
                ScopeKind::Organization => "org",
                ScopeKind::TeamMember => "team_member",
                ScopeKind::OrganizationMember => "org_member",
                _ => return Ok(()),
            };
            match party.view() {
                None => Ok(()),
                Some(view) => {
                    check(scope, &view.rights.models)?;
                    check(scope, &view.rights.budget_models)
                }
            }
        })
    }

    /// The same as a word, for lists of models.
    pub fn allows_model(&self, facts: ModelFacts<'_>) -> bool {
        self.check_model(facts.name, facts).is_ok()
    }

    /// Sets of regions that its requests must stay in: its own and its team's.
    pub fn regions(&self) -> impl Iterator<Item = Arc<BTreeSet<String>>> {
        let team = self.policy.team.as_ref().and_then(|team| team.view());
        let of_team = team.and_then(|team| team.rights.allowed_regions.clone());
        self.policy
            .allowed_regions
            .clone()
            .into_iter()
            .chain(of_team)
    }

    /// Whether it or a scope of it wants no texts to be kept.
    pub fn redacts(&self) -> bool {
        let mut redacts = self.policy.redacts;
        self.each_party(|party| {
            redacts |= party.view().is_some_and(|view| view.rights.redacts);
        });
        redacts
    }

    /// Tags that its requests carry besides their own and the key's: the team's.
    pub fn tags_of_scopes(&self) -> Vec<Box<str>> {
        let mut tags = Vec::new();
        self.each_party(|party| {
            let view = party.view();
            let views = view.iter();
            tags.extend(views.flat_map(|view| view.rights.tags.iter().cloned()));
        });
        tags
    }

    /// Adds its scopes to those that a request is charged to, in the order in which LiteLLM asks
    /// them.
    pub fn add_dues(&self, dues: &mut Vec<Due>) {
        let of_team = self.policy.team_id.is_some();
        self.each_party(|party| {
            if let Some(view) = party.view() {
                dues.push(Due {
                    meters: Arc::clone(&view.meters),
                    // The budget of a user is for its own keys; a team's key only counts there.
                    counts_only: of_team && party.scope().kind == ScopeKind::User,
                });
            }
        });
    }

    /// Its organization: its own or its team's.
    pub fn organization_id(&self) -> Option<&str> {
        let organization = self.policy.organization.as_ref();
        organization.map(|organization| organization.scope().id.as_str())
    }

    /// Those of its scopes that must have a record.
    fn owners(&self) -> impl Iterator<Item = &Party> {
        let all = [
            self.policy.team.as_deref(),
            self.user.as_deref(),
            self.policy.organization.as_deref(),
        ];
        all.into_iter().flatten()
    }

    fn each_party(&self, mut look: impl FnMut(&Party)) {
        let Ok(()) = self.try_parties(|party| {
            look(party);
            Ok::<(), Infallible>(())
        });
    }

    /// Looks at all of its scopes, in the order in which LiteLLM asks them.
    fn try_parties<E>(&self, mut look: impl FnMut(&Party) -> Result<(), E>) -> Result<(), E> {
        self.owners().try_for_each(&mut look)?;
        let Some(user) = self.user.as_ref().filter(|user| user.is_member()) else {
            return Ok(());
        };
        let organization = &self.policy.organization;
        let groups = [
            (ScopeKind::OrganizationMember, organization),
            (ScopeKind::TeamMember, &self.policy.team),
        ];
        for (kind, group) in groups {
            let member = group.as_ref();
            let member = member.and_then(|group| user.membership(kind, &group.scope().id));
            member.map_or(Ok(()), |member| look(&member))?;
        }
        Ok(())
    }
}

impl Party {
    /// Whether it forbids every request.
    ///
    /// # Errors
    /// `ScopeBlocked`, `ScopeDeleted`.
    pub fn check(&self) -> Result<(), GatewayError> {
        self.view().map_or(Ok(()), |view| view.check(self.scope()))
    }
}

impl View {
    /// Whether `of`, whose view it is, forbids every request.
    ///
    /// # Errors
    /// `ScopeBlocked`, `ScopeDeleted`.
    pub fn check(&self, of: &Scope) -> Result<(), GatewayError> {
        let (scope, id) = (of.kind.title(), || of.shown_id());
        match self.rights.standing {
            Standing::Active => Ok(()),
            Standing::Deleted => Err(GatewayError::ScopeDeleted { scope, id: id() }),
            Standing::Blocked => Err(GatewayError::ScopeBlocked {
                scope,
                id: id(),
                lifted_by: match of.kind {
                    ScopeKind::Team | ScopeKind::TeamMember => "/team/unblock",
                    ScopeKind::EndUser => "/customer/unblock",
                    ScopeKind::Key => "/key/unblock",
                    ScopeKind::User => "/user/update",
                    ScopeKind::Organization | ScopeKind::OrganizationMember => {
                        "/organization/update"
                    }
                    ScopeKind::Tag => "/tag/update",
                },
            }),
        }
    }
}
