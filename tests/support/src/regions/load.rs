//! Open-loop load: requests leave at their time whether earlier ones were answered or not.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use super::body;
use crate::raw::{BodyEnd, Conn, Request};

/// Requests of one load that wait for an answer at the same time; more are not sent and counted as
/// `Outcome::status` 0, so that a gateway that hangs does not take the machine with it.
const RUNNING_MAX: usize = 2_000;

/// What one key's clients ask for, in every region alike.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The key.
    pub key: String,
    /// The model, as [`super::body`] takes it: the provider counts by it.
    pub model: String,
    /// Requests per second in each region.
    pub rates: Vec<f64>,
    /// Completion tokens of each.
    pub tokens: u32,
    /// One in so many is a stream; 0 is none.
    pub streams: u32,
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of its [`Demand`].
    pub demand: usize,
    /// Where it was sent.
    pub region: usize,
    /// When it was due.
    pub sent: Instant,
    /// When its answer was whole, or had failed.
    pub answered: Instant,
    /// Status; 0 without an answer.
    pub status: u16,
    /// `error.type` of a refusal, or how the answer ended if it is not whole.
    pub why: String,
    /// Whether the answer ended as its framing promised.
    pub whole: bool,
    /// How often it was sent before that on a kept connection that ended without an answer.
    pub unheard: u64,
}

impl Outcome {
    /// How often it was sent without being answered whole: so often a gateway may have been killed
    /// with it.
    pub fn lost(&self) -> u64 {
        self.unheard + u64::from(self.status == 0 || !self.whole)
    }

    /// Refused because a budget is used up.
    pub fn out_of_budget(&self) -> bool {
        self.status == 429 && self.why == "budget_exceeded"
    }

    /// Refused because of a limit per minute, or of requests at the same time.
    pub fn limited(&self) -> bool {
        self.status == 429 && self.why != "budget_exceeded"
    }
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    task: JoinHandle<Vec<Outcome>>,
}

impl Load {
    /// Begins at once and sends for `length`. `addresses` are the gateways by region; those of a
    /// region take turns, and one that refuses connections is passed over.
    pub fn begin(addresses: Vec<Vec<SocketAddr>>, demands: Vec<Demand>, length: Duration) -> Self {
        let task = tokio::spawn(run(addresses, demands, length));
        Self { task }
    }

    /// Waits until all was sent and answered.
    pub async fn finish(self) -> Vec<Outcome> {
        self.task.await.expect("a load does not panic")
    }
}

/// When which request leaves.
#[derive(Clone, Copy, Debug)]
struct Due {
    after: Duration,
    demand: usize,
    region: usize,
    number: u32,
}

fn schedule(demands: &[Demand], length: Duration) -> Vec<Due> {
    let mut all = Vec::new();
    for (demand, wanted) in demands.iter().enumerate() {
        for (region, rate) in wanted.rates.iter().enumerate() {
            let count = (rate * length.as_secs_f64()) as u32;
            // Streams of arrivals that do not march in step.
            let phase = (demand * 7 + region * 3) as f64 % 10.0 / 10.0;
            all.extend((0..count).map(|number| Due {
                after: Duration::from_secs_f64((f64::from(number) + phase) / rate),
                demand,
                region,
                number,
            }));
        }
    }
    all.sort_by_key(|due| due.after);
    all
}

async fn run(
    addresses: Vec<Vec<SocketAddr>>,
    demands: Vec<Demand>,
    length: Duration,
) -> Vec<Outcome> {
    let began = Instant::now();
    let pool = Arc::new(Pool::default());
    let mut running = JoinSet::new();
    let mut outcomes = Vec::new();
    for (turn, due) in schedule(&demands, length).into_iter().enumerate() {
        tokio::time::sleep_until((began + due.after).into()).await;
        while let Some(ended) = running.try_join_next() {
            outcomes.push(ended.expect("a request does not panic"));
        }
        let wanted = &demands[due.demand];
        let stream = wanted.streams > 0 && due.number.is_multiple_of(wanted.streams);
        let body = body(&wanted.model, wanted.tokens, stream);
        let request = Request::post("/v1/chat/completions", &body).bearer(&wanted.key);
        let mut outcome = Outcome {
            demand: due.demand,
            region: due.region,
            sent: began + due.after,
            answered: Instant::now(),
            status: 0,
            why: "not sent".to_owned(),
            whole: false,
            unheard: 0,
        };
        if running.len() >= RUNNING_MAX {
            outcomes.push(outcome);
            continue;
        }
        let mut nodes = addresses[due.region].clone();
        let first = turn % nodes.len();
        nodes.rotate_left(first);
        let pool = Arc::clone(&pool);
        running.spawn(async move {
            pool.ask(&nodes, &request, &mut outcome).await;
            outcome.answered = Instant::now();
            outcome
        });
    }
    while let Some(ended) = running.join_next().await {
        outcomes.push(ended.expect("a request does not panic"));
    }
    outcomes.sort_by_key(|outcome| outcome.sent);
    outcomes
}

/// Connections that wait for their next request.
#[derive(Default)]
struct Pool {
    idle: Mutex<HashMap<SocketAddr, Vec<Conn>>>,
}

impl Pool {
    async fn conn(&self, nodes: &[SocketAddr]) -> Option<(SocketAddr, Conn, bool)> {
        for node in nodes {
            let idle = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(node).and_then(Vec::pop)
            };
            if let Some(conn) = idle {
                return Some((*node, conn, true));
            }
            if let Ok(mut conn) = Conn::try_open(*node).await {
                conn.patience = Duration::from_secs(30);
                return Some((*node, conn, false));
            }
        }
        None
    }

    async fn ask(&self, nodes: &[SocketAddr], request: &Request, outcome: &mut Outcome) {
        let bytes = request.bytes();
        loop {
            let Some((node, mut conn, used)) = self.conn(nodes).await else {
                outcome.why = "refused connection".to_owned();
                return;
            };
            let sent = conn.send(&bytes).await;
            let head = conn.head().await;
            // A kept connection may have ended meanwhile: nothing was heard on it, as HTTP allows.
            if used && (sent.is_err() || matches!(head, Err(BodyEnd::CutOff | BodyEnd::Reset))) {
                outcome.unheard += 1;
                continue;
            }
            let response = match head {
                Ok(head) => conn.rest_of(head).await,
                Err(end) => {
                    outcome.why = format!("{end:?}");
                    return;
                }
            };
            outcome.status = response.status();
            outcome.whole = response.end == BodyEnd::Complete;
            outcome.why = match response.status() {
                200 if outcome.whole => String::new(),
                200 => format!("{:?}", response.end),
                _ => refusal(&response.body),
            };
            let keeps = response.header("connection") != Some("close");
            if outcome.whole && keeps {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.entry(node).or_default().push(conn);
            }
            return;
        }
    }
}

fn refusal(body: &[u8]) -> String {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let kind = parsed["error"]["type"].as_str();
    kind.unwrap_or("no error type").to_owned()
}
