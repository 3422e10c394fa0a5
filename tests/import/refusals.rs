//! What cannot be imported is said, and by exit codes.

use meridian_core::record::RecordKind;
use meridian_testkit::postgres;

use crate::litellm::{LiteLlm, Version, fresh_name};
use crate::support::{Target, everything, id_of, meridian, run_of};

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_imported_are_listed_and_the_others_are_imported() {
    let litellm = LiteLlm::filled(Version::V1_87);
    litellm.spoil();
    let target = Target::embedded();
    let run = target.import(&litellm, &[]);
    assert_eq!(run.code, 2);
    let mut skipped = run.places("skipped");
    skipped.sort();
    let expected = [
        "TeamTable.members_with_roles",
        "UserTable.user_role",
        "VerificationToken.budget_duration",
        "VerificationToken.max_budget",
        "VerificationToken.max_budget",
        "VerificationToken.metadata",
        "VerificationToken.token",
    ];
    assert_eq!(skipped, expected);
    let ids = run.report["skipped"].to_string();
    assert!(ids.contains(&id_of("sk-nan")), "{ids}");
    let store = target.store().await;
    assert!(
        store
            .get_record(RecordKind::Key, id_of("sk-works"))
            .await
            .unwrap()
            .is_some()
    );
    // Fixed in the source, they come with the next run.
    litellm.sql(
        "UPDATE \"LiteLLM_VerificationToken\" SET max_budget = 1 WHERE key_name = 'sk-...nan'",
    );
    drop(store);
    let run = target.import(&litellm, &[]);
    assert_eq!(
        (
            run.code,
            run.sum("created"),
            run.report["skipped_total"].as_u64()
        ),
        (2, 1, Some(6))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_values_of_another_salt_key_are_refused() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let target = Target::embedded();
    let mut command = meridian();
    let Target::Embedded(dir) = &target else {
        unreachable!()
    };
    command.arg("--data-dir").arg(dir.path());
    command.args(["--from", &litellm.url(), "--report", "-"]);
    command
        .env("WRONG", "sk-other")
        .args(["--salt-key-from", "WRONG"]);
    let run = run_of(&command.output().unwrap());
    assert_eq!(run.code, 2);
    assert!(run.errors.contains("LITELLM_SALT_KEY"), "{}", run.errors);
    let mut skipped = run.places("skipped");
    skipped.sort();
    let expected = [
        "Config.param_value.OPENAI_API_KEY",
        "CredentialsTable.credential_values.api_key",
        "ProxyModelTable.litellm_params.api_base",
    ];
    assert_eq!(skipped, expected);
    let kinds = everything(&target.store().await).await;
    assert!(!kinds.iter().any(|one| one.record.kind == RecordKind::Model));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_none_is_named() {
    let target = Target::embedded();
    let name = fresh_name("nothing");
    let empty = postgres::shared().database(&name);
    for (url, says) in [
        (empty.as_str(), "no table LiteLLM_VerificationToken"),
        ("mysql://u@h/d", "--from: expected a URL"),
        (
            "postgresql://u:geheim@127.0.0.1:1/d",
            "source 127.0.0.1:1/d",
        ),
    ] {
        let run = target.import_url(url, &[]);
        assert_eq!(run.code, 1, "{url}");
        assert!(run.errors.contains(says), "{url}: {}", run.errors);
        assert!(!run.errors.contains("geheim"), "{}", run.errors);
    }
    let run = target.import_url(&empty, &["--salt-key-from", "NOT_SET"]);
    assert!(run.errors.contains("NOT_SET is not set"), "{}", run.errors);
}
