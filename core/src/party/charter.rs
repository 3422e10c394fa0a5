//! What the record of a scope says, in compact form; its budget is looked up elsewhere.

use serde_json::{Map, Value};

use super::{Aliases, Rights, Standing, region_set, tags_in};
use crate::access::ModelRules;
use crate::auth::Role;
use crate::budget::policy::{DEGRADED, ON_EXHAUSTED, OVERDRAFT};
use crate::meters::Written;
use crate::record::{
    BadRecord, Bounds, Customer, Organization, OrganizationMember, Record, RecordKind, Tag, Team,
    TeamMember, User,
};
use crate::transcript::redacts;

/// What the record of a scope says.
#[derive(Clone, Debug, Default)]
pub struct Charter {
    /// What it grants, without what its budget says of models.
    pub rights: Rights,
    /// Its own limits.
    pub bounds: Bounds,
    /// What of its metadata limits.
    pub metadata: Map<String, Value>,
    /// The budget that it refers to.
    pub budget_id: Option<Box<str>>,
    /// The budget of a team's members who have none of their own.
    pub member_budget_id: Option<Box<str>>,
    /// The organization of a team or user.
    pub organization_id: Option<Box<str>>,
}

/// Metadata that limits.
const LIMITING: [&str; 7] = [
    DEGRADED,
    ON_EXHAUSTED,
    OVERDRAFT,
    "model_rpm_limit",
    "model_tpm_limit",
    "temp_budget_increase",
    "temp_budget_expiry",
];

impl Charter {
    /// Reads a record; `None` for kinds that are no scope, and for keys.
    ///
    /// # Errors
    /// When a field holds what it must not.
    pub fn read(record: &Record) -> Result<Option<Self>, BadRecord> {
        let mut charter = match record.kind {
            RecordKind::Team => Self::of_team(record.read()?),
            RecordKind::User => Self::of_user(record.read()?),
            RecordKind::Organization => Self::of_organization(record.read()?),
            RecordKind::TeamMember => Self::of_team_member(record.read()?),
            RecordKind::OrganizationMember => Self::of_organization_member(record.read()?),
            RecordKind::Customer => Self::of_customer(record.read()?),
            RecordKind::Tag => Self::of_tag(record.read()?),
            RecordKind::Restriction
            | RecordKind::Key
            | RecordKind::RotatedKey
            | RecordKind::Budget
            | RecordKind::Model
            | RecordKind::Credential
            | RecordKind::Setting => return Ok(None),
        };
        if record.deleted {
            charter.rights.standing = Standing::Deleted;
        }
        Ok(Some(charter))
    }

    /// Its limits with those of its budget.
    pub fn written<'a>(&'a self, bounds: &'a Bounds) -> Written<'a> {
        let metadata = &self.metadata;
        Written { bounds, metadata }
    }

    fn of_team(team: Team) -> Self {
        Self {
            rights: Rights {
                standing: blocked(team.blocked),
                models: models(&team.models),
                aliases: Aliases::of(&team.model_aliases),
                allowed_regions: region_set(&team.allowed_regions),
                redacts: redacts(&team.metadata),
                tags: tags_in(&team.metadata),
                ..Rights::default()
            },
            bounds: team.bounds.with_limits(&team.extra),
            metadata: limiting(team.metadata),
            member_budget_id: boxed(team.team_member_budget_id),
            organization_id: boxed(team.organization_id),
            budget_id: None,
        }
    }

    fn of_user(user: User) -> Self {
        Self {
            rights: Rights {
                models: models(&user.models),
                role: user.user_role.as_deref().and_then(Role::parse),
                ..Rights::default()
            },
            bounds: user.bounds.with_limits(&user.extra),
            metadata: limiting(user.metadata),
            organization_id: boxed(user.organization_id),
            ..Self::default()
        }
    }

    fn of_organization(organization: Organization) -> Self {
        Self {
            rights: Rights {
                standing: blocked(organization.blocked),
                models: models(&organization.models),
                redacts: redacts(&organization.metadata),
                ..Rights::default()
            },
            metadata: limiting(organization.metadata),
            budget_id: boxed(organization.budget_id),
            ..Self::default()
        }
    }

    fn of_team_member(member: TeamMember) -> Self {
        Self {
            rights: Rights {
                models: ModelRules::parse(&member.allowed_models, true),
                ..Rights::default()
            },
            bounds: member.bounds,
            budget_id: boxed(member.budget_id),
            ..Self::default()
        }
    }

    fn of_organization_member(member: OrganizationMember) -> Self {
        Self {
            bounds: member.bounds,
            budget_id: boxed(member.budget_id),
            ..Self::default()
        }
    }

    fn of_customer(customer: Customer) -> Self {
        Self {
            rights: Rights {
                standing: blocked(customer.blocked),
                default_model: boxed(customer.default_model),
                model_region: boxed(customer.allowed_model_region),
                ..Rights::default()
            },
            bounds: customer.bounds,
            budget_id: boxed(customer.budget_id),
            ..Self::default()
        }
    }

    fn of_tag(tag: Tag) -> Self {
        let ids = tag.models.into_iter().map(String::into_boxed_str);
        Self {
            rights: Rights {
                deployments: ids.collect(),
                ..Rights::default()
            },
            bounds: tag.bounds,
            budget_id: boxed(tag.budget_id),
            ..Self::default()
        }
    }
}

fn blocked(is: bool) -> Standing {
    match is {
        true => Standing::Blocked,
        false => Standing::Active,
    }
}

/// Teams, users and organizations have no team whose models they could inherit.
fn models(list: &[String]) -> ModelRules {
    ModelRules::parse(list, false)
}

fn boxed(text: Option<String>) -> Option<Box<str>> {
    text.map(String::into_boxed_str)
}

fn limiting(mut metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.retain(|name, _| LIMITING.contains(&name.as_str()));
    metadata
}
