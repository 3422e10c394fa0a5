//! Scopes of a request that its key does not name: the customer and the tags.

use std::collections::BTreeSet;
use std::sync::Arc;

use meridian_core::auth::KeyView;
use meridian_core::error::GatewayError;
use meridian_core::meters::Due;
use meridian_core::party::View;
use meridian_core::scope::{Scope, ScopeKind};

use super::Ask;
use super::ask::add_tags;
use crate::rules::Rules;
use crate::state::State;

/// What is known of the customer that a request names; fills in its default model.
///
/// # Errors
/// `ScopeBlocked`.
pub(super) fn customer(
    state: &State,
    rules: &Rules,
    ask: &mut Ask,
) -> Result<Option<Arc<View>>, GatewayError> {
    let Some(id) = &ask.end_user else {
        return Ok(None);
    };
    let Some(customer) = state.registry.view(ScopeKind::EndUser, id) else {
        state.registry.note_newcomer(id);
        return Ok(None);
    };
    customer.check(&Scope::new(ScopeKind::EndUser, id.as_str()))?;
    if let (true, Some(model)) = (ask.model.is_empty(), &customer.rights.default_model) {
        ask.model = model.to_string();
        ask.requested_model = model.to_string();
    }
    if let Some(region) = &customer.rights.model_region {
        ask.regions_of_customer = Some(Arc::new(regions_within(rules, region)));
    }
    Ok(Some(customer))
}

/// Regions of deployments that lie in an area: `eu` is for `eu-west-1`, `europe-west4`,
/// `westeurope` and for `eu` itself.
fn regions_within(rules: &Rules, area: &str) -> BTreeSet<String> {
    let area = area.to_ascii_lowercase();
    let within = |region: &&String| {
        let region = region.to_ascii_lowercase();
        region.starts_with(&area) || (area == "eu" && region.contains("europe"))
    };
    let models = rules.config.models.iter();
    let regions = models.filter_map(|deployment| deployment.region_name.as_ref());
    regions.filter(within).cloned().collect()
}

/// Adds the tags of the key and of its team to the request's own: they are reported, limited and
/// routed by together.
pub(super) fn inherit_tags(state: &State, key: Option<&KeyView>, ask: &mut Ask) {
    if let Some(key) = key {
        let own = key.policy.tags().iter().map(|tag| tag.to_string());
        let of_scopes = key.tags_of_scopes().into_iter().map(String::from);
        add_tags(&mut ask.context.tags, own.chain(of_scopes));
    }
    let recorded = |tag: &String| Some((tag.clone(), state.registry.view(ScopeKind::Tag, tag)?));
    ask.tags_recorded = ask.context.tags.iter().filter_map(recorded).collect();
}

/// Every scope that a request is charged to besides its key, in the order in which they refuse.
pub(super) fn dues(
    state: &State,
    key: Option<&KeyView>,
    ask: &Ask,
    customer: Option<&Arc<View>>,
) -> Vec<Due> {
    let mut dues = Vec::new();
    if let Some(key) = key {
        key.add_dues(&mut dues);
    }
    let of_tags = ask.tags_recorded.iter();
    dues.extend(of_tags.map(|(_, tag)| Due::of(Arc::clone(&tag.meters))));
    dues.extend(customer.map(|customer| Due::of(Arc::clone(&customer.meters))));
    dues.extend_from_slice(&state.shared_budgets);
    dues
}
