//! The ledger: exactly once, pages, reports, retention.

use meridian::store::{
    GroupBy, NextReset, Owner, ReportQuery, ScopePeriod, SpendBatch, SpendPageAt, SpendQuery,
    SpendSort, Store, StoreError, TimeRange,
};
use std::sync::Arc;

use meridian_core::journal::Position;
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::spend::EndReason;
use meridian_core::time::WallMs;
use meridian_core::usage::ServiceTier;

use crate::support::{
    DAY, HOUR, NOON, apply, batch, call, embedded, key, on_every_store, record, spend_of, token,
};

on_every_store! {
    async fn a_record_counts_once_in_logs_roll_ups_and_key_spend(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        let mut odd = record(2, "a", NOON, 250);
        odd.usage.reasoning = 4;
        odd.usage.tier = ServiceTier::Flex;
        odd.end_reason = EndReason::UpstreamReset;
        odd.estimated = true;
        odd.error = Some("upstream closed the connection".into());
        let batch = vec![record(1, "a", NOON, 1_000), odd.clone()];
        assert_eq!(apply(&store, batch.clone()).await, 2);
        assert_eq!(apply(&store, batch.clone()).await, 0);
        let twice_in_one = [
            batch,
            vec![record(3, "a", NOON, 7), record(3, "a", NOON, 7)],
        ]
        .concat();
        assert_eq!(apply(&store, twice_in_one).await, 1);
        assert_eq!(spend_of(&store, "a").await, 1_257);
        assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(1_257));
        let query = SpendQuery {
            request_id: Some(call(2).to_string()),
            ..SpendQuery::default()
        };
        assert_eq!(store.spend_logs(query).await.unwrap().rows, [odd]);
        for (group, name, requests) in [
            (GroupBy::Key, token("a").to_string().as_str(), 3),
            (GroupBy::User, "u1", 3),
            (GroupBy::Team, "t1", 3),
            (GroupBy::Organization, "", 3),
            (GroupBy::ModelGroup, "gpt-4o", 3),
            (GroupBy::Model, "gpt-4o-2024-11-20", 3),
            (GroupBy::Provider, "openai", 3),
            (GroupBy::Deployment, "d1", 3),
            (GroupBy::Endpoint, "acompletion", 3),
            (GroupBy::Day, "2026-11-18", 3),
            (GroupBy::EndUser, "customer-7", 3),
            (GroupBy::Tag, "batch-job", 3),
        ] {
            let totals = store.spend_by(group, ReportQuery::default()).await.unwrap();
            let sums = &totals[0];
            assert_eq!(
                (sums.group.as_str(), sums.requests),
                (name, requests),
                "{group:?}"
            );
            let measures = (sums.spend.0, sums.prompt, sums.cache_read, sums.failed);
            assert_eq!(measures, (1_257, 300, 192, 1), "{group:?}");
        }
    }
}

#[tokio::test]
async fn nothing_of_a_batch_is_stored_when_a_part_of_it_cannot_be() {
    let (dir, store) = embedded().await;
    apply(&store, vec![record(1, "a", NOON, 1)]).await;
    let broken = rusqlite::Connection::open(dir.path().join("meridian.db")).unwrap();
    broken
        .execute_batch("ALTER TABLE journal_cursor RENAME TO away")
        .unwrap();
    let from = Position {
        offset: 1,
        ..Position::default()
    };
    let lost = batch(vec![record(2, "a", NOON, 1)], from, Position::default());
    assert!(store.apply_spend(lost).await.is_err());
    broken
        .execute_batch("ALTER TABLE away RENAME TO journal_cursor")
        .unwrap();
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(1));
    assert_eq!(apply(&store, vec![record(2, "a", NOON, 1)]).await, 1);
}

on_every_store! {
    async fn logs_are_read_page_by_page_with_filters(store: Store) {
        let mut batch: Vec<_> = (0..95)
            .map(|n| {
                record(
                    n,
                    if n % 2 == 0 { "a" } else { "b" },
                    NOON.plus_ms(n as i64 / 3),
                    n as i64,
                )
            })
            .collect();
        batch[7].end_reason = EndReason::Stall;
        apply(&store, batch).await;
        let mut query = SpendQuery {
            api_key: Some(token("a")),
            size: 10,
            ..SpendQuery::default()
        };
        let first = store.spend_logs(query.clone()).await.unwrap();
        assert_eq!((first.total, first.rows[0].call_id), (Some(48), call(94)));
        let (mut seen, mut page) = (first.rows, first.next);
        while let Some(next) = page {
            query.page = SpendPageAt::After(next);
            let more = store.spend_logs(query.clone()).await.unwrap();
            seen.extend(more.rows);
            page = more.next;
        }
        let starts: Vec<_> = seen.iter().map(|row| row.started).collect();
        assert_eq!(seen.len(), 48);
        assert!(starts.is_sorted_by(|a, b| a >= b));
        let costly = SpendQuery {
            sort_by: SpendSort::Spend,
            spend_max: Some(NanoUsd(50)),
            range: Some(TimeRange {
                from: NOON,
                to: NOON.plus_ms(10),
            }),
            model: Some("gpt-4o".into()),
            size: 2,
            page: SpendPageAt::Number(2),
            ..SpendQuery::default()
        };
        let page = store.spend_logs(costly).await.unwrap();
        let costs: Vec<_> = page.rows.iter().map(|row| row.cost.0).collect();
        assert_eq!(
            (page.total, costs, page.next),
            (Some(30), vec![27, 26], None)
        );
        let failed = SpendQuery {
            failed: Some(true),
            ..SpendQuery::default()
        };
        assert_eq!(
            store.spend_logs(failed).await.unwrap().rows[0].call_id,
            call(7)
        );
        let deep = SpendQuery {
            page: SpendPageAt::Number(1_000_000),
            ..SpendQuery::default()
        };
        assert!(matches!(
            store.spend_logs(deep).await,
            Err(StoreError::TooMuch)
        ));
    }
}

on_every_store! {
    async fn a_response_is_found_with_its_payer(store: Store) {
        apply(&store, vec![record(1, "a", NOON, 1)]).await;
        // The master key looked at it; it stays who made it.
        let mut looked = record(2, "a", NOON.plus_ms(1), 0);
        looked.payer.key = None;
        looked.response_id = Some("resp_1".into());
        apply(&store, vec![looked]).await;
        let mut rotated = record(3, "b", NOON.plus_ms(2), 0);
        rotated.context.lineage = Some(token("first"));
        apply(&store, vec![rotated]).await;
        let asked = ["resp_9", "resp_3", "resp_1"].map(String::from).to_vec();
        let mut found = store.find_owners(asked.clone()).await.unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let owner = |key: &str, lineage: Option<&str>| Owner {
            key: Some(token(key)),
            lineage: lineage.map(token),
            model_group: "gpt-4o".into(),
            deployment_id: "d1".into(),
            batch: None,
        };
        let expected = [
            ("resp_1".to_owned(), owner("a", None)),
            ("resp_3".to_owned(), owner("b", Some("first"))),
        ];
        assert_eq!(found, expected);
        store.drop_logs_before(NOON.plus_ms(DAY)).await.unwrap();
        assert_eq!(store.find_owners(asked).await.unwrap(), []);
    }
}

on_every_store! {
    async fn who_made_a_file_is_known_for_ever_and_never_changes(store: Store) {
        let owner = |key: &str| Owner {
            key: Some(token(key)),
            lineage: None,
            model_group: "m".into(),
            deployment_id: "d1".into(),
            batch: None,
        };
        let ids = vec!["file-1".to_owned(), "file-2".to_owned()];
        store.keep_owner(ids.clone(), owner("a")).await.unwrap();
        store.keep_owner(vec![ids[1].clone()], owner("b")).await.unwrap();
        let master = Owner { key: None, ..owner("a") };
        store.keep_owner(vec!["file-3".into()], master.clone()).await.unwrap();
        let rotated = Owner { lineage: Some(token("first")), ..owner("a") };
        store.keep_owner(vec!["file-4".into()], rotated.clone()).await.unwrap();
        let asked = ["file-3", "file-2", "file-0", "file-4", "file-1"].map(String::from).to_vec();
        let mut found = store.find_owners(asked).await.unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("file-1".to_owned(), owner("a")),
            ("file-2".to_owned(), owner("a")),
            ("file-3".to_owned(), master),
            ("file-4".to_owned(), rotated),
        ];
        assert_eq!(found, expected);
    }
}

on_every_store! {
    async fn days_show_users_and_models_within_the_range(store: Store) {
        let mut other = record(3, "b", NOON.plus_ms(DAY), 5);
        other.payer.user_id = Some("u2".into());
        other.model = "claude".into();
        let old = record(4, "a", NOON.plus_ms(-DAY), 1_000);
        let batch = vec![
            record(1, "a", NOON, 10),
            record(2, "a", NOON.plus_ms(DAY), 20),
            other,
            old,
        ];
        apply(&store, batch).await;
        let range = Some(TimeRange {
            from: NOON,
            to: NOON.plus_ms(2 * DAY),
        });
        let query = ReportQuery {
            range,
            ..ReportQuery::default()
        };
        let days = store.spend_by_day(query).await.unwrap();
        assert_eq!(days.len(), 2);
        assert_eq!((days[1].day.as_str(), days[1].spend.0), ("2026-11-19", 25));
        assert_eq!(
            days[1].users,
            [("u1".into(), NanoUsd(20)), ("u2".into(), NanoUsd(5))]
        );
        assert_eq!(days[1].models[1], ("claude".into(), NanoUsd(5)));
        let of_user = ReportQuery {
            user_id: Some("u2".into()),
            range,
            ..ReportQuery::default()
        };
        assert_eq!(
            store.spend_by(GroupBy::Day, of_user).await.unwrap()[0].spend,
            NanoUsd(5)
        );
        assert_eq!(store.global_spend(range).await.unwrap(), NanoUsd(35));
    }
}

#[tokio::test]
async fn retention_drops_logs_and_keeps_reports_and_rows_are_small() {
    let (dir, store) = embedded().await;
    let rows = 12_000u64;
    for start in (0..rows).step_by(4_000) {
        let batch = (start..start + 4_000).map(|n| record(n, "a", NOON.plus_ms(n as i64), 1));
        assert_eq!(apply(&store, batch.collect()).await, 4_000);
    }
    let db = rusqlite::Connection::open(dir.path().join("meridian.db")).unwrap();
    let bytes = || {
        db.query_row("SELECT SUM(pgsize) FROM dbstat", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    let per_row = bytes().unwrap() / rows as i64;
    assert!(per_row < 1_024, "{per_row} bytes per row with its indexes");
    let dropped = store.drop_logs_before(NOON.plus_ms(11_000)).await.unwrap();
    assert_eq!(dropped, 11_000);
    let left = store.spend_logs(SpendQuery::default()).await.unwrap();
    assert_eq!(left.total, Some(1_000));
    assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(12_000));
    assert!(
        bytes().unwrap() / (rows as i64) < per_row / 4,
        "the file shrinks"
    );
}

on_every_store! {
    async fn an_impossible_cost_cannot_poison_a_key(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        let batch = (0..100).map(|n| record(n, "a", NOON, i64::MAX)).collect();
        apply(&store, batch).await;
        apply(&store, vec![record(200, "a", NOON, -5)]).await;
        assert!(spend_of(&store, "a").await > 0);
        assert!(store.global_spend(None).await.unwrap() > NanoUsd::ZERO);
    }
}

on_every_store! {
    async fn requests_that_are_not_listed_are_counted_in_their_periods(store: Store) {
        // Later than now: an end that is set when it has passed is looked up in the log.
        let end = meridian::clock::now().plus_ms(HOUR);
        let scope = Scope::new(ScopeKind::Team, "t1");
        let period = ScopePeriod {
            duration: "1d".to_owned(),
            ends: Some(end),
        };
        let periods = vec![(scope.clone(), Some(period))];
        store.set_scope_periods(periods).await.unwrap();
        let records = vec![
            record(1, "a", end.plus_ms(-1), 500),
            record(2, "a", end, 40),
            record(3, "a", end.plus_ms(DAY), 3),
        ];
        let next = Position {
            offset: 1,
            ..Position::default()
        };
        let unlisted = SpendBatch {
            keeps_logs: false,
            ..batch(records, Position::default(), next)
        };
        assert_eq!(store.apply_spend(unlisted).await.unwrap(), 3);
        let listed = store.spend_logs(SpendQuery::default()).await.unwrap();
        assert_eq!(listed.total, Some(0));
        assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(543));
        let next: NextReset = Arc::new(|_, at| Some(WallMs(at.0 + DAY)));
        for (hours, spend) in [(1, 43), (25, 3)] {
            let now = end.plus_ms(hours * HOUR);
            let rolled = store.roll_budget_periods(now, next.clone()).await.unwrap();
            assert_eq!(rolled[0].spend, NanoUsd(spend), "{hours} h later");
            let stored = store.scope_spends(vec![scope.clone()]).await.unwrap();
            assert_eq!(stored[0].spend, NanoUsd(spend));
        }
    }
}
