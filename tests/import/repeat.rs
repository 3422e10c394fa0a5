//! The same import again and again, while both sides change.

use meridian::store::{RecordWrite, Store};
use meridian_core::money::NanoUsd;
use meridian_core::record::RecordKind;
use meridian_core::scope::{Scope, ScopeKind};
use meridian_core::time::WallMs;
use serde_json::json;

use crate::litellm::{LiteLlm, Version};
use crate::support::{Target, audit_lines, everything, id_of, record, spent};

/// Changes a field of a record as the management API would.
async fn change(store: &Store, kind: RecordKind, id: &str, field: &str, value: serde_json::Value) {
    let mut record = record(store, kind, id).await.record;
    record.body.insert(field.to_owned(), value);
    store
        .write_records(vec![RecordWrite::replace(record)], None)
        .await
        .unwrap();
}

async fn field(store: &Store, kind: RecordKind, id: &str, field: &str) -> serde_json::Value {
    let record = record(store, kind, id).await.record;
    record.body.get(field).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_import_changes_nothing() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        target.import(&litellm, &[]).succeeded();
        let store = target.store().await;
        let (before, lines) = (everything(&store).await, audit_lines(&store).await);
        assert!(lines > 700);
        drop(store);
        // LiteLLM goes on to note who used a key when.
        litellm.sql(
            "UPDATE \"LiteLLM_VerificationToken\" SET updated_at = now(), last_active = now(); \
             UPDATE \"LiteLLM_TeamTable\" SET updated_at = now(), model_spend = '{\"a\": 1}'",
        );
        let run = target.import(&litellm, &[]).succeeded();
        assert_eq!(run.sum("unchanged"), run.sum("read") - run.sum("left"));
        assert_eq!(run.sum("spend_moved"), 0);
        let store = target.store().await;
        assert_eq!(everything(&store).await, before);
        assert_eq!(audit_lines(&store).await, lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_source_are_taken_and_changes_made_here_are_kept() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        target.import(&litellm, &[]).succeeded();
        let (one, two) = (id_of("sk-many-1"), id_of("sk-many-2"));
        let store = target.store().await;
        change(&store, RecordKind::Key, &two, "rpm_limit", json!(1)).await;
        change(&store, RecordKind::Team, "team-2", "blocked", json!(true)).await;
        drop(store);
        litellm.sql(
            "UPDATE \"LiteLLM_VerificationToken\" SET rpm_limit = 77, blocked = true \
             WHERE key_alias IN ('many-1', 'many-2')",
        );
        let run = target.import(&litellm, &[]);
        assert_eq!(run.code, 2);
        assert_eq!(run.table("VerificationToken")["changed"], 1);
        // The team was changed here alone: nothing to decide.
        assert_eq!(run.report["conflicts_total"], 1);
        assert_eq!(run.report["conflicts"][0]["id"], json!(two));
        let store = target.store().await;
        assert_eq!(field(&store, RecordKind::Key, &one, "rpm_limit").await, 77);
        assert_eq!(field(&store, RecordKind::Key, &one, "blocked").await, true);
        assert_eq!(field(&store, RecordKind::Key, &two, "rpm_limit").await, 1);
        assert_eq!(
            field(&store, RecordKind::Team, "team-2", "blocked").await,
            true
        );
        drop(store);

        let run = target.import(&litellm, &["--force-source"]).succeeded();
        assert_eq!(run.table("VerificationToken")["changed"], 1);
        assert_eq!(run.table("TeamTable")["changed"], 1);
        let store = target.store().await;
        assert_eq!(field(&store, RecordKind::Key, &two, "rpm_limit").await, 77);
        assert_eq!(
            field(&store, RecordKind::Team, "team-2", "blocked").await,
            json!(null)
        );
        drop(store);
        let run = target.import(&litellm, &[]).succeeded();
        assert_eq!(run.sum("changed"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_on_either_side_stays_deleted() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        target.import(&litellm, &[]).succeeded();
        let (gone, here) = (id_of("sk-many-1"), id_of("sk-many-2"));
        let store = target.store().await;
        let record_here = record(&store, RecordKind::Key, &here).await.record;
        let delete = RecordWrite::delete(record_here, WallMs(1));
        store.write_records(vec![delete], None).await.unwrap();
        drop(store);
        litellm.sql(
            "DELETE FROM \"LiteLLM_VerificationToken\" WHERE key_alias = 'many-1'; \
             DELETE FROM \"LiteLLM_TeamMembership\" WHERE user_id = 'u2'; \
             UPDATE \"LiteLLM_VerificationToken\" SET rpm_limit = 5, key_alias = 'many-1' \
                 WHERE key_alias = 'many-2'",
        );
        let run = target.import(&litellm, &[]);
        assert_eq!(run.code, 2, "{:#}", run.report);
        assert_eq!(run.table("VerificationToken")["deleted"], 1);
        assert_eq!(run.table("TeamMembership")["deleted"], 1);
        let reason = run.report["conflicts"][0]["reason"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(reason, "it was deleted in Meridian");
        let store = target.store().await;
        assert!(record(&store, RecordKind::Key, &gone).await.record.deleted);
        assert!(record(&store, RecordKind::Key, &here).await.record.deleted);
        drop(store);
        // The name that became free is taken by the one that has it in the source.
        target.import(&litellm, &["--force-source"]).succeeded();
        let store = target.store().await;
        let back = record(&store, RecordKind::Key, &here).await.record;
        assert!(!back.deleted && back.body["key_alias"] == "many-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spend_moves_by_what_the_source_adds_and_never_twice() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        target.import(&litellm, &[]).succeeded();
        // Meridian serves some of the team's requests, LiteLLM the others.
        let store = target.store().await;
        let team = Scope::new(ScopeKind::Team, "t1");
        let now = meridian::clock::now();
        let both = NanoUsd::from_dollars(42.125).unwrap();
        store.set_scope_spend(team, both, now).await.unwrap();
        drop(store);
        litellm.sql("UPDATE \"LiteLLM_TeamTable\" SET spend = 45.125 WHERE team_id = 't1'");
        for moved in [1, 0] {
            let run = target.import(&litellm, &[]).succeeded();
            assert_eq!(run.sum("spend_moved"), moved);
            assert_eq!(run.sum("changed"), 0);
            let found = spent(&target.store().await, ScopeKind::Team, "t1").await;
            assert!((found - 47.125).abs() < 1e-9, "{found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_everything_and_stores_nothing() {
    let target = Target::embedded();
    let litellm = LiteLlm::filled(Version::V1_87);
    let dry = target.import(&litellm, &["--dry-run"]).succeeded();
    assert!(everything(&target.store().await).await.is_empty());
    assert_eq!(audit_lines(&target.store().await).await, 0);
    let real = target.import(&litellm, &[]).succeeded();
    for list in ["tables", "warnings", "not_imported", "settings", "history"] {
        assert_eq!(dry.report[list], real.report[list], "{list}");
    }
    let dry = target.import(&litellm, &["--dry-run"]).succeeded();
    assert_eq!((dry.sum("created"), dry.sum("changed")), (0, 0));
}
