//! What systemd, or another supervisor that speaks its protocol, is told of this process.
//!
//! One datagram for each message to the socket that `NOTIFY_SOCKET` names; nobody answers, and
//! where nobody listens nothing is lost.

use std::collections::HashMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock;

/// A path, or the name of an abstract socket behind an `@`.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// Microseconds after which a silent process is taken for dead.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";
/// Whose sign of life is waited for; any process's where it is not set.
pub(super) const WATCHDOG_PID_VARIABLE: &str = "WATCHDOG_PID";

/// A supervisor that wants to be told.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names; `None` without one.
    pub(super) fn of(env: &HashMap<String, String>) -> Option<Arc<Self>> {
        let name = env.get(SOCKET_VARIABLE).filter(|name| !name.is_empty())?;
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        };
        let opened = address.and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        match opened {
            Ok((socket, address)) => Some(Arc::new(Self {
                socket,
                address,
                watchdog: watchdog(env, std::process::id()),
            })),
            Err(error) => {
                tracing::warn!(%error, name, "the supervisor is told nothing");
                None
            }
        }
    }

    /// Requests are served, by this process from now on.
    pub(super) fn ready(&self) {
        let pid = std::process::id();
        self.tell(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving"));
    }

    /// The process is on its way out, and nobody takes its place.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what runs");
    }

    fn tell(&self, text: &str) {
        let sent = self.socket.send_to_addr(text.as_bytes(), &self.address);
        if let Err(error) = sent {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }

    /// Gives signs of life until `stop` or `replaced` turns true, as long as the data plane gives
    /// them too.
    pub(super) async fn watch(
        self: Arc<Self>,
        pulse: Arc<Pulse>,
        mut stop: watch::Receiver<bool>,
        mut replaced: watch::Receiver<bool>,
    ) {
        let Some(limit) = self.watchdog else {
            return;
        };
        loop {
            let pause = match pulse.is_felt(limit / 2) {
                true => {
                    self.tell("WATCHDOG=1");
                    limit / 4
                }
                // After a stop (SIGSTOP, a frozen machine) it is felt again in a moment.
                false => {
                    tracing::error!("the data plane stands still");
                    limit / 20
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
                _ = replaced.wait_for(|replaced| *replaced) => return,
            }
        }
    }
}

/// The limit, if it is meant for this process.
fn watchdog(env: &HashMap<String, String>, pid: u32) -> Option<Duration> {
    let meant = env.get(WATCHDOG_PID_VARIABLE);
    if meant.is_some_and(|meant| *meant != pid.to_string()) {
        return None;
    }
    let limit = env.get(WATCHDOG_VARIABLE)?.parse().ok()?;
    (limit > 0).then(|| Duration::from_micros(limit))
}

/// When the data plane's threads last did something of their own accord.
#[derive(Debug)]
pub(super) struct Pulse {
    began: Instant,
    /// Milliseconds since it began, plus one; 0 until there is a data plane.
    beat: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            began: clock::mono(),
            beat: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Between two beats.
    const EVERY: Duration = Duration::from_millis(500);

    /// Beats for ever, on the runtime that it is awaited on.
    pub(super) async fn beat(&self) {
        loop {
            self.beat.store(self.ms() + 1, Ordering::Relaxed);
            tokio::time::sleep(Self::EVERY).await;
        }
    }

    fn ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn is_felt(&self, within: Duration) -> bool {
        match self.beat.load(Ordering::Relaxed) {
            0 => true,
            beat => self.ms().saturating_sub(beat) <= within.as_millis() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_supervisor_is_told_what_it_waits_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let name = path.to_str().unwrap();
        let supervisor = Supervisor::of(&env(&[(SOCKET_VARIABLE, name)])).unwrap();
        supervisor.ready();
        let mut buffer = [0; 256];
        let length = heard.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.contains(&format!("MAINPID={}\nREADY=1\n", std::process::id())));
        assert!(Supervisor::of(&env(&[])).is_none());
    }

    #[test]
    fn a_watchdog_meant_for_another_process_is_not_ours() {
        let limit = (WATCHDOG_VARIABLE, "30000000");
        let ours = Some(Duration::from_secs(30));
        assert_eq!(watchdog(&env(&[limit]), 7), ours);
        assert_eq!(
            watchdog(&env(&[limit, (WATCHDOG_PID_VARIABLE, "7")]), 7),
            ours
        );
        assert_eq!(
            watchdog(&env(&[limit, (WATCHDOG_PID_VARIABLE, "8")]), 7),
            None
        );
        assert_eq!(watchdog(&env(&[(WATCHDOG_VARIABLE, "0")]), 7), None);
    }

    #[tokio::test]
    async fn a_data_plane_that_stands_still_is_not_vouched_for() {
        let pulse = Pulse::default();
        assert!(pulse.is_felt(Duration::ZERO), "there is no data plane yet");
        let _stopped = tokio::time::timeout(Duration::ZERO, pulse.beat()).await;
        assert!(pulse.is_felt(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(5));
        assert!(!pulse.is_felt(Duration::ZERO));
    }
}
