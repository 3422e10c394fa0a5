//! Reports: a few at a time, and each is answered or refused within a second.
//!
//! Whoever reads the whole ledger must not keep others from it: a report waits for its turn, and
//! the time that it waited is time that the database no longer has for it.

use std::time::Duration;

use axum::http::Method;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::reply::AdminError;
use crate::clock;
use crate::store::with_deadline;

/// Reports that read at the same time; others wait. Two keep a database of two cores busy.
const AT_ONCE: usize = 2;
/// From the call's arrival until the store breaks off what it reads. The rest of the second is for
/// turning rows into an answer.
const READ_MAX: Duration = Duration::from_millis(550);
/// From the call's arrival until it is refused whatever it waits for.
const ANSWER_MAX: Duration = Duration::from_millis(800);
/// Longest wait for a turn: with less time than this leaves, few reports would be answered.
const TURN_MAX: Duration = Duration::from_millis(350);

/// Reports among the routes of tags.
const OF_TAGS: [&str; 6] = [
    "/tag/dau",
    "/tag/wau",
    "/tag/mau",
    "/tag/summary",
    "/tag/distinct",
    "/tag/user-agent/per-user-analytics",
];

/// Turns of the reports of a node.
#[derive(Debug)]
pub(super) struct Reports {
    turns: Semaphore,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl Reports {
    /// Runs the handler of a report within its time.
    pub(super) async fn run(&self, handler: impl Future<Output = Response>) -> Response {
        let came = clock::mono();
        let answer = async {
            let turn = timeout_at((came + TURN_MAX).into(), self.turns.acquire()).await;
            let Ok(Ok(_turn)) = turn else {
                return AdminError::late().into_response();
            };
            with_deadline(came + READ_MAX, handler).await
        };
        let answer = timeout_at((came + ANSWER_MAX).into(), answer).await;
        answer.unwrap_or_else(|_| AdminError::late().into_response())
    }
}

/// Whether a path's answers are read from the ledger, which may be that of a replica.
pub(super) fn is_report(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let of_ledger = path.starts_with("/spend/")
        || path.starts_with("/global/")
        || path.starts_with("/provider/budgets")
        || path.starts_with("/model/metrics")
        || path == "/model/streaming_metrics"
        || OF_TAGS.contains(&path)
        || path.contains("/daily/activity");
    reads && of_ledger
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    async fn hangs() -> Response {
        std::future::pending().await
    }

    async fn answers() -> Response {
        StatusCode::OK.into_response()
    }

    #[tokio::test]
    async fn a_report_that_hangs_is_refused_and_leaves_its_turn() {
        let reports = Reports::default();
        let refused = tokio::join!(reports.run(hangs()), reports.run(hangs()));
        for refused in [refused.0, refused.1] {
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.headers().contains_key("retry-after"));
        }
        assert_eq!(reports.run(answers()).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn more_than_a_few_reports_wait_and_are_refused_before_they_read() {
        let reports = Reports::default();
        let third = async { reports.run(answers()).await };
        let (_, _, third) = tokio::join!(reports.run(hangs()), reports.run(hangs()), third);
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn what_writes_is_no_report() {
        assert!(is_report(&Method::GET, "/global/spend/report"));
        assert!(is_report(&Method::GET, "/user/daily/activity/aggregated"));
        assert!(!is_report(&Method::POST, "/global/spend/reset"));
        assert!(is_report(&Method::GET, "/tag/mau"));
        assert!(!is_report(&Method::GET, "/tag/info"));
        assert!(!is_report(&Method::GET, "/key/info"));
    }
}
