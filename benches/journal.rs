//! Cost of the ledger: encode, append, recover, drain. `cargo bench --bench journal`.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian::clock;
use meridian::journal::{Drain, Fsync, Journal, JournalError, JournalOptions};
use meridian::store::{Store, StoreError};
use meridian_core::ids::KeyHash;
use meridian_core::journal::frame::encode_close;
use meridian_core::journal::{Bound, Open, Progress};
use meridian_core::spend::SpendRecord;

/// Requests per measurement.
const REQUESTS: u32 = 200_000;
/// Requests that are drained.
const DRAINED: u32 = 50_000;

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn main() -> Result<(), BenchError> {
    let dir = tempfile::tempdir()?;
    let record = sample()?;
    encode(&record)?;
    for fsync in [
        Fsync::Never,
        Fsync::Interval(Duration::from_millis(10)),
        Fsync::Always,
    ] {
        append(&dir.path().join(format!("{fsync:?}")), fsync, &record)?;
    }
    recover(&dir.path().join("Never"))?;
    drain(&dir.path().join("drain"), &record)
}

/// A record with what most have.
fn sample() -> Result<SpendRecord, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "call_id": clock::new_call_id(), "response_id": "chatcmpl-BqK9w8m3c2n1v0x7z5y4t3r2e1w0q",
        "endpoint": "chat_completions", "stream": true, "key": KeyHash::of_secret("sk-1"),
        "key_alias": "team-search-prod", "user_id": "u-4711", "team_id": "t-17",
        "model_group": "gpt-4o", "deployment_id": "0b1f6a4e7f", "model": "gpt-4o-2024-11-20",
        "provider": "openai", "api_base": "https://api.openai.com/v1", "started": 1795000000000i64,
        "ended": 1795000001500i64, "first_byte": 1795000000300i64,
        "usage": {"prompt": 1200, "completion": 350, "cache_read": 1024}, "cost": 6500000,
        "end_reason": "complete", "status": 200, "attempts": 1,
        "context": {"tags": ["prod"], "client_ip": "10.0.0.7", "user_agent": "OpenAI/Python 1.99"},
    }))
}

fn report(line: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}

/// Processor time of this thread so far: what a measurement beside other work can trust.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn each(elapsed: Duration, count: u32) -> f64 {
    elapsed.as_secs_f64() * 1e6 / f64::from(count)
}

fn encode(record: &SpendRecord) -> Result<(), BenchError> {
    let mut out = Vec::new();
    let start = cpu();
    for _ in 0..REQUESTS {
        out.clear();
        let _ = encode_close(black_box(&mut out), black_box(record));
    }
    let micros = each(cpu() - start, REQUESTS);
    report(format_args!(
        "encode CLOSE: {micros:.2} us, {} bytes",
        out.len()
    ))?;
    Ok(())
}

fn append(dir: &Path, fsync: Fsync, record: &SpendRecord) -> Result<(), BenchError> {
    let options = JournalOptions {
        fsync,
        ..JournalOptions::default()
    };
    let (journal, _) = Journal::open(dir, options)?;
    let open = Open {
        record: record.clone(),
        bound: Bound::default(),
    };
    let requests = if fsync == Fsync::Always {
        500
    } else {
        REQUESTS
    };
    let (start, cpu_start) = (clock::mono(), cpu());
    for _ in 0..requests {
        let ticket = journal.append_open(&open)?;
        journal.append_close(Some(ticket), record)?;
    }
    let micros = each(start.elapsed(), requests * 2);
    let busy = each(cpu() - cpu_start, requests * 2);
    report(format_args!(
        "append OPEN, CLOSE, {fsync:?}: {micros:.2} us per frame, {busy:.2} us of processor"
    ))?;
    let progress = Progress::default();
    let start = clock::mono();
    for _ in 0..requests {
        journal.append_progress(record.call_id, &progress)?;
    }
    let micros = each(start.elapsed(), requests);
    report(format_args!("append PROGRESS, {fsync:?}: {micros:.2} us"))?;
    let start = clock::mono();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..requests / 4).all(|_| journal.append_close(None, record).is_ok()));
        }
    });
    let micros = each(start.elapsed(), requests);
    report(format_args!(
        "append CLOSE on 4 threads, {fsync:?}: {micros:.2} us per frame"
    ))?;
    Ok(())
}

fn recover(dir: &Path) -> Result<(), BenchError> {
    let start = clock::mono();
    let (_journal, recovery) = Journal::open(dir, JournalOptions::default())?;
    let (frames, mib) = (recovery.frames, recovery.bytes >> 20);
    report(format_args!(
        "recover {frames} frames, {mib} MiB: {:?}",
        start.elapsed()
    ))?;
    Ok(())
}

fn drain(dir: &Path, record: &SpendRecord) -> Result<(), BenchError> {
    let (journal, _) = Journal::open(dir, JournalOptions::default())?;
    for _ in 0..DRAINED {
        let call_id = clock::new_call_id();
        let record = SpendRecord {
            call_id,
            ..record.clone()
        };
        journal.append_close(None, &record)?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let store = Store::open_embedded(dir).await?;
        let drain = Drain::new(Arc::new(journal), store, "store");
        let start = clock::mono();
        let whole = drain.flush(Duration::from_secs(120)).await;
        let rate = f64::from(DRAINED) / start.elapsed().as_secs_f64();
        report(format_args!(
            "drain into SQLite: {rate:.0} records/s, complete: {whole}"
        ))?;
        Ok(())
    })
}
