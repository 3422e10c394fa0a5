//! Keys: uniqueness, versions, deletion, rotation, budget periods.

use std::sync::Arc;

use meridian::store::{KeyQuery, KeySort, NextReset, RecordPlace, Store, StoreError};
use meridian_core::money::NanoUsd;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;

use crate::support::{
    DAY, HOUR, NOON, apply, conflict_in, embedded, key, on_every_store, record, spend_of, token,
};

#[tokio::test]
async fn a_key_comes_back_as_it_was_stored() {
    let (dir, store) = embedded().await;
    let mut full = key("a");
    full.max_budget = Some(NanoUsd(5));
    full.expires = Some(NOON);
    full.aliases.insert("x".into(), "y".into());
    full.spend = NanoUsd(77);
    let stored = store.insert_key(full.clone(), None).await.unwrap();
    full.version = stored.version;
    assert_eq!(stored, full);
    assert_eq!(store.get_key(full.token).await.unwrap(), Some(full.clone()));
    assert_eq!(store.get_key(token("b")).await.unwrap(), None);
    drop(store);
    let again = Store::open_embedded(dir.path()).await.unwrap();
    assert_eq!(again.load_keys().await.unwrap(), [full]);
}

on_every_store! {
    async fn tokens_and_aliases_are_unique_and_the_error_says_which(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        let mut other = key("b");
        other.key_alias = Some("a".into());
        assert_eq!(
            conflict_in(store.insert_key(other.clone(), None).await),
            "key_alias"
        );
        let mut same = key("a");
        same.key_alias = None;
        assert_eq!(conflict_in(store.insert_key(same, None).await), "token");
        other.key_alias = None;
        store.insert_key(other, None).await.unwrap();
        let mut third = key("c");
        third.key_alias = None;
        store.insert_key(third, None).await.unwrap();
    }
}

on_every_store! {
    async fn an_update_needs_the_version_it_read_and_leaves_spend_alone(store: Store) {
        let mut change = store.insert_key(key("a"), None).await.unwrap();
        let first = change.version;
        apply(&store, vec![record(1, "a", NOON, 500)]).await;
        change.blocked = true;
        change.spend = NanoUsd(999_999);
        let stored = store.update_key(change.clone(), None).await.unwrap();
        assert!(stored.version > first);
        assert_eq!((stored.spend.0, stored.blocked), (500, true));
        assert_eq!(conflict_in(store.update_key(change, None).await), "version");
        let gone = store.update_key(key("b"), None).await;
        assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
    }
}

on_every_store! {
    async fn a_deleted_key_is_listed_as_such_and_its_alias_is_free(store: Store) {
        let stored = store.insert_key(key("a"), None).await.unwrap();
        let by = || "admin".to_owned();
        let deleted = store
            .delete_key(token("a"), by(), NOON, None)
            .await
            .unwrap();
        assert_eq!(deleted, stored);
        assert_eq!(store.get_key(token("a")).await.unwrap(), None);
        let twice = store.delete_key(token("a"), by(), NOON, None).await;
        assert!(matches!(twice, Err(StoreError::NotFound)), "{twice:?}");
        apply(&store, vec![record(1, "a", NOON, 500)]).await;
        let query = KeyQuery {
            deleted: true,
            ..KeyQuery::default()
        };
        let page = store.list_keys(query).await.unwrap();
        assert_eq!((page.total, page.keys[0].spend.0), (1, 500), "late spend");
        store.insert_key(key("a"), None).await.unwrap();
    }
}

on_every_store! {
    async fn a_rotated_key_keeps_its_spend_and_its_old_token_for_a_while(store: Store) {
        let mut new = store.insert_key(key("old"), None).await.unwrap();
        let first = new.version;
        apply(&store, vec![record(1, "old", NOON, 500)]).await;
        new.token = token("new");
        new.updated_at = NOON;
        let end = NOON.plus_ms(HOUR);
        let stored = store
            .rotate_key(token("old"), new, end, None)
            .await
            .unwrap();
        assert_eq!(stored.spend.0, 500);
        assert!(stored.version > first);
        assert_eq!(store.get_key(token("old")).await.unwrap(), None);
        let mut newer = stored.clone();
        newer.token = token("newer");
        store
            .rotate_key(token("new"), newer, end, None)
            .await
            .unwrap();
        // Requests under both old tokens, settled late, are charged to the key.
        apply(
            &store,
            vec![record(2, "old", NOON, 30), record(3, "new", NOON, 4)],
        )
        .await;
        assert_eq!(spend_of(&store, "newer").await, 534);
        let key = store.get_key(token("newer")).await.unwrap().unwrap();
        assert_eq!(key.identity(), token("old"), "what the first one made is the last one's");
        let deprecated = store.load_deprecated_keys(NOON).await.unwrap();
        assert_eq!(deprecated.len(), 2);
        assert!(deprecated.iter().all(|old| old.active == token("newer")));
        assert_eq!(store.load_deprecated_keys(end).await.unwrap(), []);
    }
}

on_every_store! {
    async fn keys_are_listed_by_page_and_streamed_in_order(store: Store) {
        for number in 0..25 {
            let mut key = key(&format!("k{number:02}"));
            key.team_id = (number % 2 == 0).then(|| "even".to_owned());
            store.insert_key(key, None).await.unwrap();
        }
        let query = KeyQuery {
            page: 2,
            size: 5,
            team_id: Some("even".into()),
            sort_by: KeySort::Alias,
            descending: true,
            ..KeyQuery::default()
        };
        let page = store.list_keys(query).await.unwrap();
        let aliases: Vec<_> = page
            .keys
            .iter()
            .flat_map(|key| key.key_alias.as_deref())
            .collect();
        assert_eq!(
            (page.total, aliases),
            (13, vec!["k14", "k12", "k10", "k08", "k06"])
        );
        let mut streamed: Vec<RecordPlace> = Vec::new();
        while let batch @ [_, ..] = &store
            .records_after(streamed.last().cloned(), 10)
            .await
            .unwrap()[..]
        {
            let places = batch.iter().map(|one| &one.record);
            streamed.extend(places.map(|record| (record.kind, record.id.clone())));
        }
        assert!(streamed.is_sorted() && streamed.len() == 25);
    }
}

on_every_store! {
    async fn a_request_counts_in_the_period_it_started_in(store: Store) {
        let midnight = WallMs(1_795_046_400_000);
        assert_eq!(midnight.day(), "2026-11-19");
        let mut daily = key("a");
        daily.budget_reset_at = Some(midnight);
        daily.budget_duration = Some("1d".to_owned());
        store.insert_key(daily, None).await.unwrap();
        let before = midnight.plus_ms(-HOUR);
        let after = midnight.plus_ms(HOUR);
        // Both are stored before the job that begins the new period runs.
        apply(
            &store,
            vec![record(1, "a", before, 500), record(2, "a", after, 40)],
        )
        .await;
        assert_eq!(spend_of(&store, "a").await, 540);
        let next: NextReset = Arc::new(|duration, at| {
            assert_eq!(duration, "1d");
            Some(WallMs(at.0 + DAY))
        });
        let now = midnight.plus_ms(2 * HOUR);
        let rolled = store.roll_budget_periods(now, next.clone()).await.unwrap();
        let [period] = &rolled[..] else {
            panic!("{rolled:?}")
        };
        assert_eq!((period.spend.0, period.period_start), (40, midnight));
        assert_eq!(period.period_end, Some(midnight.plus_ms(DAY)));
        // A request of the old period that is settled late.
        apply(
            &store,
            vec![record(3, "a", before, 7_000), record(4, "a", after, 3)],
        )
        .await;
        assert_eq!(spend_of(&store, "a").await, 43);
        assert_eq!(
            store.roll_budget_periods(now, next.clone()).await.unwrap(),
            []
        );
        // The job did not run for three days.
        let late = midnight.plus_ms(3 * DAY + HOUR);
        let rolled = store.roll_budget_periods(late, next).await.unwrap();
        assert_eq!(rolled[0].period_start, midnight.plus_ms(3 * DAY));
        assert_eq!(rolled[0].spend, NanoUsd::ZERO);
    }
}

on_every_store! {
    async fn spend_can_be_set_and_reset(store: Store) {
        store.insert_key(key("a"), None).await.unwrap();
        store.insert_key(key("b"), None).await.unwrap();
        apply(
            &store,
            vec![record(1, "a", NOON, 500), record(2, "b", NOON, 5)],
        )
        .await;
        let now = NOON.plus_ms(1);
        let scope = Scope::new(ScopeKind::Key, token("a").to_string());
        let before = store
            .set_scope_spend(scope, NanoUsd(20), now)
            .await
            .unwrap();
        assert_eq!(before, NanoUsd(500));
        apply(
            &store,
            vec![record(3, "a", NOON, 500), record(4, "a", now, 1)],
        )
        .await;
        assert_eq!(spend_of(&store, "a").await, 21);
        assert_eq!(store.reset_all_spend(now.plus_ms(1)).await.unwrap(), 2);
        assert_eq!(
            (spend_of(&store, "a").await, spend_of(&store, "b").await),
            (0, 0)
        );
        assert_eq!(store.global_spend(None).await.unwrap(), NanoUsd(1_006));
    }
}

#[tokio::test]
async fn the_residency_of_a_key_is_kept_through_its_whole_life() {
    let (dir, store) = embedded().await;
    let regions =
        |names: &[&str]| -> Vec<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let mut bound = key("a");
    bound.allowed_regions = regions(&["eu-west-1", "eu-central-1"]);
    bound = store.insert_key(bound, None).await.unwrap();
    assert_eq!(
        store.get_key(token("a")).await.unwrap(),
        Some(bound.clone())
    );
    bound.allowed_regions = regions(&["eu-west-1"]);
    let stored = store.update_key(bound, None).await.unwrap();
    assert_eq!(stored.allowed_regions, regions(&["eu-west-1"]));
    let mut new = stored.clone();
    new.token = token("new");
    let rotated = store.rotate_key(token("a"), new, NOON, None).await.unwrap();
    assert_eq!(rotated.allowed_regions, regions(&["eu-west-1"]));
    drop(store);
    let store = Store::open_embedded(dir.path()).await.unwrap();
    assert_eq!(store.load_keys().await.unwrap().first(), Some(&rotated));
    let mut free = rotated.clone();
    free.allowed_regions = Vec::new();
    assert_eq!(
        store.update_key(free, None).await.unwrap().allowed_regions,
        regions(&[])
    );
    let mut again = store.get_key(token("new")).await.unwrap().unwrap();
    again.allowed_regions = regions(&["us-east-1"]);
    store.update_key(again, None).await.unwrap();
    let by = "admin".to_owned();
    store
        .delete_key(token("new"), by, NOON, None)
        .await
        .unwrap();
    let query = KeyQuery {
        deleted: true,
        ..KeyQuery::default()
    };
    let page = store.list_keys(query).await.unwrap();
    assert_eq!(page.keys[0].allowed_regions, regions(&["us-east-1"]));
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_with_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let old = key("old");
    {
        let mut db = rusqlite::Connection::open(dir.path().join("meridian.db")).unwrap();
        let ledger = include_str!("../../migrations/embedded/V1__ledger.sql");
        let first = refinery::Migration::unapplied("V1__ledger", ledger).unwrap();
        refinery::Runner::new(&[first]).run(&mut db).unwrap();
        let record = serde_json::to_value(&old).unwrap();
        let mut record = record.as_object().unwrap().clone();
        record.remove("allowed_regions").unwrap();
        for table in ["virtual_key", "deleted_key"] {
            let (more, values) = match table {
                "virtual_key" => ("", ""),
                _ => (", period_start, deleted_at, deleted_by", ", 0, 1, 'admin'"),
            };
            let sql = format!(
                "INSERT INTO {table} (token, spend, created_at, updated_at, version, record{more})
                 VALUES (?1, 5, 1, 1, 1, ?2{values})"
            );
            let token = match table {
                "virtual_key" => old.token.to_string(),
                _ => token("deleted").to_string(),
            };
            let text = serde_json::to_string(&record).unwrap();
            db.execute(&sql, rusqlite::params![token, text]).unwrap();
        }
    }
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let kept = store.get_key(old.token).await.unwrap().unwrap();
    assert_eq!((kept.spend.0, &kept.allowed_regions), (5, &Vec::new()));
    let mut bound = kept;
    bound.allowed_regions = vec!["eu-west-1".to_owned()];
    store.update_key(bound, None).await.unwrap();
    let query = KeyQuery {
        deleted: true,
        ..KeyQuery::default()
    };
    assert_eq!(store.list_keys(query).await.unwrap().total, 1);
    drop(store);
    let again = Store::open_embedded(dir.path()).await.unwrap();
    let keys = again.load_keys().await.unwrap();
    assert_eq!(keys[0].allowed_regions, ["eu-west-1"]);
}
