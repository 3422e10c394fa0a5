//! Which threads come first when there are too few cores.

/// Steps of niceness: about a tenth of a request thread's share of a busy core.
const NICE: i32 = 10;

/// Lets the calling thread run behind those that serve requests: a batch of the store takes
/// milliseconds, which every request on that core would wait for. Where that is not allowed, it
/// runs as it is.
pub fn yield_to_requests() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a background thread keeps its priority");
    }
}
