//! One client request over all its attempts: retry, fall back or give up.
//!
//! Every layer is here, so that one budget of sends holds over all of them.

mod chain;
mod pause;

use std::time::Duration;

use crate::routing::failure::{Again, Verdict};
use crate::routing::plan::Refusal;
use crate::routing::policy::{FailureClass, RetryPolicy, RoutingPolicy};
use crate::routing::share::ShareBucket;
use crate::time::MonoUs;
use chain::Chain;

/// What a request says about retries and fallbacks; `None` leaves it to the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Attempts after the first, in each model group (`num_retries`).
    pub num_retries: Option<u32>,
    /// Models after any failure (`fallbacks`).
    pub fallbacks: Option<Vec<String>>,
    /// Models for a prompt that is too long (`context_window_fallbacks`).
    pub context_window: Option<Vec<String>>,
    /// Models for content that is refused (`content_policy_fallbacks`).
    pub content_policy: Option<Vec<String>>,
    /// No other models at all.
    pub disable_fallbacks: bool,
    /// Sending twice would do something twice: one send, whatever happens.
    pub once: bool,
}

/// The rules, the node and the moment that decide.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The configuration.
    pub policy: &'a RoutingPolicy,
    /// Extra sends of this node.
    pub budget: &'a ShareBucket,
    /// Now.
    pub now: MonoUs,
    /// Time until the request's own deadline, if it has one.
    pub left: Option<Duration>,
    /// Uniform in `[0, 1)`.
    pub dice: f64,
}

/// A failed attempt, as the request sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setback {
    /// What it was.
    pub verdict: Verdict,
    /// What the provider asks to wait.
    pub wait: Option<Duration>,
    /// The deployment's own `num_retries`.
    pub deployment_retries: Option<u32>,
    /// Another deployment of the group is in use and was not tried (`Choice::others`).
    pub others: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same model group again.
    Retry {
        /// After this time.
        pause: Duration,
    },
    /// Another model group, at once.
    Fallback {
        /// Its name.
        group: String,
    },
    /// A model group whose deployments were all left out: ask `plan` with `last_resort`.
    LastResort {
        /// Its name.
        group: String,
    },
    /// The client gets the error.
    GiveUp(GiveUp),
}

/// Why nothing comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// Content has reached the client.
    Committed,
    /// The caller left, or set a deadline that has passed.
    Cancelled,
    /// No other deployment and no other model would do better.
    Hopeless,
    /// `max_attempts` sends were made.
    AttemptsMax,
    /// This node has made its share of extra sends.
    RetryBudget,
    /// Retries and fallbacks are used up.
    Exhausted,
}

impl GiveUp {
    /// Word for logs and the response header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Cancelled => "cancelled",
            Self::Hopeless => "hopeless",
            Self::AttemptsMax => "max_attempts",
            Self::RetryBudget => "retry_budget",
            Self::Exhausted => "exhausted",
        }
    }
}

/// A client request on its way.
#[derive(Clone, Debug)]
pub struct Attempts {
    overrides: Overrides,
    chain: Chain,
    /// Deployments of the current group that it was sent to.
    tried: Vec<usize>,
    sends: u32,
    /// Retries in the current group.
    retries_here: u32,
    /// Retries in all groups.
    retries: u32,
    /// The first group whose deployments were all left out.
    busy: Option<String>,
    last_resort: bool,
    /// The next send is paid for.
    paid: bool,
    committed: bool,
}

impl Attempts {
    /// A request for a model group, aliases applied.
    pub fn new(group: String, overrides: Overrides) -> Self {
        Self {
            overrides,
            chain: Chain::new(group),
            tried: Vec::new(),
            sends: 0,
            retries_here: 0,
            retries: 0,
            busy: None,
            last_resort: false,
            paid: false,
            committed: false,
        }
    }

    /// The group that is asked now.
    pub fn group(&self) -> &str {
        self.chain.current()
    }

    /// Its deployments that the request was sent to: for `Ask::tried`.
    pub fn tried(&self) -> &[usize] {
        &self.tried
    }

    /// For `Ask::last_resort`.
    pub fn is_last_resort(&self) -> bool {
        self.last_resort
    }

    /// Sends so far, hedges included.
    pub fn sends(&self) -> u32 {
        self.sends
    }

    /// Retries so far (`x-litellm-attempted-retries`).
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Other models so far (`x-litellm-attempted-fallbacks`).
    pub fn fallbacks(&self) -> u32 {
        self.chain.depth()
    }

    /// Whether one more send, also a hedge, is within `max_attempts`.
    pub fn may_send(&self, policy: &RetryPolicy) -> bool {
        let most = if self.overrides.once {
            1
        } else {
            policy.attempts_max.max(1)
        };
        !self.committed && self.sends < most
    }

    /// It is sent to the deployment at `index` of the current group.
    pub fn sent(&mut self, index: usize) {
        self.sends += 1;
        self.paid = false;
        self.tried.push(index);
    }

    /// Content has reached the client: from now on nothing is sent again.
    pub fn committed(&mut self) {
        self.committed = true;
    }

    /// The last send failed.
    pub fn failed(&mut self, setback: &Setback, situation: &Situation<'_>) -> Next {
        let class = setback.verdict.class;
        if let Some(why) = self.forbidden(class, situation.policy) {
            return Next::GiveUp(why);
        }
        let special = self.chain.special(class, &self.overrides, situation.policy);
        if !special {
            let pause = self.pause_before_retry(setback, situation);
            if let Some(pause) = pause {
                return self.paid(situation, |this| {
                    this.retries_here += 1;
                    this.retries += 1;
                    Next::Retry { pause }
                });
            }
        }
        let refused = matches!(
            class,
            FailureClass::ContextWindow | FailureClass::ContentPolicy
        );
        if setback.verdict.again == Again::Never && !refused {
            return Next::GiveUp(GiveUp::Hopeless);
        }
        self.elsewhere(class, situation)
    }

    /// No deployment of the current group gets it.
    pub fn refused(&mut self, refusal: &Refusal, situation: &Situation<'_>) -> Next {
        let class = match refusal {
            Refusal::PromptTooLong { .. } => FailureClass::ContextWindow,
            Refusal::Busy { .. } => {
                let group = self.group().to_owned();
                if !self.last_resort {
                    self.busy.get_or_insert(group);
                }
                FailureClass::RateLimit
            }
            Refusal::Budget => FailureClass::RateLimit,
            Refusal::NotServed | Refusal::Region { .. } | Refusal::Tags => FailureClass::Server,
        };
        match self.forbidden(class, situation.policy) {
            Some(why) => Next::GiveUp(why),
            None => self.elsewhere(class, situation),
        }
    }

    fn forbidden(&self, class: FailureClass, policy: &RoutingPolicy) -> Option<GiveUp> {
        if self.committed {
            return Some(GiveUp::Committed);
        }
        if class == FailureClass::Cancelled {
            return Some(GiveUp::Cancelled);
        }
        (!self.may_send(&policy.retries)).then_some(GiveUp::AttemptsMax)
    }

    /// Another model, else the one that was busy, else nothing.
    fn elsewhere(&mut self, class: FailureClass, situation: &Situation<'_>) -> Next {
        let next = match self.overrides.disable_fallbacks {
            true => None,
            false => self.chain.next(class, &self.overrides, situation.policy),
        };
        if let Some(group) = next {
            // What a provider refuses by its rules is no sign of trouble: it costs no budget.
            let ruled = matches!(
                class,
                FailureClass::ContextWindow | FailureClass::ContentPolicy
            );
            let go = |this: &mut Self| {
                this.enter(&group);
                Next::Fallback { group }
            };
            return if ruled {
                go(self)
            } else {
                self.paid(situation, go)
            };
        }
        match self.busy.take() {
            Some(group) => self.paid(situation, |this| {
                this.last_resort = true;
                this.enter(&group);
                Next::LastResort { group }
            }),
            None => Next::GiveUp(GiveUp::Exhausted),
        }
    }

    fn enter(&mut self, group: &str) {
        // A last resort in the same model is the retry that found everything left out.
        if self.group() != group {
            self.tried.clear();
            self.retries_here = 0;
        }
        self.chain.enter(group);
    }

    /// A further send, if the node's budget allows one more. The first send of a request is free,
    /// and so is the way from a model that nobody gave it to.
    fn paid(&mut self, situation: &Situation<'_>, go: impl FnOnce(&mut Self) -> Next) -> Next {
        if self.sends > 0 && !self.paid {
            if !situation.budget.take(situation.now) {
                return Next::GiveUp(GiveUp::RetryBudget);
            }
            self.paid = true;
        }
        go(self)
    }

    /// Pause before a retry in the same group; `None` when there is to be none.
    fn pause_before_retry(&self, setback: &Setback, situation: &Situation<'_>) -> Option<Duration> {
        if self.retries_here >= self.retries_allowed(setback, situation.policy) {
            return None;
        }
        if setback.verdict.again == Again::Elsewhere && !setback.others {
            return None;
        }
        let policy = &situation.policy.retries;
        let pause = match setback.others {
            true => Duration::ZERO,
            false => pause::at_same(self.retries_here, setback.wait, policy, situation.dice)?,
        };
        let in_time = situation.left.is_none_or(|left| pause < left);
        in_time.then_some(pause)
    }

    /// Request, then deployment, then the group's policy for this error, then the general one,
    /// then the general number.
    fn retries_allowed(&self, setback: &Setback, policy: &RoutingPolicy) -> u32 {
        let own = self.overrides.num_retries.or(setback.deployment_retries);
        let error = setback.verdict.class.policy_error();
        let of_error = error.and_then(|error| {
            let group = policy.retries.retries_of_group.get(self.group());
            let of_group = group.and_then(|group| group.get(&error));
            of_group.or_else(|| policy.retries.retries_of.get(&error))
        });
        if setback.verdict.again == Again::Never {
            // Only a policy that names the error makes such a retry: a general number does not.
            return of_error.copied().unwrap_or(0);
        }
        own.or(of_error.copied()).unwrap_or(policy.retries.retries)
    }
}

#[cfg(test)]
mod tests;
