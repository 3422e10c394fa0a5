//! Batches are stored whole or not at all, and one record in the way stops only its own row.

use meridian::store::{Actor, ImportWrite, RecordWrite, Store, StoreError};
use meridian_core::ids::KeyHash;
use meridian_core::key::KeyRecord;
use meridian_core::litellm::{Mark, SpendMark};
use meridian_core::record::{Record, RecordKind};
use meridian_core::scope::ScopeKind;
use meridian_core::{money::NanoUsd, scope::Scope};
use serde_json::json;

use crate::litellm::{LiteLlm, Version};
use crate::support::{Target, audit_lines, everything, id_of, record, spent};

fn key(clear: &str, alias: &str) -> Record {
    let token = KeyHash::of_secret(clear);
    let fields = json!({"token": token, "key_name": "sk-...", "key_alias": alias});
    let key: KeyRecord = serde_json::from_value(fields).unwrap();
    key.to_record()
}

fn step(record: Record) -> ImportWrite {
    let scope = Scope::new(ScopeKind::Key, record.id.clone());
    ImportWrite {
        kind: record.kind,
        id: record.id.clone(),
        write: Some(RecordWrite::create(record)),
        period: None,
        add: Some((scope, NanoUsd::DOLLAR)),
        mark: Mark {
            digest: "digest".to_owned(),
            version: 0,
            spend: SpendMark::default(),
        },
    }
}

async fn write(store: &Store, steps: Vec<ImportWrite>) -> Result<(), StoreError> {
    let actor = Actor {
        changed_by: "import".to_owned(),
        key: None,
    };
    store.write_imports("litellm", steps, actor).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_whole_or_not_at_all() {
    for target in [Target::embedded(), Target::postgres().await] {
        let store = target.store().await;
        let clash = vec![step(key("sk-1", "same")), step(key("sk-2", "same"))];
        let refused = write(&store, clash).await;
        let Err(StoreError::Conflict { field }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(field, "alias");
        assert!(everything(&store).await.is_empty());
        assert_eq!(audit_lines(&store).await, 0);
        assert_eq!(spent(&store, ScopeKind::Key, &id_of("sk-1")).await, 0.0);
        let ids = vec![id_of("sk-1"), id_of("sk-2")];
        let known = store
            .imported("litellm", RecordKind::Key, ids.clone())
            .await;
        assert!(known.unwrap().iter().all(|one| one.mark.is_none()));

        let steps = vec![step(key("sk-2", "two")), step(key("sk-1", "one"))];
        write(&store, steps).await.unwrap();
        let known = store
            .imported("litellm", RecordKind::Key, ids.clone())
            .await
            .unwrap();
        for (known, id) in known.iter().zip(ids) {
            let (mark, stored) = (known.mark.as_ref().unwrap(), known.stored.as_ref().unwrap());
            assert_eq!(
                (known.id.as_str(), stored.record.id.as_str()),
                (id.as_str(), id.as_str())
            );
            assert_eq!(mark.version, stored.record.version);
            assert_eq!(stored.spend, NanoUsd::DOLLAR);
        }
        // Another source knows nothing of it.
        let other = store
            .import_marks_after("other", RecordKind::Key, String::new())
            .await;
        assert_eq!(other.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_meridian_has_given_away_stops_one_row() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        let store = target.store().await;
        let own = RecordWrite::create(key("sk-of-meridian", "many-1"));
        store.write_records(vec![own], None).await.unwrap();
        drop(store);
        let run = target.import(&litellm, &[]);
        assert_eq!((run.code, &run.report["conflicts_total"]), (2, &json!(1)));
        let conflict = &run.report["conflicts"][0];
        assert_eq!(conflict["id"], json!(id_of("sk-many-1")));
        assert_eq!(
            conflict["reason"],
            "its alias belongs to another record of Meridian"
        );
        assert_eq!(run.table("VerificationToken")["created"], 605);
        let store = target.store().await;
        let own = record(&store, RecordKind::Key, &id_of("sk-of-meridian")).await;
        assert_eq!(own.record.body["key_alias"], "many-1");
        assert!(
            store
                .get_record(RecordKind::Key, id_of("sk-many-2"))
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_belong_to_the_region_that_imports_them() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let target = Target::embedded();
    target
        .import(&litellm, &["--region", "eu-west-1"])
        .succeeded();
    let before = everything(&target.store().await).await;
    assert!(before.iter().all(|one| one.record.home == "eu-west-1"));
    litellm.sql("UPDATE \"LiteLLM_TeamTable\" SET blocked = true WHERE team_id = 'team-1'");
    let run = target.import(&litellm, &["--region", "us-east-1"]);
    assert_eq!((run.code, run.sum("changed") + run.sum("created")), (2, 0));
    let reason = run.report["conflicts"][0]["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(reason, "it belongs to region eu-west-1: import it there");
    assert_eq!(everything(&target.store().await).await, before);
    let run = target
        .import(&litellm, &["--region", "eu-west-1"])
        .succeeded();
    assert_eq!(run.sum("changed"), 1);
}
