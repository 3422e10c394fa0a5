//! Every row of the table of routes for every role: who is let in is written down here.

use meridian_core::routes::{Access, ROWS, Route, Target};

use super::*;

/// Roles, in the order of the columns.
const ROLES: [&str; 8] = [
    "nobody",
    "stranger",
    "viewer",
    "member",
    "team_admin",
    "org_admin",
    "admin_viewer",
    "admin",
];

/// A key of each role, over one organization with one team.
async fn callers(admin: &Admin) -> Vec<Option<String>> {
    let body = json!({"organization_id": "org", "organization_alias": "acme"});
    admin.done("/organization/new", body).await;
    let role = |role: &str, id: &str| json!({"user_id": id, "user_role": role});
    let viewer = admin.user(role("internal_user_viewer", "viewer")).await;
    let member = admin.user(role("internal_user", "member")).await;
    let leader = admin.user(role("internal_user", "leader")).await;
    let boss = admin.user(role("internal_user", "boss")).await;
    let watcher = admin.user(role("proxy_admin_viewer", "watcher")).await;
    let root = admin.user(role("proxy_admin", "root")).await;
    let body = json!({"organization_id": "org", "member": {"role": "org_admin",
        "user_id": "boss"}});
    admin.done("/organization/member_add", body).await;
    let members = json!([{"role": "user", "user_id": "member"},
        {"role": "admin", "user_id": "leader"}]);
    let body = json!({"team_id": "team", "organization_id": "org", "members_with_roles": members});
    admin.done("/team/new", body).await;
    // Its user has no record.
    let stranger = admin.key(json!({"user_id": "stranger"})).await;
    let keys = [stranger, viewer, member, leader, boss, watcher, root];
    let keys = keys.into_iter().map(Some);
    std::iter::once(None).chain(keys).collect()
}

/// Which of the roles a route's access lets in at all. `1` is in.
fn door(access: Access) -> [u8; 8] {
    match access {
        Access::Public => [1, 1, 1, 1, 1, 1, 1, 1],
        Access::Inference => [0, 0, 0, 0, 0, 0, 0, 0],
        Access::AnyKey | Access::OwnKeyOrAdmin => [0, 1, 1, 1, 1, 1, 1, 1],
        Access::Delegated => [0, 0, 0, 1, 1, 1, 0, 1],
        Access::AdminViewer => [0, 0, 0, 0, 0, 0, 1, 1],
        Access::Admin => [0, 0, 0, 0, 0, 0, 0, 1],
        Access::MasterKey => [0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// A body that names the object of the route.
fn body(path: &str) -> Value {
    match path.starts_with("/organization/") {
        true => json!({"organization_id": "org"}),
        false => json!({"team_id": "team", "user_id": "member"}),
    }
}

#[tokio::test]
async fn every_route_opens_to_whom_this_table_says() {
    let admin = admin().await;
    let callers = callers(&admin).await;
    let mut tried = 0;
    for row in ROWS
        .iter()
        .filter(|row| matches!(row.target, Target::Own(_)))
    {
        // What changes everything is tried in the tests of its own.
        if matches!(row.target, Target::Own(Route::TeamDelete)) {
            continue;
        }
        for path in row.paths {
            let path = path
                .replace("{key}", "sk-nobody")
                .replace("{id}", "team")
                .replace("{model}", "gpt-4o");
            for (at, key) in callers.iter().enumerate() {
                let method = row.methods[0].as_str();
                let body = match method {
                    "GET" => Body::empty(),
                    _ => Body::from("{}"),
                };
                let answer = admin.send(method, &path, key.as_deref(), body).await;
                let shut = answer.status == 401 || answer.text.contains("MASTER KEY");
                let what = format!("{method} {path} as {}: {}", ROLES[at], answer.text);
                assert_eq!(!shut, door(row.access)[at] == 1, "{what}");
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "{tried}");
}

/// What the objects decide behind the door: one line per route, in the order of `ROLES`.
const INSIDE: &[(&str, &str, [u8; 8])] = &[
    ("POST", "/team/update", [0, 0, 0, 0, 1, 1, 0, 1]),
    ("POST", "/team/block", [0, 0, 0, 0, 0, 1, 0, 1]),
    ("POST", "/team/unblock", [0, 0, 0, 0, 0, 1, 0, 1]),
    ("POST", "/team/model/add", [0, 0, 0, 0, 0, 1, 0, 1]),
    ("POST", "/team/model/delete", [0, 0, 0, 0, 1, 1, 0, 1]),
    ("POST", "/team/permissions_update", [0, 0, 0, 0, 1, 1, 0, 1]),
    (
        "GET",
        "/team/permissions_list?team_id=team",
        [0, 0, 0, 1, 1, 1, 1, 1],
    ),
    ("GET", "/team/info?team_id=team", [0, 0, 0, 1, 1, 1, 1, 1]),
    ("GET", "/team/team/callback", [0, 0, 0, 1, 1, 1, 1, 1]),
    (
        "POST",
        "/team/team/disable_logging",
        [0, 0, 0, 0, 1, 1, 0, 1],
    ),
    ("POST", "/team/member_update", [0, 0, 0, 0, 1, 1, 0, 1]),
    (
        "GET",
        "/organization/info?organization_id=org",
        [0, 0, 0, 0, 0, 1, 1, 1],
    ),
    ("PATCH", "/organization/update", [0, 0, 0, 0, 0, 0, 0, 1]),
    ("GET", "/user/info?user_id=member", [0, 0, 0, 1, 0, 0, 1, 1]),
    (
        "GET",
        "/v2/user/info?user_id=member",
        [0, 0, 0, 1, 0, 0, 1, 1],
    ),
    ("POST", "/user/update", [0, 0, 0, 1, 0, 0, 0, 1]),
    ("GET", "/key/info?key=KEY", [0, 0, 0, 1, 0, 0, 1, 1]),
    ("GET", "/key/info?key=TEAMKEY", [0, 0, 0, 1, 1, 1, 1, 1]),
    ("POST", "/key/block", [0, 0, 0, 0, 1, 1, 0, 1]),
    ("POST", "/key/unblock", [0, 0, 0, 0, 1, 1, 0, 1]),
    ("POST", "/key/update", [0, 0, 0, 0, 1, 1, 0, 1]),
    ("GET", "/config/export", [0, 0, 0, 0, 0, 0, 0, 1]),
    (
        "GET",
        "/user/list?user_ids=member",
        [0, 1, 1, 1, 1, 1, 1, 1],
    ),
];

#[tokio::test]
async fn objects_are_open_to_whom_this_table_says() {
    let admin = admin().await;
    let callers = callers(&admin).await;
    let own = callers[3].clone().unwrap();
    let of_team = admin
        .key(json!({"team_id": "team", "user_id": "member"}))
        .await;
    for (method, path, expected) in INSIDE {
        for (at, key) in callers.iter().enumerate() {
            let path = path.replace("TEAMKEY", &of_team).replace("KEY", &own);
            let mut body = body(&path);
            if path.starts_with("/key/") {
                body = json!({"key": of_team, "key_alias": "named"});
            }
            let body = match *method {
                "GET" => Body::empty(),
                _ => Body::from(body.to_string()),
            };
            let answer = admin.send(method, &path, key.as_deref(), body).await;
            let what = format!("{method} {path} as {}: {}", ROLES[at], answer.text);
            assert_eq!(answer.status == 200, expected[at] == 1, "{what}");
        }
    }
}

#[tokio::test]
async fn allowed_routes_only_take_away() {
    let admin = admin().await;
    admin
        .done(
            "/user/new",
            json!({"user_id": "root", "user_role": "proxy_admin"}),
        )
        .await;
    let one = json!({"user_id": "root", "allowed_routes": ["/team/new"]});
    let one = admin.key(one).await;
    for row in ROWS {
        let Target::Own(route) = row.target else {
            continue;
        };
        let path = row.paths[0].replace("{key}", "k").replace("{id}", "i");
        let path = path.replace("{model}", "m");
        let method = row.methods[0].as_str();
        let answer = admin
            .send(method, &path, Some(&one), Body::from("{}"))
            .await;
        let open = row.access == Access::Public || route == Route::TeamNew;
        let refused = answer
            .text
            .contains("Virtual key is not allowed to call this route");
        assert_eq!(!refused, open, "{method} {path}: {}", answer.text);
    }
}
