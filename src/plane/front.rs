//! A client's connection before its first request: which protocol it speaks, and how long it may
//! keep silent.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::sync::watch;

use super::{Late, Plane, patience};
use crate::state::State;

/// Beginning of the preface by which HTTP/2 is known. Shorter than any request, so that nobody
/// is waited for who has already said everything (a probe may be 18 bytes long).
const H2_PREFACE: [u8; 3] = *b"PRI";

/// The data plane behind a limit on the time until a connection says anything: Pingora waits for
/// ever for the bytes that tell HTTP/2 from HTTP/1.
pub struct Front {
    state: Arc<State>,
    http1: Arc<Plane>,
    http2: Arc<Plane>,
}

impl Front {
    /// The data plane as a listener's application.
    pub fn new(state: Arc<State>) -> Self {
        let http1 = Arc::new(Plane::new(Arc::clone(&state), false, None));
        let http2 = Arc::new(Plane::new(Arc::clone(&state), true, None));
        Self {
            state,
            http1,
            http2,
        }
    }

    /// Serves a connection until it ends.
    async fn serve(&self, mut stream: Stream) -> Option<Stream> {
        // Connections are told to leave at another time than the listener is closed.
        let leaving = self.state.leaving.subscribe();
        // Whoever connected in time is served, however late the request comes.
        let closed = self.state.is_closed();
        let mut h2c = false;
        if stream.get_ssl_digest().is_none() {
            let mut preface = [0; H2_PREFACE.len()];
            let limit = self.http1.head_timeout();
            let first_bytes = stream.try_peek(&mut preface);
            patience::before(&self.state, limit, first_bytes)
                .await?
                .ok()?;
            h2c = preface == H2_PREFACE;
        }
        if self.state.is_draining() {
            return self.serve_late(stream, h2c, closed).await;
        }
        let plane = match h2c {
            true => &self.http2,
            false => &self.http1,
        };
        plane.process_new(stream, &leaving).await
    }

    /// Serves a connection that says its first word when the process leaves already.
    async fn serve_late(&self, stream: Stream, h2c: bool, closed: bool) -> Option<Stream> {
        let (goodbye, told) = watch::channel(false);
        let late = Late { closed, goodbye };
        let plane = Plane::new(Arc::clone(&self.state), h2c, Some(late));
        Arc::new(plane).process_new(stream, &told).await
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _listening: &ShutdownWatch,
    ) -> Option<Stream> {
        let _counted = Connection::begin(&self.state);
        let mut closing = self.state.closing.subscribe();
        let mut served = pin!(self.serve(stream));
        let closed = async { closing.wait_for(|closing| *closing).await.is_ok() };
        tokio::select! {
            biased;
            served = &mut served => served,
            // Polled once more, so that who waits in there for a client sees it.
            _ = closed => served.await,
        }
    }
}

/// A client's connection, counted until it ends.
struct Connection<'a>(&'a State);

impl<'a> Connection<'a> {
    fn begin(state: &'a State) -> Self {
        state.connections.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
