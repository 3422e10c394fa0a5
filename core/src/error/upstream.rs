//! An upstream's error answer, and what a client gets of it.

use super::ErrorReply;

/// An upstream's error answer, made readable in the client's dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamError {
    /// Status to the client.
    pub status: u16,
    /// LiteLLM's text: exception class, provider class, the upstream's message.
    pub message: String,
    /// The upstream's own `error.type`.
    pub kind: Option<String>,
    /// The upstream's own `error.param`.
    pub param: Option<String>,
    /// The upstream's own `error.code`.
    pub code: Option<String>,
    /// The upstream's `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl UpstreamError {
    pub(super) fn reply(&self) -> ErrorReply {
        ErrorReply {
            status: self.status,
            kind: self.kind.clone().unwrap_or_default(),
            param: self.param.clone(),
            message: self.message.clone(),
            specific: self.code.clone().map(|code| ("code", code)),
            retry_after_s: self.retry_after_s,
        }
    }
}
