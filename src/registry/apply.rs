//! What a record of each kind does to keys and scopes.

use std::collections::BTreeSet;

use meridian_core::access::ModelRules;
use meridian_core::ids::KeyHash;
use meridian_core::key::{KeyRecord, RotatedKey};
use meridian_core::meters::Written;
use meridian_core::party::{Charter, Rights, Standing};
use meridian_core::record::{Budget, Record, RecordKind, Restriction};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use super::keys::{Incoming, Unrestricted};
use super::restrictions::Binding;
use super::{Applied, Counted, HeldBudget, Registry};

impl Registry {
    pub(super) fn apply_one(
        &self,
        record: &Record,
        counted: Option<Counted>,
        now: WallMs,
    ) -> Applied {
        match record.kind {
            RecordKind::Restriction => self.apply_restriction(record, now),
            RecordKind::Key => self.apply_key(record, counted, now),
            RecordKind::RotatedKey => self.apply_rotated(record, now),
            RecordKind::Budget => self.apply_budget(record, now),
            RecordKind::Organization
            | RecordKind::Team
            | RecordKind::User
            | RecordKind::TeamMember
            | RecordKind::OrganizationMember
            | RecordKind::Customer
            | RecordKind::Tag => self.apply_scope(record, counted, now),
            RecordKind::Model | RecordKind::Credential | RecordKind::Setting => Applied::NotHere,
        }
    }

    fn apply_key(&self, record: &Record, counted: Option<Counted>, now: WallMs) -> Applied {
        let Some(hash) = KeyHash::from_hex(&record.id) else {
            return Applied::Unreadable("not a digest".to_owned());
        };
        if self
            .keys
            .version(&hash)
            .is_some_and(|known| known >= record.version)
        {
            return Applied::Stale;
        }
        let binding = self
            .restrictions
            .binding(RecordKind::Key, &record.id, record.generation);
        if record.deleted {
            self.keys.remove(&hash, record.version, now);
            return Applied::Taken;
        }
        if binding.revoked {
            // Should that be lifted after all, the same record may come again.
            self.keys
                .remove(&hash, record.version.saturating_sub(1), now);
            return Applied::Taken;
        }
        let mut key = match KeyRecord::of_record(record) {
            Ok(key) => key,
            Err(error) => return Applied::Unreadable(error.to_string()),
        };
        let own_block = key.blocked;
        key.blocked |= binding.blocked;
        if let Some(counted) = counted {
            key.spend = counted.spend;
            key.budget_reset_at = counted.resets_at.or(key.budget_reset_at);
        }
        let bounds = self.and_budget(key.bounds(), key.budget_id()).0;
        let own = Unrestricted {
            blocked: own_block,
            limit: bounds.max_budget,
        };
        let own = (binding != Binding::default()).then_some(own);
        self.keys.note_unrestricted(hash, own);
        let incoming = Incoming {
            bounds: binding.bind(bounds),
            parties: self.parties_of(&key, now),
            record: &key,
        };
        self.keys.put(incoming, &self.zone, now);
        Applied::Taken
    }

    /// What binds a key that is in force.
    fn binding_of_key(&self, token: &KeyHash) -> Binding {
        let generation = self.keys.generation(token).unwrap_or_default();
        self.restrictions
            .binding(RecordKind::Key, &token.to_string(), generation)
    }

    fn apply_restriction(&self, record: &Record, now: WallMs) -> Applied {
        let restriction: Restriction = match record.read() {
            Ok(restriction) => restriction,
            Err(error) => return Applied::Unreadable(error.to_string()),
        };
        let (kind, id) = (restriction.target_kind, restriction.target_id.clone());
        if !self.restrictions.put(record, restriction) {
            return Applied::Stale;
        }
        if let (RecordKind::Key, Some(token)) = (kind, KeyHash::from_hex(&id)) {
            if record.deleted {
                self.keys.reopen(&token);
            }
            self.restrict_key(&token, now);
        } else if let Some(kind) = kind.scope() {
            self.refresh(&Scope::new(kind, id), None, now);
        }
        Applied::Taken
    }

    fn restrict_key(&self, token: &KeyHash, now: WallMs) {
        let binding = self.binding_of_key(token);
        if binding.revoked {
            // Should it be lifted after all, the same record may come again.
            let version = self.keys.version(token).unwrap_or_default();
            self.keys.remove(token, version.saturating_sub(1), now);
            return;
        }
        self.keys.restrict(token, binding);
    }

    fn apply_rotated(&self, record: &Record, now: WallMs) -> Applied {
        let Some(old) = KeyHash::from_hex(&record.id) else {
            return Applied::Unreadable("not a digest".to_owned());
        };
        let rotated = match record.deleted {
            true => None,
            false => match record.read::<RotatedKey>() {
                Ok(rotated) => Some(rotated),
                Err(error) => return Applied::Unreadable(error.to_string()),
            },
        };
        match self.keys.put_rotated(old, rotated, record.version, now) {
            true => Applied::Taken,
            false => Applied::Stale,
        }
    }

    fn apply_budget(&self, record: &Record, now: WallMs) -> Applied {
        let known = self
            .budgets
            .get(record.id.as_str())
            .map(|held| held.version);
        if known.is_some_and(|known| known >= record.version) {
            return Applied::Stale;
        }
        // As the foreign keys of LiteLLM's tables: what referred to it has no budget any more.
        let budget = match record.deleted {
            true => Budget::default(),
            false => match record.read::<Budget>() {
                Ok(budget) => budget,
                Err(error) => return Applied::Unreadable(error.to_string()),
            },
        };
        let held = HeldBudget {
            version: record.version,
            models: ModelRules::parse(&budget.allowed_models, false),
            bounds: budget.bounds,
        };
        self.budgets.insert(record.id.as_str().into(), held);
        self.refresh_users_of(&record.id, now);
        Applied::Taken
    }

    /// Everything that refers to a budget follows it.
    fn refresh_users_of(&self, budget_id: &str, now: WallMs) {
        let refers = |id: &Option<Box<str>>| id.as_deref() == Some(budget_id);
        let scopes = self.parties.find(&ScopeKind::ALL, |entry| {
            entry
                .charter
                .as_ref()
                .is_some_and(|it| refers(&it.budget_id))
        });
        let teams = self.parties.find(&[ScopeKind::Team], |entry| {
            let charter = entry.charter.as_ref();
            charter.is_some_and(|it| refers(&it.member_budget_id))
        });
        for scope in scopes {
            self.refresh(&scope, None, now);
        }
        if self.is_of_customers(budget_id) {
            self.refresh_customers(now);
        }
        for team in teams {
            self.refresh_members(&team.id, now);
        }
        for (linked, meters) in self.keys.linked_to(budget_id) {
            let bounds = self.and_budget(linked.bounds, Some(budget_id)).0;
            let binding = self.binding_of_key(&linked.token);
            let written = Written {
                bounds: &binding.bind(bounds),
                metadata: &linked.metadata,
            };
            meters.update(written, &self.zone, now);
        }
    }

    fn apply_scope(&self, record: &Record, counted: Option<Counted>, now: WallMs) -> Applied {
        let Some(scope) = record.scope() else {
            return Applied::NotHere;
        };
        let known = self.parties.with(&scope, |entry| entry.version);
        if known >= record.version {
            return Applied::Stale;
        }
        let read = match record.deleted {
            true => Ok(None),
            false => Charter::read(record),
        };
        let (charter, unreadable) = match read {
            Ok(charter) => (charter, None),
            // Nobody can say what it may: nothing, unless something was known before.
            Err(error) if known > 0 => return Applied::Unreadable(error.to_string()),
            Err(error) => (Some(nothing()), Some(error.to_string())),
        };
        let counts = |charter: &Option<Box<Charter>>| charter.is_some();
        let before = self.parties.with(&scope, |entry| {
            let before = entry.charter.take();
            // One that cannot be read may be replaced by a readable one of the same version.
            let version = match unreadable {
                Some(_) => record.version.saturating_sub(1),
                None => record.version,
            };
            entry.take(charter, version, now);
            entry.generation = record.generation;
            before
        });
        let (was, is) = (counts(&before), !record.deleted);
        self.parties.count(scope.kind, is && !was, was && !is);
        self.refresh(&scope, counted, now);
        if let Some(meters) = self.parties.meters(&scope) {
            meters.set_home(&record.home.as_str().into());
        }
        if scope.kind == ScopeKind::Team {
            self.follow_team(&scope.id, before.as_deref(), now);
        }
        unreadable.map_or(Applied::Taken, Applied::Unreadable)
    }

    /// What of a team's record reaches further than the team itself.
    fn follow_team(&self, team_id: &str, before: Option<&Charter>, now: WallMs) {
        let after = |part: fn(&Charter) -> &Option<Box<str>>| {
            self.parties.read(ScopeKind::Team, team_id, |entry| {
                entry.charter.as_deref().and_then(|it| part(it).clone())
            })
        };
        let member_budget = after(|it| &it.member_budget_id);
        if member_budget != before.and_then(|it| it.member_budget_id.clone()) {
            self.refresh_members(team_id, now);
        }
        let organization = after(|it| &it.organization_id);
        if organization != before.and_then(|it| it.organization_id.clone()) {
            for key in self.keys.of_team(team_id) {
                let own = key.policy.organization_id.as_deref();
                let id = own.or(organization.as_deref());
                let organization = id.map(|id| {
                    let scope = Scope::new(ScopeKind::Organization, id);
                    self.parties.party(&scope)
                });
                self.keys.change(&key.policy.token, |shared| {
                    shared.organization = organization
                });
            }
        }
    }

    /// Puts in force what holds for every member of a team. Those of whom nothing is known are
    /// found by their keys.
    fn refresh_members(&self, team_id: &str, now: WallMs) {
        let of_team = |scope: &Scope| scope.member().is_some_and(|(team, _)| team == team_id);
        let known = self.parties.named(ScopeKind::TeamMember, of_team);
        let mut members: BTreeSet<Scope> = known.into_iter().collect();
        for key in self.keys.of_team(team_id) {
            let user = key.user_id();
            members.extend(user.map(|user| Scope::team_member(team_id, user)));
        }
        for member in members {
            if self.is_member_limited(&member) || self.parties.view_of(&member).is_some() {
                self.refresh(&member, None, now);
            }
        }
    }

    /// Whether its team has limits for members that have no record.
    pub(super) fn is_member_limited(&self, member: &Scope) -> bool {
        self.default_charter(member, None).is_some()
    }
}

/// What a scope may whose record nobody can read.
fn nothing() -> Charter {
    Charter {
        rights: Rights {
            standing: Standing::Blocked,
            ..Rights::default()
        },
        ..Charter::default()
    }
}
