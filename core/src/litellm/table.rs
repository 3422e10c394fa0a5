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
        use RecordKind as Kind;
        match self {
            Self::Budgets => of("LiteLLM_BudgetTable", Kind::Budget, &["budget_id"]),
            Self::Organizations => of(
                "LiteLLM_OrganizationTable",
                Kind::Organization,
                &["organization_id"],
            )
            .with_budget(),
            Self::Teams => of("LiteLLM_TeamTable", Kind::Team, &["team_id"]),
            Self::Users => of("LiteLLM_UserTable", Kind::User, &["user_id"]),
            Self::TeamMembers => of(
                "LiteLLM_TeamMembership",
                Kind::TeamMember,
                &["team_id", "user_id"],
            )
            .with_budget(),
            Self::OrganizationMembers => of(
                "LiteLLM_OrganizationMembership",
                Kind::OrganizationMember,
                &["organization_id", "user_id"],
            )
            .with_budget(),
            Self::DeletedKeys => of("LiteLLM_DeletedVerificationToken", Kind::Key, &["token"]),
            Self::Keys => of("LiteLLM_VerificationToken", Kind::Key, &["token"]).with_budget(),
            Self::RotatedKeys => of(
                "LiteLLM_DeprecatedVerificationToken",
                Kind::RotatedKey,
                &["token"],
            ),
            Self::Customers => {
                of("LiteLLM_EndUserTable", Kind::Customer, &["user_id"]).with_budget()
            }
            Self::Tags => of("LiteLLM_TagTable", Kind::Tag, &["tag_name"]).with_budget(),
            Self::Models => of("LiteLLM_ProxyModelTable", Kind::Model, &["model_id"]),
            Self::Credentials => of(
                "LiteLLM_CredentialsTable",
                Kind::Credential,
                &["credential_name"],
            ),
            Self::Settings => of("LiteLLM_Config", Kind::Setting, &["param_name"]),
        }
    }
}

/// Rows whose budget, if they have one, is their own.
fn of(name: &'static str, kind: RecordKind, id: &'static [&'static str]) -> Mapping {
    Mapping {
        name,
        kind,
        id,
        budget: false,
    }
}

impl Mapping {
    /// Rows that may refer to a budget, which gives the period of their spend.
    fn with_budget(self) -> Self {
        Self {
            budget: true,
            ..self
        }
    }
}
