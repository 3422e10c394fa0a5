//! Records as LiteLLM's answers show them: a row with every column, whatever is stored.

use std::collections::BTreeMap;

use meridian_core::money::NanoUsd;
use meridian_core::record::{Bounds, Budget, RecordKind};
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

use super::draft::{body_of, every, live, named};
use super::reply::AdminError;
use super::state::AdminState;
use crate::store::{RecordQuery, StoredRecord};

/// The row of a stored record.
pub(super) fn row(stored: &StoredRecord) -> Map<String, Value> {
    let record = &stored.record;
    let mut out = empty(record.kind);
    if let Some(Value::Object(extra)) = record.body.get("extra") {
        out.extend(extra.clone());
    }
    for (name, value) in &record.body {
        let shown = match name.as_str() {
            "extra" => continue,
            "max_budget" | "soft_budget" => dollars(value),
            "budget_reset_at" | "expires" => moment(value),
            _ => value.clone(),
        };
        out.insert(name.clone(), shown);
    }
    if let Some(id) = id_name(record.kind) {
        out.insert(id.to_owned(), json!(record.id));
    }
    if record.kind.scope().is_some() {
        out.insert("spend".to_owned(), json!(stored.spend.dollars()));
        if let Some(ends) = stored.resets_at {
            out.insert("budget_reset_at".to_owned(), json!(ends.to_iso()));
        }
    }
    let created = json!(record.created_at.to_iso());
    out.insert("created_at".to_owned(), created);
    let updated = json!(record.updated_at.to_iso());
    out.insert("updated_at".to_owned(), updated);
    out
}

/// The row of a stored record with the ends of periods that run now.
pub(super) fn row_at(state: &AdminState, stored: &StoredRecord) -> Map<String, Value> {
    let mut out = row(stored);
    state.moment().end_limits(&mut out);
    out
}

fn dollars(nano: &Value) -> Value {
    nano.as_i64()
        .map_or(Value::Null, |nano| json!(NanoUsd(nano).dollars()))
}

fn moment(ms: &Value) -> Value {
    ms.as_i64()
        .map_or(Value::Null, |ms| json!(WallMs(ms).to_iso()))
}

/// The column of a record's own id.
fn id_name(kind: RecordKind) -> Option<&'static str> {
    match kind {
        RecordKind::Team => Some("team_id"),
        RecordKind::User | RecordKind::Customer => Some("user_id"),
        RecordKind::Organization => Some("organization_id"),
        RecordKind::Budget => Some("budget_id"),
        RecordKind::Tag => Some("name"),
        RecordKind::Key => Some("token"),
        _ => None,
    }
}

/// Columns of money and rates without a value.
fn no_bounds() -> Value {
    json!({
        "max_budget": null, "soft_budget": null, "budget_duration": null, "budget_reset_at": null,
        "tpm_limit": null, "rpm_limit": null, "max_parallel_requests": null,
        "model_max_budget": {},
    })
}

/// The columns of a kind with their empty values.
fn empty(kind: RecordKind) -> Map<String, Value> {
    let columns = match kind {
        RecordKind::Team => json!({
            "team_alias": null, "organization_id": null, "admins": [], "members": [],
            "members_with_roles": [], "team_member_permissions": [], "metadata": {},
            "budget_limits": null, "models": [], "blocked": false, "router_settings": null,
            "access_group_ids": [], "default_team_member_models": [], "policies": [],
            "model_id": null, "litellm_model_table": null, "object_permission": null,
            "object_permission_id": null, "model_spend": {}, "model_aliases": {},
            "allowed_regions": [],
        }),
        RecordKind::User => json!({
            "user_email": null, "user_alias": null, "user_role": null, "teams": [],
            "organization_id": null, "organization_memberships": null, "models": [],
            "metadata": {}, "model_spend": {}, "sso_user_id": null, "object_permission": null,
            "allowed_cache_controls": [], "policies": [],
        }),
        RecordKind::Organization => json!({
            "organization_alias": null, "budget_id": null, "models": [], "metadata": {},
            "model_spend": {}, "object_permission": null, "object_permission_id": null,
            "created_by": null, "updated_by": null,
        }),
        RecordKind::Budget => json!({
            "allowed_models": [], "created_by": null, "updated_by": null,
        }),
        RecordKind::Customer => json!({
            "alias": null, "blocked": false, "allowed_model_region": null, "default_model": null,
            "budget_id": null, "object_permission": null, "object_permission_id": null,
        }),
        RecordKind::Tag => json!({
            "description": null, "models": [], "model_info": {}, "budget_id": null,
            "created_by": null,
        }),
        RecordKind::TeamMember | RecordKind::OrganizationMember => {
            json!({"budget_id": null, "litellm_budget_table": null})
        }
        _ => json!({}),
    };
    let bounded = !matches!(
        kind,
        RecordKind::Organization | RecordKind::TeamMember | RecordKind::OrganizationMember
    );
    let mut out = if bounded {
        object(no_bounds())
    } else {
        Map::new()
    };
    out.extend(object(columns));
    out
}

/// The fields of a JSON object.
pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// `litellm_budget_table` of something with bounds of its own and perhaps a budget that it refers
/// to; null where there is neither.
pub(super) fn budget_table(own: &Bounds, budget_id: Option<&str>, budgets: &Budgets) -> Value {
    let linked = budget_id.and_then(|id| budgets.get(id));
    if linked.is_none() && *own == Bounds::default() {
        return Value::Null;
    }
    let bounds = match linked {
        Some(linked) => own.or(&linked.bounds),
        None => own.clone(),
    };
    let mut table = shown_bounds(&bounds);
    table.insert("budget_id".to_owned(), json!(budget_id));
    let models = linked.map(|budget| budget.allowed_models.clone());
    let models = models.unwrap_or_default();
    table.insert("allowed_models".to_owned(), json!(models));
    Value::Object(table)
}

/// Bounds with dollars and ISO moments.
pub(super) fn shown_bounds(bounds: &Bounds) -> Map<String, Value> {
    object(json!({
        "max_budget": bounds.max_budget.map(NanoUsd::dollars),
        "soft_budget": bounds.soft_budget.map(NanoUsd::dollars),
        "budget_duration": bounds.budget_duration,
        "budget_reset_at": bounds.budget_reset_at.map(WallMs::to_iso),
        "tpm_limit": bounds.tpm_limit,
        "rpm_limit": bounds.rpm_limit,
        "max_parallel_requests": bounds.max_parallel_requests,
        "model_max_budget": bounds.model_max_budget,
    }))
}

/// Budgets that rows refer to, by their ids.
#[derive(Default)]
pub(super) struct Budgets(BTreeMap<String, Budget>);

impl Budgets {
    /// Those that these records refer to.
    pub(super) async fn of(
        state: &AdminState,
        records: &[StoredRecord],
    ) -> Result<Self, AdminError> {
        let id = |stored: &StoredRecord| {
            let id = stored.record.body.get("budget_id")?.as_str()?;
            Some(id.to_owned())
        };
        let mut ids: Vec<String> = records.iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = named(state, RecordKind::Budget, &ids).await?;
        let each = found.iter();
        let each = each.map(|stored| Ok((stored.record.id.clone(), body_of(stored)?)));
        Ok(Self(each.collect::<Result<_, AdminError>>()?))
    }

    fn get(&self, id: &str) -> Option<&Budget> {
        self.0.get(id)
    }
}

/// Rows of records with bounds of their own and perhaps a budget that they refer to, as LiteLLM
/// shows customers and tags: with what holds for them as `litellm_budget_table`.
pub(super) async fn limited(
    state: &AdminState,
    found: &[StoredRecord],
) -> Result<Vec<Value>, AdminError> {
    let budgets = Budgets::of(state, found).await?;
    let with_table = |stored: &StoredRecord| {
        let mut shown = row(stored);
        let body = &stored.record.body;
        let own: Bounds = serde_json::from_value(Value::Object(body.clone())).unwrap_or_default();
        let budget_id = body.get("budget_id").and_then(Value::as_str);
        let table = budget_table(&own, budget_id, &budgets);
        shown.insert("litellm_budget_table".to_owned(), table);
        Value::Object(shown)
    };
    Ok(found.iter().map(with_table).collect())
}

/// The row of a record as it is stored now.
pub(super) async fn row_now(
    state: &AdminState,
    kind: RecordKind,
    id: &str,
) -> Result<Map<String, Value>, AdminError> {
    let stored = live(state, kind, id).await?;
    Ok(stored
        .map(|stored| row_at(state, &stored))
        .unwrap_or_default())
}

/// Rows of members of a team or an organization, with their budgets.
pub(super) async fn memberships(
    state: &AdminState,
    query: &RecordQuery,
) -> Result<Vec<Value>, AdminError> {
    let members = every(state, query).await?;
    let budgets = Budgets::of(state, &members).await?;
    Ok(members
        .iter()
        .map(|member| membership(member, &budgets))
        .collect())
}

fn membership(member: &StoredRecord, budgets: &Budgets) -> Value {
    let mut shown = row(member);
    let own: Bounds =
        serde_json::from_value(Value::Object(member.record.body.clone())).unwrap_or_default();
    let budget_id = shown.get("budget_id").and_then(Value::as_str);
    let table = budget_table(&own, budget_id, budgets);
    for name in object(no_bounds()).keys() {
        shown.remove(name);
    }
    shown.insert("litellm_budget_table".to_owned(), table);
    Value::Object(shown)
}
