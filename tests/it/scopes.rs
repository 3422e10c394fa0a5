//! What management wrote about teams, users, members, organizations, customers and tags holds on
//! requests. The records are written into the store of a gateway that is stopped meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use meridian::store::{RecordWrite, SpendBatch, Store};
use meridian_core::ids::{CallId, KeyHash};
use meridian_core::journal::Position;
use meridian_core::key::KeyRecord;
use meridian_core::money::NanoUsd;
use meridian_core::record::{
    Body, Bounds, Budget, Customer, Organization, Record, Tag, Team, TeamMember, User,
};
use meridian_core::scope::Scope;
use meridian_core::spend::SpendRecord;
use meridian_core::time::WallMs;
use meridian_testkit::deadline::{SOON, eventually, insist};
use meridian_testkit::gateway::Gateway;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Conn, Request, Response};
use serde_json::{Value, json};

use crate::world::{Api, World, gateway, meta};

/// A record of this kind, made now.
fn record<B: Body>(id: &str, body: &B) -> RecordWrite {
    RecordWrite::create(Record::new(id.to_owned(), body, WallMs(1)))
}

/// Writes records behind a stopped gateway's back and starts it again.
async fn write(gateway: &mut Gateway, records: Vec<RecordWrite>) {
    gateway.stop(SOON).await;
    let store = Store::open_embedded(&gateway.data_dir()).await.unwrap();
    store.write_records(records, None).await.unwrap();
    drop(store);
    gateway.start().await;
}

/// A key as versions before this one made them: nobody asked then whether its team has a record.
async fn old_key(gateway: &mut Gateway, fields: &Value) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let clear = format!("sk-old-{}", MADE.fetch_add(1, Ordering::Relaxed));
    let mut record = json!({"token": KeyHash::of_secret(&clear), "key_name": "sk-...old"});
    let fields = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    let key: KeyRecord = serde_json::from_value(record).unwrap();
    write(gateway, vec![RecordWrite::create(key.to_record())]).await;
    clear
}

fn dollars(amount: f64) -> Bounds {
    Bounds {
        max_budget: NanoUsd::from_dollars(amount),
        ..Bounds::default()
    }
}

fn body(model: &str) -> Value {
    let messages = json!([{"role": "user", "content": "hello"}]);
    json!({"model": model, "max_tokens": 16, "messages": messages})
}

async fn ask(gateway: &Gateway, key: &str, body: &Value) -> Response {
    let request = Request::post("/v1/chat/completions", body);
    gateway.send(&request.bearer(key)).await
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    ask(gateway, key, &body("fake-x")).await.status()
}

/// Message of a refusal with this status.
async fn refused(gateway: &Gateway, key: &str, body: &Value, status: u16) -> String {
    let answer = ask(gateway, key, body).await;
    assert_eq!(answer.status(), status, "{}", answer.text());
    answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// More than nothing, less than any request costs.
const DUST: f64 = 0.000_000_001;

/// Scopes with a budget that one request uses up, and one team without.
fn scopes_with_dust() -> Vec<RecordWrite> {
    let team = |bounds| Team {
        bounds,
        ..Team::default()
    };
    let inner = Team {
        organization_id: Some("o".into()),
        ..Team::default()
    };
    let user = User {
        bounds: dollars(DUST),
        ..User::default()
    };
    let in_team = TeamMember {
        team_id: "open".into(),
        user_id: "m".into(),
        bounds: dollars(DUST),
        ..TeamMember::default()
    };
    let organization = Organization {
        budget_id: Some("b".into()),
        ..Organization::default()
    };
    let budget = Budget {
        bounds: dollars(DUST),
        ..Budget::default()
    };
    let customer = Customer {
        budget_id: Some("b".into()),
        ..Customer::default()
    };
    let tag = Tag {
        bounds: dollars(DUST),
        ..Tag::default()
    };
    vec![
        record("t", &team(dollars(DUST))),
        record("open", &team(Bounds::default())),
        record("inside", &inner),
        record("u", &user),
        record(&Scope::team_member("open", "m").id, &in_team),
        record("o", &organization),
        record("b", &budget),
        record("c", &customer),
        record("slow", &tag),
    ]
}

/// A customer's and a tag's budget refuse the second request that names them.
async fn named_by_the_request(gateway: &Gateway, plain: &str) {
    for (field, value, name) in [
        (
            "user",
            json!("c"),
            "ExceededBudget: End User=c over budget.",
        ),
        (
            "tags",
            json!(["slow"]),
            "Budget has been exceeded! Tag=slow",
        ),
    ] {
        let mut body = body("fake-x");
        body[field] = value;
        assert_eq!(ask(gateway, plain, &body).await.status(), 200);
        let text = refused(gateway, plain, &body, 429).await;
        assert!(text.starts_with(name), "{text}");
    }
}

#[tokio::test]
async fn the_budget_of_each_scope_refuses_its_second_request_and_names_it() {
    let World {
        provider: _provider,
        mut gateway,
    } = World::new("").await;
    let first = old_key(&mut gateway, &json!({"team_id": "t"})).await;
    let second = old_key(&mut gateway, &json!({"team_id": "t"})).await;
    let personal = old_key(&mut gateway, &json!({"user_id": "u"})).await;
    let of_team = old_key(&mut gateway, &json!({"user_id": "u", "team_id": "open"})).await;
    let member = old_key(&mut gateway, &json!({"user_id": "m", "team_id": "open"})).await;
    let mate = old_key(&mut gateway, &json!({"user_id": "n", "team_id": "open"})).await;
    let inside = old_key(&mut gateway, &json!({"team_id": "inside"})).await;
    let plain = old_key(&mut gateway, &json!({})).await;
    write(&mut gateway, scopes_with_dust()).await;

    assert_eq!(status(&gateway, &first).await, 200);
    let text = refused(&gateway, &second, &body("fake-x"), 429).await;
    assert!(
        text.starts_with("Budget has been exceeded! Team=t Current cost: "),
        "{text}"
    );

    assert_eq!(status(&gateway, &personal).await, 200);
    let text = refused(&gateway, &personal, &body("fake-x"), 429).await;
    assert!(
        text.starts_with("ExceededBudget: User=u over budget. Spend="),
        "{text}"
    );
    assert_eq!(
        status(&gateway, &of_team).await,
        200,
        "a team's key is the team's business"
    );

    assert_eq!(status(&gateway, &member).await, 200);
    let text = refused(&gateway, &member, &body("fake-x"), 429).await;
    assert!(
        text.starts_with("Budget has been exceeded! User=m in Team=open"),
        "{text}"
    );
    assert_eq!(status(&gateway, &mate).await, 200);

    assert_eq!(status(&gateway, &inside).await, 200);
    let text = refused(&gateway, &inside, &body("fake-x"), 429).await;
    assert!(
        text.starts_with("Budget has been exceeded! Organization=o"),
        "{text}"
    );

    named_by_the_request(&gateway, &plain).await;
    assert_eq!(status(&gateway, &plain).await, 200);

    // What was spent before a restart counts on, for every scope.
    write(&mut gateway, Vec::new()).await;
    for key in [&second, &personal, &member, &inside] {
        assert_eq!(status(&gateway, key).await, 429);
    }
}

/// A request that cost a dollar, `days` ago, of a key that may belong to a member of a team.
fn spent(number: u128, key: &str, member: Option<(&str, &str)>, days: i64) -> SpendRecord {
    let at = meridian::clock::now().plus_ms(-days * 86_400_000);
    let (team, user) = member.unzip();
    let id = (u128::from(at.0.unsigned_abs()) << 80) | number;
    let record = json!({
        "call_id": CallId::from_bytes(id.to_be_bytes()), "endpoint": "chat_completions",
        "model_group": "fake-x", "started": at, "ended": at, "usage": {}, "cost": 1_000_000_000,
        "end_reason": "complete", "status": 200,
        "payer": {"key": KeyHash::of_secret(key), "team_id": team, "user_id": user},
    });
    serde_json::from_value(record).unwrap()
}

#[tokio::test]
async fn what_a_key_or_a_member_spent_under_another_records_budget_ends_with_its_period() {
    let World {
        provider: _provider,
        mut gateway,
    } = World::new("").await;
    let monthly = Budget {
        bounds: Bounds {
            budget_duration: Some("30d".to_owned()),
            ..dollars(0.5)
        },
        ..Budget::default()
    };
    let team = Team {
        team_member_budget_id: Some("b".to_owned()),
        ..Team::default()
    };
    write(
        &mut gateway,
        vec![record("b", &monthly), record("t", &team)],
    )
    .await;
    let linked = json!({"extra": {"budget_id": "b"}});
    let member = |user: &str| json!({"team_id": "t", "user_id": user});
    let (old_link, new_link) = (
        old_key(&mut gateway, &linked).await,
        old_key(&mut gateway, &linked).await,
    );
    let (old_member, new_member) = (
        old_key(&mut gateway, &member("past")).await,
        old_key(&mut gateway, &member("now")).await,
    );
    gateway.stop(SOON).await;
    let store = Store::open_embedded(&gateway.data_dir()).await.unwrap();
    let records = vec![
        spent(1, &old_link, None, 70),
        spent(2, &new_link, None, 0),
        spent(3, &old_member, Some(("t", "past")), 70),
        spent(4, &new_member, Some(("t", "now")), 0),
    ];
    let batch = SpendBatch {
        writer: "test".to_owned(),
        from: Position::default(),
        next: Position {
            offset: 1,
            ..Position::default()
        },
        records,
        keeps_logs: true,
    };
    assert_eq!(store.apply_spend(batch).await.unwrap(), 4);
    drop(store);
    // A second start finds what the first one wrote.
    for _ in 0..2 {
        gateway.start().await;
        for key in [&old_link, &old_member] {
            assert_eq!(status(&gateway, key).await, 200, "of an earlier period");
        }
        for key in [&new_link, &new_member] {
            assert_eq!(status(&gateway, key).await, 429, "of this period");
        }
        gateway.stop(SOON).await;
    }
}

/// Blocked, deleted and restricted scopes.
fn scopes_that_forbid() -> Vec<RecordWrite> {
    let list = |name: &str| vec![name.to_owned()];
    let team = Team {
        organization_id: Some("o".into()),
        model_aliases: [("nick".to_owned(), "fake-x".to_owned())].into(),
        ..Team::default()
    };
    let organization = Organization {
        models: list("fake-x"),
        ..Organization::default()
    };
    let only_teams = User {
        models: list("no-default-models"),
        ..User::default()
    };
    let shut = Team {
        blocked: true,
        ..Team::default()
    };
    let mut deleted = record("gone", &Team::default());
    deleted.record.deleted = true;
    let customer = Customer {
        blocked: true,
        ..Customer::default()
    };
    let with_default = Customer {
        default_model: Some("fake-x".into()),
        ..Customer::default()
    };
    vec![
        record("blocked", &shut),
        deleted,
        record("listed", &team),
        record("o", &organization),
        record("teams only", &only_teams),
        record("bad", &customer),
        record("lazy", &with_default),
    ]
}

#[tokio::test]
async fn blocked_and_deleted_scopes_and_their_models_bind_their_keys() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let blocked = old_key(&mut gateway, &json!({"team_id": "blocked"})).await;
    let gone = old_key(&mut gateway, &json!({"team_id": "gone"})).await;
    let free_text = old_key(&mut gateway, &json!({"team_id": "nobody wrote this one"})).await;
    let listed = old_key(&mut gateway, &json!({"team_id": "listed"})).await;
    let user = old_key(&mut gateway, &json!({"user_id": "teams only"})).await;
    let plain = old_key(&mut gateway, &json!({})).await;
    write(&mut gateway, scopes_that_forbid()).await;

    let text = refused(&gateway, &blocked, &body("fake-x"), 401).await;
    assert_eq!(
        text,
        "Authentication Error, Team=blocked is blocked. Update via `/team/unblock` if you're an \
         admin."
    );
    let text = refused(&gateway, &gone, &body("fake-x"), 401).await;
    assert!(text.contains("Team=gone does not exist any more"), "{text}");
    assert_eq!(status(&gateway, &free_text).await, 200);

    let text = refused(&gateway, &listed, &body("fake-y"), 403).await;
    assert!(
        text.starts_with("org not allowed to access model."),
        "{text}"
    );
    assert_eq!(ask(&gateway, &listed, &body("nick")).await.status(), 200);
    let models = Request::get("/v1/models").bearer(&listed);
    let models = gateway.send(&models).await.json();
    assert!(
        models["data"].as_array().unwrap().is_empty(),
        "patterns only: {models}"
    );

    let text = refused(&gateway, &user, &body("fake-x"), 403).await;
    assert!(
        text.starts_with("User not allowed to access model. No default model"),
        "{text}"
    );

    let mut request = body("fake-x");
    request["user"] = json!("bad");
    let text = refused(&gateway, &plain, &request, 401).await;
    assert!(text.contains("End User=bad is blocked"), "{text}");
    request.as_object_mut().unwrap().remove("model");
    request["user"] = json!("lazy");
    let answer = ask(&gateway, &plain, &request).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    request["user"] = json!("unknown");
    assert_eq!(ask(&gateway, &plain, &request).await.status(), 400);
}

#[tokio::test]
async fn limits_of_a_team_are_shared_and_given_back_when_clients_leave() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let first = old_key(&mut gateway, &json!({"team_id": "t"})).await;
    let second = old_key(&mut gateway, &json!({"team_id": "t"})).await;
    let team = Team {
        bounds: Bounds {
            max_parallel_requests: Some(1),
            ..Bounds::default()
        },
        metadata: json!({"model_rpm_limit": {"fake-once": 1}})
            .as_object()
            .unwrap()
            .clone(),
        ..Team::default()
    };
    write(&mut gateway, vec![record("t", &team)]).await;
    for _ in 0..3 {
        let mut slow = body("fake-m+tokens=400+chunk_ms=50");
        slow["stream"] = json!(true);
        let request = Request::post("/v1/chat/completions", &slow).bearer(&first);
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(&request.bytes()).await.unwrap();
        assert_eq!(conn.head().await.unwrap().status, 200);
        let text = refused(&gateway, &second, &body("fake-x"), 429).await;
        let full = "Rate limit exceeded for team: t. Limit type: max_parallel_requests.";
        assert!(text.starts_with(full), "{text}");
        drop(conn);
        insist(SOON, async || match status(&gateway, &second).await {
            200 => Ok(()),
            status => Err(format!("the permit is not back: {status}")),
        })
        .await;
    }
    let once = body("fake-once");
    assert_eq!(ask(&gateway, &first, &once).await.status(), 200);
    let text = refused(&gateway, &second, &once, 429).await;
    assert!(
        text.starts_with("Rate limit exceeded for model_per_team: t:fake-once."),
        "{text}"
    );
}

#[tokio::test]
async fn a_role_is_that_of_the_user_and_never_of_the_key() {
    let provider = Provider::start();
    let mut gateway = gateway(&provider).await;
    let made = [
        ("proxy_admin", 200, 200),
        ("proxy_admin_viewer", 200, 401),
        // It may make keys of its own.
        ("internal_user", 401, 200),
        ("nonsense", 401, 401),
    ];
    let mut keys = Vec::new();
    let mut records = Vec::new();
    for (role, view, change) in made {
        let fields = json!({"user_id": role, "metadata": {"user_role": "proxy_admin"}});
        keys.push((old_key(&mut gateway, &fields).await, view, change));
        let user = User {
            user_role: Some(role.to_owned()),
            ..User::default()
        };
        records.push(record(role, &user));
    }
    for (key, ..) in &keys {
        let request = Request::get("/global/spend").bearer(key);
        assert_eq!(
            gateway.send(&request).await.status(),
            401,
            "no record, no role"
        );
    }
    write(&mut gateway, records).await;
    for (key, view, change) in keys {
        let request = Request::get("/global/spend").bearer(&key);
        assert_eq!(gateway.send(&request).await.status(), view);
        let request = Request::post("/key/generate", &json!({})).bearer(&key);
        assert_eq!(gateway.send(&request).await.status(), change);
    }
}

#[tokio::test]
async fn a_stream_of_a_key_that_is_blocked_is_cut_and_billed() {
    let world = World::new("").await;
    for api in Api::STREAMING {
        let marker = format!("revoked{api:?}");
        let key = world.gateway.key(&json!({})).await;
        let request = api.ask_as(&key, "+tokens=4000+chunk_ms=20", &marker, true);
        let (answer, blocked) = tokio::join!(world.send(&request), async {
            let sent = || world.provider.attempts(&marker).pop();
            eventually(SOON, "the request to be sent", sent).await;
            world
                .gateway
                .admin("POST", "/key/block", &json!({"key": key}))
                .await
        });
        assert_eq!((answer.status(), blocked.status()), (200, 200));
        let text = answer.text();
        assert!(
            text.contains("The key was blocked or deleted"),
            "{api:?}: {text}"
        );
        let row = world.row(&marker).await;
        assert_eq!(meta(&row, "end_reason"), "revoked", "{row:#}");
        assert!(world.provider.attempts(&marker)[0].cancelled());
    }
}
