//! POST /spend/calculate: what a request would cost, or did.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::config::Provider;
use meridian_core::money::NanoUsd;
use meridian_core::price::{Adjustment, BillingPlace, ModelPrice};
use meridian_core::usage::Usage;
use serde_json::{Value, json};

use super::super::access::AnyKeyAccess;
use super::super::body::JsonBody;
use super::super::models::price_of;
use super::super::reply::AdminError;
use super::super::state::{AdminState, Rules};
use super::super::tokens::Prompt;

/// POST /spend/calculate
pub(in crate::admin) async fn calculate(
    _: AnyKeyAccess,
    State(state): State<AdminState>,
    JsonBody(mut fields): JsonBody,
) -> Result<Json<Value>, AdminError> {
    let model = fields.text("model").value();
    let prompt = Prompt::read(&mut fields);
    let response = fields.any("completion_response").value();
    fields.finish()?;
    let rules = state.rules();
    let (model, usage) = match (response, prompt.tokens()) {
        (Some(response), _) => {
            let named = response
                .get("model")
                .and_then(Value::as_str)
                .map(str::to_owned);
            (model.or(named), usage_of(&response))
        }
        (None, Some(tokens)) => {
            let usage = Usage {
                prompt: tokens,
                ..Usage::default()
            };
            (model, usage)
        }
        (None, None) => return Err(bad("Either 'messages' or 'completion_response' is needed")),
    };
    let model = model.ok_or_else(|| bad("model is needed"))?;
    let cost = cost(&rules, &model, &usage)?;
    Ok(Json(json!({"cost": cost.dollars()})))
}

fn cost(rules: &Rules, model: &str, usage: &Usage) -> Result<NanoUsd, AdminError> {
    let unknown = || bad("This model has no price in the price map");
    let (price, adjustment) = price(rules, model).ok_or_else(unknown)?;
    let place = BillingPlace {
        adjustment,
        ..BillingPlace::default()
    };
    let cost = price.cost(usage, &place);
    if cost.price_unknown {
        return Err(unknown());
    }
    Ok(cost.total)
}

/// The price of a model that clients ask for, or of a provider's model; and what the configuration
/// takes off and puts on it.
fn price(rules: &Rules, model: &str) -> Option<(ModelPrice, Adjustment)> {
    let config = &rules.config;
    let meant = config
        .aliases
        .get(model)
        .map_or(model, |alias| &alias.model);
    if let Some(group) = config.group_of(model) {
        let mut members = config.models.iter();
        let deployment = members.find(|deployment| deployment.model_name == group)?;
        let price = price_of(deployment, meant, &rules.prices)?;
        let (label, model) = (
            deployment.provider.label(),
            deployment.upstream_model(meant),
        );
        return Some((price, config.adjustments.resolve(label, &model)));
    }
    let (provider, model) = Provider::of_model(meant, None).ok()?;
    let found = rules.prices.find(provider.label(), model, Some(meant))?;
    let adjustment = config.adjustments.resolve(provider.label(), model);
    Some((ModelPrice::clone(&found), adjustment))
}

/// Usage of a stored answer in either dialect. OpenAI counts cached tokens inside the prompt,
/// Anthropic beside it.
fn usage_of(response: &Value) -> Usage {
    let usage = response.get("usage").unwrap_or(&Value::Null);
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let cache_read = count("/cache_read_input_tokens");
    let cache_write = count("/cache_creation_input_tokens");
    if usage.get("input_tokens").is_some() && usage.get("input_tokens_details").is_none() {
        let beside = cache_read.saturating_add(cache_write);
        return Usage {
            prompt: count("/input_tokens").saturating_add(beside),
            cache_read,
            cache_write,
            completion: count("/output_tokens"),
            ..Usage::default()
        };
    }
    let either = |a: &str, b: &str| count(a).max(count(b));
    Usage {
        prompt: either("/prompt_tokens", "/input_tokens"),
        cache_read: cache_read.max(either(
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
        )),
        cache_write,
        completion: either("/completion_tokens", "/output_tokens"),
        reasoning: either(
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ),
        ..Usage::default()
    }
}

fn bad(text: &str) -> AdminError {
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}
