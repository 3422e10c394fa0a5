//! Rows that cannot be enforced as written are refused, by column and without their secrets.

use serde_json::{Value, json};

use super::super::*;
use super::{key_row, read, with};

fn refused(table: Table, row: Value) -> Refused {
    match read(table, row.clone()) {
        Err(refused) => refused,
        other => panic!("{row}: {other:?}"),
    }
}

#[test]
fn a_key_that_cannot_be_enforced_as_written_is_refused_by_its_column() {
    for (column, value, named) in [
        ("token", json!("sk-in-clear"), "token"),
        ("token", Value::Null, "token"),
        ("max_budget", json!("NaN"), "max_budget"),
        ("max_budget", json!(-1), "max_budget"),
        ("max_budget", json!(1e300), "max_budget"),
        ("rpm_limit", json!(-5), "rpm_limit"),
        ("tpm_limit", json!(1.5), "tpm_limit"),
        ("budget_duration", json!("1y"), "budget_duration"),
        ("expires", json!("infinity"), "expires"),
        ("models", json!([1]), "models"),
        ("models", json!("gpt-4o"), "models"),
        ("aliases", json!({"a": 1}), "aliases.a"),
        ("metadata", json!(["a"]), "metadata"),
        (
            "metadata",
            json!({"model_rpm_limit": {"a": "many"}}),
            "model_rpm_limit",
        ),
        (
            "model_max_budget",
            json!({"a": {"time_period": "1d"}}),
            "model_max_budget.a",
        ),
        ("blocked", json!("maybe"), "blocked"),
    ] {
        let refused = refused(Table::Keys, with(key_row(), column, value.clone()));
        assert_eq!(refused.column, named, "{value}");
        assert_eq!(
            (refused.table, refused.id.as_str()),
            ("LiteLLM_VerificationToken", "the row")
        );
        assert!(!refused.reason.is_empty() && !refused.to_string().contains("sk-in-clear"));
    }
}

#[test]
fn rows_of_other_tables_are_refused_by_their_column() {
    for (table, row, named) in [
        (
            Table::Users,
            json!({"user_id": "u", "user_role": "god"}),
            "user_role",
        ),
        (
            Table::Teams,
            json!({"team_id": "t", "members_with_roles": [{"role": "owner", "user_id": "u"}]}),
            "members_with_roles",
        ),
        (
            Table::Teams,
            json!({"team_id": "t", "members_with_roles": "not json"}),
            "members_with_roles",
        ),
        (
            Table::RotatedKeys,
            json!({"token": "a".repeat(64), "active_token_id": "b", "revoke_at": "2026-01-01"}),
            "active_token_id",
        ),
        (
            Table::Budgets,
            json!({"budget_id": "b", "budget_duration": "soon"}),
            "budget_duration",
        ),
        (
            Table::Models,
            json!({"model_id": "m", "model_name": "x", "litellm_params": 1}),
            "litellm_params",
        ),
        (
            Table::Models,
            json!({"model_id": "m", "model_name": "x", "litellm_params": {}}),
            "litellm_params.model",
        ),
        (Table::Tags, json!({"tag_name": ""}), "tag_name"),
        (
            Table::Settings,
            json!({"param_name": "general_settings", "param_value": [1]}),
            "param_value",
        ),
    ] {
        assert_eq!(refused(table, row.clone()).column, named, "{row}");
    }
}

#[test]
fn a_report_counts_all_and_lists_some() {
    let mut report = Report::default();
    assert!(report.is_complete());
    for number in 0..1_500 {
        let id = format!("k{number}");
        report.skip(refused(Table::Tags, json!({"tag_name": id, "models": 1})));
        let meaning = "lost".to_owned();
        let column = "x".to_owned();
        report.note("LiteLLM_TagTable", Note { column, meaning });
    }
    report.conflict("team_member", "t1\u{1f}u1", "both");
    assert!(!report.is_complete());
    assert_eq!((report.skipped_total, report.skipped.len()), (1_500, 1_000));
    assert_eq!(report.warnings.len(), 1);
    assert_eq!(report.warnings[0].rows, 1_500);
    let text = report.to_text();
    assert!(
        text.contains("skipped rows (1500):") && text.contains("and 1450 more"),
        "{text}"
    );
    assert!(text.contains("team_member t1/u1: both"), "{text}");
    assert!(text.ends_with("see the skipped rows and conflicts above\n"));
}

#[test]
fn every_table_of_both_versions_is_mapped_or_explained() {
    // Names from 1.87.1 and 1.109.1 that are not read as records.
    for name in [
        "LiteLLM_ProjectTable",
        "LiteLLM_DailyGlobalSpend",
        "LiteLLM_CronJob",
        "LiteLLM_MCPServerTable",
    ] {
        assert!(elsewhere(name).is_some(), "{name}");
    }
    assert_eq!(elsewhere("LiteLLM_TableOfNextYear"), None);
    for table in Table::ALL {
        assert_eq!(Table::named(table.mapping().name), Some(table));
        assert_eq!(elsewhere(table.mapping().name), None, "{table:?}");
    }
}
