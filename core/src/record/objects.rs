//! Teams, users, organizations, budgets, customers, tags, models, credentials and settings.
//!
//! Field names are LiteLLM's columns, facts of its interface. What decides nothing here is kept in
//! `extra` and shown again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Bounds, Member, RecordKind};

/// A team. Its members with bounds of their own are [`super::TeamMember`] records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Team {
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_alias: Option<String>,
    /// Its organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Who belongs to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members_with_roles: Vec<Member>,
    /// Models, wildcards and access groups its keys may use; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Model names that it rewrites.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model_aliases: BTreeMap<String, String>,
    /// Blocked by an administrator.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Management routes that plain members may call for the team's keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub team_member_permissions: Vec<String>,
    /// Budget that members get who have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_member_budget_id: Option<String>,
    /// Regions that may serve its requests; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_regions: Vec<String>,
    /// Its limits.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// Free keys plus what LiteLLM folds into it (`model_rpm_limit`, `tags`, ...).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Team {
    const KIND: RecordKind = RecordKind::Team;
}

/// A person or a program that owns keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_alias: Option<String>,
    /// Address; unique where it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_email: Option<String>,
    /// LiteLLM's name of its role; `None` is `internal_user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_role: Option<String>,
    /// Teams it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
    /// Its organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// Models, wildcards and access groups its own keys may use; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Its limits.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// Free keys plus what LiteLLM folds into it (`model_rpm_limit`, `tags`, ...).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for User {
    const KIND: RecordKind = RecordKind::User;
}

/// An organization. Its limits are those of its budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Organization {
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_alias: Option<String>,
    /// Its budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_id: Option<String>,
    /// Models, wildcards and access groups its keys may use; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Blocked by an administrator.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Free keys plus what LiteLLM folds into it (`model_rpm_limit`, `tags`, ...).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Organization {
    const KIND: RecordKind = RecordKind::Organization;
}

/// Bounds that other records refer to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Its limits.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// Models that it allows; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_models: Vec<String>,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Budget {
    const KIND: RecordKind = RecordKind::Budget;
}

/// The callers' own customer: the `user` of their requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Customer {
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Blocked by an administrator.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Its budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_id: Option<String>,
    /// Provider regions that may serve it: `eu` or `us`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_model_region: Option<String>,
    /// Model of requests that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// Limits of its own.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Customer {
    const KIND: RecordKind = RecordKind::Customer;
}

/// A tag that requests carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tag {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Deployments that requests with the tag may use; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Its budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_id: Option<String>,
    /// Limits of its own.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// LiteLLM columns that are stored and shown only.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Tag {
    const KIND: RecordKind = RecordKind::Tag;
}

/// A deployment that the management API made; credentials in it are sealed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Name that clients ask for.
    pub model_name: String,
    /// LiteLLM's parameters; secret strings are sealed with the salt key.
    pub litellm_params: Map<String, Value>,
    /// LiteLLM's description.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub model_info: Map<String, Value>,
    /// Taken out of routing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Model {
    const KIND: RecordKind = RecordKind::Model;
}

/// A provider's credential that models refer to by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credential {
    /// Sealed with the salt key.
    pub credential_values: Map<String, Value>,
    /// Description, not secret.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub credential_info: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Credential {
    const KIND: RecordKind = RecordKind::Credential;
}

/// A section of the configuration that the management API wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// Its keys; they win over the file's.
    pub param_value: Map<String, Value>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

impl Body for Setting {
    const KIND: RecordKind = RecordKind::Setting;
}
