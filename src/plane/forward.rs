//! Stage 3: the attempt loop. One budget of attempts per client request; nothing is sent again
//! after the first content byte reached the client.

mod attempt;
mod canned;

use std::sync::Arc;
use std::time::Duration;

use meridian_core::error::GatewayError;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::admit::Admitted;
use super::early;
use super::relay::Prelude;
use super::reply::Gone;
use super::source::Source;
use crate::clock;
use crate::rules::Target;
use crate::state::State;
use crate::telemetry::metrics::{AttemptOutcome, FailedAttempt, OTHER, RequestLabels};
use crate::upstream::ResponseHead;

/// First pause before the same deployment is tried again; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest such pause.
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// Longest `Retry-After` that is waited for; above it the client is told to come back itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// An answer that will be relayed.
pub(crate) struct Answer {
    /// What is still to be read.
    pub source: Source,
    /// The upstream's head.
    pub head: ResponseHead,
    /// Deployment that answered.
    pub target: Arc<Target>,
    /// When the winning attempt was sent.
    pub sent_at: Instant,
    /// When the answer could be committed.
    pub ready_at: Instant,
    /// What was read before the answer was committed.
    pub prelude: Prelude,
}

/// How forwarding ended without an answer.
pub(crate) enum NoAnswer {
    /// Every attempt failed.
    Failed(Box<Failed>),
    /// The client left.
    ClientGone,
}

/// The last of the failed attempts.
pub(crate) struct Failed {
    /// For the client.
    pub error: GatewayError,
    /// A deadline passed, as opposed to a refusal or a broken connection.
    pub timed_out: bool,
    /// Deployment that failed last.
    pub target: Option<Arc<Target>>,
    /// Set when the provider may bill the attempt although no answer came.
    pub billable_since: Option<Instant>,
}

/// One attempt's failure.
pub(crate) struct Failure {
    /// For the client, if it is the last one.
    pub error: GatewayError,
    /// Another attempt may help.
    pub retryable: bool,
    /// Another deployment may help: credentials are its own.
    pub elsewhere: bool,
    /// A deadline passed.
    pub timed_out: bool,
    /// What the metrics say.
    pub outcome: AttemptOutcome,
}

/// How one attempt ended without an answer.
pub(crate) enum AttemptEnd {
    /// It failed.
    Failed(Failure),
    /// The client left.
    ClientGone,
}

/// Runs attempts until one gives an answer, they are used up or the client leaves.
pub(crate) async fn forward(
    state: &State,
    session: &mut ServerSession,
    admitted: &mut Admitted,
) -> Result<Box<Answer>, NoAnswer> {
    let attempts_max = match admitted.may_repeat() {
        true => 1 + admitted.retries(),
        false => 1,
    };
    let dialect = admitted.arrival.endpoint.dialect();
    let group = Arc::clone(&admitted.group);
    let mut tried: Vec<Arc<Target>> = Vec::new();
    admitted.keepalive_due = early::first_due(admitted);
    loop {
        let Some(target) = group.pick(dialect, &tried, clock::dice()) else {
            return Err(nobody(admitted));
        };
        tried.push(Arc::clone(&target));
        admitted.attempts += 1;
        let sent_at = Instant::now();
        let failure = match attempt::run(state, session, admitted, &target, sent_at).await {
            Ok(answer) => return Ok(answer),
            Err(AttemptEnd::ClientGone) => {
                return Err(NoAnswer::ClientGone);
            }
            Err(AttemptEnd::Failed(failure)) => failure,
        };
        report(state, admitted, &target, &failure);
        // What was refused or broke costs nothing; what was not answered in time may have worked.
        let unanswered = admitted.dispatched.take().filter(|_| failure.timed_out);
        let untried = group.has_untried(dialect, &tried);
        let again = failure.retryable || (failure.elsewhere && untried);
        let pause = pause(&failure, admitted.attempts, untried);
        let Some(pause) = pause.filter(|_| again && admitted.attempts < attempts_max) else {
            let since = unanswered.map(|(_, at)| at);
            return Err(NoAnswer::Failed(Box::new(failure.last(target, since))));
        };
        admitted
            .unanswered
            .extend(unanswered.map(|(target, _)| target));
        if wait(session, admitted, &target, pause).await.is_err() {
            return Err(NoAnswer::ClientGone);
        }
    }
}

/// Waits before the next attempt; fails when the client leaves meanwhile.
async fn wait(
    session: &mut ServerSession,
    admitted: &mut Admitted,
    target: &Target,
    pause: Duration,
) -> Result<(), Gone> {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(until) => return Ok(()),
            () = super::client_gone(session) => return Err(Gone),
            () = early::due(admitted.keepalive_due) => {
                early::bridge(session, admitted, target).await?;
            }
        }
    }
}

/// No deployment of the group speaks the dialect: `admit` has refused such requests.
fn nobody(admitted: &Admitted) -> NoAnswer {
    let (route, model) = (
        admitted.arrival.canonical,
        admitted.ask.requested_model.clone(),
    );
    let error = GatewayError::EndpointNotServed { route, model };
    NoAnswer::Failed(Box::new(Failed {
        error,
        timed_out: false,
        target: None,
        billable_since: None,
    }))
}

/// Pause before the next attempt: none when another deployment is there; `None` when the upstream
/// asks for longer than a client should be held.
fn pause(failure: &Failure, attempts: u32, untried: bool) -> Option<Duration> {
    if untried {
        return Some(Duration::ZERO);
    }
    let asked = failure.error.reply().retry_after_s.map(Duration::from_secs);
    if asked.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
        return None;
    }
    let doubled = BACKOFF_FIRST * 2u32.saturating_pow(attempts.saturating_sub(1)).min(16);
    let jittered = doubled.min(BACKOFF_MAX).mul_f64(0.75 + 0.5 * clock::dice());
    Some(asked.unwrap_or(jittered))
}

fn report(state: &State, admitted: &Admitted, target: &Target, failure: &Failure) {
    let configured = !admitted.group.is_wildcard;
    let reply = failure.error.reply();
    tracing::warn!(
        call_id = %admitted.arrival.call_id,
        deployment = target.deployment.id,
        status = reply.status,
        class = failure.error.class(),
        "attempt failed"
    );
    let labels = RequestLabels {
        route: admitted.arrival.canonical,
        requested_model: if configured {
            &admitted.group.name
        } else {
            OTHER
        },
        exception_class: Some(failure.error.class()),
        ..RequestLabels::default()
    };
    state.metrics.attempt_failed(&FailedAttempt {
        payer: admitted.payer(),
        labels: &labels,
        deployment: &target.labels(configured),
        outcome: failure.outcome,
        status: reply.status,
    });
}

impl Failure {
    /// An error that no other attempt would avoid.
    pub(crate) fn terminal(error: GatewayError) -> Self {
        let outcome = AttemptOutcome::of_status(error.reply().status);
        Self {
            error,
            retryable: false,
            elsewhere: false,
            timed_out: false,
            outcome,
        }
    }

    /// An error that the upstream answered with.
    pub(crate) fn refused(error: GatewayError) -> Self {
        let status = error.reply().status;
        Self {
            retryable: matches!(status, 408 | 409 | 429) || status >= 500,
            elsewhere: matches!(status, 401 | 403),
            ..Self::terminal(error)
        }
    }

    /// The connection could not be made or broke before an answer.
    pub(crate) fn broken(target: &Target) -> Self {
        let provider = target.deployment.provider.exception().into_owned();
        let error = GatewayError::UpstreamUnreachable { provider };
        Self {
            retryable: true,
            elsewhere: true,
            ..Self::terminal(error)
        }
    }

    /// A deadline passed before an answer.
    pub(crate) fn timeout(target: &Target, limit: Duration, taken: Duration) -> Self {
        let error = GatewayError::UpstreamTimeout {
            limit_s: limit.as_secs_f64(),
            taken_s: taken.as_secs_f64(),
            deployment_s: target.deployment.timeout.map(|own| own.as_secs_f64()),
        };
        Self {
            retryable: true,
            elsewhere: true,
            timed_out: true,
            ..Self::terminal(error)
        }
    }

    fn last(self, target: Arc<Target>, billable_since: Option<Instant>) -> Failed {
        Failed {
            error: self.error,
            timed_out: self.timed_out,
            target: Some(target),
            billable_since,
        }
    }
}

impl From<Failure> for AttemptEnd {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
