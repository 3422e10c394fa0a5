//! What one tenant can do to another.

use meridian_core::routing::policy::FailureClass;

use crate::faults::{LATENCY, SHUFFLE};
use crate::rng::lognormal;
use crate::world::{Behaviour, World, answer, fail};

/// What callers cause, in turn.
const CAUSED: [FailureClass; 4] = [
    FailureClass::Client,
    FailureClass::Cancelled,
    FailureClass::ContextWindow,
    FailureClass::ContentPolicy,
];

#[test]
fn a_flood_of_callers_mistakes_cools_nothing_and_hurts_nobody() {
    for chooser in [LATENCY, SHUFFLE] {
        // Nine of ten requests are the flood's: the provider tells them by their dice.
        let provider = || -> Behaviour {
            Box::new(|_, _, rng| match rng.dice() < 0.9 {
                true => fail(0.001, CAUSED[rng.below(4)]),
                false => answer(lognormal(rng, 0.3, 0.4)),
            })
        };
        let mut world = World::new(31, 2, chooser, vec![provider(), provider()]);
        world.traffic(0, 200.0, 0.0, 60.0);
        world.run();
        assert!(world.cooled.is_empty(), "{:?}", world.cooled);
        let harmed = world.got.iter().filter(|got| match got.result {
            Err(class) => class.is_none_or(|class| !CAUSED.contains(&class)),
            Ok(_) => false,
        });
        assert_eq!(harmed.count(), 0);
        assert!(world.quantile(0.99) < 1.0);
        assert_eq!(
            world.sends.len(),
            world.got.len(),
            "and nothing of it is sent again"
        );
    }
}
