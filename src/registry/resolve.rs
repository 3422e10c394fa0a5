//! What holds for a scope or a key, put together from its record and those that it refers to.

use meridian_core::access::ModelRules;
use meridian_core::auth::PartiesOfKey;
use meridian_core::key::KeyRecord;
use meridian_core::party::Charter;
use meridian_core::record::{Bounds, RecordKind};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use super::parties::Around;
use super::{Counted, Registry};

impl Registry {
    /// Puts in force what is known of a scope now.
    pub(super) fn refresh(&self, scope: &Scope, counted: Option<Counted>, now: WallMs) {
        let (kind, id) = (record_kind(scope.kind), scope.id.as_str());
        self.parties.with(scope, |entry| {
            let binding = self.restrictions.binding(kind, id, entry.generation);
            let default = self.default_charter(scope, entry.charter.as_deref());
            let charter = entry.charter.as_deref().or(default.as_ref());
            let bounds = charter.map(|it| it.bounds.clone()).unwrap_or_default();
            let budget_id = charter.and_then(|it| it.budget_id.as_deref());
            let (mut bounds, budget_models) = self.and_budget(bounds, budget_id);
            if let Some(default) = &default {
                bounds = self.and_budget(bounds, default.budget_id.as_deref()).0;
            }
            if let Some(ends) = counted.and_then(|counted| counted.resets_at) {
                bounds.budget_reset_at = Some(ends);
            }
            let around = Around {
                bounds: binding.bind(bounds),
                budget_models,
                restricted: binding.standing(),
                spent: counted.map(|counted| counted.spend),
            };
            entry.refresh(around, default.as_ref(), &self.zone, now);
        });
    }

    /// What holds for members of a team who have nothing of their own, and for customers without
    /// a budget. `charter` is what the scope's record says.
    pub(super) fn default_charter(
        &self,
        scope: &Scope,
        charter: Option<&Charter>,
    ) -> Option<Charter> {
        if scope.kind == ScopeKind::EndUser {
            return self.default_of_customer(charter);
        }
        let (team, _) = scope
            .member()
            .filter(|_| scope.kind == ScopeKind::TeamMember)?;
        let budget_id = self.parties.read(ScopeKind::Team, team, |entry| {
            entry.charter.as_ref()?.member_budget_id.clone()
        })?;
        Some(Charter {
            budget_id: Some(budget_id),
            ..Charter::default()
        })
    }

    /// Bounds with what a budget says where they say nothing, and the models that it allows.
    pub(super) fn and_budget(
        &self,
        bounds: Bounds,
        budget_id: Option<&str>,
    ) -> (Bounds, ModelRules) {
        match budget_id.and_then(|id| self.budgets.get(id)) {
            Some(held) => (bounds.or(&held.bounds), held.models.clone()),
            None => (bounds, ModelRules::All),
        }
    }

    /// The scopes of a key; its team's organization where it names none.
    pub(super) fn parties_of(&self, key: &KeyRecord, now: WallMs) -> PartiesOfKey {
        let of_team = key.team_id.as_ref().and_then(|team| {
            self.parties.read(ScopeKind::Team, team, |entry| {
                let id = entry.charter.as_ref()?.organization_id.as_deref()?;
                Some(id.to_owned())
            })
        });
        let organization = key.organization_id.clone().or(of_team);
        if let (Some(team), Some(user)) = (&key.team_id, &key.user_id) {
            let member = Scope::team_member(team, user);
            // The team may have limits for members that have no record.
            if self.parties.view_of(&member).is_none() && self.is_member_limited(&member) {
                self.refresh(&member, None, now);
            }
        }
        let one = |kind, id: &Option<String>| {
            let scope = Scope::new(kind, id.as_deref()?);
            Some(self.parties.party(&scope))
        };
        PartiesOfKey {
            team: one(ScopeKind::Team, &key.team_id),
            user: one(ScopeKind::User, &key.user_id),
            organization: one(ScopeKind::Organization, &organization),
        }
    }
}

/// The kind of record that limits a scope.
fn record_kind(kind: ScopeKind) -> RecordKind {
    match kind {
        ScopeKind::Key => RecordKind::Key,
        ScopeKind::User => RecordKind::User,
        ScopeKind::Team => RecordKind::Team,
        ScopeKind::TeamMember => RecordKind::TeamMember,
        ScopeKind::Organization => RecordKind::Organization,
        ScopeKind::OrganizationMember => RecordKind::OrganizationMember,
        ScopeKind::EndUser => RecordKind::Customer,
        ScopeKind::Tag => RecordKind::Tag,
    }
}
