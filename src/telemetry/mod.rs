//! What the gateway tells about itself: log lines and metrics. Neither holds secrets or prompts.

use std::panic::PanicHookInfo;
use std::sync::Arc;

pub mod logs;
pub mod metrics;
mod report;

pub use report::{Line, Report};

/// Counts every panic and writes it to the log instead of to standard error, where the text would
/// pass by the redaction. Call once, after `logs::start`.
pub fn report_panics(metrics: Arc<metrics::Metrics>) {
    std::panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        metrics.panicked();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place = place.unwrap_or_default(),
            "panic: {}",
            text.unwrap_or("no message")
        );
    }));
}
