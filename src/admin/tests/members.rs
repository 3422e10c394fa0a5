//! Members of teams: users and teams know each other, and limits are the member's own.

use super::*;

async fn with_team() -> Admin {
    let admin = admin().await;
    let body = json!({"team_id": "t", "max_budget": 10});
    admin.done("/team/new", body).await;
    admin
}

#[tokio::test]
async fn who_is_added_is_made_and_who_leaves_loses_its_keys_there() {
    let admin = with_team().await;
    let body = json!({"team_id": "t", "max_budget_in_team": 2.5,
        "member": [{"role": "user", "user_email": "a@example.com"},
            {"role": "admin", "user_id": "u2"}]});
    let added = admin.done("/team/member_add", body).await;
    let users = added["updated_users"].as_array().unwrap();
    assert_eq!(users.len(), 2);
    assert_eq!(users[0]["user_email"], "a@example.com");
    assert_eq!(users[0]["teams"], json!(["t"]));
    let limits = &added["updated_team_memberships"][0];
    assert_eq!(limits["litellm_budget_table"]["max_budget"], 2.5);
    assert_eq!(limits["spend"], 0.0);
    let again = json!({"team_id": "t", "member": {"role": "user", "user_id": "u2"}});
    let answer = admin.post("/team/member_add", again).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json()["error"]["type"],
        "team_member_already_in_team"
    );
    let first = users[0]["user_id"].as_str().unwrap();
    let own = admin.key(json!({"user_id": first})).await;
    let there = admin.key(json!({"user_id": first, "team_id": "t"})).await;
    let body = json!({"team_id": "t", "user_email": "a@example.com"});
    let left = admin.done("/team/member_delete", body.clone()).await;
    assert_eq!(left["members_with_roles"].as_array().unwrap().len(), 2);
    assert_eq!(admin.get_as(&there, "/key/info").await.status, 401);
    assert_eq!(admin.get_as(&own, "/key/info").await.status, 200);
    let info = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(info["team_memberships"].as_array().unwrap().len(), 1);
    let text = admin.refused("/team/member_delete", body, 400).await;
    assert!(text.contains("User not found in team"), "{text}");
}

#[tokio::test]
async fn limits_of_members_are_their_own_or_the_teams() {
    let admin = with_team().await;
    let body = json!({"team_id": "t", "member": {"role": "user", "user_id": "u1"}});
    admin.done("/team/member_add", body).await;
    let body = json!({"team_id": "t", "team_member_budget": 3, "team_member_rpm_limit": 9,
        "team_member_budget_duration": "1d"});
    admin.done("/team/update", body).await;
    let of = |info: &Value, user: &str| {
        let all = info["team_memberships"].as_array().unwrap();
        all.iter().find(|one| one["user_id"] == user).unwrap()["litellm_budget_table"].clone()
    };
    let info = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(
        info["team_info"]["team_member_budget_table"]["max_budget"],
        3.0
    );
    assert_eq!(of(&info, "u1")["max_budget"], 3.0);
    let body = json!({"team_id": "t", "user_id": "u1", "max_budget_in_team": 5, "role": "admin"});
    let echo = admin.done("/team/member_update", body).await;
    assert_eq!(
        (&echo["max_budget_in_team"], &echo["role"]),
        (&json!(5.0), &json!("admin"))
    );
    // Who joins later has the team's.
    let body = json!({"team_id": "t", "member": {"role": "user", "user_id": "u2"}});
    admin.done("/team/member_add", body).await;
    let info = admin.get("/team/info?team_id=t").await.json();
    assert_eq!(of(&info, "u1")["max_budget"], 5.0);
    assert_eq!(of(&info, "u1")["rpm_limit"], 9);
    assert_eq!(of(&info, "u2")["max_budget"], 3.0);
    let scope = meridian_core::scope::Scope::team_member("t", "u2");
    let spends = admin.store.scope_spends(vec![scope]).await.unwrap();
    assert!(
        spends[0].period_end.is_some(),
        "the budget's period is the member's"
    );
    let body = json!({"team_id": "t", "user_id": "u2", "max_budget_in_team": 11});
    let text = admin.refused("/team/member_update", body, 403).await;
    assert!(
        text.contains("max_budget_in_team=11.0 is more than the team"),
        "{text}"
    );
    let me = admin.key(json!({"user_id": "u1"})).await;
    let me = admin.get_as(&me, "/team/t/members/me").await.json();
    assert_eq!(
        (&me["role"], &me["user_id"]),
        (&json!("admin"), &json!("u1"))
    );
}

#[tokio::test]
async fn many_are_added_together_and_who_is_there_is_told() {
    let admin = with_team().await;
    let members: Vec<Value> = (0..3)
        .map(|at| json!({"role": "user", "user_id": format!("u{at}")}))
        .collect();
    let one = json!({"team_id": "t", "member": members[0]});
    admin.done("/team/member_add", one).await;
    let lines = admin.audit_lines().await;
    let body = json!({"team_id": "t", "members": members, "max_budget_in_team": 1});
    let told = admin.done("/team/bulk_member_add", body).await;
    let counts = [
        "total_requested",
        "successful_additions",
        "failed_additions",
    ];
    assert_eq!(counts.map(|name| told[name].as_u64().unwrap()), [3, 2, 1]);
    assert_eq!(
        told["updated_team"]["members_with_roles"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    // The team once, and a user and its limits for each.
    assert_eq!(admin.audit_lines().await - lines, 5);
    let everybody = json!({"team_id": "t", "all_users": true});
    let told = admin.done("/team/bulk_member_add", everybody).await;
    assert_eq!(told["failed_additions"], 3);
}
