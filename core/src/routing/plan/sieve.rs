//! Leaves out deployments, step by step, and remembers why.

use super::{Ask, Candidate, Moment, Refusal, Skip};
use crate::routing::health::Gate;
use crate::routing::policy::TagMatch;

/// The tag of deployments for requests that no other deployment's tags match.
const DEFAULT_TAG: &str = "default";

/// Candidates and what speaks against each.
pub(super) struct Sieve<'a> {
    pub(super) ask: &'a Ask<'a>,
    pub(super) candidates: &'a [Candidate<'a>],
    pub(super) moment: Moment<'a>,
    skips: Vec<Option<Skip>>,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(
        ask: &'a Ask<'a>,
        candidates: &'a [Candidate<'a>],
        moment: Moment<'a>,
    ) -> Self {
        Self {
            ask,
            candidates,
            moment,
            skips: vec![None; candidates.len()],
        }
    }

    pub(super) fn into_skips(self) -> Vec<Option<Skip>> {
        self.skips
    }

    pub(super) fn skip_of(&self, index: usize) -> Option<Skip> {
        self.skips[index]
    }

    /// Indices that nothing speaks against so far.
    pub(super) fn left(&self) -> Vec<usize> {
        let open = |(index, skip): (usize, &Option<Skip>)| skip.is_none().then_some(index);
        self.skips.iter().enumerate().filter_map(open).collect()
    }

    /// Nothing speaks against these any more.
    pub(super) fn restore(&mut self, indices: &[usize]) {
        indices.iter().for_each(|index| self.skips[*index] = None);
    }

    /// Whether another deployment is left, or was left until its order, region or ramp spoke
    /// against it.
    pub(super) fn has_others(&self, chosen: usize) -> bool {
        let usable = |skip: &Option<Skip>| match skip {
            None | Some(Skip::LaterOrder | Skip::FartherRegion | Skip::Ramping) => true,
            Some(_) => false,
        };
        let mut others = self.skips.iter().enumerate();
        others.any(|(index, skip)| index != chosen && usable(skip))
    }

    fn drop_where(&mut self, skip: impl Fn(&Candidate<'_>) -> Option<Skip>) {
        for (slot, candidate) in self.skips.iter_mut().zip(self.candidates) {
            if slot.is_none() {
                *slot = skip(candidate);
            }
        }
    }

    /// Leaves out what can never serve this request, in the order in which a caller should hear
    /// about it.
    pub(super) fn drop_unfit(&mut self) -> Result<(), Refusal> {
        self.drop_where(|one| one.facts.blocked.then_some(Skip::Blocked));
        self.drop_where(|one| (!one.fits).then_some(Skip::Dialect));
        self.unless_empty(Refusal::NotServed)?;
        let policy = self.moment.policy;
        if let Some(allowed) = policy.regions.allowed(self.ask.group, self.ask.residency) {
            let inside = |region: &Option<String>| {
                let region = region.as_ref();
                region.is_some_and(|region| allowed.contains(region))
            };
            self.drop_where(|one| (!inside(&one.facts.region)).then_some(Skip::Residency));
            self.unless_empty(Refusal::Region { allowed })?;
        }
        if let Some(matching) = policy.tags {
            self.drop_untagged(matching);
            self.unless_empty(Refusal::Tags)?;
        }
        if policy.pre_call_checks {
            self.drop_too_short()?;
        }
        self.drop_where(|one| one.spent.then_some(Skip::Budget));
        self.unless_empty(Refusal::Budget)
    }

    fn unless_empty(&self, refusal: Refusal) -> Result<(), Refusal> {
        match self.skips.iter().any(Option::is_none) {
            true => Ok(()),
            false => Err(refusal),
        }
    }

    fn drop_untagged(&mut self, matching: TagMatch) {
        let asked = self.ask.tags;
        let has = |one: &Candidate<'_>, tag: &str| one.facts.tags.iter().any(|own| own == tag);
        let matches = |one: &Candidate<'_>| match matching {
            _ if asked.is_empty() => false,
            TagMatch::Any => asked.iter().any(|tag| has(one, tag)),
            TagMatch::All => asked.iter().all(|tag| has(one, tag)),
        };
        let is_default = |one: &Candidate<'_>| has(one, DEFAULT_TAG);
        let left = self.left();
        let any = |test: &dyn Fn(&Candidate<'_>) -> bool| {
            left.iter().any(|index| test(&self.candidates[*index]))
        };
        let keep: &dyn Fn(&Candidate<'_>) -> bool = if any(&matches) {
            &matches
        } else if asked.is_empty() && !any(&is_default) {
            &|_| true
        } else {
            &is_default
        };
        self.drop_where(|one| (!keep(one)).then_some(Skip::Tags));
    }

    fn drop_too_short(&mut self) -> Result<(), Refusal> {
        let left = self.left();
        let longest = left
            .iter()
            .filter_map(|index| self.candidates[*index].facts.max_input_tokens);
        let max = longest.max().unwrap_or(0);
        let tokens = self.ask.prompt_tokens;
        let short = |one: &Candidate<'_>| {
            let most = one.facts.max_input_tokens;
            most.is_some_and(|most| tokens > most)
        };
        self.drop_where(|one| short(one).then_some(Skip::PromptTooLong));
        self.unless_empty(Refusal::PromptTooLong { max })
    }

    /// Leaves out what is not available now, and returns the ones that a request may try.
    pub(super) fn drop_unavailable(&mut self) -> Vec<usize> {
        let Moment { policy, now, wall } = self.moment;
        let mut half_open = Vec::new();
        for index in self.left() {
            let Candidate { health, .. } = self.candidates[index];
            let gate = health.gate(now, &policy.cooldown);
            let full = health.full(self.ask.tokens, wall);
            self.skips[index] = match (gate, full) {
                (Gate::Open { until, cause }, _) => Some(Skip::Cooling { until, cause }),
                (_, Some(full)) => Some(Skip::Full(full)),
                (Gate::HalfOpen | Gate::Probing, None) => Some(Skip::Probing),
                (Gate::Closed, None) => None,
            };
            if gate == Gate::HalfOpen && full.is_none() {
                half_open.push(index);
            }
        }
        half_open
    }

    /// Leaves out what was tried, as long as something else is left.
    pub(super) fn drop_tried(&mut self) {
        for index in self.ask.tried {
            if let Some(slot) = self.skips.get_mut(*index).filter(|slot| slot.is_none()) {
                *slot = Some(Skip::Tried);
            }
        }
    }

    /// Leaves out all pools but one: the lowest `order`, and in it the nearest region. A pool whose
    /// deployments are just back gets a growing share; the rest goes on to the next pool.
    pub(super) fn drop_other_pools(&mut self, dice: &mut dyn FnMut() -> f64) {
        let policy = self.moment.policy;
        let pool_of = |index: usize| {
            let facts = self.candidates[index].facts;
            let distance = policy.regions.distance(facts.region.as_deref());
            (facts.order, distance)
        };
        let mut left = self.left();
        left.sort_by_key(|index| pool_of(*index));
        let best = self.best_ramp(&left);
        let pools: Vec<&[usize]> = left.chunk_by(|a, b| pool_of(*a) == pool_of(*b)).collect();
        let takes = |pool: &&&[usize]| {
            let share = self.best_ramp(pool) / best;
            share >= 1.0 || self.gate_dice(pool[0], dice) < share
        };
        let Some(chosen) = pools.iter().find(takes).or(pools.first()).copied() else {
            return;
        };
        let order = self.candidates[chosen[0]].facts.order;
        // A pool is all that are in the same place: no look through the chosen for each.
        let chosen = pool_of(chosen[0]);
        for index in left {
            let facts = self.candidates[index].facts;
            if pool_of(index) == chosen {
                continue;
            }
            let later = facts.order > order;
            let ramping = facts.order < order || pool_of(index) < chosen;
            self.skips[index] = Some(match (later, ramping) {
                (true, _) => Skip::LaterOrder,
                (false, true) => Skip::Ramping,
                (false, false) => Skip::FartherRegion,
            });
        }
    }

    /// Leaves out those whose share still ramps up, as often as that says.
    pub(super) fn drop_ramping(&mut self, dice: &mut dyn FnMut() -> f64) {
        let left = self.left();
        let best = self.best_ramp(&left);
        for index in left {
            let share = self.ramp(index) / best;
            if share < 1.0 && self.gate_dice(index, dice) >= share {
                self.skips[index] = Some(Skip::Ramping);
            }
        }
    }

    /// Conversations come back one by one, and stay: the same one always has the same dice.
    fn gate_dice(&self, index: usize, dice: &mut dyn FnMut() -> f64) -> f64 {
        let hash = self.candidates[index].facts.hash;
        self.ask.affinity.map_or_else(dice, |key| key.dice(hash))
    }

    fn ramp(&self, index: usize) -> f64 {
        let Moment { policy, now, .. } = self.moment;
        self.candidates[index].health.ramp(now, &policy.cooldown)
    }

    fn best_ramp(&self, indices: &[usize]) -> f64 {
        indices
            .iter()
            .map(|index| self.ramp(*index))
            .fold(f64::MIN_POSITIVE, f64::max)
    }
}
