//! A key as LiteLLM's answers show it.

use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::time::WallMs;
use serde_json::{Map, Value, json};

/// Columns of the stored row that have no field of their own here, with their empty values.
fn column_defaults() -> Value {
    json!({
        "soft_budget_cooldown": false,
        "config": {},
        "router_settings": {},
        "agent_id": null,
        "project_id": null,
        "permissions": {},
        "allowed_cache_controls": [],
        "policies": [],
        "access_group_ids": [],
        "model_spend": {},
        "budget_id": null,
        "object_permission_id": null,
        "object_permission": null,
        "litellm_budget_table": null,
        "last_active": null,
        "rotation_count": 0,
        "auto_rotate": false,
        "rotation_interval": null,
        "last_rotation_at": null,
        "key_rotation_at": null,
        "budget_limits": null,
    })
}

/// Fields of `KeyBase` that live in `metadata` and are `null` at the top level of an answer.
const FOLDED_AWAY: [&str; 11] = [
    "model_rpm_limit",
    "model_tpm_limit",
    "guardrails",
    "prompts",
    "tags",
    "enforced_params",
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "rpm_limit_type",
    "tpm_limit_type",
    "duration",
];

/// The stored row with `token`. `spend` is the figure that decides requests.
pub(in crate::admin) fn row(record: &KeyRecord, spend: NanoUsd) -> Map<String, Value> {
    let KeyRecord {
        token,
        lineage: _,
        key_name,
        key_alias,
        expires,
        blocked,
        models,
        aliases,
        allowed_routes,
        allowed_regions,
        user_id,
        team_id,
        organization_id,
        max_budget,
        soft_budget,
        budget_duration,
        budget_reset_at,
        model_max_budget,
        spend: _,
        tpm_limit,
        rpm_limit,
        max_parallel_requests,
        metadata,
        extra,
        created_at,
        created_by,
        updated_at,
        updated_by,
        version: _,
        home: _,
        generation: _,
    } = record;
    let known = json!({
        "token": token,
        "key_name": key_name,
        "key_alias": key_alias,
        "expires": expires.map(WallMs::to_iso),
        "blocked": blocked,
        "models": models,
        "aliases": aliases,
        "allowed_routes": allowed_routes,
        "allowed_regions": allowed_regions,
        "user_id": user_id,
        "team_id": team_id,
        "organization_id": organization_id,
        "max_budget": max_budget.map(NanoUsd::dollars),
        "soft_budget": soft_budget.map(NanoUsd::dollars),
        "budget_duration": budget_duration,
        "budget_reset_at": budget_reset_at.map(WallMs::to_iso),
        "model_max_budget": model_max_budget,
        "spend": spend.dollars(),
        "tpm_limit": tpm_limit,
        "rpm_limit": rpm_limit,
        "max_parallel_requests": max_parallel_requests,
        "metadata": metadata,
        "created_at": created_at.to_iso(),
        "created_by": created_by,
        "updated_at": updated_at.to_iso(),
        "updated_by": updated_by,
    });
    let mut out = into_map(column_defaults());
    out.extend(extra.clone());
    out.extend(into_map(known));
    out
}

/// The row as `/key/info` shows it: without the digest.
pub(super) fn info(record: &KeyRecord, spend: NanoUsd) -> Map<String, Value> {
    let mut out = row(record, spend);
    out.remove("token");
    out
}

/// `GenerateKeyResponse`: the only answer that shows the clear key.
pub(super) fn generated(record: &KeyRecord, clear: &str, spend: NanoUsd) -> Map<String, Value> {
    let mut out = row(record, spend);
    out.insert("token_id".to_owned(), json!(record.token));
    out.insert("key".to_owned(), json!(clear));
    for name in FOLDED_AWAY {
        out.insert(name.to_owned(), Value::Null);
    }
    out
}

fn into_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
