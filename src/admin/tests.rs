//! The router in process, over a real store in a temporary directory.

mod answers;
mod audit;
mod budgets;
mod cache;
mod defaults;
mod errors;
mod escalation;
mod figures;
mod keys;
mod members;
mod openapi;
mod organizations;
mod pages;
mod put;
mod regions;
mod roles;
mod router;
mod settings;
mod spend;
mod stored;
mod table;
mod team_keys;
mod teams;
mod transfer;
mod users;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use jiff::tz::TimeZone;
use meridian_core::config::{Config, Loaded, MasterKey, Source, load_with};
use meridian_core::health::{Coordination, Readiness};
use meridian_core::ids::{KeyHash, Secret};
use meridian_core::price::PriceBook;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::*;
use crate::clock;
use crate::merged::Merged;
use crate::registry::Registry;
use crate::store::Store;

const MASTER: &str = "sk-master-key-of-the-tests";
const CONFIG: &str = "
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: sk-upstream-canary}
    model_info: {access_groups: [beta]}
  - model_name: claude
    litellm_params: {model: anthropic/claude-x, api_key: sk-upstream-canary, rpm: 5}
general_settings: {master_key: sk-master-key-of-the-tests}
";
const PRICES: &str = r#"{
    "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 128000,
        "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "supports_vision": true}
}"#;

/// A management API of its own.
struct Admin {
    router: Router,
    state: AdminState,
    routes: Routes,
    keys: Arc<Registry>,
    store: Store,
    draining: Arc<AtomicBool>,
    /// The rules in force.
    now: Arc<arc_swap::ArcSwap<crate::rules::Rules>>,
    /// What the management API calls with records that it stored.
    changed: Arc<Changed>,
    _dir: tempfile::TempDir,
}

type Changed = dyn Fn(&[meridian_core::record::Record]) + Send + Sync;

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// `error.message`, after checking that status and code agree.
    fn message(&self) -> String {
        let body = self.json();
        assert_eq!(
            body["error"]["code"],
            self.status.as_u16().to_string(),
            "{body}"
        );
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn load(text: &str) -> Loaded {
    let mut read = |_: &Path| Ok(text.to_owned());
    let path = Path::new("config.yaml");
    load_with(&mut read, path, &HashMap::new(), MasterKey::Required)
}

fn config(text: &str) -> Config {
    let loaded = load(text);
    loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn source_of(text: &str) -> Source {
    load(text).source.unwrap()
}

fn rules_of(text: &str) -> Rules {
    Rules {
        config: Arc::new(config(text)),
        prices: Arc::new(PriceBook::from_json(PRICES.as_bytes()).unwrap()),
    }
}

fn routes_of(merged: &Merged, prices: &Arc<PriceBook>) -> Routes {
    let known = crate::routing::Routing::new();
    let config = Arc::new(merged.config().unwrap());
    let shared = (Arc::clone(&known), crate::credentials::Credentials::new());
    let built = crate::rules::Rules::build(config, Arc::clone(prices), shared, 1);
    Routes {
        rules: Arc::new(built),
        known,
    }
}

async fn admin() -> Admin {
    admin_with(CONFIG).await
}

async fn admin_with(text: &str) -> Admin {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_embedded(dir.path()).await.unwrap();
    let keys = Arc::new(Registry::new(TimeZone::UTC));
    let for_registry = Arc::clone(&keys);
    let merged = Arc::new(Merged::new(source_of(text), None));
    merged.load(&store).await.unwrap();
    let rules = rules_of(text);
    let routes = routes_of(&merged, &rules.prices);
    let known = Arc::clone(&routes.known);
    let now = Arc::new(arc_swap::ArcSwap::new(Arc::clone(&routes.rules)));
    let (for_rules, for_changes) = (Arc::clone(&now), Arc::clone(&now));
    let changing = Arc::clone(&merged);
    let draining = Arc::new(AtomicBool::new(false));
    let leaving = Arc::clone(&draining);
    let cache = rules.config.cache.as_ref();
    let cache = cache.map(|config| Arc::new(crate::cache::Cache::new(config)));
    let in_force = Arc::clone(&now);
    let changed: Arc<Changed> = Arc::new(move |records| {
        for_registry.apply_all(records.iter().map(|one| (one, None)), clock::now());
        if changing.take(records) {
            let (old, config) = (for_changes.load_full(), changing.config().unwrap());
            let prices = Arc::clone(&old.prices);
            for_changes.store(Arc::new(old.next(Arc::new(config), prices)));
        }
    });
    let tell = Arc::clone(&changed);
    let hooks = Hooks {
        rules: Box::new(move || {
            let now = for_rules.load();
            let (config, prices) = (Arc::clone(&now.config), Arc::clone(&now.prices));
            Rules { config, prices }
        }),
        routes: Box::new(move || Routes {
            rules: now.load_full(),
            known: Arc::clone(&known),
        }),
        flush_spend: Box::new(|| Box::pin(async {})),
        look_at_others: Box::new(|_| Box::pin(async {})),
        metrics: Box::new(|| "# TYPE up gauge\nup 1\n".to_owned()),
        price_map: Box::new(PriceMap::default),
        reload_prices: Box::new(|| Box::pin(async { Ok(3) })),
        readiness: Box::new(move || ready(leaving.load(Ordering::SeqCst))),
        in_flight: Box::new(|| 7),
        changed: Box::new(move |records| tell(records)),
        merged,
        test: Box::new(tested),
        find_key: Box::new(|_| Box::pin(async { Ok(()) })),
        check_fresh: Box::new(|_| Ok(())),
        propagation: Box::new(|| None),
        rights: None,
        deployments: Box::new(one_up_and_one_down),
        cache,
    };
    let master = Secret::new(MASTER);
    let state = AdminState::new(store.clone(), Arc::clone(&keys), master, hooks);
    Admin {
        router: router(state.clone()),
        state,
        routes,
        keys,
        store,
        draining,
        now: in_force,
        changed,
        _dir: dir,
    }
}

fn ready(draining: bool) -> Readiness {
    Readiness {
        loaded: true,
        draining,
        store_up: true,
        coordination: Coordination::Redis { up: true },
    }
}

fn one_up_and_one_down() -> Vec<DeploymentHealth> {
    let up = DeploymentHealth {
        model_id: "d1".into(),
        model_name: "gpt-4o".into(),
        model: "openai/gpt-4o".into(),
        provider: "openai".into(),
        api_base: "https://upstream.example".into(),
        unhealthy: None,
    };
    let down = DeploymentHealth {
        model_id: "d2".into(),
        model_name: "claude".into(),
        unhealthy: Some("cooling down".into()),
        ..up.clone()
    };
    vec![up, down]
}

/// A provider that knows every model but `broken`.
fn tested(config: Config, id: String) -> Pending<Result<Tested, String>> {
    let candidate = config.models.into_iter().find(|one| one.id == id);
    let candidate = candidate.expect("the candidate is in the configuration");
    Box::pin(async move {
        match candidate.model.as_str() {
            "broken" => Err("the provider said no".to_owned()),
            _ => Ok(Tested::Chat),
        }
    })
}

impl Admin {
    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.answer(request.body(body).unwrap()).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        assert_declared(method.as_str(), &path, &answer);
        answer
    }

    async fn get_as(&self, key: &str, path: &str) -> Answer {
        self.send("GET", path, Some(key), Body::empty()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_as(MASTER, path).await
    }

    async fn post_as(&self, key: &str, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(key), Body::from(body.to_string()))
            .await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_as(MASTER, path, body).await
    }

    /// Posts and expects success.
    async fn done(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    /// Sends with a method and expects success.
    async fn did(&self, method: &str, path: &str, body: Value) -> Value {
        let body = Body::from(body.to_string());
        let answer = self.send(method, path, Some(MASTER), body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        answer.json()
    }

    /// Makes a user and returns the key that comes with it.
    async fn user(&self, body: Value) -> String {
        self.done("/user/new", body).await["key"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What a caller is refused with.
    async fn refuses(&self, key: &str, path: &str, body: Value) -> (u16, String) {
        let answer = self.post_as(key, path, body).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.text);
        (answer.status.as_u16(), answer.message())
    }

    /// Lines of the audit log.
    async fn audit_lines(&self) -> u64 {
        let query = crate::store::AuditQuery::default();
        self.store.audit_log(query).await.unwrap().total
    }

    /// Makes a key and returns its clear text.
    async fn key(&self, body: Value) -> String {
        self.done("/key/generate", body).await["key"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// `info` of `/key/info`.
    async fn info(&self, key: &str) -> Map<String, Value> {
        let answer = self.get(&format!("/key/info?key={key}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["info"].as_object().unwrap().clone()
    }

    async fn refused(&self, path: &str, body: Value, status: u16) -> String {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        answer.message()
    }
}

/// Every answer that any test gets is what its route declares.
fn assert_declared(method: &str, path: &str, answer: &Answer) {
    let found = resolve(method, path).map(|found| found.target);
    let Ok(Target::Own(route)) = found else {
        return;
    };
    if answer.status != 200 || answer.text.is_empty() {
        return;
    }
    let Ok(given) = serde_json::from_str(&answer.text) else {
        return;
    };
    let declared = declared::operation(route);
    let wrong = declared::tests::disagreement(&declared.answer, &given);
    assert_eq!(wrong, None, "{method} {path}: {}", answer.text);
}

#[tokio::test]
async fn a_key_lives_from_generation_to_deletion() {
    let admin = admin().await;
    let made = admin
        .done(
            "/key/generate",
            json!({"key_alias": "one", "max_budget": 1.5}),
        )
        .await;
    let clear = made["key"].as_str().unwrap();
    assert!(clear.starts_with("sk-") && clear.len() == 25, "{clear}");
    let hash = KeyHash::of_secret(clear);
    assert_eq!(made["token"], json!(hash));
    assert_eq!(made["token_id"], json!(hash));
    assert_eq!(made["key_name"], format!("sk-...{}", &clear[21..]));
    assert!(admin.keys.get(&hash, clock::now()).is_some());
    // Clear key and digest name the same key; neither answer shows the other.
    assert_eq!(admin.info(clear).await, admin.info(&hash.to_string()).await);
    let deleted = admin.done("/key/delete", json!({"keys": [clear]})).await;
    assert_eq!(deleted, json!({"deleted_keys": [clear]}));
    assert!(admin.keys.get(&hash, clock::now()).is_none());
    let gone = admin.get(&format!("/key/info?key={clear}")).await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.message(), "Key not found in database");
    assert_eq!(gone.json()["error"]["type"], "not_found_error");
    assert_eq!(gone.json()["error"]["param"], "key");
}
