//! Draining into a real store: exactly once, whatever is replayed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian::journal::{Drain, JournalError, JournalOptions};
use meridian::store::{SpendBatch, SpendPageAt, SpendQuery, Store};
use meridian_core::journal::Position;

use super::support::{COST, call, journal, open, record, request, small};

const DEADLINE: Duration = Duration::from_secs(30);

/// Rows of the log and the sum of the roll-ups.
pub(crate) async fn ledger(store: &Store) -> (u64, i64) {
    let query = SpendQuery {
        page: SpendPageAt::Number(1),
        size: 1,
        ..SpendQuery::default()
    };
    let rows = store.spend_logs(query).await.unwrap().total.unwrap();
    (rows, store.global_spend(None).await.unwrap().0)
}

#[tokio::test]
async fn a_drain_moves_everything_once_and_frees_the_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let journal = Arc::new(journal);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
    for round in 1..=3u64 {
        (0..400).for_each(|number| request(&journal, call(round << 32 | number)));
        assert!(drain.flush(DEADLINE).await);
        let rows = 400 * round;
        assert_eq!(ledger(&store).await, (rows, rows as i64 * COST));
        assert_eq!(journal.segments(), 1);
    }
    assert_eq!(drain.drained(), 1_200);
    assert_eq!(drain.lag_ms(meridian::clock::now()), 0);
}

#[tokio::test]
async fn a_replay_from_any_cursor_counts_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let journal = Arc::new(journal);
    journal.consumed("keeps all segments", Position::default());
    let store = Store::open_embedded(dir.path()).await.unwrap();
    (0..100).for_each(|number| request(&journal, call(number)));
    let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
    assert!(drain.flush(DEADLINE).await);
    // A crash between reading and committing leaves an older cursor behind.
    let first = store.journal_position("store").await.unwrap().unwrap();
    for position in [Position::default(), Position { offset: 0, ..first }] {
        let from = store.journal_position("store").await.unwrap().unwrap();
        let back = SpendBatch {
            writer: "store".to_owned(),
            from,
            next: position,
            records: Vec::new(),
            keeps_logs: true,
        };
        store.apply_spend(back).await.unwrap();
        let again = Drain::new(Arc::clone(&journal), store.clone(), "store");
        assert!(again.flush(DEADLINE).await);
        assert_eq!(ledger(&store).await, (100, 100 * COST));
    }
}

/// Every record here has begun at the same moment: only its place tells whose it is.
#[tokio::test]
async fn a_listener_hears_of_what_came_after_its_place_whatever_the_clock_said() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let journal = Arc::new(journal);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
    (0..40).for_each(|number| request(&journal, call(number)));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    drain.tell(journal.end(), move |records| {
        let ids = records.iter().map(|record| record.call_id);
        hears.lock().unwrap().extend(ids);
    });
    (40..100).for_each(|number| request(&journal, call(number)));
    assert!(drain.flush(DEADLINE).await);
    assert_eq!(ledger(&store).await, (100, 100 * COST));
    let own: Vec<_> = (40..100).map(call).collect();
    assert_eq!(*heard.lock().unwrap(), own);
}

#[tokio::test]
async fn a_second_consumer_has_its_own_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let other_dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let journal = Arc::new(journal);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let other = Store::open_embedded(other_dir.path()).await.unwrap();
    let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
    let slow = Drain::new(Arc::clone(&journal), other.clone(), "other");
    (0..300).for_each(|number| request(&journal, call(number)));
    assert!(drain.flush(DEADLINE).await);
    assert!(journal.segments() > 1, "the other consumer needs them");
    assert!(slow.flush(DEADLINE).await);
    assert_eq!(ledger(&other).await, (300, 300 * COST));
    assert_eq!(journal.segments(), 1);
}

#[tokio::test]
async fn a_journal_that_was_deleted_starts_over_without_losing_records() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path()).await.unwrap();
    for round in 0..2u64 {
        let (journal, _) = journal(dir.path(), small());
        let journal = Arc::new(journal);
        let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
        (0..10).for_each(|number| request(&journal, call(round << 32 | number)));
        assert!(drain.flush(DEADLINE).await);
        assert_eq!(ledger(&store).await.0, 10 * (round + 1));
        drop((drain, journal));
        std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    }
}

#[tokio::test]
async fn a_journal_smaller_than_a_segment_is_not_full_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        bytes_max: 1024 * 1024,
        ..JournalOptions::default()
    };
    let (journal, _) = journal(dir.path(), options);
    let journal = Arc::new(journal);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let drain = Drain::new(Arc::clone(&journal), store.clone(), "store");
    // One stream runs all the time and says so again when its segment gets old.
    let stream = open(call(u64::MAX));
    let mut ticket = journal.append_open(&stream).unwrap();
    let mut made = 0;
    for round in 1..=3u64 {
        let full = loop {
            match journal.append_open(&open(call(made))) {
                Ok(ticket) => journal
                    .append_close(Some(ticket), &record(call(made)))
                    .unwrap(),
                Err(error) => break error,
            }
            if journal.wants_renewal(&ticket) {
                journal.renew(&mut ticket, &stream).unwrap();
            }
            made += 1;
        };
        assert!(matches!(full, JournalError::Full { .. }), "{full}");
        assert!(drain.flush(DEADLINE).await);
        assert_eq!(ledger(&store).await.0, made, "round {round}");
    }
    journal.append_close(Some(ticket), &stream.record).unwrap();
}

#[tokio::test]
async fn the_drain_loop_keeps_up_by_itself_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = journal(dir.path(), small());
    let journal = Arc::new(journal);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let drain = Arc::new(Drain::new(Arc::clone(&journal), store.clone(), "store"));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let drain = Arc::clone(&drain);
        async move { drain.run(stopped).await }
    });
    journal.append_close(None, &record(call(1))).unwrap();
    let stored = async {
        while ledger(&store).await.0 == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, stored).await.unwrap();
    stop.send(true).unwrap();
    tokio::time::timeout(DEADLINE, running)
        .await
        .unwrap()
        .unwrap();
}
