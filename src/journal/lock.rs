//! One process per place of a data directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::JournalError;

/// Name of the lock file.
const LOCK_FILE: &str = "lock";
/// What a process that finishes what runs, and takes nothing new, adds to its number.
const LEAVES: &str = " leaves";

/// Holds a directory until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the directory, making it if needed; `JournalError::Locked` names the other process.
    pub fn take(dir: &Path) -> Result<Self, JournalError> {
        std::fs::create_dir_all(dir)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _unreadable = file.read_to_string(&mut text);
                let text = text.trim_end();
                let pid = text.strip_suffix(LEAVES);
                return Err(JournalError::Locked {
                    dir: dir.to_owned(),
                    leaves: pid.is_some(),
                    pid: pid.unwrap_or(text).to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let lock = Self { file };
        lock.write("")?;
        Ok(lock)
    }

    /// Number of the process that has a directory, or had it last.
    pub(super) fn holder(dir: &Path) -> Option<String> {
        let text = std::fs::read_to_string(dir.join(LOCK_FILE)).ok()?;
        let text = text.trim_end();
        Some(text.strip_suffix(LEAVES).unwrap_or(text).to_owned())
    }

    /// Lets another process serve from here, while this one finishes what runs.
    pub(super) fn leave(&self) -> io::Result<()> {
        self.write(LEAVES)
    }

    fn write(&self, state: &str) -> io::Result<()> {
        let text = format!("{}{state}\n", std::process::id());
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }
}
