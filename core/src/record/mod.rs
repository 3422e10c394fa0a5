//! What management writes, in one shape: keys, teams, users, models and the rest.
//!
//! A record is replaced whole; its `version` orders the replacements, so that copies in nodes and
//! regions can be compared without asking anybody. Its home region alone writes it. What takes
//! rights away may be written anywhere: as a record of its own, a [`Restriction`]. A deleted
//! record stays as a tombstone, or a slow writer could bring it back.

mod bounds;
pub mod home;
mod members;
mod objects;
mod restriction;
pub mod versions;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use bounds::Bounds;
pub use members::{Member, OrganizationMember, TeamMember};
pub use objects::{Budget, Credential, Customer, Model, Organization, Setting, Tag, Team, User};
pub use restriction::{Restriction, Restricts};

use crate::scope::{Scope, ScopeKind};
use crate::time::WallMs;

/// What a record is about. In this order copies take what is new: what takes rights away first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// Rights taken away outside the home region.
    Restriction,
    /// A virtual key; the id is its digest in hex.
    Key,
    /// A digest that a rotation replaced.
    RotatedKey,
    /// A set of bounds that others refer to.
    Budget,
    /// An organization.
    Organization,
    /// A team.
    Team,
    /// A user.
    User,
    /// A user in a team.
    TeamMember,
    /// A user in an organization.
    OrganizationMember,
    /// The callers' own customer (`end_user`).
    Customer,
    /// A tag; the id is its name.
    Tag,
    /// A deployment that is not in the configuration file.
    Model,
    /// A provider's credential; the id is its name.
    Credential,
    /// A section of the configuration; the id is its name.
    Setting,
}

impl RecordKind {
    /// Every kind, in order.
    pub const ALL: [Self; 14] = [
        Self::Restriction,
        Self::Key,
        Self::RotatedKey,
        Self::Budget,
        Self::Organization,
        Self::Team,
        Self::User,
        Self::TeamMember,
        Self::OrganizationMember,
        Self::Customer,
        Self::Tag,
        Self::Model,
        Self::Credential,
        Self::Setting,
    ];

    /// Its word in columns, messages and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restriction => "restriction",
            Self::Key => "key",
            Self::RotatedKey => "rotated_key",
            Self::Budget => "budget",
            Self::Organization => "organization",
            Self::Team => "team",
            Self::User => "user",
            Self::TeamMember => "team_member",
            Self::OrganizationMember => "organization_member",
            Self::Customer => "customer",
            Self::Tag => "tag",
            Self::Model => "model",
            Self::Credential => "credential",
            Self::Setting => "setting",
        }
    }

    /// Reads [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whose spend is summed under records of this kind.
    pub fn scope(self) -> Option<ScopeKind> {
        match self {
            Self::Key => Some(ScopeKind::Key),
            Self::Organization => Some(ScopeKind::Organization),
            Self::Team => Some(ScopeKind::Team),
            Self::User => Some(ScopeKind::User),
            Self::TeamMember => Some(ScopeKind::TeamMember),
            Self::OrganizationMember => Some(ScopeKind::OrganizationMember),
            Self::Customer => Some(ScopeKind::EndUser),
            Self::Tag => Some(ScopeKind::Tag),
            Self::Restriction
            | Self::RotatedKey
            | Self::Budget
            | Self::Model
            | Self::Credential
            | Self::Setting => None,
        }
    }
}

/// A record with its place in the order of changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it is about.
    pub kind: RecordKind,
    /// Stable identity within its kind.
    pub id: String,
    /// Region that writes it; empty where there is one region only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub home: String,
    /// Orders its replacements: [`crate::hlc`].
    pub version: u64,
    /// Grows when the home region gives rights back (unblock, raise): restrictions of an older
    /// generation no longer count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// A tombstone: it keeps the last body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When it was made.
    pub created_at: WallMs,
    /// When it was last changed.
    pub updated_at: WallMs,
    /// Its fields.
    pub body: Map<String, Value>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A body that does not hold what its kind needs. Its text does not say whose it is: lines of the
/// log may have to leave that out.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {error}")]
pub struct BadRecord {
    /// Its kind.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// What is wrong.
    pub error: serde_json::Error,
}

/// The typed body of one kind of record.
pub trait Body: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: RecordKind;
}

impl Record {
    /// A record that is written for the first time; the store gives it its version.
    pub fn new<B: Body>(id: String, body: &B, now: WallMs) -> Self {
        Self {
            kind: B::KIND,
            id,
            home: String::new(),
            version: 0,
            generation: 0,
            deleted: false,
            created_at: now,
            updated_at: now,
            body: object_of(body),
        }
    }

    /// The typed body.
    ///
    /// # Errors
    /// When a field holds what it must not.
    pub fn read<B: Body>(&self) -> Result<B, BadRecord> {
        let body = Value::Object(self.body.clone());
        serde_json::from_value(body).map_err(|error| BadRecord {
            kind: self.kind.as_str(),
            id: self.id.clone(),
            error,
        })
    }

    /// The same record with another body, changed at `now`.
    #[must_use]
    pub fn with<B: Body>(mut self, body: &B, now: WallMs) -> Self {
        self.body = object_of(body);
        self.updated_at = now;
        self
    }

    /// Whose spend is summed under it.
    pub fn scope(&self) -> Option<Scope> {
        let kind = self.kind.scope()?;
        let id = self.id.clone();
        Some(Scope { kind, id })
    }

    /// A field of the body that lists can be filtered or ordered by.
    pub fn facet(&self, facet: Facet) -> Option<&str> {
        let own_id = match (self.kind, facet) {
            (RecordKind::User, Facet::UserId)
            | (RecordKind::Team, Facet::TeamId)
            | (RecordKind::Organization, Facet::OrganizationId)
            | (RecordKind::Budget, Facet::BudgetId) => Some(self.id.as_str()),
            _ => None,
        };
        let named = |name: &str| self.body.get(name).and_then(Value::as_str);
        own_id.or_else(|| match facet {
            Facet::Alias => named(alias_field(self.kind)?),
            Facet::Email => named("user_email"),
            Facet::UserId => named("user_id"),
            Facet::TeamId => named("team_id"),
            Facet::OrganizationId => named("organization_id"),
            // Of a key it is one of the columns that are only stored.
            Facet::BudgetId => named("budget_id").or_else(|| {
                let extra = self.body.get("extra")?.as_object()?;
                extra.get("budget_id")?.as_str()
            }),
        })
    }
}

/// What lists of records are filtered by; a column of its own in every store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// The name for people: key alias, team alias, model name; for a rotated key what replaced it.
    Alias,
    /// A user's address.
    Email,
    /// The user it belongs to or is.
    UserId,
    /// The team.
    TeamId,
    /// The organization.
    OrganizationId,
    /// The budget that it refers to.
    BudgetId,
}

impl Facet {
    /// Every facet, in the order of the columns.
    pub const ALL: [Self; 6] = [
        Self::Alias,
        Self::Email,
        Self::UserId,
        Self::TeamId,
        Self::OrganizationId,
        Self::BudgetId,
    ];

    /// The column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Alias => "alias",
            Self::Email => "email",
            Self::UserId => "user_id",
            Self::TeamId => "team_id",
            Self::OrganizationId => "organization_id",
            Self::BudgetId => "budget_id",
        }
    }
}

fn alias_field(kind: RecordKind) -> Option<&'static str> {
    match kind {
        RecordKind::Key => Some("key_alias"),
        RecordKind::Team => Some("team_alias"),
        RecordKind::User => Some("user_alias"),
        RecordKind::Organization => Some("organization_alias"),
        RecordKind::Customer => Some("alias"),
        RecordKind::Model => Some("model_name"),
        RecordKind::RotatedKey => Some("active"),
        RecordKind::Restriction
        | RecordKind::Budget
        | RecordKind::TeamMember
        | RecordKind::OrganizationMember
        | RecordKind::Tag
        | RecordKind::Credential
        | RecordKind::Setting => None,
    }
}

/// Fields of a typed body. Every body is a struct, so nothing is lost.
fn object_of<B: Body>(body: &B) -> Map<String, Value> {
    match serde_json::to_value(body) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
