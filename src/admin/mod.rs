//! The management API: keys, spend, models, health, with LiteLLM's paths, fields and errors.
//!
//! One function, `dispatch`, finds the route in the table of `core::routes`, lets the caller in
//! or not, and picks the handler by an exhaustive match: a route without a handler or without an
//! access does not compile.

mod access;
mod audit;
mod body;
mod cache;
mod config;
mod credentials;
mod declared;
mod fields;
mod health;
mod health_checks;
mod keys;
mod mask;
mod models;
mod openapi;
mod pages;
mod query;
mod reply;
mod routing;
mod spend;
mod state;
mod stored;
mod tokens;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use meridian_core::error::GatewayError;
use meridian_core::routes::{Access, Route, Target, resolve};

pub use reply::AdminError;
pub use state::{AdminState, DeploymentHealth, Hooks, Pending, Routes, Rules, Tested};

use crate::clock;
use crate::store::StoreError;
use access::{Caller, PathParameter};

/// The version of LiteLLM whose wire behaviour this API has.
pub const LITELLM_VERSION: &str = "1.87.1";

/// Identity of a call, as on the answers of the data plane.
const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");

/// The management API as an axum router. Every request goes through `dispatch`.
pub fn router(state: AdminState) -> Router {
    Router::new().fallback(dispatch).with_state(state)
}

async fn dispatch(State(state): State<AdminState>, mut request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let (route, mut response) = match admit(&state, &mut request).await {
        Ok(route) => (Some(route), serve(route, request, state).await),
        Err(refusal) => (None, refusal.into_response()),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        identify(&mut response, route);
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

async fn serve(route: Route, request: Request, state: AdminState) -> Response {
    use Route as R;
    use config::{fallback, field};
    use keys::{read, rotate, write};
    use models::write as deployments;
    use spend::{activity, calculate, daily, events, global, logs, report};
    match route {
        R::Home => run(pages::home, request, state).await,
        R::Routes => run(pages::routes, request, state).await,
        R::RobotsTxt => run(pages::robots, request, state).await,
        R::Docs => run(openapi::page, request, state).await,
        R::OpenApi => run(openapi::document, request, state).await,
        R::Test => run(pages::test, request, state).await,
        R::Liveness => run(health::liveness, request, state).await,
        R::Readiness => run(health::readiness, request, state).await,
        R::ReadinessDetails => run(health::details, request, state).await,
        R::Health => run(health::health, request, state).await,
        R::HealthBacklog => run(health::backlog, request, state).await,
        R::Metrics => run(health::metrics, request, state).await,
        R::Models => run(models::list, request, state).await,
        R::Model => run(models::one, request, state).await,
        R::ModelInfo => run(models::info, request, state).await,
        R::ModelInfoV2 => run(models::info_v2, request, state).await,
        R::ModelGroupInfo => run(models::group_info, request, state).await,
        R::ReloadModelCostMap => run(models::reload_prices, request, state).await,
        R::ModelNew => run(deployments::new, request, state).await,
        R::ModelUpdate => run(deployments::update, request, state).await,
        R::ModelPatch => run(deployments::patch, request, state).await,
        R::ModelDelete => run(deployments::delete, request, state).await,
        R::CredentialNew => run(credentials::new, request, state).await,
        R::CredentialList => run(credentials::list, request, state).await,
        R::CredentialByName => run(credentials::by_name, request, state).await,
        R::CredentialByModel => run(credentials::by_model, request, state).await,
        R::CredentialUpdate => run(credentials::update, request, state).await,
        R::CredentialDelete => run(credentials::delete, request, state).await,
        R::ConfigUpdate => run(config::update, request, state).await,
        R::ConfigCallbacks => run(config::callbacks, request, state).await,
        R::ConfigList => run(field::list, request, state).await,
        R::ConfigFieldInfo => run(field::one, request, state).await,
        R::ConfigFieldUpdate => run(field::update, request, state).await,
        R::ConfigFieldDelete => run(field::delete, request, state).await,
        R::FallbackNew => run(fallback::new, request, state).await,
        R::FallbackInfo => run(fallback::one, request, state).await,
        R::FallbackDelete => run(fallback::delete, request, state).await,
        R::Audit => run(audit::list, request, state).await,
        R::AuditEntry => run(audit::one, request, state).await,
        R::HealthServices => run(health_checks::services, request, state).await,
        R::HealthHistory => run(health_checks::history, request, state).await,
        R::HealthLatest => run(health_checks::latest, request, state).await,
        R::HealthLicense => run(health_checks::license, request, state).await,
        R::HealthSharedStatus => run(health_checks::shared_status, request, state).await,
        R::HealthTestConnection => run(models::test::connection, request, state).await,
        R::TokenCounter => run(tokens::count, request, state).await,
        R::TransformRequest => run(pages::not_offered, request, state).await,
        R::SupportedParams => run(pages::not_offered, request, state).await,
        R::EventLogging => run(pages::event_sink, request, state).await,
        R::RouterState => run(routing::state, request, state).await,
        R::RouterExplain => run(routing::explain, request, state).await,
        R::KeyGenerate => run(write::generate, request, state).await,
        R::KeyServiceAccount => run(write::generate_service_account, request, state).await,
        R::KeyUpdate => run(write::update, request, state).await,
        R::KeyBulkUpdate => run(write::bulk_update, request, state).await,
        R::KeyDelete => run(write::delete, request, state).await,
        R::KeyBlock => run(write::block, request, state).await,
        R::KeyUnblock => run(write::unblock, request, state).await,
        R::KeyRegenerate => run(rotate::regenerate, request, state).await,
        R::KeyResetSpend => run(rotate::reset_spend, request, state).await,
        R::KeyInfo => run(read::info, request, state).await,
        R::KeyInfoV2 => run(read::info_v2, request, state).await,
        R::KeyList => run(read::list, request, state).await,
        R::KeyAliases => run(read::aliases, request, state).await,
        R::KeyHealth => run(read::health, request, state).await,
        R::SpendLogs => run(logs::logs, request, state).await,
        R::SpendLogsV2 => run(logs::logs_v2, request, state).await,
        R::SpendLogsUi => run(logs::logs_v2, request, state).await,
        R::SpendLogsUiOne => run(logs::one, request, state).await,
        R::SpendLogsSession => run(logs::session, request, state).await,
        R::UserDailyActivity => run(daily::user, request, state).await,
        R::UserDailyAggregated => run(daily::user_aggregated, request, state).await,
        R::TeamDailyActivity => run(daily::team, request, state).await,
        R::OrganizationDailyActivity => run(daily::organization, request, state).await,
        R::CustomerDailyActivity => run(daily::customer, request, state).await,
        R::TagDailyActivity => run(daily::tag, request, state).await,
        R::GlobalExceptions => run(events::exceptions, request, state).await,
        R::GlobalExceptionsDeployment => run(events::by_deployment, request, state).await,
        R::GlobalCacheHits => run(events::cache_hits, request, state).await,
        R::GlobalTagNames => run(global::tag_names, request, state).await,
        R::GlobalSpendRefresh => run(global::refresh, request, state).await,
        R::ProviderBudgets => run(global::provider_budgets, request, state).await,
        R::SpendCalculate => run(calculate::calculate, request, state).await,
        R::SpendKeys => run(global::spend_keys, request, state).await,
        R::SpendUsers => run(global::spend_users, request, state).await,
        R::SpendTags => run(global::spend_tags, request, state).await,
        R::GlobalSpend => run(global::spend, request, state).await,
        R::GlobalSpendLogs => run(global::spend_logs, request, state).await,
        R::GlobalSpendKeys => run(global::by_key, request, state).await,
        R::GlobalSpendModels => run(global::by_model, request, state).await,
        R::GlobalSpendTeams => run(global::by_team, request, state).await,
        R::GlobalSpendTags => run(global::by_tag, request, state).await,
        R::GlobalSpendProvider => run(global::by_provider, request, state).await,
        R::GlobalSpendEndUsers => run(global::by_end_user, request, state).await,
        R::GlobalSpendReport => run(report::report, request, state).await,
        R::GlobalSpendReset => run(global::reset, request, state).await,
        R::GlobalActivity => run(activity::activity, request, state).await,
        R::GlobalActivityModel => run(activity::by_model, request, state).await,
        R::CachePing => run(cache::ping, request, state).await,
        R::CacheDelete => run(cache::delete, request, state).await,
        R::CacheFlushAll => run(cache::flush_all, request, state).await,
        R::CacheRedisInfo => run(cache::redis_info, request, state).await,
    }
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
                "This belongs to region {home}: only there it can be changed. Blocking it, deleting \
                 it and lowering its budget is taken here too."
            );
            AdminError::detail(StatusCode::CONFLICT, text)
        }
        StoreError::TooMuch => {
            let text = "This question reads too many rows: narrow it.";
            AdminError::detail(StatusCode::BAD_REQUEST, text)
        }
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
