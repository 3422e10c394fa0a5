//! Who belongs to a team or an organization, and what each member may spend there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Bounds, RecordKind};

/// A member as LiteLLM's `members_with_roles` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `admin` or `user`.
    #[serde(default = "user_role")]
    pub role: String,
    /// The user.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Its address, where that is all that was given.
    #[serde(default)]
    pub user_email: Option<String>,
}

fn user_role() -> String {
    "user".to_owned()
}

/// A user in a team: its record id is [`crate::scope::member_id`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TeamMember {
    /// The team.
    pub team_id: String,
    /// The user.
    pub user_id: String,
    /// Bounds of their own, if they have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_id: Option<String>,
    /// Models the member may use in the team; empty is all of the team's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_models: Vec<String>,
    /// Limits within the team.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Body for TeamMember {
    const KIND: RecordKind = RecordKind::TeamMember;
}

/// A user in an organization: its record id is [`crate::scope::member_id`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrganizationMember {
    /// The organization.
    pub organization_id: String,
    /// The user.
    pub user_id: String,
    /// `org_admin`, `internal_user` or `internal_user_viewer`.
    pub user_role: String,
    /// Bounds of their own, if they have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_id: Option<String>,
    /// Limits within the organization.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl Body for OrganizationMember {
    const KIND: RecordKind = RecordKind::OrganizationMember;
}
