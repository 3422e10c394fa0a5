//! Whether a second request is sent when the first is slow to begin.

use std::time::Duration;

use crate::money::NanoUsd;
use crate::routing::policy::HedgePolicy;
use crate::routing::share::ShareBucket;
use crate::time::MonoUs;

/// A request that waits for its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since it was sent.
    pub waited: Duration,
    /// It is the only send of this client request, and another one is within `max_attempts`.
    pub alone: bool,
    /// Another deployment of the group is in use and was not tried (`Choice::others`).
    pub others: bool,
    /// Most that the second one may cost; `None` when prices are unknown.
    pub cost: Option<NanoUsd>,
}

/// Whether to hedge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// Send the second request now.
    Now,
    /// Ask again after this time.
    After(Duration),
    /// Not for this request.
    Never(NoHedge),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHedge {
    /// It was sent more than once already, or `max_attempts` allows no more.
    Attempts,
    /// Nobody else could answer.
    Alone,
    /// It may cost more than the cap, or nobody knows what it costs.
    Cost,
    /// This node has made its share of hedges.
    Share,
}

/// Decides for one waiting request. `hedges` is a [`ShareBucket::strict`] that every client request
/// pays `share_max` into; a hedge is taken from it here.
pub fn decide(policy: &HedgePolicy, waiting: &Waiting, hedges: &ShareBucket, now: MonoUs) -> Hedge {
    if !waiting.alone {
        return Hedge::Never(NoHedge::Attempts);
    }
    if !waiting.others {
        return Hedge::Never(NoHedge::Alone);
    }
    if waiting.cost.is_none_or(|cost| cost > policy.cost_max) {
        return Hedge::Never(NoHedge::Cost);
    }
    if waiting.waited < policy.after {
        return Hedge::After(policy.after - waiting.waited);
    }
    match hedges.take(now) {
        true => Hedge::Now,
        false => Hedge::Never(NoHedge::Share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HedgePolicy = HedgePolicy {
        after: Duration::from_secs(2),
        share_max: 0.05,
        cost_max: NanoUsd(1_000),
    };

    fn waiting(millis: u64) -> Waiting {
        Waiting {
            waited: Duration::from_millis(millis),
            alone: true,
            others: true,
            cost: Some(NanoUsd(1_000)),
        }
    }

    #[test]
    fn a_hedge_waits_its_time_and_keeps_to_its_share() {
        let hedges = ShareBucket::strict();
        let ask = |waiting: Waiting| decide(&POLICY, &waiting, &hedges, MonoUs(1));
        assert_eq!(
            ask(waiting(500)),
            Hedge::After(Duration::from_millis(1_500))
        );
        let mut sent = 0;
        for _ in 0..1_000 {
            hedges.request(POLICY.share_max);
            sent += u32::from(ask(waiting(2_000)) == Hedge::Now);
        }
        assert_eq!(sent, 50);
        assert_eq!(ask(waiting(2_000)), Hedge::Never(NoHedge::Share));
    }

    #[test]
    fn no_hedge_that_costs_too_much_or_helps_nobody() {
        let hedges = ShareBucket::strict();
        hedges.request(1.0);
        let slow = waiting(9_000);
        let cases = [
            (
                Waiting {
                    cost: Some(NanoUsd(1_001)),
                    ..slow
                },
                NoHedge::Cost,
            ),
            (Waiting { cost: None, ..slow }, NoHedge::Cost),
            (
                Waiting {
                    others: false,
                    ..slow
                },
                NoHedge::Alone,
            ),
            (
                Waiting {
                    alone: false,
                    ..slow
                },
                NoHedge::Attempts,
            ),
        ];
        for (waiting, why) in cases {
            assert_eq!(
                decide(&POLICY, &waiting, &hedges, MonoUs(1)),
                Hedge::Never(why)
            );
        }
        assert_eq!(decide(&POLICY, &slow, &hedges, MonoUs(1)), Hedge::Now);
    }
}
