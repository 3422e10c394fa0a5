//! New configuration for a running gateway: on SIGHUP and when a file changes, all or nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meridian_core::config::{Config, Severity};
use tokio::signal::unix;
use tokio::sync::watch;

use super::force;
use crate::cache::Cache;
use crate::config_load;
use crate::merged::Merged;
use crate::price_source::PriceSource;
use crate::state::State;

/// How often the files are looked at. Works on every file system and through symbolic links, as
/// Kubernetes mounts them.
const LOOK: Duration = Duration::from_secs(1);

/// What identifies one version of a file.
pub(super) type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Reloads configuration and prices of a running gateway.
pub(super) struct Reloader {
    pub(super) state: Arc<State>,
    pub(super) prices: Arc<PriceSource>,
    pub(super) merged: Arc<Merged>,
    pub(super) config: Option<PathBuf>,
    pub(super) files: Vec<PathBuf>,
    /// The versions of the files that are in force: taken before anybody is told that the gateway
    /// is ready, or a change soon after would count as seen.
    pub(super) seen: Stamp,
    pub(super) env: HashMap<String, String>,
    /// SIGHUP: received from before the gateway is ready, or it would end the process.
    pub(super) hangup: unix::Signal,
}

impl Reloader {
    /// Runs until `stop` turns true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    let before = stamp(&self.files);
                    self.reload("SIGHUP");
                    self.seen = seen_by_reload(before, stamp(&self.files));
                }
                () = tokio::time::sleep(LOOK) => {
                    let now = stamp(&self.files);
                    if now != self.seen {
                        self.reload("file change");
                        self.seen = seen_by_reload(now, stamp(&self.files));
                    }
                }
                _ = stop.changed() => return,
            }
        }
    }

    fn reload(&mut self, cause: &'static str) {
        let Some(path) = self.config.clone() else {
            return;
        };
        let loaded = config_load::load_from(Some(&path), &self.env);
        if !loaded.files.is_empty() {
            self.files = loaded.files;
        }
        for problem in loaded
            .problems
            .iter()
            .filter(|one| one.severity != Severity::Notice)
        {
            tracing::warn!(%problem, "configuration");
        }
        let (Some(config), Some(source)) = (loaded.config, loaded.source) else {
            self.state.metrics.reloaded(false);
            tracing::error!(
                cause,
                "configuration has errors; the old one stays in force"
            );
            return;
        };
        let old = self.state.rules.load_full();
        for setting in needs_restart(&old.config, &config, self.state.cache.as_deref()) {
            tracing::warn!(setting, "changed; takes effect at the next start");
        }
        self.merged.set_source(source);
        force::put(&self.state, &self.merged, Some(self.prices.book()));
        let epoch = self.state.rules.load().epoch;
        self.state.metrics.reloaded(true);
        tracing::info!(cause, epoch, "configuration reloaded");
    }
}

/// Settings that were changed and that a running process keeps as they were.
fn needs_restart(old: &Config, new: &Config, cache: Option<&Cache>) -> Vec<&'static str> {
    let (a, b) = (&old.meridian, &new.meridian);
    let budget = |config: &Config| config.settings.budget.is_some();
    let changed = [
        ("meridian.tls", a.tls.is_some() != b.tls.is_some()),
        ("meridian.admin_bind", a.admin_bind != b.admin_bind),
        (
            "meridian.journal_bytes_max",
            a.journal_bytes_max != b.journal_bytes_max,
        ),
        ("meridian.fsync", a.fsync != b.fsync),
        (
            "meridian.metrics_series_max",
            a.metrics_series_max != b.metrics_series_max,
        ),
        (
            "meridian.connect_timeout_s",
            a.connect_timeout != b.connect_timeout,
        ),
        (
            "meridian.upstream_idle_s",
            a.upstream_idle != b.upstream_idle,
        ),
        ("meridian.dns_ttl_s", a.dns_ttl != b.dns_ttl),
        (
            "meridian.upstream_ca_file",
            a.upstream_ca_file != b.upstream_ca_file,
        ),
        (
            "litellm_settings.timezone",
            old.settings.timezone != new.settings.timezone,
        ),
        (
            "litellm_settings.json_logs",
            old.settings.json_logs != new.settings.json_logs,
        ),
        ("litellm_settings.max_budget", budget(old) != budget(new)),
        ("redis", !is_same_redis(old, new)),
        (
            "general_settings.database_url",
            old.database != new.database,
        ),
        ("litellm_settings.cache", !is_served(cache, new)),
    ];
    changed
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
}

fn is_same_redis(old: &Config, new: &Config) -> bool {
    match (&old.redis, &new.redis) {
        (None, None) => true,
        (Some(old), Some(new)) => old.is_same(new),
        _ => false,
    }
}

/// A cache that is turned off is not asked any more at once, and is there when it is turned on
/// again.
fn is_served(cache: Option<&Cache>, new: &Config) -> bool {
    let wanted = new.cache.as_ref();
    wanted.is_none_or(|wanted| cache.is_some_and(|cache| cache.serves(wanted)))
}

pub(super) fn stamp(files: &[PathBuf]) -> Stamp {
    let of = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(|path| (path.clone(), of(path))).collect()
}

/// The version that a reload has read, as far as that is known: a file that was changed again
/// while it was read counts as what it was before, so that the next look finds the change.
fn seen_by_reload(before: Stamp, after: Stamp) -> Stamp {
    let known = |path: &PathBuf| before.iter().find(|(known, _)| known == path);
    let one = |(path, version)| match known(&path) {
        Some(known) => known.clone(),
        None => (path, version),
    };
    after.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_during_a_reload_is_found_by_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let files = [dir.path().join("a.yaml"), dir.path().join("b.yaml")];
        std::fs::write(&files[0], "1").unwrap();
        std::fs::write(&files[1], "1").unwrap();
        let before = stamp(&files[..1]);
        // The reload reads it, finds that it includes another one, and is overtaken.
        std::fs::write(&files[0], "12").unwrap();
        let seen = seen_by_reload(before, stamp(&files));
        assert_ne!(stamp(&files), seen);
        let quiet = seen_by_reload(stamp(&files), stamp(&files));
        assert_eq!(stamp(&files), quiet);
        let included = seen_by_reload(stamp(&files[..1]), stamp(&files));
        assert_eq!(stamp(&files), included, "a file that is new is no change");
    }
}
