//! Rows of LiteLLM's spend log as records of the ledger.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::row::{Refused, Row};
use crate::endpoint::Endpoint;
use crate::ids::{CallId, KeyHash};
use crate::money::NanoUsd;
use crate::spend::{CacheHit, EndReason, Payer, RequestContext, SpendRecord, kept_metadata};
use crate::time::WallMs;
use crate::usage::Usage;

/// The table.
pub const LOG_TABLE: &str = "LiteLLM_SpendLogs";
/// Columns that are read. Prompts and answers stay where they are.
pub const LOG_COLUMNS: [&str; 24] = [
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "api_base",
    "user",
    "request_tags",
    "team_id",
    "organization_id",
    "end_user",
    "session_id",
    "status",
    "requester_ip_address",
    "cache_hit",
    "cache_key",
];
/// Fields of `metadata` that are read.
pub const LOG_METADATA: [&str; 6] = [
    "user_api_key_alias",
    "usage_object",
    "additional_usage_values",
    "error_information",
    "spend_logs_metadata",
    "attempted_retries",
];

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Log {
    /// A request.
    Record(Box<SpendRecord>),
    /// A call of a kind that Meridian does not serve, and its cost.
    Foreign(String, NanoUsd),
}

/// Reads a row of the log. Its call id follows from its request id, so that a row that is read
/// twice is stored once.
///
/// # Errors
/// When a column holds what cannot be counted.
pub fn log_record(id: &str, fields: Map<String, Value>) -> Result<Log, Refused> {
    let mut row = Row::new(LOG_TABLE, id, fields);
    let request_id = row.required("request_id")?;
    let call_type = row.required("call_type")?;
    let cost = row.spent("spend")?;
    let Some(endpoint) = endpoint_of_call(&call_type) else {
        return Ok(Log::Foreign(call_type, cost));
    };
    let started = match row.moment("startTime")? {
        Some(started) => started,
        None => return Err(row.refuse("startTime", "is empty")),
    };
    let ended = row.moment("endTime")?.unwrap_or(started).max(started);
    let first_byte = row.moment("completionStartTime")?;
    let metadata = row.object("metadata")?;
    let failed = row.text("status")?.as_deref() == Some("failure");
    let (end_reason, status, error) = outcome(failed, &metadata);
    let text = |row: &mut Row, column: &str| row.text(column).map(Option::unwrap_or_default);
    Ok(Log::Record(Box::new(SpendRecord {
        call_id: call_id(&request_id, started),
        response_id: Some(request_id),
        endpoint,
        stream: false,
        payer: payer(&mut row, &metadata)?,
        model_group: text(&mut row, "model_group")?,
        deployment_id: text(&mut row, "model_id")?,
        model: text(&mut row, "model")?,
        provider: text(&mut row, "custom_llm_provider")?,
        api_base: text(&mut row, "api_base")?,
        region: None,
        started,
        ended,
        first_byte: first_byte.filter(|at| (started..=ended).contains(at)),
        usage: usage(&mut row, &metadata)?,
        cost,
        price_unknown: false,
        estimated: false,
        end_reason,
        status,
        attempts: 1 + whole(&metadata, "attempted_retries").map_or(0, low),
        context: context(&mut row, &metadata)?,
        error,
        texts: None,
    })))
}

fn call_id(request_id: &str, started: WallMs) -> CallId {
    let digest: [u8; 32] = Sha256::digest(request_id.as_bytes()).into();
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    CallId::new(started, random)
}

fn low(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX - 1)
}

fn payer(row: &mut Row, metadata: &Map<String, Value>) -> Result<Payer, Refused> {
    let alias = metadata.get("user_api_key_alias").and_then(Value::as_str);
    Ok(Payer {
        // The master key stands there under a name of its own.
        key: row.text("api_key")?.as_deref().and_then(KeyHash::from_hex),
        key_alias: alias.map(str::to_owned),
        user_id: row.text("user")?,
        team_id: row.text("team_id")?,
        organization_id: row.text("organization_id")?,
        end_user: row.text("end_user")?,
    })
}

fn outcome(failed: bool, metadata: &Map<String, Value>) -> (EndReason, u16, Option<String>) {
    if !failed {
        return (EndReason::Complete, 200, None);
    }
    let error = metadata.get("error_information").and_then(Value::as_object);
    let code = error.and_then(|error| error.get("error_code"));
    let code = code.and_then(|code| match code {
        Value::String(text) => text.parse::<u16>().ok(),
        other => other.as_u64().and_then(|code| u16::try_from(code).ok()),
    });
    let class = error.and_then(|error| error.get("error_class")?.as_str());
    // The message may hold a part of the prompt.
    let class = class.filter(|class| !class.is_empty()).map(str::to_owned);
    let status = code.filter(|code| (400..600).contains(code)).unwrap_or(500);
    (EndReason::UpstreamFailed, status, class)
}

fn whole(fields: &Map<String, Value>, name: &str) -> Option<u64> {
    fields.get(name).and_then(Value::as_u64)
}

fn usage(row: &mut Row, metadata: &Map<String, Value>) -> Result<Usage, Refused> {
    let parts = ["usage_object", "additional_usage_values"];
    let parts = parts.map(|name| metadata.get(name).and_then(Value::as_object));
    let found = |name: &str| {
        let mut parts = parts.iter().flatten();
        parts.find_map(|part| whole(part, name))
    };
    let details = parts[0].and_then(|usage| usage.get("prompt_tokens_details")?.as_object());
    let cached = details.and_then(|details| whole(details, "cached_tokens"));
    let prompt = row.count("prompt_tokens")?.unwrap_or(0);
    let cache_read = found("cache_read_input_tokens").or(cached).unwrap_or(0);
    let cache_write = found("cache_creation_input_tokens").unwrap_or(0);
    Ok(Usage {
        // A part is never more than the whole.
        prompt: prompt.max(cache_read.saturating_add(cache_write)),
        cache_read,
        cache_write,
        completion: row.count("completion_tokens")?.unwrap_or(0),
        ..Usage::default()
    })
}

fn context(row: &mut Row, metadata: &Map<String, Value>) -> Result<RequestContext, Refused> {
    let noted = metadata.get("spend_logs_metadata");
    let cached = row.text("cache_hit")?.as_deref() == Some("True");
    let key = row.text("cache_key")?.unwrap_or_default();
    let cache_hit = cached.then_some(CacheHit {
        key,
        // LiteLLM does not say.
        saved: NanoUsd::ZERO,
    });
    Ok(RequestContext {
        tags: row.texts("request_tags")?,
        session_id: row.text("session_id")?,
        client_ip: row.text("requester_ip_address")?,
        user_agent: None,
        cache_hit,
        spend_logs_metadata: noted
            .filter(|value| !value.is_null())
            .cloned()
            .and_then(kept_metadata),
        lineage: None,
        periods: Vec::new(),
        periods_in_part: Vec::new(),
        batch: None,
    })
}

/// LiteLLM names a call by its function, with an `a` in front where it is asynchronous.
fn endpoint_of_call(call_type: &str) -> Option<Endpoint> {
    let same = |endpoint: &Endpoint| {
        let label = endpoint.label();
        label == call_type || label.strip_prefix('a') == Some(call_type)
    };
    let known = Endpoint::ALL.into_iter().find(same);
    known.or(match call_type {
        "aimage_edit" | "image_edit" | "aimage_variation" => Some(Endpoint::ImagesEdits),
        "acreate_file" | "afile_content" | "afile_retrieve" | "afile_list" | "afile_delete" => {
            Some(Endpoint::Files)
        }
        "acreate_batch" | "aretrieve_batch" | "alist_batches" | "acancel_batch" => {
            Some(Endpoint::Batches)
        }
        "aanthropic_messages" => Some(Endpoint::Messages),
        "adelete_responses" | "alist_input_items" => Some(Endpoint::ResponsesItem),
        _ => None,
    })
}

/// The endpoint of a path as LiteLLM's daily sums name it, with or without `/v1`.
pub(super) fn endpoint_of_path(path: &str) -> Option<Endpoint> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    match path.trim_matches('/') {
        "chat/completions" => Some(Endpoint::ChatCompletions),
        "completions" => Some(Endpoint::Completions),
        "embeddings" => Some(Endpoint::Embeddings),
        "responses" => Some(Endpoint::Responses),
        "messages" => Some(Endpoint::Messages),
        "moderations" => Some(Endpoint::Moderations),
        "images/generations" => Some(Endpoint::ImagesGenerations),
        "images/edits" => Some(Endpoint::ImagesEdits),
        "audio/speech" => Some(Endpoint::AudioSpeech),
        "audio/transcriptions" => Some(Endpoint::AudioTranscriptions),
        "rerank" => Some(Endpoint::Rerank),
        "files" => Some(Endpoint::Files),
        "batches" => Some(Endpoint::Batches),
        "messages/batches" => Some(Endpoint::MessageBatches),
        _ => None,
    }
}
