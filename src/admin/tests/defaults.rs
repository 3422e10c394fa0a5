//! What the configuration gives new users and teams, and who may make keys.

use super::*;

fn with(litellm: &str) -> String {
    format!("{CONFIG}litellm_settings:\n{litellm}\n")
}

const USERS: &str = "  max_internal_user_budget: 9
  internal_user_budget_duration: 7d
  default_internal_user_params:
    user_role: internal_user
    models: [gpt-4o]
    rpm_limit: 3
    teams: [all, {team_id: leads, user_role: admin}]
  default_team_params: {max_budget: 5, budget_duration: 1d, models: [claude], tpm_limit: 70}";

#[tokio::test]
async fn a_new_user_gets_what_is_configured_for_what_it_was_not_given() {
    let admin = admin_with(&with(USERS)).await;
    let refused = admin.post("/user/new", json!({"user_id": "early"})).await;
    assert_eq!(refused.status, 404, "a configured team is missing");
    for team in ["all", "leads", "own"] {
        admin.done("/team/new", json!({"team_id": team})).await;
    }
    let made = admin.done("/user/new", json!({"user_id": "a"})).await;
    let shown = |made: &Value| {
        [
            "user_role",
            "models",
            "rpm_limit",
            "max_budget",
            "budget_duration",
            "teams",
        ]
        .map(|name| made[name].clone())
    };
    let wanted = [
        json!("internal_user"),
        json!(["gpt-4o"]),
        json!(3),
        json!(9.0),
        json!("7d"),
        json!(["all", "leads"]),
    ];
    assert_eq!(shown(&made), wanted);
    let leads = admin.get("/team/info?team_id=leads").await.json();
    let members = leads["team_info"]["members_with_roles"].to_string();
    assert!(members.contains(r#""role":"admin""#), "{members}");
    // What is said counts, an empty list of models is nothing said.
    let own = json!({"user_id": "b", "models": [], "rpm_limit": 8, "max_budget": 0.5,
        "user_role": "internal_user_viewer", "teams": ["own"]});
    let made = admin.done("/user/new", own).await;
    let wanted = [
        json!("internal_user_viewer"),
        json!(["gpt-4o"]),
        json!(8),
        json!(0.5),
        Value::Null,
        json!(["own"]),
    ];
    assert_eq!(shown(&made), wanted);
    // Administrators get nothing unasked.
    let boss = json!({"user_id": "c", "user_role": "proxy_admin"});
    let made = admin.done("/user/new", boss).await;
    assert_eq!(
        (&made["max_budget"], &made["rpm_limit"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(made["teams"], json!([]));
}

#[tokio::test]
async fn defaults_give_an_administrator_of_an_organization_no_more_rights() {
    let admin = admin_with(&with(USERS)).await;
    for team in ["all", "leads"] {
        admin.done("/team/new", json!({"team_id": team})).await;
    }
    admin
        .done(
            "/organization/new",
            json!({"organization_id": "o", "organization_alias": "o"}),
        )
        .await;
    let key = admin.user(json!({"user_id": "boss"})).await;
    let member =
        json!({"organization_id": "o", "member": {"role": "org_admin", "user_id": "boss"}});
    admin.done("/organization/member_add", member).await;
    let body = json!({"user_id": "new", "organizations": ["o"], "auto_create_key": false});
    let made = admin.post_as(&key, "/user/new", body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json()["max_budget"], 9.0);
    let body = json!({"user_id": "more", "organizations": ["o"], "user_role": "proxy_admin"});
    assert!(
        admin
            .post_as(&key, "/user/new", body)
            .await
            .status
            .is_client_error()
    );
}

#[tokio::test]
async fn a_new_team_gets_what_is_configured_for_what_it_was_not_given() {
    let admin = admin_with(&with(USERS)).await;
    let plain = admin.done("/team/new", json!({"team_id": "t"})).await;
    let shown = |team: &Value| {
        ["max_budget", "budget_duration", "models", "tpm_limit"].map(|name| team[name].clone())
    };
    let wanted = [json!(5.0), json!("1d"), json!(["claude"]), json!(70)];
    assert_eq!(shown(&plain), wanted);
    assert!(plain["budget_reset_at"].is_string());
    let own = json!({"team_id": "own", "max_budget": 1, "models": ["gpt-4o"], "tpm_limit": 2});
    let own = admin.done("/team/new", own).await;
    assert_eq!(
        shown(&own),
        [json!(1.0), json!("1d"), json!(["gpt-4o"]), json!(2)]
    );
    // A change is no creation.
    let cleared = json!({"team_id": "own", "tpm_limit": null});
    let changed = admin.done("/team/update", cleared).await;
    assert_eq!(changed["data"]["tpm_limit"], Value::Null);
}

#[tokio::test]
async fn keys_without_a_team_and_keys_by_organizations_can_be_forbidden() {
    let text = CONFIG.replace(
        "{master_key: sk-master-key-of-the-tests}",
        "{master_key: sk-master-key-of-the-tests, default_team_disabled: true, \
         disable_key_generate_for_org_admin: true}",
    );
    let admin = admin_with(&text).await;
    let told = admin.refused("/key/generate", json!({}), 400).await;
    assert!(told.contains("Pass a team_id"), "{told}");
    let made = admin.done("/user/new", json!({"user_id": "u"})).await;
    assert_eq!(made["key"], Value::Null, "a user gets no personal key");
    admin
        .done(
            "/organization/new",
            json!({"organization_id": "o", "organization_alias": "o"}),
        )
        .await;
    let team = json!({"team_id": "t", "organization_id": "o",
        "members_with_roles": [{"role": "user", "user_id": "boss"}]});
    admin.done("/team/new", team).await;
    let key = admin.key(json!({"team_id": "t", "user_id": "boss"})).await;
    let member =
        json!({"organization_id": "o", "member": {"role": "org_admin", "user_id": "boss"}});
    admin.done("/organization/member_add", member).await;
    let (status, told) = admin
        .refuses(&key, "/key/generate", json!({"team_id": "t"}))
        .await;
    assert_eq!(status, 403, "{told}");
    admin.key(json!({"team_id": "t"})).await;
}

#[tokio::test]
async fn budgets_of_providers_are_shown_with_what_they_cost() {
    let text = format!(
        "{CONFIG}router_settings:\n  provider_budget_config:\n    \
         openai: {{budget_limit: 100, time_period: 1d}}\n    \
         anthropic: {{max_budget: 2.5, budget_duration: 30d}}\n"
    );
    let admin = admin_with(&text).await;
    let record = serde_json::json!({
        "call_id": meridian_core::ids::CallId::from_bytes([7; 16]), "provider": "openai",
        "endpoint": "chat_completions", "model_group": "gpt-4o", "started": clock::now(),
        "ended": clock::now(), "usage": {}, "cost": 1_250_000_000, "end_reason": "complete",
        "status": 200,
    });
    let batch = crate::store::SpendBatch {
        writer: "test".to_owned(),
        from: Default::default(),
        next: meridian_core::journal::Position {
            segment: 0,
            offset: 1,
        },
        records: vec![serde_json::from_value(record).unwrap()],
        keeps_logs: true,
    };
    admin.store.apply_spend(batch).await.unwrap();
    let shown = admin.get("/provider/budgets").await.json();
    let openai = &shown["providers"]["openai"];
    assert_eq!(
        (
            &openai["budget_limit"],
            &openai["time_period"],
            &openai["spend"]
        ),
        (&json!(100.0), &json!("1d"), &json!(1.25))
    );
    assert!(
        openai["budget_reset_at"]
            .as_str()
            .unwrap()
            .contains("T00:00:00")
    );
    let anthropic = &shown["providers"]["anthropic"];
    assert_eq!(
        (&anthropic["budget_limit"], &anthropic["spend"]),
        (&json!(2.5), &json!(0.0))
    );
}
