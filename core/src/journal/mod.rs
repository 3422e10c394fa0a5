//! What the journal says about a request, and what it cost when the process died during it.
//!
//! A request leaves an `Open` before it is dispatched, any number of `Progress` while it streams
//! and its `SpendRecord` (CLOSE) when it ends. `frame` turns these into bytes and back.

pub mod frame;
mod payload;

use serde::{Deserialize, Serialize};

use crate::batch::Step;
use crate::escrow::{Pid, Row};
use crate::money::NanoUsd;
use crate::spend::{EndReason, SpendRecord};
use crate::time::WallMs;
use crate::usage::Usage;

/// Tokens that the rates of `Rates` are quoted for.
const TOKENS_PER_RATE: i128 = 1_000_000;

/// A stream's progress is written before the client has this many more output tokens than the
/// last progress said.
pub const PROGRESS_TOKENS: u64 = 64;

/// A place in one node's journal. A consumer's cursor is the first byte it has not taken over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Segment, named by the millisecond it was begun in; grows.
    pub segment: u64,
    /// Bytes from the start of the segment.
    pub offset: u64,
}

/// Written before a request is dispatched: enough to settle it if nobody else can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The record as far as it is known; usage, cost and ending are filled in at recovery.
    pub record: SpendRecord,
    /// What the request may consume.
    pub bound: Bound,
}

/// The row of this node in a period of a shared budget, as it was when this was written: what it
/// has settled is what was closed in the journal before. Recovery merges them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Which period.
    pub pid: Pid,
    /// All cells.
    pub row: Row,
}

/// The reservation of a request, in the terms that recovery needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bound {
    /// Estimated input tokens.
    pub prompt_tokens: u64,
    /// Output tokens that were reserved.
    pub completion_tokens_max: u64,
    /// Cost of the whole reservation.
    pub reserved: NanoUsd,
    /// Prices of the deployment that the reservation was made for.
    pub rates: Rates,
}

/// Prices per million tokens, so that a price below one nano-dollar per token stays exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Nano-dollars for a million input tokens.
    pub prompt_nano_per_mtok: i64,
    /// Nano-dollars for a million output tokens.
    pub completion_nano_per_mtok: i64,
}

impl Rates {
    /// Cost of a number of tokens, rounded up to a whole nano-dollar.
    pub fn cost(self, prompt: u64, completion: u64) -> NanoUsd {
        let exact = i128::from(prompt) * i128::from(self.prompt_nano_per_mtok)
            + i128::from(completion) * i128::from(self.completion_nano_per_mtok);
        let whole = exact.div_euclid(TOKENS_PER_RATE);
        let rounded = whole + i128::from(exact.rem_euclid(TOKENS_PER_RATE) != 0);
        NanoUsd(i64::try_from(rounded).unwrap_or(i64::MAX))
    }
}

/// How far a running request has come. Absolute, so that the last one is the only one that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// When this was true.
    pub at: WallMs,
    /// Output tokens so far, counted from content.
    pub completion_tokens: u64,
    /// Input tokens, once the provider has said them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// When the first content byte left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<WallMs>,
    /// The provider's response id, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Where the answer comes from, when it is not what `Open` said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<ServedBy>,
}

/// The deployment that a request was sent to after `Open` was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServedBy {
    /// Deployment.
    pub deployment_id: String,
    /// The provider's name of the model.
    pub model: String,
    /// Provider.
    pub provider: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_base: String,
    /// Prices of this deployment.
    pub rates: Rates,
}

/// The record of a request that was running when the process died.
///
/// A stream is charged what its last progress frame says, nothing if there is none, and what may
/// have come after it: one `PROGRESS_TOKENS`, within what the request allowed. Also before its
/// first content, which a provider bills when it is made, not when it is read.
/// Anything else is charged its whole reservation: its answer, if there was one, cannot be known.
/// `ended` is the last moment that it was seen, else `now`. Always `estimated`.
pub fn orphan_settlement(open: &Open, progress: Option<&Progress>, now: WallMs) -> SpendRecord {
    let Open { record, bound } = open;
    let mut record = record.clone();
    let mut rates = bound.rates;
    let mut prompt = bound.prompt_tokens;
    record.status = 500;
    record.ended = now.max(record.started);
    if let Some(progress) = progress {
        prompt = progress.prompt_tokens.unwrap_or(prompt);
        record.ended = progress.at.max(record.started);
        record.first_byte = progress.first_byte.or(record.first_byte);
        record.response_id = progress.response_id.clone().or(record.response_id);
        if let Some(served_by) = &progress.served_by {
            record.deployment_id = served_by.deployment_id.clone();
            record.model = served_by.model.clone();
            record.provider = served_by.provider.clone();
            record.api_base = served_by.api_base.clone();
            rates = served_by.rates;
        }
    }
    let completion = match record.stream {
        true => {
            let noted = progress.map_or(0, |progress| progress.completion_tokens);
            let allowed = bound.completion_tokens_max.max(noted);
            noted.saturating_add(PROGRESS_TOKENS - 1).min(allowed)
        }
        false => bound.completion_tokens_max,
    };
    if record.first_byte.is_some() {
        record.status = 200;
    }
    let is_batch = record.endpoint.has_batches() && record.response_id.is_some();
    if is_batch {
        // The provider works on it; what it uses is billed when it is over.
        record.status = 200;
        record.context.batch = Some(Step::Made);
    }
    record.cost = match record.stream {
        true => rates.cost(prompt, completion),
        false if is_batch => NanoUsd::ZERO,
        false => bound.reserved,
    };
    record.usage = Usage {
        prompt,
        completion,
        ..Usage::default()
    };
    record.estimated = true;
    record.end_reason = EndReason::Crashed;
    record
}

#[cfg(test)]
mod tests;
