//! Records between regions. Each region has a mailbox in its own Redis: a stream for every other
//! region, into which a node of that region writes what is at home there, as absolute values.
//!
//! All nodes read the mailbox into memory, so that a revocation holds while their Postgres is
//! away; one of them stores what it reads and says so in the same Redis. The sender goes on from
//! there, after a restart too, and sends everything again when the mailbox has forgotten.

mod courier;
mod mailbox;
mod names;

use meridian_core::record::Record;
use meridian_core::record::versions::Buckets;
use meridian_core::signature::Signer;
use meridian_core::time::WallMs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use courier::Courier;
pub use mailbox::{Leader, Mailbox};

use crate::store::FeedCursor;

/// Form of the messages; one of another form is not read.
const FORM: u8 = 1;
/// Most batches that wait in a mailbox; older ones are sent again.
const BATCHES_MAX: u64 = 1_000;

/// Records of one home, in the order of its feed.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    form: u8,
    /// The home.
    from: String,
    /// For whom.
    to: String,
    /// Where the batch before it ended, and where this one ends, in the feed of the home;
    /// `None` for records that were asked for once more.
    #[serde(default)]
    span: Option<(String, String)>,
    records: Vec<Record>,
}

/// What the receiver has stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// Up to here in the sender's feed, with nothing left out.
    cursor: String,
    /// Up to this entry of the stream.
    entry: String,
}

/// Up to when the sender has told everything.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    at: WallMs,
}

/// Sums of what the sender has told.
#[derive(Debug, Serialize, Deserialize)]
struct Sums {
    sums: Vec<u64>,
}

/// What the receiver wants once more.
#[derive(Debug, Serialize, Deserialize)]
struct Wanted {
    buckets: String,
}

impl Wanted {
    fn of(buckets: Buckets) -> Self {
        Self {
            buckets: buckets.to_hex(),
        }
    }
}

fn write(signer: &Signer, message: &impl Serialize) -> String {
    // All of them are structs of numbers, texts and lists.
    signer.sign_text(&serde_json::to_string(message).unwrap_or_default())
}

fn read<T: DeserializeOwned>(signer: &Signer, text: &str) -> Option<T> {
    let json = signer.verified(text.as_bytes())?;
    serde_json::from_slice(json).ok()
}

impl Stored {
    fn cursor(&self) -> FeedCursor {
        FeedCursor(self.cursor.clone())
    }
}
