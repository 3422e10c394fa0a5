//! An error as the ledger keeps it: without what a provider may have quoted of the prompt.

use super::{GatewayError, UpstreamError};

/// Longest `type` or `code` that is kept, in bytes; longer ones are sentences.
const WORD_BYTES_MAX: usize = 64;

impl GatewayError {
    /// The text for the ledger. A provider's own message may quote the prompt: only with
    /// `with_message` is it kept, else its class, status, type and code alone.
    pub fn ledger_text(&self, with_message: bool) -> String {
        match self {
            Self::Upstream(error) if !with_message => error.without_message(),
            other => other.to_string(),
        }
    }
}

impl UpstreamError {
    /// LiteLLM's classes and the provider's code words: `litellm.RateLimitError: RateLimitError:
    /// OpenAIException - status=429 type=requests code=rate_limit_exceeded`.
    fn without_message(&self) -> String {
        let classes = self
            .message
            .split_once(" - ")
            .map_or("", |(front, _)| front);
        let mut text = format!("{classes} - status={}", self.status);
        for (name, word) in [("type", &self.kind), ("code", &self.code)] {
            if let Some(word) = word.as_deref().filter(|word| is_word(word)) {
                text.push_str(&format!(" {name}={word}"));
            }
        }
        text
    }
}

fn is_word(text: &str) -> bool {
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.len() <= WORD_BYTES_MAX && text.bytes().all(in_word)
}
