//! One attempt's failure: what the client would be told, and what routing does about it.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::routing::failure::{Again, Blame, Judged, Silence, Verdict};
use meridian_core::routing::policy::FailureClass;
use tokio::time::Instant;

use super::Failed;
use crate::rules::Target;
use crate::telemetry::metrics::AttemptOutcome;

/// One attempt's failure.
pub(crate) struct Failure {
    /// For the client, if it is the last one.
    pub error: Box<GatewayError>,
    /// What routing does about it.
    pub verdict: Verdict,
    /// What the provider asks to wait.
    pub wait: Option<Duration>,
    /// A deadline passed.
    pub timed_out: bool,
    /// Some of its requests were answered, and are billed.
    pub partly: bool,
    /// What the metrics say.
    pub outcome: AttemptOutcome,
}

impl Failure {
    /// Whether the provider may bill something of it.
    pub(crate) fn may_cost(&self) -> bool {
        self.timed_out || self.partly
    }

    /// The same, of several requests of which some were answered.
    pub(crate) fn after_some(self) -> Self {
        Self {
            partly: true,
            ..self
        }
    }

    /// An error that no other attempt would avoid, and nobody's but the caller's.
    pub(crate) fn terminal(error: GatewayError) -> Self {
        Self::of(error, FailureClass::Client.verdict())
    }

    /// What the request names on the web did not come: nobody's failure, nothing was sent, and a
    /// deployment that fetches by itself may get it.
    pub(crate) fn not_fetched(error: GatewayError) -> Self {
        let verdict = Verdict {
            class: FailureClass::Network,
            blame: Blame::Nobody,
            again: Again::Elsewhere,
        };
        Self::of(error, verdict)
    }

    /// An error that the provider answered with.
    pub(crate) fn refused(judged: Judged) -> Self {
        let wait = judged.fault.error.retry_after_s.map(Duration::from_secs);
        let error = GatewayError::Upstream(Box::new(judged.fault.error));
        Self {
            wait,
            ..Self::of(error, judged.verdict)
        }
    }

    /// No answer, or one that is none.
    pub(crate) fn silent(target: &Target, silence: Silence) -> Self {
        let provider = target.deployment.provider.exception().into_owned();
        Self::of(
            GatewayError::UpstreamUnreachable { provider },
            silence.verdict(),
        )
    }

    /// Nothing proves to the provider who asks: nothing was sent, another deployment may answer.
    pub(crate) fn without_credentials(target: &Target, retry_after: Duration) -> Self {
        Self {
            wait: Some(retry_after),
            ..Self::silent(target, Silence::Unreachable)
        }
    }

    /// An idle connection was closed by its server as the request was sent: nobody's failure, but a
    /// send that may have been seen.
    pub(crate) fn stale(target: &Target) -> Self {
        let lost = Self::silent(target, Silence::Lost);
        let verdict = Verdict {
            blame: Blame::Nobody,
            ..lost.verdict
        };
        Self { verdict, ..lost }
    }

    /// An answer that came whole after a stream had been begun for the client.
    pub(crate) fn too_late(target: &Target) -> Self {
        let malformed = Self::silent(target, Silence::Malformed);
        let verdict = Verdict {
            blame: Blame::Nobody,
            again: Again::Never,
            ..malformed.verdict
        };
        Self {
            verdict,
            ..malformed
        }
    }

    /// A deadline passed before an answer. The caller's own, if it is the shorter one, says
    /// nothing about the deployment.
    pub(crate) fn timeout(
        target: &Target,
        limit: Duration,
        taken: Duration,
        is_callers: bool,
    ) -> Self {
        let error = GatewayError::UpstreamTimeout {
            limit_s: limit.as_secs_f64(),
            taken_s: taken.as_secs_f64(),
            deployment_s: target.deployment.timeout.map(|own| own.as_secs_f64()),
        };
        let silence = match is_callers {
            true => Silence::CallersDeadline,
            false => Silence::Deadline,
        };
        Self {
            timed_out: true,
            ..Self::of(error, silence.verdict())
        }
    }

    /// What the client is told, if nothing follows.
    pub(super) fn last(self, target: Arc<Target>, billable_since: Option<Instant>) -> Failed {
        Failed {
            error: *self.error,
            timed_out: self.timed_out,
            target: Some(target),
            billable_since,
        }
    }

    fn of(error: GatewayError, verdict: Verdict) -> Self {
        let outcome = AttemptOutcome::of_status(error.reply().status);
        Self {
            error: Box::new(error),
            verdict,
            wait: None,
            timed_out: false,
            partly: false,
            outcome,
        }
    }
}
