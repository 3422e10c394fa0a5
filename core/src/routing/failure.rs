//! What a failure is, whose it is and whether another try may help.
//!
//! An answer is judged by the reviewed rows of `table`, then by its status. Built on
//! [`Complaint`], which reads every provider's error shapes.

mod table;

use crate::config::Provider;
use crate::routing::policy::{FailureClass, PolicyError};
use crate::time::WallMs;
use crate::wire::retry_after::retry_after_s;
use crate::wire::upstream_error::{
    Complaint, ERROR_BODY_BYTES_MAX, ErrorAnswer, Fault, FaultClass, fault,
};

/// Whose health a failure touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody's: a caller can make it happen at will.
    Nobody,
    /// The deployment's.
    Deployment,
    /// The credential's: every deployment that uses it.
    Credential,
}

/// Where another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nowhere in this model group.
    Never,
    /// At another deployment only.
    Elsewhere,
    /// Also at the same deployment, later.
    Anywhere,
}

/// A failure, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is.
    pub class: FailureClass,
    /// Whose it is.
    pub blame: Blame,
    /// Where another try may help.
    pub again: Again,
}

/// An error answer, read and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What the client is told, if this is the last attempt.
    pub fault: Fault,
    /// What routing does about it.
    pub verdict: Verdict,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The provider.
    pub provider: Provider,
    /// The client chose the provider's model name (a wildcard deployment): a model that does not
    /// exist is then the client's fault.
    pub named_by_client: bool,
}

/// How an attempt failed without an error answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No connection: refused, no route, name not found, TLS.
    Unreachable,
    /// The connection broke.
    Lost,
    /// What came is not what the endpoint answers with.
    Malformed,
    /// A status of success and nothing else.
    Empty,
    /// A deadline of the gateway passed.
    Deadline,
    /// A deadline that the caller set, shorter than the gateway's, passed.
    CallersDeadline,
    /// The caller left.
    CallerGone,
}

impl FailureClass {
    /// The verdict on a failure of this class, where nothing more is known.
    pub fn verdict(self) -> Verdict {
        let (blame, again) = match self {
            Self::Client | Self::Cancelled | Self::ContextWindow | Self::ContentPolicy => {
                (Blame::Nobody, Again::Never)
            }
            Self::Auth | Self::Quota => (Blame::Credential, Again::Elsewhere),
            Self::RateLimit | Self::Overload | Self::Server | Self::Timeout | Self::Network => {
                (Blame::Deployment, Again::Anywhere)
            }
        };
        Verdict {
            class: self,
            blame,
            again,
        }
    }

    /// What policies call it; `None` for what no policy speaks of.
    pub fn policy_error(self) -> Option<PolicyError> {
        let error = match self {
            Self::Client | Self::ContextWindow => PolicyError::BadRequest,
            Self::Auth => PolicyError::Authentication,
            Self::Quota | Self::RateLimit => PolicyError::RateLimit,
            Self::Timeout => PolicyError::Timeout,
            Self::ContentPolicy => PolicyError::ContentPolicyViolation,
            Self::Overload | Self::Server | Self::Network => PolicyError::InternalServer,
            Self::Cancelled => return None,
        };
        Some(error)
    }

    /// Word for logs, metrics and the state page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Cancelled => "cancelled",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::Overload => "overload",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Network => "network",
            Self::ContextWindow => "context_window",
            Self::ContentPolicy => "content_policy",
        }
    }

    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Client,
        Self::Cancelled,
        Self::Auth,
        Self::Quota,
        Self::RateLimit,
        Self::Overload,
        Self::Server,
        Self::Timeout,
        Self::Network,
        Self::ContextWindow,
        Self::ContentPolicy,
    ];
}

impl Silence {
    /// The verdict.
    pub fn verdict(self) -> Verdict {
        let class = match self {
            Self::Unreachable | Self::Lost => FailureClass::Network,
            Self::Malformed | Self::Empty => FailureClass::Server,
            Self::Deadline => FailureClass::Timeout,
            Self::CallersDeadline | Self::CallerGone => FailureClass::Cancelled,
        };
        class.verdict()
    }
}

/// Reads and judges an error answer. `exception` is AWS's `x-amzn-errortype` header or an event
/// stream's `:exception-type`; `now` is for a `Retry-After` date.
pub fn of_answer(
    origin: Origin,
    answer: &ErrorAnswer<'_>,
    exception: Option<&str>,
    now: WallMs,
) -> Judged {
    let body = &answer.body[..answer.body.len().min(ERROR_BODY_BYTES_MAX)];
    let complaint = Complaint::read(body, answer.status);
    let wait = retry_after_s(answer.retry_after, answer.retry_after_ms, now);
    of_complaint(origin, complaint, answer.status, exception, wait)
}

/// Judges a complaint: one from an answer's body, or from an event of a stream whose `status` was
/// a success. `wait_s` is what the headers ask for.
pub fn of_complaint(
    origin: Origin,
    complaint: Complaint,
    status: u16,
    exception: Option<&str>,
    wait_s: Option<u64>,
) -> Judged {
    let status = match status {
        0..=399 => table::status_of_exception(exception).unwrap_or_else(|| complaint.status()),
        _ => status,
    };
    let row = table::by_row(origin, &complaint, status, exception);
    let fault = fault(complaint, status, wait_s, &origin.provider.exception());
    let refused = || refusal(fault.class).map(FailureClass::verdict);
    let verdict = row
        .or_else(refused)
        .unwrap_or_else(|| table::by_status(status));
    Judged { fault, verdict }
}

/// Classes that lead to fallbacks of their own.
fn refusal(class: FaultClass) -> Option<FailureClass> {
    match class {
        FaultClass::ContextWindow => Some(FailureClass::ContextWindow),
        FaultClass::ContentPolicy => Some(FailureClass::ContentPolicy),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
