//! Answers to liveness and readiness probes, shared by the data plane and the management API.

/// Body of `/health/liveliness` and `/health/liveness`: a JSON string.
pub const ALIVE: &str = "\"I'm alive!\"";

/// What decides whether a load balancer should send traffic here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Keys, rules and prices are in memory.
    pub loaded: bool,
    /// The process was told to stop and finishes what runs.
    pub draining: bool,
    /// The store answered the last time it was asked.
    pub store_up: bool,
    /// How cooldowns are shared; without it nothing is missing that a request needs.
    pub coordination: Coordination,
}

impl Readiness {
    /// 200 or 503. A store that is down does not take the node out: known keys are in memory and
    /// spend is in the journal.
    pub fn status(self) -> u16 {
        if self.loaded && !self.draining {
            200
        } else {
            503
        }
    }

    /// `healthy`, or why not.
    pub fn word(self) -> &'static str {
        match (self.loaded, self.draining) {
            (_, true) => "draining",
            (false, false) => "starting",
            (true, false) => "healthy",
        }
    }

    /// LiteLLM's words for the state of the database.
    pub fn store_word(self) -> &'static str {
        if self.store_up {
            "connected"
        } else {
            "disconnected"
        }
    }

    /// Body of `/health/readiness`.
    pub fn body(self) -> String {
        let (status, store) = (self.word(), self.store_word());
        format!("{{\"status\":\"{status}\",\"db\":\"{store}\"}}")
    }
}

/// Whether this node shares what it finds out with others of its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coordination {
    /// No Redis is configured: it knows what it found out itself.
    #[default]
    Alone,
    /// Through Redis.
    Redis {
        /// Redis answers. If not, the node goes on alone until it does.
        up: bool,
    },
}

impl Coordination {
    /// Each of them, for the metrics page.
    pub const ALL: [Self; 3] = [
        Self::Alone,
        Self::Redis { up: true },
        Self::Redis { up: false },
    ];

    /// Word for how it is shared.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Alone => "none",
            Self::Redis { .. } => "redis",
        }
    }

    /// Word for whether that works.
    pub fn state(self) -> &'static str {
        match self {
            Self::Alone => "off",
            Self::Redis { up: true } => "up",
            Self::Redis { up: false } => "down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loaded_node_that_is_not_leaving_is_ready() {
        let ready = Readiness {
            loaded: true,
            draining: false,
            store_up: true,
            coordination: Coordination::Redis { up: false },
        };
        assert_eq!(ready.status(), 200);
        assert_eq!(ready.body(), r#"{"status":"healthy","db":"connected"}"#);
        let leaving = Readiness {
            draining: true,
            ..ready
        };
        assert_eq!((leaving.status(), leaving.word()), (503, "draining"));
        let starting = Readiness {
            loaded: false,
            store_up: false,
            ..ready
        };
        assert_eq!(starting.status(), 503);
        assert_eq!(
            starting.body(),
            r#"{"status":"starting","db":"disconnected"}"#
        );
    }
}
