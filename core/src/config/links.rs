//! Ways to other regions: where the mailbox of each of them lies.

use std::time::Duration;

use super::problem::Problems;
use super::redis::{self, Redis};
use super::section::Area;
use crate::region;

/// How long a region may be silent before its keys are no longer believed, unless it is set.
const MAX_STALE_S: u64 = 86_400;
/// What a link may say.
const KEYS: [&str; 5] = ["url", "username", "password", "tls", "namespace"];

/// Other regions.
#[derive(Clone, Debug)]
pub struct Links {
    /// Each with its Redis.
    pub peers: Vec<Peer>,
    /// A key of a region that was silent for longer gets 503.
    pub max_stale: Duration,
    /// A region that is cut off can go on for so long with a budget, at least; without, it can use
    /// all that it holds.
    pub isolation: Option<Duration>,
}

/// Another region.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub region: String,
    /// Its Redis: the mailbox of that region.
    pub redis: Redis,
}

/// What links need besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// This node's region.
    pub(super) own: Option<&'a str>,
    /// A Postgres is configured.
    pub(super) database: bool,
    /// A Redis of the own region is configured.
    pub(super) redis: bool,
}

/// `meridian.regions.links`, `max_stale_s` and `isolation_s`.
pub(super) fn resolve(regions: &Area<'_>, given: Given<'_>, problems: &mut Problems) -> Links {
    const KEY: &str = "links";
    let max_stale = regions.count("max_stale_s").unwrap_or(MAX_STALE_S);
    let table = regions.child(KEY);
    let entries = regions.get(KEY).map_or(&[][..], |node| node.entries());
    let mut peers = Vec::new();
    for entry in entries {
        let name = entry.key.as_str();
        let path = table.path_of(name);
        let wrong = if !region::is_name(name) {
            Some(format!("expected {}", region::EXPECTED))
        } else if Some(name) == given.own {
            Some(format!("`{name}` is this node's own region"))
        } else {
            None
        };
        if let Some(message) = wrong {
            problems.error(&entry.key_at, &path, message);
            continue;
        }
        let link = table.child(name);
        for key in entry.value.entries() {
            if !KEYS.contains(&key.key.as_str()) {
                let message = format!("unknown; expected one of {}", KEYS.join(", "));
                problems.error(&key.key_at, &link.path_of(&key.key), message);
            }
        }
        if let Some(redis) = redis::of_link(&link, problems) {
            let region = name.to_owned();
            peers.push(Peer { region, redis });
        }
    }
    let missing = match given {
        Given { own: None, .. } => Some("a region of its own: `--region NAME` or `default_region`"),
        Given {
            database: false, ..
        } => Some("a Postgres (`database_url`): the embedded store has one node"),
        Given { redis: false, .. } => Some("a Redis of its own region, where its mailbox lies"),
        _ => None,
    };
    if let (Some(missing), false) = (missing, peers.is_empty()) {
        let message = format!("no effect without {missing}");
        problems.warning(regions.at(KEY), &regions.path_of(KEY), message);
        peers.clear();
    }
    Links {
        isolation: isolation(regions, !peers.is_empty(), problems),
        peers,
        max_stale: Duration::from_secs(max_stale),
    }
}

/// Without links there is nobody to be cut off from.
fn isolation(regions: &Area<'_>, linked: bool, problems: &mut Problems) -> Option<Duration> {
    const KEY: &str = "isolation_s";
    let seconds = regions.count(KEY)?;
    if !linked {
        let message = "no effect without `links` to other regions: leave it out";
        problems.warning(regions.at(KEY), &regions.path_of(KEY), message);
    }
    linked.then(|| Duration::from_secs(seconds))
}
