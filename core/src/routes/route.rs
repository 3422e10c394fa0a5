//! The routes that the gateway answers itself, by the path that names each.

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
    /// `/team/new`
    TeamNew,
    /// `/team/update`
    TeamUpdate,
    /// `/team/delete`
    TeamDelete,
    /// `/team/info`
    TeamRead,
    /// `/team/list`
    TeamList,
    /// `/v2/team/list`
    TeamListV2,
    /// `/team/block`
    TeamBlock,
    /// `/team/unblock`
    TeamUnblock,
    /// `/team/member_add`
    TeamMemberAdd,
    /// `/team/member_update`
    TeamMemberUpdate,
    /// `/team/member_delete`
    TeamMemberDelete,
    /// `/team/bulk_member_add`
    TeamBulkMemberAdd,
    /// `/team/model/add`
    TeamModelAdd,
    /// `/team/model/delete`
    TeamModelDelete,
    /// `/team/permissions_list`
    TeamPermissionsList,
    /// `/team/permissions_update`
    TeamPermissionsUpdate,
    /// `/team/available`
    TeamAvailable,
    /// `/team/{team_id}/members/me`
    TeamMe,
    /// `/team/key/bulk_update`
    TeamKeyBulkUpdate,
    /// PUT `/team/{id}`
    TeamPut,
    /// `/user/new`
    UserNew,
    /// `/user/update`
    UserUpdate,
    /// `/user/bulk_update`
    UserBulkUpdate,
    /// `/user/delete`
    UserDelete,
    /// `/user/info`
    UserRead,
    /// `/v2/user/info`
    UserInfoV2,
    /// `/user/list`
    UserList,
    /// `/user/available_roles`
    UserAvailableRoles,
    /// `/user/filter/ui`
    UserFilter,
    /// PUT `/user/{id}`
    UserPut,
    /// `/organization/new`
    OrganizationNew,
    /// `/organization/update`
    OrganizationUpdate,
    /// `/organization/delete`
    OrganizationDelete,
    /// `/organization/info`
    OrganizationRead,
    /// `/organization/list`
    OrganizationList,
    /// `/organization/member_add`
    OrganizationMemberAdd,
    /// `/organization/member_update`
    OrganizationMemberUpdate,
    /// `/organization/member_delete`
    OrganizationMemberDelete,
    /// PUT `/organization/{id}`
    OrganizationPut,
    /// `/budget/new`
    BudgetNew,
    /// `/budget/update`
    BudgetUpdate,
    /// `/budget/info`
    BudgetRead,
    /// `/budget/delete`
    BudgetDelete,
    /// `/budget/list`
    BudgetList,
    /// `/budget/settings`
    BudgetSettings,
    /// PUT `/budget/{id}`
    BudgetPut,
    /// `/budget/state`
    BudgetStates,
    /// `/budget/state/{id}`
    BudgetState,
    /// `/budget/write_off`
    BudgetWriteOff,
    /// `/budget/region_lost`
    BudgetRegionLost,
    /// `/meridian/rights`
    RightsFrame,
    /// `/customer/new`
    CustomerNew,
    /// `/customer/update`
    CustomerUpdate,
    /// `/customer/delete`
    CustomerDelete,
    /// `/customer/block`
    CustomerBlock,
    /// `/customer/unblock`
    CustomerUnblock,
    /// `/customer/info`
    CustomerRead,
    /// `/customer/list`
    CustomerList,
    /// PUT `/customer/{id}`
    CustomerPut,
    /// `/tag/new`
    TagNew,
    /// `/tag/update`
    TagUpdate,
    /// `/tag/delete`
    TagDelete,
    /// `/tag/info`
    TagRead,
    /// `/tag/list`
    TagList,
    /// PUT `/tag/{id}`
    TagPut,
    /// PUT `/key/{key}`
    KeyPut,
    /// `/config/export`
    ConfigExport,
    /// `/config/import`
    ConfigImport,
    /// `/model/settings`
    ModelSettings,
    /// `/model/cost_map/source`
    ModelCostMapSource,
    /// `/schedule/model_cost_map_reload`
    ModelCostMapSchedule,
    /// `/model/metrics`
    ModelMetrics,
    /// `/model/streaming_metrics`
    ModelStreamingMetrics,
    /// `/model/metrics/slow_responses`
    ModelSlowResponses,
    /// `/model/metrics/exceptions`
    ModelExceptions,
    /// `/config/callback/delete`
    ConfigCallbackDelete,
    /// `/config/cost_discount_config`
    ConfigDiscount,
    /// PATCH `/config/cost_discount_config`
    ConfigDiscountSet,
    /// `/config/cost_margin_config`
    ConfigMargin,
    /// PATCH `/config/cost_margin_config`
    ConfigMarginSet,
    /// `/config/pass_through_endpoint`
    ConfigPassThrough,
    /// POST `/config/pass_through_endpoint`
    ConfigPassThroughNew,
    /// DELETE `/config/pass_through_endpoint`
    ConfigPassThroughDelete,
    /// `/config/yaml`
    ConfigYaml,
    /// `/cache/settings`
    CacheSettings,
    /// POST `/cache/settings`
    CacheSettingsSet,
    /// `/cache/settings/test`
    CacheSettingsTest,
    /// `/tag/distinct`
    TagDistinct,
    /// `/tag/dau`
    TagDau,
    /// `/tag/wau`
    TagWau,
    /// `/tag/mau`
    TagMau,
    /// `/tag/summary`
    TagSummary,
    /// `/tag/user-agent/per-user-analytics`
    TagPerUser,
    /// `/global/all_end_users`
    GlobalEndUsers,
    /// `/team/permissions_bulk_update`
    TeamPermissionsBulkUpdate,
    /// `/team/filter/ui`
    TeamFilter,
    /// `/team/{id}/callback`
    TeamCallbacks,
    /// POST `/team/{id}/callback`
    TeamCallbackAdd,
    /// `/team/{id}/disable_logging`
    TeamDisableLogging,
}
