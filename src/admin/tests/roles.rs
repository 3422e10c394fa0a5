//! Who may do what, over the whole table of routes.

use meridian_core::auth::{Principal, Reach, Role, authorize};
use meridian_core::record::{Record, User};
use meridian_core::routes::{Access, Method, ROWS, Target};

use super::*;

/// What each caller must get from a route with this access: let in or not.
fn expected(access: Access, caller: &str) -> bool {
    match access {
        Access::Public => true,
        Access::Inference => false,
        Access::AnyKey | Access::OwnKeyOrAdmin => caller != "nobody",
        // The key's user has no record: it changes nothing.
        Access::Delegated | Access::AdminViewer | Access::Admin | Access::MasterKey => {
            caller == "master"
        }
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_says() {
    let admin = admin().await;
    let user = admin.key(json!({"user_id": "u1"})).await;
    let callers = [
        ("nobody", None),
        ("key", Some(user.as_str())),
        ("master", Some(MASTER)),
    ];
    let mut routes = 0;
    for row in ROWS
        .iter()
        .filter(|row| matches!(row.target, Target::Own(_)))
    {
        for path in row.paths {
            let path = path
                .replace("{key}", "sk-nobody")
                .replace("{id}", "nobody")
                .replace("{model}", "gpt-4o");
            for &method in row.methods {
                for (caller, key) in callers {
                    let answer = admin.send(method.as_str(), &path, key, Body::empty()).await;
                    // A refusal of the caller, not of what was asked.
                    let refused = answer.status == 401;
                    let what = format!("{method:?} {path} as {caller}: {}", answer.text);
                    assert_eq!(!refused, expected(row.access, caller), "{what}");
                    assert_ne!(answer.text, r#"{"detail":"Not Found"}"#, "{what}");
                    routes += 1;
                }
            }
        }
    }
    assert!(routes > 100, "{routes}");
}

#[test]
fn roles_are_decided_by_the_table_alone() {
    let record = json!({
        "token": KeyHash::of_secret("sk-a"), "key_name": "sk-...sk-a", "user_id": "u",
    });
    let record: meridian_core::key::KeyRecord = serde_json::from_value(record).unwrap();
    let view = |role: Role| {
        let registry = Registry::new(TimeZone::UTC);
        let user = User {
            user_role: Some(role.as_str().to_owned()),
            ..User::default()
        };
        let records = [
            (Record::new("u".into(), &user, clock::now()), 1),
            (record.to_record(), 1),
        ];
        for (mut record, version) in records {
            record.version = version;
            registry.apply(&record, None, clock::now());
        }
        let key = registry.get(&KeyHash::of_secret("sk-a"), clock::now());
        Principal::Key(key.unwrap())
    };
    for row in ROWS {
        let path = row.paths[0]
            .replace("{key}", "k")
            .replace("{model}", "m")
            .replace("{id}", "i");
        let found = resolve(row.methods[0].as_str(), &path).unwrap();
        for role in Role::ALL {
            let admin = matches!(role, Role::ProxyAdmin | Role::ProxyAdminViewer);
            let allowed = match row.access {
                Access::MasterKey => false,
                Access::Admin => role == Role::ProxyAdmin,
                Access::Delegated => role.may_write(),
                Access::AdminViewer => admin,
                _ => true,
            };
            let decision = authorize(&view(role), &found);
            assert_eq!(decision.is_ok(), allowed, "{path} {role:?}");
            if let Ok(reach) = decision {
                assert_eq!(reach == Reach::Everything, admin, "{path} {role:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_call_of_a_key_changes_anything() {
    let admin = admin().await;
    let other = admin.key(json!({"user_id": "u2", "max_budget": 1})).await;
    // Metadata and allowed routes of a key never raise what it may.
    let bodies = [
        json!({"user_id": "u1"}),
        json!({"user_id": "u1", "key_type": "management"}),
        json!({"user_id": "default_user_id", "allowed_routes": ["/key/generate", "/*"]}),
        json!({"user_id": "u1", "metadata": {"user_role": "proxy_admin", "role": "proxy_admin"}}),
        json!({"team_id": "litellm-dashboard", "user_id": "default_user_id"}),
    ];
    for body in bodies {
        let key = admin.key(body.clone()).await;
        let before = (
            admin.info(&key).await,
            admin.info(&other).await,
            admin.keys.len(),
        );
        let raise = json!({
            "key": other, "keys": [{"key": other, "max_budget": 99}, other], "max_budget": 99,
            "user_role": "proxy_admin", "allowed_routes": [], "metadata": {"role": "proxy_admin"},
            "blocked": false, "spend": 0, "reset_to": 0, "new_key": "sk-new-of-caller",
        });
        for row in ROWS {
            if row.access == Access::Inference || !row.methods.contains(&Method::Post) {
                continue;
            }
            for path in row.paths {
                let path = path.replace("{key}", &other);
                let answer = admin.post_as(&key, &path, raise.clone()).await;
                // What no node has signed is not read.
                let unsigned = path == "/meridian/rights";
                let harmless =
                    unsigned || matches!(row.access, Access::AnyKey | Access::OwnKeyOrAdmin);
                assert!(
                    harmless || answer.status.is_client_error(),
                    "{path} {}",
                    answer.text
                );
                assert!(!answer.text.contains("sk-new-of-caller"), "{path}");
            }
        }
        let after = (
            admin.info(&key).await,
            admin.info(&other).await,
            admin.keys.len(),
        );
        assert_eq!(before, after, "{body}");
    }
}

#[tokio::test]
async fn a_key_sees_its_own_and_nothing_of_others() {
    let admin = admin().await;
    let mine = admin
        .key(json!({"user_id": "u1", "key_alias": "mine"}))
        .await;
    let sibling = admin
        .key(json!({"user_id": "u1", "key_alias": "sibling"}))
        .await;
    let other = admin
        .key(json!({"user_id": "u2", "key_alias": "other"}))
        .await;
    let lone = admin.key(json!({"key_alias": "lone"})).await;
    let own = admin.get_as(&mine, "/key/info").await;
    assert_eq!(own.json()["info"]["key_alias"], "mine");
    let info = |key: &str| format!("/key/info?key={key}");
    assert_eq!(admin.get_as(&mine, &info(&sibling)).await.status, 200);
    let refused = admin.get_as(&mine, &info(&other)).await;
    assert_eq!(refused.status, 403);
    let text = "You are not allowed to access this key's info. Your role=internal_user";
    assert_eq!(refused.message(), text);
    // A key that does not exist looks the same to those who may not see it.
    let unknown = admin.get_as(&mine, &info("sk-nobody")).await;
    assert_eq!(
        (unknown.status, unknown.text),
        (refused.status, refused.text)
    );
    // Two keys without a user are not each other's.
    let second = admin.key(json!({})).await;
    assert_eq!(admin.get_as(&lone, &info(&second)).await.status, 403);
    let list = admin
        .get_as(&mine, "/key/list?return_full_object=true")
        .await
        .json();
    assert_eq!(list["total_count"], 2);
    let aliases = admin.get_as(&mine, "/key/aliases").await.json();
    assert_eq!(aliases["aliases"], json!(["mine", "sibling"]));
    assert_eq!(
        admin.get_as(&mine, "/key/list?user_id=u2").await.status,
        403
    );
    assert_eq!(admin.get_as(&lone, "/key/list").await.status, 403);
    let both = json!({"keys": [mine, other]});
    let both = admin.post_as(&mine, "/v2/key/info", both).await.json();
    assert_eq!(both["info"].as_array().unwrap().len(), 1);
    for path in ["/spend/logs?user_id=u2", "/spend/logs/v2?user_id=u2"] {
        assert_eq!(admin.get_as(&mine, path).await.status, 403, "{path}");
    }
    assert_eq!(
        admin
            .get_as(&lone, &format!("/spend/logs?api_key={other}"))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn credentials_are_refused_in_litellms_words() {
    let admin = admin().await;
    let expired = admin.key(json!({})).await;
    let nobody = admin.send("GET", "/key/list", None, Body::empty()).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(
        nobody.message(),
        "Authentication Error, No api key passed in."
    );
    let mut record = admin
        .store
        .get_key(KeyHash::of_secret(&expired))
        .await
        .unwrap()
        .unwrap();
    record.expires = Some(clock::now().plus_ms(-1));
    let stored = admin.store.update_key(record, None).await.unwrap();
    admin.keys.apply(&stored.to_record(), None, clock::now());
    let late = admin.get_as(&expired, "/key/info").await;
    assert_eq!(late.status, 401);
    assert!(
        late.message()
            .starts_with("Authentication Error - Expired Key. Key Expiry time ")
    );
    let denied = admin.key(json!({"user_id": "us-canary-01"})).await;
    let denied = admin.post_as(&denied, "/key/generate", json!({})).await;
    assert_eq!(denied.status, 401);
    let text = "Authentication Error, Only proxy admin can be used to generate, delete, update \
                info for new keys/users/teams. Route=/key/generate. Your role=internal_user. Your \
                user_id=us****01";
    assert_eq!(denied.message(), text);
    let key = admin.key(json!({})).await;
    let master_only = admin.post_as(&key, "/global/spend/reset", json!({})).await;
    let text = "Authentication Error, Tried to access route=/global/spend/reset, which is only \
                for MASTER KEY";
    assert_eq!(master_only.message(), text);
    let narrow = admin.key(json!({"allowed_routes": ["/key/info"]})).await;
    let narrow = admin.get_as(&narrow, "/key/list").await;
    assert_eq!(narrow.status, 403);
    assert!(
        narrow
            .message()
            .starts_with("Virtual key is not allowed to call this route.")
    );
}
