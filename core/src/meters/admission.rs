//! One request over all its scopes: taken together, extended together, given back once.

use std::sync::Arc;

use super::held::{End, Held, ModelHeld};
use super::purse::Decides;
use super::window::{Part, Window};
use super::{Meters, Whose};
use crate::budget::policy::Policy;
use crate::error::GatewayError;
use crate::escrow::Pid;
use crate::money::NanoUsd;
use crate::scope::ScopeKind;
use crate::time::WallMs;

/// The most that a request can take.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Upper bound of its cost.
    pub cost: NanoUsd,
    /// Estimate of its tokens, input and output.
    pub tokens: u64,
    /// The model, after aliases.
    pub model: &'a str,
    /// The model is known to cost nothing: budgets do not refuse it. Not for an unknown price.
    pub free: bool,
    /// The key's alias, for messages.
    pub key_alias: Option<&'a str>,
    /// What decides about budgets.
    pub decides: Decides,
    /// What it can cost over `cost`.
    pub excess: NanoUsd,
}

/// How much more a stream wants that runs.
#[derive(Clone, Copy, Debug)]
pub struct Grows {
    /// Money for what comes next.
    pub more: NanoUsd,
    /// It has not taken yet what it may past the end of a budget that lets it finish.
    pub may_finish: bool,
    /// What holds for budgets that say nothing themselves.
    pub all: Policy,
}

/// What a stream that goes on is covered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// Its budgets.
    Within,
    /// One of them is used up and lets it end.
    Past,
}

/// A request that was not admitted.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Denied {
    /// What the client is told.
    pub error: Box<GatewayError>,
    /// The budget whose rights may be had elsewhere.
    pub lacking: Option<Lacking>,
}

/// A budget with too few rights on this node.
#[derive(Clone, Debug)]
pub struct Lacking {
    /// Its scope.
    pub meters: Arc<Meters>,
    /// Which of its budgets.
    pub part: Part,
    /// What is needed of it.
    pub need: NanoUsd,
}

impl From<GatewayError> for Denied {
    fn from(error: GatewayError) -> Self {
        Self {
            error: Box::new(error),
            lacking: None,
        }
    }
}

/// A further scope that a request is charged to: user, team, tag, the whole installation.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its counters.
    pub meters: Arc<Meters>,
    /// Its budget counts and does not refuse: a user's, when the key is a team's.
    pub counts_only: bool,
}

impl Due {
    /// A scope whose budget refuses.
    pub fn of(meters: Arc<Meters>) -> Self {
        Self {
            meters,
            counts_only: false,
        }
    }
}

/// A soft budget that a settlement has passed: worth one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Whose.
    pub whose: Whose,
    /// The soft budget.
    pub soft: NanoUsd,
    /// Spent in the running period now.
    pub spent: NanoUsd,
}

impl Meters {
    /// Admits a request: budgets of this scope, of its model and of `others`, then the rates of
    /// all. A refusal leaves every counter as it was.
    ///
    /// # Errors
    /// `BudgetExceeded`, `RateLimited`, and whether waiting for rights could help.
    pub fn admit(
        self: &Arc<Self>,
        need: Need<'_>,
        others: Vec<Due>,
        now: WallMs,
    ) -> Result<Admission, Denied> {
        // From here on a refusal drops the admission, which gives back what it holds so far.
        let mut admission = Admission {
            first: Held::of(Due::of(Arc::clone(self))),
            others: others.into_iter().map(Held::of).collect(),
            cost: if need.free { NanoUsd::ZERO } else { need.cost },
            excess: need.excess,
            tokens: need.tokens,
            decides: need.decides,
            sent: false,
        };
        for held in admission.scopes() {
            held.take_budget(need, now)?;
        }
        for held in admission.scopes() {
            held.take_rate(need.tokens, now)?;
        }
        for held in admission.scopes() {
            held.take_model_rate(need.tokens, now)?;
        }
        Ok(admission)
    }

    /// Counts what was used already: nothing is reserved, nothing refuses, and no limit per minute
    /// knows of it. Settle it at once.
    pub fn count(
        self: &Arc<Self>,
        model: &str,
        others: Vec<Due>,
        decides: Decides,
        now: WallMs,
    ) -> Admission {
        let mut admission = Admission {
            first: Held::of(Due::of(Arc::clone(self))),
            others: others.into_iter().map(Held::of).collect(),
            cost: NanoUsd::ZERO,
            excess: NanoUsd::ZERO,
            tokens: 0,
            decides,
            sent: false,
        };
        for held in admission.scopes() {
            held.count_budget(model, decides, now);
        }
        admission
    }
}

/// What an admitted request holds, to be settled once. It can be moved anywhere.
///
/// Dropped without [`Self::settle`] (a panic, a lost context) it gives its permits back at once;
/// its money is released when nothing was sent upstream, and charged at the full reservation after
/// [`Self::mark_sent`], because the provider may bill it.
#[derive(Debug)]
#[must_use = "dropping an admission ends the request's accounting"]
pub struct Admission {
    first: Held,
    others: Vec<Held>,
    cost: NanoUsd,
    excess: NanoUsd,
    tokens: u64,
    decides: Decides,
    sent: bool,
}

impl Admission {
    /// A provider may bill this request from now on.
    pub fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Periods whose rights it holds.
    pub fn pids(&self) -> Vec<Pid> {
        let scopes = std::iter::once(&self.first).chain(&self.others);
        scopes.flat_map(Held::pids).collect()
    }

    /// Budgets that are shared and of which this node has no rights: what is settled now would
    /// not be known to other nodes.
    pub fn without_rights(&mut self, now: WallMs) -> Vec<Lacking> {
        if self.decides != Decides::Rights {
            return Vec::new();
        }
        let scopes = std::iter::once(&mut self.first).chain(&mut self.others);
        scopes.flat_map(|held| held.without_rights(now)).collect()
    }

    /// Whether it counts in this scope.
    pub fn holds(&self, kind: ScopeKind, id: &str) -> bool {
        let mut scopes = std::iter::once(&self.first).chain(&self.others);
        scopes.any(|held| {
            let scope = held.meters.scope();
            scope.is_some_and(|scope| scope.kind == kind && scope.id == *id)
        })
    }

    /// Limits that nodes could share and do not share yet.
    pub fn apart(&self) -> impl Iterator<Item = Window> {
        let scopes = std::iter::once(&self.first).chain(&self.others);
        scopes.flat_map(Held::apart)
    }

    /// Cost that is held.
    pub fn reserved(&self) -> NanoUsd {
        self.cost
    }

    /// Whether a scope was blocked or deleted since: what runs is to be cut.
    pub fn has_ended(&self) -> bool {
        self.first.meters.has_ended() || self.others.iter().any(|held| held.meters.has_ended())
    }

    /// Replaces what is held by what the request cost and used. Returns the soft budgets that it
    /// passed.
    pub fn settle(mut self, cost: NanoUsd, tokens: u64) -> Vec<Crossing> {
        self.finish(End::Settled { cost, tokens })
    }

    /// The request was never sent: nothing of it counts.
    pub fn release(mut self) {
        self.finish(End::Released);
    }

    /// Moves on to another model: its own rates and budgets are taken in place of the last one's,
    /// and every budget holds `cost` if that is more than before. `false` when something has no
    /// room; the admission stays as it was.
    pub fn enter(&mut self, model: &str, cost: NanoUsd, tokens: u64, now: WallMs) -> bool {
        let (decides, excess) = (self.decides, self.excess);
        let take = |held: &mut Held| {
            // The same limits hold it already; they are extended with the rest.
            let at = held.meters.models.find(model).map(|(at, _)| at);
            match at == held.model.at {
                true => Some(None),
                false => held
                    .take_model(model, (cost, excess, tokens), decides, now)
                    .map(Some),
            }
        };
        let taken: Vec<_> = self.scopes().map(take).collect();
        if taken.iter().any(Option::is_none) {
            self.give_back(taken.into_iter().map(Option::flatten).collect());
            return false;
        }
        let taken = taken.into_iter().map(Option::flatten).collect();
        let last = self.swap_models(taken);
        let more = cost.saturating_sub(self.cost);
        if more > NanoUsd::ZERO && self.extend_beside(more, &last, now).is_err() {
            let unwanted = self.swap_models(last);
            self.give_back(unwanted);
            return false;
        }
        // A model that was asked and failed keeps the request, not the money.
        let end = match self.sent {
            true => End::Settled {
                cost: NanoUsd::ZERO,
                tokens: 0,
            },
            false => End::Released,
        };
        for (held, last) in self.scopes().zip(last) {
            if let Some(last) = last {
                held.end_model(last, end);
            }
        }
        true
    }

    /// Holds `more` in every budget, or in none.
    ///
    /// # Errors
    /// The first budget that has no room; the admission stays as it was.
    pub fn extend(&mut self, more: NanoUsd, now: WallMs) -> Result<(), Lacking> {
        self.extend_beside(more, &[], now)
    }

    /// Holds more for a stream that runs. A budget without room is passed where its policy lets
    /// streams end.
    ///
    /// # Errors
    /// The first budget that cuts it; the admission stays as it was.
    pub fn grow(&mut self, grows: Grows, now: WallMs) -> Result<Covered, Lacking> {
        let (mut grown, mut covered, mut cut) = (0, Covered::Within, None);
        for held in self.scopes() {
            match held.grow(grows, now) {
                Ok(Covered::Within) => {}
                Ok(Covered::Past) => covered = Covered::Past,
                Err(lacking) => {
                    cut = Some(lacking);
                    break;
                }
            }
            grown += 1;
        }
        if let Some(lacking) = cut {
            let grown = self.scopes().take(grown);
            grown.for_each(|held| held.shrink(grows.more));
            return Err(lacking);
        }
        self.cost = self.cost.saturating_add(grows.more);
        Ok(covered)
    }

    /// Says what a stream can still cost past the end of budgets that let it end.
    pub fn expose(&mut self, past: NanoUsd, all: Policy) {
        let cut = self.excess;
        self.scopes().for_each(|held| held.expose(cut, past, all));
    }

    /// As [`Self::extend`]; models that were just taken (`replaced` has what they stand for) hold
    /// their whole cost already.
    fn extend_beside(
        &mut self,
        more: NanoUsd,
        replaced: &[Option<ModelHeld>],
        now: WallMs,
    ) -> Result<(), Lacking> {
        let is_new = |place: usize| matches!(replaced.get(place), Some(Some(_)));
        let mut refused = None;
        let mut extended = 0;
        for (place, held) in self.scopes().enumerate() {
            let aside = is_new(place).then(|| std::mem::take(&mut held.model));
            let result = held.extend(more, now);
            if let Some(model) = aside {
                held.model = model;
            }
            match result {
                Ok(()) => extended += 1,
                Err(refusal) => {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        let Some(refusal) = refused else {
            self.cost = self.cost.saturating_add(more);
            return Ok(());
        };
        for (place, held) in self.scopes().enumerate().take(extended) {
            let aside = is_new(place).then(|| std::mem::take(&mut held.model));
            held.shrink(more);
            if let Some(model) = aside {
                held.model = model;
            }
        }
        Err(refusal)
    }

    /// Puts these models in force, scope by scope; returns those before. `None` changes nothing.
    fn swap_models(&mut self, models: Vec<Option<ModelHeld>>) -> Vec<Option<ModelHeld>> {
        let swap = |(held, model): (&mut Held, Option<ModelHeld>)| {
            model.map(|model| std::mem::replace(&mut held.model, model))
        };
        self.scopes().zip(models).map(swap).collect()
    }

    fn give_back(&mut self, models: Vec<Option<ModelHeld>>) {
        for (held, model) in self.scopes().zip(models) {
            if let Some(model) = model {
                held.end_model(model, End::Released);
            }
        }
    }

    fn scopes(&mut self) -> impl Iterator<Item = &mut Held> {
        std::iter::once(&mut self.first).chain(self.others.iter_mut())
    }

    fn finish(&mut self, end: End) -> Vec<Crossing> {
        self.scopes().filter_map(|held| held.finish(end)).collect()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (cost, tokens) = (self.cost, self.tokens);
        self.finish(match self.sent {
            true => End::Settled { cost, tokens },
            false => End::Released,
        });
    }
}
