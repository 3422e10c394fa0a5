//! A Message Batch of Anthropic's: how it stands, and where its results are.

use std::ops::Range;

use memchr::memmem;

use crate::wire::json::{self, Kind, Value};

/// State in which nothing more is used.
const ENDED: &str = "ended";
/// How the path of a batch begins, wherever it is served.
const PATH: &[u8] = b"/v1/messages/batches/";

/// A Message Batch as its provider shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageBatch {
    /// Nothing more will be used.
    pub is_over: bool,
    /// At least one request was answered, or nobody says how many were.
    pub was_used: bool,
}

impl MessageBatch {
    /// Reads the provider's object; `None` when it is none of a batch.
    pub fn read(body: &[u8]) -> Option<Self> {
        let object = json::whole(body).ok()?;
        let status = object.field(b"processing_status")?.text()?;
        let counts = object.field(b"request_counts");
        let succeeded = counts.and_then(|counts| counts.field(b"succeeded")?.count());
        Some(Self {
            is_over: status == ENDED,
            was_used: succeeded != Some(0),
        })
    }
}

/// Whether a state is the last one.
pub(super) fn is_ended(object: Value<'_>) -> bool {
    let status = object.field(b"processing_status").and_then(Value::text);
    status.is_some_and(|status| status == ENDED)
}

/// An answer in which `results_url` of a batch, or of each batch of a list, is a path of whoever
/// gives it: SDKs fetch results from where it says, with the caller's key of the gateway. `None`
/// where there is nothing to change.
pub fn with_own_results(body: &[u8]) -> Option<Vec<u8>> {
    let object = json::whole(body).ok()?;
    let mut cuts: Vec<Range<usize>> = Vec::new();
    let mut note = |batch: Value<'_>| {
        let url = batch
            .field(b"results_url")
            .filter(|url| matches!(url.kind, Kind::String(_)));
        let cut = url.and_then(|url| {
            let behind = memmem::find(url.raw, PATH)?;
            let start = url.raw.as_ptr().addr() - body.as_ptr().addr();
            Some(start + 1..start + behind)
        });
        cuts.extend(cut.filter(|cut| cut.start < cut.end));
    };
    match object
        .field(b"data")
        .filter(|list| list.kind == Kind::Array)
    {
        Some(list) => list.items().for_each(note),
        None => note(object),
    }
    if cuts.is_empty() {
        return None;
    }
    let mut changed = Vec::with_capacity(body.len());
    let mut from = 0;
    for cut in cuts {
        changed.extend_from_slice(body.get(from..cut.start).unwrap_or_default());
        from = cut.end;
    }
    changed.extend_from_slice(body.get(from..).unwrap_or_default());
    Some(changed)
}
