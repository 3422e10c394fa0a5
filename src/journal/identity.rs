//! Who a journal is: under this name a store that nodes share keeps its cursor.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use meridian_core::ids::CallId;

use crate::clock;

/// Name of the file in the journal's directory.
const ID_FILE: &str = "id";

/// The identity that a directory has.
pub(super) fn kept(dir: &Path) -> io::Result<Option<String>> {
    let path = dir.join(ID_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => match CallId::parse(text.trim()) {
            Some(id) => Ok(Some(id.to_string())),
            // A name that is lost would store every record of the journal once more.
            None => {
                let message = format!("{} does not hold a UUID", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identity of a directory; made, and put on disk, when it has none.
pub(super) fn of_dir(dir: &Path) -> io::Result<String> {
    if let Some(id) = kept(dir)? {
        return Ok(id);
    }
    let id = clock::new_call_id().to_string();
    // Whole or not at all: a process may be killed in between.
    let fresh = dir.join("id.new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, dir.join(ID_FILE))?;
    File::open(dir)?.sync_all()?;
    Ok(id)
}
