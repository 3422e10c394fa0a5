//! `meridian import litellm` from real databases of both versions into both stores.
#![cfg(test)]

mod batches;
mod cutover;
mod history;
mod killed;
mod litellm;
mod refusals;
mod repeat;
mod support;

use meridian_core::record::{RecordKind, Team};
use meridian_core::scope::{Scope, ScopeKind};
use meridian_testkit::{pgbouncer, postgres};

use litellm::{LiteLlm, Version};
use support::{Target, audit_lines, everything, id_of, record, spent};

const HELD: u64 = 5 + 600 + 1; // works, spent, reset, blocked, expired; many; shared

/// Everything that must stand in a store after a first import.
async fn check_first(target: &Target) {
    let store = target.store().await;
    let keys = everything(&store).await;
    let live = |kind| {
        keys.iter()
            .filter(move |one| one.record.kind == kind && !one.record.deleted)
    };
    assert_eq!(live(RecordKind::Key).count() as u64, HELD);
    assert_eq!(live(RecordKind::Team).count(), 42);
    assert_eq!(live(RecordKind::User).count(), 124);
    assert_eq!(live(RecordKind::RotatedKey).count(), 2);
    for (kind, id, dollars) in [
        (ScopeKind::Team, "t1", 40.125),
        (ScopeKind::Organization, "o1", 21.5),
        (ScopeKind::User, "u1", 3.5),
        (ScopeKind::EndUser, "customer-1", 5.0),
        (ScopeKind::Tag, "prod", 6.0),
        (ScopeKind::Key, &id_of("sk-works"), 1.25),
        // Its day is over, although LiteLLM has not reset it yet.
        (ScopeKind::Key, &id_of("sk-reset"), 0.0),
        (
            ScopeKind::TeamMember,
            &Scope::team_member("t1", "u1").id,
            0.75,
        ),
        (
            ScopeKind::TeamMember,
            &Scope::team_member("t1", "u2").id,
            0.0,
        ),
        (
            ScopeKind::OrganizationMember,
            &Scope::organization_member("o1", "u1").id,
            1.0,
        ),
    ] {
        let found = spent(&store, kind, id).await;
        assert!((found - dollars).abs() < 1e-9, "{kind} {id}: {found}");
    }
    let team = record(&store, RecordKind::Team, "t1").await;
    assert!(team.resets_at.is_some());
    let body: Team = team.record.read().unwrap();
    assert_eq!(body.model_aliases["gpt-4"], "fake-m1");
    assert_eq!(body.metadata["note"], "größte \"Gruppe\" \\ 🚀");
    // The period of a member is that of the budget it refers to.
    let member = Scope::team_member("t1", "u1").id;
    let member = record(&store, RecordKind::TeamMember, &member).await;
    assert_eq!(member.resets_at, team.resets_at);
    let deleted = record(&store, RecordKind::Key, &id_of("sk-deleted")).await;
    assert!(deleted.record.deleted);
    assert_eq!(deleted.record.body["key_alias"], "deleted twice");
    let shared = record(&store, RecordKind::Key, &id_of("sk-shared"))
        .await
        .record;
    assert_eq!(shared.body["key_alias"], "works (2)");
    assert_eq!(shared.body["metadata"]["written"], "twice");
    let works = record(&store, RecordKind::Key, &id_of("sk-works"))
        .await
        .record;
    assert_eq!(
        works.body["models"],
        serde_json::json!(["fake-m1", "fake-m9"])
    );
    let text = format!("{keys:?}");
    assert!(!text.contains("secret-of-u1") && !text.contains("sk-of-the-provider"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_imported_or_explained() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let target = Target::embedded();
    let run = target.import(&litellm, &[]).succeeded();
    assert_eq!(run.table("VerificationToken")["created"], HELD);
    assert_eq!(run.table("VerificationToken")["left"], 2);
    assert_eq!(run.table("DeletedVerificationToken")["created"], 1);
    assert_eq!(run.sum("skipped") + run.sum("conflicts"), 0);
    let warned = run.places("warnings");
    for place in [
        "VerificationToken.",
        "VerificationToken.key_alias",
        "VerificationToken.access_group_ids",
        "VerificationToken.router_settings.allowed_fails",
        "UserTable.password",
        "UserTable.user_email",
        "UserTable.",
        "Config.",
    ] {
        assert!(warned.contains(&place.to_owned()), "{place}: {warned:?}");
    }
    let missing = run.places("not_imported");
    assert_eq!(
        missing,
        ["GuardrailsTable.", "InvitationLink.", "ProjectTable."]
    );
    assert_eq!(run.report["not_imported"][1]["rows"], 3);
    let settings = run.report["settings"].to_string();
    assert!(
        settings.contains("router_settings.a_setting_of_nobody"),
        "{settings}"
    );
    check_first(&target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_columns_are_read_or_told() {
    let litellm = LiteLlm::filled(Version::V1_109);
    litellm.sql(
        "UPDATE \"LiteLLM_VerificationToken\" SET tpd_limit = 5, key_type = 'llm_api', \
             total_spend = 9 WHERE key_alias = 'many-1'; \
         ALTER TABLE \"LiteLLM_TeamTable\" ADD COLUMN of_next_year jsonb DEFAULT '{\"a\": 1}'; \
         CREATE TABLE \"LiteLLM_OfNextYear\" AS SELECT 1 AS x",
    );
    let target = Target::embedded();
    let run = target.import(&litellm, &[]).succeeded();
    let warned = run.places("warnings");
    for place in ["VerificationToken.tpd_limit", "TeamTable.of_next_year"] {
        assert!(warned.contains(&place.to_owned()), "{place}: {warned:?}");
    }
    assert!(
        run.places("not_imported")
            .contains(&"OfNextYear.".to_owned())
    );
    check_first(&target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_takes_the_same_through_pgbouncer_with_a_reader_who_may_only_read() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let (embedded, target) = (Target::embedded(), Target::postgres().await);
    embedded.import(&litellm, &[]).succeeded();
    let pooled = pgbouncer::shared().url(litellm.name());
    target.import_url(&pooled, &[]).succeeded();
    check_first(&target).await;
    let said = |all: Vec<meridian::store::StoredRecord>| -> Vec<_> {
        let one = |one: meridian::store::StoredRecord| {
            let record = one.record;
            let mut body = record.body;
            body.remove("updated_at");
            (
                record.kind,
                record.id,
                record.deleted,
                body,
                one.spend,
                one.resets_at,
            )
        };
        all.into_iter().map(one).collect()
    };
    let here = everything(&target.store().await).await;
    let there = everything(&embedded.store().await).await;
    assert_eq!(said(here.clone()), said(there));

    // Again, as a user who cannot write, past the pooler.
    let role = format!("reader_{}", litellm.name());
    litellm.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let lines = audit_lines(&target.store().await).await;
    let url = litellm.url().replace("postgres@", &format!("{role}@"));
    let run = target.import_url(&url, &[]).succeeded();
    assert_eq!(run.sum("unchanged"), run.sum("read") - run.sum("left"));
    assert_eq!(everything(&target.store().await).await, here);
    assert_eq!(audit_lines(&target.store().await).await, lines);
    assert!(postgres::shared().ask(litellm.name(), "SELECT 1") == "1");
}
