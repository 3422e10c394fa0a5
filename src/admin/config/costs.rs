//! `/config/cost_discount_config` and `/config/cost_margin_config`: what is taken off and put on
//! the providers' prices. In force for requests that begin after the call.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use meridian_core::config::Provider;
use serde_json::{Map, Value, json};

use super::super::access::{AdminAccess, Caller, ViewerAccess};
use super::super::body::RawBody;
use super::super::fields::object_of;
use super::super::reply::AdminError;
use super::super::state::AdminState;
use super::super::stored;
use super::section::StoredSection;
use super::{Answer, bad, change, in_force};

const DISCOUNT: &str = "cost_discount_config";
const MARGIN: &str = "cost_margin_config";
/// Margin for every provider that has none of its own.
const EVERY: &str = "global";
/// Ten times the price, LiteLLM's bound.
const MARGIN_MAX: f64 = 10.0;

/// GET /config/cost_discount_config
pub(in crate::admin) async fn discount(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    shown(&state, DISCOUNT)
}

/// GET /config/cost_margin_config
pub(in crate::admin) async fn margin(_: ViewerAccess, State(state): State<AdminState>) -> Answer {
    shown(&state, MARGIN)
}

fn shown(state: &AdminState, name: &str) -> Answer {
    let values = in_force(state, StoredSection::Settings, name);
    Ok(Json(json!({"values": values.unwrap_or_else(|| json!({}))})))
}

/// PATCH /config/cost_discount_config: replaces all discounts.
pub(in crate::admin) async fn set_discount(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    RawBody(body): RawBody,
) -> Answer {
    let discounts = object_of(&body)?;
    stored::check_on(&state)?;
    check_providers(discounts.keys(), "")?;
    for (name, share) in &discounts {
        let share = share.as_f64();
        let share = share.ok_or_else(|| plain(format!("Discount for {name} must be a number")))?;
        if !(0.0..=1.0).contains(&share) {
            let text = format!("Discount for {name} must be between 0 and 1 (0% to 100%)");
            return Err(plain(text));
        }
    }
    replace(&state, &caller, DISCOUNT, "discount", discounts).await
}

/// PATCH /config/cost_margin_config: replaces all margins.
pub(in crate::admin) async fn set_margin(
    AdminAccess(caller): AdminAccess,
    State(state): State<AdminState>,
    RawBody(body): RawBody,
) -> Answer {
    let margins = object_of(&body)?;
    stored::check_on(&state)?;
    let named = margins.keys().filter(|name| *name != EVERY);
    check_providers(named, " or 'global'")?;
    for (name, margin) in &margins {
        check_margin(name, margin)?;
    }
    replace(&state, &caller, MARGIN, "margin", margins).await
}

fn check_margin(name: &str, margin: &Value) -> Result<(), AdminError> {
    let share = |value: &Value| {
        let text = format!("Margin percentage for {name} must be a number");
        let share = value.as_f64().ok_or_else(|| plain(text))?;
        let text = format!("Margin percentage for {name} must be between 0 and 10 (0% to 1000%)");
        let is_sound = (0.0..=MARGIN_MAX).contains(&share);
        is_sound.then_some(()).ok_or_else(|| plain(text))
    };
    let parts = match margin {
        Value::Number(_) => return share(margin),
        Value::Object(parts) => parts,
        _ => {
            return Err(plain(format!(
                "Margin for {name} must be a number (percentage) or dict with 'percentage' \
                 and/or 'fixed_amount'"
            )));
        }
    };
    if !parts.contains_key("percentage") && !parts.contains_key("fixed_amount") {
        return Err(plain(format!(
            "Margin config for {name} cannot be empty. Must include 'percentage' and/or \
             'fixed_amount'"
        )));
    }
    parts.get("percentage").map_or(Ok(()), share)?;
    let fixed = parts.get("fixed_amount").map(Value::as_f64);
    match fixed {
        Some(None) => Err(plain(format!(
            "Fixed margin amount for {name} must be a number"
        ))),
        Some(Some(fixed)) if fixed < 0.0 => Err(plain(format!(
            "Fixed margin amount for {name} must be non-negative"
        ))),
        _ => Ok(()),
    }
}

/// Refuses names that are no provider; a discount may be for `provider/model` too.
fn check_providers<'a>(
    names: impl Iterator<Item = &'a String>,
    or: &str,
) -> Result<(), AdminError> {
    let is_unknown = |name: &&String| {
        let provider = name.split('/').next().unwrap_or_default();
        Provider::from_label(provider).is_none()
    };
    let unknown: Vec<&str> = names.filter(is_unknown).map(String::as_str).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(bad(&format!(
            "Invalid provider(s): {}. Must be valid LiteLLM providers{or}.",
            unknown.join(", ")
        ))),
    }
}

async fn replace(
    state: &AdminState,
    caller: &Caller,
    name: &str,
    word: &str,
    values: Map<String, Value>,
) -> Answer {
    let changes = Map::from_iter([(name.to_owned(), Value::Object(values.clone()))]);
    StoredSection::Settings.check(&changes)?;
    change(state, caller, StoredSection::Settings, changes).await?;
    Ok(Json(json!({
        "message": format!("Cost {word} configuration updated successfully"),
        "status": "success",
        "values": values,
    })))
}

fn plain(text: String) -> AdminError {
    AdminError::plain(StatusCode::BAD_REQUEST, text)
}
