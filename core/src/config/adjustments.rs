//! `litellm_settings.cost_discount_config` and `cost_margin_config`, resolved.

use serde_json::{Map, Value};

use super::problem::Problems;
use super::provider::Provider;
use super::section::Area;
use crate::price::AdjustmentRules;

/// Margin for every provider that has none of its own.
const EVERY: &str = "global";

const DISCOUNTS: &str = "cost_discount_config";
const MARGINS: &str = "cost_margin_config";

/// What is taken off and put on the providers' prices.
pub(super) fn resolve(litellm: &Area<'_>, problems: &mut Problems) -> AdjustmentRules {
    let discounts = sound(&litellm.child(DISCOUNTS), problems, |one| {
        AdjustmentRules::from_config(one, &Map::new()).is_ok()
    });
    let margins = sound(&litellm.child(MARGINS), problems, |one| {
        AdjustmentRules::from_config(&Map::new(), one).is_ok()
    });
    AdjustmentRules::from_config(&discounts, &margins).unwrap_or_default()
}

/// The entries that can be read; each other one is told where it stands.
fn sound(
    area: &Area<'_>,
    problems: &mut Problems,
    is_sound: impl Fn(&Map<String, Value>) -> bool,
) -> Map<String, Value> {
    let mut kept = area.all_json();
    kept.retain(|name, value| {
        let (at, path) = (area.at(name), area.path_of(name));
        let one = Map::from_iter([(name.clone(), value.clone())]);
        if !is_sound(&one) {
            let message = "expected a share such as 0.05; for margins also `percentage` and \
                           `fixed_amount` in dollars; nothing negative, no discount above 1";
            problems.error(at, &path, message);
            return false;
        }
        let provider = name.split('/').next().unwrap_or_default();
        if provider != EVERY && Provider::from_label(provider).is_none() {
            let message = format!("`{provider}` is no provider: nothing is adjusted by this");
            problems.warning(at, &path, message);
        }
        true
    });
    kept
}
