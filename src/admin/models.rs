//! `/v1/models`, `/model/info`, `/model_group/info`, `/reload/model_cost_map`.

pub(super) mod catalog;
pub(super) mod test;
pub(super) mod write;

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use meridian_core::auth::{KeyView, Principal};
use meridian_core::config::Deployment;
use meridian_core::error::GatewayError;
use meridian_core::listing::{self, ListOptions};
use meridian_core::price::{ModelPrice, PriceBook};
use serde_json::{Map, Value, json};

use super::access::{AdminAccess, AnyKeyAccess, Caller, PathParameter};
use super::query::Query;
use super::reply::AdminError;
use super::state::{AdminState, Rules};

type Answer = Result<Json<Value>, AdminError>;

/// GET /v1/models
pub(super) async fn list(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    headers: HeaderMap,
    query: Query,
) -> Json<Value> {
    let options = ListOptions {
        wildcards: query.flag("return_wildcard_routes"),
        groups: query.flag("include_model_access_groups"),
        only_groups: query.flag("only_model_access_groups"),
    };
    let Rules { config, prices } = state.rules();
    let names = listing::visible_models(&config, &prices, key(&caller), options);
    Json(listing::models_body(&names, dialect(&headers)))
}

/// GET /v1/models/{model}
pub(super) async fn one(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    PathParameter(model): PathParameter,
    headers: HeaderMap,
) -> Answer {
    let model = model.unwrap_or_default();
    if !listing::is_visible(&state.rules().config, key(&caller), &model) {
        return Err(AdminError::Gateway(GatewayError::ObjectNotFound {
            what: "Model",
            id: model,
        }));
    }
    Ok(Json(listing::model_body(&model, dialect(&headers))))
}

fn dialect(headers: &HeaderMap) -> meridian_core::endpoint::Dialect {
    listing::dialect_of(
        headers
            .get("anthropic-version")
            .map(|value| value.as_bytes()),
    )
}

fn key(caller: &Caller) -> Option<&KeyView> {
    match caller.principal() {
        Principal::Master => None,
        Principal::Key(key) => Some(key),
    }
}

/// GET /model/info and /v1/model/info
pub(super) async fn info(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let rules = state.rules();
    let wanted = query.text("litellm_model_id");
    let chosen = visible(&rules, &caller)
        .filter(|deployment| wanted.as_ref().is_none_or(|id| *id == deployment.id));
    let data: Vec<Value> = chosen
        .map(|deployment| shown(deployment, &rules.prices, &caller))
        .collect();
    match wanted {
        Some(id) if data.is_empty() => {
            let text = format!("Model id = {id} not found on litellm proxy");
            Err(AdminError::detail(StatusCode::BAD_REQUEST, text))
        }
        _ => Ok(Json(json!({"data": data}))),
    }
}

/// GET /v2/model/info
pub(super) async fn info_v2(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Answer {
    let (page, size) = query.page(50)?;
    let rules = state.rules();
    let (model, id) = (query.text("model"), query.text("modelId"));
    let search = query.text("search").unwrap_or_default().to_lowercase();
    let fits = |deployment: &&Deployment| {
        model
            .as_ref()
            .is_none_or(|name| *name == deployment.model_name)
            && id.as_ref().is_none_or(|id| *id == deployment.id)
            && deployment.model_name.to_lowercase().contains(&search)
    };
    let chosen: Vec<&Deployment> = visible(&rules, &caller).filter(fits).collect();
    let total = chosen.len() as u64;
    let start = ((page - 1) * size) as usize;
    let data: Vec<Value> = (chosen.into_iter().skip(start).take(size as usize))
        .map(|deployment| shown(deployment, &rules.prices, &caller))
        .collect();
    Ok(Json(json!({
        "data": data, "total_count": total, "current_page": page,
        "total_pages": total.div_ceil(size), "size": size,
    })))
}

/// GET /model_group/info
pub(super) async fn group_info(
    AnyKeyAccess(caller): AnyKeyAccess,
    State(state): State<AdminState>,
    query: Query,
) -> Json<Value> {
    let rules = state.rules();
    let wanted = query.text("model_group");
    let mut order = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&Deployment>> = BTreeMap::new();
    for deployment in visible(&rules, &caller) {
        let name = deployment.model_name.as_str();
        if wanted.as_ref().is_some_and(|group| group != name) {
            continue;
        }
        let members = groups.entry(name).or_default();
        if members.is_empty() {
            order.push(name);
        }
        members.push(deployment);
    }
    let data = order
        .iter()
        .filter_map(|name| Some(group(name, groups.get(name)?, &rules.prices)));
    Json(json!({"data": data.collect::<Vec<_>>()}))
}

/// POST /reload/model_cost_map
pub(super) async fn reload_prices(_: AdminAccess, State(state): State<AdminState>) -> Answer {
    match state.reload_prices().await {
        Ok(models) => Ok(Json(json!({
            "message": format!("Price data reloaded successfully! {models} models updated."),
            "status": "success", "models_count": models,
        }))),
        Err(why) => {
            let text = format!("Failed to reload model cost map: {why}");
            Err(AdminError::detail(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

/// The deployments whose model the caller may use.
fn visible<'a>(rules: &'a Rules, caller: &'a Caller) -> impl Iterator<Item = &'a Deployment> {
    let config = &rules.config;
    config.models.iter().filter(move |deployment| {
        let name = &deployment.model_name;
        caller.sees_all() || listing::is_visible(config, key(caller), name)
    })
}

/// The price of a deployment when a client asks for `name`.
pub(super) fn price_of(
    deployment: &Deployment,
    name: &str,
    prices: &PriceBook,
) -> Option<ModelPrice> {
    let model = deployment.upstream_model(name);
    let base_model = deployment.base_model.as_deref();
    match prices.find(deployment.provider.label(), &model, base_model) {
        Some(found) => found.with_overrides(&deployment.prices).ok(),
        None if deployment.prices.is_empty() => None,
        None => ModelPrice::from_overrides(&deployment.prices).ok(),
    }
}

/// One deployment. An allow-list: what is not named here, credentials first, is never shown.
fn shown(deployment: &Deployment, prices: &PriceBook, caller: &Caller) -> Value {
    let provider = deployment.provider.label();
    let seconds = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64());
    let mut params = json!({
        "model": format!("{provider}/{}", deployment.model),
        "custom_llm_provider": provider,
        "region_name": deployment.region_name,
        "weight": deployment.weight,
        "timeout": seconds(deployment.timeout),
        "stream_timeout": seconds(deployment.stream_timeout),
        "max_retries": deployment.num_retries,
        "rpm": deployment.rpm,
        "tpm": deployment.tpm,
        "max_parallel_requests": deployment.max_parallel_requests,
        "order": deployment.order,
        "cooldown_time": seconds(deployment.cooldown_time),
        "tags": deployment.tags,
        "allowed_regions": deployment.allowed_regions,
    });
    if let Value::Object(params) = &mut params {
        params.retain(|_, value| !value.is_null());
        if let Some(target) = deployment.target.as_ref().filter(|_| caller.sees_all()) {
            params.insert("api_base".into(), json!(base_of(target)));
        }
    }
    json!({
        "model_name": deployment.model_name,
        "litellm_params": params,
        "model_info": model_info(deployment, prices),
    })
}

fn base_of(target: &meridian_core::config::Target) -> String {
    let scheme = if target.base.tls { "https" } else { "http" };
    format!("{scheme}://{}{}", target.base.authority(), target.base.path)
}

fn model_info(deployment: &Deployment, prices: &PriceBook) -> Map<String, Value> {
    let price = price_of(deployment, &deployment.model_name, prices);
    let mut out = price.as_ref().map(ModelPrice::info).unwrap_or_default();
    out.extend(deployment.model_info.clone());
    out.insert("id".into(), json!(deployment.id));
    out.insert("db_model".into(), json!(deployment.is_stored()));
    if let Some(price) = price {
        out.insert("key".into(), json!(price.key()));
    }
    out
}

/// What the deployments of one name have in common: the largest of every figure, any ability.
fn group(name: &str, members: &[&Deployment], prices: &PriceBook) -> Value {
    let infos: Vec<Map<String, Value>> = members
        .iter()
        .map(|deployment| model_info(deployment, prices))
        .collect();
    let largest = |field: &str| {
        let figures = infos.iter().filter_map(|info| info.get(field)?.as_f64());
        figures.fold(None, |most: Option<f64>, figure| {
            Some(most.map_or(figure, |m| m.max(figure)))
        })
    };
    let whole = |field: &str| largest(field).map(|figure| figure as u64);
    let sum = |figures: &mut dyn Iterator<Item = Option<u64>>| {
        let given: Vec<u64> = figures.flatten().collect();
        (!given.is_empty()).then(|| given.iter().sum::<u64>())
    };
    let providers: BTreeSet<&str> = members
        .iter()
        .map(|deployment| deployment.provider.label())
        .collect();
    let mut out = json!({
        "model_group": name,
        "providers": providers,
        "max_input_tokens": whole("max_input_tokens"),
        "max_output_tokens": whole("max_output_tokens"),
        "input_cost_per_token": largest("input_cost_per_token"),
        "output_cost_per_token": largest("output_cost_per_token"),
        "mode": infos.iter().find_map(|info| info.get("mode").cloned()),
        "tpm": sum(&mut members.iter().map(|deployment| deployment.tpm)),
        "rpm": sum(&mut members.iter().map(|deployment| deployment.rpm)),
        "supported_openai_params": [],
        "configurable_clientside_auth_params": null,
        "is_public_model_group": false,
    });
    for ability in ABILITIES {
        let able = |info: &Map<String, Value>| info.get(ability) == Some(&Value::Bool(true));
        out[ability] = json!(infos.iter().any(able));
    }
    out
}

const ABILITIES: [&str; 7] = [
    "supports_parallel_function_calling",
    "supports_vision",
    "supports_web_search",
    "supports_url_context",
    "supports_reasoning",
    "supports_function_calling",
    "supports_prompt_caching",
];
