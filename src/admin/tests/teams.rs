//! Teams: made, changed, listed, blocked, removed.

use super::*;

#[tokio::test]
async fn a_team_lives_from_its_making_to_its_removal_with_its_keys() {
    let admin = admin().await;
    let body = json!({"team_id": "t1", "team_alias": "search", "max_budget": 10.5,
        "budget_duration": "30d", "models": ["gpt-4o"], "tags": ["a"], "tpm_limit": "5",
        "members_with_roles": [{"role": "user", "user_id": "u1"}], "unknown": 1});
    let made = admin.done("/team/new", body.clone()).await;
    assert_eq!(made["team_id"], "t1");
    assert_eq!(made["max_budget"], 10.5);
    assert_eq!(made["tpm_limit"], 5);
    assert_eq!(made["spend"], 0.0);
    assert_eq!(made["metadata"], json!({"tags": ["a"]}));
    assert!(made["budget_reset_at"].is_string(), "{made}");
    assert!(made.get("unknown").is_none());
    let members = json!([{"role": "user", "user_id": "u1", "user_email": null},
        {"role": "admin", "user_id": "default_user_id", "user_email": null}]);
    assert_eq!(made["members_with_roles"], members, "the maker leads it");
    let text = admin.refused("/team/new", body, 400).await;
    let taken = "Team id = t1 already exists. Please use a different team id.";
    assert_eq!(text, format!("{{'error': '{taken}'}}"));
    let key = admin.key(json!({"team_id": "t1", "key_alias": "k"})).await;
    let info = admin.get("/team/info?team_id=t1").await.json();
    assert_eq!(info["team_info"]["team_alias"], "search");
    assert_eq!(info["keys"][0]["key_alias"], "k");
    assert!(info["keys"][0].get("token").is_none());
    let gone = admin
        .done("/team/delete", json!({"team_ids": ["t1"]}))
        .await;
    assert_eq!(gone, json!({"deleted_teams": ["t1"]}));
    assert_eq!(admin.get_as(&key, "/key/info").await.status, 401);
    assert!(admin.keys.is_empty());
    let missing = admin.get("/team/info?team_id=t1").await;
    assert_eq!(missing.status, 404);
    assert!(
        missing
            .message()
            .contains("Team not found, passed team id: t1.")
    );
    let user = admin.get("/user/info?user_id=u1").await.json();
    assert_eq!(user["user_info"]["teams"], json!([]));
    // The deleted key is listed, and says when it ended.
    let deleted = admin
        .get("/key/list?status=deleted&return_full_object=true")
        .await;
    assert!(
        deleted.json()["keys"][0]["deleted_at"].is_i64(),
        "{}",
        deleted.text
    );
}

#[tokio::test]
async fn an_update_leaves_what_it_does_not_name_and_null_clears() {
    let admin = admin().await;
    let body = json!({"team_id": "t", "max_budget": 1, "models": ["gpt-4o"], "team_alias": "a",
        "metadata": {"x": 1}, "budget_duration": "1d", "router_settings": {"num_retries": 1}});
    admin.done("/team/new", body).await;
    let body = json!({"team_id": "t", "team_alias": "b"});
    let data = admin.done("/team/update", body).await["data"].clone();
    assert_eq!(
        (&data["team_alias"], &data["max_budget"]),
        (&json!("b"), &json!(1.0))
    );
    assert_eq!(data["router_settings"], json!({"num_retries": 1}));
    let body = json!({"team_id": "t", "max_budget": null, "budget_duration": null, "models": null,
        "router_settings": null});
    let data = admin.done("/team/update", body).await["data"].clone();
    for name in [
        "max_budget",
        "budget_duration",
        "budget_reset_at",
        "router_settings",
    ] {
        assert_eq!(data[name], Value::Null, "{name}");
    }
    assert_eq!(data["models"], json!([]));
    let lines = admin.audit_lines().await;
    let same = json!({"team_id": "t", "team_alias": "b"});
    admin.done("/team/update", same).await;
    assert_eq!(
        admin.audit_lines().await,
        lines,
        "nothing changed, nothing is written"
    );
    let text = admin
        .refused("/team/update", json!({"team_id": "x"}), 404)
        .await;
    assert_eq!(text, "{'error': 'Team not found, passed team_id=x'}");
}

#[tokio::test]
async fn what_cannot_be_a_team_is_refused_by_name() {
    let admin = admin().await;
    for (body, name) in [
        (json!({"team_id": "a\u{1f}b"}), "team_id"),
        (json!({"team_id": "x".repeat(257)}), "team_id"),
        (json!({"tpm_limit": -1}), "tpm_limit"),
        (json!({"models": "gpt-4o"}), "models"),
        (json!({"blocked": "maybe"}), "blocked"),
        (json!({"model_rpm_limit": {"m": -1}}), "model_rpm_limit"),
        (
            json!({"members_with_roles": [{"role": "king", "user_id": "u"}]}),
            "members_with_roles",
        ),
        (
            json!({"members_with_roles": [{"role": "user"}]}),
            "members_with_roles",
        ),
    ] {
        let answer = admin.post("/team/new", body).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", name]));
    }
    let both = json!({"tpm_limit": -1, "rpm_limit": "x"});
    let answer = admin.post("/team/new", both).await;
    assert_eq!(answer.json()["detail"].as_array().unwrap().len(), 2);
    for (body, text) in [
        (
            json!({"max_budget": -1}),
            "max_budget must be a non-negative finite number",
        ),
        (
            json!({"budget_duration": "soon"}),
            "Unsupported duration unit",
        ),
        (json!({"allowed_regions": ["-"]}), "Invalid allowed_regions"),
        (
            json!({"team_member_permissions": ["/key/everything"]}),
            "/key/everything",
        ),
        (
            json!({"metadata": {"x": "y".repeat(1_100_000)}}),
            "A team may have",
        ),
    ] {
        let found = admin.refused("/team/new", body, 400).await;
        assert!(found.contains(text), "{found}");
    }
    let found = admin
        .refused("/team/new", json!({"organization_id": "nowhere"}), 404)
        .await;
    assert!(found.contains("Organization not found"), "{found}");
}

#[tokio::test]
async fn lists_hold_what_is_asked_for_and_seen() {
    let admin = admin().await;
    for (id, alias, user) in [
        ("a", "alpha", "u1"),
        ("b", "beta", "u1"),
        ("c", "gamma", "u2"),
    ] {
        let members = json!([{"role": "user", "user_id": user}]);
        let body = json!({"team_id": id, "team_alias": alias, "members_with_roles": members});
        admin.done("/team/new", body).await;
    }
    let names = |list: &Value| -> Vec<String> {
        let teams = list.as_array().unwrap().iter();
        teams
            .map(|team| team["team_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&admin.get("/team/list").await.json()),
        ["a", "b", "c"]
    );
    let of_user = admin.get("/team/list?user_id=u1").await.json();
    assert_eq!(names(&of_user), ["a", "b"]);
    assert!(of_user[0]["keys"].is_array() && of_user[0]["team_memberships"].is_array());
    let page = "/v2/team/list?page=1&page_size=2&sort_by=team_alias&sort_order=desc";
    let page = admin.get(page).await.json();
    assert_eq!(names(&page["teams"]), ["c", "b"]);
    assert_eq!(
        (&page["total"], &page["total_pages"]),
        (&json!(3), &json!(2))
    );
    let found = admin.get("/v2/team/list?team_alias=amm").await.json();
    assert_eq!(names(&found["teams"]), ["c"]);
    let wrong = admin.get("/v2/team/list?sort_by=secret").await;
    assert_eq!(wrong.status, 400);
    let key = admin.key(json!({"user_id": "u2"})).await;
    let own = admin.get_as(&key, "/team/list").await.json();
    assert_eq!(names(&own), ["c"]);
    let own = admin.get_as(&key, "/v2/team/list").await.json();
    assert_eq!(names(&own["teams"]), ["c"]);
    assert_eq!(
        admin.get_as(&key, "/team/list?user_id=u1").await.status,
        401
    );
    assert_eq!(admin.get_as(&key, "/team/info?team_id=a").await.status, 403);
    let lone = admin.key(json!({})).await;
    assert_eq!(admin.get_as(&lone, "/team/list").await.json(), json!([]));
}

#[tokio::test]
async fn blocking_models_and_permissions() {
    let admin = admin().await;
    admin
        .done("/team/new", json!({"team_id": "t", "models": ["a"]}))
        .await;
    let row = admin.done("/team/block", json!({"team_id": "t"})).await;
    assert_eq!(row["blocked"], true);
    let row = admin.done("/team/unblock", json!({"team_id": "t"})).await;
    assert_eq!(row["blocked"], false);
    let more = json!({"team_id": "t", "models": ["b", "a"]});
    let row = admin.done("/team/model/add", more.clone()).await;
    assert_eq!(row["models"], json!(["a", "b"]));
    let row = admin.done("/team/model/delete", more).await;
    // An empty list would allow every model.
    assert_eq!(row["models"], json!(["no-default-models"]));
    let shown = admin.get("/team/permissions_list?team_id=t").await.json();
    let always = json!(["/key/info", "/key/health"]);
    assert_eq!(shown["team_member_permissions"], always);
    let body = json!({"team_id": "t", "team_member_permissions": ["/key/generate"]});
    let row = admin.done("/team/permissions_update", body).await;
    assert_eq!(row["team_member_permissions"], json!(["/key/generate"]));
    assert_eq!(admin.get("/team/available").await.json(), json!([]));
}

#[tokio::test]
async fn many_changes_at_once_lose_none() {
    let admin = admin().await;
    admin.done("/team/new", json!({"team_id": "t"})).await;
    let add = |user: &str| {
        let member = json!({"role": "user", "user_id": user});
        admin.done(
            "/team/member_add",
            json!({"team_id": "t", "member": member}),
        )
    };
    let limit = admin.done("/team/update", json!({"team_id": "t", "rpm_limit": 7}));
    tokio::join!(add("u1"), add("u2"), add("u3"), limit);
    let info = admin.get("/team/info?team_id=t").await.json();
    let team = &info["team_info"];
    assert_eq!(team["members_with_roles"].as_array().unwrap().len(), 4);
    assert_eq!(team["rpm_limit"], 7);
}
