//! The tables that become records, in the order in which they are read.

use crate::record::RecordKind;

/// A table of LiteLLM whose rows become records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Bounds that others refer to.
    Budgets,
    /// Organizations.
    Organizations,
    /// Teams, with the aliases of their model table.
    Teams,
    /// Users.
    Users,
    /// Users in teams.
    TeamMembers,
    /// Users in organizations.
    OrganizationMembers,
    /// Keys that were deleted: they stay unusable.
    DeletedKeys,
    /// Virtual keys.
    Keys,
    /// Digests that a rotation replaced.
    RotatedKeys,
    /// The callers' customers.
    Customers,
    /// Tags.
    Tags,
    /// Deployments of the database.
    Models,
    /// Providers' credentials.
    Credentials,
    /// Sections of the configuration.
    Settings,
}

/// How the rows of a table are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The table's name.
    pub name: &'static str,
    /// What its rows become.
    pub kind: RecordKind,
    /// Columns that together name a row; joined they are the id of its record.
    pub id: &'static [&'static str],
    /// The `budget_id` of a row names the budget that gives the period of its spend.
    pub budget: bool,
}

impl Table {
    /// Every table, in order: what takes rights away comes before what gives them.
    pub const ALL: [Self; 14] = [
        Self::Budgets,
        Self::Organizations,
        Self::Teams,
        Self::Users,
        Self::TeamMembers,
        Self::OrganizationMembers,
        Self::DeletedKeys,
        Self::Keys,
        Self::RotatedKeys,
        Self::Customers,
        Self::Tags,
        Self::Models,
        Self::Credentials,
        Self::Settings,
    ];

    /// The table with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|table| table.mapping().name == name)
    }

    /// How it is read.
    pub fn mapping(self) -> Mapping {
        let (name, kind, id, budget): (_, _, &'static [&'static str], _) = match self {
            Self::Budgets => (
                "LiteLLM_BudgetTable",
                RecordKind::Budget,
                &["budget_id"],
                false,
            ),
            Self::Organizations => (
                "LiteLLM_OrganizationTable",
                RecordKind::Organization,
                &["organization_id"],
                true,
            ),
            Self::Teams => ("LiteLLM_TeamTable", RecordKind::Team, &["team_id"], false),
            Self::Users => ("LiteLLM_UserTable", RecordKind::User, &["user_id"], false),
            Self::TeamMembers => (
                "LiteLLM_TeamMembership",
                RecordKind::TeamMember,
                &["team_id", "user_id"],
                true,
            ),
            Self::OrganizationMembers => (
                "LiteLLM_OrganizationMembership",
                RecordKind::OrganizationMember,
                &["organization_id", "user_id"],
                true,
            ),
            Self::DeletedKeys => (
                "LiteLLM_DeletedVerificationToken",
                RecordKind::Key,
                &["token"],
                false,
            ),
            Self::Keys => (
                "LiteLLM_VerificationToken",
                RecordKind::Key,
                &["token"],
                true,
            ),
            Self::RotatedKeys => (
                "LiteLLM_DeprecatedVerificationToken",
                RecordKind::RotatedKey,
                &["token"],
                false,
            ),
            Self::Customers => (
                "LiteLLM_EndUserTable",
                RecordKind::Customer,
                &["user_id"],
                true,
            ),
            Self::Tags => ("LiteLLM_TagTable", RecordKind::Tag, &["tag_name"], true),
            Self::Models => (
                "LiteLLM_ProxyModelTable",
                RecordKind::Model,
                &["model_id"],
                false,
            ),
            Self::Credentials => (
                "LiteLLM_CredentialsTable",
                RecordKind::Credential,
                &["credential_name"],
                false,
            ),
            Self::Settings => (
                "LiteLLM_Config",
                RecordKind::Setting,
                &["param_name"],
                false,
            ),
        };
        Mapping {
            name,
            kind,
            id,
            budget,
        }
    }
}
