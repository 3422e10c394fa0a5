//! A key with everything that decides for it: its own rules and those of its scopes.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{KeyPolicy, Role};
use crate::access::{ModelFacts, ModelRules};
use crate::error::GatewayError;
use crate::meters::{Due, Meters};
use crate::party::{PartiesOfKey, Party, Standing, View};
use crate::scope::{Scope, ScopeKind};

/// A key as requests see it: rules, counters and scopes. Replaced whole when the key changes; the
/// counters are carried over. The scopes change in place.
#[derive(Debug)]
pub struct KeyView {
    /// Its rules.
    pub policy: KeyPolicy,
    /// Its counters.
    pub meters: Arc<Meters>,
    /// Its team, user and so on; `None` when it has none.
    pub parties: Option<Arc<PartiesOfKey>>,
}

/// Seconds after which a scope that was not known is looked for again.
const UNKNOWN_RETRY_S: u64 = 2;

impl KeyView {
    /// A key without scopes.
    pub fn alone(policy: KeyPolicy, meters: Arc<Meters>) -> Self {
        let parties = None;
        Self {
            policy,
            meters,
            parties,
        }
    }

    /// Its role: its user's, and an internal user's where that says nothing.
    pub fn role(&self) -> Role {
        let user = self.party(|parties| parties.user.as_ref());
        user.and_then(|user| user.view()?.rights.role)
            .unwrap_or_default()
    }

    /// Whether none of its scopes forbids every request.
    ///
    /// # Errors
    /// `ScopeBlocked`, `ScopeDeleted`.
    pub fn check_parties(&self) -> Result<(), GatewayError> {
        self.parties().try_for_each(Party::check)
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
        let owners = self.parties().filter(|party| party.must_exist());
        let unknown = owners.filter(|party| party.view().is_none());
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
        let team = self.party(|parties| parties.team.as_ref())?.view()?;
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
        for party in self.parties() {
            // What a user may is for its own keys; its teams' keys are the teams' business.
            let scope = match party.scope().kind {
                ScopeKind::Team => "team",
                ScopeKind::User if personal => "user",
                ScopeKind::Organization => "org",
                ScopeKind::TeamMember => "team_member",
                ScopeKind::OrganizationMember => "org_member",
                _ => continue,
            };
            if let Some(view) = party.view() {
                check(scope, &view.rights.models)?;
                check(scope, &view.rights.budget_models)?;
            }
        }
        Ok(())
    }

    /// The same as a word, for lists of models.
    pub fn allows_model(&self, facts: ModelFacts<'_>) -> bool {
        self.check_model(facts.name, facts).is_ok()
    }

    /// Sets of regions that its requests must stay in: its own and its team's.
    pub fn regions(&self) -> impl Iterator<Item = Arc<BTreeSet<String>>> {
        let team = self
            .party(|parties| parties.team.as_ref())
            .and_then(Party::view);
        let of_team = team.and_then(|team| team.rights.allowed_regions.clone());
        self.policy
            .allowed_regions
            .clone()
            .into_iter()
            .chain(of_team)
    }

    /// Whether it or a scope of it wants no texts to be kept.
    pub fn redacts(&self) -> bool {
        let of_party = |party: &Party| party.view().is_some_and(|view| view.rights.redacts);
        self.policy.redacts || self.parties().any(of_party)
    }

    /// Tags that its requests carry besides their own and the key's: the team's.
    pub fn tags_of_scopes(&self) -> Vec<Box<str>> {
        let mut tags = Vec::new();
        for party in self.parties() {
            let view = party.view();
            tags.extend(
                view.iter()
                    .flat_map(|view| view.rights.tags.iter().cloned()),
            );
        }
        tags
    }

    /// Adds its scopes to those that a request is charged to, in the order in which LiteLLM asks
    /// them.
    pub fn add_dues(&self, dues: &mut Vec<Due>) {
        let of_team = self.policy.team_id.is_some();
        for party in self.parties() {
            if let Some(view) = party.view() {
                dues.push(Due {
                    meters: Arc::clone(&view.meters),
                    // The budget of a user is for its own keys; a team's key only counts there.
                    counts_only: of_team && party.scope().kind == ScopeKind::User,
                });
            }
        }
    }

    /// Its organization: its own or its team's.
    pub fn organization_id(&self) -> Option<&str> {
        let organization = self.party(|parties| parties.organization.as_ref());
        organization.map(|organization| organization.scope().id.as_str())
    }

    fn party(&self, which: impl FnOnce(&PartiesOfKey) -> Option<&Arc<Party>>) -> Option<&Party> {
        self.parties
            .as_deref()
            .and_then(which)
            .map(|party| &**party)
    }

    fn parties(&self) -> impl Iterator<Item = &Party> {
        let parties = self.parties.as_deref();
        parties.into_iter().flat_map(PartiesOfKey::iter)
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
