//! The management API: keys, spend, models, health, with LiteLLM's paths, fields and errors.
//!
//! One function, `dispatch`, finds the route in the table of `core::routes`, lets the caller in
//! or not, and picks the handler by an exhaustive match: a route without a handler or without an
//! access does not compile.

mod access;
mod audit;
mod authorize;
mod body;
mod budget_state;
mod budgets;
mod cache;
mod checks;
mod config;
mod credentials;
mod customers;
mod declared;
mod draft;
mod fields;
mod health;
mod health_checks;
mod health_history;
mod keys;
mod lists;
mod mask;
mod models;
mod newcomers;
mod openapi;
mod organizations;
mod pages;
mod put;
mod query;
mod reply;
mod reports;
mod routing;
mod rows;
mod schema;
mod spend;
mod state;
mod stored;
mod tags;
mod teams;
mod tokens;
mod transfer;
mod users;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use meridian_core::error::GatewayError;
use meridian_core::routes::{Access, Route, Target, resolve};

pub use newcomers::record as record_newcomers;
pub use reply::AdminError;
pub use state::{
    AdminState, Changed, CheckFresh, DeploymentHealth, FindKey, Hooks, LookAtOthers, Pending,
    PriceMap, Routes, Rules, Test, Tested,
};

use crate::clock;
use crate::store::StoreError;
use access::{Caller, PathParameter};

/// The version of LiteLLM whose wire behaviour this API has.
pub const LITELLM_VERSION: &str = "1.87.1";

/// Identity of a call, as on the answers of the data plane.
const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");

/// How far the replica is behind that a report was read from, in seconds.
const REPORT_BEHIND: HeaderName = HeaderName::from_static("x-meridian-report-behind-s");

/// The management API as an axum router. Every request goes through `dispatch`.
pub fn router(state: AdminState) -> Router {
    Router::new().fallback(dispatch).with_state(state)
}

async fn dispatch(State(state): State<AdminState>, mut request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let is_report = reports::is_report(request.method(), request.uri().path());
    let (route, mut response) = match admit(&state, &mut request).await {
        Ok(route) => {
            let answer = serve(route, request, state.clone());
            let answer = match is_report {
                true => state.reports().run(answer).await,
                false => answer.await,
            };
            (Some(route), answer)
        }
        Err(refusal) => (None, refusal.into_response()),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        identify(&mut response, route);
    }
    if let Some(behind) = state.store().report_behind().filter(|_| is_report) {
        let seconds = format!("{:.1}", behind.as_secs_f64());
        if let Ok(value) = HeaderValue::try_from(seconds) {
            response.headers_mut().insert(REPORT_BEHIND, value);
        }
    }
    if head {
        without_body(response)
    } else {
        response
    }
}

/// Gives a refusal the id under which the log has it.
fn identify(response: &mut Response, route: Option<Route>) {
    let (call_id, status) = (clock::new_call_id().to_string(), response.status().as_u16());
    tracing::info!(
        call_id,
        status,
        route = route.map(tracing::field::debug),
        "management call refused"
    );
    if let Ok(value) = HeaderValue::try_from(call_id) {
        response.headers_mut().insert(CALL_ID, value);
    }
}

/// Finds the route and lets the caller in. What it found out is left in the request.
async fn admit(state: &AdminState, request: &mut Request) -> Result<Route, AdminError> {
    let uri = request.uri().clone();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let found = resolve(request.method().as_str(), target)?;
    let Target::Own(route) = found.target else {
        // Inference is the data plane's; it never passes it on.
        return Err(AdminError::Gateway(GatewayError::RouteNotFound));
    };
    let access = health::access(route, found.access, state);
    if access != Access::Public {
        let caller = Caller::find(request.headers(), &found, state).await;
        let caller = caller.map_err(|error| health::refusal(route, error))?;
        request.extensions_mut().insert(caller);
    }
    let parameter = found.id.or(found.path_model).map(|text| text.into_owned());
    request.extensions_mut().insert(access);
    request.extensions_mut().insert(route);
    request.extensions_mut().insert(PathParameter(parameter));
    Ok(route)
}

/// Runs one handler with its extractors.
async fn run<T>(
    handler: impl Handler<T, AdminState>,
    request: Request,
    state: AdminState,
) -> Response {
    handler.call(request, state).await
}

/// Makes `serve`, which is one long match.
macro_rules! handlers {
    ($($route:ident: $handler:path,)*) => {
        /// Runs the handler of a route. A route without one does not compile.
        async fn serve(route: Route, request: Request, state: AdminState) -> Response {
            match route {
                $(Route::$route => run($handler, request, state).await,)*
            }
        }
    };
}

handlers! {
    Home: pages::home,
    Routes: pages::routes,
    RobotsTxt: pages::robots,
    Docs: openapi::page,
    OpenApi: openapi::document,
    Test: pages::test,
    Liveness: health::liveness,
    Readiness: health::readiness,
    ReadinessDetails: health::details,
    Health: health::health,
    HealthBacklog: health::backlog,
    Metrics: health::metrics,
    Models: models::list,
    Model: models::one,
    ModelInfo: models::info,
    ModelInfoV2: models::info_v2,
    ModelGroupInfo: models::group_info,
    ReloadModelCostMap: models::reload_prices,
    ModelNew: models::write::new,
    ModelUpdate: models::write::update,
    ModelPatch: models::write::patch,
    ModelDelete: models::write::delete,
    CredentialNew: credentials::new,
    CredentialList: credentials::list,
    CredentialByName: credentials::by_name,
    CredentialByModel: credentials::by_model,
    CredentialUpdate: credentials::update,
    CredentialDelete: credentials::delete,
    ConfigUpdate: config::update,
    ConfigCallbacks: config::callbacks,
    ConfigList: config::field::list,
    ConfigFieldInfo: config::field::one,
    ConfigFieldUpdate: config::field::update,
    ConfigFieldDelete: config::field::delete,
    FallbackNew: config::fallback::new,
    FallbackInfo: config::fallback::one,
    FallbackDelete: config::fallback::delete,
    Audit: audit::list,
    AuditEntry: audit::one,
    HealthServices: health_checks::services,
    HealthHistory: health_checks::history,
    HealthLatest: health_checks::latest,
    HealthLicense: health_checks::license,
    HealthSharedStatus: health_checks::shared_status,
    HealthTestConnection: models::test::connection,
    TransformRequest: pages::not_offered,
    SupportedParams: pages::not_offered,
    EventLogging: pages::event_sink,
    RouterState: routing::state,
    RouterExplain: routing::explain,
    KeyGenerate: keys::write::generate,
    KeyServiceAccount: keys::write::generate_service_account,
    KeyUpdate: keys::write::update,
    KeyBulkUpdate: keys::write::bulk_update,
    KeyDelete: keys::write::delete,
    KeyBlock: keys::write::block,
    KeyUnblock: keys::write::unblock,
    KeyRegenerate: keys::rotate::regenerate,
    KeyResetSpend: keys::rotate::reset_spend,
    KeyInfo: keys::read::info,
    KeyInfoV2: keys::read::info_v2,
    KeyList: keys::read::list,
    KeyAliases: keys::read::aliases,
    KeyHealth: keys::read::health,
    SpendLogs: spend::logs::logs,
    SpendLogsV2: spend::logs::logs_v2,
    SpendLogsUi: spend::logs::logs_v2,
    SpendLogsUiOne: spend::logs::one,
    SpendLogsSession: spend::logs::session,
    UserDailyActivity: spend::daily::user,
    UserDailyAggregated: spend::daily::user_aggregated,
    TeamDailyActivity: spend::daily::team,
    OrganizationDailyActivity: spend::daily::organization,
    CustomerDailyActivity: spend::daily::customer,
    TagDailyActivity: spend::daily::tag,
    GlobalExceptions: spend::events::exceptions,
    GlobalExceptionsDeployment: spend::events::by_deployment,
    GlobalCacheHits: spend::events::cache_hits,
    GlobalTagNames: spend::global::tag_names,
    GlobalSpendRefresh: spend::global::refresh,
    ProviderBudgets: spend::global::provider_budgets,
    SpendCalculate: spend::calculate::calculate,
    SpendKeys: spend::global::spend_keys,
    SpendUsers: spend::global::spend_users,
    SpendTags: spend::global::spend_tags,
    GlobalSpend: spend::global::spend,
    GlobalSpendLogs: spend::global::spend_logs,
    GlobalSpendKeys: spend::global::by_key,
    GlobalSpendModels: spend::global::by_model,
    GlobalSpendTeams: spend::global::by_team,
    GlobalSpendTags: spend::global::by_tag,
    GlobalSpendProvider: spend::global::by_provider,
    GlobalSpendEndUsers: spend::global::by_end_user,
    GlobalSpendReport: spend::report::report,
    GlobalSpendReset: spend::global::reset,
    GlobalActivity: spend::activity::activity,
    GlobalActivityModel: spend::activity::by_model,
    CachePing: cache::ping,
    CacheDelete: cache::delete,
    CacheFlushAll: cache::flush_all,
    CacheRedisInfo: cache::redis_info,
    TeamNew: teams::write::new,
    TeamUpdate: teams::write::update,
    TeamDelete: teams::write::delete,
    TeamRead: teams::read::info,
    TeamList: teams::read::list,
    TeamListV2: teams::read::list_v2,
    TeamBlock: teams::write::block,
    TeamUnblock: teams::write::unblock,
    TeamMemberAdd: teams::members::add,
    TeamMemberUpdate: teams::members::update,
    TeamMemberDelete: teams::members::delete,
    TeamBulkMemberAdd: teams::members::bulk_add,
    TeamModelAdd: teams::write::add_models,
    TeamModelDelete: teams::write::remove_models,
    TeamPermissionsList: teams::permissions::list,
    TeamPermissionsUpdate: teams::permissions::update,
    TeamAvailable: teams::open::available,
    TeamMe: teams::read::me,
    TeamKeyBulkUpdate: teams::bulk_update_keys,
    TeamPut: put::team,
    UserNew: users::write::new,
    UserUpdate: users::write::update,
    UserBulkUpdate: users::write::bulk_update,
    UserDelete: users::write::delete,
    UserRead: users::read::info,
    UserInfoV2: users::read::info_v2,
    UserList: users::read::list,
    UserAvailableRoles: users::read::available_roles,
    UserFilter: users::read::filter,
    UserPut: put::user,
    OrganizationNew: organizations::write::new,
    OrganizationUpdate: organizations::write::update,
    OrganizationDelete: organizations::write::delete,
    OrganizationRead: organizations::read::info,
    OrganizationList: organizations::read::list,
    OrganizationMemberAdd: organizations::members::add,
    OrganizationMemberUpdate: organizations::members::update,
    OrganizationMemberDelete: organizations::members::delete,
    OrganizationPut: put::organization,
    BudgetNew: budgets::new,
    BudgetUpdate: budgets::update,
    BudgetRead: budgets::info,
    BudgetDelete: budgets::delete,
    BudgetList: budgets::list,
    BudgetSettings: budgets::settings,
    BudgetPut: put::budget,
    BudgetStates: budget_state::all,
    BudgetState: budget_state::one,
    BudgetWriteOff: budget_state::write_off,
    BudgetRegionLost: budget_state::region_lost,
    RightsFrame: budget_state::frame,
    CustomerNew: customers::new,
    CustomerUpdate: customers::update,
    CustomerDelete: customers::delete,
    CustomerBlock: customers::block,
    CustomerUnblock: customers::unblock,
    CustomerRead: customers::info,
    CustomerList: customers::list,
    CustomerPut: put::customer,
    TagNew: tags::new,
    TagUpdate: tags::update,
    TagDelete: tags::delete,
    TagRead: tags::info,
    TagList: tags::list,
    TagPut: put::tag,
    KeyPut: keys::put::put,
    ModelSettings: models::catalog::settings,
    ModelCostMapSource: models::catalog::cost_map_source,
    ModelCostMapSchedule: models::catalog::schedule,
    ModelMetrics: spend::pace::metrics,
    ModelStreamingMetrics: spend::pace::streaming,
    ModelSlowResponses: spend::pace::slow,
    ModelExceptions: spend::pace::exceptions,
    ConfigCallbackDelete: config::callbacks::delete,
    ConfigDiscount: config::costs::discount,
    ConfigDiscountSet: config::costs::set_discount,
    ConfigMargin: config::costs::margin,
    ConfigMarginSet: config::costs::set_margin,
    ConfigPassThrough: config::callbacks::doors,
    ConfigPassThroughNew: config::callbacks::new_door,
    ConfigPassThroughDelete: config::callbacks::delete_door,
    ConfigYaml: config::callbacks::yaml,
    CacheSettings: cache::settings::get,
    CacheSettingsSet: cache::settings::set,
    CacheSettingsTest: cache::settings::test,
    TagDistinct: spend::active::distinct,
    TagDau: spend::active::daily,
    TagWau: spend::active::weekly,
    TagMau: spend::active::monthly,
    TagSummary: spend::active::summary,
    TagPerUser: spend::active::per_user,
    GlobalEndUsers: spend::active::end_users,
    TeamPermissionsBulkUpdate: teams::permissions::bulk_update,
    TeamFilter: teams::read::filter,
    TeamCallbacks: teams::logging::get,
    TeamCallbackAdd: teams::logging::add,
    TeamDisableLogging: teams::logging::disable,
    ConfigExport: transfer::export,
    ConfigImport: transfer::import,
}

fn without_body(response: Response) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}

/// The store's failures that have no words of their own.
fn store_refusal(error: StoreError) -> AdminError {
    match error {
        StoreError::NotFound => AdminError::detail(StatusCode::NOT_FOUND, "Not found"),
        StoreError::Elsewhere { home } => {
            let text = format!(
                "This belongs to region {home}: only there it can be changed. Blocking it, \
                 deleting it and lowering its budget is taken here too."
            );
            AdminError::detail(StatusCode::CONFLICT, text)
        }
        StoreError::TooMuch => {
            let text = "This question reads too many rows: narrow it.";
            AdminError::detail(StatusCode::BAD_REQUEST, text)
        }
        StoreError::Late => AdminError::late(),
        // Whoever uses the store says so once, not every call.
        StoreError::Unavailable(_) | StoreError::Busy => AdminError::unavailable(),
        error => {
            tracing::error!(%error, "the store failed a management call");
            AdminError::unavailable()
        }
    }
}

#[cfg(test)]
mod tests;
