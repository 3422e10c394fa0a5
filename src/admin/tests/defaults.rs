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
    let config = Arc::clone(&admin.now.load().config);
    let budgets = config.routed_budgets();
    admin.keys.set_routed(&budgets, clock::now());
    let routed = admin.keys.routed();
    let openai = budgets.iter().find(|one| one.of.id == "openai").unwrap();
    let spent = meridian_core::money::NanoUsd(1_250_000_000);
    let budget = routed.get(&openai.of).unwrap().budget();
    budget.charge(spent, clock::now(), clock::now());
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

const OPEN: &str = "  default_internal_user_params: {available_teams: [open, shut-in, nowhere]}";

/// Two open teams and a closed one, and the key of an internal user who has joined none.
async fn with_open_teams() -> (Admin, String) {
    let admin = admin_with(&with(OPEN)).await;
    for team in ["open", "shut-in", "closed"] {
        let body = json!({"team_id": team, "max_budget": 7, "metadata": {"of": "the owner"},
            "members_with_roles": [{"role": "admin", "user_id": "leads"}]});
        admin.done("/team/new", body).await;
    }
    let user = json!({"user_id": "u", "user_role": "internal_user", "auto_create_key": false});
    admin.done("/user/new", user).await;
    let key = admin.key(json!({"user_id": "u"})).await;
    (admin, key)
}

fn ids(teams: &Value) -> Vec<&str> {
    let teams = teams.as_array().unwrap().iter();
    teams
        .map(|team| team["team_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_user_sees_and_joins_the_teams_that_are_open() {
    let (admin, key) = with_open_teams().await;
    let seen = admin.get_as(&key, "/team/available").await.json();
    assert_eq!(ids(&seen), ["open", "shut-in"]);
    assert_eq!(seen[0]["max_budget"], 7.0);
    let text = seen.to_string();
    assert!(
        !text.contains("leads") && !text.contains("the owner"),
        "{text}"
    );
    let join = json!({"team_id": "open", "member": {"role": "user", "user_id": "u"}});
    let joined = admin.post_as(&key, "/team/member_add", join.clone()).await;
    assert_eq!(joined.status, 200, "{}", joined.message());
    let again = admin.post_as(&key, "/team/member_add", join).await;
    assert_eq!(again.status, 400, "{}", again.message());
    let seen = admin.get_as(&key, "/team/available").await.json();
    assert_eq!(ids(&seen), ["shut-in"]);
    let user = admin.get("/user/info?user_id=u").await.json();
    assert_eq!(user["user_info"]["teams"], json!(["open"]));
}

#[tokio::test]
async fn whoever_joins_an_open_team_brings_nobody_and_becomes_no_more_than_a_user() {
    let (admin, key) = with_open_teams().await;
    let own = json!({"role": "user", "user_id": "u"});
    let asked = [
        json!({"team_id": "closed", "member": own}),
        json!({"team_id": "open", "member": {"role": "admin", "user_id": "u"}}),
        json!({"team_id": "open", "member": {"role": "user", "user_id": "other"}}),
        json!({"team_id": "open", "member": {"role": "user", "user_email": "u@example.com"}}),
        json!({"team_id": "open", "member": [own, {"role": "user", "user_id": "other"}]}),
        json!({"team_id": "open", "member": own, "max_budget_in_team": 1_000}),
        json!({"team_id": "nowhere", "member": {"role": "user", "user_id": "other"}}),
    ];
    for body in asked {
        let answer = admin.post_as(&key, "/team/member_add", body.clone()).await;
        assert_eq!(answer.status, 403, "{body}: {}", answer.message());
    }
    let missing = json!({"team_id": "nowhere", "member": own});
    let answer = admin.post_as(&key, "/team/member_add", missing).await;
    assert_eq!(answer.status, 404, "{}", answer.message());
}

#[tokio::test]
async fn customers_that_requests_name_get_records_that_keep_what_they_spent() {
    let admin = admin_with(&with("  max_end_user_budget_id: of-customers")).await;
    admin
        .done(
            "/customer/new",
            json!({"user_id": "known", "max_budget": 3}),
        )
        .await;
    let ids = ["known", "new", "not an id\u{7}"].map(str::to_owned);
    newcomers::write(&admin.state, &ids).await.unwrap();
    newcomers::write(&admin.state, &ids).await.unwrap();
    let known = admin.get("/customer/info?end_user_id=known").await.json();
    assert_eq!(known["litellm_budget_table"]["max_budget"], 3.0, "{known}");
    let new = admin.get("/customer/info?end_user_id=new").await;
    assert_eq!(new.status, 200, "{}", new.message());
    let listed = admin.get("/customer/list").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
}
