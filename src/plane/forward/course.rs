//! The course of one request over models and deployments: what `core/src/routing` decides, put to
//! this node's rules and health.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::error::GatewayError;
use meridian_core::routing::affinity::AffinityKey;
use meridian_core::routing::attempts::{Attempts, GiveUp, Next, Overrides, Setback, Situation};
use meridian_core::routing::health::{Awaited, Flight};
use meridian_core::routing::plan::{
    Ask, Candidate, Choice, Facts, Moment, Plan, Refusal, Refused, decide,
};
use meridian_core::routing::policy::{AffinityPolicy, RoutingPolicy};
use meridian_core::time::MonoUs;
use meridian_core::wire::field::Field;
use tokio::time::Instant;

use super::Failure;
use super::flight::InFlight;
use super::funds;
use crate::clock;
use crate::plane::admit::{Admitted, hold};
use crate::rules::{Group, Target};
use crate::state::State;

/// Decisions that other requests may overtake before this one is told to come back.
const OVERTAKEN_MAX: usize = 8;
/// Tenant of requests with the master key.
const MASTER_TENANT: &[u8] = b"master";

/// Where one request is on its way.
pub(super) struct Course {
    attempts: Attempts,
    tags: Vec<String>,
    affinity: Option<AffinityKey>,
    waited: Duration,
}

/// A deployment that the request is counted in at.
pub(super) struct Lead {
    pub(super) target: Arc<Target>,
    pub(super) flight: InFlight,
}

/// What to do now.
pub(super) enum Step {
    /// Send it there.
    Send(Box<Lead>),
    /// All deployments are left out: wait for the first one that is back.
    Wait(Duration),
    /// No deployment of this model gets it.
    Refused(Refusal),
}

/// What follows when a model does not do.
pub(super) enum Onward {
    /// The same model again, after a pause.
    Again(Duration),
    /// Another model, or the first one as a last resort.
    Elsewhere,
    /// Nothing.
    End(GiveUp),
}

impl Onward {
    /// Time until it goes on; `None` when it does not.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::Again(pause) => Some(*pause),
            Self::Elsewhere => Some(Duration::ZERO),
            Self::End(_) => None,
        }
    }

    /// Word for logs.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Again(_) => "retry",
            Self::Elsewhere => "fallback",
            Self::End(why) => why.as_str(),
        }
    }
}

impl Course {
    pub(super) fn new(admitted: &Admitted) -> Self {
        let asked = &admitted.ask.overrides;
        let resolve = |names: &Option<Vec<String>>| {
            let names = names.as_ref()?.iter();
            let alias = |name: &String| {
                let own = admitted
                    .key
                    .as_ref()
                    .map_or(name.as_str().into(), |key| key.model_for(name));
                admitted.rules.alias(&own).to_owned()
            };
            Some(names.map(alias).collect())
        };
        let overrides = Overrides {
            num_retries: asked.num_retries,
            fallbacks: resolve(&asked.fallbacks),
            context_window: resolve(&asked.context_window_fallbacks),
            content_policy: resolve(&asked.content_policy_fallbacks),
            disable_fallbacks: asked.disable_fallbacks || admitted.pinned,
            once: !admitted.may_repeat(),
        };
        Self {
            attempts: Attempts::new(admitted.group.name.clone(), overrides),
            tags: admitted.ask.context.tags.clone(),
            affinity: affinity(admitted),
            waited: Duration::ZERO,
        }
    }

    /// Retries and other models so far.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.attempts.retries(), self.attempts.fallbacks())
    }

    /// Whether `max_attempts` has room for one more send.
    pub(super) fn may_send(&self, admitted: &Admitted) -> bool {
        self.attempts
            .may_send(&admitted.rules.config.routing.retries)
    }

    /// Time was spent on waiting for a deployment.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Chooses the next deployment and counts the request in there.
    pub(super) fn step(&mut self, state: &State, admitted: &Admitted) -> Step {
        for _ in 0..OVERTAKEN_MAX {
            let now = state.routing.now();
            match self.decide(admitted, now) {
                Plan::Refuse(refusal) => return Step::Refused(refusal),
                Plan::Wait { until } => return Step::Wait(until.since(now)),
                Plan::Send(choice) => {
                    if let Some(lead) = self.begin(admitted, choice, now) {
                        return Step::Send(Box::new(lead));
                    }
                }
            }
        }
        Step::Refused(Refusal::Busy {
            until: state.routing.now().plus(Duration::from_secs(1)),
            cooling: Vec::new(),
        })
    }

    /// One more deployment for a request that runs already; `None` when only it is there.
    pub(super) fn another(&mut self, state: &State, admitted: &Admitted) -> Option<Lead> {
        let now = state.routing.now();
        match self.decide(admitted, now) {
            Plan::Send(choice) if !choice.again => self.begin(admitted, choice, now),
            _ => None,
        }
    }

    fn decide(&self, admitted: &Admitted, now: MonoUs) -> Plan {
        let (group, rules) = (&admitted.group, &admitted.rules);
        let endpoint = admitted.arrival.endpoint;
        let tagged = tagged(admitted);
        let spent = funds::spent(&admitted.state, admitted);
        let candidates: Vec<Candidate<'_>> = group
            .targets()
            .iter()
            .enumerate()
            .map(|(index, target)| Candidate {
                facts: tagged.get(index).unwrap_or(&target.facts),
                health: &target.health,
                fits: target.serves(endpoint),
                spent: spent.get(index).is_some_and(Option::is_some),
            })
            .collect();
        let residency = admitted.residency();
        let (prompt_tokens, tokens) = admitted.expected_tokens();
        let ask = Ask {
            group: group.configured_name(),
            residency: &residency,
            tags: &self.tags,
            prompt_tokens,
            tokens,
            affinity: self.affinity,
            tried: self.attempts.tried(),
            once: !admitted.may_repeat(),
            last_resort: self.attempts.is_last_resort(),
            waited: self.waited,
        };
        let policy = &rules.config.routing;
        let wall = clock::now();
        let moment = Moment { policy, now, wall };
        decide(&ask, &candidates, moment, &mut clock::dice).plan
    }

    /// `None` when another request was faster: the state has changed.
    fn begin(&mut self, admitted: &Admitted, choice: Choice, now: MonoUs) -> Option<Lead> {
        let target = admitted.group.targets().get(choice.index)?;
        let policy = &admitted.rules.config.routing;
        let awaited = match admitted.ask.stream {
            true => Awaited::FirstToken,
            false => Awaited::Whole,
        };
        let (_, tokens) = admitted.expected_tokens();
        // Another request may have taken what was there a moment ago.
        let funds = funds::take(&admitted.state, admitted, target).ok()?;
        let flight = Flight::begin(
            &target.health,
            choice.entry,
            clock::now(),
            (tokens, awaited),
            (now, &policy.cooldown),
        )?;
        if let Some(rights) = &admitted.state.rights {
            rights.share_limits_of(&target.deployment.id, &target.health);
        }
        self.attempts.sent(choice.index);
        let strategy = policy.strategy_for(admitted.group.configured_name());
        Some(Lead {
            target: Arc::clone(target),
            flight: InFlight {
                flight,
                funds,
                target: Arc::clone(target),
                why: choice.why,
                others: choice.others,
                decay: strategy.latency_args().decay,
                rules: Arc::clone(&admitted.rules),
            },
        })
    }

    /// What follows a failed attempt. `admitted` moves on to another model where that is next.
    pub(super) fn failed(
        &mut self,
        state: &State,
        admitted: &mut Admitted,
        failure: &Failure,
        target: &Target,
        others: bool,
    ) -> Onward {
        let setback = Setback {
            verdict: failure.verdict,
            wait: failure.wait,
            deployment_retries: target.deployment.num_retries,
            others,
        };
        let (rules, left) = (Arc::clone(&admitted.rules), left(admitted));
        let next = self
            .attempts
            .failed(&setback, &situation(state, &rules.config.routing, left));
        self.go(state, admitted, next)
    }

    /// What follows when no deployment of the model gets it.
    pub(super) fn refused(
        &mut self,
        state: &State,
        admitted: &mut Admitted,
        refusal: &Refusal,
    ) -> Onward {
        let (rules, left) = (Arc::clone(&admitted.rules), left(admitted));
        let next = self
            .attempts
            .refused(refusal, &situation(state, &rules.config.routing, left));
        self.go(state, admitted, next)
    }

    fn go(&mut self, state: &State, admitted: &mut Admitted, mut next: Next) -> Onward {
        loop {
            let group = match next {
                Next::Retry { pause } => return Onward::Again(pause),
                Next::GiveUp(why) => return Onward::End(why),
                Next::LastResort { group } if group == admitted.asked_group.name => {
                    Some(Arc::clone(&admitted.asked_group))
                }
                Next::Fallback { group } | Next::LastResort { group } => {
                    admitted.rules.group(&group)
                }
            };
            if let Some(group) = group
                && hold::enter(admitted, group)
            {
                return Onward::Elsewhere;
            }
            // A model that is not there, or that the budget has no room for.
            let rules = Arc::clone(&admitted.rules);
            let situation = situation(state, &rules.config.routing, left(admitted));
            next = self.attempts.refused(&Refusal::NotServed, &situation);
        }
    }

    /// The same when the first deployment that is back comes after the caller's deadline.
    pub(super) fn nobody_in_time(
        &self,
        state: &State,
        admitted: &Admitted,
        pause: Duration,
    ) -> GatewayError {
        let refusal = Refusal::Busy {
            until: state.routing.now().plus(pause),
            cooling: (0..admitted.group.targets().len()).collect(),
        };
        self.error(state, admitted, (&refusal, None))
    }

    /// What the client is told when no deployment ever got its request; `unknown` instead of what
    /// a budget says of which nobody knows the rights.
    pub(super) fn error(
        &self,
        state: &State,
        admitted: &Admitted,
        (refusal, unknown): (&Refusal, Option<GatewayError>),
    ) -> GatewayError {
        let ids: Vec<&str> = ids(&admitted.group).collect();
        let spent = funds::spent(state, admitted);
        let spent = spent.iter().flatten().next().map(|error| &**error);
        let spent = unknown.as_ref().or(spent);
        refusal.error(&Refused {
            route: admitted.arrival.canonical,
            model: &admitted.ask.requested_model,
            tags: &self.tags,
            prompt_tokens: admitted.expected_tokens().0,
            ids: &ids,
            spent,
            now: state.routing.now(),
        })
    }
}

fn ids(group: &Group) -> impl Iterator<Item = &str> {
    group.targets().iter().map(|one| one.deployment.id.as_str())
}

/// Time until the caller's own deadline.
fn left(admitted: &Admitted) -> Option<Duration> {
    let deadline = admitted.deadline()?;
    Some(deadline.saturating_duration_since(Instant::now()))
}

fn situation<'a>(
    state: &'a State,
    policy: &'a RoutingPolicy,
    left: Option<Duration>,
) -> Situation<'a> {
    Situation {
        policy,
        budget: &state.routing.retries,
        now: state.routing.now(),
        left,
        dice: clock::dice(),
    }
}

/// What a request has in common with the others of its conversation.
fn affinity(admitted: &Admitted) -> Option<AffinityKey> {
    let policy = &admitted.rules.config.routing.affinity;
    if *policy == AffinityPolicy::Off {
        return None;
    }
    let tenant = match &admitted.key {
        Some(key) => key.policy.token.as_bytes().to_vec(),
        None => MASTER_TENANT.to_vec(),
    };
    let prompt = [Field::Messages, Field::Input, Field::Prompt]
        .into_iter()
        .find_map(|field| admitted.ask.field(field))
        .map_or(&b""[..], |value| value.raw);
    let session = admitted.ask.context.session_id.as_deref();
    AffinityKey::of(policy, &tenant, session, prompt)
}

/// What is configured of the deployments, with the tags that records of this request's tags give
/// them; empty when none of them has a record.
fn tagged(admitted: &Admitted) -> Vec<Facts> {
    let tags = &admitted.ask.tags_recorded;
    if tags.is_empty() {
        return Vec::new();
    }
    let with_tags = |target: &Arc<Target>| {
        let mut facts = target.facts.clone();
        let own = target.deployment.id.as_str();
        let given = tags
            .iter()
            .filter(|(_, view)| view.rights.deployments.iter().any(|id| **id == *own));
        facts.tags.extend(given.map(|(tag, _)| tag.clone()));
        facts
    };
    admitted.group.targets().iter().map(with_tags).collect()
}
