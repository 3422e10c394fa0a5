//! Export and import: what goes out comes in, once.

use super::*;

async fn filled() -> (Admin, String) {
    let admin = admin().await;
    let body = json!({"organization_alias": "acme", "max_budget": 7, "budget_duration": "1d"});
    admin.did("PUT", "/organization/o", body).await;
    let body = json!({"team_id": "t", "organization_id": "o", "team_member_budget": 1,
        "members_with_roles": [{"role": "user", "user_id": "u"}]});
    admin.done("/team/new", body).await;
    admin
        .done("/customer/new", json!({"user_id": "c", "max_budget": 1}))
        .await;
    admin.done("/tag/new", json!({"name": "x"})).await;
    let key = admin
        .key(json!({"team_id": "t", "user_id": "u", "key_alias": "k"}))
        .await;
    let new = admin
        .done("/key/regenerate", json!({"key": key, "grace_period": "1h"}))
        .await;
    (admin, new["key"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_exported_is_imported_and_exported_again_the_same() {
    let (one, key) = filled().await;
    let document = one.get("/config/export").await.json();
    assert!(!document.to_string().contains(&key), "no clear key");
    let two = admin().await;
    let told = two.done("/config/import", document.clone()).await;
    assert_eq!(told["written"], told["records"]);
    assert_eq!(two.get("/config/export").await.json(), document);
    let info = two.get_as(&key, "/key/info").await;
    assert_eq!(info.json()["info"]["key_alias"], "k", "{}", info.text);
    let scope =
        meridian_core::scope::Scope::new(meridian_core::scope::ScopeKind::Organization, "o");
    let spends = two.store.scope_spends(vec![scope]).await.unwrap();
    assert!(
        spends[0].period_end.is_some(),
        "the budget's period is the organization's"
    );
    for admin in [&one, &two] {
        let lines = admin.audit_lines().await;
        let told = admin.done("/config/import", document.clone()).await;
        assert_eq!(
            (&told["written"], &told["unchanged"]),
            (&json!(0), &told["records"])
        );
        assert_eq!(admin.audit_lines().await, lines);
    }
}

#[tokio::test]
async fn one_fault_keeps_everything_out() {
    let (one, _) = filled().await;
    let document = one.get("/config/export").await.json();
    let two = admin().await;
    let spoil: [(&str, Value); 6] = [
        ("kind", json!("dragon")),
        ("id", json!("a\u{1f}b")),
        ("body", json!(3)),
        ("body", json!({"max_budget": "much"})),
        ("body", json!({"budget_reset_at": "soon"})),
        ("id", Value::Null),
    ];
    for (name, value) in spoil {
        let mut bad = document.clone();
        bad["records"][0][name] = value.clone();
        let answer = two.post("/config/import", bad).await;
        assert_eq!(answer.status, 422, "{name} {value}: {}", answer.text);
        let place = answer.json()["detail"][0]["loc"].clone();
        assert_eq!(place, json!(["body", "records", "0"]));
        assert!(two.keys.is_empty());
        let left = two.get("/config/export").await.json();
        assert_eq!(left["records"], json!([]));
    }
    let mut twice = document.clone();
    let first = twice["records"][0].clone();
    twice["records"].as_array_mut().unwrap().push(first);
    assert_eq!(two.post("/config/import", twice).await.status, 422);
    assert_eq!(
        two.post("/config/import", json!({"records": []}))
            .await
            .status,
        400
    );
    let own = one.key(json!({"user_id": "u"})).await;
    assert_eq!(one.get_as(&own, "/config/export").await.status, 401);
    assert_eq!(
        one.post_as(&own, "/config/import", document).await.status,
        401
    );
}

/// A document with this many keys, in order.
fn many(count: usize) -> String {
    let key = |number: usize| {
        let id = KeyHash::of_secret(&format!("sk-{number}")).to_string();
        json!({"kind": "key", "id": id, "body": {
            "key_name": "sk-...xxxx", "key_alias": format!("key {number}"),
            "metadata": {"number": number}, "created_by": "somebody", "blocked": false,
        }})
    };
    let mut keys: Vec<Value> = (0..count).map(key).collect();
    keys.sort_by_key(|key| key["id"].to_string());
    json!({"format": "meridian-records", "version": 1, "records": keys}).to_string()
}

#[tokio::test]
async fn twenty_thousand_keys_go_in_and_come_out_the_same() {
    const COUNT: usize = 20_000;
    let admin = admin().await;
    let document = many(COUNT);
    for (written, unchanged) in [(COUNT, 0), (0, COUNT)] {
        let body = Body::from(document.clone());
        let told = admin
            .send("POST", "/config/import", Some(MASTER), body)
            .await;
        let wanted = json!({"records": COUNT, "written": written, "unchanged": unchanged});
        assert_eq!(told.json(), wanted, "{}", told.text);
    }
    let out = admin.get("/config/export").await;
    assert_eq!(
        out.json(),
        serde_json::from_str::<Value>(&document).unwrap()
    );
    assert_eq!(admin.keys.len(), COUNT);
    // In pieces it is the same.
    let (mut pieces, mut place) = (Vec::new(), String::new());
    loop {
        let piece = admin
            .get(&format!("/config/export?limit=7001{place}"))
            .await
            .json();
        pieces.extend(piece["records"].as_array().unwrap().clone());
        let next = &piece["next"];
        if next.is_null() {
            break;
        }
        let (kind, id) = (next["kind"].as_str().unwrap(), next["id"].as_str().unwrap());
        place = format!("&after_kind={kind}&after_id={id}");
    }
    assert_eq!(json!(pieces), out.json()["records"]);
}

#[tokio::test]
async fn a_document_that_is_no_document_is_refused_and_nothing_of_it_is_taken() {
    let admin = admin().await;
    let good = many(3);
    let mut broken: Vec<String> = [
        "",
        "[]",
        "{}",
        "null",
        "{\"records\": 3}",
        "{\"format\": \"meridian-records\", \"version\": 1}",
        "{\"format\": \"meridian-records\", \"version\": 2, \"records\": []}",
        "{\"format\": \"meridian-records\", \"version\": 1, \"records\": [1]}",
        "{\"format\": \"meridian-records\", \"version\": 1, \"records\": [{}{}]}",
    ]
    .map(str::to_owned)
    .into();
    broken.extend((1..good.len()).step_by(53).map(|at| good[..at].to_owned()));
    broken.push(format!("{good}x"));
    broken.push(good.replace("\"version\":1", "\"version\":7"));
    for text in broken {
        let body = Body::from(text.clone());
        let answer = admin
            .send("POST", "/config/import", Some(MASTER), body)
            .await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 422),
            "{text}: {}",
            answer.text
        );
        assert!(admin.keys.is_empty(), "{text}");
    }
    // White space, other members and their order do not matter.
    let spread = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&good).unwrap());
    let spread = spread
        .unwrap()
        .replacen('{', "{ \"note\": \"a ]} \\\" b\",", 1);
    let told = admin
        .send("POST", "/config/import", Some(MASTER), Body::from(spread))
        .await;
    assert_eq!(told.json()["written"], 3, "{}", told.text);
    let wrong = admin.get("/config/export?after_kind=dragon").await;
    assert_eq!(wrong.status, 400);
}
