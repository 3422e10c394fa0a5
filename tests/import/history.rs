//! What was spent before the import: every request once.

use meridian::store::{GroupBy, ReportQuery, SpendQuery, Store};

use crate::litellm::{LiteLlm, Version};
use crate::support::Target;

/// Days with requests and dollars, and rows of the log.
async fn history(store: &Store) -> (Vec<(u64, f64)>, u64) {
    let days = store
        .spend_by(GroupBy::Day, ReportQuery::default())
        .await
        .unwrap();
    let days = days
        .iter()
        .map(|day| (day.requests, day.spend.dollars()))
        .collect();
    let logs = store.spend_logs(SpendQuery::default()).await.unwrap();
    (days, logs.total.unwrap())
}

async fn check(target: &Target, days: &[(u64, f64)], logs: u64) {
    let (found, rows) = history(&target.store().await).await;
    assert_eq!(found.len(), days.len(), "{found:?}");
    for ((requests, dollars), (expected, cost)) in found.iter().zip(days) {
        assert_eq!(requests, expected, "{found:?}");
        assert!((dollars - cost).abs() < 1e-9, "{found:?}");
    }
    assert_eq!(rows, logs);
}

/// A request to a tool in each day is not in our log: it is none of a model.
const LOGGED: (u64, f64) = (99, 0.99);
const SUMMED: (u64, f64) = (100, 1.0);

#[tokio::test(flavor = "multi_thread")]
async fn days_come_from_sums_and_today_from_the_log() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        for _again in 0..2 {
            target.import(&litellm, &[]).succeeded();
            check(&target, &[SUMMED, SUMMED, LOGGED], 99).await;
        }
        // More requests, and another choice: days that were taken as sums stay sums.
        litellm.sql(
            "INSERT INTO \"LiteLLM_SpendLogs\" (request_id, call_type, spend, \"startTime\", \
                 \"endTime\") VALUES ('late', 'aembedding', 0.01, now() AT TIME ZONE 'UTC', \
                 now() AT TIME ZONE 'UTC')",
        );
        let run = target
            .import(&litellm, &["--spend-logs", "all"])
            .succeeded();
        assert_eq!(run.report["logs"]["added"], 1);
        check(&target, &[SUMMED, SUMMED, (100, 1.0)], 100).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_is_taken_from_its_first_whole_day() {
    for target in [Target::embedded(), Target::postgres().await] {
        let litellm = LiteLlm::filled(Version::V1_87);
        // The sums are older than the log: its first day was cut.
        litellm.sql(
            "INSERT INTO \"LiteLLM_DailyUserSpend\" (user_id, date, api_key, spend, api_requests) \
                 VALUES ('u1', '2025-01-01', 'litellm_proxy_master_key', 7, 3)",
        );
        let run = target
            .import(&litellm, &["--spend-logs", "all"])
            .succeeded();
        let foreign = &run.report["logs"]["foreign"]["call_mcp_tool"];
        assert_eq!(foreign[0], 2, "{foreign}");
        check(&target, &[(3, 7.0), SUMMED, LOGGED, LOGGED], 198).await;
        let store = target.store().await;
        let of = |group| store.spend_by(group, ReportQuery::default());
        let teams = of(GroupBy::Team).await.unwrap();
        let team = teams.iter().find(|one| one.group == "t1").unwrap();
        // Daily sums name no team: it is that of their key.
        assert_eq!(team.requests, 298);
        let tags = of(GroupBy::Tag).await.unwrap();
        assert_eq!((tags[0].group.as_str(), tags[0].requests), ("prod", 298));
        let customers = of(GroupBy::EndUser).await.unwrap();
        assert_eq!(customers[0].group, "customer-1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_logs_there_are_sums_of_days_that_have_ended() {
    let target = Target::embedded();
    let litellm = LiteLlm::filled(Version::V1_87);
    for _again in 0..2 {
        target
            .import(&litellm, &["--spend-logs", "none"])
            .succeeded();
        let (days, logs) = history(&target.store().await).await;
        // In the first hour of a day the one before is not complete yet.
        assert!(matches!(days.len(), 1 | 2), "{days:?}");
        assert!(
            days.iter().all(|day| *day == SUMMED) && logs == 0,
            "{days:?}"
        );
    }
}
