//! Tables that become no records: what is missing without them.

/// What a table without counterpart means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Its rows were somebody's: they should know what is missing.
    Missing(&'static str),
    /// It is read as part of something else.
    Read(&'static str),
    /// LiteLLM's own bookkeeping: nothing is missing.
    Internal,
}

use Elsewhere::{Internal, Missing, Read};

const MCP: &str = "MCP servers and tools are not served";
const AGENTS: &str = "agents are not served";
const POLICIES: &str =
    "guardrails and policies are not applied: requests pass without these checks";
const UI: &str = "settings of LiteLLM's user interface";
const FILES: &str = "files, batches and stores that LiteLLM gave names of its own: \
                     clients must use the provider's ids";
const VECTOR: &str = "vector stores are not served";
const SUMS: &str = "daily sums by a dimension that Meridian does not keep";
const SSO: &str = "single sign-on is not served";

/// What a table that is none of [`super::Table`] means; `None` for one that is not known.
pub fn elsewhere(table: &str) -> Option<Elsewhere> {
    let name = table.strip_prefix("LiteLLM_")?;
    identity(name)
        .or_else(|| spending(name))
        .or_else(|| others(name))
}

/// Who may do what.
fn identity(name: &str) -> Option<Elsewhere> {
    Some(match name {
        "ProjectTable" => Missing(
            "projects are not served: keys of a project are bound by their own limits and their \
             team's, no longer by the project's",
        ),
        "ObjectPermissionTable" => Missing(
            "permissions on MCP servers, vector stores and agents, none of which are served",
        ),
        "AccessGroupTable" => {
            Read("their models were added to the keys and teams that name them; no group is made")
        }
        "ModelAccessGroupBudgetTable" => Missing("budgets of access groups are not enforced"),
        "JWTKeyMapping" => Missing("keys for JWT subjects: JWT sign-in is not served"),
        "InvitationLink" => Missing("invitations to LiteLLM's user interface"),
        "SSOConfig" | "SSOIdentityAssertion" | "VerifiedSubject" => Missing(SSO),
        "DeletedTeamTable" => Missing("deleted teams: old spend shows their ids without names"),
        "UserNotifications" => Missing("requests of users for models"),
        "AuditLog" => Missing("LiteLLM's audit log stays where it is: keep a copy of its table"),
        "UserProviderCredentials" => Missing("credentials that users brought for providers"),
        _ => return None,
    })
}

/// What was spent.
fn spending(name: &str) -> Option<Elsewhere> {
    Some(match name {
        "ModelTable" => Read("aliases of teams: part of the teams"),
        "DailyUserSpend" | "DailyTagSpend" | "DailyEndUserSpend" | "SpendLogs" => {
            Read("what was spent before: see history and logs")
        }
        "DailyTeamSpend" | "DailyOrganizationSpend" | "DailyGlobalSpend" => {
            Read("the same requests as in LiteLLM_DailyUserSpend, which names their keys")
        }
        "DailyAgentSpend"
        | "DailyToolSpend"
        | "DailyModelUsage"
        | "DailyGatewayRequests"
        | "DailyGatewayFailedRequests"
        | "DailyRequestErrors"
        | "DailyGuardrailMetrics"
        | "DailyGuardrailUsageUnits"
        | "DailyPolicyMetrics" => Missing(SUMS),
        "BudgetWindowSpend" => {
            Missing("spend in additional budget windows, which are not enforced")
        }
        "SpendLogGuardrailIndex" | "SpendLogToolIndex" => Internal,
        "ErrorLogs" => Missing("LiteLLM's log of errors stays where it is"),
        "HealthCheckTable" => Missing("results of past health checks"),
        _ => return None,
    })
}

fn others(name: &str) -> Option<Elsewhere> {
    Some(match name {
        "MCPServerTable"
        | "MCPToolsetTable"
        | "MCPUserCredentials"
        | "MCPUserEnvVars"
        | "MCPServerOAuthClient"
        | "ToolTable" => Missing(MCP),
        "AgentsTable" | "AgentIdentity" | "RetiredAgentIdentity" | "RetiredAgent" => {
            Missing(AGENTS)
        }
        "GuardrailsTable" | "PolicyTable" | "PolicyAttachmentTable" => Missing(POLICIES),
        "PromptTable" => Missing("stored prompts are not served"),
        "SkillsTable" | "ClaudeCodePluginTable" | "MemoryTable" => {
            Missing("skills, plug-ins and memories are not served")
        }
        "SearchToolsTable" => Missing("search tools are not served"),
        "ManagedFileTable" | "ManagedObjectTable" | "ManagedFileContentTable" => Missing(FILES),
        "ManagedVectorStoreTable" | "ManagedVectorStoresTable" | "ManagedVectorStoreIndexTable" => {
            Missing(VECTOR)
        }
        "UISettings" => Missing(UI),
        "CacheConfig" => Missing("settings of the response cache: set cache_params"),
        "ConfigOverrides" => Missing("settings that the user interface stored in its own form"),
        "WorkflowRun" | "WorkflowEvent" | "WorkflowMessage" => Missing("workflows are not served"),
        "AdaptiveRouterState" | "AdaptiveRouterSession" | "CronJob" | "ProxyWorkerHeartbeat" => {
            Internal
        }
        _ => return None,
    })
}
