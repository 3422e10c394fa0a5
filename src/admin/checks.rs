//! What amounts, periods, regions and ids may be, in LiteLLM's words.

use axum::http::StatusCode;
use meridian_core::budget::policy::OwnPolicy;
use meridian_core::meters::check_budget_limits;
use meridian_core::money::NanoUsd;
use meridian_core::period::BudgetDuration;
use meridian_core::region;
use serde_json::{Map, Value};

use super::reply::{AdminError, python_float};

/// Longest id of a team, user, organization, budget, customer or tag.
pub(super) const ID_BYTES_MAX: usize = 256;
/// Largest record of any kind, as JSON.
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024;

/// What is wrong with an id. No control characters: one of them joins the ids of members.
pub(super) fn id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        return Some("Input should have at least 1 character");
    }
    if id.len() > ID_BYTES_MAX {
        return Some("Input should have at most 256 bytes");
    }
    let control = id.chars().any(char::is_control);
    control.then_some("Input should have no control characters")
}

/// An amount of money that LiteLLM would take.
pub(super) fn check_amount(name: &str, dollars: Option<f64>) -> Result<(), AdminError> {
    match dollars.and_then(|dollars| amount_fault(name, dollars)) {
        None => Ok(()),
        Some(text) => Err(AdminError::detail(StatusCode::BAD_REQUEST, text)),
    }
}

/// What is wrong with an amount.
pub(super) fn amount_fault(name: &str, dollars: f64) -> Option<String> {
    if dollars >= 0.0 && NanoUsd::from_dollars(dollars).is_some() {
        return None;
    }
    let received = python_float(dollars);
    let text = format!("{name} must be a non-negative finite number. Received: {received}");
    Some(text)
}

/// A budget period, checked.
pub(super) fn period(text: &str) -> Result<BudgetDuration, AdminError> {
    BudgetDuration::parse(text).ok_or_else(|| unsupported(text))
}

/// The refusal of something that is no duration.
pub(super) fn unsupported(text: &str) -> AdminError {
    let text = format!("Unsupported duration unit, passed duration: {text}");
    AdminError::detail(StatusCode::BAD_REQUEST, text)
}

/// `{"budget_limit": 10, "time_period": "1d"}` per model; a limit may be a numeric string.
pub(super) fn check_model_budgets(budgets: &Map<String, Value>) -> Result<(), AdminError> {
    let mut each = budgets.iter();
    each.try_for_each(|(model, budget)| check_model_budget(model, budget))
}

fn check_model_budget(model: &str, budget: &Value) -> Result<(), AdminError> {
    let invalid = |why: &str| {
        AdminError::detail(
            StatusCode::BAD_REQUEST,
            format!("Invalid model_max_budget: {why} for model={model}"),
        )
    };
    let Some(fields) = budget.as_object() else {
        return Err(invalid(
            "expected an object with budget_limit and time_period",
        ));
    };
    let either = |a: &str, b: &str| fields.get(a).or_else(|| fields.get(b));
    let dollars = match either("budget_limit", "max_budget") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(Value::Null) | None => Some(0.0),
        Some(_) => None,
    };
    if dollars.is_none_or(|dollars| dollars < 0.0 || NanoUsd::from_dollars(dollars).is_none()) {
        return Err(invalid("budget_limit must be a non-negative number"));
    }
    match either("time_period", "budget_duration") {
        Some(Value::String(text)) => period(text).map(|_| ()),
        Some(Value::Null) | None => Ok(()),
        Some(_) => Err(invalid("time_period must be a string")),
    }
}

/// `[{"budget_duration": "1d", "max_budget": 5}]`: budgets beside the main one.
pub(super) fn check_limits(limits: &Value) -> Result<(), AdminError> {
    check_budget_limits(limits).map_err(|text| AdminError::detail(StatusCode::BAD_REQUEST, text))
}

/// What a budget is said to do when it is used up, and when others are out of reach.
pub(super) fn check_policy(metadata: &Map<String, Value>) -> Result<(), AdminError> {
    OwnPolicy::check(metadata).map_err(|text| AdminError::detail(StatusCode::BAD_REQUEST, text))
}

/// Any name is taken, known here or not: records are valid in every region.
pub(super) fn check_regions<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), AdminError> {
    let mut known: Vec<&str> = Vec::new();
    for name in names {
        let why = match name {
            _ if !region::is_name(name) => format!("expected {}", region::EXPECTED),
            _ if known.contains(&name.as_str()) => format!("'{name}' is listed twice"),
            _ if known.len() >= region::NAMES_MAX => {
                format!("more than {} regions", region::NAMES_MAX)
            }
            _ => {
                known.push(name);
                continue;
            }
        };
        let text = format!("Invalid allowed_regions: {why}");
        return Err(AdminError::bad_request("allowed_regions", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_hold_no_control_characters() {
        for good in ["t", "team one", "a/b", "über", &"x".repeat(ID_BYTES_MAX)] {
            assert_eq!(id_fault(good), None, "{good}");
        }
        for bad in ["", "a\u{1f}b", "a\n", &"x".repeat(ID_BYTES_MAX + 1)] {
            assert!(id_fault(bad).is_some(), "{bad:?}");
        }
    }
}
