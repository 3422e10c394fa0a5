//! The copy and its snapshot, without a store that others write to.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use meridian_core::ids::Secret;
use meridian_core::record::Team;
use meridian_core::signature::{Purpose, Signer};
use tokio::sync::watch;

use super::*;
use crate::journal::{Journal, JournalOptions};
use crate::telemetry::metrics::{Metrics, MetricsOptions};

/// A memory that keeps what it was given, in the order in which it was.
#[derive(Default)]
struct Notes {
    applied: Mutex<Vec<StoredRecord>>,
    spent: Mutex<HashMap<Scope, NanoUsd>>,
    installation: Mutex<Option<Running>>,
}

impl Memory for Notes {
    fn apply(&self, records: &[StoredRecord], _: WallMs) {
        hold(&self.applied).extend_from_slice(records);
    }

    fn complete(&self) {}

    fn running(&self, scope: &Scope, _: WallMs) -> Option<(NanoUsd, Option<WallMs>)> {
        hold(&self.spent).get(scope).map(|spent| (*spent, None))
    }

    fn raise_spent(&self, scope: &Scope, spent: NanoUsd, _: WallMs) {
        hold(&self.spent).insert(scope.clone(), spent);
    }

    fn charge(&self, _: &SpendRecord, _: WallMs) {}

    fn installation(&self, _: WallMs) -> Option<Running> {
        *hold(&self.installation)
    }

    fn saved_installation(&self, running: Running) {
        *hold(&self.installation) = Some(running);
    }
}

impl Notes {
    fn names(&self) -> Vec<String> {
        let applied = hold(&self.applied);
        let name = |one: &StoredRecord| format!("{}:{}", one.record.id, one.record.version);
        applied.iter().map(name).collect()
    }
}

fn team(id: &str, version: u64) -> StoredRecord {
    let mut record = Record::new(id.into(), &Team::default(), WallMs(0));
    record.version = version;
    without_spend(record)
}

fn signer(secret: &str) -> Signer {
    Signer::new(&Secret::new(secret.to_owned()), Purpose::Snapshot)
}

struct Place {
    dir: tempfile::TempDir,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        Self {
            dir,
            journal: Arc::new(journal),
            metrics: Arc::new(Metrics::new(&MetricsOptions::default()).unwrap()),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self) -> std::path::PathBuf {
        self.path().join("records.snapshot")
    }

    /// Writes what is not saved, as at the end of a process.
    async fn save(&self, records: &Arc<Records>) {
        let keeper = Keeper::new(
            Arc::clone(records),
            Arc::clone(&self.journal),
            Arc::clone(&self.metrics),
            signer("salt"),
            self.path(),
            None,
        );
        let (_stop, stopped) = watch::channel(true);
        keeper.run(stopped).await;
    }

    fn load(&self, secret: &str) -> (Arc<Notes>, Arc<Records>, Option<Loaded>) {
        let (notes, records) = copy();
        let loaded = load(self.path(), &signer(secret), &records, &self.metrics).unwrap();
        (notes, records, loaded)
    }

    fn refused(&self) -> bool {
        let page = self.metrics.render(&Default::default());
        let page = String::from_utf8(page).unwrap();
        page.contains("meridian_records_events_total{event=\"snapshot_refused\"} 1")
    }
}

fn copy() -> (Arc<Notes>, Arc<Records>) {
    let notes = Arc::new(Notes::default());
    let records = Arc::new(Records::new(Arc::clone(&notes) as Arc<dyn Memory>, ""));
    (notes, records)
}

#[test]
fn what_takes_rights_away_comes_first_and_what_is_known_not_again() {
    let (notes, records) = copy();
    let mut gone = team("gone", 3);
    gone.record.deleted = true;
    let mut restriction = team("r", 2);
    restriction.record.kind = RecordKind::Restriction;
    let batch = vec![team("a", 1), gone, restriction];
    assert_eq!(records.take(batch.clone()), 3);
    assert_eq!(notes.names(), ["r:2", "gone:3", "a:1"]);
    assert_eq!(records.take(batch), 0);
    // A slow writer brings nothing back.
    assert_eq!(records.take(vec![team("gone", 2)]), 0);
    assert_eq!(notes.names().len(), 3);
}

#[tokio::test]
async fn a_snapshot_brings_back_records_spend_and_cursor() {
    let place = Place::new();
    let (notes, records) = copy();
    records.take(vec![team("b", 1), team("a", 1)]);
    place.save(&records).await;
    // The next one changes some, adds some and keeps the rest, and knows what was spent.
    let scope = Scope::new(meridian_core::scope::ScopeKind::Team, "b");
    notes.raise_spent(&scope, NanoUsd(7), WallMs(0));
    records.take(vec![team("c", 1), team("a", 5)]);
    records.read_up_to(&FeedCursor("here".into()));
    place.save(&records).await;
    let mode = std::fs::metadata(place.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let (notes, records, loaded) = place.load("salt");
    assert_eq!(notes.names(), ["a:5", "b:1", "c:1"]);
    let spent: Vec<i64> = hold(&notes.applied).iter().map(|one| one.spend.0).collect();
    assert_eq!(spent, [0, 7, 0]);
    let loaded = loaded.unwrap();
    assert_eq!((loaded.cursor.0.as_str(), loaded.records), ("here", 3));
    assert_eq!(records.take(vec![team("a", 4)]), 0);
    // Nothing was taken that is not in it already.
    assert!(hold(&records.unsaved).records.is_empty());
}

#[tokio::test]
async fn what_the_installation_spent_is_in_the_snapshot() {
    let place = Place::new();
    let (notes, records) = copy();
    records.take(vec![team("a", 1)]);
    place.save(&records).await;
    assert_eq!(*hold(&place.load("salt").0.installation), None);
    let running = Running {
        spend: NanoUsd(77),
        ends: Some(WallMs(5)),
    };
    notes.saved_installation(running);
    records.take(vec![team("b", 1)]);
    place.save(&records).await;
    assert_eq!(*hold(&place.load("salt").0.installation), Some(running));
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_and_ours_is_refused_and_moved_aside() {
    type Spoil = fn(&str) -> String;
    let spoil: [(&str, Spoil); 4] = [
        ("changed", |text| text.replace("\"a\"", "\"x\"")),
        ("torn", |text| text[..text.len() - 70].to_owned()),
        ("longer", |text| text.replace("end ", "{}\nend ")),
        ("of another version", |text| {
            text.replace("records 1", "records 2")
        }),
    ];
    for (what, spoil) in spoil {
        let place = Place::new();
        let (_, records) = copy();
        records.take(vec![team("a", 1)]);
        place.save(&records).await;
        let text = std::fs::read_to_string(place.file()).unwrap();
        assert_ne!(spoil(&text), text, "{what}");
        std::fs::write(place.file(), spoil(&text)).unwrap();
        let (notes, _, loaded) = place.load("salt");
        assert!(loaded.is_none() && notes.names().is_empty(), "{what}");
        assert!(place.refused() && !place.file().exists(), "{what}");
        assert!(place.path().join("records.snapshot.refused").exists());
    }
    let place = Place::new();
    let (_, records) = copy();
    records.take(vec![team("a", 1)]);
    place.save(&records).await;
    assert!(place.load("another salt").2.is_none());
    assert!(place.refused());
    // No file at all is no fault.
    assert!(place.load("salt").2.is_none());
}

#[tokio::test]
async fn a_snapshot_that_is_spoilt_while_running_is_never_signed_again() {
    let place = Place::new();
    let (_, records) = copy();
    records.take(vec![team("a", 1)]);
    place.save(&records).await;
    let text = std::fs::read_to_string(place.file()).unwrap();
    std::fs::write(place.file(), text.replace("\"a\"", "\"admin\"")).unwrap();
    records.take(vec![team("b", 1)]);
    place.save(&records).await;
    assert!(!place.file().exists() && records.is_asked_anew());
    // What waited waits on, and all else comes from the store again.
    records.keep(vec![team("a", 1)]);
    place.save(&records).await;
    assert_eq!(place.load("salt").0.names(), ["a:1", "b:1"]);
}
