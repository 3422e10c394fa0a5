//! Whose budget refused, in LiteLLM's words.

use crate::meters::{Routed, RoutedKind};
use crate::money::NanoUsd;
use crate::scope::Scope;
use crate::time::WallMs;

/// Whose budget refused.
#[derive(Clone, Debug, PartialEq)]
pub enum BudgetScope {
    /// The key itself.
    Key,
    /// One model of the key.
    KeyModel {
        /// Digest of the key.
        key: String,
        /// Its alias, or `None` in LiteLLM's spelling.
        alias: String,
        /// The model.
        model: String,
    },
    /// A team.
    Team(String),
    /// A user in a team.
    TeamMember {
        /// The team.
        team: String,
        /// The user.
        user: String,
    },
    /// A user in an organization.
    OrganizationMember {
        /// The organization.
        organization: String,
        /// The user.
        user: String,
    },
    /// One model of a team, a user, a customer, ...
    ScopeModel {
        /// Whose.
        scope: Scope,
        /// The model.
        model: String,
    },
    /// One of several budgets, each with a period of its own (`budget_limits`).
    Limit {
        /// Whose.
        of: Box<Self>,
        /// Length of the period.
        duration: String,
    },
    /// A user.
    User(String),
    /// An organization.
    Organization(String),
    /// A customer of the caller.
    EndUser(String),
    /// A tag.
    Tag(String),
    /// The whole installation (`litellm_settings.max_budget`).
    Global,
    /// A provider, a deployment or a tag of routing, for want of another.
    Routed {
        /// Which one.
        of: Routed,
        /// Length of its period; `None` never ends.
        duration: Option<String>,
    },
}

impl BudgetScope {
    pub(super) fn exceeded_message(
        &self,
        spent: NanoUsd,
        limit: NanoUsd,
        resets_at: Option<WallMs>,
    ) -> String {
        let exceeded = |who: String| {
            format!("Budget has been exceeded!{who} Current cost: {spent}, Max budget: {limit}")
        };
        match self {
            Self::Key | Self::Global => exceeded(String::new()),
            Self::Team(id) => exceeded(format!(" Team={id}")),
            Self::TeamMember { team, user } => exceeded(format!(" User={user} in Team={team}")),
            Self::OrganizationMember { organization, user } => {
                exceeded(format!(" User={user} in Organization={organization}"))
            }
            Self::Organization(id) => exceeded(format!(" Organization={id}")),
            Self::Tag(tag) => exceeded(format!(" Tag={tag}")),
            Self::Routed { of, duration } => {
                routed(of, duration.as_deref(), spent, limit, resets_at)
            }
            Self::User(id) => {
                format!("ExceededBudget: User={id} over budget. Spend={spent}, Budget={limit}")
            }
            Self::EndUser(id) => {
                format!("ExceededBudget: End User={id} over budget. Spend={spent}, Budget={limit}")
            }
            Self::Limit { of, duration } => {
                let who = of.short_name();
                let resets = resets_at.map(|at| format!(", Resets at={}", at.to_iso()));
                let resets = resets.unwrap_or_default();
                format!(
                    "ExceededBudget: {who} over {duration} budget. \
                     Spend=${spent}, Limit=${limit}{resets}"
                )
            }
            Self::ScopeModel { scope, model } => format!(
                "LiteLLM {}: {}, exceeded budget for model={model}",
                scope.kind.title(),
                scope.shown_id(),
            ),
            Self::KeyModel { key, alias, model } => format!(
                "LiteLLM Virtual Key: {key}, key_alias: {alias}, exceeded budget for model={model}"
            ),
        }
    }

    /// Whose it is, in the words of LiteLLM's windows.
    fn short_name(&self) -> String {
        match self {
            Self::Team(id) => format!("Team={id}"),
            Self::User(id) => format!("User={id}"),
            Self::Organization(id) => format!("Organization={id}"),
            Self::EndUser(id) => format!("End User={id}"),
            Self::Tag(id) => format!("Tag={id}"),
            Self::TeamMember { team, user } => format!("User={user} in Team={team}"),
            Self::OrganizationMember { organization, user } => {
                format!("User={user} in Organization={organization}")
            }
            Self::ScopeModel { scope, .. } => scope.to_string(),
            Self::Limit { of, .. } => of.short_name(),
            Self::Global => "Proxy".to_owned(),
            Self::Routed { of, .. } => format!("{}={}", of.kind.label(), of.id),
            Self::Key | Self::KeyModel { .. } => "Key".to_owned(),
        }
    }
}

/// In LiteLLM's words, with the period.
fn routed(
    Routed { kind, id }: &Routed,
    duration: Option<&str>,
    spent: NanoUsd,
    limit: NanoUsd,
    resets_at: Option<WallMs>,
) -> String {
    let what = match kind {
        RoutedKind::Provider => format!("provider {id}: {spent} >= {limit}"),
        RoutedKind::Deployment => format!("deployment model_id: {id}: {spent} >= {limit}"),
        RoutedKind::Tag => format!("tag='{id}', tag_spend={spent}, tag_budget_limit={limit}"),
    };
    let window = duration.map(|duration| format!(", Window={duration}"));
    let resets = resets_at.map(|at| format!(", Resets at={}", at.to_iso()));
    let (window, resets) = (window.unwrap_or_default(), resets.unwrap_or_default());
    format!("No deployments available - crossed budget: Exceeded budget for {what}{window}{resets}")
}
