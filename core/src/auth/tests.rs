//! Credentials in every carrier, every refusal's words, and every role on every route.

use serde_json::json;

use super::*;
use crate::access::ModelFacts;
use crate::ids::Secret;
use crate::key::KeyRecord;
use crate::meters::{Meters, Whose, Written};
use crate::party::{Party, Rights, View};
use crate::record::Bounds;
use crate::routes::{ROWS, Route, Target, resolve};
use crate::scope::{Scope, ScopeKind};
use jiff::tz::TimeZone;

const NOW: WallMs = WallMs(1_800_000_000_000);

fn read(headers: &[(&str, &str)]) -> Result<String, GatewayError> {
    read_with(None, headers)
}

fn read_with(custom: Option<&str>, headers: &[(&str, &str)]) -> Result<String, GatewayError> {
    let find = |name: &str| {
        let found = headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_bytes())
    };
    credential(custom, find).map(|credential| credential.reveal().to_owned())
}

fn record(fields: serde_json::Value) -> KeyRecord {
    let mut all =
        json!({"token": KeyHash::of_secret("sk-good-key-0001"), "key_name": "sk-...0001"});
    all.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn view(fields: serde_json::Value) -> Arc<KeyView> {
    let record = record(fields);
    let meters = Arc::new(Meters::of_key(&record, &TimeZone::UTC, NOW));
    Arc::new(KeyView::alone(&record, meters))
}

/// The scopes of a key whose user has this role.
fn user_with(role: Role) -> PartiesOfKey {
    let scope = Scope::new(ScopeKind::User, "user-001");
    let written = Written {
        bounds: &Bounds::default(),
        metadata: &serde_json::Map::new(),
    };
    let (whose, spent) = (Whose::Scope(scope.clone()), crate::money::NanoUsd::ZERO);
    let meters = Meters::new(whose, written, spent, &TimeZone::UTC, NOW);
    let user = Party::unknown(scope);
    let rights = Rights {
        role: Some(role),
        ..Rights::default()
    };
    user.set(Some(View {
        rights,
        meters: Arc::new(meters),
    }));
    PartiesOfKey {
        user: Some(Arc::new(user)),
        ..PartiesOfKey::default()
    }
}

fn enter(clear: &str, key: Option<Arc<KeyView>>) -> Result<Principal, GatewayError> {
    let master = Secret::new("sk-master-1234");
    let wanted = KeyHash::of_secret("sk-good-key-0001");
    let lookup = |hash: &KeyHash| key.filter(|_| *hash == wanted);
    authenticate(&Credential::new(clear), &master, NOW, lookup)
}

#[test]
fn every_carrier_gives_the_same_credential() {
    let key = "sk-good-key-0001";
    let bearer = format!("Bearer {key}");
    // base64 of the key, and of pk-lf-1:sk-good-key-0001
    let (bare, pair) = (
        "c2stZ29vZC1rZXktMDAwMQ==",
        "cGstbGYtMTpzay1nb29kLWtleS0wMDAx",
    );
    let aws = format!(
        "AWS4-HMAC-SHA256 Credential={bearer}/20260101/us-east-1/bedrock/aws4_request, \
         SignedHeaders=host, Signature=00"
    );
    let carriers = [
        ("authorization", bearer.clone()),
        ("Authorization", format!("bearer  {key} ")),
        ("authorization", format!("Basic {key}")),
        ("authorization", format!("Basic {bare}")),
        ("authorization", format!("Basic {pair}")),
        ("authorization", aws),
        ("x-litellm-api-key", key.to_owned()),
        ("x-litellm-api-key", bearer.clone()),
        ("api-key", key.to_owned()),
        ("x-api-key", key.to_owned()),
        ("x-goog-api-key", key.to_owned()),
        ("Ocp-Apim-Subscription-Key", key.to_owned()),
    ];
    for (name, value) in &carriers {
        assert_eq!(
            read(&[(name, value)]).as_deref(),
            Ok(key),
            "{name}: {value}"
        );
    }
    let custom = read_with(
        Some("X-Team-Key"),
        &[("x-team-key", &bearer), ("api-key", "sk-no")],
    );
    assert_eq!(custom.as_deref(), Ok(key));
    assert_eq!(read(&[("x-team-key", key)]), Err(GatewayError::NoKey));
}

#[test]
fn the_first_carrier_wins_in_litellms_order() {
    let order = [
        ("x-litellm-api-key", "sk-1"),
        ("authorization", "Bearer sk-2"),
        ("api-key", "sk-3"),
        ("x-api-key", "sk-4"),
        ("x-goog-api-key", "sk-5"),
        ("ocp-apim-subscription-key", "sk-6"),
    ];
    for first in 0..order.len() {
        let expected = format!("sk-{}", first + 1);
        let mut headers = order[first..].to_vec();
        headers.reverse();
        assert_eq!(read(&headers), Ok(expected));
    }
    // A blank header is none; a broken one is not passed over.
    assert_eq!(
        read(&[("authorization", " "), ("x-api-key", "sk-4")]).as_deref(),
        Ok("sk-4")
    );
    let broken = read(&[("authorization", "sk-2"), ("x-api-key", "sk-4")]);
    assert_eq!(broken, Err(GatewayError::MalformedKey));
}

#[test]
fn what_is_no_credential_is_refused_in_litellms_words() {
    let text = |result: Result<String, GatewayError>| {
        let reply = result.unwrap_err().reply();
        assert_eq!((reply.status, reply.kind.as_str()), (401, "auth_error"));
        assert_eq!(reply.param.as_deref(), Some("None"));
        reply.message
    };
    assert_eq!(
        text(read(&[])),
        "Authentication Error, No api key passed in."
    );
    let malformed = "Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` \
                     prefix.";
    let long = format!("Bearer {}", "a".repeat(CREDENTIAL_BYTES_MAX));
    for value in [
        "sk-1234",
        "Bearer",
        "Bearer ",
        "Digest x",
        "AWS4-HMAC-SHA256 x",
        &long,
    ] {
        assert_eq!(
            text(read(&[("authorization", value)])),
            malformed,
            "{value}"
        );
    }
    let bytes = credential(None, |name| (name == "api-key").then_some(&b"sk-\xff"[..]));
    assert_eq!(bytes.unwrap_err(), GatewayError::MalformedKey);
}

#[test]
fn who_a_credential_is() {
    assert!(matches!(
        enter("sk-master-1234", None),
        Ok(Principal::Master)
    ));
    let good = enter("sk-good-key-0001", Some(view(json!({})))).unwrap();
    assert_eq!(good.role(), Role::InternalUser);
    let message = |clear: &str, key: Option<Arc<KeyView>>| {
        let reply = enter(clear, key).unwrap_err().reply();
        assert_eq!(reply.status, 401);
        (reply.kind, reply.param.unwrap_or_default(), reply.message)
    };
    let (kind, param, text) = message("abcdefghijklmnopqrstuvwxyz", None);
    assert_eq!((kind.as_str(), param.as_str()), ("auth_error", "None"));
    let wanted = "Authentication Error, LiteLLM Virtual Key expected. Received=abcd****wxyz, \
                  expected to start with 'sk-'.";
    assert_eq!(text, wanted);
    let (kind, param, text) = message("sk-unknown-key-9999", None);
    assert_eq!(
        (kind.as_str(), param.as_str()),
        ("token_not_found_in_db", "key")
    );
    let hash = KeyHash::of_secret("sk-unknown-key-9999");
    assert!(text.contains(&format!(
        "Received API Key = sk-...9999, Key Hash (Token) ={hash}."
    )));
    let (_, _, text) = message("sk-good-key-0001", Some(view(json!({"blocked": true}))));
    assert!(text.starts_with("Authentication Error, Key is blocked."));
    let expired = view(json!({"expires": NOW.0 - 1}));
    let (kind, param, text) = message("sk-good-key-0001", Some(expired));
    assert_eq!(
        (kind.as_str(), param.as_str()),
        ("expired_key", "sk-...0001")
    );
    assert!(
        text.starts_with("Authentication Error - Expired Key. Key Expiry time "),
        "{text}"
    );
    assert!(enter("sk-good-key-0001", Some(view(json!({"expires": NOW.0})))).is_ok());
}

#[test]
fn an_empty_master_key_admits_nobody_and_refusals_show_no_secret() {
    let nobody = authenticate(&Credential::new(""), &Secret::new(""), NOW, |_| None);
    assert!(matches!(nobody, Err(GatewayError::NotAVirtualKey { .. })));
    assert_eq!(format!("{:?}", Credential::new("sk-canary")), "***");
    for secret in ["canary", "ünïcödé", "canary-15-chars", "sk-a", "sk-", ""] {
        let told = enter(secret, None).unwrap_err().to_string();
        assert!(secret.len() < 5 || !told.contains(secret), "{told}");
    }
    let long = "canary-0123456789-secret-0123456789";
    let told = enter(long, None).unwrap_err().to_string();
    assert!(told.contains("Received=cana****6789,") && !told.contains("secret"));
}

#[test]
fn every_role_on_every_route() {
    for row in ROWS {
        let path = row
            .canonical
            .replace("{key}", "k")
            .replace("{id}", "i")
            .replace("{model}", "m");
        let method = row.methods[0].as_str();
        // Two canonical names are shorter than any path; their first path stands in.
        let path = if resolve(method, &path).is_ok() {
            path
        } else {
            row.paths[0].to_owned()
        };
        let found = resolve(method, &path).unwrap();
        assert_eq!(found.target, row.target);
        assert_eq!(authorize(&Principal::Master, &found), Ok(Reach::Everything));
        for role in Role::ALL {
            let key = view(json!({}));
            let counters = Counters::Made(Arc::clone(key.meters()));
            let key = KeyView::new(key.policy.clone(), 1, user_with(role), counters);
            let key = Arc::new(key);
            let decision = authorize(&Principal::Key(key), &found);
            let admin = role == Role::ProxyAdmin;
            let sees_all = admin || role == Role::ProxyAdminViewer;
            let expected = match row.access {
                Access::Public | Access::Inference | Access::AnyKey | Access::OwnKeyOrAdmin => true,
                Access::Delegated => role.may_write(),
                Access::AdminViewer => sees_all,
                Access::Admin => admin,
                Access::MasterKey => false,
            };
            let reach = if sees_all {
                Reach::Everything
            } else {
                Reach::Own
            };
            assert_eq!(decision.is_ok(), expected, "{role:?} {path}");
            assert!(
                decision.is_err() || decision == Ok(reach),
                "{role:?} {path}"
            );
        }
    }
}

#[test]
fn refusals_of_routes_are_litellms() {
    let refuse = |fields: serde_json::Value, method: &str, path: &str| {
        let found = resolve(method, path).unwrap();
        let reply = authorize(&Principal::Key(view(fields)), &found)
            .unwrap_err()
            .reply();
        (reply.status, reply.kind, reply.message)
    };
    let (status, kind, text) = refuse(json!({"user_id": "user-001"}), "POST", "/budget/new");
    assert_eq!((status, kind.as_str()), (401, "auth_error"));
    let wanted = "Authentication Error, Only proxy admin can be used to generate, delete, update \
                  info for new keys/users/teams. Route=/budget/new. Your role=internal_user. \
                  Your user_id=us****01";
    assert_eq!(text, wanted);
    let (status, _, text) = refuse(json!({}), "POST", "/global/spend/reset");
    assert_eq!(status, 401);
    let wanted = "Authentication Error, Tried to access route=/global/spend/reset, which is only \
                  for MASTER KEY";
    assert_eq!(text, wanted);
    let only = json!({"allowed_routes": ["/v1/embeddings"]});
    let (status, kind, text) = refuse(only, "POST", "/v1/chat/completions");
    assert_eq!((status, kind.as_str()), (403, "auth_error"));
    let wanted = "Virtual key is not allowed to call this route. Only allowed to call routes: \
                  ['/v1/embeddings']. Tried to call route: /v1/chat/completions";
    assert_eq!(text, wanted);
}

/// `allowed_routes` and metadata only ever take away.
#[test]
fn nothing_that_a_key_carries_raises_it() {
    let greedy = json!({
        "allowed_routes": ["/*", "management_routes", "master_key_only_routes"],
        "metadata": {"user_role": "proxy_admin", "role": "proxy_admin"},
    });
    for row in ROWS {
        let plain = Principal::Key(view(json!({})));
        let raised = Principal::Key(view(greedy.clone()));
        let path = row.paths[0]
            .replace("{key}", "k")
            .replace("{id}", "i")
            .replace("{model}", "m");
        let found = resolve(row.methods[0].as_str(), &path).unwrap();
        assert_eq!(
            authorize(&plain, &found).is_ok(),
            authorize(&raised, &found).is_ok()
        );
    }
    let nothing = Principal::Key(view(json!({"allowed_routes": ["no_such_group"]})));
    let models = resolve("GET", "/v1/models").unwrap();
    assert!(authorize(&nothing, &models).is_err());
    let live = resolve("GET", "/health/liveliness").unwrap();
    assert_eq!(live.target, Target::Own(Route::Liveness));
    assert!(authorize(&nothing, &live).is_ok() && !wants_credential(&live));
}

#[test]
fn a_key_rewrites_models_and_is_checked_by_either_name() {
    let fields = json!({"models": ["small"], "aliases": {"gpt-4": "gpt-4o-mini", "x": "small"}});
    let key = view(fields);
    let policy = &key;
    assert_eq!(policy.model_for("gpt-4"), "gpt-4o-mini");
    assert_eq!(policy.model_for("other"), "other");
    assert!(policy.check_model("x", ModelFacts::named("small")).is_ok());
    assert!(
        policy
            .check_model("small", ModelFacts::named("small"))
            .is_ok()
    );
    assert!(
        policy
            .check_model("gpt-4", ModelFacts::named("gpt-4o-mini"))
            .is_err()
    );
    let by_alias = view(json!({"models": ["gpt-4"], "aliases": {"gpt-4": "gpt-4o-mini"}}));
    assert!(
        by_alias
            .check_model("gpt-4", ModelFacts::named("gpt-4o-mini"))
            .is_ok()
    );
}

#[test]
fn ten_thousand_permuted_credentials_decide_as_the_key_alone_does() {
    let key = view(json!({}));
    let mut seed = 0x5eed_u64;
    let mut roll = |end: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % end
    };
    let clears = [
        "sk-good-key-0001",
        "sk-master-1234",
        "sk-bad",
        "plain",
        "",
        "SK-good-key-0001",
    ];
    let names = [
        "x-litellm-api-key",
        "authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
    ];
    for _ in 0..10_000 {
        let clear = clears[roll(clears.len())];
        let name = names[roll(names.len())];
        let scheme = ["Bearer ", "bearer ", "BEARER  ", ""][roll(4)];
        let value = format!("{scheme}{clear}{}", ["", " "][roll(2)]);
        let noise = ("host", ["a", "b.example", "127.0.0.1"][roll(3)]);
        let later = ("ocp-apim-subscription-key", "sk-master-1234");
        let decided = read(&[later, noise, (name, &value)])
            .and_then(|clear| enter(&clear, Some(Arc::clone(&key))));
        // The reference: what the words on the page say.
        let bare = value.trim();
        let expected = if bare.is_empty() {
            "master"
        } else if name == "authorization" && (scheme.is_empty() || clear.is_empty()) {
            "malformed"
        } else {
            match clear {
                "sk-good-key-0001" => "key",
                "sk-master-1234" => "master",
                "sk-bad" => "unknown",
                // A lone scheme is taken for the key itself by headers that need no scheme.
                _ => "not a key",
            }
        };
        let got = match &decided {
            Ok(Principal::Master) => "master",
            Ok(Principal::Key(_)) => "key",
            Err(GatewayError::MalformedKey) => "malformed",
            Err(GatewayError::UnknownKey { .. }) => "unknown",
            Err(GatewayError::NotAVirtualKey { .. }) => "not a key",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expected, "{name}: {value:?}");
    }
}
