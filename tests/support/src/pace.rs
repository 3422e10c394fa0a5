//! Requests at a steady rate, however long their answers take, from a thread of its own: what a
//! test does meanwhile delays none of them.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::raw::{BodyEnd, Conn, Request};

/// How often due requests are sent.
const TICK: Duration = Duration::from_millis(1);
/// Requests on their way at the same time; what is due beyond them is skipped, and counted.
const ON_THEIR_WAY_MAX: usize = 1_000;

/// A running load.
#[derive(Debug)]
pub struct Pace {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    took: Vec<Duration>,
    statuses: HashMap<u16, u64>,
    unanswered: u64,
    skipped: u64,
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Whole answers by status.
    pub statuses: HashMap<u16, u64>,
    /// Requests without a whole answer.
    pub unanswered: u64,
    /// Requests that were due while too many were on their way: the machine was too slow.
    pub skipped: u64,
    /// Answers with status 200 in a second.
    pub per_s: f64,
    /// Median from sending to the end of the answer.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// The slowest.
    pub slowest: Duration,
}

impl Figures {
    /// Whether there were requests, and each got a whole answer with status 200.
    pub fn all_served(&self) -> bool {
        let only_200 = self.statuses.keys().all(|status| *status == 200);
        self.unanswered == 0 && !self.statuses.is_empty() && only_200
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99, slowest) = (ms(self.p50), ms(self.p99), ms(self.slowest));
        write!(
            f,
            "{:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms, slowest {slowest:.1} ms",
            self.per_s
        )?;
        if !self.all_served() || self.skipped > 0 {
            let (other, unanswered) = (&self.statuses, self.unanswered);
            let skipped = self.skipped;
            write!(f, ", {other:?}, {unanswered} unanswered, {skipped} skipped")?;
        }
        Ok(())
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            took: Vec::new(),
            statuses: HashMap::new(),
            unanswered: 0,
            skipped: 0,
        }
    }

    fn figures(mut self) -> Figures {
        self.took.sort_unstable();
        let at = |share: f64| {
            let place = (self.took.len() as f64 * share) as usize;
            self.took.get(place).copied().unwrap_or_default()
        };
        let served = self.statuses.get(&200).copied().unwrap_or(0);
        Figures {
            per_s: served as f64 / self.since.elapsed().as_secs_f64(),
            p50: at(0.50),
            p99: at(0.99),
            slowest: self.took.last().copied().unwrap_or_default(),
            unanswered: self.unanswered,
            skipped: self.skipped,
            statuses: self.statuses,
        }
    }
}

impl Pace {
    /// Sends the request `per_s` times a second, to one target after the other.
    pub fn start(targets: &[SocketAddr], request: &Request, per_s: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::new()));
        let sender = Sender {
            targets: targets.iter().map(|addr| Target::new(*addr)).collect(),
            request: request.bytes().into(),
            seen: Arc::clone(&seen),
            on_their_way: Arc::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(sender.run(per_s, &stopped));
        });
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// What was seen since the start or the last call of this.
    pub fn take(&self) -> Figures {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, Seen::new()).figures()
    }

    /// Lets running requests end and tells what was seen since the last [`Self::take`].
    pub fn finish(mut self) -> Figures {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("it runs");
        thread.join().expect("a load that does not panic");
        self.take()
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

struct Target {
    addr: SocketAddr,
    kept: Mutex<Vec<Conn>>,
}

impl Target {
    fn new(addr: SocketAddr) -> Arc<Self> {
        let kept = Mutex::default();
        Arc::new(Self { addr, kept })
    }

    /// A connection that is kept and was not closed meanwhile: servers close what nobody used for
    /// a minute, and clients look before they send.
    fn kept(&self) -> Option<Conn> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| kept.pop()).find(Conn::is_quiet)
    }

    /// The status of a whole answer.
    async fn ask(&self, request: &[u8]) -> Option<u16> {
        let mut conn = match self.kept() {
            Some(conn) => conn,
            None => Conn::try_open(self.addr).await.ok()?,
        };
        conn.send(request).await.ok()?;
        let head = conn.head().await.ok()?;
        let closes = head.header("connection") == Some("close");
        let answer = conn.rest_of(head).await;
        if answer.end != BodyEnd::Complete {
            return None;
        }
        if !closes {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(conn);
        }
        Some(answer.status())
    }
}

struct Sender {
    targets: Vec<Arc<Target>>,
    request: Arc<[u8]>,
    seen: Arc<Mutex<Seen>>,
    on_their_way: Arc<AtomicUsize>,
}

impl Sender {
    async fn run(self, per_s: u64, stop: &AtomicBool) {
        let (began, mut sent) = (Instant::now(), 0u64);
        while !stop.load(Relaxed) {
            let due = began.elapsed().as_micros() as u64 * per_s / 1_000_000;
            while sent < due {
                self.send(&self.targets[sent as usize % self.targets.len()]);
                sent += 1;
            }
            tokio::time::sleep(TICK).await;
        }
        while self.on_their_way.load(Relaxed) > 0 {
            tokio::time::sleep(TICK).await;
        }
    }

    fn send(&self, target: &Arc<Target>) {
        let seen = Arc::clone(&self.seen);
        if self.on_their_way.load(Relaxed) >= ON_THEIR_WAY_MAX {
            seen.lock().unwrap_or_else(PoisonError::into_inner).skipped += 1;
            return;
        }
        self.on_their_way.fetch_add(1, Relaxed);
        let (target, request) = (Arc::clone(target), Arc::clone(&self.request));
        let on_their_way = Arc::clone(&self.on_their_way);
        tokio::spawn(async move {
            let began = Instant::now();
            let status = target.ask(&request).await;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match status {
                Some(status) => {
                    *seen.statuses.entry(status).or_default() += 1;
                    seen.took.push(began.elapsed());
                }
                None => seen.unanswered += 1,
            }
            on_their_way.fetch_sub(1, Relaxed);
        });
    }
}
