//! The table: every path of the gateway, its methods, what runs and who may.
//!
//! A row without an access does not compile. `{model}` may span slashes, `{id}` and `{key}` not.

use super::{Access, Method, Route, Target};
use crate::endpoint::Endpoint;
use Access::{Admin, AdminViewer, AnyKey, Delegated, Inference, MasterKey, OwnKeyOrAdmin, Public};
use Endpoint as E;
use Method::{Delete, Get, Options, Patch, Post, Put};
use Route as R;

/// Paths with the same meaning.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Methods they answer.
    pub methods: &'static [Method],
    /// The paths.
    pub paths: &'static [&'static str],
    /// What runs.
    pub target: Target,
    /// Who may.
    pub access: Access,
    /// The path that stands for all of them, as LiteLLM's messages print it.
    pub canonical: &'static str,
}

const GET: &[Method] = &[Get];
const POST: &[Method] = &[Post];
const PUT: &[Method] = &[Put];
const PATCH: &[Method] = &[Patch];
const DELETE: &[Method] = &[Delete];
const GET_POST: &[Method] = &[Get, Post];
const POST_DELETE: &[Method] = &[Post, Delete];
const GET_DELETE: &[Method] = &[Get, Delete];
const GET_OPTIONS: &[Method] = &[Get, Options];

type Paths = &'static [&'static str];
type Methods = &'static [Method];

/// A row to a provider.
const fn infer(canonical: &'static str, endpoint: Endpoint, methods: Methods, paths: Paths) -> Row {
    Row {
        methods,
        paths,
        target: Target::Inference(endpoint),
        access: Inference,
        canonical,
    }
}

/// A row that the gateway answers itself, with one path.
const fn own(route: Route, access: Access, methods: Methods, paths: Paths) -> Row {
    Row {
        methods,
        paths,
        target: Target::Own(route),
        access,
        canonical: paths[paths.len() - 1],
    }
}

/// Every route of the gateway.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Chat and text.
    infer("/chat/completions", E::ChatCompletions, POST, &[
        "/v1/chat/completions", "/chat/completions", "/engines/{model}/chat/completions",
        "/openai/deployments/{model}/chat/completions", "/cursor/chat/completions",
        "/queue/chat/completions",
    ]),
    infer("/completions", E::Completions, POST, &[
        "/v1/completions", "/completions", "/engines/{model}/completions",
        "/openai/deployments/{model}/completions",
    ]),
    infer("/embeddings", E::Embeddings, POST, &[
        "/v1/embeddings", "/embeddings", "/engines/{model}/embeddings",
        "/openai/deployments/{model}/embeddings",
    ]),
    // Responses.
    infer("/responses", E::Responses, POST, &[
        "/v1/responses", "/responses", "/openai/v1/responses",
    ]),
    infer("/responses/compact", E::ResponsesTool, POST, &[
        "/v1/responses/compact", "/responses/compact", "/openai/v1/responses/compact",
    ]),
    infer("/responses/input_tokens", E::InputTokens, POST, &[
        "/v1/responses/input_tokens", "/responses/input_tokens",
        "/openai/v1/responses/input_tokens",
    ]),
    infer("/responses/{id}", E::ResponsesItem, GET_DELETE, &[
        "/v1/responses/{id}", "/responses/{id}", "/openai/v1/responses/{id}",
    ]),
    infer("/responses/{id}/input_items", E::ResponsesItem, GET, &[
        "/v1/responses/{id}/input_items", "/responses/{id}/input_items",
        "/openai/v1/responses/{id}/input_items",
    ]),
    infer("/responses/{id}/cancel", E::ResponsesItem, POST, &[
        "/v1/responses/{id}/cancel", "/responses/{id}/cancel", "/openai/v1/responses/{id}/cancel",
    ]),
    // Anthropic.
    infer("/v1/messages", E::Messages, POST, &["/v1/messages"]),
    infer("/v1/messages/count_tokens", E::CountTokens, POST, &["/v1/messages/count_tokens"]),
    infer("/utils/token_counter", E::TokenCounter, POST, &["/utils/token_counter"]),
    infer("/v1/messages/batches", E::MessageBatches, GET_POST, &["/v1/messages/batches"]),
    infer("/v1/messages/batches/{id}", E::MessageBatches, GET_DELETE, &[
        "/v1/messages/batches/{id}",
    ]),
    infer("/v1/messages/batches/{id}/cancel", E::MessageBatches, POST, &[
        "/v1/messages/batches/{id}/cancel",
    ]),
    infer("/v1/messages/batches/{id}/results", E::MessageBatches, GET, &[
        "/v1/messages/batches/{id}/results",
    ]),
    // Moderation, rerank, images, audio.
    infer("/moderations", E::Moderations, POST, &["/v1/moderations", "/moderations"]),
    infer("/rerank", E::Rerank, POST, &["/v1/rerank", "/v2/rerank", "/rerank"]),
    infer("/images/generations", E::ImagesGenerations, POST, &[
        "/v1/images/generations", "/images/generations",
        "/openai/deployments/{model}/images/generations",
    ]),
    infer("/images/edits", E::ImagesEdits, POST, &[
        "/v1/images/edits", "/images/edits", "/openai/deployments/{model}/images/edits",
    ]),
    infer("/images/variations", E::ImagesEdits, POST, &[
        "/v1/images/variations", "/images/variations",
    ]),
    infer("/audio/speech", E::AudioSpeech, POST, &[
        "/v1/audio/speech", "/audio/speech", "/openai/deployments/{model}/audio/speech",
    ]),
    infer("/audio/transcriptions", E::AudioTranscriptions, POST, &[
        "/v1/audio/transcriptions", "/audio/transcriptions",
        "/openai/deployments/{model}/audio/transcriptions",
    ]),
    infer("/audio/translations", E::AudioTranscriptions, POST, &[
        "/v1/audio/translations", "/audio/translations",
        "/openai/deployments/{model}/audio/translations",
    ]),
    // Files and batches.
    infer("/files", E::Files, GET_POST, &["/v1/files", "/files"]),
    infer("/files/{id}", E::Files, GET_DELETE, &["/v1/files/{id}", "/files/{id}"]),
    infer("/files/{id}/content", E::Files, GET, &["/v1/files/{id}/content", "/files/{id}/content"]),
    infer("/batches", E::Batches, GET_POST, &["/v1/batches", "/batches"]),
    infer("/batches/{id}", E::Batches, GET, &["/v1/batches/{id}", "/batches/{id}"]),
    infer("/batches/{id}/cancel", E::Batches, POST, &[
        "/v1/batches/{id}/cancel", "/batches/{id}/cancel",
    ]),
    // Models.
    own(R::Models, AnyKey, GET, &["/v1/models", "/models"]),
    own(R::Model, AnyKey, GET, &["/v1/models/{model}", "/models/{model}"]),
    own(R::ModelInfo, AnyKey, GET, &["/v1/model/info", "/model/info"]),
    own(R::ModelInfoV2, AnyKey, GET, &["/v2/model/info"]),
    own(R::ModelGroupInfo, AnyKey, GET, &["/model_group/info"]),
    own(R::ModelNew, Admin, POST, &["/model/new"]),
    own(R::ModelUpdate, Admin, POST, &["/model/update"]),
    own(R::ModelPatch, Admin, PATCH, &["/model/{id}/update"]),
    own(R::ModelDelete, Admin, POST, &["/model/delete"]),
    own(R::CredentialNew, Admin, POST, &["/credentials"]),
    own(R::CredentialList, AdminViewer, GET, &["/credentials"]),
    own(R::CredentialByName, AdminViewer, GET, &["/credentials/by_name/{id}"]),
    own(R::CredentialByModel, AdminViewer, GET, &["/credentials/by_model/{id}"]),
    own(R::CredentialUpdate, Admin, PATCH, &["/credentials/{id}"]),
    own(R::CredentialDelete, Admin, DELETE, &["/credentials/{id}"]),
    own(R::ReloadModelCostMap, Admin, POST, &["/reload/model_cost_map"]),
    // Public.
    own(R::Home, Public, GET, &["/"]),
    own(R::Routes, Public, GET, &["/routes"]),
    own(R::RobotsTxt, Public, GET, &["/robots.txt"]),
    own(R::Docs, Public, GET, &["/redoc", "/docs"]),
    own(R::OpenApi, Public, GET, &["/openapi.json"]),
    own(R::Test, Public, GET, &["/test"]),
    own(R::Liveness, Public, GET_OPTIONS, &["/health/liveness", "/health/liveliness"]),
    own(R::Readiness, Public, GET_OPTIONS, &["/health/readiness"]),
    // Health and metrics.
    own(R::Health, AnyKey, GET, &["/health"]),
    own(R::ReadinessDetails, AnyKey, GET, &["/health/readiness/details"]),
    own(R::HealthBacklog, AnyKey, GET, &["/health/backlog"]),
    own(R::HealthServices, AdminViewer, GET, &["/health/services"]),
    own(R::HealthHistory, AdminViewer, GET, &["/health/history"]),
    own(R::HealthLatest, AdminViewer, GET, &["/health/latest"]),
    own(R::HealthTestConnection, Admin, POST, &["/health/test_connection"]),
    own(R::HealthLicense, AnyKey, GET, &["/health/license"]),
    own(R::HealthSharedStatus, AnyKey, GET, &["/health/shared-status"]),
    own(R::Metrics, AnyKey, GET, &["/metrics/", "/metrics"]),
    // Routing.
    own(R::RouterState, Admin, GET, &["/router/state"]),
    own(R::RouterExplain, Admin, POST, &["/router/explain"]),
    // Configuration.
    own(R::ConfigUpdate, Admin, POST, &["/config/update"]),
    own(R::ConfigList, AdminViewer, GET, &["/config/list"]),
    own(R::ConfigFieldInfo, AdminViewer, GET, &["/config/field/info"]),
    own(R::ConfigFieldUpdate, Admin, POST, &["/config/field/update"]),
    own(R::ConfigFieldDelete, Admin, POST, &["/config/field/delete"]),
    own(R::ConfigCallbacks, AdminViewer, GET, &["/get/config/callbacks"]),
    own(R::FallbackNew, Admin, POST, &["/fallback"]),
    own(R::FallbackInfo, AdminViewer, GET, &["/fallback/{model}"]),
    own(R::FallbackDelete, Admin, DELETE, &["/fallback/{model}"]),
    // Audit.
    own(R::Audit, AdminViewer, GET, &["/audit"]),
    own(R::AuditEntry, AdminViewer, GET, &["/audit/{id}"]),
    // Tools.
    own(R::TransformRequest, Admin, POST, &["/utils/transform_request"]),
    own(R::SupportedParams, AnyKey, GET, &["/utils/supported_openai_params"]),
    own(R::EventLogging, AnyKey, POST, &["/api/event_logging/batch"]),
    // Keys.
    own(R::KeyGenerate, Delegated, POST, &["/key/generate"]),
    own(R::KeyServiceAccount, Delegated, POST, &["/key/service-account/generate"]),
    own(R::KeyUpdate, Delegated, POST, &["/key/update"]),
    own(R::KeyBulkUpdate, Delegated, POST, &["/key/bulk_update"]),
    own(R::KeyDelete, Delegated, POST, &["/key/delete"]),
    own(R::KeyBlock, Delegated, POST, &["/key/block"]),
    own(R::KeyUnblock, Delegated, POST, &["/key/unblock"]),
    own(R::KeyRegenerate, Delegated, POST, &["/key/regenerate"]),
    own(R::KeyRegenerate, Delegated, POST, &["/key/{key}/regenerate"]),
    own(R::KeyResetSpend, Delegated, POST, &["/key/{key}/reset_spend"]),
    own(R::KeyInfo, OwnKeyOrAdmin, GET, &["/key/info"]),
    own(R::KeyInfoV2, OwnKeyOrAdmin, POST, &["/v2/key/info"]),
    own(R::KeyList, OwnKeyOrAdmin, GET, &["/key/list"]),
    own(R::KeyAliases, OwnKeyOrAdmin, GET, &["/key/aliases"]),
    own(R::KeyHealth, AnyKey, POST, &["/key/health"]),
    // Spend.
    own(R::SpendLogs, OwnKeyOrAdmin, GET, &["/spend/logs"]),
    own(R::SpendLogsV2, OwnKeyOrAdmin, GET, &["/spend/logs/v2"]),
    own(R::SpendLogsUi, OwnKeyOrAdmin, GET, &["/spend/logs/ui"]),
    own(R::SpendLogsUiOne, OwnKeyOrAdmin, GET, &["/spend/logs/ui/{id}"]),
    own(R::SpendLogsSession, OwnKeyOrAdmin, GET, &["/spend/logs/session/ui"]),
    own(R::UserDailyActivity, OwnKeyOrAdmin, GET, &["/user/daily/activity"]),
    own(R::UserDailyAggregated, OwnKeyOrAdmin, GET, &["/user/daily/activity/aggregated"]),
    own(R::TeamDailyActivity, OwnKeyOrAdmin, GET, &["/team/daily/activity"]),
    own(R::OrganizationDailyActivity, AdminViewer, GET, &["/organization/daily/activity"]),
    own(R::CustomerDailyActivity, AdminViewer, GET, &[
        "/end_user/daily/activity", "/customer/daily/activity",
    ]),
    own(R::TagDailyActivity, AdminViewer, GET, &["/tag/daily/activity"]),
    own(R::SpendCalculate, AnyKey, POST, &["/spend/calculate"]),
    own(R::SpendKeys, AdminViewer, GET, &["/spend/keys"]),
    own(R::SpendUsers, AdminViewer, GET, &["/spend/users"]),
    own(R::SpendTags, AdminViewer, GET, &["/spend/tags"]),
    own(R::GlobalSpend, AdminViewer, GET, &["/global/spend"]),
    own(R::GlobalSpendLogs, AdminViewer, GET, &["/global/spend/logs"]),
    own(R::GlobalSpendKeys, AdminViewer, GET, &["/global/spend/keys"]),
    own(R::GlobalSpendModels, AdminViewer, GET, &["/global/spend/models"]),
    own(R::GlobalSpendTeams, AdminViewer, GET, &["/global/spend/teams"]),
    own(R::GlobalSpendTags, AdminViewer, GET, &["/global/spend/tags"]),
    own(R::GlobalSpendProvider, AdminViewer, GET, &["/global/spend/provider"]),
    own(R::GlobalSpendEndUsers, AdminViewer, POST, &["/global/spend/end_users"]),
    own(R::GlobalSpendReport, AdminViewer, GET, &["/global/spend/report"]),
    own(R::GlobalSpendReset, MasterKey, POST, &["/global/spend/reset"]),
    own(R::GlobalTagNames, AdminViewer, GET, &["/global/spend/all_tag_names"]),
    own(R::GlobalSpendRefresh, Admin, POST, &["/global/spend/refresh"]),
    own(R::ProviderBudgets, AdminViewer, GET, &["/provider/budgets"]),
    own(R::GlobalExceptions, AdminViewer, GET, &["/global/activity/exceptions"]),
    own(R::GlobalExceptionsDeployment, AdminViewer, GET, &[
        "/global/activity/exceptions/deployment",
    ]),
    own(R::GlobalCacheHits, AdminViewer, GET, &["/global/activity/cache_hits"]),
    own(R::GlobalActivity, AdminViewer, GET, &["/global/activity"]),
    own(R::GlobalActivityModel, AdminViewer, GET, &["/global/activity/model"]),
    // Cached answers.
    own(R::CachePing, AdminViewer, GET, &["/cache/ping"]),
    own(R::CacheDelete, Admin, POST, &["/cache/delete"]),
    own(R::CacheFlushAll, Admin, POST, &["/cache/flushall"]),
    own(R::CacheRedisInfo, Admin, GET, &["/cache/redis/info"]),
    // Keys by their digest.
    own(R::KeyPut, Admin, PUT, &["/key/{key}"]),
    // Teams.
    own(R::TeamNew, Delegated, POST, &["/team/new"]),
    own(R::TeamUpdate, Delegated, POST, &["/team/update"]),
    own(R::TeamDelete, Delegated, POST, &["/team/delete"]),
    own(R::TeamRead, OwnKeyOrAdmin, GET, &["/team/info"]),
    own(R::TeamList, OwnKeyOrAdmin, GET, &["/team/list"]),
    own(R::TeamListV2, OwnKeyOrAdmin, GET, &["/v2/team/list"]),
    own(R::TeamBlock, Delegated, POST, &["/team/block"]),
    own(R::TeamUnblock, Delegated, POST, &["/team/unblock"]),
    own(R::TeamMemberAdd, Delegated, POST, &["/team/member_add"]),
    own(R::TeamMemberUpdate, Delegated, POST, &["/team/member_update"]),
    own(R::TeamMemberDelete, Delegated, POST, &["/team/member_delete"]),
    own(R::TeamBulkMemberAdd, Delegated, POST, &["/team/bulk_member_add"]),
    own(R::TeamModelAdd, Delegated, POST, &["/team/model/add"]),
    own(R::TeamModelDelete, Delegated, POST, &["/team/model/delete"]),
    own(R::TeamPermissionsList, OwnKeyOrAdmin, GET, &["/team/permissions_list"]),
    own(R::TeamPermissionsUpdate, Delegated, POST, &["/team/permissions_update"]),
    own(R::TeamAvailable, AnyKey, GET, &["/team/available"]),
    own(R::TeamMe, OwnKeyOrAdmin, GET, &["/team/{id}/members/me"]),
    own(R::TeamKeyBulkUpdate, Delegated, POST, &["/team/key/bulk_update"]),
    own(R::TeamPut, Admin, PUT, &["/team/{id}"]),
    // Users.
    own(R::UserNew, Delegated, POST, &["/user/new"]),
    own(R::UserUpdate, Delegated, POST, &["/user/update"]),
    own(R::UserBulkUpdate, Admin, POST, &["/user/bulk_update"]),
    own(R::UserDelete, Admin, POST, &["/user/delete"]),
    own(R::UserRead, OwnKeyOrAdmin, GET, &["/user/info"]),
    own(R::UserInfoV2, OwnKeyOrAdmin, GET, &["/v2/user/info"]),
    own(R::UserList, OwnKeyOrAdmin, GET, &["/user/get_users", "/user/list"]),
    own(R::UserAvailableRoles, AnyKey, GET, &["/user/available_roles"]),
    own(R::UserFilter, AdminViewer, GET, &["/user/filter/ui"]),
    own(R::UserPut, Admin, PUT, &["/user/{id}"]),
    // Organizations.
    own(R::OrganizationNew, Admin, POST, &["/organization/new"]),
    own(R::OrganizationUpdate, Admin, PATCH, &["/organization/update"]),
    own(R::OrganizationDelete, Admin, DELETE, &["/organization/delete"]),
    own(R::OrganizationRead, OwnKeyOrAdmin, GET_POST, &["/organization/info"]),
    own(R::OrganizationList, OwnKeyOrAdmin, GET, &["/organization/list"]),
    own(R::OrganizationMemberAdd, Delegated, POST, &["/organization/member_add"]),
    own(R::OrganizationMemberUpdate, Delegated, PATCH, &["/organization/member_update"]),
    own(R::OrganizationMemberDelete, Delegated, DELETE, &["/organization/member_delete"]),
    own(R::OrganizationPut, Admin, PUT, &["/organization/{id}"]),
    // Budgets.
    own(R::BudgetNew, Admin, POST, &["/budget/new"]),
    own(R::BudgetUpdate, Admin, POST, &["/budget/update"]),
    own(R::BudgetRead, AdminViewer, POST, &["/budget/info"]),
    own(R::BudgetDelete, Admin, POST, &["/budget/delete"]),
    own(R::BudgetList, AdminViewer, GET, &["/budget/list"]),
    own(R::BudgetSettings, AdminViewer, GET, &["/budget/settings"]),
    own(R::BudgetPut, Admin, PUT, &["/budget/{id}"]),
    own(R::BudgetStates, AdminViewer, GET, &["/budget/state"]),
    own(R::BudgetState, AdminViewer, GET, &["/budget/state/{model}"]),
    // Signed by the node that sends it.
    own(R::RightsFrame, Public, POST, &["/meridian/rights"]),
    own(R::BudgetWriteOff, Admin, POST, &["/budget/write_off"]),
    own(R::BudgetRegionLost, Admin, POST, &["/budget/region_lost"]),
    // Customers of the callers.
    own(R::CustomerNew, Admin, POST, &["/end_user/new", "/customer/new"]),
    own(R::CustomerUpdate, Admin, POST, &["/end_user/update", "/customer/update"]),
    own(R::CustomerDelete, Admin, POST, &["/end_user/delete", "/customer/delete"]),
    own(R::CustomerBlock, Admin, POST, &["/end_user/block", "/customer/block"]),
    own(R::CustomerUnblock, Admin, POST, &["/end_user/unblock", "/customer/unblock"]),
    own(R::CustomerRead, AdminViewer, GET, &["/end_user/info", "/customer/info"]),
    own(R::CustomerList, AdminViewer, GET, &["/end_user/list", "/customer/list"]),
    own(R::CustomerPut, Admin, PUT, &["/end_user/{id}", "/customer/{id}"]),
    // Tags.
    own(R::TagNew, Admin, POST, &["/tag/new"]),
    own(R::TagUpdate, Admin, POST, &["/tag/update"]),
    own(R::TagDelete, Admin, POST, &["/tag/delete"]),
    own(R::TagRead, AdminViewer, POST, &["/tag/info"]),
    own(R::TagList, AdminViewer, GET, &["/tag/list"]),
    own(R::TagPut, Admin, PUT, &["/tag/{id}"]),
    // Every record at once.
    // Settings, figures and filters of LiteLLM's dashboard.
    own(R::ModelSettings, AnyKey, GET, &["/model/settings"]),
    own(R::ModelCostMapSource, AdminViewer, GET, &["/model/cost_map/source"]),
    own(R::ModelCostMapSchedule, Admin, POST_DELETE, &["/schedule/model_cost_map_reload"]),
    own(R::ModelMetrics, AdminViewer, GET, &["/model/metrics"]),
    own(R::ModelStreamingMetrics, AdminViewer, GET, &["/model/streaming_metrics"]),
    own(R::ModelSlowResponses, AdminViewer, GET, &["/model/metrics/slow_responses"]),
    own(R::ModelExceptions, AdminViewer, GET, &["/model/metrics/exceptions"]),
    own(R::ConfigCallbackDelete, Admin, POST, &["/config/callback/delete"]),
    own(R::ConfigDiscount, AdminViewer, GET, &["/config/cost_discount_config"]),
    own(R::ConfigDiscountSet, Admin, PATCH, &["/config/cost_discount_config"]),
    own(R::ConfigMargin, AdminViewer, GET, &["/config/cost_margin_config"]),
    own(R::ConfigMarginSet, Admin, PATCH, &["/config/cost_margin_config"]),
    own(R::ConfigPassThrough, AdminViewer, GET, &["/config/pass_through_endpoint"]),
    own(R::ConfigPassThroughNew, Admin, POST, &["/config/pass_through_endpoint"]),
    own(R::ConfigPassThroughDelete, Admin, DELETE, &["/config/pass_through_endpoint"]),
    own(R::ConfigYaml, Public, GET, &["/config/yaml"]),
    own(R::CacheSettings, AdminViewer, GET, &["/cache/settings"]),
    own(R::CacheSettingsSet, Admin, POST, &["/cache/settings"]),
    own(R::CacheSettingsTest, Admin, POST, &["/cache/settings/test"]),
    own(R::TagDistinct, AdminViewer, GET, &["/tag/distinct"]),
    own(R::TagDau, AdminViewer, GET, &["/tag/dau"]),
    own(R::TagWau, AdminViewer, GET, &["/tag/wau"]),
    own(R::TagMau, AdminViewer, GET, &["/tag/mau"]),
    own(R::TagSummary, AdminViewer, GET, &["/tag/summary"]),
    own(R::TagPerUser, AdminViewer, GET, &["/tag/user-agent/per-user-analytics"]),
    own(R::GlobalEndUsers, AdminViewer, GET, &["/global/all_end_users"]),
    own(R::TeamPermissionsBulkUpdate, Admin, POST, &["/team/permissions_bulk_update"]),
    own(R::TeamFilter, AdminViewer, GET, &["/team/filter/ui"]),
    own(R::TeamCallbacks, OwnKeyOrAdmin, GET, &["/team/{id}/callback"]),
    own(R::TeamCallbackAdd, Delegated, POST, &["/team/{id}/callback"]),
    own(R::TeamDisableLogging, Delegated, POST, &["/team/{id}/disable_logging"]),
    own(R::ConfigExport, Admin, GET, &["/config/export"]),
    own(R::ConfigImport, Admin, POST, &["/config/import"]),
];
