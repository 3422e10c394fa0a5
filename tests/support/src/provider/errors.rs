//! Error bodies in the shape of each provider.

use serde_json::{Value, json};

use super::ask::{Family, Operation, Route};

/// The error body for a status.
pub(crate) fn body(family: Family, status: u16, seq: u64) -> Vec<u8> {
    let value = match family {
        Family::OpenAi => openai(status),
        Family::Azure => azure(status),
        Family::Anthropic => anthropic(status, seq),
    };
    value.to_string().into_bytes()
}

/// The error event inside a stream, or the error body where there is no stream format.
pub(crate) fn event(route: &Route) -> Vec<u8> {
    match route.operation {
        Operation::Messages => {
            let error = json!({"type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"}});
            format!("event: error\ndata: {error}\n\n")
        }
        Operation::Responses => {
            let error = json!({"type": "server_error", "code": "server_error",
                "message": "The server had an error processing your request.", "param": null});
            let event = json!({"type": "error", "sequence_number": 2, "error": error});
            let failed = json!({"type": "response.failed", "sequence_number": 3, "response":
                {"id": "resp_fake", "object": "response", "status": "failed", "error":
                {"code": "server_error", "message": error["message"]}, "output": [],
                "usage": null}});
            format!("event: error\ndata: {event}\n\nevent: response.failed\ndata: {failed}\n\n")
        }
        _ => format!("data: {}\n\n", openai(500)),
    }
    .into_bytes()
}

fn openai(status: u16) -> Value {
    let (kind, code, message) = match status {
        401 => (
            "invalid_request_error",
            json!("invalid_api_key"),
            "Incorrect API key provided: sk-fake****. You can find your API key in your account.",
        ),
        402 | 429 => (
            "requests",
            json!("rate_limit_exceeded"),
            "Rate limit reached for the fake model on requests per min (RPM): Limit 3, Used 3.",
        ),
        404 => (
            "invalid_request_error",
            json!("model_not_found"),
            "The model does not exist or you do not have access to it.",
        ),
        400..500 => (
            "invalid_request_error",
            Value::Null,
            "Invalid value in the request.",
        ),
        _ => (
            "server_error",
            Value::Null,
            "The server had an error processing your request. Sorry about that!",
        ),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

fn azure(status: u16) -> Value {
    match status {
        401 => json!({"statusCode": 401, "message":
            "Unauthorized. Access token is missing, invalid, or audience is incorrect."}),
        404 => json!({"error": {"code": "DeploymentNotFound", "message":
            "The API deployment for this resource does not exist."}}),
        429 => json!({"error": {"code": "429", "message":
            "Requests to the deployment have exceeded the call rate limit. Retry after 7 s."}}),
        _ => openai(status),
    }
}

fn anthropic(status: u16, seq: u64) -> Value {
    let (kind, message) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your credit balance is too low."),
        403 => (
            "permission_error",
            "Your API key may not use this resource.",
        ),
        404 => ("not_found_error", "model: unknown"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your rate limit.",
        ),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        400..500 => ("invalid_request_error", "Invalid value in the request."),
        _ => ("api_error", "Internal server error"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message},
        "request_id": format!("req_fake{seq}")})
}
