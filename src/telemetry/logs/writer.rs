//! The thread that writes log lines: a reader that stalls must not stall a request.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::flood::{Flood, WINDOW};
use super::redact::redact;
use crate::clock;

/// Lines that wait to be written; further ones are dropped and counted.
const QUEUE_LINES_MAX: usize = 8_192;

/// Longest line in bytes; the rest is cut off.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Longest wait for the queue to be written at the end of the process.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Between two tries to get into a queue that is full.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Where the subscriber puts its lines.
#[derive(Clone)]
pub(super) struct Queue {
    items: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread; `json` is the shape of the lines that it adds by itself.
    pub(super) fn start(
        out: Box<dyn Write + Send>,
        json: bool,
        flood: Arc<Flood>,
    ) -> io::Result<Self> {
        let (items, received) = sync_channel(QUEUE_LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            out,
            json,
            flood,
            lost: lost.clone(),
        };
        std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || writer.run(&received))?;
        Ok(Self { items, lost })
    }

    /// Waits until what was logged before is written, but not for an output that stalls: it
    /// must not keep the process from ending.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        let mut item = Item::Flush(done);
        let start = clock::mono();
        while let Err(full) = self.items.try_send(item) {
            let TrySendError::Full(again) = full else {
                return;
            };
            if start.elapsed() >= FLUSH_MAX {
                return;
            }
            item = again;
            std::thread::sleep(FLUSH_RETRY);
        }
        let _ = written.recv_timeout(FLUSH_MAX.saturating_sub(start.elapsed()));
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The subscriber hands over one whole line per call.
impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = &line[..line.len().min(LINE_BYTES_MAX)];
        if let Err(TrySendError::Full(_)) = self.items.try_send(Item::Line(kept.to_vec())) {
            self.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer {
    out: Box<dyn Write + Send>,
    json: bool,
    flood: Arc<Flood>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, items: &Receiver<Item>) {
        let mut noted = clock::mono();
        loop {
            match items.recv_timeout(WINDOW) {
                Ok(Item::Line(line)) => self.write(&String::from_utf8_lossy(&line)),
                Ok(Item::Flush(done)) => {
                    self.note_missing(clock::mono());
                    let _ = self.out.flush();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = clock::mono();
            if now.saturating_duration_since(noted) >= WINDOW {
                noted = now;
                self.note_missing(now);
            }
        }
    }

    /// Output that cannot be written has no place to complain to.
    fn write(&mut self, line: &str) {
        let line = redact(line.trim_end_matches('\n'));
        let _ = self.out.write_all(line.as_bytes());
        let _ = self.out.write_all(b"\n");
        let _ = self.out.flush();
    }

    fn note_missing(&mut self, now: Instant) {
        for suppressed in self.flood.take_suppressed(now) {
            let (count, sample) = (suppressed.count, suppressed.sample);
            self.note(&format!("suppressed {count} lines like: {sample}"));
        }
        let lost = self.lost.swap(0, Relaxed);
        if lost > 0 {
            self.note(&format!("lost {lost} lines: the log is read too slowly"));
        }
    }

    fn note(&mut self, message: &str) {
        let at = clock::now().to_iso();
        let target = "meridian::telemetry::logs";
        let line = if self.json {
            let line = serde_json::json!({
                "timestamp": at, "level": "WARN", "message": message, "target": target,
            });
            line.to_string()
        } else {
            format!("{at}  WARN {target}: {message}")
        };
        self.write(&line);
    }
}
