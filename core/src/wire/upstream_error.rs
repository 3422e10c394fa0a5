//! A provider's error answer: what it says, which class it is, and LiteLLM's text for it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::error::UpstreamError;
use crate::time::WallMs;
use crate::wire::retry_after::{delay_s, retry_after_s};
use crate::wire::scrub::scrub;

/// Most bytes of an error body that are read.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest message that is shown to a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Longest `type`, `code` or `param` that is shown, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// What kind of failure it is: decides retries and fallbacks and names LiteLLM's exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The provider refuses the deployment's credentials.
    Authentication,
    /// The credentials may not do this.
    PermissionDenied,
    /// No such model, deployment or object.
    NotFound,
    /// The request is wrong.
    BadRequest,
    /// The prompt does not fit the model.
    ContextWindow,
    /// A safety system refused prompt or answer.
    ContentPolicy,
    /// Well-formed, but cannot be processed.
    Unprocessable,
    /// Too many requests or tokens; passes with time.
    RateLimit,
    /// The account's quota is used up; does not pass with time.
    QuotaExhausted,
    /// The provider gave up waiting.
    Timeout,
    /// Overloaded or down.
    Unavailable,
    /// A gateway in front of the provider failed.
    BadGateway,
    /// The provider failed.
    Internal,
    /// Anything else.
    Other,
}

impl FaultClass {
    /// LiteLLM's exception class.
    pub fn litellm_name(self) -> &'static str {
        match self {
            Self::Authentication => "AuthenticationError",
            Self::PermissionDenied => "PermissionDeniedError",
            Self::NotFound => "NotFoundError",
            Self::BadRequest => "BadRequestError",
            Self::ContextWindow => "ContextWindowExceededError",
            Self::ContentPolicy => "ContentPolicyViolationError",
            Self::Unprocessable => "UnprocessableEntityError",
            Self::RateLimit | Self::QuotaExhausted => "RateLimitError",
            Self::Timeout => "Timeout",
            Self::Unavailable => "ServiceUnavailableError",
            Self::BadGateway => "BadGatewayError",
            Self::Internal => "InternalServerError",
            Self::Other => "APIError",
        }
    }
}

/// What a provider says went wrong, credentials masked and lengths bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// Its text.
    pub message: String,
    /// `error.type`, or Google's `error.status`.
    pub kind: Option<String>,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.code` as text.
    pub code: Option<String>,
    /// A wait in seconds that the body asks for (Google's `RetryInfo`).
    pub retry_after_s: Option<u64>,
}

/// An error answer, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What the client is told.
    pub error: UpstreamError,
    /// What routing decides by.
    pub class: FaultClass,
}

/// The parts of an error answer that matter.
#[derive(Clone, Copy, Debug)]
pub struct ErrorAnswer<'a> {
    /// HTTP status; one below 400 (an error inside a 200) is replaced by what the body implies.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// `retry-after-ms`.
    pub retry_after_ms: Option<&'a str>,
    /// The body or its beginning.
    pub body: &'a [u8],
    /// LiteLLM's name for the provider: `OpenAIException`, `AnthropicException`, ...
    pub provider: &'a str,
}

impl ErrorAnswer<'_> {
    /// Reads the answer. `now` is for a `Retry-After` date.
    pub fn read(&self, now: WallMs) -> Fault {
        let body = &self.body[..self.body.len().min(ERROR_BODY_BYTES_MAX)];
        let complaint = Complaint::read(body, self.status);
        let header = retry_after_s(self.retry_after, self.retry_after_ms, now);
        fault(complaint, self.status, header, self.provider)
    }
}

/// Makes a fault of a complaint: one from an answer's body or from an event of its stream.
pub fn fault(complaint: Complaint, status: u16, wait_s: Option<u64>, provider: &str) -> Fault {
    let status = if status >= 400 {
        status
    } else {
        complaint.status()
    };
    let class = complaint.class(status);
    let Complaint {
        message,
        kind,
        param,
        code,
        retry_after_s,
    } = complaint;
    let error = UpstreamError {
        status,
        message: litellm_text(class, provider, &message),
        kind,
        param,
        code,
        retry_after_s: wait_s.or(retry_after_s),
    };
    Fault { error, class }
}

/// The text that LiteLLM's clients match on.
fn litellm_text(class: FaultClass, provider: &str, message: &str) -> String {
    let name = class.litellm_name();
    match class {
        FaultClass::BadRequest => format!("litellm.{name}: {provider} - {message}"),
        FaultClass::ContextWindow => {
            format!("litellm.{name}: litellm.BadRequestError: {name}: {provider} - {message}")
        }
        FaultClass::ContentPolicy => {
            format!("litellm.BadRequestError: litellm.{name}: {name}: {provider} - {message}")
        }
        _ => format!("litellm.{name}: {name}: {provider} - {message}"),
    }
}

impl Complaint {
    /// Reads an error body of any provider. Never fails: what is not understood becomes text.
    pub fn read(body: &[u8], status: u16) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(object)) => Self::from_object(&object),
            Ok(Value::Array(items)) => match items.into_iter().next() {
                Some(Value::Object(object)) => Self::from_object(&object),
                _ => Self::plain(body, status),
            },
            Ok(Value::String(text)) => Self::plain(text.as_bytes(), status),
            _ => Self::plain(body, status),
        }
    }

    /// Reads the object that holds the error: `{"error":{..}}`, `{"error":".."}`, or flat.
    pub fn from_object(object: &Map<String, Value>) -> Self {
        let inner = match object.get("error") {
            Some(Value::Object(inner)) => inner,
            Some(Value::String(text)) => return Self::text(text),
            _ => object,
        };
        let message = first_text(
            inner,
            &["message", "msg", "Message", "error_message", "detail"],
        );
        let message = message.unwrap_or_else(|| Value::Object(inner.clone()).to_string());
        let kind = inner.get("type").filter(|kind| *kind != "error");
        let kind = kind.or_else(|| inner.get("status").filter(|status| status.is_string()));
        let code = inner.get("code").or_else(|| inner.get("statusCode"));
        let inner_code = inner
            .get("innererror")
            .and_then(|inner| inner.get("code"))
            .filter(|code| *code == "ResponsibleAIPolicyViolation");
        Self {
            message: bounded(&message, MESSAGE_BYTES_MAX),
            kind: kind.and_then(word),
            param: inner.get("param").and_then(word),
            code: code.and_then(word).or_else(|| inner_code.and_then(word)),
            retry_after_s: google_delay(inner),
        }
    }

    fn text(message: &str) -> Self {
        Self {
            message: bounded(message, MESSAGE_BYTES_MAX),
            ..Self::default()
        }
    }

    fn plain(body: &[u8], status: u16) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        if text.is_empty() {
            return Self::text(&format!("empty answer with status {status}"));
        }
        if !text.starts_with('<') {
            return Self::text(text);
        }
        let title = between(text, "<title>", "</title>").unwrap_or_default();
        Self::text(format!("HTML page with status {status} {}", title.trim()).trim())
    }

    /// The status that code and type imply, for errors that came without one of their own.
    pub fn status(&self) -> u16 {
        for word in [&self.code, &self.kind].into_iter().flatten() {
            let number = word.parse().ok();
            if let Some(status) = number.filter(|status| (400..600).contains(status)) {
                return status;
            }
            let status = match word.to_ascii_lowercase().as_str() {
                "throttlingexception"
                | "modelnotreadyexception"
                | "rate_limit_error"
                | "rate_limit_exceeded"
                | "insufficient_quota"
                | "resource_exhausted"
                | "tokens"
                | "requests"
                | "too_many_requests" => 429,
                "authentication_error" | "invalid_api_key" | "unauthenticated" => 401,
                "billing_error" => 402,
                "permission_error" | "permission_denied" | "accessdeniedexception" => 403,
                "not_found_error"
                | "model_not_found"
                | "not_found"
                | "resourcenotfoundexception" => 404,
                "modeltimeoutexception" => 408,
                "request_too_large" => 413,
                "timeout_error" | "deadline_exceeded" => 504,
                "overloaded_error" => 529,
                "modelerrorexception" | "modelstreamerrorexception" => 424,
                "unavailable" | "service_unavailable" | "serviceunavailableexception" => 503,
                "invalid_request_error"
                | "invalid_argument"
                | "badrequesterror"
                | "validationexception"
                | "servicequotaexceededexception"
                | "context_length_exceeded"
                | "content_filter"
                | "content_policy_violation"
                | "invalid_prompt" => 400,
                _ => continue,
            };
            return status;
        }
        500
    }

    /// The class: code and type first, then the status, then the text of a client error.
    pub fn class(&self, status: u16) -> FaultClass {
        let word = |word: &Option<String>| word.as_deref().unwrap_or_default().to_lowercase();
        let (code, kind) = (word(&self.code), word(&self.kind));
        let is = |list: &[&str]| list.contains(&code.as_str()) || list.contains(&kind.as_str());
        // Only a client error: other bodies may echo a prompt that talks about such things.
        if matches!(status, 400 | 403 | 413 | 422) {
            let text = self.message.to_lowercase();
            let is_length = code == "string_above_max_length" || text.contains("invalid 'user'");
            let too_long = CONTEXT_TEXTS.iter().any(|sign| text.contains(sign));
            if is(&["context_length_exceeded"]) || (too_long && !is_length) {
                return FaultClass::ContextWindow;
            }
            let refused = POLICY_TEXTS.iter().any(|sign| text.contains(sign));
            if is(&POLICY_CODES) || refused {
                return FaultClass::ContentPolicy;
            }
        }
        if is(&["insufficient_quota", "billing_error"]) {
            return FaultClass::QuotaExhausted;
        }
        if is(&["overloaded_error"]) {
            return FaultClass::Unavailable;
        }
        match status {
            401 => FaultClass::Authentication,
            402 => FaultClass::QuotaExhausted,
            403 => FaultClass::PermissionDenied,
            404 => FaultClass::NotFound,
            408 | 504 => FaultClass::Timeout,
            422 => FaultClass::Unprocessable,
            429 => FaultClass::RateLimit,
            400..=499 => FaultClass::BadRequest,
            502 => FaultClass::BadGateway,
            503 | 529 => FaultClass::Unavailable,
            500 => FaultClass::Internal,
            _ => FaultClass::Other,
        }
    }
}

/// Texts of a prompt that is too long, in lower case, as providers have been seen to write them.
const CONTEXT_TEXTS: [&str; 19] = [
    "maximum context length is",
    "model's maximum context limit",
    "prompt is too long",
    "prompt: length",
    "exceed context limit",
    "input is too long",
    "too many input tokens",
    "too many tokens:",
    "expected maxlength",
    "string too long. expected a string with maximum length",
    "exceeds the maximum number of tokens allowed",
    "request payload size exceeds",
    "is longer than the model's context length",
    "input tokens exceed the configured limit",
    "maximum input length is",
    "exceeds the available context size",
    "`inputs` tokens + `max_new_tokens` must be",
    "your input exceeds the context window of this model",
    "maximum prompt length is",
];

/// Codes and types of a refusal, in lower case.
const POLICY_CODES: [&str; 8] = [
    "content_policy_violation",
    "content_filter",
    "responsibleaipolicyviolation",
    "content_filter_policy",
    "cyber_policy",
    "bio_policy",
    "image_content_policy_violation",
    "moderation_blocked",
];

/// Texts of a refusal, in lower case.
const POLICY_TEXTS: [&str; 5] = [
    "violating our usage policy",
    "rejected as a result of our safety system",
    "output blocked by content filtering policy",
    "the response was blocked.",
    "content management policy",
];

fn first_text(object: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match object.get(*name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    })
}

/// A short word of a body: a string or a number.
fn word(value: &Value) -> Option<String> {
    let text: Cow<'_, str> = match value {
        Value::String(text) if !text.is_empty() => text.as_str().into(),
        Value::Number(number) => number.to_string().into(),
        _ => return None,
    };
    Some(bounded(&text, WORD_BYTES_MAX))
}

fn google_delay(error: &Map<String, Value>) -> Option<u64> {
    let details = error.get("details")?.as_array()?;
    let mut delays = details.iter().filter_map(|detail| detail.get("retryDelay"));
    delays.find_map(|delay| delay_s(delay.as_str()?))
}

/// Scrubbed and cut at a character border.
fn bounded(text: &str, bytes_max: usize) -> String {
    // A key that the cut would halve must not escape the mask: cut twice, scrub between.
    let mut clean = scrub(cut(text, bytes_max * 2));
    clean.truncate(cut(&clean, bytes_max).len());
    clean
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn between<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let start = text.find(open)? + open.len();
    let len = text[start..].find(close)?;
    Some(&text[start..start + len])
}

#[cfg(test)]
mod tests;
