//! Two regions, each with its store: who may write what, and what is left of it in the other.

use meridian::store::{RecordWrite, Store, StoreError};
use meridian_core::record::{Record, RecordKind, Restriction, Team};
use serde_json::json;

use crate::support::{NOON, key, on_every_store, token};

const KIND: RecordKind = RecordKind::Team;

async fn stored(store: &Store) -> Record {
    store.get_record(KIND, "t1").await.unwrap().unwrap().record
}

/// A change of the team as a management call makes it: read, change, write back.
async fn change(
    store: &Store,
    field: &str,
    value: serde_json::Value,
) -> Result<Vec<Record>, StoreError> {
    let mut record = stored(store).await;
    record.body.insert(field.to_owned(), value);
    store
        .write_records(vec![RecordWrite::replace(record)], None)
        .await
}

async fn make(store: &Store) -> Result<Vec<Record>, StoreError> {
    let record = Record::new("t1".into(), &Team::default(), NOON);
    store
        .write_records(vec![RecordWrite::create(record)], None)
        .await
}

fn is_blocked(record: &Record) -> bool {
    record.body.get("blocked") == Some(&json!(true))
}

fn is_elsewhere<T: std::fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Elsewhere { home }) if home == "eu")
}

on_every_store! {
    async fn a_block_of_another_region_stands_until_home_lifts_it(store: Store) {
        let eu = store.in_region(Some("eu"));
        let (_dir, us) = crate::support::embedded().await;
        let us = us.in_region(Some("us"));
        let made = make(&eu).await.unwrap();
        assert_eq!(made[0].home, "eu");
        us.merge_records(made).await.unwrap();

        assert!(is_elsewhere(change(&us, "team_alias", json!("mine")).await));
        let written = change(&us, "blocked", json!(true)).await.unwrap();
        assert!(is_blocked(&written[0]), "shown as it counts");
        assert_eq!((written[1].kind, written[1].home.as_str()), (RecordKind::Restriction, "us"));
        assert!(!is_blocked(&stored(&us).await), "the body is not ours to write");
        assert_eq!(us.standing(KIND, "t1").await.unwrap().len(), 1);
        // Again changes nothing; back is for home.
        let again = change(&us, "blocked", json!(true)).await.unwrap();
        assert_eq!(again.len(), 1);
        assert!(is_elsewhere(change(&us, "blocked", json!(false)).await));

        // Home takes it in, and whoever did not see it lifts nothing.
        let stale = stored(&eu).await;
        eu.merge_records(written[1..].to_vec()).await.unwrap();
        let renamed = change(&eu, "team_alias", json!("new")).await.unwrap();
        assert!(is_blocked(&renamed[0]) && renamed.len() == 1);
        assert!(eu.absorb(KIND, "t1").await.unwrap().is_empty());
        let late = eu.write_records(vec![RecordWrite::replace(stale)], None).await;
        assert!(matches!(late, Err(StoreError::Conflict { .. })));

        let lifted = change(&eu, "blocked", json!(false)).await.unwrap();
        assert!(lifted.len() == 2 && lifted[1].deleted && lifted[1].home == "eu");
        us.merge_records(lifted).await.unwrap();
        assert!(us.standing(KIND, "t1").await.unwrap().is_empty());
        let record = stored(&us).await;
        assert_eq!(record.body.get("team_alias"), Some(&json!("new")));
    }

    async fn a_revocation_is_for_good(store: Store) {
        let eu = store.in_region(Some("eu"));
        let (_dir, us) = crate::support::embedded().await;
        let us = us.in_region(Some("us"));
        us.merge_records(make(&eu).await.unwrap()).await.unwrap();
        let gone = RecordWrite::delete(stored(&us).await, NOON);
        let written = us.write_records(vec![gone], None).await.unwrap();
        assert!(written[0].deleted && written.len() == 2);
        eu.merge_records(written[1..].to_vec()).await.unwrap();
        let absorbed = eu.absorb(KIND, "t1").await.unwrap();
        assert!(absorbed[0].deleted);
        assert!(eu.absorb(KIND, "t1").await.unwrap().is_empty());
        us.merge_records(absorbed).await.unwrap();
        for region in [&eu, &us] {
            let anew = make(region).await;
            assert!(matches!(anew, Err(StoreError::Conflict { field }) if field == "id"));
        }
    }

    async fn keys_have_a_home_too(store: Store) {
        let eu = store.in_region(Some("eu"));
        let (_dir, us) = crate::support::embedded().await;
        let us = us.in_region(Some("us"));
        let made = eu.insert_key(key("a"), None).await.unwrap();
        assert_eq!(made.home, "eu");
        us.merge_records(vec![made.to_record()]).await.unwrap();
        let mut lower = us.get_key(token("a")).await.unwrap().unwrap();
        lower.max_budget = Some(meridian_core::money::NanoUsd(5));
        let shown = us.update_key(lower.clone(), None).await.unwrap();
        assert_eq!(shown.max_budget, lower.max_budget);
        lower.max_budget = None;
        lower.models.clear();
        assert!(is_elsewhere(us.update_key(lower, None).await));
        us.delete_key(token("a"), "me".into(), NOON, None).await.unwrap();
        let standing = us.standing(RecordKind::Key, &token("a").to_string()).await.unwrap();
        let about: Vec<&Restriction> = standing.iter().map(|one| &one.restriction).collect();
        assert_eq!(about.len(), 2);
        // What is made here is at home here.
        assert_eq!(us.insert_key(key("b"), None).await.unwrap().home, "us");
    }
}
