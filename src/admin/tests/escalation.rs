//! Nobody becomes more than it is: seeded random calls of every role, and after each of them
//! nothing has more rights than its caller.

use std::collections::BTreeMap;

use meridian_core::auth::{Rights, exceeds};
use meridian_core::key::KeyRecord;
use meridian_core::record::{Budget, Record, RecordKind, Team, User};
use meridian_core::routes::{Access, Method, ROWS, Target};

use super::*;

/// A seeded sequence (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % end
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

type Records = BTreeMap<(RecordKind, String), Record>;

async fn snapshot(admin: &Admin) -> Records {
    let all = admin.store.records_after(None, 10_000).await.unwrap();
    let live = all.into_iter().filter(|stored| !stored.record.deleted);
    live.map(|stored| {
        (
            (stored.record.kind, stored.record.id.clone()),
            stored.record,
        )
    })
    .collect()
}

/// Somebody who calls, and what it calls with.
struct Attacker {
    name: &'static str,
    key: String,
}

/// An organization with a team, a foreign one, and keys of every role that is no administrator;
/// each has limits that it could want to be rid of.
async fn world(admin: &Admin) -> Vec<Attacker> {
    for id in ["org", "foreign"] {
        let body = json!({"organization_id": id, "organization_alias": id, "max_budget": 50,
            "models": ["gpt-4o"], "rpm_limit": 100});
        admin.done("/organization/new", body).await;
    }
    let limits = |user: &str| {
        json!({"user_id": user, "models": ["gpt-4o"], "max_budget": 5, "rpm_limit": 10,
            "duration": "1d", "allowed_regions": ["eu"], "tags": ["t"],
            "model_rpm_limit": {"gpt-4o": 3}})
    };
    let mut attackers = Vec::new();
    for (name, role) in [
        ("viewer", "internal_user_viewer"),
        ("user", "internal_user"),
        ("leader", "internal_user"),
        ("boss", "internal_user"),
    ] {
        let body = json!({"user_id": name, "user_role": role, "auto_create_key": false,
            "max_budget": 5, "models": ["gpt-4o"]});
        admin.done("/user/new", body).await;
        let key = admin.key(limits(name)).await;
        attackers.push(Attacker { name, key });
    }
    let member = json!({"role": "org_admin", "user_id": "boss"});
    let body = json!({"organization_id": "org", "member": member});
    admin.done("/organization/member_add", body).await;
    for (id, organization) in [("team", "org"), ("other", "foreign")] {
        let members = json!([{"role": "user", "user_id": "user"},
            {"role": "admin", "user_id": "leader"}]);
        let members = if id == "team" { members } else { json!([]) };
        let body = json!({"team_id": id, "organization_id": organization, "max_budget": 20,
            "models": ["gpt-4o"], "members_with_roles": members, "model_rpm_limit": {"gpt-4o": 9},
            "team_member_permissions": ["/key/generate", "/key/update", "/key/regenerate"]});
        admin.done("/team/new", body).await;
    }
    let in_team = json!({"user_id": "user", "team_id": "team"});
    let key = admin.key(in_team).await;
    attackers.push(Attacker {
        name: "team key",
        key,
    });
    let stranger = admin.key(limits("stranger")).await;
    let name = "stranger";
    attackers.push(Attacker {
        name,
        key: stranger,
    });
    attackers
}

/// Values that somebody could hope to get away with.
fn value(dice: &mut Dice, name: &str, keys: &[String]) -> Value {
    let ids = [
        "team", "other", "org", "foreign", "user", "leader", "boss", "new",
    ];
    match name {
        "key" => json!(dice.pick(keys)),
        "keys" => json!([dice.pick(keys)]),
        "team_id" | "user_id" | "organization_id" | "budget_id" | "id" | "name" => {
            match dice.below(6) {
                0 => Value::Null,
                1 => json!(format!("organization-budget-{}", dice.pick(&ids))),
                _ => json!(dice.pick(&ids)),
            }
        }
        "team_ids" | "user_ids" | "organization_ids" | "teams" | "organizations" => {
            json!([dice.pick(&ids)])
        }
        "models" | "allowed_models" | "default_team_member_models" => dice
            .pick(&[
                json!([]),
                json!(["*"]),
                json!(["claude"]),
                json!(["gpt-4o"]),
                json!(["all-team-models"]),
                json!(["no-default-models"]),
                Value::Null,
            ])
            .clone(),
        "allowed_routes" => dice
            .pick(&[
                json!([]),
                json!(["/*"]),
                json!(["/key/generate"]),
                Value::Null,
            ])
            .clone(),
        "allowed_regions" => dice
            .pick(&[json!([]), json!(["us"]), json!(["eu"])])
            .clone(),
        "aliases" | "model_aliases" => json!({"gpt-4o": "claude"}),
        "metadata" => dice
            .pick(&[
                json!({}),
                Value::Null,
                json!({"temp_budget_increase": 99, "temp_budget_expiry": "2099-01-01"}),
                json!({"user_role": "proxy_admin", "model_rpm_limit": {}}),
                json!({"disable_global_guardrails": true, "guardrails": []}),
            ])
            .clone(),
        "model_rpm_limit" => dice
            .pick(&[json!({}), json!({"gpt-4o": 99}), Value::Null])
            .clone(),
        "user_role" => json!(dice.pick(&["proxy_admin", "proxy_admin_viewer", "internal_user"])),
        "role" => json!(dice.pick(&["admin", "org_admin", "user"])),
        "member" | "members" | "members_with_roles" => {
            let role = *dice.pick(&["admin", "org_admin", "user"]);
            json!([{"role": role, "user_id": dice.pick(&ids)}])
        }
        "duration" | "budget_duration" => json!(dice.pick(&["-1", "99d", "1h"])),
        "blocked" => json!(false),
        "key_type" => json!(dice.pick(&["management", "default", "llm_api"])),
        "team_member_permissions" => json!(["/key/generate", "/key/delete"]),
        "update_fields" => json!({"max_budget": 999, "models": []}),
        "all_keys_in_team" => json!(true),
        "users" => json!([{"user_id": dice.pick(&ids), "max_budget": 999}]),
        _ => dice
            .pick(&[json!(0), json!(1), json!(999), Value::Null])
            .clone(),
    }
}

const NAMES: [&str; 44] = [
    "key",
    "keys",
    "team_id",
    "user_id",
    "organization_id",
    "budget_id",
    "id",
    "name",
    "team_ids",
    "user_ids",
    "organization_ids",
    "teams",
    "organizations",
    "models",
    "allowed_models",
    "allowed_routes",
    "allowed_regions",
    "aliases",
    "model_aliases",
    "metadata",
    "model_rpm_limit",
    "user_role",
    "role",
    "member",
    "members",
    "members_with_roles",
    "duration",
    "budget_duration",
    "blocked",
    "key_type",
    "team_member_permissions",
    "update_fields",
    "all_keys_in_team",
    "users",
    "max_budget",
    "tpm_limit",
    "rpm_limit",
    "spend",
    "max_budget_in_team",
    "team_member_budget",
    "soft_budget",
    "temp_budget_increase",
    "reset_to",
    "max_budget_in_organization",
];

fn body(dice: &mut Dice, keys: &[String]) -> Value {
    let mut object = Map::new();
    // What nearly every route asks for, so that calls get past the first check.
    for name in ["team_id", "user_id", "key", "organization_id"] {
        if dice.below(3) > 0 {
            object.insert(name.to_owned(), value(dice, name, keys));
        }
    }
    for name in ["keys", "member"] {
        object.insert(name.to_owned(), value(dice, name, keys));
    }
    for _ in 0..dice.below(3) {
        let name = *dice.pick(&NAMES);
        object.insert(name.to_owned(), value(dice, name, keys));
    }
    Value::Object(object)
}

/// Every call that could change something.
fn writes() -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    for row in ROWS {
        let writes = matches!(
            row.access,
            Access::Delegated | Access::Admin | Access::MasterKey | Access::OwnKeyOrAdmin
        );
        if !matches!(row.target, Target::Own(_)) || !writes {
            continue;
        }
        for method in row.methods.iter().filter(|method| **method != Method::Get) {
            let times = if row.access == Access::Delegated {
                6
            } else {
                1
            };
            for path in row.paths {
                all.extend(std::iter::repeat_n((method.as_str(), *path), times));
            }
        }
    }
    all
}

fn key_of(record: &Record) -> KeyRecord {
    KeyRecord::of_record(record).unwrap()
}

/// What must hold of one record that a call made or changed.
fn check(before: &Records, after: &Record, caller: &KeyRecord, what: &str) {
    let was = before.get(&(after.kind, after.id.clone()));
    match after.kind {
        RecordKind::Key => {
            let (new, own) = (key_of(after), Rights::of_key(caller));
            let rights = Rights::of_key(&new);
            let kept =
                was.is_some_and(|was| exceeds(&rights, &Rights::of_key(&key_of(was))).is_none());
            let within = exceeds(&rights, &own);
            assert!(kept || within.is_none(), "{within:?}: {what}");
            let raised = new.metadata.contains_key("temp_budget_increase");
            assert!(!raised && !new.extra.contains_key("permissions"), "{what}");
        }
        RecordKind::Team => {
            let team: Team = after.read().unwrap();
            let organization = team.organization_id.as_deref();
            let was: Option<Team> = was.map(|was| was.read().unwrap());
            let ceiling = match &was {
                Some(was) if organization != Some("org") => Rights::of_team(was),
                // Its organization's.
                _ => {
                    assert_eq!(organization, Some("org"), "{what}");
                    let budget =
                        before[&(RecordKind::Budget, "organization-budget-org".into())].clone();
                    let budget: Budget = budget.read().unwrap();
                    Rights::of_bounds(&["gpt-4o".to_owned()], &budget.bounds)
                }
            };
            let mut rights = Rights::of_team(&team);
            if rights.models.is_empty() {
                rights.models.clone_from(&ceiling.models);
            }
            rights.bounds = rights.bounds.or(&ceiling.bounds);
            rights.bounds.budget_duration = None;
            assert_eq!(exceeds(&rights, &ceiling), None, "{what}");
        }
        RecordKind::User => {
            let user: User = after.read().unwrap();
            let admin = user
                .user_role
                .as_deref()
                .is_some_and(|role| role.starts_with("proxy"));
            assert!(!admin, "{what}");
            let ceiling = match was {
                Some(was) => Rights::of_user(&was.read::<User>().unwrap()),
                None => Rights::of_bounds(&["gpt-4o".to_owned()], &Default::default()),
            };
            assert_eq!(exceeds(&Rights::of_user(&user), &ceiling), None, "{what}");
        }
        RecordKind::Budget => {
            let of_members = after.id.starts_with("team-member-budget-");
            assert!(of_members, "{what}");
        }
        RecordKind::TeamMember | RecordKind::RotatedKey | RecordKind::OrganizationMember => {}
        other => panic!("{other:?} was written: {what}"),
    }
}

/// Organizations and teams in which a user has the say.
fn says(records: &Records, user: &str) -> Vec<String> {
    let mut all = Vec::new();
    for record in records.values() {
        if record.kind == RecordKind::OrganizationMember
            && record.body["user_role"] == "org_admin"
            && record.body["user_id"] == user
        {
            all.push(record.body["organization_id"].as_str().unwrap().to_owned());
        }
        if record.kind == RecordKind::Team {
            let team: Team = record.read().unwrap();
            let mut members = team.members_with_roles.iter();
            let leads =
                members.any(|one| one.role == "admin" && one.user_id.as_deref() == Some(user));
            all.extend(leads.then(|| record.id.clone()));
        }
    }
    all
}

/// Calls of one world, until little is left of it.
const ROUNDS: usize = 60;
const WORLDS: u64 = 25;

#[tokio::test]
async fn no_call_makes_anything_with_more_rights_than_its_caller() {
    let writes = writes();
    let (mut done, mut refused) = (0, 0);
    for seed in 0..WORLDS {
        let admin = admin().await;
        let attackers = world(&admin).await;
        let mut dice = Dice(seed);
        for _ in 0..ROUNDS {
            match attack(&admin, &attackers, &writes, &mut dice).await {
                true => done += 1,
                false => refused += 1,
            }
        }
    }
    assert!(
        done > 60 && refused > 1_000,
        "both happen: {done} {refused}"
    );
}

/// One random call, and what must hold after it. Whether it was let through.
async fn attack(
    admin: &Admin,
    attackers: &[Attacker],
    writes: &[(&'static str, &'static str)],
    dice: &mut Dice,
) -> bool {
    let attacker = dice.pick(attackers);
    let hash = KeyHash::of_secret(&attacker.key);
    let before = snapshot(admin).await;
    let Some(caller) = before.get(&(RecordKind::Key, hash.to_string())) else {
        return false;
    };
    let caller = key_of(caller);
    let keys: Vec<String> = before
        .keys()
        .filter(|(kind, _)| *kind == RecordKind::Key)
        .map(|(_, id)| id.clone())
        .collect();
    let (method, path) = *dice.pick(writes);
    let key: &String = dice.pick(&keys);
    let id: &&str = dice.pick(&["team", "other", "org"]);
    let path = path.replace("{key}", key).replace("{id}", id);
    let mut body = body(dice, &keys);
    // Half of the calls are about what is the caller's own: those are let through.
    if dice.below(2) == 0 {
        body["user_id"] = json!(attacker.name);
        body["key"] = json!(hash);
    }
    if let (true, Value::Object(fields)) = (path.contains("/key"), &mut body) {
        fields.remove("organization_id");
        if dice.below(2) == 0 {
            fields.remove("team_id");
        }
    }
    let text = Body::from(body.to_string());
    let answer = admin.send(method, &path, Some(&attacker.key), text).await;
    let what = format!(
        "{method} {path} {body} as {}: {}",
        attacker.name, answer.text
    );
    assert!(!answer.status.is_server_error(), "{what}");
    let after = snapshot(admin).await;
    let new = after
        .iter()
        .filter(|(place, record)| before.get(*place) != Some(*record));
    for (_, record) in new {
        check(&before, record, &caller, &what);
    }
    if !matches!(attacker.name, "leader" | "boss") {
        let (was, is) = (says(&before, attacker.name), says(&after, attacker.name));
        assert_eq!(was, is, "{what}");
    }
    let foreign = |records: &Records| {
        let get = |kind, id: &str| records.get(&(kind, id.to_owned())).cloned();
        (
            get(RecordKind::Organization, "foreign"),
            get(RecordKind::Team, "other"),
        )
    };
    assert_eq!(foreign(&before), foreign(&after), "{what}");
    answer.status.is_success()
}
