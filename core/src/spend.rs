//! The record of one admitted request: what was used, what it cost, how it ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::Step;
use crate::endpoint::Endpoint;
use crate::escrow::Pid;
use crate::ids::{CallId, KeyHash};
use crate::money::NanoUsd;
use crate::time::WallMs;
use crate::transcript::Texts;
use crate::usage::Usage;

/// One row of the ledger. Written to the journal before the request counts as ended and stored
/// once, by `call_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpendRecord {
    /// Identity, made before dispatch.
    pub call_id: CallId,
    /// The provider's response id where it gave one: LiteLLM's `request_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// Whether the client asked for a stream.
    #[serde(default)]
    pub stream: bool,
    /// Who pays.
    #[serde(default)]
    pub payer: Payer,
    /// Name the client asked for, after aliases: LiteLLM's `model_group`.
    pub model_group: String,
    /// Deployment that gave the answer; empty when none was reached.
    #[serde(default)]
    pub deployment_id: String,
    /// The provider's name of the model.
    #[serde(default)]
    pub model: String,
    /// Provider, LiteLLM's `custom_llm_provider`.
    #[serde(default)]
    pub provider: String,
    /// Base URL without credentials.
    #[serde(default)]
    pub api_base: String,
    /// Region of the node that served it; `None` where nodes are not told theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When the request arrived.
    pub started: WallMs,
    /// When it ended.
    pub ended: WallMs,
    /// When the first content byte left; `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<WallMs>,
    /// What was consumed.
    pub usage: Usage,
    /// What it cost.
    pub cost: NanoUsd,
    /// The model has no price: `cost` is not known to be zero.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub price_unknown: bool,
    /// Usage was counted from content or bounds because the provider's figure never came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// How it ended.
    pub end_reason: EndReason,
    /// HTTP status the client saw (499 when it had left before one was sent).
    pub status: u16,
    /// Upstream sends made for this request.
    #[serde(default)]
    pub attempts: u32,
    /// Facts from the request that reports group by.
    #[serde(default)]
    pub context: RequestContext,
    /// Error text shown to the client, without secrets or prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked and answered, where such texts are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Box<Texts>>,
}

/// Scopes that a request is charged to. Absent ones are not charged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payer {
    /// Virtual key; `None` for the master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
    /// The key's alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alias: Option<String>,
    /// The key's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The key's team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// The key's organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// The caller's own customer, from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_user: Option<String>,
}

impl Payer {
    /// Nobody: the master key without a customer.
    pub const fn nobody() -> Self {
        Self {
            key: None,
            key_alias: None,
            user_id: None,
            team_id: None,
            organization_id: None,
            end_user: None,
        }
    }
}

/// Descriptive facts of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestContext {
    /// Tags from body, header and key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Conversation or trace the request belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// `User-Agent` of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// `metadata.spend_logs_metadata` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_logs_metadata: Option<Value>,
    /// The cached answer that it got; `None` when the answer is a provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<CacheHit>,
    /// Whose a stored response is, where that is not the paying key itself: a key that was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lineage: Option<KeyHash>,
    /// Periods of shared budgets that it is charged to: what a recovery settles it in. The
    /// ledger does not keep them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub periods: Vec<Pid>,
    /// The same of budgets that pay a part of it: of deployments that did not answer in time, and
    /// of those that answered behind them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub periods_in_part: Vec<(Pid, NanoUsd)>,
    /// What it has to do with a batch at a provider; `None` for nearly all requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Step>,
}

/// Deepest `spend_logs_metadata` that is kept. Readers of JSON give up at 128 levels, and with the
/// metadata the whole record would be lost, cost and all.
const METADATA_LEVELS_MAX: usize = 32;

/// Metadata that every reader of a record can read; `None` when it is nested too deeply.
pub fn kept_metadata(metadata: Value) -> Option<Value> {
    is_shallow(&metadata, METADATA_LEVELS_MAX).then_some(metadata)
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_shallow(item, below)),
        Value::Object(fields) => fields.values().all(|field| is_shallow(field, below)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

impl RequestContext {
    /// Whether a reader of JSON can read it back, wherever it stands.
    pub fn is_readable(&self) -> bool {
        let metadata = self.spend_logs_metadata.as_ref();
        metadata.is_none_or(|metadata| is_shallow(metadata, METADATA_LEVELS_MAX))
    }
}

/// An answer from the response cache: it cost nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheHit {
    /// Its key, 64 hex digits.
    pub key: String,
    /// What it would have cost.
    pub saved: NanoUsd,
}

/// Why a request ended: the rows of the termination table (`docs/TERMINATION.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The provider's answer was delivered whole, whatever its status.
    Complete,
    /// The client left before the first byte of the answer.
    ClientGoneBeforeFirstByte,
    /// The client left in the middle of the answer.
    ClientGoneMidStream,
    /// The provider closed or reset the connection in the middle.
    UpstreamReset,
    /// The provider sent nothing for longer than the stall timeout.
    Stall,
    /// The provider reported an error inside a started stream.
    ProviderError,
    /// No provider could be reached or every attempt failed before an answer began.
    UpstreamFailed,
    /// A deadline passed before the answer began.
    Timeout,
    /// The budget was used up while the answer was streaming.
    BudgetCut,
    /// The key or a scope of it was blocked or deleted while the answer was streaming.
    Revoked,
    /// The gateway itself failed on this request.
    InternalError,
    /// The process died during the request; settled at recovery from the reservation.
    Crashed,
}

impl EndReason {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Complete,
        Self::ClientGoneBeforeFirstByte,
        Self::ClientGoneMidStream,
        Self::UpstreamReset,
        Self::Stall,
        Self::ProviderError,
        Self::UpstreamFailed,
        Self::Timeout,
        Self::BudgetCut,
        Self::Revoked,
        Self::InternalError,
        Self::Crashed,
    ];

    /// Metric label and ledger text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGoneBeforeFirstByte => "client_gone_before_first_byte",
            Self::ClientGoneMidStream => "client_gone_mid_stream",
            Self::UpstreamReset => "upstream_reset",
            Self::Stall => "stall",
            Self::ProviderError => "provider_error",
            Self::UpstreamFailed => "upstream_failed",
            Self::Timeout => "timeout",
            Self::BudgetCut => "budget_cut",
            Self::Revoked => "revoked",
            Self::InternalError => "internal_error",
            Self::Crashed => "crashed",
        }
    }
}
