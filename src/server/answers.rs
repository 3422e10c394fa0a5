//! The thread that keeps cached answers in order, and the way to Redis where they are shared.
//!
//! A thread of its own, not behind requests as the control threads are: requests wait for what it
//! reads.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::cache::Cache;

/// The running thread. Dropped, it ends at once.
pub(super) struct Thread(Option<Runtime>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts it; it ends when `stop` turns true.
pub(super) fn start(
    cache: Arc<Cache>,
    stop: &watch::Receiver<bool>,
) -> Result<Thread, std::io::Error> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("cache")
        .enable_all()
        .build()?;
    runtime.spawn(cache.run(stop.clone()));
    Ok(Thread(Some(runtime)))
}
