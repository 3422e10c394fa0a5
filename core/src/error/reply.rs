//! An error as HTTP, in either dialect's envelope.

use serde_json::{Value, json};

use crate::endpoint::Dialect;

/// An error as HTTP: what the table below says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorReply {
    /// HTTP status.
    pub status: u16,
    /// OpenAI `error.type`; empty is null.
    pub kind: String,
    /// OpenAI `error.param`; LiteLLM writes the string `None` for auth errors.
    pub param: Option<String>,
    /// Text.
    pub message: String,
    /// Name and text shown under `provider_specific_fields`: the upstream's own code.
    pub specific: Option<(&'static str, String)>,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl ErrorReply {
    /// The JSON body in the caller's dialect. `request_id` goes into Anthropic's envelope.
    pub fn body(&self, dialect: Dialect, request_id: &str) -> Vec<u8> {
        let value = match dialect {
            Dialect::OpenAi => self.openai_body(),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_kind(self.status), "message": self.message},
                "request_id": request_id,
            }),
        };
        value.to_string().into_bytes()
    }

    fn openai_body(&self) -> Value {
        // The framework under LiteLLM answers these two itself.
        if matches!(self.message.as_str(), "Not Found" | "Method Not Allowed") {
            return json!({"detail": self.message});
        }
        let kind = if self.kind.is_empty() {
            Value::Null
        } else {
            json!(self.kind)
        };
        let mut error = json!({
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.status.to_string(),
        });
        if let Some((name, text)) = &self.specific {
            error["provider_specific_fields"] = json!({*name: text});
        }
        json!({"error": error})
    }
}

/// Anthropic's `error.type` for a status.
pub fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// LiteLLM's exception class for an upstream status.
pub fn exception_class(status: u16) -> &'static str {
    match status {
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        408 => "Timeout",
        422 => "UnprocessableEntityError",
        429 => "RateLimitError",
        400..=499 => "BadRequestError",
        502 => "BadGatewayError",
        503 => "ServiceUnavailableError",
        500 => "InternalServerError",
        _ => "APIError",
    }
}
