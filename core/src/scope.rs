//! What money is counted for: the scopes that a request is charged to.

use std::fmt;

use crate::spend::SpendRecord;

/// Stands between the parts of a member's id. No id of a team, user or organization contains it.
const MEMBER_SEPARATOR: char = '\u{1f}';

/// Stands before the duration that names one of a scope's `budget_limits`. No id contains it.
const LIMIT_SEPARATOR: char = '\u{1e}';

/// What kind of thing a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// A virtual key; its id is the token's digest.
    Key,
    /// A user.
    User,
    /// A team.
    Team,
    /// A user in a team; `Scope::team_member` makes its id.
    TeamMember,
    /// An organization.
    Organization,
    /// A user in an organization; `Scope::organization_member` makes its id.
    OrganizationMember,
    /// A customer of the caller.
    EndUser,
    /// A tag of requests.
    Tag,
}

impl ScopeKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Key,
        Self::User,
        Self::Team,
        Self::TeamMember,
        Self::Organization,
        Self::OrganizationMember,
        Self::EndUser,
        Self::Tag,
    ];

    /// Name in tables, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Team => "team",
            Self::TeamMember => "team_member",
            Self::Organization => "organization",
            Self::OrganizationMember => "organization_member",
            Self::EndUser => "end_user",
            Self::Tag => "tag",
        }
    }

    /// Its name in messages, in LiteLLM's spelling.
    pub fn title(self) -> &'static str {
        match self {
            Self::Key => "Virtual Key",
            Self::User => "User",
            Self::Team => "Team",
            Self::TeamMember => "Team Member",
            Self::Organization => "Organization",
            Self::OrganizationMember => "Organization Member",
            Self::EndUser => "End User",
            Self::Tag => "Tag",
        }
    }

    /// The kind of a label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }
}

impl fmt::Display for ScopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One thing that money is counted for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// Which one.
    pub id: String,
}

impl Scope {
    /// The scope of a kind with an id.
    pub fn new(kind: ScopeKind, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { kind, id }
    }

    /// A user in a team.
    pub fn team_member(team_id: &str, user_id: &str) -> Self {
        Self::new(ScopeKind::TeamMember, member_id(team_id, user_id))
    }

    /// A user in an organization.
    pub fn organization_member(organization_id: &str, user_id: &str) -> Self {
        let id = member_id(organization_id, user_id);
        Self::new(ScopeKind::OrganizationMember, id)
    }

    /// Group and user of a member's scope; `None` for every other kind.
    pub fn member(&self) -> Option<(&str, &str)> {
        match self.kind {
            ScopeKind::TeamMember | ScopeKind::OrganizationMember => {
                self.id.split_once(MEMBER_SEPARATOR)
            }
            _ => None,
        }
    }

    /// The scope that one of its `budget_limits` is counted under.
    #[must_use]
    pub fn limit(&self, duration: &str) -> Self {
        Self::new(self.kind, format!("{}{LIMIT_SEPARATOR}{duration}", self.id))
    }

    /// The scope and the duration of one that [`Self::limit`] made; `None` for every other.
    pub fn limit_of(&self) -> Option<(Self, &str)> {
        let (id, duration) = self.id.split_once(LIMIT_SEPARATOR)?;
        Some((Self::new(self.kind, id), duration))
    }

    /// Its id for people.
    pub fn shown_id(&self) -> String {
        self.id.replace(MEMBER_SEPARATOR, "/")
    }

    /// Every scope that a request is charged to, each once, in order.
    pub fn of_record(record: &SpendRecord) -> Vec<Self> {
        let payer = &record.payer;
        let mut scopes = Vec::with_capacity(6 + record.context.tags.len());
        if let Some(key) = payer.key {
            scopes.push(Self::new(ScopeKind::Key, key.to_string()));
        }
        let named = [
            (ScopeKind::User, &payer.user_id),
            (ScopeKind::Team, &payer.team_id),
            (ScopeKind::Organization, &payer.organization_id),
            (ScopeKind::EndUser, &payer.end_user),
        ];
        for (kind, id) in named {
            scopes.extend(id.as_ref().map(|id| Self::new(kind, id.as_str())));
        }
        if let Some(user) = &payer.user_id {
            let team = payer.team_id.as_ref();
            scopes.extend(team.map(|team| Self::team_member(team, user)));
            let organization = payer.organization_id.as_ref();
            scopes.extend(organization.map(|one| Self::organization_member(one, user)));
        }
        let tags = record.context.tags.iter();
        scopes.extend(tags.map(|tag| Self::new(ScopeKind::Tag, tag.as_str())));
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.shown_id())
    }
}

/// Id of a user in a group: the only place that knows how the two are joined.
fn member_id(group: &str, user: &str) -> String {
    format!("{group}{MEMBER_SEPARATOR}{user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_one_kind_each() {
        for kind in ScopeKind::ALL {
            assert_eq!(ScopeKind::of_label(kind.label()), Some(kind));
        }
        assert_eq!(ScopeKind::of_label("project"), None);
    }

    #[test]
    fn a_member_is_told_apart_from_its_parts() {
        let member = Scope::team_member("t1", "u1");
        assert_eq!(member.member(), Some(("t1", "u1")));
        assert_ne!(member, Scope::organization_member("t1", "u1"));
        assert_ne!(member, Scope::team_member("t1u", "1"));
        assert_eq!(member.to_string(), "team_member t1/u1");
        assert_eq!(Scope::new(ScopeKind::Team, "t1").member(), None);
    }

    #[test]
    fn a_limit_is_told_apart_from_its_scope() {
        let member = Scope::team_member("t1", "u1");
        let limit = member.limit("1d");
        assert_eq!(limit.limit_of(), Some((member.clone(), "1d")));
        assert_ne!(limit, member.limit("24h"));
        assert_eq!(member.limit_of(), None);
    }

    #[test]
    fn a_request_is_charged_to_each_of_its_scopes_once() {
        let json = serde_json::json!({
            "call_id": "0190b6e2-0000-7000-8000-000000000001", "endpoint": "chat_completions",
            "payer": {"user_id": "u", "team_id": "t", "organization_id": "o", "end_user": "c"},
            "model_group": "m", "started": 0, "ended": 0, "usage": {}, "cost": 1,
            "end_reason": "complete", "status": 200, "context": {"tags": ["b", "a", "b"]},
        });
        let record: SpendRecord = serde_json::from_value(json).unwrap();
        let names: Vec<String> = Scope::of_record(&record)
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "user u",
            "team t",
            "team_member t/u",
            "organization o",
            "organization_member o/u",
            "end_user c",
            "tag a",
            "tag b",
        ];
        assert_eq!(names, expected);
    }
}
