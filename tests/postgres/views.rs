//! Queries that people have for LiteLLM's tables.

use meridian::store::{Direction, RecordWrite, migrate};
use meridian_core::money::NanoUsd;
use meridian_core::record::{Bounds, Record, Team};
use meridian_core::spend::CacheHit;
use meridian_testkit::postgres;

use super::support::{apply, ask, database, record, store};

const FINANCE: &str = "SELECT team_alias, date_trunc('day', created_at), SUM(spend), COUNT(*) \
    FROM \"LiteLLM_SpendLogs\" s JOIN \"LiteLLM_TeamTable\" t ON t.team_id = s.team_id \
    WHERE created_at >= NOW() - INTERVAL '30 days' GROUP BY 1,2";

#[tokio::test]
async fn the_finance_query_runs_as_it_was_written() {
    let (name, store) = store().await;
    let body = Team {
        team_alias: Some("Search".to_owned()),
        bounds: Bounds::default(),
        ..Team::default()
    };
    let now = meridian::clock::now();
    let write = RecordWrite::create(Record::new("t1".to_owned(), &body, now));
    store.write_records(vec![write], None).await.unwrap();
    let old = now.plus_ms(-40 * 24 * 3_600_000);
    let batch = vec![record(1, now, 1_250_000_000), record(2, now, 1), {
        let mut cached = record(3, old, 7);
        cached.context.cache_hit = Some(CacheHit {
            key: "ab".to_owned(),
            saved: NanoUsd(9),
        });
        cached
    }];
    apply(&store, batch).await.unwrap();
    let answer = ask(&name, FINANCE);
    let fields: Vec<&str> = answer.split('|').collect();
    assert_eq!(
        (fields[0], fields[2], fields[3]),
        ("Search", "1.250000001", "2"),
        "{answer}"
    );
    let columns = "SELECT request_id, call_type, spend, total_tokens, \"user\", request_tags, \
        status, custom_llm_provider FROM \"LiteLLM_SpendLogs\" ORDER BY \"startTime\" LIMIT 1";
    assert_eq!(
        ask(&name, columns),
        "resp_3|acompletion|0.000000007|110|u1|[\"prod\"]|success|openai"
    );
    let cached = "SELECT cache_hit, cache_key FROM \"LiteLLM_SpendLogs\" ORDER BY spend";
    let rows = ask(&name, cached);
    let first_two: Vec<&str> = rows.lines().take(2).collect();
    assert_eq!(first_two, ["False|", "True|ab"]);
    for table in ["DailyUserSpend", "DailyTeamSpend", "DailyTagSpend"] {
        let sql = format!("SELECT SUM(spend), SUM(api_requests) FROM \"LiteLLM_{table}\"");
        assert_eq!(ask(&name, &sql), "1.250000008|3", "{table}");
    }
    let team = "SELECT team_alias, team_spend FROM \"LiteLLM_TeamTable\"";
    assert_eq!(ask(&name, team), "Search|1.250000008");
    for table in ["VerificationToken", "UserTable", "OrganizationTable"] {
        let sql = format!("SELECT count(*) FROM \"LiteLLM_{table}\"");
        assert_eq!(ask(&name, &sql), "0", "{table}");
    }
}

#[tokio::test]
async fn a_table_of_litellm_is_left_alone() {
    let name = postgres::shared().fresh();
    ask(
        &name,
        "CREATE TABLE \"LiteLLM_TeamTable\" (team_id text PRIMARY KEY)",
    );
    let database = database(&postgres::shared().url(&name));
    let migrated = migrate(&database, Direction::Up).await.unwrap();
    assert_eq!(migrated.taken, ["public.LiteLLM_TeamTable"]);
    let kind = "SELECT string_agg(relkind, '') FROM pg_class WHERE relname = 'LiteLLM_TeamTable'";
    assert_eq!(ask(&name, kind), "r");
    migrate(&database, Direction::Down).await.unwrap();
    assert_eq!(ask(&name, kind), "r");
}
