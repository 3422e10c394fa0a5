//! Idle HTTP/1.1 connections, the last one used first.
//!
//! Pingora's pool starts a task for each connection that is given back and waits for that task
//! when it is taken out again. Here a connection is looked at when it is taken out and when the
//! pool is swept: what its server closed, or sent bytes on that nobody asked for, is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;

use crate::clock;

/// Locks that the connections are spread over.
const SHARDS: usize = 16;

/// Idle connections by what they lead to.
pub(super) struct IdlePool {
    shards: [Mutex<HashMap<u64, Vec<Idle>>>; SHARDS],
    connections: AtomicUsize,
    connections_max: usize,
    idle_max: Duration,
}

struct Idle {
    stream: Stream,
    since: Instant,
}

impl IdlePool {
    /// A pool of up to `connections_max`, each kept for `idle_max` at most.
    pub(super) fn new(connections_max: usize, idle_max: Duration) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            connections: AtomicUsize::new(0),
            connections_max,
            idle_max,
        }
    }

    /// A connection that leads to `key` and was alive a moment ago.
    pub(super) fn take(&self, key: u64) -> Option<Stream> {
        loop {
            // The lock is not held while the connection is looked at.
            let idle = self.shard(key).get_mut(&key)?.pop()?;
            self.connections.fetch_sub(1, Ordering::Relaxed);
            let Idle { mut stream, since } = idle;
            if since.elapsed() < self.idle_max && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, key: u64, stream: Stream) {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let since = clock::mono();
        let idle = Idle { stream, since };
        self.shard(key).entry(key).or_default().push(idle);
    }

    /// Drops what is too old or was closed by its server.
    pub(super) fn sweep(&self) {
        for shard in &self.shards {
            let mut shard = hold(shard);
            for idle in shard.values_mut() {
                let before = idle.len();
                idle.retain_mut(|one| {
                    one.since.elapsed() < self.idle_max && is_quiet(&mut one.stream)
                });
                self.connections
                    .fetch_sub(before - idle.len(), Ordering::Relaxed);
            }
            shard.retain(|_, idle| !idle.is_empty());
        }
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, Vec<Idle>>> {
        hold(&self.shards[key as usize % SHARDS])
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nothing was said on a connection since its last answer, its end included. Outside of
/// tokio's budget for one task, which would make everything look quiet after 128 reads.
fn is_quiet(stream: &mut Stream) -> bool {
    let read = tokio::task::unconstrained(stream.read(&mut [0])).now_or_never();
    read.is_none()
}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as Connection;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_crowd_of_closed_connections_is_not_taken_for_alive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pool = IdlePool::new(4096, Duration::from_secs(60));
        for _ in 0..300 {
            let client = TcpStream::connect(address).await.unwrap();
            drop(listener.accept().await.unwrap());
            // Its end has arrived.
            client.readable().await.unwrap();
            pool.put(1, Box::new(Connection::from(client)));
        }
        assert!(pool.take(1).is_none(), "a closed connection was taken");
        let client = TcpStream::connect(address).await.unwrap();
        let _server = listener.accept().await.unwrap();
        pool.put(1, Box::new(Connection::from(client)));
        pool.sweep();
        assert!(pool.take(1).is_some() && pool.take(1).is_none());
    }
}
