//! A region: its Postgres, its Redis, and nodes that reach both over wires of their own.

use std::time::Duration;

use meridian::store::{Direction, migrate};
use meridian_core::config::Database;
use meridian_testkit::config::Config;
use meridian_testkit::deadline::{insist, now};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::postgres::Postgres;
use meridian_testkit::provider::Provider;
use meridian_testkit::raw::{Request, Response};
use meridian_testkit::redis::Redis;
use serde_json::{Value, json};

use crate::relay::{Relay, Wire};

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
/// Name of the database.
pub(crate) const NAME: &str = "app";
/// One that no store has.
pub(crate) const NOBODYS_KEY: &str = "sk-nobody-has-this-one-0000";

/// Servers of a region.
pub(crate) struct Region {
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    provider: Provider,
    name: Option<&'static str>,
}

/// A node and its wires.
pub(crate) struct Node {
    pub(crate) gateway: Gateway,
    pub(crate) to_postgres: Relay,
    pub(crate) to_redis: Relay,
}

impl Region {
    pub(crate) async fn start() -> Self {
        let postgres = Postgres::start();
        let (database, _) = Database::of_url(&postgres.database(NAME)).unwrap();
        migrate(&database, Direction::Up).await.unwrap();
        Self {
            postgres,
            redis: Redis::start(),
            provider: Provider::start(),
            name: None,
        }
    }

    /// The same with a name.
    pub(crate) async fn named(name: &'static str) -> Self {
        let name = Some(name);
        Self {
            name,
            ..Self::start().await
        }
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_with("").await
    }

    /// A node with further top-level lines in its configuration.
    pub(crate) async fn node_with(&self, lines: &str) -> Node {
        self.node_of(lines, &[]).await
    }

    /// A node with further variables.
    pub(crate) async fn node_with_env(&self, variables: &[(&str, &str)]) -> Node {
        self.node_of("", variables).await
    }

    async fn node_of(&self, lines: &str, variables: &[(&str, &str)]) -> Node {
        let to_postgres = Relay::to(self.postgres.addr()).await;
        let to_redis = Relay::to(self.redis.addr()).await;
        let url = self.postgres.url(NAME);
        let own = self.postgres.addr().to_string();
        assert!(url.contains(&own), "{url}");
        let url = url.replace(&own, &to_postgres.addr().to_string());
        let redis = format!("redis://{}", to_redis.addr());
        let config = Config::standard(&self.provider)
            .litellm(&format!("cache_params: {{type: redis, url: '{redis}'}}"))
            .raw(lines);
        let mut setup = Setup::new(BINARY, &config).env("DATABASE_URL", &url);
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        if let Some(name) = self.name {
            setup = setup.arg("--region").arg(name);
        }
        Node {
            gateway: setup.start().await,
            to_postgres,
            to_redis,
        }
    }
}

impl Node {
    pub(crate) async fn ask(&self, key: &str) -> Response {
        self.gateway.send(&chat(key)).await
    }

    pub(crate) async fn status(&self, key: &str) -> u16 {
        self.ask(key).await.status()
    }

    /// Asks until the status is the wanted one; how long that took.
    pub(crate) async fn becomes(&self, key: &str, wanted: u16, within: Duration) -> Duration {
        let began = now();
        insist(within, async || match self.status(key).await {
            status if status == wanted => Ok(()),
            status => Err(format!("{status} instead of {wanted}")),
        })
        .await;
        began.elapsed()
    }

    /// A management call that must succeed.
    pub(crate) async fn done(&self, target: &str, body: Value) -> Value {
        let answer = self.gateway.admin("POST", target, &body).await;
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn details(&self) -> Value {
        let answer = self
            .gateway
            .admin("GET", "/health/readiness/details", &Value::Null);
        let answer = answer.await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    /// Waits until a detail of its readiness is as wanted.
    pub(crate) async fn shows(&self, pointer: &str, wanted: &Value, within: Duration) {
        insist(within, async || match self.details().await {
            details if details.pointer(pointer) == Some(wanted) => Ok(()),
            details => Err(format!("{pointer} is not {wanted}: {details}")),
        })
        .await;
    }

    /// Waits until the snapshot on disk has so many records.
    pub(crate) async fn has_saved(&self, records: u64) {
        let within = Duration::from_secs(15);
        self.shows("/records/snapshot_records", &json!(records), within)
            .await;
    }

    pub(crate) fn cut(&self, wire: Wire) {
        self.to_postgres.set(wire);
        self.to_redis.set(wire);
    }

    /// Lines of the log that are not about one request or call.
    pub(crate) fn log_lines(&self) -> usize {
        let log = self.gateway.log();
        let own = log.lines().filter(|line| !line.contains("\"call_id\""));
        own.count()
    }
}

/// A short question with a key.
pub(crate) fn chat(key: &str) -> Request {
    let body = json!({
        "model": "fake-x", "max_tokens": 16,
        "messages": [{"role": "user", "content": "hello"}],
    });
    Request::post("/v1/chat/completions", &body).bearer(key)
}
