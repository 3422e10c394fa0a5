//! What the provider served, request by request: the truth that ledgers are compared with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::Usage;

/// Recorded request bytes kept before the oldest are let go.
const RECORDED_BYTES_MAX: usize = 1 << 30;

/// How an exchange ended, as the provider saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Running,
    /// The whole answer was written.
    Complete,
    /// A scripted fault ended it.
    Faulted,
    /// The client ended its connection (FIN) before the answer was out.
    ClientClosed,
    /// The client reset its connection or stream before the answer was out.
    ClientReset,
}

/// One request as received: exact bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Request line and headers up to the blank line. For h2 a rendering, one field per line.
    pub head: Bytes,
    /// The body without framing.
    pub body: Bytes,
}

impl Recorded {
    /// A header's value, by name without regard to case.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.head);
        let mut fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(held, _)| held.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Number of the request, from 1 in order of arrival; ids in answers carry it.
    pub seq: u64,
    /// Number of the connection it came on.
    pub connection: u64,
    /// `user`, `metadata.user_id`, `metadata.marker` or the header `x-marker`.
    pub marker: Option<String>,
    /// Method.
    pub method: String,
    /// Request target with its query.
    pub target: String,
    /// Model named in the body or path.
    pub model: String,
    /// Whether it came over h2.
    pub h2: bool,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Status answered.
    pub status: u16,
    /// Tokens that the answer claims (and reports, unless scripted otherwise).
    pub usage: Usage,
    /// Completion tokens whose bytes were handed to the network.
    pub sent_tokens: u64,
    /// Pieces of the body written whole.
    pub sent_pieces: usize,
    /// Body bytes written.
    pub sent_bytes: usize,
    /// How it ended.
    pub end: End,
    /// When the request had arrived.
    pub started: Instant,
    /// When it ended: for a client that went away, when that was noticed.
    pub ended: Option<Instant>,
    /// The request itself, when recording is on.
    pub request: Option<Recorded>,
}

impl Row {
    /// Milliseconds from arrival to the end; `None` while it runs.
    pub fn took_ms(&self) -> Option<u64> {
        Some(self.ended?.duration_since(self.started).as_millis() as u64)
    }

    /// Whether the client went away before the answer was out.
    pub fn cancelled(&self) -> bool {
        matches!(self.end, End::ClientClosed | End::ClientReset)
    }

    fn json(&self) -> Value {
        json!({
            "seq": self.seq, "connection": self.connection, "marker": self.marker,
            "method": self.method, "target": self.target, "model": self.model, "h2": self.h2,
            "stream": self.stream, "status": self.status, "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion, "cached_tokens": self.usage.cached,
            "cache_write_tokens": self.usage.cache_write,
            "reasoning_tokens": self.usage.reasoning, "sent_tokens": self.sent_tokens,
            "sent_pieces": self.sent_pieces, "sent_bytes": self.sent_bytes,
            "end": end_name(self.end), "took_ms": self.took_ms(),
        })
    }
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Running => "running",
        End::Complete => "complete",
        End::Faulted => "faulted",
        End::ClientClosed => "client_closed",
        End::ClientReset => "client_reset",
    }
}

/// Sums over all requests since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub connections: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Answers written whole.
    pub complete: u64,
    /// Exchanges that the client left.
    pub cancels: u64,
    /// Requests refused for their credential.
    pub refused: u64,
    /// Prompt tokens of answers below status 400.
    pub prompt_tokens: u64,
    /// Completion tokens claimed by answers that were written whole.
    pub completion_tokens: u64,
    /// Completion tokens written.
    pub sent_tokens: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes written.
    pub bytes_out: u64,
}

impl Totals {
    fn json(&self) -> Value {
        json!({
            "connections": self.connections, "requests": self.requests,
            "complete": self.complete, "cancels": self.cancels, "refused": self.refused,
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
            "sent_tokens": self.sent_tokens, "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        })
    }
}

/// How far an answer got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) pieces: usize,
    pub(crate) tokens: u64,
    pub(crate) bytes: usize,
}

/// Counts and rows, shared by all connections.
#[derive(Debug, Default)]
pub struct Meter {
    kept: Mutex<Kept>,
    connections: AtomicU64,
    seq: AtomicU64,
    rows_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    rows: VecDeque<Row>,
    recorded_bytes: usize,
    totals: Totals,
}

impl Meter {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows_max,
            ..Self::default()
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn connection(&self) -> u64 {
        self.kept().totals.connections += 1;
        self.connections.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn begin(&self, row: Row, body_bytes: usize) {
        let mut kept = self.kept();
        kept.totals.requests += 1;
        kept.totals.bytes_in += body_bytes as u64;
        if row.status == 401 {
            kept.totals.refused += 1;
        }
        if row.status < 400 {
            kept.totals.prompt_tokens += row.usage.prompt;
        }
        if self.rows_max == 0 {
            return;
        }
        kept.recorded_bytes += row
            .request
            .as_ref()
            .map_or(0, |r| r.head.len() + r.body.len());
        kept.rows.push_back(row);
        while kept.rows.len() > self.rows_max || kept.recorded_bytes > RECORDED_BYTES_MAX {
            let Some(oldest) = kept.rows.pop_front() else {
                break;
            };
            let bytes = oldest.request.map_or(0, |r| r.head.len() + r.body.len());
            kept.recorded_bytes -= bytes;
        }
    }

    pub(crate) fn finish(&self, seq: u64, usage: Usage, progress: Progress, end: End) {
        let ended = Instant::now();
        let mut kept = self.kept();
        kept.totals.sent_tokens += progress.tokens;
        kept.totals.bytes_out += progress.bytes as u64;
        match end {
            End::Complete => {
                kept.totals.complete += 1;
                kept.totals.completion_tokens += usage.completion;
            }
            End::ClientClosed | End::ClientReset => kept.totals.cancels += 1,
            End::Running | End::Faulted => {}
        }
        // The row is near the end: requests finish in about the order they came.
        if let Some(row) = kept.rows.iter_mut().rev().find(|row| row.seq == seq) {
            row.sent_tokens = progress.tokens;
            row.sent_pieces = progress.pieces;
            row.sent_bytes = progress.bytes;
            row.end = end;
            row.ended = Some(ended);
        }
    }

    /// All rows kept, oldest first.
    pub fn rows(&self) -> Vec<Row> {
        self.kept().rows.iter().cloned().collect()
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        self.kept().totals
    }

    /// Forgets rows and sums; numbers go on.
    pub fn reset(&self) {
        *self.kept() = Kept::default();
    }

    /// Sums and, if wanted, rows as JSON.
    pub fn json(&self, with_rows: bool) -> Value {
        let kept = self.kept();
        let mut value = json!({"totals": kept.totals.json()});
        if with_rows {
            value["rows"] = kept.rows.iter().map(Row::json).collect();
        }
        value
    }
}
