//! Leaving: requests that run are let run, new connections are told not to stay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::door::Door;
use super::handover;
use super::supervisor::Supervisor;
use crate::journal::Drain;
use crate::state::State;

/// How often running requests are counted while draining.
const POLL: Duration = Duration::from_millis(50);
/// Time for running requests to be ended when there is no more time for them.
const CUT_TIME_MAX: Duration = Duration::from_secs(2);
/// Time for connections to end on which nothing runs: their clients were told, or hear it now.
const GONE_MAX: Duration = Duration::from_secs(2);
/// After the last request was served, time for its bytes to leave.
const LINGER: Duration = Duration::from_millis(100);

/// How long a process that was replaced waits for connections that are not used: their next
/// request is answered, and closes them. Longer than most clients keep them.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// Tells pingora when to stop: at once on SIGINT, after the last request on SIGTERM and SIGQUIT,
/// after the last connection when a process that SIGUSR2 asked for serves instead.
///
/// Pingora's own graceful period is a fixed sleep; an idle gateway would wait it out for nothing.
pub(super) struct Signal {
    pub(super) signals: Mutex<Signals>,
    pub(super) state: Arc<State>,
    pub(super) drain: Arc<Drain>,
    pub(super) door: Arc<Door>,
    pub(super) supervisor: Option<Arc<Supervisor>>,
    /// How long new requests are served while draining, instead of what the configuration says.
    pub(super) drain_delay: Option<Duration>,
}

/// The signals that are waited for: received from before the gateway is ready, or one that comes at
/// once would end the process with all that it serves.
pub(super) struct Signals {
    terminate: unix::Signal,
    quit: unix::Signal,
    interrupt: unix::Signal,
    replace: unix::Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Drain,
    Cut,
    Replace,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            quit: unix::signal(SignalKind::quit())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            replace: unix::signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.quit.recv() => Wish::Drain,
            _ = self.interrupt.recv() => Wish::Cut,
            _ = self.replace.recv() => Wish::Replace,
        }
    }

    /// The next one that ends the process sooner than it is ending.
    async fn end(&mut self, than: Wish) -> Wish {
        loop {
            match (self.next().await, than) {
                (Wish::Cut, _) => return Wish::Cut,
                (Wish::Drain, Wish::Replace) => return Wish::Drain,
                _ => {}
            }
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signal {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = self.signals.lock().await;
        let wish = self.serve(&mut signals).await;
        if wish == Wish::Drain {
            tokio::select! {
                () = self.drain() => {}
                _ = signals.end(Wish::Drain) => {}
            }
        }
        self.cut().await;
        ShutdownSignal::FastShutdown
    }
}

impl Signal {
    /// Until this process is to end, and how.
    async fn serve(&self, signals: &mut Signals) -> Wish {
        loop {
            let wish = signals.next().await;
            if wish != Wish::Replace {
                if let Some(supervisor) = &self.supervisor {
                    supervisor.stopping();
                }
                return wish;
            }
            let replaced = tokio::select! {
                replaced = handover::replace(&self.state, &self.drain, &self.door) => replaced,
                wish = signals.end(Wish::Replace) => {
                    self.state.turnstile.release();
                    return wish;
                }
            };
            if let Ok(by) = replaced {
                self.leave(by);
                return tokio::select! {
                    () = self.let_go() => Wish::Cut,
                    wish = signals.end(Wish::Replace) => wish,
                };
            }
        }
    }

    /// Another process serves: nobody comes in here any more, and who is here is served.
    fn leave(&self, by: u32) {
        if let Err(error) = self.state.journal.leave() {
            tracing::warn!(%error, "no other process can start until this one has ended");
        }
        self.door.close();
        self.state.replaced.send_replace(true);
        self.state.start_draining();
        tracing::info!(by, "replaced; what runs is finished");
    }

    /// Waits for the last connection. A client that keeps one open without using it is not waited
    /// for as long as a stream.
    async fn let_go(&self) {
        let state = &self.state;
        let started = Instant::now();
        let deadline = started + state.rules.load().config.meridian.drain_timeout;
        loop {
            let now = Instant::now();
            let running = state.in_flight.load(Ordering::Relaxed) > 0;
            let open = state.connections.load(Ordering::Relaxed) > 0;
            let idle_too_long = now >= started + IDLE_MAX && !running;
            if !open || idle_too_long || now >= deadline {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        state.close();
        self.quiet(deadline).await;
        let left = state.in_flight.load(Ordering::Relaxed);
        tracing::info!(left, "what ran is finished");
    }

    /// Ends what still runs: each stream gets its error event, and is settled with what it used.
    async fn cut(&self) {
        self.state.start_draining();
        self.state.close();
        self.state.cut.send_replace(true);
        let deadline = Instant::now() + CUT_TIME_MAX;
        while self.state.in_flight.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Until nothing runs and connections have ended; the process closes already. What still stays
    /// when nothing has run for a while is a client that does not listen.
    async fn quiet(&self, deadline: Instant) {
        let mut ran = Instant::now();
        loop {
            let now = Instant::now();
            let running = self.state.in_flight.load(Ordering::Relaxed) > 0;
            let open = self.state.connections.load(Ordering::Relaxed) > 0;
            if running {
                ran = now;
            }
            let gone = !running && (!open || now >= ran + GONE_MAX);
            if gone || now >= deadline {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(LINGER).await;
    }

    /// First readiness says no, while everybody is served as before: balancers and DNS need some
    /// failed checks until they send nobody here, whether or not anything runs at this moment.
    /// Then nobody new is, and what runs is waited for.
    async fn drain(&self) {
        self.state.start_draining();
        let (delay, limit) = {
            let limits = &self.state.rules.load().config.meridian;
            let delay = self.drain_delay.unwrap_or(limits.drain_delay);
            (delay, limits.drain_timeout)
        };
        tracing::info!(
            delay_s = delay.as_secs(),
            limit_s = limit.as_secs(),
            "draining"
        );
        tokio::time::sleep(delay).await;
        // Clients that never stop must not keep it alive.
        self.state.close();
        self.quiet(Instant::now() + limit).await;
        let left = self.state.in_flight.load(Ordering::Relaxed);
        tracing::info!(left, "drained");
    }
}
