//! A server that goes away in every way comes back into use by itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian::journal::{Drain, Journal, JournalOptions};
use meridian::store::{Direction, SpendBatch, Store, StoreError, migrate};
use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_testkit::deadline::now;
use meridian_testkit::postgres::Postgres;
use meridian_testkit::relay::{Mode, Relay};
use meridian_testkit::scale::scaled;

use super::support::{NOON, apply, ask, database, record, store};

/// A call that the store cannot carry out may take so long, not longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// A drain whose commits are cut gets on within this time.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A server that is back is used again within this time.
const BACK_WITHIN: Duration = Duration::from_secs(10);

async fn on(server: &Postgres) -> Store {
    let database = database(&server.database("app"));
    migrate(&database, Direction::Up).await.unwrap();
    Store::postgres(&database).unwrap()
}

/// Asks until it works.
async fn recovers(store: &Store) {
    let back = now();
    loop {
        match apply(store, Vec::new()).await {
            Ok(_) => return,
            Err(StoreError::Unavailable(_) | StoreError::Busy) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(
            back.elapsed() < BACK_WITHIN,
            "not in use after {BACK_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_unavailable(store: &Store) {
    let asked = now();
    let outcome = apply(store, vec![record(9, NOON, 1)]).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Busy)),
        "{outcome:?}"
    );
    assert!(asked.elapsed() < ANSWER_MAX, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let mut server = Postgres::start();
    let store = on(&server).await;
    assert_eq!(apply(&store, vec![record(1, NOON, 5)]).await.unwrap(), 1);
    for _ in 0..2 {
        server.kill();
        is_unavailable(&store).await;
        // Nobody waits for a server that is known to be down.
        let asked = now();
        is_unavailable(&store).await;
        assert!(asked.elapsed() < Duration::from_secs(1));
        server.run();
        recovers(&store).await;
    }
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(5));
}

#[tokio::test]
async fn a_server_that_only_reads_takes_no_records_and_is_no_bug() {
    let server = Postgres::start();
    let store = on(&server).await;
    apply(&store, vec![record(1, NOON, 5)]).await.unwrap();
    server.set_read_only(true);
    let refused = async {
        while apply(&store, Vec::new()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(BACK_WITHIN, refused).await.unwrap();
    is_unavailable(&store).await;
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(5));
    server.set_read_only(false);
    recovers(&store).await;
}

#[tokio::test]
async fn a_server_that_stands_still_keeps_nobody_waiting_for_ever() {
    let server = Postgres::start();
    let store = on(&server).await;
    server.pause();
    is_unavailable(&store).await;
    server.resume();
    recovers(&store).await;
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_not_counted_again() {
    let (_, store) = store().await;
    let batch = |keeps_logs| SpendBatch {
        writer: "n1".to_owned(),
        from: Position::default(),
        next: Position {
            segment: 1,
            offset: 10,
        },
        records: vec![record(1, NOON, 5)],
        keeps_logs,
    };
    for keeps_logs in [false, true] {
        let first = SpendBatch {
            writer: format!("n{keeps_logs}"),
            ..batch(keeps_logs)
        };
        store.apply_spend(first.clone()).await.unwrap();
        let again = store.apply_spend(first.clone()).await;
        assert!(matches!(again, Err(StoreError::Moved)), "{again:?}");
        let position = store.journal_position(&first.writer).await.unwrap();
        assert_eq!(position, Some(first.next));
    }
    // Once without a line in the log, once with one.
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(10));
}

#[tokio::test]
async fn who_listens_hears_once_of_each_record_also_where_answers_are_lost() {
    const RECORDS: u64 = 12;
    let server = Postgres::start();
    let direct = on(&server).await;
    let relay = Relay::start(server.addr()).await;
    let url = format!("postgresql://postgres@{}/app", relay.addr());
    let store = Store::postgres(&database(&url)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let journal = Arc::new(journal);
    let drain = Drain::new(Arc::clone(&journal), store, "store");
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&told);
    drain.tell(journal.end(), move |records| {
        let mut told = hears.lock().unwrap();
        told.extend(records.iter().map(|record| record.call_id));
    });
    relay.set(Mode::CutCommits(2));
    let mut expected = Vec::new();
    for number in 1..=RECORDS {
        let record = record(number, NOON, 5);
        journal.append_close(None, &record).unwrap();
        expected.push(record.call_id);
        assert!(drain.flush(DRAINED_WITHIN).await, "{number}");
    }
    assert!(relay.cuts() > 4, "{} commits were cut", relay.cuts());
    let mut told = told.lock().unwrap().clone();
    told.sort_by_key(|call| call.to_bytes());
    expected.sort_by_key(|call| call.to_bytes());
    assert_eq!(told, expected);
    let spent = NanoUsd(5 * RECORDS as i64);
    assert_eq!(direct.global_spend(None).await.unwrap(), spent);
}

#[tokio::test]
async fn texts_that_postgres_cannot_hold_stop_no_batch() {
    let (_, store) = store().await;
    let mut odd = record(1, NOON, 5);
    odd.payer.user_id = Some("u\0".to_owned());
    odd.context.tags = vec!["\0".to_owned()];
    odd.error = Some("bad \0 byte".to_owned());
    odd.ended.0 = i64::MAX;
    assert_eq!(apply(&store, vec![odd]).await.unwrap(), 1);
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(5));
}

/// Seconds that another node holds the roll-ups; with `MERIDIAN_LONG` longer than a statement, and
/// than the whole of another transaction, may take.
const HELD_S: (u32, u32) = (2, 26);

#[tokio::test]
async fn a_drain_waits_for_roll_ups_that_others_hold_and_does_its_work_once() {
    let (name, store) = store().await;
    apply(&store, vec![record(1, NOON, 5)]).await.unwrap();
    let seconds = scaled(HELD_S.0, HELD_S.1);
    let held = format!(
        "BEGIN; SELECT spend FROM meridian.daily_spend FOR UPDATE; SELECT pg_sleep({seconds}); COMMIT"
    );
    let of_holder = name.clone();
    let holder = tokio::task::spawn_blocking(move || ask(&of_holder, &held));
    let holds = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event = 'PgSleep'";
    let began = now();
    while ask(&name, holds) != "1" {
        assert!(began.elapsed() < BACK_WITHIN, "nobody holds the roll-ups");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(apply(&store, vec![record(2, NOON, 7)]).await.unwrap(), 1);
    holder.await.unwrap();
    let sums = "SELECT (SELECT sum(cost) FROM meridian.spend_log), (SELECT sum(spend) FROM \
        meridian.daily_spend), (SELECT sum(spend) FROM meridian.daily_entity_spend \
        WHERE kind = 'tag')";
    assert_eq!(ask(&name, sums), "12|12|12");
}
