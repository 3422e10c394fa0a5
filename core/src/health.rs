//! Answers to liveness and readiness probes, shared by the data plane and the management API.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::time::WallMs;

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

    /// Both in one word, as answers say it in `x-meridian-coordination`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Alone => "none",
            Self::Redis { up: true } => "redis-up",
            Self::Redis { up: false } => "redis-down",
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

/// How the node's copy of the records is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// The store answered the last time; `None` before it was asked.
    pub store: Option<bool>,
    /// Since when that is so.
    pub since: Option<WallMs>,
    /// All that the store had at some time is in memory.
    pub complete: bool,
    /// When memory was last known to have all that the store has.
    pub caught_up: Option<WallMs>,
    /// When the snapshot on disk was written.
    pub snapshot: Option<WallMs>,
    /// How many records it has.
    pub snapshot_records: u64,
    /// Ways to and from other regions.
    pub links: BTreeMap<String, LinkHealth>,
}

/// The way to another region and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkHealth {
    /// Its mailbox takes what is sent from here.
    pub up: bool,
    /// Up to when it has told everything here.
    pub watermark: Option<WallMs>,
}

impl Propagation {
    /// As `/health/readiness/details` shows it.
    pub fn shown(&self, now: WallMs) -> Value {
        let age_s = |at: Option<WallMs>| at.map(|at| age_s(at, now));
        let link = |(home, link): (&String, &LinkHealth)| {
            let shown = json!({"up": link.up, "behind_s": age_s(link.watermark)});
            (home.clone(), shown)
        };
        let links: serde_json::Map<String, Value> = self.links.iter().map(link).collect();
        json!({
            "store": match self.store {
                None => "unasked",
                Some(true) => "up",
                Some(false) => "down",
            },
            "store_since": self.since.map(WallMs::to_iso),
            "complete": self.complete,
            "feed_age_s": age_s(self.caught_up),
            "snapshot_age_s": age_s(self.snapshot),
            "snapshot_records": self.snapshot_records,
            "regions": links,
        })
    }
}

/// Seconds since then, at least none.
pub fn age_s(at: WallMs, now: WallMs) -> f64 {
    let ms = u32::try_from(now.0.saturating_sub(at.0).max(0)).unwrap_or(u32::MAX);
    f64::from(ms) / 1e3
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
