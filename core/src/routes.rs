//! Every route of the gateway in one table, and the one decision which of them a path names.
//!
//! Authorization and dispatch both work on the [`Match`] that [`resolve`] returns, never on the
//! path, so they cannot disagree. The Host header plays no part.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::endpoint::{Dialect, Endpoint};
use crate::error::GatewayError;

mod groups;
mod path;
mod table;

pub use groups::RouteSet;
use path::{Parameter, Pattern};
pub use table::{ROWS, Row};

/// Longest path that can name a route, in bytes as sent.
pub const PATH_BYTES_MAX: usize = 2_048;

/// A route that the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/`
    Home,
    /// `/routes`
    Routes,
    /// `/robots.txt`
    RobotsTxt,
    /// `/docs`, `/redoc`
    Docs,
    /// `/openapi.json`
    OpenApi,
    /// `/test`
    Test,
    /// `/health/liveliness`, `/health/liveness`
    Liveness,
    /// `/health/readiness`
    Readiness,
    /// `/health/readiness/details`
    ReadinessDetails,
    /// `/health`
    Health,
    /// `/health/backlog`
    HealthBacklog,
    /// `/metrics`
    Metrics,
    /// `/models`
    Models,
    /// `/models/{model}`
    Model,
    /// `/model/info`
    ModelInfo,
    /// `/v2/model/info` (paginated)
    ModelInfoV2,
    /// `/model_group/info`
    ModelGroupInfo,
    /// `/reload/model_cost_map`
    ReloadModelCostMap,
    /// `/router/state`
    RouterState,
    /// `/router/explain`
    RouterExplain,
    /// `/utils/token_counter`
    TokenCounter,
    /// `/utils/transform_request`
    TransformRequest,
    /// `/utils/supported_openai_params`
    SupportedParams,
    /// `/api/event_logging/batch`
    EventLogging,
    /// `/key/generate`
    KeyGenerate,
    /// `/key/service-account/generate`
    KeyServiceAccount,
    /// `/key/update`
    KeyUpdate,
    /// `/key/bulk_update`
    KeyBulkUpdate,
    /// `/key/delete`
    KeyDelete,
    /// `/key/block`
    KeyBlock,
    /// `/key/unblock`
    KeyUnblock,
    /// `/key/regenerate`, `/key/{key}/regenerate`
    KeyRegenerate,
    /// `/key/{key}/reset_spend`
    KeyResetSpend,
    /// `/key/info`
    KeyInfo,
    /// `/v2/key/info`
    KeyInfoV2,
    /// `/key/list`
    KeyList,
    /// `/key/aliases`
    KeyAliases,
    /// `/key/health`
    KeyHealth,
    /// `/spend/logs`
    SpendLogs,
    /// `/spend/logs/v2`
    SpendLogsV2,
    /// `/spend/calculate`
    SpendCalculate,
    /// `/spend/keys`
    SpendKeys,
    /// `/spend/users`
    SpendUsers,
    /// `/spend/tags`
    SpendTags,
    /// `/global/spend`
    GlobalSpend,
    /// `/global/spend/logs`
    GlobalSpendLogs,
    /// `/global/spend/keys`
    GlobalSpendKeys,
    /// `/global/spend/models`
    GlobalSpendModels,
    /// `/global/spend/teams`
    GlobalSpendTeams,
    /// `/global/spend/tags`
    GlobalSpendTags,
    /// `/global/spend/provider`
    GlobalSpendProvider,
    /// `/global/spend/end_users`
    GlobalSpendEndUsers,
    /// `/global/spend/report`
    GlobalSpendReport,
    /// `/global/spend/reset`
    GlobalSpendReset,
    /// `/model/new`
    ModelNew,
    /// `/model/update`
    ModelUpdate,
    /// `/model/{id}/update`
    ModelPatch,
    /// `/model/delete`
    ModelDelete,
    /// POST `/credentials`
    CredentialNew,
    /// GET `/credentials`
    CredentialList,
    /// `/credentials/by_name/{id}`
    CredentialByName,
    /// `/credentials/by_model/{id}`
    CredentialByModel,
    /// PATCH `/credentials/{id}`
    CredentialUpdate,
    /// DELETE `/credentials/{id}`
    CredentialDelete,
    /// `/config/update`
    ConfigUpdate,
    /// `/config/list`
    ConfigList,
    /// `/config/field/info`
    ConfigFieldInfo,
    /// `/config/field/update`
    ConfigFieldUpdate,
    /// `/config/field/delete`
    ConfigFieldDelete,
    /// `/get/config/callbacks`
    ConfigCallbacks,
    /// `/fallback`
    FallbackNew,
    /// GET `/fallback/{model}`
    FallbackInfo,
    /// DELETE `/fallback/{model}`
    FallbackDelete,
    /// `/audit`
    Audit,
    /// `/audit/{id}`
    AuditEntry,
    /// `/health/services`
    HealthServices,
    /// `/health/history`
    HealthHistory,
    /// `/health/latest`
    HealthLatest,
    /// `/health/test_connection`
    HealthTestConnection,
    /// `/health/license`
    HealthLicense,
    /// `/health/shared-status`
    HealthSharedStatus,
    /// `/user/daily/activity`
    UserDailyActivity,
    /// `/user/daily/activity/aggregated`
    UserDailyAggregated,
    /// `/team/daily/activity`
    TeamDailyActivity,
    /// `/organization/daily/activity`
    OrganizationDailyActivity,
    /// `/customer/daily/activity`, `/end_user/daily/activity`
    CustomerDailyActivity,
    /// `/tag/daily/activity`
    TagDailyActivity,
    /// `/spend/logs/ui`
    SpendLogsUi,
    /// `/spend/logs/ui/{id}`
    SpendLogsUiOne,
    /// `/spend/logs/session/ui`
    SpendLogsSession,
    /// `/global/activity/exceptions`
    GlobalExceptions,
    /// `/global/activity/exceptions/deployment`
    GlobalExceptionsDeployment,
    /// `/global/activity/cache_hits`
    GlobalCacheHits,
    /// `/global/spend/all_tag_names`
    GlobalTagNames,
    /// `/global/spend/refresh`
    GlobalSpendRefresh,
    /// `/provider/budgets`
    ProviderBudgets,
    /// `/global/activity`
    GlobalActivity,
    /// `/global/activity/model`
    GlobalActivityModel,
    /// `/cache/ping`
    CachePing,
    /// `/cache/delete`
    CacheDelete,
    /// `/cache/flushall`
    CacheFlushAll,
    /// `/cache/redis/info`
    CacheRedisInfo,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A request for a provider: needs admission and settlement.
    Inference(Endpoint),
    /// Something the gateway answers itself.
    Own(Route),
}

/// Who may call a route. Every row of the table has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Everyone, without a credential.
    Public,
    /// Any valid key, and the request is admitted, metered and settled.
    Inference,
    /// Any valid key.
    AnyKey,
    /// Any valid key for what is its own; administrators and viewers for everything.
    OwnKeyOrAdmin,
    /// Administrators and viewers.
    AdminViewer,
    /// Administrators.
    Admin,
    /// The master key alone.
    MasterKey,
}

/// HTTP methods that occur in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET
    Get,
    /// HEAD; allowed where a public GET is.
    Head,
    /// POST
    Post,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
}

impl Method {
    /// Reads the method's token, which is case-sensitive; `None` for one no route has.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "GET" => Some(Self::Get),
            "HEAD" => Some(Self::Head),
            "POST" => Some(Self::Post),
            "PATCH" => Some(Self::Patch),
            "DELETE" => Some(Self::Delete),
            "OPTIONS" => Some(Self::Options),
            _ => None,
        }
    }

    /// Its token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// The matched row and what the path carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'p> {
    /// What to run.
    pub target: Target,
    /// Who may.
    pub access: Access,
    /// `{model}` of `/engines/..`, `/openai/deployments/..` and `/models/..`, decoded.
    pub path_model: Option<Cow<'p, str>>,
    /// `{id}` or `{key}`, decoded; letters, digits and `-._~:=+@,` only.
    pub id: Option<Cow<'p, str>>,
    /// One path per target, as LiteLLM's messages print it: `/chat/completions`.
    pub canonical: &'static str,
    /// The row's own pattern: `/engines/{model}/chat/completions`.
    pub pattern: &'static str,
}

impl Match<'_> {
    /// Dialect of the answer and its errors.
    pub fn dialect(&self) -> Dialect {
        match self.target {
            Target::Inference(endpoint) => endpoint.dialect(),
            Target::Own(_) => Dialect::OpenAi,
        }
    }
}

impl Target {
    /// Position in a [`RouteSet`], below [`RouteSet::TARGETS_MAX`].
    pub fn index(self) -> usize {
        match self {
            Self::Inference(endpoint) => endpoint as usize,
            Self::Own(route) => Endpoint::ALL.len() + route as usize,
        }
    }
}

/// A path with its escapes of unreserved characters undone: the only two spellings that mean the
/// same (RFC 3986, 6.2.2.2).
pub fn plain_spelling(path: &str) -> Cow<'_, str> {
    path::decode_unreserved(path)
}

/// Finds the route of a request. `raw_path` is the request target as sent, query and all.
///
/// The one normalisation: the query is cut off and `%XX` of an unreserved character (letter,
/// digit, `-._~`) is decoded. What is then not letter for letter a path of the table is not
/// found; `//`, `/./`, `/../`, `;params`, other case and a trailing slash are not repaired.
///
/// # Errors
/// `RouteNotFound`, or `MethodNotAllowed` when the path exists with other methods.
pub fn resolve<'p>(method: &str, raw_path: &'p str) -> Result<Match<'p>, GatewayError> {
    let path = &raw_path[..memchr::memchr(b'?', raw_path.as_bytes()).unwrap_or(raw_path.len())];
    if path.len() > PATH_BYTES_MAX {
        return Err(GatewayError::RouteNotFound);
    }
    let method = Method::parse(method);
    let hit = match plain_spelling(path) {
        Cow::Borrowed(path) => find(path, method),
        Cow::Owned(path) => find(&path, method).map(Hit::into_owned),
    };
    let Hit {
        row,
        pattern,
        path_model,
        id,
    } = hit.ok_or(GatewayError::RouteNotFound)?;
    if !method.is_some_and(|method| row.allows(method)) {
        return Err(GatewayError::MethodNotAllowed);
    }
    Ok(Match {
        target: row.target,
        access: row.access,
        path_model,
        id,
        canonical: row.canonical,
        pattern,
    })
}

impl Row {
    /// Whether the row answers this method. HEAD goes where a public GET goes: clients and load
    /// balancers probe with it.
    pub fn allows(&self, method: Method) -> bool {
        let public_head = method == Method::Head && self.access == Access::Public;
        let wanted = if public_head { Method::Get } else { method };
        self.methods.contains(&wanted)
    }
}

/// A path of the table and what the request put in its parameter.
struct Hit<'p> {
    row: &'static Row,
    pattern: &'static str,
    path_model: Option<Cow<'p, str>>,
    id: Option<Cow<'p, str>>,
}

impl Hit<'_> {
    fn into_owned(self) -> Hit<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Hit {
            row: self.row,
            pattern: self.pattern,
            path_model: self.path_model.map(own),
            id: self.id.map(own),
        }
    }
}

/// The row of a path that answers the method; one that does not, when no row of the path does.
fn find(path: &str, method: Option<Method>) -> Option<Hit<'_>> {
    let mut same_length = INDEX.exact.get(path.len()).into_iter().flatten();
    let exact = same_length.by_ref().find(|(pattern, _)| *pattern == path);
    if let Some(&(pattern, first)) = exact {
        let others = same_length.filter(|(other, _)| *other == pattern);
        return Some(Hit {
            row: answering(first, others.map(|(_, row)| *row), method),
            pattern,
            path_model: None,
            id: None,
        });
    }
    let (at, text) = (INDEX.patterns.iter().enumerate())
        .find_map(|(at, (pattern, _))| Some((at, pattern.parameter_in(path)?)))?;
    let (pattern, first) = INDEX.patterns.get(at)?;
    let later = INDEX.patterns.iter().skip(at + 1);
    let others = later.filter(|(other, _)| other.text == pattern.text);
    let (path_model, id) = match pattern.parameter {
        Parameter::Model => (Some(text), None),
        Parameter::Id => (None, Some(text)),
    };
    Some(Hit {
        row: answering(first, others.map(|(_, row)| *row), method),
        pattern: pattern.text,
        path_model,
        id,
    })
}

/// Of the rows of one path the one that answers the method, else the first.
fn answering(
    first: &'static Row,
    mut others: impl Iterator<Item = &'static Row>,
    method: Option<Method>,
) -> &'static Row {
    let answers = |row: &Row| method.is_some_and(|method| row.allows(method));
    if answers(first) {
        return first;
    }
    others.find(|row| answers(row)).unwrap_or(first)
}

/// The table, arranged for look-ups.
struct Index {
    /// Paths without a parameter, by their length.
    exact: Vec<Vec<(&'static str, &'static Row)>>,
    /// Paths with one, longest fixed part first.
    patterns: Vec<(Pattern, &'static Row)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let lengths = ROWS.iter().flat_map(|row| row.paths).map(|path| path.len());
    let mut index = Index {
        exact: vec![Vec::new(); lengths.max().unwrap_or(0) + 1],
        patterns: Vec::new(),
    };
    for row in ROWS {
        for path in row.paths {
            match Pattern::of(path) {
                Some(pattern) => index.patterns.push((pattern, row)),
                None => index.exact[path.len()].push((path, row)),
            }
        }
    }
    let fixed = |pattern: &Pattern| pattern.prefix.len() + pattern.suffix.len();
    index
        .patterns
        .sort_by_key(|(pattern, _)| std::cmp::Reverse(fixed(pattern)));
    index
});

#[cfg(test)]
mod tests;
