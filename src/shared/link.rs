//! Whether Redis answers: for metrics and probes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use meridian_core::health::Coordination;

/// State of the way to Redis, as others see it.
#[derive(Debug)]
pub struct Link {
    configured: bool,
    up: AtomicBool,
}

impl Link {
    /// Down, or with no Redis at all.
    pub fn new(configured: bool) -> Self {
        Self {
            configured,
            up: AtomicBool::new(false),
        }
    }

    /// How this node shares, now.
    pub fn coordination(&self) -> Coordination {
        match self.configured {
            false => Coordination::Alone,
            true => Coordination::Redis {
                up: self.up.load(Relaxed),
            },
        }
    }

    pub(super) fn set(&self, up: bool) {
        self.up.store(up, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_documentation() {
        let alone = Link::new(false).coordination();
        assert_eq!((alone.mode(), alone.state()), ("none", "off"));
        let link = Link::new(true);
        assert_eq!(link.coordination().state(), "down");
        link.set(true);
        let shared = link.coordination();
        assert_eq!((shared.mode(), shared.state()), ("redis", "up"));
    }
}
