//! Meridian beside its peers on the same core in the same run: nginx, a bare pingora-proxy.
//!
//! `cargo bench --bench side_by_side` prints a Markdown table. Core 0 runs the system under test,
//! the other cores the load and the upstream. Ratios count, absolute figures depend on the machine.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures: whatever is wrong ends it"
)]

mod load;
mod measure;
mod peers;
mod upstream;

use std::time::Duration;

use load::Target;
use peers::Peer;

/// Requests in flight of the closed-loop run.
const CONNECTIONS: usize = 64;
/// Length of one closed-loop run.
const CLOSED_LOOP: Duration = Duration::from_secs(4);
/// Runs per peer; the median counts.
const ROUNDS: usize = 3;
/// Arrivals per second of the open-loop run.
const OPEN_LOOP_PER_S: u64 = 4_000;
/// Length of the open-loop run.
const OPEN_LOOP: Duration = Duration::from_secs(5);
/// Streams at the same time.
const STREAMS: usize = 500;
/// Chunks of each stream, one every 20 ms.
const CHUNKS: usize = 100;
/// Streams held open without traffic.
const IDLE_STREAMS: usize = 5_000;

struct Row {
    name: &'static str,
    cpu_us_per_request: f64,
    requests_per_s: f64,
    added_p50_us: f64,
    added_p99_us: f64,
    cpu_us_per_chunk: f64,
    rss_mib: f64,
    kib_per_idle_stream: f64,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let rows = runtime.block_on(run());
    print_table(&rows);
}

async fn run() -> Vec<Row> {
    let upstream = upstream::start().await;
    let direct = Target {
        port: upstream.port,
        bearer: "none".into(),
        path: "/v1/chat/completions",
    };
    let wanted = std::env::var("PEERS").unwrap_or_else(|_| "nginx,pingora,meridian".into());
    let mut rows = Vec::new();
    for name in wanted.split(',') {
        let Some(peer) = Peer::start(name, upstream.port).await else {
            continue;
        };
        rows.push(measure_peer(&peer, &direct).await);
        peer.stop();
    }
    rows
}

async fn measure_peer(peer: &Peer, direct: &Target) -> Row {
    let target = &peer.target;
    load::closed_loop(target, CONNECTIONS, Duration::from_secs(1)).await;
    let mut closed = Vec::new();
    for _ in 0..ROUNDS {
        let before = measure::cpu(&peer.pids());
        let done = load::closed_loop(target, CONNECTIONS, CLOSED_LOOP).await;
        let cpu = measure::cpu(&peer.pids()) - before;
        closed.push((
            cpu.as_secs_f64() * 1e6 / done as f64,
            done as f64 / CLOSED_LOOP.as_secs_f64(),
        ));
    }
    closed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (cpu_us_per_request, requests_per_s) = closed[ROUNDS / 2];

    let through = load::open_loop(target, OPEN_LOOP_PER_S, OPEN_LOOP).await;
    let straight = load::open_loop(direct, OPEN_LOOP_PER_S, OPEN_LOOP).await;

    let before = measure::cpu(&peer.pids());
    let chunks = load::streams(target, STREAMS, CHUNKS).await;
    let cpu = measure::cpu(&peer.pids()) - before;

    let rss_before = measure::rss_bytes(&peer.pids());
    let held = load::idle_streams(target, IDLE_STREAMS).await;
    let rss_with = measure::rss_bytes(&peer.pids());
    let open = held.len().max(1);
    drop(held);
    Row {
        name: peer.name,
        cpu_us_per_request,
        requests_per_s,
        added_p50_us: through.p50_us - straight.p50_us,
        added_p99_us: through.p99_us - straight.p99_us,
        cpu_us_per_chunk: cpu.as_secs_f64() * 1e6 / chunks.max(1) as f64,
        rss_mib: rss_before as f64 / 1_048_576.0,
        kib_per_idle_stream: (rss_with.saturating_sub(rss_before)) as f64 / 1024.0 / open as f64,
    }
}

fn print_table(rows: &[Row]) {
    let bare = rows
        .iter()
        .find(|row| row.name == "pingora")
        .map(|row| row.cpu_us_per_request);
    println!(
        "| system | CPU us/request | x bare pingora | req/s on one core | added p50 us | \
         added p99 us | CPU us/chunk | RSS MiB | KiB per idle stream |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let ratio = bare.map_or("-".into(), |bare| {
            format!("{:.2}", row.cpu_us_per_request / bare)
        });
        println!(
            "| {} | {:.1} | {ratio} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} | {:.1} |",
            row.name,
            row.cpu_us_per_request,
            row.requests_per_s,
            row.added_p50_us,
            row.added_p99_us,
            row.cpu_us_per_chunk,
            row.rss_mib,
            row.kib_per_idle_stream,
        );
    }
}
