//! Stage 3: from deployment to deployment until one answers. One budget of sends per client
//! request; nothing is sent again after the first content byte reached the client.

mod attempt;
mod canned;
mod course;
mod failure;
mod flight;
mod funds;
mod race;

use std::sync::Arc;
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::translate::Loss;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

pub(super) use self::attempt::Inlined;
use self::course::{Course, Onward, Step};
pub(crate) use self::failure::Failure;
pub(crate) use self::flight::InFlight;
use self::race::RaceEnd;
use super::admit::Admitted;
use super::early;
use super::relay::Prelude;
use super::reply::Gone;
use super::source::Source;
use crate::byte_budget::ByteLease;
use crate::rules::Target;
use crate::state::State;
use crate::telemetry::metrics::{FailedAttempt, OTHER, RequestLabels};
use crate::upstream::ResponseHead;

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
    /// What the provider did not get of the request.
    pub losses: Vec<Loss>,
    /// Bytes of it that are held in memory.
    pub _lease: ByteLease,
}

/// How forwarding ended without an answer.
pub(crate) enum NoAnswer {
    /// Every attempt failed.
    Failed(Box<Failed>),
    /// The client left.
    ClientGone,
}

/// What the client is told.
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

/// Runs attempts until one gives an answer, they are used up or the client leaves.
pub(crate) async fn forward(
    state: &State,
    session: &mut ServerSession,
    admitted: &mut Admitted,
) -> Result<Box<Answer>, NoAnswer> {
    pay_in(state, admitted);
    let mut course = Course::new(admitted);
    let mut keepalive = early::first_due(admitted);
    let mut last: Option<Failed> = None;
    loop {
        let unknown = funds::fetch(state, admitted).await;
        let lead = match course.step(state, admitted) {
            Step::Send(lead) => *lead,
            Step::Wait(pause) => {
                if admitted
                    .deadline()
                    .is_some_and(|at| Instant::now() + pause >= at)
                {
                    let error = course.nobody_in_time(state, admitted, pause);
                    return Err(given_up(last.or(Some(Failed::without_attempt(error)))));
                }
                wait(session, admitted, &mut keepalive, pause).await?;
                course.waited(pause);
                continue;
            }
            Step::Refused(refusal) => {
                let error = course.error(state, admitted, (&refusal, unknown));
                let onward = course.refused(state, admitted, &refusal);
                let failed = last.take();
                last = Some(failed.unwrap_or_else(|| Failed::without_attempt(error)));
                let Some(pause) = onward.pause() else {
                    return Err(given_up(last));
                };
                wait(session, admitted, &mut keepalive, pause).await?;
                continue;
            }
        };
        let ended = race::run(state, session, admitted, &mut course, lead, &mut keepalive).await;
        let (failure, flight) = match ended {
            RaceEnd::Answered(answer, flight) => {
                (admitted.route.retries, admitted.route.fallbacks) = course.counts();
                admitted.route.why = Some(flight.why);
                admitted.flight = Some(flight);
                return Ok(answer);
            }
            RaceEnd::ClientGone => return Err(NoAnswer::ClientGone),
            RaceEnd::Failed(failure, flight) => (failure, flight),
        };
        let onward = learn(
            state,
            admitted,
            &mut course,
            &failure,
            &flight.target,
            flight.others,
        );
        let target = Arc::clone(&flight.target);
        let status = failure.error.reply().status;
        flight.failed(state, failure.verdict, failure.wait, status);
        let pause = onward.pause();
        let billable = settle_attempt(admitted, failure.may_cost(), pause.is_some());
        last = Some(failure.last(target, billable));
        let Some(pause) = pause else {
            return Err(given_up(last));
        };
        wait(session, admitted, &mut keepalive, pause).await?;
    }
}

/// What follows a failed attempt, told once.
fn learn(
    state: &State,
    admitted: &mut Admitted,
    course: &mut Course,
    failure: &Failure,
    target: &Target,
    others: bool,
) -> Onward {
    let onward = course.failed(state, admitted, failure, target, others);
    admitted.route.after = Some(failure.verdict.class);
    tell(state, admitted, target, failure, onward.as_str());
    onward
}

/// What was refused or broke costs nothing; what was not answered in time may have worked. Since
/// when the last one may be billed.
fn settle_attempt(admitted: &mut Admitted, may_cost: bool, goes_on: bool) -> Option<Instant> {
    let (target, since) = admitted.dispatched.take().filter(|_| may_cost)?;
    if goes_on {
        admitted.unanswered.push(target);
        return None;
    }
    Some(since)
}

fn given_up(last: Option<Failed>) -> NoAnswer {
    let failed = last.unwrap_or_else(|| Failed::without_attempt(GatewayError::Internal));
    NoAnswer::Failed(Box::new(failed))
}

/// Each request allows a share of further sends, its own or another's.
fn pay_in(state: &State, admitted: &Admitted) {
    let policy = &admitted.rules.config.routing;
    state.routing.retries.request(policy.retries.budget);
    if let Some(hedge) = &policy.hedge {
        state.routing.hedges.request(hedge.share_max);
    }
}

/// Waits before the next attempt; fails when the client leaves meanwhile.
async fn wait(
    session: &mut ServerSession,
    admitted: &Admitted,
    keepalive: &mut Option<Instant>,
    pause: Duration,
) -> Result<(), NoAnswer> {
    if pause.is_zero() {
        return Ok(());
    }
    let until = Instant::now() + pause;
    let Some(target) = admitted.group.targets().first() else {
        return Ok(());
    };
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => return Ok(()),
            () = super::client_gone(session) => return Err(NoAnswer::ClientGone),
            () = early::due(*keepalive) => {
                let bridged = early::bridge(session, admitted, target).await;
                *keepalive = Some(bridged.map_err(|Gone| NoAnswer::ClientGone)?);
            }
        }
    }
}

/// One line and one count for a failed attempt; `next` is what follows it.
fn tell(state: &State, admitted: &Admitted, target: &Target, failure: &Failure, next: &str) {
    tracing::warn!(
        call_id = %admitted.arrival.call_id,
        deployment = target.deployment.id,
        status = failure.error.reply().status,
        class = failure.verdict.class.as_str(),
        next,
        model = admitted.group.configured_name(),
        "attempt failed"
    );
    let configured = !admitted.asked_group.is_wildcard;
    let labels = RequestLabels {
        route: admitted.arrival.canonical,
        requested_model: if configured {
            &admitted.asked_group.name
        } else {
            OTHER
        },
        exception_class: Some(failure.error.class()),
        ..RequestLabels::default()
    };
    state.metrics.attempt_failed(&FailedAttempt {
        payer: admitted.payer(),
        labels: &labels,
        deployment: &target.labels(!target.deployment.is_wildcard()),
        outcome: failure.outcome,
        status: failure.error.reply().status,
    });
}

impl Failed {
    fn without_attempt(error: GatewayError) -> Self {
        Self {
            error,
            timed_out: false,
            target: None,
            billable_since: None,
        }
    }
}

/// An answer that cannot follow what was begun for the client already.
fn is_too_late(session: &ServerSession, prelude: &Prelude) -> bool {
    early::is_open(session) && !matches!(prelude, Prelude::Stream(_))
}
