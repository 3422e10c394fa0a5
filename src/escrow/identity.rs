//! Who this node is among those that share budgets: a number from the region's store and the life
//! of its journal, kept beside the journal.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use meridian_core::escrow::Actor;

use crate::clock;
use crate::journal::{Journal, Life};
use crate::store::{Store, StoreError};

/// Name of the file in the journal's directory.
const ACTOR_FILE: &str = "actor";

/// This node.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// As the writer of rows.
    pub actor: Actor,
}

/// Why nobody can say who this node is.
#[derive(Debug, thiserror::Error)]
pub enum NoIdentity {
    /// Its file cannot be used.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It has none yet, and the store that gives numbers does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Identity {
    /// The one that was kept, if it was kept.
    ///
    /// # Errors
    /// A file that cannot be read, or was made in another region.
    pub fn kept(journal: &Journal, region: u8) -> Result<Option<Self>, NoIdentity> {
        let path = journal.dir().join(ACTOR_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bad = |why: &str| {
            let message = format!("{}: {why}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let actor: Actor = text
            .trim()
            .parse()
            .map_err(|error| bad(&format!("{error}")))?;
        if actor.region != region {
            let why = "this data directory was used in another region, or regions were renamed or \
                       linked since; give the node an empty one once its records are stored";
            return Err(bad(why).into());
        }
        Ok(Some(Self { actor }))
    }

    /// Who a process of this node is that has its place beside this one's; `None` until it knows.
    pub fn of_process(life: &Life, pid: u32) -> Option<Actor> {
        let journal = life.journal_of(pid)?;
        let text = std::fs::read_to_string(journal.join(ACTOR_FILE)).ok()?;
        text.trim().parse().ok()
    }

    /// Who this node was in places of its data directory that it does not go on with.
    pub fn of_retired(data_dir: &Path) -> Vec<Actor> {
        let homes = Life::retired(data_dir).unwrap_or_default().into_iter();
        let texts = homes.filter_map(|home| std::fs::read_to_string(home.join(ACTOR_FILE)).ok());
        texts.filter_map(|text| text.trim().parse().ok()).collect()
    }

    /// A number from the store, kept from now on.
    ///
    /// # Errors
    /// The store does not answer, or the file cannot be written.
    pub async fn take(journal: &Journal, store: &Store, region: u8) -> Result<Self, NoIdentity> {
        let actor = Actor {
            region,
            node: store.node_number(journal.id()).await?,
            incarnation: 0,
        };
        keep(journal.dir(), actor)?;
        Ok(Self { actor })
    }
}

/// How long ago a node got its number; `None` where nobody can say.
pub(super) fn age(journal: &Journal) -> Option<Duration> {
    let file = std::fs::metadata(journal.dir().join(ACTOR_FILE)).ok()?;
    let made = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let now = u64::try_from(clock::now().0).ok()?;
    Some(Duration::from_millis(now).saturating_sub(made))
}

/// Whole or not at all: a process may be killed in between.
fn keep(dir: &Path, actor: Actor) -> io::Result<()> {
    let fresh = dir.join("actor.new");
    let mut file = File::create(&fresh)?;
    writeln!(file, "{actor}")?;
    file.sync_all()?;
    std::fs::rename(&fresh, dir.join(ACTOR_FILE))?;
    File::open(dir)?.sync_all()
}
