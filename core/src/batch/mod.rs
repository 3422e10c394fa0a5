//! Batches that lie at a provider: what one says of itself, what its output used, and the records
//! that bill it.

mod lines;
mod message;
mod requests;
mod tally;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use lines::{Cut, LINE_BYTES_MAX, Line, Lines};
pub use message::{MessageBatch, with_own_results};
pub use requests::{MODELS_MAX, REQUESTS_MAX, Requests};
pub use tally::{Part, Priced, Tally};

use crate::endpoint::Endpoint;
use crate::ids::CallId;
use crate::meter::usage;
use crate::routes::{self, Target};
use crate::spend::{EndReason, SpendRecord};
use crate::time::WallMs;
use crate::usage::Usage;
use crate::wire::json::{self, Value};

/// Longest name of a model or id that is kept.
const NAME_BYTES_MAX: usize = 256;
/// Longest id of a file that is asked for.
const FILE_BYTES_MAX: usize = 1_024;

/// What a record has to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The request that made it: what it uses is billed later.
    Made,
    /// The bill of what it used of one model; the store takes it once.
    Used,
}

/// A batch as its provider shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Nothing more will be used.
    pub is_final: bool,
    /// What its lines ask for.
    pub endpoint: Endpoint,
    /// The model of all its lines, where the provider says so.
    pub model: Option<String>,
    /// What all its lines used, where the provider says so.
    pub usage: Option<Usage>,
    /// The file that has its answers; partial ones too, of a batch that expired or was cancelled.
    pub output: Output,
}

/// Where the answers of a batch lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// It has none.
    None,
    /// This file, as it stands in a path.
    File(String),
    /// What is told cannot be asked for: nobody knows what it used.
    Unusable,
}

impl Batch {
    /// Reads the provider's object; `None` when it is none of a batch.
    pub fn read(body: &[u8]) -> Option<Self> {
        let object = json::whole(body).ok()?;
        let text = |name: &[u8]| {
            let text = object.field(name)?.text().map(Cow::into_owned)?;
            (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then_some(text)
        };
        let reported = object
            .field(b"usage")
            .filter(|usage| usage.kind == json::Kind::Object);
        let reported = reported.map(usage::inclusive);
        Some(Self {
            is_final: is_final(&text(b"status")?),
            endpoint: text(b"endpoint").map_or(Endpoint::ChatCompletions, |path| of_path(&path)),
            model: text(b"model"),
            usage: reported.filter(|usage| usage.total() > 0),
            output: output(object.field(b"output_file_id")),
        })
    }
}

fn output(id: Option<Value<'_>>) -> Output {
    let Some(id) = id.filter(|id| id.kind != json::Kind::Null) else {
        return Output::None;
    };
    match id.text().map(Cow::into_owned) {
        Some(id) if id.is_empty() => Output::None,
        Some(id) => segment(&id).map_or(Output::Unusable, Output::File),
        None => Output::Unusable,
    }
}

/// A file's id as a part of a path: what providers use besides plain letters is encoded.
fn segment(id: &str) -> Option<String> {
    if id.len() > FILE_BYTES_MAX || id.starts_with('.') {
        return None;
    }
    let mut segment = String::with_capacity(id.len());
    for letter in id.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' => segment.push(letter),
            '=' => segment.push_str("%3D"),
            '/' => segment.push_str("%2F"),
            '+' => segment.push_str("%2B"),
            _ => return None,
        }
    }
    Some(segment)
}

/// Whether an answer to a read says that nothing more will be used.
pub fn is_over(body: &[u8]) -> bool {
    let Ok(object) = json::whole(body) else {
        return false;
    };
    let status = object.field(b"status").and_then(Value::text);
    status.is_some_and(|status| is_final(&status)) || message::is_ended(object)
}

/// States after which a provider does nothing more for a batch. One that nobody knows is none.
fn is_final(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "expired" | "cancelled")
}

/// Whether a text can stand in a path.
pub fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && !id.starts_with('.') && id.bytes().all(plain)
}

/// The endpoint of a batch's lines; what is not known is read like chat, whose usage most have.
fn of_path(path: &str) -> Endpoint {
    match routes::resolve("POST", path).map(|found| found.target) {
        Ok(Target::Inference(endpoint)) => endpoint,
        _ => Endpoint::ChatCompletions,
    }
}

/// The records that bill a batch, one for each model: `made` is the record of the request that
/// made it, whose payer pays. Ids follow from batch and deployment, so that whoever makes them
/// makes the same.
pub fn bill(made: &SpendRecord, parts: Vec<Part>, now: WallMs) -> Vec<SpendRecord> {
    let id = made.response_id.as_deref().unwrap_or_default();
    let record = |(number, part): (usize, Part)| {
        let mut record = SpendRecord {
            call_id: call_id(id, &made.deployment_id, number),
            model_group: part.model_group,
            model: part.model,
            started: now,
            ended: now,
            first_byte: None,
            usage: part.usage,
            cost: part.cost,
            price_unknown: part.price_unknown,
            estimated: part.estimated,
            end_reason: EndReason::Complete,
            status: 200,
            attempts: 0,
            error: None,
            texts: None,
            ..made.clone()
        };
        record.context.batch = Some(Step::Used);
        record.context.periods = Vec::new();
        record.context.periods_in_part = Vec::new();
        record
    };
    parts.into_iter().enumerate().map(record).collect()
}

fn call_id(batch: &str, deployment: &str, number: usize) -> CallId {
    let mut digest = Sha256::new();
    for part in ["batch", batch, deployment, &number.to_string()] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    CallId::from_bytes(bytes)
}

#[cfg(test)]
mod tests;
