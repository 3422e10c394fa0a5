//! One send to its end, while the client is watched and silence is bridged. Where the
//! configuration asks for it, a second send when the first is slow to begin; the faster one wins,
//! the other is cancelled and billed as what it was.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use meridian_core::money::NanoUsd;
use meridian_core::routing::hedge::{self, Hedge, Waiting};
use meridian_core::routing::policy::HedgePolicy;
use pingora_core::protocols::http::ServerSession;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::course::{Course, Lead};
use super::{Answer, Failure, InFlight, is_too_late, tell};
use crate::plane::admit::{Admitted, hold};
use crate::plane::relay::Prelude;
use crate::plane::reply::Gone;
use crate::plane::{client_gone, early};
use crate::rules::Target;
use crate::state::State;

/// How a send, or a send and its hedge, ended.
pub(super) enum RaceEnd {
    /// With an answer that can be committed.
    Answered(Box<Answer>, InFlight),
    /// With a failure; a hedge that failed before it is reported already.
    Failed(Failure, InFlight),
    /// The client left.
    ClientGone,
}

/// What happened to the request next.
enum Turn {
    First(Result<Box<Answer>, Failure>),
    Second(Result<Box<Answer>, Failure>),
    ClientGone,
    Silence,
    HedgeDue,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Box<Answer>, Failure>> + Send + 'a>>;

/// One of the two sends, beside its future.
struct Runner<'a> {
    target: Arc<Target>,
    flight: InFlight,
    /// A provider may bill it.
    sent: &'a AtomicBool,
}

/// Sends the request to `lead` and, if it is slow to begin, to one more deployment.
pub(super) async fn run(
    state: &State,
    session: &mut ServerSession,
    admitted: &mut Admitted,
    course: &mut Course,
    lead: Lead,
    keepalive: &mut Option<Instant>,
) -> RaceEnd {
    let hedge = hedge_policy(state, admitted, &lead);
    let Lead { target, flight } = lead;
    admitted.attempts += 1;
    admitted.mark_sent(&target);
    let (sent, sent_second) = (AtomicBool::new(false), AtomicBool::new(false));
    let first = Runner {
        target,
        flight,
        sent: &sent,
    };
    let client = session.req_header().headers.clone();
    let race = Race {
        state,
        admitted: &*admitted,
        client: &client,
        sent_second: &sent_second,
        hedge,
    };
    let (end, second) = race.run(session, course, first, keepalive).await;
    if let Some(second) = second {
        admitted.attempts += 1;
        settle_hedge(admitted, &end, &second, &sent, &sent_second);
    } else if !sent.load(Ordering::Acquire) {
        admitted.dispatched = None;
    }
    end
}

/// Who of two is billed: the one that answered as usual, the other for its prompt.
fn settle_hedge(
    admitted: &mut Admitted,
    end: &RaceEnd,
    second: &Arc<Target>,
    sent: &AtomicBool,
    sent_second: &AtomicBool,
) {
    let first = admitted.dispatched.take().map(|(target, _)| target);
    let second_won = match end {
        RaceEnd::Answered(_, flight) | RaceEnd::Failed(_, flight) => {
            Arc::ptr_eq(&flight.target, second)
        }
        RaceEnd::ClientGone => false,
    };
    let (first, second) = ((first, sent), (Some(Arc::clone(second)), sent_second));
    let ((winner, winner_sent), (loser, loser_sent)) = match second_won {
        true => (second, first),
        false => (first, second),
    };
    if loser_sent.load(Ordering::Acquire) {
        admitted.unanswered.extend(loser);
    }
    if let Some(winner) = winner.filter(|_| winner_sent.load(Ordering::Acquire)) {
        admitted.mark_sent(&winner);
    }
}

/// The policy, if this request may be hedged: money for a second one is held from here on.
fn hedge_policy(
    state: &State,
    admitted: &mut Admitted,
    lead: &Lead,
) -> Option<(HedgePolicy, NanoUsd)> {
    let policy = admitted.rules.config.routing.hedge?;
    let cost = admitted.most_expensive()?;
    let repeats = admitted.may_repeat() && admitted.attempts == 0;
    let wanted = repeats && lead.flight.others && cost <= policy.cost_max;
    let room = wanted && state.routing.hedges.left() > 0 && hold::reserve_hedge(admitted);
    room.then_some((policy, cost))
}

struct Race<'a> {
    state: &'a State,
    admitted: &'a Admitted,
    client: &'a HeaderMap,
    sent_second: &'a AtomicBool,
    hedge: Option<(HedgePolicy, NanoUsd)>,
}

impl<'a> Race<'a> {
    /// The end, and the deployment of the second send if there was one.
    async fn run(
        mut self,
        session: &mut ServerSession,
        course: &mut Course,
        first: Runner<'a>,
        keepalive: &mut Option<Instant>,
    ) -> (RaceEnd, Option<Arc<Target>>) {
        let begun = Instant::now();
        let mut running = Some(self.start(&first.target, first.sent));
        let mut hedge: Option<(Runner<'a>, Running<'a>)> = None;
        let mut hedged: Option<Arc<Target>> = None;
        let mut first = Some(first);
        loop {
            let hedge_at = self.hedge.map(|(policy, _)| begun + policy.after);
            let turn = tokio::select! {
                biased;
                done = poll(&mut running) => Turn::First(done),
                done = poll_second(&mut hedge) => Turn::Second(done),
                () = client_gone(session) => Turn::ClientGone,
                () = early::due(*keepalive) => Turn::Silence,
                () = early::due(hedge_at) => Turn::HedgeDue,
            };
            match turn {
                Turn::First(done) => {
                    running = None;
                    if let Some(end) = self.done(session, done, &mut first, hedge.is_some()) {
                        return (self.end(end, hedge.map(|(runner, _)| runner)), hedged);
                    }
                }
                Turn::Second(done) => {
                    let mut runner = hedge.take().map(|(runner, _)| runner);
                    if let Some(end) = self.done(session, done, &mut runner, running.is_some()) {
                        return (self.end(end, first), hedged);
                    }
                }
                Turn::ClientGone => {
                    for runner in first.into_iter().chain(hedge.map(|(runner, _)| runner)) {
                        runner.flight.left(self.state);
                    }
                    return (RaceEnd::ClientGone, hedged);
                }
                Turn::Silence => {
                    let target = first.as_ref().map(|one| &one.target).or(hedged.as_ref());
                    let Some(target) = target else { continue };
                    match early::bridge(session, self.admitted, target).await {
                        Ok(next) => *keepalive = Some(next),
                        Err(Gone) => return (RaceEnd::ClientGone, hedged),
                    }
                }
                Turn::HedgeDue => {
                    hedge = self.second(course, begun);
                    hedged = hedge.as_ref().map(|(runner, _)| Arc::clone(&runner.target));
                }
            }
        }
    }

    fn start(&self, target: &Arc<Target>, sent: &'a AtomicBool) -> Running<'a> {
        let attempt = Attempt::new(self.state, self.admitted, Arc::clone(target), sent);
        Box::pin(attempt.run(self.client))
    }

    /// What a finished send means: the end, unless it failed and the other one still runs.
    fn done(
        &self,
        session: &ServerSession,
        done: Result<Box<Answer>, Failure>,
        runner: &mut Option<Runner<'a>>,
        other_runs: bool,
    ) -> Option<RaceEnd> {
        let Runner {
            target,
            mut flight,
            sent,
        } = runner.take()?;
        let failure = match done {
            Ok(answer) if is_too_late(session, &answer.prelude) => Failure::too_late(&target),
            Ok(answer) => {
                if let Prelude::Stream(start) = &answer.prelude
                    && start.first_content.is_some()
                {
                    flight.first_token(self.state);
                }
                return Some(RaceEnd::Answered(answer, flight));
            }
            Err(failure) => failure,
        };
        if !other_runs {
            return Some(RaceEnd::Failed(failure, flight));
        }
        if !failure.may_cost() {
            // What was refused or broke costs nothing.
            sent.store(false, Ordering::Release);
        }
        tell(
            self.state,
            self.admitted,
            &target,
            &failure,
            "the other send",
        );
        let status = failure.error.reply().status;
        flight.failed(self.state, failure.verdict, failure.wait, status);
        None
    }

    /// The loser is cancelled; that it was slow is a measurement.
    fn end(&self, end: RaceEnd, loser: Option<Runner<'_>>) -> RaceEnd {
        if let Some(loser) = loser {
            loser.flight.left(self.state);
        }
        end
    }

    /// Begins the second send, if it is to be.
    fn second(&mut self, course: &mut Course, begun: Instant) -> Option<(Runner<'a>, Running<'a>)> {
        let (policy, cost) = self.hedge.take()?;
        let waiting = Waiting {
            waited: begun.elapsed().max(policy.after),
            alone: course.may_send(self.admitted),
            others: true,
            cost: Some(cost),
        };
        let state = self.state;
        if !waiting.alone || state.routing.hedges.left() == 0 {
            return None;
        }
        // Where it would go first: what only the slow one can take is no reason to pay.
        let Lead { target, flight } = course.another(state, self.admitted)?;
        let now = state.routing.now();
        if hedge::decide(&policy, &waiting, &state.routing.hedges, now) != Hedge::Now {
            return None;
        }
        tracing::info!(
            call_id = %self.admitted.arrival.call_id,
            deployment = target.deployment.id,
            after_ms = Duration::as_millis(&begun.elapsed()) as u64,
            "hedge"
        );
        let running = self.start(&target, self.sent_second);
        let sent = self.sent_second;
        Some((
            Runner {
                target,
                flight,
                sent,
            },
            running,
        ))
    }
}

async fn poll(running: &mut Option<Running<'_>>) -> Result<Box<Answer>, Failure> {
    match running {
        Some(running) => running.await,
        None => std::future::pending().await,
    }
}

async fn poll_second(
    hedge: &mut Option<(Runner<'_>, Running<'_>)>,
) -> Result<Box<Answer>, Failure> {
    match hedge {
        Some((_, running)) => running.await,
        None => std::future::pending().await,
    }
}
