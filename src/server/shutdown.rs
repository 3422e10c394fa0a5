//! Leaving: requests that run are let run, new connections are told not to stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::state::State;

/// How often running requests are counted while draining.
const POLL: Duration = Duration::from_millis(50);
/// How long new requests are served while draining: load balancers need a moment to learn that
/// this node leaves, and clients that never stop must not keep it alive.
const OPEN_WHILE_DRAINING: Duration = Duration::from_secs(3);
/// Time for running requests to be ended when there is no more time for them.
const CUT_TIME_MAX: Duration = Duration::from_secs(2);
/// After the last request was served, time for its bytes to leave.
const LINGER: Duration = Duration::from_millis(100);

/// Tells pingora when to stop: at once on SIGINT, after the last request on SIGTERM and SIGQUIT.
///
/// Pingora's own graceful period is a fixed sleep; an idle gateway would wait it out for nothing.
pub(super) struct Signal {
    state: Arc<State>,
}

impl Signal {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signal {
    async fn recv(&self) -> ShutdownSignal {
        let signals = (
            signal(SignalKind::terminate()),
            signal(SignalKind::quit()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be received; the process stops only by SIGKILL");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = interrupt.recv() => {
                self.cut().await;
                return ShutdownSignal::FastShutdown;
            }
        }
        tokio::select! {
            () = self.drain() => {}
            _ = interrupt.recv() => {}
        }
        self.cut().await;
        ShutdownSignal::FastShutdown
    }
}

impl Signal {
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

    async fn drain(&self) {
        self.state.start_draining();
        let limit = self.state.rules.load().config.meridian.drain_timeout;
        let started = Instant::now();
        let deadline = started + limit;
        tracing::info!(limit_s = limit.as_secs(), "draining");
        while self.state.in_flight.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
            if started.elapsed() >= OPEN_WHILE_DRAINING {
                self.state.close();
            }
            tokio::time::sleep(POLL).await;
        }
        self.state.close();
        tokio::time::sleep(LINGER).await;
        let left = self.state.in_flight.load(Ordering::Relaxed);
        tracing::info!(left, "drained");
    }
}
