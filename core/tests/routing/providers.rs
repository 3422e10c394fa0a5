//! What providers do.

use std::time::Duration;

use meridian_core::routing::policy::FailureClass;

use crate::rng::{Rng, lognormal};

/// What a provider does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// First token after so many seconds, then tokens at this pace.
    Answer { ttft: f64, tokens: u64, each: f64 },
    /// A failure after so many seconds.
    Fail {
        after: f64,
        class: FailureClass,
        wait: Option<Duration>,
    },
    /// The caller leaves after so many seconds.
    Leaves { after: f64 },
}

/// A request, as a provider sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub second: f64,
    /// Requests that the provider runs already.
    pub in_flight: u32,
    pub tenant: usize,
}

/// Says what a provider does; the dice are the request's own.
pub(crate) type Behaviour = Box<dyn Fn(Call, &mut Rng) -> Outcome>;

/// A healthy provider: lognormal time to first token with this median, 50 tokens of 10 ms.
pub(crate) fn healthy(median: f64) -> Behaviour {
    Box::new(move |_, rng| answer(lognormal(rng, median, 0.4)))
}

/// An answer of usual length.
pub(crate) fn answer(ttft: f64) -> Outcome {
    Outcome::Answer {
        ttft,
        tokens: 50,
        each: 0.01,
    }
}

/// A failure.
pub(crate) fn fail(after: f64, class: FailureClass) -> Outcome {
    Outcome::Fail {
        after,
        class,
        wait: None,
    }
}
