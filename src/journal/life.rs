//! Lives: one process serves from a data directory, and while a new one takes its place two use
//! it, each with a journal and a snapshot of its own.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use meridian_core::journal::Position;

use super::{DirLock, JOURNAL_DIR, JournalError, identity, segment};
use crate::clock;

/// Beginning of the folders of later lives; the first one's home is the data directory itself.
const LATER: &str = "life-";
/// What a life leaves behind for the next start without a store; the newest one is gone on with.
const SNAPSHOT: &str = "records.snapshot";
/// Marks a place whose journal is not what was written there last: nobody goes on with it.
const RETIRED: &str = "retired";

/// The place of one process in a data directory, held until it is dropped.
#[derive(Debug)]
pub struct Life {
    number: u32,
    home: PathBuf,
    along: bool,
    /// The word of its mark, once it is retired.
    retired: OnceLock<String>,
    pub(super) lock: DirLock,
}

impl Life {
    /// Takes a place: the first one, unless a process that leaves is still in it or a later one
    /// has the newer snapshot. `takes_over` is for a process that was started by the one that
    /// serves here.
    ///
    /// # Errors
    /// `JournalError::Locked` where another process serves and does not leave.
    pub fn take(data_dir: &Path, takes_over: bool) -> Result<Self, JournalError> {
        std::fs::create_dir_all(data_dir)?;
        let (mut free, mut held) = (Vec::new(), 0);
        for number in numbers(data_dir)? {
            let home = home(data_dir, number);
            match DirLock::take(&home) {
                Ok(_) if is_retired(&home) => {}
                Ok(lock) => free.push((number, home, lock)),
                Err(JournalError::Locked { leaves, .. }) if leaves || takes_over => held += 1,
                Err(error) => return Err(error),
            }
        }
        let newest = |home: &Path| {
            let written = std::fs::metadata(home.join(SNAPSHOT)).and_then(|file| file.modified());
            Reverse(written.unwrap_or(SystemTime::UNIX_EPOCH))
        };
        free.sort_by_key(|(number, home, _)| (newest(home), *number));
        let along = held > 0;
        if let Some((number, home, lock)) = free.into_iter().next() {
            return Ok(Self::at(number, home, along, lock));
        }
        let number = numbers(data_dir)?.last().map_or(0, |last| last + 1);
        let home = home(data_dir, number);
        let lock = DirLock::take(&home)?;
        Ok(Self::at(number, home, along, lock))
    }

    fn at(number: u32, home: PathBuf, along: bool, lock: DirLock) -> Self {
        Self {
            number,
            retired: mark(&home),
            home,
            along,
            lock,
        }
    }

    /// Takes the places that nobody is in, except for one and those that `skipped` names.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn abandoned(
        data_dir: &Path,
        skipped: impl Fn(u32) -> bool,
    ) -> Result<Vec<Self>, JournalError> {
        let mut found = Vec::new();
        for number in numbers(data_dir)? {
            let home = home(data_dir, number);
            if skipped(number) {
                continue;
            }
            match DirLock::take(&home) {
                Ok(lock) => found.push(Self::at(number, home, true, lock)),
                Err(JournalError::Locked { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// 0 for the first one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Folder of the journal and the snapshot.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Whether its journal ends before a place that a store was once told of under its name: an
    /// older copy was put back. Frames are on disk before a shared store hears of them.
    ///
    /// # Errors
    /// When its files cannot be looked at.
    pub fn ends_before(&self, told: Position) -> io::Result<bool> {
        let segments = match segment::list(&self.journal_dir()) {
            Ok(segments) => segments,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some((segment, path)) = segments.into_iter().next_back() else {
            return Ok(told > Position::default());
        };
        let offset = std::fs::metadata(path)?.len();
        Ok(told > Position { segment, offset })
    }

    /// The name of its journal, if it has one yet.
    ///
    /// # Errors
    /// As for [`super::Journal::open`].
    pub fn journal_id(&self) -> io::Result<Option<String>> {
        identity::kept(&self.journal_dir())
    }

    /// Has no process go on here, for good: what is in the journal is only stored.
    ///
    /// # Errors
    /// When the mark cannot be put on disk.
    pub fn retire(&self) -> io::Result<()> {
        let word = clock::new_call_id().to_string();
        let mut file = File::create(self.home.join(RETIRED))?;
        writeln!(file, "{word}")?;
        file.sync_all()?;
        let _ = self.retired.set(word);
        File::open(&self.home)?.sync_all()
    }

    /// Whether no process goes on here.
    pub fn is_retired(&self) -> bool {
        self.retired.get().is_some()
    }

    /// Under which word what is left of a retired journal is stored.
    pub fn retired_as(&self) -> Option<&str> {
        self.retired.get().map(String::as_str)
    }

    /// Folders of journals that nobody goes on with.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn retired(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
        let homes = numbers(data_dir)?.into_iter();
        let homes = homes.map(|number| home(data_dir, number));
        let retired = homes.filter(|home| is_retired(home));
        Ok(retired.map(|home| home.join(JOURNAL_DIR)).collect())
    }

    /// Folder of the journal of another process that has its place in the same data directory.
    pub fn journal_of(&self, pid: u32) -> Option<PathBuf> {
        let data_dir = match self.number {
            0 => &self.home,
            _ => self.home.parent()?,
        };
        let homes = numbers(data_dir).ok()?.into_iter();
        let mut homes = homes.map(|number| home(data_dir, number));
        let home = homes.find(|home| DirLock::holder(home).as_deref() == Some(&pid.to_string()))?;
        Some(home.join(JOURNAL_DIR))
    }

    fn journal_dir(&self) -> PathBuf {
        self.home.join(JOURNAL_DIR)
    }

    /// Whether another process used the directory when this one was taken.
    pub fn is_along(&self) -> bool {
        self.along
    }
}

fn is_retired(home: &Path) -> bool {
    home.join(RETIRED).exists()
}

/// The word of a home's mark, if it has one.
fn mark(home: &Path) -> OnceLock<String> {
    let word = std::fs::read_to_string(home.join(RETIRED));
    word.map_or_else(|_| OnceLock::new(), |word| word.trim().to_owned().into())
}

fn home(data_dir: &Path, number: u32) -> PathBuf {
    match number {
        0 => data_dir.to_owned(),
        _ => data_dir.join(format!("{LATER}{number}")),
    }
}

/// Every place that was ever taken, in order; the first one always.
fn numbers(data_dir: &Path) -> std::io::Result<Vec<u32>> {
    let mut found = vec![0];
    for entry in std::fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(LATER));
        found.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_gets_a_place_only_beside_one_that_leaves_or_calls_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Life::take(dir.path(), false).unwrap();
        assert_eq!((first.number(), first.is_along()), (0, false));
        let refused = Life::take(dir.path(), false).unwrap_err().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        let called = Life::take(dir.path(), true).unwrap();
        assert_eq!((called.number(), called.is_along()), (1, true));
        first.lock.leave().unwrap();
        // The second one serves now: nobody else may.
        assert!(Life::take(dir.path(), false).is_err());
        drop(first);
        assert!(Life::take(dir.path(), false).is_err());
        called.lock.leave().unwrap();
        let third = Life::take(dir.path(), false).unwrap();
        assert_eq!((third.number(), third.is_along()), (0, true));
    }

    #[test]
    fn a_start_goes_on_where_the_newest_snapshot_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = Life::take(dir.path(), false).unwrap();
        let second = Life::take(dir.path(), true).unwrap();
        std::fs::write(second.home().join(SNAPSHOT), "x").unwrap();
        drop((first, second));
        assert_eq!(Life::take(dir.path(), false).unwrap().number(), 1);
    }

    #[test]
    fn a_journal_that_was_put_back_is_known_by_its_end_and_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let first = Life::take(dir.path(), false).unwrap();
        assert_eq!(first.journal_id().unwrap(), None);
        assert!(!first.ends_before(Position::default()).unwrap());
        let folder = dir.path().join(JOURNAL_DIR);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(format!("{:020}.journal", 7)), "12345").unwrap();
        let at = |segment, offset| Position { segment, offset };
        for (told, behind) in [
            (at(7, 5), false),
            (at(6, 9), false),
            (at(7, 6), true),
            (at(8, 0), true),
        ] {
            assert_eq!(first.ends_before(told).unwrap(), behind, "{told:?}");
        }
        first.retire().unwrap();
        drop(first);
        let second = Life::take(dir.path(), false).unwrap();
        assert_eq!((second.number(), second.is_retired()), (1, false));
        assert_eq!(Life::retired(dir.path()).unwrap(), [folder]);
        let left = Life::abandoned(dir.path(), |number| number == 1).unwrap();
        assert!(left.iter().all(Life::is_retired) && left.len() == 1);
    }

    #[test]
    fn places_of_dead_processes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let first = Life::take(dir.path(), false).unwrap();
        let second = Life::take(dir.path(), true).unwrap();
        assert!(Life::abandoned(dir.path(), |_| false).unwrap().is_empty());
        drop(first);
        let found = Life::abandoned(dir.path(), |number| number == 1).unwrap();
        assert_eq!(found.iter().map(Life::number).collect::<Vec<_>>(), [0]);
        drop(second);
    }
}
