//! Load generators over raw connections: closed loop, open loop, streams, idle streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::upstream::find;

/// Where load goes.
#[derive(Clone)]
pub(crate) struct Target {
    /// Port on loopback.
    pub port: u16,
    /// Bearer token.
    pub bearer: String,
    /// Path of the request.
    pub path: &'static str,
}

/// Latencies of an open-loop run, from the moment of sending: a late answer delays no other
/// request.
pub(crate) struct Latencies {
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

impl Target {
    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn request(&self, model: &str, stream: bool) -> Vec<u8> {
        let prompt = "y".repeat(860);
        let body = format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":256,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        );
        format!(
            "POST {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\naccept: application/json\r\n\
             user-agent: bench/1.0\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.port,
            self.bearer,
            body.len()
        )
        .into_bytes()
    }
}

/// One exchange on a kept connection.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    stream.write_all(request).await.unwrap();
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await.unwrap();
        assert!(
            read > 0,
            "connection closed: {}",
            String::from_utf8_lossy(buffer)
        );
        let Some(end) = find(buffer, b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 200"),
            "{}",
            String::from_utf8_lossy(buffer)
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let done = match length {
            Some(length) => buffer.len() >= end + 4 + length.trim().parse::<usize>().unwrap(),
            None => buffer.ends_with(b"0\r\n\r\n"),
        };
        if done {
            return;
        }
    }
}

/// Requests as fast as `connections` allow; returns how many were answered.
pub(crate) async fn closed_loop(target: &Target, connections: usize, length: Duration) -> u64 {
    let (done, until) = (Arc::new(AtomicU64::new(0)), Instant::now() + length);
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (target, done) = (target.clone(), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let mut stream = target.connect().await;
            let (request, mut buffer) = (target.request("bench", false), Vec::with_capacity(8192));
            while Instant::now() < until {
                exchange(&mut stream, &request, &mut buffer).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed)
}

/// Requests at a fixed rate, whatever the answers take.
pub(crate) async fn open_loop(target: &Target, per_s: u64, length: Duration) -> Latencies {
    let pool: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let samples: Arc<Mutex<Vec<u64>>> = Arc::default();
    let request = Arc::new(target.request("bench", false));
    let total = per_s * length.as_secs();
    let begin = Instant::now();
    let mut tasks = Vec::with_capacity(total as usize);
    for index in 0..total {
        let planned = begin + Duration::from_nanos(index * 1_000_000_000 / per_s);
        if planned > Instant::now() + Duration::from_millis(1) {
            tokio::time::sleep_until(planned.into()).await;
        }
        let (target, pool) = (target.clone(), Arc::clone(&pool));
        let (samples, request) = (Arc::clone(&samples), Arc::clone(&request));
        tasks.push(tokio::spawn(async move {
            let kept = pool.lock().await.pop();
            let mut stream = match kept {
                Some(stream) => stream,
                None => target.connect().await,
            };
            let sent = Instant::now();
            exchange(&mut stream, &request, &mut Vec::with_capacity(4096)).await;
            let took = sent.elapsed().as_nanos() as u64;
            pool.lock().await.push(stream);
            samples.lock().await.push(took);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let mut samples = std::mem::take(&mut *samples.lock().await);
    samples.sort_unstable();
    let at = |share: f64| samples[(samples.len() as f64 * share) as usize] as f64 / 1000.0;
    Latencies {
        p50_us: at(0.50),
        p99_us: at(0.99),
    }
}

/// Streams at the same time; returns the chunks that arrived.
pub(crate) async fn streams(target: &Target, streams: usize, chunks: usize) -> usize {
    let arrived = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let (target, arrived) = (target.clone(), Arc::clone(&arrived));
        tasks.push(tokio::spawn(async move {
            let mut stream = target.connect().await;
            exchange(
                &mut stream,
                &target.request("bench-stream", true),
                &mut Vec::new(),
            )
            .await;
            arrived.fetch_add(chunks, Ordering::Relaxed);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    arrived.load(Ordering::Relaxed)
}

/// Opens streams that sent their first chunk and then nothing.
pub(crate) async fn idle_streams(target: &Target, streams: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(streams);
    let request = target.request("bench-idle", true);
    for _ in 0..streams {
        let mut stream = target.connect().await;
        stream.write_all(&request).await.unwrap();
        held.push(stream);
    }
    for stream in &mut held {
        let mut buffer = Vec::new();
        while find(&buffer, b"data:").is_none() {
            assert!(
                stream.read_buf(&mut buffer).await.unwrap() > 0,
                "idle stream closed"
            );
        }
    }
    held
}
