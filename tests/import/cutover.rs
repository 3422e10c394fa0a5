//! From LiteLLM to a gateway: the keys that people hold, and a source that is still in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_core::record::RecordKind;
use meridian_core::scope::ScopeKind;
use meridian_testkit::config::Config;
use meridian_testkit::gateway::Setup;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::Request;
use serde_json::json;

use crate::litellm::{LiteLlm, Version};
use crate::support::{Target, everything, id_of, in_directory, spent};

fn ask(key: &str) -> Request {
    let messages = json!([{"role": "user", "content": "How do tides work?"}]);
    let body = json!({"model": "fake-m1", "messages": messages});
    Request::post("/v1/chat/completions", &body).bearer(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_that_people_hold_keep_working() {
    let litellm = LiteLlm::filled(Version::V1_87);
    let provider = Provider::start();
    let setup = Setup::new(env!("CARGO_BIN_EXE_meridian"), &Config::standard(&provider));
    let mut gateway = setup.start().await;
    assert_eq!(gateway.send(&ask("sk-works")).await.status(), 401);

    // Its directory has one writer.
    let refused = in_directory(&gateway.data_dir(), &litellm, &[]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.errors.contains("stop the gateway"),
        "{}",
        refused.errors
    );
    gateway.stop(Duration::from_secs(20)).await;
    in_directory(&gateway.data_dir(), &litellm, &[]).succeeded();
    gateway.start().await;

    for (key, status) in [
        ("sk-works", 200),
        ("sk-old", 200),
        ("sk-shared", 200),
        ("sk-many-1", 200),
        // Its budget was used up yesterday.
        ("sk-reset", 200),
        ("sk-blocked", 401),
        ("sk-expired", 401),
        ("sk-deleted", 401),
        ("sk-older", 401),
        ("sk-session-1", 401),
    ] {
        let answer = gateway.send(&ask(key)).await;
        assert_eq!(answer.status(), status, "{key}: {}", answer.text());
    }
    let answer = gateway.send(&ask("sk-spent")).await;
    assert!(
        answer.text().contains("udget has been exceeded"),
        "{}",
        answer.text()
    );
    gateway.stop(Duration::from_secs(20)).await;

    // What Meridian served is kept by another import.
    let run = in_directory(&gateway.data_dir(), &litellm, &[]).succeeded();
    assert_eq!((run.sum("changed"), run.sum("spend_moved")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_in_use_is_read_as_of_one_moment_and_caught_up_with_later() {
    let litellm = Arc::new(LiteLlm::filled(Version::V1_87));
    let target = Target::embedded();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (litellm, stop) = (Arc::clone(&litellm), Arc::clone(&stop));
        move || {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                // Each transaction moves a dollar from one team to another and makes a key.
                litellm.sql(&format!(
                    "BEGIN; UPDATE \"LiteLLM_TeamTable\" SET spend = spend + 1 \
                         WHERE team_id = 'team-40'; \
                     INSERT INTO \"LiteLLM_VerificationToken\" (token, key_name, team_id) \
                         VALUES (token('new-{round}'), 'sk-...new', 'team-40'); \
                     UPDATE \"LiteLLM_VerificationToken\" SET spend = spend + 1, rpm_limit = {round} \
                         WHERE key_alias = 'many-1'; COMMIT"
                ));
            }
            round
        }
    });
    for _ in 0..3 {
        target.import(&litellm, &[]).succeeded();
        let store = target.store().await;
        // Both were written by the same transactions.
        let team = spent(&store, ScopeKind::Team, "team-40").await - 10.0;
        let key = spent(&store, ScopeKind::Key, &id_of("sk-many-1")).await;
        assert!((team - key).abs() < 1e-6, "{team} {key}");
    }
    stop.store(true, Ordering::Relaxed);
    let rounds = writer.join().unwrap();
    target.import(&litellm, &[]).succeeded();
    let store = target.store().await;
    let team = spent(&store, ScopeKind::Team, "team-40").await;
    assert!(
        (team - 10.0 - f64::from(rounds)).abs() < 1e-6,
        "{team} after {rounds}"
    );
    let new = everything(&store).await;
    let new = new.iter().filter(|one| {
        one.record.kind == RecordKind::Key && one.record.body["key_name"] == "sk-...new"
    });
    assert_eq!(new.count(), usize::try_from(rounds).unwrap());
}
