//! A spend record with the columns of LiteLLM's `SpendLogs` table.

use meridian_core::batch::Step;
use meridian_core::ids::KeyHash;
use meridian_core::spend::{EndReason, SpendRecord};
use meridian_core::time::WallMs;
use meridian_core::transcript::JsonText;
use meridian_core::usage::Usage;
use serde_json::{Value, json};

/// What LiteLLM shows in place of the master key's digest.
pub(super) const MASTER_KEY_ALIAS: &str = "litellm_proxy_master_key";

/// One row. What was asked and answered is empty where it was not kept or not asked for.
pub(super) fn row(record: &SpendRecord) -> Value {
    let texts = record.texts.as_deref();
    let request = document(texts.and_then(|texts| texts.request.as_ref()));
    let payer = &record.payer;
    let context = &record.context;
    json!({
        "request_id": request_id(record),
        "litellm_call_id": record.call_id,
        "call_type": call_type(record),
        "api_key": key_text(payer.key),
        "spend": record.cost.dollars(),
        "total_tokens": record.usage.total(),
        "prompt_tokens": record.usage.prompt,
        "completion_tokens": record.usage.completion,
        "startTime": record.started.to_iso(),
        "endTime": record.ended.to_iso(),
        "request_duration_ms": record.ended.0.saturating_sub(record.started.0),
        "completionStartTime": record.first_byte.map(WallMs::to_iso),
        "model": record.model,
        "model_id": record.deployment_id,
        "model_group": record.model_group,
        "custom_llm_provider": record.provider,
        "api_base": record.api_base,
        "user": payer.user_id.as_deref().unwrap_or_default(),
        "metadata": metadata(record),
        "cache_hit": if context.cache_hit.is_some() { "True" } else { "False" },
        "cache_key": context.cache_hit.as_ref().map_or("", |hit| &hit.key),
        "request_tags": context.tags,
        "team_id": payer.team_id,
        "organization_id": payer.organization_id,
        "end_user": payer.end_user,
        "requester_ip_address": context.client_ip,
        "messages": messages(&request),
        "response": document(texts.and_then(|texts| texts.response.as_ref())),
        "proxy_server_request": request,
        "session_id": context.session_id,
        "status": status(record),
        "mcp_namespaced_tool_name": null,
        "agent_id": null,
    })
}

/// LiteLLM bills a batch in the name of who reads it.
fn call_type(record: &SpendRecord) -> &'static str {
    match record.context.batch {
        Some(Step::Used) => "aretrieve_batch",
        Some(Step::Made) | None => record.endpoint.label(),
    }
}

/// `{}` for none.
fn document(text: Option<&JsonText>) -> Value {
    let read = text.and_then(|text| serde_json::from_str(text.as_str()).ok());
    read.unwrap_or_else(|| json!({}))
}

/// What the model was told.
fn messages(request: &Value) -> Value {
    let mut told = ["messages", "input", "prompt"].into_iter();
    let told = told.find_map(|name| request.get(name).cloned());
    told.unwrap_or_else(|| json!({}))
}

/// The provider's id of the answer, or ours where there was none.
pub(super) fn request_id(record: &SpendRecord) -> String {
    let given = record.response_id.clone().filter(|id| !id.is_empty());
    given.unwrap_or_else(|| record.call_id.to_string())
}

/// The digest of the key, or the alias of the master key.
pub(super) fn key_text(key: Option<KeyHash>) -> String {
    key.map_or_else(|| MASTER_KEY_ALIAS.to_owned(), |key| key.to_string())
}

/// `success` or `failure`. What the client broke off counts as LiteLLM counts it: a success.
pub(super) fn status(record: &SpendRecord) -> &'static str {
    let whole = matches!(
        record.end_reason,
        EndReason::Complete
            | EndReason::ClientGoneMidStream
            | EndReason::BudgetCut
            | EndReason::Revoked
    );
    if whole && record.status < 400 {
        "success"
    } else {
        "failure"
    }
}

fn metadata(record: &SpendRecord) -> Value {
    let payer = &record.payer;
    let error = record
        .error
        .as_ref()
        .map(|message| json!({"error_code": record.status.to_string(), "error_message": message}));
    json!({
        "user_api_key": key_text(payer.key),
        "user_api_key_alias": payer.key_alias,
        "user_api_key_user_id": payer.user_id,
        "user_api_key_team_id": payer.team_id,
        "user_api_key_org_id": payer.organization_id,
        "spend_logs_metadata": record.context.spend_logs_metadata,
        "requester_ip_address": record.context.client_ip,
        "status": status(record),
        "error_information": error,
        "usage_object": usage_object(&record.usage),
        "attempted_retries": record.attempts.saturating_sub(1),
        "stream": record.stream,
        "end_reason": record.end_reason.label(),
        "http_status": record.status,
        "estimated": record.estimated,
        "price_unknown": record.price_unknown,
        "cost_nano_usd": record.cost.0,
        "saved_cache_cost": record.context.cache_hit.as_ref().map(|hit| hit.saved.dollars()),
    })
}

/// OpenAI's usage object.
fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total(),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read, "audio_tokens": usage.prompt_audio,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning, "audio_tokens": usage.completion_audio,
        },
        "cache_creation_input_tokens": usage.cache_write.saturating_add(usage.cache_write_1h),
        "cache_read_input_tokens": usage.cache_read,
    })
}
