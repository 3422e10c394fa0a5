//! A client's connection before its first request: which protocol it speaks, and how long it may
//! keep silent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use super::Plane;
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
        let http1 = Arc::new(Plane::new(Arc::clone(&state), false));
        let http2 = Arc::new(Plane::new(Arc::clone(&state), true));
        Self {
            state,
            http1,
            http2,
        }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _listening: &ShutdownWatch,
    ) -> Option<Stream> {
        let _counted = Connection::begin(&self.state);
        // Connections are told to leave at another time than the listener is closed.
        let mut leaving = self.state.leaving.subscribe();
        if self.state.is_draining() {
            leaving.mark_changed();
        }
        if stream.get_ssl_digest().is_some() {
            return self.http1.process_new(stream, &leaving).await;
        }
        let mut preface = [0; H2_PREFACE.len()];
        let first_bytes = stream.try_peek(&mut preface);
        let peeked = tokio::time::timeout(self.http1.head_timeout(), first_bytes).await;
        peeked.ok()?.ok()?;
        let plane = match preface == H2_PREFACE {
            true => &self.http2,
            false => &self.http1,
        };
        plane.process_new(stream, &leaving).await
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
