//! "May this caller do this to this object": the one place that decides it.
//!
//! What a caller may write is a list of fields per [`Power`], in `writable`; how much it may give
//! away is compared in `rights`.

use std::collections::BTreeMap;

use super::Role;
use crate::ids::KeyHash;
use crate::record::RecordKind;

/// What a caller is: its role and its places in teams and organizations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Role of its user.
    pub role: Role,
    /// Its user.
    pub user_id: Option<String>,
    /// Whether there is a record of its user: without one it changes nothing.
    pub known: bool,
    /// Its key; `None` for the master key.
    pub key: Option<KeyHash>,
    /// The team of its key.
    pub key_team: Option<String>,
    /// Teams it belongs to; `true` where it is an admin.
    pub teams: BTreeMap<String, bool>,
    /// Organizations it belongs to; `true` where it is an `org_admin`.
    pub organizations: BTreeMap<String, bool>,
}

impl Standing {
    /// The master key's.
    pub fn master(user_id: &str) -> Self {
        Self {
            role: Role::ProxyAdmin,
            user_id: Some(user_id.to_owned()),
            known: true,
            ..Self::default()
        }
    }

    /// Whether it changes anything at all; how much, the objects decide.
    pub fn may_write(&self) -> bool {
        self.role == Role::ProxyAdmin || (self.known && self.role.may_write())
    }

    /// Whether it sees what belongs to others.
    pub fn sees_all(&self) -> bool {
        matches!(self.role, Role::ProxyAdmin | Role::ProxyAdminViewer)
    }

    /// Organizations that it administrates.
    pub fn administrated(&self) -> impl Iterator<Item = &str> {
        let admins = self.organizations.iter().filter(|(_, admin)| **admin);
        admins.map(|(id, _)| id.as_str())
    }

    fn is(&self, user_id: Option<&str>) -> bool {
        user_id.is_some() && self.user_id.as_deref() == user_id
    }
}

/// What somebody wants to do to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Look at it.
    See,
    /// Make it.
    Create,
    /// Change its fields.
    Change,
    /// Remove it.
    Delete,
    /// Give a key a new value.
    Rotate,
    /// Take it out of use, or back.
    Block,
    /// Let its spend begin anew.
    ResetSpend,
    /// Add, change or remove members.
    Members,
    /// Say what members may do.
    Permissions,
    /// Add to its models.
    AddModels,
    /// Take away from its models.
    RemoveModels,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 11] = [
        Self::See,
        Self::Create,
        Self::Change,
        Self::Delete,
        Self::Rotate,
        Self::Block,
        Self::ResetSpend,
        Self::Members,
        Self::Permissions,
        Self::AddModels,
        Self::RemoveModels,
    ];

    /// The permission that a team gives its members for this action on their keys in it.
    fn permission(self) -> Option<&'static str> {
        match self {
            Self::Create => Some("/key/generate"),
            Self::Change => Some("/key/update"),
            Self::Delete => Some("/key/delete"),
            Self::Rotate => Some("/key/regenerate"),
            _ => None,
        }
    }
}

/// What the decision needs to know of an object.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// Which one: the team's, user's or organization's id, the key's digest.
    pub id: &'a str,
    /// The user that a key belongs to.
    pub user_id: Option<&'a str>,
    /// The team that a key belongs to.
    pub team_id: Option<&'a str>,
    /// Organizations that it belongs to: a user's all, a team's or key's one.
    pub organizations: &'a [String],
    /// `team_member_permissions` of a key's team.
    pub permissions: &'a [String],
}

impl<'a> Object<'a> {
    /// An object that belongs to nobody.
    pub fn new(kind: RecordKind, id: &'a str) -> Self {
        Self {
            kind,
            id,
            user_id: None,
            team_id: None,
            organizations: &[],
            permissions: &[],
        }
    }
}

/// As what a caller acts on an object. Each has its own list of fields that it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Power {
    /// An administrator of the proxy.
    Proxy,
    /// An administrator of the object's organization.
    Organization,
    /// An administrator of the object's team.
    Team,
    /// Whoever it belongs to.
    Owner,
}

/// Decides. `None` is no.
pub fn decide(who: &Standing, action: Action, object: &Object<'_>) -> Option<Power> {
    if who.role == Role::ProxyAdmin {
        return Some(Power::Proxy);
    }
    if action == Action::See && sees(who, object) {
        return Some(Power::Owner);
    }
    if action == Action::See || !who.may_write() {
        return None;
    }
    let organization = administrates_organization(who, object);
    let may = match object.kind {
        RecordKind::Key => return over_key(who, action, object, organization),
        RecordKind::Team => return over_team(who, action, object, organization),
        RecordKind::User if who.is(Some(object.id)) && action == Action::Change => {
            return Some(Power::Owner);
        }
        // Of a user with places elsewhere, no organization decides alone.
        RecordKind::User => organization && action == Action::Create,
        RecordKind::Organization => organization && action == Action::Members,
        _ => false,
    };
    may.then_some(Power::Organization)
}

fn sees(who: &Standing, object: &Object<'_>) -> bool {
    if who.sees_all() || administrates_organization(who, object) {
        return true;
    }
    match object.kind {
        RecordKind::Key => {
            let own_key = who.key.is_some_and(|key| key.to_string() == object.id);
            own_key || who.is(object.user_id) || administrates_team(who, object.team_id)
        }
        RecordKind::Team => {
            who.teams.contains_key(object.id) || who.key_team.as_deref() == Some(object.id)
        }
        RecordKind::User => who.is(Some(object.id)),
        RecordKind::Organization => who.organizations.contains_key(object.id),
        _ => false,
    }
}

fn over_key(who: &Standing, action: Action, key: &Object<'_>, organization: bool) -> Option<Power> {
    if organization {
        return Some(Power::Organization);
    }
    if administrates_team(who, key.team_id) {
        return Some(Power::Team);
    }
    let permission = action.permission()?;
    let permitted = match key.team_id {
        None => true,
        Some(team) => {
            let given = key.permissions.iter().any(|given| given == permission);
            given && who.teams.contains_key(team)
        }
    };
    (who.is(key.user_id) && permitted).then_some(Power::Owner)
}

fn over_team(
    who: &Standing,
    action: Action,
    team: &Object<'_>,
    organization: bool,
) -> Option<Power> {
    if organization {
        return Some(Power::Organization);
    }
    let of_team_admins = matches!(
        action,
        Action::Change | Action::Members | Action::Permissions | Action::RemoveModels
    );
    (of_team_admins && administrates_team(who, Some(team.id))).then_some(Power::Team)
}

fn administrates_team(who: &Standing, team: Option<&str>) -> bool {
    team.is_some_and(|team| who.teams.get(team) == Some(&true))
}

fn administrates_organization(who: &Standing, object: &Object<'_>) -> bool {
    let administrated = |id: &str| who.organizations.get(id) == Some(&true);
    match object.kind {
        RecordKind::Organization => administrated(object.id),
        RecordKind::Key | RecordKind::Team | RecordKind::User => {
            object.organizations.iter().any(|id| administrated(id))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(role: Role) -> Standing {
        Standing {
            role,
            user_id: Some("u".to_owned()),
            known: true,
            key: Some(KeyHash::of_secret("sk-u")),
            key_team: None,
            teams: [("led".to_owned(), true), ("joined".to_owned(), false)].into(),
            organizations: [("own".to_owned(), true), ("other".to_owned(), false)].into(),
        }
    }

    /// What an internal user gets for every action on an object.
    fn powers(object: &Object<'_>) -> Vec<(Action, Power)> {
        let who = standing(Role::InternalUser);
        let each = Action::ALL.into_iter();
        each.filter_map(|action| Some((action, decide(&who, action, object)?)))
            .collect()
    }

    #[test]
    fn administrators_may_all_and_viewers_only_look() {
        let kinds = RecordKind::ALL.into_iter();
        for object in kinds.map(|kind| Object::new(kind, "x")) {
            for action in Action::ALL {
                let of = |role| decide(&standing(role), action, &object);
                assert_eq!(of(Role::ProxyAdmin), Some(Power::Proxy));
                let looks = action == Action::See;
                assert_eq!(of(Role::ProxyAdminViewer).is_some(), looks);
                assert_eq!(of(Role::InternalUser), None, "{object:?} {action:?}");
            }
        }
        let own = Object {
            user_id: Some("u"),
            ..Object::new(RecordKind::Key, "k")
        };
        for action in Action::ALL {
            let seen = decide(&standing(Role::InternalUserViewer), action, &own);
            assert_eq!(seen.is_some(), action == Action::See);
        }
    }

    #[test]
    fn a_key_of_a_user_without_a_record_changes_nothing() {
        let mut who = standing(Role::InternalUser);
        who.known = false;
        let own = Object {
            user_id: Some("u"),
            ..Object::new(RecordKind::Key, "k")
        };
        for action in Action::ALL {
            let may = decide(&who, action, &own).is_some();
            assert_eq!(may, action == Action::See, "{action:?}");
        }
    }

    #[test]
    fn a_team_admin_leads_its_team_and_no_other() {
        let led = powers(&Object::new(RecordKind::Team, "led"));
        let expected = [
            (Action::See, Power::Owner),
            (Action::Change, Power::Team),
            (Action::Members, Power::Team),
            (Action::Permissions, Power::Team),
            (Action::RemoveModels, Power::Team),
        ];
        assert_eq!(led, expected);
        let joined = powers(&Object::new(RecordKind::Team, "joined"));
        assert_eq!(joined, [(Action::See, Power::Owner)]);
        assert!(powers(&Object::new(RecordKind::Team, "foreign")).is_empty());
    }

    #[test]
    fn keys_follow_their_user_and_team() {
        let key = Object {
            user_id: Some("u"),
            ..Object::new(RecordKind::Key, "k")
        };
        let own: Vec<Action> = powers(&key).into_iter().map(|(action, _)| action).collect();
        let expected = [
            Action::See,
            Action::Create,
            Action::Change,
            Action::Delete,
            Action::Rotate,
        ];
        assert_eq!(own, expected);
        let in_team = Object {
            team_id: Some("joined"),
            ..key
        };
        assert_eq!(powers(&in_team), [(Action::See, Power::Owner)]);
        let permissions = ["/key/update".to_owned()];
        let permitted = Object {
            permissions: &permissions,
            ..in_team
        };
        assert_eq!(powers(&permitted)[1], (Action::Change, Power::Owner));
        let left = Object {
            team_id: Some("foreign"),
            ..permitted
        };
        assert_eq!(powers(&left), [(Action::See, Power::Owner)]);
        let of_led = Object {
            user_id: Some("somebody"),
            team_id: Some("led"),
            ..Object::new(RecordKind::Key, "k")
        };
        assert_eq!(powers(&of_led).len(), Action::ALL.len());
    }

    #[test]
    fn an_organization_admin_makes_teams_and_users_and_keeps_members() {
        let organizations = ["own".to_owned()];
        let of = |kind| Object {
            organizations: &organizations,
            ..Object::new(kind, "x")
        };
        assert_eq!(powers(&of(RecordKind::Team)).len(), Action::ALL.len());
        let user = powers(&of(RecordKind::User));
        let made = (Action::Create, Power::Organization);
        assert_eq!(user, [(Action::See, Power::Owner), made]);
        let own = powers(&Object::new(RecordKind::Organization, "own"));
        let members = (Action::Members, Power::Organization);
        assert_eq!(own, [(Action::See, Power::Owner), members]);
        let other = powers(&Object::new(RecordKind::Organization, "other"));
        assert_eq!(other, [(Action::See, Power::Owner)]);
    }
}
