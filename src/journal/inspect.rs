//! What `meridian journal inspect|verify` prints. Reads only, also beside a running gateway.

use std::collections::HashSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use meridian_core::ids::CallId;
use meridian_core::journal::frame::{Frame, Item, Kind};
use meridian_core::time::WallMs;

use super::read::{End, walk};
use super::{JOURNAL_DIR, JournalError, segment};

/// What to show besides one line per segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectOptions {
    /// A line per frame: offset, kind, call id, payload.
    pub frames: bool,
    /// Frames of this request alone.
    pub call_id: Option<CallId>,
}

/// What `verify` found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// OPEN frames.
    pub opened: u64,
    /// PROGRESS frames.
    pub progress: u64,
    /// CLOSE frames.
    pub closed: u64,
    /// Requests with an OPEN and no CLOSE: running, or to be settled by the next start.
    pub running: u64,
    /// Bytes at ends of segments that are no whole frame.
    pub torn_bytes: u64,
    /// Bytes in the middle that are no frame.
    pub corrupt_bytes: u64,
    /// TRANSFER frames.
    pub transfers: u64,
    /// Frames of a newer version.
    pub newer: u64,
}

impl Verified {
    /// Whether nothing is damaged. A torn tail is not damage.
    pub fn sound(&self) -> bool {
        self.corrupt_bytes == 0 && self.newer == 0
    }

    fn count(&mut self, frame: &Frame<'_>, running: &mut HashSet<CallId>) {
        match frame.kind {
            Kind::Open => {
                self.opened += 1;
                running.insert(frame.call_id);
            }
            Kind::Progress => self.progress += 1,
            Kind::Transfer => self.transfers += 1,
            Kind::Close => {
                self.closed += 1;
                running.remove(&frame.call_id);
            }
        }
    }
}

/// Lists the journal of a data directory, segment by segment.
pub fn inspect(
    data_dir: &Path,
    options: InspectOptions,
    out: &mut impl Write,
) -> Result<Verified, JournalError> {
    let mut total = Verified::default();
    let mut running = HashSet::new();
    for (id, path) in segment::list(&data_dir.join(JOURNAL_DIR))? {
        let file = std::fs::File::open(&path)?;
        let began = WallMs(i64::try_from(id).unwrap_or(0)).to_iso();
        writeln!(out, "segment {id} began {began}")?;
        let mut offset = 0;
        let mut failed = None;
        let end = walk(&file, &mut offset, |at, item| {
            let printed = match item {
                Item::Frame(frame) => {
                    total.count(&frame, &mut running);
                    print_frame(out, options, at, &frame)
                }
                Item::Corrupt { bytes } => {
                    total.corrupt_bytes += bytes as u64;
                    writeln!(out, "  {at:>10} CORRUPT {bytes} bytes")
                }
                Item::Newer => {
                    total.newer += 1;
                    writeln!(out, "  {at:>10} of a newer version")
                }
            };
            failed = printed.err();
            match failed {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        total.segments += 1;
        if let End::OfFile { rest: rest @ 1.. } = end {
            total.torn_bytes += rest;
            writeln!(out, "  {offset:>10} torn tail of {rest} bytes")?;
        }
    }
    total.running = running.len() as u64;
    Ok(total)
}

fn print_frame(
    out: &mut impl Write,
    options: InspectOptions,
    at: u64,
    frame: &Frame<'_>,
) -> std::io::Result<()> {
    let wanted = match options.call_id {
        Some(call_id) => call_id == frame.call_id,
        None => options.frames,
    };
    if !wanted {
        return Ok(());
    }
    let payload = String::from_utf8_lossy(frame.payload);
    let (kind, call_id) = (frame.kind.label(), frame.call_id);
    writeln!(out, "  {at:>10} {kind:<8} {call_id} {payload}")
}

/// Checks every frame and prints a summary after what is damaged.
pub fn verify(data_dir: &Path, out: &mut impl Write) -> Result<Verified, JournalError> {
    let found = inspect(data_dir, InspectOptions::default(), out)?;
    let Verified {
        segments,
        opened,
        progress,
        closed,
        running,
        torn_bytes,
        corrupt_bytes,
        newer,
        transfers,
    } = found;
    writeln!(
        out,
        "{segments} segments, {opened} opened, {progress} progress, {closed} closed, \
         {running} running, {torn_bytes} torn bytes, {corrupt_bytes} corrupt bytes, \
         {newer} frames of a newer version, {transfers} transfers of rights"
    )?;
    let verdict = if found.sound() { "sound" } else { "DAMAGED" };
    writeln!(out, "{verdict}")?;
    Ok(found)
}
