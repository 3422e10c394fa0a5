//! The change feed: nobody's change is skipped, whenever it becomes visible.

use std::collections::BTreeSet;

use meridian::store::{FeedCursor, RecordWrite, Store};
use meridian_core::record::{Record, Team};

use super::support::{NOON, ask, store};

fn team(id: &str) -> RecordWrite {
    RecordWrite::create(Record::new(id.to_owned(), &Team::default(), NOON))
}

async fn write(store: &Store, ids: &[&str]) {
    let writes = ids.iter().map(|id| team(id)).collect();
    store.write_records(writes, None).await.unwrap();
}

/// Ids of everything behind a cursor, in steps of `limit`, and the cursor after it.
async fn read(store: &Store, mut cursor: FeedCursor, limit: u32) -> (BTreeSet<String>, FeedCursor) {
    let mut found = BTreeSet::new();
    loop {
        let changes = store.changes_after(cursor, limit).await.unwrap();
        found.extend(changes.records.into_iter().map(|record| record.id));
        cursor = changes.next;
        if changes.caught_up {
            return (found, cursor);
        }
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[tokio::test]
async fn changes_are_shown_once_in_steps_of_any_size() {
    let (_, store) = store().await;
    write(&store, &["a", "b", "c", "d", "e"]).await;
    for limit in [1, 2, 5, 100] {
        let (found, cursor) = read(&store, FeedCursor::default(), limit).await;
        assert_eq!(found, set(&["a", "b", "c", "d", "e"]), "{limit}");
        assert_eq!(read(&store, cursor, limit).await.0, set(&[]), "{limit}");
    }
    let (_, cursor) = read(&store, FeedCursor::default(), 100).await;
    let stored = store.write_records(vec![team("f")], None).await.unwrap();
    let gone = RecordWrite::delete(stored[0].clone(), NOON);
    store.write_records(vec![gone], None).await.unwrap();
    let changes = store.changes_after(cursor, 100).await.unwrap();
    assert_eq!(changes.records.len(), 1);
    assert!(changes.records[0].deleted, "as it is now");
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_shown_late_and_not_skipped() {
    let (name, store) = store().await;
    let (_, cursor) = read(&store, FeedCursor::default(), 100).await;
    // It has an older number than what commits before it.
    let slow = {
        let name = name.clone();
        let insert = "INSERT INTO meridian.record \
            (kind, id, version, created_at, updated_at, body) \
            VALUES ('team', 'slow', 1, 0, 0, '{}')";
        tokio::task::spawn_blocking(move || {
            ask(
                &name,
                &format!("BEGIN; {insert}; SELECT pg_sleep(2); COMMIT"),
            )
        })
    };
    let begun = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
        AND datname = current_database()";
    while ask(&name, begun) == "0" {
        tokio::task::yield_now().await;
    }
    write(&store, &["quick"]).await;
    let (found, cursor) = read(&store, cursor, 1).await;
    assert_eq!(found, set(&["quick"]), "it does not wait for the slow one");
    slow.await.unwrap();
    let (found, cursor) = read(&store, cursor, 1).await;
    assert_eq!(found, set(&["slow"]));
    assert_eq!(read(&store, cursor, 1).await.0, set(&[]));
}

#[tokio::test]
async fn a_cursor_of_another_server_begins_anew() {
    let (_, store) = store().await;
    write(&store, &["a"]).await;
    let (_, cursor) = read(&store, FeedCursor::default(), 100).await;
    let mut place: serde_json::Value = serde_json::from_str(&cursor.0).unwrap();
    place["server"] = "2001-01-01 00:00:00+00".into();
    for other in [place.to_string(), "garbage".to_owned()] {
        assert_eq!(read(&store, FeedCursor(other), 100).await.0, set(&["a"]));
    }
}
