//! What the gateway itself writes into a stream: keepalives and honest endings.

use serde_json::{Value, json};

use crate::endpoint::{Dialect, Endpoint};
use crate::error::ErrorReply;
use crate::meter::Meter;
use crate::spend::EndReason;

/// An event that every client of the dialect ignores.
pub fn keepalive_bytes(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::OpenAi => b": keepalive\n\n",
        Dialect::Anthropic => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
    }
}

/// The error that tells a client why its stream ends early. `Complete` and the reasons that
/// leave nobody to tell get the gateway's own error.
pub fn abort_reply(reason: EndReason) -> ErrorReply {
    let (status, kind, message) = match reason {
        EndReason::UpstreamReset => (
            502,
            "upstream_error",
            "The provider closed the stream before the answer was complete.",
        ),
        EndReason::Stall => (
            504,
            "timeout_error",
            "The provider sent nothing for too long; the answer is incomplete.",
        ),
        EndReason::Timeout => (
            504,
            "timeout_error",
            "The time limit of this request passed; the answer is incomplete.",
        ),
        EndReason::BudgetCut => (
            429,
            "budget_exceeded",
            "Budget has been exceeded! The answer is incomplete.",
        ),
        EndReason::Revoked => (
            401,
            "auth_error",
            "The key was blocked or deleted; the answer is incomplete.",
        ),
        EndReason::ProviderError | EndReason::UpstreamFailed => (
            502,
            "upstream_error",
            "The provider failed; the answer is incomplete.",
        ),
        EndReason::Complete
        | EndReason::ClientGoneBeforeFirstByte
        | EndReason::ClientGoneMidStream
        | EndReason::InternalError
        | EndReason::Crashed => (
            500,
            "internal_server_error",
            "Internal server error; the answer is incomplete.",
        ),
    };
    ErrorReply {
        status,
        kind: kind.to_owned(),
        param: None,
        message: message.to_owned(),
        specific: None,
        retry_after_s: None,
    }
}

/// Appends the error event of the endpoint's dialect.
pub(super) fn write_error(
    bytes: &mut Vec<u8>,
    endpoint: Endpoint,
    error: &ErrorReply,
    request_id: &str,
    meter: &Meter,
) {
    let is_response = matches!(endpoint, Endpoint::Responses | Endpoint::ResponsesItem);
    match endpoint.dialect() {
        Dialect::Anthropic => {
            bytes.extend_from_slice(b"event: error\n");
            write_line(bytes, &error.body(Dialect::Anthropic, request_id));
        }
        Dialect::OpenAi if is_response => write_failed_response(bytes, error, meter),
        Dialect::OpenAi => write_line(bytes, &error.body(Dialect::OpenAi, request_id)),
    }
}

/// Both events that OpenAI sends for a response that fails while it streams.
fn write_failed_response(bytes: &mut Vec<u8>, error: &ErrorReply, meter: &Meter) {
    let sequence = meter.next_sequence();
    let facts = meter.facts();
    let code = if error.kind.is_empty() {
        "server_error"
    } else {
        &error.kind
    };
    let event = json!({
        "type": "error",
        "sequence_number": sequence,
        "code": code,
        "message": error.message,
        "param": error.param,
        "error": {
            "type": code,
            "code": code,
            "message": error.message,
            "param": error.param,
        },
    });
    bytes.extend_from_slice(b"event: error\n");
    write_line(bytes, event.to_string().as_bytes());
    let event = json!({
        "type": "response.failed",
        "sequence_number": sequence.saturating_add(1),
        "response": {
            "id": facts.response_id.as_deref().unwrap_or_default(),
            "object": "response",
            "created_at": meter.created_at().unwrap_or_default(),
            "status": "failed",
            "error": {"code": code, "message": error.message},
            "incomplete_details": Value::Null,
            "model": facts.model.as_deref().unwrap_or_default(),
            "output": [],
            "usage": Value::Null,
        },
    });
    bytes.extend_from_slice(b"event: response.failed\n");
    write_line(bytes, event.to_string().as_bytes());
}

fn write_line(bytes: &mut Vec<u8>, json: &[u8]) {
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(json);
    bytes.extend_from_slice(b"\n\n");
}
