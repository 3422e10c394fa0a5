//! The file: a line that names the format, one that says where it stands, a record on each
//! following line in the order of kind and id, and the signature of all of it on the last.
//!
//! It is read and written as a stream, so that its size needs no memory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::record::Record;
use meridian_core::scope::Scope;
use meridian_core::signature::{Signer, Signing, TAG_BYTES, Tag};
use meridian_core::time::WallMs;
use serde::{Deserialize, Serialize};

use crate::store::{RecordPlace, StoredRecord};

/// First line. Another number is another format.
const FORMAT: &str = "meridian records 1\n";
/// Longest line: a record is a few hundred bytes, a large configuration some thousands.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// What begins the last line.
const END: &[u8] = b"end ";

/// Why a snapshot was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The system says no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another program's file, or that of another version.
    #[error("it is not in a format that this version knows")]
    Format,
    /// It ends before its end.
    #[error("it is torn: the last line is missing")]
    Torn,
    /// It was changed, or signed with another salt key (or master key, where there is none).
    #[error("its signature is not ours: it was changed, or LITELLM_SALT_KEY or the master key was")]
    NotOurs,
    /// A line that was signed and cannot be read.
    #[error("line {line}: {error}")]
    Line {
        /// Which one.
        line: u64,
        /// What is wrong.
        error: serde_json::Error,
    },
}

impl SnapshotError {
    /// Whether the file is no good, rather than the disk.
    pub(super) fn is_damage(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// The second line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// Where the feed goes on.
    pub(super) cursor: String,
    /// What the journal has behind this is not in the spend.
    pub(super) journal: Position,
    /// When it was written.
    pub(super) written: WallMs,
    /// All that the store had at some time is in it.
    pub(super) complete: bool,
    /// What the installation's own budget (`litellm_settings.max_budget`) had spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) installation: Option<Running>,
    /// Up to when other regions had told everything.
    pub(super) watermarks: BTreeMap<String, WallMs>,
}

/// What was spent in a period that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// So much.
    pub spend: NanoUsd,
    /// When it ends; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<WallMs>,
}

/// A record's line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) record: Record,
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(super) spend: NanoUsd,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resets_at: Option<WallMs>,
}

fn is_nothing(spend: &NanoUsd) -> bool {
    *spend == NanoUsd::ZERO
}

/// Reads a file whose signature is good.
pub(super) struct Reader {
    lines: Lines,
    head: Head,
}

impl Reader {
    /// Reads the file once to check it; `None` where there is none.
    pub(super) fn open(path: &Path, signer: &Signer) -> Result<Option<Self>, SnapshotError> {
        let Some(mut lines) = Lines::open(path, signer)? else {
            return Ok(None);
        };
        while lines.next()?.is_some() {}
        lines.rewind(signer)?;
        let head = lines.next()?.ok_or(SnapshotError::Torn)?;
        let head = parse(head, 2)?;
        Ok(Some(Self { lines, head }))
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<Line>, SnapshotError> {
        match self.lines.next()? {
            Some(line) => {
                let line = parse(line, 0)?;
                Ok(Some(line))
            }
            None => Ok(None),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8], number: u64) -> Result<T, SnapshotError> {
    serde_json::from_slice(line).map_err(|error| SnapshotError::Line {
        line: number,
        error,
    })
}

/// The lines between the first and the last, which are checked on the way.
struct Lines {
    file: BufReader<File>,
    signing: Option<Signing>,
    line: Vec<u8>,
}

impl Lines {
    fn open(path: &Path, signer: &Signer) -> Result<Option<Self>, SnapshotError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut lines = Self {
            file: BufReader::with_capacity(1 << 16, file),
            signing: None,
            line: Vec::new(),
        };
        lines.rewind(signer)?;
        Ok(Some(lines))
    }

    fn rewind(&mut self, signer: &Signer) -> Result<(), SnapshotError> {
        self.file.rewind()?;
        let mut first = vec![0; FORMAT.len()];
        match self.file.read_exact(&mut first) {
            Ok(()) if first == FORMAT.as_bytes() => {}
            Ok(()) => return Err(SnapshotError::Format),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(SnapshotError::Torn);
            }
            Err(error) => return Err(error.into()),
        }
        self.signing = Some(signer.begin().with(FORMAT.as_bytes()));
        Ok(())
    }

    /// The next line; `None` behind the last one, which has the right signature then.
    fn next(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        let Some(signing) = &mut self.signing else {
            return Ok(None);
        };
        self.line.clear();
        let mut bounded = (&mut self.file).take(LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut self.line)?;
        if self.line.last() != Some(&b'\n') {
            return Err(SnapshotError::Torn);
        }
        if let Some(tag) = self.line.strip_prefix(END) {
            let tag = tag_of(tag).ok_or(SnapshotError::NotOurs)?;
            let ours = self.signing.take().is_some_and(|signing| signing.is(&tag));
            return match ours {
                true => Ok(None),
                false => Err(SnapshotError::NotOurs),
            };
        }
        signing.update(&self.line);
        Ok(Some(&self.line))
    }
}

fn tag_of(line: &[u8]) -> Option<Tag> {
    let hex = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    if hex.len() != 2 * TAG_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    for (place, byte) in tag.iter_mut().enumerate() {
        let digits = hex.get(2 * place..2 * place + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(tag)
}

/// Writes the records of the file that is there and the changes into a new one in its place, all
/// of it or nothing. Returns how many records there are now.
pub(super) fn write(
    path: &Path,
    signer: &Signer,
    head: &Head,
    changes: &BTreeMap<RecordPlace, StoredRecord>,
    running: impl Fn(&Scope) -> Option<(NanoUsd, Option<WallMs>)>,
) -> Result<u64, SnapshotError> {
    let new = beside(path, "new");
    let written = write_new(&new, path, signer, head, changes, running);
    match written {
        Ok(count) => {
            std::fs::rename(&new, path)?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(count)
        }
        Err(error) => {
            // It may be large; nobody reads it.
            let _ = std::fs::remove_file(&new);
            Err(error)
        }
    }
}

/// Moves a file that is no good out of the way, for whoever wants to know what happened.
pub(super) fn set_aside(path: &Path) {
    if let Err(error) = std::fs::rename(path, beside(path, "refused")) {
        tracing::error!(%error, "a refused snapshot cannot be moved out of the way");
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn write_new(
    new: &Path,
    old: &Path,
    signer: &Signer,
    head: &Head,
    changes: &BTreeMap<RecordPlace, StoredRecord>,
    running: impl Fn(&Scope) -> Option<(NanoUsd, Option<WallMs>)>,
) -> Result<u64, SnapshotError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = Output {
        file: BufWriter::with_capacity(1 << 16, options.open(new)?),
        signing: signer.begin(),
        count: 0,
        running,
    };
    out.put(FORMAT.as_bytes())?;
    out.put_json(head)?;
    let mut waiting = changes.iter().peekable();
    if let Some(mut lines) = Lines::open(old, signer)? {
        let _old_head = lines.next()?;
        while let Some(line) = lines.next()? {
            let line: Line = parse(line, 0)?;
            let place = (line.record.kind, line.record.id.clone());
            while let Some((_, stored)) = waiting.next_if(|(other, _)| **other < place) {
                out.put_record(line_of(stored))?;
            }
            let changed = waiting.next_if(|(other, _)| **other == place);
            match changed.map(|(_, stored)| stored) {
                Some(stored) if stored.record.version > line.record.version => {
                    out.put_record(line_of(stored))?;
                }
                _ => out.put_record(line)?,
            }
        }
    }
    for (_, stored) in waiting {
        out.put_record(line_of(stored))?;
    }
    out.finish()
}

fn line_of(stored: &StoredRecord) -> Line {
    Line {
        record: stored.record.clone(),
        spend: stored.spend,
        resets_at: stored.resets_at,
    }
}

struct Output<R> {
    file: BufWriter<File>,
    signing: Signing,
    count: u64,
    running: R,
}

impl<R: Fn(&Scope) -> Option<(NanoUsd, Option<WallMs>)>> Output<R> {
    fn put_record(&mut self, mut line: Line) -> Result<(), SnapshotError> {
        if let Some(scope) = line.record.scope().filter(|_| !line.record.deleted)
            && let Some((spend, resets_at)) = (self.running)(&scope)
        {
            (line.spend, line.resets_at) = (spend, resets_at);
        }
        self.count += 1;
        self.put_json(&line)
    }

    fn put_json(&mut self, value: &impl Serialize) -> Result<(), SnapshotError> {
        let mut json = serde_json::to_vec(value).map_err(io::Error::from)?;
        json.push(b'\n');
        self.put(&json)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.signing.update(bytes);
        self.file.write_all(bytes)?;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, SnapshotError> {
        let tag = self.signing.tag();
        self.file.write_all(END)?;
        for byte in tag {
            write!(self.file, "{byte:02x}")?;
        }
        self.file.write_all(b"\n")?;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(self.count)
    }
}
