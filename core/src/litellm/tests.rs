//! Rows as LiteLLM writes them, and what they become.

mod history;
mod refusals;

use serde_json::{Map, Value, json};

use super::*;
use crate::ids::KeyHash;
use crate::key::{KeyRecord, RotatedKey};
use crate::record::{Customer, Member, OrganizationMember, RecordKind, Team, TeamMember, User};
use crate::scope::Scope;

const NOW: WallMs = WallMs(1_795_003_200_000); // 2026-11-18, 12:00 UTC

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

fn read(table: Table, row: Value) -> Result<Outcome, Refused> {
    map(table, "the row", object(row), None)
}

fn mapped(table: Table, row: Value) -> Mapped {
    match read(table, row.clone()) {
        Ok(Outcome::Mapped(mapped)) => *mapped,
        other => panic!("{row}: {other:?}"),
    }
}

fn token(name: &str) -> String {
    KeyHash::of_secret(name).to_string()
}

/// A key as a running LiteLLM leaves it: every column, most of them empty.
fn key_row() -> Value {
    let mut row = json!({
        "token": token("sk-a"), "key_name": "sk-...ab12", "key_alias": "alice",
        "soft_budget_cooldown": false, "spend": 1.25, "expires": "2027-01-31T00:00:00",
        "models": ["gpt-4o"], "aliases": {"fast": "gpt-4o-mini"}, "config": {},
        "router_settings": {}, "user_id": "u1", "team_id": "t1", "agent_id": null,
        "project_id": null, "permissions": {}, "max_parallel_requests": 3,
        "metadata": {"tags": ["a"], "model_rpm_limit": {"gpt-4o": 5}}, "blocked": null,
    });
    let more = json!({
        "tpm_limit": 1000, "rpm_limit": 60, "max_budget": 10.5, "budget_duration": "30d",
        "budget_reset_at": "2026-12-01T00:00:00", "allowed_cache_controls": [],
        "allowed_routes": ["llm_api_routes"], "policies": [], "access_group_ids": [],
        "model_spend": {"gpt-4o": 1.25}, "model_max_budget": {}, "budget_id": null,
        "organization_id": null, "object_permission_id": null,
        "created_at": "2026-01-02T03:04:05.678", "created_by": "admin",
        "updated_at": "2026-11-18T11:59:59.999", "updated_by": "admin",
        "last_active": "2026-11-18T11:59:59.999", "rotation_count": 0, "auto_rotate": false,
        "rotation_interval": null, "last_rotation_at": null, "key_rotation_at": null,
        "budget_limits": null, "meridian_alias_rank": 1, "meridian_group_models": null,
        "meridian_budget_duration": null, "meridian_budget_reset_at": null,
    });
    row.as_object_mut().unwrap().extend(object(more));
    row
}

fn with(mut row: Value, column: &str, value: Value) -> Value {
    row[column] = value;
    row
}

#[test]
fn a_key_keeps_its_digest_its_rules_and_its_period() {
    let mapped = mapped(Table::Keys, key_row());
    let key = KeyRecord::of_record(&mapped.record).unwrap();
    assert_eq!(key.token, KeyHash::of_secret("sk-a"));
    assert_eq!(key.models, ["gpt-4o"]);
    assert_eq!(key.aliases["fast"], "gpt-4o-mini");
    assert_eq!((key.rpm_limit, key.tpm_limit), (Some(60), Some(1000)));
    assert_eq!(key.max_budget, NanoUsd::from_dollars(10.5));
    assert_eq!(key.expires.unwrap().to_iso(), "2027-01-31T00:00:00.000Z");
    assert_eq!(key.created_at.to_iso(), "2026-01-02T03:04:05.678Z");
    assert_eq!(key.metadata["model_rpm_limit"]["gpt-4o"], 5);
    let spend = mapped.spend.unwrap();
    assert_eq!(spend.spend, NanoUsd(1_250_000_000));
    assert_eq!(spend.ends, key.budget_reset_at);
    assert_eq!((mapped.period, mapped.notes), (None, Vec::new()));
}

#[test]
fn what_a_request_moves_in_litellm_is_no_change_of_the_key() {
    let before = mapped(Table::Keys, key_row()).record;
    let mut row = key_row();
    for (column, value) in [
        ("updated_at", json!("2026-11-18T12:00:30")),
        ("last_active", json!("2026-11-18T12:00:30")),
        ("spend", json!(2.5)),
        ("model_spend", json!({"gpt-4o": 2.5})),
    ] {
        row = with(row, column, value);
    }
    row = with(row, "settings_updated_at", json!("2026-11-18T12:00:30"));
    assert_eq!(digest(&before), digest(&mapped(Table::Keys, row).record));
    let changed = with(key_row(), "rpm_limit", json!(61));
    assert_ne!(
        digest(&before),
        digest(&mapped(Table::Keys, changed).record)
    );
}

#[test]
fn a_key_of_a_shared_budget_has_that_budgets_period() {
    let mut row = with(key_row(), "budget_duration", Value::Null);
    row = with(row, "budget_reset_at", Value::Null);
    row = with(row, "budget_id", json!("b1"));
    row = with(row, "meridian_budget_duration", json!("7d"));
    row = with(
        row,
        "meridian_budget_reset_at",
        json!("2026-11-23T00:00:00"),
    );
    let mapped = mapped(Table::Keys, row);
    let ends = WallMs::parse_iso("2026-11-23");
    let duration = "7d".to_owned();
    assert_eq!(mapped.period, Some(SourcePeriod { duration, ends }));
    assert_eq!(mapped.spend.unwrap().ends, ends);
    assert_eq!(mapped.record.body["extra"]["budget_id"], "b1");
}

#[test]
fn what_a_key_loses_is_told_by_its_column() {
    let mut row = with(key_row(), "project_id", json!("p1"));
    row = with(row, "tpd_limit", json!(5));
    row = with(row, "a_column_of_next_year", json!([1]));
    row = with(
        row,
        "router_settings",
        json!({"timeout": 5, "allowed_fails": 3}),
    );
    row = with(row, "models", json!(["a"]));
    row = with(row, "meridian_group_models", json!(["a", "b"]));
    let mapped = mapped(Table::Keys, row);
    let mut columns: Vec<&str> = mapped.notes.iter().map(|one| one.column.as_str()).collect();
    columns.sort_unstable();
    let expected = [
        "a_column_of_next_year",
        "access_group_ids",
        "project_id",
        "router_settings.allowed_fails",
        "tpd_limit",
    ];
    assert_eq!(columns, expected);
    let body = &mapped.record.body;
    assert_eq!(body["extra"]["router_settings"], json!({"timeout": 5}));
    assert_eq!(body["models"], json!(["a", "b"]));
}

#[test]
fn a_second_key_with_an_alias_keeps_working_under_a_longer_one() {
    let row = with(key_row(), "meridian_alias_rank", json!(2));
    let mapped = mapped(Table::Keys, row);
    assert_eq!(mapped.record.body["key_alias"], "alice (2)");
    assert_eq!(mapped.notes[0].column, "key_alias");
}

#[test]
fn session_keys_of_the_user_interface_are_left() {
    let row = with(key_row(), "team_id", json!(DASHBOARD_TEAM));
    assert!(matches!(
        read(Table::Keys, row),
        Ok(Outcome::Left { tell: true, .. })
    ));
}

#[test]
fn deleted_and_rotated_keys_stay_what_they_are() {
    let mut row = with(key_row(), "id", json!("1"));
    row = with(row, "deleted_at", json!("2026-11-01T00:00:00"));
    row = with(row, "deleted_by", json!("admin"));
    let deleted = mapped(Table::DeletedKeys, row);
    assert!(deleted.record.deleted && deleted.spend.is_none());
    assert_eq!(deleted.record.body["extra"]["deleted_by"], "admin");

    let row = json!({
        "id": "1", "token": token("sk-old"), "active_token_id": token("sk-a"),
        "revoke_at": "2026-12-01T00:00:00", "created_at": "2026-11-01T00:00:00",
    });
    let rotated = mapped(Table::RotatedKeys, row).record;
    assert_eq!(
        (rotated.kind, rotated.id.clone()),
        (RecordKind::RotatedKey, token("sk-old"))
    );
    let body: RotatedKey = rotated.read().unwrap();
    assert_eq!(body.active, KeyHash::of_secret("sk-a"));
}

#[test]
fn a_team_has_its_members_aliases_and_limits() {
    let row = json!({
        "team_id": "t1", "team_alias": "Search", "organization_id": null, "admins": [],
        "members": [], "members_with_roles": [{"role": "admin", "user_id": "u1"},
            {"role": "user", "user_id": null, "user_email": "b@example.org"}],
        "metadata": "{\"team_member_budget_id\": \"b9\"}", "max_budget": 100, "soft_budget": 80,
        "spend": 12.5, "models": [], "budget_duration": "1mo", "tpm_limit": 9007199254740993_u64,
        "budget_reset_at": "2026-12-01T00:00:00", "blocked": true, "model_id": 7,
        "created_at": "2026-01-01T00:00:00", "updated_at": "2026-01-01T00:00:00",
        "router_settings": {}, "team_member_permissions": ["/key/generate"],
        "meridian_model_aliases": "{\"gpt-4\": \"gpt-4o\"}",
    });
    let mapped = mapped(Table::Teams, row);
    let team: Team = mapped.record.read().unwrap();
    assert_eq!(team.members_with_roles.len(), 2);
    assert_eq!(team.members_with_roles[0].role, "admin");
    assert_eq!(
        team.members_with_roles[1].user_email.as_deref(),
        Some("b@example.org")
    );
    assert_eq!(team.model_aliases["gpt-4"], "gpt-4o");
    assert_eq!(team.team_member_budget_id.as_deref(), Some("b9"));
    assert_eq!(team.bounds.tpm_limit, Some(9_007_199_254_740_993));
    assert!(team.blocked);
    assert_eq!(mapped.spend.unwrap().running(NOW), NanoUsd(12_500_000_000));
    assert_eq!(mapped.notes, []);
}

#[test]
fn old_lists_of_members_count_where_there_is_no_new_one() {
    let row = json!({
        "team_id": "t1", "admins": ["u1"], "members": ["u1", "u2"], "members_with_roles": {},
    });
    let team: Team = mapped(Table::Teams, row).record.read().unwrap();
    let member = |role: &str, user: &str| Member {
        role: role.to_owned(),
        user_id: Some(user.to_owned()),
        user_email: None,
    };
    assert_eq!(
        team.members_with_roles,
        [member("admin", "u1"), member("user", "u2")]
    );
}

#[test]
fn users_come_without_passwords_and_with_one_address_each() {
    let row = json!({
        "user_id": "u1", "user_email": "a@example.org", "user_role": "internal_user",
        "password": "scrypt:abc", "teams": ["t1"], "spend": 0.5, "models": [], "metadata": {},
        "max_budget": null, "sso_user_id": "okta|1", "meridian_email_rank": 2,
    });
    let mapped = mapped(Table::Users, row);
    let user: User = mapped.record.read().unwrap();
    assert_eq!(user.user_email, None);
    assert_eq!(user.extra["sso_user_id"], "okta|1");
    let text = serde_json::to_string(&mapped.record).unwrap();
    assert!(!text.contains("scrypt"));
    let columns: Vec<&str> = mapped.notes.iter().map(|one| one.column.as_str()).collect();
    assert_eq!(columns, ["password", "sso_user_id", "user_email"]);

    let proxy = json!({"user_id": "litellm-proxy-budget", "max_budget": 100.0, "spend": 3.0});
    assert!(matches!(
        read(Table::Users, proxy),
        Ok(Outcome::Left { tell: true, .. })
    ));
}

#[test]
fn members_and_customers_have_the_period_of_their_budget() {
    let row = json!({
        "user_id": "u1", "team_id": "t1", "spend": 2.0, "total_spend": 9.0, "budget_id": "b1",
        "meridian_budget_duration": "1d", "meridian_budget_reset_at": "2026-11-18T00:00:00",
    });
    let member = mapped(Table::TeamMembers, row);
    assert_eq!(member.record.id, Scope::team_member("t1", "u1").id);
    assert_eq!(
        member
            .record
            .read::<TeamMember>()
            .unwrap()
            .budget_id
            .as_deref(),
        Some("b1")
    );
    assert_eq!(member.period.unwrap().duration, "1d");
    // LiteLLM resets late: the column still shows the day that is over.
    assert_eq!(member.spend.unwrap().running(NOW), NanoUsd::ZERO);

    let row = json!({"user_id": "u1", "organization_id": "o1", "user_role": "org_admin"});
    let member = mapped(Table::OrganizationMembers, row).record;
    assert_eq!(
        member.read::<OrganizationMember>().unwrap().user_role,
        "org_admin"
    );

    let row = json!({"user_id": "acme", "alias": "ACME", "spend": 1e-9, "blocked": true,
        "allowed_model_region": "eu", "default_model": "gpt-4o", "models": ["x"]});
    let customer = mapped(Table::Customers, row);
    assert_eq!(customer.spend.unwrap().spend, NanoUsd(1));
    assert_eq!(customer.notes[0].column, "models");
    assert!(customer.record.read::<Customer>().unwrap().blocked);
}

#[test]
fn sealed_values_stay_sealed_and_must_open() {
    let salt = SealKey::of_salt("sk-salt");
    let sealed = salt.seal("sk-provider", [7; 24]);
    let model = salt.seal("openai/gpt-4o", [8; 24]);
    let row = || {
        object(json!({
            "model_id": "m1", "model_name": "gpt-4o", "blocked": false,
            "litellm_params": {"model": model, "api_key": sealed, "rpm": 5}, "model_info": null,
        }))
    };
    let Ok(Outcome::Mapped(mapped)) = map(Table::Models, "m1", row(), Some(&salt)) else {
        panic!("refused")
    };
    assert_eq!(
        mapped.record.body["litellm_params"]["api_key"],
        json!(sealed)
    );
    let other = SealKey::of_salt("sk-other");
    for key in [Some(&other), None] {
        let refused = map(Table::Models, "m1", row(), key).unwrap_err();
        assert_eq!(refused.column, "litellm_params.api_key");
        assert!(!refused.to_string().contains("sk-provider"));
    }
    // Nothing is sealed: no salt key is needed.
    let clear =
        json!({"model_id": "m1", "model_name": "x", "litellm_params": {"model": "openai/x"}});
    assert!(matches!(read(Table::Models, clear), Ok(Outcome::Mapped(_))));
}

#[test]
fn settings_and_models_are_audited_as_the_configuration_they_amount_to() {
    let salt = SealKey::of_salt("sk-salt");
    let mut audit = Audit::new(Some(salt.clone()));
    let setting = json!({"param_name": "router_settings",
        "param_value": {"num_retries": 2, "no_such_setting": 1}});
    audit.add(&mapped(Table::Settings, setting).record);
    let row = object(json!({
        "model_id": "m1", "model_name": "claude", "model_info": {"db_model": true},
        "litellm_params": {"model": salt.seal("replicate/anthropic.claude", [1; 24])},
    }));
    let Ok(Outcome::Mapped(model)) = map(Table::Models, "m1", row, Some(&salt)) else {
        panic!("refused")
    };
    audit.add(&model.record);
    let remarks = audit.remarks(&Default::default(), true);
    let paths: Vec<&str> = remarks.iter().map(|one| one.path.as_str()).collect();
    assert!(
        paths.contains(&"router_settings.no_such_setting"),
        "{paths:?}"
    );
    assert!(
        paths.contains(&"model m1.litellm_params.model"),
        "{paths:?}"
    );
    assert!(!paths.contains(&"router_settings.num_retries"));
    let mut audit = Audit::new(None);
    assert_eq!(audit.clone().remarks(&Default::default(), false), []);
    let setting = json!({"param_name": "router_settings", "param_value": {"num_retries": 2}});
    audit.add(&mapped(Table::Settings, setting).record);
    let remarks = audit.remarks(&Default::default(), false);
    assert_eq!(remarks[0].path, "general_settings.store_model_in_db");
}

#[test]
fn rows_of_the_configuration_that_are_no_settings_are_left() {
    let row = json!({"param_name": "model_cost_map_reload_config", "param_value": {"x": 1}});
    assert!(matches!(
        read(Table::Settings, row),
        Ok(Outcome::Left { tell: true, .. })
    ));
}

fn key_record(rpm: u64) -> Record {
    mapped(Table::Keys, with(key_row(), "rpm_limit", json!(rpm))).record
}

/// The record as a store has it, and the mark that was left with it.
fn stored(record: &Record, version: u64) -> (Mark, Known) {
    let record = Record {
        version,
        ..record.clone()
    };
    let known = Known::of(&record);
    let mark = Mark {
        digest: known.digest.clone(),
        version,
        spend: SpendMark::default(),
    };
    (mark, known)
}

#[test]
fn a_second_run_changes_nothing_and_a_change_of_the_source_is_taken_over() {
    let row = key_record(60);
    assert_eq!(decide(&row, None, None, false), Decision::Create);
    let (mark, known) = stored(&row, 7);
    for force in [false, true] {
        assert_eq!(
            decide(&row, Some(&mark), Some(&known), force),
            Decision::Unchanged
        );
    }
    let later = key_record(61);
    assert_eq!(
        decide(&later, Some(&mark), Some(&known), false),
        Decision::Replace(7)
    );
}

#[test]
fn what_was_changed_here_wins_unless_it_is_forced() {
    let row = key_record(60);
    let (mark, _) = stored(&row, 7);
    let (_, changed) = stored(&key_record(1), 8);
    // The source has nothing new to say.
    assert_eq!(
        decide(&row, Some(&mark), Some(&changed), false),
        Decision::Unchanged
    );
    assert_eq!(
        decide(&row, Some(&mark), Some(&changed), true),
        Decision::Replace(8)
    );
    let later = key_record(61);
    let decided = decide(&later, Some(&mark), Some(&changed), false);
    assert!(matches!(decided, Decision::Conflict(_)), "{decided:?}");
    assert_eq!(
        decide(&later, Some(&mark), Some(&changed), true),
        Decision::Replace(8)
    );
    // Both sides made the same change.
    let (_, same) = stored(&later, 8);
    assert_eq!(
        decide(&later, Some(&mark), Some(&same), false),
        Decision::Adopt
    );
    // It was here before any import.
    let decided = decide(&later, None, Some(&changed), false);
    assert!(matches!(decided, Decision::Conflict(_)), "{decided:?}");
}

#[test]
fn what_was_deleted_here_is_not_brought_back() {
    let row = key_record(60);
    let (mark, mut known) = stored(&row, 7);
    (known.deleted, known.version) = (true, 8);
    known.digest = "of the tombstone".to_owned();
    assert_eq!(
        decide(&row, Some(&mark), Some(&known), false),
        Decision::Unchanged
    );
    let decided = decide(&key_record(61), Some(&mark), Some(&known), false);
    assert!(matches!(decided, Decision::Conflict(_)), "{decided:?}");
    assert_eq!(
        decide(&row, Some(&mark), Some(&known), true),
        Decision::Create
    );
    // The import itself had deleted it, and its row is back.
    let gone = Mark {
        digest: String::new(),
        version: 8,
        ..mark
    };
    assert_eq!(
        decide(&row, Some(&gone), Some(&known), false),
        Decision::Create
    );
}

#[test]
fn a_row_that_is_gone_takes_its_record_along_unless_that_was_changed_here() {
    let (mark, known) = stored(&key_record(60), 7);
    assert_eq!(gone(&mark, Some(&known), false), Decision::Replace(7));
    let (_, changed) = stored(&key_record(1), 8);
    assert!(matches!(
        gone(&mark, Some(&changed), false),
        Decision::Conflict(_)
    ));
    assert_eq!(gone(&mark, Some(&changed), true), Decision::Replace(8));
    assert_eq!(gone(&mark, None, false), Decision::Adopt);
}
