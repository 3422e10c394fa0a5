//! One partition per day: made in time, dropped whole, small rows.

use std::time::Duration;

use meridian::store::{SpendQuery, StoreError, TimeRange};
use meridian_core::money::NanoUsd;
use meridian_testkit::deadline::now;
use meridian_testkit::postgres::shared;

use super::support::{DAY, NOON, apply, ask, record, store};

const DAYS: &str = "SELECT relid::regclass FROM pg_partition_tree('meridian.spend_log') \
    WHERE isleaf ORDER BY 1";

#[tokio::test]
async fn a_day_gets_its_partition_before_its_first_row_and_the_next_one_ahead() {
    let (name, store) = store().await;
    store.prepare(NOON).await.unwrap();
    let days = "meridian.spend_log_20261118\nmeridian.spend_log_20261119";
    assert_eq!(ask(&name, DAYS), days);
    // A batch over midnight, and a record that comes very late.
    let midnight = NOON.plus_ms(DAY / 2);
    let batch = vec![
        record(1, midnight.plus_ms(-1), 1),
        record(2, midnight, 2),
        record(3, NOON.plus_ms(-40 * DAY), 4),
    ];
    apply(&store, batch).await.unwrap();
    for (day, rows) in [("20261118", 1), ("20261119", 1), ("20261009", 1)] {
        let sql = format!("SELECT count(*) FROM meridian.spend_log_{day}");
        assert_eq!(ask(&name, &sql), rows.to_string(), "{day}");
    }
}

#[tokio::test]
async fn retention_drops_whole_days_and_keeps_reports() {
    let (name, store) = store().await;
    let batch = (0..6).map(|n| record(n, NOON.plus_ms(n as i64 * DAY), 1));
    apply(&store, batch.collect()).await.unwrap();
    let began = now();
    let dropped = store.drop_logs_before(NOON.plus_ms(4 * DAY)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(dropped, 4);
    assert_eq!(
        ask(&name, DAYS),
        "meridian.spend_log_20261122\nmeridian.spend_log_20261123"
    );
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(6));
    // A record of a day that is gone makes it anew.
    apply(&store, vec![record(7, NOON, 1)]).await.unwrap();
    assert_eq!(store.drop_logs_before(NOON).await.unwrap(), 0);
}

/// Somebody reads the day of November 20th for a minute, in a transaction that begins like this.
async fn reads(name: &str, begins: &str) -> tokio::task::JoinHandle<Result<String, String>> {
    let (database, begins) = (name.to_owned(), begins.to_owned());
    let reader = tokio::task::spawn_blocking(move || {
        let sql = format!(
            "BEGIN; {begins} SELECT count(*) FROM meridian.spend_log_20261120; \
             SELECT pg_advisory_lock(77); SELECT pg_sleep(60)"
        );
        shared().try_ask(&database, &sql)
    });
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let began = now();
    while ask(name, held) == "0" {
        assert!(began.elapsed() < Duration::from_secs(30), "no reader");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader
}

/// Retention waits for no report: it is broken off, and may be asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_makes_room_for_a_day_that_is_dropped() {
    let (name, store) = store().await;
    let batch = (0..5).map(|n| record(n, NOON.plus_ms(n as i64 * DAY), 1));
    apply(&store, batch.collect()).await.unwrap();
    let named = "SET LOCAL application_name = 'meridian report';";
    let reader = reads(&name, named).await;
    let dropped = store.drop_logs_before(NOON.plus_ms(4 * DAY)).await;
    assert_eq!(dropped.unwrap(), 4);
    let refused = reader.await.unwrap().unwrap_err();
    assert!(refused.contains("user request"), "{refused}");
}

/// Of many days one cannot be dropped now: the others go all the same, and it goes the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_being_read_keeps_no_other_day() {
    let (name, store) = store().await;
    let batch = (0..5).map(|n| record(n, NOON.plus_ms(n as i64 * DAY), 1));
    apply(&store, batch.collect()).await.unwrap();
    let reader = reads(&name, "").await;
    let before = NOON.plus_ms(4 * DAY);
    let dropped = store.drop_logs_before(before).await;
    assert!(matches!(dropped, Err(StoreError::Busy)), "{dropped:?}");
    let left = "meridian.spend_log_20261120\nmeridian.spend_log_20261121\n\
        meridian.spend_log_20261122";
    assert_eq!(ask(&name, DAYS), left);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' \
        AND pid <> pg_backend_pid()";
    ask(&name, end);
    assert!(reader.await.unwrap().is_err());
    assert_eq!(store.drop_logs_before(before).await.unwrap(), 2);
    assert_eq!(ask(&name, DAYS), "meridian.spend_log_20261122");
}

#[tokio::test]
async fn another_node_may_drop_a_day_that_this_one_believes_in() {
    let (name, store) = store().await;
    apply(&store, vec![record(1, NOON, 1)]).await.unwrap();
    ask(
        &name,
        "SELECT * FROM meridian.drop_days_before('2026-11-19')",
    );
    let late = || vec![record(2, NOON, 1)];
    let first = apply(&store, late()).await;
    assert!(first.is_err(), "{first:?}");
    assert_eq!(apply(&store, late()).await.unwrap(), 1);
}

#[tokio::test]
async fn rows_are_small_and_a_range_reads_only_its_days() {
    let (name, store) = store().await;
    let rows = 4_000;
    for day in 0..3 {
        let started = NOON.plus_ms(day * DAY);
        let batch = (0..rows).map(|n| record(n, started.plus_ms(n as i64), 1));
        apply(&store, batch.collect()).await.unwrap();
    }
    let sql = "SELECT sum(pg_total_relation_size(relid)) / count(*) / 4000 \
        FROM pg_partition_tree('meridian.spend_log') WHERE isleaf";
    let bytes: f64 = ask(&name, sql).parse().unwrap();
    assert!(bytes < 1_024.0, "{bytes} bytes per row with its indexes");
    let range = TimeRange {
        from: NOON,
        to: NOON.plus_ms(DAY / 2),
    };
    let query = SpendQuery {
        range: Some(range),
        size: 1,
        ..SpendQuery::default()
    };
    assert_eq!(store.spend_logs(query).await.unwrap().total, Some(rows));
    let explain = "EXPLAIN SELECT count(*) FROM meridian.spend_log \
        WHERE started >= '2026-11-20T00:00:00Z'";
    let plan = ask(&name, explain);
    assert!(
        plan.contains("spend_log_20261120") && !plan.contains("20261119"),
        "{plan}"
    );
}
