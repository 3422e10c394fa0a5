//! Sums by several columns at once.

use meridian::store::{CellQuery, GroupBy, REPORT_ROWS_MAX, Store, StoreError, TimeRange};

use crate::support::{DAY, NOON, apply, on_every_store, record, token};

on_every_store! {
    async fn cells_add_up_to_the_sums_and_follow_their_filters(store: Store) {
        let mut other = record(3, "b", NOON.plus_ms(DAY), 400);
        other.model = "gpt-5".into();
        other.payer.team_id = Some("t2".into());
        other.context.tags = vec!["batch-job".into(), "nightly".into()];
        apply(&store, vec![record(1, "a", NOON, 100), record(2, "a", NOON, 20), other]).await;
        let by = vec![GroupBy::Day, GroupBy::Team, GroupBy::Key, GroupBy::Model];
        let query = CellQuery { by, ..CellQuery::default() };
        let cells = store.spend_cells(query.clone()).await.unwrap();
        let (a, b) = (token("a").to_string(), token("b").to_string());
        let shown: Vec<(Vec<&str>, i64, u64)> = cells
            .iter()
            .map(|cell| {
                let groups = cell.groups.iter().map(String::as_str).collect();
                (groups, cell.totals.spend.0, cell.totals.requests)
            })
            .collect();
        let expected = [
            (vec!["2026-11-18", "t1", a.as_str(), "gpt-4o-2024-11-20"], 120, 2),
            (vec!["2026-11-19", "t2", b.as_str(), "gpt-5"], 400, 1),
        ];
        assert_eq!(shown, expected);
        let spent = async |query: CellQuery| -> i64 {
            let cells = store.spend_cells(query).await.unwrap();
            cells.iter().map(|cell| cell.totals.spend.0).sum()
        };
        let only = |group: GroupBy, names: &[&str]| CellQuery {
            only: vec![(group, names.iter().map(|&name| name.to_owned()).collect())],
            ..query.clone()
        };
        assert_eq!(spent(only(GroupBy::Team, &["t1"])).await, 120);
        assert_eq!(spent(only(GroupBy::Team, &["t1", "t2"])).await, 520);
        assert_eq!(spent(only(GroupBy::Team, &[])).await, 520, "an empty list is no filter");
        assert_eq!(spent(only(GroupBy::Key, &[&b])).await, 400);
        assert_eq!(spent(only(GroupBy::User, &["nobody' OR 1=1 --"])).await, 0);
        let without = CellQuery {
            without: vec![(GroupBy::Team, vec!["t1".into()])],
            ..query.clone()
        };
        assert_eq!(spent(without).await, 400);
        let first_day = CellQuery {
            range: Some(TimeRange { from: NOON, to: NOON.plus_ms(1) }),
            ..query.clone()
        };
        assert_eq!(spent(first_day).await, 120);
        // Every request has two tags and counts for both.
        let tags = CellQuery { by: vec![GroupBy::Tag, GroupBy::Model], ..CellQuery::default() };
        assert_eq!(spent(tags.clone()).await, 2 * 520);
        let nightly = CellQuery {
            only: vec![(GroupBy::Tag, vec!["nightly".into()])],
            ..tags
        };
        assert_eq!(spent(nightly).await, 400);
    }

    async fn cells_that_no_roll_up_has_are_refused(store: Store) {
        for by in [
            vec![],
            vec![GroupBy::Tag, GroupBy::Endpoint],
            vec![GroupBy::Tag, GroupBy::EndUser],
        ] {
            let query = CellQuery { by, ..CellQuery::default() };
            let refused = store.spend_cells(query).await;
            assert!(matches!(refused, Err(StoreError::TooMuch)), "{refused:?}");
        }
    }

    async fn more_cells_than_a_report_has_rows_are_refused(store: Store) {
        let each = u64::from(REPORT_ROWS_MAX) / 20 + 1;
        for step in 0..20 {
            let records = (step * each..(step + 1) * each).map(|number| {
                let mut one = record(number, "a", NOON, 1);
                one.model = format!("model-{number}");
                one
            });
            apply(&store, records.collect()).await;
        }
        let query = CellQuery { by: vec![GroupBy::Model], ..CellQuery::default() };
        let refused = store.spend_cells(query).await;
        assert!(matches!(refused, Err(StoreError::TooMuch)));
    }
}
