//! Organizations and their admins.

use super::*;

/// An organization with a budget and an admin; the admin's key.
async fn with_organization() -> (Admin, String) {
    let admin = admin().await;
    let body = json!({"organization_id": "o", "organization_alias": "acme", "max_budget": 100,
        "models": ["gpt-4o"], "budget_duration": "30d"});
    let made = admin.done("/organization/new", body).await;
    assert_eq!(made["litellm_budget_table"]["max_budget"], 100.0);
    assert_eq!((&made["members"], &made["teams"]), (&json!([]), &json!([])));
    let key = admin.user(json!({"user_id": "boss"})).await;
    let member = json!({"role": "org_admin", "user_id": "boss"});
    let body = json!({"organization_id": "o", "member": member});
    let added = admin.done("/organization/member_add", body.clone()).await;
    assert_eq!(added["updated_users"][0]["organization_id"], "o");
    admin.refused("/organization/member_add", body, 400).await;
    (admin, key)
}

#[tokio::test]
async fn an_organization_lives_and_takes_its_teams_and_keys_with_it() {
    let (admin, _) = with_organization().await;
    let body = json!({"organization_id": "o", "organization_alias": "acme 2", "max_budget": 50});
    let row = admin.did("PATCH", "/organization/update", body).await;
    assert_eq!(row["organization_alias"], "acme 2");
    assert_eq!(row["litellm_budget_table"]["max_budget"], 50.0);
    admin
        .done("/team/new", json!({"team_id": "t", "organization_id": "o"}))
        .await;
    let over = json!({"team_id": "t", "max_budget": 51});
    let text = admin.refused("/team/update", over, 400).await;
    assert!(
        text.contains("max_budget of the team is more than its organization has"),
        "{text}"
    );
    let over = json!({"team_id": "t", "models": ["claude"]});
    admin.refused("/team/update", over, 400).await;
    let key = admin.key(json!({"team_id": "t"})).await;
    let info = admin
        .get("/organization/info?organization_id=o")
        .await
        .json();
    assert_eq!(info["teams"][0]["team_id"], "t");
    assert_eq!(info["members"][0]["user_role"], "org_admin");
    let several = json!({"organizations": ["o", "nowhere"]});
    let several = admin.done("/organization/info", several).await;
    assert_eq!(several.as_array().unwrap().len(), 1);
    let body = json!({"organization_ids": ["o"]});
    let gone = admin.did("DELETE", "/organization/delete", body).await;
    assert_eq!(gone[0]["organization_id"], "o");
    assert_eq!(admin.get_as(&key, "/key/info").await.status, 401);
    assert_eq!(admin.get("/team/info?team_id=t").await.status, 404);
    assert_eq!(admin.get("/organization/list").await.json(), json!([]));
    assert_eq!(admin.get("/budget/list").await.json(), json!([]));
    let user = admin.get("/v2/user/info?user_id=boss").await.json();
    assert_eq!(user["organization_id"], Value::Null);
}

#[tokio::test]
async fn members_have_roles_and_limits_within_it() {
    let (admin, boss) = with_organization().await;
    let member = json!({"role": "internal_user", "user_email": "m@x.org"});
    let body = json!({"organization_id": "o", "member": member, "max_budget_in_organization": 7});
    let added = admin.post_as(&boss, "/organization/member_add", body).await;
    assert_eq!(added.status, 200, "{}", added.text);
    let user = added.json()["updated_users"][0].clone();
    assert_eq!(
        user["models"],
        json!(["no-default-models"]),
        "it was made for this"
    );
    let body = json!({"organization_id": "o", "user_email": "m@x.org",
        "role": "internal_user_viewer", "max_budget_in_organization": 8});
    let row = admin
        .did("PATCH", "/organization/member_update", body)
        .await;
    assert_eq!(row["user_role"], "internal_user_viewer");
    assert_eq!(row["litellm_budget_table"]["max_budget"], 8.0);
    let over = json!({"organization_id": "o", "user_id": user["user_id"],
        "max_budget_in_organization": 101});
    let body = Body::from(over.to_string());
    let answer = admin
        .send("PATCH", "/organization/member_update", Some(&boss), body)
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    let body = json!({"organization_id": "o", "user_id": user["user_id"]});
    admin
        .did("DELETE", "/organization/member_delete", body.clone())
        .await;
    let body = Body::from(body.to_string());
    let answer = admin
        .send("DELETE", "/organization/member_delete", Some(MASTER), body)
        .await;
    assert_eq!(answer.status, 404);
    let member = json!({"role": "proxy_admin", "user_id": "x"});
    let body = json!({"organization_id": "o", "member": member});
    assert_eq!(
        admin.post("/organization/member_add", body).await.status,
        422
    );
}

#[tokio::test]
async fn its_admin_rules_inside_and_nowhere_else() {
    let (admin, boss) = with_organization().await;
    let made = admin
        .post_as(
            &boss,
            "/team/new",
            json!({"team_id": "t", "organization_id": "o",
        "models": ["gpt-4o"], "max_budget": 10}),
        )
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    for body in [
        json!({"team_id": "free"}),
        json!({"team_id": "over", "organization_id": "o", "max_budget": 101}),
        json!({"team_id": "other", "organization_id": "o", "models": ["claude"]}),
        json!({"team_id": "guards", "organization_id": "o", "guardrails": []}),
        json!({"team_id": "guards", "organization_id": "o", "allowed_regions": []}),
    ] {
        let (status, text) = admin.refuses(&boss, "/team/new", body).await;
        assert!(matches!(status, 400 | 403), "{status} {text}");
    }
    let body = json!({"user_id": "new", "organizations": ["o"]});
    let made = admin.post_as(&boss, "/user/new", body).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let made = made.json();
    assert_eq!(made["models"], json!(["no-default-models"]));
    assert_eq!(made["max_budget"], 100.0, "its organization's");
    for body in [
        json!({"user_id": "x"}),
        json!({"user_id": "x", "organizations": []}),
        json!({"user_id": "x", "organizations": ["o"], "user_role": "proxy_admin"}),
        json!({"user_id": "x", "organizations": ["o"], "models": ["claude"]}),
        json!({"user_id": "x", "organizations": ["o"], "max_budget": 101}),
    ] {
        let (status, text) = admin.refuses(&boss, "/user/new", body).await;
        assert_eq!(status, 403, "{text}");
    }
    let key = json!({"team_id": "t"});
    let made = admin.post_as(&boss, "/key/generate", key).await;
    assert_eq!(made.status, 200, "it leads what it made: {}", made.text);
    let key = json!({"team_id": "t"});
    let made = admin
        .post_as(&boss, "/key/service-account/generate", key)
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    let out = json!({"team_id": "t", "organization_id": null});
    assert_eq!(admin.refuses(&boss, "/team/update", out).await.0, 403);
    let list = admin.get_as(&boss, "/organization/list").await.json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let users = admin.get_as(&boss, "/user/list").await.json();
    assert_eq!(users["total"], 2, "{users}");
    let gone = json!({"team_ids": ["t"]});
    assert_eq!(admin.post_as(&boss, "/team/delete", gone).await.status, 200);
    let info = admin
        .get_as(&boss, "/organization/info?organization_id=x")
        .await;
    assert_eq!(info.status, 403);
}
