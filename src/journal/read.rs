//! Reading a segment in bounded chunks, also while it grows.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use meridian_core::journal::frame::{FRAME_BYTES_MAX, Frames, Item};

/// Bytes read at a time: some of the longest frames, hundreds of usual ones, and little enough to
/// stay in a processor's cache while they are looked at.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The visitor had enough.
    Stopped,
    /// At the end of the file but for so many bytes that are no whole frame.
    OfFile {
        /// Bytes of the torn (or still growing) tail.
        rest: u64,
    },
}

/// Visits every item from `offset` on and moves `offset` behind the last one visited. The visitor
/// gets each item's own offset.
pub(super) fn walk(
    file: &File,
    offset: &mut u64,
    mut visit: impl FnMut(u64, Item<'_>) -> ControlFlow<()>,
) -> io::Result<End> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let filled = read_full(file, &mut chunk, *offset)?;
        let start = *offset;
        let mut frames = Frames::new(&chunk[..filled]);
        while let Some((at, item)) = frames.next() {
            *offset = start + frames.consumed() as u64;
            if visit(start + at as u64, item).is_break() {
                return Ok(End::Stopped);
            }
        }
        let rest = filled - frames.consumed();
        if filled < chunk.len() {
            return Ok(End::OfFile { rest: rest as u64 });
        }
        if rest == filled {
            // No frame begins in this chunk, but one may begin in the last part of it.
            let bytes = filled - FRAME_BYTES_MAX;
            *offset += bytes as u64;
            if visit(start, Item::Corrupt { bytes }).is_break() {
                return Ok(End::Stopped);
            }
        }
    }
}

/// Fills the buffer as far as the file reaches.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
