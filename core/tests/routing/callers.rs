//! What one tenant can do to another.

use meridian_core::routing::policy::FailureClass;

use crate::faults::{LATENCY, SHUFFLE};
use crate::providers::{Behaviour, Outcome, answer, fail};
use crate::rng::lognormal;
use crate::world::World;

const FLOOD: usize = 1;

/// What callers cause.
const CAUSED: [FailureClass; 4] = [
    FailureClass::Client,
    FailureClass::Cancelled,
    FailureClass::ContextWindow,
    FailureClass::ContentPolicy,
];

#[test]
fn a_flood_of_one_callers_mistakes_harms_nobody_else() {
    for chooser in [LATENCY, SHUFFLE] {
        let provider = || -> Behaviour {
            Box::new(|call, rng| match (call.tenant, rng.below(5)) {
                (FLOOD, 4) => Outcome::Leaves {
                    after: rng.dice() / 100.0,
                },
                (FLOOD, one) => fail(0.001, CAUSED[one]),
                _ => answer(lognormal(rng, 0.3, 0.4)),
            })
        };
        let mut world = World::new(31, 2, chooser, vec![provider(), provider()]);
        world.traffic(0, 20.0, 0.0, 60.0);
        world.traffic(FLOOD, 200.0, 0.0, 60.0);
        world.run();
        assert!(world.cooled.is_empty(), "{:?}", world.cooled);
        let others = world.got.iter().filter(|got| got.tenant != FLOOD);
        assert_eq!(others.filter(|got| got.result.is_err()).count(), 0);
        assert!(world.quantile(0.99) < 1.0);
        let flood = world.sends.len() as f64 / 60.0;
        assert!(flood < 230.0, "nothing of it is sent again: {flood}");
    }
}
